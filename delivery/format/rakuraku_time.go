package format

import (
	"time"
)

const (
	dateLayout  = "2006-01-02"
	clockLayout = "2006-01-02 15:04:05"
)

// appendClock appends a time as clockLayout has it.
func appendClock(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	if year < 0 || year > 9999 {
		return t.AppendFormat(dst, clockLayout)
	}
	hour, minute, second := t.Clock()
	two := func(n int, before byte) { dst = append(dst, before, byte('0'+n/10), byte('0'+n%10)) }
	dst = append(dst, byte('0'+year/1000), byte('0'+year/100%10), byte('0'+year/10%10), byte('0'+year%10))
	two(int(month), '-')
	two(day, '-')
	two(hour, ' ')
	two(minute, ':')
	two(second, ':')
	return dst
}

// appendTime appends a date or time in the profile's format; an instant in the profile's zone. ok
// is false for what is neither, such as infinity.
func (r *rakuraku) appendTime(dst []byte, typ string, text []byte) (_ []byte, ok bool) {
	layout := r.datetime
	if typ == "date" {
		layout = r.date
	}
	t, ok := r.timeOf(text)
	if !ok {
		return dst, false
	}
	dst = append(dst, '"')
	if layout == clockLayout {
		dst = appendClock(dst, t)
	} else {
		dst = t.AppendFormat(dst, layout)
	}
	return append(dst, '"'), true
}

// timeOf reads a date or time as payloads have them: those in the forms that the sources write at
// once, all others as [time.Parse] does.
func (r *rakuraku) timeOf(text []byte) (t time.Time, ok bool) {
	const date, clock = "0000-00-00", "0000-00-00T00:00:00"
	switch {
	case len(text) == len(date) && hasForm(text, date):
		t, ok = civil(text, 0, 0, 0)
	case hasForm(text, clock) && (len(text) == len(clock) || text[len(clock)] == '.'):
		rest := text[len(clock):]
		utc := len(rest) > 0 && rest[len(rest)-1] == 'Z'
		if utc {
			rest = rest[:len(rest)-1]
		}
		if len(rest) == 0 || len(rest) > 1 && len(leadingDigits(rest[1:])) == len(rest)-1 {
			t, ok = civil(text, twoDigits(text[11:]), twoDigits(text[14:]), twoDigits(text[17:]))
		}
		if ok && utc {
			t = t.In(r.zone)
		}
	}
	if ok {
		return t, true
	}
	var err error
	switch s := string(text); {
	case len(s) == len(dateLayout), len(s) == len("2006-01-02Z") && s[10] == 'Z':
		t, err = time.Parse(dateLayout, s[:10])
	default:
		if t, err = time.Parse(time.RFC3339, s); err == nil {
			t = t.In(r.zone)
		} else {
			t, err = time.Parse("2006-01-02T15:04:05", s)
		}
	}
	return t, err == nil
}

func twoDigits(text []byte) int { return int(text[0]-'0')*10 + int(text[1]-'0') }

// civil is the time that day, which text begins with; ok is false where the calendar or the clock
// has none such.
func civil(text []byte, hour, minute, second int) (time.Time, bool) {
	year, month, day := twoDigits(text)*100+twoDigits(text[2:]), twoDigits(text[5:]), twoDigits(text[8:])
	if month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	return t, day <= 28 || t.Day() == day // no February 30
}
