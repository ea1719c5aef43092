package spool

import (
	"encoding/binary"
	"fmt"
	"maps"
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
