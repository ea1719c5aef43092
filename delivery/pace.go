package delivery

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// Rate is a number of requests in a time. The zero value does not limit.
type Rate struct {
	Requests int
	Per      time.Duration
}

// Bounds of a [Rate]: what is beyond them was meant otherwise.
const (
	maxRateRequests = 1_000_000
	maxRatePer      = 24 * time.Hour
)

// ParseRate reads rates such as 50/s, 10/1s, 600/m and 1/500ms. An empty text does not limit.
func ParseRate(text string) (Rate, error) {
	if text == "" {
		return Rate{}, nil
	}
	number, per, found := strings.Cut(text, "/")
	requests, err := strconv.Atoi(number)
	if !found || err != nil || requests < 1 || requests > maxRateRequests || number[0] == '+' {
		return Rate{}, fmt.Errorf("%q is not a rate", text)
	}
	if per != "" && (per[0] < '0' || per[0] > '9') {
		per = "1" + per
	}
	duration, err := time.ParseDuration(per)
	if err != nil || duration < time.Millisecond || duration > maxRatePer {
		return Rate{}, fmt.Errorf("%q is not a rate", text)
	}
	return Rate{Requests: requests, Per: duration}, nil
}

// burstTime is for how long requests may come closer together than their rate says, so that a high rate is reached
// although timers are late. At 50 requests a second and below they are evenly spaced.
const burstTime = 20 * time.Millisecond

// limiter returns what holds requests to the rate; nil when it does not limit.
func (r Rate) limiter() *rate.Limiter {
	if r.Requests == 0 {
		return nil
	}
	perSecond := float64(r.Requests) / r.Per.Seconds()
	return rate.NewLimiter(rate.Limit(perSecond), max(1, int(math.Ceil(perSecond*burstTime.Seconds()))))
}

// pace holds a dispatcher to its profile's rate and to that of all profiles together. Each profile asks for one request at a
// time and keeps its place, so that those who share a rate take turns at it.
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

// setPace holds the profile to its own rate, to what its endpoint allowed, and to that of all profiles.
func (d *dispatcher) setPace() {
	d.pace = newPace(d.configured.rate.limiter(), d.state.Allowed.limiter(), d.engine.limiter)
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
