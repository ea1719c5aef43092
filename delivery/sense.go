package delivery

import (
	"strconv"
	"strings"
)

// Sense is how a column's values compare with a value that a condition names. A condition is written
// by people, who see a value as SELECT shows it, as payloads have it, or as they are used to: equal
// are all spellings of one value, as the database's own = has it.
type Sense uint8

// The senses. Equal texts are equal in all of them.
const (
	SenseText   Sense = iota // spelled alike
	SenseNumber              // 1.50 is 1.5, and 1e3 is 1000
	SenseTime                // dates and times; 10:00+09 is 01:00Z, and without a zone it is UTC
	SenseClock               // times of day: 01:02:03 is 01:02:03.000
	SenseFolded              // capitals do not count: uuids, addresses, citext
	SensePadded              // texts of a fixed length, filled up with spaces that do not count
	SenseJSON                // white space between the values does not count
)

// Same reports whether a value's text and a condition's are one value.
func (s Sense) Same(text, literal string) bool {
	if text == literal {
		return true
	}
	switch s {
	case SenseNumber:
		// Integers have one spelling.
		return !(isInteger(text) && isInteger(literal)) && equalNumbers(text, literal)
	case SenseTime:
		a, aOK := ParseTime(text)
		b, bOK := ParseTime(literal)
		return aOK && bOK && a.Equal(b)
	case SenseClock:
		return sameClock(text, literal)
	case SenseFolded:
		return strings.EqualFold(text, literal)
	case SensePadded:
		return strings.TrimRight(text, " ") == strings.TrimRight(literal, " ")
	case SenseJSON:
		return sameJSON(text, literal)
	}
	return false
}

// isInteger reports whether a number is a positive integer without leading zeros, as most are.
func isInteger(s string) bool {
	if s == "" || s[0] == '0' {
		return false
	}
	for i := range len(s) {
		if s[i]-'0' > 9 {
			return false
		}
	}
	return true
}

// equalNumbers compares two decimal numbers digit by digit, so that an exponent costs nothing.
func equalNumbers(a, b string) bool {
	x, y := newScaled(a), newScaled(b)
	return x.ok && y.ok && x.digits() == y.digits() && (x.digits() == 0 || x.negative == y.negative && x.exponent == y.exponent && x.equalDigits(&y))
}

// scaled is a decimal number: its digits without zeros around them, and the power of ten that the
// last of them stands for.
type scaled struct {
	negative, ok      bool
	integer, fraction string
	exponent          int
}

func newScaled(s string) (n scaled) {
	s = strings.TrimPrefix(s, "+")
	mantissa, exponent := s, ""
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exponent = s[:i], s[i+1:]
		var err error
		if n.exponent, err = strconv.Atoi(exponent); err != nil || n.exponent > maxExponent || n.exponent < -maxExponent {
			return scaled{}
		}
	}
	if n.negative, n.integer, n.fraction, n.ok = SplitNumber(mantissa); !n.ok {
		return scaled{}
	}
	n.exponent -= len(n.fraction)
	if n.fraction == "" {
		whole := strings.TrimRight(n.integer, "0")
		n.integer, n.exponent = whole, n.exponent+len(n.integer)-len(whole)
	}
	if n.integer == "" {
		n.fraction = strings.TrimLeft(n.fraction, "0")
	}
	return n
}

// maxExponent is beyond what databases have.
const maxExponent = 200_000

func (n *scaled) digits() int { return len(n.integer) + len(n.fraction) }

func (n *scaled) equalDigits(m *scaled) bool {
	for i := range n.digits() {
		if n.digit(i) != m.digit(i) {
			return false
		}
	}
	return true
}

func (n *scaled) digit(i int) byte {
	if i < len(n.integer) {
		return n.integer[i]
	}
	return n.fraction[i-len(n.integer)]
}

// SplitNumber returns a plain decimal number's sign and its digits without leading and trailing
// zeros.
func SplitNumber(s string) (negative bool, integer, fraction string, ok bool) {
	s, negative = strings.CutPrefix(s, "-")
	integer, fraction, _ = strings.Cut(s, ".")
	if integer == "" && fraction == "" {
		return false, "", "", false
	}
	for _, part := range [2]string{integer, fraction} {
		for i := range len(part) {
			if part[i] < '0' || part[i] > '9' {
				return false, "", "", false
			}
		}
	}
	return negative, strings.TrimLeft(integer, "0"), strings.TrimRight(fraction, "0"), true
}

// sameClock compares times of day, whose seconds may have zeros behind the point.
func sameClock(a, b string) bool {
	aHead, aFraction, aZone := splitClock(a)
	bHead, bFraction, bZone := splitClock(b)
	return aHead == bHead && aFraction == bFraction && aZone == bZone
}

// splitClock divides a time of day into what stands before the seconds' fraction, the fraction
// without the zeros at its end, and what stands behind it.
func splitClock(s string) (head, fraction, zone string) {
	end := len(s)
	if i := strings.LastIndexAny(s, "+-"); i > 0 {
		end = i
	}
	head, fraction, _ = strings.Cut(s[:end], ".")
	return head, strings.TrimRight(fraction, "0"), s[end:]
}

// sameJSON compares two JSON values as they are spelled, white space between them aside.
func sameJSON(a, b string) bool {
	inside := false
	for {
		if !inside {
			a, b = strings.TrimLeft(a, jsonSpace), strings.TrimLeft(b, jsonSpace)
		}
		if a == "" || b == "" {
			return a == b
		}
		if a[0] != b[0] {
			return false
		}
		switch {
		case a[0] == '"':
			inside = !inside
		case a[0] == '\\' && inside && len(a) > 1 && len(b) > 1:
			if a[1] != b[1] {
				return false
			}
			a, b = a[1:], b[1:]
		}
		a, b = a[1:], b[1:]
	}
}

const jsonSpace = " \t\r\n"
