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
func (ld *loader) turnOfAlone(now time.Time) error {
	seq, j := ld.queue.lanes.alones.first(), ld.queue.lanes.alones.job
	if seq == 0 || ld.queue.recording != 0 && seq >= ld.queue.recording || j != nil && (j.seq != seq || j.state != jobWaiting) {
		return nil
	}
	others := ld.queue.memory.jobs
	if j != nil {
		others--
	}
	if others > 0 || !ld.reader.caughtUp() && j == nil || ld.commits.stuck() {
		return nil
	}
	if committed, err := ld.commits.records(); err != nil || !committed {
		return err
	}
	var first *delivery.Delivery
	err := ld.store.Deliveries(ld.store.id, 0, []delivery.State{delivery.Retrying, delivery.Blocked}, func(r delivery.Delivery) bool {
		first = &r
		return false
	})
	switch {
	case err != nil:
		return fmt.Errorf("read waiting deliveries: %w", err)
	case first != nil && first.Seq < seq:
		return nil
	case j != nil:
		ld.queue.lanes.ready(j)
		return nil
	case first == nil || first.Seq != seq || first.State == delivery.Retrying && ld.waits(first, now) > 0:
		return nil // a dead letter, or its time has not come
	}
	whole, ok, err := ld.store.Delivery(ld.store.id, seq)
	if err != nil || !ok {
		return err
	}
	if err := ld.bring(whole); err != nil {
		return err
	}
	ld.queue.lanes.ready(ld.queue.lanes.alones.job)
	return nil
}
