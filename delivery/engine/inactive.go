package engine

import (
	"context"
	"fmt"
	"math"
	"time"

	"rowhook/delivery"
)

// inactive holds or skips what comes for a profile while it is not active, each with its line.
type inactive struct {
	store      *profileStore
	reader     *reader
	queue      *queue
	commits    *committer
	lines      *lines
	clearer    *clearer
	activation *activation
	looked
}

// looked is how far a profile that is not active has looked at what came for it meanwhile.
type looked struct {
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
	if err := d.inactive.lookAtNew(now); err != nil {
		return err
	}
	d.ask(now, ctx)
	return nil
}

// lookAtNew holds or skips what came, at most every commitDelay.
func (r *inactive) lookAtNew(now time.Time) error {
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
	if !r.activation.skips() {
		return r.tellHeld(now)
	}
	return r.skipNew(now)
}

// skipNew skips what came, unless the endpoint of a new profile is being asked for the first time:
// nothing is to be lost if it agrees.
func (r *inactive) skipNew(now time.Time) error {
	if r.activation.mayAgree() {
		return nil
	}
	_, err := r.clearer.clear(now, delivery.OutcomeSkipped, r.activation.idleReason(), math.MaxInt64)
	r.end, r.appended, r.told = r.reader.end, r.reader.appended, r.reader.next
	return err
}

// leaveInactive is called before a profile that is not active may become so: what came until now is
// skipped even where its turn has not come yet, so that nothing of it is sent.
func (d *dispatcher) leaveInactive(now time.Time) error {
	if hold, _ := d.engine.waiting(); hold != "" || d.active() || !d.activation.skips() {
		return nil
	}
	return d.inactive.skipNew(now)
}

// tellHeld writes the line of each delivery that was not begun and now waits for its profile. The
// events stay where they are.
func (r *inactive) tellHeld(now time.Time) error {
	if lowest, _ := r.queue.ledger.window.progress(r.reader.next, nil); r.told < lowest {
		r.told = lowest
	}
	entries, next, end, err := r.store.Read(r.store.id, r.told, r.reader.chunk[:0], readChunks*readChunk, r.queue.memory.max)
	if err != nil {
		return fmt.Errorf("read spool at %d: %w", r.told, err)
	}
	r.reader.chunk = entries
	for i := range entries {
		if r.untouched(entries[i].Seq) {
			r.lines.event(entries[i].Event, nil, delivery.OutcomeHeld, r.activation.idleReason(), now)
		}
	}
	clear(entries)
	r.told, r.end = next, end
	if end {
		r.appended = r.store.Appended(next)
	}
	if r.told == r.stored {
		return nil
	}
	r.queue.ledger.pending.result(now)
	committed, err := r.commits.commit()
	if err != nil || !committed {
		return err
	}
	r.stored = r.told
	r.commits.keep(now)
	return nil
}

// untouched reports whether an entry at or above the lowest unsettled one has neither an outcome, a
// record nor a worker.
func (r *inactive) untouched(seq delivery.Seq) bool {
	if seq >= r.reader.next {
		return !r.reader.known(seq)
	}
	j := r.queue.ledger.window.find(seq)
	return j != nil && j.state != jobHanded
}

// wakeAt is when a profile that is not active has something to do; zero when only news can change
// that.
func (r *inactive) wakeAt() (at time.Time) {
	if !r.end {
		at = r.next
	}
	if next := r.activation.challengeAt(); !next.IsZero() && (at.IsZero() || next.Before(at)) {
		at = next
	}
	return at
}
