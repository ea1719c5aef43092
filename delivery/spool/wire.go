package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"rowhook/delivery"
)

const partVersion = 1

// Bits of a part's flag byte.
const (
	partCommits  = 1 << iota
	partPieces   // it holds pieces of the first event of the next part that has events, and nothing else
	partAway     // those of its first event came before
	partComplete = 1<<iota - 1
)

const (
	keptForget = iota
	keptKeep
)

// Encode hands the batch to yield in parts of about most bytes, in the order in which they are to be
// applied, see [Spool.DecodePart]. A part is longer by its last event, dead letter or kept row, which
// are not divided, but for events of [delivery.LargePayload]. commits tells of a part that ends a
// transaction; what comes after the last Commit is in parts that do not. code names the profiles; an
// event that is addressed to one that it has no name for is an error. A part is valid until yield returns. The batch
// stays as it is; it must not have been applied.
func (b *Batch) Encode(code func(delivery.ProfileID) string, most int, yield func(part []byte, commits bool) error) error {
	if len(b.pieces) > 0 {
		return errHandedOn
	}
	w := partWriter{code: code, most: most, yield: yield, body: b.wire.body, part: b.wire.part}
	defer func() { b.wire.keep(w.body, w.part) }()
	visible, seen, settled := 0, 0, 0
	if b.commits {
		visible, seen, settled = b.visible, b.seen, b.kept.settled
		if err := w.add(b, 0, visible, 0, seen); err != nil {
			return err
		}
		if err := w.addSettled(b); err != nil {
			return err
		}
		if err := w.commit(b.position, b.values[:b.set]); err != nil {
			return err
		}
	}
	if err := w.add(b, visible, len(b.entries), seen, len(b.parked)); err != nil {
		return err
	}
	w.transaction = b.kept.transaction
	for i := settled; i < len(b.kept.list); i++ {
		if err := w.keep(&b.kept, i); err != nil {
			return err
		}
	}
	return w.flush()
}

// wireMemory is what a batch keeps for the next time that it is handed on.
type wireMemory struct{ body, part []byte }

// keptWire bounds it: large events, dead letters and kept rows do not come often.
const keptWire = 2 << 20

func (m *wireMemory) keep(body, part []byte) {
	if cap(body)+cap(part) > keptWire {
		body, part = nil, nil
	}
	m.body, m.part = body[:0], part[:0]
}

// errHandedOn reports a batch whose large events are not with it.
var errHandedOn = errors.New("encode batch: a batch cannot be handed on once it is applied, nor a part of one")

// partWriter makes the parts of a batch, each in the same memory.
type partWriter struct {
	code  func(delivery.ProfileID) string
	most  int
	yield func(part []byte, commits bool) error

	body                 []byte
	events, parked, kept int
	before               tailEntry // the last event that was added
	none                 *delivery.Event
	away                 *delivery.Away // of the first event
	transaction          uint64         // whose the kept rows are

	profiles []delivery.ProfileID // that this part names
	codes    map[delivery.ProfileID]string
	part     []byte
}

// add adds events, then dead letters.
func (w *partWriter) add(b *Batch, from, to, parkedFrom, parkedTo int) error {
	for i := from; i < to; i++ {
		if err := w.event(&b.entries[i]); err != nil {
			return err
		}
	}
	for _, p := range b.parked[parkedFrom:parkedTo] {
		if err := w.room(); err != nil {
			return err
		}
		w.body = appendText(w.body, encodeParked(nil, p))
		w.parked++
	}
	return nil
}

// addSettled adds the changes of kept rows that the batch commits. In a part that commits they cost no
// undo records, so that they are not begun before it where one part has room for all. They are not
// those of a transaction that may be dropped by itself, whose number their undo records had.
func (w *partWriter) addSettled(b *Batch) error {
	w.transaction = 0
	size := 0
	if b.kept.settled > 0 {
		size = b.kept.list[b.kept.settled-1].end + keptOverhead*b.kept.settled
	}
	if size <= w.most && len(w.body)+size > w.most {
		if err := w.flush(); err != nil {
			return err
		}
	}
	for i := range b.kept.settled {
		if err := w.keep(&b.kept, i); err != nil {
			return err
		}
	}
	return nil
}

// room makes room for something in a part.
func (w *partWriter) room() error {
	if len(w.body) < w.most {
		return nil
	}
	return w.flush()
}

func (w *partWriter) event(e *tailEntry) error {
	if e.event.Away != nil {
		return errHandedOn
	}
	var light tailEntry
	if large(e.event) {
		if err := w.putAway(e.event); err != nil {
			return err
		}
		light = *e
		light.event = e.event.WithoutPayload()
		e, w.away = &light, light.event.Away
	} else if err := w.room(); err != nil {
		return err
	}
	if w.events == 0 {
		if w.none == nil {
			w.none = noEvent()
		}
		w.before = tailEntry{event: w.none}
	}
	if !slices.Equal(e.to, w.before.to) {
		if err := w.name(e.to); err != nil {
			return err
		}
	}
	w.body = appendMember(w.body, e, &w.before)
	w.before = *e
	w.events++
	return nil
}

// putAway hands on the parts of a large event, which follows in a part that it begins.
func (w *partWriter) putAway(ev *delivery.Event) error {
	if err := w.flush(); err != nil {
		return err
	}
	pieces, n := w.body[:0], 0
	hand := func() error {
		if n == 0 {
			return nil
		}
		w.part = binary.AppendUvarint(append(w.part[:0], partVersion, partPieces), uint64(n))
		w.part = append(w.part, pieces...)
		pieces, n = pieces[:0], 0
		return w.yield(w.part, false)
	}
	for i, part := range ev.Parts() {
		for at := 0; at < len(*part); at += pieceSize {
			pieces = binary.AppendUvarint(append(pieces, byte(i)), uint64(at/pieceSize))
			pieces = appendText(pieces, (*part)[at:min(at+pieceSize, len(*part))])
			n++
			if len(pieces)+pieceSize <= w.most {
				continue
			}
			if err := hand(); err != nil {
				return err
			}
		}
	}
	w.body = pieces[:0]
	return hand()
}

// name has the part name profiles.
func (w *partWriter) name(ids []delivery.ProfileID) error {
	for _, id := range ids {
		if _, known := w.codes[id]; !known {
			if w.codes == nil {
				w.codes = make(map[delivery.ProfileID]string)
			}
			code := w.code(id)
			if code == "" {
				return fmt.Errorf("encode batch: profile number %d has no name, and an event is addressed to it", id)
			}
			w.codes[id] = code
		}
		if !slices.Contains(w.profiles, id) {
			w.profiles = append(w.profiles, id)
		}
	}
	return nil
}

func (w *partWriter) keep(k *keptChanges, i int) error {
	if err := w.room(); err != nil {
		return err
	}
	if k.list[i].forget {
		w.body = appendText(append(w.body, keptForget), k.key(i))
	} else {
		w.body = appendText(appendText(append(w.body, keptKeep), k.key(i)), k.row(i))
	}
	w.kept++
	return nil
}

// flush hands on what was collected, as a part that does not commit.
func (w *partWriter) flush() error {
	if w.events == 0 && w.parked == 0 && w.kept == 0 {
		return nil
	}
	w.part = w.head(append(w.part[:0], partVersion), 0)
	w.counts(0)
	return w.hand(false)
}

// commit hands on the part that ends the transaction.
func (w *partWriter) commit(position string, values []metaValue) error {
	w.part = appendText(w.head(append(w.part[:0], partVersion), partCommits), position)
	w.counts(len(values))
	for _, v := range values {
		w.body = appendText(appendText(w.body, v.key), v.value)
	}
	return w.hand(true)
}

func (w *partWriter) head(dst []byte, flags byte) []byte {
	if w.away != nil {
		return appendAway(append(dst, flags|partAway), w.away)
	}
	return append(dst, flags)
}

// counts writes what is in the part, and whose it is.
func (w *partWriter) counts(values int) {
	w.part = binary.AppendUvarint(w.part, uint64(len(w.profiles)))
	for _, id := range w.profiles {
		w.part = appendText(binary.AppendUvarint(w.part, uint64(id)), w.codes[id])
	}
	w.part = binary.AppendUvarint(w.part, w.transaction)
	for _, n := range [...]int{w.events, w.parked, w.kept, values} {
		w.part = binary.AppendUvarint(w.part, uint64(n))
	}
}

func (w *partWriter) hand(commits bool) error {
	w.part = append(w.part, w.body...)
	w.body, w.profiles, w.away = w.body[:0], w.profiles[:0], nil
	w.events, w.parked, w.kept = 0, 0, 0
	return w.yield(w.part, commits)
}

// DecodePart makes a batch for this spool of a part that [Batch.Encode] made, which it does not keep.
// Profiles that the spool does not know are registered first; they begin with the events of the part
// at the latest. Parts are to be applied one by one, each before the next.
func (s *Spool) DecodePart(part []byte) (*Batch, error) {
	d := partReader{find: s.profiles.find}
	b, err := d.read(part)
	if err != nil || len(d.unknown) == 0 {
		return b, err
	}
	for _, code := range d.unknown {
		if _, err := s.Register(code); err != nil {
			return nil, err
		}
	}
	return d.read(part)
}

// partReader takes a part apart.
type partReader struct {
	find    func(code string) *profile
	unknown []string // codes that find does not know
	r       reader
	flags   byte
	ids     map[uint64]delivery.ProfileID // by the number that the part has
	b       *Batch
}

func (d *partReader) read(part []byte) (*Batch, error) {
	r, err := open("part of a batch", part, partVersion)
	if err != nil {
		return nil, sent(err)
	}
	d.r, d.b, d.unknown = r, &Batch{}, nil
	d.flags = d.r.byte()
	if d.flags > partComplete || d.flags&partPieces != 0 && d.flags != partPieces {
		d.r.bad = true
	}
	if d.flags == partPieces {
		d.pieces()
	} else if err := d.contents(); err != nil {
		return nil, err
	}
	return d.b, d.r.close("part of a batch")
}

func (d *partReader) pieces() {
	r := &d.r
	n := r.count()
	r.bad = r.bad || n == 0
	for ; n > 0 && !r.bad; n-- {
		p := piece{part: delivery.Part(r.byte()), index: int(r.uvarint())}
		p.bytes = slices.Clone(r.bytes())
		if r.bad = r.bad || p.part >= delivery.Parts || p.index < 0 || p.index > maxPieces || len(p.bytes) == 0 || len(p.bytes) > pieceSize; !r.bad {
			d.b.pieces = append(d.b.pieces, p)
		}
	}
}

// maxPieces bounds a large event's parts to a size beyond any that a source takes.
const maxPieces = 1 << 20

func (d *partReader) contents() error {
	r, b := &d.r, d.b
	var away *delivery.Away
	if d.flags&partAway != 0 {
		away = r.away()
	}
	position := ""
	if d.flags&partCommits != 0 {
		position = r.text()
	}
	d.profiles()
	transaction := r.uvarint()
	var counts [4]int
	for i := range counts {
		counts[i] = r.count()
	}
	if err := d.events(counts[0], away); err != nil {
		return err
	}
	for range counts[1] {
		raw := r.bytes()
		if r.bad {
			return nil
		}
		p, err := decodeParked(raw)
		if err != nil {
			return sent(err)
		}
		b.Park(&p)
	}
	if counts[2] > 0 {
		b.KeepsFor(transaction)
	}
	d.kept(counts[2])
	for n := counts[3]; n > 0 && !r.bad; n-- {
		key := r.text()
		b.Put(key, slices.Clone(r.bytes()))
	}
	if d.flags&partCommits != 0 {
		b.Commit(position)
	} else {
		r.bad = r.bad || counts[3] > 0
	}
	return nil
}

func (d *partReader) profiles() {
	n := d.r.count()
	if n > 0 {
		d.ids = make(map[uint64]delivery.ProfileID)
	}
	for ; n > 0 && !d.r.bad; n-- {
		number, code := d.r.uvarint(), d.r.text()
		d.r.bad = d.r.bad || code == ""
		if p := d.find(code); p != nil {
			d.ids[number] = p.id
		} else {
			d.ids[number] = 0
			d.unknown = append(d.unknown, code)
		}
	}
}

func (d *partReader) events(n int, away *delivery.Away) error {
	if away != nil && (n == 0 || !isLarge(away)) {
		d.r.bad = true
	}
	if n == 0 || d.r.bad {
		return nil
	}
	l := logged{r: d.r}
	l.begin()
	b := d.b
	b.entries = make([]tailEntry, 0, min(n, len(l.r.b)/leastMember+1))
	var to []delivery.ProfileID
	for i := range n {
		l.member()
		if l.mask&maskRecipients == 0 {
			to = d.recipients(&l)
		}
		if l.r.bad {
			return l.r.close("event in a part of a batch")
		}
		ev, err := l.event()
		if err != nil {
			return err
		}
		e := tailEntry{event: ev, to: to, bytes: l.size + logKeySize}
		if i == 0 && away != nil {
			if l.flags&(flagData|flagPrevious|flagShape|flagMarks) != 0 {
				return fmt.Errorf("event in a part of a batch: %w", errMalformed)
			}
			ev.Away = away
			e.bytes = sizeOf(appendEvent(nil, ev, to), ev)
		}
		b.bytes += e.bytes
		b.entries = append(b.entries, e)
	}
	b.to, d.r = b.to[len(b.to):], l.r
	return nil
}

// leastMember is less than any event takes in a part.
const leastMember = 8

// isLarge reports whether parts of these sizes are stored in pieces.
func isLarge(away *delivery.Away) bool {
	total := int64(0)
	for _, size := range away.Sizes {
		if size < -1 || size > maxPieces*pieceSize {
			return false
		}
		total += max(size, 0)
	}
	return total >= delivery.LargePayload
}

// recipients returns those of the event at hand by their numbers here.
func (d *partReader) recipients(l *logged) []delivery.ProfileID {
	if l.r.bad {
		return nil
	}
	b := d.b
	if l.toLen > cap(b.to)-len(b.to) {
		b.to = make([]delivery.ProfileID, 0, max(64, l.toLen))
	}
	start := len(b.to)
	r := reader{b: l.to}
	for range l.toLen {
		id, known := d.ids[r.uvarint()]
		if !known {
			l.r.bad = true
		}
		b.to = append(b.to, id)
	}
	return b.to[start:len(b.to):len(b.to)]
}

func (d *partReader) kept(n int) {
	r := &d.r
	for ; n > 0 && !r.bad; n-- {
		switch r.byte() {
		case keptForget:
			if key := r.bytes(); !r.bad {
				d.b.Forget(key)
			}
		case keptKeep:
			if key, row := r.bytes(), r.bytes(); !r.bad {
				d.b.Keep(key, row)
			}
		default:
			r.bad = true
		}
	}
}
