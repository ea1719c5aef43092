package pipeline

import (
	"context"
	"errors"
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

// Pipeline is the source's [capture.Sink]. Its batches are filled and stored by turns.
type Pipeline struct {
	rules    *mapping.Rules
	mapper   *mapping.Mapper
	identity mapping.Identity // as the mapper has it
	router   *delivery.Router
	spool    *spool.Spool // which is read
	journal  Journal      // by which it is written
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

	// Used by the receive goroutine only.
	tx                    capture.Transaction
	recipients, undecided []delivery.ProfileID
	answers               []delivery.Matching
	source                func() error // what a call that takes long does now and then; nil for nothing
	heeded                time.Time    // when it last did
	warned                time.Time    // when a message that was left out was last logged
	parkWarned            time.Time    // when a parked change was

	keptMeasured time.Time // when kept rows were measured last; the appender's

	appender appender

	mu         sync.Mutex
	batches    batches          // to the appender
	large      largeChanges     // of which one may be at work
	open       bool             // a transaction is open
	ending     bool             // the mapper is at its end, and may wait for the appender
	end        capture.Position // after the last transaction or keepalive
	parts      bool             // parts of it have been handed over
	waiting    chan struct{}    // closed when there is room again; nil while nobody waits
	failure    error            // why nothing can be stored any more
	roomless   bool             // the appender waits for room on the disk
	injections []injection      // what comes beside the stream, for the next batch
	tracking   *Tracking        // while rows are read beside the stream
	reader     *mapping.Mapper  // of these rows; nil until there are some
	reading    *merging         // whose row it maps
	coming     *exchange        // waits for the end of a transaction
	settling   *exchange        // has taken over; what came before is being stored
	kept       *kept.Store      // rows of the database
	// undescribed says that the stream waits for what looked-up tables look like.
	undescribed bool
	distrusted  string         // the transaction that comes again, since it was not held to its end
	between     []func()       // what waits for the end of a transaction
	beginning   *keptBeginning // waits for the stream
	idle        *sync.Cond     // the appender has stored a batch, or failed
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
		spool: o.Spool, journal: o.Journal, logger: o.Logger, pausing: o.Pausing, account: o.Account,
		rules: to.Rules, router: to.Router, codes: to.Codes, bare: to.Bare, rounded: to.Rounded,
		end: capture.Position(o.Spool.Position()),
	}
	if p.journal == nil {
		p.journal = o.Spool
	}
	p.idle = sync.NewCond(&p.mu)
	p.appender = appender{spool: o.Spool, journal: p.journal, log: o.Log, logger: o.Logger, roomless: p.setRoomless}
	p.batches = newBatches(o.Spool, p.flushLazy)
	p.large = largeChanges{spool: o.Spool, journal: p.journal, logger: o.Logger}
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
	return p, p.large.load()
}

// Run stores batches until ctx ends and the last one that was handed over is stored.
// The source has stopped by then.
func (p *Pipeline) Run(ctx context.Context) error {
	retry := time.NewTicker(time.Second)
	defer retry.Stop()
	defer p.batches.lazy.Stop()
	for {
		select {
		case b := <-p.batches.work:
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

// store has one batch stored, and hands over the next if it is ready.
func (p *Pipeline) store(ctx context.Context, b storeBatch) error {
	stored, err := p.appender.store(ctx, &b)
	if err == nil && b.unmark {
		err = p.unmark()
	}
	if err == nil && stored {
		err = p.keptStored()
	}
	p.appender.done(&b, stored)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batches.back(&b)
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

// setRoomless notes that nothing can be stored for want of room, which may last: who stops does not
// wait for it.
func (p *Pipeline) setRoomless(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.roomless = yes
	p.idle.Broadcast()
}

// StoringSince is since when the appender stores a batch; zero while it does not.
func (p *Pipeline) StoringSince() time.Time { return p.appender.since() }

// drain stores what had been handed over when the agent was told to stop.
func (p *Pipeline) drain() error {
	for {
		select {
		case b := <-p.batches.work:
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

// handOver gives the current batch to the appender if that can be; now has it wait for no more that
// the source has at hand. Called with mu held.
func (p *Pipeline) handOver(now bool) {
	if p.failure != nil {
		return
	}
	if handed, part := p.batches.handOver(p.open, now); handed {
		p.parts = p.parts || part
		p.kept.HandedOver(part)
	}
}

// Rest implements [capture.Rester].
func (p *Pipeline) Rest() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batches.rests = true
	p.handOver(true)
	if !p.open {
		p.batches.hasten()
	}
}

// flushLazy hands over a position that nobody was in a hurry to store.
func (p *Pipeline) flushLazy() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batches.due()
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

// full reports that the source has to wait. Called with mu held.
func (p *Pipeline) full() bool { return p.batches.behind() || p.undescribed || p.pausing() }

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
	change, err := p.kept.Change(p.batches.cur.batch, change)
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
	if p.batches.cur.batch.Bytes() >= partBytes {
		p.handOver(true)
	}
}

// touched stores what a touch makes in parts, as it is made: a single change may make any number of
// events. It waits for the appender where that is behind. Called with mu held, which it gives up
// meanwhile.
func (p *Pipeline) touched() error {
	p.cut()
	for p.ending && p.batches.overfull() && p.failure == nil {
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
	p.batches.committed(p.parts)
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
	p.batches.cur.urgent = p.batches.cur.urgent || p.end == ""
	p.settle(end)
	return nil
}

// settle notes that everything before end is in the batch. Called with mu held, between
// transactions.
func (p *Pipeline) settle(end capture.Position) {
	for _, in := range p.injections {
		for i, event := range in.events {
			p.batches.cur.batch.Add(event, in.to[i])
		}
		p.batches.cur.stored = append(p.batches.cur.stored, in.stored)
		p.batches.cur.urgent = true
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
	p.batches.settle(end)
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
	p.batches.abort(p.parts)
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
	p.batches.cur.urgent = p.batches.cur.pending
	p.handOver(true)
	for p.failure == nil && !p.roomless && ctx.Err() == nil && p.batches.unstored() {
		p.idle.Wait()
	}
	p.mu.Unlock()
	// An error is the spool's own, which ends the agent elsewhere; what is durable stays true.
	_ = p.spool.Flush(ctx)
	return p.Durable()
}
