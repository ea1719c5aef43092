package capturetest

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Postgres is a [Cluster] within a test: what fails there fails the test here.
type Postgres struct {
	*Cluster
	// DSN is the URL of the database postgres, as superuser, over the Unix socket.
	DSN string
}

// StartPostgres starts a server that ends with the test. The end of its log is
// shown when the test has failed.
func StartPostgres(tb TB, opts Options) *Postgres {
	tb.Helper()
	c, err := NewCluster(opts)
	if err != nil {
		tb.Fatalf("%v", err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("log of PostgreSQL %d:\n%s", c.Major, c.Log())
		}
		if err := c.Close(); err != nil {
			tb.Logf("close PostgreSQL: %v", err)
		}
	})
	return &Postgres{Cluster: c, DSN: c.URL("postgres")}
}

// Must fails the test if a cluster's method did.
func Must(tb TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("%v", err)
	}
}

// Run runs SQL in the database postgres, see [Cluster.Exec].
func (p *Postgres) Run(tb TB, sql ...string) {
	tb.Helper()
	Must(tb, p.Exec(context.Background(), "postgres", sql...))
}

// Rows runs a query in the database postgres, see [Cluster.Query].
func (p *Postgres) Rows(tb TB, sql string) [][]string {
	tb.Helper()
	rows, err := p.Query(context.Background(), "postgres", sql)
	Must(tb, err)
	return rows
}

// Database makes an empty database and returns its name.
func (p *Postgres) Database(tb TB, name string) string {
	tb.Helper()
	p.Run(tb, "create database "+pgx.Identifier{name}.Sanitize())
	return name
}

// Role makes a role that can log in, with attributes such as "replication".
func (p *Postgres) Role(tb TB, name, attributes string) string {
	tb.Helper()
	p.Run(tb, "create role "+pgx.Identifier{name}.Sanitize()+" login "+attributes)
	return name
}

// Connect opens a session that ends with the test, for transactions that overlap.
func (p *Postgres) Connect(tb TB, url string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	Must(tb, err)
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}
