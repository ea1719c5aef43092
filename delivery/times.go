package delivery

import (
	"strconv"
	"strings"
	"time"
)

// The times that infinity stands for: beyond every date that a database can hold.
func endOfTime(negative bool) time.Time {
	year := 400_000
	if negative {
		year = -400_000
	}
	return time.Date(year, time.January, 1, 0, 0, 0, 0, time.UTC)
}

// ParseTime reads a date or a time as PostgreSQL and MySQL print them in ISO style, or as
// RFC 3339 has it. Without a zone it is taken as UTC, so that columns without
// zones compare with each other. ok is false for what is no time, such as MySQL's zero date.
func ParseTime(text string) (t time.Time, ok bool) {
	switch text {
	case "infinity":
		return endOfTime(false), true
	case "-infinity":
		return endOfTime(true), true
	}
	text, before := strings.CutSuffix(text, " BC")
	yearText, rest, _ := strings.Cut(text, "-")
	year, err := strconv.Atoi(yearText)
	if err != nil || len(yearText) < 4 || year == 0 || len(rest) < 5 || rest[2] != '-' {
		return time.Time{}, false
	}
	if before {
		year = 1 - year
	}
	month, okMonth := twoDigits(rest[0:])
	day, okDay := twoDigits(rest[3:])
	if !okMonth || !okDay {
		return time.Time{}, false
	}
	clock, offset, ok := parseClock(rest[5:])
	t = time.Date(year, time.Month(month), day, 0, 0, 0, 0, time.UTC)
	if !ok || int(t.Month()) != month || t.Day() != day {
		return time.Time{}, false
	}
	return t.Add(clock - offset), true
}

// parseClock reads what follows a date: nothing, or " 15:04:05.123456+05:30" and its like.
func parseClock(s string) (clock, offset time.Duration, ok bool) {
	if s == "" {
		return 0, 0, true
	}
	if s[0] != ' ' && s[0] != 'T' || len(s) < 6 || s[3] != ':' {
		return 0, 0, false
	}
	hours, okHours := twoDigits(s[1:])
	minutes, okMinutes := twoDigits(s[4:])
	clock = time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	s = s[6:]
	if len(s) >= 3 && s[0] == ':' {
		seconds, okSeconds := twoDigits(s[1:])
		clock += time.Duration(seconds) * time.Second
		okMinutes = okMinutes && okSeconds && seconds <= 60
		s = s[3:]
	}
	if len(s) > 1 && s[0] == '.' {
		digits := 1
		for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
			digits++
		}
		fraction, err := time.ParseDuration("0" + s[:digits] + "s")
		okMinutes = okMinutes && err == nil
		clock += fraction
		s = s[digits:]
	}
	offset, okOffset := parseOffset(s)
	return clock, offset, okHours && okMinutes && okOffset && hours <= 24 && minutes < 60
}

// parseOffset reads a zone's offset from UTC: "", Z, +05, -0330, +05:30 or +05:30:15.
func parseOffset(s string) (time.Duration, bool) {
	if s == "" || s == "Z" {
		return 0, true
	}
	sign := time.Duration(1)
	switch s[0] {
	case '-':
		sign = -1
	case '+':
	default:
		return 0, false
	}
	var offset time.Duration
	s = s[1:]
	for _, unit := range [3]time.Duration{time.Hour, time.Minute, time.Second} {
		if s == "" {
			break
		}
		n, ok := twoDigits(s)
		if !ok {
			return 0, false
		}
		offset += time.Duration(n) * unit
		s = strings.TrimPrefix(s[2:], ":")
	}
	return sign * offset, s == ""
}

func twoDigits(s string) (int, bool) {
	if len(s) < 2 || s[0] < '0' || s[0] > '9' || s[1] < '0' || s[1] > '9' {
		return 0, false
	}
	return int(s[0]-'0')*10 + int(s[1]-'0'), true
}
