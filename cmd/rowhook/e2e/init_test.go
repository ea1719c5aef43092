package e2e_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// librarySchema is the library's schema for a kind of database.
func librarySchema(t *testing.T, kind string) string {
	t.Helper()
	text, err := os.ReadFile("../../../testdata/library/" + kind + ".sql")
	capturetest.Must(t, err)
	return string(text)
}

// libraryServer is a server with the library and an account for the agent.
type libraryServer struct {
	url, owner string
	exec       func(sql string) error
}

func libraryOnPostgres(t *testing.T, major int) libraryServer {
	t.Helper()
	pg := capturetest.StartPostgres(t, capturetest.Options{Major: major})
	pg.Run(t, "create database library", "create role rowhook login replication password 'hidden'")
	s := libraryServer{owner: pg.URL("library"), url: fmt.Sprintf("postgres://rowhook:hidden@127.0.0.1:%d/library", pg.Port)}
	s.exec = func(sql string) error { return pg.Exec(context.Background(), "library", sql) }
	capturetest.Must(t, s.exec(librarySchema(t, "postgres")))
	return s
}

func libraryOnMySQL(t *testing.T, start func(capturetest.TB, capturetest.MySQLOptions) *capturetest.MySQL) libraryServer {
	t.Helper()
	m := start(t, capturetest.MySQLOptions{Settings: map[string]string{"sync_binlog": "1"}})
	s := libraryServer{owner: m.TCP("", capturetest.MySQLRoot, ""), url: fmt.Sprintf("mysql://rowhook:hidden@127.0.0.1:%d/library", m.Port)}
	s.exec = func(sql string) error { return m.Exec(context.Background(), "", sql) }
	capturetest.Must(t, s.exec(librarySchema(t, "mysql")))
	m.User(t, "rowhook", "hidden", "replication slave, replication client, select on *.*")
	return s
}

// From an empty directory to a delivered event: init, listen, check, setup, run, a row.
func TestInitToFirstEvent(t *testing.T) {
	t.Parallel()
	servers := map[string]func(t *testing.T) libraryServer{
		"mysql":   func(t *testing.T) libraryServer { t.Helper(); return libraryOnMySQL(t, capturetest.StartMySQL) },
		"mariadb": func(t *testing.T) libraryServer { t.Helper(); return libraryOnMySQL(t, capturetest.StartMariaDB) },
	}
	majors := capturetest.Majors()
	for _, major := range []int{15, majors[len(majors)-1]} {
		if slices.Contains(majors, major) {
			servers[fmt.Sprint("postgres", major)] = func(t *testing.T) libraryServer { t.Helper(); return libraryOnPostgres(t, major) }
		}
	}
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testInitToFirstEvent(t, start(t))
		})
	}
}

func testInitToFirstEvent(t *testing.T, s libraryServer) {
	dir := newTempDir(t)
	path := filepath.Join(dir, "config.yaml")
	rowhook := func(code int, args ...string) result {
		t.Helper()
		r := command(t, nil, append(args, "-c", path)...)
		if r.code != code {
			t.Fatalf("%q ends with %d, want %d\n%s%s", args, r.code, code, r.stdout, r.stderr)
		}
		return r
	}
	r := rowhook(0, "init", "--url", s.url)
	if !strings.Contains(r.stderr, "14 tables mapped") || !strings.Contains(r.stderr, "rowhook check -c "+path) {
		t.Errorf("init says\n%s", r.stderr)
	}
	heard := &output{}
	cmd := exec.Command(binary, "listen", "--addr", "127.0.0.1:0", "--print", "body", "--secret-file", filepath.Join(dir, "listen.secret"))
	cmd.Stdout = heard
	listen := launch(t, cmd)
	listen.says("listening on ")
	address := regexp.MustCompile(`http://127\.0\.0\.1:\d+/`).FindString(listen.stderr.String())
	raw, err := os.ReadFile(path)
	capturetest.Must(t, err)
	capturetest.Must(t, os.WriteFile(path, []byte(strings.Replace(string(raw), "http://127.0.0.1:8080/", address, 1)), 0o600))

	if strings.HasPrefix(s.url, "postgres") {
		rowhook(3, "check")
		rowhook(0, "setup", "--apply", "--as", s.owner)
	}
	rowhook(0, "check")
	agentCmd := exec.Command(binary, "run", "-c", path)
	agentCmd.Dir = dir
	a := launch(t, agentCmd)
	eventually(t, patience, "the agent streams", func() bool {
		return strings.Contains(command(t, nil, "status", "--json", "-c", path).stdout, `"state": "streaming"`)
	})
	capturetest.Must(t, s.exec(`insert into app.plans (title, updated_by, updated_by_name) values ('A first event', 'aa010001', 'Somebody')`))
	eventually(t, patience, "the event arrives", func() bool { return strings.Contains(heard.String(), "A first event") })
	if got := heard.String(); !strings.Contains(got, `"type":"record.inserted"`) || strings.Contains(got, "hidden") {
		t.Errorf("listen got\n%s", got)
	}
	a.term()
}

// On a terminal init asks for what is not given, and does not show the password.
func TestInitAsks(t *testing.T) {
	t.Parallel()
	s := libraryOnPostgres(t, 0)
	dir := newTempDir(t)
	answers := []string{"nonsense", strings.Replace(s.url, ":hidden", "", 1), "hidden", "asked.yaml", "nothing.*", "circulation.*, app.plans"}
	cmd := exec.Command("script", "-qec", binary+" init", "/dev/null") // a terminal of its own
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "SHELL=/bin/sh")
	shown := &output{}
	cmd.Stdout = shown
	in, err := cmd.StdinPipe()
	capturetest.Must(t, err)
	a := launch(t, cmd)
	asked := map[string]int{}
	for i, prompt := range []string{"Database (", "Database (", "password (", "File to write", "Which ones", "Which ones"} {
		asked[prompt]++
		eventually(t, patience, "it asks "+prompt, func() bool { return strings.Count(shown.String(), prompt) == asked[prompt] })
		_, err := in.Write([]byte(answers[i] + "\n"))
		capturetest.Must(t, err)
	}
	if code := a.wait(patience); code != 0 {
		t.Fatalf("init ends with %d:\n%s", code, shown)
	}
	if strings.Contains(shown.String(), "hidden") {
		t.Errorf("the password is shown:\n%s", shown)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "asked.yaml"))
	capturetest.Must(t, err)
	if n := strings.Count(string(raw), "record.inserted"); n != 5 || strings.Contains(string(raw), "hidden") {
		t.Errorf("%d tables are mapped, want 5:\n%s", n, raw)
	}
	secret, err := os.ReadFile(filepath.Join(dir, "db.password"))
	if err != nil || string(secret) != "hidden\n" {
		t.Errorf("the password's file holds %q, %v", secret, err)
	}
}
