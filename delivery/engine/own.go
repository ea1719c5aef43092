package engine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"rowhook/delivery"
)

// Machines may share profiles, see [Options.Shared]. Each profile is then owned by one machine at a
// time, under an epoch that grows from owner to owner. Who owns what is decided elsewhere and told to
// the engine by Own, Release and Disown. A dispatcher works in a tenure: it begins with what the
// store has, and leaves nothing in memory for the next one.

// tenure is a time in which this engine owns a profile. Without machines that share it, it has no
// end and no epoch.
type tenure struct {
	epoch    uint64
	header   string      // of its requests
	over     atomic.Bool // another machine may own the profile: nothing more is begun or stored
	released atomic.Bool // it is to end in order
	err      error       // why what was done could not be stored at its end; set before stint.ended is closed
}

func newTenure(epoch uint64) *tenure {
	return &tenure{epoch: epoch, header: strconv.FormatUint(epoch, 10)}
}

// isOver reports whether another machine may own the profile.
func (t *tenure) isOver() bool { return t.over.Load() }

// stint is what ends a dispatcher's run.
type stint struct {
	stop  context.CancelFunc // has it begin nothing new
	abort context.CancelFunc // cancels its requests in flight
	ended chan struct{}      // closed when nothing of it goes on
}

// leasePoll is how often a dispatcher looks whether a lease that is over has been renewed.
const leasePoll = 100 * time.Millisecond

// reasonLease is shown while no request may start because the lease is over.
const reasonLease = "lease"

// lapsed reports whether no request may start because the lease is over.
func (e *Engine) lapsed() bool { return lapsed(e.options.Lease) }

func lapsed(lease func() time.Time) bool { return lease != nil && !time.Now().Before(lease()) }

// mayStart reports whether a request may start now. It is asked immediately before each.
func (c *crew) mayStart() bool { return !c.tenure.isOver() && !lapsed(c.lease) }

// Own has the engine deliver to a profile, under an epoch which the profile's requests carry: its
// dispatcher begins from what the store has, also where the engine owned the profile before. It does
// not wait for that. A profile that is owned under an older epoch is disowned first.
func (e *Engine) Own(code string, epoch uint64) error {
	if !e.options.Shared {
		return fmt.Errorf("own profile %s: the engine shares none", code)
	}
	e.begin.Lock()
	defer e.begin.Unlock()
	d := e.find(code)
	if d == nil {
		return fmt.Errorf("own profile %s: there is no such profile", code)
	}
	if before := d.tenure.Load(); before != nil {
		if before.epoch == epoch {
			return nil
		}
		if before.epoch > epoch {
			return fmt.Errorf("own profile %s under epoch %d: it is owned under epoch %d", code, epoch, before.epoch)
		}
		d.disown(before)
	}
	t := newTenure(epoch)
	d.tenure.Store(t)
	e.allot()
	if e.running != nil {
		e.running.start(d, t)
	}
	return nil
}

// Release gives a profile up in order: no request starts any more, those in flight end or are
// cancelled after [Options.Grace], and what came of all is stored when it returns. What was cancelled
// the next owner repeats.
//
// It returns an error that wraps [delivery.ErrNotOwner] when the engine does not own the profile, or
// does not any more. After another error the profile is given up as well, and the next owner repeats
// what could not be stored. Only when ctx ends first, the profile is not given up yet: its requests
// are cancelled, and Release or Disown is to be called again.
func (e *Engine) Release(ctx context.Context, code string) error {
	e.begin.Lock()
	d := e.find(code)
	if d == nil || !e.options.Shared || d.tenure.Load() == nil {
		e.begin.Unlock()
		return notOwner(code)
	}
	t, at := d.tenure.Load(), d.stint
	t.released.Store(true)
	e.begin.Unlock()
	if at.stop != nil {
		at.stop()
		grace := time.AfterFunc(e.options.Grace, at.abort)
		defer grace.Stop()
		select {
		case <-at.ended:
		case <-ctx.Done():
			at.abort()
			return fmt.Errorf("release profile %s: %w", code, context.Cause(ctx))
		}
	}
	for !d.mu.TryLock() { // an operator's command is under way, and may wait for the store
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("release profile %s: %w", code, context.Cause(ctx))
		}
	}
	defer d.mu.Unlock()
	e.begin.Lock()
	owned := d.disown(t)
	e.allot()
	e.begin.Unlock()
	if !owned {
		return d.notOwner()
	}
	d.reset()
	if t.err != nil {
		return fmt.Errorf("release profile %s: %w", code, t.err)
	}
	return nil
}

// Disown gives a profile up at once: its requests in flight are cancelled, and nothing more is stored
// for it, but for an update that the store has already. It does not wait for that.
func (e *Engine) Disown(code string) {
	e.begin.Lock()
	defer e.begin.Unlock()
	if d := e.find(code); d != nil && e.options.Shared {
		d.disown(d.tenure.Load())
		e.allot()
	}
}

// Owned returns the epoch under which the engine owns a profile. It reports false when it does not.
func (e *Engine) Owned(code string) (epoch uint64, owned bool) {
	d := e.find(code)
	if d == nil {
		return 0, false
	}
	t := d.tenure.Load()
	if t == nil {
		return 0, false
	}
	return t.epoch, true
}

// lose is Disown for what the store has told.
func (e *Engine) lose(d *dispatcher, t *tenure) {
	if !e.options.Shared {
		return
	}
	e.begin.Lock()
	defer e.begin.Unlock()
	if d.disown(t) {
		d.logger.Info("profile is another machine's", "epoch", t.epoch)
	}
	e.allot()
}

// allot gives each profile that is owned an equal part of memory; e.begin is held.
func (e *Engine) allot() {
	owned := e.owned()
	for _, d := range owned {
		d.allot.Store(int64(max(int(e.options.Memory)/len(owned), minWindowBytes)))
	}
}

// owned returns the dispatchers of the profiles that the engine owns.
func (e *Engine) owned() []*dispatcher {
	if !e.options.Shared {
		return e.all()
	}
	var owned []*dispatcher
	for _, d := range e.all() {
		if d.tenure.Load() != nil {
			owned = append(owned, d)
		}
	}
	return owned
}

// disown ends a tenure; the engine's begin is held. It reports whether it was not over before.
func (d *dispatcher) disown(t *tenure) bool {
	if t == nil || !d.tenure.CompareAndSwap(t, nil) {
		return false
	}
	t.over.Store(true)
	if d.stint.stop != nil {
		d.stint.stop()
		d.stint.abort()
	}
	d.wake.notify()
	return true
}

// takeAllotment takes over how much memory there is for the profile.
func (d *dispatcher) takeAllotment() { d.queue.memory.max = int(d.allot.Load()) }

func (d *dispatcher) notOwner() error { return notOwner(d.code) }

func notOwner(code string) error { return fmt.Errorf("profile %s: %w", code, delivery.ErrNotOwner) }

// passedOn reports whether an error says that a profile has got another owner, where that is one of
// many that were asked about.
func passedOn(named string, err error) bool {
	return named == "" && errors.Is(err, delivery.ErrNotOwner)
}

// abandon ends a run whose tenure is over: requests in flight have been cancelled, and what came of
// them gets its line and nothing else.
func (d *dispatcher) abandon(now time.Time) error {
	d.crew.halt() // so that workers notify
	for {
		for _, j := range d.crew.take() {
			d.lastLine(j, now)
		}
		if d.crew.handed == 0 {
			break
		}
		d.mu.Unlock()
		<-d.wake
		d.mu.Lock()
	}
	d.lines.sumUp(now, true)
	d.commits.flush()
	return d.notOwner()
}

// lastLine writes the line of an attempt of which nothing will be stored: the next owner repeats it.
func (d *dispatcher) lastLine(j *job, now time.Time) {
	if !j.sent || j.err != nil {
		return
	}
	switch j.reply.Class {
	case delivery.ClassOK: // its worker wrote it
		if !d.terms.profile.dry() {
			d.tally.accepted(j, now)
		}
	case delivery.ClassOurs: // nothing was sent
	case delivery.ClassStopped:
		d.lines.attempt(j, delivery.OutcomeInterrupted, time.Time{})
	default:
		d.lines.attempt(j, delivery.OutcomeRetrying, time.Time{})
	}
}
