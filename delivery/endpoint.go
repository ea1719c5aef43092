package delivery

import (
	"log/slog"
	"time"
)

// Bounds of what is done to an endpoint that answers nothing but failures.
const (
	// failingAfter failures without anything else in between, an endpoint counts as failing.
	failingAfter = 5
	// failingBudget is how many deliveries may be retrying then before first tries are made
	// of others: the rest waits where it is, in order and at no cost.
	failingBudget = 32
	// pullForward is how many retries are brought forward when a failing endpoint answers again.
	pullForward = 256
	// maxProbeWait is the longest time that a failing endpoint is not tried at all.
	maxProbeWait = 5 * time.Minute
)

// endpoint is what a dispatcher knows of its receiver's health.
type endpoint struct {
	streak int       // failures since the last answer
	since  time.Time // of the streak

	// until is when the whole endpoint may be tried again, reason why not before.
	until   time.Time
	reason  string
	waiting time.Time // since when
	ours    bool      // it waits for something that a person must mend
	strikes int       // waits in a row
	probing bool      // one request at a time until one succeeds
}

func (e *endpoint) failing() bool { return e.streak >= failingAfter }

// fail counts a failure and reports whether the endpoint counts as failing from now on.
func (e *endpoint) fail(now time.Time) bool {
	if e.streak == 0 {
		e.since = now
	}
	e.streak++
	return e.streak == failingAfter
}

// strike counts a wait and returns how many there were in a row.
func (e *endpoint) strike() int {
	e.strikes++
	return e.strikes
}

// endpointWaits keeps everything from the endpoint for a time.
func (d *dispatcher) endpointWaits(now time.Time, wait time.Duration, reason string, ours bool) {
	e := &d.endpoint
	if e.reason != reason {
		e.waiting = now
		d.logger().Warn("endpoint waits", "reason", reason, "status", d.last.status, "for", wait.Round(time.Millisecond))
	}
	if until := now.Add(wait); until.After(e.until) {
		e.until = until
	}
	e.reason, e.ours, e.probing = reason, ours, true
	d.halted.Store(true)
}

// answered takes note that the endpoint does its work: what waited for it may go.
func (d *dispatcher) answered(now time.Time) {
	e := &d.endpoint
	if d.refused {
		d.pull, d.refused = true, false
	}
	if e.streak == 0 && e.reason == "" {
		return
	}
	recovered := e.failing()
	if recovered || e.reason != "" {
		d.logger().Info("endpoint answers again", "failures", e.streak)
		d.pull = d.pull || recovered || e.ours
	}
	*e = endpoint{}
}

// answeredBy is answered for replies that are no success but show that the endpoint is there.
func (d *dispatcher) answeredBy(j *job, now time.Time) {
	if j.reply.Status != 0 {
		d.answered(now)
	}
}

// probeWait is how long a failing endpoint is left alone at most: a quarter of how long it has been
// failing, so that it is found again soon after it has come back, at the cost of some dozens of requests a day.
func probeWait(failing, initial, longest time.Duration) time.Duration {
	return max(initial, min(failing/4, longest, maxProbeWait))
}

// probeDue reports whether a failing endpoint has not been tried for so long that it should be.
func (d *dispatcher) probeDue(now time.Time) bool {
	retry := &d.profile.config.Retry
	return now.Sub(d.last.failure) >= probeWait(now.Sub(d.endpoint.since), retry.Initial, retry.Max)
}

// bringForward makes retries due that wait although there is a reason to try now: the endpoint
// has recovered, nothing has tried it for long, or its refusal of our credentials is from before the start. A schedule that is a list is kept to the letter.
func (d *dispatcher) bringForward(now time.Time) error {
	limit := 0
	switch {
	case len(d.profile.config.Retry.Schedule) > 0 || d.counts[Retrying] == 0:
	case d.pull:
		limit = pullForward
	case d.refused && !d.asked:
		limit, d.asked = 1, true
	case d.endpoint.failing() && d.handed == 0 && d.probeDue(now):
		limit = 1
	}
	d.pull = false
	if limit == 0 {
		return nil
	}
	if committed, err := d.commit(); err != nil || !committed {
		return err
	}
	return d.makeDue(now, limit)
}

// makeDue rewrites the due time of retries that are not due, the next ones first.
func (d *dispatcher) makeDue(now time.Time, limit int) error {
	records, err := d.store.Due(d.id, now.Add(farFuture), d.records[:0], limit+len(d.stored))
	if err != nil {
		return err
	}
	d.records = records[:0]
	defer clear(records)
	for i := range records {
		r := &records[i]
		if !r.Due.After(now) || d.stored[r.Seq] != nil {
			continue
		}
		r.Due = now
		d.pending.put(*r)
		d.dueBy(now)
	}
	_, err = d.commit()
	return err
}

func (d *dispatcher) logger() *slog.Logger { return d.engine.logger.With("profile", d.profile.code) }
