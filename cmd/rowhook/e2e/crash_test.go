package e2e_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// between returns a random duration in a range.
func between(random *rand.Rand, lo, hi time.Duration) time.Duration {
	return lo + time.Duration(random.Int64N(int64(hi-lo)))
}

// failing answers at random as bad receivers do.
func failing(seed uint64) func(arrival) reply {
	random := chance(seed) // the receiver calls it under its lock
	return func(arrival) reply {
		switch n := random.IntN(100); {
		case n < 3:
			return reply{status: 500}
		case n < 4:
			return reply{status: 503, header: map[string]string{"Retry-After": "0"}}
		case n < 6:
			return reply{reset: true}
		case n < 10:
			return reply{wait: time.Duration(random.IntN(50)) * time.Millisecond}
		}
		return reply{}
	}
}

// Killed at random moments under load, with a receiver that fails, the agent loses
// nothing, repeats only with equal ids, and keeps the order of each key.
func TestCrash(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testCrash)
}

func testCrash(t *testing.T, w *world) {
	s := w.scenario("kill9-loop")
	w.hook.answer(failing(1))
	random := chance(3)
	a := w.begin()
	l := w.load(4, 200, false)
	kills := count(6, 60)
	for range kills {
		elapse(t, between(random, 200*time.Millisecond, time.Duration(count(1000, 3000))*time.Millisecond), "", nil)
		a.kill()
		w.confirmedIsStored("killed")
		a = w.start()
	}
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	v := w.verify(changes, judge{profile: "main", killed: true})
	s.did(kills, "kill", "kills")
	t.Logf("%d kills, %d events, %d requests repeated: %.1f a kill", kills, v.events, v.repeated, float64(v.repeated)/float64(kills))
}

// Stopped in order and started again under load, it loses nothing and repeats nothing.
func TestTerm(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testTerm)
}

func testTerm(t *testing.T, w *world) {
	s := w.scenario("term-flush")
	// Answers take a moment, so that requests are in flight when the signal comes.
	w.hook.answer(func(arrival) reply { return reply{wait: 5 * time.Millisecond} })
	random := chance(4)
	a := w.begin()
	l := w.load(4, 200, false)
	stops := count(4, 30)
	for range stops {
		elapse(t, between(random, 300*time.Millisecond, 1200*time.Millisecond), "", nil)
		a.says("msg=streaming") // before it has begun, a signal simply ends it
		a.term()
		a = w.start()
	}
	changes := w.ledger(l.stop(t))
	w.hook.wait(t, "main", len(changes), 2*patience)
	a.term()
	w.verify(changes, judge{profile: "main"})
	for _, line := range w.readLog() {
		if line.Outcome == "interrupted" {
			t.Errorf("a request was interrupted though it took no longer than the grace: %+v", line)
		}
	}
	s.did(stops, "SIGTERM under load", "SIGTERMs under load")
}

// A request that outlasts shutdown_grace is logged interrupted, and is all that a restart repeats.
func TestTermInterrupts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.conf.top = "shutdown_grace: 500ms\n"
	var once sync.Once
	inFlight := make(chan struct{})
	w.hook.answer(func(a arrival) reply {
		if a.key == 1 {
			once.Do(func() { close(inFlight) })
			return reply{wait: 3 * time.Second}
		}
		return reply{}
	})
	a := w.begin()
	w.insert(1, 2)
	<-inFlight
	w.hook.wait(t, "main", 2, patience)
	a.term()
	w.hook.answer(nil)
	a = w.start()
	eventually(t, patience, "the interrupted request is repeated", func() bool { return len(w.hook.all("main")) >= 3 })
	w.logCount("main", 2)
	a.term()

	got := map[int64]int{}
	for _, a := range w.hook.all("main") {
		got[a.key]++
	}
	if got[1] != 2 || got[2] != 1 {
		t.Errorf("requests by key: %v, want key 1 twice and key 2 once", got)
	}
	interrupted := 0
	for _, line := range w.readLog() {
		if line.Outcome == "interrupted" {
			interrupted++
		}
	}
	if interrupted != 1 {
		t.Errorf("%d lines say interrupted, want 1", interrupted)
	}
}

// A second signal stops at once, whatever is in flight.
func TestTermTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.hook.answer(func(arrival) reply { return reply{wait: time.Minute} })
	w.conf.profiles = fmt.Sprintf("  main: {url: %s, secret: %s, allow_networks: [loopback], timeout: 2m}\n", w.hook.url("main"), secret)
	a := w.begin()
	w.insert(1)
	eventually(t, patience, "a request is in flight", func() bool { return w.hook.requests.Load() > 0 })
	a.signal(15)
	a.says("stopping") // and waits for the request: its grace is 20 s
	a.signal(15)
	a.wait(5 * time.Second)
}

// insert commits one transaction that inserts rows with these keys.
func (w *world) insert(keys ...int64) {
	w.tb.Helper()
	sql := "begin;"
	for _, key := range keys {
		sql += insertion(key)
	}
	w.exec(sql + "commit")
}

// insertEach commits n transactions that insert one row each, with keys from 1 on.
func (w *world) insertEach(n int) {
	w.tb.Helper()
	conn := w.connect()
	for key := 1; key <= n; {
		var sql strings.Builder
		for last := min(n, key+999); key <= last; key++ {
			fmt.Fprintf(&sql, "begin;%scommit;", insertion(key))
		}
		capturetest.Must(w.tb, conn.exec(w.tb.Context(), sql.String()))
	}
}

// insertion inserts a row and its place in the ledger.
func insertion[K int | int64](key K) string {
	return fmt.Sprintf("insert into proof.rows (id, seq, note) values (%d, 1, 'kept'); insert into proof.ledger (id, seq, op) values (%d, 1, 'insert');", key, key)
}

// After an idle restart of any kind, one row is delivered, every time.
func TestIdleRestart(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testIdleRestart)
}

func testIdleRestart(t *testing.T, w *world) {
	s := w.scenario("idle-restart")
	ctx := context.Background()
	noise := []func(){
		func() {},
		func() {
			w.exec(`insert into proof.noise (filler) select repeat('x', 500) from ` + numbers(200))
		},
		func() { capturetest.Must(t, w.server.elsewhere(ctx)) },
		func() { capturetest.Must(t, w.server.rotate(ctx)) },
	}
	a := w.begin()
	rounds := count(10, 100)
	for i := range rounds {
		// Noise before the stop, after it, or both; confirmed before the stop or not.
		if i%2 == 0 {
			noise[i%len(noise)]()
		}
		if i%3 == 0 {
			w.confirmed(30 * time.Second)
		}
		if i%4 < 2 {
			a.kill()
		} else {
			a.term()
		}
		noise[(i/2)%len(noise)]()
		late := i%5 == 4 // the row is written while the agent is down
		if late {
			w.insert(int64(i))
		}
		if a = w.start(); !late {
			w.streaming(a)
			w.insert(int64(i))
		}
		w.hook.wait(t, "main", i+1, 30*time.Second)
	}
	w.logCount("main", rounds)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main", killed: true})
	s.did(rounds, "idle restart", "idle restarts")
}

// Killed while it catches up, it repeats at most what was in flight and what it sent within 100 ms.
func TestCrashInCatchUp(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testCrashInCatchUp)
}

func testCrashInCatchUp(t *testing.T, w *world) {
	s := w.scenario("kill9-in-catch-up")
	const concurrency = 16
	events := count(4000, 20000)
	w.conf.profile = fmt.Sprintf("    concurrency: %d\n", concurrency)
	w.begin().term()
	w.insertEach(events)

	var allowed []int // by kill
	for done := events / 6; done < events; done += events / 6 {
		a := w.start()
		w.hook.wait(t, "main", done, patience)
		recently := time.Now().Add(-syncWindow())
		a.kill()
		allowed = append(allowed, concurrency+w.acceptedSince("main", recently))
	}
	a := w.begin()
	w.hook.wait(t, "main", events, patience)
	w.logCount("main", events)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main", killed: true})
	// Lives 1 and 2 are the first start and the first that is killed; life n+3 repeats for kill n.
	repeated := repeatedByLife(w.hook.all("main"))
	for kill, most := range allowed {
		again := repeated[int64(kill+3)]
		s.most("repeated after one kill", int64(again), "")
		t.Logf("kill %d: %d repeated, %d allowed", kill+1, again, most)
		if again > most {
			t.Errorf("kill %d: %d repeated, more than the %d that were in flight or sent within %s", kill+1, again, most, syncWindow())
		}
	}
	s.did(len(allowed), "kill", "kills")
}

// syncWindow is how long an acknowledgement may take to become durable: 100 ms, and more
// where the processes of other tests keep the agent from running.
func syncWindow() time.Duration { return time.Duration(count(500, 100)) * time.Millisecond }

// repeatedByLife counts for each run of the agent the accepted requests that an
// earlier run had had accepted too.
func repeatedByLife(arrivals []arrival) map[int64]int {
	seen, repeated := map[string]bool{}, map[int64]int{}
	for _, a := range arrivals {
		if a.accepted && seen[a.id] {
			repeated[a.life]++
		}
		seen[a.id] = seen[a.id] || a.accepted
	}
	return repeated
}

// acceptedSince is how many requests a profile has accepted since a time.
func (w *world) acceptedSince(profile string, since time.Time) (n int) {
	w.hook.mu.Lock()
	defer w.hook.mu.Unlock()
	for _, a := range slices.Backward(w.hook.arrivals) {
		if a.at.Before(since.Add(-time.Second)) { // they stand in nearly the order of their times
			break
		}
		if a.profile == profile && a.accepted && !a.at.Before(since) {
			n++
		}
	}
	return n
}
