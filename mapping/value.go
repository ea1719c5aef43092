package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"rowhook/capture"
)

// expressionValue turns a known value into what expressions see: nil for NULL, exact numbers,
// booleans, times, decoded JSON and lists, and text for everything else.
func expressionValue(v capture.Value, t *capture.Type) (any, error) {
	if v.State == capture.Null {
		return nil, nil
	}
	switch t.Kind {
	case capture.Integer, capture.Bigint, capture.Decimal, capture.Float:
		if n, ok := parseNumber(string(v.Text)); ok {
			return n, nil
		}
		return nil, fmt.Errorf("value is not a number")
	case capture.Bool:
		return boolText(v.Text) == "true", nil
	case capture.Instant, capture.DateTime, capture.Date:
		if at, ok := parseTime(string(v.Text)); ok {
			return at, nil
		}
		return nil, fmt.Errorf("value is not a time")
	case capture.JSON, capture.List:
		text, ok := t.AppendJSON(nil, v.Text)
		if !ok { // it was written as a text, which is not what it is
			return nil, errNotJSON
		}
		return decodeJSON(text)
	}
	return string(v.Text), nil
}

var errNotJSON = errors.New("value is not JSON")

// decodeJSON decodes with exact numbers.
func decodeJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errNotJSON
	}
	return exactNumbers(v)
}

func exactNumbers(v any) (_ any, err error) {
	switch x := v.(type) {
	case json.Number:
		n, ok := parseNumber(x.String())
		if !ok {
			return nil, fmt.Errorf("number in JSON is out of bounds")
		}
		return n, nil
	case []any:
		for i := range x {
			if x[i], err = exactNumbers(x[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range x {
			if x[k], err = exactNumbers(x[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// numeric reports whether values of the kind compare by value.
func numeric(k capture.Kind) bool {
	switch k {
	case capture.Integer, capture.Bigint, capture.Decimal, capture.Float:
		return true
	}
	return false
}

// plainText is a present value as conditions and payload texts see it: booleans as true and false.
func plainText(v capture.Value, kind capture.Kind) []byte {
	if kind == capture.Bool {
		return []byte(boolText(v.Text))
	}
	return v.Text
}

// boolText writes a boolean out. MySQL has no booleans of its own, PostgreSQL sends t and f.
func boolText(text []byte) string {
	switch string(text) {
	case "t":
		return "true"
	case "f":
		return "false"
	}
	return string(text)
}
