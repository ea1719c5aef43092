package format

import (
	"bytes"
	"strconv"
	"unicode/utf8"

	"rowhook/delivery"
)

// value is what a program has in hand: a value as text/template would have it, without having been
// taken out of the event.
type value struct {
	kind   valueKind
	text   string // of a text
	number int    // of an integer; 1 and 0 for true and false
	row    *row   // of what is in a row, a piece of its text or all of it
	place         // in the row, of a quoted text without the quotes; of a made text, in the room for those
}

type valueKind uint8

const (
	isNothing valueKind = iota // NULL, or not there
	isBool
	isInteger
	isText     // of the event or the template
	isMade     // a text that a function has made
	isQuoted   // a text in a row, without its quotes, or a piece of one
	isNumber   // in a row
	isList     // in a row
	isObject   // in a row
	isRow      // a row as a whole
	isNames    // the event's list of what is unavailable
	isActor    // the event's
	isReserved // the event or the group itself, which templates have no value of
)

// madeValue is the text that was made last, from a place on.
func (r *renderer) madeValue(start int) value {
	return value{kind: isMade, place: place{value: int32(start), end: int32(len(r.made))}}
}

func textValue(text string) value { return value{kind: isText, text: text} }

func integer(n int) value { return value{kind: isInteger, number: n} }

func truth(b bool) value {
	if b {
		return value{kind: isBool, number: 1}
	}
	return value{kind: isBool}
}

// at is the value at a place in the row.
func (x *row) at(p place) value {
	v := value{kind: isNumber, row: x, place: p}
	switch x.src[p.value] {
	case '"':
		v.kind = isQuoted
		v.value++
		v.end--
	case '{':
		v.kind = isObject
	case '[':
		v.kind = isList
	case 'n':
		return value{}
	case 't', 'f':
		return truth(x.src[p.value] == 't')
	}
	return v
}

// raw is the piece of the row where the value is.
func (v *value) raw() []byte { return v.row.src[v.value:v.end] }

// isString reports whether the value is of a kind that Go has as a string.
func (v *value) isString() bool {
	return v.kind == isText || v.kind == isMade || v.kind == isQuoted || v.kind == isNumber
}

// size is how much there is to look at in a value.
func (v *value) size() int {
	switch v.kind {
	case isText:
		return len(v.text)
	case isMade, isQuoted, isNumber, isList, isObject:
		return int(v.end - v.value)
	case isRow:
		return len(v.row.src)
	}
	return 0
}

// empty reports whether a value is written as nothing.
func (v *value) empty() bool {
	return v.kind == isNothing || v.isString() && v.size() == 0
}

// holds is what if, with and the like make of a value: text/template's truth.
func (r *renderer) holds(v *value) bool {
	switch v.kind {
	case isNothing:
		return false
	case isBool, isInteger:
		return v.number != 0
	case isList, isObject:
		v.row.pos = int(v.value) + 1
		v.row.space()
		b := v.row.peek()
		return b != ']' && b != '}'
	case isRow:
		return v.row.outer.end > v.row.outer.start
	case isNames:
		return len(r.ev.Unavailable) > 0
	case isActor:
		return true
	}
	return v.size() > 0
}

// appendShown appends a value as [shown] has it.
func (r *renderer) appendShown(dst []byte, v *value) []byte {
	switch v.kind {
	case isNothing:
		return dst
	case isText:
		return append(dst, v.text...)
	case isMade:
		return append(dst, r.made[v.value:v.end]...)
	case isNumber:
		return append(dst, v.raw()...)
	case isQuoted:
		return appendDecoded(dst, v.raw())
	}
	return r.appendJSON(dst, v)
}

// appendJSON appends a value as [appendPlain] does.
func (r *renderer) appendJSON(dst []byte, v *value) []byte {
	switch v.kind {
	case isNothing:
		return append(dst, "null"...)
	case isBool:
		return strconv.AppendBool(dst, v.number != 0)
	case isInteger:
		return strconv.AppendInt(dst, int64(v.number), 10)
	case isText:
		return delivery.AppendJSONString(dst, v.text)
	case isMade:
		return delivery.AppendJSONString(dst, r.made[v.value:v.end])
	case isQuoted:
		if v.exact {
			dst = append(dst, '"')
			return append(append(dst, v.raw()...), '"')
		}
		return v.row.appendAnew(dst, v.raw())
	case isNumber, isList, isObject:
		return v.row.appendValue(dst, &v.place)
	case isRow:
		r.outline(v.row)
		return v.row.appendJSON(dst)
	case isNames:
		dst = append(dst, '[')
		for i, name := range r.ev.Unavailable {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = delivery.AppendJSONString(dst, name)
		}
		return append(dst, ']')
	case isActor:
		dst = append(dst, `{"id":`...)
		dst = delivery.AppendJSONString(dst, r.ev.Actor.ID)
		dst = append(dst, `,"name":`...)
		dst = delivery.AppendJSONString(dst, r.ev.Actor.Name)
		return append(dst, '}')
	}
	r.odd = true
	return dst
}

// appendDecoded appends what the inside of a valid JSON string says, as [plainText] does.
func appendDecoded(dst, text []byte) []byte {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return appendValidUTF8(dst, text)
		}
		dst = appendValidUTF8(dst, text[:i])
		r, size, _ := unescape(text[i:])
		dst = utf8.AppendRune(dst, r)
		text = text[i+size:]
	}
}
