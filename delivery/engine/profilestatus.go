package engine

import (
	"time"

	"rowhook/delivery"
)

// tally is what came of a profile's deliveries, as status and metrics show it. A restart begins it
// anew.
type tally struct {
	rate      throughput
	last      lastResults
	delivered int64     // events
	latency   Histogram // from commit to delivery, in events
	duration  Histogram // of requests
}

// lastResults is what the last attempts came to.
type lastResults struct {
	success, failure time.Time
	reason           string
	status           int
	skew             time.Duration // of our clock against the endpoint's
}

// accepted takes note of a delivery.
func (r *tally) accepted(j *job, now time.Time) {
	events := j.record.Events()
	r.last.success = now
	r.delivered += int64(events)
	r.rate.add(now, events)
	r.latency.observe(j.reply.Started.Add(j.reply.Duration).Sub(j.event.Time), events)
}

// failed takes note of an attempt that was no success.
func (r *tally) failed(reply *delivery.Reply, now time.Time) {
	r.last.failure, r.last.reason, r.last.status = now, reply.Reason, reply.Status
}

// dateResolution is what a Date header cannot tell: it has whole seconds, and the reply was under
// way.
const dateResolution = 2 * time.Second

// clock takes note of how far our clock is ahead of the endpoint's. Receivers of signed requests
// refuse timestamps that are five minutes off.
func (l *lastResults) clock(r *delivery.Reply) {
	if r.Date.IsZero() {
		return
	}
	l.skew = r.Started.Add(r.Duration).Sub(r.Date)
	if l.skew.Abs() <= dateResolution {
		l.skew = 0
	}
}

// Status returns where each profile that is owned stands, in the config's order.
func (e *Engine) Status() ([]delivery.ProfileStatus, error) {
	owned := e.owned()
	all := make([]delivery.ProfileStatus, 0, len(owned))
	for _, d := range owned {
		s, err := d.see()
		if passedOn("", err) {
			continue
		} else if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// see returns where the profile stands, after what was decided has been stored. Where that may take
// long, since machines share the store, it is not waited for.
func (d *dispatcher) see() (s delivery.ProfileStatus, err error) {
	if d.engine.options.Shared {
		stats, err := d.stats(time.Now())
		return stats.Status, err
	}
	err = d.view(func(now time.Time) error {
		s, err = d.status(now)
		return err
	})
	return s, err
}

func (d *dispatcher) status(now time.Time) (delivery.ProfileStatus, error) {
	backlog, err := d.store.Backlog(d.store.id)
	if err != nil {
		return delivery.ProfileStatus{}, err
	}
	s := delivery.ProfileStatus{
		Profile: d.code, Name: d.terms.profile.config.Name, Removed: d.draining.Load() || d.dropping.Load(),
		LastSuccess: d.tally.last.success, LastFailure: d.tally.last.failure, LastReason: d.tally.last.reason, LastStatus: d.tally.last.status,
		NextAttempt:   d.queue.ledger.nextDue,
		BacklogEvents: backlog.Events, BacklogBytes: backlog.Bytes, Oldest: backlog.Oldest,
		InFlight: d.crew.handed, Retrying: d.queue.ledger.events[delivery.Retrying], Blocked: d.queue.ledger.events[delivery.Blocked], Dead: d.queue.ledger.events[delivery.Dead],
		ClockSkewSeconds: d.tally.last.skew.Round(time.Second).Seconds(),
		Outcomes:         map[delivery.Outcome]int64{delivery.OutcomeDelivered: d.tally.delivered},
	}
	for ending, n := range d.lines.endings {
		s.Outcomes[ending.Outcome] += n
	}
	for _, l := range d.queue.lanes.byKey {
		if l.disk {
			s.BlockedKeys++
		}
		if len(l.blockedBy) > 0 {
			s.HeldKeys++
		}
	}
	s.Rate = d.tally.rate.perSecond(now)
	if s.Rate > 0 && d.active() {
		s.DrainSeconds = float64(backlog.Events) / s.Rate
	}
	if d.replays.under != nil {
		s.Replaying = d.replays.under.Left
	}
	d.statusState(&s, now)
	return s, nil
}

// statusState fills in the state: the strongest reason not to deliver is shown.
func (d *dispatcher) statusState(s *delivery.ProfileStatus, now time.Time) {
	hold, since := d.engine.waiting()
	o := d.endpoint.outage
	s.Breaker = delivery.BreakerClosed
	if o != nil {
		s.Breaker, s.NextProbe = delivery.BreakerOpen, o.Until
		if !o.Until.After(now) {
			s.Breaker = delivery.BreakerHalfOpen
		}
		if d.tally.last.reason == "" {
			s.LastReason, s.LastStatus = o.Reason, o.Status
		}
	}
	switch {
	case d.standing() == standsInactive:
		s.State, s.Reason, s.Since, s.Attention = delivery.StateInactive, d.activation.idleReason(), d.activation.consent.Since, d.activation.Inactive
		s.NextAttempt = time.Time{}
	case hold != "":
		s.State, s.Reason, s.Since, s.Attention = delivery.StateWaiting, hold, since, true
		s.NextAttempt = time.Time{}
	case d.standing() == standsPending:
		d.activation.status(s)
	case o != nil:
		s.State, s.Reason, s.Since, s.Attention = delivery.StateWaiting, o.Reason, o.Since, o.Attention
		s.NextAttempt = time.Time{}
		if s.BacklogEvents > 0 { // otherwise the next event is the next try
			s.NextAttempt = o.Until
		}
	default:
		s.State = delivery.StateActive
	}
}

// throughput counts delivered events in the last seconds.
type throughput struct {
	second int64 // Unix time of the newest count
	counts [10]int64
}

func (r *throughput) add(now time.Time, events int) {
	r.roll(now)
	r.counts[r.second%int64(len(r.counts))] += int64(events)
}

func (r *throughput) roll(now time.Time) {
	second := now.Unix()
	if second-r.second >= int64(len(r.counts)) {
		r.counts = [10]int64{}
		r.second = second
	}
	for r.second < second {
		r.second++
		r.counts[r.second%int64(len(r.counts))] = 0
	}
}

// perSecond leaves the running second out, which is not over.
func (r *throughput) perSecond(now time.Time) float64 {
	r.roll(now)
	var sum int64
	for i, n := range r.counts {
		if int64(i) != r.second%int64(len(r.counts)) {
			sum += n
		}
	}
	return float64(sum) / float64(len(r.counts)-1)
}
