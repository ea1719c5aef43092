package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// backfillView is what the tests want of `backfill list --json`.
type backfillView struct {
	ID, State, Error string
	Rows, Events     int64
}

// backfills asks the agent, or the state directory, for its backfills.
func (w *world) backfills() (list []backfillView) {
	w.tb.Helper()
	got := w.rowhook("backfill", "list", "--json")
	if got.code != 0 {
		return nil // the agent starts or ends
	}
	capturetest.Must(w.tb, json.Unmarshal([]byte(got.stdout), &list))
	return list
}

// backfill begins a backfill of all rows.
func (w *world) backfill(args ...string) backfillView {
	w.tb.Helper()
	var b backfillView
	eventually(w.tb, patience, "the backfill begins", func() bool {
		got := w.rowhook(append([]string{"backfill", "proof.rows", "--json"}, args...)...)
		if got.code != 0 && !strings.Contains(got.stderr, "has not begun") {
			w.tb.Fatalf("backfill: %s", got.stderr)
		}
		return got.code == 0 && json.Unmarshal([]byte(got.stdout), &b) == nil
	})
	return b
}

// coldKeys are of rows that nobody changes.
const coldKeys = 1_000_000

// fill inserts rows that nobody changes.
func (w *world) fill(rows int) {
	for from := 0; from < rows; from += 1000 {
		w.exec(fmt.Sprintf("insert into proof.rows select g + %d, 1, 'cold' from %s", coldKeys+from, numbers(min(1000, rows-from))))
	}
}

// judgeReads holds first arrivals to each key's order, and the last of them to the table.
func (w *world) judgeReads(cold int) {
	w.tb.Helper()
	type last struct {
		seq int64
		op  string
	}
	var rows map[int64]last
	var reads int
	agree := func() string {
		rows, reads = map[int64]last{}, 0
		seen := map[string]bool{}
		for _, a := range w.hook.all("main") {
			if seen[a.id] || !a.accepted {
				continue
			}
			seen[a.id] = true
			if a.op == "read" {
				reads++
			}
			if was := rows[a.key]; a.seq < was.seq {
				w.tb.Fatalf("%s of %d has seq %d after the %s of %d", a.op, a.key, a.seq, was.op, was.seq)
			}
			rows[a.key] = last{a.seq, a.op}
		}
		table, err := w.server.query(w.tb.Context(), "select id, seq from proof.rows")
		capturetest.Must(w.tb, err)
		there := map[int64]bool{}
		for _, row := range table {
			var id, seq int64
			fmt.Sscan(row[0], &id)
			fmt.Sscan(row[1], &seq)
			there[id] = true
			if got := rows[id]; got.seq != seq || got.op == "delete" {
				return fmt.Sprintf("row %d has seq %d, its last event, %s, %d", id, seq, got.op, got.seq)
			}
		}
		for id, got := range rows {
			if !there[id] && got.op != "delete" {
				return fmt.Sprintf("row %d is gone, and its last event is %s", id, got.op)
			}
		}
		return ""
	}
	deadline, arrived := time.Now().Add(patience), 0
	eventually(w.tb, 10*patience, "events and table agree", func() bool {
		why := agree()
		if n := w.hook.distinct("main"); n > arrived { // they are still under way
			deadline, arrived = time.Now().Add(patience), n
		}
		if why != "" && time.Now().After(deadline) {
			w.tb.Fatal(why)
		}
		return why == ""
	})
	if reads < cold {
		w.tb.Errorf("%d rows were read, %d are there that nobody changes", reads, cold)
	}
	w.tb.Logf("%d reads among %d rows", reads, len(rows))
}

// Existing rows are read while writers change others and the same, the agent is killed, and the
// database too: each row arrives, in order with its changes.
func TestBackfill(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testBackfill)
}

func testBackfill(t *testing.T, w *world) {
	cold := count(3000, 100_000)
	w.fill(cold)
	a := w.begin()
	l := w.load(3, 150, true)
	elapse(t, time.Second, "", nil)
	b := w.backfill("--rate", fmt.Sprintf("%d/s", cold/4))
	random := chance(5)
	kills := count(3, 20)
	for range kills {
		elapse(t, between(random, 300*time.Millisecond, 700*time.Millisecond), "", nil)
		a.kill()
		a = w.start()
	}
	capturetest.Must(t, w.server.halts()[0]())
	capturetest.Must(t, w.server.start())
	eventually(t, 2*patience, "the backfill is done", func() bool {
		for _, v := range w.backfills() {
			if v.ID == b.ID && v.State != "running" && v.State != "done" {
				t.Fatalf("backfill %+v", v)
			}
			if v.ID == b.ID && v.State == "done" {
				return true
			}
		}
		return false
	})
	l.stop(t)
	w.judgeReads(cold)
	a.term()
}

// A backfill is paused, goes on and is cancelled by commands, with and without an agent; one row is
// sent by itself.
func TestBackfillCommands(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testBackfillCommands)
}

func testBackfillCommands(t *testing.T, w *world) {
	const rows = 2000
	w.fill(rows)
	a := w.begin()
	state := func(id string) string {
		for _, v := range w.backfills() {
			if v.ID == id {
				return v.State
			}
		}
		return ""
	}
	say := func(code int, want string, args ...string) {
		t.Helper()
		if got := w.rowhook(args...); got.code != code || !strings.Contains(got.stdout+got.stderr, want) {
			t.Errorf("rowhook %s ends with %d and says %q, want %d and %q", strings.Join(args, " "), got.code, got.stdout+got.stderr, code, want)
		}
	}
	say(0, "1 row read, 1 event made.", "trigger", "proof.rows", fmt.Sprintf("id=%d", coldKeys+7))
	w.hook.wait(t, "main", 1, patience)
	if got := w.hook.all("main")[0]; got.op != "read" || got.key != coldKeys+7 || got.typ != "record.read" {
		t.Errorf("the row arrived as %+v", got)
	}
	say(1, "no row with this key", "trigger", "proof.rows", "id=3")
	say(1, "the key of table proof.rows is id", "trigger", "proof.rows", "seq=3")
	say(1, `no entry "proof.rowz"`, "backfill", "proof.rowz")
	say(1, `profile other does not subscribe`, "backfill", "proof.rows", "--profile", "other")
	say(1, `no column "colour"`, "backfill", "proof.rows", "--where", "colour=red")
	say(2, "COLUMN=VALUE", "backfill", "proof.rows", "--where", "colour")

	slow := w.backfill("--rate", "100/s")
	eventually(t, patience, "some rows", func() bool { return w.hook.distinct("main") > 20 })
	say(0, "backfill  "+slow.ID+" of proof.rows, running", "status")
	say(0, "is paused", "backfill", "pause", slow.ID)
	say(1, "is not running", "backfill", "pause", slow.ID)
	a.term()
	if got := state(slow.ID); got != "paused" {
		t.Errorf("without an agent the backfill is %q", got)
	}
	say(1, "no agent runs", "backfill", "proof.rows")
	say(0, "is running", "backfill", "resume", slow.ID)
	before := w.hook.distinct("main")
	a = w.begin()
	eventually(t, patience, "more rows", func() bool { return w.hook.distinct("main") > before+20 })
	say(0, "is cancelled", "backfill", "cancel", slow.ID)
	say(1, "it is cancelled", "backfill", "resume", slow.ID)
	say(1, "no backfill", "backfill", "cancel", "b99")

	some := w.rowhook("backfill", "proof.rows", "--where", fmt.Sprintf("id=%d", coldKeys+5), "--wait")
	if some.code != 0 || !strings.Contains(some.stderr, "1 row read, 1 event made.") {
		t.Errorf("a backfill of one row: %d, %s", some.code, some.stderr)
	}
	all := w.rowhook("backfill", "proof.rows", "--wait")
	if all.code != 0 || !strings.Contains(all.stderr, fmt.Sprintf("%d rows read, %d events made.", rows, rows)) {
		t.Errorf("a backfill of all rows: %d, %s", all.code, all.stderr)
	}
	if got := w.rowhook("backfill", "list"); !strings.Contains(got.stdout, "done") || !strings.Contains(got.stdout, "cancelled") {
		t.Errorf("list: %s", got.stdout)
	}
	w.judgeReads(rows)
	a.term()
}
