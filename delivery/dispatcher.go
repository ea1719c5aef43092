package delivery

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a dispatcher's memory, whatever its backlog.
const (
	// maxWindowJobs is how many deliveries it keeps in memory.
	maxWindowJobs = 1024
	// maxWindowSpan is how far it reads beyond the lowest entry that is not settled; then that
	// entry, a request that hangs, gets a record of its own and progress goes on without it.
	maxWindowSpan = 4096
	// maxLanes is how many ordering keys, or retrying deliveries, may wait on disk; then nothing is read before there are fewer.
	maxLanes = 16384
	// readChunk is how many entries are read at a time.
	readChunk = 256
	// readChunks is how many of these before it looks at results again: what waits on disk passes through without staying in memory.
	readChunks = 4
	// minWindowBytes is the least memory of a dispatcher, however many there are.
	minWindowBytes = 64 << 10
)

// How results become durable: at the latest after commitDelay, at once when there are commitResults.
const (
	commitDelay   = 50 * time.Millisecond
	commitResults = 256
	// tickDelay is how often a dispatcher with a backlog looks at its share, and retries a delivery log that failed.
	tickDelay = time.Second
)

// dispatcher delivers one profile's events. Its goroutine, run, holds mu except while it waits for
// something to happen, so that operator methods can take it in between; everything below mu
// belongs to whoever holds it.
type dispatcher struct {
	engine  *Engine
	profile *Profile
	id      ProfileID
	store   Store
	log     Recorder

	// What workers share.
	handout   chan *job
	wake      chan struct{}
	halted    atomic.Bool // hand out is over for now: workers give back what they have not begun
	resultsMu sync.Mutex
	results   []*job
	taken     []*job
	helpers   sync.WaitGroup // workers and the committer

	mu     sync.Mutex
	loaded bool // the state below reflects the store

	// Reading the log.
	next     Seq
	end      bool // nothing to read at next
	appended <-chan struct{}
	entries  []Entry
	settled  map[Seq]struct{} // at and above the cursor, at start: over, or with a record
	resume   Seq              // how far the log was read when the state was stored
	window   window
	skip     func(*job) bool // set while what is read is not to be delivered

	// What is in memory.
	jobs       int
	bytes      int
	maxBytes   int
	fresh      jobQueue // first tries
	retries    jobQueue
	turn       int // counts hand-outs, for the retries' share
	handed     int
	workers    int
	lanes      map[uint64]*lane
	waking     []*lane
	stored     map[Seq]*job // jobs in memory that have a record
	spareJobs  []*job
	spareLanes []*lane
	records    []Delivery

	counts   [Dead + 1]int64 // records by state
	nextDue  time.Time       // when records may be due; zero when none is known
	endpoint endpoint
	state    profileState
	carrier  *job // carries the gap marker; nil when none does, or when the gap has grown since
	pull     bool // retries are to be brought forward

	pending pending
	current commit // on its way into the store, or waiting for the delivery log
	commits chan *commit
	tickAt  time.Time
	shedAt  time.Time // when the spool as a whole may be relieved again
	lineBuf LogRecord

	// What status shows.
	rate      rate
	last      lastResults
	delivered int64
	outcomes  map[Outcome]int64
}

func newDispatcher(e *Engine, p *Profile, id ProfileID, memory int) *dispatcher {
	return &dispatcher{
		engine:   e,
		profile:  p,
		id:       id,
		store:    e.store,
		log:      e.log,
		wake:     make(chan struct{}, 1),
		maxBytes: max(memory, minWindowBytes),
		lanes:    make(map[uint64]*lane),
		stored:   make(map[Seq]*job),
		outcomes: make(map[Outcome]int64),
		current:  commit{done: make(chan struct{}, 1)},
	}
}

// run delivers until stop ends. Requests in flight then go on until they end or the context sends does.
func (d *dispatcher) run(stop, sends context.Context) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.loadState(); err != nil {
		return err
	}
	d.handout = make(chan *job, 2*d.profile.config.Concurrency)
	d.commits = make(chan *commit, 1)
	d.halted.Store(false)
	d.helpers.Go(func() { d.commitLoop(d.commits) })
	defer func() {
		close(d.handout)
		close(d.commits)
		d.helpers.Wait()
		d.workers = 0
	}()

	timer := time.NewTimer(0)
	defer timer.Stop()
	var armed time.Time // when the timer fires; it may be too early, never too late
	for {
		now := time.Now()
		if err := d.step(now, sends, stop.Err() != nil); err != nil {
			d.drain()
			return fmt.Errorf("profile %s: %w", d.profile.code, err)
		}
		if stop.Err() != nil && d.handed == 0 {
			return d.finish()
		}
		if at := d.wakeAt(now, stop.Err() != nil); !at.IsZero() && (armed.IsZero() || at.Before(armed)) {
			timer.Reset(time.Until(at))
			armed = at
		}
		stopped, readable := stop.Done(), d.readableSoon()
		if stop.Err() != nil {
			stopped, readable = nil, nil
		}
		d.mu.Unlock()
		select {
		case <-d.wake:
		case <-readable:
		case <-timer.C:
			armed = time.Time{}
		case <-stopped:
		}
		d.mu.Lock()
	}
}

// step does everything that can be done now.
func (d *dispatcher) step(now time.Time, sends context.Context, stopping bool) error {
	for _, j := range d.takeResults() {
		d.handed--
		if err := d.settle(j, now); err != nil {
			return err
		}
	}
	if err := d.commitSoon(now); err != nil {
		return err
	}
	if stopping {
		d.halted.Store(true)
		return nil
	}
	if err := d.tick(now); err != nil {
		return err
	}
	if d.state.Inactive {
		return nil
	}
	if err := d.read(now); err != nil {
		return err
	}
	if err := d.loadRecords(now); err != nil {
		return err
	}
	d.handOut(now, sends)
	return nil
}

// finish makes everything durable that was decided.
func (d *dispatcher) finish() error {
	committed, err := d.commit()
	if err == nil && !committed {
		err = d.engine.LogError()
	}
	if err != nil {
		return fmt.Errorf("profile %s: keep progress: %w", d.profile.code, err)
	}
	d.loaded = false // what is in memory is in the store as well
	d.reset()
	return nil
}

// drain waits for the workers without looking at what they bring.
func (d *dispatcher) drain() {
	d.halted.Store(true)
	for d.handed > 0 {
		d.mu.Unlock()
		<-d.wake
		d.mu.Lock()
		d.handed -= len(d.takeResults())
	}
}

// wakeAt returns when there will be something to do if nothing else happens; zero for never.
func (d *dispatcher) wakeAt(now time.Time, stopping bool) time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	switch {
	case d.current.running: // pokes
	case d.current.logError != nil:
		sooner(d.current.retryAt)
	default:
		sooner(d.pending.at)
	}
	if d.handed > 0 {
		sooner(now.Add(commitDelay))
	}
	if stopping {
		return at
	}
	sooner(d.tickAt)
	if !d.end && d.readable() {
		return now
	}
	if !d.state.Inactive {
		if d.mayLoad() && len(d.waking) > 0 {
			return now
		}
		if d.mayLoad() && d.dueWanted() {
			sooner(d.nextDue)
		}
		if d.fresh.n+d.retries.n > 0 && d.endpoint.until.After(now) {
			sooner(d.endpoint.until)
		}
	}
	return at
}

// room reports whether more may be brought into memory.
func (d *dispatcher) room() bool { return d.jobs < maxWindowJobs && d.bytes < d.maxBytes }

// readable reports whether the log may be read on. After a start it first comes as far as it was
// before, which takes no more memory than it took then.
func (d *dispatcher) readable() bool {
	if d.state.Inactive {
		return false
	}
	return d.next <= d.resume || len(d.lanes) < maxLanes+maxWindowJobs && d.counts[Retrying] < maxLanes &&
		d.jobs <= maxWindowJobs/2 && d.bytes <= d.maxBytes/2
}

// readableSoon returns a channel that is closed when there is more to read; nil when it is of no interest.
func (d *dispatcher) readableSoon() <-chan struct{} {
	if !d.end || !d.readable() {
		return nil
	}
	return d.appended
}

// read reads the log as far as there is room.
func (d *dispatcher) read(now time.Time) error {
	for range readChunks {
		if !d.readable() {
			return nil
		}
		if d.end {
			select {
			case <-d.appended:
				d.end = false
			default:
				return nil
			}
		}
		if err := d.readSome(now); err != nil {
			return err
		}
	}
	return nil
}

func (d *dispatcher) readSome(now time.Time) error {
	limit, room := min(readChunk, maxWindowJobs-d.jobs), d.maxBytes-d.bytes
	if d.next <= d.resume {
		limit, room = readChunk, d.maxBytes
	}
	entries, next, end, err := d.store.Read(d.id, d.next, d.entries[:0], limit, room)
	if err != nil {
		return fmt.Errorf("read spool at %d: %w", d.next, err)
	}
	if next != d.next {
		d.pending.moved(now)
	}
	d.entries, d.next, d.end = entries, next, end
	if end {
		d.appended = d.store.Appended(next)
	}
	for i := range entries {
		if err := d.admit(&entries[i], now); err != nil {
			return err
		}
	}
	clear(entries)
	return nil
}

// admit takes an entry of the log into memory, or to disk when its ordering key waits there.
func (d *dispatcher) admit(entry *Entry, now time.Time) error {
	if _, over := d.settled[entry.Seq]; over {
		delete(d.settled, entry.Seq)
		d.window.settle(d.window.push(entry.Seq, nil))
		return nil
	}
	j := d.newJob()
	j.seq, j.event, j.bytes = entry.Seq, entry.Event, entry.Bytes
	own, wait := lanesOf(j.event)
	j.record = Delivery{Seq: j.seq, Lane: own, WaitLane: wait, Round: 1, Bytes: j.bytes}
	j.slot = d.window.push(j.seq, j)
	d.take(j)
	if d.skip != nil && d.skip(j) {
		return nil
	}
	switch {
	case !d.profile.ordered():
		d.makeReady(j)
	case d.onDisk(own) || own != wait && d.onDisk(wait):
		d.lane(own).disk = true
		d.lane(wait).disk = true
		d.spill(j)
	default:
		d.enter(j, own, wait)
	}
	return d.boundSpan(now)
}

func (d *dispatcher) onDisk(hash uint64) bool {
	l := d.lanes[hash]
	return l != nil && l.disk
}

// boundSpan keeps progress going when the lowest entry takes very long.
func (d *dispatcher) boundSpan(now time.Time) error {
	if d.window.n < maxWindowSpan {
		return nil
	}
	j := d.window.oldest()
	if j.state != jobHanded {
		d.unload(j)
		return nil
	}
	// After a crash it counts as a retry that is due.
	d.put(j, Retrying, now)
	j.stored = true
	d.stored[j.seq] = j
	d.window.settle(j.slot)
	_, err := d.commit()
	return err
}

// mayLoad reports whether records may be brought from disk into memory. A record must not be loaded while
// older events of its lane may be unread in the log, as is the case after a start.
func (d *dispatcher) mayLoad() bool {
	return !d.state.Inactive && d.next > d.resume && !d.current.stuck() && d.room()
}

// dueWanted reports whether retries are to be loaded when they are due.
func (d *dispatcher) dueWanted() bool { return d.retries.n < d.profile.config.Concurrency }

// loadRecords brings records from disk into memory that are due or whose turn has come.
func (d *dispatcher) loadRecords(now time.Time) error {
	due := d.dueWanted() && !d.nextDue.IsZero() && !d.nextDue.After(now)
	if len(d.waking) == 0 && !due || !d.mayLoad() {
		return nil
	}
	if committed, err := d.commitRecords(); err != nil || !committed {
		return err
	}
	if due && len(d.waking) == 0 {
		if err := d.loadDue(now); err != nil {
			return err
		}
	}
	return d.loadLanes(now)
}

// loadDue looks for retries that are due: they wake their lanes, or are loaded where there is no order.
func (d *dispatcher) loadDue(now time.Time) error {
	limit := len(d.stored) + dueChunk
	records, err := d.store.Due(d.id, now.Add(farFuture), d.records[:0], limit)
	if err != nil {
		return fmt.Errorf("read due retries: %w", err)
	}
	defer clear(records)
	d.nextDue = time.Time{}
	found := 0
	for i := range records {
		r := &records[i]
		if r.Due.After(now) {
			d.nextDue = r.Due
			return nil
		}
		if d.stored[r.Seq] != nil {
			continue
		}
		if d.profile.ordered() {
			for _, hash := range [2]uint64{r.Lane, r.WaitLane} {
				l := d.lane(hash)
				l.disk, l.asleep = true, false
				if l.head == nil && !l.waking {
					d.wakeLane(l)
					found++
				}
			}
			continue
		}
		if err := d.load(*r); err != nil {
			return err
		}
		found++
	}
	switch {
	case len(records) < limit:
	case found > 0:
		d.nextDue = now
	default:
		d.nextDue = now.Add(commitDelay)
	}
	return nil
}

const (
	dueChunk = 64
	// farFuture is beyond all waits.
	farFuture = 100 * 365 * 24 * time.Hour
)

// load brings a record into memory.
func (d *dispatcher) load(r Delivery) error {
	ev, err := d.store.Event(d.id, r.Seq)
	if err != nil {
		return fmt.Errorf("read event of a waiting delivery: %w", err)
	}
	j := d.newJob()
	j.seq, j.event, j.bytes, j.record, j.stored = r.Seq, ev, r.Bytes, r, true
	d.stored[j.seq] = j
	d.take(j)
	if d.profile.ordered() {
		d.enter(j, r.Lane, r.WaitLane)
	} else {
		d.makeReady(j)
	}
	return nil
}

// dueBy takes note that a record will be due.
func (d *dispatcher) dueBy(t time.Time) {
	if t.IsZero() {
		return
	}
	if d.nextDue.IsZero() || t.Before(d.nextDue) {
		d.nextDue = t
	}
}

func (d *dispatcher) newJob() *job {
	if n := len(d.spareJobs); n > 0 {
		j := d.spareJobs[n-1]
		d.spareJobs = d.spareJobs[:n-1]
		return j
	}
	return new(job)
}

// take accounts for a job that came into memory, release for one that leaves it.
func (d *dispatcher) take(j *job) {
	j.held = j.bytes + len(j.record.Body)
	d.jobs++
	d.bytes += j.held
}

func (d *dispatcher) release(j *job) {
	d.jobs--
	d.bytes -= j.held
	d.reuse(j)
}

func (d *dispatcher) reuse(j *job) {
	*j = job{}
	if len(d.spareJobs) < maxWindowJobs {
		d.spareJobs = append(d.spareJobs, j)
	}
}

func (d *dispatcher) makeReady(j *job) {
	j.state = jobReady
	if j.firstTry() {
		d.fresh.push(j)
	} else {
		d.retries.push(j)
	}
}

// unload brings a job that no worker has to disk, with what stands behind it.
func (d *dispatcher) unload(j *job) {
	if d.profile.ordered() {
		d.evict(j)
	} else {
		d.spill(j)
	}
}

// spill leaves a job to disk, where it waits behind its lane; without order it is simply due.
func (d *dispatcher) spill(j *job) {
	switch {
	case j.stored:
		delete(d.stored, j.seq)
		d.dueBy(j.record.Due)
	case d.profile.ordered():
		d.put(j, Blocked, time.Time{})
		d.window.settle(j.slot)
	default:
		now := time.Now()
		d.put(j, Retrying, now)
		d.dueBy(now)
		d.window.settle(j.slot)
	}
	d.jobs--
	d.bytes -= j.held
	if j.state == jobReady {
		*j = job{state: jobGone, queued: j.queued}
		return
	}
	d.reuse(j)
}

// handOut gives workers what they may send now.
func (d *dispatcher) handOut(now time.Time, sends context.Context) {
	if !d.mayHandOut(now) {
		return
	}
	limit := 2 * d.profile.config.Concurrency
	if d.endpoint.probing {
		limit = 1
	}
	for d.handed < limit {
		j := d.pick(now)
		if j == nil {
			return
		}
		j.state = jobHanded
		d.handed++
		d.markGap(j)
		if d.handed > d.workers && d.workers < d.profile.config.Concurrency {
			d.workers++
			d.helpers.Go(func() { d.work(sends) })
		}
		d.handout <- j
	}
}

// mayHandOut reports whether anything may be sent, and tells the workers.
func (d *dispatcher) mayHandOut(now time.Time) bool {
	reason, _ := d.engine.waiting()
	may := reason == "" && !d.state.Inactive && !d.endpoint.until.After(now)
	d.halted.Store(!may)
	return may
}

// retryTurn gives retries every fifth hand-out while there are first tries.
const retryTurn = 5

// pick takes the next job to send: first tries before retries, which have a share of their own.
func (d *dispatcher) pick(now time.Time) *job {
	d.dropGone()
	d.turn++
	fresh := d.fresh.n > 0 && d.mayTryFresh(now)
	if d.retries.n > 0 && (!fresh || d.turn%retryTurn == 0) {
		return d.retries.pop()
	}
	if fresh {
		return d.fresh.pop()
	}
	return nil
}

// mayTryFresh reports whether first tries may be made. While the endpoint fails there are few of them:
// up to a number of retrying deliveries, and then one now and then to see whether it is back.
func (d *dispatcher) mayTryFresh(now time.Time) bool {
	return !d.endpoint.failing() || d.counts[Retrying]+int64(d.handed) < failingBudget ||
		d.handed == 0 && d.probeDue(now)
}

// dropGone takes jobs out of the queues' fronts that were evicted while they stood there.
func (d *dispatcher) dropGone() {
	for _, q := range [2]*jobQueue{&d.fresh, &d.retries} {
		for q.head != nil && q.head.state == jobGone {
			d.reuse(q.pop())
		}
	}
}
