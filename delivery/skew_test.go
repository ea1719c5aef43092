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

// TestWaitsByAnotherClock: a due time on disk is of a clock that may have been set back since.
func TestWaitsByAnotherClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	retry := RetryConfig{Initial: time.Second, Max: time.Hour, Multiplier: 2, Jitter: 0.2}
	d := &dispatcher{profile: &Profile{schedule: newSchedule(retry)}}
	for _, tt := range []struct {
		name     string
		attempts int
		due      time.Duration
		outage   time.Duration
		want     time.Duration
	}{
		{"due long ago", 1, -24 * time.Hour, 0, -24 * time.Hour},
		{"as the schedule says", 1, 2 * time.Second, 0, 2 * time.Second},
		{"as the schedule says after many", 20, time.Hour, 0, time.Hour},
		{"a day ahead", 20, 24 * time.Hour, 0, 0},
		{"an hour ahead after one", 1, time.Hour, 0, 0},
		{"an hour that the endpoint asked for", 1, time.Hour, time.Hour, time.Hour},
	} {
		d.state.Outage = nil
		if tt.outage > 0 {
			d.state.Outage = &outage{Until: now.Add(tt.outage)}
		}
		if got := d.waits(&Delivery{Attempts: tt.attempts, Due: now.Add(tt.due)}, now); got != tt.want {
			t.Errorf("%s: waits %s, want %s", tt.name, got, tt.want)
		}
	}
}
