package mapping

import (
	"strings"
	"time"

	"rowhook/delivery"
)

// compareValues orders numbers, times, durations and texts. A text beside a number or a time
// is read as one, so that numbers too long for a literal and times can be written in quotes.
func compareValues(a, b any) (order int, ok bool) {
	if s, isText := a.(string); isText {
		a = readAs(s, b)
	} else if s, isText := b.(string); isText {
		b = readAs(s, a)
	}
	switch x := a.(type) {
	case int, *decimal, float64:
		if isNumber(b) {
			return compareNumbers(a, b), true
		}
	case string:
		if y, ok := b.(string); ok {
			return strings.Compare(x, y), true
		}
	case time.Time:
		if y, ok := b.(time.Time); ok {
			return x.Compare(y), true
		}
	case time.Duration:
		if y, ok := b.(time.Duration); ok {
			return compareInts(int(x), int(y)), true
		}
	}
	return 0, false
}

// readAs reads a text as what stands beside it, where it can.
func readAs(text string, beside any) any {
	switch {
	case isNumber(beside):
		if n, ok := parseNumber(text); ok {
			return n
		}
	default:
		if _, isTime := beside.(time.Time); isTime {
			if t, ok := delivery.ParseTime(text); ok {
				return t
			}
		}
	}
	return text
}

func isNumber(v any) bool {
	switch v.(type) {
	case int, *decimal, float64:
		return true
	}
	return false
}

// equalValues compares what has no order: booleans, lists, objects, and unlike kinds, which differ.
func equalValues(a, b any) bool {
	if order, ok := compareValues(a, b); ok {
		return order == 0
	}
	switch x := a.(type) {
	case nil:
		return b == nil
	case bool:
		return x == b
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !equalValues(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k := range x {
			v, ok := y[k]
			if !ok || !equalValues(x[k], v) {
				return false
			}
		}
		return true
	}
	return false
}

func kindName(v any) string {
	switch v.(type) {
	case int, *decimal, float64:
		return "number"
	case string:
		return "text"
	case bool:
		return "boolean"
	case time.Time:
		return "time"
	case time.Duration:
		return "duration"
	case []any:
		return "list"
	}
	return "object"
}
