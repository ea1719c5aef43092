package delivery

import "maps"

// Schema is a JSON Schema as encoding/json writes it. Only keywords that draft 07, which AsyncAPI
// takes, and 2020-12 have in common are used.
type Schema = map[string]any

// EventShape is what is known of the events of one type of one table before any of them comes.
type EventShape struct {
	EventType
	Title, Table string
	// As is what the rules name the event for formats with a vocabulary, where they agree.
	As map[string]*string
	// Key and Data are the members of the payload's objects. They are not known, and Open is set,
	// where nobody told what columns the table has, and of signals.
	Key, Data []MemberShape
	Open      bool
}

// MemberShape is a member of a payload's object.
type MemberShape struct {
	Name string
	Kind Kind
	// Value is the schema of its value as Event.Data has it.
	Value Schema
	// Told says that an insert always has the member. Of is set where the value is a column's: its
	// old value may be told as well.
	Told, Of bool
	// Members are those of an object of the shape's own.
	Members []MemberShape
	// Items are the members of each object of a list, which Value says nothing of.
	Items []MemberShape
}

// Only reports whether the events come from no other operations than these.
func (e *EventShape) Only(ops ...string) bool {
	for _, op := range e.Ops {
		found := false
		for _, one := range ops {
			found = found || one == op
		}
		if !found {
			return false
		}
	}
	return len(e.Ops) > 0
}

// ObjectSchema is the schema of an object with these members. value gives each member's, and may
// change it; nil leaves it as it is. Further members are allowed: tables get columns.
func ObjectSchema(members []MemberShape, required bool, value func(*MemberShape) Schema) Schema {
	properties := Schema{}
	var always []string
	for i := range members {
		m := &members[i]
		switch {
		case m.Members != nil:
			properties[m.Name] = ObjectSchema(m.Members, required, value)
		case m.Items != nil:
			list := maps.Clone(m.Value)
			list["items"] = ObjectSchema(m.Items, false, value)
			properties[m.Name] = list
		case value != nil:
			properties[m.Name] = value(m)
		default:
			properties[m.Name] = m.Value
		}
		if required && m.Told {
			always = append(always, m.Name)
		}
	}
	s := Schema{"type": "object", "properties": properties}
	if len(always) > 0 {
		s["required"] = always
	}
	return s
}
