package engine

import (
	"time"

	"rowhook/delivery"
)

// reasonLog is shown while the delivery log cannot be written.
const reasonLog = "log"

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
		if cuts := d.cutsOf(j); cuts != nil {
			return d.split(j, cuts, now)
		}
		d.die(j, now)
	case delivery.ClassEvent:
		d.answeredBy(&j.reply, now)
		if cuts := d.cutsOf(j); cuts != nil {
			return d.split(j, cuts, now)
		}
		r.Refusals++
		if r.Refusals >= eventTries {
			d.die(j, now)
			return nil
		}
		return d.retry(j, now)
	case delivery.ClassThrottle:
		d.leftAlone(d.endpoint.throttled(&j.reply, now), now)
		return d.retry(j, now)
	case delivery.ClassAuth, delivery.ClassProfile:
		d.leftAlone(d.endpoint.needsHand(&j.reply, now), now)
		d.postpone(j, delivery.OutcomeRetrying, d.endpoint.outage.Until)
	case delivery.ClassGone:
		reason := j.reply.Reason
		d.postpone(j, delivery.OutcomeHeld, now)
		d.deactivate(now, reason)
	case delivery.ClassStopped:
		d.postpone(j, delivery.OutcomeInterrupted, now)
	default: // endpoint, transient, network
		d.leftAlone(d.endpoint.failing(j.seq, &j.reply, now), now)
		return d.retry(j, now)
	}
	return nil
}

// die gives a delivery up after an attempt.
func (d *dispatcher) die(j *job, now time.Time) {
	d.lines.attempt(j, delivery.OutcomeDead, time.Time{})
	j.record.Attempts++
	d.bury(j, now)
}

// bury makes a dead letter of a job.
func (d *dispatcher) bury(j *job, now time.Time) {
	j.record.Since, j.record.Due = now, time.Time{}
	d.lines.buried++
	d.lines.tellBuried(now, d.tally.last.reason)
	d.noteGap(&j.record, j.event.ID, now)
	d.queue.bury(j, d.terms.profile.holdsKeys())
}

// noteGap takes note that the receiver will not get a delivery that was given up.
func (d *dispatcher) noteGap(r *delivery.Delivery, id string, now time.Time) {
	if d.gaps.growKey(r, id) {
		d.commits.keep(now)
	}
}

// retry spends an attempt and has the next one wait for the schedule, or gives up. The event's
// clock stands still while the breaker is open.
func (d *dispatcher) retry(j *job, now time.Time) error {
	r, down := &j.record, d.endpoint.down()
	if !down {
		r.Clock += j.reply.Duration
	}
	wait, over := d.terms.profile.schedule.next(r.Attempts+1, r.Clock, vary())
	if over {
		d.die(j, now)
		return nil
	}
	if !down {
		var err error
		if wait, over, err = d.patience(j, wait, now); err != nil {
			return err
		}
		if over {
			d.givesWay(j, now)
			return nil
		}
		r.Clock += wait
	}
	due := d.endpoint.notBefore(now.Add(wait))
	d.lines.attempt(j, delivery.OutcomeRetrying, due)
	r.Attempts++
	d.queue.wait(j, due)
	return nil
}

// postpone has a delivery wait without spending an attempt.
func (d *dispatcher) postpone(j *job, outcome delivery.Outcome, due time.Time) {
	next := due
	if outcome != delivery.OutcomeRetrying {
		next = time.Time{}
	}
	d.lines.attempt(j, outcome, next)
	d.queue.wait(j, due)
}
