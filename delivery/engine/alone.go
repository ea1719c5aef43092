package engine

import (
	"fmt"
	"slices"
	"time"

	"rowhook/delivery"
)

// A group with very many ordering keys stands in no lane: it goes alone. It waits until nothing
// before it is left, and while there is one the log is not read on and records behind it are not
// loaded.
type alones struct {
	seqs []delivery.Seq // of those that are not over, or hold everything back as dead letters; ascending
	job  *job           // the one in memory; nil when all are on disk
}

// first returns the place of the first one; 0 when there is none.
func (a *alones) first() delivery.Seq {
	if len(a.seqs) == 0 {
		return 0
	}
	return a.seqs[0]
}

// holdsBack reports whether one is in the way of a delivery.
func (a *alones) holdsBack(seq delivery.Seq) bool { return len(a.seqs) > 0 && seq > a.seqs[0] }

// remove takes one away. It reports whether there was such a one.
func (a *alones) remove(seq delivery.Seq) bool {
	at, found := slices.BinarySearch(a.seqs, seq)
	if found {
		a.seqs = slices.Delete(a.seqs, at, at+1)
	}
	return found
}

func (a *alones) add(seq delivery.Seq) {
	if at, found := slices.BinarySearch(a.seqs, seq); !found {
		a.seqs = slices.Insert(a.seqs, at, seq)
	}
}

// turnOfAlone has the first group that goes alone sent, once nothing before it is left.
func (d *dispatcher) turnOfAlone(now time.Time) error {
	seq, j := d.queue.lanes.alones.first(), d.queue.lanes.alones.job
	if seq == 0 || d.queue.recording != 0 && seq >= d.queue.recording || j != nil && (j.seq != seq || j.state != jobWaiting) {
		return nil
	}
	others := d.queue.memory.jobs
	if j != nil {
		others--
	}
	if others > 0 || !d.intake.reader.caughtUp() && j == nil || d.commits.stuck() {
		return nil
	}
	if committed, err := d.commits.records(); err != nil || !committed {
		return err
	}
	var first *delivery.Delivery
	err := d.store.Deliveries(d.store.id, 0, []delivery.State{delivery.Retrying, delivery.Blocked}, func(r delivery.Delivery) bool {
		first = &r
		return false
	})
	switch {
	case err != nil:
		return fmt.Errorf("read waiting deliveries: %w", err)
	case first != nil && first.Seq < seq:
		return nil
	case j != nil:
		d.queue.lanes.ready(j)
		return nil
	case first == nil || first.Seq != seq || first.State == delivery.Retrying && d.waits(first, now) > 0:
		return nil // a dead letter, or its time has not come
	}
	whole, ok, err := d.store.Delivery(d.store.id, seq)
	if err != nil || !ok {
		return err
	}
	if err := d.load(whole); err != nil {
		return err
	}
	d.queue.lanes.ready(d.queue.lanes.alones.job)
	return nil
}
