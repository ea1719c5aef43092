package format

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf8"

	"rowhook/delivery"
)

// appendRecord appends a record: item ids to type and value, the primary key's item first.
func (r *rakuraku) appendRecord(dst []byte, ev *delivery.Event, w *rakurakuWork) ([]byte, error) {
	if ev.Marks != nil {
		plan, err := w.plan(r, ev)
		if err != nil {
			return dst, err
		}
		if out, fits, err := r.appendPlanned(dst, ev, plan, w); fits || err != nil {
			return out, err
		}
		w.plans = slices.Delete(w.plans, 0, 1) // the entry has another shape now
	}
	app := r.app(ev)
	dst = append(dst, '{')
	start := len(dst)
	if len(ev.Key) > len("{}") {
		var err error
		if w.text, err = appendTexts(w.text[:0], ev.Key, '-'); err != nil {
			return dst, err
		}
		w.id = append(append(w.id[:0], app...), "_main_primarykey"...)
		dst = appendCanonicalString(dst, w.id)
		dst = appendCanonicalString(append(dst, `:{"type":"id","value":`...), w.text)
		dst = append(dst, '}')
	}
	if !hasItems(ev) {
		return append(dst, '}'), nil
	}
	items, workflow := r.entries[ev.Entry].Items, r.entries[ev.Entry].Workflow
	at, n := 0, 0
	err := w.in.members(ev.Data, func(name, value []byte) error {
		for at < len(ev.Kinds) && ev.Kinds[at] == delivery.KindMissing {
			at++
			n++ // its place in the shape stays its own
		}
		kind := delivery.KindOther
		if at < len(ev.Kinds) {
			kind = ev.Kinds[at]
		}
		at++
		if isMember(ev.Key, name) || workflow.Names(string(name)) {
			return nil
		}
		id, typ := itemOf(items, name, kind)
		number := n
		n++
		if string(value) == "null" && r.null == "" {
			return nil
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		if w.id = append(w.id[:0], id...); id == "" {
			w.id = append(append(w.id, app...), "_main_"...)
			w.id = strconv.AppendInt(w.id, int64(number), 10)
		}
		dst = appendCanonicalString(dst, w.id)
		dst = append(append(append(dst, `:{"type":"`...), typ...), `","value":`...)
		var err error
		dst, err = r.appendItem(dst, typ, value, w, false, false)
		dst = append(dst, '}')
		return err
	})
	return append(dst, '}'), err
}

// isMember reports whether the object has a member of that name, as it is written.
func isMember(object, name []byte) bool {
	for rest := object; ; {
		i := bytes.Index(rest, name)
		if i < 0 {
			return false
		}
		before, after := i-1, i+len(name)
		if before >= 0 && rest[before] == '"' && after+1 < len(rest) && rest[after] == '"' && rest[after+1] == ':' &&
			before >= 1 && (rest[before-1] == '{' || rest[before-1] == ',') {
			return true
		}
		rest = rest[after:]
		if len(rest) == 0 {
			return false
		}
	}
}

func findItem(items []delivery.RakurakuItem, name []byte) *delivery.RakurakuItem {
	for i := range items {
		if items[i].Member == string(name) {
			return &items[i]
		}
	}
	return nil
}

// itemType is the type that a column's kind has.
func itemType(kind delivery.Kind) string {
	switch kind {
	case delivery.KindLongText:
		return "textarea"
	case delivery.KindInteger, delivery.KindBigint, delivery.KindDecimal:
		return "number"
	case delivery.KindFloat:
		return "float"
	case delivery.KindBool:
		return "checkbox"
	case delivery.KindInstant, delivery.KindDateTime:
		return "datetime"
	case delivery.KindDate:
		return "date"
	case delivery.KindTime:
		return "time"
	case delivery.KindJSON, delivery.KindNested:
		return "json"
	case delivery.KindList:
		return "multi"
	case delivery.KindBytes:
		return "file"
	}
	return "text"
}

// appendItem appends an item's value: a string, and a list of strings for multi.
func (r *rakuraku) appendItem(dst []byte, typ string, value []byte, w *rakurakuWork, canonical, trusted bool) ([]byte, error) {
	if string(value) == "null" {
		return append(dst, r.null...), nil
	}
	switch typ {
	case "file":
		return append(dst, `""`...), nil // contents are not sent
	case "date", "datetime":
		if value[0] == '"' {
			if dst, ok := r.appendTime(dst, typ, value[1:len(value)-1]); ok {
				return dst, nil
			}
		}
	case "time":
		if n := len(`"15:04:05`); value[0] == '"' && len(value) > n && value[3] == ':' && value[6] == ':' {
			return append(append(dst, value[:n]...), '"'), nil
		}
	case "checkbox":
		switch string(value) {
		case "true":
			return append(dst, `"1"`...), nil
		case "false":
			return append(dst, `"0"`...), nil
		}
	case "number":
		if digits := leadingDigits(value); len(digits) == len(value) && digits[0] != '0' {
			return append(append(append(dst, '"'), value...), '"'), nil
		}
		if value[0] == '-' || value[0] >= '0' && value[0] <= '9' {
			return appendPlainNumber(dst, value)
		}
	case "multi":
		return w.appendList(dst, value, canonical, trusted)
	}
	return w.appendText(dst, value, canonical, trusted)
}

// appendText appends a value's text as a string: of a list or object its JSON. canonical says that
// the value is, trusted that it is valid at least.
func (w *rakurakuWork) appendText(dst, value []byte, canonical, trusted bool) ([]byte, error) {
	switch value[0] {
	case '"':
		if canonical {
			return append(dst, value...), nil
		}
		return w.canon.append(dst, value, "")
	case '{', '[':
		if trusted {
			return appendNestedText(dst, value), nil
		}
		w.plain.Reset()
		if err := json.Compact(&w.plain, value); err != nil {
			return dst, errBadJSON
		}
		return appendCanonicalString(dst, w.plain.Bytes()), nil
	}
	return append(append(append(dst, '"'), value...), '"'), nil
}

// appendNestedText appends a list or object, which is valid JSON, as a string: compact, its texts
// as they are escaped there.
func appendNestedText(dst, value []byte) []byte {
	start, inText := len(dst), false
	dst = append(dst, '"')
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			inText = !inText
			dst = append(dst, '\\', '"')
		case c == '\\':
			if dst = append(dst, `\\`...); i+1 < len(value) {
				if i++; value[i] == '"' || value[i] == '\\' {
					dst = append(dst, '\\')
				}
				dst = append(dst, value[i])
			}
		case c > ' ' || inText:
			dst = append(dst, c)
		}
	}
	if dst = append(dst, '"'); utf8.Valid(dst[start:]) {
		return dst
	}
	fixed := appendValidUTF8(nil, dst[start:])
	return append(dst[:start], fixed...)
}

// appendList appends a list's elements as strings. What is no list is one of a single element.
func (w *rakurakuWork) appendList(dst, value []byte, canonical, trusted bool) ([]byte, error) {
	dst = append(dst, '[')
	if value[0] != '[' {
		dst, err := w.appendText(dst, value, canonical, trusted)
		return append(dst, ']'), err
	}
	x := &w.inner
	x.src, x.pos = value, 0
	start := len(dst)
	ok := x.items(func() bool {
		if len(dst) > start {
			dst = append(dst, ',')
		}
		from := x.pos
		if !x.skip() {
			return false
		}
		element := value[from:x.pos]
		if string(element) == "null" {
			element = []byte(`""`)
		}
		var err error
		dst, err = w.appendText(dst, element, canonical, trusted)
		return err == nil
	})
	if !ok {
		return dst, errBadJSON
	}
	return append(dst, ']'), nil
}

// maxPlain bounds how long a number without an exponent may get.
const maxPlain = 400

// appendPlainNumber appends a number as a string without an exponent.
func appendPlainNumber(dst, number []byte) ([]byte, error) {
	d, ok := parseDecimal(number)
	switch {
	case !ok:
		return dst, errBadJSON
	case !d.exponent || len(d.digits) == 0 || d.point > maxPlain || d.point < -maxPlain:
		return append(append(append(dst, '"'), number...), '"'), nil
	}
	digits := bytes.ReplaceAll(d.digits, []byte("."), nil)
	dst = append(dst, '"')
	if d.negative {
		dst = append(dst, '-')
	}
	switch {
	case d.point <= 0:
		dst = append(dst, '0', '.')
		dst = append(append(dst, bytes.Repeat([]byte("0"), -d.point)...), digits...)
	case d.point >= len(digits):
		dst = append(append(dst, digits...), bytes.Repeat([]byte("0"), d.point-len(digits))...)
	default:
		dst = append(append(append(dst, digits[:d.point]...), '.'), digits[d.point:]...)
	}
	return append(dst, '"'), nil
}
