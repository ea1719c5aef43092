package account

import (
	"cmp"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/mapping"
)

const (
	// flushInterval is how often what was written down goes to the file.
	flushInterval = time.Second
	// retryInterval is how long a write that failed is left alone.
	retryInterval = time.Minute
	// hasteBytes is when it goes at once, and mostBytes when changes are left out since the disk
	// does not keep up.
	hasteBytes, mostBytes = 32 << 10, 256 << 10
	// maxText bounds the values and errors that are kept.
	maxText, maxError = 64, 512
	// segments is how many of them the account consists of, at least.
	segments = 16
	// minSegment keeps segments from being mere headers, and maxSegment from being more than a reader
	// has memory for.
	minSegment, maxSegment = 16 << 10, 4 << 20
)

// Options say where the account is and how much it may be. Dir and MaxSize are needed.
type Options struct {
	Dir     string
	MaxSize int64 // in bytes of all segments
	// Values says that the values which decided are kept, and who made changes. Without it what is
	// there with values goes.
	Values bool
	// Rate is how many changes a second are written down of those that made events, and as many of
	// those that did not; default 500. Burst is how many at once; default ten times as many.
	Rate, Burst int
	Logger      *slog.Logger     // for what cannot be written; nil is silent
	Now         func() time.Time // default time.Now
}

// class is a kind of changes with a budget of its own.
type class int

const (
	eventful   class = iota // it made events, or was parked
	uneventful              // nothing came of it
)

// Account is the writing side. Begin, Abort, Watch, Wants, Routed, Passed, Settle and the observers that
// Watch returns are one goroutine's at a time; Flush is anybody's. Nothing comes after Close.
type Account struct {
	options Options
	logger  *slog.Logger
	now     func() time.Time

	// The mapping goroutine's.
	tx       *capture.Transaction
	told     bool       // the segment at hand has it
	wrote    bool       // something of it was written down
	events   []routed   // of the change and entry at hand
	answers  []matching // theirs, one after the other
	unrouted bool       // it made events that were not told, since there were too many
	budget   [2]int64
	lacking  []*plan // of which something was left out since
	verdicts []mapping.Verdict
	folded   []*capture.Change

	refill atomic.Int64 // for both budgets, until somebody takes it

	mu        sync.Mutex
	buf       []byte
	cuts      []int // places in buf where a segment begins
	length    int64 // of the segment that the last record is in
	number    uint64
	plans     uint64  // made so far
	records   stretch // changes in buf, also those that are counted in it
	unwritten stretch // changes that could not be written, and are not told yet
	failing   bool    // the last write did
	armed     bool    // the timer will flush
	hasty     bool    // at once
	timer     *time.Timer

	writing  sync.Mutex // held while the file is written; guards what follows
	spare    []byte
	files    files
	lastFill time.Time
	closed   bool
}

// routed is an event and what its profiles answered.
type routed struct {
	event   *delivery.Event
	answers int // how many, of Account.answers
}

type matching struct {
	answer delivery.Truth
	column string
}

// stretch counts changes between two times of commits.
type stretch struct {
	from, to time.Time
	changes  [2]int64
}

func (s *stretch) add(other stretch) {
	if other.changes == [2]int64{} {
		return
	}
	if s.changes == [2]int64{} || other.from.Before(s.from) {
		s.from = other.from
	}
	if other.to.After(s.to) {
		s.to = other.to
	}
	for i := range s.changes {
		s.changes[i] += other.changes[i]
	}
}

// one is a single change.
func one(c class, at time.Time) stretch {
	s := stretch{from: at, to: at}
	s.changes[c] = 1
	return s
}

// Open begins an account, going on behind what is there. The directory is made as needed.
func Open(o Options) (*Account, error) {
	o.Rate = cmp.Or(o.Rate, 500)
	o.Burst = cmp.Or(o.Burst, 10*o.Rate)
	a := &Account{options: o, logger: o.Logger, now: o.Now, budget: [2]int64{int64(o.Burst), int64(o.Burst)}}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	if a.now == nil {
		a.now = time.Now
	}
	var err error
	if a.files, err = openFiles(o.Dir, o.MaxSize, o.Values); err != nil {
		return nil, err
	}
	a.lastFill = a.now()
	a.timer = time.AfterFunc(flushInterval, a.flushOnTime)
	a.timer.Stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cut()
	a.buf = appendTime(append(a.buf, kindBegin), a.now())
	a.arm()
	return a, nil
}

// Begin opens a transaction, which stays where it is until the next.
func (a *Account) Begin(tx *capture.Transaction) {
	a.tx, a.told, a.wrote = tx, false, false
	a.forget()
	if len(a.lacking) > 0 && a.refill.Load() > 0 {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.tellLack()
	}
}

// Abort drops the open transaction: it comes again, or never was.
func (a *Account) Abort() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.wrote {
		return
	}
	if !a.told { // in the segment at hand
		a.buf = appendTransaction(a.buf, a.tx)
	}
	a.buf = append(a.buf, kindAbort)
	a.told, a.wrote = false, false
	a.arm()
}

// forget lets the events of the change at hand go.
func (a *Account) forget() { a.events, a.answers, a.unrouted = a.events[:0], a.answers[:0], false }

// Wants reports whether anybody is interested in what profiles answer to an event. Where nobody is,
// the change is left out.
func (a *Account) Wants() bool {
	if a.budget[eventful] > 0 || a.refilled(eventful) {
		return true
	}
	a.unrouted = true
	return false
}

// Routed takes an event of the change at hand, with the answers of the profiles that subscribe to
// its type, in the order that Watch was told.
func (a *Account) Routed(ev *delivery.Event, answers []delivery.Matching) {
	a.events = append(a.events, routed{ev, len(answers)})
	for i := range answers {
		a.answers = append(a.answers, matching{answers[i].Answer, answers[i].Column})
	}
}

// refilled takes what time has given to the budgets.
func (a *Account) refilled(c class) bool {
	if a.refill.Load() == 0 {
		return false
	}
	more := a.refill.Swap(0)
	for i := range a.budget {
		a.budget[i] = min(a.budget[i]+more, int64(a.options.Burst))
	}
	return a.budget[c] > 0
}

// plan is an entry as one table binds it.
type plan struct {
	account *Account
	types   []string // of its events
	bare    [][]bool // for each, which of the profiles that subscribe to it no row data is kept of
	lookups []mapping.WatchedLookup
	parts   []mapping.WatchedPart
	text    []byte   // as it is written down
	number  uint64   // in records
	segment uint64   // that has it
	left    [2]int64 // changes that were left out
	since   time.Time
}

// Watch describes an entry's changes from now on. subscribers tells which profiles subscribe to a
// type of event, and of which of them no row data is kept.
func (a *Account) Watch(e *mapping.Watched, subscribers func(eventType string) (codes []string, bare []bool)) mapping.Observer {
	d := Plan{Watched: *e, Values: a.options.Values}
	p := &plan{account: a, lookups: e.Lookups, parts: e.Parts}
	for i := range e.Events {
		codes, bare := subscribers(e.Events[i].Type)
		d.Profiles = append(d.Profiles, codes)
		p.types, p.bare = append(p.types, e.Events[i].Type), append(p.bare, bare)
	}
	p.text = d.encode()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.plans++
	p.number = a.plans
	return p
}

// Mapped implements [mapping.Observer].
func (p *plan) Mapped(j *mapping.Judgement) {
	a, c := p.account, uneventful
	defer a.forget()
	if len(a.events) > 0 || a.unrouted || j.Failure() != nil {
		c = eventful
	}
	if a.unrouted || a.budget[c] <= 0 && !a.refilled(c) {
		p.leaveOut(c)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.buf) >= mostBytes {
		a.unwritten.add(one(c, a.tx.Time))
		a.arm()
		return
	}
	a.budget[c]--
	if len(a.lacking) > 0 {
		a.tellLack()
	}
	a.makeRoom(p)
	a.arm()
	if !a.appendChange(p, j) {
		p.leaveOut(c)
		return
	}
	a.wrote = true
	a.records.add(one(c, a.tx.Time))
}

// Passed takes a change of the open transaction that could not be decoded, or was read past, and so is of
// no entry. It is of no budget: that it is parked costs far more. It counts as one that made events.
func (a *Account) Passed(p *delivery.Parked) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.buf) >= mostBytes {
		a.unwritten.add(one(eventful, a.tx.Time))
		a.arm()
		return
	}
	a.makeRoom(nil)
	a.arm()
	a.buf = appendPassed(a.buf, p)
	a.wrote = true
	a.records.add(one(eventful, a.tx.Time))
}

// leaveOut counts a change that is not written down.
func (p *plan) leaveOut(c class) {
	a := p.account
	if p.left == [2]int64{} {
		a.lacking = append(a.lacking, p)
		p.since = a.tx.Time
	}
	p.left[c]++
}

// tellLack writes down what was left out. Called with mu held.
func (a *Account) tellLack() {
	for _, p := range a.lacking {
		a.makeRoom(p)
		s := stretch{p.since, a.tx.Time, p.left}
		a.buf = appendLeftOut(a.buf, p.number, s)
		a.records.add(s)
		p.left = [2]int64{}
	}
	a.lacking = a.lacking[:0]
	a.arm()
}

// makeRoom begins a segment where the one at hand is full, and has it know the plan, if there is one, and
// the open transaction. Called with mu held.
func (a *Account) makeRoom(p *plan) {
	if at := a.segmentStart(); a.length+int64(len(a.buf)-at) > a.files.most {
		a.cut()
	}
	if p != nil && p.segment != a.number {
		p.segment = a.number
		a.buf = appendPlan(a.buf, p)
	}
	if !a.told {
		a.told = true
		a.buf = appendTransaction(a.buf, a.tx)
	}
}

// segmentStart is where in the buffer the last segment begins.
func (a *Account) segmentStart() int {
	if n := len(a.cuts); n > 0 {
		return a.cuts[n-1]
	}
	return 0
}

// cut begins a segment. Called with mu held.
func (a *Account) cut() {
	a.cuts = append(a.cuts, len(a.buf))
	a.length = 0
	a.number++
	a.told = false
}

// arm has the buffer written soon. Called with mu held.
func (a *Account) arm() {
	switch {
	case a.failing: // it is tried again in a while
	case len(a.buf) >= hasteBytes:
		if !a.hasty { // a write that lasts must not have others wait behind it, one for each change
			a.hasty = true
			a.timer.Reset(0)
		}
	case !a.armed:
		a.timer.Reset(flushInterval)
	}
	a.armed = true
}

// flushOnTime is the timer's.
func (a *Account) flushOnTime() {
	a.writing.Lock()
	defer a.writing.Unlock()
	if a.closed {
		return
	}
	a.write()
	now := a.now()
	if more := int64(now.Sub(a.lastFill) * time.Duration(a.options.Rate) / time.Second); more > 0 {
		a.lastFill = now
		a.refill.Store(min(a.refill.Load()+more, int64(a.options.Burst)))
		return
	}
	// It was too early. Where the budgets are used up nobody else sets the timer again.
	a.mu.Lock()
	defer a.mu.Unlock()
	a.arm()
}

// write brings the buffer to the file. Called with writing held.
func (a *Account) write() {
	a.mu.Lock()
	lost := a.unwritten
	if a.unwritten = (stretch{}); lost.changes != [2]int64{} {
		a.buf = appendLeftOut(a.buf, 0, lost)
	}
	buf, cuts := a.buf, a.cuts
	lost.add(a.records)
	if len(cuts) > 0 {
		a.length = int64(len(buf) - cuts[len(cuts)-1])
	} else {
		a.length += int64(len(buf))
	}
	a.buf, a.cuts, a.records, a.armed, a.hasty = a.spare[:0], nil, stretch{}, false, false
	a.mu.Unlock()
	a.spare = buf[:0]
	err := a.files.write(buf, cuts)
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.failing = false
		return
	}
	if !a.failing {
		a.failing = true
		a.logger.Warn("what became of changes cannot be written down", "dir", a.options.Dir, "err", err)
	}
	// What was written down meanwhile cannot be read without what is lost.
	a.unwritten.add(lost)
	a.unwritten.add(a.records)
	a.buf, a.cuts, a.records = a.buf[:0], nil, stretch{}
	if a.files.file == nil {
		a.cut()
		a.buf = appendTime(append(a.buf, kindBegin), a.now())
	} else {
		a.number++ // plans and the transaction are written anew
		a.told, a.length = false, a.files.current.size
	}
	a.timer.Reset(retryInterval)
	a.armed = true
}

// Settle writes down what was left out so far. It is the mapping goroutine's, for who reads the
// account: Flush then brings everything to the file.
func (a *Account) Settle() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.lacking) > 0 {
		a.tellLack()
	}
}

// Flush brings what was written down to the file.
func (a *Account) Flush() {
	a.writing.Lock()
	defer a.writing.Unlock()
	if !a.closed {
		a.write()
	}
}

// Close writes the rest. Nothing is mapped any more.
func (a *Account) Close() error {
	a.Settle()
	a.mu.Lock()
	a.buf = append(a.buf, kindEnd)
	a.mu.Unlock()
	a.timer.Stop()
	a.writing.Lock()
	defer a.writing.Unlock()
	if a.closed {
		return nil
	}
	a.write()
	a.closed = true
	return a.files.close()
}
