package capture

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

const lowerHex = "0123456789abcdef"

// AppendJSONString appends text as a JSON string with only the escapes that JSON asks for. Bytes
// that are not UTF-8 (possible in databases with encoding SQL_ASCII) become U+FFFD, and ok is
// false.
func AppendJSONString(dst, text []byte) (out []byte, ok bool) {
	dst = append(dst, '"')
	from, ok := 0, true
	for i := 0; i < len(text); {
		c := text[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i += 1 + plainBytes(text[i+1:])
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(text[i:])
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, text[from:i]...), "\ufffd"...)
				ok = false
				from = i + 1
			}
			i += size
			continue
		}
		dst = appendEscape(append(dst, text[from:i]...), c)
		i++
		from = i
	}
	return append(append(dst, text[from:]...), '"'), ok
}

// plainBytes returns how many characters at the beginning of text are ASCII and stand in a JSON string
// as they are. It looks at eight at once and leaves the last few, fewer than eight, to its caller.
func plainBytes(text []byte) int {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	n := 0
	for ; len(text)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(text[n:])
		quote, backslash := x^ones*'"', x^ones*'\\'
		// The high bit of each byte that is not ASCII, or from which the subtraction borrows: from the
		// lowest such byte on, which is the first, others may be set that should not be.
		if special := (x | (x - ones*' ') | (quote - ones) | (backslash - ones)) & high; special != 0 {
			return n + bits.TrailingZeros64(special)/8
		}
	}
	return n
}

func appendEscape(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', lowerHex[c>>4], lowerHex[c&15])
}
