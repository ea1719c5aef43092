package format

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"rowhook/delivery"
)

// canon re-writes JSON texts in the one form that JavaScript's JSON.stringify(JSON.parse(text)) gives back unchanged, for
// receivers that verify signatures over what they re-serialise. It copies what is in that form already, which nearly
// everything is, and never builds a tree.
//
//   - No white space; the only escapes are \" \\ \b \t \n \f \r and \u00xx for other control characters. All else is
//     literal UTF-8, U+2028 too. What is no character, such as half a surrogate pair, becomes U+FFFD.
//   - Numbers are as ECMAScript prints them. One that a double would change, an integer beyond 2^53−1 above all, is a
//     string with the digits that the database said.
//   - Of members with one name the last counts, in the place of the first. Members named like array indexes come
//     first, in their order, as JavaScript's objects have them. A member named __proto__ is left out: assigned by a
//     receiver, it would change objects instead of filling them.
//
// A canon works on one text at a time. Each step reports whether the text was valid so far.
type canon struct {
	src, dst []byte
	pos      int      // in src
	from     int      // src[from:pos] is as it should be, and not copied yet
	members  []member // of the objects that are open, the innermost's last
	alma     bool     // dates and times of the outermost object as Alma has them
}

// member is a place in what is written: a member's name, with its quotes, and the end of its value.
type member struct {
	start, nameEnd, end int
	hash                uint32
}

// append appends the canonical form of a JSON value to dst. kinds says what the members of an
// object are; it may be empty.
func (c *canon) append(dst, value []byte, kinds string) ([]byte, error) {
	c.src, c.dst, c.pos, c.from, c.members = value, dst, 0, 0, c.members[:0]
	c.space()
	ok := false
	if c.peek() == '{' {
		ok = c.object(kinds, 0)
	} else {
		ok = !c.alma && c.value(0)
	}
	c.space()
	ok = ok && c.pos == len(c.src)
	c.flush(c.pos)
	dst = c.dst
	c.src, c.dst = nil, nil
	if !ok {
		return dst, errBadJSON
	}
	return dst, nil
}

// flush copies what is as it should be, up to a place in src.
func (c *canon) flush(to int) {
	c.dst = append(c.dst, c.src[c.from:to]...)
	c.from = to
}

// written is how long dst is when all up to pos has been copied.
func (c *canon) written() int { return len(c.dst) + c.pos - c.from }

func (c *canon) peek() byte {
	if c.pos < len(c.src) {
		return c.src[c.pos]
	}
	return 0
}

// space leaves white space out.
func (c *canon) space() {
	if c.pos < len(c.src) && c.src[c.pos] > ' ' {
		return
	}
	start := c.pos
	for c.pos < len(c.src) && (c.src[c.pos] == ' ' || c.src[c.pos] == '\n' || c.src[c.pos] == '\t' || c.src[c.pos] == '\r') {
		c.pos++
	}
	c.flush(start)
	c.from = c.pos
}

func (c *canon) value(depth int) bool {
	switch b := c.peek(); {
	case b == '"':
		return c.str()
	case b == '{':
		return depth <= maxDepth && c.object("", depth)
	case b == '[':
		return depth <= maxDepth && c.array(depth)
	case b == '-' || b >= '0' && b <= '9':
		return c.number()
	case b == 't':
		return c.word("true")
	case b == 'f':
		return c.word("false")
	case b == 'n':
		return c.word("null")
	}
	return false
}

func (c *canon) word(word string) bool {
	if len(c.src)-c.pos < len(word) || string(c.src[c.pos:c.pos+len(word)]) != word {
		return false
	}
	c.pos += len(word)
	return true
}

// number keeps a short integer as it is, and writes any other number anew.
func (c *canon) number() bool {
	const certain = 15 // digits that a double holds
	start := c.pos
	for c.pos < len(c.src) && isNumeric[c.src[c.pos]] {
		c.pos++
	}
	text := c.src[start:c.pos]
	digits := text
	if text[0] == '-' {
		digits = text[1:]
	}
	whole := len(digits) > 0 && digits[0] != '0' && len(leadingDigits(digits)) == len(digits)
	if whole && len(digits) <= certain {
		return true
	}
	c.flush(start)
	c.from = c.pos
	if whole && (len(digits) > len(maxSafeDigits) || len(digits) == len(maxSafeDigits) && string(digits) > maxSafeDigits) {
		c.dst = append(append(append(c.dst, '"'), text...), '"')
		return true
	}
	var ok bool
	c.dst, ok = appendNumber(c.dst, text)
	return ok
}

func (c *canon) array(depth int) bool {
	c.pos++
	if c.space(); c.peek() == ']' {
		c.pos++
		return true
	}
	for {
		if !c.value(depth + 1) {
			return false
		}
		c.space()
		b := c.peek()
		if b != ',' && b != ']' {
			return false
		}
		c.pos++
		if b == ']' {
			return true
		}
		c.space()
	}
}

// object writes an object. Names are compared only where their hashes give cause; an object with a
// name twice or with names like indexes is put into order when it has been written.
func (c *canon) object(kinds string, depth int) bool {
	c.pos++
	first := len(c.members)
	open := c.written()
	if c.space(); c.peek() == '}' {
		c.pos++
		return true
	}
	var seen [4]uint64
	disorder := false
	for at := 0; ; at++ {
		for at < len(kinds) && kinds[at] == delivery.KindMissing {
			at++
		}
		m := member{start: c.written()}
		name, ok := c.name()
		if !ok {
			return false
		}
		m.hash = hashName(name)
		isProto, due := string(name) == "__proto__", string(name) == "due_date"
		disorder = disorder || delivery.IsIndex(name)
		m.nameEnd = c.written()
		if c.space(); c.peek() != ':' {
			return false
		}
		c.pos++
		c.space()
		if isTime := at < len(kinds) && c.alma && c.almaTime(kinds[at], due); !isTime && !c.value(depth+1) {
			return false
		}
		m.end = c.written()
		if isProto {
			c.drop(open, m.start)
		} else {
			word, bit := m.hash>>6&3, uint64(1)<<(m.hash&63)
			disorder = disorder || seen[word]&bit != 0 && c.named(first, &m)
			seen[word] |= bit
			c.members = append(c.members, m)
		}
		c.space()
		b := c.peek()
		if b == '}' {
			break
		}
		if b != ',' {
			return false
		}
		if c.pos++; c.written() == open+1 { // nothing is before the comma
			c.from = c.pos
		}
		c.space()
	}
	if disorder {
		c.sort(open, c.members[first:])
	}
	c.members = c.members[:first]
	c.pos++
	return true
}

// name writes a member's name and returns it without its quotes, as it was written. It holds until
// more is written.
func (c *canon) name() ([]byte, bool) {
	if c.peek() != '"' {
		return nil, false
	}
	pos, start := c.pos, c.written()
	if !c.str() {
		return nil, false
	}
	if c.from <= pos {
		return c.src[pos+1 : c.pos-1], true
	}
	c.flush(c.pos)
	return c.dst[start+1 : len(c.dst)-1], true
}

// drop takes back the member that begins at start, and the comma before it, in an object whose
// members begin at open.
func (c *canon) drop(open, start int) {
	c.flush(c.pos)
	if start > open {
		start--
	}
	c.dst = c.dst[:start]
}

// manyMembers is where looking for a name costs more than a table of names.
const manyMembers = 256

// named reports whether the object whose members begin at first may have one of m's name already.
func (c *canon) named(first int, m *member) bool {
	if len(c.members)-first > manyMembers {
		return true
	}
	for i := first; i < len(c.members); i++ {
		have := &c.members[i]
		if have.hash != m.hash {
			continue
		}
		if c.flush(c.pos); string(c.dst[have.start:have.nameEnd]) == string(c.dst[m.start:m.nameEnd]) {
			return true
		}
	}
	return false
}

// sort writes an object's members, which begin at dst[from:], as JavaScript would have them.
func (c *canon) sort(from int, members []member) {
	c.flush(c.pos)
	written := slices.Clone(c.dst[from:])
	name := func(m *member) []byte { return written[m.start-from+1 : m.nameEnd-from-1] }
	place := make(map[string]int, len(members))
	kept := make([]*member, 0, len(members))
	for i := range members {
		m := &members[i]
		if at, ok := place[string(name(m))]; ok {
			kept[at] = m
			continue
		}
		place[string(name(m))] = len(kept)
		kept = append(kept, m)
	}
	index := func(m *member) uint64 {
		if !delivery.IsIndex(name(m)) {
			return 1 << 32
		}
		n, _ := strconv.ParseUint(string(name(m)), 10, 64)
		return n
	}
	slices.SortStableFunc(kept, func(a, b *member) int { return cmp.Compare(index(a), index(b)) })
	c.dst = c.dst[:from]
	for i, m := range kept {
		if i > 0 {
			c.dst = append(c.dst, ',')
		}
		c.dst = append(c.dst, written[m.start-from:m.end-from]...)
	}
}

// hashName hashes a name by its ends, which is quick and tells nearly all names apart.
func hashName(name []byte) uint32 {
	const k1, k2 = 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f
	h := uint64(len(name))
	if n := len(name); n >= 8 {
		h += binary.LittleEndian.Uint64(name)*k1 ^ binary.LittleEndian.Uint64(name[n-8:])*k2
	} else {
		for _, b := range name {
			h = h<<8 | uint64(b)
		}
		h *= k1
	}
	return uint32(h >> 32)
}

// str keeps a string as it is, but for what needs another form.
func (c *canon) str() bool {
	c.pos++
	for {
		start := c.pos
		end, high := plainRun(c.src, start)
		if end == len(c.src) {
			return false
		}
		if high && !utf8.Valid(c.src[start:end]) {
			c.flush(start)
			c.dst = appendUTF8(c.dst, c.src[start:end])
			c.from = end
		}
		c.pos = end
		switch b := c.src[end]; {
		case b == '"':
			c.pos++
			return true
		case b != '\\' || !c.escape():
			return false
		}
	}
}

// plainRun returns where the text that begins at pos and needs no escape ends, and whether it goes
// beyond ASCII. It looks at eight bytes at a time: of x, a byte with its high bit clear is 0 where
// (x − 0x01) & ^x has the high bit.
func plainRun(src []byte, pos int) (end int, high bool) {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	var all uint64
	for ; pos+8 <= len(src); pos += 8 {
		w := binary.LittleEndian.Uint64(src[pos:])
		quote, slash := w^'"'*ones, w^'\\'*ones
		if found := ((quote-ones)&^quote | (slash-ones)&^slash | (w-' '*ones)&^w) & highs; found != 0 {
			n := bits.TrailingZeros64(found)
			all |= w & (1<<n - 1)
			return pos + n/8, all&highs != 0
		}
		all |= w
	}
	for ; pos < len(src) && src[pos] != '"' && src[pos] != '\\' && src[pos] >= ' '; pos++ {
		all |= uint64(src[pos])
	}
	return pos, all&highs != 0
}

// appendUTF8 appends a text; what is not UTF-8 becomes U+FFFD.
func appendUTF8(dst, text []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		dst = utf8.AppendRune(dst, r) // RuneError is U+FFFD
		text = text[size:]
	}
	return dst
}

// escape keeps a short escape, and writes what any other stands for.
func (c *canon) escape() bool {
	if c.pos+1 < len(c.src) && strings.IndexByte(`"\bfnrt`, c.src[c.pos+1]) >= 0 {
		c.pos += 2
		return true
	}
	r, size, ok := unescape(c.src[c.pos:])
	if !ok {
		return false
	}
	c.flush(c.pos)
	c.pos += size
	c.from = c.pos
	c.dst = appendCanonicalRune(c.dst, r)
	return true
}

// appendCanonicalRune appends a character as it stands in a canonical JSON string.
func appendCanonicalRune(dst []byte, r rune) []byte {
	switch {
	case r == '"' || r == '\\':
		return append(dst, '\\', byte(r))
	case r >= ' ':
		return utf8.AppendRune(dst, r)
	}
	const short = "btn_fr" // of U+0008 to U+000D
	if i := r - '\b'; i >= 0 && i < rune(len(short)) && short[i] != '_' {
		return append(dst, '\\', short[i])
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
}

// appendCanonicalString appends s as a canonical JSON string.
func appendCanonicalString[S ~string | ~[]byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		if c := s[i]; c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		r, size := runeAt(s, i)
		dst = appendCanonicalRune(dst, r)
		i += size
	}
	return append(dst, '"')
}

// runeAt decodes the character at s[i:].
func runeAt[S ~string | ~[]byte](s S, i int) (rune, int) {
	var b [utf8.UTFMax]byte
	n := copy(b[:], s[i:min(i+utf8.UTFMax, len(s))])
	return utf8.DecodeRune(b[:n])
}

// unescape reads the escape that text begins with, and how long it is. Half a surrogate pair is
// U+FFFD.
func unescape(text []byte) (r rune, size int, ok bool) {
	if len(text) < 2 {
		return 0, 0, false
	}
	switch text[1] {
	case '"', '\\', '/':
		return rune(text[1]), 2, true
	case 'b':
		return '\b', 2, true
	case 'f':
		return '\f', 2, true
	case 'n':
		return '\n', 2, true
	case 'r':
		return '\r', 2, true
	case 't':
		return '\t', 2, true
	}
	r, ok = unhex(text)
	if !ok {
		return 0, 0, false
	}
	if !utf16.IsSurrogate(r) {
		return r, 6, true
	}
	if low, isEscape := unhex(text[6:]); isEscape {
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			return pair, 12, true
		}
	}
	return utf8.RuneError, 6, true
}

// unhex reads an escape such as \u00e9.
func unhex(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range text[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
