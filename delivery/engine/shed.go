package engine

import (
	"time"

	"rowhook/delivery"
)

// tick looks once a second after what is not driven by results.
func (d *dispatcher) tick(now time.Time) error {
	if d.loader.pull {
		if err := d.loader.bringForward(now); err != nil {
			return err
		}
	}
	switch {
	case !d.busy():
		d.tickAt = time.Time{}
		return nil
	case d.tickAt.IsZero():
		d.tickAt = now.Add(tickDelay)
		return nil
	case now.Before(d.tickAt):
		return nil
	}
	d.tickAt = now.Add(tickDelay)
	d.lines.tellBuried(now, d.tally.last.reason)
	if d.lines.sumUp(now, false) {
		d.queue.ledger.pending.by(now.Add(commitDelay)) // which flushes the log
	}
	return d.shed(now)
}

// busy reports whether anything waits, or might.
func (d *dispatcher) busy() bool {
	return !d.active() || len(d.lines.flood.kinds) > 0 || d.queue.ledger.window.n > 0 || d.intake.reader.forming.any() || !d.intake.reader.end || d.queue.ledger.waiting() > 0
}

// shed drops the profile's oldest events while it holds more than its share, or has the largest
// backlog of a spool that is full.
func (d *dispatcher) shed(now time.Time) error {
	excess, err := d.share.tooMuch(now, func() bool { return d.engine.largestWhenFull(d) })
	if err != nil || excess <= 0 {
		return err
	}
	dropped, err := d.clearer.clear(now, delivery.OutcomeDropped, delivery.ReasonShare, excess)
	if dropped > 0 {
		d.logger.Error("spool share is used up: oldest events are dropped", "events", dropped)
	}
	return err
}

// largestWhenFull reports whether the spool is full, history aside, and d has the largest
// backlog of those that may shed.
func (e *Engine) largestWhenFull(d *dispatcher) bool {
	usage := e.store.Usage()
	if usage.Max <= 0 || usage.Bytes-usage.History < usage.Max {
		return false
	}
	own, err := e.store.Backlog(d.store.id)
	if err != nil || own.Bytes == 0 {
		return false
	}
	for _, other := range e.all() {
		if other == d || other.share.pauses() {
			continue
		}
		if b, err := e.store.Backlog(other.store.id); err == nil && (b.Bytes > own.Bytes || b.Bytes == own.Bytes && other.store.id < d.store.id) {
			return false
		}
	}
	return true
}
