package e2e_test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// through makes the agent reach its database over a proxy.
func (w *world) through() *proxy {
	w.tb.Helper()
	p := newProxy(w.tb, w.server.address())
	w.conf.url = w.server.url(p.addr())
	w.proxied = true
	return p
}

// The database restarts in the middle of the application's work, in order and not;
// the agent comes back by itself, and nothing is lost or repeated.
func TestDatabaseRestart(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testDatabaseRestart)
}

func testDatabaseRestart(t *testing.T, w *world) {
	s := w.scenario("database-restart")
	a := w.begin()
	l := w.load(2, 100, true)
	halts := w.server.halts()
	restarts := count(4, 40)
	for i := range restarts {
		w.hook.wait(t, "main", (i+1)*20, patience)
		halt := i % len(halts)
		capturetest.Must(t, halts[halt]())
		if halt == 0 {
			eventually(t, patience, "status says that there is no stream", func() bool {
				report, code := w.status()
				source, _ := report["source"].(map[string]any)
				return code == 3 && source["state"] == "connecting" && source["error"] != ""
			})
		}
		capturetest.Must(t, w.server.start())
		w.streaming(a)
	}
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main"})
	s.did(restarts, "stop or crash of the server under load", "stops and crashes of the server under load")
}

// The network between agent and database is cut, refuses, takes long, loses what goes one way, or
// goes silent in one direction or both, for a while or for good; the agent notices and comes back.
func TestNetworkCut(t *testing.T) {
	t.Parallel()
	onEach(t, settings{"postgres": {"wal_sender_timeout": "3s"}}, testNetworkCut)
}

func testNetworkCut(t *testing.T, w *world) {
	s := w.scenario("network-database")
	p := w.through()
	a := w.begin()
	l := w.load(2, 50, false)
	grow := func(what string) {
		t.Helper()
		w.hook.wait(t, "main", w.hook.distinct("main")+50, patience)
		s.did(1, what, what)
	}
	for range count(1, 4) {
		p.cut()
		grow("cut")
		p.refusing(true)
		p.cut()
		elapse(t, time.Second, "", nil)
		p.refusing(false)
		grow("time refused")
		free := p.stall(toClient)
		elapse(t, 4*time.Second, "", nil)
		free()
		grow("pause of 4 s")
		p.delaying(50 * time.Millisecond)
		grow("time delayed by 50 to 100 ms each way")
		p.delaying(0)
		for direction, name := range []string{toServer: "to the server", toClient: "from the server"} {
			p.losing(direction, true)
			elapse(t, time.Duration(count(4, 15))*time.Second, "", nil)
			p.losing(direction, false)
			grow("loss of all " + name)
		}
		if w.server.kind() == "mysql" && !soak() {
			continue // it takes most of a minute to notice each of what follows
		}
		p.stall(toServer)
		grow("silence for good to the server")
		p.stall(toClient)
		grow("silence for good from the server")
		p.stall(toClient)
		p.stall(toServer)
		grow("silence for good both ways")
	}
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main"})
}

// A connection that is cut again and again inside a transaction costs neither loss nor
// repetition, wherever in it that is.
func TestCutInTransaction(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testCutInTransaction)
}

func testCutInTransaction(t *testing.T, w *world) {
	s := w.scenario("reconnect-mid-tx")
	rows, width := count(4_000, 300_000), count(10, 1)
	w.conf.profile = "    concurrency: 16\n"
	p := w.through()
	w.begin().term()
	w.hugeInsert(rows, width)
	var a *agent
	for part := range 5 {
		cut := p.cutAfter(rows * width * len(filler) / 6 * (part + 1))
		if a == nil {
			a = w.start()
		}
		select {
		case <-cut:
		case <-time.After(patience):
			t.Fatalf("part %d never came", part)
		}
		if n := w.hook.distinct("main"); n != 0 {
			t.Errorf("%d events of a transaction that has not ended", n)
		}
	}
	w.hook.wait(t, "main", rows, 5*patience)
	w.logCount("main", rows)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
	s.did(5, "cut in a giant transaction", "cuts in a giant transaction")
}

// A log that is gone while a position is stored, with the slot or purged, is a gap: the
// agent says so and stops, until it is told to accept the gap.
func TestLogGone(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testLogGone)
}

func testLogGone(t *testing.T, w *world) {
	name, what := "slot-gone", []string{"dropped slot told", "dropped slots told"}
	if w.database != "postgres" {
		name, what = "binlog-purged", []string{"purged binlog told", "purged binlogs told"}
	}
	s := w.scenario(name)
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	a.term()
	w.insert(2)
	capturetest.Must(t, w.server.lose(t.Context()))
	w.refuses(4, "gap", "--accept-gap")
	w.exec(`delete from proof.ledger where id = 2`) // what the gap swallows
	a = w.begin("--accept-gap")
	a.says("stream gap accepted") // a server may refuse the stored position only when it is asked for events
	w.insert(3)
	w.hook.wait(t, "main", 2, patience)
	w.logCount("main", 2)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
	gaps := slices.DeleteFunc(w.hook.all("main"), func(a arrival) bool { return a.typ != "rowhook.gap" })
	if len(gaps) != 1 {
		t.Errorf("%d events tell of the gap, want 1", len(gaps))
	}
	a = w.begin() // the gap was accepted once, not for ever, and needs no more consent
	a.term()
	s.did(1, what[0], what[1])
}

// refuses starts the agent, which must end with a code and name words in its message.
func (w *world) refuses(code int, words ...string) string {
	w.tb.Helper()
	return w.refusesWith(nil, code, words...)
}

func (w *world) refusesWith(args []string, code int, words ...string) string {
	w.tb.Helper()
	a := w.start(args...)
	got := a.wait(patience)
	said := a.stderr.String()
	if got != code {
		w.tb.Errorf("exit code %d, want %d\n%s", got, code, said)
	}
	for _, word := range words {
		if !strings.Contains(strings.ToLower(said), strings.ToLower(word)) {
			w.tb.Errorf("the message does not say %q:\n%s", word, said)
		}
	}
	return said
}

// So is a slot that the server has invalidated.
func TestSlotInvalidated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{Settings: map[string]string{
		"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB",
	}})
	s := w.scenario("slot-gone")
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	a.term()
	eventually(t, patience, "the slot is invalidated", func() bool {
		w.exec(`insert into proof.noise (filler) select repeat('x', 1000) from generate_series(1, 5000)`,
			`select pg_switch_wal()`, `checkpoint`)
		return w.value(`select wal_status from pg_replication_slots where slot_name = 'rowhook'`) == "lost"
	})
	w.refuses(4, "rowhook", "--accept-gap")
	a = w.begin("--accept-gap")
	w.insert(2)
	w.hook.wait(t, "main", 2, patience)
	w.logCount("main", 2)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
	s.did(1, "slot invalidated for its WAL told", "slots invalidated for their WAL told")
}

// A server restored from an older backup cannot continue our position: PostgreSQL itself
// would accept it and skip rows in silence.
func TestServerBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	a.term()
	capturetest.Must(t, w.pg.Stop(capturetest.Fast))
	backup := w.pg.DataDir + ".backup"
	copyDir(t, w.pg.DataDir, backup)
	capturetest.Must(t, w.pg.Start())
	a = w.begin()
	w.insert(2, 3)
	w.exec(`insert into proof.noise (filler) select repeat('x', 1000) from generate_series(1, 5000)`)
	w.confirmed(30 * time.Second)
	a.term()
	capturetest.Must(t, w.pg.Stop(capturetest.Fast))
	copyDir(t, backup, w.pg.DataDir)
	capturetest.Must(t, w.pg.Start())
	w.refuses(4, "position", "--accept-gap")
}

// An empty state directory beside a slot that is in use is a restore gone wrong, or a
// second agent: it stops until it is told where to start.
func TestStateEmpty(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	w.confirmed(30 * time.Second)
	a.term()
	w.insert(2)

	w.forget()
	w.refuses(4, "rowhook", "--start")
	a = w.begin("--start", "slot")
	w.hook.wait(t, "main", 2, patience)
	w.confirmed(30 * time.Second)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})

	w.insert(3)
	w.forget()
	w.refuses(4, "rowhook", "--start")
	a = w.begin("--start", "now")
	w.insert(4)
	w.hook.wait(t, "main", 3, patience)
	a.term()
	w.exec(`delete from proof.ledger where id = 3`) // was left out knowingly
	w.verify(w.ledger(nil), judge{profile: "main"})
}

// forget loses the agent's state, as a machine does whose disk is replaced.
func (w *world) forget() {
	w.tb.Helper()
	capturetest.Must(w.tb, os.RemoveAll(w.path("state")))
}

// copyDir replaces a directory with a copy of another, owners kept.
func copyDir(tb testing.TB, src, dst string) {
	tb.Helper()
	capturetest.Must(tb, os.RemoveAll(dst))
	out, err := exec.Command("cp", "-a", src, dst).CombinedOutput()
	if err != nil {
		tb.Fatalf("copy %s: %v\n%s", src, err, out)
	}
}
