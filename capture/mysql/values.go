package mysql

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"unicode/utf8"
)

// The functions here append the text of a value as it lies in a row image. Widths have
// been checked by the caller.

func appendInteger(c *column, dst, v []byte) ([]byte, error) {
	n := littleEndian(v)
	if c.unsigned {
		return strconv.AppendUint(dst, n, 10), nil
	}
	shift := 64 - 8*len(v)
	return strconv.AppendInt(dst, int64(n<<shift)>>shift, 10), nil
}

func appendFloat32(_ *column, dst, v []byte) ([]byte, error) {
	return appendFloat(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(v))), 32), nil
}

func appendFloat64(_ *column, dst, v []byte) ([]byte, error) {
	return appendFloat(dst, math.Float64frombits(binary.LittleEndian.Uint64(v)), 64), nil
}

// appendFloat writes the fewest digits that give the value back, with an exponent where
// PostgreSQL writes one.
func appendFloat(dst []byte, f float64, bits int) []byte {
	format, most := byte('f'), 1e15
	if bits == 32 {
		most = 1e6
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= most) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, f, format, -1, bits)
}

// decimalGroup is how many bytes hold so many leftover digits; nine make a group of four.
var decimalGroup = [10]int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4}

func decimalBytes(digits int) int { return digits/9*4 + decimalGroup[digits%9] }

// appendDecimal writes a number in groups of nine decimal digits, big-endian, with the
// highest bit flipped and, if negative, all others too.
func appendDecimal(c *column, dst, v []byte) ([]byte, error) {
	var buf [64]byte
	b := append(buf[:0], v...)
	b[0] ^= 0x80
	if v[0]&0x80 == 0 {
		for i := range b {
			b[i] ^= 0xff
		}
		dst = append(dst, '-')
	}
	start := len(dst)
	rest := b
	group := func(digits int) {
		n := decimalGroup[digits]
		dst = appendDigits(dst, bigEndian(rest[:n]), digits)
		rest = rest[n:]
	}
	if lead := c.whole % 9; lead > 0 {
		group(lead)
	}
	for range c.whole / 9 {
		group(9)
	}
	dst = trimZeros(dst, start)
	if c.digits == 0 {
		return dst, nil
	}
	dst = append(dst, '.')
	for range c.digits / 9 {
		group(9)
	}
	if tail := c.digits % 9; tail > 0 {
		group(tail)
	}
	return dst, nil
}

// appendDigits writes a number with leading zeros.
func appendDigits(dst []byte, n uint64, digits int) []byte {
	for range digits {
		dst = append(dst, '0')
	}
	for at := len(dst) - 1; digits > 0; at, digits = at-1, digits-1 {
		dst[at] = byte('0' + n%10)
		n /= 10
	}
	return dst
}

// trimZeros removes leading zeros from dst[start:], but leaves one digit.
func trimZeros(dst []byte, start int) []byte {
	n := start
	for n < len(dst)-1 && dst[n] == '0' {
		n++
	}
	if len(dst) == start {
		return append(dst, '0')
	}
	return append(dst[:start], dst[n:]...)
}

func appendBits(c *column, dst, v []byte) ([]byte, error) {
	n := bigEndian(v)
	for i := c.whole - 1; i >= 0; i-- {
		dst = append(dst, '0'+byte(n>>i&1))
	}
	return dst, nil
}

// appendEnum writes a label. Index 0 is the empty string, which MySQL stores for invalid values.
func appendEnum(c *column, dst, v []byte) ([]byte, error) {
	n := littleEndian(v)
	if n == 0 {
		return dst, nil
	}
	if n > uint64(len(c.labels)) {
		return dst, fmt.Errorf("enum index %d of %d labels", n, len(c.labels))
	}
	return append(dst, c.labels[n-1]...), nil
}

func appendSet(c *column, dst, v []byte) ([]byte, error) {
	n := littleEndian(v)
	if len(c.labels) < 64 && n>>len(c.labels) != 0 {
		return dst, fmt.Errorf("set has bits beyond its %d labels", len(c.labels))
	}
	first := true
	for i, label := range c.labels {
		if n>>i&1 == 0 {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		dst, first = append(dst, label...), false
	}
	return dst, nil
}

func splitLabels(text []byte) [][]byte {
	if len(text) == 0 {
		return nil
	}
	return bytes.Split(text, []byte{','})
}

func appendBytes(_ *column, dst, v []byte) ([]byte, error) { return append(dst, v...), nil }

// appendPadded gives a BINARY value the zero bytes back that the binlog leaves out.
func appendPadded(c *column, dst, v []byte) ([]byte, error) {
	dst = append(dst, v...)
	for range c.whole - len(v) {
		dst = append(dst, 0)
	}
	return dst, nil
}

// appendDecoded turns a text into UTF-8.
func appendDecoded(c *column, dst, v []byte) ([]byte, error) {
	if out, ok := c.decode(dst, v); ok {
		return out, nil
	}
	return append(append(dst, misencoded), v...), nil
}

// appendUUID writes MariaDB's uuid, which the binlog holds in the order of its text.
func appendUUID(_ *column, dst, v []byte) ([]byte, error) {
	if len(v) > 16 {
		return dst, errors.New("uuid of more than 16 bytes")
	}
	var u [16]byte
	copy(u[:], v) // zero bytes at the end are left out
	for i, c := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, []byte{c})
	}
	return dst, nil
}

// appendInet6 writes an address as MariaDB does: the first of the longest gaps is left out, though
// it be of one group, and an address whose first 96 bits are those of IPv4 ends as one.
func appendInet6(_ *column, dst, v []byte) ([]byte, error) {
	if len(v) > 16 {
		return dst, errors.New("inet6 of more than 16 bytes")
	}
	var b [16]byte
	copy(b[:], v) // zero bytes at the end are left out
	var groups [8]uint16
	for i := range groups {
		groups[i] = binary.BigEndian.Uint16(b[2*i:])
	}
	gap, length := longestGap(groups)
	if gap == 0 && (length == 6 || length == 5 && groups[5] == 0xffff) {
		dst = append(dst, "::"...)
		if length == 5 {
			dst = append(dst, "ffff:"...)
		}
		return netip.AddrFrom4([4]byte(b[12:])).AppendTo(dst), nil
	}
	for i := 0; i < len(groups); i++ {
		if i == gap {
			dst = append(dst, "::"...)
			i += length - 1
			continue
		}
		if i > 0 && i != gap+length {
			dst = append(dst, ':')
		}
		dst = strconv.AppendUint(dst, uint64(groups[i]), 16)
	}
	return dst, nil
}

// longestGap finds the first of the longest runs of zeros; there is none if its length is 0.
func longestGap(groups [8]uint16) (gap, length int) {
	gap = -1
	for from := 0; from < len(groups); from++ {
		n := 0
		for from+n < len(groups) && groups[from+n] == 0 {
			n++
		}
		if n > length {
			gap, length = from, n
		}
		from += n
	}
	return gap, length
}

func appendInet4(_ *column, dst, v []byte) ([]byte, error) {
	if len(v) > 4 {
		return dst, errors.New("inet4 of more than 4 bytes")
	}
	var b [4]byte
	copy(b[:], v)
	return netip.AddrFrom4(b).AppendTo(dst), nil
}

// appendVector writes a list of floats. MySQL's ALTER makes vectors of any bytes, also of those
// that are none.
func appendVector(_ *column, dst, v []byte) ([]byte, error) {
	if len(v)%4 != 0 {
		return append(append(dst, misencoded), v...), nil
	}
	dst = append(dst, '[')
	for i := 0; i < len(v); i += 4 {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendFloat(dst, float64(math.Float32frombits(binary.LittleEndian.Uint32(v[i:]))), 32)
	}
	return append(dst, ']'), nil
}

// appendGeometry writes the SRID and the WKB, as which a geometry is stored. MariaDB has a value of
// no bytes too, where a column that may not be NULL was given nothing: it is no geometry.
func appendGeometry(dst, text []byte) ([]byte, bool) {
	if len(text) < 4 {
		dst, _ = appendBase64(dst, text)
		return dst, false
	}
	dst = append(dst, `{"srid":`...)
	dst = strconv.AppendUint(dst, littleEndian(text[:4]), 10)
	dst = append(dst, `,"wkb":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, text[4:])
	return append(dst, '"', '}'), true
}

// appendJSONText copies JSON as it is, digits included, but for line breaks. What is valid
// elsewhere need not be UTF-8.
func appendJSONText(dst, text []byte) ([]byte, bool) {
	if !json.Valid(text) || !utf8.Valid(text) {
		dst, _ = appendTextJSON(dst, text)
		return dst, false
	}
	if bytes.IndexByte(text, '\n') < 0 && bytes.IndexByte(text, '\r') < 0 {
		return append(dst, text...), true
	}
	for _, c := range text {
		// Between tokens they are blanks; strings have them escaped.
		if c == '\n' || c == '\r' {
			c = ' '
		}
		dst = append(dst, c)
	}
	return dst, true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
