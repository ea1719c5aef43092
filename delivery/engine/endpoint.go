package engine

import (
	"log/slog"
	"time"

	"rowhook/delivery"
)

const (
	// tripAfter failures without anything else in between, the breaker opens.
	tripAfter = 5
	// maxProbeWait is the longest time that a failing endpoint is not tried at all.
	maxProbeWait = 5 * time.Minute
	// throttleFloor is the least wait after a 429 that names none: a rate's window is seldom
	// shorter.
	throttleFloor = 10 * time.Second
	// profileRecheck is the longest wait before a setting of ours that stood in the way is tried
	// again: it costs the receiver nothing.
	profileRecheck = time.Minute
	// startSpread is over how long the first probes after a start are spread.
	startSpread = time.Second
)

// outage is an open breaker: nothing is sent before Until, and then one request at a time until one
// is answered. It outlives a restart.
type outage struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"` // the next probe
	// Wait is how long that was ahead when it was decided, so that a clock set back over a restart
	// does not prolong it.
	Wait      time.Duration `json:"wait,omitempty"`
	Reason    string        `json:"reason,omitempty"`
	Status    int           `json:"status,omitempty"`
	Attention bool          `json:"attention,omitempty"` // a person must fix something
	// Whole says that the endpoint asked for it, or that a setting of ours stands in the way: then
	// a schedule that is a list waits as well.
	Whole bool `json:"whole,omitempty"`
	Waits int  `json:"waits,omitempty"` // in a row
}

// endpoint is what a profile knows of its receiver: whether it answers, how many requests it bears
// at once, and how fast they may come. It is told of replies and asked what may be sent. It decides
// and remembers; it sends nothing, stores nothing and knows no delivery but by its place.
//
// It is the clock of the endpoint; each event has a clock of its own, see [schedule]. While the
// breaker is open (there is an outage) the events' clocks stand still.
type endpoint struct {
	log         *slog.Logger
	schedule    schedule // of the profile in force
	concurrency int      // of the profile in force
	pace        pace
	outage      *outage // nil while the breaker is closed; the dispatcher stores it
	breaker
}

// breaker is what a restart forgets.
type breaker struct {
	streak  int          // failures since the last answer
	first   time.Time    // of these
	seq     delivery.Seq // of the first
	several bool         // it is not one event alone that fails
	asked   time.Time    // when the last wait began: replies to requests from before do not count as probes
	probes  int
	window  int // requests under way at most while the endpoint recovers; 0 when only concurrency bounds them
	grown   int // answers since the window last grew
}

// follow takes over the terms of a profile.
func (e *endpoint) follow(p *Profile) {
	e.schedule, e.concurrency = p.schedule, p.config.Concurrency
}

// failing takes note of an attempt that failed through the endpoint's fault. It reports whether the
// endpoint is to be left alone from now on.
func (e *endpoint) failing(seq delivery.Seq, r *delivery.Reply, now time.Time) bool {
	e.shrink()
	if e.outage != nil {
		return e.leaveAlone(r, now, e.probeWait(now.Sub(e.outage.Since)), false, false)
	}
	if e.streak == 0 {
		e.first, e.seq, e.several = now, seq, false
	}
	e.streak++
	// One event that its receiver cannot digest does not make an endpoint fail: its own schedule
	// deals with it.
	e.several = e.several || seq != e.seq || r.Class == delivery.ClassNetwork
	if e.streak < tripAfter || !e.several {
		return false
	}
	opened := e.leaveAlone(r, now, e.probeWait(now.Sub(e.first)), false, false)
	e.outage.Since = e.first
	return opened
}

// throttled has the endpoint wait for as long as it wants to be left alone.
func (e *endpoint) throttled(r *delivery.Reply, now time.Time) bool {
	floor := time.Duration(0)
	if r.Status == 429 && r.RetryAfter == 0 {
		floor = min(throttleFloor, e.schedule.max)
	}
	wait := max(floor, e.schedule.throttled(e.waits()+1, r.RetryAfter, vary()))
	return e.leaveAlone(r, now, wait, true, false)
}

// needsHand has the endpoint wait for what a person must fix, and looks now and then whether that
// was done.
func (e *endpoint) needsHand(r *delivery.Reply, now time.Time) bool {
	wait := e.schedule.max
	if r.Class == delivery.ClassProfile {
		wait = min(e.schedule.wait(e.waits()+1, vary()), profileRecheck)
	}
	return e.leaveAlone(r, now, wait, true, true)
}

// waits is how often in a row the endpoint has been left alone.
func (e *endpoint) waits() int {
	if e.outage == nil {
		return 0
	}
	return e.outage.Waits
}

// leaveAlone opens the breaker, or keeps it open after a probe that failed. A reply to a request
// from before the last wait decides nothing anew, but may ask for a longer wait.
func (e *endpoint) leaveAlone(r *delivery.Reply, now time.Time, wait time.Duration, whole, attention bool) bool {
	o, until := e.outage, now.Add(wait)
	if o != nil && e.stale(r) {
		if whole && until.After(o.Until) {
			o.Until, o.Wait = until, wait
		}
		return false
	}
	if o == nil {
		o = &outage{Since: now}
		e.outage = o
	}
	if o.Reason != r.Reason || o.Status != r.Status {
		e.log.Warn("endpoint waits", "reason", r.Reason, "status", r.Status, "for", wait.Round(time.Millisecond))
	}
	o.Until, o.Wait, o.Whole, o.Attention = until, wait, whole, attention
	o.Reason, o.Status = r.Reason, r.Status
	o.Waits++
	e.asked = now
	return true
}

// stale reports whether a request had been begun before the last wait was.
func (e *endpoint) stale(r *delivery.Reply) bool { return !r.Started.After(e.asked) }

// restart closes the breaker, as for an endpoint of which nothing is known. What waits starts
// slowly.
func (e *endpoint) restart() { e.outage, e.breaker = nil, breaker{window: 1} }

// answered takes note that the endpoint does its work: what waited for it may go, one request at
// first, then twice as many with each round of answers. It reports whether an outage is over.
func (e *endpoint) answered(r *delivery.Reply, now time.Time) (recovered bool) {
	if o := e.outage; o != nil {
		if e.stale(r) {
			return false
		}
		e.log.Info("endpoint answers again", "reason", o.Reason, "after", now.Sub(o.Since).Round(time.Second))
		e.restart()
		return true
	}
	e.streak = 0
	if e.window == 0 {
		return false
	}
	if e.grown++; e.grown >= e.window {
		e.window, e.grown = 2*e.window, 0
		if e.window >= e.concurrency {
			e.window = 0
		}
	}
	return false
}

// shrink halves what may be under way at once.
func (e *endpoint) shrink() {
	if e.window == 0 {
		e.window = e.concurrency
	}
	e.window, e.grown = max(1, e.window/2), 0
}

// probeWait is how long an endpoint that has been failing for so long is left alone: at most a
// quarter of that time, so that it is found again soon after it has come back, at the cost of some
// dozens of requests a day. It varies, so that profiles of one receiver do not come all at once.
func (e *endpoint) probeWait(failing time.Duration) time.Duration {
	return e.schedule.probe(failing, vary())
}

// listed reports whether the profile's retries follow a list, which is followed exactly as long as
// the endpoint does not ask for more: the receiver was promised those times.
func (e *endpoint) listed() bool { return len(e.schedule.fixed) > 0 }

// down reports whether the breaker is open.
func (e *endpoint) down() bool { return e.outage != nil }

// mayProbe reports whether an open breaker lets a request pass now, with so many under way.
func (e *endpoint) mayProbe(now time.Time, underWay int) bool {
	return e.outage != nil && !e.outage.Until.After(now) && underWay == 0
}

// gate returns how many requests may be under way now, and whether first tries may be among them.
func (e *endpoint) gate(now time.Time, underWay int) (limit int, fresh bool) {
	switch o := e.outage; {
	case o == nil && e.window > 0:
		return e.window, true
	case o == nil && e.pace.limits():
		return e.concurrency, true
	case o == nil:
		return 2 * e.concurrency, true // the workers find the next one waiting
	case e.listed() && !o.Whole:
		return e.concurrency, e.mayProbe(now, underWay)
	case !o.Until.After(now):
		return 1, true
	}
	return 0, false
}

// retriesFirst reports whether the next request is a retry's turn where first tries wait too:
// probes begin with one, which is older, and then take turns, since it may be the event that fails.
// ok is false while the breaker is closed.
func (e *endpoint) retriesFirst() (retries, ok bool) { return e.probes%2 == 0, e.outage != nil }

// spend takes note that a request goes. It reports whether that is a probe, beside which no first
// try goes.
func (e *endpoint) spend() (probe bool) {
	e.pace.spend()
	if e.outage == nil {
		return false
	}
	e.probes++
	return true
}

// notBefore returns when a retry that is due then may go: later, where the endpoint is to be left
// alone.
func (e *endpoint) notBefore(due time.Time) time.Time {
	if o := e.outage; o != nil && o.Until.After(due) && (o.Whole || !e.listed()) {
		return o.Until
	}
	return due
}

// left is for how long the endpoint is still to be left alone; 0 or less when it is not.
func (e *endpoint) left(now time.Time) time.Duration {
	if e.outage == nil {
		return 0
	}
	return e.outage.Until.Sub(now)
}

// tryNow has an endpoint that is left alone be tried at once. It reports whether it was.
func (e *endpoint) tryNow(now time.Time) bool {
	if e.outage == nil {
		return false
	}
	e.outage.Until, e.probes = now, 0
	return true
}

// unbounded reports whether nothing but concurrency bounds what may be sent.
func (e *endpoint) unbounded() bool { return e.outage == nil && e.window == 0 && !e.pace.limits() }

// wake takes up an outage from before a start; retries says that some wait. The start may be the
// remedy: the endpoint is tried soon, unless it had asked for more. What is left of that is
// measured once, since a time from the disk is the wall clock's alone and would move with it.
func (e *endpoint) wake(retries bool, now time.Time) {
	stored := e.outage
	if stored == nil {
		if retries {
			e.window = 1 // what has become due meanwhile does not come all at once
		}
		return
	}
	asked := stored.Wait
	if asked == 0 { // of a state that does not have it
		asked = e.schedule.longestThrottle()
	}
	left := stored.Until.Sub(now)
	if stored.Attention || !stored.Whole || left <= 0 || left > asked {
		left = time.Duration(vary() * float64(startSpread))
	}
	stored.Until = now.Add(left)
}
