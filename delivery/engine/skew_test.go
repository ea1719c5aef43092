package engine

import (
	"testing"
	"time"

	"rowhook/delivery"
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
		l.clock(&delivery.Reply{Started: started, Duration: time.Second, Date: tt.date})
		if l.skew != tt.want {
			t.Errorf("%s: skew = %s, want %s", tt.name, l.skew, tt.want)
		}
	}
}

// TestWaitsByAnotherClock: a due time on disk is of a clock that may have been set back since.
func TestWaitsByAnotherClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	retry := delivery.RetryConfig{Initial: time.Second, Max: time.Hour, Multiplier: 2, Jitter: 0.2}
	ld := &loader{profile: &Profile{schedule: newSchedule(retry)}, endpoint: new(endpoint)}
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
		ld.endpoint.outage = nil
		if tt.outage > 0 {
			ld.endpoint.outage = &outage{Until: now.Add(tt.outage)}
		}
		if got := ld.waits(&delivery.Delivery{Attempts: tt.attempts, Due: now.Add(tt.due)}, now); got != tt.want {
			t.Errorf("%s: waits %s, want %s", tt.name, got, tt.want)
		}
	}
}

// TestOutageByAnotherClock: how long an endpoint is left alone after a start is measured once, by a
// clock that may have been set back since the endpoint asked for it, and may be again.
func TestOutageByAnotherClock(t *testing.T) {
	t.Parallel()
	e := endpoint{schedule: newSchedule(delivery.RetryConfig{Initial: time.Second, Max: time.Minute, Multiplier: 2})}
	for _, tt := range []struct {
		name    string
		outage  outage
		ahead   time.Duration // of the probe, by the clock of the start
		atLeast time.Duration
		atMost  time.Duration
	}{
		{"asked for a minute", outage{Whole: true, Wait: time.Minute}, 40 * time.Second, 40 * time.Second, 40 * time.Second},
		{"asked for a minute, an hour was taken back", outage{Whole: true, Wait: time.Minute}, time.Hour, 0, startSpread},
		{"asked for an hour, a day was taken back", outage{Whole: true, Wait: time.Hour}, 24 * time.Hour, 0, startSpread},
		{"asked for a minute, long ago", outage{Whole: true, Wait: time.Minute}, -time.Hour, 0, startSpread},
		{"a state without the wait", outage{Whole: true}, 40 * time.Second, 40 * time.Second, 40 * time.Second},
		{"a state without the wait, a day ahead", outage{Whole: true}, 24 * time.Hour, 0, startSpread},
		{"nothing was asked for", outage{Wait: time.Minute}, 40 * time.Second, 0, startSpread},
		{"a person was to help", outage{Whole: true, Attention: true, Wait: time.Minute}, 40 * time.Second, 0, startSpread},
	} {
		now := time.Now()
		o := tt.outage
		o.Until = now.Add(tt.ahead).Round(0) // as it comes from the disk
		e.outage = &o
		e.wake(false, now)
		if left := o.Until.Sub(now); left < tt.atLeast || left > tt.atMost {
			t.Errorf("%s: the next probe is in %s, want %s to %s", tt.name, left, tt.atLeast, tt.atMost)
		}
		if !hasMonotonic(o.Until) {
			t.Errorf("%s: the next probe is at %v, which moves with the wall clock", tt.name, o.Until)
		}
	}
}

// hasMonotonic reports whether a time is measured by the process's own clock as well.
func hasMonotonic(t time.Time) bool { return t != t.Round(0) }
