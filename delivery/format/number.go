package format

import (
	"bytes"
	"math"
	"strconv"
)

// isNumeric says which bytes can stand in a number.
var isNumeric = func() (numeric [256]bool) {
	for _, c := range []byte("0123456789.-+eE") {
		numeric[c] = true
	}
	return numeric
}()

// maxSafeInteger is the largest integer up to which a double tells all integers apart.
const (
	maxSafeInteger = 1<<53 - 1
	maxSafeDigits  = "9007199254740991"
)

// appendNumber appends a JSON number in canonical form. ok is false when it is not one.
func appendNumber(dst, text []byte) (_ []byte, ok bool) {
	d, ok := parseDecimal(text)
	switch {
	case !ok:
		return dst, false
	case len(d.digits) == 0:
		return append(dst, '0'), true // of -0 and 0.0 too
	case len(text) <= 15 && !d.exponent:
		return appendShort(dst, text, d.fraction), true
	}
	f, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !d.equal(f) || f == math.Trunc(f) && math.Abs(f) > maxSafeInteger {
		dst = append(append(dst, '"'), text...)
		return append(dst, '"'), true
	}
	return appendECMA(dst, f), true
}

// appendShort appends a number of at most 15 characters without an exponent: a double holds its
// digits, so only zeros at the end of its fraction have to go, and tiny ones have to get an
// exponent.
func appendShort(dst, text, fraction []byte) []byte {
	if fraction == nil {
		return append(dst, text...)
	}
	kept := bytes.TrimRight(fraction, "0")
	whole := text[:len(text)-len(fraction)-1]
	if len(kept) == 0 {
		return append(dst, whole...)
	}
	if len(whole) <= 2 && whole[len(whole)-1] == '0' && bytes.HasPrefix(kept, []byte("000000")) {
		f, _ := strconv.ParseFloat(string(text), 64)
		return appendECMA(dst, f)
	}
	return append(append(append(dst, whole...), '.'), kept...)
}

// appendECMA appends a number that is not 0 as ECMAScript's Number::toString does.
func appendECMA(dst []byte, f float64) []byte {
	if abs := math.Abs(f); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	if n := len(dst); dst[n-2] == '0' && dst[n-3] == '-' { // e-07 is e-7
		dst = append(dst[:n-2], dst[n-1])
	}
	return dst
}

// decimal is a JSON number taken apart: ± 0.digits × 10^point.
type decimal struct {
	negative bool
	digits   []byte // without zeros at either end; may hold the decimal point
	point    int
	fraction []byte // the digits behind the point, as written
	exponent bool
}

// parseDecimal takes a number apart by JSON's grammar.
func parseDecimal(text []byte) (d decimal, ok bool) {
	rest, negative := bytes.CutPrefix(text, []byte("-"))
	d.negative = negative
	whole := leadingDigits(rest)
	if len(whole) == 0 || whole[0] == '0' && len(whole) > 1 {
		return d, false
	}
	mantissa := whole
	if rest = rest[len(whole):]; len(rest) > 0 && rest[0] == '.' {
		d.fraction = leadingDigits(rest[1:])
		if len(d.fraction) == 0 {
			return d, false
		}
		mantissa = mantissa[:len(whole)+1+len(d.fraction)]
		rest = rest[1+len(d.fraction):]
	}
	shift := 0
	if len(rest) > 0 {
		if d.exponent = rest[0]|0x20 == 'e'; !d.exponent {
			return d, false
		}
		if shift, ok = parseExponent(rest[1:]); !ok {
			return d, false
		}
	}
	d.point = len(whole) + shift
	d.trim(mantissa)
	return d, true
}

// parseExponent reads what stands behind the e. Beyond any double it is cut, so that it cannot
// overflow.
func parseExponent(text []byte) (int, bool) {
	const most = 1 << 20
	digits := text
	if len(text) > 0 && (text[0] == '+' || text[0] == '-') {
		digits = text[1:]
	}
	if len(digits) == 0 || len(leadingDigits(digits)) != len(digits) {
		return 0, false
	}
	n := 0
	for _, c := range digits {
		n = min(n*10+int(c-'0'), most)
	}
	if text[0] == '-' {
		n = -n
	}
	return n, true
}

// trim takes the zeros at both ends off the mantissa, which may hold a point.
func (d *decimal) trim(mantissa []byte) {
	for len(mantissa) > 0 && (mantissa[0] == '0' || mantissa[0] == '.') {
		if mantissa[0] == '0' {
			d.point--
		}
		mantissa = mantissa[1:]
	}
	d.digits = bytes.TrimRight(mantissa, "0.")
}

// equal reports whether the double, printed with as few digits as tell it from all others, is the
// number.
func (d *decimal) equal(f float64) bool {
	var room [32]byte
	printed := strconv.AppendFloat(room[:0], f, 'e', -1, 64)
	other, ok := parseDecimal(printed)
	if !ok || other.negative != d.negative || other.point != d.point {
		return false
	}
	a, b := d.digits, other.digits
	for len(a) > 0 || len(b) > 0 {
		if len(a) > 0 && a[0] == '.' {
			a = a[1:]
			continue
		}
		if len(b) > 0 && b[0] == '.' {
			b = b[1:]
			continue
		}
		if len(a) == 0 || len(b) == 0 || a[0] != b[0] {
			return false
		}
		a, b = a[1:], b[1:]
	}
	return true
}

func leadingDigits(text []byte) []byte {
	n := 0
	for n < len(text) && text[n] >= '0' && text[n] <= '9' {
		n++
	}
	return text[:n]
}
