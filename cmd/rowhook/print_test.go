package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTable(t *testing.T) {
	t.Parallel()
	table := newTable("PROFILE", "STATE", "REASON")
	table.add("desk", "active", "")
	table.add("büro", "held", "two\nlines")
	var b strings.Builder
	if err := table.print(&b); err != nil {
		t.Fatal(err)
	}
	want := "PROFILE  STATE   REASON\ndesk     active\nbüro     held    two lines\n"
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

func TestHumanBytes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 10 << 20: "10MiB", 1<<20 - 1: "1MiB", 1<<30 + 1<<28: "1.25GiB",
		123 << 30: "123GiB", 1 << 50: "1PiB", -2048: "-2KiB", 99_999: "97.7KiB",
	} {
		if got := humanBytes(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	if got := ago(now, now.Add(-90*time.Second)); got != "1m30s ago" {
		t.Error(got)
	}
	if got := ago(now, time.Time{}); got != "never" {
		t.Error(got)
	}
}

// A body is shown up to 4000 characters, not bytes; one of exactly that many is shown whole.
func TestPrintBody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		body      string
		truncated bool
		want      string
	}{
		{"none", "", false, ""},
		{"short", "{}", false, "{}\n"},
		{"exactly as long", strings.Repeat("あ", 4000), false, strings.Repeat("あ", 4000) + "\n"},
		{"one longer", strings.Repeat("あ", 4001), false, strings.Repeat("あ", 4000) + "\n… cut here; 11.7KiB were sent\n"},
		{"cut by the log", "{", true, "{\n… cut here; 1B were sent\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			if err := printBody(&b, tt.body, tt.truncated, len(tt.body), ""); err != nil || b.String() != tt.want {
				t.Errorf("printed %.40q… (%d bytes), %v", b.String(), b.Len(), err)
			}
		})
	}
}

// TestWaiting: a command that waits says for whom, once, and one that does not keeps silent.
func TestWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			takes time.Duration
			want  string
		}{
			{patience - time.Millisecond, ""},
			{patience + time.Millisecond, "Waiting for the database …\n"},
			{time.Minute, "Waiting for the database …\n"},
		} {
			var messages strings.Builder
			answered := (&console{err: &messages}).waiting("the database")
			time.Sleep(tt.takes)
			answered()
			if got := messages.String(); got != tt.want {
				t.Errorf("after %s: %q", tt.takes, got)
			}
		}
	})
}
