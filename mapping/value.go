package mapping

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"rowhook/capture"
	"rowhook/delivery"
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
		if at, ok := delivery.ParseTime(string(v.Text)); ok {
			return at.In(locationOf(t.Kind)), nil
		}
		return nil, fmt.Errorf("value is not a time")
	case capture.JSON, capture.List:
		text, ok := t.AppendJSON(nil, v.Text)
		if !ok { // it was written as a text, which is not what it is
			return nil, errNotJSON
		}
		list, err := decodeJSON(text)
		if sense := elementSense(t); sense != delivery.SenseText && err == nil {
			list = withSense(list, sense)
		}
		return list, err
	}
	sense := senseOf(t)
	if sense == delivery.SensePadded { // as the server's own casts to text have it
		return sensed{text: strings.TrimRight(string(v.Text), " "), sense: sense}, nil
	}
	return sensed{text: string(v.Text), sense: sense}, nil
}

// elementSense is how a list's elements compare which are texts in payloads. JSON's own, and those
// that are written in another form than the database's, are texts.
func elementSense(t *capture.Type) delivery.Sense {
	if t.Kind != capture.List || t.Elem == nil || t.Elem.Kind == capture.JSON || t.Elem.Kind == capture.Bytes {
		return delivery.SenseText
	}
	return senseOf(t.Elem)
}

// The locations of times in expressions tell what the column told: a wall clock without a zone, or a
// day. To compute with they are UTC.
var (
	wallClock = time.FixedZone("wall clock", 0) // zones of one name are one
	calendar  = time.FixedZone("calendar", 0)
)

func locationOf(k capture.Kind) *time.Location {
	switch k {
	case capture.DateTime:
		return wallClock
	case capture.Date:
		return calendar
	}
	return time.UTC
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
