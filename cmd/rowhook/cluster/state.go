package cluster

import (
	"bytes"
	"errors"
	"maps"
	"slices"

	"rowhook/delivery"
)

// captureSeat is the seat of whoever captures. The other seats are the profiles' codes, none of which
// is empty.
const captureSeat = ""

// Why a message has no effect. All replicas say the same of the same message.
var (
	errRepeated  = errors.New("the message came before")
	errStranger  = errors.New("the process speaks for no machine of the cluster")
	errClaimed   = errors.New("the seat is another machine's")
	errBroken    = errors.New("the message's beginning is missing")
	errBegun     = errors.New("the cluster has begun already")
	errNameTaken = errors.New("the machine's name is another process's")
	errUnseen    = errors.New("the machine has renewed its lease since")
	errOpen      = errors.New("a transaction is open that may have events of the profile")
)

// ErrTermOver is why a change of the source's state is not applied: this machine does not capture, or
// not any more.
var ErrTermOver = errors.New("another machine captures")

// state is what all replicas know of the cluster besides the spool, as of one message of the stream.
// It is a function of the messages up to there and of nothing else: no clock, no machine.
type state struct {
	lineage string   // of the cluster; empty before its genesis
	origin  string   // the snapshot that it began with; empty for none
	turns   []turned // the last ones, at most maxTurns
	note    []byte   // of the last turn
	seq     uint64   // of the last message
	digest  digest   // of the last message
	members map[string]*member
	seats   map[string]*seat
	floor   uint64 // epochs begin above it: of another cluster the spool has had them
	open    uint64 // first envelope of the open transaction's parts; 0 when none is open
	latest  snapshot

	// waits reports whether the spool has events that wait for a profile, as of this state; nil for a
	// spool that has none. A start may ask with more events than were there, never with fewer.
	waits func(code string) bool
}

// turned is a place in the log from which on events are made by a config. Two of them may be the same
// place.
type turned struct {
	seq    uint64 // of the message
	config string // digest
	from   delivery.Seq
}

// maxTurns is how many turns are remembered. A profile that nobody has delivered for longer has no
// barriers at those before.
const maxTurns = 16

// lastTurn is the last turn; zero before there was one.
func (s *state) lastTurn() turned {
	if len(s.turns) == 0 {
		return turned{}
	}
	return s.turns[len(s.turns)-1]
}

// member is a machine of the cluster.
type member struct {
	incarnation uint64
	renewal     uint64 // sequence number of its last join or renew
	about       about
	lanes       [laneCount]laneState
}

// laneState is how far a lane has come.
type laneState struct {
	n     uint64 // of the last envelope
	first uint64 // first envelope of the message that has not ended; 0 when there is none
	body  []byte // of it, as far as it is there
}

// seat is what one machine at a time has: the capture, or a profile's deliveries.
type seat struct {
	owner       string // empty for nobody
	incarnation uint64 // of the owner
	epoch       uint64 // grows by one with each owner
	left        string // the machine that gave it back last; empty when it was taken away
}

func newState() *state {
	return &state{members: map[string]*member{}, seats: map[string]*seat{}}
}

// effect is what a message leads to.
type effect struct {
	seq     uint64
	first   uint64 // first envelope of the message
	from    envelope
	message message // nil while it has not ended
	refused error   // why the message has no effect
	abort   bool    // the open transaction's parts are to be dropped
	items   []bool  // of a progress: which have an effect
	table   bool    // members, seats or turns are others than before
	turned  bool    // it is a turn, whose place is the end of the log
	seats   []string
}

// apply takes the next message of the stream. An error means that this build cannot go on.
func (s *state) apply(seq uint64, raw []byte) (effect, error) {
	s.seq, s.digest = seq, digestOf(raw)
	f, err := s.read(seq, raw)
	if err == nil && f.message != nil {
		f.refused = s.act(&f, s.speaker(&f.from))
	}
	return f, err
}

// read notes an envelope and decodes the message that ends with it.
func (s *state) read(seq uint64, raw []byte) (f effect, err error) {
	f = effect{seq: seq, first: seq}
	if f.from, err = decodeEnvelope(raw); err != nil {
		return f, err
	}
	body := f.from.body
	if m := s.speaker(&f.from); m != nil {
		if body, f.refused = m.lanes[f.from.lane].take(&f); body == nil {
			return f, nil
		}
	} else if f.from.more || f.from.goesOn {
		f.refused = errStranger
		return f, nil
	}
	f.message, err = decodeMessage(body)
	return f, err
}

// speaker returns the member that an envelope's process speaks for; nil for none.
func (s *state) speaker(e *envelope) *member {
	if m := s.members[e.machine]; m != nil && m.incarnation == e.incarnation {
		return m
	}
	return nil
}

// take notes an envelope and returns the body of the message that ends with it; nil for none.
func (l *laneState) take(f *effect) ([]byte, error) {
	e := &f.from
	switch {
	case e.n <= l.n:
		return nil, errRepeated
	case !e.goesOn:
		l.first, l.body = 0, nil
	case l.first == 0 || e.n != l.n+1:
		l.n, l.first, l.body = e.n, 0, nil
		return nil, errBroken
	}
	l.n = e.n
	if l.first != 0 {
		f.first = l.first
	}
	if e.more {
		l.first, l.body = f.first, append(l.body, e.body...)
		return nil, nil
	}
	body := e.body
	if l.first != 0 {
		body = append(l.body, body...)
	}
	l.first, l.body = 0, nil
	if body == nil {
		body = []byte{}
	}
	return body, nil
}

// act applies a message. m is who says it; nil for a process that has not joined.
func (s *state) act(f *effect, m *member) error {
	switch msg := f.message.(type) {
	case genesis:
		return s.begin(f, msg)
	case join:
		return s.join(f, msg)
	}
	if m == nil {
		return errStranger
	}
	switch msg := f.message.(type) {
	case renew:
		m.renewal, m.about, f.table = f.seq, msg.about, true
	case claim:
		return s.claim(f, m, msg)
	case release:
		for _, name := range msg.seats {
			if t := s.seats[name]; t != nil && s.owns(t, f.from.machine, m) {
				s.vacate(f, name, t)
				t.left = f.from.machine
			}
		}
	case gone:
		return s.leave(f, msg)
	case progress:
		f.items = make([]bool, len(msg.items))
		for i, item := range msg.items {
			t := s.seats[item.code]
			f.items[i] = item.code != captureSeat && t != nil && t.epoch == item.epoch && s.owns(t, f.from.machine, m)
		}
		if !slices.Contains(f.items, true) {
			return delivery.ErrNotOwner
		}
	case retire:
		// Who has not taken the last turn does not know whether the config has the profile back.
		if last := s.lastTurn(); last.seq != 0 && m.about.Config != last.config {
			return errClaimed
		}
		return s.retire(f, m, msg)
	case snapshot:
		if msg.covers > s.latest.covers {
			s.latest, f.table = msg, true
		}
	default:
		return s.capture(f, m)
	}
	return nil
}

// capture applies a message of the machine that captures.
func (s *state) capture(f *effect, m *member) error {
	var epoch uint64
	switch msg := f.message.(type) {
	case part:
		epoch = msg.epoch
	case abort:
		epoch = msg.epoch
	case meta:
		epoch = msg.epoch
	case unpark:
		epoch = msg.epoch
	case forgetKept:
		epoch = msg.epoch
	case turn:
		epoch = msg.epoch
	}
	if t := s.seats[captureSeat]; t == nil || t.epoch != epoch || !s.owns(t, f.from.machine, m) {
		return ErrTermOver
	}
	switch msg := f.message.(type) {
	case part:
		if msg.commits {
			s.open = 0
		} else if s.open == 0 {
			s.open = f.first
		}
	case abort:
		s.abort(f)
	case turn:
		s.turns = append(s.turns[max(len(s.turns)-maxTurns+1, 0):len(s.turns):len(s.turns)], turned{seq: f.seq, config: msg.config})
		s.note = bytes.Clone(msg.note)
		f.turned, f.table = true, true
	}
	return nil
}

func (s *state) abort(f *effect) {
	f.abort = f.abort || s.open != 0
	s.open = 0
}

func (s *state) begin(f *effect, msg genesis) error {
	if s.lineage != "" {
		return errBegun
	}
	s.lineage, s.origin, f.table = msg.lineage, msg.snapshot, true
	return nil
}

// join lets a process speak for its machine. What the process before it owned is free: either that
// has ended, since its state directory is the new one's, or its lease has.
func (s *state) join(f *effect, msg join) error {
	name := f.from.machine
	if m := s.members[name]; m != nil {
		if msg.previous != m.incarnation && msg.seen != m.renewal {
			return errNameTaken
		}
		s.vacateAll(f, name)
	}
	s.members[name] = &member{incarnation: f.from.incarnation, renewal: f.seq, about: msg.about}
	s.members[name].lanes[f.from.lane].n = f.from.n
	f.table = true
	return nil
}

// leave takes a machine off the list.
func (s *state) leave(f *effect, msg gone) error {
	m := s.members[msg.machine]
	if m == nil {
		return nil
	}
	if msg.machine != f.from.machine && msg.seen != m.renewal {
		return errUnseen
	}
	s.vacateAll(f, msg.machine)
	delete(s.members, msg.machine)
	f.table = true
	return nil
}

// claim gives seats to the machine that says it, as far as they are free or their owner's lease has
// ended: that is so if the renewal that the claimer has waited out is still the owner's last.
func (s *state) claim(f *effect, m *member, msg claim) error {
	var refused error
	for _, c := range msg.seats {
		t := s.seats[c.seat]
		if t == nil {
			t = &seat{epoch: s.floor}
		}
		if c.epoch != t.epoch || !m.about.Roles.may(c.seat) || !s.free(t, c.seen) {
			refused = errClaimed
			continue
		}
		s.seats[c.seat] = t
		s.vacate(f, c.seat, t)
		t.owner, t.incarnation, t.left = f.from.machine, m.incarnation, ""
		t.epoch++
	}
	if len(f.seats) > 0 {
		return nil
	}
	return refused
}

// retire frees the seat of a profile that is forgotten. Who says so owns it, or nobody does and nobody
// has since: so dead letters are as they were when it looked. Events may have come.
func (s *state) retire(f *effect, m *member, msg retire) error {
	t := s.seats[msg.code]
	if t == nil {
		t = &seat{}
	}
	switch {
	case msg.code == captureSeat || msg.epoch != t.epoch || t.owner != "" && !s.owns(t, f.from.machine, m):
		return errClaimed
	case s.open != 0:
		return errOpen
	case s.waits != nil && s.waits(msg.code):
		return delivery.ErrWaiting
	}
	if t.owner != "" {
		s.vacate(f, msg.code, t)
	}
	return nil
}

// free reports whether nobody owns a seat who may still be within the lease: seen is the renewal that
// the claimer has waited out.
func (s *state) free(t *seat, seen uint64) bool {
	if t.owner == "" {
		return seen == 0
	}
	owner := s.members[t.owner]
	return owner != nil && seen == owner.renewal
}

// owns reports whether the seat is that process's.
func (s *state) owns(t *seat, machine string, m *member) bool {
	return t.owner == machine && t.incarnation == m.incarnation
}

func (s *state) vacate(f *effect, name string, t *seat) {
	t.owner, t.incarnation, t.left = "", 0, ""
	f.table = true
	f.seats = append(f.seats, name)
	if name == captureSeat {
		s.abort(f)
	}
}

func (s *state) vacateAll(f *effect, machine string) {
	for _, name := range slices.Sorted(maps.Keys(s.seats)) {
		if t := s.seats[name]; t.owner == machine {
			s.vacate(f, name, t)
		}
	}
}

// owned returns the epoch in which a process has a seat; 0 when it has not.
func (s *state) owned(name, machine string, incarnation uint64) uint64 {
	if t := s.seats[name]; t != nil && t.owner == machine && t.incarnation == incarnation {
		return t.epoch
	}
	return 0
}

// resume is the first message that a replica needs which has this state and starts again: what
// belongs to an open transaction, and the beginnings of messages, are not kept.
func (s *state) resume() uint64 {
	from := s.seq + 1
	if s.open != 0 {
		from = min(from, s.open)
	}
	for _, m := range s.members {
		for _, l := range m.lanes {
			if l.first != 0 {
				from = min(from, l.first)
			}
		}
	}
	return from
}

// again is who reads the messages from resume to the last once more: of them a replica that starts
// again needs the parts of the open transaction, and the beginnings of messages.
func (s *state) again() *state {
	a := newState()
	for name, m := range s.members {
		a.members[name] = &member{incarnation: m.incarnation}
	}
	return a
}

// reopens reports whether what was read again is a part of the open transaction.
func (s *state) reopens(f *effect) bool {
	msg, ok := f.message.(part)
	return ok && s.open != 0 && f.first >= s.open && s.owned(captureSeat, f.from.machine, f.from.incarnation) == msg.epoch
}

// recover takes over the beginnings of messages from who has read them again.
func (s *state) recover(a *state) {
	for name, m := range s.members {
		for i := range m.lanes {
			if l := &m.lanes[i]; l.first != 0 {
				l.body = bytes.Clone(a.members[name].lanes[i].body)
			}
		}
	}
}
