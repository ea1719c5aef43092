// Package mysqltest holds the tests of capturetest's MySQL and MariaDB servers, apart
// from the others since they need servers that the others do not.
package mysqltest

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"go.uber.org/goleak"

	"rowhook/capture/capturetest"
)

func TestMain(m *testing.M) {
	if name := os.Getenv("CAPTURETEST_CHILD"); name != "" {
		beKilled(name)
	}
	goleak.VerifyTestMain(m)
}

// kind is a kind of server that each test runs on.
type kind struct {
	name, series string
}

var servers = []kind{{name: "mysql"}, {name: "mariadb"}, {name: "mariadb-11.8", series: "11.8"}}

func (k kind) create(opts capturetest.MySQLOptions) (*capturetest.MySQLServer, error) {
	opts.Series = k.series
	if k.name == "mysql" {
		return capturetest.NewMySQL(opts)
	}
	return capturetest.NewMariaDB(opts)
}

func (k kind) start(t *testing.T, opts capturetest.MySQLOptions) *capturetest.MySQL {
	opts.Series = k.series
	if k.name == "mysql" {
		return capturetest.StartMySQL(t, opts)
	}
	return capturetest.StartMariaDB(t, opts)
}

type starter = func(capturetest.MySQLOptions) *capturetest.MySQL

// onEach runs a test on each kind of server.
func onEach(t *testing.T, test func(*testing.T, starter)) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			test(t, func(opts capturetest.MySQLOptions) *capturetest.MySQL { return server.start(t, opts) })
		})
	}
}

func TestServes(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start starter) {
		m := start(capturetest.MySQLOptions{})
		got := m.Rows(t, `select @@log_bin, @@binlog_format, @@binlog_row_metadata, @@binlog_row_image,
			@@time_zone, @@server_id, @@character_set_database, database()`)[0]
		want := []string{"1", "ROW", "FULL", "FULL", "+00:00", strconv.Itoa(m.Port), "utf8mb4", "test"}
		if !slices.Equal(got, want) {
			t.Errorf("server says %v, want %v", got, want)
		}
		query, want := "select @@gtid_mode, @@binlog_rows_query_log_events, @@gtid_executed", []string{"ON", "1", ""}
		if m.MariaDB {
			query, want = "select @@binlog_annotate_row_events, @@gtid_binlog_pos", []string{"1", ""}
		}
		if got := m.Rows(t, query)[0]; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	})
}

func TestDataSurvivesStopAndCrash(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start starter) {
		m := start(capturetest.MySQLOptions{})
		m.Run(t, "create table kept (n int)")
		port := m.Port
		for i, end := range []func() error{m.Stop, m.Crash, m.Crash} {
			m.Run(t, "insert into kept values (1)")
			capturetest.Must(t, end())
			if m.PID() != 0 {
				t.Fatalf("end %d: process %d still there", i, m.PID())
			}
			capturetest.Must(t, m.Start())
			if got := m.Rows(t, "select count(*) from kept")[0][0]; got != strconv.Itoa(i+1) {
				t.Errorf("end %d: %s rows, want %d", i, got, i+1)
			}
			if got := m.Rows(t, "show binary logs"); len(got) != i+2 {
				t.Errorf("end %d: binary logs are %v, want %d", i, got, i+2)
			}
		}
		capturetest.Must(t, m.Restart())
		if m.Port != port {
			t.Errorf("port moved from %d to %d", port, m.Port)
		}
	})
}

func TestCrashWithOpenTransaction(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start starter) {
		m := start(capturetest.MySQLOptions{})
		m.Run(t, "create table kept (n int)")
		conn := m.Connect(t, "test")
		for _, statement := range []string{"begin", "insert into kept values (1)"} {
			if _, err := conn.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		capturetest.Must(t, m.Crash())
		if _, err := conn.ExecContext(t.Context(), "commit"); err == nil {
			t.Error("a session outlived the crash")
		}
		capturetest.Must(t, m.Start())
		if got := m.Rows(t, "select count(*) from kept")[0][0]; got != "0" {
			t.Errorf("%s rows of an open transaction outlived the crash", got)
		}
	})
}

func TestSettings(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start starter) {
		m := start(capturetest.MySQLOptions{Settings: map[string]string{"binlog_row_metadata": "MINIMAL", "server_id": "7"}, Durable: true})
		const query = "select @@binlog_row_metadata, @@server_id, @@sync_binlog, @@innodb_flush_log_at_trx_commit"
		if got := strings.Join(m.Rows(t, query)[0], " "); got != "MINIMAL 7 1 1" {
			t.Errorf("settings are %s", got)
		}
		m.Set(map[string]string{"binlog_row_metadata": "FULL"})
		capturetest.Must(t, m.Restart())
		if got := strings.Join(m.Rows(t, query)[0], " "); got != "FULL 7 1 1" {
			t.Errorf("settings after Set are %s", got)
		}
	})
}

func TestBlackhole(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start starter) {
		m := start(capturetest.MySQLOptions{})
		if m.MariaDB {
			m.Run(t, "install soname 'ha_blackhole'")
		}
		m.Run(t, "create table nothing (id int primary key) engine = blackhole", "insert into nothing values (1)")
		if got := m.Rows(t, "select * from nothing"); len(got) != 0 {
			t.Errorf("the table holds %v", got)
		}
	})
}

func TestUsers(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start starter) {
		m := start(capturetest.MySQLOptions{})
		m.Database(t, "library")
		m.Run(t, "create table library.items (id int primary key)")
		m.User(t, "rowhook", `it's \secret`, "replication slave on *.*", "select on library.items")
		grants := m.Rows(t, "show grants for rowhook@'%'")
		if len(grants) != 2 || !strings.Contains(grants[0][0], "REPLICATION SLAVE") {
			t.Errorf("grants are %v", grants)
		}
		db, err := sql.Open("mysql", fmt.Sprintf(`rowhook:it's \secret@tcp(127.0.0.1:%d)/library`, m.Port))
		capturetest.Must(t, err)
		defer db.Close()
		var n int
		if err := db.QueryRowContext(t.Context(), "select count(*) from items").Scan(&n); err != nil {
			t.Errorf("as the user, over TCP: %v", err)
		}
		want := fmt.Sprintf("mysql://rowhook:p@127.0.0.1:%d/library", m.Port)
		if got := m.TCP("library", "rowhook", "p"); got != want {
			t.Errorf("URL is %s, want %s", got, want)
		}
	})
}

func TestReplica(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, start starter) {
		primary, replica := start(capturetest.MySQLOptions{}), start(capturetest.MySQLOptions{})
		if !primary.MariaDB {
			const query = "select @@server_uuid"
			if a, b := primary.Rows(t, query)[0][0], replica.Rows(t, query)[0][0]; a == b {
				t.Errorf("both servers are %s", a)
			}
		}
		capturetest.Must(t, replica.Follow(t.Context(), primary.MySQLServer))
		primary.Run(t, "create table kept (n int)", "insert into kept values (1), (2)")
		capturetest.Must(t, primary.AwaitReplica(t.Context(), replica.MySQLServer))
		if got := replica.Rows(t, "select count(*) from kept")[0][0]; got != "2" {
			t.Errorf("the replica has %s rows, want 2", got)
		}
		capturetest.Must(t, primary.Crash())
		capturetest.Must(t, replica.Promote(t.Context()))
		replica.Run(t, "insert into kept values (3)")
		query := "select @@gtid_executed"
		if replica.MariaDB {
			query = "select @@gtid_binlog_pos"
		}
		// Two transactions of the primary's and one of its own, in either notation.
		written := replica.Rows(t, query)[0][0]
		if replica.MariaDB && !strings.HasSuffix(written, "-3") || !replica.MariaDB && strings.Count(written, ":") != 2 {
			t.Errorf("the promoted server is at %s", written)
		}
	})
}

func TestMissingServerSaysWhatToDo(t *testing.T) {
	t.Setenv("ROWHOOK_TOOLS", t.TempDir())
	s, err := capturetest.NewMySQL(capturetest.MySQLOptions{})
	if err == nil { // it is the system's
		capturetest.Must(t, s.Close())
		return
	}
	if !strings.Contains(err.Error(), "make test") {
		t.Errorf("error is %v, want a remedy", err)
	}
}

func TestBadSettingShowsTheLog(t *testing.T) {
	t.Parallel()
	for _, server := range servers {
		_, err := server.create(capturetest.MySQLOptions{Settings: map[string]string{"binlog_format_of_old": "x"}})
		if err == nil || !strings.Contains(err.Error(), "binlog_format_of_old") && !strings.Contains(err.Error(), "binlog-format-of-old") {
			t.Errorf("%s: error is %v, want the server's own words", server.name, err)
		}
	}
}

// beKilled starts a server, says its process id and directory, and waits to be killed.
func beKilled(name string) {
	for _, server := range servers {
		if server.name != name {
			continue
		}
		s, err := server.create(capturetest.MySQLOptions{})
		if err != nil {
			_, _ = os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		_, _ = os.Stdout.WriteString(strconv.Itoa(s.PID()) + " " + s.DataDir + "\n")
	}
	select {}
}

func TestServerEndsWithAKilledTest(t *testing.T) {
	t.Parallel()
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "CAPTURETEST_CHILD="+server.name)
			out, err := cmd.StdoutPipe()
			capturetest.Must(t, err)
			capturetest.Must(t, cmd.Start())
			line := make([]byte, 4096)
			n, err := out.Read(line)
			capturetest.Must(t, err)
			capturetest.Must(t, cmd.Process.Kill())
			_ = cmd.Wait() // it was killed
			pidText, data, _ := strings.Cut(strings.TrimSpace(string(line[:n])), " ")
			pid, err := strconv.Atoi(pidText)
			if err != nil {
				t.Fatalf("child says %q", line[:n])
			}
			t.Cleanup(func() { _ = os.RemoveAll(filepath.Dir(data)) })
			deadline := time.After(20 * time.Second)
			for !ended(pid) {
				select {
				case <-deadline:
					_ = syscall.Kill(pid, syscall.SIGKILL)
					t.Fatalf("server %d outlived its test", pid)
				case <-time.After(20 * time.Millisecond):
				}
			}
		})
	}
}

// ended reports whether a process is gone, or a zombie that nobody asks about.
func ended(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(raw), ") Z ")
}
