package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/pipeline/kept"
	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/spool"
	"rowhook/mapping"
)

const (
	// partBytes is how much is collected before a part of an open transaction is stored,
	// and, when storing falls behind, before the source is told to wait.
	partBytes = 256 << 10
	// gatherBytes is how much is collected at most from a source that has more at hand.
	gatherBytes = 64 << 10
	// positionInterval is how often the position is stored while nothing is mapped: a
	// change that no rule wants must not cost a write of its own.
	positionInterval = time.Second
	// restInterval is how long the source has nothing more until such a position is stored sooner, so
	// that the end of a burst is not behind by a second. That is done once a positionInterval at most,
	// which leaves a steady trickle at one write a second.
	restInterval = 20 * time.Millisecond
	// heedEvery is how long the end of a transaction keeps others from the pipeline, and the source from
	// its server.
	heedEvery = 5 * time.Millisecond
	// noticeInterval is how often a message that was left out, or a change that was parked, is
	// logged.
	noticeInterval = time.Minute
	// parkedShare is the share of the spool that dead letters of the source may take.
	parkedShare = 0.1
)

// errParkedFull ends the agent, with exit code 1: going on would lose changes. A restart goes on once
// there is room, so that it is no reason for systemd to leave the agent alone.
var errParkedFull = &capture.OperatorError{
	Err:    errors.New("dead letters of the source fill their share of the spool"),
	Remedy: "fix what `rowhook failed list --source` names, then `rowhook failed retry --source`, or discard them; then start rowhook again",
}

// Pipeline is the source's [capture.Sink]. Batches are filled and stored by turns: while one is
// being stored the next is filled, so that transactions share appends under load and go at once
// when there is none.
type Pipeline struct {
	rules    *mapping.Rules
	mapper   *mapping.Mapper
	identity mapping.Identity // as the mapper has it
	router   *delivery.Router
	spool    *spool.Spool // which is read
	journal  Journal      // by which it is written
	log      *deliverylog.Log
	logger   *slog.Logger
	codes    map[delivery.ProfileID]string
	bare     map[delivery.ProfileID]bool
	rounded  map[string]bool // entries whose 64-bit integers a receiver may round
	// pausing reports that a profile with on_full: pause_source has used up its share.
	pausing func() bool
	account Accountant // nil for none
	counts  counters
	// abandoned is the stored position of another lineage, which adoption gave up; nil or empty
	// for none.
	abandoned atomic.Pointer[capture.Position]
	storing   atomic.Int64 // since when the appender stores a batch, Unix nanoseconds; 0 while it does not

	// Used by the receive goroutine only.
	tx                    capture.Transaction
	recipients, undecided []delivery.ProfileID
	answers               []delivery.Matching
	left                  *largeMark   // a very large change that an agent before this one was at work on
	source                func() error // what a call that takes long does now and then; nil for nothing
	heeded                time.Time    // when it last did
	warned                time.Time    // when a message that was left out was last logged
	parkWarned            time.Time    // when a parked change was

	reclaimer capture.Reclaimer // the appender's

	keptMeasured time.Time // when kept rows were measured last; the appender's

	mu         sync.Mutex
	mark       *largeMark       // the very large change that is at work
	storesMuch bool             // the appender stores a large change
	cur        storeBatch       // being filled
	spare      *storeBatch      // nil while the appender stores it
	rests      bool             // the source says when it has handed over all that it has received
	open       bool             // a transaction is open
	ending     bool             // the mapper is at its end, and may wait for the appender
	end        capture.Position // after the last transaction or keepalive
	parts      bool             // parts of it have been handed over
	waiting    chan struct{}    // closed when there is room again; nil while nobody waits
	failure    error            // why nothing can be stored any more
	roomless   bool             // the appender waits for room on the disk
	work       chan storeBatch
	injections []injection     // what comes beside the stream, for the next batch
	tracking   *Tracking       // while rows are read beside the stream
	reader     *mapping.Mapper // of these rows; nil until there are some
	reading    *merging        // whose row it maps
	coming     *exchange       // waits for the end of a transaction
	settling   *exchange       // has taken over; what came before is being stored
	lazy       *time.Timer     // hands over a batch that holds a position only
	lazyBy     time.Time       // when it does at the latest
	hastened   time.Time       // when it last did sooner
	kept       *kept.Store     // rows of the database
	// undescribed says that the stream waits for what looked-up tables look like.
	undescribed bool
	distrusted  string         // the transaction that comes again, since it was not held to its end
	between     []func()       // what waits for the end of a transaction
	beginning   *keptBeginning // waits for the stream
	idle        *sync.Cond     // the appender has stored a batch, or failed
}

// storeBatch is what is stored at once, with the log lines that belong to it.
type storeBatch struct {
	batch   *spool.Batch
	lines   []delivery.LogRecord
	settled int             // of lines, those of complete transactions
	stored  []chan struct{} // closed once it is
	// abort says that the parts of an open transaction in the spool are to be dropped first.
	abort bool
	// unmark says that a very large change in it is no longer at work once it is stored.
	unmark bool
	// pending says that it holds complete transactions or a position; urgent that somebody waits
	// for them.
	pending, urgent bool
}

// Journal is by what the source's side of the spool's state is changed: the spool itself, or what
// has several machines' spools changed alike. When a call has returned without an error, the spool
// has the change.
type Journal interface {
	Apply(*spool.Batch) error
	Abort() error
	RemoveParked(...delivery.Seq) error
	SetMeta(key string, value []byte) error
	ForgetKept(lower, upper []byte) error
}

// Options are what a pipeline works with. All but Journal, Abandoned and Account are needed.
type Options struct {
	Spool *spool.Spool
	// Journal writes it; nil for the spool itself.
	Journal Journal
	Log     *deliverylog.Log
	Logger  *slog.Logger
	// Pausing reports that a profile with on_full: pause_source has used up its share. The source
	// waits meanwhile.
	Pausing func() bool
	// Abandoned is a stored position that was given up before; empty for none. See
	// [Pipeline.Abandon].
	Abandoned capture.Position
	// Account is told what becomes of changes; nil for nobody.
	Account Accountant
}

// Routing says what becomes of changes: how they are mapped to events, and who gets these.
type Routing struct {
	Rules  *mapping.Rules
	Router *delivery.Router
	// Codes are the codes of the router's profiles.
	Codes map[delivery.ProfileID]string
	// Bare has those of which the delivery log keeps no row data.
	Bare map[delivery.ProfileID]bool
	// Rounded has the mapping's entries whose 64-bit integers a receiver may round.
	Rounded map[string]bool
	// Tables are those that the rules look rows up in, as far as they are known; see
	// [Pipeline.Describe].
	Tables []*capture.Table
	// Kept are the tables whose rows are kept, and of which columns.
	Kept []kept.Want
}

// New makes a pipeline that goes on where the spool ends.
func New(to Routing, o Options) (*Pipeline, error) {
	p := &Pipeline{
		spool: o.Spool, journal: o.Journal, log: o.Log, logger: o.Logger, pausing: o.Pausing, account: o.Account,
		rules: to.Rules, router: to.Router, codes: to.Codes, bare: to.Bare, rounded: to.Rounded,
		cur:   storeBatch{batch: o.Spool.NewBatch()},
		spare: &storeBatch{batch: o.Spool.NewBatch()},
		work:  make(chan storeBatch, 1),
		end:   capture.Position(o.Spool.Position()),
	}
	if p.journal == nil {
		p.journal = o.Spool
	}
	p.idle = sync.NewCond(&p.mu)
	p.lazy = time.AfterFunc(positionInterval, p.flushLazy)
	p.lazy.Stop()
	p.mapper = p.newMapper()
	if o.Abandoned != "" {
		p.Abandon(o.Abandoned)
	}
	var err error
	if p.kept, err = kept.Open(p.keptSpool(), to.Kept, o.Logger); err != nil {
		return nil, err
	}
	p.mapper.LookIn((*keptRows)(p))
	p.undescribed = len(to.Rules.LookedUp()) > 0
	return p, p.loadMark()
}

// Run stores batches until ctx ends and the last one that was handed over is stored.
// The source has stopped by then.
func (p *Pipeline) Run(ctx context.Context) error {
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	defer p.lazy.Stop()
	for {
		select {
		case b := <-p.work:
			if err := p.store(ctx, b); err != nil {
				return err
			}
		case <-retry.C:
			p.mu.Lock()
			p.release()
			p.mu.Unlock()
		case <-ctx.Done():
			return p.drain()
		}
	}
}

// store appends one batch, waiting for room on the disk, and takes the next if it is ready.
func (p *Pipeline) store(ctx context.Context, b storeBatch) error {
	p.storing.Store(time.Now().UnixNano())
	stored, err := p.append(ctx, b)
	p.storing.Store(0)
	if err == nil && b.unmark {
		err = p.unmark()
	}
	if err == nil && stored {
		err = p.keptStored()
	}
	bytes := b.batch.Bytes()
	b.batch.Reset()
	if bytes >= capture.LargeChange {
		p.reclaimer.Add(int64(bytes))
	}
	b.lines = b.lines[:0]
	for _, told := range b.stored {
		if stored {
			close(told)
		}
	}
	b.stored, b.settled, b.abort, b.unmark, b.pending, b.urgent = nil, 0, false, false, false, false
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spare, p.storesMuch = &b, false
	defer p.idle.Broadcast()
	if err != nil {
		p.failure = err
		p.settled(err)
		p.release()
		return err
	}
	p.settled(nil)
	p.handOver(true)
	p.takeOver()
	p.release()
	return nil
}

// append stores a batch. A full disk is waited for: nothing is lost, since the
// position does not move and the source pauses meanwhile.
func (p *Pipeline) append(ctx context.Context, b storeBatch) (stored bool, err error) {
	if b.abort {
		if err := p.journal.Abort(); err != nil {
			return false, fmt.Errorf("drop an open transaction from the spool: %w", err)
		}
	}
	for {
		var full *spool.NoRoomError
		err := p.journal.Apply(b.batch)
		if err == nil {
			break
		}
		if !errors.As(err, &full) {
			return false, fmt.Errorf("append to the spool: %w", err)
		}
		p.logger.Error("spool cannot grow: the source is paused", "err", err, "remedy", full.RemedyText())
		p.setRoomless(true)
		if p.spool.WaitRoom(ctx) != nil {
			return false, nil // the agent stops; the source repeats it after the restart
		}
		p.setRoomless(false)
	}
	for i := range b.lines {
		p.log.Append(&b.lines[i])
	}
	return true, nil
}

// setRoomless notes that nothing can be stored for want of room, which may last: who stops does not
// wait for it.
func (p *Pipeline) setRoomless(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.roomless = yes
	p.idle.Broadcast()
}

// StoringSince is since when the appender stores a batch; zero while it does not.
func (p *Pipeline) StoringSince() time.Time {
	if at := p.storing.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// drain stores what had been handed over when the agent was told to stop.
func (p *Pipeline) drain() error {
	for {
		select {
		case b := <-p.work:
			stopped, cancel := context.WithCancel(context.Background())
			cancel()
			if err := p.store(stopped, b); err != nil {
				return err
			}
		default:
			return p.unmark() // an orderly end is nobody's fault
		}
	}
}

// handOver gives the current batch to the appender if that is idle and the batch is fit to be
// stored on its own. Transactions that arrived together are stored together: until now, while the
// source has more at hand, a small batch waits for it. Called with mu held.
func (p *Pipeline) handOver(now bool) {
	if p.spare == nil || p.failure != nil {
		return
	}
	part := p.open && p.cur.batch.Bytes() >= partBytes
	if !part && !p.cur.abort {
		if p.open || !p.cur.urgent || p.rests && !now && p.cur.batch.Bytes() < gatherBytes {
			return
		}
	}
	p.lazy.Stop()
	p.parts = p.parts || part
	p.kept.HandedOver(part)
	full := p.cur
	p.storesMuch = full.batch.Bytes() >= capture.LargeChange
	p.cur, p.spare = *p.spare, nil
	p.work <- full
}

// Rest implements [capture.Rester].
func (p *Pipeline) Rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rests = true
	p.handOver(true)
	if p.cur.pending && !p.cur.urgent && !p.open {
		now := time.Now()
		wait := max(restInterval, p.hastened.Add(positionInterval).Sub(now))
		p.lazy.Reset(min(wait, p.lazyBy.Sub(now)))
	}
}

// flushLazy hands over a position that nobody was in a hurry to store.
func (p *Pipeline) flushLazy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.cur.pending && now.Before(p.lazyBy) {
		p.hastened = now
	}
	p.cur.urgent = p.cur.pending
	p.handOver(true)
}

// Fail ends the pipeline, and with it the source's run.
func (p *Pipeline) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure == nil {
		p.failure = err
	}
	p.release()
}

// release lets a waiting source go on once there is room. Called with mu held.
func (p *Pipeline) release() {
	if p.waiting != nil && (p.failure != nil || !p.full()) {
		close(p.waiting)
		p.waiting = nil
	}
}

// full reports that the source has to wait: there is room for one large change at a time. Called
// with mu held.
func (p *Pipeline) full() bool {
	return p.spare == nil && (p.storesMuch || p.cur.batch.Bytes() >= partBytes) || p.undescribed || p.pausing()
}

// Busy implements [capture.Sink].
func (p *Pipeline) Busy() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != nil || !p.full() {
		return nil
	}
	if p.waiting == nil {
		p.waiting = make(chan struct{})
	}
	return p.waiting
}

// Durable implements [capture.Sink]. A position that was given up says nothing to the server of
// today.
func (p *Pipeline) Durable() capture.Position {
	durable := capture.Position(p.spool.Durable())
	if durable == p.Abandoned() {
		return ""
	}
	return durable
}

// Abandoned is the stored position that was given up; empty for none.
func (p *Pipeline) Abandoned() capture.Position {
	if abandoned := p.abandoned.Load(); abandoned != nil {
		return *abandoned
	}
	return ""
}

// Abandon gives up the stored position, which belongs to a server that is no longer the source.
func (p *Pipeline) Abandon(position capture.Position) { p.abandoned.Store(&position) }

// Identify names the source in events, before the first of them.
func (p *Pipeline) Identify(id mapping.Identity) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.identity, p.reader = id, nil
	p.mapper.SetIdentity(id)
	p.keptIdentify(id.Lineage)
}

// Begin implements [capture.Sink].
func (p *Pipeline) Begin(tx *capture.Transaction) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tx = *tx
	p.open = true
	p.mapper.Begin(tx)
	if p.account != nil {
		p.account.Begin(&p.tx)
	}
	if tx.Identity == p.distrusted && p.distrusted != "" {
		p.mapper.Distrust()
	}
	return p.failure
}

// Change implements [capture.Sink].
func (p *Pipeline) Change(change *capture.Change) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != nil {
		return p.failure
	}
	p.counts.changes.Add(1)
	if p.tracking != nil {
		if err := p.tracking.trackChange(change); err != nil {
			return err
		}
	}
	change, err := p.kept.Change(p.cur.batch, change)
	if err != nil {
		return err
	}
	if err := p.doubted(); err != nil {
		return err
	}
	if err := p.mapper.Change(change); err != nil {
		return p.early(err)
	}
	p.atWork(change.Ordinal)
	p.cut()
	return nil
}

// cut stores a part of the open transaction when enough is collected. Called with mu held.
func (p *Pipeline) cut() {
	if p.cur.batch.Bytes() >= partBytes {
		p.handOver(true)
	}
}

// touched stores what a touch makes in parts, as it is made: a single change may make any number of
// events. It waits for the appender where that is behind. Called with mu held, which it gives up
// meanwhile.
func (p *Pipeline) touched() error {
	p.cut()
	for p.ending && p.cur.batch.Bytes() >= 2*partBytes && p.spare == nil && p.failure == nil {
		soon := time.AfterFunc(heedEvery, p.idle.Broadcast)
		p.idle.Wait()
		soon.Stop()
		if err := p.heed(); err != nil {
			return err
		}
		p.cut()
	}
	return p.failure
}

// Heed implements [capture.Heeder].
func (p *Pipeline) Heed(source func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.source = source
}

// heed gives way to others and to the source at the end of a transaction, which may take long. What it
// returns is why there is to be no more of it. Called with mu held, which it gives up meanwhile.
func (p *Pipeline) heed() error {
	if !p.ending || time.Since(p.heeded) < heedEvery {
		return nil
	}
	source := p.source
	p.mu.Unlock()
	var err error
	if source != nil {
		err = source()
	}
	p.mu.Lock()
	p.heeded = time.Now()
	if err == nil {
		err = p.failure
	}
	return err
}

// Message implements [capture.Sink].
func (p *Pipeline) Message(m *capture.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != nil {
		return p.failure
	}
	if err := p.mapper.Message(m); err != nil {
		return err
	}
	p.cut()
	return nil
}

// Ignored implements [capture.Ignorer].
func (p *Pipeline) Ignored(prefix string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mapper.Ignored(prefix)
}

// Commit implements [capture.Sink].
func (p *Pipeline) Commit(end capture.Position) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != nil {
		return p.failure
	}
	p.ending, p.heeded = true, time.Now()
	err := p.mapper.End()
	p.ending = false
	p.idle.Broadcast()
	if err != nil {
		return err
	}
	p.counts.transactions.Add(1)
	p.counts.lastCommit.Store(p.tx.Time.UnixNano())
	p.cur.urgent = p.cur.urgent || p.parts || p.cur.batch.Len() > 0 || p.cur.batch.Bytes() >= gatherBytes
	p.open, p.parts = false, false
	p.kept.Settle()
	p.settle(end)
	return nil
}

// Idle implements [capture.Sink].
func (p *Pipeline) Idle(end capture.Position) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != nil {
		return p.failure
	}
	// The first position of all is waited for: the stream does not begin before it is stored.
	p.cur.urgent = p.cur.urgent || p.end == ""
	p.settle(end)
	return nil
}

// settle notes that everything before end is in the batch. Called with mu held, between
// transactions.
func (p *Pipeline) settle(end capture.Position) {
	for _, in := range p.injections {
		for i, event := range in.events {
			p.cur.batch.Add(event, in.to[i])
		}
		p.cur.stored = append(p.cur.stored, in.stored)
		p.cur.urgent = true
	}
	p.injections = p.injections[:0]
	if err := p.mergeDue(); err != nil && p.failure == nil {
		p.failure = err
	}
	for _, do := range p.between {
		do()
	}
	p.between = p.between[:0]
	p.keptDue()
	p.kept.Settle()
	p.end = end
	p.cur.batch.Commit(string(end))
	p.cur.settled = len(p.cur.lines)
	if !p.cur.pending {
		p.lazy.Reset(positionInterval)
		p.lazyBy = time.Now().Add(positionInterval)
	}
	p.cur.pending = true
	p.handOver(p.coming != nil)
	p.takeOver()
}

// settleBeside puts what comes beside the stream into the batch where the stream stands, and has it
// stored without waiting for the stream, which may say nothing for long. Called with mu held, between
// transactions.
func (p *Pipeline) settleBeside() {
	p.settle(p.end)
	p.handOver(true)
}

// Abort implements [capture.Sink]: what the open transaction left is dropped, in the batch and,
// as parts, in the spool; complete transactions before it stay.
func (p *Pipeline) Abort() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tracking != nil {
		p.tracking.lose()
	}
	if !p.open {
		return
	}
	p.mapper.Abort()
	p.kept.Abort()
	if p.account != nil {
		p.account.Abort()
	}
	p.cur.batch.Rollback()
	p.cur.lines = p.cur.lines[:p.cur.settled]
	// Parts were handed over with everything that came before them, so that nothing else is in the
	// batch.
	p.cur.abort = p.parts
	p.open, p.parts = false, false
	p.handOver(true)
	p.takeOver()
}

// Flush stores what is complete, waits until it is fsynced and returns the durable position. What
// there is no room for comes again. It is called when the source has stopped reading.
func (p *Pipeline) Flush(ctx context.Context) capture.Position {
	p.Abort()
	stop := context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.idle.Broadcast()
	})
	defer stop()
	p.mu.Lock()
	p.cur.urgent = p.cur.pending
	p.handOver(true)
	for p.failure == nil && !p.roomless && ctx.Err() == nil && (p.spare == nil || p.cur.pending) {
		p.idle.Wait()
	}
	p.mu.Unlock()
	// An error is the spool's own, which ends the agent elsewhere; what is durable stays true.
	_ = p.spool.Flush(ctx)
	return p.Durable()
}
