package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"rowhook/capture"
)

// arrayWriter writes an array's text as nested JSON arrays.
type arrayWriter struct {
	elem      func(dst, text []byte) ([]byte, bool)
	delimiter byte // between elements: a comma, for box a semicolon
}

// append reads {1,NULL,"a b",{...}}, with lower bounds such as [0:1]= dropped.
func (a arrayWriter) append(dst, text []byte) ([]byte, bool) {
	body := text
	if len(body) > 0 && body[0] == '[' {
		for len(body) > 0 && body[0] != '=' {
			body = body[1:]
		}
		if len(body) > 0 {
			body = body[1:]
		}
	}
	start := len(dst)
	var scratch [64]byte
	out, rest, fits, ok := a.list(dst, body, scratch[:0], 0)
	if !ok || len(rest) != 0 {
		return misfit(out[:start], text)
	}
	return out, fits
}

// maxArrayDepth is the server's MAXDIM; more is not an array.
const maxArrayDepth = 6

// list writes one { } level. fits is false when an element did not fit its type; ok when the list
// can be read.
func (a arrayWriter) list(dst, text, scratch []byte, depth int) (out, rest []byte, fits, ok bool) {
	if len(text) < 2 || text[0] != '{' || depth >= maxArrayDepth {
		return dst, text, false, false
	}
	text = text[1:]
	dst, fits = append(dst, '['), true
	if text[0] == '}' {
		return append(dst, ']'), text[1:], true, true
	}
	for {
		var good bool
		if len(text) > 0 && text[0] == '{' {
			dst, text, good, ok = a.list(dst, text, scratch, depth+1)
		} else {
			dst, text, good, ok = a.element(dst, text, scratch)
		}
		if !ok || len(text) == 0 {
			return dst, text, false, false
		}
		fits = fits && good
		switch text[0] {
		case a.delimiter:
			dst, text = append(dst, ','), text[1:]
		case '}':
			return append(dst, ']'), text[1:], fits, true
		default:
			return dst, text, false, false
		}
	}
}

func (a arrayWriter) element(dst, text, scratch []byte) (out, rest []byte, fits, ok bool) {
	if len(text) > 0 && text[0] == '"' {
		value, rest, ok := unquote(text, scratch)
		if !ok {
			return dst, text, false, false
		}
		dst, fits = a.elem(dst, value)
		return dst, rest, fits, true
	}
	n := 0
	for n < len(text) && text[n] != a.delimiter && text[n] != '}' && text[n] != '{' && text[n] != '"' {
		n++
	}
	if n == 0 {
		return dst, text, false, false
	}
	if string(text[:n]) == "NULL" {
		return append(dst, "null"...), text[n:], true, true
	}
	dst, fits = a.elem(dst, text[:n])
	return dst, text[n:], fits, true
}

// unquote reads a "..." in which a backslash takes the next byte as it is. The value
// lies in text where nothing is escaped, else in scratch.
func unquote(text, scratch []byte) (value, rest []byte, ok bool) {
	text = text[1:]
	for n := 0; n < len(text); n++ {
		switch text[n] {
		case '"':
			return text[:n], text[n+1:], true
		case '\\':
			return unescape(text, append(scratch, text[:n]...), n)
		}
	}
	return nil, text, false
}

func unescape(text, value []byte, n int) (out, rest []byte, ok bool) {
	for ; n < len(text); n++ {
		c := text[n]
		switch c {
		case '"':
			return value, text[n+1:], true
		case '\\':
			n++
			if n == len(text) {
				return nil, text, false
			}
			c = text[n]
		}
		value = append(value, c)
	}
	return nil, text, false
}

// appendHstore writes "a"=>"1", "b"=>NULL as an object of strings and nulls.
func appendHstore(dst, text []byte) ([]byte, bool) {
	start := len(dst)
	out, ok := appendPairs(append(dst, '{'), text)
	if !ok {
		return misfit(out[:start], text)
	}
	return append(out, '}'), true
}

func appendPairs(dst, text []byte) ([]byte, bool) {
	var scratch [64]byte
	for len(text) > 0 {
		key, rest, ok := pairPart(text, scratch[:0])
		if !ok || len(rest) < 3 || rest[0] != '=' || rest[1] != '>' {
			return dst, false
		}
		dst, ok = capture.AppendJSONString(dst, key)
		if !ok {
			return dst, false
		}
		dst, text = append(dst, ':'), rest[2:]
		if len(text) >= 4 && string(text[:4]) == "NULL" {
			dst, text = append(dst, "null"...), text[4:]
		} else {
			value, rest, ok := pairPart(text, scratch[:0])
			if !ok {
				return dst, false
			}
			if dst, ok = capture.AppendJSONString(dst, value); !ok {
				return dst, false
			}
			text = rest
		}
		if len(text) == 0 {
			break
		}
		if len(text) < 3 || text[0] != ',' || text[1] != ' ' {
			return dst, false
		}
		dst, text = append(dst, ','), text[2:]
	}
	return dst, true
}

func pairPart(text, scratch []byte) (value, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '"' {
		return nil, text, false
	}
	return unquote(text, scratch)
}

// appendVector writes [1,2.5,-3e-05] as a list of numbers.
func appendVector(dst, text []byte) ([]byte, bool) {
	if len(text) < 3 || text[0] != '[' || text[len(text)-1] != ']' {
		return misfit(dst, text)
	}
	from := 1
	for i := 1; i < len(text); i++ {
		if text[i] == ',' || i == len(text)-1 {
			if !capture.IsNumber(text[from:i]) {
				return misfit(dst, text)
			}
			from = i + 1
		}
	}
	return append(dst, text...), true
}

// appendGeometry writes hex EWKB as {"srid":4326,"wkb":"base64"}. The wkb is without
// the SRID, as the OGC format wants; dimensions stay marked as EWKB marks them.
func appendGeometry(dst, text []byte) ([]byte, bool) {
	const sridFlag = 0x20000000
	var head [9]byte // byte order, type, srid
	if len(text) < 10 || len(text)%2 != 0 {
		return misfit(dst, text)
	}
	for i := 0; i < len(head) && 2*i+1 < len(text); i++ {
		hi, ok1 := unhex(text[2*i])
		lo, ok2 := unhex(text[2*i+1])
		if !ok1 || !ok2 {
			return misfit(dst, text)
		}
		head[i] = hi<<4 | lo
	}
	var order binary.ByteOrder = binary.BigEndian
	if head[0] == 1 {
		order = binary.LittleEndian
	}
	var srid uint32
	body := text[10:]
	if kind := order.Uint32(head[1:]); kind&sridFlag != 0 {
		if len(text) < 18 {
			return misfit(dst, text)
		}
		srid = order.Uint32(head[5:])
		body = text[18:]
		order.PutUint32(head[1:], kind&^sridFlag)
	}
	start := len(dst)
	dst = strconv.AppendUint(append(dst, `{"srid":`...), uint64(srid), 10)
	out, ok := appendWKB(append(dst, `,"wkb":"`...), head[:5], body)
	if !ok {
		return misfit(out[:start], text)
	}
	return append(out, `"}`...), true
}

// appendWKB appends head and the hex digits of body as base64.
func appendWKB(dst, head, body []byte) ([]byte, bool) {
	digits := make([]byte, 0, 2*len(head)+len(body))
	for _, c := range head {
		digits = hex.AppendEncode(digits, []byte{c})
	}
	return appendHexAsBase64(dst, append(digits, body...))
}
