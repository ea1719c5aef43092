package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"rowhook/capture/capturetest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range servers {
		if s.server == nil {
			continue
		}
		s.server.db.Close()
		if err := s.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// flavours are the servers that tests run on: MySQL, and MariaDB's two long-term releases.
var flavours = []string{"mysql", "mariadb", "mariadb118"}

// kindOf is "mysql" or "mariadb".
func kindOf(flavour string) string {
	if flavour == "mysql" {
		return flavour
	}
	return "mariadb"
}

// seriesOf is the release series to start; empty for the system's.
func seriesOf(flavour string) string {
	if flavour == "mariadb118" {
		return "11.8"
	}
	return ""
}

// servers are shared by the tests that need nothing special.
var servers = map[string]*shared{"mysql": {}, "mariadb": {}, "mariadb118": {}}

type shared struct {
	once   sync.Once
	server *testServer
	err    error
}

// settings are system variables of a server of one's own.
type settings = map[string]string

// noGTID keeps MySQL from giving transactions global ids.
var noGTID = settings{"gtid_mode": "OFF", "enforce_gtid_consistency": "OFF"}

// testServer is a throwaway server with a handle for its root.
type testServer struct {
	*capturetest.MySQLServer
	flavour, kind string
	db            *sql.DB
}

// onEach runs a test on the shared server of each flavour.
func onEach(t *testing.T, f func(t *testing.T, s *testServer)) {
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			f(t, sharedServer(t, flavour))
		})
	}
}

// onMariaDBs is onEach without MySQL.
func onMariaDBs(t *testing.T, f func(t *testing.T, s *testServer)) {
	for _, flavour := range flavours[1:] {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			f(t, sharedServer(t, flavour))
		})
	}
}

// onOwn runs a test on a server of its own of each flavour.
func onOwn(t *testing.T, own settings, f func(t *testing.T, s *testServer)) {
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			f(t, ownServer(t, flavour, own))
		})
	}
}

func sharedServer(t testing.TB, flavour string) *testServer {
	s := servers[flavour]
	s.once.Do(func() {
		create := capturetest.NewMySQL
		if kindOf(flavour) == "mariadb" {
			create = capturetest.NewMariaDB
		}
		var server *capturetest.MySQLServer
		if server, s.err = create(capturetest.MySQLOptions{Series: seriesOf(flavour)}); s.err == nil {
			s.server, s.err = newTestServer(flavour, server)
		}
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

// ownServer starts a server for one test, which may break it.
func ownServer(t testing.TB, flavour string, own settings) *testServer {
	start := capturetest.StartMySQL
	if kindOf(flavour) == "mariadb" {
		start = capturetest.StartMariaDB
	}
	s, err := newTestServer(flavour, start(t, capturetest.MySQLOptions{Settings: own, Series: seriesOf(flavour)}).MySQLServer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.db.Close() })
	return s
}

func newTestServer(flavour string, server *capturetest.MySQLServer) (*testServer, error) {
	db, err := open(host{"127.0.0.1", uint16(server.Port)}, capturetest.MySQLRoot, "", nil)
	return &testServer{server, flavour, kindOf(flavour), db}, err
}

// exec runs statements on one connection.
func (s *testServer) exec(t testing.TB, statements ...string) {
	t.Helper()
	conn, err := s.db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, statement := range statements {
		if _, err := conn.ExecContext(context.Background(), statement); err != nil {
			t.Fatalf("%.200s: %v", statement, err)
		}
		if strings.HasPrefix(statement, "USE ") {
			// The binlog says in which database a statement was run: none is left to the next test.
			defer conn.Raw(func(any) error { return driver.ErrBadConn })
		}
	}
}

// session runs statements on a connection of their own, which ends with them.
func (s *testServer) session(t testing.TB, statements ...string) {
	t.Helper()
	capturetest.Must(t, s.Exec(context.Background(), "", statements...))
}

// database makes a database for one test.
func (s *testServer) database(t testing.TB) string {
	name := strings.ToLower(strings.NewReplacer("/", "_", "#", "_").Replace(t.Name()))
	if len(name) > 50 {
		name = name[:50]
	}
	s.exec(t, "DROP DATABASE IF EXISTS "+name, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4")
	return name
}
