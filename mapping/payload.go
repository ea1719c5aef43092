package mapping

import (
	"errors"
	"slices"
	"unicode/utf8"

	"rowhook/capture"
)

// member is one member of a payload, tied to a table: a column, a constant, an expression, or more
// members.
type member struct {
	label    []byte // "name":
	path     string // dotted, from the payload's object
	col      int    // none if it is no column
	constant []byte
	expr     *boundExpression
	part     *boundPart // a list of another table's rows
	items    []*field   // what each of them becomes; nil where it stays as it is
	members  []member
	convert  *converter
	mask     []byte // key of the hash that is sent instead
	absent   bool   // the change at hand does not tell its value
	care     care
	bigints  bool // it holds 64-bit integers as numbers
	rounded  bool // it was told that JavaScript would round them
}

// renderer writes payload objects into one buffer.
type renderer struct {
	e           *evaluation
	buf         []byte
	unavailable []string // paths of members whose value is unknown
	flags       []string // columns whose value did not fit
	marks       []byte   // see [delivery.Event.Marks]
	marked      int      // in buf, the last mark's value
	rounded     []string // columns with a first number that JavaScript rounds
}

// object appends the members' object, with the values that pick chooses.
func (w *renderer) object(members []member, pick func(*renderer, *member) (written bool)) {
	w.buf = append(w.buf, '{')
	first := true
	for i := range members {
		m := &members[i]
		start := len(w.buf)
		if !first {
			w.buf = append(w.buf, ',')
		}
		w.buf = append(w.buf, m.label...)
		if pick(w, m) {
			first = false
		} else {
			w.buf = w.buf[:start]
		}
	}
	w.buf = append(w.buf, '}')
}

// now writes a member's value in the current row. What is unknown is left out, and named.
func (w *renderer) now(m *member) bool {
	start := len(w.buf)
	switch {
	case m.members != nil:
		w.object(m.members, (*renderer).now)
		return true
	case m.constant != nil:
		w.buf = append(w.buf, m.constant...)
	case m.expr != nil:
		if !w.expression(m) {
			return false
		}
	case m.part != nil:
		if !w.list(m) {
			return false
		}
	default:
		v := w.e.current(m.col)
		if !known(v) {
			w.unavailable, m.absent = append(w.unavailable, m.path), true
			return false
		}
		w.value(m, v)
	}
	if m.care != careNone {
		w.note(m, start)
	}
	return true
}

// before writes a column's old value where it is known and not the same as now.
func (w *renderer) before(m *member) bool {
	if m.members != nil {
		start := len(w.buf)
		w.object(m.members, (*renderer).before)
		return len(w.buf) > start+len("{}")
	}
	if m.col == none {
		return false
	}
	v := w.e.before(m.col)
	if !known(v) {
		return false
	}
	if w.e.op == capture.Update {
		if now := w.e.after(m.col); !known(now) || equal(now, v) {
			return false
		}
	}
	w.value(m, v)
	return true
}

// expression writes what an expression gives. What it cannot know is unavailable; what it
// cannot compute is too, and flagged.
func (w *renderer) expression(m *member) bool {
	v, ok, err := m.expr.value(w.e)
	if ok && !wellFormed(v) { // bytes, or a text that has no counterpart in UTF-8: they are no JSON
		ok, err = false, errNoText
	}
	if !ok {
		w.unavailable, m.absent = append(w.unavailable, m.path), true
		if err != nil {
			w.flag(m.path)
		}
		return false
	}
	start := len(w.buf)
	if v == nil {
		w.null(m)
		return true
	}
	w.buf = appendValue(w.buf, v)
	if m.bigints && !m.rounded && beyondDoubles(w.buf[start:]) {
		w.round(m, m.path)
	}
	w.convertFrom(start, m, m.path)
	return true
}

var errNoText = errors.New("the value is no text")

// wellFormed reports whether all texts in a value are texts.
func wellFormed(v any) bool {
	switch x := v.(type) {
	case string:
		return utf8.ValidString(x)
	case sensed:
		return utf8.ValidString(x.text)
	case []any:
		return !slices.ContainsFunc(x, func(v any) bool { return !wellFormed(v) })
	case map[string]any:
		for _, v := range x {
			if !wellFormed(v) {
				return false
			}
		}
	}
	return true
}

// round notes that a member has a number that JavaScript rounds.
func (w *renderer) round(m *member, name string) {
	m.rounded = true
	if !slices.Contains(w.rounded, name) { // key and data both have it
		w.rounded = append(w.rounded, name)
	}
}

// value writes a known column value.
func (w *renderer) value(m *member, v capture.Value) {
	if v.State == capture.Null {
		w.null(m)
		return
	}
	column := &w.e.table.Columns[m.col]
	if m.mask != nil {
		w.buf = appendString(w.buf, mask(m.mask, v.Text))
		return
	}
	if m.bigints && !m.rounded && beyondDoubles(v.Text) {
		w.round(m, column.Name)
	}
	w.room(len(v.Text))
	start := len(w.buf)
	var ok bool
	if w.buf, ok = column.Type.AppendJSON(w.buf, v.Text); !ok {
		w.flag(column.Name)
	}
	w.convertFrom(start, m, column.Name)
}

// room makes room for a large value at once: a buffer that grows by itself is there twice while it
// does. Texts of the usual kind have few characters that need an escape.
func (w *renderer) room(size int) {
	if size < maxScratch || cap(w.buf)-len(w.buf) > size {
		return
	}
	w.buf = append(make([]byte, 0, len(w.buf)+size+size/16+maxScratch/16), w.buf...)
}

// null writes a NULL, which is an empty list where a list is asked for.
func (w *renderer) null(m *member) {
	text := "null"
	if m.convert != nil && m.convert.null != "" {
		text = m.convert.null
	}
	w.buf = append(w.buf, text...)
}

// beyondDoubles reports whether an integer, or one of a list's, lies beyond 2^53, up to which a double
// tells all integers apart.
func beyondDoubles(text []byte) bool {
	const limit = "9007199254740992"
	for len(text) > 0 {
		n := 0
		for n < len(text) && text[n]-'0' <= 9 {
			n++
		}
		if n > len(limit) || n == len(limit) && string(text[:n]) > limit {
			return true
		}
		text = text[min(n+1, len(text)):]
	}
	return false
}

// convertFrom turns the value written from start on into the member's type. One that does not
// fit is sent as text, and flagged.
func (w *renderer) convertFrom(start int, m *member, flag string) {
	if m.convert == nil {
		return
	}
	converted, ok := m.convert.value(w.buf[start:])
	if !ok {
		w.flag(flag)
		converted, _ = toString(w.buf[start:])
	}
	w.buf = append(w.buf[:start], converted...)
}

func (w *renderer) flag(column string) {
	if !slices.Contains(w.flags, column) {
		w.flags = append(w.flags, column)
	}
}
