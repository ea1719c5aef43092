package account

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"slices"
	"time"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/mapping"
)

// Change is what became of a change for one entry.
type Change struct {
	Time                  time.Time // of the commit
	Transaction, Position string
	Ordinal               int
	Op                    capture.Op
	Plan                  *Plan
	Moved                 bool // it gave the row another key
	Actor                 delivery.Actor
	Operation             string
	// Reason and Error are why it was parked for the entry; empty when it was not.
	Reason, Error string
	// About is set when the row is not one of the entry's, or that cannot be decided.
	About *Verdict
	// Verdicts has one for each rule of each event, in the plan's order; none where the change could
	// not be looked at.
	Verdicts []Verdict
	Events   []Event
	// Folded is set when the change stands for several.
	Folded *Folded
	// Lookups has what came of each look-up of the entry, in the plan's order, and Lists of each list;
	// none where nothing was looked up.
	Lookups []Lookup
	Lists   []List

	keys  [2]uint64 // hashes of the key now and before
	keyed bool
}

// Folded are changes that became one.
type Folded struct {
	Count   int  // how many they were
	Nothing bool // nothing was left of them
	Changes []Part
}

// Part is one of several changes that became one.
type Part struct {
	Op      capture.Op
	Ordinal int
}

// Lookup is what came of a look-up.
type Lookup struct {
	Found   mapping.Found
	Touched bool    // its row changed, and that is what the entry was asked about
	By      []Value // that it was to be found by; none where no values are kept
	// Values are those of the columns that the entry uses; none where there is no row.
	Values []Value
}

// List is what came of a list of another table's rows.
type List struct {
	Told  bool // an event was to have it
	Known bool
	Rows  int
	More  bool    // there are more than the list may have
	By    []Value // that its rows were to be found by; none where no values are kept
}

// PassedChange is a change that could not be decoded, or was read past.
type PassedChange struct {
	Time                  time.Time
	Transaction, Position string
	Ordinal               int
	Table                 string // empty where it is not known
	Reason, Error         string
	Keyed                 bool // it is known to be of the row that is looked for

	hash uint64
}

// Verdict is how a rule stood to a change.
type Verdict struct {
	Event, Rule int // by their places in the plan; 0 of a verdict about the entry
	Standing    mapping.Standing
	Reason      mapping.Reason
	Clause      int  // by its place; -1 for none
	Old         bool // the old value decided
	Values      []Value
}

// Value is a value that decided.
type Value struct {
	Name   string
	Known  delivery.Known
	Text   string
	Masked bool // Text is the keyed hash that is sent in its place
	Hidden bool // it is not told: its column is excluded, or no row data is kept
	Cut    bool // Text is its start only
}

// Event is an event that was made.
type Event struct {
	Place   int // in the plan
	ID      string
	Answers []Answer // of the plan's profiles for this event
}

// Answer is how a profile's subscriptions stood to an event.
type Answer struct {
	Match delivery.Truth
	Value Value // that decided; its name is empty where none did
}

// LeftOut tells of changes that were not written down.
type LeftOut struct {
	Entry, Table string // empty for all, of what could not be written
	From, To     time.Time
	Eventful     int64 // of them made events, or were parked
	Uneventful   int64
}

// Query selects changes.
type Query struct {
	// Keys returns the keys of the row that is looked for, as events have them, in any spelling that
	// they may have; it is asked once for each plan. None leave the plan's changes out.
	Keys func(*Plan) [][]byte
	// Table reports whether the row that is looked for may be of a table; nil for none.
	Table func(table string) bool
	// Event is the id of an event whose change is looked for, for all of its entries; empty for
	// those that Keys selects.
	Event string
	Since time.Time
	Most  int // how many are kept, the newest; 0 is all
	// Live says that a process writes: that the last one has not ended is no loss.
	Live bool
}

// Found is what the account has.
type Found struct {
	Changes []Change // in the order of commits
	// Passed are changes that could not be decoded, of the row or of rows that are not known.
	Passed []PassedChange
	More   bool // there were older ones than Most
	Begins time.Time
	// Unkeyed is how many changes of the selected plans had no known key.
	Unkeyed int
	LeftOut []LeftOut
	// Unclean are the times at which processes ended without writing their last second down.
	Unclean []time.Time
	// Damaged is how many segments could not be read to their ends.
	Damaged int
	Plans   []*Plan // all that were met, the newest of each entry and table
}

// Read looks through the account of a directory. Where ctx ends it, there is what was found so far
// beside the error.
func Read(ctx context.Context, dir string, q Query) (*Found, error) {
	s := newSearch(q)
	list, err := listSegments(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return s.found, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the account: %w", err)
	}
	for i, segment := range list {
		if err := ctx.Err(); err != nil && i > 0 {
			s.settle()
			s.decide()
			return s.found, fmt.Errorf("read the account: %w", err)
		}
		raw, err := os.ReadFile(segment.path(dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has made room for another
		}
		if err != nil {
			return nil, fmt.Errorf("read the account: %w", err)
		}
		s.segment(raw)
	}
	if !s.ended && !q.Live && !s.last.IsZero() {
		s.found.Unclean = append(s.found.Unclean, s.last)
	}
	s.settle()
	s.decide()
	return s.found, nil
}

// place is a change of an entry in the stream.
type place struct {
	transaction, position string
	ordinal               int
	entry                 string
}

func (c *Change) place() place {
	return place{c.Transaction, c.Position, c.Ordinal, c.Plan.Entry}
}

// search is a query on its way through the segments.
type search struct {
	query Query
	found *Found

	began bool      // a process has
	ended bool      // the last one, in order
	last  time.Time // that it wrote of

	hashes map[uint64]bool // of the keys that are looked for

	// Of the segment at hand.
	plans map[uint64]*selected
	tx    Change // its transaction
}

func newSearch(q Query) *search {
	return &search{query: q, found: &Found{}, hashes: map[uint64]bool{}, plans: map[uint64]*selected{}}
}

// selected is a plan, and which of its rows are looked for.
type selected struct {
	*Plan
	hashes []uint64
}

// segment reads one as far as it can be read.
func (s *search) segment(raw []byte) {
	rest, ok := bytes.CutPrefix(raw, []byte(header))
	if !ok {
		if len(raw) > 0 {
			s.found.Damaged++
		}
		return
	}
	s.plans, s.tx = map[uint64]*selected{}, Change{}
	for len(rest) > 0 {
		var records []byte
		if records, rest, ok = nextFrame(rest); !ok {
			s.found.Damaged++
			return
		}
		r := reader{b: records}
		for len(r.b) > 0 && !r.bad {
			s.record(&r)
		}
		if r.bad {
			s.found.Damaged++
			return
		}
	}
}

// nextFrame takes a frame's records off the rest of a segment.
func nextFrame(raw []byte) (records, rest []byte, ok bool) {
	if len(raw) < frameHead {
		return nil, nil, false
	}
	length, sum := binary.BigEndian.Uint32(raw), binary.BigEndian.Uint32(raw[4:])
	raw = raw[frameHead:]
	if length > maxFrame || int(length) > len(raw) {
		return nil, nil, false
	}
	records, rest = raw[:length], raw[length:]
	return records, rest, crc32.Checksum(records, castagnoli) == sum
}

// record takes one record.
func (s *search) record(r *reader) {
	switch r.byte() {
	case kindBegin:
		at := r.time()
		if s.began && !s.ended {
			s.found.Unclean = append(s.found.Unclean, s.last)
		}
		s.began, s.ended = true, false
		s.note(at)
	case kindEnd:
		s.ended = true
	case kindPlan:
		s.plan(r)
	case kindTransaction:
		s.tx = Change{Time: r.time(), Transaction: r.text(), Position: r.text()}
		s.note(s.tx.Time)
	case kindPassed:
		s.passed(r)
	case kindAbort:
		s.found.Passed = slices.DeleteFunc(s.found.Passed, func(c PassedChange) bool {
			return c.Transaction == s.tx.Transaction && c.Position == s.tx.Position
		})
		s.found.Changes = slices.DeleteFunc(s.found.Changes, func(c Change) bool {
			return c.Transaction == s.tx.Transaction && c.Position == s.tx.Position
		})
	case kindLeftOut:
		s.leftOut(r)
	case kindChange:
		s.change(r)
	default:
		r.bad = true
	}
}

// note notes a time of which there is something.
func (s *search) note(at time.Time) {
	if at.IsZero() {
		return
	}
	if s.last = at; s.found.Begins.IsZero() {
		s.found.Begins = at
	}
}

func (s *search) plan(r *reader) {
	number := r.uvarint()
	raw := r.take(r.number(uint64(len(r.b))))
	p := &selected{Plan: &Plan{}}
	if r.bad || json.Unmarshal(raw, p.Plan) != nil || len(p.Profiles) != len(p.Events) {
		r.bad = true
		return
	}
	s.plans[number] = p
	if s.query.Keys != nil {
		for _, key := range s.query.Keys(p.Plan) {
			p.hashes = append(p.hashes, hashKey(key))
			s.hashes[hashKey(key)] = true
		}
	}
	same := func(other *Plan) bool { return other.Entry == p.Entry && other.Table == p.Table }
	s.found.Plans = append(slices.DeleteFunc(s.found.Plans, same), p.Plan)
}

func (s *search) leftOut(r *reader) {
	number := r.uvarint()
	left := LeftOut{From: r.time(), To: r.time(), Eventful: int64(r.number(1 << 62)), Uneventful: int64(r.number(1 << 62))}
	p := s.plans[number]
	if number > 0 && p == nil {
		r.bad = true
		return
	}
	switch {
	case r.bad || left.To.Before(s.query.Since):
	case p == nil:
		s.found.LeftOut = append(s.found.LeftOut, left)
	case len(p.hashes) > 0 || s.query.Event != "":
		left.Entry, left.Table = p.Entry, p.Table
		s.found.LeftOut = append(s.found.LeftOut, left)
	}
}

// mostPassed bounds the changes that could not be decoded which are told.
const mostPassed = 1000

// passed takes a change that could not be decoded, if it may be of the row. Which keys are looked for is
// known when all is read.
func (s *search) passed(r *reader) {
	c := PassedChange{Time: s.tx.Time, Transaction: s.tx.Transaction, Position: s.tx.Position}
	keyed := r.byte()&hasKey != 0
	if c.Ordinal = r.number(1 << 40); keyed {
		c.Keyed, c.hash = true, r.uint64()
	}
	c.Table, c.Reason, c.Error = r.text(), r.text(), r.text()
	if r.bad || s.query.Table == nil || !s.query.Table(c.Table) || c.Time.Before(s.query.Since) {
		return
	}
	s.found.Passed = slices.DeleteFunc(s.found.Passed, func(other PassedChange) bool { // it came again
		return other.Transaction == c.Transaction && other.Position == c.Position && other.Ordinal == c.Ordinal
	})
	if s.found.Passed = append(s.found.Passed, c); len(s.found.Passed) > 2*mostPassed {
		if len(s.hashes) > 0 {
			s.decide()
		}
		s.settlePassed()
	}
}

// change takes a change if it is looked for.
func (s *search) change(r *reader) {
	head := r.take(lengthBytes)
	if r.bad {
		return
	}
	body := reader{b: r.take(int(head[0])<<16 | int(head[1])<<8 | int(head[2]))}
	if r.bad {
		return
	}
	c := s.tx
	p := s.plans[body.uvarint()]
	if p == nil {
		r.bad = true
		return
	}
	c.Plan = p.Plan
	if c.Op = capture.Op(body.byte()); c.Op < capture.Insert || c.Op > capture.Read {
		r.bad = true
		return
	}
	c.Ordinal = body.number(1 << 40)
	bits := body.byte()
	c.readKeys(&body, bits)
	if body.bad {
		r.bad = true
		return
	}
	if s.tx.Time.Before(s.query.Since) || !s.wants(p, &c) {
		return
	}
	c.read(&body, bits)
	if body.bad || len(body.b) > 0 {
		r.bad = true
		return
	}
	if s.query.Event != "" && !slices.ContainsFunc(c.Events, func(e Event) bool { return e.ID == s.query.Event }) {
		return
	}
	s.keep(c)
}

// wants reports whether a change's row is looked for.
func (s *search) wants(p *selected, c *Change) bool {
	switch {
	case s.query.Event != "":
		return true
	case len(p.hashes) == 0:
		return false
	case c.Op == capture.Truncate:
		return true // it is about all rows
	case !c.keyed:
		s.found.Unkeyed++
		return false
	}
	return slices.Contains(p.hashes, c.keys[0]) || c.Moved && slices.Contains(p.hashes, c.keys[1])
}

// keep keeps a change, in place of what was written of it before: after an unclean end the stream
// brings some again.
func (s *search) keep(c Change) {
	if i := slices.IndexFunc(s.found.Changes, func(other Change) bool { return other.place() == c.place() }); i >= 0 {
		s.found.Changes[i] = c
		return
	}
	s.found.Changes = append(s.found.Changes, c)
	if most := s.query.Most; most > 0 && len(s.found.Changes) > 2*most {
		s.settle()
	}
}

// decide drops what is of other rows. Where no plan tells the key that is looked for, nothing is known
// to be.
func (s *search) decide() {
	if len(s.hashes) == 0 {
		for i := range s.found.Passed {
			s.found.Passed[i].Keyed = false
		}
		return
	}
	s.found.Passed = slices.DeleteFunc(s.found.Passed, func(c PassedChange) bool { return c.Keyed && !s.hashes[c.hash] })
}

// settlePassed lets the oldest that could not be decoded go, and says so.
func (s *search) settlePassed() {
	if over := len(s.found.Passed) - mostPassed; over > 0 {
		s.found.Passed, s.found.More = slices.Clone(s.found.Passed[over:]), true
	}
}

// settle lets the oldest go beyond what is wanted.
func (s *search) settle() {
	if over := len(s.found.Changes) - s.query.Most; s.query.Most > 0 && over > 0 {
		s.found.Changes = append([]Change(nil), s.found.Changes[over:]...)
		s.found.More = true
	}
}
