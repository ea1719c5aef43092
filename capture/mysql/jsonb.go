package mysql

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"rowhook/capture"
)

// MySQL's binary JSON: a type byte, then the value. Objects and arrays have a count, a size
// and entries, which are offsets into themselves or, for small scalars, the value.
const (
	jsonSmallObject = iota
	jsonLargeObject
	jsonSmallArray
	jsonLargeArray
	jsonLiteral
	jsonInt16
	jsonUint16
	jsonInt32
	jsonUint32
	jsonInt64
	jsonUint64
	jsonDouble
	jsonString
	jsonOpaque = 15
)

// jsonDepth is how deep MySQL lets documents be nested.
const jsonDepth = 100

var errJSON = errors.New("malformed binary JSON")

// appendBinaryJSON writes a document as text.
func appendBinaryJSON(_ *column, dst, v []byte) ([]byte, error) {
	if len(v) == 0 {
		return append(dst, "null"...), nil // what the server stores for NULL in a NOT NULL column
	}
	return appendJSONValue(dst, v[0], v[1:], jsonDepth)
}

func appendJSONValue(dst []byte, kind byte, b []byte, depth int) ([]byte, error) {
	switch kind {
	case jsonSmallObject, jsonLargeObject, jsonSmallArray, jsonLargeArray:
		return appendJSONContainer(dst, kind, b, depth)
	case jsonString:
		text, err := jsonBytes(b)
		if err != nil {
			return dst, err
		}
		dst, _ = capture.AppendJSONString(dst, text)
		return dst, nil
	case jsonOpaque:
		if len(b) == 0 {
			return dst, errJSON
		}
		data, err := jsonBytes(b[1:])
		if err != nil {
			return dst, err
		}
		return appendOpaque(dst, b[0], data)
	}
	return appendJSONScalar(dst, kind, b)
}

func appendJSONScalar(dst []byte, kind byte, b []byte) ([]byte, error) {
	width := map[byte]int{jsonLiteral: 1, jsonInt16: 2, jsonUint16: 2, jsonInt32: 4, jsonUint32: 4, jsonInt64: 8, jsonUint64: 8, jsonDouble: 8}[kind]
	if width == 0 || len(b) < width {
		return dst, errJSON
	}
	n := littleEndian(b[:width])
	switch kind {
	case jsonLiteral:
		if n > 2 {
			return dst, errJSON
		}
		return append(dst, [...]string{"null", "true", "false"}[n]...), nil
	case jsonInt16:
		return strconv.AppendInt(dst, int64(int16(n)), 10), nil
	case jsonInt32:
		return strconv.AppendInt(dst, int64(int32(n)), 10), nil
	case jsonInt64:
		return strconv.AppendInt(dst, int64(n), 10), nil
	case jsonDouble:
		f := math.Float64frombits(n)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return dst, errJSON
		}
		start := len(dst)
		dst = appendFloat(dst, f, 64)
		if capture.IsInteger(dst[start:]) {
			dst = append(dst, ".0"...) // a double stays one
		}
		return dst, nil
	}
	return strconv.AppendUint(dst, n, 10), nil
}

// jsonBytes returns bytes behind a length in groups of seven bits.
func jsonBytes(b []byte) ([]byte, error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, errJSON
	}
	return b[used : used+int(n)], nil
}

// jsonContainer is an object or array, of which b is the whole.
type jsonContainer struct {
	b     []byte
	wide  int // bytes of a number in it
	count int
}

func (c *jsonContainer) number(at int) (int, error) {
	if at < 0 || at+c.wide > len(c.b) {
		return 0, errJSON
	}
	n := littleEndian(c.b[at : at+c.wide])
	return int(n), nil
}

func appendJSONContainer(dst []byte, kind byte, b []byte, depth int) ([]byte, error) {
	if depth == 0 {
		return dst, errJSON
	}
	c := jsonContainer{b: b, wide: 2}
	if kind == jsonLargeObject || kind == jsonLargeArray {
		c.wide = 4
	}
	object := kind == jsonSmallObject || kind == jsonLargeObject
	var err error
	if c.count, err = c.number(0); err != nil {
		return dst, err
	}
	entry := 1 + c.wide
	values := 2 * c.wide
	if object {
		values += c.count * (c.wide + 2)
	}
	if c.count > len(b) || values+c.count*entry > len(b) {
		return dst, errJSON
	}
	open, end := byte('['), byte(']')
	if object {
		open, end = '{', '}'
	}
	dst = append(dst, open)
	for i := range c.count {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		if object {
			if dst, err = c.appendKey(dst, 2*c.wide+i*(c.wide+2)); err != nil {
				return dst, err
			}
		}
		if dst, err = c.appendEntry(dst, values+i*entry, depth); err != nil {
			return dst, err
		}
	}
	return append(dst, end), nil
}

func (c *jsonContainer) appendKey(dst []byte, at int) ([]byte, error) {
	from, err := c.number(at)
	if err != nil || at+c.wide+2 > len(c.b) {
		return dst, errJSON
	}
	n := int(littleEndian(c.b[at+c.wide : at+c.wide+2]))
	if from+n > len(c.b) {
		return dst, errJSON
	}
	dst, _ = capture.AppendJSONString(dst, c.b[from:from+n])
	return append(dst, ": "...), nil
}

func (c *jsonContainer) appendEntry(dst []byte, at, depth int) ([]byte, error) {
	kind := c.b[at]
	inline := kind == jsonLiteral || kind == jsonInt16 || kind == jsonUint16 || c.wide == 4 && (kind == jsonInt32 || kind == jsonUint32)
	if inline {
		return appendJSONScalar(dst, kind, c.b[at+1:at+1+c.wide])
	}
	from, err := c.number(at + 1)
	if err != nil || from > len(c.b) {
		return dst, errJSON
	}
	return appendJSONValue(dst, kind, c.b[from:], depth-1)
}

// appendOpaque writes what JSON has no type for: a number with all its digits, times and
// other bytes as strings, as the server prints them.
func appendOpaque(dst []byte, t byte, v []byte) ([]byte, error) {
	switch t {
	case gomysql.MYSQL_TYPE_NEWDECIMAL:
		if len(v) < 2 || v[0] < v[1] {
			return dst, errJSON
		}
		c, _, err := decimalColumn(int(v[0]), int(v[1]))
		if err != nil || len(v) != 2+c.width || c.width == 0 {
			return dst, errJSON
		}
		return appendDecimal(&c, dst, v[2:])
	case gomysql.MYSQL_TYPE_DATE, gomysql.MYSQL_TYPE_DATETIME, gomysql.MYSQL_TYPE_TIMESTAMP, gomysql.MYSQL_TYPE_TIME:
		if len(v) != 8 {
			return dst, errJSON
		}
		return append(appendPackedTime(append(dst, '"'), t, int64(littleEndian(v))), '"'), nil
	}
	dst = fmt.Appendf(dst, `"base64:type%d:`, t)
	dst = base64.StdEncoding.AppendEncode(dst, v)
	return append(dst, '"'), nil
}

// appendPackedTime writes a time as JSON documents hold them.
func appendPackedTime(dst []byte, t byte, n int64) []byte {
	if n < 0 {
		n = -n
		dst = append(dst, '-')
	}
	whole, micros := uint64(n)>>24, uint64(n)&(1<<24-1)
	clock := whole & (1<<17 - 1)
	if t == gomysql.MYSQL_TYPE_TIME {
		dst = appendHMS(dst, whole>>12&1023, whole>>6&63, whole&63)
		return appendDigits(append(dst, '.'), micros, 6)
	}
	date := whole >> 17
	dst = appendYMD(dst, date>>5/13, date>>5%13, date&31)
	if t == gomysql.MYSQL_TYPE_DATE {
		return dst
	}
	dst = appendHMS(append(dst, ' '), clock>>12, clock>>6&63, clock&63)
	return appendDigits(append(dst, '.'), micros, 6)
}
