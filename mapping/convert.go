package mapping

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"rowhook/capture"
	"rowhook/delivery"
)

// converter turns values into what a field asks for with type, format, zone and items.
type converter struct {
	// value turns a value's own JSON, which is never null, into that of the type. ok is false when
	// it does not fit.
	value func(value []byte) (converted []byte, ok bool)
	// null is what stands for NULL; empty for null.
	null string
	// kind is the letter of what comes out, by that of what goes in.
	kind func(own delivery.Kind) delivery.Kind
	// decodes says that a text is taken for the JSON that it holds, and nothing else is done.
	decodes bool
}

// of is the converter for a column's values: what is JSON in the database is left as it is, a JSON
// text too.
func (c *converter) of(t *capture.Type) *converter {
	if c == nil || !c.decodes || t.Kind != capture.JSON {
		return c
	}
	as := *c
	as.value = func(value []byte) ([]byte, bool) { return value, true }
	return &as
}

// fieldType is what type can say.
type fieldType struct {
	name  string
	value func(value []byte) (converted []byte, ok bool)
	kind  delivery.Kind
	keeps []delivery.Kind // of values, that stay the kind they are
}

var fieldTypes = []fieldType{
	{"string", toString, delivery.KindText, []delivery.Kind{delivery.KindLongText}},
	{"number", toNumber, delivery.KindDecimal, []delivery.Kind{delivery.KindInteger, delivery.KindBigint, delivery.KindFloat}},
	{"bool", toBool, delivery.KindBool, nil},
	{"date", toDate, delivery.KindDate, nil},
	{"datetime", toDateTime, delivery.KindDateTime, []delivery.Kind{delivery.KindInstant}},
	{"list", toList, delivery.KindList, nil},
	{"json", toJSON, delivery.KindJSON, nil},
}

// lists reports whether values are made lists, and stay what they are in them.
func (c *converter) lists() bool { return c.null == "[]" }

func (t *fieldType) converter() *converter {
	return &converter{value: t.value, decodes: t.name == "json", kind: func(own delivery.Kind) delivery.Kind {
		if slices.Contains(t.keeps, own) {
			return own
		}
		return t.kind
	}}
}

// fieldFormat is what format can say, and the type that it goes with, which need not be said.
type fieldFormat struct {
	name, typ string
	write     func(value []byte) []byte
}

var fieldFormats = []fieldFormat{
	{"seconds", "datetime", func(v []byte) []byte { return withFraction(v, 0) }},
	{"milliseconds", "datetime", func(v []byte) []byte { return withFraction(v, 3) }},
	{"microseconds", "datetime", func(v []byte) []byte { return withFraction(v, 6) }},
	{"xs", "date", func(v []byte) []byte { return append(bytes.Clone(v[:len(v)-1]), `Z"`...) }},
	{"string", "bool", func(v []byte) []byte { return appendString(nil, v) }},
}

// newConverter makes the converter of a field; nil when it asks for nothing.
func newConverter(typ, format, zone string, at path) (*converter, error) {
	var c *converter
	f, err := findFormat(typ, format, at)
	if err != nil {
		return nil, err
	}
	if f != nil {
		typ = f.typ
	} else if zone != "" && typ == "" {
		typ = "datetime"
	}
	if typ != "" {
		i := slices.IndexFunc(fieldTypes, func(t fieldType) bool { return t.name == typ })
		if i < 0 {
			return nil, at.at("type").err(fmt.Sprintf("unknown type %q", typ), "use string, number, bool, date, datetime, list or json")
		}
		c = fieldTypes[i].converter()
	}
	if typ == "list" {
		c.null = "[]"
	}
	if zone != "" {
		if typ != "datetime" {
			return nil, at.at("zone").err("zone goes with type datetime", "")
		}
		location, err := time.LoadLocation(zone)
		if err != nil {
			return nil, at.at("zone").err(fmt.Sprintf("%q is not a time zone", zone), "write its name in the IANA database, such as UTC or Asia/Tokyo")
		}
		c = c.then(func(v []byte) []byte { return inZone(v, location) })
		c.kind = func(delivery.Kind) delivery.Kind { return delivery.KindInstant }
	}
	if f != nil {
		c = c.then(f.write)
		if f.name == "string" {
			c.kind = func(delivery.Kind) delivery.Kind { return delivery.KindText }
		}
	}
	return c, nil
}

// findFormat finds the format that is meant with the type; nil when none is given.
func findFormat(typ, format string, at path) (*fieldFormat, error) {
	if format == "" {
		return nil, nil
	}
	var names []string
	for i := range fieldFormats {
		f := &fieldFormats[i]
		names = append(names, f.name)
		switch {
		case f.name != format:
		case typ != "" && typ != f.typ:
			return nil, at.at("format").err(fmt.Sprintf("format %q goes with type %s", format, f.typ), "")
		case typ == "" && f.typ == "bool":
			return nil, at.at("format").err(`format "string" goes with type bool`, "write type: string for any other value's text")
		default:
			return f, nil
		}
	}
	return nil, at.at("format").err(fmt.Sprintf("unknown format %q", format), "use "+strings.Join(names, ", "))
}

// then writes what fits in another way.
func (c *converter) then(write func([]byte) []byte) *converter {
	first := c.value
	next := *c
	next.value = func(value []byte) ([]byte, bool) {
		value, ok := first(value)
		if ok {
			value = write(value)
		}
		return value, ok
	}
	return &next
}

// toString keeps texts, and writes everything else as its JSON in quotes.
func toString(value []byte) ([]byte, bool) {
	if value[0] == '"' {
		return value, true
	}
	return appendString(nil, value), true
}

// toNumber takes the number that a text says; a text of a fixed length has spaces behind it.
func toNumber(value []byte) ([]byte, bool) {
	if s, ok := unquote(value); ok {
		if number := bytes.TrimRight([]byte(s), " \t\r\n"); isJSONNumber(number) {
			return number, true
		}
	}
	return value, isJSONNumber(value)
}

func toBool(value []byte) ([]byte, bool) {
	s, ok := unquote(value)
	if !ok {
		s = string(value)
	}
	switch s {
	case "true", "t", "1":
		return []byte("true"), true
	case "false", "f", "0":
		return []byte("false"), true
	}
	return value, false
}

// toDate keeps the day of a date or time as it is written.
func toDate(value []byte) ([]byte, bool) {
	s, ok := unquote(value)
	if !ok || !isoTime(s) {
		return value, false
	}
	return appendString(nil, s[:10]), true
}

// toDateTime keeps times as they are written, and gives dates a midnight.
func toDateTime(value []byte) ([]byte, bool) {
	s, ok := unquote(value)
	if !ok || !isoTime(s) {
		return value, false
	}
	if len(s) == 10 {
		return appendString(nil, s+"T00:00:00.000000"), true
	}
	return appendString(nil, s[:10]+"T"+s[11:]), true
}

// isoTime reports whether a text is a date or time of our era's first 9999 years. Others have no form
// but the database's.
func isoTime(s string) bool {
	_, ok := delivery.ParseTime(s)
	return ok && len(s) >= 10 && s[4] == '-' && !strings.HasSuffix(s, " BC")
}

// withFraction gives a time so many digits behind the second, without rounding: a time never moves
// into the future.
func withFraction(value []byte, digits int) []byte {
	s := string(value[1 : len(value)-1])
	end := len("2006-01-02T15:04:05")
	if len(s) < end {
		return value
	}
	whole, rest := s[:end], s[end:]
	fraction := ""
	if strings.HasPrefix(rest, ".") {
		n := 1
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		fraction, rest = rest[1:n], rest[n:]
	}
	if digits > 0 {
		whole += "." + (fraction + "000000")[:digits]
	}
	return appendString(nil, whole+rest)
}

// inZone turns a time that tells no zone, and was written down in this one, into UTC.
func inZone(value []byte, zone *time.Location) []byte {
	s := string(value[1 : len(value)-1])
	at, ok := delivery.ParseTime(s)
	if !ok || strings.HasSuffix(s, "Z") || strings.ContainsAny(s[len("2006-01-02"):], "+-") {
		return value
	}
	at = time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), zone)
	return appendValue(nil, at)
}

func toList(value []byte) ([]byte, bool) {
	if value[0] == '[' {
		return value, true
	}
	return slices.Concat([]byte("["), value, []byte("]")), true
}

// toJSON takes a text for the JSON that it holds.
func toJSON(value []byte) ([]byte, bool) {
	s, ok := unquote(value)
	if !ok {
		return value, true
	}
	var out bytes.Buffer
	if err := json.Compact(&out, []byte(s)); err != nil || out.Len() == 0 {
		return value, false
	}
	return out.Bytes(), true
}
