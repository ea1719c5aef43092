package postgres

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// connectionError is a connection that did not come about, with what to do about it. Unlike a
// [capture.OperatorError] it does not end a run: the server may come back as it was.
type connectionError struct {
	err    error
	remedy string
}

func (e *connectionError) Error() string { return e.err.Error() }
func (e *connectionError) Unwrap() error { return e.err }

// RemedyText returns the remedy for the operator.
func (e *connectionError) RemedyText() string { return e.remedy }

// explain adds the remedy to an error about connecting, where there is one.
func explain(err error, config *pgconn.Config, asked bool) error {
	if err == nil {
		return nil
	}
	err = onOneLine(err)
	if remedy := connectRemedy(err, config, asked); remedy != "" {
		return &connectionError{err, remedy}
	}
	return err
}

// onOneLine writes each attempt to connect once: pgconn has a line for each address, and again for each
// without TLS, mostly with the same words.
func onOneLine(err error) error {
	const next = "\n\t"
	what, rest, many := strings.Cut(err.Error(), ":"+next)
	if !many {
		return err
	}
	var attempts []string
	for attempt := range strings.SplitSeq(rest, next) {
		if attempt = strings.TrimSpace(attempt); !slices.Contains(attempts, attempt) {
			attempts = append(attempts, attempt)
		}
	}
	return &rewordedError{text: what + ": " + strings.Join(attempts, "; "), err: err}
}

// connectRemedy says what to do about a connection that did not come about. asked says that the
// config asks for its TLS mode itself.
func connectRemedy(err error, config *pgconn.Config, asked bool) string {
	at := net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
	var (
		pgErr     *pgconn.PgError
		unknown   *net.DNSError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &pgErr):
		return serverRemedy(pgErr, config)
	case errors.As(err, &unknown):
		return fmt.Sprintf("no address is known for the host %s: correct the host in source.url, or the machine's name resolution", config.Host)
	case errors.Is(err, syscall.ENOENT) && strings.HasPrefix(config.Host, "/"):
		return fmt.Sprintf("no server has its socket in %s with port %d: is it running (`systemctl status postgresql`), and are directory (unix_socket_directories) and port right in source.url?", config.Host, config.Port)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing listens at %s: is the server running, are host and port right in source.url, and does it listen there (SHOW listen_addresses; SHOW port;)?", at)
	case errors.As(err, &authority):
		return "add sslrootcert=FILE to source.url, with the certificate of the CA that signed the server's"
	case errors.As(err, &name):
		return fmt.Sprintf("the certificate is for other names than %s: write one of them as the host in source.url", config.Host)
	case errors.As(err, &invalid):
		return "renew the server's certificate"
	case strings.HasSuffix(err.Error(), "server refused TLS connection"): // what came of it without TLS stands behind
		remedy := "turn TLS on in the server (ALTER SYSTEM SET ssl = on; with ssl_cert_file and ssl_key_file), or, where the network between is trusted, add sslmode=disable to source.url"
		if !asked {
			remedy = "source.url has no sslmode, and to addresses that are not this machine's that means verify-full: " + remedy
		}
		return remedy
	case strings.Contains(err.Error(), "failed to receive message: ") && !errors.As(err, new(net.Error)) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF):
		return fmt.Sprintf("what answers at %s is no PostgreSQL server: put the server's own host and port into source.url; for MySQL and MariaDB, source.type: mysql and source.url: mysql://…", at)
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) ||
		errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
		return fmt.Sprintf("%s does not answer: are host and port right in source.url, and does a firewall let this machine through?", at)
	}
	return ""
}

// serverRemedy is connectRemedy for what the server itself says.
func serverRemedy(e *pgconn.PgError, config *pgconn.Config) string {
	role := quoteIdent(config.User)
	switch {
	case e.Code == "3D000":
		return "correct the database in source.url (psql -l lists those there are)"
	case e.Code == "28P01" && config.Password == "":
		return "no password is configured: give source.password_file (or source.password)"
	case e.Code == "28P01":
		return fmt.Sprintf("correct the password in source.password_file, source.password or source.url, or set it: ALTER ROLE %s PASSWORD '…'; a role that does not exist is told in the same words: CREATE ROLE %s LOGIN REPLICATION;", role, role)
	case strings.HasPrefix(e.Code, "28") && strings.Contains(e.Message, "does not exist"):
		return fmt.Sprintf("CREATE ROLE %s LOGIN REPLICATION;", role)
	case strings.HasPrefix(e.Code, "28") && strings.Contains(e.Message, "not permitted to log in"):
		return fmt.Sprintf("ALTER ROLE %s LOGIN;", role)
	case strings.Contains(e.Message, "pg_hba.conf"):
		return hbaRemedy(e.Message, config)
	case peerRefused(e):
		return fmt.Sprintf("the server lets in the operating system's user of the same name only: run rowhook as that user, or put into pg_hba.conf above that line, and then SELECT pg_reload_conf();\n%s",
			hbaLine("local", config, ""))
	case e.Code == "42501" && strings.Contains(e.Message, "permission denied for database"):
		return fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s;", quoteIdent(config.Database), role)
	case encodingRefused(e):
		return unreadableEncoding
	case e.Code == "53300" && strings.Contains(e.Message, "max_wal_senders"):
		return "all WAL senders are taken: ALTER SYSTEM SET max_wal_senders = 10; -- or more than there are replicas, then restart the server"
	case e.Code == "53300":
		return "all connections are taken: raise max_connections, or end some"
	case e.Code == "57P03":
		return "wait until the server has started"
	case e.Code == "55000" && strings.Contains(e.Message, "not currently accepting connections"):
		return fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS true;", quoteIdent(config.Database))
	}
	return ""
}

// peerRefused reports that the server lets in the operating system's user of the same name only.
func peerRefused(e *pgconn.PgError) bool {
	return e.Code == "28000" && (strings.Contains(e.Message, "Peer") || strings.Contains(e.Message, "Ident"))
}

// hbaHost finds the client's address in the server's own words.
var hbaHost = regexp.MustCompile(`host "([^"]+)"`)

func hbaRemedy(message string, config *pgconn.Config) string {
	kind, address := "local", ""
	if m := hbaHost.FindStringSubmatch(message); m != nil && m[1] != "[local]" {
		kind, address = "host", m[1]
		if config.TLSConfig != nil {
			kind = "hostssl"
		}
	}
	where := "put into pg_hba.conf"
	if strings.Contains(message, "rejects") {
		where += ", above the line that rejects"
	}
	return fmt.Sprintf("%s (SHOW hba_file;), and then SELECT pg_reload_conf();\n%s", where, hbaLine(kind, config, address))
}

// hbaLine is the line of pg_hba.conf that lets us in. Logical replication is admitted by the
// database's name.
func hbaLine(kind string, config *pgconn.Config, address string) string {
	if address != "" {
		bits := 32
		if strings.Contains(address, ":") {
			bits = 128
		}
		address = fmt.Sprintf(" %s/%d", address, bits)
	}
	return fmt.Sprintf("%s %s %s%s scram-sha-256", kind, quoteIdent(config.Database), quoteIdent(config.User), address)
}

// explainFurther asks around what a person needs to know about a connection that did not come
// about: the databases that there are, or who else answers at the address. Only check has the time
// for it.
func (s *Source) explainFurther(ctx context.Context, err error) error {
	var pgErr *pgconn.PgError
	var network net.Error
	switch {
	case errors.As(err, &pgErr):
		if pgErr.Code != "3D000" {
			return err
		}
		if names := s.databases(ctx); len(names) > 0 {
			return &connectionError{err, "there are " + strings.Join(names, ", ") + ": correct the database in source.url"}
		}
	case !errors.As(err, &network) || network.Timeout():
		if who := greeting(ctx, &s.connect.Config); who != "" {
			return &connectionError{fmt.Errorf("%s:%d does not speak PostgreSQL: %w", s.connect.Host, s.connect.Port, err), who}
		}
	}
	return err
}

// databases lists the server's databases, as seen from the one that every server has.
func (s *Source) databases(ctx context.Context) []string {
	config := s.connect.Copy()
	config.Database = "postgres"
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil
	}
	defer c.Close(ctx)
	rows, err := c.Query(ctx, `select datname::text from pg_catalog.pg_database where datallowconn and not datistemplate order by 1 limit 20`)
	if err != nil {
		return nil
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil
	}
	return names
}

// greetingWait is for how long a server that speaks first is given.
const greetingWait = 2 * time.Second

// greeting connects and waits for the other side to speak, which a PostgreSQL server never does
// first. It says what to do about who does; empty when nobody spoke.
func greeting(ctx context.Context, config *pgconn.Config) string {
	ctx, cancel := context.WithTimeout(ctx, greetingWait)
	defer cancel()
	network, address := pgconn.NetworkAddress(config.Host, config.Port)
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetReadDeadline(deadline); err != nil {
		return ""
	}
	first := make([]byte, 5)
	n, _ := conn.Read(first)
	switch {
	case n >= 5 && first[3] == 0 && (first[4] == 0x0a || first[4] == 0xff): // a packet's length and number, protocol 10 or an error
		return "is it MySQL or MariaDB? then: source.type: mysql, and source.url: mysql://…"
	case n > 0:
		return "put the PostgreSQL server's own host and port into source.url"
	}
	return ""
}
