package postgres

import (
	"encoding/json"
	"unicode/utf8"

	"rowhook/capture"
)

// The functions here append the payload form of a value's text, as pgoutput sends
// it, to dst. Each returns ok = false when the text did not fit its type's policy and was
// written as a JSON string instead. Texts that fit are copied, not converted.

// misfit writes a text that is not what its type promises.
func misfit(dst, text []byte) ([]byte, bool) {
	dst, _ = capture.AppendJSONString(dst, text)
	return dst, false
}

// quoted appends a text that needs no escapes.
func quoted(dst, text []byte) ([]byte, bool) {
	return append(append(append(dst, '"'), text...), '"'), true
}

func appendBool(dst, text []byte) ([]byte, bool) {
	switch string(text) {
	case "t":
		return append(dst, "true"...), true
	case "f":
		return append(dst, "false"...), true
	}
	return misfit(dst, text)
}

func appendInteger(dst, text []byte) ([]byte, bool) {
	if !capture.IsInteger(text) {
		return misfit(dst, text)
	}
	return append(dst, text...), true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func allDigits(b []byte) bool { return len(b) > 0 && capture.LeadingDigits(b) == len(b) }

func isNonFinite(text []byte) bool {
	switch string(text) {
	case "NaN", "Infinity", "-Infinity":
		return true
	}
	return false
}

// appendFloat writes a number; what JSON has no number for is a string.
func appendFloat(dst, text []byte) ([]byte, bool) {
	if capture.IsNumber(text) {
		return append(dst, text...), true
	}
	if isNonFinite(text) {
		return quoted(dst, text)
	}
	return misfit(dst, text)
}

// appendNumeric writes a string: exact digits, trailing zeros included.
func appendNumeric(dst, text []byte) ([]byte, bool) {
	if capture.IsNumber(text) || isNonFinite(text) {
		return quoted(dst, text)
	}
	return misfit(dst, text)
}

// appendJSONText writes a JSON document inline, on one line, every digit kept.
func appendJSONText(dst, text []byte) ([]byte, bool) {
	if !json.Valid(text) || !utf8.Valid(text) {
		return misfit(dst, text)
	}
	for {
		// Raw line breaks stand between tokens only: inside strings they are escaped.
		n := 0
		for n < len(text) && text[n] != '\n' && text[n] != '\r' {
			n++
		}
		dst = append(dst, text[:n]...)
		if n == len(text) {
			return dst, true
		}
		for n < len(text) && isSpace(text[n]) {
			n++
		}
		text = text[n:]
	}
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// unhex returns a hex digit's value.
func unhex(c byte) (byte, bool) {
	switch {
	case isDigit(c):
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// appendHexAsBase64 appends the base64 form of hex digits. On a bad digit it
// returns ok = false and a dst to be thrown away.
func appendHexAsBase64(dst, hex []byte) (out []byte, ok bool) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	var group uint32
	n := 0 // bytes in group
	for ; len(hex) >= 2; hex = hex[2:] {
		hi, ok1 := unhex(hex[0])
		lo, ok2 := unhex(hex[1])
		if !ok1 || !ok2 {
			return dst, false
		}
		group = group<<8 | uint32(hi<<4|lo)
		if n++; n == 3 {
			dst = append(dst, alphabet[group>>18], alphabet[group>>12&63], alphabet[group>>6&63], alphabet[group&63])
			group, n = 0, 0
		}
	}
	switch n {
	case 1:
		dst = append(dst, alphabet[group>>2], alphabet[group<<4&63], '=', '=')
	case 2:
		dst = append(dst, alphabet[group>>10], alphabet[group>>4&63], alphabet[group<<2&63], '=')
	}
	return dst, len(hex) == 0
}

// appendBytea writes base64 of the hex that bytea_output = hex sends.
func appendBytea(dst, text []byte) ([]byte, bool) {
	if len(text) < 2 || text[0] != '\\' || text[1] != 'x' {
		return misfit(dst, text)
	}
	out, ok := appendHexAsBase64(append(dst, '"'), text[2:])
	if !ok {
		return misfit(dst, text)
	}
	return append(out, '"'), true
}
