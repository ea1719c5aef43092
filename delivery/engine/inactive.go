package engine

import (
	"context"
	"fmt"
	"math"
	"time"

	"rowhook/delivery"
)

// inactive is how far a profile that is not active has looked at what came for it meanwhile.
type inactive struct {
	told     delivery.Seq // below it, what waits has its line
	stored   delivery.Seq // told, as far as the lines are in the log for good
	next     time.Time
	end      bool            // nothing new at appended
	appended <-chan struct{} // closed when there is
}

// stepInactive is step for a profile that is not active: what comes is held or skipped, each with
// its line, and an endpoint that has not agreed is asked. While all deliveries wait nothing of this
// is done, for the wait may be for knowing where we are.
func (d *dispatcher) stepInactive(now time.Time, ctx context.Context) error {
	d.crew.halt()
	d.intake.unform()
	if hold, _ := d.engine.waiting(); hold != "" {
		return nil
	}
	if err := d.lookAtNew(now); err != nil {
		return err
	}
	d.ask(now, ctx)
	return nil
}

// lookAtNew holds or skips what came, at most every commitDelay.
func (d *dispatcher) lookAtNew(now time.Time) error {
	r := &d.inactive
	if r.end {
		select {
		case <-r.appended:
			r.end = false
		default:
			return nil
		}
	}
	if now.Before(r.next) {
		return nil
	}
	r.next = now.Add(commitDelay)
	if !d.activation.skips() {
		return d.tellHeld(now)
	}
	return d.skipNew(now)
}

// skipNew skips what came, unless the endpoint of a new profile is being asked for the first time:
// nothing is to be lost if it agrees.
func (d *dispatcher) skipNew(now time.Time) error {
	if d.activation.mayAgree() {
		return nil
	}
	_, err := d.clear(now, delivery.OutcomeSkipped, d.activation.idleReason(), math.MaxInt64)
	r := &d.inactive
	r.end, r.appended, r.told = d.intake.reader.end, d.intake.reader.appended, d.intake.reader.next
	return err
}

// leaveInactive is called before a profile that is not active may become so: what came until now is
// skipped even where its turn has not come yet, so that nothing of it is sent.
func (d *dispatcher) leaveInactive(now time.Time) error {
	if hold, _ := d.engine.waiting(); hold != "" || d.active() || !d.activation.skips() {
		return nil
	}
	return d.skipNew(now)
}

// tellHeld writes the line of each delivery that was not begun and now waits for its profile. The
// events stay where they are.
func (d *dispatcher) tellHeld(now time.Time) error {
	r := &d.inactive
	if lowest, _ := d.queue.ledger.window.progress(d.intake.reader.next, nil); r.told < lowest {
		r.told = lowest
	}
	entries, next, end, err := d.store.Read(d.store.id, r.told, d.intake.reader.chunk[:0], readChunks*readChunk, d.queue.memory.max)
	if err != nil {
		return fmt.Errorf("read spool at %d: %w", r.told, err)
	}
	d.intake.reader.chunk = entries
	for i := range entries {
		if d.untouched(entries[i].Seq) {
			d.lines.event(entries[i].Event, nil, delivery.OutcomeHeld, d.activation.idleReason(), now)
		}
	}
	clear(entries)
	r.told, r.end = next, end
	if end {
		r.appended = d.store.Appended(next)
	}
	if r.told == d.inactive.stored {
		return nil
	}
	d.queue.ledger.pending.result(now)
	committed, err := d.commits.commit()
	if err != nil || !committed {
		return err
	}
	d.inactive.stored = r.told
	d.commits.keep(now)
	return nil
}

// untouched reports whether an entry at or above the lowest unsettled one has neither an outcome, a
// record nor a worker.
func (d *dispatcher) untouched(seq delivery.Seq) bool {
	if seq >= d.intake.reader.next {
		return !d.intake.reader.known(seq)
	}
	j := d.queue.ledger.window.find(seq)
	return j != nil && j.state != jobHanded
}

// inactiveWakeAt is when a profile that is not active has something to do; zero when only news can
// change that.
func (d *dispatcher) inactiveWakeAt() time.Time {
	if hold, _ := d.engine.waiting(); hold != "" {
		return time.Time{}
	}
	at := time.Time{}
	if !d.inactive.end {
		at = d.inactive.next
	}
	if next := d.activation.challengeAt(); !next.IsZero() && (at.IsZero() || next.Before(at)) {
		at = next
	}
	return at
}
