package capturetest

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv("CAPTURETEST_CHILD") != "" {
		beKilled()
	}
	goleak.VerifyTestMain(m)
}

func TestEveryInstalledMajorServes(t *testing.T) {
	library, err := os.ReadFile("../../testdata/library/postgres.sql")
	Must(t, err)
	majors := Majors()
	if len(majors) < 2 {
		t.Fatalf("installed are %v, want at least two majors: run `make test`", majors)
	}
	for _, major := range majors {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			pg := StartPostgres(t, Options{Major: major})
			got := pg.Rows(t, `select current_setting('server_version_num')::int / 10000,
				current_setting('wal_level'), current_setting('TimeZone')`)
			if want := []string{strconv.Itoa(major), "logical", "UTC"}; strings.Join(got[0], " ") != strings.Join(want, " ") {
				t.Errorf("server says %v, want %v", got[0], want)
			}
			pg.Run(t, string(library))
		})
	}
}

func TestDataSurvivesStopAndCrash(t *testing.T) {
	t.Parallel()
	pg := StartPostgres(t, Options{})
	pg.Run(t, "create table kept (n int)")
	port := pg.Port
	for i, end := range []func() error{
		func() error { return pg.Stop(Smart) },
		func() error { return pg.Stop(Fast) },
		func() error { return pg.Stop(Immediate) },
		pg.Crash,
	} {
		pg.Run(t, "insert into kept values (1)")
		Must(t, end())
		if pg.PID() != 0 {
			t.Fatalf("end %d: process %d still there", i, pg.PID())
		}
		Must(t, pg.Start())
		if got := pg.Rows(t, "select count(*) from kept")[0][0]; got != strconv.Itoa(i+1) {
			t.Errorf("end %d: %s rows, want %d", i, got, i+1)
		}
	}
	if pg.Port != port {
		t.Errorf("port moved from %d to %d", port, pg.Port)
	}
}

func TestCrashWithOpenSessions(t *testing.T) {
	t.Parallel()
	pg := StartPostgres(t, Options{})
	conn := pg.Connect(t, pg.DSN)
	if _, err := conn.Exec(t.Context(), "select 1"); err != nil {
		t.Fatal(err)
	}
	Must(t, pg.Crash())
	if _, err := conn.Exec(t.Context(), "select 1"); err == nil {
		t.Error("a session outlived the crash")
	}
	Must(t, pg.Start())
	pg.Run(t, "select 1")
}

func TestFreshClustersDiffer(t *testing.T) {
	t.Parallel()
	const query = "select system_identifier from pg_control_system()"
	a, b := StartPostgres(t, Options{}), StartPostgres(t, Options{Fresh: true})
	if a.Rows(t, query)[0][0] == b.Rows(t, query)[0][0] {
		t.Error("a fresh cluster has the template's system identifier")
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	pg := StartPostgres(t, Options{Settings: map[string]string{"wal_level": "replica", "rowhook.environment": "sandbox"}})
	if got := pg.Rows(t, "select current_setting('wal_level'), current_setting('rowhook.environment')")[0]; got[0] != "replica" || got[1] != "sandbox" {
		t.Errorf("settings are %v", got)
	}
	Must(t, pg.Stop(Fast))
	pg.Set(map[string]string{"wal_level": "logical"})
	Must(t, pg.Start())
	if got := pg.Rows(t, "show wal_level")[0][0]; got != "logical" {
		t.Errorf("wal_level is %s after Set", got)
	}
}

func TestMissingMajorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := NewCluster(Options{Major: 9})
	if err == nil || !strings.Contains(err.Error(), "make test") {
		t.Errorf("error is %v, want a remedy", err)
	}
}

func TestBadSettingShowsTheLog(t *testing.T) {
	t.Parallel()
	_, err := NewCluster(Options{Settings: map[string]string{"max_wal_senders": "many"}})
	if err == nil || !strings.Contains(err.Error(), "max_wal_senders") {
		t.Errorf("error is %v, want the server's own words", err)
	}
}

// beKilled starts a server, says its process id and waits to be killed.
func beKilled() {
	c, err := NewCluster(Options{})
	if err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Stdout.WriteString(strconv.Itoa(c.PID()) + " " + c.dir + "\n")
	select {}
}

func TestServerEndsWithAKilledTest(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CAPTURETEST_CHILD=1")
	out, err := cmd.StdoutPipe()
	Must(t, err)
	Must(t, cmd.Start())
	line := make([]byte, 4096)
	n, err := out.Read(line)
	Must(t, err)
	Must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	pidText, dir, _ := strings.Cut(strings.TrimSpace(string(line[:n])), " ")
	pid, err := strconv.Atoi(pidText)
	if err != nil {
		t.Fatalf("child says %q", line[:n])
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := poll(ctx, func() bool { return !alive(pid) }); err != nil {
		_ = syscall.Kill(pid, syscall.SIGQUIT)
		t.Errorf("server %d outlived its test", pid)
	}
}
