package format

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"rowhook/delivery"
)

// appendJSON appends the outermost object as [appendPlain] does.
func (x *row) appendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	for i, at := range x.outline().order {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = x.appendMember(dst, &x.places[x.outer.start+at])
	}
	return append(dst, '}')
}

func (x *row) appendMember(dst []byte, p *place) []byte {
	if p.exact && p.value == p.nameEnd+2 && !x.quotesIn(p) {
		return append(dst, x.src[p.start:p.end]...)
	}
	dst = append(append(dst, x.src[p.start:p.nameEnd+1]...), ':')
	return x.appendValue(dst, p)
}

// appendValue appends a value as [appendPlain] does.
func (x *row) appendValue(dst []byte, p *place) []byte {
	if p.exact && !x.quotesIn(p) {
		return append(dst, x.src[p.value:p.end]...)
	}
	before := len(x.places)
	switch x.src[p.value] {
	case '{':
		dst = append(dst, '{')
		members := x.inside(p)
		for i := members.start; i < members.end; i++ {
			if i > members.start {
				dst = append(dst, ',')
			}
			dst = x.appendMember(dst, &x.places[i])
		}
		x.places = x.places[:before]
		return append(dst, '}')
	case '[':
		dst = append(dst, '[')
		elements := x.inside(p)
		for i := elements.start; i < elements.end; i++ {
			if i > elements.start {
				dst = append(dst, ',')
			}
			dst = x.appendValue(dst, &x.places[i])
		}
		x.places = x.places[:before]
		return append(dst, ']')
	case '"':
		return x.appendAnew(dst, x.src[p.value+1:p.end-1])
	}
	return append(append(append(dst, '"'), x.src[p.value:p.end]...), '"')
}

// appendAnew appends the inside of a JSON string as a JSON string.
func (x *row) appendAnew(dst, text []byte) []byte {
	x.text = appendDecoded(x.text[:0], text)
	return delivery.AppendJSONString(dst, x.text)
}

// staysAsIs reports whether a text without quotes and the like is written as it stands in JSON.
func staysAsIs(text []byte) bool {
	for rest := text; ; {
		i := bytes.Index(rest, []byte("\u2028"[:2]))
		if i < 0 {
			return utf8.Valid(text)
		}
		if rest = rest[i+2:]; len(rest) > 0 && (rest[0] == "\u2028"[2] || rest[0] == "\u2029"[2]) {
			return false
		}
	}
}

// isOwnEscape reports whether the escape is how [delivery.AppendJSONString] writes the character.
func isOwnEscape(escape []byte, r rune) bool {
	if len(escape) == 2 {
		return escape[1] != '/'
	}
	var character [utf8.UTFMax]byte
	var room [16]byte
	own := delivery.AppendJSONString(room[:0], utf8.AppendRune(character[:0], r))
	return string(own[1:len(own)-1]) == string(escape)
}

// quote has the numbers at the dotted paths written in quotes, as [inQuotes] does.
func (x *row) quote(paths []string) {
	for _, path := range paths {
		x.quotePath(x.outer, path)
	}
	slices.Sort(x.quotes)
}

func (x *row) quotePath(members span, path string) {
	for i := members.start; i < members.end; i++ {
		p := &x.places[i]
		n := int(p.nameEnd - p.start - 1)
		if n > len(path) || string(x.nameOf(p)) != path[:n] {
			continue
		}
		switch isObject := x.src[p.value] == '{'; {
		case !isObject && n == len(path):
			x.quoteAt(p)
		case n < len(path) && path[n] == '.':
			x.quoteIn(p, path[n+1:])
		}
	}
}

// quoteIn looks for a path in an object, or in those of a list.
func (x *row) quoteIn(p *place, path string) {
	before := len(x.places)
	switch x.src[p.value] {
	case '{':
		x.quotePath(x.inside(p), path)
	case '[':
		elements := x.inside(p)
		for i := elements.start; i < elements.end; i++ {
			x.quoteIn(&x.places[i], path)
		}
	}
	x.places = x.places[:before]
}

// quoteAt has a number, or a list's numbers, written in quotes.
func (x *row) quoteAt(p *place) {
	switch {
	case x.src[p.value] == '[':
		before := len(x.places)
		elements := x.inside(p)
		for i := elements.start; i < elements.end; i++ {
			x.quoteAt(&x.places[i])
		}
		x.places = x.places[:before]
	case isNumeric[x.src[p.value]]:
		x.quotes = append(x.quotes, p.value)
	}
}

// quotesIn reports whether a value holds a number that is written in quotes, or is one.
func (x *row) quotesIn(p *place) bool {
	if len(x.quotes) == 0 {
		return false
	}
	i, _ := slices.BinarySearch(x.quotes, p.value)
	return i < len(x.quotes) && x.quotes[i] < p.end
}
