package engine

import (
	"log/slog"
	"time"

	"rowhook/delivery"
)

const (
	// tripAfter failures without anything else in between, the breaker opens.
	tripAfter = 5
	// pullForward is how many retries are brought forward when an endpoint answers again.
	pullForward = 256
	// maxProbeWait is the longest time that a failing endpoint is not tried at all.
	maxProbeWait = 5 * time.Minute
	// throttleFloor is the least wait after a 429 that names none: a rate's window is seldom shorter.
	throttleFloor = 10 * time.Second
	// profileRecheck is the longest wait before a setting of ours that stood in the way is tried again: it
	// costs the receiver nothing.
	profileRecheck = time.Minute
	// startSpread is over how long the first probes after a start are spread.
	startSpread = time.Second
)

// outage is an open breaker: nothing is sent before Until, and then one request at a time until one is answered.
// It outlives a restart.
type outage struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until"` // the next probe
	// Wait is how long that was ahead when it was decided, so that a clock set back over a restart does not prolong it.
	Wait      time.Duration `json:"wait,omitempty"`
	Reason    string        `json:"reason,omitempty"`
	Status    int           `json:"status,omitempty"`
	Attention bool          `json:"attention,omitempty"` // a person must mend something
	// Whole says that the endpoint asked for it, or that a setting of ours stands in the way: then a schedule that is
	// a list waits as well.
	Whole bool `json:"whole,omitempty"`
	Waits int  `json:"waits,omitempty"` // in a row
}

// breaker is the endpoint clock. It is open while the profile's state has an outage; this is
// the rest of it, which a restart forgets.
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

// fails counts an attempt that failed through the endpoint's fault, which opens the breaker when it goes on.
func (d *dispatcher) fails(j *job, now time.Time) {
	b := &d.breaker
	d.shrink()
	if o := d.state.Outage; o != nil {
		d.open(j, now, d.probeWait(now.Sub(o.Since)), false, false)
		return
	}
	if b.streak == 0 {
		b.first, b.seq, b.several = now, j.seq, false
	}
	b.streak++
	// One event that its receiver cannot digest does not make an endpoint fail: its own schedule deals with it.
	b.several = b.several || j.seq != b.seq || j.reply.Class == delivery.ClassNetwork
	if b.streak >= tripAfter && b.several {
		d.open(j, now, d.probeWait(now.Sub(b.first)), false, false)
		d.state.Outage.Since = b.first
	}
}

// throttled has the whole endpoint wait for as long as it wants to be left alone.
func (d *dispatcher) throttled(j *job, now time.Time) {
	waits, floor := 1, time.Duration(0)
	if o := d.state.Outage; o != nil {
		waits = o.Waits + 1
	}
	if j.reply.Status == 429 && j.reply.RetryAfter == 0 {
		floor = min(throttleFloor, d.profile.config.Retry.Max)
	}
	d.open(j, now, max(floor, d.profile.schedule.throttled(waits, j.reply.RetryAfter, vary())), true, false)
}

// needsHand has the endpoint wait for what a person must mend, and looks now and then whether that was done.
func (d *dispatcher) needsHand(j *job, now time.Time) {
	wait := d.profile.config.Retry.Max
	if j.reply.Class == delivery.ClassProfile {
		waits := 1
		if o := d.state.Outage; o != nil {
			waits = o.Waits + 1
		}
		wait = min(d.profile.schedule.wait(waits, vary()), profileRecheck)
	}
	d.open(j, now, wait, true, true)
}

// open opens the breaker, or keeps it open after a probe that failed.
func (d *dispatcher) open(j *job, now time.Time, wait time.Duration, whole, attention bool) {
	o, until := d.state.Outage, now.Add(wait)
	if o != nil && d.stale(j) {
		if whole && until.After(o.Until) {
			o.Until, o.Wait = until, wait
		}
		return
	}
	if o == nil {
		o = &outage{Since: now}
		d.state.Outage = o
	}
	if o.Reason != j.reply.Reason || o.Status != j.reply.Status {
		d.logger().Warn("endpoint waits", "reason", j.reply.Reason, "status", j.reply.Status, "for", wait.Round(time.Millisecond))
	}
	o.Until, o.Wait, o.Whole, o.Attention = until, wait, whole, attention
	o.Reason, o.Status = j.reply.Reason, j.reply.Status
	o.Waits++
	d.breaker.asked = now
	d.halted.Store(true)
	d.keepState(now)
}

// stale reports whether a request had been begun before the last wait was.
func (d *dispatcher) stale(j *job) bool { return !j.reply.Started.After(d.breaker.asked) }

// newBreaker closes the breaker. What waited starts slowly.
func (d *dispatcher) newBreaker() { d.state.Outage, d.breaker = nil, breaker{window: 1} }

// answered takes note that the endpoint does its work: what waited for it may go, one request at first, then twice as
// many with each round of answers.
func (d *dispatcher) answered(j *job, now time.Time) {
	b := &d.breaker
	if o := d.state.Outage; o != nil {
		if d.stale(j) {
			return
		}
		d.logger().Info("endpoint answers again", "reason", o.Reason, "after", now.Sub(o.Since).Round(time.Second))
		d.newBreaker()
		d.pull = true
		d.keepState(now)
		return
	}
	b.streak = 0
	if b.window == 0 {
		return
	}
	if b.grown++; b.grown >= b.window {
		b.window, b.grown = 2*b.window, 0
		if b.window >= d.profile.config.Concurrency {
			b.window = 0
		}
	}
}

// answeredBy is answered for replies that are no success but show that the endpoint is there.
func (d *dispatcher) answeredBy(j *job, now time.Time) {
	if j.reply.Status != 0 {
		d.answered(j, now)
	}
}

// shrink halves what may be under way at once.
func (d *dispatcher) shrink() {
	b := &d.breaker
	if b.window == 0 {
		b.window = d.profile.config.Concurrency
	}
	b.window, b.grown = max(1, b.window/2), 0
}

// probeWait is how long an endpoint that has been failing for so long is left alone: at most a quarter of that time, so that
// it is found again soon after it has come back, at the cost of some dozens of requests a day. It varies, so that
// profiles of one receiver do not come all at once.
func (d *dispatcher) probeWait(failing time.Duration) time.Duration {
	return d.profile.schedule.probe(failing, vary())
}

// listed reports whether the profile's retries follow a list, which is kept to the letter as long as
// the endpoint does not ask for more: it is what the receiver was promised.
func (d *dispatcher) listed() bool { return len(d.profile.config.Retry.Schedule) > 0 }

// mayProbe reports whether an open breaker lets a request pass now.
func (d *dispatcher) mayProbe(now time.Time) bool {
	o := d.state.Outage
	return o != nil && !o.Until.After(now) && d.handed == 0
}

// wakeOutage takes up an outage from before a start. The start may be the mending: it is tried soon,
// unless the endpoint had asked for more. What is left of that is measured once, since a time from the disk is
// the wall clock's alone and would move with it.
func (d *dispatcher) wakeOutage(now time.Time) {
	o := d.state.Outage
	if o == nil {
		if d.counts[delivery.Retrying] > 0 {
			d.breaker.window = 1 // what has become due meanwhile does not come all at once
		}
		return
	}
	asked := o.Wait
	if asked == 0 { // of a state that does not have it
		asked = d.profile.schedule.longestThrottle()
	}
	left := o.Until.Sub(now)
	if o.Attention || !o.Whole || left <= 0 || left > asked {
		left = time.Duration(vary() * float64(startSpread))
	}
	o.Until = now.Add(left)
}

// seekProbe brings a retry forward when the breaker lets one request pass and nothing else is there to be sent.
func (d *dispatcher) seekProbe(now time.Time) error {
	due := !d.nextDue.IsZero() && !d.nextDue.After(now)
	if !d.mayProbe(now) || due || d.listed() || d.fresh.n+d.retries.n > 0 || d.counts[delivery.Retrying] == 0 {
		return nil
	}
	return d.makeDue(now, 1)
}

// bringForward makes retries due that wait although the endpoint has recovered.
func (d *dispatcher) bringForward(now time.Time) error {
	d.pull = false
	if d.listed() || d.counts[delivery.Retrying] == 0 {
		return nil
	}
	return d.makeDue(now, pullForward)
}

// makeDue rewrites the due time of retries that are not due, the next ones first.
func (d *dispatcher) makeDue(now time.Time, limit int) error {
	if committed, err := d.commit(); err != nil || !committed {
		return err
	}
	records, err := d.store.Due(d.id, now.Add(farFuture), d.records[:0], limit+len(d.stored))
	if err != nil {
		return err
	}
	d.records = records[:0]
	defer clear(records)
	for i := range records {
		r := &records[i]
		if !r.Due.After(now) || d.stored[r.Seq] != nil {
			continue
		}
		r.Due = now
		d.pending.put(*r)
		d.dueBy(now)
	}
	_, err = d.commit()
	return err
}

func (d *dispatcher) logger() *slog.Logger { return d.engine.logger.With("profile", d.code) }
