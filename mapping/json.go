package mapping

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// appendString appends a JSON string that is a fixed point of JavaScript's
// JSON.stringify(JSON.parse(x)): only what must be escaped is. Bytes that are
// no UTF-8 become U+FFFD.
func appendString[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r == utf8.RuneError && size == 1 {
				dst = append(append(dst, s[start:i]...), "\uFFFD"...)
				start = i + 1
			}
			i += size
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// appendValue appends what an expression gave. Numbers keep their digits.
func appendValue(dst []byte, v any) []byte {
	switch x := v.(type) {
	case nil:
		return append(dst, "null"...)
	case bool:
		return strconv.AppendBool(dst, x)
	case int:
		return strconv.AppendInt(dst, int64(x), 10)
	case *decimal:
		if x.special != finite {
			return appendString(dst, x.String())
		}
		return append(dst, x.String()...)
	case string:
		return appendString(dst, x)
	case sensed:
		return appendString(dst, x.text)
	case time.Time:
		return appendString(dst, timeText(x))
	case time.Duration:
		return appendString(dst, x.String())
	case []any:
		dst = append(dst, '[')
		for i := range x {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendValue(dst, x[i])
		}
		return append(dst, ']')
	case map[string]any:
		names := make([]string, 0, len(x))
		for name := range x {
			names = append(names, name)
		}
		slices.Sort(names)
		dst = append(dst, '{')
		for i, name := range names {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendString(dst, name), ':')
			dst = appendValue(dst, x[name])
		}
		return append(dst, '}')
	}
	return append(dst, "null"...)
}

// isJSONNumber reports whether text can stand in JSON as it is.
func isJSONNumber(text []byte) bool {
	digit := func(b byte) bool { return b >= '0' && b <= '9' }
	return len(text) > 0 && (text[0] == '-' || digit(text[0])) && digit(text[len(text)-1]) && json.Valid(text) // no space behind it
}

// unquote returns what a JSON string says.
func unquote(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	var s string
	err := json.Unmarshal(value, &s)
	return s, err == nil
}

// timeText is a time as payloads have it: an instant in UTC, and what a column without a zone or a
// clock told without them. One before our era ends as PostgreSQL's text does.
func timeText(t time.Time) string {
	layout := "2006-01-02T15:04:05.000000"
	switch t.Location() {
	case wallClock:
	case calendar:
		if t.Equal(t.Truncate(24 * time.Hour)) {
			layout = time.DateOnly
		}
	default:
		t = t.UTC()
		layout += "Z"
	}
	year := t.Year()
	switch {
	case year > lastYear:
		return "infinity"
	case year < -lastYear:
		return "-infinity"
	case year <= 0:
		_, rest, _ := strings.Cut(strings.TrimPrefix(t.Format(layout), "-"), "-")
		return fmt.Sprintf("%04d-%s BC", 1-year, rest)
	}
	return t.Format(layout)
}

// lastYear is beyond all that a database can hold, and before the times that infinity stands for.
const lastYear = 300_000
