package format

import (
	"fmt"
	"unicode/utf8"
)

// xmlWriter writes the members of a JSON object as XML elements, in one walk over its text. The
// values are the JSON's: every digit as it is there. What a format does with nulls, lists and
// objects of its own is up to its style.
//
// Bodies are one line: line ends in texts are character references. Characters that XML does not
// have become U+FFFD, and names that are none in XML are written as SQL/XML does it, the odd
// characters as _x0020_.
type xmlWriter struct {
	src, dst []byte
	pos      int
	alma     bool // Alma's style (see [almaXML]), else native's
}

// span is a piece of the text at hand.
type span struct{ start, end int }

// inside appends the members of the JSON object to dst.
func (x *xmlWriter) inside(dst, object []byte) ([]byte, error) {
	x.src, x.dst, x.pos = object, dst, 0
	x.space()
	ok := x.peek() == '{' && x.object(0)
	x.space()
	ok = ok && x.pos == len(x.src)
	dst = x.dst
	x.src, x.dst = nil, nil
	if !ok {
		return dst, errBadJSON
	}
	return dst, nil
}

func (x *xmlWriter) peek() byte {
	if x.pos < len(x.src) {
		return x.src[x.pos]
	}
	return 0
}

func (x *xmlWriter) space() {
	if x.pos < len(x.src) && x.src[x.pos] > ' ' {
		return
	}
	for x.pos < len(x.src) && (x.src[x.pos] == ' ' || x.src[x.pos] == '\n' || x.src[x.pos] == '\t' || x.src[x.pos] == '\r') {
		x.pos++
	}
}

// next takes the byte if it is the one that comes.
func (x *xmlWriter) next(b byte) bool {
	if x.pos < len(x.src) && x.src[x.pos] <= ' ' {
		x.space()
	}
	if x.pos >= len(x.src) || x.src[x.pos] != b {
		return false
	}
	if x.pos++; x.pos < len(x.src) && x.src[x.pos] <= ' ' {
		x.space()
	}
	return true
}

// object writes the members of the object at hand.
func (x *xmlWriter) object(depth int) bool {
	if x.pos++; x.next('}') {
		return true
	}
	for depth <= maxDepth {
		name, ok := x.str()
		if !ok || !x.next(':') || !x.element(name, depth) {
			return false
		}
		if x.next('}') {
			return true
		}
		if !x.next(',') {
			return false
		}
	}
	return false
}

// element writes the value at hand as an element of that name, a list as several.
func (x *xmlWriter) element(name span, depth int) bool {
	switch x.peek() {
	case '{':
		if x.alma && x.coded(name) {
			return true
		}
		tag := x.open(name)
		return x.object(depth+1) && x.close(tag)
	case '[':
		return depth <= maxDepth && x.list(name, depth)
	case 'n':
		return x.null(name)
	}
	tag := x.open(name)
	value, isText, ok := x.scalar()
	if !ok {
		return false
	}
	if isText {
		x.dst = appendXMLText(x.dst, x.src[value.start:value.end], true, false)
	} else {
		x.dst = append(x.dst, x.src[value.start:value.end]...)
	}
	return x.close(tag)
}

func (x *xmlWriter) null(name span) bool {
	if _, _, ok := x.scalar(); !ok {
		return false
	}
	if !x.alma {
		x.open(name)
		x.dst = append(x.dst[:len(x.dst)-1], ` xsi:nil="true"/>`...)
	}
	return true
}

// list writes a list's elements, each under the list's name; one that is itself a list has its
// elements within its own.
func (x *xmlWriter) list(name span, depth int) bool {
	if x.alma {
		return x.almaList(name, depth)
	}
	return x.items(func() bool {
		if x.peek() != '[' {
			return x.element(name, depth+1)
		}
		tag := x.open(name)
		return depth < maxDepth && x.list(name, depth+1) && x.close(tag)
	})
}

// items has each of the list's elements written.
func (x *xmlWriter) items(write func() bool) bool {
	if x.pos++; x.next(']') {
		return true
	}
	for write() {
		if x.next(']') {
			return true
		}
		if !x.next(',') {
			return false
		}
	}
	return false
}

// open writes a start tag and returns where in it the name is.
func (x *xmlWriter) open(name span) span {
	x.dst = append(x.dst, '<')
	start := len(x.dst)
	x.dst = appendXMLName(x.dst, x.src[name.start:name.end])
	tag := span{start, len(x.dst)}
	x.dst = append(x.dst, '>')
	return tag
}

func (x *xmlWriter) close(tag span) bool {
	x.dst = append(x.dst, '<', '/')
	x.dst = append(x.dst, x.dst[tag.start:tag.end]...)
	x.dst = append(x.dst, '>')
	return true
}

// isScalar says which bytes numbers and words are made of.
var isScalar = func() (scalar [256]bool) {
	for c := range scalar {
		scalar[c] = isNumeric[c] || c >= 'a' && c <= 'z'
	}
	return scalar
}()

// scalar takes a string, a number or a word, and returns where it is, a string without its quotes.
func (x *xmlWriter) scalar() (value span, isText, ok bool) {
	if x.peek() == '"' {
		value, ok = x.str()
		return value, true, ok
	}
	start := x.pos
	for x.pos < len(x.src) && isScalar[x.src[x.pos]] {
		x.pos++
	}
	value = span{start, x.pos}
	switch text := x.src[start:x.pos]; {
	case len(text) == 0:
		return value, false, false
	case text[0] >= '1' && text[0] <= '9' && len(leadingDigits(text)) == len(text):
		ok = true
	case text[0] == '-' || text[0] >= '0' && text[0] <= '9':
		_, ok = parseDecimal(text)
	default:
		ok = string(text) == "true" || string(text) == "false" || string(text) == "null"
	}
	return value, false, ok
}

// str takes a string and returns where it is, without its quotes.
func (x *xmlWriter) str() (span, bool) {
	if x.peek() != '"' {
		return span{}, false
	}
	start := x.pos + 1
	for i := start; ; {
		i, _ = plainRun(x.src, i)
		if i == len(x.src) {
			return span{}, false
		}
		if x.src[i] == '"' {
			x.pos = i + 1
			return span{start, i}, true
		}
		_, size, ok := unescape(x.src[i:])
		if !ok {
			return span{}, false
		}
		i += size
	}
}

// xmlPlain says which bytes stand for themselves in XML texts and attributes, as far as one can
// tell from a single byte.
var xmlPlain = func() (plain [256]bool) {
	for c := range plain {
		plain[c] = c >= ' ' && c != '&' && c != '<' && c != '>' && c != '"' && c != '\\' && c != 0xef
	}
	return plain
}()

// xmlRun returns where the text that begins at pos and stands for itself ends, and whether it goes
// beyond ASCII. The lead byte of what lies around U+FFFE ends it.
func xmlRun[S ~string | ~[]byte](text S, pos int) (end int, high bool) {
	var all byte
	for pos < len(text) && xmlPlain[text[pos]] {
		all |= text[pos]
		pos++
	}
	return pos, all >= utf8.RuneSelf
}

// appendXMLText appends a text as an element's content or an attribute's value. The text may be the
// inside of a valid JSON string.
func appendXMLText[S ~string | ~[]byte](dst []byte, text S, isJSON, attribute bool) []byte {
	for i := 0; i < len(text); {
		start := i
		var high bool
		i, high = xmlRun(text, i)
		if high {
			dst = appendValidUTF8(dst, text[start:i])
		} else {
			dst = append(dst, text[start:i]...)
		}
		if i == len(text) {
			break
		}
		r, size := runeAt(text, i)
		if isJSON && r == '\\' {
			var escape [12]byte
			r, size, _ = unescape(escape[:copy(escape[:], text[i:min(i+len(escape), len(text))])])
		}
		dst = appendXMLRune(dst, r, attribute)
		i += size
	}
	return dst
}

// appendValidUTF8 appends a text; what is not UTF-8 becomes U+FFFD.
func appendValidUTF8[S ~string | ~[]byte](dst []byte, text S) []byte {
	start := len(dst)
	dst = append(dst, text...)
	if utf8.Valid(dst[start:]) {
		return dst
	}
	dst = dst[:start]
	for i := 0; i < len(text); {
		r, size := runeAt(text, i)
		dst = utf8.AppendRune(dst, r)
		i += size
	}
	return dst
}

func appendXMLRune(dst []byte, r rune, attribute bool) []byte {
	switch {
	case r == '&':
		return append(dst, "&amp;"...)
	case r == '<':
		return append(dst, "&lt;"...)
	case r == '>':
		return append(dst, "&gt;"...)
	case r == '\n':
		return append(dst, "&#10;"...)
	case r == '\r':
		return append(dst, "&#13;"...)
	case r == '"' && attribute:
		return append(dst, "&quot;"...)
	case r == '\t' && attribute:
		return append(dst, "&#9;"...)
	case !inXML(r):
		r = utf8.RuneError
	}
	return utf8.AppendRune(dst, r)
}

// isLetter says which bytes are letters of ASCII.
var isLetter = func() (letter [256]bool) {
	for c := range letter {
		letter[c] = c|0x20 >= 'a' && c|0x20 <= 'z' && c < utf8.RuneSelf
	}
	return letter
}()

// appendXMLName appends a name, which may be the inside of a valid JSON string, as one that XML
// has.
func appendXMLName(dst, name []byte) []byte {
	if len(name) == 0 {
		return append(dst, '_')
	}
	easy := 0
	for easy < len(name) && (isLetter[name[easy]] || name[easy] == '_' && easy+1 < len(name) && name[easy+1] != 'x') {
		easy++
	}
	dst = append(dst, name[:easy]...)
	for i := easy; i < len(name); {
		r, size := rune(name[i]), 1
		switch {
		case r == '\\':
			r, size, _ = unescape(name[i:])
		case r >= utf8.RuneSelf:
			r, size = utf8.DecodeRune(name[i:])
		}
		ambiguous := r == '_' && i+1 < len(name) && name[i+1] == 'x'
		if inXMLName(r, i == 0) && !ambiguous {
			dst = utf8.AppendRune(dst, r)
		} else {
			dst = fmt.Appendf(dst, "_x%04X_", r)
		}
		i += size
	}
	return dst
}

// inXMLName reports whether a name may have the character, and begin with it. Of what lies beyond
// ASCII, only what all versions of XML take.
func inXMLName(r rune, first bool) bool {
	switch {
	case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_':
		return true
	case r >= '0' && r <= '9' || r == '-' || r == '.':
		return !first
	case r >= 0xc0 && r <= 0x131:
		return r != 0xd7 && r != 0xf7
	case r >= 0x391 && r <= 0x3a1 || r >= 0x3a3 && r <= 0x3ce || r >= 0x410 && r <= 0x44f: // Greek, Cyrillic
		return true
	case r >= 0x3041 && r <= 0x3094 || r >= 0x30a1 && r <= 0x30fa: // kana
		return true
	case r == 0x30fc: // the kana's long vowel
		return !first
	case r >= 0x4e00 && r <= 0x9fa5 || r >= 0xac00 && r <= 0xd7a3: // Han, Hangul
		return true
	}
	return false
}

// members calls visit for each member of a JSON object, with the inside of its name and its value
// as they are written.
func (x *xmlWriter) members(object []byte, visit func(name, value []byte) error) error {
	x.src, x.pos = object, 0
	if len(object) == 0 {
		return nil
	}
	if x.space(); !x.next('{') {
		return errBadJSON
	}
	if x.next('}') {
		return nil
	}
	for {
		name, ok := x.str()
		if !ok || !x.next(':') {
			return errBadJSON
		}
		start := x.pos
		if !x.skip() {
			return errBadJSON
		}
		if err := visit(object[name.start:name.end], object[start:x.pos]); err != nil {
			return err
		}
		if x.next('}') {
			return nil
		}
		if !x.next(',') {
			return errBadJSON
		}
	}
}

// skip takes the value at hand. Of lists and objects it only looks at the brackets.
func (x *xmlWriter) skip() bool {
	if b := x.peek(); b != '{' && b != '[' {
		_, _, ok := x.scalar()
		return ok
	}
	for depth := 0; x.pos < len(x.src); {
		switch x.src[x.pos] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				x.pos++
				return true
			}
		case '"':
			if _, ok := x.str(); !ok {
				return false
			}
			continue
		}
		x.pos++
	}
	return false
}
