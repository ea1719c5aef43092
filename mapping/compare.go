package mapping

import (
	"cmp"
	"strings"
	"time"

	"rowhook/delivery"
)

// compareValues orders numbers, times, durations and texts. A text beside a number or a time
// is read as one, so that numbers too long for a literal and times can be written in quotes. Beside a
// text with a sense it has that.
func compareValues(a, b any) (order int, ok bool) {
	if _, isSensed := a.(sensed); isSensed || isSensedText(b) {
		return compareSensed(a, b)
	}
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
			return cmp.Compare(int(x), int(y)), true
		}
	}
	return 0, false
}

func isSensedText(v any) bool {
	_, ok := v.(sensed)
	return ok
}

// compareSensed compares by the sense of either side. Two that have different ones are unlike.
func compareSensed(a, b any) (order int, ok bool) {
	x, isText := textOf(a)
	y, isTextToo := textOf(b)
	if !isText || !isTextToo {
		return compareValues(plainValue(a), plainValue(b))
	}
	sense, ok := jointSense(a, b)
	if !ok {
		return 0, false
	}
	return sense.Compare(x, y)
}

// jointSense is that of two texts of which at least one has a sense. Beside a column of texts the
// servers compare those of a type with a sense as texts.
func jointSense(a, b any) (sense delivery.Sense, ok bool) {
	x, isSensed := a.(sensed)
	y, isSensedToo := b.(sensed)
	switch {
	case isSensed && isSensedToo && x.made && !isTextAt(y.sense):
		return y.sense, true
	case isSensed && isSensedToo && y.made && !isTextAt(x.sense):
		return x.sense, true
	case isSensed && isSensedToo:
		return jointly(x.sense, y.sense)
	case isSensed:
		return x.sense, true
	}
	return y.sense, true
}

// jointly is the sense by which values of two senses compare; ok is false where they are unlike.
func jointly(a, b delivery.Sense) (sense delivery.Sense, ok bool) {
	if a == delivery.SenseText && isTextAt(b) || b == delivery.SenseText && isTextAt(a) {
		return delivery.SenseText, true
	}
	return a, a == b
}

// isTextAt reports whether values of a sense become texts where they stand beside one.
func isTextAt(sense delivery.Sense) bool {
	return sense == delivery.SenseFolded || sense == delivery.SensePadded
}

// needsZone reports whether two times of day compare only by a session's zone: one of them has none.
func needsZone(a, b any) bool {
	x, isSensed := a.(sensed)
	y, isSensedToo := b.(sensed)
	return isSensed && isSensedToo && zoneless(x.sense, y.sense)
}

// zoneless reports whether one of two senses is of times of day with a zone, and one of those without.
func zoneless(a, b delivery.Sense) bool {
	return a == delivery.SenseClock && b == delivery.SenseZoned || a == delivery.SenseZoned && b == delivery.SenseClock
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

// equalValues compares what has no order too: booleans, lists, objects, and unlike kinds, which
// differ. A text beside a list or an object is read as JSON. stored says that both are what a database
// has, in whose lists a text that says a number is none.
func equalValues(a, b any, stored bool) bool {
	x, isText := textOf(a)
	y, isTextToo := textOf(b)
	switch {
	case isText && isTextToo && (isSensedText(a) || isSensedText(b)):
		if sense, ok := jointSense(a, b); ok {
			return sense.Same(x, y)
		}
		return x == y
	case isText && isContainer(b):
		decoded, err := decodeJSON([]byte(x))
		return err == nil && isContainer(decoded) && equalValues(decoded, b, true)
	case isTextToo && isContainer(a):
		return equalValues(b, a, stored)
	}
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
			if !equalInside(x[i], y[i], stored) {
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
			if !ok || !equalInside(x[k], v, stored) {
				return false
			}
		}
		return true
	}
	return false
}

// equalInside compares what lists and objects hold.
func equalInside(a, b any, stored bool) bool {
	_, isText := a.(string)
	_, isTextToo := b.(string)
	if stored && isText != isTextToo && !isSensedText(a) && !isSensedText(b) {
		return false
	}
	return equalValues(a, b, stored)
}

func kindName(v any) string {
	switch v.(type) {
	case int, *decimal, float64:
		return "number"
	case string, sensed:
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
