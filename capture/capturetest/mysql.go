package capturetest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// MySQLOptions describe a MySQL or MariaDB server. The zero value is tuned for tests.
type MySQLOptions struct {
	// Settings are system variables that override ours. Ours are a binary log of rows with
	// full metadata and the statements' text, GTIDs, the server's port as its server_id,
	// UTF-8, time zone UTC, small buffers. A variable that the server does not know keeps
	// it from starting.
	Settings map[string]string
	// Durable puts the data on disk and keeps each commit's fsync and the doublewrite
	// buffer, as measurements want it. Killing a server loses nothing either way, only
	// power loss would.
	Durable bool
	// Series is MariaDB's release series, such as "11.8"; empty takes the system's. MySQL has one.
	Series string
}

// flavour is one of the two servers that speak MySQL's protocol.
type flavour string

const (
	mysqlFlavour   flavour = "MySQL"
	mariadbFlavour flavour = "MariaDB"
)

// mysqldProgram finds a flavour's server, the system's first, and its version. An empty series
// is any. MariaDB's packages name theirs mysqld too.
func mysqldProgram(f flavour, series string) (program, version string, err error) {
	candidates := []string{"/usr/sbin/mysqld", filepath.Join(toolsDir(), "mysql", "current", "mysqld")}
	if f == mariadbFlavour {
		candidates = []string{"/usr/sbin/mariadbd"}
		if series != "" {
			candidates = append(candidates, filepath.Join(toolsDir(), "mariadb", series, "mariadbd"))
		}
	}
	for _, program := range candidates {
		if _, err := os.Stat(program); err != nil {
			continue
		}
		out, err := exec.Command(program, "--no-defaults", "--version").Output()
		if err != nil {
			return "", "", fmt.Errorf("ask %s for its version: %w", program, err)
		}
		// "mysqld  Ver 9.7.4-2 for Linux on x86_64", "mariadbd  Ver 10.11.14-MariaDB-…".
		_, rest, _ := strings.Cut(string(out), " Ver ")
		version, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		isMariaDB := strings.Contains(version, "MariaDB")
		version, _, _ = strings.Cut(version, "-")
		if version != "" && isMariaDB == (f == mariadbFlavour) && (series == "" || strings.HasPrefix(version, series+".")) {
			return program, version, nil
		}
	}
	return "", "", fmt.Errorf("%s is not installed: run `make test`, which installs it", strings.TrimSpace(string(f)+" "+series))
}

// MySQL is a [MySQLServer] within a test: what fails there fails the test here.
type MySQL struct {
	*MySQLServer
}

// StartMySQL starts a MySQL server that ends with the test. The end of its log is
// shown when the test has failed.
func StartMySQL(tb TB, opts MySQLOptions) *MySQL {
	tb.Helper()
	return startMySQL(tb, NewMySQL, opts)
}

// StartMariaDB is [StartMySQL] for MariaDB.
func StartMariaDB(tb TB, opts MySQLOptions) *MySQL {
	tb.Helper()
	return startMySQL(tb, NewMariaDB, opts)
}

func startMySQL(tb TB, create func(MySQLOptions) (*MySQLServer, error), opts MySQLOptions) *MySQL {
	tb.Helper()
	s, err := create(opts)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log of %s:\n%s", s, s.Log())
		}
		if err := s.Close(); err != nil {
			tb.Logf("close %s: %v", s, err)
		}
	})
	return &MySQL{s}
}

// Run runs statements in the database test, see [MySQLServer.Exec].
func (m *MySQL) Run(tb TB, statements ...string) {
	tb.Helper()
	Must(tb, m.Exec(context.Background(), MySQLDatabase, statements...))
}

// Rows runs a query in the database test, see [MySQLServer.Query].
func (m *MySQL) Rows(tb TB, query string) [][]string {
	tb.Helper()
	rows, err := m.Query(context.Background(), MySQLDatabase, query)
	Must(tb, err)
	return rows
}

// Database makes an empty database and returns its name.
func (m *MySQL) Database(tb TB, name string) string {
	tb.Helper()
	m.Run(tb, "create database "+mysqlIdentifier(name))
	return name
}

// User makes an account for any host, with grants such as "select on test.*".
func (m *MySQL) User(tb TB, name, password string, grants ...string) {
	tb.Helper()
	account := mysqlString(name) + "@'%'"
	m.Run(tb, "create user "+account+" identified by "+mysqlString(password))
	for _, grant := range grants {
		m.Run(tb, "grant "+grant+" to "+account)
	}
}

// Connect opens a session as root that ends with the test, for transactions that
// overlap. An empty database selects none.
func (m *MySQL) Connect(tb TB, database string) *sql.Conn {
	tb.Helper()
	db, err := m.Open(database)
	Must(tb, err)
	conn, err := db.Conn(context.Background())
	if err != nil {
		_ = db.Close() // it has no connection
		tb.Fatalf("connect to %s: %v", m, err)
	}
	tb.Cleanup(func() {
		_ = conn.Close() // the server may be gone
		_ = db.Close()
	})
	return conn
}

func mysqlIdentifier(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func mysqlString(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}
