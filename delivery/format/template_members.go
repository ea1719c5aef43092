package format

import "rowhook/delivery"

// eventMember returns a member of the event at hand, as [templated.values] has it.
func (r *renderer) eventMember(name string) value {
	switch ev := r.ev; name {
	case "id":
		return textValue(ev.ID)
	case "type":
		return textValue(ev.Type)
	case "time":
		start := len(r.made)
		r.made = delivery.AppendJSONTime(r.made, ev.Time)
		v := r.madeValue(start)
		v.value++
		v.end--
		return v
	case "source":
		return textValue(ev.Source)
	case "table":
		return textValue(ev.Table)
	case "op":
		return textValue(ev.Op)
	case "position":
		return textValue(ev.Position)
	case "transaction":
		return textValue(ev.Transaction)
	case "seq":
		return integer(ev.Ordinal)
	case "title":
		return textValue(ev.Title)
	case "code":
		return textValue(ev.Code)
	case "desc":
		if desc := ev.As["desc"]; desc != nil {
			return textValue(*desc)
		}
		start := len(r.made)
		r.made = appendInWords(r.made, ev.Type)
		return r.madeValue(start)
	case "operation":
		return textValue(ev.Operation)
	case "link":
		return textValue(ev.Link)
	case "actor":
		return value{kind: isActor}
	case "unavailable":
		return value{kind: isNames}
	}
	for i := range rowNames {
		if rowNames[i] == name {
			return value{kind: isRow, row: &r.rows[i]}
		}
	}
	return value{}
}

// groupMember returns a member of the group.
func (r *renderer) groupMember(name string) value {
	switch g := r.group; name {
	case "id":
		return textValue(g.ID)
	case "unit":
		return textValue(g.Unit)
	case "type":
		return textValue(g.Type)
	case "count":
		return integer(g.Count)
	case "part":
		return integer(g.Part)
	case "parts":
		return integer(g.Parts)
	}
	return value{}
}

// memberOf returns a value's member.
func (r *renderer) memberOf(v *value, name string, strict bool) value {
	var p place
	ok := false
	switch v.kind {
	case isNothing:
		r.odd = r.odd || strict
		return value{}
	case isRow:
		p, ok = v.row.find(v.row.outer, name)
	case isObject:
		p, ok = v.row.memberOf(&v.place, name)
	case isActor:
		switch name {
		case "id":
			return textValue(r.ev.Actor.ID)
		case "name":
			return textValue(r.ev.Actor.Name)
		}
	default:
		r.odd = true
	}
	if !ok {
		return value{}
	}
	return v.row.at(p)
}
