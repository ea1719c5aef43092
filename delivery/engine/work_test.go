package engine

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
)

// TestIntakeBatch: events go together until the batch is full, or has waited for long enough.
func TestIntakeBatch(t *testing.T) {
	t.Parallel()
	o := newOwners(t, func(c *delivery.ProfileConfig) {
		c.Unit, c.Batch = delivery.UnitBatch, delivery.BatchConfig{Max: 2, Wait: time.Second}
	}, "a", "b", "c")
	o.read(t)
	if j := o.pick(t); len(j.members) != 2 || o.queue.ready(true) || !o.intake.live() {
		t.Errorf("a batch of %d; more is ready: %t", len(j.members), o.queue.ready(true))
	}
	if err := o.intake.closeDue(o.now.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if j := o.pick(t); len(j.members) != 1 || j.event.ID != "c3" {
		t.Errorf("the last batch has %d events from %s on", len(j.members), j.event.ID)
	}
}

// TestIntakeUnform: what was read of a group that is not complete is read again.
func TestIntakeUnform(t *testing.T) {
	t.Parallel()
	o := newOwners(t, func(c *delivery.ProfileConfig) {
		c.Unit, c.Batch = delivery.UnitBatch, delivery.BatchConfig{Max: 5, Wait: time.Second}
	}, "a", "b")
	o.read(t)
	if next := o.intake.reader.next; next != 3 || o.queue.ready(true) {
		t.Fatalf("read to %d", next)
	}
	if o.intake.unform(); o.intake.reader.next != 1 || o.intake.live() {
		t.Errorf("it is to be read again from %d", o.intake.reader.next)
	}
}

// TestIntakeBarrier: what is above a barrier is read when everything below it is over, and by the
// order of the config.
func TestIntakeBarrier(t *testing.T) {
	t.Parallel()
	o := newOwners(t, nil, "a", "b", "c")
	o.intake.ordering = ordering{Order: "key", Unit: delivery.UnitRecord, Barriers: []barrier{{At: 2, Order: "none", Unit: delivery.UnitRecord}}}
	o.terms.use(o.intake.ordering.inForce(o.terms.configured))
	o.read(t)
	j, second := o.pick(t), o.pick(t)
	if o.queue.lanes.ordered || o.queue.ready(true) || !o.intake.barred() {
		t.Errorf("below the barrier: in order %t, more is ready %t", o.queue.lanes.ordered, o.queue.ready(true))
	}
	o.queue.done(j)
	for _, passed := range []bool{false, true} {
		if err := o.intake.passBarriers(o.now); err != nil || o.intake.barred() == passed {
			t.Fatalf("%v; the barrier stands: %t", err, o.intake.barred())
		}
		if !passed {
			o.queue.done(second)
		}
	}
	if o.read(t); !o.queue.lanes.ordered {
		t.Error("above the barrier there is no order")
	}
	wantTexts(t, "above the barrier", o.picked(t), "c3")
}

// TestLoader: retries come back when they are due, those behind them when they are over, and
// nothing while older events of their lanes may be unread.
func TestLoader(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*delivery.ProfileConfig)
		picked []string
	}{
		"in order":      {nil, []string{"a1"}},
		"without order": {func(c *delivery.ProfileConfig) { c.Order = "none" }, []string{"a1", "a2"}},
	} {
		o := newOwners(t, test.change, "a", "a")
		o.read(t)
		o.queue.unloadAll()
		o.stored(t)
		for seq, r := range o.shelf.records {
			r.State, r.Due = delivery.Retrying, o.now.Add(time.Second*time.Duration(seq))
			o.shelf.records[seq] = r
			o.queue.ledger.dueBy(r.Due)
		}
		load := func(after time.Duration) {
			t.Helper()
			if err := o.loader.load(o.now.Add(after), 0); err != nil {
				t.Fatal(err)
			}
		}
		o.intake.reader.resume = 9
		if load(time.Hour); o.queue.memory.jobs != 0 || !o.loader.dueAt(o.now, 0).IsZero() {
			t.Errorf("%s: %d jobs before the log was read", name, o.queue.memory.jobs)
		}
		o.intake.reader.resume = 0
		if load(0); o.queue.memory.jobs != 0 {
			t.Errorf("%s: %d jobs before they are due", name, o.queue.memory.jobs)
		}
		load(time.Hour)
		wantTexts(t, name, o.picked(t), test.picked...)
	}
}

// TestLoaderMakesDue: a probe wants one retry, an endpoint that answers again many.
func TestLoaderMakesDue(t *testing.T) {
	t.Parallel()
	o := newOwners(t, func(c *delivery.ProfileConfig) { c.Order = "none" }, "a", "b", "c")
	o.read(t)
	for o.queue.ready(true) {
		o.queue.wait(o.pick(t), o.now.Add(time.Minute))
	}
	o.stored(t)
	due := func() (n int) {
		for _, r := range o.shelf.records {
			if !r.Due.After(o.now) {
				n++
			}
		}
		return n
	}
	if err := o.loader.seekProbe(o.now, 0); err != nil || due() != 0 {
		t.Errorf("%d are due while the breaker is closed, %v", due(), err)
	}
	o.endpoint.outage = &outage{Until: o.now}
	if err := o.loader.seekProbe(o.now, 0); err != nil || due() != 1 {
		t.Errorf("%d are due for a probe, %v", due(), err)
	}
	if err := o.loader.bringForward(o.now); err != nil || due() != 3 {
		t.Errorf("%d are due when it answers again, %v", due(), err)
	}
}

func newRetrier(o *owners) *retrier {
	return &retrier{
		profile: o.terms.profile, store: &o.store, reader: &o.intake.reader, queue: &o.queue, commits: &o.commits,
		loader: &o.loader, endpoint: &o.endpoint, gaps: &o.gaps, lines: &o.lines, tally: new(tally),
	}
}

// TestRetrier: the lines that a failure writes, and where its delivery is then.
func TestRetrier(t *testing.T) {
	t.Parallel()
	short := func(c *delivery.ProfileConfig) { c.Retry.Schedule = []time.Duration{time.Minute} }
	block := func(c *delivery.ProfileConfig) { c.MaxBlock = time.Millisecond }
	givenUp := func(rt *retrier, j *job, now time.Time) error {
		rt.die(j, now)
		return nil
	}
	cutShort := func(rt *retrier, j *job, now time.Time) error {
		rt.postpone(j, delivery.OutcomeInterrupted, now)
		return nil
	}
	for name, test := range map[string]struct {
		change   func(*delivery.ProfileConfig)
		attempts int // before this one
		decide   func(*retrier, *job, time.Time) error
		line     string
		stored   map[delivery.Seq]string
		gaps     int
	}{
		"again":          {nil, 0, (*retrier).retry, "a1 retrying status", map[delivery.Seq]string{1: "retrying", 2: "blocked"}, 0},
		"the last time":  {short, 1, (*retrier).retry, "a1 dead status", map[delivery.Seq]string{1: "dead"}, 1},
		"too long":       {block, 3, (*retrier).retry, "a1 dead max_block", map[delivery.Seq]string{1: "dead"}, 1},
		"given up":       {nil, 0, givenUp, "a1 dead status", map[delivery.Seq]string{1: "dead"}, 1},
		"not an attempt": {nil, 0, cutShort, "a1 interrupted status", map[delivery.Seq]string{1: "retrying", 2: "blocked"}, 0},
	} {
		o := newOwners(t, test.change, "a", "a")
		o.read(t)
		j := o.pick(t)
		j.record.Attempts, j.record.Clock = test.attempts, time.Duration(test.attempts)*time.Hour
		j.reply = delivery.Reply{Class: delivery.ClassTransient, Reason: "status", Status: 500, Started: o.now}
		if err := test.decide(newRetrier(o), j, o.now.Add(2*time.Hour)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantTexts(t, name, o.paper.outcomes(), test.line)
		wantStored(t, o, test.stored)
		if len(o.gaps.Gaps) != test.gaps {
			t.Errorf("%s: %d gaps", name, len(o.gaps.Gaps))
		}
	}
}

// TestRetrierSplits: a batch that its receiver refuses is halved, and its halves wait in its place.
func TestRetrierSplits(t *testing.T) {
	t.Parallel()
	o := newOwners(t, func(c *delivery.ProfileConfig) {
		c.Unit, c.Batch = delivery.UnitBatch, delivery.BatchConfig{Max: 3, Wait: time.Second}
	}, "a", "b", "c")
	o.read(t)
	j := o.pick(t)
	j.reply = delivery.Reply{Class: delivery.ClassEvent, Reason: "status", Status: 422, Started: o.now}
	cuts, id := cutsOf(j), j.id()
	if err := newRetrier(o).split(j, cuts, o.now); err != nil || !slices.Equal(cuts, []int{1}) {
		t.Fatalf("%v, %v", cuts, err)
	}
	wantStored(t, o, map[delivery.Seq]string{1: "blocked", 2: "blocked"})
	if m := o.shelf.records[2].Members; m.Count != 2 || m.Last != 3 || m.Parts != 0 {
		t.Errorf("the second half has %+v", m)
	}
	wantTexts(t, "log", o.paper.outcomes(), id+" retrying status")
}

// TestClearer: the oldest end first, in memory, on disk or not read yet, none that a worker has, and
// only until enough is gone.
func TestClearer(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		bytes int64
		lines []string
		left  []string
	}{
		"enough": {150, []string{"a2 dropped share", "b3 dropped share"}, []string{"b4"}},
		"all":    {math.MaxInt64, []string{"a2 dropped share", "b3 dropped share", "b4 dropped share"}, nil},
	} {
		o := newOwners(t, nil, "a", "a", "b", "b")
		o.read(t)
		j := o.pick(t)
		cl := clearer{store: &o.store, intake: &o.intake, queue: &o.queue, commits: &o.commits, lines: &o.lines, gaps: &o.gaps}
		n, err := cl.clear(o.now, delivery.OutcomeDropped, "share", test.bytes)
		if err != nil || n != len(test.lines) || o.gaps.Gap.Count != int64(n) {
			t.Errorf("%s: %d of them, %v, a gap of %+v", name, n, err, o.gaps.Gap)
		}
		wantTexts(t, name, o.paper.outcomes(), test.lines...)
		o.queue.done(j)
		if err := o.loader.load(o.now, 0); err != nil {
			t.Fatal(err)
		}
		wantTexts(t, name+", what is left", o.picked(t), test.left...)
	}
}

// TestInactive: what comes for a profile that is not active is held, with one line each, or skipped.
func TestInactive(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		when string
		line string
		next delivery.Seq
	}{
		"held":    {"hold", "held operator", 1},
		"skipped": {"skip", "skipped operator", 3},
	} {
		o := newOwners(t, func(c *delivery.ProfileConfig) { c.WhenInactive = test.when }, "a", "b")
		a := &activation{profile: o.terms.profile, consent: consent{Inactive: true, Reason: delivery.ReasonOperator}}
		cl := &clearer{store: &o.store, intake: &o.intake, queue: &o.queue, commits: &o.commits, lines: &o.lines, gaps: &o.gaps}
		r := inactive{
			store: &o.store, reader: &o.intake.reader, queue: &o.queue, commits: &o.commits, lines: &o.lines, clearer: cl, activation: a,
		}
		for range 3 {
			if err := r.lookAtNew(o.now); err != nil {
				t.Fatal(err)
			}
			o.now = o.now.Add(commitDelay)
		}
		wantTexts(t, name, o.paper.outcomes(), "a1 "+test.line, "b2 "+test.line)
		if o.intake.reader.next != test.next || !r.wakeAt().IsZero() {
			t.Errorf("%s: read to %d, to be looked at again at %s", name, o.intake.reader.next, r.wakeAt())
		}
	}
}

// TestReplays: history comes again with a round of its own, one replay at a time, and leaves what
// waits alone.
func TestReplays(t *testing.T) {
	t.Parallel()
	o := newOwners(t, nil, "a", "b", "a")
	rs := &replays{
		profile: o.terms.profile, store: &o.store, reader: &o.intake.reader, queue: &o.queue, commits: &o.commits, endpoint: &o.endpoint,
		logger: slog.New(slog.DiscardHandler),
	}
	o.read(t)
	o.queue.done(o.pick(t))
	o.queue.wait(o.pick(t), o.now)
	o.queue.done(o.pick(t))
	o.stored(t)
	r := replay{End: 4}
	counted, err := rs.count(&r, o.terms.profile)
	if err != nil || counted.Events != 2 || counted.Waiting != 1 || r.Next != 0 {
		t.Errorf("counted %+v, %v", counted, err)
	}
	if under, begun := rs.begin(r, counted.Events, o.now); !begun || under.Round != 2 {
		t.Errorf("begun %t: %+v", begun, under)
	}
	if under, begun := rs.begin(replay{}, 9, o.now); begun || under.Left != 2 {
		t.Errorf("a second one: begun %t, %+v", begun, under)
	}
	if !rs.wanted() {
		t.Fatal("it does not go on")
	}
	if err := rs.some(o.now); err != nil || rs.under != nil || rs.stop(o.now) != nil {
		t.Errorf("%v; still under way: %+v", err, rs.under)
	}
	wantStored(t, o, map[delivery.Seq]string{1: "blocked", 2: "retrying", 3: "blocked"})
	if r := o.shelf.records[3]; r.Round != 2 {
		t.Errorf("its round is %d", r.Round)
	}
	if under, begun := rs.begin(replay{End: 4}, 2, o.now); !begun || under.Round != 3 || rs.stop(o.now) != under || rs.wanted() {
		t.Errorf("the next one: begun %t, %+v", begun, under)
	}
}

// TestCommands: what an operator may do to a delivery hangs on where it is.
func TestCommands(t *testing.T) {
	t.Parallel()
	setup := func() (*owners, *commands) {
		o := newOwners(t, nil, "a", "a", "b", "c")
		o.intake.reader.profile = o.terms.profile
		if err := o.intake.readSome(o.now); err != nil {
			t.Fatal(err)
		}
		return o, &commands{code: "desk", store: &o.store, intake: &o.intake, queue: &o.queue, commits: &o.commits, lines: &o.lines, gaps: &o.gaps}
	}
	o, cs := setup()
	o.pick(t)
	if err := cs.skip(1, "a1", o.now); !errors.Is(err, errInFlight) {
		t.Errorf("one that is being sent: %v", err)
	}
	if err := cs.hasten(2, o.now); !errors.Is(err, errBlocked) {
		t.Errorf("one that is blocked: %v", err)
	}
	if err := cs.skip(2, "a2", o.now); err != nil {
		t.Error(err)
	}
	wantTexts(t, "log", o.paper.outcomes(), "a2 dead operator")
	wantStored(t, o, map[delivery.Seq]string{2: "dead"})
	var gone *operatorError
	if err := cs.hasten(2, o.now); !errors.As(err, &gone) {
		t.Errorf("one that does not wait any more: %v", err)
	}

	o, cs = setup()
	o.queue.bury(o.pick(t), false)
	o.stored(t)
	cs.gaps.growKey(&delivery.Delivery{Lane: laneHash("a"), WaitLane: laneHash("a")}, "a1")
	if cs.revive(o.shelf.records[1], "a1", o.now); len(o.gaps.Gaps) != 0 {
		t.Error("the gap is still there")
	}
	wantStored(t, o, map[delivery.Seq]string{1: "blocked", 2: "blocked"})
	if r := o.shelf.records[1]; r.Round != 2 || r.Attempts != 0 {
		t.Errorf("round %d, attempts %d", r.Round, r.Attempts)
	}

	o, cs = setup()
	o.queue.bury(o.pick(t), false)
	o.stored(t)
	r := o.shelf.records[1]
	cs.discard(&r, o.shelf.log[0].Event, o.now)
	wantTexts(t, "log", o.paper.outcomes(), "a1 discarded operator")
	wantStored(t, o, map[delivery.Seq]string{})
}

// TestCommandsUnread: a delivery that was not read yet can be given up as well.
func TestCommandsUnread(t *testing.T) {
	t.Parallel()
	o := newOwners(t, nil, "a", "b")
	cs := &commands{code: "desk", store: &o.store, intake: &o.intake, queue: &o.queue, commits: &o.commits, lines: &o.lines, gaps: &o.gaps}
	if err := cs.hasten(2, o.now); !errors.Is(err, errUntried) {
		t.Errorf("one that was not tried: %v", err)
	}
	if err := cs.skip(2, "b2", o.now); err != nil {
		t.Fatal(err)
	}
	wantStored(t, o, map[delivery.Seq]string{2: "dead"})
	o.read(t)
	wantTexts(t, "what is read then", o.picked(t), "a1")
}

// TestCrew: workers send what they get and bring it back; a reply that asks to be left alone, and a
// halt, have them give back what they have not begun.
func TestCrew(t *testing.T) {
	t.Parallel()
	o := newOwners(t, func(c *delivery.ProfileConfig) { c.Concurrency = 1 }, "a", "b", "c")
	for _, test := range []struct {
		class        delivery.Class
		halt         bool
		sent, halted bool
		lines        []string
	}{
		{delivery.ClassOK, false, true, false, []string{"a1 delivered "}},
		{delivery.ClassOK, true, false, true, nil},
		{delivery.ClassTransient, false, true, false, nil},
		{delivery.ClassThrottle, false, true, true, nil},
	} {
		o.paper.lines = nil
		p := *o.terms.profile
		p.sender = postman{delivery.Reply{Class: test.class, Started: o.now}}
		c := &crew{store: &o.store, log: o.paper, logger: slog.New(slog.DiscardHandler), tenure: new(tenure), whole: make(chan struct{}, 1), wake: newSignal()}
		c.follow(&p)
		c.open()
		if test.halt {
			c.halt()
		}
		c.give(&job{seq: 1, event: o.shelf.log[0].Event}, context.Background())
		var back []*job
		for len(back) == 0 {
			<-c.wake
			back = slices.Clone(c.take())
		}
		if j := back[0]; j.sent != test.sent || c.halted.Load() != test.halted || c.handed != 0 {
			t.Errorf("class %v: sent %t, halted %t, %d are away", test.class, j.sent, c.halted.Load(), c.handed)
		}
		c.close()
		if wantTexts(t, "log", o.paper.outcomes(), test.lines...); c.isOpen() {
			t.Error("it is at work after the end")
		}
	}
}

// TestCrewSoothed: results that nobody was told of are spoken of when the weather changes.
func TestCrewSoothed(t *testing.T) {
	t.Parallel()
	c := &crew{wake: newSignal()}
	c.soothe(true)
	c.giveBack(&job{})
	if len(c.wake) != 0 {
		t.Error("a result woke the dispatcher in calm weather")
	}
	if c.soothe(false); len(c.wake) != 1 {
		t.Error("nobody spoke of the result")
	}
}

// TestLines: people are told of attempts that failed, and the engine's own messages speak of dead
// letters once a minute.
func TestLines(t *testing.T) {
	t.Parallel()
	o := newOwners(t, func(c *delivery.ProfileConfig) { c.Contacts = []string{"ops@example.org"} }, "a")
	var told []delivery.Failure
	var spoken strings.Builder
	w := &o.lines
	w.onFailure = func(f delivery.Failure) { told = append(told, f) }
	w.logger = slog.New(slog.NewTextHandler(&spoken, nil))
	j := &job{seq: 1, event: o.shelf.log[0].Event, reply: delivery.Reply{Reason: "status", Status: 500, Started: o.now, Response: []byte("try later")}}
	w.attempt(j, delivery.OutcomeRetrying, o.now.Add(time.Minute))
	w.attempt(j, delivery.OutcomeInterrupted, time.Time{})
	if len(told) != 1 || told[0].Response != "try later" || told[0].Attempt != 1 || !told[0].Next.Equal(o.now.Add(time.Minute)) {
		t.Errorf("people are told of %+v", told)
	}
	for i := range 3 {
		w.buried++
		w.tellBuried(o.now.Add(time.Duration(i)*buriedInterval/2), "status")
	}
	if n := strings.Count(spoken.String(), "deliveries given up"); n != 2 || !strings.Contains(spoken.String(), "count=2") {
		t.Errorf("spoken of %d times: %s", n, spoken.String())
	}
	if w.endings[Ending{delivery.OutcomeRetrying, "status"}] != 1 || w.sumUp(o.now.Add(time.Hour), true) {
		t.Errorf("counted %v", w.endings)
	}
}
