package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// spilling makes servers put transactions of more than some rows on disk while they are under way.
var spilling = settings{
	"postgres": {"logical_decoding_work_mem": "64kB"},
	"mysql":    {"binlog_cache_size": "4096", "binlog_transaction_compression": "ON"},
	"mariadb":  {"binlog_cache_size": "4096"},
}

// What is rolled back to a savepoint, or by a statement that fails, is never told; the rest of its
// transaction is.
func TestSavepoints(t *testing.T) {
	t.Parallel()
	onEach(t, spilling, testSavepoints)
}

func testSavepoints(t *testing.T, w *world) {
	s := w.scenario("savepoints")
	a := w.begin()
	l := w.load(2, 50, false)
	conn := w.connect()
	rounds := count(2, 60)
	for i := range rounds {
		base := int64(i+1) * 1_000_000
		step := func(sql string) {
			t.Helper()
			capturetest.Must(t, conn.exec(t.Context(), sql))
		}
		// 500, 500 that are rolled back, 5.
		step("begin;" + rowsFrom(base, 500, "kept") + "savepoint a;" + rowsFrom(base+500, 500, rolledBack) +
			"rollback to savepoint a;" + rowsFrom(base+500, 5, "kept") + ledgerFrom(base, 505) + "commit")
		// One inside the other, released and not.
		base += 10_000
		step("begin; savepoint a;" + rowsFrom(base, 100, rolledBack) + "savepoint b;" + rowsFrom(base+100, 100, rolledBack) + "release savepoint b;" +
			"rollback to savepoint a;" + rowsFrom(base, 50, "kept") + "savepoint c;" + rowsFrom(base+50, 50, "kept") + "savepoint d;" +
			rowsFrom(base+100, 300, rolledBack) + "rollback to savepoint d; release savepoint c;" + ledgerFrom(base, 100) + "commit")
		// Undone by an error that the transaction survives.
		base += 10_000
		if w.server.kind() == "postgres" {
			step("do $$ begin " + rowsFrom(base, 10, "kept") + "for i in 1..3 loop begin " + rowsFrom(base+10, 200, rolledBack) +
				"raise exception 'undone'; exception when raise_exception then null; end; end loop; " +
				rowsFrom(base+10, 5, "kept") + ledgerFrom(base, 15) + " end $$")
			continue
		}
		step("begin;" + rowsFrom(base+300, 1, "kept"))
		if err := conn.exec(t.Context(), rowsFrom(base, 301, rolledBack)); err == nil { // the last one is there
			t.Fatal("a statement with a row too many succeeded")
		}
		step(rowsFrom(base, 5, "kept") + ledgerFrom(base, 5) + ledgerFrom(base+300, 1) + "commit")
	}
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main"})
	s.did(rounds, "round of 500 rows, 500 rolled back and 5, nested savepoints and survived errors", "rounds of 500 rows, 500 rolled back and 5, nested savepoints and survived errors")
}

// rowsFrom is a statement that inserts n rows with keys from base.
func rowsFrom(base int64, n int, note string) string {
	return fmt.Sprintf("insert into proof.rows (id, seq, note) select %d + g, 1, '%s %s' from %s;", base-1, note, filler, numbers(n))
}

// ledgerFrom writes them down.
func ledgerFrom(base int64, n int) string {
	return fmt.Sprintf("insert into proof.ledger (id, seq, op) select %d + g, 1, 'insert' from %s;", base-1, numbers(n))
}

// Three huge transactions that grow side by side, and small ones all the while: each appears when
// it is committed and not before, and memory stays below its cap.
func TestInterleaved(t *testing.T) {
	t.Parallel()
	onEach(t, spilling, testInterleaved)
}

func testInterleaved(t *testing.T, w *world) {
	s := w.scenario("interleave")
	const parts = 20
	huge, small := count(2_000, 200_000), count(400, 10_000)
	w.conf.profile = "    concurrency: 1\n" // so that what is told is told in order
	a := w.begin()
	order := map[int64]int{}       // of each small row and each huge transaction's base, when it was committed
	began := map[int64]time.Time{} // of each huge transaction's base, when its commit was asked for
	committed := func(key int64) { order[key] = len(order) }
	bases := []int64{1_000_000, 2_000_000, 3_000_000}
	var sessions []session
	for range bases {
		conn := w.connect()
		capturetest.Must(t, conn.exec(t.Context(), "begin"))
		sessions = append(sessions, conn)
	}
	application, next := w.connect(), int64(0)
	smalls := func(n int) {
		for range n {
			capturetest.Must(t, application.exec(t.Context(), "begin;"+insertion(next)+"commit"))
			committed(next)
			next++
		}
	}
	for part := range parts {
		for i, conn := range sessions {
			base, n := bases[i]+int64(part*huge/parts), huge/parts
			capturetest.Must(t, conn.exec(t.Context(), rowsFrom(base, n, "kept")+ledgerFrom(base, n)))
			smalls(small / parts / 4)
		}
	}
	for _, i := range []int{1, 0, 2} {
		began[bases[i]] = time.Now()
		capturetest.Must(t, sessions[i].exec(t.Context(), "commit"))
		committed(bases[i])
		smalls(small / 16)
		// What a huge one wrote changes as soon as it may.
		capturetest.Must(t, application.exec(t.Context(), fmt.Sprintf("begin; update proof.rows set seq = 2 where id >= %d and id < %d;"+
			"insert into proof.ledger (id, seq, op) select %d + g, 2, 'update' from %s; commit", bases[i], bases[i]+100, bases[i]-1, numbers(100))))
	}
	changes := w.ledger(nil)
	w.hook.wait(t, "main", len(changes), 10*patience)
	w.logCount("main", len(changes))
	peak := a.memory("VmHWM")
	a.term()
	w.verify(changes, judge{profile: "main"})
	last, turns := -1, int64(0)
	for _, a := range w.hook.all("main") {
		if a.seq != 1 {
			continue
		}
		key := a.key
		if key >= bases[0] {
			key -= key % bases[0]
		}
		if a.at.Before(began[key]) {
			t.Fatalf("key %d was told %s before its commit", a.key, began[key].Sub(a.at))
		}
		if order[key] < last {
			turns++ // no promise between keys, but what one connection is expected to do
		}
		last = order[key]
	}
	s.most("out of turn between keys", turns, "")
	if peak > 100<<20 {
		t.Errorf("the agent took %d MiB, more than 100 MiB", peak>>20)
	}
	s.did(3, "", fmt.Sprintf("transactions of %d rows side by side, %d small ones", huge, next))
	s.most("peak", peak>>20, "MiB")
}
