package format

import (
	"time"

	"rowhook/delivery"
)

// almaTime takes the value at hand if it is a date or time of the outermost object, as its kind
// says, and writes it as Alma does: a date with Z behind it, an instant with three digits of a
// second. Only due_date has none. What is shorter already was asked for and stays, as do times
// without a zone. It reports false, and has taken nothing, for anything else.
func (c *canon) almaTime(kind delivery.Kind, due bool) bool {
	switch {
	case kind == delivery.KindDate && isDate(c.src[c.pos:]):
		c.almaDate()
	case kind == delivery.KindInstant && isInstant(c.src[c.pos:]):
		c.almaInstant(due)
	default:
		return false
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
