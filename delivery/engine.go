package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Recorder takes the delivery log's lines.
type Recorder interface {
	// Append takes a line; it copies what it needs. It is safe for concurrent use.
	Append(rec *LogRecord)
	// Flush writes out what was appended. After an error the lines are kept and the next Flush tries them again.
	Flush() error
}

// Options tune an [Engine]. The zero value is useful.
type Options struct {
	// Logger takes the engine's own messages: changes of a profile's state, not attempts. Default: none.
	Logger *slog.Logger
	// Grace is how long requests in flight may go on after Run's context has ended. Default 20 s.
	Grace time.Duration
	// Memory is how many bytes of events all profiles together may keep in memory; each has an equal
	// part of it, and at least one event. Default 4 MiB.
	Memory int64
	// Rate bounds the requests of all profiles together. Default: none.
	Rate Rate
	// OnState hears of changes of a profile's state that no operator's command made. It must not call the engine. May be nil.
	OnState func(StateChange)
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
	store       Store
	log         Recorder
	options     Options
	logger      *slog.Logger
	router      *Router
	limiter     *rate.Limiter // of all requests; nil for none
	dispatchers []*dispatcher
	byCode      map[string]*dispatcher

	mu        sync.Mutex
	hold      string // why all deliveries wait; empty when they do not
	holdSince time.Time
	holdTold  bool // the engine's own messages spoke of it
	holdTimer *time.Timer
	logError  error // why the delivery log cannot be written
	logSince  time.Time
}

// New makes an engine for the profiles and registers them with the store. Profiles have distinct codes.
func New(store Store, log Recorder, profiles []*Profile, options Options) (*Engine, error) {
	if options.Grace <= 0 {
		options.Grace = defaultGrace
	}
	if options.Memory <= 0 {
		options.Memory = defaultMemory
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	e := &Engine{store: store, log: log, options: options, logger: options.Logger, byCode: make(map[string]*dispatcher),
		limiter: options.Rate.limiter()}
	var ids []ProfileID
	for _, p := range profiles {
		if e.byCode[p.code] != nil {
			return nil, fmt.Errorf("two profiles have the code %s", p.code)
		}
		id, err := store.Register(p.code)
		if err != nil {
			return nil, fmt.Errorf("register profile %s: %w", p.code, err)
		}
		d := newDispatcher(e, p, id, int(options.Memory)/len(profiles))
		e.dispatchers = append(e.dispatchers, d)
		e.byCode[p.code] = d
		ids = append(ids, id)
	}
	e.router = newRouter(profiles, ids)
	return e, nil
}

// Router returns the router that decides who gets an event.
func (e *Engine) Router() *Router { return e.router }

// Run delivers until ctx ends, then lets requests in flight finish within [Options.Grace], cancels
// what is left, and leaves progress and delivery log complete: a later Run repeats only what was cancelled.
//
// It returns nil after ctx has ended, or the error that made it stop: the store or, at the end, the delivery log failed.
func (e *Engine) Run(ctx context.Context) error {
	stop, cancelAll := context.WithCancel(ctx)
	defer cancelAll()
	sends, cancelSends := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelSends()

	var running sync.WaitGroup
	failures := make([]error, len(e.dispatchers))
	for i, d := range e.dispatchers {
		running.Go(func() {
			failures[i] = d.run(stop, sends)
			if failures[i] != nil {
				cancelAll()
			}
		})
	}
	<-stop.Done()
	grace := time.AfterFunc(e.options.Grace, cancelSends)
	defer grace.Stop()
	running.Wait()
	e.mu.Lock()
	e.hush()
	e.mu.Unlock()
	if err := e.log.Flush(); err != nil {
		failures = append(failures, fmt.Errorf("write delivery log: %w", err))
	}
	return errors.Join(failures...)
}

// Hold makes all deliveries wait until [Engine.Release]: requests in flight finish, no new ones start.
// The reason is shown by Status.
func (e *Engine) Hold(reason string) {
	e.mu.Lock()
	e.hold, e.holdSince = reason, time.Now()
	e.hush()
	e.holdTimer = time.AfterFunc(holdQuiet, e.tellHold)
	e.mu.Unlock()
	e.wakeAll()
}

// holdQuiet is how long deliveries wait before the engine's own messages speak of it: at every start they do for a moment.
const holdQuiet = 3 * time.Second

// tellHold speaks of a wait that has lasted.
func (e *Engine) tellHold() {
	e.mu.Lock()
	reason := e.hold
	e.holdTold = e.holdTold || reason != ""
	e.mu.Unlock()
	if reason != "" {
		e.logger.Warn("deliveries wait", "reason", reason)
	}
}

// hush keeps a wait from being spoken of; mu is held.
func (e *Engine) hush() {
	if e.holdTimer != nil {
		e.holdTimer.Stop()
	}
}

// Release ends what [Engine.Hold] began.
func (e *Engine) Release() {
	e.mu.Lock()
	was, told := e.hold, e.holdTold
	e.hold, e.holdTold = "", false
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
	if e.logError != nil {
		return reasonLog, e.logSince
	}
	return e.hold, e.holdSince
}

// LogError returns why the delivery log cannot be written, nil when it can. Nothing is sent meanwhile.
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
	for _, d := range e.dispatchers {
		d.poke()
	}
}

// Pausing reports whether a profile with on_full: pause_source has used up its share, so that the
// source is to be paused. It costs little.
func (e *Engine) Pausing() bool {
	for _, d := range e.dispatchers {
		if d.profile.config.OnFull == "pause_source" && d.excess() > 0 {
			return true
		}
	}
	return false
}
