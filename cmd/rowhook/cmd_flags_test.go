package main

import (
	"strings"
	"testing"
	"time"
)

// FuzzFlags reads moments and removals of any text: a moment that is taken is one, and so is a
// removal.
func FuzzFlags(f *testing.F) {
	for _, text := range []string{"2 hours", "7d", "2026-11-22T10:00:00+09:00", "2026-11-22", "main=drain", "=drop"} {
		f.Add(text)
	}
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text string) {
		if at, err := parseMoment(text, now); err == nil && text != "" && at.IsZero() && !strings.HasPrefix(text, "0001") {
			t.Errorf("moment %q is none", text)
		}
		removed, err := parseRemovals([]string{text})
		if _, nameless := removed[""]; err == nil && (len(removed) != 1 || nameless) {
			t.Errorf("removals %q: %v", text, removed)
		}
	})
}
