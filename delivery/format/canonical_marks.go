package format

import "rowhook/delivery"

// payload appends the canonical form of an event's payload. Where the mapping has marked what is
// not canonical in it, that alone is read, and the rest copied.
func (c *canon) payload(dst []byte, ev *delivery.Event) ([]byte, error) {
	payload := content(ev)
	if ev.Marks != nil && len(payload) > len("{}") {
		if out, ok := c.marked(dst, payload, ev.Marks); ok {
			return out, nil
		}
	}
	return c.append(dst, payload, ev.Kinds)
}

// marked appends a payload by its marks. It fails where they do not fit the payload.
func (c *canon) marked(dst, payload, marks []byte) ([]byte, bool) {
	c.src, c.dst, c.pos, c.from, c.members = payload, dst, 0, 0, c.members[:0]
	at, ok := 0, true
	for ok && len(marks) > 0 {
		var skip int
		var mark delivery.Mark
		if skip, mark, marks, ok = delivery.NextMark(marks); !ok {
			break
		}
		if at += skip; at < c.pos || at >= len(payload) {
			ok = false
			break
		}
		c.pos = at
		switch {
		case mark == delivery.MarkDate && isDate(payload[at:]):
			c.almaDate()
		case mark == delivery.MarkInstant && isInstant(payload[at:]):
			const due = `"due_date":`
			c.almaInstant(at >= len(due) && string(payload[at-len(due):at]) == due)
		default:
			ok = c.value(1)
		}
	}
	c.flush(len(payload))
	out := c.dst
	c.src, c.dst = nil, nil
	return out, ok
}

// almaDate takes the date at hand, and puts a Z behind it where Alma's are wanted.
func (c *canon) almaDate() {
	end := c.pos + len(`"2006-01-02`)
	if c.alma {
		c.flush(end)
		c.dst = append(c.dst, 'Z')
	}
	c.pos = end + 1
}

// almaInstant takes the time at hand, with the digits of a second that Alma has where its are
// wanted: none of a due date.
func (c *canon) almaInstant(due bool) {
	if c.alma {
		end := c.pos + len(`"2006-01-02T15:04:05.000`)
		if due {
			end -= len(".000")
		}
		c.flush(end)
		c.from = c.pos + len(`"2006-01-02T15:04:05.000000`)
	}
	c.pos += len(`"2006-01-02T15:04:05.000000Z"`)
}

// isDate reports whether the text begins with a date and nothing else in quotes, which times before
// Christ and infinity are not.
func isDate(text []byte) bool { return hasForm(text, `"0000-00-00"`) }

// isInstant reports whether the text begins with a time in UTC in quotes, as the sources write it.
func isInstant(text []byte) bool { return hasForm(text, `"0000-00-00T00:00:00.000000Z"`) }

// hasForm reports whether the text begins like the pattern, whose zeros stand for any digits.
func hasForm(text []byte, pattern string) bool {
	if len(text) < len(pattern) {
		return false
	}
	for i := range len(pattern) {
		if p := pattern[i]; p == '0' && text[i]-'0' > 9 || p != '0' && text[i] != p {
			return false
		}
	}
	return true
}
