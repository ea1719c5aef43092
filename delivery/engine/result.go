package engine

import (
	"time"

	"rowhook/delivery"
)

// eventTries is how often an event is sent that its receiver refuses.
const eventTries = 3

// handleResult decides what follows from what a worker brought back.
func (d *dispatcher) handleResult(j *job, now time.Time) error {
	carried := d.gaps.back(j)
	if j.err != nil {
		return j.err
	}
	if !j.sent {
		j.gap = ""
		d.queue.lanes.requeue(j)
		return nil
	}
	d.queue.ledger.pending.reply(&j.reply, now)
	if d.terms.profile.dry() && j.reply.Class == delivery.ClassOK {
		d.lines.endings[Ending{Outcome: delivery.OutcomeDryRun}] += int64(j.record.Events())
		d.queue.done(j)
		return nil
	}
	d.tally.last.clock(&j.reply)
	d.tally.duration.observe(j.reply.Duration, 1)
	if j.reply.Class == delivery.ClassOK {
		if j.gap != "" {
			d.gaps.told(j, carried)
			d.commits.keep(now)
		}
		d.answered(&j.reply, now)
		d.tally.accepted(j, now)
		d.queue.done(j)
		return nil
	}
	d.tally.failed(&j.reply, now)
	r := &j.record
	if r.Since.IsZero() {
		r.Since = now
	}
	r.Reason, r.Status, r.Error = j.reply.Reason, j.reply.Status, j.reply.Error
	return d.failed(j, now)
}

// failed is handleResult for all that is not a success.
func (d *dispatcher) failed(j *job, now time.Time) error {
	r := &j.record
	switch j.reply.Class {
	case delivery.ClassOurs, delivery.ClassDead:
		d.answeredBy(&j.reply, now)
		if cuts := cutsOf(j); cuts != nil {
			return d.retrier.split(j, cuts, now)
		}
		d.retrier.die(j, now)
	case delivery.ClassEvent:
		d.answeredBy(&j.reply, now)
		if cuts := cutsOf(j); cuts != nil {
			return d.retrier.split(j, cuts, now)
		}
		r.Refusals++
		if r.Refusals >= eventTries {
			d.retrier.die(j, now)
			return nil
		}
		return d.retrier.retry(j, now)
	case delivery.ClassThrottle:
		d.leftAlone(d.endpoint.throttled(&j.reply, now), now)
		return d.retrier.retry(j, now)
	case delivery.ClassAuth, delivery.ClassProfile:
		d.leftAlone(d.endpoint.needsHand(&j.reply, now), now)
		d.retrier.postpone(j, delivery.OutcomeRetrying, d.endpoint.outage.Until)
	case delivery.ClassGone:
		reason := j.reply.Reason
		d.retrier.postpone(j, delivery.OutcomeHeld, now)
		d.deactivate(now, reason)
	case delivery.ClassStopped:
		d.retrier.postpone(j, delivery.OutcomeInterrupted, now)
	default: // endpoint, transient, network
		d.leftAlone(d.endpoint.failing(j.seq, &j.reply, now), now)
		return d.retrier.retry(j, now)
	}
	return nil
}
