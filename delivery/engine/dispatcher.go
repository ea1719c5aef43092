package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"rowhook/delivery"
)

// Bounds of a dispatcher's memory, whatever its backlog.
const (
	// maxWindowJobs is how many deliveries it keeps in memory.
	maxWindowJobs = 1024
	// maxWindowSpan is how far it reads beyond the lowest entry that is not settled, for batches
	// four times that; then that entry, a request that hangs, gets a record of its own and progress
	// goes on without it.
	maxWindowSpan = 4096
	// maxLanes is how many ordering keys, or retrying deliveries, may wait on disk; then nothing is
	// read before there are fewer.
	maxLanes = 16384
	// readChunk is how many entries are read at a time.
	readChunk = 256
	// readChunks is how many of these before it looks at results again: what waits on disk passes
	// through without staying in memory.
	readChunks = 4
	// minWindowBytes is the least memory of a dispatcher, however many there are.
	minWindowBytes = 64 << 10
)

// How results become durable: at the latest after commitDelay, at once when there are
// commitResults.
const (
	commitDelay   = 50 * time.Millisecond
	commitResults = 256
	// tickDelay is how often a dispatcher with a backlog looks at its share, and retries a delivery
	// log that failed.
	tickDelay = time.Second
)

// dispatcher delivers one profile's events. Its goroutine, run, holds mu except while it waits for
// something to happen, so that operator methods can take it in between; everything below mu
// belongs to whoever holds it.
type dispatcher struct {
	engine *Engine
	code   string // of its profile
	store  profileStore
	logger *slog.Logger
	share  share  // of the spool; others ask for it at any time
	wake   signal // wakes run

	// Whether this engine owns the profile: nil when it does not. Without machines that share it is
	// the same for good.
	tenure atomic.Pointer[tenure]
	stint  stint // the last run; the engine's begin guards it

	// Of a profile that another config does not have.
	gone     atomic.Bool  // nothing is to be done any more
	draining atomic.Bool  // it ends when what waits is over
	dropping atomic.Bool  // whoever owns it ends what waits; only where profiles are shared
	allot    atomic.Int64 // bytes of memory it may take
	looked   atomic.Pointer[look]

	crew    crew           // the workers
	helpers sync.WaitGroup // the committer and those who ask

	mu      sync.Mutex
	loaded  *tenure        // in which the state below reflects the store; nil when it does not
	at      *tenure        // in which run is at work; nil when it is not
	turns   []delivery.Seq // first events that came to be made by another config; the present one's is the last
	drainTo delivery.Seq   // nothing comes for it beyond, where it is being drained
	tickAt  time.Time

	// Who owns what, see the package comment; none of them knows the dispatcher.
	terms      terms
	intake     intake
	queue      queue
	commits    committer
	kept       kept
	loader     loader
	retrier    retrier
	clearer    clearer
	inactive   inactive
	replays    replays
	commands   commands
	endpoint   endpoint
	activation activation
	gaps       gaps
	lines      lines
	tally      tally
}

func newDispatcher(e *Engine, p *Profile, id delivery.ProfileID, bytes int) *dispatcher {
	d := &dispatcher{
		engine: e,
		code:   p.code,
		store:  profileStore{e.store, id},
		logger: e.logger.With("profile", p.code),
		wake:   newSignal(),
		queue:  newQueue(max(bytes, minWindowBytes)),
		lines:  lines{log: e.log, endings: make(map[Ending]int64), onFailure: e.options.OnFailure},
	}
	d.endpoint.log = d.logger
	d.lines.logger = d.logger
	d.kept = kept{
		endpoint: &d.endpoint, activation: &d.activation, gaps: &d.gaps, inactive: &d.inactive, replays: &d.replays,
		queue: &d.queue, ordering: &d.intake.ordering,
	}
	d.intake = intake{store: &d.store, terms: &d.terms, queue: &d.queue, commits: &d.commits}
	d.loader = loader{store: &d.store, reader: &d.intake.reader, queue: &d.queue, commits: &d.commits, endpoint: &d.endpoint}
	d.retrier = retrier{
		store: &d.store, reader: &d.intake.reader, queue: &d.queue, commits: &d.commits, loader: &d.loader,
		endpoint: &d.endpoint, gaps: &d.gaps, lines: &d.lines, tally: &d.tally,
	}
	d.clearer = clearer{store: &d.store, intake: &d.intake, queue: &d.queue, commits: &d.commits, lines: &d.lines, gaps: &d.gaps}
	d.inactive = inactive{
		store: &d.store, reader: &d.intake.reader, queue: &d.queue, commits: &d.commits, lines: &d.lines,
		clearer: &d.clearer, activation: &d.activation,
	}
	d.replays = replays{
		store: &d.store, reader: &d.intake.reader, queue: &d.queue, commits: &d.commits, endpoint: &d.endpoint, logger: d.logger,
	}
	d.commands = commands{
		code: d.code, store: &d.store, intake: &d.intake, queue: &d.queue, commits: &d.commits, lines: &d.lines, gaps: &d.gaps,
	}
	d.commits = committer{
		store: &d.store, log: e.log, flushed: e.logFlushed, wake: d.wake, ledger: &d.queue.ledger, reader: &d.intake.reader, kept: &d.kept,
	}
	d.commits.reset()
	d.crew.store, d.crew.log, d.crew.logger, d.crew.whole, d.crew.wake = &d.store, e.log, d.logger, e.whole, d.wake
	d.terms = terms{configured: p, followers: []follower{&d.endpoint, &d.activation, &d.queue, &d.gaps, &d.intake.reader, &d.loader, &d.retrier, &d.replays, &d.crew, &d.lines}}
	d.terms.use(p)
	d.share.store = &d.store
	d.share.set(p)
	d.allot.Store(int64(d.queue.memory.max))
	if d.crew.lease = e.options.Lease; d.crew.lease != nil {
		d.crew.may = d.crew.mayStart
	}
	if !e.options.Shared {
		d.tenure.Store(new(tenure))
	}
	return d
}

// run delivers until stop ends, or the tenure does. Requests in flight then go on until they end or
// the context sends does. When the tenure is over nothing more is stored, and run returns
// [delivery.ErrNotOwner].
func (d *dispatcher) run(t *tenure, stop, sends context.Context) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t.isOver() {
		return d.notOwner()
	}
	if err := d.loadState(t); err != nil {
		return err
	}
	d.at = t
	d.crew.open()
	d.helpers.Go(d.commits.open())
	asks, endAsks := context.WithCancel(stop)
	defer func() {
		endAsks()
		d.crew.close()
		d.commits.close()
		if t.isOver() {
			d.mu.Unlock() // the store may take its time with an update that it is going to refuse
			d.helpers.Wait()
			d.mu.Lock()
			d.reset()
		} else {
			d.helpers.Wait()
		}
		d.at = nil
	}()

	timer := time.NewTimer(0)
	defer timer.Stop()
	var armed time.Time // when the timer fires; it may be too early, never too late
	for {
		now := time.Now()
		if t.isOver() {
			return d.abandon(now)
		}
		if err := d.step(now, asks, sends, stop.Err() != nil); errors.Is(err, delivery.ErrNotOwner) {
			d.engine.lose(d, t)
			return d.abandon(now)
		} else if err != nil {
			d.drain()
			return fmt.Errorf("profile %s: %w", d.terms.profile.code, err)
		}
		if d.crew.handed == 0 && (stop.Err() != nil || d.hasDrained()) {
			return d.finish()
		}
		if at := d.wakeAt(now, stop.Err() != nil); !at.IsZero() && (armed.IsZero() || at.Before(armed)) {
			timer.Reset(time.Until(at))
			armed = at
		}
		d.calmDown(stop.Err() != nil)
		stopped, readable := stop.Done(), d.readableSoon()
		if stop.Err() != nil {
			stopped, readable = nil, nil
		} else if d.terms.coming != nil {
			readable = nil // nothing is read until it has taken over
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
func (d *dispatcher) step(now time.Time, asks, sends context.Context, stopping bool) error {
	d.takeAllotment()
	results := d.crew.take()
	for i, j := range results {
		if err := d.handleResult(j, now); err != nil {
			d.crew.putBack(results[i:])
			return err
		}
	}
	if err := d.commits.soon(now); err != nil {
		return err
	}
	if stopping {
		d.crew.halt()
		return nil
	}
	if d.terms.coming != nil {
		if err := d.leaveInactive(now); err != nil {
			return err
		}
	}
	if !d.adopt(now) {
		return nil
	}
	if d.loader.rehold {
		if err := d.loader.reviewHolds(); err != nil {
			return err
		}
	}
	if err := d.tick(now); err != nil {
		return err
	}
	if err := d.intake.passBarriers(now); err != nil {
		return err
	}
	if !d.active() {
		return d.stepInactive(now, asks)
	}
	d.noteActive(now)
	if err := d.intake.read(now); err != nil {
		return err
	}
	if err := d.intake.closeDue(now); err != nil {
		return err
	}
	if err := d.replays.some(now); err != nil {
		return err
	}
	if err := d.loader.seekProbe(now, d.crew.handed); err != nil {
		return err
	}
	if err := d.loader.load(now, d.crew.handed); err != nil {
		return err
	}
	if err := d.loader.turnOfAlone(now); err != nil {
		return err
	}
	d.handOut(now, sends)
	return nil
}

// finish makes everything durable that was decided.
func (d *dispatcher) finish() error {
	if now := time.Now(); d.lines.sumUp(now, true) {
		d.queue.ledger.pending.by(now.Add(commitDelay)) // which flushes the log
	}
	if err := d.commits.whole(); err != nil {
		return fmt.Errorf("profile %s: keep progress: %w", d.terms.profile.code, err)
	}
	d.reset() // what is in memory is in the store as well
	return nil
}

// drain waits for the workers without looking at what they bring.
func (d *dispatcher) drain() {
	d.crew.halt() // so that workers notify
	for d.crew.take(); d.crew.handed > 0; d.crew.take() {
		d.mu.Unlock()
		<-d.wake
		d.mu.Lock()
	}
}

// calmDown tells the workers whether anything waits for what they bring: a profile that keeps up
// has nothing in memory but what is being sent. A wake-up for each result would cost it as much as
// the rest of the dispatcher's work.
func (d *dispatcher) calmDown(stopping bool) {
	calm := !stopping && d.intake.reader.end && d.queue.memory.jobs == d.crew.handed && d.terms.profile.config.Unit == delivery.UnitRecord &&
		d.queue.ledger.waiting() == 0 && d.endpoint.unbounded() &&
		d.terms.coming == nil && !d.draining.Load() && len(d.queue.lanes.alones.seqs) == 0 && len(d.intake.ordering.Barriers) == 0 && d.replays.under == nil
	d.crew.soothe(calm)
}

// wakeAt returns when there will be something to do if nothing else happens; zero for never.
func (d *dispatcher) wakeAt(now time.Time, stopping bool) time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	sooner(d.commits.dueAt())
	if d.crew.handed > 0 {
		sooner(now.Add(commitDelay))
	}
	if stopping || d.terms.coming != nil {
		return at
	}
	sooner(d.tickAt)
	if d.busy() && d.engine.lapsed() {
		sooner(now.Add(leasePoll))
	}
	if !d.intake.reader.end && d.active() && d.intake.readable() {
		return now
	}
	if !d.active() {
		if hold, _ := d.engine.waiting(); hold == "" {
			sooner(d.inactive.wakeAt())
		}
	} else {
		sooner(d.intake.reader.forming.until)
		if d.replays.wanted() {
			return now
		}
		sooner(d.loader.dueAt(now, d.crew.handed))
		if left := d.endpoint.left(now); left > 0 && (d.queue.lanes.queued() > 0 || d.queue.ledger.counts[delivery.Retrying] > 0) {
			sooner(now.Add(left))
		}
		if d.queue.lanes.queued() > 0 && d.endpoint.pace.at.After(now) {
			sooner(d.endpoint.pace.at)
		}
	}
	return at
}

// readableSoon returns a channel that is closed when there is more to read; nil when it is of no
// interest.
func (d *dispatcher) readableSoon() <-chan struct{} {
	if !d.active() {
		if d.inactive.end {
			return d.inactive.appended
		}
		return nil
	}
	if !d.intake.reader.end || !d.intake.readable() {
		return nil
	}
	return d.intake.reader.appended
}
