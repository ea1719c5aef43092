package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"rowhook/capture"
)

// forgetAfter is how long a machine that is not heard of stays on the list.
const forgetAfter = 7 * 24 * time.Hour

// Run follows the stream, renews the lease, claims what is free and tells actor, until ctx ends or
// something cannot go on. After [Replica.Leave] it returns nil.
func (r *Replica) Run(ctx context.Context, actor Actor) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	r.mu.Lock()
	r.fail, r.running, r.actor = fail, ctx, actor
	failed, last := r.failed, r.core.last()
	r.mu.Unlock()
	defer close(r.done)
	if failed != nil {
		return failed
	}
	known, err := r.stream.verify(ctx, last)
	if err != nil {
		return err
	}
	again := make(chan struct{}, 1)
	look := func() {
		select {
		case again <- struct{}{}:
		default: // it is about to look
		}
	}
	if !known {
		look()
	}
	r.stream.onAgain(look)
	defer r.stream.onAgain(nil)

	run := func(do func(context.Context) error) {
		r.all.Go(func() {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				fail(err)
			}
		})
	}
	run(r.follow)
	run(r.publishProgress)
	run(r.serve)
	run(func(ctx context.Context) error { return r.verify(ctx, again) })
	run(r.keepSnapshots)
	run(func(ctx context.Context) error {
		if err := r.join(ctx); err != nil {
			return err
		}
		return r.live(ctx, actor)
	})
	r.all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, errLeft) {
		return err
	}
	return nil
}

// errLeft ends Run after Leave.
var errLeft = errors.New("the machine has left the cluster")

// verify compares the stream with what is applied, each time that it is read again. Of a stream that lost
// its end, others may have filled up the places before this machine has stored anything: what is not known
// is looked at until it is.
func (r *Replica) verify(ctx context.Context, again <-chan struct{}) error {
	for {
		select {
		case <-again:
		case <-ctx.Done():
			return nil
		}
		r.mu.Lock()
		last := r.core.last()
		r.mu.Unlock()
		for known := false; !known; {
			var err error
			if known, err = r.stream.verify(ctx, last); err != nil {
				return err
			}
			if !known && !pause(ctx, retryPause) {
				return nil
			}
		}
	}
}

// join makes this process the one that speaks for the machine, once it has applied what there is.
func (r *Replica) join(ctx context.Context) error {
	info, err := r.stream.info(ctx)
	if err != nil {
		return err
	}
	if err := r.await(ctx, func() bool { return r.core.next > info.State.LastSeq }); err != nil {
		return err
	}
	warned := false
	for {
		r.mu.Lock()
		m, msg := r.core.state.members[r.machine], join{previous: r.previous, about: r.about()}
		ready := m == nil || m.incarnation == r.previous
		if !ready {
			msg.seen, ready = r.tenure.lapsed(r.core.state, r.machine, time.Now())
		}
		r.mu.Unlock()
		if ready {
			// Only now: of a process that said nothing no lease has to be waited out.
			mine := selfValue{machine: r.machine, incarnation: r.tenure.incarnation, lineage: r.began}
			if err := r.Spool.SetMeta(valueSelf, mine.encode()); err != nil {
				return err
			}
			if _, err := r.say(ctx, laneMembership, msg); err == nil || !errors.Is(err, errNameTaken) {
				return err
			}
		} else if !warned {
			warned = true
			r.logger.Info("waiting until the lease of the process that had this machine's name has ended", "machine", r.machine)
		}
		if m != nil && !pause(ctx, r.lease/renewals/2) {
			return context.Cause(ctx)
		}
	}
}

// await waits until ok, which is called with mu held, or ctx ends.
func (r *Replica) await(ctx context.Context, ok func() bool) error {
	poll := time.NewTicker(retryPause)
	defer poll.Stop()
	for {
		r.mu.Lock()
		is, changed := ok(), r.changed
		r.mu.Unlock()
		if is {
			return nil
		}
		select {
		case <-changed:
		case <-poll.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-r.done:
			return errEnded
		}
	}
}

// live renews the lease and claims seats.
func (r *Replica) live(ctx context.Context, actor Actor) error {
	tick := time.NewTicker(max(r.lease/renewals/4, 10*time.Millisecond))
	defer tick.Stop()
	var tended sync.WaitGroup
	defer tended.Wait()
	posts := map[string]bool{}
	for ctx.Err() == nil {
		r.mu.Lock()
		m, changed := r.next(time.Now()), r.changed
		var seats []string
		for name := range r.core.state.seats {
			if !posts[name] && r.ownedNow(name) != 0 {
				seats = append(seats, name)
			}
		}
		r.mu.Unlock()
		for _, name := range seats {
			posts[name] = true
			tended.Go(func() { r.tend(ctx, actor, name) })
		}
		if m != nil {
			switch _, err := r.say(ctx, laneMembership, m); {
			case errors.Is(err, errClaimed), errors.Is(err, errUnseen):
			case errors.Is(err, errStranger): // what came before has ended Run, or Leave will
				<-ctx.Done()
			case err != nil:
				return err
			}
			continue
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// next is what this machine has to say; nil when there is nothing. Called with mu held.
func (r *Replica) next(now time.Time) message {
	s, t := r.core.state, r.tenure
	if r.changedSelf || now.Sub(t.sent.at) >= r.lease/renewals {
		r.changedSelf = false
		return renew{about: r.about(), applied: s.seq, digest: s.digest}
	}
	if r.leaving {
		return nil
	}
	if seats := t.claims(s, r.profiles, r.noted, now); len(seats) > 0 {
		return claim{seats}
	}
	for _, code := range r.surplus(now) {
		if !r.giving[code] {
			r.giving[code] = true
			defer r.notify()
		}
	}
	if r.ownedNow(captureSeat) != 0 {
		for name, h := range t.heard {
			if name != r.machine && now.Sub(h.at) > forgetAfter {
				return gone{machine: name, seen: h.renewal}
			}
		}
	}
	return nil
}

// tend tells the actor about one seat, as long as ctx lasts.
func (r *Replica) tend(ctx context.Context, actor Actor, name string) {
	for {
		var epoch uint64
		if err := r.await(ctx, func() bool {
			epoch = r.ownedNow(name)
			return epoch != 0
		}); err != nil {
			return
		}
		r.occupy(ctx, actor, name, epoch)
		if ctx.Err() != nil {
			return
		}
	}
}

// occupy works with a seat from its beginning to its end.
func (r *Replica) occupy(ctx context.Context, actor Actor, name string, epoch uint64) {
	r.logger.Info("this machine has taken over", "seat", seatName(name), "epoch", epoch)
	lost := func() bool { return r.ownedNow(name) != epoch }
	drain, cut := func() { actor.Release(name) }, func() { actor.Disown(name) }
	if name == captureSeat {
		term, end := context.WithCancelCause(ctx)
		defer end(ErrTermOver)
		r.mu.Lock()
		r.term = term
		r.mu.Unlock()
		drain, cut = actor.EndCapture, func() { end(ErrTermOver) }
		actor.BeginCapture(epoch)
	} else {
		actor.Own(name, epoch)
	}
	_ = r.await(ctx, func() bool { return lost() || r.giving[name] || r.leaving }) // an end of ctx is like a loss
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if r.still(ctx, name, epoch) || name == captureSeat {
			drain()
		}
	}()
	waiting, stop := context.WithCancel(ctx)
	go func() {
		defer stop()
		<-ended
	}()
	// Who loses the seat while it is being given back ends at once.
	if r.await(waiting, lost) == nil || ctx.Err() != nil {
		cut()
	}
	<-ended
	r.mu.Lock()
	if name == captureSeat {
		r.term = nil
	}
	r.mu.Unlock()
	if r.still(ctx, name, epoch) {
		// An error is of ctx, or the seat is another one's by now.
		_, _ = r.say(ctx, laneMembership, release{[]string{name}})
	}
	r.mu.Lock()
	delete(r.giving, name)
	r.mu.Unlock()
	r.logger.Info("this machine has ended", "seat", seatName(name), "epoch", epoch)
}

// still reports whether the seat is this process's in that epoch.
func (r *Replica) still(ctx context.Context, name string, epoch uint64) bool {
	return ctx.Err() == nil && r.owned(name) == epoch
}

// seatName is a seat as logs say it.
func seatName(name string) string {
	if name == captureSeat {
		return "capture"
	}
	return "profile " + name
}

// Profiles says which profiles there are.
func (r *Replica) Profiles(codes []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.profiles = slices.Clone(codes)
	r.notify()
}

// Handover gives the capture to another machine and returns when that has it.
func (r *Replica) Handover(ctx context.Context) error {
	r.mu.Lock()
	epoch := r.ownedNow(captureSeat)
	others := r.tenure.others(r.core.state, captureSeat, time.Now())
	if epoch != 0 && len(others) > 0 {
		r.giving[captureSeat] = true
		r.notify()
	}
	r.mu.Unlock()
	if epoch == 0 {
		return ErrTermOver
	}
	if len(others) == 0 {
		return &capture.OperatorError{
			Err:    errors.New("hand the capture over: no other machine that may capture and has the same config is alive"),
			Remedy: "start rowhook on another machine with role capture, or give it this one's config; `rowhook status` shows the machines",
		}
	}
	err := r.await(ctx, func() bool {
		seat := r.core.state.seats[captureSeat]
		return seat.owner != "" && seat.epoch > epoch
	})
	if err != nil {
		return fmt.Errorf("hand the capture over to %v: %w", others, err)
	}
	return nil
}

// Leave ends what this machine does in order, gives it to the others and ends Run. When ctx ends
// before, the others take over when the lease has ended.
func (r *Replica) Leave(ctx context.Context) error {
	r.mu.Lock()
	r.leaving = true
	joined := r.joined
	for name := range r.core.state.seats {
		if r.ownedNow(name) != 0 {
			r.giving[name] = true
		}
	}
	r.notify()
	fail := r.fail
	r.mu.Unlock()
	var err error
	if joined {
		err = r.await(ctx, func() bool {
			for name := range r.core.state.seats {
				if r.ownedNow(name) != 0 {
					return false
				}
			}
			return true
		})
		if err == nil {
			_, err = r.say(ctx, laneMembership, gone{machine: r.machine})
		}
	}
	if fail != nil {
		fail(errLeft)
	}
	if err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	return nil
}
