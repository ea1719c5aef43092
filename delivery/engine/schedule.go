package engine

import (
	"math"
	"math/rand/v2"
	"time"

	"rowhook/delivery"
)

// schedule is the arithmetic of the event clock. It is pure: what varies is handed in.
type schedule struct {
	initial, max time.Duration
	multiplier   float64
	jitter       float64
	maxAge       time.Duration
	fixed        []time.Duration
}

func newSchedule(c delivery.RetryConfig) schedule {
	return schedule{initial: c.Initial, max: c.Max, multiplier: c.Multiplier, jitter: c.Jitter, maxAge: c.MaxAge, fixed: c.Schedule}
}

// wait returns how long to wait after the given number of failed attempts (1 is the first). vary is
// a random number in [0, 1). The result is never negative, and never above max by more than
// the jitter, whatever the number.
func (s *schedule) wait(failed int, vary float64) time.Duration {
	if failed < 1 {
		failed = 1
	}
	if len(s.fixed) > 0 {
		// Explicit waits are kept to the letter: they are what the receiver was promised.
		return s.fixed[min(failed, len(s.fixed))-1]
	}
	wait := float64(s.initial) * math.Pow(s.multiplier, float64(failed-1))
	if !(wait < float64(s.max)) { // also for infinity and NaN
		wait = float64(s.max)
	}
	wait *= 1 + s.jitter*(2*vary-1)
	return time.Duration(max(wait, 0))
}

// next returns the wait before the next attempt, or over when there is none: the schedule's list is
// used up, or the event has reached its age. spent is the event clock at the failure.
// The last attempt is made when the age is reached, not before.
func (s *schedule) next(failed int, spent time.Duration, vary float64) (wait time.Duration, over bool) {
	if len(s.fixed) > 0 && failed > len(s.fixed) {
		return 0, true
	}
	wait = min(s.wait(failed, vary), s.longest(spent))
	if s.maxAge > 0 {
		left := s.maxAge - spent
		if left <= 0 {
			return 0, true
		}
		wait = min(wait, left)
	}
	return wait, false
}

// longest bounds the next wait by the event clock: an event that served an open breaker as a probe,
// at no cost to its clock, does not wait as long as one that has aged. Without a breaker the waits
// so far sum up to more.
func (s *schedule) longest(spent time.Duration) time.Duration {
	bound := (float64(s.initial) + float64(spent)*(s.multiplier-1)) / (1 - s.jitter)
	if len(s.fixed) > 0 || !(bound < float64(math.MaxInt64)) {
		return math.MaxInt64
	}
	return time.Duration(bound)
}

// probe returns how long an endpoint that has been failing for so long is left alone: a quarter of
// that time, within bounds, and less by up to the jitter.
func (s *schedule) probe(failing time.Duration, vary float64) time.Duration {
	wait := max(s.initial, min(failing/4, s.max, maxProbeWait))
	return time.Duration(float64(wait) * (1 - s.jitter*vary))
}

// throttled returns how long an endpoint wants to be left alone: what it asked for or the schedule,
// whichever is longer, up to a bound. Jitter never undercuts what it asked for.
func (s *schedule) throttled(strikes int, asked time.Duration, vary float64) time.Duration {
	return min(max(asked, s.wait(strikes, vary)), s.longestThrottle())
}

// longestThrottle bounds throttled.
func (s *schedule) longestThrottle() time.Duration { return max(s.max, leastLongestThrottle) }

// leastLongestThrottle is how long an endpoint may have itself left alone even if retry.max is shorter.
const leastLongestThrottle = time.Hour

// vary is the randomness of waits.
func vary() float64 { return rand.Float64() }
