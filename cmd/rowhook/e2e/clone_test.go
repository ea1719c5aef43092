package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// production is a world whose agent has delivered and was stopped: what is cloned here. Its
// listener must never hear of a clone.
type production struct {
	*world
	heard int64 // requests until then
}

func newProduction(t *testing.T) *production {
	t.Helper()
	return produce(newWorld(t, capturetest.Options{}))
}

// produce lets a world be production for a while.
func produce(w *world) *production {
	t := w.tb
	t.Helper()
	w.conf.log = "  deliveries: ./log/deliveries.jsonl\n"
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	w.confirmed(patience)
	// A delivery that is retrying holds a body rendered in production.
	w.hook.answer(func(arrival) reply { return reply{status: 500} })
	w.insert(2)
	eventually(t, patience, "a delivery is retrying", func() bool { return len(w.hook.all("main")) > 1 })
	a.term()
	w.hook.answer(nil)
	return &production{world: w, heard: w.hook.requests.Load()}
}

// silent fails the test when production's listener was sent anything since.
func (p *production) silent(tb testing.TB) {
	tb.Helper()
	if n := p.hook.requests.Load() - p.heard; n != 0 {
		tb.Errorf("%d requests to production's listener", n)
	}
}

// on is the world of a clone: another server, and a copy of the state directory or none. Config and
// receiver are production's.
func (p *production) on(t *testing.T, pg *capturetest.Postgres, state bool) *world {
	t.Helper()
	w := p.elsewhere(t, state)
	w.moveTo(pg)
	return w
}

// elsewhere is production's world with another directory.
func (p *production) elsewhere(t *testing.T, state bool) *world {
	t.Helper()
	w := *p.world
	w.tb, w.dir, w.env = t, newTempDir(t), nil
	if state {
		out, err := exec.Command("cp", "-a", p.path("state"), w.path("state")).CombinedOutput()
		if err != nil {
			t.Fatalf("copy the state: %v\n%s", err, out)
		}
	}
	return &w
}

// report is what status says, as text.
func (w *world) report() string { return w.rowhook("status").stdout }

func (w *world) reports(words ...string) {
	w.tb.Helper()
	eventually(w.tb, patience, fmt.Sprintf("status says %q", words), func() bool {
		report := w.report()
		for _, word := range words {
			if !strings.Contains(report, word) {
				return false
			}
		}
		return true
	})
}

// logged waits for a number of lines with an outcome and a reason in the delivery log.
func (w *world) logged(n int, outcome, reason string) {
	w.tb.Helper()
	eventually(w.tb, patience, fmt.Sprintf("%d lines with %s, %s", n, outcome, reason), func() bool {
		r := w.rowhook("log", "--outcome", outcome, "--json")
		return strings.Count(r.stdout, `"reason":"`+reason+`"`) == n
	})
}

// A database that was dumped and restored is another one: nothing is read from it and nothing sent,
// with production's state directory beside it.
func TestCloneByDump(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	pg := capturetest.StartPostgres(t, capturetest.Options{Fresh: true})
	pg.Run(t, `create role rowhook login replication`, `create database `+p.pg.db)
	dump := exec.Command(filepath.Join(pgBin(t), "pg_dump"), p.pg.URL(p.pg.db))
	restore := exec.Command(filepath.Join(pgBin(t), "psql"), "-q", "-v", "ON_ERROR_STOP=1", pg.URL(p.pg.db))
	text, err := dump.Output()
	capturetest.Must(t, err)
	restore.Stdin = strings.NewReader(string(text))
	if out, err := restore.CombinedOutput(); err != nil {
		t.Fatalf("restore: %v\n%s", err, out)
	}
	w := p.on(t, pg, true)
	a := w.start()
	a.says("nothing is read from it") // before any command, which would take the state directory's lock
	w.reports("waiting for adoption", "lineage is", "rowhook source adopt")
	w.insert(3)
	for _, args := range [][]string{{"profile", "test", "main"}, {"profile", "activate", "main"}} {
		if r := w.rowhook(args...); r.code != 1 || !strings.Contains(r.stderr, "lineage") {
			t.Errorf("%s: exit %d, %s", args, r.code, r.stderr)
		}
	}
	a.term()
	if r := w.rowhook("profile", "test", "main"); r.code != 1 || !strings.Contains(r.stderr, "lineage") {
		t.Errorf("without an agent: exit %d, %s", r.code, r.stderr)
	}
	p.silent(t)
}

// pgBin is where PostgreSQL's programs are.
func pgBin(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		path, err := exec.LookPath("pg_dump")
		capturetest.Must(t, err)
		return filepath.Dir(path)
	}
	return found[len(found)-1]
}

// A copy of the files at another address is captured, and nothing is sent until somebody adopts it.
func TestCloneAtAnotherAddress(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	capturetest.Must(t, p.pg.Stop(capturetest.Fast))
	w := p.on(t, p.pg.Copy(t, 0, ""), true)
	a := w.begin()
	w.insert(3, 4)
	w.reports("hosts is", "rowhook source adopt")
	eventually(t, patience, "capture goes on", func() bool {
		report, _ := w.status()
		profiles, _ := report["profiles"].([]any)
		profile, _ := profiles[0].(map[string]any)
		return profile["backlog_events"] == 3.0
	})
	p.silent(t)
	a.term()
	a = w.begin() // nor after a restart
	w.reports("hosts is", "rowhook source adopt")
	a.term()
	p.silent(t)
}

// A copy that keeps every identifier, address included, is told by its environment: from outside,
// by the database's own setting or by a table; with production's state directory and without.
func TestCloneThatSaysSo(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	port := p.pg.Port
	for _, how := range []struct {
		name string
		env  []string
		sql  []string
	}{
		{name: "environment variable", env: []string{"ROWHOOK_ENVIRONMENT=sandbox"}},
		{name: "database setting", sql: []string{`alter database app set rowhook.environment = 'sandbox'`}},
		{name: "table", sql: []string{`create schema rowhook`, `create table rowhook.environment (environment text)`,
			`insert into rowhook.environment values ('sandbox')`, `grant usage on schema rowhook to rowhook`, `grant select on rowhook.environment to rowhook`}},
	} {
		for _, state := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, state=%v", how.name, state), func(t *testing.T) {
				if p.pg.PID() != 0 {
					capturetest.Must(t, p.pg.Stop(capturetest.Fast))
				}
				w := p.on(t, p.pg.Copy(t, port, ""), state)
				w.env = how.env
				w.exec(how.sql...)
				own := newReceiver(t)
				var args []string
				if !state {
					args = []string{"--start", "now"}
				}
				a := w.begin(args...)
				w.insert(3)
				if state {
					w.logged(2, "skipped", "sandbox") // what waited in production, and what came
				} else {
					w.logged(1, "skipped", "sandbox")
				}
				w.reports("pending: sandbox")
				if r := w.rowhook("profile", "test", "main"); r.code != 1 {
					t.Errorf("test: exit %d, %s%s", r.code, r.stdout, r.stderr)
				}
				capturetest.Must(t, os.WriteFile(w.path("secret"), []byte(secret+"\n"), 0o600))
				if r := w.rowhook("profile", "activate", "main", "--url", own.url("own"), "--secret-file", w.path("secret")); r.code != 0 {
					t.Fatalf("activate: exit %d, %s%s", r.code, r.stdout, r.stderr)
				}
				w.insert(4)
				own.wait(t, "own", 1, patience)
				a.term()
				a = w.begin() // it outlives a restart
				w.insert(5)
				own.wait(t, "own", 2, patience)
				a.term()
				own.sound(t)
				p.silent(t)
			})
		}
	}
}

// A state directory that was copied sends nothing while the original runs: there is one agent to a
// slot. Afterwards the copy lacks what the original has confirmed, which is a gap.
func TestStateDirectoryCopied(t *testing.T) {
	t.Parallel()
	p := newProduction(t)
	copied := p.on(t, p.pg.Postgres, true)
	a := p.begin()
	p.hook.wait(t, "main", 2, patience)
	p.heard = p.hook.requests.Load()
	b := copied.start()
	b.says("waiting for the server to notice")
	p.silent(t)
	p.insert(3)
	p.hook.wait(t, "main", 3, patience)
	p.confirmed(patience)
	a.term()
	p.heard = p.hook.requests.Load()
	if code := b.wait(patience); code != 4 {
		t.Errorf("the copy ended with %d, want 4", code)
	}
	p.silent(t)
	p.verify(p.ledger(nil), judge{profile: "main"})
}

// A failover within the configured hosts goes on: the promoted standby has the lineage, on a newer
// timeline.
func TestFailoverGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	capturetest.Must(t, w.pg.Stop(capturetest.Fast))
	standby := w.pg.Copy(t, 0, "standby.signal")
	capturetest.Must(t, standby.Stop(capturetest.Fast))
	capturetest.Must(t, w.pg.Start())
	w.conf.url = fmt.Sprintf("postgres://rowhook@127.0.0.1:%d,127.0.0.1:%d/%s?sslmode=disable&target_session_attrs=read-write", w.pg.Port, standby.Port, w.pg.db)
	a := w.begin()
	w.insert(1, 2)
	w.hook.wait(t, "main", 2, patience)
	w.confirmed(patience)
	capturetest.Must(t, w.pg.Stop(capturetest.Fast))
	// The standby has all that the primary had, its slot included, as shared storage or
	// synchronised slots have it.
	copyDir(t, w.pg.DataDir, standby.DataDir)
	capturetest.Must(t, os.WriteFile(filepath.Join(standby.DataDir, "standby.signal"), nil, 0o644))
	capturetest.Must(t, standby.Start())
	w.moveTo(standby)
	w.exec(`select pg_promote()`)
	w.streaming(a)
	w.insert(3)
	w.hook.wait(t, "main", 3, patience)
	report, _ := w.status()
	if text := fmt.Sprint(report["identity"]); strings.Contains(text, "differences") {
		t.Errorf("identity %s", text)
	}
	server, _ := report["source"].(map[string]any)["server"].(map[string]any)
	if server["timeline"] != 2.0 {
		t.Errorf("server %v, want timeline 2", server)
	}
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
}
