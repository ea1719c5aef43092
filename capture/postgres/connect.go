package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"rowhook/capture"
)

// dialTimeout bounds one attempt to connect to one host where the URL does not say.
const dialTimeout = 10 * time.Second

// pinned are the session settings that the text of values depends on, and the
// timeouts that would end a replication session. money keeps the server's lc_monetary.
const pinned = `
set client_encoding = 'UTF8';
set TimeZone = 'UTC';
set DateStyle = 'ISO';
set IntervalStyle = 'iso_8601';
set bytea_output = 'hex';
set extra_float_digits = 3;
set quote_all_identifiers = off;
set search_path = '';
set statement_timeout = 0;
set lock_timeout = 0;
set idle_in_transaction_session_timeout = 0;
set idle_session_timeout = 0`

// queryPinned are the settings of ordinary connections: a role's own must not change what we read.
// Without jit = off the server compiles questions about many tables to machine code, by what it
// estimates they cost, for seconds of its CPU; answering them takes a tenth of that.
const queryPinned = `
set jit = off;
set client_encoding = 'UTF8';
set search_path = '';
set statement_timeout = '5min';
set idle_in_transaction_session_timeout = 0;
set idle_session_timeout = 0`

// pin returns what makes a fresh connection's settings ours.
func pin(settings string) pgconn.AfterConnectFunc {
	return func(ctx context.Context, conn *pgconn.PgConn) error {
		if _, err := conn.Exec(ctx, settings).ReadAll(); err != nil {
			return fmt.Errorf("pin the session's settings: %w", err)
		}
		return nil
	}
}

// connectReplication opens a connection that speaks the replication protocol, with
// its output settings pinned.
func (s *Source) connectReplication(ctx context.Context) (*pgconn.PgConn, error) {
	config := s.connect.Config.Copy()
	config.RuntimeParams["replication"] = "database"
	config.AfterConnect = pin(pinned)
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return newCoalescingConn(conn), nil
	}
	var read *frames // of the connection that was made last
	config.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		read = newFrames(r)
		return pgproto3.NewFrontend(read, w)
	}
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, s.connectError(err)
	}
	conn.CustomData()[framesKey] = read
	return conn, nil
}

// framesKey is where a replication connection has its [frames].
const framesKey = "rowhook.frames"

func framesOf(conn *pgconn.PgConn) *frames {
	f, _ := conn.CustomData()[framesKey].(*frames)
	return f
}

// connectError explains why the replication connection was refused, where a person has to fix it.
func (s *Source) connectError(err error) error {
	wrapped := s.redact(fmt.Errorf("open a replication connection: %w", err))
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return explain(wrapped, &s.connect.Config, s.tlsAsked)
	}
	switch {
	case strings.Contains(pgErr.Message, "unsupported startup parameter"):
		return s.poolerError(wrapped)
	case strings.Contains(pgErr.Message, "permission denied for database"):
	case encodingRefused(pgErr): // it will be so at each try
		return &capture.OperatorError{Err: wrapped, Remedy: unreadableEncoding}
	case pgErr.Code == "42501" || strings.Contains(pgErr.Message, "must be superuser or replication role"):
		return &capture.OperatorError{Err: wrapped, Remedy: s.likelyRole().allowReplication(s.connect.User)}
	}
	return explain(wrapped, &s.connect.Config, s.tlsAsked)
}

// likelyRole is our role as its address tells, while the server cannot be asked.
func (s *Source) likelyRole() roleFacts {
	if strings.HasSuffix(s.connect.Host, ".rds.amazonaws.com") {
		return roleFacts{cloud: amazon}
	}
	return roleFacts{}
}

// poolerError says that something that is not a PostgreSQL server answered.
func (s *Source) poolerError(err error) error {
	return &capture.OperatorError{
		Err:    fmt.Errorf("%s stands between rowhook and the database, and does not pass replication on: %w", s.pooler(), err),
		Remedy: "put the database server's own host and port into source.url, not the pooler's",
	}
}

// pooler names the pooler by what its address tells.
func (s *Source) pooler() string {
	host := s.connect.Host
	switch {
	case strings.Contains(host, "-pooler.") || strings.HasSuffix(host, "-pooler"):
		return "Neon's pooler"
	case strings.Contains(host, ".proxy-") && strings.Contains(host, "rds.amazonaws.com"):
		return "RDS Proxy"
	case strings.Contains(host, "pooler.supabase.com"):
		return "Supabase's pooler"
	}
	return "a connection pooler (PgBouncer or the like)"
}

// redact takes the password out of an error about connecting.
func (s *Source) redact(err error) error { return redactPassword(err, s.password) }

func redactPassword(err error, password string) error {
	if err == nil || password == "" || !strings.Contains(err.Error(), password) {
		return err
	}
	return &rewordedError{text: strings.ReplaceAll(err.Error(), password, "xxxxx"), err: err}
}

// rewordedError stays the error it was for errors.As, in other words: without the password, say.
type rewordedError struct {
	text string
	err  error
}

func (e *rewordedError) Error() string { return e.text }
func (e *rewordedError) Unwrap() error { return e.err }

// closeNow ends a connection without waiting for the server for long.
func closeNow(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn.Close(ctx)
}

// rows runs one statement in the simple protocol, the only one that a replication
// connection speaks, and returns its rows.
func rows(ctx context.Context, conn *pgconn.PgConn, sql string) ([][][]byte, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	if len(results) == 0 {
		return nil, errors.New("no result")
	}
	return results[0].Rows, nil
}

func quoteIdent(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

func quoteLiteral(s string) string {
	if strings.ContainsRune(s, '\\') {
		return ` E'` + strings.ReplaceAll(strings.ReplaceAll(s, `\`, `\\`), `'`, `''`) + `'`
	}
	return `'` + strings.ReplaceAll(s, `'`, `''`) + `'`
}
