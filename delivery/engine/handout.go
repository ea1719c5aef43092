package engine

import (
	"context"
	"time"
)

// handOut gives workers what they may send now.
func (d *dispatcher) handOut(now time.Time, sends context.Context) {
	limit, fresh := d.gate(now)
	for d.handed < limit {
		if !d.ready(fresh) || !d.pace.ready(now) {
			return
		}
		d.pace.spend()
		j := d.pick(fresh)
		if d.state.Outage != nil {
			d.breaker.probes++
			fresh = false
		}
		j.state = jobHanded
		d.handed++
		d.markGap(j)
		if d.handed > d.workers && d.workers < d.profile.config.Concurrency {
			d.workers++
			handout := d.handout
			d.helpers.Go(func() { d.work(sends, handout) })
		}
		d.handout <- j
	}
}

// gate returns how many requests may be under way now, and whether first tries may be among them. It tells the workers
// when there may be no more.
func (d *dispatcher) gate(now time.Time) (limit int, fresh bool) {
	concurrency, o := d.profile.config.Concurrency, d.state.Outage
	reason, _ := d.engine.waiting()
	switch {
	case reason != "" || !d.active():
	case o == nil && d.breaker.window > 0:
		limit, fresh = d.breaker.window, true
	case o == nil && d.pace.limits():
		limit, fresh = concurrency, true
	case o == nil:
		limit, fresh = 2*concurrency, true // the workers find the next one waiting
	case d.listed() && !o.Whole:
		limit, fresh = concurrency, d.mayProbe(now)
	case !o.Until.After(now):
		limit, fresh = 1, true
	}
	d.halted.Store(limit == 0 || d.handed > limit) // then what was handed out ahead comes back
	return limit, fresh
}

// retryTurn gives retries every fifth hand-out while there are first tries.
const retryTurn = 5

// ready reports whether there is a job to pick.
func (d *dispatcher) ready(fresh bool) bool {
	d.dropGone()
	return d.retries.n > 0 || fresh && d.fresh.n > 0
}

// pick takes the next job to send: first tries before retries, which have a share of their own. Probes
// begin with a retry, which is older, and then take turns: it may be the event that fails. There is one, see ready.
func (d *dispatcher) pick(mayFresh bool) *job {
	d.turn++
	fresh := mayFresh && d.fresh.n > 0
	turn := d.turn%retryTurn == 0
	if d.state.Outage != nil {
		turn = d.breaker.probes%2 == 0
	}
	if d.retries.n > 0 && (!fresh || turn) {
		return d.retries.pop()
	}
	return d.fresh.pop()
}

// dropGone takes jobs out of the queues' fronts that were evicted while they stood there.
func (d *dispatcher) dropGone() {
	for _, q := range [2]*jobQueue{&d.fresh, &d.retries} {
		for q.head != nil && q.head.state == jobGone {
			d.reuse(q.pop())
		}
	}
}
