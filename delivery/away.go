package delivery

import (
	"bytes"
	"io"
)

// Away says of an event whose objects are too large to be held how large they are. They lie in the store, see [Store.Payload].
type Away struct {
	// Sizes are those of the parts, in bytes; -1 where the event has no such part.
	Sizes [Parts]int64
}

// Part is one of an event's large parts.
type Part uint8

// The parts of an event that may be away.
const (
	PartData Part = iota
	PartPrevious
	PartShape
	PartMarks
	Parts // how many there are
)

// LargePayload is how large an event's objects are together that are not held but stored in pieces.
const LargePayload = 1 << 20

// Parts returns the event's parts, to be read or set.
func (e *Event) Parts() [Parts]*[]byte {
	return [...]*[]byte{&e.Data, &e.Previous, &e.Shape, &e.Marks}
}

// PayloadSize is how large the event's parts are together, wherever they are.
func (e *Event) PayloadSize() (size int64) {
	if e.Away != nil {
		for _, n := range e.Away.Sizes {
			size += max(n, 0)
		}
		return size
	}
	for _, part := range e.Parts() {
		size += int64(len(*part))
	}
	return size
}

// held is what the event takes in memory of what it takes in the spool.
func (e *Event) held(bytes int) int {
	if e == nil || e.Away == nil {
		return bytes
	}
	return max(0, bytes-int(e.PayloadSize()))
}

// WithoutPayload returns the event as it is held while its parts are away.
func (e *Event) WithoutPayload() *Event {
	away := &Away{}
	light := *e
	for i, part := range light.Parts() {
		away.Sizes[i] = int64(len(*part))
		if *part == nil {
			away.Sizes[i] = -1
		}
		*part = nil
	}
	light.Away = away
	return &light
}

// WithPayload returns the event with its parts, which are read into memory where they are away.
func (e *Event) WithPayload(read func(part Part, yield func(piece []byte) error) error) (*Event, error) {
	if e.Away == nil {
		return e, nil
	}
	all := make([]byte, 0, e.PayloadSize())
	full := *e
	full.Away = nil
	for i, part := range full.Parts() {
		if e.Away.Sizes[i] < 0 {
			continue
		}
		start := len(all)
		err := read(Part(i), func(piece []byte) error {
			all = append(all, piece...)
			return nil
		})
		if err != nil {
			return nil, err
		}
		*part = all[start:len(all):len(all)]
	}
	return &full, nil
}

// whole is WithPayload of an event in the store.
func (d *dispatcher) whole(ev *Event, seq Seq) (*Event, error) {
	return ev.WithPayload(func(part Part, yield func([]byte) error) error {
		return d.store.Payload(d.id, seq, part, yield)
	})
}

// Copier is a [Formatter] whose bodies hold an event's data and previous as they stand, so that a large body can be sent without
// being held.
type Copier interface {
	// Copies reports whether the event's body is of that kind.
	Copies(ev *Event) bool
}

// splice is a text of a body and the part that follows it.
type splice struct {
	text []byte
	part Part
	size int64
}

// Stand-ins for the parts while the rest of a body is rendered. JSON has no such byte.
var standIns = [...]string{PartData: "\x00dd", PartPrevious: "\x00pp"}

// splices renders an event's body but for its large parts; ok is false where the format does not copy them.
func (p *Profile) splices(ev *Event) (list []splice, size int64, ok bool, err error) {
	copier, is := p.formatter.(Copier)
	if !is || !copier.Copies(ev) {
		return nil, 0, false, nil
	}
	light := *ev
	light.Away = nil
	objects := light.Parts()
	for i, part := range objects[:len(standIns)] {
		switch n := ev.Away.Sizes[i]; {
		case n > int64(len("{}")):
			*part = []byte(standIns[i])
		case n >= 0:
			*part = []byte("{}")
		}
	}
	body, err := p.formatter.AppendBody(nil, &light)
	for err == nil {
		at := bytes.IndexByte(body, 0)
		if at < 0 || at+len(standIns[0]) > len(body) {
			break
		}
		part := PartData
		if body[at+1] == 'p' {
			part = PartPrevious
		}
		list = append(list, splice{body[:at], part, ev.Away.Sizes[part]})
		body = body[at+len(standIns[part]):]
	}
	list = append(list, splice{text: body, part: Parts})
	for _, s := range list {
		size += int64(len(s.text)) + s.size
	}
	return list, size, true, err
}

// writeSplices writes a body whose parts lie in the store. It tells errors of the writer and of the store apart.
func (d *dispatcher) writeSplices(list []splice, seq Seq, w io.Writer) (written, read error) {
	for _, s := range list {
		if _, written = w.Write(s.text); written != nil {
			return written, nil
		}
		if s.part == Parts {
			continue
		}
		read = d.store.Payload(d.id, seq, s.part, func(piece []byte) error {
			_, written = w.Write(piece)
			return written
		})
		if written != nil {
			return written, nil
		}
		if read != nil {
			return nil, read
		}
	}
	return nil, nil
}
