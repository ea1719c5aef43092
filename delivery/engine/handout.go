package engine

import (
	"context"
	"time"
)

// handOut gives workers what they may send now.
func (d *dispatcher) handOut(now time.Time, sends context.Context) {
	limit, fresh := d.gate(now)
	for d.crew.handed < limit {
		if !d.queue.ready(fresh) || !d.endpoint.pace.ready(now) {
			return
		}
		j := d.pick(fresh)
		if d.endpoint.spend() {
			fresh = false
		}
		d.gaps.mark(j)
		d.crew.give(j, sends)
	}
}

// gate returns how many requests may be under way now, and whether first tries may be among them.
// It tells the workers when there may be no more.
func (d *dispatcher) gate(now time.Time) (limit int, fresh bool) {
	if reason, _ := d.engine.waiting(); reason == "" && d.active() {
		limit, fresh = d.endpoint.gate(now, d.crew.handed)
	}
	d.crew.halted.Store(limit == 0 || d.crew.handed > limit) // then what was handed out ahead comes back
	return limit, fresh
}

// pick takes the next job to send, of which there is one, see [queue.ready]. Probes have turns of their
// own.
func (d *dispatcher) pick(fresh bool) *job {
	turn := d.queue.lanes.turnOfRetries()
	if retries, ok := d.endpoint.retriesFirst(); ok {
		turn = retries
	}
	return d.queue.lanes.pick(fresh, turn)
}
