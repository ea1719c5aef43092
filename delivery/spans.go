package delivery

import (
	"cmp"
	"math"
	"strconv"
	"strings"
)

// Spans of time and times of day, as the databases print them.

const (
	microsPerSecond = 1_000_000
	microsPerDay    = 24 * 60 * 60 * microsPerSecond
)

// clockSpan is a time of day, or a span of hours, which may be negative. east is its zone's seconds
// east of Greenwich.
type clockSpan struct {
	micros, east int64
	zoned        bool
}

// compare orders by the moment, and those of one moment as PostgreSQL does: the zone further east
// first.
func (c clockSpan) compare(d clockSpan) int {
	if order := cmp.Compare(c.micros-c.east*microsPerSecond, d.micros-d.east*microsPerSecond); order != 0 {
		return order
	}
	return cmp.Compare(d.east, c.east)
}

// parseClockSpan reads [-]H:MM[:SS[.f]], with a zone such as +09 or -03:30 or without.
func parseClockSpan(s string) (c clockSpan, ok bool) {
	s, negative := strings.CutPrefix(s, "-")
	if i := strings.IndexAny(s, "+-Z"); i > 0 {
		offset, ok := parseOffset(s[i:])
		if !ok || negative {
			return c, false
		}
		c.east, c.zoned, s = int64(offset.Seconds()), true, s[:i]
	}
	s, fraction, _ := strings.Cut(s, ".")
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 || fraction != "" && len(parts) != 3 {
		return c, false
	}
	seconds := int64(0)
	for i, part := range parts {
		n, ok := digits(part)
		if !ok || i > 0 && (n > 59 || len(part) != 2) || n > 9999 {
			return c, false
		}
		seconds = seconds*60 + n
	}
	if len(parts) == 2 {
		seconds *= 60
	}
	micros, ok := microsOf(fraction)
	c.micros = seconds*microsPerSecond + micros
	if negative {
		c.micros = -c.micros
	}
	return c, ok
}

// digits reads a number without a sign.
func digits(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n <= maxPart
}

// maxPart bounds the parts of an interval, so that nothing overflows.
const maxPart = math.MaxInt64 / 4 / microsPerSecond

// microsOf reads what stands behind a second's point.
func microsOf(fraction string) (int64, bool) {
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > 6 {
		return 0, false
	}
	if fraction == "" {
		return 0, true
	}
	return digits(fraction + "000000"[len(fraction):])
}

// parseInterval reads an interval as PostgreSQL's IntervalStyle iso_8601 prints it, such as
// P1Y2M-3DT4H5M6.78S: as days and microseconds of less than a day, where a month has 30 days and a day
// 24 hours, as PostgreSQL compares.
func parseInterval(s string) (span [2]int64, ok bool) {
	switch s {
	case "infinity":
		return [2]int64{math.MaxInt64, 0}, true
	case "-infinity":
		return [2]int64{math.MinInt64, 0}, true
	}
	s, ok = strings.CutPrefix(s, "P")
	if !ok || s == "" {
		return span, false
	}
	var days, micros int64
	clock := false
	for s != "" {
		if s[0] == 'T' && !clock {
			clock, s = true, s[1:]
			if s == "" {
				return span, false
			}
			continue
		}
		n := strings.IndexFunc(s, func(r rune) bool { return r >= 'A' && r <= 'Z' })
		if n <= 0 {
			return span, false
		}
		text, unit := s[:n], s[n]
		s = s[n+1:]
		sign := int64(1)
		if text[0] == '-' || text[0] == '+' {
			if text[0] == '-' {
				sign = -1
			}
			text = text[1:]
		}
		whole, fraction, pointed := strings.Cut(text, ".")
		value, ok := digits(whole)
		if !ok || pointed && unit != 'S' {
			return span, false
		}
		switch {
		case clock && unit == 'S':
			part, ok := microsOf(fraction)
			if !ok {
				return span, false
			}
			days += sign * (value / 86400)
			micros += sign * (value%86400*microsPerSecond + part)
		case clock && unit == 'M':
			days += sign * (value / 1440)
			micros += sign * (value % 1440 * 60 * microsPerSecond)
		case clock && unit == 'H':
			days += sign * (value / 24)
			micros += sign * (value % 24 * 3600 * microsPerSecond)
		case !clock && unit == 'Y':
			days += sign * value * 360
		case !clock && unit == 'M':
			days += sign * value * 30
		case !clock && unit == 'W':
			days += sign * value * 7
		case !clock && unit == 'D':
			days += sign * value
		default:
			return span, false
		}
	}
	days += micros / microsPerDay
	if micros %= microsPerDay; micros < 0 {
		days, micros = days-1, micros+microsPerDay
	}
	return [2]int64{days, micros}, true
}
