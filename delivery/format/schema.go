package format

import (
	"maps"
	"slices"

	"rowhook/delivery"
)

// What the bodies look like, for those who write receivers. Each product's schema is in one
// function; a test holds the bodies to it.

// textSchema is the schema of a string.
func textSchema(description string) delivery.Schema {
	return delivery.Schema{"type": "string", "description": description}
}

// eitherSchema is one of several schemas.
func eitherSchema(schemas []delivery.Schema) delivery.Schema {
	if len(schemas) == 1 {
		return schemas[0]
	}
	return delivery.Schema{"anyOf": schemas}
}

// xmlSchema is the schema of a body that is no JSON.
func xmlSchema(description string) delivery.Schema {
	return delivery.Schema{"type": "string", "contentMediaType": "application/xml", "description": description}
}

// looseSchema allows a string beside a number, for formats that write what JavaScript would round as one.
func looseSchema(s delivery.Schema) delivery.Schema {
	types, _ := s["type"].([]string)
	if one, ok := s["type"].(string); ok {
		types = []string{one}
	}
	if slices.Contains(types, "string") || !slices.Contains(types, "integer") && !slices.Contains(types, "number") {
		return s
	}
	s = maps.Clone(s)
	s["type"] = append(slices.Clone(types), "string")
	return s
}

// nativeSchema is the schema of [native.AppendBody]'s bodies.
func nativeSchema(c *delivery.ProfileConfig, e *delivery.EventShape) delivery.Schema {
	if c.MessageType == "xml" {
		return xmlSchema("the members of format native, one element each, in <event>")
	}
	properties := nativeValues(c, e)
	properties["id"] = textSchema("stable and opaque: the same event always has the same id")
	properties["type"] = delivery.Schema{"const": e.Type}
	properties["timestamp"] = delivery.Schema{"type": "string", "format": "date-time", "description": "when the transaction was committed"}
	properties["source"] = nativeSource(e)
	return delivery.Schema{"type": "object", "properties": properties, "required": []string{"id", "type", "timestamp", "source", "key", "data"}}
}

func nativeSource(e *delivery.EventShape) delivery.Schema {
	source := delivery.Schema{
		"name":        textSchema("the source's name"),
		"op":          delivery.Schema{"enum": e.Ops},
		"position":    textSchema("the place of the commit in the stream"),
		"transaction": textSchema("the transaction's id"),
		"seq":         delivery.Schema{"type": "integer", "minimum": 0, "description": "the change's place in its transaction"},
	}
	required := []string{"name", "op", "seq"}
	switch {
	case e.Entry == "":
	case e.Open:
		source["table"] = textSchema("schema.table")
		required = append(required, "table")
	default:
		source["table"] = delivery.Schema{"const": e.Table}
		required = append(required, "table")
	}
	return delivery.Schema{"type": "object", "properties": source, "required": required}
}

// nativeValues are the members that native and CloudEvents have in common.
func nativeValues(c *delivery.ProfileConfig, e *delivery.EventShape) delivery.Schema {
	value := func(m *delivery.MemberShape) delivery.Schema {
		if c.Bigint != "string" || m.Kind != delivery.KindBigint {
			return m.Value
		}
		s := maps.Clone(m.Value)
		switch types := s["type"].(type) {
		case string:
			s["type"] = "string"
		case []string:
			kept := slices.Clone(types)
			for i := range kept {
				if kept[i] == "integer" {
					kept[i] = "string"
				}
			}
			s["type"] = kept
		}
		return s
	}
	open := delivery.Schema{"type": "object"}
	key, data, previous := open, open, open
	if !e.Open {
		key = delivery.ObjectSchema(e.Key, true, value)
		data = delivery.ObjectSchema(e.Data, e.Only("insert"), value)
		switch whole := data; {
		case e.Only("truncate"):
			key, data = open, open
		case e.Only("delete"):
			data = key
		case slices.Contains(e.Ops, "truncate"):
			key, data = open, open
		case slices.Contains(e.Ops, "delete"):
			data = delivery.Schema{"anyOf": []delivery.Schema{whole, key}}
		}
		previous = delivery.ObjectSchema(oldMembers(e.Data), false, value)
	}
	return delivery.Schema{
		"actor": delivery.Schema{"type": "object", "description": "who made the change",
			"properties": delivery.Schema{"id": textSchema(""), "name": textSchema("")}},
		"operation":   textSchema("by what it was made"),
		"link":        textSchema("the row's page in the application"),
		"key":         key,
		"data":        data,
		"previous":    previous,
		"unavailable": delivery.Schema{"type": "array", "items": textSchema(""), "description": "members whose value the stream did not carry"},
	}
}

// oldMembers are those whose old value may be told: columns.
func oldMembers(members []delivery.MemberShape) []delivery.MemberShape {
	var old []delivery.MemberShape
	for _, m := range members {
		if m.Members != nil {
			m.Members = oldMembers(m.Members)
			if len(m.Members) == 0 {
				continue
			}
		} else if !m.Of {
			continue
		}
		old = append(old, m)
	}
	return old
}

// nativeGroupSchema is the schema of [native.WriteGroup]'s bodies.
func nativeGroupSchema(c *delivery.ProfileConfig, alone []delivery.EventShape, ref []delivery.Schema) delivery.Schema {
	if c.MessageType == "xml" {
		return xmlSchema("the members of format native, one element each, in <events>")
	}
	types := []string{}
	for i := range alone {
		if !slices.Contains(types, alone[i].Type) {
			types = append(types, alone[i].Type)
		}
	}
	count := func(description string) delivery.Schema {
		return delivery.Schema{"type": "integer", "minimum": 1, "description": description}
	}
	properties := delivery.Schema{
		"id":        textSchema("the group's; the same group always has the same id"),
		"timestamp": delivery.Schema{"type": "string", "format": "date-time", "description": "the first event's"},
		"source": delivery.Schema{"type": "object", "required": []string{"name"}, "properties": delivery.Schema{
			"name": textSchema("the source's name"), "position": textSchema("the place of the commit in the stream"), "transaction": textSchema("the transaction's id"),
		}},
		"count":  count("how many events the request has"),
		"part":   count("of a group that takes several requests: which one it is"),
		"parts":  count("how many they are"),
		"events": delivery.Schema{"type": "array", "minItems": 1, "items": eitherSchema(ref)},
		"type":   delivery.Schema{"type": "string", "description": "the events', where all have one", "examples": types},
	}
	return delivery.Schema{"type": "object", "properties": properties, "required": []string{"id", "timestamp", "source", "count", "events"}}
}

// cloudEventsSchema is the schema of [cloudEvents.AppendBody]'s bodies.
func cloudEventsSchema(c *delivery.ProfileConfig, e *delivery.EventShape) delivery.Schema {
	data := delivery.Schema{"type": "object", "properties": nativeValues(c, e), "required": []string{"key", "data"}}
	if c.CloudEvents.Mode == "binary" {
		return data
	}
	return delivery.Schema{
		"type": "object",
		"properties": delivery.Schema{
			"specversion":        delivery.Schema{"const": "1.0"},
			"id":                 textSchema("stable and opaque: the same event always has the same id"),
			"source":             delivery.Schema{"type": "string", "format": "uri-reference", "description": "rowhook:NAME/SCHEMA.TABLE"},
			"type":               delivery.Schema{"const": e.Type},
			"time":               delivery.Schema{"type": "string", "format": "date-time", "description": "when the transaction was committed"},
			"subject":            textSchema("the key's values"),
			"partitionkey":       textSchema("the ordering key"),
			"rowhookposition":    textSchema("the place of the commit in the stream"),
			"rowhooktransaction": textSchema("the transaction's id"),
			"rowhookseq":         delivery.Schema{"type": "integer", "minimum": 0, "description": "the change's place in its transaction"},
			"rowhookop":          delivery.Schema{"enum": e.Ops},
			"datacontenttype":    delivery.Schema{"const": "application/json"},
			"data":               data,
		},
		"required": []string{"specversion", "id", "source", "type", "time", "rowhookseq", "datacontenttype", "data"},
	}
}

// slackSchema is the schema of all of slack's bodies.
func slackSchema() delivery.Schema {
	return delivery.Schema{
		"type": "object", "required": []string{"text"},
		"properties": delivery.Schema{"text": textSchema("a line an event, in Slack's markup")},
	}
}

// almaSchema is the schema of [alma.AppendBody]'s bodies. What the event's names are follows from
// the type and the rule, unless several rules have names of their own.
func almaSchema(c *delivery.ProfileConfig, e *delivery.EventShape) delivery.Schema {
	if c.MessageType == "xml" {
		return xmlSchema("the members of format alma in XML, as Alma writes them")
	}
	a, err := newAlma(*c)
	if err != nil {
		return delivery.Schema{"type": "object"} // the config was checked
	}
	ev := &delivery.Event{Making: &delivery.Making{Type: e.Type, Object: e.Object, As: e.As}, Commit: &delivery.Commit{}}
	object := delivery.Schema{"type": "object"}
	if !e.Open && !slices.Contains(e.Ops, "truncate") {
		object = delivery.ObjectSchema(e.Data, false, func(m *delivery.MemberShape) delivery.Schema {
			if constant, given := m.Value["const"]; given {
				return delivery.Schema{"description": "a constant", "examples": []any{constant}} // JavaScript may write it otherwise
			}
			return looseSchema(m.Value)
		})
	}
	coded := delivery.Schema{"type": "object", "required": []string{"value"}, "properties": delivery.Schema{"value": textSchema(""), "desc": textSchema("")}}
	return delivery.Schema{
		"type": "object",
		"properties": delivery.Schema{
			"id":                      delivery.Schema{"type": "string", "pattern": "^[0-9]{19}$", "description": "the same for each attempt"},
			"action":                  delivery.Schema{"type": "string", "examples": []string{a.renamed(ownAction(ev))}},
			"event":                   coded,
			"institution":             coded,
			"time":                    delivery.Schema{"type": "string", "format": "date-time"},
			a.renamed(almaObject(ev)): object,
		},
		"required": []string{"id", "institution", "time", a.renamed(almaObject(ev))},
	}
}

// rakurakuRecord is the schema of a record: its items by their ids.
func rakurakuRecord() delivery.Schema {
	return delivery.Schema{"type": "object", "additionalProperties": delivery.Schema{
		"type": "object", "required": []string{"type", "value"}, "properties": delivery.Schema{"type": textSchema("the item's type"), "value": delivery.Schema{}},
	}}
}

// rakurakuSchema is the schema of [rakuraku.AppendBody]'s bodies, and with a list of records of
// [rakuraku.WriteGroup]'s.
func rakurakuSchema(c *delivery.ProfileConfig, e *delivery.EventShape, data delivery.Schema) delivery.Schema {
	properties := delivery.Schema{
		"execUserName": textSchema("who made the change"),
		"execUserId":   textSchema(""),
		"type":         delivery.Schema{"type": "string", "examples": []string{"APP_DATA_INSERT", "APP_DATA_UPDATE", "APP_DATA_DELETE"}},
		"eventTime":    textSchema("when the transaction was committed"),
	}
	required := []string{"execUserName", "execUserId", "type", "eventTime"}
	if c.IdentificationKey != "" {
		properties["key"] = delivery.Schema{"const": c.IdentificationKey}
		required = append(required, "key")
	}
	if e.Code != "" {
		code := c.Rakuraku.AppCodeField
		if code == "" {
			code = "appCode"
		}
		properties["appName"], properties[code] = textSchema("the entry's title"), delivery.Schema{"const": e.Code}
		properties["url"], properties["data"] = textSchema("the record's page"), data
		properties["workflow"] = delivery.Schema{"type": "object"}
		required = append(required, "appName", code, "data")
	}
	return delivery.Schema{"type": "object", "properties": properties, "required": required}
}

func rakurakuRecordSchema(c *delivery.ProfileConfig, e *delivery.EventShape) delivery.Schema {
	return rakurakuSchema(c, e, rakurakuRecord())
}

// rakurakuGroupSchema: a group's events are of one type of one entry.
func rakurakuGroupSchema(c *delivery.ProfileConfig, alone []delivery.EventShape, _ []delivery.Schema) delivery.Schema {
	var each []delivery.Schema
	for i := range alone {
		each = append(each, rakurakuSchema(c, &alone[i], delivery.Schema{"type": "array", "minItems": 1, "items": rakurakuRecord()}))
	}
	return eitherSchema(each)
}
