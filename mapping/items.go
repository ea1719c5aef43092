package mapping

import (
	"encoding/json"
	"strings"

	"rowhook/delivery"
)

// compileItems compiles the shape of the objects that a JSON column or a list holds: `items` beside
// `column`. In it, columns are members of the object at hand, a.b is member b of member a, and "."
// is the element itself.
func (f *field) compileItems(cfg *FieldConfig) error {
	if cfg.Members == nil {
		return f.path.at("items").err("items takes a map: the shape of each element", "")
	}
	fields, err := compileFields(cfg.Members, f.path.at("items"), nil)
	if err != nil {
		return err
	}
	if err := refuseExpressions(fields); err != nil {
		return err
	}
	next := converter{kind: func(delivery.Kind) delivery.Kind { return delivery.KindJSON }}
	then := f.convert
	if then != nil {
		next = *then
		next.decodes = false
	}
	next.value = func(value []byte) ([]byte, bool) {
		value, ok := shapeItems(value, fields)
		if !ok || then == nil {
			return value, ok
		}
		return then.value(value)
	}
	if f.convert = &next; then == nil {
		f.items = fields
	}
	return nil
}

// refuseExpressions: expressions see the row, and not a list's elements.
func refuseExpressions(fields []*field) error {
	for _, f := range fields {
		if f.expr != nil {
			return f.path.err("an expression sees the row, not the element", "write one for the whole list: map(row.column, ...)")
		}
		if err := refuseExpressions(f.members); err != nil {
			return err
		}
	}
	return nil
}

// shapeItems shapes an object, or each element of a list. A text is taken for the JSON that it
// holds.
func shapeItems(value []byte, fields []*field) ([]byte, bool) {
	value, ok := toJSON(value)
	if !ok {
		return value, false
	}
	if value[0] != '[' {
		return appendItem(nil, value, fields), true
	}
	var elements []json.RawMessage
	if err := json.Unmarshal(value, &elements); err != nil {
		return value, false
	}
	out := []byte{'['}
	for i, element := range elements {
		if i > 0 {
			out = append(out, ',')
		}
		out = appendItem(out, element, fields)
	}
	return append(out, ']'), true
}

// appendItem appends the shape of one element.
func appendItem(dst, element []byte, fields []*field) []byte {
	dst = append(dst, '{')
	for i, f := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, f.name), ':')
		switch {
		case f.members != nil:
			dst = appendItem(dst, element, f.members)
		case f.constant != nil:
			dst = append(dst, f.constant...)
		default:
			dst = append(dst, f.convert.apply(memberOf(element, f.column))...)
		}
	}
	return append(dst, '}')
}

// apply converts a JSON value, null included. One that does not fit is sent as text.
func (c *converter) apply(value []byte) []byte {
	switch {
	case c == nil:
		return value
	case string(value) == "null" && c.null != "":
		return []byte(c.null)
	case string(value) == "null":
		return value
	}
	converted, ok := c.value(value)
	if !ok {
		converted, _ = toString(value)
	}
	return converted
}

// memberOf is the element's member of that name, or of that path; null where there is none.
func memberOf(element []byte, name string) []byte {
	if name == "." {
		return element
	}
	null := []byte("null")
	var members map[string]json.RawMessage
	if element[0] != '{' || json.Unmarshal(element, &members) != nil {
		return null
	}
	if v, ok := members[name]; ok {
		return v
	}
	first, rest, nested := strings.Cut(name, ".")
	if v, ok := members[first]; ok && nested {
		return memberOf(v, rest)
	}
	return null
}
