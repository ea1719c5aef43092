package format

import (
	"fmt"
	"io"
	"strconv"
	"sync"

	"rowhook/delivery"
)

// nativeXML is native in XML: the same names in the same order, one element each, on one line. A
// list's elements each stand under the list's name; NULL is an empty element with xsi:nil="true".
type nativeXML struct {
	writers sync.Pool // of *xmlWriter
	pieces  sync.Pool // of *[]byte, for groups
}

const (
	xmlDeclaration = `<?xml version="1.0" encoding="UTF-8"?>`
	xmlNil         = ` xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"`
)

func newNativeXML() *nativeXML {
	return &nativeXML{
		writers: sync.Pool{New: func() any { return new(xmlWriter) }},
		pieces:  sync.Pool{New: func() any { return new([]byte) }},
	}
}

// Head returns the body's media type.
func (n *nativeXML) Head(*delivery.Event) delivery.Head {
	return delivery.Head{ContentType: "application/xml; charset=UTF-8"}
}

// GroupHead returns the body's media type.
func (n *nativeXML) GroupHead(*delivery.Group) delivery.Head { return n.Head(nil) }

// AppendBody appends the event's body to dst.
func (n *nativeXML) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	start := len(dst)
	dst, err := n.appendEvent(append(dst, xmlDeclaration+"<event"+xmlNil+">"...), ev)
	if err != nil {
		return dst[:start], err
	}
	return append(dst, "</event>"...), nil
}

// appendEvent appends the members of an event.
func (n *nativeXML) appendEvent(dst []byte, ev *delivery.Event) ([]byte, error) {
	dst = appendXMLMember(dst, "id", ev.ID)
	dst = appendXMLMember(dst, "type", ev.Type)
	dst = append(appendTimestamp(dst, ev), "<source>"...)
	for _, m := range [...]struct{ name, value string }{{"name", ev.Source}, {"table", ev.Table}, {"op", ev.Op}, {"position", ev.Position}, {"transaction", ev.Transaction}} {
		dst = appendXMLMember(dst, m.name, m.value)
	}
	dst = append(dst, "<seq>"...)
	dst = append(strconv.AppendInt(dst, int64(ev.Ordinal), 10), "</seq></source>"...)
	if ev.Actor != (delivery.Actor{}) {
		dst = append(dst, "<actor>"...)
		dst = appendXMLMember(dst, "id", ev.Actor.ID)
		dst = append(appendXMLMember(dst, "name", ev.Actor.Name), "</actor>"...)
	}
	dst = appendXMLMember(dst, "operation", ev.Operation)
	dst = appendXMLMember(dst, "link", ev.Link)
	x := n.writers.Get().(*xmlWriter)
	defer n.writers.Put(x)
	for _, part := range [...]struct {
		name   string
		value  []byte
		always bool
	}{{"key", ev.Key, true}, {"data", ev.Data, true}, {"previous", ev.Previous, false}} {
		if len(part.value) <= len("{}") && !part.always {
			continue
		}
		dst = append(append(append(dst, '<'), part.name...), '>')
		if len(part.value) > 0 {
			var err error
			if dst, err = x.inside(dst, part.value); err != nil {
				return dst, fmt.Errorf("format event %s: %w", ev.ID, err)
			}
		}
		dst = append(append(append(dst, "</"...), part.name...), '>')
	}
	for _, name := range ev.Unavailable {
		dst = appendXMLMember(dst, "unavailable", name)
	}
	return dst, nil
}

// WriteGroup writes a group: its own members, and each event in an element events.
func (n *nativeXML) WriteGroup(w io.Writer, g *delivery.Group) error {
	kept := n.pieces.Get().(*[]byte)
	defer n.pieces.Put(kept)
	b := append((*kept)[:0], xmlDeclaration+"<group"+xmlNil+">"...)
	b = appendXMLMember(b, "id", g.ID)
	b = appendXMLMember(b, "type", g.Type)
	b = append(appendTimestamp(b, g.First), "<source>"...)
	b = appendXMLMember(b, "name", g.First.Source)
	if g.Unit != "batch" {
		b = appendXMLMember(b, "position", g.First.Position)
		b = appendXMLMember(b, "transaction", g.First.Transaction)
	}
	b = append(b, "</source>"...)
	b = appendXMLMember(b, "count", strconv.Itoa(g.Count))
	if g.Parts > 0 {
		b = appendXMLMember(b, "part", strconv.Itoa(g.Part))
		b = appendXMLMember(b, "parts", strconv.Itoa(g.Parts))
	}
	for ev, err := range g.Events {
		if err != nil {
			return err
		}
		if b, err = n.appendEvent(append(b, "<events>"...), ev); err != nil {
			return err
		}
		if b = append(b, "</events>"...); len(b) < groupPiece {
			continue
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		b = b[:0]
	}
	b = append(b, "</group>"...)
	if cap(b) <= 4*groupPiece {
		*kept = b
	}
	_, err := w.Write(b)
	return err
}

// appendTimestamp appends an event's time as native has it.
func appendTimestamp(dst []byte, ev *delivery.Event) []byte {
	dst = append(dst, "<timestamp"...)
	quote := len(dst)
	dst = delivery.AppendJSONTime(dst, ev.Time)
	dst[quote], dst[len(dst)-1] = '>', '<'
	return append(dst, "/timestamp>"...)
}

// appendXMLMember appends an element with a text, or nothing when it is empty.
func appendXMLMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(append(dst, '<'), name...), '>')
	dst = append(appendXMLText(dst, value, false, false), "</"...)
	return append(append(dst, name...), '>')
}
