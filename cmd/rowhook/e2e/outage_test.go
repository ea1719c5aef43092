package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// A dead receiver does not hold back WAL or binlog: while it is dead, what was written is
// settled within five seconds, and what is not stays under a mebibyte.
// When it is back everything arrives, in order, once.
func TestReceiverDead(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testReceiverDead)
}

func testReceiverDead(t *testing.T, w *world) {
	a := w.begin()
	l := w.load(4, 200, false)
	w.hook.wait(t, "main", 50, patience)

	w.hook.down()
	outage := time.Duration(count(6, 60)) * time.Second
	type sample struct {
		at    time.Time
		point string
	}
	var samples []sample
	most := int64(0)
	elapse(t, outage, "what is settled keeps up within 5 s", func() bool {
		samples = append(samples, sample{time.Now(), w.now()})
		behind, err := w.server.behind(t.Context())
		capturetest.Must(t, err)
		most = max(most, behind)
		due := ""
		for len(samples) > 0 && time.Since(samples[0].at) > 5*time.Second {
			due, samples = samples[0].point, samples[1:]
		}
		return due == "" || w.settled(due)
	})
	changes := w.ledger(l.stop(t))
	w.confirmed(5 * time.Second)
	before := w.hook.distinct("main")
	w.hook.up(t)
	up := time.Now()
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main"})
	t.Logf("dead for %s: at most %d KiB of log unsettled; %d events came within %s of its return",
		outage, most>>10, len(changes)-before, time.Since(up).Round(time.Millisecond))
	if most > 1<<20 {
		t.Errorf("%d bytes of log were unsettled, more than 1 MiB", most)
	}
}

// A neighbour that refuses connections, or takes requests and never answers, changes
// nothing for a healthy profile.
func TestNeighbourDead(t *testing.T) {
	w := newWorld(t, capturetest.Options{})
	neighbour := newReceiver(t)
	w.conf.profiles = w.usualProfile("main") +
		fmt.Sprintf("  neighbour: {url: %s, secret: %s, allow_networks: [loopback], timeout: 2s, retry: {initial: 100ms, max: 1s}}\n", neighbour.url("neighbour"), secret)
	a := w.begin()
	conn := w.connect()
	key := int64(0)
	rows := count(400, 2000)
	// measure writes rows at 200 a second and returns the 99th percentile from before
	// the insert until the healthy profile has the event.
	measure := func() time.Duration {
		sent := map[int64]time.Time{}
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for range rows {
			<-tick.C
			key++
			sent[key] = time.Now()
			capturetest.Must(t, conn.exec(t.Context(), "begin;"+insertion(key)+"commit"))
		}
		w.hook.wait(t, "main", int(key), patience)
		var took []time.Duration
		for _, a := range w.hook.all("main") {
			if at, ok := sent[a.key]; ok {
				took = append(took, a.at.Sub(at))
			}
		}
		return percentile(took, 0.99)
	}
	measure() // warms up
	healthy := measure()
	neighbour.answer(func(arrival) reply { return reply{wait: time.Hour} })
	hanging := measure()
	neighbour.down()
	refusing := measure()
	t.Logf("p99 of the healthy profile: %s alone, %s beside one that hangs, %s beside one that refuses", healthy, hanging, refusing)
	for name, p99 := range map[string]time.Duration{"hangs": hanging, "refuses": refusing} {
		// Wide, since the machine may be busy; the benchmark prints exact figures.
		if p99 > 5*healthy+100*time.Millisecond {
			t.Errorf("p99 was %s, and %s beside a profile that %s", healthy, p99, name)
		}
	}
	neighbour.answer(nil)
	neighbour.up(t)
	neighbour.wait(t, "neighbour", int(key), patience)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
}

// percentile of durations, which it sorts.
func percentile(took []time.Duration, p float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[min(len(took)-1, int(p*float64(len(took))))]
}

// A huge transaction passes through in parts: memory stays flat, and every event arrives.
func TestHugeTransaction(t *testing.T) {
	t.Parallel()
	compressed := map[string]string{"binlog_transaction_compression": "ON"} // the harder case
	onEach(t, settings{"postgres": {"max_wal_size": "8GB"}, "mysql": compressed}, testHugeTransaction)
	if soak() {
		t.Run("mysql uncompressed", func(t *testing.T) {
			t.Parallel()
			testHugeTransaction(t, newWorldOf(t, "mysql", nil))
		})
	}
}

func testHugeTransaction(t *testing.T, w *world) {
	s := w.scenario("giant-tx")
	rows, width := count(10_000, 1_000_000), count(20, 1)
	w.conf.profile = "    concurrency: 16\n"
	w.conf.spool = "{max_size: 20GiB}"
	a := w.begin()
	w.hugeInsert(rows, width)
	w.hook.wait(t, "main", rows, 15*time.Minute)
	w.logCount("main", rows)
	peak, resident := a.memory("VmHWM"), a.memory("VmRSS")
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
	s.did(1, fmt.Sprintf("transaction of %d rows", rows), fmt.Sprintf("transactions of %d rows", rows))
	s.most("peak", peak>>20, "MiB")
	t.Logf("%d rows in one transaction: peak %d MiB, resident %d MiB at the end", rows, peak>>20, resident>>20)
	if peak > 100<<20 {
		t.Errorf("the agent took %d MiB, more than 100 MiB", peak>>20)
	}
}

// hugeInsert commits one transaction of n inserts, with so many fillers each. Few wide rows take
// the agent what many narrow ones do, and the tests' receiver much less: to that, each row is a
// request.
func (w *world) hugeInsert(n, width int) {
	w.tb.Helper()
	capturetest.Must(w.tb, w.connect().exec(w.tb.Context(), fmt.Sprintf(`begin; insert into proof.rows select g, 1, 'kept %s' from %s;
		insert into proof.ledger (id, seq, op) select g, 1, 'insert' from %s; commit`, strings.Repeat(filler, width), numbers(n), numbers(n)))) // it may take minutes
}

// Killed while a large transaction is being stored, the agent takes it up again without
// loss, and shows nothing of it before it is whole.
func TestCrashInHugeTransaction(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testCrashInHugeTransaction)
}

func testCrashInHugeTransaction(t *testing.T, w *world) {
	s := w.scenario("kill9-in-giant-tx")
	rows, width := count(4_000, 300_000), count(10, 1)
	w.conf.profile = "    concurrency: 16\n"
	w.begin().term()
	w.hugeInsert(rows, width)
	kills := count(5, 20)
	for i := range kills {
		a := w.start()
		w.streaming(a)
		elapse(t, time.Duration(i*20)*time.Millisecond, "", nil)
		a.kill()
	}
	a := w.start()
	w.hook.wait(t, "main", rows, 5*patience)
	w.logCount("main", rows)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main", killed: true})
	s.did(kills, "kill", "kills")
}
