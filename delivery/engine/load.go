package engine

import (
	"fmt"
	"slices"
	"time"

	"rowhook/delivery"
)

// loader brings records of an active profile from disk back into memory, when they are due or when
// their turn in the order has come. It also knows the records of a start, and makes them due.
type loader struct {
	profile  *Profile // in force
	store    *profileStore
	reader   *reader
	queue    *queue
	commits  *committer
	endpoint *endpoint
	records  []delivery.Delivery // buffer
	rehold   bool                // on_dead has changed
	pull     bool                // retries are to be brought forward
	dueLater bool                // retries that are due are not in the store yet
	through  int                 // commits that the store had when something was postponed
}

func (ld *loader) follow(p *Profile) { ld.profile = p }

// mayLoad reports whether records may be brought from disk into memory. A record must not be loaded
// while older events of its lane may be unread in the log, as is the case after a start.
func (ld *loader) mayLoad() bool {
	return ld.reader.caughtUp() && !ld.commits.stuck() && ld.queue.memory.room()
}

// dueWanted reports whether retries are to be loaded when they are due. While the breaker is open
// one is enough.
func (ld *loader) dueWanted(now time.Time, underWay int) bool {
	if ld.endpoint.down() && !ld.endpoint.listed() {
		return ld.queue.lanes.retries.n == 0 && ld.endpoint.mayProbe(now, underWay)
	}
	return ld.queue.lanes.retries.n < ld.profile.config.Concurrency
}

// load brings records from disk into memory that are due or whose turn has come, with so many
// requests under way.
func (ld *loader) load(now time.Time, underWay int) error {
	if ld.postponed() {
		ld.queue.lanes.resume()
		if ld.dueLater {
			ld.dueLater = false
			ld.queue.ledger.dueBy(now)
		}
	}
	due := ld.dueWanted(now, underWay) && !ld.queue.ledger.nextDue.IsZero() && !ld.queue.ledger.nextDue.After(now)
	if len(ld.queue.lanes.waking) == 0 && !due || !ld.mayLoad() {
		return nil
	}
	if committed, err := ld.commits.hurry(); err != nil || !committed {
		return err
	}
	if due && len(ld.queue.lanes.waking) == 0 {
		if err := ld.loadDue(now); err != nil {
			return err
		}
	}
	return ld.loadLanes(now)
}

// postponed reports whether something was postponed and the store has more by now.
func (ld *loader) postponed() bool {
	return (len(ld.queue.lanes.later) > 0 || ld.dueLater) && ld.through != ld.commits.through
}

// postpone has a lane be looked at when the store has more.
func (ld *loader) postpone(l *lane) {
	ld.through = ld.commits.through
	ld.queue.lanes.postpone(l)
}

// dueAt is when load has something to do if nothing happens until then; zero for never.
func (ld *loader) dueAt(now time.Time, underWay int) time.Time {
	switch {
	case !ld.mayLoad():
		return time.Time{}
	case len(ld.queue.lanes.waking) > 0, ld.postponed():
		return now
	case ld.dueWanted(now, underWay):
		return ld.queue.ledger.nextDue
	}
	return time.Time{}
}

// loadDue looks for retries that are due: they wake their lanes, or are loaded where there is no
// order.
func (ld *loader) loadDue(now time.Time) error {
	limit := len(ld.queue.ledger.stored) + dueChunk
	for p := range ld.commits.unstored {
		limit += len(p.touched.records)
	}
	records, err := ld.store.Due(ld.store.id, now.Add(farFuture), ld.records[:0], limit)
	if err != nil {
		return fmt.Errorf("read due retries: %w", err)
	}
	ld.records = records[:0]
	defer clear(records)
	ld.queue.ledger.nextDue = time.Time{}
	for p := range ld.commits.unstored {
		for i := range p.puts {
			switch r := &p.puts[i]; {
			case r.State != delivery.Retrying:
			case r.Due.After(now):
				ld.queue.ledger.dueBy(r.Due)
			default:
				ld.dueLater, ld.through = true, ld.commits.through
			}
		}
	}
	found := 0
	for i := range records {
		r := &records[i]
		if ld.commits.unstoredRecord(r.Seq) {
			continue
		}
		if wait := ld.waits(r, now); wait > 0 {
			ld.queue.ledger.dueBy(now.Add(wait))
			continue
		}
		if ld.queue.ledger.stored[r.Seq] != nil || r.Alone() || ld.queue.heldBack(r.Seq) {
			continue
		}
		if ld.profile.ordered() {
			var few [2]uint64
			for _, hash := range r.Lanes(&few) {
				l := ld.queue.lanes.of(hash)
				l.disk, l.asleep = true, false
				if l.head == nil && !l.waking {
					ld.queue.lanes.wake(l)
					found++
				}
			}
			continue
		}
		if err := ld.bring(*r); err != nil {
			return err
		}
		found++
	}
	switch {
	case len(records) < limit || !ld.queue.ledger.nextDue.IsZero():
	case found > 0:
		ld.queue.ledger.nextDue = now
	default:
		ld.queue.ledger.nextDue = now.Add(commitDelay)
	}
	return nil
}

// waits returns how long a retry is still to wait, 0 or less when it is due. A due time on disk is
// the wall clock's, which may have been set back since: what lies further ahead than any wait after
// so many attempts has waited for long enough.
func (ld *loader) waits(r *delivery.Delivery, now time.Time) time.Duration {
	wait, most := r.Due.Sub(now), ld.profile.schedule.wait(r.Attempts+1, 1)
	if wait > max(most, ld.endpoint.left(now)) {
		return 0
	}
	return wait
}

const (
	dueChunk = 64
	// farFuture is beyond all waits.
	farFuture = 100 * 365 * 24 * time.Hour
)

// bring brings a record into memory.
func (ld *loader) bring(r delivery.Delivery) error {
	ev, err := ld.store.Event(ld.store.id, r.Seq)
	if err != nil {
		return fmt.Errorf("read event of a waiting delivery: %w", err)
	}
	ld.queue.load(r, ev)
	return nil
}

// laneChunk is how many records of a lane are loaded at a time.
const laneChunk = 32

// loadLanes looks at the lanes that were woken, while there is room. Those of which the store does not
// know yet what was decided come later.
func (ld *loader) loadLanes(now time.Time) error {
	for len(ld.queue.lanes.waking) > 0 && ld.queue.memory.room() {
		if err := ld.loadLane(ld.queue.lanes.woken(), now); err != nil {
			return err
		}
	}
	return nil
}

// loadLane brings a lane's first records on disk into memory, if they may go.
func (ld *loader) loadLane(l *lane, now time.Time) error {
	if l.head != nil || !l.disk {
		ld.queue.lanes.forget(l)
		return nil // woken again when it has drained
	}
	if ld.commits.unstoredLane(l.hash) {
		ld.postpone(l)
		return nil
	}
	chunk := laneChunk
	if ld.profile.config.Unit != delivery.UnitRecord {
		chunk = 1 // one that stands in several lanes is not loaded behind another
	}
	records, err := ld.store.Lane(ld.store.id, l.hash, l.lowest, ld.records[:0], chunk)
	if err != nil {
		return fmt.Errorf("read lane: %w", err)
	}
	ld.records = records[:0]
	defer clear(records)
	if len(records) == 0 {
		l.disk, l.asleep, l.lowest = false, false, 0
		ld.queue.lanes.forget(l)
		return nil
	}
	l.lowest = records[0].Seq
	for i := range records {
		r := &records[i]
		if l.holdsBack(r.Seq) || ld.queue.heldBack(r.Seq) {
			return nil
		}
		if wait := ld.waits(r, now); r.State == delivery.Retrying && wait > 0 {
			if i == 0 {
				l.asleep = true
				ld.queue.ledger.dueBy(now.Add(wait))
			}
			return nil
		}
		if r.Members != nil || r.Lane != r.WaitLane {
			if i > 0 {
				return nil
			}
			var few [2]uint64
			if slices.ContainsFunc(r.Lanes(&few), ld.commits.unstoredLane) {
				ld.postpone(l)
				return nil
			}
			if first, err := ld.firstInOthers(l, r); err != nil || !first {
				return err
			}
		}
		if err := ld.bring(*r); err != nil {
			return err
		}
	}
	return nil
}

// firstInOthers reports whether a record that stands in several lanes is first in those that are
// not l. When it is not in one, that lane will come upon it.
func (ld *loader) firstInOthers(l *lane, r *delivery.Delivery) (bool, error) {
	var few [2]uint64
	lanes := r.Lanes(&few)
	for _, hash := range lanes {
		other := ld.queue.lanes.of(hash)
		other.disk = true
		if other != l && (other.head != nil || other.holdsBack(r.Seq)) {
			return false, nil
		}
	}
	for _, hash := range lanes {
		other := ld.queue.lanes.of(hash)
		if other == l || other.lowest == r.Seq {
			continue
		}
		records, err := ld.store.Lane(ld.store.id, hash, other.lowest, nil, 1)
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
