package engine

import (
	"math"
	"time"

	"golang.org/x/time/rate"

	"rowhook/delivery"
)

// burstTime is for how long requests may come closer together than their rate says, so that a high
// rate is reached although timers are late. At 50 requests a second and below they are evenly
// spaced.
const burstTime = 20 * time.Millisecond

// newLimiter returns what holds requests to a rate; nil when it does not limit.
func newLimiter(r delivery.Rate) *rate.Limiter {
	if r.Requests == 0 {
		return nil
	}
	perSecond := float64(r.Requests) / r.Per.Seconds()
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(math.Ceil(perSecond*burstTime.Seconds()))))
}

// pace holds a dispatcher to its profile's rate and to that of all profiles together. Each profile
// asks for one request at a time and keeps its place, so that those who share a rate take turns at
// it.
type pace struct {
	limiters []*rate.Limiter
	passed   int       // so many of them let the next request pass
	at       time.Time // when the one after these does; zero when it was not asked yet
}

func newPace(limiters ...*rate.Limiter) pace {
	var p pace
	for _, l := range limiters {
		if l != nil {
			p.limiters = append(p.limiters, l)
		}
	}
	return p
}

// setPace holds the profile to its own rate, to what its endpoint allowed, and to that of all
// profiles.
func (d *dispatcher) setPace() {
	d.endpoint.pace = newPace(newLimiter(d.terms.configured.rate), newLimiter(d.activation.Allowed), d.engine.limiter)
}

// limits reports whether there is any rate.
func (p *pace) limits() bool { return len(p.limiters) > 0 }

// ready reports whether the next request may go now; if not, p.at is when to ask again.
func (p *pace) ready(now time.Time) bool {
	for p.passed < len(p.limiters) {
		if p.at.IsZero() {
			p.at = now.Add(p.limiters[p.passed].ReserveN(now, 1).DelayFrom(now))
		}
		if p.at.After(now) {
			return false
		}
		p.passed, p.at = p.passed+1, time.Time{}
	}
	return true
}

// spend takes note that the request goes.
func (p *pace) spend() { p.passed = 0 }
