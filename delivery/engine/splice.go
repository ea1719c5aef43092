package engine

import (
	"bytes"
	"io"

	"rowhook/delivery"
)

// heldInMemory is what an event takes in memory of what it takes in the spool.
func heldInMemory(e *delivery.Event, bytes int) int {
	if e == nil || e.Away == nil {
		return bytes
	}
	return max(0, bytes-int(e.PayloadSize()))
}

// whole is WithPayload of an event in the store.
func (s *profileStore) whole(ev *delivery.Event, seq delivery.Seq) (*delivery.Event, error) {
	return ev.WithPayload(func(part delivery.Part, yield func([]byte) error) error {
		return s.Payload(s.id, seq, part, yield)
	})
}

// splice is a text of a body and the part that follows it.
type splice struct {
	text []byte
	part delivery.Part
	size int64
}

// Stand-ins for the parts while the rest of a body is rendered. JSON has no such byte.
var standIns = [...]string{delivery.PartData: "\x00dd", delivery.PartPrevious: "\x00pp"}

// splices renders an event's body but for its large parts; ok is false where the format does not
// copy them.
func (p *Profile) splices(ev *delivery.Event) (list []splice, size int64, ok bool, err error) {
	copier, is := p.formatter.(delivery.Copier)
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
		part := delivery.PartData
		if body[at+1] == 'p' {
			part = delivery.PartPrevious
		}
		list = append(list, splice{body[:at], part, ev.Away.Sizes[part]})
		body = body[at+len(standIns[part]):]
	}
	list = append(list, splice{text: body, part: delivery.Parts})
	for _, s := range list {
		size += int64(len(s.text)) + s.size
	}
	return list, size, true, err
}

// writeSplices writes a body whose parts lie in the store. It tells errors of the writer and of the
// store apart.
func (s *profileStore) writeSplices(list []splice, seq delivery.Seq, w io.Writer) (written, read error) {
	for _, one := range list {
		if _, written = w.Write(one.text); written != nil {
			return written, nil
		}
		if one.part == delivery.Parts {
			continue
		}
		read = s.Payload(s.id, seq, one.part, func(piece []byte) error {
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
