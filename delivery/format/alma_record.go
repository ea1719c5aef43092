package format

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
)

// recordWriter writes an XML document, such as a MARC record, as an element of a body: on one line,
// without what stands before and behind it, comments and instructions.
//
// The body must stay well-formed for parsers that know namespaces, so every prefix must be declared
// within the element. A record that was cut out of a larger document has lost its declarations;
// those of the prefixes that MARC records use by custom are put back. What has other prefixes
// without a declaration, or is not well-formed at all, is sent as text, and nothing is lost.
type recordWriter struct {
	dst      []byte
	open     []xml.Name
	declared []string // prefixes, of the elements that are open
	counts   []int    // how many each of them has declared
	elements int
	lost     []string // prefixes that the outermost element is to declare
}

// customary are the namespaces of prefixes whose declaration a record may have lost.
var customary = []struct{ prefix, uri string }{
	{"marc", "http://www.loc.gov/MARC21/slim"},
	{"xsi", "http://www.w3.org/2001/XMLSchema-instance"},
}

var (
	errNoElement = errors.New("not one XML element")
	errNamespace = errors.New("a prefix without a namespace, or an attribute twice")
)

// appendRecord appends the document's element. Where it fails, dst is as it was.
func appendRecord(dst []byte, document string) ([]byte, error) {
	document = strings.TrimLeft(document, " \t\r\n\ufeff")
	w := recordWriter{dst: dst}
	err := w.write(document)
	if errors.Is(err, errNamespace) {
		w = recordWriter{dst: dst}
		for i := range customary {
			if strings.Contains(document, customary[i].prefix+":") {
				w.lost = append(w.lost, customary[i].prefix)
			}
		}
		err = w.write(document)
	}
	if err != nil {
		return dst, err
	}
	return w.dst, nil
}

func (w *recordWriter) write(document string) error {
	// The declaration may name the encoding that the text had once; it is decoded already.
	d := xml.NewDecoder(strings.NewReader(document))
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = w.token(token)
		}
		if err != nil {
			return err
		}
	}
	if w.elements != 1 || len(w.open) > 0 {
		return errNoElement
	}
	return nil
}

func (w *recordWriter) token(token xml.Token) error {
	switch t := token.(type) {
	case xml.StartElement:
		return w.start(t)
	case xml.EndElement:
		last := len(w.open) - 1
		if last < 0 || w.open[last] != t.Name {
			return errNoElement
		}
		w.declared = w.declared[:len(w.declared)-w.counts[last]]
		w.open, w.counts = w.open[:last], w.counts[:last]
		w.dst = append(appendRawName(append(w.dst, '<', '/'), t.Name), '>')
	case xml.CharData:
		if len(w.open) > 0 {
			w.dst = appendXMLText(w.dst, t, false, false)
		} else if len(bytes.TrimSpace(t)) > 0 {
			return errNoElement
		}
	}
	return nil
}

func (w *recordWriter) start(t xml.StartElement) error {
	var lost []string
	if len(w.open) == 0 {
		w.elements++
		lost = w.lost
	}
	before := len(w.declared)
	for _, a := range t.Attr {
		if a.Name.Space != "xmlns" {
			continue
		}
		if a.Value == "" || a.Name.Local == "xmlns" {
			return errNamespace
		}
		w.declared = append(w.declared, a.Name.Local)
	}
	own := w.declared[before:]
	lost = slices.DeleteFunc(slices.Clone(lost), func(prefix string) bool { return slices.Contains(own, prefix) })
	w.declared = append(w.declared, lost...)
	w.open, w.counts = append(w.open, t.Name), append(w.counts, len(w.declared)-before)
	if t.Name.Space == "xmlns" || !w.knows(t.Name) {
		return errNamespace
	}
	w.dst = appendRawName(append(w.dst, '<'), t.Name)
	for i := range customary {
		if slices.Contains(lost, customary[i].prefix) {
			w.dst = append(append(append(w.dst, " xmlns:"...), customary[i].prefix...), '=', '"')
			w.dst = append(append(w.dst, customary[i].uri...), '"')
		}
	}
	return w.attributes(t.Attr)
}

func (w *recordWriter) attributes(list []xml.Attr) error {
	for i, a := range list {
		twice := slices.ContainsFunc(list[:i], func(b xml.Attr) bool { return a.Name == b.Name })
		if twice || !w.knows(a.Name) {
			return errNamespace
		}
		w.dst = append(appendRawName(append(w.dst, ' '), a.Name), `="`...)
		w.dst = append(appendXMLText(w.dst, a.Value, false, true), '"')
	}
	w.dst = append(w.dst, '>')
	return nil
}

// knows reports whether a name has no prefix, or one that is declared.
func (w *recordWriter) knows(name xml.Name) bool {
	switch name.Space {
	case "", "xml", "xmlns":
		return name.Local != "" && !strings.Contains(name.Local, ":")
	}
	return name.Local != "" && slices.Contains(w.declared, name.Space)
}

func appendRawName(dst []byte, name xml.Name) []byte {
	if name.Space != "" {
		dst = append(append(dst, name.Space...), ':')
	}
	return append(dst, name.Local...)
}
