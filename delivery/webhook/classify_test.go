package webhook

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file in testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; run with -update and look at the difference\n%s", path, got)
	}
}

var classNames = map[delivery.Class]string{
	delivery.ClassOK: "ok", delivery.ClassEvent: "event", delivery.ClassEndpoint: "endpoint", delivery.ClassAuth: "auth",
	delivery.ClassTransient: "transient", delivery.ClassThrottle: "throttle", delivery.ClassNetwork: "network",
	delivery.ClassGone: "gone", delivery.ClassProfile: "profile", delivery.ClassOurs: "ours", delivery.ClassDead: "dead",
	delivery.ClassStopped: "stopped",
}

// tableOf builds a profile's table.
func tableOf(t *testing.T, success []string, replies ...delivery.ReplyConfig) *statusTable {
	t.Helper()
	p := parser{cfg: &delivery.ProfileConfig{Code: "desk", Success: success, Replies: replies}}
	table := p.statuses()
	if len(p.found) > 0 {
		t.Fatal(p.found)
	}
	return &table
}

// TestStatusTable holds every status against the table that users rely on.
func TestStatusTable(t *testing.T) {
	t.Parallel()
	for name, table := range map[string]*statusTable{
		"status-default.txt": tableOf(t, nil),
		"status-overrides.txt": tableOf(t, []string{"200", "201", "301"},
			delivery.ReplyConfig{Status: "4xx", Action: "dead"}, delivery.ReplyConfig{Status: "404", Action: "retry"},
			delivery.ReplyConfig{Status: "201", Action: "retry"}, delivery.ReplyConfig{Status: "3xx", Action: "dead"},
			delivery.ReplyConfig{Status: "410", Action: "dead"}, delivery.ReplyConfig{Status: "503", Action: "retry"}),
	} {
		var b strings.Builder
		for status := 100; status < 600; status++ {
			fmt.Fprintf(&b, "%d %s %s\n", status, classNames[table.class(status)], statusReason(status))
		}
		golden(t, name, b.String())
	}
}

func TestStatusOutsideHTTP(t *testing.T) {
	t.Parallel()
	table := tableOf(t, []string{"100-599"})
	for _, status := range []int{0, 99, 600, 999} {
		if got := table.class(status); got != delivery.ClassEndpoint || statusReason(status) != delivery.ReasonStatusOther {
			t.Errorf("%d: %s %s", status, classNames[got], statusReason(status))
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	for _, test := range []struct {
		name  string
		value string
		date  time.Time
		want  time.Duration
	}{
		{"absent", "", time.Time{}, 0},
		{"seconds", "120", time.Time{}, 2 * time.Minute},
		{"spaces", " 7 ", time.Time{}, 7 * time.Second},
		{"zero", "0", time.Time{}, 0},
		{"negative", "-5", time.Time{}, 0},
		{"more than a day", "999999999", time.Time{}, 24 * time.Hour},
		{"beyond all numbers", "99999999999999999999999999", time.Time{}, 0},
		{"fraction", "1.5", time.Time{}, 0},
		{"text", "soon", time.Time{}, 0},
		{"date", "Sun, 22 Nov 2026 01:03:03 GMT", time.Time{}, time.Minute},
		{"date by the endpoint's clock", "Sun, 22 Nov 2026 01:03:03 GMT", now.Add(-time.Hour), time.Hour + time.Minute},
		{"date in the past", "Sun, 22 Nov 2025 01:03:03 GMT", time.Time{}, 0},
		{"date far off", "Sun, 22 Nov 2099 01:03:03 GMT", time.Time{}, 24 * time.Hour},
		{"old date form", "Sunday, 22-Nov-26 01:03:03 GMT", time.Time{}, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := retryAfter(test.value, test.date, now); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"120", "-1", "Sun, 22 Nov 2026 01:03:03 GMT", "18446744073709551615"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := retryAfter(value, time.Time{}, time.Unix(1790000000, 0))
		if got < 0 || got > maxRetryAfter {
			t.Errorf("%q: %s", value, got)
		}
	})
}
