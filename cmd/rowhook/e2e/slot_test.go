package e2e_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// delivered runs the agent until one row has arrived, and leaves another one unread.
func (w *world) delivered() {
	w.tb.Helper()
	a := w.begin()
	w.insert(1)
	w.hook.wait(w.tb, "main", 1, patience)
	w.logCount("main", 1)
	a.term()
	w.insert(2)
}

// refusesGap starts the agent, which must say that it cannot go on and why; with consent it does.
func (w *world) refusesGap(s *scenario, words ...string) {
	w.tb.Helper()
	w.refuses(4, append(words, "--accept-gap")...)
	w.exec(`delete from proof.ledger where id = 2`) // what the gap swallows
	w.goesOnAfterGap(s, 3)
}

// So is a slot that nobody used for longer than PostgreSQL 18 was told to keep it.
func TestSlotIdle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{Major: 18, Settings: map[string]string{"idle_replication_slot_timeout": "1s"}})
	s := w.scenario("slot-gone")
	w.delivered()
	eventually(t, patience, "the slot is invalidated", func() bool {
		w.exec(`checkpoint`)
		return w.value(`select invalidation_reason from pg_replication_slots where slot_name = 'rowhook'`) == "idle_timeout"
	})
	w.exec(`alter system set idle_replication_slot_timeout = 0`) // for the new one
	w.refusesGap(s, "invalidated", "idle_timeout")
	s.did(1, "slot invalidated for idleness told", "slots invalidated for idleness told")
}

// A slot that somebody made again, or moved, begins behind what we have not read: changes are
// missing, though a reader could go on without noticing.
func TestSlotMoved(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string][]string{
		"created again": {`select pg_drop_replication_slot('rowhook')`, `select pg_create_logical_replication_slot('rowhook', 'pgoutput')`},
		"advanced":      {`select pg_replication_slot_advance('rowhook', pg_current_wal_lsn())`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, capturetest.Options{})
			s := w.scenario("slot-gone")
			w.delivered()
			w.exec(sql...)
			w.refusesGap(s, "moved beyond the stored position")
			s.did(1, "slot "+name+" told", "slots "+name+" told")
		})
	}
}

// While another reader has the slot, the agent ends and names it. What that has read is missing
// afterwards, and the agent says so.
func TestSlotTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	s := w.scenario("slot-gone")
	w.delivered()
	other := emptyWorld(t)
	other.server, other.pg, other.database = w.server, w.pg, w.database
	taker := other.begin("--start", "slot") // an agent with a state directory of its own
	holder := w.value(`select active_pid from pg_replication_slots where slot_name = 'rowhook'`)
	w.refuses(1, "rowhook", "pid "+holder)
	other.hook.wait(t, "main", 1, patience)
	other.confirmed(patience)
	taker.kill()
	// What the other one has read and confirmed is gone for us.
	w.refusesGap(s, "moved beyond the stored position")
	s.did(1, "slot taken by another told", "slots taken by another told")
}

// Two agents never read one source, be it with one state directory or with two: the second ends and
// names the first. It takes over when that is gone, also when the server has not noticed.
func TestTwoAgents(t *testing.T) {
	t.Parallel()
	onEach(t, settings{"postgres": {"wal_sender_timeout": "3s"}}, testTwoAgents)
}

func testTwoAgents(t *testing.T, w *world) {
	s := w.scenario("two-agents")
	p := w.through()
	a := w.begin()
	l := w.load(2, 50, false)
	w.hook.wait(t, "main", 50, patience)
	if said := w.refuses(1); !strings.Contains(said, fmt.Sprint(a.pid)) {
		t.Errorf("with one state directory, the second does not name process %d:\n%s", a.pid, said)
	}
	second := *w
	second.dir = newTempDir(t)
	args := map[string][]string{"postgres": {"--start", "slot"}}[w.database]
	if said := second.refusesWith(args, 1, "stop the other agent"); strings.Count(said, "\n") > 40 {
		t.Errorf("the second agent says too much:\n%s", said)
	}
	s.did(2, "second agent refused", "second agents refused")

	takeovers := 0
	for _, silent := range []bool{false, true} {
		if silent && w.server.kind() == "mysql" && !soak() {
			continue // the server keeps a lock for a minute
		}
		if silent { // as when the machine is gone: the server still has the connection
			p.stall(toServer)
			p.stall(toClient)
		}
		a.kill()
		gone := time.Now()
		a = w.start()
		w.hook.wait(t, "main", w.hook.distinct("main")+20, 2*patience)
		what := "takeover after a kill"
		if silent {
			what = "takeover from a silent machine"
		}
		s.most(what, time.Since(gone).Milliseconds(), "ms")
		if took, most := time.Since(gone), 8*time.Second; silent && w.database == "postgres" && took > most {
			t.Errorf("%s took %s, more than wal_sender_timeout and 5 s", what, took)
		}
		takeovers++
	}
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main", killed: true})
	s.did(takeovers, "takeover", "takeovers")
}

// Keepalives go on while an event cannot be stored: what the server is told never passes it. With
// nothing to store they move the position, so that other tables' log is not held, also while the
// receiver is stuck.
func TestKeepaliveTrap(t *testing.T) {
	t.Parallel()
	onEach(t, settings{"postgres": {"wal_sender_timeout": "2s"}}, testKeepaliveTrap)
}

func testKeepaliveTrap(t *testing.T, w *world) {
	s := w.scenario("keepalive-trap")
	disk := smallDisk(t, 192<<20)
	capturetest.Must(t, os.Symlink(disk.dir, w.path("state")))
	w.conf.spool = "{max_size: 1GiB, reserve: 8MiB}"
	noise := func() { w.exec(`insert into proof.noise (filler) select repeat('x', 500) from ` + numbers(200)) }
	a := w.begin()
	times := count(1, 5)
	key := 0
	for range times {
		stuck := make(chan struct{})
		w.hook.answer(func(arrival) reply {
			<-stuck
			return reply{status: 503}
		})
		key++
		w.insert(int64(key))
		noise()
		w.confirmed(patience) // the event is stored: the receiver does not matter
		close(stuck)
		w.hook.answer(nil)
		w.hook.wait(t, "main", key, patience)

		free := fill(t, disk.dir, 6<<20)
		eventually(t, patience, "the agent says why nothing moves", func() bool {
			key++
			w.insert(int64(key))
			return strings.Contains(a.stderr.String(), "reserve")
		})
		key++
		w.insert(int64(key))
		trap := w.now()
		elapse(t, time.Duration(count(3, 8))*time.Second, "the position does not pass what is not stored", func() bool {
			noise()
			return a.running() && !w.settled(trap)
		})
		a.kill()
		w.confirmedIsStored("killed while the disk was full")
		free()
		a = w.start()
		w.hook.wait(t, "main", key, patience)
	}
	w.logCount("main", key)
	noise()
	w.confirmed(patience)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main", killed: true})
	s.did(times, "event that could not be stored", "events that could not be stored")
}
