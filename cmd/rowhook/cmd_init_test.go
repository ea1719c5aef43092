package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
	"rowhook/cmd/rowhook/config"
)

// initServer is a server with the library, and tables that make it hard.
type initServer struct {
	kind       string
	url, owner string // of the agent's account, and of the tables' owner
	password   string
}

// hostileSQL are tables whose names and labels YAML, the config or SQL could take for something else.
var hostileSQL = map[string][]string{
	"postgres": {
		`create schema "Odd ""one"`,
		`create type "Odd ""one"."St%te" as enum ('null', 'true', '01', '', 'it''s', '${HOME}', '返却', 'a: b # c', E'two\nlines', '~')`,
		`create table "Odd ""one"."Ta.ble: %s # {x}" ("k ey" int primary key, "St%te" "Odd ""one"."St%te", "re turned_at" timestamptz, "返却日時" timestamptz,
			"updated_by" text, "pass word_hash" text, "e-mail" text, "${HOME}" text)`,
		`create table "Odd ""one"."no" (id int primary key, "on" text check ("on" in ('yes', 'no')))`,
		`create table "Odd ""one"."- {}" (id int primary key, returned_at timestamptz, status text check (status in ('returned', 'record')))`,
		`create table "Odd ""one"."a*" (id int primary key)`,
		`create schema "with.dot"`, `create table "with.dot".t (id int primary key)`,
		`create table circulation.keyless (a int, b int)`,
		`create table circulation.whole (a int, b int)`, `alter table circulation.whole replica identity full`,
		`create view circulation.overdue as select * from circulation.loans`,
		`create unlogged table circulation.fleeting (id int primary key)`,
		`create table circulation.visits (id int, day date, left_at timestamptz, primary key (id, day)) partition by range (day)`,
		`create table circulation.visits_2026 partition of circulation.visits for values from ('2026-01-01') to ('2027-01-01')`,
		`create table circulation.parent (id int primary key, done_at timestamptz)`, `create table circulation.child (primary key (id)) inherits (circulation.parent)`,
		`create domain circulation.light as text check (value in ('red', 'green'))`,
		`create table circulation.lamps (id int primary key, light circulation.light)`,
		`create table circulation.computed (id int primary key, net int, gross int generated always as (net * 2) stored, paid_at timestamptz)`,
	},
	"mysql": {
		"create database `Odd \"one`",
		"create table `Odd \"one`.`Ta.ble: %s # {x}` (`k ey` int primary key, `St%te` enum('null', 'true', '01', '', 'it''s', '${HOME}', '返却', 'a: b # c', 'two\\nlines', '~'), " +
			"`re turned_at` timestamp null, `返却日時` timestamp null, updated_by varchar(9), `pass word_hash` text, `e-mail` text, `${HOME}` text)",
		"create table `Odd \"one`.`no` (id int primary key, `on` varchar(9) check (`on` in ('yes', 'no')))",
		"create table `Odd \"one`.`- {}` (id int primary key, returned_at timestamp null comment 'CHECK (`status` in (\\'x\\'))', status varchar(9), constraint c check (status in ('returned', 'record')))",
		"create table `Odd \"one`.`a*` (id int primary key)",
		"create database `with.dot`", "create table `with.dot`.t (id int primary key)",
		"create table circulation.keyless (a int, b int)",
		"create table circulation.unique_only (a int not null unique, b int)",
		"create view circulation.overdue as select * from circulation.loans",
	},
}

// onInitServers runs a test on each kind of server, with an account that has no right on any table
// of PostgreSQL, and all that it takes to see them in MySQL.
func onInitServers(t *testing.T, f func(t *testing.T, s initServer)) {
	majors := capturetest.Majors()
	for _, major := range slices.Compact([]int{majors[0], 15, 18, majors[len(majors)-1]}) {
		if major < 15 || !slices.Contains(majors, major) {
			continue
		}
		t.Run(fmt.Sprintf("postgres%d", major), func(t *testing.T) {
			t.Parallel()
			pg := capturetest.StartPostgres(t, capturetest.Options{Major: major})
			pg.Run(t, "create database library", "create role rowhook login replication password 'se:cr@t/1%'")
			for _, sql := range append(librarySQL(t, "postgres"), hostileSQL["postgres"]...) {
				capturetest.Must(t, pg.Exec(t.Context(), "library", sql))
			}
			f(t, initServer{kind: "postgres", owner: pg.URL("library"), password: "se:cr@t/1%",
				url: fmt.Sprintf("postgres://rowhook:se%%3Acr%%40t%%2F1%%25@127.0.0.1:%d/library?sslmode=disable", pg.Port)})
		})
	}
	for name, start := range mysqlFlavours {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, capturetest.MySQLOptions{Settings: map[string]string{"sync_binlog": "1"}})
			server.Run(t, append(librarySQL(t, "mysql"), hostileSQL["mysql"]...)...)
			server.User(t, "rowhook", "se:cr@t/1%", "replication slave, replication client, select on *.*")
			f(t, initServer{kind: "mysql", owner: server.TCP("", capturetest.MySQLRoot, ""), password: "se:cr@t/1%",
				url: fmt.Sprintf("mysql://rowhook:se%%3Acr%%40t%%2F1%%25@127.0.0.1:%d/library", server.Port)})
		})
	}
}

// TestInitGolden holds what init writes for the library, on each kind of database.
func TestInitGolden(t *testing.T) {
	t.Parallel()
	write := func(t *testing.T, name, url string) {
		t.Helper()
		got := rowhook(t, "init", "--url", url, "-o", "-")
		if got.code != exitDone || got.err != "" {
			t.Fatalf("exit %d\n%s", got.code, got.err)
		}
		text := regexp.MustCompile(`127\.0\.0\.1:\d{5}`).ReplaceAllString(got.out, "127.0.0.1:PORT")
		golden(t, filepath.Join("init", name+".yaml"), regexp.MustCompile(`(SQL|MariaDB) [\d.]+`).ReplaceAllString(text, "$1 VERSION"))
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		pg := capturetest.StartPostgres(t, capturetest.Options{})
		pg.Run(t, "create database library", "create role rowhook login replication")
		capturetest.Must(t, pg.Exec(t.Context(), "library", librarySQL(t, "postgres")...))
		write(t, "postgres", fmt.Sprintf("postgres://rowhook:secret@127.0.0.1:%d/library", pg.Port))
	})
	for name, start := range mysqlFlavours {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, capturetest.MySQLOptions{})
			server.Run(t, librarySQL(t, "mysql")...)
			server.User(t, "rowhook", "secret", "replication slave, replication client, select on *.*")
			write(t, name, fmt.Sprintf("mysql://rowhook:secret@127.0.0.1:%d", server.Port))
		})
	}
}

// TestInitTables: an account's rights choose the tables, unless somebody names them.
func TestInitTables(t *testing.T) {
	t.Parallel()
	tables := func(t *testing.T, want string, args ...string) {
		t.Helper()
		got := rowhook(t, append([]string{"init", "-o", "-"}, args...)...)
		names := regexp.MustCompile(`(?m)^  ([a-z_]+\.[a-z_]+):`).FindAllStringSubmatch(got.out, -1)
		var list []string
		for _, name := range names {
			list = append(list, name[1])
		}
		if got.code != exitDone || strings.Join(list, " ") != want {
			t.Errorf("%q: exit %d, tables %q, want %s\n%s", args, got.code, list, want, got.err)
		}
	}
	refused := func(t *testing.T, code int, want string, args ...string) {
		t.Helper()
		if got := rowhook(t, append([]string{"init", "-o", "-"}, args...)...); got.code != code || !strings.Contains(got.err, want) || got.out != "" {
			t.Errorf("%q: %+v, want exit %d and %s", args, got, code, want)
		}
	}
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		pg := capturetest.StartPostgres(t, capturetest.Options{})
		pg.Run(t, "create database library", "create database none", "create role rowhook login replication")
		sql := append(librarySQL(t, "postgres"), "create table app.keyless (id int)", "create view app.seen as select 1 as id",
			"grant usage on schema circulation, app to rowhook", "grant select on circulation.loans, app.keyless, app.rowhook_signal to rowhook")
		capturetest.Must(t, pg.Exec(t.Context(), "library", sql...))
		url := fmt.Sprintf("postgres://rowhook@127.0.0.1:%d/library", pg.Port)
		tables(t, "circulation.loans", "--url", url)
		tables(t, "app.sessions circulation.loans", "--url", url, "--tables", "app.sess*,circulation.loans")
		refused(t, exitFailed, "no table matches app.nothing*", "--url", url, "--tables", "app.nothing*")
		refused(t, exitFailed, "app.keyless has no usable replica identity", "--url", url, "--tables", "app.keyless")
		refused(t, exitFailed, "app.seen is a view", "--url", url, "--tables", "app.seen")
		refused(t, exitUsage, `"loans" is not schema.table`, "--url", url, "--tables", "loans")
		refused(t, exitFailed, "shows no table", "--url", strings.Replace(url, "/library", "/none", 1))
		refused(t, exitFailed, "does not exist", "--url", strings.Replace(url, "/library", "/nowhere", 1))
		capturetest.Must(t, pg.Exec(t.Context(), "library", "revoke select on all tables in schema circulation, app from rowhook"))
		if got := rowhook(t, "init", "-o", "-", "--url", url); strings.Count(got.out, "record.inserted") != 14 {
			t.Errorf("without any right:\n%s%s", got.out, got.err)
		}
	})
	for name, start := range mysqlFlavours {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, capturetest.MySQLOptions{})
			server.Run(t, librarySQL(t, "mysql")...)
			server.User(t, "rowhook", "secret", "replication slave, replication client on *.*", "select on circulation.loans", "select on circulation.members",
				"select on catalog.items", "insert on catalog.bibs")
			server.User(t, "nobody", "secret", "replication slave on *.*")
			url := fmt.Sprintf("mysql://rowhook:secret@127.0.0.1:%d/", server.Port)
			tables(t, "catalog.items circulation.loans circulation.members", "--url", url)
			tables(t, "circulation.loans circulation.members", "--url", url+"circulation")
			tables(t, "catalog.items circulation.loans circulation.members", "--url", url+"library") // only a name
			tables(t, "catalog.items", "--url", url+"circulation", "--tables", "catalog.i*")
			refused(t, exitFailed, "no table matches app.*", "--url", url, "--tables", "app.*")
			refused(t, exitFailed, "shows no table", "--url", strings.Replace(url, "rowhook", "nobody", 1))
		})
	}
}

// TestInitFiles: secrets go to files of their own or stay variables, and nothing is overwritten.
func TestInitFiles(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, "create role rowhook login replication", "create table loans (id int primary key)")
	address := fmt.Sprintf("127.0.0.1:%d/postgres", pg.Port)
	run := func(variables map[string]string, args ...string) result {
		var out, messages strings.Builder
		code := execute(t.Context(), append([]string{"init"}, args...), &console{in: strings.NewReader(""), out: &out, err: &messages, env: env(variables)})
		return result{code, out.String(), messages.String()}
	}
	inDir := func(args ...string) (dir string, config string) {
		t.Helper()
		dir = t.TempDir()
		got := run(map[string]string{"DB_PASSWORD": "hidden/1"}, append(args, "-o", filepath.Join(dir, "config.yaml"))...)
		if got.code != exitDone || got.out != "" || !strings.Contains(got.err, "1 table mapped") || strings.Contains(got.err, "hidden") {
			t.Fatalf("%q: %+v", args, got)
		}
		raw, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
		must(t, err)
		if strings.Contains(string(raw), "hidden") {
			t.Errorf("%q: the password stands in the config", args)
		}
		if secret, err := os.ReadFile(filepath.Join(dir, "listen.secret")); err != nil || !strings.HasPrefix(string(secret), "whsec_") || len(secret) != 51 {
			t.Errorf("the secret is %q, %v", secret, err)
		}
		return dir, string(raw)
	}
	dir, text := inDir("--url", "postgres://rowhook:hidden%2F1@"+address)
	secret, err := os.ReadFile(filepath.Join(dir, "db.password"))
	must(t, err)
	info, err := os.Stat(filepath.Join(dir, "db.password"))
	must(t, err)
	if string(secret) != "hidden/1\n" || info.Mode().Perm()&0o077 != 0 || !strings.Contains(text, "password_file: ./db.password") {
		t.Errorf("the password's file holds %q, mode %o", secret, info.Mode().Perm())
	}
	before := text
	if got := run(nil, "--url", "postgres://rowhook@"+address, "-o", filepath.Join(dir, "config.yaml")); got.code != exitFailed || !strings.Contains(got.err, "config.yaml is there already") || !strings.Contains(got.err, "-o FILE") {
		t.Errorf("a config that is there: %+v", got)
	}
	if got := run(nil, "--url", "postgres://rowhook:hidden@"+address, "-o", filepath.Join(dir, "other.yaml")); got.code != exitFailed || !strings.Contains(got.err, "db.password is there already") {
		t.Errorf("a password that is there: %+v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "other.yaml")); err == nil {
		t.Error("a config was written beside another's password")
	}
	packaged, err := os.ReadFile("../../docker/package/config.yaml")
	must(t, err)
	for name, test := range map[string]struct {
		text string
		code int
	}{"packaged.yaml": {string(packaged), exitDone}, "begun.yaml": {string(packaged) + "source: {}\n", exitFailed}} {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(test.text), 0o640))
		got := run(nil, "--url", "postgres://rowhook@"+address, "-o", path)
		text, err := os.ReadFile(path)
		must(t, err)
		info, err := os.Stat(path)
		must(t, err)
		if replaced := strings.Contains(string(text), "\nprofiles:\n"); got.code != test.code || replaced == (string(text) == test.text) || replaced != (test.code == exitDone) || info.Mode().Perm() != 0o640 {
			t.Errorf("%s, mode %o: %+v\n%s", name, info.Mode().Perm(), got, text)
		}
	}
	after, err := os.ReadFile(filepath.Join(dir, "config.yaml"))
	if err != nil || string(after) != before {
		t.Errorf("the config is another now: %v", err)
	}
	dir, text = inDir("--url", "postgres://rowhook:${DB_PASSWORD}@"+address)
	if _, err := os.Stat(filepath.Join(dir, "db.password")); err == nil || !strings.Contains(text, "rowhook:${DB_PASSWORD}@") {
		t.Errorf("a variable does not stay one:\n%s", text)
	}
	own := filepath.Join(t.TempDir(), "own $pass")
	must(t, os.WriteFile(own, []byte("hidden\n"), 0o600))
	if _, text = inDir("--url", "postgres://rowhook@"+address, "--password-file", own); !strings.Contains(text, "own $$pass") {
		t.Errorf("a file of one's own is not named:\n%s", text)
	}
	if got := run(map[string]string{"PGPASSWORD": "hidden"}, "--url", "postgres://rowhook@"+address, "-o", "-"); !strings.Contains(got.out, "\n  password: ${PGPASSWORD}\n") {
		t.Errorf("PGPASSWORD: %+v", got)
	}
	if got := run(nil, "--url", "postgres://rowhook:hidden@"+address, "-o", "-"); strings.Contains(got.out, "hidden") ||
		!strings.Contains(got.out, "password: ${ROWHOOK_DB_PASSWORD}") || !strings.Contains(got.out, "secret: ${ROWHOOK_LISTEN_SECRET}") {
		t.Errorf("on standard output: %+v", got)
	}
	for _, test := range []struct {
		want string
		args []string
	}{
		{"missing --url", nil},
		{"expected postgres://", []string{"--url", "oracle://x"}},
		{"percent-encode", []string{"--url", "postgres://rowhook:hid@den@" + address}},
		{"sslpassword", []string{"--url", "postgres://rowhook@" + address + "?sslpassword=hidden"}},
		{"DB_PASSWORD is not set", []string{"--url", "postgres://rowhook:${DB_PASSWORD}@" + address}},
		{"given beside", []string{"--url", "postgres://rowhook:hidden@" + address, "--password-file", own}},
		{"no such file", []string{"--url", "postgres://rowhook@" + address, "--password-file", own + "no"}},
	} {
		if got := run(nil, append(test.args, "-o", "-")...); got.code != exitUsage || !strings.Contains(got.err, test.want) || strings.Contains(got.err, "hidden") {
			t.Errorf("%q: %+v, want %s", test.args, got, test.want)
		}
	}
}

// proposal is an indented line that begins with #.
var proposal = regexp.MustCompile(`(?m)^( +)# `)

// TestInitProposals: the config that init writes is fine, and each proposal in it is, alone and with
// all others: check finds nothing but what setup cures.
func TestInitProposals(t *testing.T) {
	t.Parallel()
	onInitServers(t, func(t *testing.T, s initServer) {
		path := filepath.Join(t.TempDir(), "config.yaml")
		if got := rowhook(t, "init", "--url", s.url, "-o", path); got.code != exitDone {
			t.Fatalf("init: exit %d\n%s%s", got.code, got.out, got.err)
		}
		text := receivedBy(t, path)
		found := checkCodes(t, path)
		for code := range found {
			if cures := []string{"publication", "not_published", "replica_identity", "usage_privilege", "select_privilege", "generated_columns"}; !slices.Contains(cures, code) {
				t.Errorf("at once, check finds %s: %s", code, found[code])
			}
		}
		mend := func() {
			t.Helper()
			if got := rowhook(t, "setup", "--apply", "--as", s.owner, "-c", path); got.code != exitDone {
				t.Fatalf("setup: exit %d\n%s%s", got.code, got.out, got.err)
			}
			found := checkCodes(t, path)
			delete(found, "generated_columns") // which the config says beforehand
			if len(found) > 0 {
				t.Errorf("after setup, check finds %q", found)
			}
		}
		mend()
		conf, err := config.Load(path, env(nil), "")
		must(t, err)
		source, err := newSource(conf, slog.New(slog.DiscardHandler), "test")
		must(t, err)
		defer source.Close()
		tables, err := source.Tables(t.Context(), conf.Rules().Tables())
		must(t, err)
		places := proposal.FindAllStringSubmatchIndex(text, -1)
		if len(places) < 30 {
			t.Errorf("only %d proposals", len(places))
		}
		for _, at := range places {
			one := text[:at[3]] + text[at[1]:]
			conf, err := config.Parse(path, []byte(one), env(nil), config.ReadSecret)
			if err != nil {
				t.Errorf("%s\nis refused: %v", lineAt(text, at[1]), err)
				continue
			}
			for _, f := range append(conf.Findings(), conf.TableFindings(tables)...) {
				if f.Severity >= capture.Warning && f.Code != "replica_identity" {
					t.Errorf("%s\nfinds %+v", lineAt(text, at[1]), f)
				}
			}
		}
		must(t, os.WriteFile(path, []byte(proposal.ReplaceAllString(text, "$1")), 0o600))
		mend()
	})
}

// lineAt is the line around a place of a text.
func lineAt(text string, at int) string {
	line, _, _ := strings.Cut(text[at:], "\n")
	return text[strings.LastIndexByte(text[:at], '\n')+1:at] + line
}

// receivedBy puts a receiver of the test's own in the place of `rowhook listen`.
func receivedBy(t *testing.T, path string) string {
	t.Helper()
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(receiver.Close)
	raw, err := os.ReadFile(path)
	must(t, err)
	text := strings.Replace(string(raw), "http://127.0.0.1:8080", receiver.URL, 1)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return text
}

// checkCodes are the errors and warnings of check.
func checkCodes(t *testing.T, path string) map[string]string {
	t.Helper()
	got := rowhook(t, "check", "--json", "-c", path)
	var report struct {
		Findings []struct{ Severity, Code, Text string }
	}
	if err := json.Unmarshal([]byte(got.out), &report); err != nil {
		t.Fatalf("%v in %s%s", err, got.out, got.err)
	}
	found := map[string]string{}
	for _, f := range report.Findings {
		if f.Severity != "info" {
			found[f.Code] = f.Text
		}
	}
	return found
}
