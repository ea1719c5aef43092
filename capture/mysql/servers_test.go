package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	code := m.Run()
	for _, s := range servers {
		if s.server != nil {
			s.server.kill()
			os.RemoveAll(s.server.dir)
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

// flavours are the servers that every test runs on.
var servers = map[string]*shared{"mysql": {}, "mariadb": {}}

type shared struct {
	once   sync.Once
	server *testServer
	err    error
}

// testServer is a throwaway server on loopback.
type testServer struct {
	flavour string
	dir     string
	port    int
	args    []string
	cmd     *exec.Cmd
	db      *sql.DB
}

// onBoth runs a test on a shared server of each flavour.
func onBoth(t *testing.T, f func(t *testing.T, s *testServer)) {
	for _, flavour := range []string{"mysql", "mariadb"} {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			f(t, sharedServer(t, flavour))
		})
	}
}

func sharedServer(t testing.TB, flavour string) *testServer {
	s := servers[flavour]
	s.once.Do(func() { s.server, s.err = startServer(flavour) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.server
}

// ownServer starts a server for one test, which may break it.
func ownServer(t testing.TB, flavour string, args ...string) *testServer {
	s, err := startServer(flavour, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.kill(); os.RemoveAll(s.dir) })
	return s
}

func mysqldPath() string {
	home, _ := os.UserHomeDir()
	for _, tools := range []string{os.Getenv("ROWHOOK_TOOLS"), "/var/cache/rowhook", filepath.Join(home, ".cache", "rowhook")} {
		if found, _ := filepath.Glob(filepath.Join(tools, "mysql", "*", "mysqld")); tools != "" && len(found) > 0 {
			return found[0]
		}
	}
	return "mysqld"
}

func startServer(flavour string, args ...string) (*testServer, error) {
	dir, err := os.MkdirTemp("", "rowhook-mysql-")
	if err != nil {
		return nil, err
	}
	s := &testServer{flavour: flavour, dir: dir}
	if err := os.Chown(dir, 65534, 65534); err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	install := exec.Command("mariadb-install-db", "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")
	if flavour == "mysql" {
		install = exec.Command(mysqldPath(), "--no-defaults", "--initialize-insecure", "--datadir="+data)
	}
	s.as(install)
	if out, err := install.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("install %s: %w\n%s", flavour, err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.port = l.Addr().(*net.TCPAddr).Port
	l.Close()
	s.args = append([]string{"--no-defaults", "--datadir=" + data, "--socket=" + dir + "/s", "--pid-file=" + dir + "/pid",
		fmt.Sprintf("--port=%d", s.port), "--bind-address=127.0.0.1", "--server-id=1", "--log-bin=binlog", "--binlog-format=ROW",
		"--binlog-row-metadata=FULL", "--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0"}, args...)
	if flavour == "mysql" {
		s.args = append(s.args, "--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--binlog-rows-query-log-events=ON",
			"--mysqlx=OFF", "--secure-file-priv=", "--innodb-redo-log-capacity=16M")
		if len(args) > 0 { // what a test says comes last
			s.args = append(s.args, args...)
		}
	}
	return s, s.start()
}

func (s *testServer) as(cmd *exec.Cmd) {
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
}

func (s *testServer) start() error {
	binary := mysqldPath()
	if s.flavour == "mariadb" {
		binary = "mariadbd"
	}
	s.cmd = exec.Command(binary, s.args...)
	s.as(s.cmd)
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.cmd.Start(); err != nil {
		return err
	}
	if s.db == nil {
		if s.db, err = open(host{"127.0.0.1", uint16(s.port)}, "root", "", nil); err != nil {
			return err
		}
	}
	deadline := time.Now().Add(60 * time.Second)
	for s.db.Ping() != nil {
		if time.Now().After(deadline) {
			out, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%s does not start:\n%s", s.flavour, out)
		}
		<-time.After(50 * time.Millisecond)
	}
	return nil
}

// kill ends the server at once.
func (s *testServer) kill() {
	if s.cmd != nil && s.cmd.Process != nil {
		syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		s.cmd.Wait()
	}
	s.db.Close()
	s.db = nil
}

func (s *testServer) url(database string) string {
	return fmt.Sprintf("mysql://root@127.0.0.1:%d/%s", s.port, database)
}

// exec runs statements on one connection.
func (s *testServer) exec(t testing.TB, statements ...string) {
	t.Helper()
	ctx := context.Background()
	conn, err := s.db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// session runs statements on a connection of their own, which ends with them.
func (s *testServer) session(t testing.TB, statements ...string) {
	t.Helper()
	db, err := open(host{"127.0.0.1", uint16(s.port)}, "root", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	(&testServer{db: db}).exec(t, statements...)
}

// database makes a database for one test.
func (s *testServer) database(t testing.TB) string {
	name := strings.ToLower(strings.NewReplacer("/", "_", "#", "_").Replace(t.Name()))
	if len(name) > 50 {
		name = name[:50]
	}
	s.exec(t, "DROP DATABASE IF EXISTS "+name, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4")
	t.Cleanup(func() {
		if s.db != nil {
			s.exec(t, "DROP DATABASE IF EXISTS "+name)
		}
	})
	return name
}
