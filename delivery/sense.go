package delivery

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Sense is how the texts of a column's values compare: with each other, and with a value that a
// condition names. A condition is written by people, who see a value as SELECT shows it, as payloads
// have it, or as they are used to: equal are all spellings of one value, and before another comes
// what the database sorts before it.
type Sense uint8

// The senses. Equal texts are equal in all of them.
const (
	SenseText    Sense = iota // spelled alike; ordered byte by byte
	SenseOpaque               // spelled alike; nothing is known of their order
	SenseNumber               // 1.50 is 1.5, and 1e3 is 1000; ordered as PostgreSQL does, NaN above all
	SenseTime                 // dates and times; 10:00+09 is 01:00Z, and without a zone it is UTC
	SenseClock                // times of day, and MySQL's spans: 01:02:03 is 01:02:03.000, 100:00:00 is above 99:00:00
	SenseZoned                // times of day with a zone, of which those of one moment differ by their zones
	SenseSpan                 // intervals as ISO 8601 writes them; P1M is P30D, as PostgreSQL counts
	SenseAddress              // IP addresses and networks
	SenseHex                  // digits: capitals, and the signs between them, do not count
	SenseHexOnly              // the same without an order
	SenseBytes                // PostgreSQL's bytes: \x and digits, of which capitals do not count
	SenseLSN                  // places in PostgreSQL's log
	SenseFolded               // capitals do not count: citext, as in a database whose locale is not C
	SensePadded               // texts of a fixed length, filled up with spaces that do not count
	SenseJSON                 // the order of members, white space and the way of writing numbers do not count
	SenseRange                // ranges of numbers, which compare by value
	senses
)

// Same reports whether a value's text and a condition's are one value.
func (s Sense) Same(text, literal string) bool {
	if text == literal {
		return true
	}
	switch s {
	case SenseText, SenseOpaque:
		return false
	case SenseNumber:
		// Integers have one spelling.
		return !(isInteger(text) && isInteger(literal)) && equalNumbers(text, literal)
	case SenseFolded:
		return sameFolded(text, literal)
	case SensePadded:
		return strings.TrimRight(text, " ") == strings.TrimRight(literal, " ")
	case SenseHexOnly:
		s = SenseHex
	case SenseJSON:
		return sameJSON(text, literal)
	case SenseRange:
		return canonicalRange(text) == canonicalRange(literal)
	}
	order, ok := s.Compare(text, literal)
	return ok && order == 0
}

// SameBytes is Same for a value that is not a string yet. What may be large is not copied.
func (s Sense) SameBytes(text []byte, literal string) bool {
	if string(text) == literal {
		return true
	}
	switch s {
	case SenseText, SenseOpaque:
		return false
	case SenseJSON:
		return sameJSON(text, literal)
	case SenseBytes:
		order, ok := compareBytes(text, literal)
		return ok && order == 0
	case SensePadded:
		return string(bytes.TrimRight(text, " ")) == strings.TrimRight(literal, " ")
	case SenseFolded:
		return sameFolded(text, literal)
	}
	return s.Same(string(text), literal)
}

// Compare tells which of two values comes first. ok is false where the sense has no order, or a text
// is not what it promises.
func (s Sense) Compare(a, b string) (order int, ok bool) {
	switch s {
	case SenseText:
		return strings.Compare(a, b), true
	case SenseNumber:
		return compareNumbers(a, b)
	case SenseTime:
		x, okX := ParseTime(a)
		y, okY := ParseTime(b)
		return x.Compare(y), okX && okY
	case SenseClock, SenseZoned:
		x, okX := parseClockSpan(a)
		y, okY := parseClockSpan(b)
		return x.compare(y), okX && okY && x.zoned == (s == SenseZoned) && y.zoned == x.zoned
	case SenseSpan:
		x, okX := parseInterval(a)
		y, okY := parseInterval(b)
		return slices.Compare(x[:], y[:]), okX && okY
	case SenseAddress:
		x, okX := ParseNetwork(a)
		y, okY := ParseNetwork(b)
		return compareNetworks(x, y), okX && okY
	case SenseHex:
		x, okX := plainHex(a)
		y, okY := plainHex(b)
		return strings.Compare(x, y), okX && okY
	case SenseBytes:
		return compareBytes(a, b)
	case SenseLSN:
		x, okX := parseLSN(a)
		y, okY := parseLSN(b)
		return cmp.Compare(x, y), okX && okY
	case SenseFolded:
		return strings.Compare(fold(a), fold(b)), true
	case SensePadded:
		return strings.Compare(strings.TrimRight(a, " "), strings.TrimRight(b, " ")), true
	}
	return 0, false
}

// Ordered reports whether values of the sense have an order.
func (s Sense) Ordered() bool {
	switch s {
	case SenseOpaque, SenseHexOnly, SenseJSON, SenseRange:
		return false
	}
	return true
}

// AppendCanonical appends a text that all spellings of a value have in common. A text that is not
// what the sense promises is its own.
func (s Sense) AppendCanonical(dst, text []byte) []byte {
	switch s {
	case SenseNumber:
		if !isInteger(string(text)) {
			if n := newScaled(string(text)); n.ok {
				return n.append(dst)
			}
		}
	case SensePadded:
		return append(dst, bytes.TrimRight(text, " ")...)
	case SenseFolded:
		return append(dst, fold(string(text))...)
	case SenseSpan:
		if v, ok := parseInterval(string(text)); ok {
			dst = append(strconv.AppendInt(append(dst, 'P'), v[0], 10), "DT"...)
			return append(strconv.AppendInt(dst, v[1], 10), "us"...)
		}
	case SenseJSON:
		if dst, ok := appendJSON(dst, text); ok {
			return dst
		}
	case SenseRange:
		return append(dst, canonicalRange(string(text))...)
	}
	return append(dst, text...)
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

// canonicalRange writes the numbers of a range, or of several, in one form.
func canonicalRange(text string) string {
	var out []byte
	for text != "" {
		n := strings.IndexAny(text, "[]{}(),")
		switch n {
		case 0:
			out, text = append(out, text[0]), text[1:]
			continue
		case -1:
			n = len(text)
		}
		if number := newScaled(strings.Trim(text[:n], " ")); number.ok {
			out = number.append(out)
		} else {
			out = append(out, text[:n]...)
		}
		text = text[n:]
	}
	return string(out)
}

// fold writes letters small, as PostgreSQL's lower() does.
func fold(s string) string { return strings.Map(unicode.ToLower, s) }

// sameFolded compares without allocating.
func sameFolded[T characters](a T, b string) bool {
	for i := range len(b) {
		if i >= len(a) {
			return false
		}
		x, y := a[i], b[i]
		if x >= utf8.RuneSelf || y >= utf8.RuneSelf {
			return sameFoldedRunes(a[i:], b[i:])
		}
		if x != y && lowerASCII(x) != lowerASCII(y) {
			return false
		}
	}
	return len(a) == len(b)
}

func sameFoldedRunes[T characters](a T, b string) bool {
	for len(a) > 0 && b != "" {
		// No character has more bytes.
		x, n := utf8.DecodeRuneInString(string(a[:min(len(a), utf8.UTFMax)]))
		y, m := utf8.DecodeRuneInString(b)
		if unicode.ToLower(x) != unicode.ToLower(y) {
			return false
		}
		a, b = a[n:], b[m:]
	}
	return len(a) == len(b)
}

func lowerASCII(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// plainHex are the digits of a UUID or a hardware address, in small letters.
func plainHex(s string) (string, bool) {
	digits := make([]byte, 0, len(s))
	for i := range len(s) {
		if _, ok := hexDigit(s[i]); ok {
			digits = append(digits, lowerASCII(s[i]))
		} else if strings.IndexByte("-:.{}", s[i]) < 0 {
			return "", false
		}
	}
	return string(digits), true
}

func hexDigit(c byte) (digit byte, ok bool) {
	switch c = lowerASCII(c); {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// compareBytes orders bytes that are written as \x and digits. ok is false where one is not.
func compareBytes[T characters](a T, b string) (order int, ok bool) {
	if !isHexBytes(b) || !isHexBytes(a) {
		return 0, false
	}
	for i := range min(len(a), len(b)) {
		if x, y := lowerASCII(a[i]), lowerASCII(b[i]); x != y {
			return int(x) - int(y), true
		}
	}
	return len(a) - len(b), true
}

func isHexBytes[T characters](s T) bool {
	if len(s) < 2 || len(s)%2 != 0 || s[0] != '\\' || s[1] != 'x' {
		return false
	}
	for i := 2; i < len(s); i++ {
		if _, ok := hexDigit(s[i]); !ok {
			return false
		}
	}
	return true
}

func parseLSN(s string) (uint64, bool) {
	high, low, ok := strings.Cut(s, "/")
	x, errHigh := strconv.ParseUint(high, 16, 32)
	y, errLow := strconv.ParseUint(low, 16, 32)
	return x<<32 | y, ok && errHigh == nil && errLow == nil
}

// ParseNetwork reads an address or a network, whose address may have bits behind its mask.
func ParseNetwork(s string) (netip.Prefix, bool) {
	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(s)
		return p, err == nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// compareNetworks orders as PostgreSQL does: the older family first, then by the bits that both masks
// have, then the shorter mask, then all bits.
func compareNetworks(a, b netip.Prefix) int {
	if !a.IsValid() || !b.IsValid() || a.Addr().BitLen() != b.Addr().BitLen() {
		return a.Addr().BitLen() - b.Addr().BitLen()
	}
	bits := min(a.Bits(), b.Bits())
	x, y := netip.PrefixFrom(a.Addr(), bits).Masked().Addr(), netip.PrefixFrom(b.Addr(), bits).Masked().Addr()
	if order := bytes.Compare(x.AsSlice(), y.AsSlice()); order != 0 {
		return order
	}
	if a.Bits() != b.Bits() {
		return a.Bits() - b.Bits()
	}
	return bytes.Compare(a.Addr().AsSlice(), b.Addr().AsSlice())
}

// rankOf orders what is no finite number around those that are.
func rankOf(s string) int {
	switch s {
	case "-Infinity":
		return -1
	case "Infinity":
		return 1
	case "NaN":
		return 2
	}
	return 0
}

// compareNumbers orders numbers as PostgreSQL does.
func compareNumbers(a, b string) (order int, ok bool) {
	if x, y := rankOf(a), rankOf(b); x != 0 || y != 0 {
		return x - y, (x != 0 || newScaled(a).ok) && (y != 0 || newScaled(b).ok)
	}
	x, y := newScaled(a), newScaled(b)
	if !x.ok || !y.ok {
		return 0, false
	}
	return x.compare(&y), true
}

func (n *scaled) sign() int {
	switch {
	case n.digits() == 0:
		return 0
	case n.negative:
		return -1
	}
	return 1
}

// compare orders by sign, by the place of the first digit, and by the digits.
func (n *scaled) compare(m *scaled) int {
	sign := n.sign()
	if sign != m.sign() || sign == 0 {
		return sign - m.sign()
	}
	if x, y := n.digits()+n.exponent, m.digits()+m.exponent; x != y {
		return sign * (x - y)
	}
	for i := range max(n.digits(), m.digits()) {
		x, y := byte('0'), byte('0')
		if i < n.digits() {
			x = n.digit(i)
		}
		if i < m.digits() {
			y = m.digit(i)
		}
		if x != y {
			return sign * (int(x) - int(y))
		}
	}
	return 0
}

// maxPlainZeros is how many zeros a number's canonical text has rather than an exponent.
const maxPlainZeros = 40

// append writes the number without zeros that do not count.
func (n *scaled) append(dst []byte) []byte {
	if n.digits() == 0 {
		return append(dst, '0')
	}
	if n.negative {
		dst = append(dst, '-')
	}
	all := make([]byte, 0, n.digits())
	all = append(append(all, n.integer...), n.fraction...)
	switch point := len(all) + n.exponent; {
	case n.exponent >= 0 && n.exponent <= maxPlainZeros:
		dst = append(dst, all...)
		return append(dst, strings.Repeat("0", n.exponent)...)
	case n.exponent < 0 && point > 0:
		return append(append(append(dst, all[:point]...), '.'), all[point:]...)
	case n.exponent < 0 && point > -maxPlainZeros:
		dst = append(append(dst, "0."...), strings.Repeat("0", -point)...)
		return append(dst, all...)
	}
	return strconv.AppendInt(append(append(dst, all...), 'e'), int64(n.exponent), 10)
}
