package format

import (
	"bytes"
	"slices"
)

// row is one of an event's objects as programs see it: its JSON text, and where in it things are.
// Nothing is decoded before a template asks for it, and what is exact, as nearly everything is, is
// copied.
//
// A row takes fewer texts than [plainObject] does: none with an escape in a name, none that is long
// or nested deeply. What it takes, it reads as plainObject does.
type row struct {
	src []byte
	pos int
	// places are those of all that was read: the members of an object, or the elements of a list,
	// stand together, and what is in them before them. Of what is nested and exact there are none,
	// until somebody looks into it.
	places []place
	outer  span // the outermost object's members, in the order in which they are written
	// open are the members and elements read so far of all that is being read, the innermost's last.
	open   []place
	like   *outline // of the outermost object, where it is known
	quotes []int32  // where the numbers begin that are written in quotes, ascending
	text   []byte   // room for a text that is written anew
}

// place is where a member's name and its value are, or an element of a list.
type place struct {
	start, nameEnd int32 // where the name's quotes are
	value, end     int32
	first, count   int32 // in row.places, of what is in a list or an object
	listed         bool  // those places are there; an object's in the order of the names
	// exact says that the value is as [appendPlain] writes it: names in order, no white space, and of
	// escapes those of [delivery.AppendJSONString] alone.
	exact bool
}

const (
	// maxRow bounds an object that is read into a row.
	maxRow = 256 << 10
	// maxRowDepth bounds its nesting.
	maxRowDepth = 100
)

// read takes an object, and reports whether it could. guess is the outline of an object read before
// that may be like it, or nil: to see that a name is the one expected costs less than to look for
// its end.
func (x *row) read(object []byte, guess *outline) bool {
	x.src, x.pos, x.like = object, 0, nil
	x.places, x.open, x.quotes, x.outer = x.places[:0], x.open[:0], x.quotes[:0], span{}
	if len(object) == 0 {
		return true
	}
	if x.space(); len(object) > maxRow || x.peek() != '{' {
		return false
	}
	_, like, ok := x.members(guess, 0)
	if !ok {
		return false
	}
	x.like = like
	x.outer = span{len(x.places), len(x.places) + len(x.open)}
	x.places = append(x.places, x.open...)
	x.open = x.open[:0]
	x.space()
	return x.pos == len(object)
}

func (x *row) peek() byte {
	if x.pos < len(x.src) {
		return x.src[x.pos]
	}
	return 0
}

// space passes white space, and reports whether there was any.
func (x *row) space() bool {
	if x.pos < len(x.src) && x.src[x.pos] > ' ' {
		return false
	}
	start := x.pos
	for x.pos < len(x.src) && (x.src[x.pos] == ' ' || x.src[x.pos] == '\n' || x.src[x.pos] == '\t' || x.src[x.pos] == '\r') {
		x.pos++
	}
	return x.pos > start
}

// members takes an object and leaves its members open. exact is what [place] calls so, but for the
// order of the names. The object is like the guessed outline, or like is nil.
func (x *row) members(guess *outline, depth int) (exact bool, like *outline, ok bool) {
	x.pos++
	if exact = !x.space(); x.peek() == '}' {
		x.pos++
		return exact, nil, true
	}
	first := len(x.open)
	for {
		start, nameEnd := x.pos, 0
		name, inner := guess.member(len(x.open) - first)
		if name != "" && inner == nil && x.plainMember(name) {
			b := x.src[x.pos]
			if x.pos++; b == '}' {
				break
			}
			continue
		}
		spaced := false
		if name != "" && len(x.src)-x.pos > len(name) && string(x.src[x.pos:x.pos+len(name)]) == name {
			x.pos += len(name)
			nameEnd = x.pos - len(`":`)
		} else {
			guess, inner = nil, nil
			if !x.name() {
				return false, nil, false
			}
			nameEnd = x.pos - 1
			if spaced = x.space(); x.peek() != ':' {
				return false, nil, false
			}
			x.pos++
		}
		spaced = x.space() || spaced
		m := len(x.open)
		x.open = append(x.open, place{start: int32(start), nameEnd: int32(nameEnd)})
		if !x.any(m, inner, depth+1) {
			return false, nil, false
		}
		spaced = x.space() || spaced
		b := x.peek()
		x.pos++
		if b == ',' {
			spaced = x.space() || spaced
		}
		if exact = exact && x.open[m].exact && !spaced; b == '}' {
			break
		}
		if b != ',' {
			return false, nil, false
		}
	}
	if guess != nil && len(guess.names) == len(x.open)-first {
		like = guess
	}
	return exact, like, true
}

// plainMember takes a member of that name with nothing to take care of: no white space, and a text
// without escapes, a whole number or a word. What is behind it is left, and another member comes or
// none. It is there for its speed alone, and members takes what it does not.
func (x *row) plainMember(name string) bool {
	src, start := x.src, x.pos
	value := start + len(name)
	if value >= len(src) || string(src[start:value]) != name {
		return false
	}
	end := value + 1
	switch c := src[value]; {
	case c == '"':
		var high bool
		end, high = plainRun(src, end)
		if end == len(src) || src[end] != '"' || high && !staysAsIs(src[value+1:end]) {
			return false
		}
		end++
	case c-'1' < 9:
		for end < len(src) && src[end]-'0' <= 9 {
			end++
		}
	case c == 'n' && bytes.HasPrefix(src[value:], []byte("null")), c == 't' && bytes.HasPrefix(src[value:], []byte("true")):
		end = value + len("null")
	case c == 'f' && bytes.HasPrefix(src[value:], []byte("false")):
		end = value + len("false")
	default:
		return false
	}
	if rest := src[end:]; len(rest) == 0 || rest[0] != '}' && !bytes.HasPrefix(rest, []byte(`,"`)) {
		return false
	}
	x.open = append(x.open, place{
		start: int32(start), nameEnd: int32(value - len(`":`)), value: int32(value), end: int32(end), exact: true,
	})
	x.pos = end
	return true
}

// any takes the value at hand for an open place. The guess is that of the object that it is, or of
// those in the list.
func (x *row) any(at int, guess *outline, depth int) (ok bool) {
	start, exact := x.pos, true
	switch c := x.peek(); {
	case c == '"':
		exact, ok = x.str()
	case c == '{' && depth <= maxRowDepth:
		exact, ok = x.object(at, guess, depth)
	case c == '[' && depth <= maxRowDepth:
		exact, ok = x.list(at, guess, depth)
	default:
		ok = x.scalar()
	}
	p := &x.open[at]
	p.value, p.end, p.exact = int32(start), int32(x.pos), exact
	return ok
}

// scalar takes a number or a word.
func (x *row) scalar() bool {
	start := x.pos
	for x.pos < len(x.src) && isScalar[x.src[x.pos]] {
		x.pos++
	}
	switch text := x.src[start:x.pos]; {
	case len(text) == 0:
		return false
	case text[0] >= '1' && text[0] <= '9' && len(leadingDigits(text)) == len(text):
		return true
	case isNumeric[text[0]]:
		_, ok := parseDecimal(text)
		return ok
	default:
		return string(text) == "true" || string(text) == "false" || string(text) == "null"
	}
}

// object takes a nested object for an open place. The places of its members are kept, in the order
// of their names, if it is not exact or if they are wanted.
func (x *row) object(at int, guess *outline, depth int) (exact, ok bool) {
	first := len(x.open)
	exact, like, ok := x.members(guess, depth)
	if !ok {
		return false, false
	}
	ordered := like != nil && like.ordered || like == nil && x.inOrder(first)
	if exact = exact && ordered; !exact || x.open[at].listed {
		from := first
		switch {
		case ordered:
		case like != nil:
			from = len(x.open)
			for _, i := range like.order {
				x.open = append(x.open, x.open[first+i])
			}
		default:
			x.sort(first)
		}
		x.keep(at, from)
	}
	x.open = x.open[:first]
	return exact, true
}

// keep has the places that are open from there on kept as what is in another.
func (x *row) keep(at, from int) {
	p := &x.open[at]
	p.first, p.count, p.listed = int32(len(x.places)), int32(len(x.open)-from), true
	x.places = append(x.places, x.open[from:]...)
}

// inOrder reports whether the open members stand in the order of their names, each once.
func (x *row) inOrder(first int) bool {
	for i := first + 1; i < len(x.open); i++ {
		if x.compare(&x.open[i-1], &x.open[i]) >= 0 {
			return false
		}
	}
	return true
}

// list takes a list, likewise.
func (x *row) list(at int, guess *outline, depth int) (exact, ok bool) {
	first := len(x.open)
	x.pos++
	if exact = !x.space(); x.peek() == ']' {
		x.pos++
		return exact, true
	}
	for {
		e := len(x.open)
		x.open = append(x.open, place{})
		if !x.any(e, guess, depth+1) {
			return false, false
		}
		spaced := x.space()
		b := x.peek()
		x.pos++
		if b == ',' {
			spaced = x.space() || spaced
		}
		if exact = exact && x.open[e].exact && !spaced; b == ']' {
			break
		}
		if b != ',' {
			return false, false
		}
	}
	if !exact || x.open[at].listed {
		x.keep(at, first)
	}
	x.open = x.open[:first]
	return exact, true
}

// sort puts an open object's members in the order of their names; of several of one name the last
// stays.
func (x *row) sort(first int) {
	const few = 16
	members := x.open[first:]
	if len(members) > few {
		slices.SortStableFunc(members, func(a, b place) int { return x.compare(&a, &b) })
	} else {
		for i := 1; i < len(members); i++ {
			for j := i; j > 0 && x.compare(&members[j], &members[j-1]) < 0; j-- {
				members[j], members[j-1] = members[j-1], members[j]
			}
		}
	}
	kept := first
	for i := range members {
		if i+1 == len(members) || x.compare(&members[i], &members[i+1]) != 0 {
			x.open[kept] = members[i]
			kept++
		}
	}
	x.open = x.open[:kept]
}

func (x *row) nameOf(p *place) []byte { return x.src[p.start+1 : p.nameEnd] }

func (x *row) compare(a, b *place) int { return bytes.Compare(x.nameOf(a), x.nameOf(b)) }

// inside returns where the places of what is in a list or an object are. They may be gone when
// places are cut back to what there was before, which whoever asks does.
func (x *row) inside(p *place) span {
	if p.listed {
		return span{int(p.first), int(p.first + p.count)}
	}
	at := len(x.open)
	x.open = append(x.open, place{listed: true}) // they are wanted
	x.pos = int(p.value)
	x.any(at, nil, 1)
	read := x.open[at]
	x.open = x.open[:at]
	return span{int(read.first), int(read.first + read.count)}
}

// name takes a name that is written without escapes.
func (x *row) name() bool {
	if x.peek() != '"' {
		return false
	}
	start := x.pos + 1
	end, high := plainRun(x.src, start)
	x.pos = end + 1
	return end < len(x.src) && x.src[end] == '"' && (!high || staysAsIs(x.src[start:end]))
}

// str takes a string.
func (x *row) str() (exact, ok bool) {
	x.pos++
	for exact = true; ; {
		end, high := plainRun(x.src, x.pos)
		if end == len(x.src) {
			return false, false
		}
		exact = exact && (!high || staysAsIs(x.src[x.pos:end]))
		x.pos = end
		switch x.src[end] {
		case '"':
			x.pos++
			return exact, true
		case '\\':
			r, size, ok := unescape(x.src[end:])
			if !ok {
				return false, false
			}
			x.pos += size
			exact = exact && isOwnEscape(x.src[end:x.pos], r)
		default:
			return false, false
		}
	}
}

// memberOf returns a nested object's member of that name.
func (x *row) memberOf(object *place, name string) (place, bool) {
	before := len(x.places)
	p, ok := x.find(x.inside(object), name)
	x.places = x.places[:before]
	return p, ok
}

// find returns the member of that name: of several the last.
func (x *row) find(members span, name string) (place, bool) {
	for i := members.end - 1; i >= members.start; i-- {
		if p := &x.places[i]; int(p.nameEnd-p.start) == len(name)+1 && string(x.nameOf(p)) == name {
			return *p, true
		}
	}
	return place{}, false
}
