package engine

import (
	"cmp"
	"fmt"
	"time"

	"rowhook/delivery"
)

// retrier decides what becomes of a delivery whose attempt failed: another attempt, its parts, or a
// dead letter. It writes the attempt's line and moves the delivery. What the failure means for the
// endpoint was decided before.
type retrier struct {
	profile  *Profile // in force
	store    *profileStore
	reader   *reader
	queue    *queue
	commits  *committer
	loader   *loader
	endpoint *endpoint
	gaps     *gaps
	lines    *lines
	tally    *tally
}

func (rt *retrier) follow(p *Profile) { rt.profile = p }

// retry spends an attempt and has the next one wait for the schedule, or gives up. The event's
// clock stands still while the breaker is open.
func (rt *retrier) retry(j *job, now time.Time) error {
	r, down := &j.record, rt.endpoint.down()
	if !down {
		r.Clock += j.reply.Duration
	}
	wait, over := rt.profile.schedule.next(r.Attempts+1, r.Clock, vary())
	if over {
		rt.die(j, now)
		return nil
	}
	if !down {
		var err error
		if wait, over, err = rt.patience(j, wait, now); err != nil {
			return err
		}
		if over {
			rt.givesWay(j, now)
			return nil
		}
		r.Clock += wait
	}
	due := rt.endpoint.notBefore(now.Add(wait))
	rt.lines.attempt(j, delivery.OutcomeRetrying, due)
	r.Attempts++
	rt.queue.wait(j, due)
	return nil
}

// patience bounds the next wait of a delivery that has failed so that its key does not wait for it
// longer than max_block of its clock, and reports when that time is over. A list of waits is not
// cut short.
func (rt *retrier) patience(j *job, wait time.Duration, now time.Time) (next time.Duration, over bool, err error) {
	limit := rt.profile.config.MaxBlock
	if limit <= 0 || !rt.profile.ordered() || rt.endpoint.listed() || j.record.Clock+wait < limit {
		return wait, false, nil
	}
	waited, err := rt.loader.keptWaiting(j, now)
	left := limit - min(waited, j.record.Clock)
	return min(wait, left), left <= 0, err
}

// givesWay makes a dead letter of a delivery that has kept its key waiting for too long.
func (rt *retrier) givesWay(j *job, now time.Time) {
	last := cmp.Or(j.reply.Error, j.reply.Reason)
	j.reply.Reason = delivery.ReasonMaxBlock
	j.reply.Error = fmt.Sprintf("kept its key waiting for %v, at last by: %s", rt.profile.config.MaxBlock, last)
	j.record.Reason, j.record.Error = j.reply.Reason, j.reply.Error
	rt.die(j, now)
}

// die gives a delivery up after an attempt.
func (rt *retrier) die(j *job, now time.Time) {
	rt.lines.attempt(j, delivery.OutcomeDead, time.Time{})
	j.record.Attempts++
	rt.bury(j, now)
}

// bury makes a dead letter of a job.
func (rt *retrier) bury(j *job, now time.Time) {
	j.record.Since, j.record.Due = now, time.Time{}
	rt.lines.buried++
	rt.lines.tellBuried(now, rt.tally.last.reason)
	if rt.gaps.growKey(&j.record, j.event.ID) {
		rt.commits.keep(now)
	}
	rt.queue.bury(j, rt.profile.holdsKeys())
}

// postpone has a delivery wait without spending an attempt.
func (rt *retrier) postpone(j *job, outcome delivery.Outcome, due time.Time) {
	next := due
	if outcome != delivery.OutcomeRetrying {
		next = time.Time{}
	}
	rt.lines.attempt(j, outcome, next)
	rt.queue.wait(j, due)
}
