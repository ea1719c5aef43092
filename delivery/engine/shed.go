package engine

import (
	"fmt"
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

// excess returns by how many bytes the backlog is above the profile's share of the spool.
func (d *dispatcher) excess() int64 {
	limit := d.store.Usage().Max
	backlog, err := d.store.Backlog(d.store.id)
	if err != nil || limit <= 0 {
		return 0
	}
	return backlog.Bytes - int64(d.budget.Load().share*float64(limit))
}

// Relief of a spool that is full as a whole: the space of what is dropped comes back
// with a delay, so that it is done in steps with a pause between them.
const (
	reliefPart  = 8
	reliefPause = 10 * time.Second
)

// shed drops the profile's oldest events while it holds more than its share, or has the largest
// backlog of a spool that is full.
func (d *dispatcher) shed(now time.Time) error {
	if d.budget.Load().pauses {
		return nil
	}
	excess := d.excess()
	if excess <= 0 && !now.Before(d.shedAt) && d.engine.largestWhenFull(d) {
		backlog, err := d.store.Backlog(d.store.id)
		if err != nil {
			return fmt.Errorf("read backlog: %w", err)
		}
		excess = max(1, backlog.Bytes/reliefPart)
		d.shedAt = now.Add(reliefPause)
	}
	if excess <= 0 {
		return nil
	}
	dropped, err := d.clear(now, delivery.OutcomeDropped, delivery.ReasonShare, excess)
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
		if other == d || other.budget.Load().pauses {
			continue
		}
		if b, err := e.store.Backlog(other.store.id); err == nil && (b.Bytes > own.Bytes || b.Bytes == own.Bytes && other.store.id < d.store.id) {
			return false
		}
	}
	return true
}

// clear ends waiting deliveries with an outcome, the oldest first and never one in flight, until
// that many bytes are gone. It returns how many there were.
func (d *dispatcher) clear(now time.Time, outcome delivery.Outcome, reason string, bytes int64) (int, error) {
	// Which groups of a transaction are over is known when it has been read whole.
	for before := delivery.Seq(0); d.terms.profile.grouped() && !d.intake.reader.caughtUp() && d.intake.reader.unread()+d.intake.reader.next != before; {
		before = d.intake.reader.unread() + d.intake.reader.next
		if err := d.intake.readSome(now); err != nil {
			return 0, err
		}
	}
	d.intake.unform()
	d.queue.unloadAll()
	if committed, err := d.commits.commit(); err != nil || !committed {
		return 0, err
	}
	c := clearing{d: d, now: now, outcome: outcome, reason: reason, left: bytes}
	if err := c.records(); err != nil {
		return c.count, err
	}
	err := c.log()
	d.commits.keep(now)
	if err == nil {
		_, err = d.commits.commit()
	}
	return c.count, err
}

// clearing is one go of [dispatcher.clear].
type clearing struct {
	d       *dispatcher
	now     time.Time
	outcome delivery.Outcome
	reason  string
	left    int64
	count   int
	last    *delivery.Event // of the log that was ended
	done    bool
}

// end writes the line of a delivery and counts it off.
func (c *clearing) end(ev *delivery.Event, r *delivery.Delivery) {
	c.d.lines.event(ev, r.Members, c.outcome, c.reason, c.now)
	if c.outcome == delivery.OutcomeDropped {
		c.d.gaps.grow(ev.ID, r.Members)
	}
	c.left -= int64(r.Bytes)
	c.count += r.Events()
}

// records ends what waits on disk.
func (c *clearing) records() error {
	d := c.d
	return d.store.each([]delivery.State{delivery.Retrying, delivery.Blocked}, func(r *delivery.Delivery) (bool, error) {
		if c.left <= 0 {
			return false, nil
		}
		if d.queue.ledger.stored[r.Seq] != nil {
			return true, nil
		}
		ev, err := d.store.Event(d.store.id, r.Seq)
		if err != nil {
			return false, fmt.Errorf("read event of a waiting delivery: %w", err)
		}
		c.end(ev, r)
		d.queue.ledger.drop(r, c.now)
		d.queue.lanes.aloneOver(r)
		d.queue.lanes.recheck(r)
		return true, d.commits.ifDue(c.now)
	})
}

// log ends what was not read yet.
func (c *clearing) log() error {
	d := c.d
	if c.left <= 0 {
		return nil
	}
	grouped := d.terms.profile.grouped()
	d.intake.skip = func(entry *delivery.Entry) bool {
		// Nobody gets a part of what a transaction did.
		begun := grouped && c.last != nil && sameTransaction(c.last, entry.Event)
		if c.done = c.done || c.left <= 0 && !begun; c.done {
			return false
		}
		c.last = entry.Event
		r := delivery.Delivery{Seq: entry.Seq, Bytes: entry.Bytes}
		c.end(entry.Event, &r)
		d.queue.ledger.pass(&r, c.now)
		return true
	}
	defer func() { d.intake.skip = nil }()
	for !c.done && (c.left > 0 || grouped) {
		if err := d.intake.passBarriers(c.now); err != nil {
			return err
		}
		before := d.intake.reader.next
		if err := d.intake.readSome(c.now); err != nil {
			return err
		}
		if err := d.commits.ifDue(c.now); err != nil {
			return err
		}
		if d.intake.reader.end || d.intake.reader.next == before {
			return nil
		}
	}
	return nil
}

func (d *dispatcher) commitIfDue(now time.Time) error {
	if !d.queue.ledger.pending.due(now) {
		return nil
	}
	_, err := d.commits.commit()
	return err
}
