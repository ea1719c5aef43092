package mapping

import (
	"encoding/json"
	"maps"
	"slices"

	"rowhook/capture"
	"rowhook/delivery"
)

// Shapes describes the events that the mapping can make, by type and table: what their payloads
// hold. Tables are those that are known; of an entry without one the shape is open, as a signal's
// is. Nullable says which columns may be NULL; nil is all but the key's.
func (r *Rules) Shapes(tables []*capture.Table, nullable func(t *capture.Table, column string) bool) []delivery.EventShape {
	var shapes []delivery.EventShape
	named, of := ByName(tables), map[*entry][]*capture.Table{}
	for _, t := range tables {
		for _, e := range r.entriesOf(t) {
			of[e] = append(of[e], t)
		}
	}
	for _, e := range r.entries {
		bound := map[*capture.Table]*boundEntry{}
		var known []*capture.Table
		for _, t := range of[e] {
			if be := bindEntry(e, t, named); len(be.problems) == 0 {
				bound[t], known = be, append(known, t)
			}
		}
		for _, ev := range e.events {
			shape := e.eventShape(ev)
			if len(known) == 0 {
				shape.Open = true
				shapes = append(shapes, shape)
			}
			for _, t := range known {
				d := describer{bound[t], t, nullable}
				one := shape
				one.Table = t.String()
				one.Key, one.Data = d.members(d.be.key), d.members(d.be.shape)
				shapes = append(shapes, one)
			}
		}
	}
	for _, s := range r.signals.Types {
		shapes = append(shapes, delivery.EventShape{
			EventType: delivery.EventType{Type: s.Type, Ops: []string{"signal"}, Object: s.Object}, Title: s.Title, As: s.As.names(), Open: true,
		})
	}
	return shapes
}

// eventShape is what an entry says of an event, whatever the table is.
func (e *entry) eventShape(ev *event) delivery.EventShape {
	shape := delivery.EventShape{
		EventType: delivery.EventType{Type: ev.typ, Entry: e.Name, Code: e.Code, Link: e.Link, Object: e.Object},
		Title:     e.Title, Table: e.schema + "." + e.table,
	}
	var ops opSet
	for i, rule := range ev.rules {
		ops |= rule.ops
		switch {
		case i == 0:
			shape.As = rule.as
		case !sameNames(shape.As, rule.as):
			shape.As = nil
		}
	}
	for op := capture.Insert; op <= capture.Read; op++ {
		if ops.has(op) {
			shape.Ops = append(shape.Ops, op.String())
		}
	}
	return shape
}

func sameNames(a, b map[string]*string) bool {
	return maps.EqualFunc(a, b, func(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b })
}

// describer describes the members of one entry's payloads of one table.
type describer struct {
	be       *boundEntry
	table    *capture.Table // without what is looked up
	nullable func(t *capture.Table, column string) bool
}

func (d *describer) members(members []member) []delivery.MemberShape {
	shapes := make([]delivery.MemberShape, 0, len(members))
	for i := range members {
		shapes = append(shapes, d.member(&members[i]))
	}
	return shapes
}

func (d *describer) member(m *member) delivery.MemberShape {
	b := binder{d.be}
	shape := delivery.MemberShape{Name: m.name(), Kind: b.kind(m), Told: d.table.WholeRows == "" && !d.lookedUp(m), Of: m.col != none}
	switch {
	case m.members != nil:
		shape.Members = d.members(m.members)
	case m.constant != nil:
		shape.Value = delivery.Schema{"const": json.RawMessage(m.constant)}
	case m.part != nil && m.convert == nil:
		shape.Value, shape.Items = d.list(m.part)
		shape.Told = false // what is not loaded yet is left out
	case m.part != nil:
		shape.Value, shape.Told = convertedSchema(shape.Kind), false
	case m.expr != nil:
		shape.Value, shape.Told = delivery.Schema{}, false // what it cannot compute is left out
	case m.mask != nil:
		shape.Value = d.orNull(m, delivery.Schema{"type": "string", "description": "a keyed hash of the value"})
	case m.convert != nil:
		shape.Value = d.orNull(m, convertedSchema(shape.Kind))
		if m.convert.null != "" {
			shape.Value = delivery.Schema{"type": []string{"array", "string"}}
		}
	default:
		shape.Value = d.orNull(m, valueSchema(d.be.table.Columns[m.col].Type))
	}
	return shape
}

// list is the schema of a list of another table's rows, and what each of these is.
func (d *describer) list(p *boundPart) (of delivery.Schema, items []delivery.MemberShape) {
	for i, c := range p.items {
		value, kind := valueSchema(c.typ), kindOf(c.typ)
		if c.mask != nil {
			value, kind = delivery.Schema{"type": "string", "description": "a keyed hash of the value"}, delivery.KindText
		}
		column := p.Columns[i]
		if d.nullable == nil && !slices.Contains(p.table.Key, p.cols[i]) || d.nullable != nil && d.nullable(p.table, column) {
			value = withNull(value)
		}
		items = append(items, delivery.MemberShape{Name: column, Kind: kind, Value: value})
	}
	return delivery.Schema{
		"type": "array", "maxItems": p.Max, "description": "rows of " + p.Table + ", by their key; unavailable names what is not among them",
	}, items
}

// name is the member's own name.
func (m *member) name() string {
	var name string
	_ = json.Unmarshal(m.label[:len(m.label)-1], &name) // we have written it
	return name
}

// lookedUp reports whether a member is of another table's row, which may not be there or not be known.
func (d *describer) lookedUp(m *member) bool { return m.col >= d.be.own }

// orNull adds null where the column may be NULL.
func (d *describer) orNull(m *member, s delivery.Schema) delivery.Schema {
	if !d.lookedUp(m) && (d.nullable != nil && !d.nullable(d.table, d.table.Columns[m.col].Name) ||
		d.nullable == nil && slices.Contains(d.table.Key, m.col)) {
		return s
	}
	return withNull(s)
}

// withNull is a schema of values that may be null, too.
func withNull(s delivery.Schema) delivery.Schema {
	types, typed := s["type"]
	if !typed {
		return s
	}
	s = maps.Clone(s)
	if one, ok := types.(string); ok {
		s["type"] = []string{one, "null"}
	} else {
		s["type"] = append(slices.Clone(types.([]string)), "null")
	}
	return s
}

// valueSchema is the schema of a column's values as payloads have them. What does not fit its
// type's policy is a string, and flagged, where that can happen at all.
func valueSchema(t *capture.Type) delivery.Schema {
	described := func(s delivery.Schema, note string) delivery.Schema {
		if note == "" {
			note = "database type " + t.Name
		} else {
			note = "database type " + t.Name + ": " + note
		}
		s["description"] = note
		if len(t.Labels) > 0 && t.Kind != capture.List {
			s["examples"] = t.Labels
		}
		return s
	}
	switch t.Kind {
	case capture.Integer, capture.Bigint:
		return described(delivery.Schema{"type": "integer"}, "")
	case capture.Decimal:
		return described(delivery.Schema{"type": "string"}, "an exact number, with all its digits")
	case capture.Float:
		return described(delivery.Schema{"type": []string{"number", "string"}}, "NaN and the infinities are strings")
	case capture.Bool:
		return described(delivery.Schema{"type": "boolean"}, "")
	case capture.Instant:
		return described(delivery.Schema{"type": "string", "format": "date-time"}, "in UTC; what is no date, such as infinity, as the database writes it")
	case capture.DateTime:
		return described(delivery.Schema{"type": "string"}, "a date and time without a zone")
	case capture.Date:
		return described(delivery.Schema{"type": "string", "format": "date"}, "what is no date, such as infinity, as the database writes it")
	case capture.List:
		return described(delivery.Schema{"type": []string{"array", "string"}}, "")
	case capture.Bytes:
		return described(delivery.Schema{"type": "string", "contentEncoding": "base64"}, "")
	case capture.JSON, capture.Untyped:
		return described(delivery.Schema{}, "any JSON value")
	}
	return described(delivery.Schema{"type": "string"}, "")
}

// convertedSchema is the schema of values that a field's type has converted. Those that do not fit
// are strings.
func convertedSchema(kind delivery.Kind) delivery.Schema {
	switch kind {
	case delivery.KindInteger, delivery.KindBigint, delivery.KindFloat, delivery.KindDecimal:
		return delivery.Schema{"type": []string{"number", "string"}}
	case delivery.KindBool:
		return delivery.Schema{"type": []string{"boolean", "string"}}
	case delivery.KindText, delivery.KindLongText, delivery.KindDate, delivery.KindDateTime, delivery.KindInstant, delivery.KindTime:
		return delivery.Schema{"type": "string"}
	}
	return delivery.Schema{}
}
