package engine

import (
	"context"
	"time"
)

// handOut gives workers what they may send now.
func (d *dispatcher) handOut(now time.Time, sends context.Context) {
	limit, fresh := d.gate(now)
	for d.handed < limit {
		if !d.ready(fresh) || !d.endpoint.pace.ready(now) {
			return
		}
		j := d.pick(fresh)
		if d.endpoint.spend() {
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
	if reason, _ := d.engine.waiting(); reason == "" && d.active() {
		limit, fresh = d.endpoint.gate(now, d.handed)
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
// have their own turns, see [endpoint.retriesFirst]. There is one, see ready.
func (d *dispatcher) pick(mayFresh bool) *job {
	d.turn++
	fresh := mayFresh && d.fresh.n > 0
	turn := d.turn%retryTurn == 0
	if retries, ok := d.endpoint.retriesFirst(); ok {
		turn = retries
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
