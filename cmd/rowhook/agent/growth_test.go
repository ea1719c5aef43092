package agent

import (
	"testing"
	"time"
)

// TestFullIn: the spool is full at its own limit, or where the disk's reserve begins.
func TestFullIn(t *testing.T) {
	t.Parallel()
	var g spoolGrowth
	at := time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC)
	for minute := range 3 {
		g.add(at.Add(time.Duration(minute)*time.Minute), int64(minute)*100)
	}
	for _, test := range []struct {
		limit, disk, history int64
		want                 time.Duration
	}{
		{1000, 5000, 0, 10 * time.Minute},
		{1000, 200, 0, 2 * time.Minute},
		{1000, 200, 100, 3 * time.Minute},
		{1000, -200, 100, 0},
		{-50, 200, 0, 0},
	} {
		if got := g.fullIn(roomLeft(test.limit, test.disk, test.history)); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}
