package engine

import (
	"fmt"
	"time"

	"rowhook/delivery"
)

// mayLoad reports whether records may be brought from disk into memory. A record must not be loaded
// while older events of its lane may be unread in the log, as is the case after a start.
func (d *dispatcher) mayLoad() bool {
	return d.active() && d.intake.reader.caughtUp() && !d.commits.stuck() && d.queue.memory.room()
}

// dueWanted reports whether retries are to be loaded when they are due. While the breaker is open
// one is enough.
func (d *dispatcher) dueWanted(now time.Time) bool {
	if d.endpoint.down() && !d.endpoint.listed() {
		return d.queue.lanes.retries.n == 0 && d.endpoint.mayProbe(now, d.crew.handed)
	}
	return d.queue.lanes.retries.n < d.terms.profile.config.Concurrency
}

// loadRecords brings records from disk into memory that are due or whose turn has come.
func (d *dispatcher) loadRecords(now time.Time) error {
	due := d.dueWanted(now) && !d.queue.ledger.nextDue.IsZero() && !d.queue.ledger.nextDue.After(now)
	if len(d.queue.lanes.waking) == 0 && !due || !d.mayLoad() {
		return nil
	}
	if committed, err := d.commits.records(); err != nil || !committed {
		return err
	}
	if due && len(d.queue.lanes.waking) == 0 {
		if err := d.loadDue(now); err != nil {
			return err
		}
	}
	return d.loadLanes(now)
}

// loadDue looks for retries that are due: they wake their lanes, or are loaded where there is no
// order.
func (d *dispatcher) loadDue(now time.Time) error {
	limit := len(d.queue.ledger.stored) + dueChunk
	records, err := d.store.Due(d.store.id, now.Add(farFuture), d.records[:0], limit)
	if err != nil {
		return fmt.Errorf("read due retries: %w", err)
	}
	d.records = records[:0]
	defer clear(records)
	d.queue.ledger.nextDue = time.Time{}
	found := 0
	for i := range records {
		r := &records[i]
		if wait := d.waits(r, now); wait > 0 {
			d.queue.ledger.dueBy(now.Add(wait))
			continue
		}
		if d.queue.ledger.stored[r.Seq] != nil || r.Alone() || d.queue.heldBack(r.Seq) {
			continue
		}
		if d.terms.profile.ordered() {
			var few [2]uint64
			for _, hash := range r.Lanes(&few) {
				l := d.queue.lanes.of(hash)
				l.disk, l.asleep = true, false
				if l.head == nil && !l.waking {
					d.queue.lanes.wake(l)
					found++
				}
			}
			continue
		}
		if err := d.load(*r); err != nil {
			return err
		}
		found++
	}
	switch {
	case len(records) < limit || !d.queue.ledger.nextDue.IsZero():
	case found > 0:
		d.queue.ledger.nextDue = now
	default:
		d.queue.ledger.nextDue = now.Add(commitDelay)
	}
	return nil
}

// waits returns how long a retry is still to wait, 0 or less when it is due. A due time on disk is
// the wall clock's, which may have been set back since: what lies further ahead than any wait after
// so many attempts has waited for long enough.
func (d *dispatcher) waits(r *delivery.Delivery, now time.Time) time.Duration {
	wait, most := r.Due.Sub(now), d.terms.profile.schedule.wait(r.Attempts+1, 1)
	if wait > max(most, d.endpoint.left(now)) {
		return 0
	}
	return wait
}

const (
	dueChunk = 64
	// farFuture is beyond all waits.
	farFuture = 100 * 365 * 24 * time.Hour
)

// load brings a record into memory.
func (d *dispatcher) load(r delivery.Delivery) error {
	ev, err := d.store.Event(d.store.id, r.Seq)
	if err != nil {
		return fmt.Errorf("read event of a waiting delivery: %w", err)
	}
	d.queue.load(r, ev)
	return nil
}

// laneChunk is how many records of a lane are loaded at a time.
const laneChunk = 32

// loadLanes looks at the lanes that were woken, while there is room. What was decided
// before must have been committed: it reads the store.
func (d *dispatcher) loadLanes(now time.Time) error {
	for len(d.queue.lanes.waking) > 0 && d.queue.memory.room() {
		if err := d.loadLane(d.queue.lanes.woken(), now); err != nil {
			return err
		}
	}
	return nil
}

// loadLane brings a lane's first records on disk into memory, if they may go.
func (d *dispatcher) loadLane(l *lane, now time.Time) error {
	if l.head != nil || !l.disk {
		d.queue.lanes.forget(l)
		return nil // woken again when it has drained
	}
	chunk := laneChunk
	if d.terms.profile.config.Unit != delivery.UnitRecord {
		chunk = 1 // one that stands in several lanes is not loaded behind another
	}
	records, err := d.store.Lane(d.store.id, l.hash, l.lowest, d.records[:0], chunk)
	if err != nil {
		return fmt.Errorf("read lane: %w", err)
	}
	d.records = records[:0]
	defer clear(records)
	if len(records) == 0 {
		l.disk, l.asleep, l.lowest = false, false, 0
		d.queue.lanes.forget(l)
		return nil
	}
	l.lowest = records[0].Seq
	for i := range records {
		r := &records[i]
		if l.holdsBack(r.Seq) || d.queue.heldBack(r.Seq) {
			return nil
		}
		if wait := d.waits(r, now); r.State == delivery.Retrying && wait > 0 {
			if i == 0 {
				l.asleep = true
				d.queue.ledger.dueBy(now.Add(wait))
			}
			return nil
		}
		if r.Members != nil || r.Lane != r.WaitLane {
			first, err := d.firstInOthers(l, r)
			if err != nil {
				return err
			}
			if i > 0 || !first {
				return nil
			}
		}
		if err := d.load(*r); err != nil {
			return err
		}
	}
	return nil
}

// firstInOthers reports whether a record that stands in several lanes is first in those that are
// not l. When it is not in one, that lane will come upon it.
func (d *dispatcher) firstInOthers(l *lane, r *delivery.Delivery) (bool, error) {
	var few [2]uint64
	lanes := r.Lanes(&few)
	for _, hash := range lanes {
		other := d.queue.lanes.of(hash)
		other.disk = true
		if other != l && (other.head != nil || other.holdsBack(r.Seq)) {
			return false, nil
		}
	}
	for _, hash := range lanes {
		other := d.queue.lanes.of(hash)
		if other == l || other.lowest == r.Seq {
			continue
		}
		records, err := d.store.Lane(d.store.id, hash, other.lowest, nil, 1)
		if err != nil {
			return false, fmt.Errorf("read lane: %w", err)
		}
		if len(records) > 0 {
			other.lowest = records[0].Seq
		}
		if len(records) == 0 || records[0].Seq != r.Seq {
			return false, nil
		}
	}
	return true, nil
}
