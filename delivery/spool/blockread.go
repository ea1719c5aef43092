package spool

import (
	"bytes"
	"math"
	"slices"
	"time"

	"rowhook/delivery"
)

// logged reads the events of one value of the log, a block or a single event, one after the other.
// What next returned is valid until it is called again.
type logged struct {
	seq   delivery.Seq // of the event at hand
	value []byte       // a single event's record; nil for a block
	left  int          // events of the block behind the one at hand
	r     reader
	size  int
	when  time.Time
	to    []byte // recipients, as they are written
	toLen int
	mask  uint32 // what it has in common with the one before
	// What the event at hand has in common with the one before is as it was written last.
	texts   [texts17]sharedText
	kinds   sharedText
	lists   [lists3]sharedList
	names   sharedNames
	flags   byte
	ordinal int64
	parts   [5][]byte
	// making and commit are those of the event made before, while the one at hand has the same.
	making *delivery.Making
	commit *delivery.Commit
	// room is where a packed block was unpacked, for the next one.
	room []byte
	// shared has the events of a block that was decoded for all, see [sharedBlocks]; nil for others.
	shared []tailEntry
}

// sharedText is a text of a block, and the string that was made of it for the first event that asked.
type sharedText struct {
	b    []byte
	text string
	made bool
}

// sharedList and sharedNames are likewise made once.
type sharedList struct {
	b    []byte
	list []string
	made bool
}

type sharedNames struct {
	b     []byte
	names map[string]*string
	made  bool
}

// openLogged begins to read a value whose last event is seq. A packed block is unpacked into room if
// that is large enough; it may be nil.
func openLogged(seq delivery.Seq, value, room []byte) (l logged, err error) {
	l.room = room
	if len(value) > 0 && value[0] == packedVersion {
		if value, err = unpack(value, room); err != nil {
			return l, err
		}
		l.room = value
	}
	if len(value) == 0 || value[0] != blockVersion {
		l.seq, l.value, l.left = seq-1, value, 1
		_, l.when, err = openEvent(value)
		return l, err
	}
	l.r = reader{b: value, off: 1, version: value[0]}
	l.left = l.r.count()
	if l.r.bad || l.left == 0 || uint64(l.left) > uint64(seq) {
		l.r.bad = true
		return l, l.r.close("block of events")
	}
	l.seq = seq - delivery.Seq(l.left)
	l.begin()
	return l, nil
}

// begin makes what the first event is compared with that of [noEvent].
func (l *logged) begin() {
	l.when = time.Unix(0, 0).UTC()
	l.names = sharedNames{b: []byte{0}}
	for i := range l.lists {
		l.lists[i] = sharedList{b: []byte{0}}
	}
}

// openShared begins to read a block that is decoded.
func openShared(last delivery.Seq, entries []tailEntry, room []byte) logged {
	return logged{seq: last - delivery.Seq(len(entries)), left: len(entries), shared: entries, room: room}
}

// rest decodes the events of a block that were not read yet.
func (l *logged) rest() ([]tailEntry, error) {
	entries := make([]tailEntry, 0, l.left)
	var to []delivery.ProfileID
	var written []byte // the recipients of to
	for {
		if more, err := l.next(); !more || err != nil {
			return entries, err
		}
		ev, err := l.event()
		if err != nil {
			return nil, err
		}
		if len(entries) == 0 || !bytes.Equal(l.to, written) {
			to, written = nil, l.to
			_ = l.recipients(func(id delivery.ProfileID) { to = append(to, id) }) // a block's never fail
		}
		entries = append(entries, tailEntry{event: ev, to: to, bytes: l.size + logKeySize})
	}
}

// ready returns the event at hand of a block that was decoded for all.
func (l *logged) ready() *tailEntry { return &l.shared[len(l.shared)-1-l.left] }

// first returns the number of the event that next goes to.
func (l *logged) first() delivery.Seq { return l.seq + 1 }

// next goes to the next event. At the end it returns false.
func (l *logged) next() (bool, error) {
	if l.left == 0 {
		return false, nil
	}
	l.left--
	l.seq++
	if l.value != nil {
		return true, nil
	}
	if l.shared != nil {
		l.when = l.ready().event.Time
		return true, nil
	}
	l.member()
	if l.left > 0 && !l.r.bad {
		return true, nil
	}
	return true, l.r.close("block of events")
}

// member reads what appendMember wrote.
func (l *logged) member() {
	r := &l.r
	size := r.uvarint()
	l.size = int(min(size, math.MaxInt32))
	mask := r.uint32()
	r.bad = r.bad || size > math.MaxInt32 || mask > maskComplete
	l.mask = mask
	if mask&maskMaking != maskMaking {
		l.making = nil
	}
	if mask&maskCommit != maskCommit {
		l.commit = nil
	}
	if mask&maskTime == 0 {
		l.when = r.time()
	}
	if mask&maskRecipients == 0 {
		l.toLen = r.count()
		from := r.off
		for range l.toLen {
			r.uvarint()
		}
		l.to = r.b[from:r.off]
	}
	for i := range l.texts {
		if mask&(maskTexts<<i) == 0 {
			l.texts[i] = sharedText{b: r.bytes()}
		}
	}
	for i := range l.lists {
		if mask&(maskLists<<i) == 0 {
			from := r.off
			for n := r.count(); n > 0; n-- {
				r.bytes()
			}
			l.lists[i] = sharedList{b: r.b[from:r.off]}
		}
	}
	if mask&maskNames == 0 {
		from := r.off
		for n := r.uvarint(); n > 1 && !r.bad; n-- {
			r.bytes()
			if r.byte() != 0 {
				r.bytes()
			}
		}
		l.names = sharedNames{b: r.b[from:r.off]}
	}
	if mask&maskKinds == 0 {
		l.kinds = sharedText{b: r.bytes()}
	}
	l.flags = r.byte()
	l.ordinal += r.varint()
	for i, flag := range partFlags {
		l.parts[i] = nil
		if l.flags&flag != 0 {
			l.parts[i] = r.bytes()
		}
	}
}

// to calls yield for each recipient of the event at hand.
func (l *logged) recipients(yield func(delivery.ProfileID)) error {
	if l.value != nil {
		return recipients(l.value, yield)
	}
	if l.shared != nil {
		for _, id := range l.ready().to {
			yield(id)
		}
		return nil
	}
	r := reader{b: l.to}
	for range l.toLen {
		yield(delivery.ProfileID(r.uvarint()))
	}
	return nil
}

// addressed reports whether the event at hand names the profile as a recipient.
func (l *logged) addressed(id delivery.ProfileID) (bool, error) {
	if l.value != nil {
		return addressed(l.value, id)
	}
	if l.shared != nil {
		return slices.Contains(l.ready().to, id), nil
	}
	r := reader{b: l.to}
	for range l.toLen {
		if r.uvarint() == uint64(id) {
			return true, nil
		}
	}
	return false, nil
}

// bytes is what the event at hand counts for.
func (l *logged) bytes() (int, error) {
	if l.shared != nil {
		return l.ready().bytes, nil
	}
	if l.value == nil {
		return l.size + logKeySize, nil
	}
	if l.value[0] <= wholeVersion {
		return len(l.value) + logKeySize, nil
	}
	ev, err := decodeEvent(l.value)
	if err != nil {
		return 0, err
	}
	return sizeOf(l.value, ev), nil
}

// event makes the event at hand, unless it is shared. It has no memory in common with the value. Texts
// that are those of earlier events of the block are the same strings; its own lie in one string, all
// JSON in one slice.
func (l *logged) event() (ev *delivery.Event, err error) {
	if l.value != nil {
		return decodeEvent(l.value)
	}
	if l.shared != nil {
		return l.ready().event, nil
	}
	l.makeTexts()
	ev, missing := l.share()
	ev.Ordinal = int(l.ordinal)
	for i, s := range textsOf(ev) {
		if missing&(maskTexts<<i) != 0 {
			*s = l.texts[i].text
		}
	}
	ev.Kinds = l.kinds.text
	for i, list := range listsOf(ev) {
		if missing&(maskLists<<i) != 0 {
			*list = l.lists[i].value()
		}
	}
	if missing&maskNames != 0 {
		if ev.As, err = l.names.value(); err != nil {
			l.making, l.commit = nil, nil // no other event shares what is half made
			return nil, err
		}
	}
	size := 0
	for _, part := range l.parts {
		size += len(part)
	}
	json := make([]byte, 0, size)
	for i, part := range partsOf(ev) {
		if l.flags&partFlags[i] != 0 {
			from := len(json)
			json = append(json, l.parts[i]...)
			*part = json[from:len(json):len(json)]
		}
	}
	return ev, nil
}

// share begins an event with what it has in common with the one made before. missing are the members,
// as bits of a mask, that are not in it yet.
func (l *logged) share() (ev *delivery.Event, missing uint32) {
	missing = maskComplete
	if l.making == nil {
		l.making = &delivery.Making{}
	} else {
		missing &^= maskMaking
	}
	if assumed := l.flags&flagAssumed != 0; l.commit == nil || l.commit.Assumed != assumed {
		l.commit = &delivery.Commit{Time: l.when, Assumed: assumed}
	} else {
		missing &^= maskCommit
	}
	return &delivery.Event{Making: l.making, Commit: l.commit}, missing
}

func (s *sharedList) value() []string {
	if !s.made {
		t := newTexts(s.b, blockVersion)
		s.list, s.made = t.list(), true
	}
	return s.list
}

func (s *sharedNames) value() (map[string]*string, error) {
	if !s.made && s.b[0] != 0 {
		t := newTexts(s.b, blockVersion)
		if s.names = t.names(); t.bad {
			return nil, t.close("event")
		}
	}
	s.made = true
	return s.names, nil
}

// makeTexts makes strings of the texts that no event before has asked for.
func (l *logged) makeTexts() {
	var buffer [1024]byte
	all := buffer[:0]
	each := func(yield func(*sharedText)) {
		for i := range l.texts {
			if !l.texts[i].made {
				yield(&l.texts[i])
			}
		}
		if !l.kinds.made {
			yield(&l.kinds)
		}
	}
	each(func(s *sharedText) { all = append(all, s.b...) })
	rest := string(all)
	each(func(s *sharedText) {
		s.text, s.made = rest[:len(s.b)], true
		rest = rest[len(s.b):]
	})
}

// record returns the record that a single event at hand would have, for a copy.
func (l *logged) record() ([]byte, error) {
	if l.value != nil {
		return append([]byte(nil), l.value...), nil
	}
	ev, err := l.event()
	if err != nil {
		return nil, err
	}
	var to []delivery.ProfileID
	_ = l.recipients(func(id delivery.ProfileID) { to = append(to, id) }) // a block's never fail
	return appendEvent(nil, ev, to), nil
}
