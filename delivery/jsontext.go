package delivery

import (
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// JSON texts compare as they are read, so that a document of any size costs no memory, and is left at
// the first member that differs. Members of one name are a list in their order: PostgreSQL's json and
// MariaDB's JSON keep them all.

// characters are what a text may lie in.
type characters interface{ ~string | ~[]byte }

const (
	// maxJSONDepth is beyond what databases take.
	maxJSONDepth = 10_000
	// maxSortedDepth bounds how often canonical texts move what lies in nested objects.
	maxSortedDepth = 128
)

// jsonReader goes through a JSON text.
type jsonReader[T characters] struct {
	text T
	at   int
	// held are bytes of a character that was written as an escape, and are read next.
	held  [utf8.UTFMax]byte
	first int
	last  int
}

// peek goes to what is not white space, and returns it; 0 at the end.
func (r *jsonReader[T]) peek() byte {
	for ; r.at < len(r.text); r.at++ {
		if c := r.text[r.at]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c
		}
	}
	return 0
}

// take goes behind a sign, if it comes next.
func (r *jsonReader[T]) take(sign byte) bool {
	if r.peek() != sign {
		return false
	}
	r.at++
	return true
}

// word goes behind a number, true, false or null, and returns its place.
func (r *jsonReader[T]) word() (start, end int) {
	start = r.at
	for r.at < len(r.text) && strings.IndexByte("+-.", r.text[r.at]) >= 0 || r.at < len(r.text) && isWordByte(r.text[r.at]) {
		r.at++
	}
	return start, r.at
}

func isWordByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// next returns the next byte of a string that is being read, without escapes. A half of a surrogate
// pair has bytes of its own. ok is false at the end, which is sound if it is the quote.
func (r *jsonReader[T]) next() (c byte, ok, sound bool) {
	if r.first < r.last {
		r.first++
		return r.held[r.first-1], true, true
	}
	if r.at >= len(r.text) {
		return 0, false, false
	}
	switch c = r.text[r.at]; c {
	case '"':
		r.at++
		return 0, false, true
	case '\\':
		return r.escape()
	}
	r.at++
	return c, true, true
}

func (r *jsonReader[T]) escape() (c byte, ok, sound bool) {
	if r.at+1 >= len(r.text) {
		return 0, false, false
	}
	c = r.text[r.at+1]
	if c != 'u' {
		i := strings.IndexByte(`"\/bfnrt`, c)
		if i < 0 {
			return 0, false, false
		}
		r.at += 2
		return "\"\\/\b\f\n\r\t"[i], true, true
	}
	unit, ok := r.unit(r.at)
	if !ok {
		return 0, false, false
	}
	r.at += 6
	if utf16.IsSurrogate(unit) {
		if second, ok := r.unit(r.at); ok {
			if whole := utf16.DecodeRune(unit, second); whole != utf8.RuneError {
				unit = whole
				r.at += 6
			}
		}
	}
	if utf16.IsSurrogate(unit) {
		r.held = [utf8.UTFMax]byte{0xe0 | byte(unit>>12), 0x80 | byte(unit>>6)&0x3f, 0x80 | byte(unit)&0x3f}
		r.first, r.last = 1, 3
		return r.held[0], true, true
	}
	r.first, r.last = 1, utf8.EncodeRune(r.held[:], unit)
	return r.held[0], true, true
}

// unit reads \u and the four digits behind it.
func (r *jsonReader[T]) unit(at int) (unit rune, ok bool) {
	if at+6 > len(r.text) || r.text[at] != '\\' || r.text[at+1] != 'u' {
		return 0, false
	}
	for i := at + 2; i < at+6; i++ {
		digit, ok := hexDigit(r.text[i])
		if !ok {
			return 0, false
		}
		unit = unit<<4 | rune(digit)
	}
	return unit, true
}

// skipString goes behind a string, whose quote comes next.
func (r *jsonReader[T]) skipString() bool {
	for r.at++; ; {
		if _, ok, sound := r.next(); !ok {
			return sound
		}
	}
}

// skip goes behind a value.
func (r *jsonReader[T]) skip() bool {
	for depth := 0; ; {
		switch c := r.peek(); c {
		case '{', '[':
			r.at++
			depth++
		case '}', ']':
			if depth == 0 {
				return false
			}
			r.at++
			depth--
		case '"':
			if !r.skipString() {
				return false
			}
		case ',', ':':
			if depth == 0 {
				return false
			}
			r.at++
		default:
			if start, end := r.word(); start == end {
				return false
			}
		}
		if depth == 0 {
			return true
		}
	}
}

// sameJSON compares two JSON texts.
func sameJSON[A, B characters](a A, b B) bool {
	x, y := jsonReader[A]{text: a}, jsonReader[B]{text: b}
	return sameValue(&x, &y, 0) && x.peek() == 0 && y.peek() == 0 && x.at == len(a) && y.at == len(b)
}

func sameValue[A, B characters](a *jsonReader[A], b *jsonReader[B], depth int) bool {
	x, y := a.peek(), b.peek()
	switch {
	case depth > maxJSONDepth:
		return false
	case x == '"' || y == '"':
		return x == y && sameString(a, b)
	case x == '[' || y == '[':
		return x == y && sameElements(a, b, depth+1)
	case x == '{' || y == '{':
		return x == y && sameMembers(a, b, depth+1)
	}
	start, end := a.word()
	first, last := b.word()
	switch {
	case start == end || first == last:
		return false
	case end-start == last-first && string(a.text[start:end]) == string(b.text[first:last]):
		return true
	}
	return equalNumbers(string(a.text[start:end]), string(b.text[first:last]))
}

// sameString compares strings, whose quotes come next.
func sameString[A, B characters](a *jsonReader[A], b *jsonReader[B]) bool {
	a.at, b.at = a.at+1, b.at+1
	for {
		c, more, sound := a.next()
		d, moreToo, soundToo := b.next()
		if !more && !moreToo {
			return sound && soundToo
		}
		if more != moreToo || c != d { // what is left of a character is not the next string's
			a.first, a.last, b.first, b.last = 0, 0, 0, 0
			return false
		}
	}
}

func sameElements[A, B characters](a *jsonReader[A], b *jsonReader[B], depth int) bool {
	a.at, b.at = a.at+1, b.at+1
	if end, endToo := a.take(']'), b.take(']'); end || endToo {
		return end && endToo
	}
	for {
		if !sameValue(a, b, depth) {
			return false
		}
		sign := a.peek()
		if sign != ',' && sign != ']' || !a.take(sign) || !b.take(sign) {
			return false
		}
		if sign == ']' {
			return true
		}
	}
}

// sameMembers compares objects, the second of which is mostly a condition's and small: each member of
// the first is looked for among those of the second that are left.
func sameMembers[A, B characters](a *jsonReader[A], b *jsonReader[B], depth int) bool {
	a.at, b.at = a.at+1, b.at+1
	if end, endToo := a.take('}'), b.take('}'); end || endToo {
		return end && endToo
	}
	left := remaining{at: b.at}
	for {
		for i := left.index; ; i++ {
			start := b.at
			if a.peek() != '"' || b.peek() != '"' {
				return false
			}
			if name := a.at; !left.found(i) && sameString(a, b) {
				if !a.take(':') || !b.take(':') || !sameValue(a, b, depth) {
					return false
				}
				left.find(i)
				break
			} else {
				a.at, b.at = name, start
			}
			if b.peek(); !b.skipString() || !b.take(':') || !b.skip() || !b.take(',') {
				return false
			}
		}
		// What comes first among those that are left may have been found before.
		if b.at = left.at; !skipFound(b, &left) {
			return false
		}
		switch {
		case a.take(','):
			if left.none {
				return false
			}
		case a.take('}'):
			return left.none
		default:
			return false
		}
	}
}

// remaining tells which of an object's members have not been found. at is the place of the first of
// them, and index its number.
type remaining struct {
	at, index int
	none      bool
	few       uint64 // the first 64
	more      map[int]bool
}

func (m *remaining) found(i int) bool {
	if i < 64 {
		return m.few>>i&1 == 1
	}
	return m.more[i]
}

func (m *remaining) find(i int) {
	if i < 64 {
		m.few |= 1 << i
		return
	}
	if m.more == nil {
		m.more = map[int]bool{}
	}
	m.more[i] = true
}

// skipFound goes to the first member that has not been found, or behind the object.
func skipFound[T characters](r *jsonReader[T], left *remaining) bool {
	for left.found(left.index) {
		delete(left.more, left.index)
		if r.peek() != '"' || !r.skipString() || !r.take(':') || !r.skip() {
			return false
		}
		left.index++
		if r.take('}') {
			left.none = true
			return true
		}
		if !r.take(',') {
			return false
		}
		left.at = r.at
	}
	return true
}

// appendJSON appends a value with its members in order, without white space, and with its numbers and
// strings in one form. What it takes beside the text goes by the members.
func appendJSON[T characters](dst []byte, text T) (_ []byte, ok bool) {
	r, start := jsonReader[T]{text: text}, len(dst)
	if dst, ok = appendJSONValue(dst, &r, 0); !ok || r.peek() != 0 || r.at < len(text) {
		return dst[:start], false
	}
	return dst, true
}

func appendJSONValue[T characters](dst []byte, r *jsonReader[T], depth int) (_ []byte, ok bool) {
	switch r.peek() {
	case '"':
		return appendJSONString(dst, r)
	case '[':
		dst, r.at = append(dst, '['), r.at+1
		if depth >= maxSortedDepth {
			return dst, false
		}
		if r.take(']') {
			return append(dst, ']'), true
		}
		for {
			if dst, ok = appendJSONValue(dst, r, depth+1); !ok {
				return dst, false
			}
			if r.take(']') {
				return append(dst, ']'), true
			}
			if !r.take(',') {
				return dst, false
			}
			dst = append(dst, ',')
		}
	case '{':
		return appendJSONMembers(dst, r, depth)
	}
	start, end := r.word()
	if start == end {
		return dst, false
	}
	if n := newScaled(string(r.text[start:end])); n.ok {
		return n.append(dst), true
	}
	return append(dst, r.text[start:end]...), true
}

func appendJSONString[T characters](dst []byte, r *jsonReader[T]) (_ []byte, ok bool) {
	dst, r.at = append(dst, '"'), r.at+1
	for {
		c, ok, sound := r.next()
		if !ok {
			return append(dst, '"'), sound
		}
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
}

func appendJSONMembers[T characters](dst []byte, r *jsonReader[T], depth int) (_ []byte, ok bool) {
	dst, r.at = append(dst, '{'), r.at+1
	if depth >= maxSortedDepth {
		return dst, false
	}
	if r.take('}') {
		return append(dst, '}'), true
	}
	start := len(dst)
	type place struct{ start, colon, end int }
	var members []place
	for {
		m := place{start: len(dst)}
		if r.peek() != '"' {
			return dst, false
		}
		if dst, ok = appendJSONString(dst, r); !ok || !r.take(':') {
			return dst, false
		}
		m.colon = len(dst)
		if dst, ok = appendJSONValue(append(dst, ':'), r, depth+1); !ok {
			return dst, false
		}
		m.end = len(dst)
		members = append(members, m)
		if r.take('}') {
			break
		}
		if !r.take(',') {
			return dst, false
		}
		dst = append(dst, ',')
	}
	byName := func(a, b place) int {
		return strings.Compare(string(dst[a.start:a.colon]), string(dst[b.start:b.colon]))
	}
	if !slices.IsSortedFunc(members, byName) {
		written := slices.Clone(dst[start:])
		slices.SortStableFunc(members, byName)
		dst = dst[:start]
		for i, m := range members {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, written[m.start-start:m.end-start]...)
		}
	}
	return append(dst, '}'), true
}
