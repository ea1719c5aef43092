package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"rowhook/delivery"
)

// Recorder takes the delivery log's lines.
type Recorder interface {
	// Append takes a line; it copies what it needs. It is safe for concurrent use.
	Append(rec *delivery.LogRecord)
	// Flush writes out what was appended. After an error the lines are kept and the next Flush
	// tries them again.
	Flush() error
}

// Options tune an [Engine]. The zero value is useful.
type Options struct {
	// Logger takes the engine's own messages: changes of a profile's state, not attempts. Default:
	// none.
	Logger *slog.Logger
	// Grace is how long requests in flight may go on after Run's context has ended. Default 20 s.
	Grace time.Duration
	// Memory is how many bytes of events all profiles together may keep in memory; each has an
	// equal part of it, and at least one event. Default 4 MiB.
	Memory int64
	// Rate bounds the requests of all profiles together. Default: none.
	Rate delivery.Rate
	// Shared says that other machines deliver to the same profiles: the engine delivers to those
	// that it owns (see Own), and to none by itself. Its router and numbers cover all. Operator
	// methods for a profile that it does not own return [delivery.ErrNotOwner], and lists leave such
	// profiles out.
	Shared bool
	// Turns are where in the log shared profiles' events came to be made by another config, as far as
	// the profiles are those of it, see [Reload.ApplyAt]. Default: the end of the log.
	Turns []delivery.Seq
	// Lease tells until when requests may start, by the monotonic clock. It is asked immediately
	// before each, and must return at once. What is in flight then goes on. Nil is always.
	Lease func() time.Time
	// OnState hears of changes of a profile's state that no operator's command made. It must not
	// call the engine. May be nil.
	OnState func(StateChange)
	// OnFailure hears of attempts that did not deliver, for profiles with contacts. It must return
	// at once. May be nil.
	OnFailure func(delivery.Failure)
}

// Defaults of [Options].
const (
	defaultGrace  = 20 * time.Second
	defaultMemory = 4 << 20
)

// Engine brings spooled events to their receivers: one dispatcher per profile, which has its own
// share of memory and workers, so that no profile is held up by another.
//
// Its operator methods work while Run is running and as well on an engine that never ran.
type Engine struct {
	// whole is held by the worker that has a large event in memory: one at a time, whatever their
	// number.
	whole   chan struct{}
	store   delivery.Store
	log     Recorder
	options Options
	logger  *slog.Logger
	router  *delivery.Router
	limiter *rate.Limiter // of all requests; nil for none
	fleet   atomic.Pointer[fleet]

	// life guards what there is: leaving and what fleet points to. It is taken before a dispatcher's
	// mu, never after.
	life    sync.Mutex
	leaving map[string]<-chan struct{} // by code: removed and not at their end yet; closed there

	// begin guards who runs: running, the dispatchers' stints and the beginnings of tenures. It is
	// taken last of all, and nothing is waited for while it is held: who owns what may be told by
	// those whom the store waits for.
	begin   sync.Mutex
	running *engineRun // nil unless Run runs

	mu             sync.Mutex
	suspended      string // why all deliveries wait; empty when they do not
	suspendedSince time.Time
	suspendedTold  bool // the engine's own messages spoke of it
	suspendedTimer *time.Timer
	logError       error // why the delivery log cannot be written
	logSince       time.Time
}

// fleet is the dispatchers at work. It is immutable: a reload puts another in its place.
type fleet struct {
	dispatchers []*dispatcher // in the config's order; those that are being drained come last
	byCode      map[string]*dispatcher
}

func newFleet(dispatchers []*dispatcher) *fleet {
	f := &fleet{dispatchers: dispatchers, byCode: make(map[string]*dispatcher, len(dispatchers))}
	for _, d := range dispatchers {
		f.byCode[d.code] = d
	}
	return f
}

// all returns the dispatchers at work.
func (e *Engine) all() []*dispatcher { return e.fleet.Load().dispatchers }

// find returns the dispatcher of the profile with that code; nil when there is none.
func (e *Engine) find(code string) *dispatcher { return e.fleet.Load().byCode[code] }

// New makes an engine for the profiles and registers them with the store. Profiles have distinct
// codes.
func New(store delivery.Store, log Recorder, profiles []*Profile, options Options) (*Engine, error) {
	if options.Grace <= 0 {
		options.Grace = defaultGrace
	}
	if options.Memory <= 0 {
		options.Memory = defaultMemory
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{store: store, log: log, options: options, logger: options.Logger, leaving: make(map[string]<-chan struct{}),
		limiter: newLimiter(options.Rate), whole: make(chan struct{}, 1)}
	e.fleet.Store(newFleet(nil))
	reload, err := e.Prepare(profiles, nil)
	if err != nil {
		return nil, err
	}
	e.router = reload.Router()
	if options.Shared && options.Turns != nil {
		return e, reload.ApplyAt(options.Turns)
	}
	return e, reload.Apply()
}

// Router returns the router over the profiles that the engine was made with. A reload brings
// another.
func (e *Engine) Router() *delivery.Router { return e.router }

// Run delivers until ctx ends, then lets requests in flight finish within [Options.Grace], cancels
// what is left, and leaves progress and delivery log complete: a later Run repeats only what was
// cancelled.
//
// It returns nil after ctx has ended, or the error that made it stop: the store or, at the end, the
// delivery log failed.
func (e *Engine) Run(ctx context.Context) error {
	stop, cancelAll := context.WithCancel(ctx)
	defer cancelAll()
	sends, cancelSends := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelSends()

	r := &engineRun{engine: e, stop: stop, sends: sends, cancelAll: cancelAll}
	e.begin.Lock()
	e.running = r
	for _, d := range e.owned() {
		r.start(d, d.tenure.Load())
	}
	e.begin.Unlock()
	<-stop.Done()
	e.begin.Lock()
	e.running = nil
	e.begin.Unlock()
	grace := time.AfterFunc(e.options.Grace, cancelSends)
	defer grace.Stop()
	r.group.Wait()
	e.mu.Lock()
	e.hush()
	e.mu.Unlock()
	if err := e.log.Flush(); err != nil {
		r.failed(fmt.Errorf("write delivery log: %w", err))
	}
	return errors.Join(r.failures...)
}

// engineRun is one [Engine.Run].
type engineRun struct {
	engine      *Engine
	stop, sends context.Context
	cancelAll   context.CancelFunc
	group       sync.WaitGroup // grows only while the engine's running is this

	mu       sync.Mutex
	failures []error
}

// start has a dispatcher deliver until the run ends, or the tenure, or the dispatcher is stopped or
// drained; the engine's begin is held. It begins when what the dispatcher did before has ended.
func (r *engineRun) start(d *dispatcher, t *tenure) {
	stop, cancel := context.WithCancel(r.stop)
	sends, abort := context.WithCancel(r.sends)
	before := d.stint.ended
	d.stint = stint{stop: cancel, abort: abort, ended: make(chan struct{})}
	ended := d.stint.ended
	r.group.Go(func() {
		defer close(ended)
		defer abort()
		defer cancel()
		if before != nil {
			<-before
		}
		r.deliver(d, t, stop, sends)
	})
}

// deliver has a dispatcher deliver, and looks at how that ended.
func (r *engineRun) deliver(d *dispatcher, t *tenure, stop, sends context.Context) {
	err := error(nil)
	if !d.dropping.Load() {
		err = d.run(t, stop, sends)
	}
	switch {
	case err == nil && d.dropping.Load():
		if r.stop.Err() != nil || t.released.Load() {
			return
		}
		if err := d.retire(Drop); err == nil {
			r.engine.forget(d)
		} else if errors.Is(err, delivery.ErrNotOwner) {
			r.later(d, t, r.stop)
		}
	case errors.Is(err, delivery.ErrNotOwner) && r.engine.options.Shared:
		r.engine.lose(d, t)
	case err != nil && t.released.Load() && r.engine.LogError() != nil:
		t.err = err
	case err != nil:
		r.failed(err)
		r.cancelAll()
	case stop.Err() == nil && !r.engine.drained(d, t):
		r.later(d, t, stop)
	}
}

// later has a dispatcher try again to end, which others did not let it.
func (r *engineRun) later(d *dispatcher, t *tenure, stop context.Context) {
	select {
	case <-time.After(leasePoll):
	case <-stop.Done():
		return
	}
	r.engine.begin.Lock()
	defer r.engine.begin.Unlock()
	if r.engine.running == r && d.tenure.Load() == t {
		r.start(d, t)
	}
}

func (r *engineRun) failed(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, err)
}

// Suspend makes all deliveries wait until [Engine.Continue]: requests in flight finish, no new ones
// start. The reason is shown by Status.
func (e *Engine) Suspend(reason string) {
	e.mu.Lock()
	e.suspended, e.suspendedSince = reason, time.Now()
	e.hush()
	e.suspendedTimer = time.AfterFunc(suspendedQuiet, e.tellSuspended)
	e.mu.Unlock()
	e.wakeAll()
}

// suspendedQuiet is how long deliveries wait before the engine's own messages speak of it: at every
// start they do for a moment.
const suspendedQuiet = 3 * time.Second

// tellSuspended speaks of a wait that has lasted.
func (e *Engine) tellSuspended() {
	e.mu.Lock()
	reason := e.suspended
	e.suspendedTold = e.suspendedTold || reason != ""
	e.mu.Unlock()
	if reason != "" {
		e.logger.Warn("deliveries wait", "reason", reason)
	}
}

// hush keeps a wait from being spoken of; mu is held.
func (e *Engine) hush() {
	if e.suspendedTimer != nil {
		e.suspendedTimer.Stop()
	}
}

// Continue ends what [Engine.Suspend] began.
func (e *Engine) Continue() {
	e.mu.Lock()
	was, told := e.suspended, e.suspendedTold
	e.suspended, e.suspendedTold = "", false
	e.hush()
	e.mu.Unlock()
	if told {
		e.logger.Info("deliveries go on", "waited_for", was)
	}
	if was != "" {
		e.wakeAll()
	}
}

// waiting returns why all deliveries wait and since when; empty when they do not.
func (e *Engine) waiting() (reason string, since time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.logError != nil:
		return delivery.ReasonLog, e.logSince
	case e.suspended == "" && e.lapsed():
		return reasonLease, e.options.Lease()
	}
	return e.suspended, e.suspendedSince
}

// LogError returns why the delivery log cannot be written, nil when it can. Nothing is sent
// meanwhile.
func (e *Engine) LogError() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.logError
}

// logFlushed takes note of how a flush of the delivery log went. Nothing is sent unlogged:
// while it fails all deliveries wait.
func (e *Engine) logFlushed(err error) {
	e.mu.Lock()
	was := e.logError
	if err == nil && was == nil {
		e.mu.Unlock()
		return
	}
	e.logError = err
	if was == nil {
		e.logSince = time.Now()
	}
	e.mu.Unlock()
	switch {
	case was == nil:
		e.logger.Error("delivery log cannot be written: deliveries wait", "err", err)
		e.wakeAll()
	case err == nil:
		e.logger.Info("delivery log is written again: deliveries go on")
		e.wakeAll()
	}
}

func (e *Engine) wakeAll() {
	for _, d := range e.all() {
		d.wake.notify()
	}
}

// Pausing reports whether a profile with on_full: pause_source has used up its share, so that the
// source is to be paused. It costs little.
func (e *Engine) Pausing() bool {
	for _, d := range e.all() {
		if d.share.pauses() && d.share.excess() > 0 {
			return true
		}
	}
	return false
}
