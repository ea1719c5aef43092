package delivery

import (
	"slices"
	"time"
	"unicode/utf8"
)

const hexDigits = "0123456789abcdef"

// jsonPlain says which bytes stand for themselves in a JSON string: printable ASCII but the quote
// and the backslash.
var jsonPlain = func() (plain [256]bool) {
	for c := ' '; c < utf8.RuneSelf; c++ {
		plain[c] = c != '"' && c != '\\'
	}
	return plain
}()

// AppendJSONString appends s as a JSON string. HTML characters stay as they are; U+2028 and
// U+2029 are escaped, since some readers take them for line ends; bytes that are not UTF-8
// become U+FFFD.
func AppendJSONString[S ~string | ~[]byte](dst []byte, s S) []byte {
	dst = append(slices.Grow(dst, len(s)+2), '"')
	// Byte by byte: in bodies every few characters need an escape, and copying short runs costs
	// more.
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case jsonPlain[c]:
			dst = append(dst, c)
			i++
		case c < utf8.RuneSelf:
			dst = appendEscaped(dst, c)
			i++
		default:
			r, size := DecodeRune(s, i)
			switch {
			case r == utf8.RuneError && size == 1:
				dst = append(dst, "\ufffd"...)
			case r == '\u2028' || r == '\u2029':
				dst = append(append(dst, `\u202`...), hexDigits[r&0xf])
			default:
				dst = append(dst, s[i:i+size]...)
			}
			i += size
		}
	}
	return append(dst, '"')
}

func appendEscaped(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&0xf])
}

// DecodeRune decodes the rune at s[i:] without copying more than a rune's bytes.
func DecodeRune[S ~string | ~[]byte](s S, i int) (rune, int) {
	var b [utf8.UTFMax]byte
	n := copy(b[:], s[i:min(i+utf8.UTFMax, len(s))])
	return utf8.DecodeRune(b[:n])
}

// AppendJSONTime appends t as a JSON string: RFC 3339 in UTC with six digits of a second.
func AppendJSONTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(dst, `"2006-01-02T15:04:05.000000Z"`)
	}
	hour, minute, second := t.Clock()
	dst = append(dst, '"')
	dst = append(appendDigits(dst, year, 4), '-')
	dst = append(appendDigits(dst, int(month), 2), '-')
	dst = append(appendDigits(dst, day, 2), 'T')
	dst = append(appendDigits(dst, hour, 2), ':')
	dst = append(appendDigits(dst, minute, 2), ':')
	dst = append(appendDigits(dst, second, 2), '.')
	dst = appendDigits(dst, t.Nanosecond()/1000, 6)
	return append(dst, 'Z', '"')
}

// appendDigits appends the last width decimal digits of n.
func appendDigits(dst []byte, n, width int) []byte {
	dst = append(dst, "000000"[:width]...)
	for i := len(dst) - 1; n > 0 && width > 0; i-- {
		dst[i] = byte('0' + n%10)
		n /= 10
		width--
	}
	return dst
}
