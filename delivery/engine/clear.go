package engine

import (
	"fmt"
	"time"

	"rowhook/delivery"
)

// clearer ends deliveries that wait without an attempt: skipped or dropped, each with its line.
type clearer struct {
	store   *profileStore
	intake  *intake
	queue   *queue
	commits *committer
	lines   *lines
	gaps    *gaps
}

// clear ends waiting deliveries with an outcome, the oldest first and never one in flight, until
// that many bytes are gone. It returns how many there were.
func (cl *clearer) clear(now time.Time, outcome delivery.Outcome, reason string, bytes int64) (int, error) {
	// Which groups of a transaction are over is known when it has been read whole.
	for before := delivery.Seq(0); cl.intake.reader.profile.grouped() && !cl.intake.reader.caughtUp() && cl.intake.reader.unread()+cl.intake.reader.next != before; {
		before = cl.intake.reader.unread() + cl.intake.reader.next
		if err := cl.intake.readSome(now); err != nil {
			return 0, err
		}
	}
	cl.intake.unform()
	cl.queue.unloadAll()
	if committed, err := cl.commits.commit(); err != nil || !committed {
		return 0, err
	}
	c := clearing{clearer: cl, now: now, outcome: outcome, reason: reason, left: bytes}
	if err := c.records(); err != nil {
		return c.count, err
	}
	err := c.log()
	cl.commits.keep(now)
	if err == nil {
		_, err = cl.commits.commit()
	}
	return c.count, err
}

// clearing is one go of [clearer.clear].
type clearing struct {
	*clearer
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
	c.lines.event(ev, r.Members, c.outcome, c.reason, c.now)
	if c.outcome == delivery.OutcomeDropped {
		c.gaps.grow(ev.ID, r.Members)
	}
	c.left -= int64(r.Bytes)
	c.count += r.Events()
}

// records ends what waits on disk.
func (c *clearing) records() error {
	return c.store.each([]delivery.State{delivery.Retrying, delivery.Blocked}, func(r *delivery.Delivery) (bool, error) {
		if c.left <= 0 {
			return false, nil
		}
		if c.queue.ledger.stored[r.Seq] != nil {
			return true, nil
		}
		ev, err := c.store.Event(c.store.id, r.Seq)
		if err != nil {
			return false, fmt.Errorf("read event of a waiting delivery: %w", err)
		}
		c.end(ev, r)
		c.queue.drop(r, c.now)
		return true, c.commits.ifDue(c.now)
	})
}

// log ends what was not read yet.
func (c *clearing) log() error {
	if c.left <= 0 {
		return nil
	}
	grouped := c.intake.reader.profile.grouped()
	c.intake.skip = func(entry *delivery.Entry) bool {
		// Nobody gets a part of what a transaction did.
		begun := grouped && c.last != nil && sameTransaction(c.last, entry.Event)
		if c.done = c.done || c.left <= 0 && !begun; c.done {
			return false
		}
		c.last = entry.Event
		r := delivery.Delivery{Seq: entry.Seq, Bytes: entry.Bytes}
		c.end(entry.Event, &r)
		c.queue.ledger.pass(&r, c.now)
		return true
	}
	defer func() { c.intake.skip = nil }()
	for !c.done && (c.left > 0 || grouped) {
		if err := c.intake.passBarriers(c.now); err != nil {
			return err
		}
		before := c.intake.reader.next
		if err := c.intake.readSome(c.now); err != nil {
			return err
		}
		if err := c.commits.ifDue(c.now); err != nil {
			return err
		}
		if c.intake.reader.end || c.intake.reader.next == before {
			return nil
		}
	}
	return nil
}
