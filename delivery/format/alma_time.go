package format

import (
	"time"

	"rowhook/delivery"
)

// almaTime writes the date or time that member m, of the outermost object, has: a date with Z behind it, an instant with three
// digits of a second. Only due_date has none. What is shorter already was asked for and stays, as do times without a zone.
func (c *canon) almaTime(kind delivery.Kind, m member) {
	if kind != delivery.KindDate && kind != delivery.KindInstant {
		return
	}
	c.flush(c.pos)
	start := m.nameEnd + 1
	value := c.dst[start:]
	switch kind {
	case delivery.KindDate:
		if len(value) == len(`"2006-01-02"`) && isDate(value[1:]) {
			c.dst = append(c.dst[:len(c.dst)-1], 'Z', '"')
		}
	case delivery.KindInstant:
		const whole = len(`"2006-01-02T15:04:05`)
		if len(value) != whole+len(`.000000Z"`) || !isDate(value[1:]) || value[whole] != '.' || value[whole+7] != 'Z' {
			return
		}
		end := start + whole + len(".000")
		if string(c.dst[m.start:m.nameEnd]) == `"due_date"` {
			end = start + whole
		}
		c.dst = append(c.dst[:end], 'Z', '"')
	}
}

// isDate reports whether the text begins like 2006-01-02, which times before Christ and infinity do not.
func isDate(text []byte) bool {
	for i, pattern := range []byte("0000-00-00") {
		if pattern == '0' && (text[i] < '0' || text[i] > '9') || pattern == '-' && text[i] != '-' {
			return false
		}
	}
	return true
}

// appendMilliseconds appends t in UTC with three digits of a second.
func appendMilliseconds(dst []byte, t time.Time) []byte {
	// Six digits and a Z come from the one who knows how; three of them go.
	start := len(dst)
	dst = delivery.AppendJSONTime(dst, t)
	copy(dst[start:], dst[start+1:])
	dst = dst[:len(dst)-len(`000Z"`)-1]
	return append(dst, 'Z')
}
