package engine

import (
	"errors"
	"time"

	"rowhook/delivery"
)

// holdsKeys reports whether a dead letter keeps the later events of its key back.
func (p *Profile) holdsKeys() bool { return p.ordered() && p.config.OnDead == "hold_key" }

// holdAgain has a dead letter of the store hold its key back, unless an operator gave it up. The
// bound is met only by those of a time when they held nothing back.
func (ld *loader) holdAgain(r *delivery.Delivery) {
	if ld.profile.holdsKeys() && r.Reason != delivery.ReasonOperator && len(ld.queue.lanes.byKey) < 2*maxLanes {
		ld.queue.spill(ld.queue.lanes.hold(r)...)
	}
}

// reviewHolds does what a change of on_dead asks for: the dead letters that there are hold their
// keys, or let them go. Nothing is in flight.
func (ld *loader) reviewHolds() error {
	ld.rehold = false
	if ld.profile.holdsKeys() {
		return ld.store.each([]delivery.State{delivery.Dead}, func(r *delivery.Delivery) (bool, error) {
			ld.holdAgain(r)
			return true, nil
		})
	}
	ld.queue.lanes.unholdAll()
	return nil
}

// Expired takes note that a dead letter has been kept for long enough and is being removed from the
// store. Its key goes on, if it was held back. A profile of another machine is that one's affair.
func (e *Engine) Expired(profile string, r delivery.Delivery) error {
	d := e.find(profile)
	if d == nil {
		return nil
	}
	err := d.withLock(func(time.Time) error {
		d.commands.expire(&r)
		d.wake.notify()
		return nil
	})
	if errors.Is(err, delivery.ErrNotOwner) {
		return nil
	}
	return err
}

// keptWaiting returns for how long the first event behind a job has been there; zero when there is
// none.
func (ld *loader) keptWaiting(j *job, now time.Time) (time.Duration, error) {
	var longest time.Duration
	for i := range j.nodes {
		at := &j.nodes[i]
		var behind *delivery.Event
		if at.behind != nil {
			behind = at.behind.event
		} else if at.lane.disk {
			var err error
			if behind, err = ld.firstOnDisk(at.lane, j.seq+1); err != nil {
				return 0, err
			}
		}
		if behind != nil {
			longest = max(longest, now.Sub(behind.Time))
		}
	}
	return longest, nil
}

// firstOnDisk returns the first event of a lane's part on disk from a place on; nil when there is
// none, or the store cannot be asked while the delivery log fails.
func (ld *loader) firstOnDisk(l *lane, from delivery.Seq) (*delivery.Event, error) {
	if committed, err := ld.commits.records(); err != nil || !committed {
		return nil, err
	}
	records, err := ld.store.Lane(ld.store.id, l.hash, from, nil, 1)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	return ld.store.Event(ld.store.id, records[0].Seq)
}
