package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// field is one member of a payload's shape: a column, a constant, an expression, or more members.
type field struct {
	name     string
	path     path
	column   string
	constant []byte // JSON
	expr     *expression
	members  []*field
	convert  converter
}

// The keys that make a map an operator, and those that may stand beside them.
var (
	operatorKeys = []string{"column", "const", "expr"}
	optionKeys   = []string{"type", "format"}
	laterKeys    = []string{"lookup", "parts"}
)

func compileFields(cfg []FieldConfig, at path) ([]*field, error) {
	var fields []*field
	var errs []error
	for i := range cfg {
		f, err := compileField(&cfg[i], at.at(cfg[i].Name))
		fields = append(fields, f)
		errs = append(errs, err)
	}
	return fields, errors.Join(errs...)
}

func compileField(cfg *FieldConfig, at path) (*field, error) {
	f := &field{name: cfg.Name, path: at}
	switch {
	case len(cfg.Members) > 0 && isOperator(cfg.Members):
		return f, f.compileOperator(cfg.Members)
	case len(cfg.Members) > 0:
		var err error
		f.members, err = compileFields(cfg.Members, at)
		return f, err
	case cfg.Value.Null || cfg.Value.Text == "":
		return f, at.err("the member has no content", "name a column, or write {const: null} for NULL")
	}
	f.column = cfg.Value.Text
	return f, nil
}

// isOperator: a map with column, const or expr, whose value is a scalar.
func isOperator(members []FieldConfig) bool {
	return slices.ContainsFunc(members, func(m FieldConfig) bool {
		return m.Members == nil && slices.Contains(operatorKeys, m.Name) || slices.Contains(laterKeys, m.Name)
	})
}

func (f *field) compileOperator(members []FieldConfig) error {
	values := map[string]*FieldConfig{}
	operators := 0
	for i := range members {
		m := &members[i]
		switch at := f.path.at(m.Name); {
		case slices.Contains(laterKeys, m.Name):
			return at.err(m.Name+" is not in this version", "")
		case m.Members != nil:
			return at.err(m.Name+" takes a plain value here", "")
		case slices.Contains(operatorKeys, m.Name):
			operators++
		case !slices.Contains(optionKeys, m.Name):
			return at.err(fmt.Sprintf("unknown key %q beside column, const or expr", m.Name), didYouMean(m.Name, optionKeys))
		}
		values[m.Name] = m
	}
	if operators != 1 {
		return f.path.err("a member is one of column, const and expr", "")
	}
	typ, format := scalarOf(values["type"]), scalarOf(values["format"])
	var err error
	if f.convert, err = newConverter(typ, format, f.path); err != nil {
		return err
	}
	switch {
	case values["column"] != nil:
		if f.column = scalarOf(values["column"]); f.column == "" {
			return f.path.at("column").err("the column's name is empty", "")
		}
	case values["expr"] != nil:
		if f.expr, err = compileExpression(scalarOf(values["expr"]), false); err != nil {
			return f.path.at("expr").err(err.Error(), "")
		}
	default:
		return f.compileConstant(values["const"])
	}
	return nil
}

func scalarOf(cfg *FieldConfig) string {
	if cfg == nil {
		return ""
	}
	return cfg.Value.Text
}

// compileConstant takes numbers, true, false and null for what they are, and anything else or
// in quotes for text, unless type says otherwise.
func (f *field) compileConstant(cfg *FieldConfig) error {
	if cfg.Value.Null {
		f.constant = []byte("null")
		return nil
	}
	text := cfg.Value.Text
	f.constant = appendString(nil, text)
	if f.convert == nil {
		if !cfg.Value.Quoted && (text == "true" || text == "false" || isJSONNumber([]byte(text))) {
			f.constant = []byte(text)
		}
		return nil
	}
	converted, ok := f.convert(f.constant)
	if !ok {
		return f.path.at("const").err(fmt.Sprintf("%q does not fit its type", text), "")
	}
	f.constant, f.convert = converted, nil
	return nil
}

// converter turns a value's own JSON into that of a field's type or format. It is never
// called for null. ok is false when the value does not fit.
type converter func(value []byte) (converted []byte, ok bool)

var fieldTypes = map[string]converter{
	"string": toString, "number": toNumber, "bool": toBool,
	"date": toDate, "datetime": toDateTime, "list": toList, "json": toJSON,
}

// fractionDigits are the formats of times: how many digits stay behind the second.
var fractionDigits = map[string]int{"seconds": 0, "milliseconds": 3, "microseconds": 6}

func newConverter(typ, format string, at path) (converter, error) {
	convert := fieldTypes[typ]
	if typ != "" && convert == nil {
		return nil, at.at("type").err(fmt.Sprintf("unknown type %q", typ), "use string, number, bool, date, datetime, list or json")
	}
	if format == "" {
		return convert, nil
	}
	digits, ok := fractionDigits[format]
	switch {
	case !ok:
		return nil, at.at("format").err(fmt.Sprintf("format %q is not in this version", format), "use seconds, milliseconds or microseconds")
	case typ != "" && typ != "datetime":
		return nil, at.at("format").err(fmt.Sprintf("format %q goes with type datetime", format), "")
	}
	return func(value []byte) ([]byte, bool) {
		value, ok := toDateTime(value)
		if !ok {
			return value, false
		}
		return cutFraction(value, digits), true
	}, nil
}

// toString keeps texts, and writes everything else as its JSON in quotes.
func toString(value []byte) ([]byte, bool) {
	if value[0] == '"' {
		return value, true
	}
	return appendString(nil, value), true
}

func toNumber(value []byte) ([]byte, bool) {
	if s, ok := unquote(value); ok && isJSONNumber([]byte(s)) {
		return []byte(s), true
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
	if _, isTime := parseTime(s); !ok || !isTime || len(s) < 10 || s[4] != '-' {
		return value, false
	}
	return appendString(nil, s[:10]), true
}

// toDateTime keeps times as they are written, and gives dates a midnight.
func toDateTime(value []byte) ([]byte, bool) {
	s, ok := unquote(value)
	if _, isTime := parseTime(s); !ok || !isTime || len(s) < 10 || s[4] != '-' {
		return value, false
	}
	if len(s) == 10 {
		return appendString(nil, s+"T00:00:00.000000"), true
	}
	return appendString(nil, s[:10]+"T"+s[11:]), true
}

// cutFraction leaves so many digits behind the second, without rounding: a time never moves into the future.
func cutFraction(value []byte, digits int) []byte {
	s := string(value[1 : len(value)-1])
	whole, rest, found := strings.Cut(s, ".")
	if !found {
		return value
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	if digits > 0 {
		whole += "." + rest[:min(digits, end)]
	}
	return appendString(nil, whole+rest[end:])
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
