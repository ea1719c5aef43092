package engine

import (
	"time"

	"rowhook/delivery"
)

// cutsOf returns where a delivery that failed is to be divided into several: how many of its
// events come before each place. A batch that its receiver refuses is halved, so that in the end
// the event that it refuses stands alone, and so is one that is too large. Other groups that are
// too large are sent in numbered parts.
func cutsOf(j *job) []int {
	m, oversize := j.record.Members, j.reply.Class == delivery.ClassOurs && j.reply.Reason == delivery.ReasonOversize
	switch {
	case m == nil || m.Count == 1:
		return nil
	case m.Unit != delivery.UnitBatch && oversize:
		return j.cuts
	case m.Unit == delivery.UnitBatch && (oversize || j.reply.Class == delivery.ClassEvent):
		return []int{m.Count / 2}
	}
	return nil
}

// split puts the parts of a group in its place. Each is a delivery of its own.
func (rt *retrier) split(j *job, cuts []int, now time.Time) error {
	entries, err := rt.store.membersOf(j, rt.queue.memory.max)
	if err != nil {
		return err
	}
	if j.reply.Class != delivery.ClassOurs { // otherwise nothing was sent
		rt.lines.attempt(j, delivery.OutcomeRetrying, now)
	}
	parts := make([]delivery.Delivery, 0, len(cuts)+1)
	from := 0
	for i, to := range append(cuts, len(entries)) {
		r := rt.part(j, entries[from:to], now)
		if r.Members.Unit != delivery.UnitBatch {
			r.Members.Part, r.Members.Parts = i+1, len(cuts)+1
		}
		parts = append(parts, r)
		from = to
	}
	rt.queue.split(j, parts, now)
	return nil
}

// part returns the record of a part of a delivery, which waits in the delivery's place.
func (rt *retrier) part(j *job, entries []delivery.Entry, now time.Time) delivery.Delivery {
	r := delivery.Delivery{State: delivery.Blocked, Round: j.record.Round, Clock: j.record.Clock}
	if !rt.profile.ordered() {
		r.State, r.Due = delivery.Retrying, now
	}
	rt.reader.describe(&r, entries, j.record.Members.Unit)
	return r
}
