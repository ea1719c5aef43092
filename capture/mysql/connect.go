package mysql

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"rowhook/capture"
)

const (
	// dialTimeout bounds one attempt to connect to one host.
	dialTimeout = 10 * time.Second
	// queryTimeout bounds one question to the catalog.
	queryTimeout = 30 * time.Second
	// idleMost is how many connections to one host wait for the next question.
	idleMost = 1
)

// pool returns the connections that ask a host questions.
func (s *Source) pool(h host) (*sql.DB, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if db := s.pools[h]; db != nil {
		return db, nil
	}
	db, err := open(h, s.address.user, s.address.password, s.address.tlsFor(h))
	if err != nil {
		return nil, err
	}
	s.pools[h] = db
	return db, nil
}

// dropIdle closes the connections to a host that nobody uses. A MySQL that shuts down waits for
// them as long as a replica is there, up to eight seconds.
func (s *Source) dropIdle(h host) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if db := s.pools[h]; db != nil {
		db.SetMaxIdleConns(-1)
		db.SetMaxIdleConns(idleMost)
	}
}

func open(h host, user, password string, encryption *tls.Config) (*sql.DB, error) {
	c := driver.NewConfig()
	c.Net, c.Addr = "tcp", h.String()
	c.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return credentials{user, password, encryption}.login(ctx, h)
	}
	c.Timeout, c.ReadTimeout, c.WriteTimeout = dialTimeout, queryTimeout, queryTimeout
	c.Collation = sessionCollation
	c.InterpolateParams = true
	// The catalog is to tell of primary keys that MySQL generates, as the binlog does. Other
	// servers take it for a comment.
	c.Params = map[string]string{"autocommit": "1" + ownSession + " /*!80030 , show_gipk_in_create_table_and_information_schema = ON */"}
	c.Logger = &driver.NopLogger{} // what matters comes as an error
	connector, err := driver.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", h, err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(idleMost)
	db.SetConnMaxIdleTime(time.Minute)
	return db, nil
}

// ownSession takes back what a server may give new sessions by itself. Its bounds would make catalogs
// shorter than they are, without an error, or refuse to read them; what bounds us are our own
// timeouts. Its character set would be another than the one that we asked for at login, which
// init_connect and skip-character-set-client-handshake pass over: names would be mojibake.
//
// What stands in a comment is for the server that the comment names.
const ownSession = ", character_set_client = utf8mb4, character_set_results = utf8mb4, collation_connection = " + sessionCollation +
	", sql_select_limit = 18446744073709551615, sql_big_selects = 1" +
	" /*!80000 , max_execution_time = 0 */ /*M!100101 , max_statement_time = 0 */"

const sessionCollation = "utf8mb4_general_ci"

// reach returns the first host that answers.
func (s *Source) reach(ctx context.Context) (host, *sql.DB, error) {
	var errs []error
	for _, h := range s.address.hosts {
		db, err := s.pool(h)
		if err == nil {
			err = db.PingContext(ctx)
		}
		if err == nil {
			return h, db, nil
		}
		errs = append(errs, fmt.Errorf("connect to %s: %w", h, err))
		if ctx.Err() != nil {
			break
		}
	}
	return host{}, nil, s.connectError(errors.Join(errs...))
}

// connectError explains what a person has to fix.
func (s *Source) connectError(err error) error { return s.explainError(err, account(s.address.user)) }

// explainError is connectError with our account, as SQL wants it.
func (s *Source) explainError(err error, who string) error {
	if remedy := tlsRemedy(err); remedy != "" {
		return &capture.OperatorError{Err: err, Remedy: remedy}
	}
	var refused *driver.MySQLError
	if !errors.As(err, &refused) {
		return err
	}
	switch refused.Number {
	case 1045, 1698, 1130: // access denied; the host may not connect
		return &capture.OperatorError{Err: err, Remedy: s.deniedRemedy(refused.Message)}
	case 1044, 1142, 1227: // access denied to a database, a table, an operation
		return &capture.OperatorError{Err: err, Remedy: grantSQL(who)}
	case 1129: // too many logins from this host were broken off
		return &capture.OperatorError{Err: err, Remedy: unblockRemedy}
	case 3159: // the server takes encrypted connections only
		return &capture.OperatorError{Err: err, Remedy: "tls=verify in source.url (and ca=FILE, if the CA is your own)"}
	}
	return err
}

const unblockRemedy = "as an administrator, FLUSH HOSTS; on MariaDB, or TRUNCATE TABLE performance_schema.host_cache; on MySQL. " +
	"Then see which client on this host breaks its logins off"

// deniedRemedy is what helps against a refused login, of which the server does not tell the reason.
// An account for all hosts is of no use where a nameless one is for this host: the server takes the
// more exact host first.
func (s *Source) deniedRemedy(message string) string {
	remedy := fmt.Sprintf("source.password; or CREATE USER %s IDENTIFIED BY 'PASSWORD';", account(s.address.user))
	if from := deniedFrom.FindStringSubmatch(message); from != nil && from[1] != "%" {
		host := quoteText(from[1])
		remedy += fmt.Sprintf(" or, where that account exists, see whether the nameless ''@%[1]s stands before it: DROP USER ''@%[1]s; or CREATE USER %[2]s@%[1]s", host, quoteText(s.address.user))
	}
	plain := slices.ContainsFunc(s.address.hosts, func(h host) bool { return !h.socket() && s.address.tlsFor(h) == nil })
	switch {
	case plain:
		remedy += "; where the server wants encrypted connections, tls=verify in source.url"
	case len(s.address.certificates) == 0:
		remedy += "; where the user needs a certificate, cert=FILE&key=FILE in source.url"
	}
	return remedy
}

// tlsRemedy says what makes a connection trustworthy; empty when that was not the fault.
func tlsRemedy(err error) string {
	var (
		selfMade  *selfMadeError
		untrusted x509.UnknownAuthorityError
		foreign   x509.HostnameError
		invalid   x509.CertificateInvalidError
		any       *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(err, driver.ErrNoTLS):
		return "let the server offer TLS (ssl_cert and ssl_key); or, where the network is trusted, tls=off in source.url"
	case errors.As(err, &selfMade):
		return "give the server a certificate (ssl_cert, ssl_key), and ca=FILE in source.url: the CA that issued it; or, where the network is trusted, tls=skip-verify in source.url"
	case errors.As(err, &untrusted):
		return "ca=FILE in source.url: the CA that issued the server's certificate"
	case errors.As(err, &foreign):
		return "name the host as the certificate does in source.url, or give the server a certificate for this name"
	case errors.As(err, &invalid), errors.As(err, &any):
		return "give the server a valid certificate"
	}
	return ""
}

// selfMadeError says that a server's certificate is of its own making. From 11.4 on MariaDB makes
// itself one at each start when it is given none: it encrypts, but nobody vouches for it.
type selfMadeError struct{ err error }

func (e *selfMadeError) Error() string { return e.err.Error() + " (MariaDB made it for itself)" }
func (e *selfMadeError) Unwrap() error { return e.err }

// selfMade marks the error of a handshake that failed for such a certificate.
func selfMade(version string, err error) error {
	var refused *tls.CertificateVerificationError
	if !isMariaDB(version) || !errors.As(err, &refused) || len(refused.UnverifiedCertificates) != 1 {
		return err
	}
	if c := refused.UnverifiedCertificates[0]; !bytes.Equal(c.RawIssuer, c.RawSubject) {
		return err
	}
	return &selfMadeError{err}
}

// deniedFrom finds the host in a server's refusal of a login.
var deniedFrom = regexp.MustCompile(`Access denied for user '.*'@'([^']*)'`)

// currentAccount is the account that the server takes us for, as SQL wants it.
func (s *Source) currentAccount(ctx context.Context, db *sql.DB) string {
	var current string
	if err := db.QueryRowContext(ctx, "SELECT CURRENT_USER()").Scan(&current); err != nil {
		return account(s.address.user)
	}
	at := strings.LastIndexByte(current, '@')
	if at < 0 {
		return account(s.address.user)
	}
	return quoteText(current[:at]) + "@" + quoteText(current[at+1:])
}

// account writes a user as SQL wants it.
func account(user string) string { return quoteText(user) + "@'%'" }

func grantSQL(who string) string {
	return "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO " + who + ";"
}

func quoteText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

func quoteIdent(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// silentConn ends reads that bring nothing for too long: the server sends a heartbeat when it
// has nothing else to say.
type silentConn struct {
	net.Conn
	most time.Duration
}

func (c *silentConn) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.most)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}
