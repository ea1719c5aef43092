package postgres

import (
	"maps"
	"slices"
)

// description is a table as the stream announces it: its types first, where they are not built in.
type description struct {
	relationMessage
	types map[uint32]typeMessage
}

func newDescription(m relationMessage, announced map[uint32]typeMessage) *description {
	d := &description{m, map[uint32]typeMessage{}}
	for _, c := range m.columns {
		if told, ok := announced[c.oid]; ok {
			d.types[c.oid] = told
		}
	}
	return d
}

// msgEncoding begins the name of the encoding that a parked description, and the change it belongs
// to, are in. No message of the stream begins so.
const msgEncoding = 'e'

// raw is what a parked change keeps of the description: its encoding unless that is UTF-8, the
// types that are not built in, and the relation message. [parseDescription] reads it.
func (d *description) raw(texts *encoding, relation []byte) []byte {
	var out []byte
	if texts != nil {
		out = append(append(append(out, msgEncoding), texts.name...), 0)
	}
	for _, oid := range slices.Sorted(maps.Keys(d.types)) {
		out = append(out, d.types[oid].raw...)
	}
	return append(out, relation...)
}

// parseDescription reads what a parked change keeps of its table, and the encoding that it is in.
func parseDescription(b []byte) (*description, string, error) {
	name, r := encodingUTF8, reader{b: b}
	d := &description{types: map[uint32]typeMessage{}}
	if len(r.b) > 0 && r.b[0] == msgEncoding {
		r.byte()
		name = string(r.cstring())
	}
	for len(r.b) > 0 && r.b[0] == msgType && !r.fail {
		m := r.typeMessage()
		d.types[m.oid] = m
	}
	if r.fail {
		return nil, "", &streamError{what: "description of a table"}
	}
	var err error
	d.relationMessage, err = parseRelation(r.b)
	return d, name, err
}

// decode turns names into UTF-8.
func (d *description) decode(texts *encoding) error {
	if texts == nil {
		return nil
	}
	var failure error
	name := func(text string) string {
		out, err := texts.append(nil, []byte(text))
		if err != nil {
			failure = err
		}
		return string(out)
	}
	d.schema, d.name = name(d.schema), name(d.name)
	for i := range d.columns {
		d.columns[i].name = name(d.columns[i].name)
	}
	for oid, t := range d.types {
		t.schema, t.name = name(t.schema), name(t.name)
		d.types[oid] = t
	}
	return failure
}
