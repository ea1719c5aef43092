package engine

import (
	"math"
	"testing"
	"time"

	"rowhook/delivery"
)

func TestScheduleWait(t *testing.T) {
	t.Parallel()
	standard := newSchedule(delivery.Defaults().Retry)
	list := newSchedule(delivery.RetryConfig{Schedule: []time.Duration{5 * time.Second, 5 * time.Minute, time.Hour}, Jitter: 0.2})
	for _, tt := range []struct {
		name     string
		schedule schedule
		failed   int
		vary     float64
		want     time.Duration
	}{
		{"first", standard, 1, 0.5, time.Second},
		{"second", standard, 2, 0.5, 2 * time.Second},
		{"least jitter", standard, 3, 0, 3200 * time.Millisecond},
		{"capped", standard, 13, 0.5, time.Hour},
		{"beyond all numbers", standard, math.MaxInt, 0.5, time.Hour},
		{"none failed", standard, 0, 0.5, time.Second},
		{"list has no jitter", list, 2, 0, 5 * time.Minute},
		{"last of the list", list, 9, 0, time.Hour},
	} {
		if got := tt.schedule.wait(tt.failed, tt.vary); got.Round(time.Microsecond) != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	for failed := range 10_000 {
		if wait := standard.wait(failed, 0.999); wait <= 0 || wait > 72*time.Minute {
			t.Fatalf("after %d failures: %v", failed, wait)
		}
	}
}

func TestScheduleNext(t *testing.T) {
	t.Parallel()
	standard := newSchedule(delivery.Defaults().Retry)
	forever := standard
	forever.maxAge = 0
	list := schedule{fixed: []time.Duration{time.Second, time.Minute}}
	for _, tt := range []struct {
		name     string
		schedule schedule
		failed   int
		spent    time.Duration
		want     time.Duration
		over     bool
	}{
		{"young", standard, 4, time.Minute, 8 * time.Second, false},
		{"the last attempt is at the age", standard, 40, 72*time.Hour - time.Minute, time.Minute, false},
		{"of age", standard, 40, 72 * time.Hour, 0, true},
		{"never gives up", forever, math.MaxInt, 9999 * time.Hour, time.Hour, false},
		{"list", list, 2, 0, time.Minute, false},
		{"list used up", list, 3, 0, 0, true},
	} {
		got, over := tt.schedule.next(tt.failed, tt.spent, 0.5)
		if got != tt.want || over != tt.over {
			t.Errorf("%s: %v, %v, want %v, %v", tt.name, got, over, tt.want, tt.over)
		}
	}
}

func TestScheduleThrottled(t *testing.T) {
	t.Parallel()
	s := newSchedule(delivery.Defaults().Retry)
	for _, tt := range []struct {
		strikes int
		asked   time.Duration
		vary    float64
		want    time.Duration
	}{
		{1, 0, 0.5, time.Second},
		{1, 30 * time.Second, 0, 30 * time.Second}, // not undercut
		{20, 30 * time.Second, 0.5, time.Hour},
		{1, 999 * time.Hour, 0.5, time.Hour}, // bounded
	} {
		if got := s.throttled(tt.strikes, tt.asked, tt.vary); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

func TestScheduleProbe(t *testing.T) {
	t.Parallel()
	s := newSchedule(delivery.Defaults().Retry)
	for failing, want := range map[time.Duration]time.Duration{
		0:               time.Second,
		time.Minute:     15 * time.Second,
		6 * time.Hour:   5 * time.Minute,
		999 * time.Hour: 5 * time.Minute,
	} {
		if got := s.probe(failing, 0); got != want {
			t.Errorf("failing for %v: %v, want %v", failing, got, want)
		}
		if got := s.probe(failing, 1); got.Round(time.Millisecond) != want*8/10 {
			t.Errorf("failing for %v: at the least %v, want %v", failing, got, want*8/10)
		}
	}
}
