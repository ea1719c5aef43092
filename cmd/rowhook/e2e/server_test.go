package e2e_test

import (
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"strconv"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// server is a database server as the scenarios need it that run on every kind. What
// names a point of its log is opaque text.
type server interface {
	// kind is the config's source.type.
	kind() string
	// address is where it takes connections, url the config's source.url by way of an address.
	address() string
	url(address string) string

	start() error
	// halts are the ways in which it ends, the first without warning.
	halts() []func() error

	// exec runs SQL as the owner, each element on its own; query returns rows as text.
	exec(ctx context.Context, sql ...string) error
	query(ctx context.Context, sql string) ([][]string, error)
	// connect opens an application's session.
	connect(ctx context.Context) (session, error)

	// readers is how many of these TCP ports read the log; with none given, all readers.
	readers(ctx context.Context, ports []string) (int, error)
	// end is where the log ends. settled reports whether the agent needs nothing before a point any
	// more, and behind is how many bytes of the log it still needs.
	end(ctx context.Context) (string, error)
	settled(ctx context.Context, point string) (bool, error)
	behind(ctx context.Context) (int64, error)
	// ahead reports whether the server was told to be done with more than a position of the spool,
	// and what it was told. A server that is told nothing must at least have what the position
	// says.
	ahead(ctx context.Context, position string) (told string, ahead bool, err error)

	// rotate goes on in another file of the log, elsewhere writes into a database that no mapping
	// is about, and lose takes away what an agent that is not running has not read.
	rotate(ctx context.Context) error
	elsewhere(ctx context.Context) error
	lose(ctx context.Context) error
}

// session is an application's connection.
type session interface {
	// exec runs statements, with ";" between them, that say themselves where transactions begin and
	// end.
	exec(ctx context.Context, sql string) error
	close()
}

// settings are a server's own for one scenario, by the kind's name in [databases].
type settings map[string]map[string]string

// databases are the kinds of servers that the scenarios run on.
var databases = []string{"postgres", "mysql", "mariadb"}

// onEach runs a scenario in a world of each kind of database.
func onEach(t *testing.T, own settings, scenario func(t *testing.T, w *world)) {
	for _, name := range databases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scenario(t, newWorldOf(t, name, own[name]))
		})
	}
}

// newWorldOf makes a world on a server of its own, with the usual tables, an account for the agent,
// and what the agent needs.
func newWorldOf(tb testing.TB, database string, own map[string]string) *world {
	tb.Helper()
	w := emptyWorld(tb)
	w.database = database
	switch database {
	case "mysql":
		w.server = startMySQL(tb, capturetest.StartMySQL, w.dir, own)
	case "mariadb":
		w.server = startMySQL(tb, startMariaDB, w.dir, own)
	default:
		w.server = startPostgres(tb, capturetest.Options{Settings: own, Major: postgresMajor(tb)})
	}
	return w
}

// mariadbVariable and postgresVariable choose other servers than the system's, such as 11.8 and 18.
const (
	mariadbVariable  = "ROWHOOK_TEST_MARIADB"
	postgresVariable = "ROWHOOK_TEST_POSTGRES"
)

// startMariaDB starts a server of the series that the environment names. Otherwise every second test
// has the newest long-term release, and the others the system's.
func startMariaDB(tb capturetest.TB, opts capturetest.MySQLOptions) *capturetest.MySQL {
	tb.Helper()
	opts.Series = oneOf(tb.(testing.TB), mariadbVariable, "", "11.8")
	return capturetest.StartMariaDB(tb, opts)
}

// postgresMajor is the version that the environment names. Otherwise every second test has the
// newest, and the others the system's.
func postgresMajor(tb testing.TB) int {
	tb.Helper()
	major, err := strconv.Atoi(oneOf(tb, postgresVariable, "0", "19"))
	capturetest.Must(tb, err)
	return major
}

// oneOf is what the environment says, or else one of two, always the same for a test. Benchmarks have
// the first, so that figures can be compared.
func oneOf(tb testing.TB, variable, even, odd string) string {
	if text := os.Getenv(variable); text != "" {
		return text
	}
	test, _, _ := strings.Cut(tb.Name(), "/")
	if strings.HasPrefix(test, "Benchmark") || crc32.ChecksumIEEE([]byte(test))%2 == 0 {
		return even
	}
	return odd
}

// numbers is a table expression of the column g from 1 to n, for every kind of server.
func numbers(n int) string {
	return fmt.Sprintf("(with recursive counted (g) as (select 1 union all select g + 1 from counted where g < %d) select g from counted) numbers", n)
}

// one is the one value that a query returns, as parse reads it.
func one[T any](ctx context.Context, s server, parse func(string) (T, error), sql string) (T, error) {
	rows, err := s.query(ctx, sql)
	if err == nil && (len(rows) == 0 || len(rows[0]) == 0) {
		err = fmt.Errorf("%s: no row", sql)
	}
	if err != nil {
		var none T
		return none, err
	}
	return parse(rows[0][0])
}

func asText(s string) (string, error)     { return s, nil }
func asInt64(s string) (int64, error)     { return strconv.ParseInt(s, 10, 64) }
func asFloat64(s string) (float64, error) { return strconv.ParseFloat(s, 64) }
