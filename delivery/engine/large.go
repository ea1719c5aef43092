package engine

import (
	"fmt"
	"slices"
	"time"

	"rowhook/delivery"
)

// A transaction that is too large to be held in memory is read twice: first to know how many parts
// its groups have, then to write a record of each part. The events are read again when the parts
// are sent. Until all records are there none is loaded, and the profile's state says that they are
// being written: after a crash they are written anew.

// large is a transaction that is being recorded.
type large struct {
	first  *delivery.Event
	base   delivery.Seq // the first entry's place
	last   delivery.Seq // the place of the last one that was read
	again  bool         // it is read for the second time
	groups []*largeGroup
	put    []delivery.Delivery // what was recorded: place, members and state
}

// largeGroup is one of its groups.
type largeGroup struct {
	entry, typ string
	parts      []int // how many events each part has
	part       int   // the one at hand
	n          int   // events in it
	size       int64 // of its body
	sizes      sizer
	record     delivery.Delivery
	over       bool // it was over before the transaction turned out to be large
	id         delivery.GroupID
	lanes      []uint64
}

// enlarge goes on with a transaction that has turned out to be large.
func (in *intake) enlarge(now time.Time) error {
	f := &in.reader.forming
	l := &large{first: f.entries[0].Event, base: f.entries[0].Seq}
	entries := slices.Clone(f.entries)
	f.clear()
	f.large = l
	for i := range entries {
		if err := in.readLarge(&entries[i], now); err != nil {
			return err
		}
	}
	return nil
}

// readLarge takes the next entry of the log while a large transaction is read.
func (in *intake) readLarge(entry *delivery.Entry, now time.Time) error {
	l := in.reader.forming.large
	if !sameTransaction(l.first, entry.Event) {
		if err := in.endLarge(now); err != nil {
			return err
		}
		if in.reader.forming.large != nil {
			return nil // it is read again
		}
		return in.collectTransaction(entry, now)
	}
	l.last = entry.Seq
	if in.reader.known(entry.Seq) {
		return nil
	}
	g := l.group(in.reader.profile, entry.Event)
	if !l.again {
		g.measure(entry.Event, in.reader.profile)
		return nil
	}
	if in.queue.recording == 0 {
		in.queue.recording = l.base
		in.commits.keep(now)
	}
	if r := in.reader.recordMember(l, g, entry); r != nil {
		in.queue.ledger.record(r)
		l.put = append(l.put, delivery.Delivery{Seq: r.Seq, State: r.State, Members: r.Members})
	}
	if !in.queue.ledger.pending.due(now) {
		return nil
	}
	_, err := in.commits.commit()
	return err
}

// group returns the group that an event belongs to.
func (l *large) group(p *Profile, ev *delivery.Event) *largeGroup {
	for _, g := range l.groups {
		if p.config.Unit == delivery.UnitTransaction || g.typ == ev.Type && g.entry == ev.Entry {
			return g
		}
	}
	g := &largeGroup{typ: ev.Type, entry: ev.Entry, sizes: newSizer(p)}
	l.groups = append(l.groups, g)
	return g
}

// measure adds an event to the part at hand, or begins the next one with it.
func (g *largeGroup) measure(ev *delivery.Event, p *Profile) {
	if p.splits() {
		size := g.sizes.of(ev) // without what is away
		if ev.Away != nil {
			size += ev.PayloadSize()
		}
		if g.n > 0 && (g.n == delivery.MaxGroupEvents || g.sizes.base+g.size+size > p.config.MaxBody) {
			g.parts = append(g.parts, g.n)
			g.n, g.size = 0, 0
		}
		g.size += size
	}
	g.n++
}

// endLarge takes note that a large transaction was read to its end: for the first time, then it
// is read again, or for the second.
func (in *intake) endLarge(now time.Time) error {
	l := in.reader.forming.large
	if !l.again {
		for _, g := range l.groups {
			g.parts = append(g.parts, g.n)
			g.n, g.size = 0, 0
		}
		l.again = true
		in.reader.next, in.reader.end = l.base, false
		return nil
	}
	in.reader.forming.large = nil
	in.reader.prune(l.last)
	in.queue.recording = 0
	in.commits.keep(now)
	in.queue.ledger.pending.result(now)
	for i := range l.put {
		if in.queue.lanes.put(&l.put[i]); !in.reader.profile.ordered() {
			in.queue.ledger.dueBy(now)
		}
	}
	return nil
}

// recordMember adds an event to the record of the part at hand. It returns that when it is
// complete, unless the part is over.
func (r *reader) recordMember(l *large, g *largeGroup, entry *delivery.Entry) *delivery.Delivery {
	if g.n == 0 {
		m := &delivery.Members{Unit: r.profile.config.Unit, Count: g.parts[g.part]}
		if m.Unit == delivery.UnitType {
			m.Type, m.Entry = g.typ, g.entry
		}
		if len(g.parts) > 1 {
			m.Part, m.Parts = g.part+1, len(g.parts)
		}
		g.record = delivery.Delivery{Seq: entry.Seq, Members: m, Round: 1}
		_, g.over = r.heads[entry.Seq]
		g.lanes = g.lanes[:0]
	}
	g.n++
	m := g.record.Members
	m.Last, m.LastID = entry.Seq, entry.Event.ID
	g.record.Bytes += entry.Bytes
	g.id.Add(entry.Event.ID)
	g.addLanes(entry.Event)
	if g.n < m.Count {
		return nil
	}
	m.ID = g.id.Sum()
	g.n = 0
	g.part++
	if g.over {
		return nil
	}
	r.takeLanes(l, g)
	rec := &g.record
	rec.State = delivery.Blocked
	if !r.profile.ordered() {
		rec.State, rec.Due = delivery.Retrying, time.Now()
	}
	return rec
}

// addLanes adds an event's lanes. Duplicates go when there are many.
func (g *largeGroup) addLanes(ev *delivery.Event) {
	if g.record.Members.Alone {
		return
	}
	own, wait := lanesOf(ev)
	if g.lanes = append(g.lanes, own); wait != own {
		g.lanes = append(g.lanes, wait)
	}
	if len(g.lanes) > 4*delivery.MaxGroupLanes {
		g.compact()
	}
}

func (g *largeGroup) compact() {
	slices.Sort(g.lanes)
	g.lanes = slices.Compact(g.lanes)
	g.record.Members.Alone = len(g.lanes) > delivery.MaxGroupLanes
}

// takeLanes completes a record. When there are very many lanes already, it goes alone.
func (r *reader) takeLanes(l *large, g *largeGroup) {
	m := g.record.Members
	if !r.profile.ordered() {
		m.Alone = false
		return
	}
	if g.compact(); m.Alone || l.lanes()+len(g.lanes) > maxLanes {
		m.Alone = true
		return
	}
	m.Lanes = slices.Clone(g.lanes)
}

// lanes returns how many lanes what was recorded stands in at most.
func (l *large) lanes() (n int) {
	for i := range l.put {
		n += len(l.put[i].Members.Lanes)
	}
	return n
}

// unrecord takes back what was recorded of a large transaction that is not complete.
func (in *intake) unrecord(l *large) {
	in.queue.ledger.unrecord(l.base, l.put)
	if in.queue.recording != 0 {
		in.queue.recording = 0
		in.commits.keep(time.Now())
	}
}

// unrecordStored takes away what a crash left of a large transaction that was being recorded.
func (in *intake) unrecordStored() error {
	base := in.queue.recording
	if base == 0 {
		return nil
	}
	err := in.store.Deliveries(in.store.id, base, nil, func(r delivery.Delivery) bool {
		if r.Members != nil && r.Attempts == 0 && r.State != delivery.Dead {
			in.queue.ledger.pending.remove(&r)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("read what was recorded of a transaction: %w", err)
	}
	in.queue.recording = 0
	in.commits.keep(time.Now())
	if err := in.commits.whole(); err != nil {
		return fmt.Errorf("begin to record a transaction anew: %w", err)
	}
	return nil
}
