package account

import (
	"slices"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/mapping"
)

func (c *Change) readKeys(r *reader, bits byte) {
	if bits&hasKey != 0 {
		c.keyed, c.keys[0] = true, r.uint64()
	}
	if bits&hasOldKey != 0 {
		c.Moved, c.keys[1] = true, r.uint64()
	}
}

// read reads the rest of a change.
func (c *Change) read(r *reader, bits byte) {
	if bits&hasWho != 0 {
		c.Actor, c.Operation = delivery.Actor{ID: r.text(), Name: r.text()}, r.text()
	}
	if bits&hasFailure != 0 {
		c.Reason, c.Error = r.text(), r.text()
	}
	if bits&hasAbout != 0 {
		v := readVerdict(r, c.Plan.Where)
		c.About = &v
	}
	if bits&hasVerdicts != 0 {
		for i := range c.Plan.Events {
			for k := range c.Plan.Events[i].Rules {
				v := readVerdict(r, c.Plan.Events[i].Rules[k].Clauses)
				if r.bad {
					return
				}
				v.Event, v.Rule = i, k
				c.Verdicts = append(c.Verdicts, v)
			}
		}
	}
	for n := r.byte(); n > 0 && !r.bad; n-- {
		c.Events = append(c.Events, readEvent(r, c.Plan))
	}
	if bits&hasFolded != 0 {
		c.Folded = readFolded(r)
	}
	if bits&hasLookups != 0 {
		for i := range c.Plan.Lookups {
			c.Lookups = append(c.Lookups, c.readLookup(r, &c.Plan.Lookups[i]))
		}
		for i := range c.Plan.Parts {
			c.Lists = append(c.Lists, c.readList(r, &c.Plan.Parts[i]))
		}
	}
}

func readFolded(r *reader) *Folded {
	f := &Folded{Nothing: r.byte()&1 != 0, Count: r.number(1 << 40)}
	for n := r.number(mostFolded); n > 0 && !r.bad; n-- {
		f.Changes = append(f.Changes, Part{capture.Op(r.byte()), r.number(1 << 40)})
	}
	if slices.ContainsFunc(f.Changes, func(p Part) bool { return p.Op < capture.Insert || p.Op > capture.Read }) {
		r.bad = true
	}
	return f
}

func (c *Change) readLookup(r *reader, w *mapping.WatchedLookup) Lookup {
	first := r.byte()
	l := Lookup{Found: mapping.Found(first &^ touchedLookup), Touched: first&touchedLookup != 0}
	if l.Found > mapping.UnknownRow {
		r.bad = true
	}
	if !c.Plan.Values || r.bad {
		return l
	}
	if l.By = readColumns(r, w.By); l.Found == mapping.RowFound {
		l.Values = readColumns(r, w.Columns)
	}
	return l
}

func (c *Change) readList(r *reader, w *mapping.WatchedPart) List {
	var l List
	switch r.byte() {
	case listUntold:
		return l
	case listUnknown:
		l.Told = true
	case listWhole:
		l.Told, l.Known, l.Rows = true, true, r.number(1<<40)
	case listCut:
		l.Told, l.Known, l.More, l.Rows = true, true, true, r.number(1<<40)
	default:
		r.bad = true
	}
	if c.Plan.Values && !r.bad {
		l.By = readColumns(r, w.By)
	}
	return l
}

// readColumns reads the values of columns, while there are any.
func readColumns(r *reader, columns []string) (values []Value) {
	for _, column := range columns {
		v := readValue(r)
		if v.Name = column; r.bad {
			return values
		}
		values = append(values, v)
	}
	return values
}

func readVerdict(r *reader, clauses []mapping.Clause) Verdict {
	b := r.byte()
	v := Verdict{Standing: mapping.Standing(b &^ (follows | oldValue)), Old: b&oldValue != 0, Clause: -1}
	if v.Standing < mapping.Holds || v.Standing > mapping.NotAsked {
		r.bad = true
	}
	if b&follows == 0 || r.bad {
		return v
	}
	if v.Reason = mapping.Reason(r.byte()); v.Reason > mapping.Fault {
		r.bad = true
	}
	v.Clause = r.number(uint64(len(clauses))) - 1
	for n := r.byte(); n > 0 && !r.bad; n-- {
		value := readValue(r)
		if v.Clause >= 0 {
			value.Name = nameOf(&clauses[v.Clause], len(v.Values))
		}
		v.Values = append(v.Values, value)
	}
	return v
}

// nameOf names a clause's value: an expression's by its columns, others by their only one.
func nameOf(c *mapping.Clause, i int) string {
	if i < len(c.Columns) {
		return c.Columns[i]
	}
	return ""
}

func readValue(r *reader) Value {
	bits := r.byte()
	v := Value{Text: r.text(), Masked: bits&valueMasked != 0, Hidden: bits&valueHidden != 0, Cut: bits&valueCut != 0}
	switch {
	case bits&valueNull != 0:
		v.Known = delivery.ValueNull
	case bits&(valueText|valueHidden) != 0:
		v.Known = delivery.ValuePresent
	}
	return v
}

func readEvent(r *reader, p *Plan) Event {
	e := Event{Place: r.number(uint64(len(p.Events))), ID: r.text()}
	if e.Place >= len(p.Events) {
		r.bad = true
	}
	if r.bad {
		return e
	}
	for range p.Profiles[e.Place] {
		b := r.byte()
		a := Answer{Match: delivery.Truth(b &^ follows)}
		if a.Match > delivery.Undecidable {
			r.bad = true
		}
		if b&follows != 0 {
			column := r.text()
			a.Value = readValue(r)
			a.Value.Name = column
		}
		if r.bad {
			return e
		}
		e.Answers = append(e.Answers, a)
	}
	return e
}
