package format

import (
	"bytes"
	"slices"
	"sync"
	"unicode/utf8"

	"rowhook/delivery"
)

// xmlFlags names the members of an event's payload in which a character gives way to U+FFFD since
// XML does not have it.
func xmlFlags(writers *sync.Pool, ev *delivery.Event) []string {
	var flags []string
	flag := func(name []byte) {
		if !slices.Contains(flags, string(name)) {
			flags = append(flags, string(name))
		}
	}
	for _, part := range [...][]byte{ev.Key, ev.Data, ev.Previous} {
		if !mayLack(part) {
			continue
		}
		x := writers.Get().(*xmlWriter)
		_ = x.members(part, func(name, value []byte) error { // a fault is told when the body is rendered
			if lacks(value) {
				flag(appendUnescaped(nil, name))
			}
			return nil
		})
		x.src = nil
		writers.Put(x)
	}
	for _, own := range [...]struct{ name, text string }{{"actor", ev.Actor.ID}, {"actor", ev.Actor.Name}, {"operation", ev.Operation}, {"link", ev.Link}} {
		for _, r := range own.text {
			if !inXML(r) {
				flag([]byte(own.name))
			}
		}
	}
	return flags
}

// mayLack tells quickly that JSON has no character that XML lacks: such are escaped, or behind a
// lead byte that few have.
func mayLack(text []byte) bool {
	return bytes.Contains(text, []byte(`\`)) || bytes.IndexByte(text, 0xef) >= 0
}

// lacks reports whether valid JSON has a character that XML does not have.
func lacks(text []byte) bool {
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\\':
			r, size, ok := unescape(text[i:])
			if !ok {
				return false
			}
			half := r == utf8.RuneError && !bytes.EqualFold(text[i:i+size], []byte(`\ufffd`)) // of a surrogate pair
			if !inXML(r) || half {
				return true
			}
			i += size
		case c < utf8.RuneSelf:
			i++
		default:
			r, size := utf8.DecodeRune(text[i:])
			if !inXML(r) || r == utf8.RuneError && size == 1 {
				return true
			}
			i += size
		}
	}
	return false
}

// inXML reports whether XML has the character.
func inXML(r rune) bool {
	return r >= ' ' && r != 0xfffe && r != 0xffff || r == '\t' || r == '\n' || r == '\r'
}

// appendUnescaped appends the inside of a valid JSON string as the text that it stands for.
func appendUnescaped(dst, text []byte) []byte {
	for i := 0; i < len(text); {
		if text[i] != '\\' {
			dst, i = append(dst, text[i]), i+1
			continue
		}
		r, size, ok := unescape(text[i:])
		if !ok {
			return append(dst, text[i:]...)
		}
		dst, i = utf8.AppendRune(dst, r), i+size
	}
	return dst
}

// Flags names what XML has not got the characters for.
func (n *nativeXML) Flags(ev *delivery.Event) []string { return xmlFlags(&n.writers, ev) }

// Flags names what XML has not got the characters for; JSON has all.
func (a *alma) Flags(ev *delivery.Event) []string {
	if !a.xml {
		return nil
	}
	return xmlFlags(&a.scanners, ev)
}
