package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"rowhook/delivery"
)

// What an operator is told about a delivery that cannot be changed now.
var (
	errInFlight = &operatorError{"the delivery is being sent at this moment", "look at `rowhook log` for what came of it"}
	errBlocked  = &operatorError{"the delivery waits behind an earlier one of its ordering key", "retry or skip that one: `rowhook queue list` shows it, or `rowhook failed list` where a dead letter holds the key; --key KEY narrows either down"}
	errUntried  = &operatorError{"the delivery has not been tried yet: it goes when its turn comes", "`rowhook status` shows what its profile waits for"}
)

// locate finds a waiting delivery by its event's id.
func (e *Engine) locate(profile, id string) (*dispatcher, delivery.Seq, error) {
	if id == "" {
		return nil, 0, &operatorError{"which event?", "`rowhook queue list` shows ids"}
	}
	items, err := e.Queue(Filter{Profile: profile, ID: id, Limit: 2})
	if err != nil {
		return nil, 0, err
	}
	switch len(items.Items) {
	case 0:
		return nil, 0, &operatorError{fmt.Sprintf("no delivery of event %s waits", id), fmt.Sprintf("`rowhook log --event %s` shows what came of it, `rowhook failed list` the dead letters", id)}
	case 1:
		return e.find(items.Items[0].Profile), items.Items[0].seq, nil
	}
	return nil, 0, &operatorError{fmt.Sprintf("event %s waits for several profiles", id), "name one with --profile"}
}

// RetryNow makes a retry due at once, also while its endpoint is left alone. An empty profile means
// the only one that has it.
func (e *Engine) RetryNow(profile, id string) error {
	d, seq, err := e.locate(profile, id)
	if err != nil {
		return err
	}
	return d.update(func(now time.Time) error {
		if err := d.commands.hasten(seq, now); err != nil {
			return err
		}
		d.tryEndpoint(now)
		return nil
	})
}

// tryEndpoint has an endpoint that is left alone be tried at once.
func (d *dispatcher) tryEndpoint(now time.Time) (waited bool) {
	if !d.endpoint.tryNow(now) {
		return false
	}
	d.commits.keep(now)
	return true
}

// Hastened is a profile whose waiting deliveries are tried at once.
type Hastened struct {
	Profile  string `json:"profile"`
	Retries  int    `json:"retries"`            // that were due later
	Endpoint bool   `json:"endpoint,omitempty"` // it was left alone, and is tried now
}

// RetryAllNow makes every retry of a profile due at once, and has its endpoint be tried where it is
// left alone. An empty profile means all that are active. Profiles for which nothing waits for
// another try are left out.
func (e *Engine) RetryAllNow(profile string) ([]Hastened, error) {
	chosen, err := e.choose(profile)
	if err != nil {
		return nil, err
	}
	all := []Hastened{}
	for _, d := range chosen {
		done, err := d.hastenAll(profile != "")
		if passedOn(profile, err) {
			continue
		} else if err != nil {
			return all, err
		}
		if done.Retries > 0 || done.Endpoint {
			all = append(all, done)
		}
	}
	return all, nil
}

func (d *dispatcher) hastenAll(named bool) (done Hastened, err error) {
	done.Profile = d.code
	active := true
	err = d.update(func(now time.Time) error {
		switch standing := d.standing(); {
		case standing == standsActive:
			done.Endpoint = d.tryEndpoint(now)
		case named && standing == standsPending:
			return &operatorError{fmt.Sprintf("profile %s is not active yet", d.code), fmt.Sprintf("`rowhook profile activate %s` asks its endpoint at once", d.code)}
		case named:
			return &operatorError{fmt.Sprintf("profile %s is inactive", d.code), fmt.Sprintf("`rowhook profile resume %s` delivers again", d.code)}
		default:
			active = false
		}
		return nil
	})
	if err != nil || !active {
		return done, err
	}
	err = d.store.each([]delivery.State{delivery.Retrying}, func(r *delivery.Delivery) (bool, error) {
		return true, d.withLock(func(now time.Time) error {
			var gone *operatorError
			if err := d.commands.hasten(r.Seq, now); errors.As(err, &gone) {
				return nil // it is being sent, or was, in the meantime
			} else if err != nil {
				return err
			}
			done.Retries++
			return d.commits.ifDue(now)
		})
	})
	// What is left of the last batch.
	return done, firstError(err, d.update(func(time.Time) error { return nil }))
}

// Skip gives a waiting delivery up: a dead letter with reason operator. Its key goes on. A group is
// given up as a whole, by its own id.
func (e *Engine) Skip(profile, id string) error {
	d, seq, err := e.locate(profile, id)
	if err != nil {
		return err
	}
	return d.update(func(now time.Time) error { return d.commands.skip(seq, id, now) })
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// FailedShow returns the dead letters of an event, one for each profile that gave it up.
func (e *Engine) FailedShow(id string) ([]Letter, error) {
	items, err := e.Failed(Filter{ID: id})
	if err != nil {
		return nil, err
	}
	if len(items.Items) == 0 {
		return nil, noDeadLetter(id)
	}
	var letters []Letter
	for _, item := range items.Items {
		d := e.find(item.Profile)
		if d == nil {
			continue // a reload has taken its profile away
		}
		r, _, err := d.store.Delivery(d.store.id, item.seq)
		if err != nil {
			return nil, fmt.Errorf("read delivery: %w", err)
		}
		if err := e.renderDead(d, &r); err != nil {
			return nil, fmt.Errorf("read event %s: %w", item.ID, err)
		}
		letters = append(letters, Letter{Item: item, ContentType: r.Head.ContentType, Body: string(r.Body)})
	}
	return letters, nil
}

// showPatience is for how long a large body waits for its turn to be shown: they are rendered one at a
// time, and a slow request may have the turn.
const showPatience = 10 * time.Second

// renderDead renders the body of a large event again, which is not kept with its delivery. One that
// was never sent stays without: its receiver takes less, the agent may not have the memory, or it
// cannot be rendered. So does one whose turn does not come.
func (e *Engine) renderDead(d *dispatcher, r *delivery.Delivery) error {
	if r.Body != nil || r.Members != nil || r.Attempts == 0 || r.Reason == delivery.ReasonOversize || r.Reason == delivery.ReasonFormat {
		return nil
	}
	ev, err := d.store.Event(d.store.id, r.Seq)
	if err != nil || ev.Away == nil {
		return err
	}
	turn := time.NewTimer(showPatience)
	defer turn.Stop()
	select {
	case e.whole <- struct{}{}:
		defer func() { <-e.whole }()
	case <-turn.C:
		return nil
	}
	full, err := d.store.whole(ev, r.Seq)
	if err != nil {
		return err
	}
	// The config may have changed since it was sent, so that it cannot be rendered any more.
	formatter := d.profileNow().formatter
	if body, err := formatter.AppendBody(make([]byte, 0, full.PayloadSize()+maxKeptBuffer), full); err == nil {
		r.Head, r.Body = formatter.Head(full), body
	}
	return nil
}

// Changed is how many dead letters a command took in hand. More is set when there are more, which
// could not be taken before these have made room.
type Changed struct {
	Count int  `json:"count"`
	More  bool `json:"more,omitempty"`
}

// FailedRetry starts another round of dead letters. Each goes in commit order before the newer
// events of its key. Those that were taken in hand when ctx ends are done.
func (e *Engine) FailedRetry(ctx context.Context, f Filter) (Changed, error) {
	return e.eachDead(ctx, f, func(d *dispatcher, r *delivery.Delivery, ev *delivery.Event, now time.Time) (bool, error) {
		if len(d.queue.lanes.byKey) >= maxLanes || d.queue.ledger.counts[delivery.Retrying] >= maxLanes {
			return false, nil
		}
		d.commands.revive(*r, ev.ID, now)
		return true, nil
	})
}

// FailedDiscard takes dead letters away for good, each with a line in the delivery log.
func (e *Engine) FailedDiscard(ctx context.Context, f Filter) (Changed, error) {
	return e.eachDead(ctx, f, func(d *dispatcher, r *delivery.Delivery, ev *delivery.Event, now time.Time) (bool, error) {
		d.commands.discard(r, ev, now)
		return true, nil
	})
}

// eachDead calls fn for the dead letters that the filter selects, until it returns false. The
// dispatcher goes on in between.
func (e *Engine) eachDead(ctx context.Context, f Filter, fn func(*dispatcher, *delivery.Delivery, *delivery.Event, time.Time) (bool, error)) (Changed, error) {
	var changed Changed
	chosen, err := e.choose(f.Profile)
	if err != nil {
		return changed, err
	}
	for _, d := range chosen {
		err := d.store.each([]delivery.State{delivery.Dead}, func(r *delivery.Delivery) (bool, error) {
			if ctx.Err() != nil {
				return false, context.Cause(ctx)
			}
			if f.Reason != "" && f.Reason != r.Reason {
				return true, nil
			}
			ev, err := d.store.Event(d.store.id, r.Seq)
			if err != nil {
				return false, fmt.Errorf("read event of a dead letter: %w", err)
			}
			if fits, err := d.store.fits(&f, r, ev); err != nil || !fits {
				return err == nil, err
			}
			more := true
			err = d.withLock(func(now time.Time) error {
				whole, ok, err := d.store.Delivery(d.store.id, r.Seq)
				if err != nil {
					return fmt.Errorf("read delivery: %w", err)
				}
				if !ok || whole.State != delivery.Dead || whole.Seq == d.commands.expiring {
					return nil // somebody else took it in the meantime
				}
				if more, err = fn(d, &whole, ev, now); err != nil {
					return err
				}
				if more {
					changed.Count++
				}
				return d.commits.ifDue(now)
			})
			changed.More = changed.More || !more
			return more, err
		})
		// What is left of the last batch.
		if err = firstError(err, d.update(func(time.Time) error { return nil })); err != nil && !passedOn(f.Profile, err) {
			return changed, err
		}
	}
	if f.ID != "" && changed == (Changed{}) {
		return changed, noDeadLetter(f.ID)
	}
	return changed, nil
}

func noDeadLetter(id string) error {
	return &operatorError{fmt.Sprintf("there is no dead letter of event %s", id), "`rowhook failed list` shows ids"}
}

// withLock is update, without making durable at once what was decided.
func (d *dispatcher) withLock(fn func(now time.Time) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.attend(); err != nil {
		return err
	}
	return fn(time.Now())
}

// Pause makes a profile inactive: requests in flight finish, its events are held in the spool.
func (e *Engine) Pause(profile string) error {
	d, err := e.one(profile)
	if err != nil {
		return err
	}
	return d.update(func(now time.Time) error {
		d.deactivate(now, delivery.ReasonOperator)
		return nil
	})
}

// The ways to resume a profile.
const (
	ResumeHeld = "held" // with what was held
	ResumeNow  = "now"  // with what comes from now on; what was held is skipped, with a line each
)

// Resume makes a profile active again.
func (e *Engine) Resume(profile, from string) error {
	d, err := e.one(profile)
	if err != nil {
		return err
	}
	if from != ResumeHeld && from != ResumeNow {
		return &operatorError{fmt.Sprintf("resume from %q?", from), "write held or now"}
	}
	return d.update(func(now time.Time) error {
		if !d.activation.Inactive {
			return &operatorError{fmt.Sprintf("profile %s is not paused", profile), fmt.Sprintf("`rowhook status` shows what it waits for, `rowhook queue retry-now --profile %s` tries at once what waits, `rowhook profile activate %s` asks the endpoint of one that is pending", profile, profile)}
		}
		if from == ResumeNow {
			if _, err := d.clearer.clear(now, delivery.OutcomeSkipped, delivery.ReasonOperator, math.MaxInt64); err != nil {
				return err
			}
		} else if err := d.leaveInactive(now); err != nil {
			return err
		}
		d.activation.resume()
		d.endpoint.restart()
		d.logger.Info("profile is active again", "from", from)
		d.commits.keep(now)
		return nil
	})
}
