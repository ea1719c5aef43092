package format

import (
	"io"
	"strconv"

	"rowhook/delivery"
)

// groupPiece is how much of a group's body is collected before it is written.
const groupPiece = 32 << 10

// GroupHead returns the body's media type.
func (n *native) GroupHead(*delivery.Group) delivery.Head {
	return delivery.Head{ContentType: "application/json"}
}

// WriteGroup writes a group: its own members, and its events as they are on their own.
func (n *native) WriteGroup(w io.Writer, g *delivery.Group) error {
	kept := n.pieces.Get().(*[]byte)
	defer n.pieces.Put(kept)
	b := appendGroupHead((*kept)[:0], g)
	comma := false
	for ev, err := range g.Events {
		if err != nil {
			return err
		}
		if comma {
			b = append(b, ',')
		}
		comma = true
		if b, err = n.AppendBody(b, ev); err != nil {
			return err
		}
		if len(b) < groupPiece {
			continue
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	b = append(b, ']', '}')
	if cap(b) <= 4*groupPiece {
		*kept = b
	}
	_, err := w.Write(b)
	return err
}

// appendGroupHead appends everything before the events. The time is the first event's; the source
// tells the transaction, unless the events are of several.
func appendGroupHead(dst []byte, g *delivery.Group) []byte {
	dst = append(dst, `{"id":`...)
	dst = delivery.AppendJSONString(dst, g.ID)
	dst = appendMember(dst, `,"type":`, g.Type)
	dst = append(dst, `,"timestamp":`...)
	dst = delivery.AppendJSONTime(dst, g.First.Time)
	dst = append(dst, `,"source":{"name":`...)
	dst = delivery.AppendJSONString(dst, g.First.Source)
	if g.Unit != "batch" {
		dst = appendMember(dst, `,"position":`, g.First.Position)
		dst = appendMember(dst, `,"transaction":`, g.First.Transaction)
	}
	dst = append(dst, `},"count":`...)
	dst = strconv.AppendInt(dst, int64(g.Count), 10)
	if g.Parts > 0 {
		dst = append(dst, `,"part":`...)
		dst = strconv.AppendInt(dst, int64(g.Part), 10)
		dst = append(dst, `,"parts":`...)
		dst = strconv.AppendInt(dst, int64(g.Parts), 10)
	}
	return append(dst, `,"events":[`...)
}
