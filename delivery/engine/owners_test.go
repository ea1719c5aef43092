package engine

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"rowhook/delivery"
)

// shelf is a store of one profile in memory, as far as the owners ask for it.
type shelf struct {
	delivery.Store // nothing else is asked for
	log            []delivery.Entry
	records        map[delivery.Seq]delivery.Delivery
	state          []byte
	progress       delivery.Progress
	updates        int
	usage          delivery.Usage
	backlog        delivery.Backlog
	broken         error
}

func (s *shelf) Read(_ delivery.ProfileID, from delivery.Seq, dst []delivery.Entry, limit, _ int) ([]delivery.Entry, delivery.Seq, bool, error) {
	for _, e := range s.log {
		switch {
		case e.Seq < from:
		case limit == 0:
			return dst, e.Seq, false, nil
		default:
			dst = append(dst, e)
			limit--
		}
	}
	return dst, delivery.Seq(len(s.log) + 1), true, nil
}

func (s *shelf) History(id delivery.ProfileID, from delivery.Seq, dst []delivery.Entry, limit, bytes int) ([]delivery.Entry, delivery.Seq, bool, error) {
	return s.Read(id, from, dst, limit, bytes)
}

func (s *shelf) Events(_ delivery.ProfileID, d *delivery.Delivery, from delivery.Seq, dst []delivery.Entry, _, _ int) ([]delivery.Entry, delivery.Seq, bool, error) {
	return append(dst, s.log[from-1:d.Last()]...), d.Last() + 1, true, nil
}

func (s *shelf) Event(_ delivery.ProfileID, seq delivery.Seq) (*delivery.Event, error) {
	return s.log[seq-1].Event, nil
}

func (s *shelf) Appended(delivery.Seq) <-chan struct{} { return make(chan struct{}) }

func (s *shelf) Usage() delivery.Usage { return s.usage }

func (s *shelf) Backlog(delivery.ProfileID) (delivery.Backlog, error) { return s.backlog, nil }

func (s *shelf) Progress(delivery.ProfileID) (delivery.Progress, error) { return s.progress, nil }

func (s *shelf) Delivery(_ delivery.ProfileID, seq delivery.Seq) (delivery.Delivery, bool, error) {
	r, ok := s.records[seq]
	return r, ok, nil
}

func (s *shelf) Deliveries(_ delivery.ProfileID, from delivery.Seq, states []delivery.State, yield func(delivery.Delivery) bool) error {
	for _, seq := range slices.Sorted(maps.Keys(s.records)) {
		r := s.records[seq]
		if seq >= from && (len(states) == 0 || slices.Contains(states, r.State)) && !yield(r) {
			return nil
		}
	}
	return nil
}

func (s *shelf) Due(_ delivery.ProfileID, until time.Time, dst []delivery.Delivery, limit int) ([]delivery.Delivery, error) {
	for _, r := range s.records {
		if r.State == delivery.Retrying && !r.Due.After(until) {
			dst = append(dst, r)
		}
	}
	slices.SortFunc(dst, func(a, b delivery.Delivery) int { return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.Seq, b.Seq)) })
	return dst[:min(limit, len(dst))], nil
}

func (s *shelf) Lane(id delivery.ProfileID, lane uint64, from delivery.Seq, dst []delivery.Delivery, limit int) ([]delivery.Delivery, error) {
	err := s.Deliveries(id, from, []delivery.State{delivery.Retrying, delivery.Blocked}, func(r delivery.Delivery) bool {
		var few [2]uint64
		if slices.Contains(r.Lanes(&few), lane) {
			dst = append(dst, r)
			limit--
		}
		return limit > 0
	})
	return dst, err
}

func (s *shelf) Update(_ delivery.ProfileID, u delivery.Update) error {
	if s.broken != nil {
		return s.broken
	}
	s.updates++
	for _, seq := range u.Remove {
		delete(s.records, seq)
	}
	for _, r := range u.Put {
		s.records[r.Seq] = r
	}
	if u.State != nil {
		s.state = u.State
	}
	s.progress = delivery.Progress{Cursor: u.Progress.Cursor, Done: slices.Clone(u.Progress.Done)}
	return nil
}

// paper is a delivery log whose flushes may fail.
type paper struct {
	lines  []delivery.LogRecord
	failed error
}

func (p *paper) Append(rec *delivery.LogRecord) { p.lines = append(p.lines, *rec) }
func (p *paper) Flush() error                   { return p.failed }

// outcomes are the lines in short: event, outcome and reason.
func (p *paper) outcomes() (all []string) {
	for _, l := range p.lines {
		all = append(all, l.Event+" "+string(l.Outcome)+" "+l.Reason)
	}
	return all
}

// postman is a sender that delivers all, and a formatter whose bodies are ids.
type postman struct{ reply delivery.Reply }

func (p postman) Send(context.Context, *delivery.Request) delivery.Reply { return p.reply }
func (postman) Describe() (method, url string)                           { return "POST", "https://example.org/hook" }
func (postman) Head(*delivery.Event) delivery.Head                       { return delivery.Head{} }

func (postman) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	return append(dst, ev.ID...), nil
}

// owners are those that most others work with, on a store and a log in memory, without a
// dispatcher.
type owners struct {
	shelf    *shelf
	paper    *paper
	store    profileStore
	queue    queue
	commits  committer
	kept     kept
	lines    lines
	gaps     gaps
	endpoint endpoint
	terms    terms
	intake   intake
	loader   loader
	now      time.Time
}

// newOwners returns owners of a profile under the preset's terms, whose log has an event for each
// key: the first letter of an id names it.
func newOwners(t *testing.T, change func(*delivery.ProfileConfig), keys ...string) *owners {
	t.Helper()
	o := &owners{shelf: &shelf{records: make(map[delivery.Seq]delivery.Delivery)}, paper: new(paper), now: endpointStart, queue: newQueue(1 << 20)}
	for i, key := range keys {
		seq := delivery.Seq(i + 1)
		ev := &delivery.Event{Making: &delivery.Making{Type: "loan.made"}, Commit: &delivery.Commit{Time: o.now}, ID: key + strconv.Itoa(i+1), OrderKey: key}
		o.shelf.log = append(o.shelf.log, delivery.Entry{Seq: seq, Event: ev, Bytes: 100})
	}
	config := delivery.Defaults()
	config.Code, config.Retry.Jitter = "desk", 0
	if change != nil {
		change(&config)
	}
	logger := slog.New(slog.DiscardHandler)
	o.store = profileStore{Store: o.shelf, id: 1}
	o.endpoint.log = logger
	o.lines = lines{log: o.paper, logger: logger, endings: make(map[Ending]int64)}
	o.kept = kept{
		endpoint: &o.endpoint, activation: new(activation), gaps: &o.gaps, inactive: new(inactive), replays: new(replays),
		queue: &o.queue, ordering: &o.intake.ordering,
	}
	o.intake = intake{store: &o.store, terms: &o.terms, queue: &o.queue, commits: &o.commits}
	o.loader = loader{store: &o.store, reader: &o.intake.reader, queue: &o.queue, commits: &o.commits, endpoint: &o.endpoint}
	o.commits = committer{
		tenure: new(tenure),
		store:  &o.store, log: o.paper, flushed: func(error) {}, wake: newSignal(), ledger: &o.queue.ledger,
		reader: &o.intake.reader, kept: &o.kept,
	}
	o.commits.reset()
	p := &Profile{code: "desk", config: config, schedule: newSchedule(config.Retry), sender: postman{}, formatter: postman{}}
	o.terms = terms{configured: p, followers: []follower{&o.queue, &o.gaps, &o.endpoint, &o.intake.reader, &o.lines, &o.loader}}
	o.terms.use(p)
	o.intake.reader.start(&delivery.Progress{Cursor: 1})
	return o
}

// read takes all of the log that there is room for.
func (o *owners) read(t *testing.T) {
	t.Helper()
	if err := o.intake.read(o.now); err != nil {
		t.Fatal(err)
	}
}

// pick takes the next job as a dispatcher does.
func (o *owners) pick(t *testing.T) *job {
	t.Helper()
	if !o.queue.ready(true) {
		t.Fatal("nothing is ready")
	}
	j := o.queue.lanes.pick(true, false)
	j.state = jobHanded
	return j
}

// picked takes all that may go and returns its events.
func (o *owners) picked(t *testing.T) (ids []string) {
	t.Helper()
	for o.queue.ready(true) {
		ids = append(ids, o.pick(t).event.ID)
	}
	return ids
}

// stored tells of each record by its place: its state.
func (o *owners) stored(t *testing.T) map[delivery.Seq]string {
	t.Helper()
	if err := o.commits.whole(); err != nil {
		t.Fatal(err)
	}
	states := make(map[delivery.Seq]string)
	for seq, r := range o.shelf.records {
		states[seq] = r.State.String()
	}
	return states
}

func wantStored(t *testing.T, o *owners, want map[delivery.Seq]string) {
	t.Helper()
	if got := o.stored(t); !maps.Equal(got, want) {
		t.Errorf("records: %v, want %v", got, want)
	}
}

func wantTexts(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestQueueWays: what follows for the others of a key when a delivery leaves its place.
func TestQueueWays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		leave  func(*owners, *job)
		picked []string
		stored map[delivery.Seq]string
	}{
		"done":        {func(o *owners, j *job) { o.queue.done(j) }, []string{"b3", "a2"}, map[delivery.Seq]string{}},
		"waits":       {func(o *owners, j *job) { o.queue.wait(j, o.now.Add(time.Minute)) }, []string{"b3"}, map[delivery.Seq]string{1: "retrying", 2: "blocked"}},
		"dead":        {func(o *owners, j *job) { o.queue.bury(j, false) }, []string{"b3", "a2"}, map[delivery.Seq]string{1: "dead"}},
		"dead, holds": {func(o *owners, j *job) { o.queue.bury(j, true) }, []string{"b3"}, map[delivery.Seq]string{1: "dead", 2: "blocked"}},
	} {
		o := newOwners(t, nil, "a", "a", "b")
		o.read(t)
		j := o.pick(t)
		if flight := o.queue.inFlight(); len(flight) != 1 || !flight[1] {
			t.Errorf("%s: %v are in flight", name, flight)
		}
		test.leave(o, j)
		wantTexts(t, name, o.picked(t), test.picked...)
		wantStored(t, o, test.stored)
	}
}

// TestQueueUnloadAll: everything goes to disk but what a worker has.
func TestQueueUnloadAll(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*delivery.ProfileConfig){
		"blocked":  nil,
		"retrying": func(c *delivery.ProfileConfig) { c.Order = "none" },
	} {
		o := newOwners(t, change, "a", "a", "b")
		o.read(t)
		o.pick(t)
		o.queue.unloadAll()
		if o.queue.memory.jobs != 1 {
			t.Errorf("%s: %d jobs are in memory", name, o.queue.memory.jobs)
		}
		wantStored(t, o, map[delivery.Seq]string{2: name, 3: name})
	}
}

// TestQueueBack: a delivery that comes back goes before newer ones of its key, which make way.
func TestQueueBack(t *testing.T) {
	t.Parallel()
	o := newOwners(t, nil, "a", "a", "b")
	o.read(t)
	o.queue.bury(o.pick(t), false)
	o.stored(t)
	o.queue.revive(o.shelf.records[1], o.now)
	wantTexts(t, "in memory", o.picked(t), "b3")
	wantStored(t, o, map[delivery.Seq]string{1: "blocked", 2: "blocked"})
}

// TestCommitter: nothing is stored before the log has its lines, and what was decided meanwhile
// comes with the next commit.
func TestCommitter(t *testing.T) {
	t.Parallel()
	o := newOwners(t, nil, "a", "b")
	o.read(t)
	var heard []error
	o.commits.flushed = func(err error) { heard = append(heard, err) }
	full := errors.New("no space left")
	o.paper.failed = full
	o.queue.done(o.pick(t))
	if committed, err := o.commits.commit(); committed || err != nil || !o.commits.stuck() || o.shelf.updates != 0 {
		t.Errorf("without a log: committed %t, %v, %d updates", committed, err, o.shelf.updates)
	}
	if err := o.commits.whole(); !errors.Is(err, full) {
		t.Errorf("without a log: %v", err)
	}
	o.paper.failed = nil
	o.queue.wait(o.pick(t), o.now)
	wantStored(t, o, map[delivery.Seq]string{2: "retrying"})
	if o.commits.stuck() || o.shelf.updates != 2 || o.shelf.progress.Cursor != 3 || !slices.Equal(heard, []error{full, full, nil, nil}) {
		t.Errorf("%d updates to %d, flushes: %v", o.shelf.updates, o.shelf.progress.Cursor, heard)
	}
	if committed, err := o.commits.records(); !committed || err != nil || o.shelf.updates != 2 {
		t.Errorf("with nothing to store: committed %t, %v, %d updates", committed, err, o.shelf.updates)
	}
	o.shelf.broken = errors.New("disk is gone")
	o.commits.keep(o.now)
	if _, err := o.commits.commit(); !errors.Is(err, o.shelf.broken) {
		t.Errorf("a store that is gone: %v", err)
	}
}

// TestCommitterBeside: a commit that is due is written beside the dispatcher, which is told.
func TestCommitterBeside(t *testing.T) {
	t.Parallel()
	o := newOwners(t, nil, "a")
	o.read(t)
	ended := make(chan struct{})
	loop := o.commits.open()
	go func() { loop(); close(ended) }()
	o.queue.done(o.pick(t))
	if err := o.commits.soon(o.commits.dueAt().Add(-time.Millisecond)); err != nil || o.commits.current.running {
		t.Fatalf("before it is due: %v, running %t", err, o.commits.current.running)
	}
	if err := o.commits.soon(o.commits.dueAt()); err != nil || !o.commits.current.running {
		t.Fatalf("when it is due: %v, running %t", err, o.commits.current.running)
	}
	<-o.commits.wake
	if err := o.commits.soon(o.now); err != nil || o.commits.current.running || o.shelf.progress.Cursor != 2 {
		t.Errorf("%v; progress is %d", err, o.shelf.progress.Cursor)
	}
	o.commits.close()
	<-ended
}

// TestKept holds the bytes of what outlives a restart, and that they come back.
func TestKept(t *testing.T) {
	t.Parallel()
	const full = `{"inactive":true,"since":"2026-11-22T01:02:03Z","reason":"gone","activated":"example.org","gap":{"count":2,"first":"a1","last":"a2"},` +
		`"told":7,"outage":{"since":"2026-11-22T01:02:03Z","until":"2026-11-22T01:03:03Z","wait":60000000000,"reason":"status"},` +
		`"replay":{"next":3,"end":9,"round":2,"left":4},"replays":1,"recording":5,"order":"key","unit":"record","barriers":[{"at":4,"order":"none","unit":"record"}]}`
	for _, text := range []string{full, "{}"} {
		o := newOwners(t, nil)
		if err := o.kept.restore([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := o.kept.bytes(); string(got) != text || err != nil {
			t.Errorf("%s, %v, want %s", got, err, text)
		}
	}
	o := newOwners(t, nil)
	if err := o.kept.restore(nil); err != nil {
		t.Errorf("nothing was stored: %v", err)
	}
	if err := o.kept.restore([]byte("{")); err == nil {
		t.Error("half a state is taken")
	}
}

// TestTerms: who works by the config follows the one in force; the next one takes over later.
func TestTerms(t *testing.T) {
	t.Parallel()
	first, next := &Profile{config: delivery.ProfileConfig{Order: "none"}}, &Profile{config: delivery.ProfileConfig{Order: "key"}}
	var q queue
	var g gaps
	ts := terms{configured: first, followers: []follower{&q, &g}}
	if ts.use(first); q.lanes.ordered || g.ordered || ts.latest() != first {
		t.Error("the followers are not where the config is")
	}
	if ts.coming = next; ts.latest() != next || ts.profile != first {
		t.Error("what is coming is in force, or nobody knows of it")
	}
	if before := ts.takeOver(); before != first || ts.configured != next || ts.coming != nil {
		t.Error("it did not take over")
	}
	if ts.use(next); !q.lanes.ordered || !g.ordered {
		t.Error("the followers did not follow")
	}
}

// TestShare: a backlog above its share is too much, and the largest one of a full spool in part.
func TestShare(t *testing.T) {
	t.Parallel()
	o := newOwners(t, func(c *delivery.ProfileConfig) { c.Share = 0.5 })
	s := share{store: &o.store}
	s.set(o.terms.profile)
	largest := false
	check := func(name string, bytes, want int64) {
		t.Helper()
		o.shelf.backlog.Bytes = bytes
		if got, err := s.tooMuch(o.now, func() bool { return largest }); max(got, 0) != want || err != nil {
			t.Errorf("%s: %d bytes, %v, want %d", name, got, err, want)
		}
	}
	check("no limit", 9000, 0)
	o.shelf.usage.Max = 1000
	check("below", 400, 0)
	check("above", 700, 200)
	largest = true
	check("the largest of a full one", 400, 50)
	check("once more at once", 350, 0)
	o.now = o.now.Add(reliefPause)
	check("once more later", 350, 43)
	paused := *o.terms.profile
	paused.config.OnFull = "pause_source"
	if s.set(&paused); !s.pauses() {
		t.Error("the source is not to be paused")
	}
	check("the source is paused instead", 700, 0)
}
