package format

import (
	"bytes"
	"strconv"

	"rowhook/delivery"
)

// rakurakuPlan is what the records of one entry and shape have in common. It serves events whose
// payloads are marked, and so are known to be laid out as the mapping does it; all others are read
// member by member, see appendRecord.
type rakurakuPlan struct {
	entry, code, kinds string
	key                []byte // the item of the primary key, up to its value
	keyNames           []string
	url                []byte // of a record, up to the key's value
	members            []plannedMember
}

// plannedMember is one member of the payload.
type plannedMember struct {
	label  []byte // "name": with a comma before it, but for the first
	item   []byte // ,"id":{"type":"text","value":
	typ    string
	noItem bool // it is in the key's item, or part of the workflow
	// isText says that a string is copied as it is.
	isText bool
}

// manyPlans is how many plans are kept.
const manyPlans = 16

// plan returns the event's, and makes it where it is not at hand.
func (w *rakurakuWork) plan(r *rakuraku, ev *delivery.Event) (*rakurakuPlan, error) {
	for i, p := range w.plans {
		if p.entry == ev.Entry && p.code == ev.Code && p.kinds == ev.Kinds && p.fits(&w.in, ev.Key) {
			if i > 0 {
				w.plans[0], w.plans[i] = p, w.plans[0]
			}
			return p, nil
		}
	}
	p, err := r.newPlan(ev)
	if err != nil {
		return nil, err
	}
	if len(w.plans) < manyPlans {
		w.plans = append(w.plans, nil)
	}
	copy(w.plans[1:], w.plans)
	w.plans[0] = p
	return p, nil
}

// fits reports whether the key has the members that it had when the plan was made. A reload may
// have given the entry another.
func (p *rakurakuPlan) fits(x *xmlWriter, key []byte) bool {
	same, n := true, 0
	err := x.members(key, func(name, _ []byte) error {
		same = same && n < len(p.keyNames) && string(name) == p.keyNames[n]
		n++
		return nil
	})
	return err == nil && same && n == len(p.keyNames)
}

func (r *rakuraku) newPlan(ev *delivery.Event) (*rakurakuPlan, error) {
	app := r.app(ev)
	p := &rakurakuPlan{entry: ev.Entry, code: ev.Code, kinds: ev.Kinds}
	p.key = append(appendCanonicalString(nil, app+"_main_primarykey"), `:{"type":"id","value":`...)
	p.url = r.appendURLHead([]byte{'"'}, app)
	var x xmlWriter
	if err := x.members(ev.Key, func(name, _ []byte) error {
		p.keyNames = append(p.keyNames, string(name))
		return nil
	}); err != nil {
		return nil, err
	}
	items, workflow := r.entries[ev.Entry].Items, r.entries[ev.Entry].Workflow
	at, n := 0, 0
	err := x.members(ev.Data, func(name, _ []byte) error {
		for at < len(ev.Kinds) && ev.Kinds[at] == delivery.KindMissing {
			at++
			n++ // its place in the shape stays its own
		}
		m, kind := plannedMember{noItem: isMember(ev.Key, name) || workflow.Names(string(name))}, delivery.KindOther
		if at < len(ev.Kinds) {
			kind = ev.Kinds[at]
		}
		at++
		if len(p.members) > 0 {
			m.label = []byte{','}
		}
		m.label = append(append(append(m.label, '"'), name...), '"', ':')
		if !m.noItem {
			var id string
			if id, m.typ = itemOf(items, name, kind); id == "" {
				id = app + "_main_" + strconv.Itoa(n)
			}
			n++
			m.isText = m.typ == "text" || m.typ == "textarea" || m.typ == "number" || m.typ == "float" || m.typ == "json"
			m.item = appendCanonicalString([]byte{','}, id)
			m.item = append(append(append(m.item, `:{"type":"`...), m.typ...), `","value":`...)
		}
		p.members = append(p.members, m)
		return nil
	})
	return p, err
}

// itemOf is the id that an item is given, if any, and its type.
func itemOf(items []delivery.RakurakuItem, name []byte, kind delivery.Kind) (id, typ string) {
	typ = itemType(kind)
	if given := findItem(items, name); given != nil {
		id = given.ID
		if given.Type != "" {
			typ = given.Type
		}
	}
	return id, typ
}

// appendPlanned appends a record by its plan. It reports false where the payload is laid out
// otherwise.
func (r *rakuraku) appendPlanned(dst []byte, ev *delivery.Event, p *rakurakuPlan, w *rakurakuWork) (_ []byte, fits bool, err error) {
	dst = append(dst, '{')
	start := len(dst)
	if len(ev.Key) > len("{}") {
		if w.text, err = appendTexts(w.text[:0], ev.Key, '-'); err != nil {
			return dst, false, err
		}
		dst = appendCanonicalString(append(dst, p.key...), w.text)
		dst = append(dst, '}')
	}
	if !hasItems(ev) {
		return append(dst, '}'), true, nil
	}
	x, marks := &w.in, ev.Marks
	x.src, x.pos = ev.Data, len("{")
	next, known := nextMark(0, &marks)
	for i := range p.members {
		m := &p.members[i]
		if !bytes.HasPrefix(x.src[x.pos:], m.label) {
			return dst, false, nil
		}
		x.pos += len(m.label)
		from := x.pos
		if !x.skip() {
			return dst, false, nil
		}
		value, canonical := x.src[from:x.pos], true
		for known && next < x.pos {
			canonical = canonical && next != from
			next, known = nextMark(next, &marks)
		}
		if m.noItem || r.null == "" && string(value) == "null" {
			continue
		}
		if len(dst) > start {
			dst = append(dst, m.item...)
		} else {
			dst = append(dst, m.item[1:]...)
		}
		if canonical && m.isText && value[0] == '"' {
			dst = append(dst, value...)
		} else if dst, err = r.appendItem(dst, m.typ, value, w, canonical, true); err != nil {
			return dst, false, err
		}
		dst = append(dst, '}')
	}
	if string(x.src[x.pos:]) != "}" {
		return dst, false, nil
	}
	return append(dst, '}'), true, nil
}

// nextMark is where the next mark points, if there is one.
func nextMark(at int, marks *[]byte) (next int, ok bool) {
	skip, _, rest, ok := delivery.NextMark(*marks)
	*marks = rest
	return at + skip, ok
}
