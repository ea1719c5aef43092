package delivery

import (
	"context"
	"time"
)

// handOut gives workers what they may send now.
func (d *dispatcher) handOut(now time.Time, sends context.Context) {
	if !d.mayHandOut(now) {
		return
	}
	limit := 2 * d.profile.config.Concurrency
	if d.endpoint.probing {
		limit = 1
	}
	for d.handed < limit {
		j := d.pick(now)
		if j == nil {
			return
		}
		j.state = jobHanded
		d.handed++
		d.markGap(j)
		if d.handed > d.workers && d.workers < d.profile.config.Concurrency {
			d.workers++
			d.helpers.Go(func() { d.work(sends) })
		}
		d.handout <- j
	}
}

// mayHandOut reports whether anything may be sent, and tells the workers.
func (d *dispatcher) mayHandOut(now time.Time) bool {
	reason, _ := d.engine.waiting()
	may := reason == "" && d.active() && !d.endpoint.until.After(now)
	d.halted.Store(!may)
	return may
}

// retryTurn gives retries every fifth hand-out while there are first tries.
const retryTurn = 5

// pick takes the next job to send: first tries before retries, which have a share of their own.
func (d *dispatcher) pick(now time.Time) *job {
	d.dropGone()
	d.turn++
	fresh := d.fresh.n > 0 && d.mayTryFresh(now)
	if d.retries.n > 0 && (!fresh || d.turn%retryTurn == 0) {
		return d.retries.pop()
	}
	if fresh {
		return d.fresh.pop()
	}
	return nil
}

// mayTryFresh reports whether first tries may be made. While the endpoint fails there are few of them:
// up to a number of retrying deliveries, and then one now and then to see whether it is back.
func (d *dispatcher) mayTryFresh(now time.Time) bool {
	return !d.endpoint.failing() || d.counts[Retrying]+int64(d.handed) < failingBudget ||
		d.handed == 0 && d.probeDue(now)
}

// dropGone takes jobs out of the queues' fronts that were evicted while they stood there.
func (d *dispatcher) dropGone() {
	for _, q := range [2]*jobQueue{&d.fresh, &d.retries} {
		for q.head != nil && q.head.state == jobGone {
			d.reuse(q.pop())
		}
	}
}
