package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"rowhook/capture/capturetest"
)

// A config file that is wrong is refused with the place and what was meant.
func TestConfigRefused(t *testing.T) {
	t.Parallel()
	usual := "source: {type: postgres, url: 'postgres://rowhook@127.0.0.1:1/app'}\nmapping: {proof.rows: {}}\nprofiles: {main: {url: 'http://127.0.0.1:1/'}}\n"
	for _, test := range []struct {
		name, yaml string
		words      []string
	}{
		{"unknown key", usual + "spool: {max_sise: 1GiB}\n", []string{"config.yaml:4:9", "max_sise", "did you mean", "max_size"}},
		{"unknown section", usual + "profile: {}\n", []string{"config.yaml:4:1", "did you mean", "profiles"}},
		{"wrong type", usual + "shutdown_grace: soon\n", []string{"config.yaml:4:17", "soon"}},
		{"unset variable", usual + "state: ${ROWHOOK_E2E_UNSET}\n", []string{"config.yaml:4:8", "ROWHOOK_E2E_UNSET"}},
		{"not yet", usual + "jetstream: {}\n", []string{"config.yaml:4:", "jetstream", "not in this version"}},
		{"not YAML", usual + "state: [\n", []string{"config.yaml"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := newTempDir(t)
			capturetest.Must(t, os.WriteFile(dir+"/config.yaml", []byte(test.yaml), 0o600))
			for _, name := range []string{"run", "check"} {
				r := command(t, nil, name, "-c", dir+"/config.yaml")
				if r.code != 2 {
					t.Errorf("%s: exit code %d, want 2", name, r.code)
				}
				for _, word := range test.words {
					if !strings.Contains(strings.ToLower(r.stderr), strings.ToLower(word)) {
						t.Errorf("%s does not say %q:\n%s", name, word, r.stderr)
					}
				}
			}
			if _, err := os.Stat(dir + "/state"); err == nil {
				t.Error("a state directory was made for a config that is wrong")
			}
		})
	}
}

// What stands in the way in the database is found with its cure, by check and by run.
func TestDatabaseRefused(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, `create role rowhook login replication`, `create role meek login`, `create role blind login replication`)
	for i, test := range []struct {
		name    string
		role    string
		sql     []string
		mapping string
		run     int  // exit code of run; -1 when it goes on without the table
		quiet   bool // run has no need to say it: it does not stand in its way
		words   []string
	}{
		{name: "missing table", mapping: "  proof.rows: {}\n  proof.missing: {}\n", run: -1, words: []string{"proof.missing"}},
		{name: "missing column", mapping: "  proof.rows: {events: {row.changed: {op: update, changed: [nope]}}}\n", run: -1, words: []string{"proof.rows", "nope"}},
		{name: "undecidable", sql: []string{`alter table proof.rows replica identity default`},
			mapping: "  proof.rows: {events: {note.set: {op: update, set: note}}}\n", run: -1, words: []string{"note", "alter table", "replica identity full"}},
		{name: "no key", sql: []string{`create table proof.keyless (a int, b int)`, `grant select on proof.keyless to rowhook`},
			mapping: "  proof.rows: {}\n  proof.keyless: {}\n", run: -1, words: []string{"proof.keyless"}},
		{name: "not published", sql: []string{`create table proof.unseen (id int primary key)`, `grant select on proof.unseen to rowhook`},
			mapping: "  proof.rows: {}\n  proof.unseen: {}\n", run: -1, words: []string{"proof.unseen", "alter publication", "add table"}},
		{name: "no publication", sql: []string{`drop publication rowhook`}, run: 1, words: []string{"publication", "rowhook setup"}},
		{name: "no replication", role: "meek", sql: []string{`grant usage on schema proof to meek`, `grant select on proof.rows to meek`}, run: 1, words: []string{"alter role", "replication"}},
		{name: "no select", role: "blind", run: -1, quiet: true, words: []string{"grant", "select"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorldOn(t, postgresDatabase(t, pg, fmt.Sprintf("app%d", i)))
			w.exec(test.sql...)
			slot := fmt.Sprintf("rowhook%d", i)
			w.conf.source = "  slot: " + slot + "\n"
			w.conf.mapping = test.mapping
			if test.role != "" {
				w.conf.url = pg.TCP(w.pg.db, test.role)
			}
			w.write()
			r := w.rowhook("check")
			if r.code != 3 {
				t.Errorf("check ends with %d, want 3\n%s%s", r.code, r.stdout, r.stderr)
			}
			said := strings.ToLower(r.stdout + r.stderr)
			for _, word := range test.words {
				if !strings.Contains(said, strings.ToLower(word)) {
					t.Errorf("check does not say %q:\n%s", word, said)
				}
			}
			if test.run < 0 {
				a := w.start()
				eventually(t, patience, "the agent goes on without the table", func() bool {
					if !a.running() {
						t.Fatalf("run ends with %d", a.code)
					}
					return w.value(`select active from pg_replication_slots where slot_name = '`+slot+`'`) == "t"
				})
				if !test.quiet {
					a.says(test.words[0])
				}
				a.term()
				return
			}
			w.refuses(test.run, test.words...)
			if n := w.number(`select count(*) from pg_replication_slots where slot_name = '` + slot + `'`); n != 0 {
				t.Error("a slot was made though the agent refused to run: it holds WAL for nobody")
			}
		})
	}
}

// Without wal_level = logical there is nothing to read, and no slot can be made.
func TestWALLevel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{Settings: map[string]string{"wal_level": "replica"}})
	w.refuses(1, "wal_level", "logical")
	if r := w.rowhook("check"); r.code != 3 || !strings.Contains(r.stdout+r.stderr, "wal_level") {
		t.Errorf("check ends with %d: %s%s", r.code, r.stdout, r.stderr)
	}
}

// A database that is not there yet is waited for: sidecars start in any order.
func TestDatabaseNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	capturetest.Must(t, w.pg.Stop(capturetest.Fast))
	a := w.start()
	a.says("refused")
	if !a.running() {
		t.Fatalf("run ends with %d while the database is down", a.code)
	}
	capturetest.Must(t, w.pg.Start())
	w.streaming(a)
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
}

// Another server behind the same address is not the one that the state belongs to:
// nothing is delivered from it until a person adopts it.
func TestWrongServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{Fresh: true})
	p := w.through()
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	a.term()
	identity := `select system_identifier from pg_control_system()`
	first := w.value(identity)

	other := newWorld(t, capturetest.Options{Fresh: true})
	p.redirect(net.JoinHostPort("127.0.0.1", strconv.Itoa(other.pg.Port)))
	second := other.value(identity)
	a = w.start()
	eventually(t, patience, "status shows both identities", func() bool {
		if !a.running() {
			t.Fatalf("run ends with %d", a.code)
		}
		r := w.rowhook("status")
		return r.code == 3 && strings.Contains(r.stdout, first) && strings.Contains(r.stdout, second)
	})
	other.exec(`insert into proof.rows values (2, 1, 'kept')`)
	if n := w.hook.distinct("main"); n != 1 {
		t.Errorf("%d events, want none from a server that nobody adopted", n-1)
	}
	if r := w.rowhook("source", "adopt"); r.code != 0 {
		t.Fatalf("source adopt ends with %d: %s", r.code, r.stderr)
	}
	other.proxied = true
	other.streaming(a)
	other.exec(`insert into proof.rows values (3, 1, 'kept')`)
	eventually(t, patience, "events of the adopted server arrive", func() bool {
		return slices.ContainsFunc(w.hook.all("main"), func(a arrival) bool { return a.key == 3 })
	})
	a.term()
	w.hook.sound(t)
	// Nobody can know what became of the changes in between, of row 2 for one: the log says so.
	r := w.rowhook("log", "--type", "rowhook.gap", "--json")
	if n := strings.Count(r.stdout, `"reason":"gap"`); n != 1 || !strings.Contains(r.stdout, "may be missing") {
		t.Errorf("%d gaps are told of: %s%s", n, r.stdout, r.stderr)
	}
}

// Commands that are run at every moment of an agent's starts and ends, as a monitor does, never
// keep it from starting, nor does it keep them from answering; an agent that is there is not waited
// for.
func TestCommandsWhileStarting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.write()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var monitors sync.WaitGroup
	for range 2 {
		monitors.Go(func() {
			for ctx.Err() == nil {
				r := w.rowhook("status", "--json")
				if !json.Valid([]byte(r.stdout)) && !strings.Contains(r.stderr, "the agent ended while it was asked") {
					t.Errorf("status ends with %d: %s%s", r.code, r.stdout, r.stderr)
				}
			}
		})
	}
	for i := range int64(8) {
		a := w.startAsIs() // the monitors read the config
		w.streaming(a)
		if i == 0 {
			second := w.startAsIs()
			if second.wait(patience); second.code != 1 || !strings.Contains(second.stderr.String(), fmt.Sprint("in use by process ", a.pid)) {
				t.Errorf("a second agent ends with %d: %s", second.code, second.stderr.String())
			}
		}
		w.insert(i)
		if i%2 == 0 {
			a.kill()
		} else {
			a.term()
		}
	}
	stop()
	monitors.Wait()
	w.hook.sound(t)
}
