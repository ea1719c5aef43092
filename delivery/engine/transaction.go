package engine

import (
	"time"

	"rowhook/delivery"
)

// grouped reports whether requests carry what one transaction did.
func (p *Profile) grouped() bool {
	return p.config.Unit == delivery.UnitTransaction || p.config.Unit == delivery.UnitType
}

// collectTransaction adds an entry of the log to the transaction that is being read. Its groups are
// formed when it has been read whole, so that they are the same again after a kill. What is too
// large to be held in memory until then is recorded, see large.go.
func (in *intake) collectTransaction(entry *delivery.Entry, now time.Time) error {
	if in.reader.forming.large != nil {
		return in.readLarge(entry, now)
	}
	if in.reader.begins(entry) {
		if err := in.closeTransaction(now); err != nil {
			return err
		}
	}
	if in.reader.collectTransaction(entry, in.queue.memory.max/4) {
		return in.enlarge(now)
	}
	return nil
}

// sameTransaction reports whether two events next to each other in the log are of one transaction.
func sameTransaction(a, b *delivery.Event) bool {
	return a.Transaction == b.Transaction && a.Position == b.Position && a.Time.Equal(b.Time)
}

// closeTransaction makes deliveries of the transaction that was read.
func (in *intake) closeTransaction(now time.Time) error {
	if in.reader.forming.large != nil {
		return in.endLarge(now)
	}
	groups, last := in.reader.takeTransaction()
	if len(groups) == 0 {
		return nil
	}
	var jobs []*job
	var over []uint64
	lead := in.queue.ledger.window.front + uint64(in.queue.ledger.window.n)
	for _, members := range groups {
		members, done := in.reader.wanting(members)
		if len(members) == 0 {
			continue
		}
		head := members[0].Seq
		if done {
			over = append(over, in.queue.ledger.window.join(head, nil, lead))
			continue
		}
		j := in.newGroup(members)
		j.slot, j.slots = in.queue.ledger.window.join(head, j, lead), 1
		jobs = append(jobs, j)
	}
	in.reader.prune(last)
	for _, place := range over {
		in.queue.ledger.window.settle(place)
	}
	for _, j := range jobs {
		in.queue.take(j)
	}
	return in.boundSpan(now)
}

// headsOf tells the first event of the group that an entry of the log belongs to, as it comes upon
// them in order.
type headsOf struct {
	unit   string
	last   *delivery.Event
	groups []delivery.Entry // the first ones of the transaction
}

func (h *headsOf) of(e *delivery.Entry) delivery.Seq {
	if h.unit != delivery.UnitTransaction && h.unit != delivery.UnitType {
		return e.Seq
	}
	if h.last == nil || !sameTransaction(h.last, e.Event) {
		h.groups = h.groups[:0]
	}
	h.last = e.Event
	for _, head := range h.groups {
		if h.unit == delivery.UnitTransaction || head.Event.Type == e.Event.Type && head.Event.Entry == e.Event.Entry {
			return head.Seq
		}
	}
	h.groups = append(h.groups, *e)
	return e.Seq
}
