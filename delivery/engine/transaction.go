package engine

import (
	"slices"
	"time"

	"rowhook/delivery"
)

// grouped reports whether requests carry what one transaction did.
func (p *Profile) grouped() bool {
	return p.config.Unit == delivery.UnitTransaction || p.config.Unit == delivery.UnitType
}

// collectTransaction adds an entry of the log to the transaction that is being read. Its groups are
// formed when it has been read whole, so that they are the same again after a kill. What is too large to be
// held in memory until then is recorded, see large.go.
func (d *dispatcher) collectTransaction(entry *delivery.Entry, now time.Time) error {
	f := &d.forming
	if f.large != nil {
		return d.readLarge(entry, now)
	}
	if len(f.entries) > 0 && !sameTransaction(f.entries[0].Event, entry.Event) {
		if err := d.closeTransaction(now); err != nil {
			return err
		}
	}
	f.entries = append(f.entries, *entry)
	f.bytes += entry.Bytes
	if len(f.entries) > delivery.MaxGroupEvents || f.bytes > d.memory.max/4 {
		return d.enlarge(now)
	}
	return nil
}

// sameTransaction reports whether two events next to each other in the log are of one transaction.
func sameTransaction(a, b *delivery.Event) bool {
	return a.Origin.Transaction == b.Origin.Transaction && a.Origin.Position == b.Origin.Position && a.Time.Equal(b.Time)
}

// closeTransaction makes deliveries of the transaction that was read.
func (d *dispatcher) closeTransaction(now time.Time) error {
	f := &d.forming
	if f.large != nil {
		return d.endLarge(now)
	}
	if len(f.entries) == 0 {
		return nil
	}
	var jobs []*job
	var over []uint64
	lead := d.ledger.window.front + uint64(d.ledger.window.n)
	for _, members := range d.partition(f.entries) {
		members, done := d.wanting(members)
		if len(members) == 0 {
			continue
		}
		head := members[0].Seq
		if done {
			over = append(over, d.ledger.window.join(head, nil, lead))
			continue
		}
		j := d.newGroup(members)
		j.slot, j.slots = d.ledger.window.join(head, j, lead), 1
		jobs = append(jobs, j)
	}
	last := f.entries[len(f.entries)-1].Seq
	f.clear()
	d.prune(last)
	for _, place := range over {
		d.ledger.window.settle(place)
	}
	for _, j := range jobs {
		d.memory.take(j)
		d.place(j)
	}
	return d.boundSpan(now)
}

// wanting leaves out the events of a group that have a record of their own, and reports whether the group as such is over
// or has a record.
func (d *dispatcher) wanting(group []delivery.Entry) (members []delivery.Entry, over bool) {
	if len(d.settled)+len(d.heads) == 0 {
		return group, false
	}
	_, first := d.heads[group[0].Seq]
	members = slices.DeleteFunc(group, func(e delivery.Entry) bool {
		_, alone := d.settled[e.Seq]
		return alone
	})
	if len(members) > 0 {
		_, over = d.heads[members[0].Seq]
	}
	return members, first || over
}

// partition sorts a transaction's entries into groups, in the order of their first events.
func (d *dispatcher) partition(entries []delivery.Entry) [][]delivery.Entry {
	if d.profile.config.Unit == delivery.UnitTransaction {
		return [][]delivery.Entry{slices.Clone(entries)}
	}
	var groups [][]delivery.Entry
	for i := range entries {
		ev := entries[i].Event
		at := slices.IndexFunc(groups, func(g []delivery.Entry) bool { return g[0].Event.Type == ev.Type && g[0].Event.Entry == ev.Entry })
		if at < 0 {
			at = len(groups)
			groups = append(groups, nil)
		}
		groups[at] = append(groups[at], entries[i])
	}
	return groups
}

// newGroup returns a job that carries these events, which it keeps.
func (d *dispatcher) newGroup(members []delivery.Entry) *job {
	j := d.memory.newJob()
	j.members = members
	j.record = delivery.Delivery{Round: 1}
	d.describe(&j.record, members, d.profile.config.Unit)
	j.seq, j.event, j.bytes = j.record.Seq, members[0].Event, j.record.Bytes
	return j
}

// headsOf tells the first event of the group that an entry of the log belongs to, as it comes upon them in order.
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
