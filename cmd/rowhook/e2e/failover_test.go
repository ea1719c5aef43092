package e2e_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// standby makes a streaming standby of the world's server, with a physical slot of its own. What
// the server has by then, logical slots too, the standby has as a copy.
func (w *world) standby(settings map[string]string) *capturetest.Postgres {
	w.tb.Helper()
	w.exec(`select pg_create_physical_replication_slot('standby', true)`)
	capturetest.Must(w.tb, w.pg.Stop(capturetest.Fast))
	standby := w.pg.Copy(w.tb, 0, "standby.signal")
	capturetest.Must(w.tb, standby.Stop(capturetest.Fast))
	own := map[string]string{
		"primary_conninfo": strings.Replace(w.pg.URL(w.pg.db), "?", "?application_name=standby&", 1), "primary_slot_name": "standby",
		"hot_standby_feedback": "on", "wal_receiver_status_interval": "1s",
	}
	maps.Copy(own, settings)
	standby.Set(own)
	capturetest.Must(w.tb, w.pg.Start())
	capturetest.Must(w.tb, standby.Start())
	return standby
}

// either makes the agent look for whichever of the two servers takes writes.
func (w *world) either(other *capturetest.Postgres) {
	w.conf.url = fmt.Sprintf("postgres://rowhook@127.0.0.1:%d,127.0.0.1:%d/%s?sslmode=disable&target_session_attrs=read-write", w.pg.Port, other.Port, w.pg.db)
}

// replayed waits until a standby has all that its primary has.
func (w *world) replayed(standby *capturetest.Postgres) {
	w.tb.Helper()
	end := w.now()
	eventually(w.tb, patience, "the standby has "+end, func() bool {
		rows, err := standby.Query(w.tb.Context(), w.pg.db, `select pg_last_wal_replay_lsn() >= '`+end+`'`)
		return err == nil && rows[0][0] == "t"
	})
}

// promote makes the standby the world's server.
func (w *world) promote(standby *capturetest.Postgres) {
	w.tb.Helper()
	w.moveTo(standby)
	w.exec(`select pg_promote()`)
}

// synced waits until the standby has the primary's slot as one that outlives its promotion.
func (w *world) synced(standby *capturetest.Postgres) {
	w.tb.Helper()
	eventually(w.tb, patience, "the slot is synchronised", func() bool {
		// A standby knows of running transactions only now and then.
		w.exec(`select pg_log_standby_snapshot()`)
		rows, err := standby.Query(w.tb.Context(), "postgres", `select synced and not temporary from pg_replication_slots where slot_name = 'rowhook'`)
		return err == nil && len(rows) > 0 && rows[0][0] == "t"
	})
}

// A primary dies under load and its standby takes over, which has the slot: PostgreSQL 17
// synchronises it, and lets no logical reader see what the standby has not. The agent goes on by
// itself, and nothing is lost or repeated.
func TestFailoverSlot(t *testing.T) {
	t.Parallel()
	for round := range count(1, 3) {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			w := newWorld(t, capturetest.Options{Major: 17})
			s := w.scenario("failover-pg")
			w.pg.Set(map[string]string{"synchronized_standby_slots": "standby", "synchronous_standby_names": "standby"})
			// What is the primary's alone is left out.
			standby := w.standby(map[string]string{"sync_replication_slots": "on", "synchronized_standby_slots": "", "synchronous_standby_names": ""})
			w.either(standby)
			a := w.begin()
			l := w.load(4, 200, true)
			w.hook.wait(t, "main", 100, patience)
			w.synced(standby)
			w.hook.wait(t, "main", w.hook.distinct("main")+100, patience)

			capturetest.Must(t, w.pg.Crash())
			crashed := time.Now()
			wrote := l.stop(t)
			w.promote(standby)
			w.streaming(a)
			pause := time.Since(crashed)
			l = w.load(4, 200, true)
			w.hook.wait(t, "main", w.hook.distinct("main")+100, patience)
			changes := w.ledger(append(wrote, l.stop(t)...))
			w.hook.wait(t, "main", len(changes), patience)
			w.logCount("main", len(changes))
			a.term()
			w.verify(changes, judge{profile: "main"})
			s.did(1, "promotion with a synchronised slot", "promotions with a synchronised slot")
			s.most("longest pause", pause.Milliseconds(), "ms")
		})
	}
}

// Without synchronised slots the promoted server has none: the agent says so and stops, until it is
// told to accept the gap.
func TestFailoverWithoutSlot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	s := w.scenario("failover-pg")
	standby := w.standby(nil)
	w.either(standby)
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	w.logCount("main", 1)
	w.replayed(standby)
	capturetest.Must(t, w.pg.Crash())
	w.promote(standby)
	w.insert(2)
	if code := a.wait(patience); code != 4 {
		t.Errorf("ended with %d, want 4", code)
	}
	a.says("slot rowhook is gone")
	w.exec(`delete from proof.ledger where id = 2`) // what the gap swallows
	w.goesOnAfterGap(s, 3)
	s.did(1, "promotion without a slot told", "promotions without a slot told")
}

// A promoted server that lacks what has been delivered already is another history: the agent says
// where they part and stops.
func TestFailoverBehind(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{Major: 17})
	s := w.scenario("failover-pg")
	standby := w.standby(map[string]string{"sync_replication_slots": "on"})
	w.either(standby)
	a := w.begin()
	w.insert(1)
	w.hook.wait(t, "main", 1, patience)
	w.confirmed(patience)
	w.synced(standby)
	w.replayed(standby)
	capturetest.Must(t, standby.Stop(capturetest.Fast))
	w.insert(2) // and delivered, though the standby never has it
	w.hook.wait(t, "main", 2, patience)
	w.logCount("main", 2)
	w.confirmed(patience)
	capturetest.Must(t, w.pg.Crash())
	standby.Set(map[string]string{"primary_conninfo": "", "sync_replication_slots": "off"})
	capturetest.Must(t, standby.Start())
	w.promote(standby)
	if code := a.wait(patience); code != 4 {
		t.Errorf("ended with %d, want 4", code)
	}
	a.says("before the stored position")
	w.exec(`insert into proof.ledger (id, seq, op) values (2, 1, 'insert')`) // it was committed, on the old primary
	w.goesOnAfterGap(s, 3)
	s.did(1, "standby behind the agent told", "standbys behind the agent told")
}

// A standby that has a slot of the name already, such as a primary that was rejoined, is never
// synchronised: its slot stays where it was. It is older than what the agent has, so that nothing
// is missing.
func TestFailoverStaleSlot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{Major: 17})
	s := w.scenario("failover-pg")
	w.begin().term() // makes the slot, which the standby gets a copy of
	standby := w.standby(map[string]string{"sync_replication_slots": "on"})
	w.either(standby)
	w.conf.source = fmt.Sprintf("  servers: [127.0.0.1:%d]\n", standby.Port)
	a := w.begin()
	l := w.load(4, 200, false)
	w.hook.wait(t, "main", 200, patience)
	wrote := l.stop(t)
	w.hook.wait(t, "main", len(wrote), patience)
	w.logCount("main", len(wrote))
	w.confirmed(patience)
	w.replayed(standby)
	rows, err := standby.Query(t.Context(), "postgres", `select synced from pg_replication_slots where slot_name = 'rowhook'`)
	capturetest.Must(t, err)
	if len(rows) != 1 || rows[0][0] != "f" {
		t.Fatalf("the standby's slot: synced %v, want one that is not", rows)
	}
	capturetest.Must(t, w.pg.Crash())
	w.promote(standby)
	w.streaming(a)
	l = w.load(4, 200, false)
	w.hook.wait(t, "main", w.hook.distinct("main")+100, patience)
	changes := w.ledger(append(wrote, l.stop(t)...))
	w.hook.wait(t, "main", len(changes), patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main"})
	s.did(1, "promotion with a stale slot", "promotions with a stale slot")
}

// goesOnAfterGap starts the agent with consent: one event tells of the gap, and what comes after it
// arrives.
func (w *world) goesOnAfterGap(s *scenario, key int64) {
	w.tb.Helper()
	a := w.begin("--accept-gap")
	w.insert(key)
	n := len(w.ledger(nil))
	w.hook.wait(w.tb, "main", n, patience)
	w.logCount("main", n)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
	gaps := slices.DeleteFunc(w.hook.all("main"), func(a arrival) bool { return a.typ != "rowhook.gap" })
	if len(gaps) != 1 {
		w.tb.Errorf("%d events tell of the gap, want 1", len(gaps))
	}
}

// The agent reads from a standby, which PostgreSQL 16 allows. When the primary takes away what
// decoding needs, the slot is invalidated: the agent says so and stops, until it is told to accept
// the gap.
func TestStandbyDecode(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{Major: 16})
	s := w.scenario("standby-decode")
	standby := w.standby(map[string]string{"hot_standby_feedback": "off"})
	w.conf.url = fmt.Sprintf("postgres://rowhook@127.0.0.1:%d/%s?sslmode=disable", standby.Port, w.pg.db)
	a := w.startOnStandby()
	keys := count(20, 200)
	for key := range keys {
		w.insert(int64(key))
	}
	w.hook.wait(t, "main", keys, patience)
	w.logCount("main", keys)

	w.exec(`create table proof.passing (id int)`, `drop table proof.passing`,
		`vacuum full pg_class`, `vacuum full pg_attribute`, `select pg_switch_wal()`)
	w.exec(`select pg_log_standby_snapshot()`)
	if code := a.wait(patience); code != 4 {
		t.Errorf("ended with %d, want 4", code)
	}
	a.says("slot rowhook has been invalidated")
	a = w.startOnStandby("--accept-gap")
	w.insert(1000)
	w.hook.wait(t, "main", keys+1, patience)
	w.logCount("main", keys+1)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
	s.did(1, "invalidation told", "invalidations told")
}

// startOnStandby starts an agent that makes its slot on a standby, which waits for the primary to
// tell of running transactions.
func (w *world) startOnStandby(args ...string) *agent {
	w.tb.Helper()
	a := w.start(args...)
	eventually(w.tb, patience, "the agent streams from the standby", func() bool {
		w.exec(`select pg_log_standby_snapshot()`)
		return strings.Contains(a.stderr.String(), "msg=streaming") || !a.running()
	})
	if !a.running() {
		w.tb.Fatalf("the agent ended with exit code %d", a.code)
	}
	return a
}
