package format

import (
	"bytes"
	"strings"

	"rowhook/delivery"
)

// almaXML begins Alma's XML, whose root is <webhook>. It is the JSON's members in their order, with these rules:
//
//   - {"value":…, "desc":…} is <name desc="…">value</name>; link, name, description and type are attributes too.
//   - A list stands in an element of its name's plural: <counters><counter>…</counter></counters>.
//   - null is left out.
//   - The MARC record in anies is not a text but an element (see [recordWriter]).
const almaXML = `<?xml version="1.0" encoding="UTF-8" standalone="yes"?><webhook><id>`

// xmlHead makes the head of XML messages.
func (a *alma) xmlHead(h *almaHead, ev *delivery.Event) {
	dst := []byte("</id>")
	if action := a.renamed(ownAction(ev)); action != "" {
		dst = append(dst, "<action>"...)
		dst = append(appendXMLText(dst, action, false, false), "</action>"...)
	}
	if event := a.renamed(ownEvent(ev)); event != "" {
		dst = appendCodedXML(dst, "event", event, eventDesc(ev))
	}
	dst = appendCodedXML(dst, "institution", a.institution(ev), a.desc)
	h.before = append(dst, "<time>"...)
	object := string(appendXMLName(nil, []byte(a.renamed(almaObject(ev)))))
	h.between = []byte("</time><" + object + ">")
	h.end = []byte("</" + object + "></webhook>")
}

// appendCodedXML appends a coded value: a code, and its text if there is one.
func appendCodedXML(dst []byte, name, value, desc string) []byte {
	dst = append(append(dst, '<'), name...)
	if desc != "" {
		dst = append(dst, ` desc="`...)
		dst = append(appendXMLText(dst, desc, false, true), '"')
	}
	dst = appendXMLText(append(dst, '>'), value, false, false)
	dst = append(append(dst, "</"...), name...)
	return append(dst, '>')
}

// codedPart is a member of an object that may be a coded value.
type codedPart struct {
	name, value span
	isText      bool
}

// coded writes the object at hand as an element with attributes if it is a coded value: a value,
// and nothing else but attributes. It reports false, and has written nothing, when it is not.
func (x *xmlWriter) coded(name span) bool {
	start := x.pos
	var room [6]codedPart
	parts, ok := x.codedParts(room[:0])
	if !ok {
		x.pos = start
		return false
	}
	value := -1
	told := false
	for i := range parts {
		told = told || !x.isNull(&parts[i])
		if string(x.src[parts[i].name.start:parts[i].name.end]) == "value" {
			value = i
		}
	}
	switch {
	case value < 0:
		x.pos = start
		return false
	case !told:
		return true
	}
	tag := x.open(name)
	x.dst = x.dst[:len(x.dst)-1]
	for i := range parts {
		if i == value || x.isNull(&parts[i]) {
			continue
		}
		x.dst = append(x.dst, ' ')
		x.dst = append(x.dst, x.src[parts[i].name.start:parts[i].name.end]...)
		x.dst = append(x.dst, '=', '"')
		x.part(&parts[i], true)
		x.dst = append(x.dst, '"')
	}
	x.dst = append(x.dst, '>')
	if !x.isNull(&parts[value]) {
		x.part(&parts[value], false)
	}
	return x.close(tag)
}

// codedParts takes the object at hand apart, as long as it may be a coded value.
func (x *xmlWriter) codedParts(parts []codedPart) ([]codedPart, bool) {
	if x.pos++; x.next('}') {
		return nil, false
	}
	for len(parts) < cap(parts) {
		var p codedPart
		var ok bool
		if p.name, ok = x.str(); !ok || !x.next(':') {
			return nil, false
		}
		switch string(x.src[p.name.start:p.name.end]) {
		case "value", "desc", "link", "name", "description", "type":
		default:
			return nil, false
		}
		if p.value, p.isText, ok = x.scalar(); !ok {
			return nil, false
		}
		parts = append(parts, p)
		if x.next('}') {
			return parts, true
		}
		if !x.next(',') {
			return nil, false
		}
	}
	return nil, false
}

func (x *xmlWriter) isNull(p *codedPart) bool {
	return !p.isText && string(x.src[p.value.start:p.value.end]) == "null"
}

func (x *xmlWriter) part(p *codedPart, attribute bool) {
	x.dst = appendXMLText(x.dst, x.src[p.value.start:p.value.end], p.isText, attribute)
}

// almaList writes a list within an element of its name's plural.
func (x *xmlWriter) almaList(name span, depth int) bool {
	if string(x.src[name.start:name.end]) == "anies" {
		return x.items(func() bool { return x.record(name, depth+1) })
	}
	x.dst = append(x.dst, '<')
	start := len(x.dst)
	x.dst = appendPlural(appendXMLName(x.dst, x.src[name.start:name.end]), start)
	tag := span{start, len(x.dst)}
	x.dst = append(x.dst, '>')
	return x.items(func() bool { return x.element(name, depth+1) }) && x.close(tag)
}

// appendPlural makes the word that begins at start plural.
func appendPlural(dst []byte, start int) []byte {
	word := dst[start:]
	switch {
	case bytes.HasSuffix(word, []byte("s")), bytes.HasSuffix(word, []byte("x")),
		bytes.HasSuffix(word, []byte("ch")), bytes.HasSuffix(word, []byte("sh")):
		return append(dst, "es"...)
	case len(word) > 1 && word[len(word)-1] == 'y' && bytes.IndexByte([]byte("aeiou"), word[len(word)-2]) < 0:
		return append(dst[:len(dst)-1], "ies"...)
	}
	return append(dst, 's')
}

// record writes a text that is an XML document as that document's element, and any other value as
// usual.
func (x *xmlWriter) record(name span, depth int) bool {
	start := x.pos
	value, isText, ok := x.scalar()
	if ok && isText {
		text := decodeString(x.src[value.start:value.end])
		if strings.HasPrefix(strings.TrimLeft(text, " \t\r\n\ufeff"), "<") {
			if inline, err := appendRecord(x.dst, text); err == nil {
				x.dst = inline
				return true
			}
		}
	}
	x.pos = start
	return x.element(name, depth)
}

// decodeString decodes the inside of a valid JSON string.
func decodeString(text []byte) string {
	if bytes.IndexByte(text, '\\') < 0 {
		return string(text)
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		if text[i] != '\\' {
			b.WriteByte(text[i])
			i++
			continue
		}
		r, size, _ := unescape(text[i:])
		b.WriteRune(r)
		i += size
	}
	return b.String()
}
