package delivery

import (
	"testing"
	"time"
)

func TestTimes(t *testing.T) {
	t.Parallel()
	utc := func(s string) time.Time {
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	for text, want := range map[string]time.Time{
		"2026-12-01":                      utc("2026-12-01T00:00:00Z"),
		"2026-12-01 14:05":                utc("2026-12-01T14:05:00Z"),
		"2026-12-01 14:05:06.7+05:30":     utc("2026-12-01T08:35:06.7Z"),
		"2026-12-01T14:05:06.123456Z":     utc("2026-12-01T14:05:06.123456Z"),
		"2026-12-01 14:05:06-03":          utc("2026-12-01T17:05:06Z"),
		"0044-03-15 12:00:00 BC":          time.Date(-43, 3, 15, 12, 0, 0, 0, time.UTC),
		"294276-12-31 23:59:59.999999+00": time.Date(294276, 12, 31, 23, 59, 59, 999999000, time.UTC),
		"infinity":                        endOfTime(false),
		"-infinity":                       endOfTime(true),
	} {
		if got, ok := ParseTime(text); !ok || !got.Equal(want) {
			t.Errorf("%s: got %v %v, want %v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "0000-00-00", "2024-00-00", "2026-02-30", "2026-1-1", "yesterday", "2026-12-01 14", "2026-12-01 14:05:06 PM", "2026-12-01x", "2026-12-01 99:00:00"} {
		if _, ok := ParseTime(text); ok {
			t.Errorf("%q was read as a time", text)
		}
	}
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-12-01 14:05:06.7+05:30", "0044-03-15 BC", "infinity", "2026-12-01T24:00:60Z"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { ParseTime(s) })
}
