package format

import (
	"bytes"
	"net/url"
	"strconv"
	"text/template"
	"unicode"
	"unicode/utf8"

	"rowhook/delivery"
)

// call returns what a function gives.
func (r *renderer) call(e *expression) value {
	if e.name == "and" || e.name == "or" {
		var v value
		for _, arg := range e.args {
			if v = r.eval(arg); r.odd || r.holds(&v) == (e.name == "or") {
				break
			}
		}
		return v
	}
	first := len(r.args)
	r.evalArgs(e)
	args := r.args[first:]
	var v value
	switch {
	case r.odd:
	case e.make != nil:
		start := len(r.made)
		r.made = r.make(r.made, e, args)
		v = r.madeValue(start)
	default:
		v = r.pick(e.name, args)
	}
	r.args = r.args[:first]
	return v
}

// pick returns what those functions give that make no text.
func (r *renderer) pick(name string, args []value) value {
	switch name {
	case "default":
		if args[1].empty() {
			return args[0]
		}
		return args[1]
	case "truncate":
		return r.truncate(args[0].number, &args[1])
	case "not":
		return truth(!r.holds(&args[0]))
	case "eq":
		for i := range args[1:] {
			if r.equal(&args[0], &args[1+i]) {
				return truth(true)
			}
		}
		return truth(false)
	case "ne":
		return truth(!r.equal(&args[0], &args[1]))
	case "index":
		if args[0].kind == isNothing || args[1].kind != isText {
			r.odd = true
			return value{}
		}
		return r.memberOf(&args[0], args[1].text, true)
	}
	r.odd = true
	return value{}
}

// equal compares two values that text/template compares; those of different kinds it does not, but
// for nothing, which is unlike any text.
func (r *renderer) equal(a, b *value) bool {
	switch {
	case a.isString() && b.isString():
		r.text = r.appendShown(r.text[:0], a)
		n := len(r.text)
		r.text = r.appendShown(r.text, b)
		return bytes.Equal(r.text[:n], r.text[n:])
	case a.kind == b.kind && (a.kind == isBool || a.kind == isInteger):
		return a.number == b.number
	case a.kind == isNothing && b.isString(), a.isString() && b.kind == isNothing:
		return false
	}
	r.odd = true
	return false
}

// truncate returns the first characters of what a value is shown as.
func (r *renderer) truncate(n int, v *value) value {
	switch {
	case v.kind == isNothing:
		return textValue("")
	case v.kind == isText:
		return textValue(v.text[:firstOf(v.text, n)])
	case v.kind == isNumber, v.kind == isQuoted && v.exact && bytes.IndexByte(v.raw(), '\\') < 0:
		text := *v
		text.kind, text.exact = isQuoted, true
		text.end = v.value + int32(firstOf(v.raw(), n))
		return text
	case v.kind != isMade:
		start := len(r.made)
		r.made = r.appendShown(r.made, v)
		r.charge(len(r.made) - start)
		made := r.madeValue(start)
		v = &made
	}
	text := *v
	text.end = v.value + int32(firstOf(r.made[v.value:v.end], n))
	return text
}

// firstOf is how many bytes the first n characters of a text take.
func firstOf[S ~string | ~[]byte](text S, n int) int {
	if n < 0 || len(text) <= n {
		return len(text)
	}
	at := 0
	for ; n > 0 && at < len(text); n-- {
		if text[at] < utf8.RuneSelf {
			at++
			continue
		}
		_, size := delivery.DecodeRune(text, at)
		at += size
	}
	return at
}

// maker appends the text that a function makes of its arguments.
type maker func(r *renderer, dst []byte, e *expression, args []value) []byte

// makers are the functions that make texts.
var makers = map[string]maker{
	"json": func(r *renderer, dst []byte, _ *expression, args []value) []byte { return r.appendJSON(dst, &args[0]) },
	"print": func(r *renderer, dst []byte, _ *expression, args []value) []byte {
		return r.appendPrinted(dst, args)
	},
	"println": func(r *renderer, dst []byte, _ *expression, args []value) []byte {
		for i := range args {
			if i > 0 {
				dst = append(dst, ' ')
			}
			dst = r.appendShown(dst, &args[i])
		}
		return append(dst, '\n')
	},
	"printf": (*renderer).appendFormatted,
	"join":   (*renderer).appendJoined,
	"upper":  escaper(func(dst, text []byte) []byte { return appendMapped(dst, text, unicode.ToUpper) }),
	"lower":  escaper(func(dst, text []byte) []byte { return appendMapped(dst, text, unicode.ToLower) }),
	"html": escaper(func(dst, text []byte) []byte {
		if !bytes.ContainsAny(text, "\"'&<>\x00") {
			return append(dst, text...)
		}
		return append(dst, template.HTMLEscapeString(string(text))...)
	}),
	"js":       escaper(func(dst, text []byte) []byte { return append(dst, template.JSEscapeString(string(text))...) }),
	"urlquery": escaper(func(dst, text []byte) []byte { return append(dst, url.QueryEscape(string(text))...) }),
}

// escaper is a function that goes through its arguments' text.
func escaper(escape func(dst, text []byte) []byte) maker {
	return func(r *renderer, dst []byte, _ *expression, args []value) []byte {
		r.text = r.appendPrinted(r.text[:0], args)
		return escape(dst, r.text)
	}
}

// appendPrinted appends values as [fmt.Sprint] does: spaces stand between those of which none is a
// text.
func (r *renderer) appendPrinted(dst []byte, args []value) []byte {
	spaced := false
	for i := range args {
		isPlain := args[i].kind == isBool || args[i].kind == isInteger
		if spaced && isPlain {
			dst = append(dst, ' ')
		}
		spaced = isPlain
		dst = r.appendShown(dst, &args[i])
	}
	return dst
}

func (r *renderer) appendFormatted(dst []byte, e *expression, args []value) []byte {
	for i := range args {
		dst = append(dst, e.format.before[i]...)
		v := &args[i]
		isPlain := v.kind == isBool || v.kind == isInteger
		switch e.format.verb[i] {
		case 's':
			r.odd = r.odd || isPlain
		case 'd':
			n := int64(v.number)
			var err error
			if v.kind == isNumber {
				n, err = strconv.ParseInt(string(v.raw()), 10, 64)
			}
			if err != nil || v.kind != isNumber && v.kind != isInteger {
				r.odd = true
			}
			dst = strconv.AppendInt(dst, n, 10)
			continue
		}
		dst = r.appendShown(dst, v)
	}
	return append(dst, e.format.after...)
}

func (r *renderer) appendJoined(dst []byte, _ *expression, args []value) []byte {
	separator, list := args[0].text, &args[1]
	switch list.kind {
	case isNames:
		for i, name := range r.ev.Unavailable {
			if i > 0 {
				dst = append(dst, separator...)
			}
			dst = append(dst, name...)
		}
	case isList:
		x := list.row
		before := len(x.places)
		elements := x.inside(&list.place)
		for i := elements.start; i < elements.end && !r.odd; i++ {
			if i > elements.start {
				dst = append(dst, separator...)
				r.charge(len(separator))
			}
			v := x.at(x.places[i])
			dst = r.appendShown(dst, &v)
		}
		x.places = x.places[:before]
	default:
		r.odd = true
	}
	return dst
}

// appendMapped appends a text with each character mapped, as strings.ToUpper does.
func appendMapped(dst, text []byte, mapping func(rune) rune) []byte {
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		dst = utf8.AppendRune(dst, mapping(r))
		i += size
	}
	return dst
}
