package mapping

import (
	"bytes"

	"rowhook/capture"
	"rowhook/delivery"
)

// care says how a member's values stand to canonical JSON, which is what JavaScript's
// JSON.stringify(JSON.parse(x)) leaves as it is. Formats that promise it read a payload's marks
// instead of the payload.
type care uint8

const (
	careNone    care = iota // texts as [appendString] and its like write them
	careLook                // canonical unless it is a long or broken number, a list or an object
	careAlways              // JSON as the database has it
	careDate                // a date of the outermost object
	careInstant             // a time with a zone there
)

// bindMarks decides what the shape's members need, and whether its names are canonical: no name
// twice, none that JavaScript would put first, and not __proto__.
func (b *binder) bindMarks() {
	b.marked = b.markMembers(b.shape, true)
}

func (b *binder) markMembers(members []member, outermost bool) bool {
	seen := make(map[string]bool, len(members))
	for i := range members {
		m := &members[i]
		name := string(m.label)
		if seen[name] || name == `"__proto__":` || delivery.IsIndex(name[1:len(name)-2]) {
			return false
		}
		seen[name] = true
		if m.members != nil {
			if !b.markMembers(m.members, false) {
				return false
			}
			continue
		}
		m.care = b.careOf(m, outermost)
	}
	return true
}

func (b *binder) careOf(m *member, outermost bool) care {
	kind := b.kind(m)
	own := capture.Other
	if m.col != none {
		own = b.table.Columns[m.col].Type.Kind
	}
	switch {
	case m.mask != nil:
		return careNone
	case kind == delivery.KindDate && outermost:
		return careDate
	case kind == delivery.KindInstant && outermost:
		return careInstant
	case own == capture.JSON, own == capture.List, kind == delivery.KindJSON, bytes.IndexByte(m.constant, '\\') >= 0:
		return careAlways
	case m.constant != nil, m.expr != nil, m.convert != nil:
		return careLook
	}
	switch own {
	case capture.Text, capture.Bytes, capture.Date, capture.Time, capture.DateTime, capture.Instant:
		return careNone
	}
	return careLook
}

// note marks the value written from start on, where it needs one.
func (w *renderer) note(m *member, start int) {
	value := w.buf[start:]
	if value[0] == 'n' || m.care == careLook && isPlain(value) {
		return
	}
	mark := delivery.MarkRewrite
	switch m.care {
	case careDate:
		mark = delivery.MarkDate
	case careInstant:
		mark = delivery.MarkInstant
	}
	w.marks = delivery.AppendMark(w.marks, start-w.marked, mark)
	w.marked = start
}

// isPlain reports whether a value is certainly canonical: a text without escapes, a word, or a
// whole number that a double holds.
func isPlain(value []byte) bool {
	const certain = 15
	switch c := value[0]; {
	case c == '"':
		return bytes.IndexByte(value, '\\') < 0
	case c == 't' || c == 'f':
		return true
	case c == '-':
		value = value[1:]
		if len(value) > 0 && value[0] == '0' {
			return false
		}
	}
	if len(value) == 0 || len(value) > certain || value[0] == '0' && len(value) > 1 {
		return false
	}
	for _, c := range value {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// canTell reports whether marks can tell all that is to be looked at in a payload: the sources
// write \b and \f, which JavaScript writes so, as \u0008 and \u000c.
func canTell(payload []byte) bool {
	for {
		i := bytes.IndexByte(payload, '\\')
		if i < 0 || i+6 > len(payload) {
			return true
		}
		if code := payload[i+1 : i+6]; code[0] == 'u' && (string(code) == "u0008" || string(code) == "u000c") {
			return false
		}
		payload = payload[i+2:] // behind what is escaped
	}
}
