package engine

import (
	"fmt"
	"time"

	"rowhook/delivery"
)

// commands do to single deliveries what operators want. Which deliveries those are, and whether
// they may want it, was decided before.
type commands struct {
	code     string // of the profile
	store    *profileStore
	intake   *intake
	queue    *queue
	commits  *committer
	lines    *lines
	gaps     *gaps
	expiring delivery.Seq // a dead letter that is being removed from the store
}

// hasten makes a retry due at once.
func (cs *commands) hasten(seq delivery.Seq, now time.Time) error {
	r, err := cs.take(seq, now)
	if err != nil {
		return err
	}
	if r == nil {
		return errUntried
	}
	if r.State != delivery.Retrying {
		return errBlocked
	}
	due := now
	if !r.Since.IsZero() && r.Since.Before(now) {
		due = r.Since // before what has become due meanwhile
	}
	cs.queue.hasten(r, due, now)
	return nil
}

// take returns the record of a waiting delivery, after bringing it to disk if it is in
// memory. It returns nil for one that was not read from the log yet.
func (cs *commands) take(seq delivery.Seq, now time.Time) (*delivery.Delivery, error) {
	j := cs.queue.ledger.stored[seq]
	if j == nil {
		j = cs.queue.ledger.window.find(seq)
	}
	if j != nil && j.state == jobHanded {
		return nil, errInFlight
	}
	if j == nil && seq >= cs.intake.reader.unread() {
		cs.intake.unform() // it stays unread until its record is there
	}
	head := seq
	if j != nil {
		head = j.seq // of the group that it has become a part of
		cs.queue.unload(j)
	}
	if j != nil || cs.commits.unstoredRecord(seq) {
		if err := cs.commits.whole(); err != nil {
			return nil, fmt.Errorf("keep progress: %w", err)
		}
	}
	r, ok, err := cs.store.Delivery(cs.store.id, head)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read delivery: %w", err)
	case ok && r.State == delivery.Dead, !ok && seq < cs.intake.reader.next:
		return nil, &operatorError{"the delivery does not wait any more", fmt.Sprintf("`rowhook log --profile %s` shows what came of it", cs.code)}
	case !ok:
		return nil, nil
	}
	return &r, nil
}

// discard takes a dead letter away for good, with a line.
func (cs *commands) discard(r *delivery.Delivery, ev *delivery.Event, now time.Time) {
	cs.lines.event(ev, r.Members, delivery.OutcomeDiscarded, delivery.ReasonOperator, now)
	cs.queue.discard(r, now)
}

// revive starts another round of a dead letter, in its place in the order.
func (cs *commands) revive(r delivery.Delivery, id string, now time.Time) {
	if cs.gaps.fill(&r, id) {
		cs.commits.keep(now)
	}
	if r.Reason == delivery.ReasonFormat || r.Reason == delivery.ReasonOversize {
		r.Body, r.Head = nil, delivery.Head{} // it was never sent: what stood in its way may be gone
	}
	r.Round++
	r.Attempts, r.Refusals, r.Clock, r.Since = 0, 0, 0, time.Time{}
	cs.queue.revive(r, now)
}

// expire takes note that a dead letter is being removed from the store.
func (cs *commands) expire(r *delivery.Delivery) {
	cs.expiring = r.Seq
	cs.queue.expire(r)
}

// skip gives a waiting delivery up, by its event's id or its own.
func (cs *commands) skip(seq delivery.Seq, id string, now time.Time) error {
	r, err := cs.take(seq, now)
	if err != nil {
		return err
	}
	if r != nil && r.Events() > 1 && id != r.Members.ID {
		return &operatorError{
			fmt.Sprintf("event %s waits as one of the %d events of a request", id, r.Events()),
			"skip them all by the request's id: `rowhook queue skip " + r.Members.ID + "`",
		}
	}
	if r != nil {
		seq = r.Seq
	}
	ev, err := cs.store.Event(cs.store.id, seq)
	if err != nil {
		return fmt.Errorf("read event: %w", err)
	}
	unread := r == nil
	if unread {
		fresh := cs.intake.reader.newRecord(&delivery.Entry{Seq: seq, Event: ev, Bytes: cs.store.sizeOf(seq)})
		r = &fresh
		cs.intake.reader.know(seq)
	}
	r.Reason, r.Status, r.Error, r.Since = delivery.ReasonOperator, 0, "", now
	cs.lines.event(ev, r.Members, delivery.OutcomeDead, delivery.ReasonOperator, now)
	if cs.gaps.growKey(r, ev.ID) {
		cs.commits.keep(now)
	}
	cs.queue.giveUp(r, unread)
	return nil
}
