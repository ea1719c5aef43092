package delivery

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"hash"
)

// Members says which events a [Delivery] carries when it is a group: those of its profile from
// Delivery.Seq to Last, all of them or those of one type of one mapping entry. It is written once
// and never changed.
type Members struct {
	ID          string // the group's, see [GroupID]
	Unit        string // type, transaction or batch
	Last        Seq
	LastID      string // the last event's
	Count       int
	Part, Parts int // from 1; both 0 where the group is whole
	// Entry and Type are set for unit type: events of others that stand in between are not members.
	Entry, Type string
	// Lanes are the hashes of all ordering keys, ascending.
	Lanes []uint64
	// Alone is set when there are more than MaxGroupLanes of them, and no Lanes: the group waits
	// for all before it and holds all behind it.
	Alone bool
}

// Bounds of a group.
const (
	// MaxGroupEvents is how many events a request carries at most.
	MaxGroupEvents = 1000
	// MaxGroupLanes is how many ordering keys a group may have before it waits for all and holds
	// all.
	MaxGroupLanes = 1000
)

// Has reports whether an event of the profile is a member, its place aside.
func (m *Members) Has(ev *Event) bool {
	return m.Unit != UnitType || ev.Type == m.Type && ev.Entry == m.Entry
}

// Events returns how many events the delivery carries.
func (d *Delivery) Events() int {
	if d.Members == nil {
		return 1
	}
	return d.Members.Count
}

// Last returns the place of the last event that the delivery carries.
func (d *Delivery) Last() Seq {
	if d.Members == nil {
		return d.Seq
	}
	return d.Members.Last
}

// Lanes returns the hashes of the lanes that the delivery stands in. few is room for those of a
// single event, so that nothing need be allocated.
func (d *Delivery) Lanes(few *[2]uint64) []uint64 {
	if d.Members != nil {
		return d.Members.Lanes
	}
	few[0], few[1] = d.Lane, d.WaitLane
	if d.Lane == d.WaitLane {
		return few[:1]
	}
	return few[:]
}

// About has a line that is about an event be about the group that begins with it.
func (r *LogRecord) About(first *Event, m *Members) {
	r.Event, r.Unit, r.Count, r.First, r.Last = m.ID, m.Unit, m.Count, first.ID, m.LastID
	r.Key, r.Flags = nil, nil
	if m.Unit != UnitType {
		r.Type, r.Table = "", ""
	}
}

// Alone reports whether the delivery waits for all before it and holds all behind it.
func (d *Delivery) Alone() bool { return d.Members != nil && d.Members.Alone }

// GroupID makes the id of a group from those of its events, in order. The zero value is ready.
type GroupID struct {
	sum hash.Hash
	buf []byte
}

// Add takes the next event's id.
func (g *GroupID) Add(event string) {
	if g.sum == nil {
		g.sum = sha256.New()
	}
	g.buf = append(binary.AppendUvarint(g.buf[:0], uint64(len(event))), event...)
	g.sum.Write(g.buf)
}

// idEncoding spells ids without dots, which Standard Webhooks forbids in them.
var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Sum returns the group's id, such as grp_ca6u7mhyqhq6oqylqqvbgc2nqm, and begins anew.
func (g *GroupID) Sum() string {
	g.buf = g.sum.Sum(g.buf[:0])
	id := idEncoding.AppendEncode(append(make([]byte, 0, 32), "grp_"...), g.buf[:16])
	g.sum.Reset()
	return string(id)
}

// NewGroup returns the whole group that requests of that unit make of events, of which there is at
// least one.
func NewGroup(unit string, events []*Event) *Group {
	var id GroupID
	for _, ev := range events {
		id.Add(ev.ID)
	}
	g := &Group{ID: id.Sum(), Unit: unit, Count: len(events), First: events[0]}
	if unit == UnitType {
		g.Type = events[0].Type
	}
	g.Events = func(yield func(*Event, error) bool) {
		for _, ev := range events {
			if !yield(ev, nil) {
				return
			}
		}
	}
	return g
}

// The units of requests.
const (
	UnitRecord      = "record"
	UnitType        = "type"
	UnitTransaction = "transaction"
	UnitBatch       = "batch"
)
