package spool

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/klauspost/compress/s2"

	"rowhook/delivery"
)

// A block is a value that holds several events of the log, one after the other. What the store does
// for each key, and what the events of a transaction have in common, is paid once a block. A block
// never goes across a mark, where history ends, nor across a commit.
const (
	blockVersion = 5
	// blockBytes and blockEvents bound a block: who wants one of its events reads it whole.
	blockBytes  = 16 << 10
	blockEvents = 128
)

// A block is packed where that makes it smaller: it is written, flushed and read in fewer bytes, and
// compressed once for all of these. A small one is hardly worth the time, and a very large one, which
// is that of a single event, would be held twice.
const (
	packedVersion = 6
	packedLeast   = 1 << 10
	packedMost    = 1 << 20
)

// The members of an event that a block's record leaves out where they are those of the event
// before, as bits of its mask: time and recipients, then the texts, the lists, as and kinds.
const (
	maskTime = 1 << iota
	maskRecipients
	maskTexts
	texts17      = 17
	maskLists    = maskTexts << texts17
	lists3       = 3
	maskNames    = maskLists << lists3
	maskKinds    = maskNames << 1
	maskComplete = maskKinds<<1 - 1
)

// What events that share their making, or their commit, have in common.
const (
	maskMaking = maskTexts<<1 | maskTexts<<2 | maskTexts<<3 | maskTexts<<4 | maskTexts<<5 | // type, entry, source, table, op
		maskTexts<<14 | maskTexts<<15 | maskTexts<<16 | // title, code, object
		maskLists<<1 | maskNames // bigints, as
	maskCommit = maskTime | maskTexts<<6 | maskTexts<<7 | // position, transaction
		maskTexts<<8 | maskTexts<<9 | maskTexts<<10 // actor, operation
)

// textsOf are the texts of an event in the order of its record, but for the kinds.
func textsOf(ev *delivery.Event) [texts17]*string {
	return [...]*string{
		&ev.ID, &ev.Type, &ev.Entry,
		&ev.Source, &ev.Table, &ev.Op, &ev.Position, &ev.Transaction,
		&ev.Actor.ID, &ev.Actor.Name, &ev.Operation, &ev.Link,
		&ev.OrderKey, &ev.OrderKeyOld, &ev.Title, &ev.Code, &ev.Object,
	}
}

func listsOf(ev *delivery.Event) [lists3]*[]string {
	return [...]*[]string{&ev.Unavailable, &ev.Bigints, &ev.Flags}
}

// partsOf are the parts of an event that has them here, each with its flag.
func partsOf(ev *delivery.Event) [5]*[]byte {
	return [...]*[]byte{&ev.Key, &ev.Data, &ev.Previous, &ev.Shape, &ev.Marks}
}

var partFlags = [...]byte{flagKey, flagData, flagPrevious, flagShape, flagMarks}

// recordSize is the size of appendEvent's record. By it events are counted, wherever they lie.
func recordSize(ev *delivery.Event, to []delivery.ProfileID) int {
	return makingSize(ev.Making) + commitSize(ev.Commit) + ownSize(ev, to)
}

// makingSize, commitSize and ownSize are what an event's parts take of its record.
func makingSize(m *delivery.Making) int {
	size := textSize(len(m.Type)) + textSize(len(m.Entry)) + textSize(len(m.Source)) + textSize(len(m.Table)) + textSize(len(m.Op))
	return size + listSize(m.Bigints) + namesSize(m.As) + textSize(len(m.Title)) + textSize(len(m.Code)) + textSize(len(m.Object))
}

func commitSize(c *delivery.Commit) int {
	const timeSize = 12
	size := timeSize + textSize(len(c.Position)) + textSize(len(c.Transaction))
	return size + textSize(len(c.Actor.ID)) + textSize(len(c.Actor.Name)) + textSize(len(c.Operation))
}

func ownSize(ev *delivery.Event, to []delivery.ProfileID) int {
	const version, length, flags = 1, 4, 1
	size := version + uvarintSize(uint64(len(to)))
	for _, id := range to {
		size += uvarintSize(uint64(id))
	}
	size += length + textSize(len(ev.ID)) + textSize(len(ev.Link)) + textSize(len(ev.OrderKey)) + textSize(len(ev.OrderKeyOld))
	size += listSize(ev.Unavailable) + listSize(ev.Flags) + textSize(len(ev.Kinds))
	size += flags + uvarintSize(zigzag(int64(ev.Ordinal)))
	size += textSize(len(ev.Key))
	whole := !large(ev)
	for _, part := range ev.Parts() {
		switch {
		case whole:
			size += textSize(len(*part))
		case *part == nil:
			size++
		default: // its size is written as one more, and it lies elsewhere
			size += uvarintSize(uint64(len(*part))+1) + len(*part)
		}
	}
	return size
}

// sharedSize remembers the size of what the last event shares with the next.
type sharedSize struct {
	making *delivery.Making
	commit *delivery.Commit
	size   int
}

// of returns what an event's shared parts take of its record.
func (s *sharedSize) of(ev *delivery.Event) int {
	if s.making != ev.Making || s.commit != ev.Commit {
		*s = sharedSize{ev.Making, ev.Commit, makingSize(ev.Making) + commitSize(ev.Commit)}
	}
	return s.size
}

func listSize(list []string) int {
	size := uvarintSize(uint64(len(list)))
	for _, s := range list {
		size += textSize(len(s))
	}
	return size
}

func namesSize(names map[string]*string) int {
	if names == nil {
		return 1
	}
	size := uvarintSize(uint64(len(names)) + 1)
	for name, value := range names {
		size += textSize(len(name)) + 1
		if value != nil {
			size += textSize(len(*value))
		}
	}
	return size
}

func textSize(n int) int { return uvarintSize(uint64(n)) + n }

func uvarintSize(v uint64) int {
	size := 1
	for ; v >= 0x80; v >>= 7 {
		size++
	}
	return size
}

// blockWriter makes the blocks of a batch, each in the same buffer.
type blockWriter struct {
	b      []byte
	head   [1 + binary.MaxVarintLen64]byte
	events int
	none   *delivery.Event
	before tailEntry // the last event that was added
	packed []byte
}

// noEvent is what the first event of a block is compared with.
func noEvent() *delivery.Event {
	return &delivery.Event{Making: &delivery.Making{}, Commit: &delivery.Commit{Time: time.Unix(0, 0)}}
}

// headSize is what is left free before the first event for version and number.
const headSize = 1 + binary.MaxVarintLen64

func (w *blockWriter) full() bool { return w.events == blockEvents || len(w.b) >= blockBytes }

func (w *blockWriter) add(e *tailEntry) {
	if w.events == 0 {
		w.b = append(w.b[:0], w.head[:]...)
		if w.none == nil {
			w.none = noEvent()
		}
		w.before = tailEntry{event: w.none}
	}
	w.b = appendMember(w.b, e, &w.before)
	w.before = *e
	w.events++
}

// take returns the block, which is valid until the next event is added.
func (w *blockWriter) take() []byte {
	count := binary.AppendUvarint(w.head[:1:1], uint64(w.events))
	start := headSize - len(count)
	copy(w.b[start:], count)
	w.b[start] = blockVersion
	w.events, w.before = 0, tailEntry{}
	return w.b[start:]
}

// pack compresses what take returned, where that makes it smaller. The result is valid until the next
// event is added.
func (w *blockWriter) pack(block []byte) []byte {
	if len(block) < packedLeast || len(block) > packedMost {
		return block
	}
	if most := 1 + s2.MaxEncodedLen(len(block)); most > len(w.packed) {
		w.packed = make([]byte, most)
	}
	w.packed[0] = packedVersion
	packed := w.packed[:1+len(s2.Encode(w.packed[1:], block))]
	if len(packed) >= len(block) {
		return block
	}
	return packed
}

// unpack returns the block that was packed. It lies in room where that is large enough.
func unpack(packed, room []byte) ([]byte, error) {
	size, err := s2.DecodedLen(packed[1:])
	if err == nil && size <= packedMost {
		var block []byte
		if block, err = s2.Decode(room[:0], packed[1:]); err == nil && len(block) > 0 && block[0] == blockVersion {
			return block, nil
		}
	}
	return nil, fmt.Errorf("packed block of events: %w", errMalformed)
}

// appendMember appends an event's record in a block.
func appendMember(dst []byte, e, before *tailEntry) []byte {
	ev, last := e.event, before.event
	dst = binary.AppendUvarint(dst, uint64(e.bytes-logKeySize))
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	mask := uint32(0)
	if ev.Making == last.Making {
		mask |= maskMaking
	}
	if ev.Commit == last.Commit {
		mask |= maskCommit
	} else if ev.Time.Equal(last.Time) {
		mask |= maskTime
	} else {
		dst = appendTime(dst, ev.Time)
	}
	if slices.Equal(e.to, before.to) {
		mask |= maskRecipients
	} else {
		dst = binary.AppendUvarint(dst, uint64(len(e.to)))
		for _, id := range e.to {
			dst = binary.AppendUvarint(dst, uint64(id))
		}
	}
	now, then := textsOf(ev), textsOf(last)
	for i, s := range now {
		if mask&(maskTexts<<i) != 0 {
			continue
		}
		if *s == *then[i] {
			mask |= maskTexts << i
		} else {
			dst = appendText(dst, *s)
		}
	}
	lists, old := listsOf(ev), listsOf(last)
	for i, list := range lists {
		if mask&(maskLists<<i) != 0 || slices.Equal(*list, *old[i]) {
			mask |= maskLists << i
			continue
		}
		dst = binary.AppendUvarint(dst, uint64(len(*list)))
		for _, s := range *list {
			dst = appendText(dst, s)
		}
	}
	if mask&maskNames != 0 || (ev.As == nil) == (last.As == nil) && maps.EqualFunc(ev.As, last.As, sameText) {
		mask |= maskNames
	} else {
		dst = appendNames(dst, ev.As)
	}
	if ev.Kinds == last.Kinds {
		mask |= maskKinds
	} else {
		dst = appendText(dst, ev.Kinds)
	}
	binary.BigEndian.PutUint32(dst[start:], mask)
	dst = append(dst, eventFlags(ev))
	dst = binary.AppendUvarint(dst, zigzag(int64(ev.Ordinal)-int64(last.Ordinal)))
	for _, part := range partsOf(ev) {
		if *part != nil {
			dst = appendText(dst, *part)
		}
	}
	return dst
}

func sameText(a, b *string) bool {
	return a == b || a != nil && b != nil && *a == *b
}

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
