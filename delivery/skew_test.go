package delivery

import (
	"testing"
	"time"
)

func TestClockSkew(t *testing.T) {
	t.Parallel()
	started := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	for _, tt := range []struct {
		name string
		date time.Time
		want time.Duration
	}{
		{"the same clock", started.Add(time.Second), 0},
		{"ours is ahead", started.Add(-10 * time.Minute), 10*time.Minute + time.Second},
		{"ours is behind", started.Add(time.Hour), -time.Hour + time.Second},
		{"no date keeps what was known", time.Time{}, time.Minute},
	} {
		l := lastResults{skew: time.Minute}
		l.clock(&Reply{Started: started, Duration: time.Second, Date: tt.date})
		if l.skew != tt.want {
			t.Errorf("%s: skew = %s, want %s", tt.name, l.skew, tt.want)
		}
	}
}
