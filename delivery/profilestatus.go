package delivery

import "time"

// ProfileStatus is where one profile stands.
type ProfileStatus struct {
	Profile string `json:"profile"`
	Name    string `json:"name,omitempty"`
	// State is active, waiting (for its endpoint, or for what Reason says), pending (activation) or
	// inactive (until it is resumed, or by the config).
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Problem says why the endpoint of a pending profile has not agreed.
	Problem string    `json:"problem,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// Breaker is closed, open while the endpoint is left alone, or half_open while one request finds out whether it answers
	// again; NextProbe is when that one may go.
	Breaker   string    `json:"breaker"`
	NextProbe time.Time `json:"next_probe,omitzero"`
	// Attention is set when it waits for a person.
	Attention bool `json:"attention,omitempty"`
	// Removed is set while a profile that is no longer in the config is being drained.
	Removed bool `json:"removed,omitempty"`

	LastSuccess time.Time `json:"last_success,omitzero"`
	LastFailure time.Time `json:"last_failure,omitzero"`
	LastReason  string    `json:"last_reason,omitempty"` // of the last failure
	LastStatus  int       `json:"last_status,omitempty"`
	// ClockSkewSeconds is how far our clock is ahead of the endpoint's, by its last reply; 0
	// when they agree within two seconds.
	ClockSkewSeconds float64 `json:"clock_skew_seconds,omitempty"`
	// NextAttempt is when a retry or a probe of the endpoint is due.
	NextAttempt time.Time `json:"next_attempt,omitzero"`

	BacklogEvents int64     `json:"backlog_events"`
	BacklogBytes  int64     `json:"backlog_bytes"`
	Oldest        time.Time `json:"oldest,omitzero"` // commit time of the oldest undelivered event
	InFlight      int       `json:"in_flight"`       // requests; the other figures are events
	Retrying      int64     `json:"retrying"`
	Blocked       int64     `json:"blocked"` // on disk behind others of their keys
	BlockedKeys   int       `json:"blocked_keys"`
	HeldKeys      int       `json:"held_keys,omitempty"` // held back by dead letters
	Dead          int64     `json:"dead"`
	Replaying     int64     `json:"replaying,omitempty"` // events of history that are still to be sent again
	// Rate is how many events were delivered per second lately, DrainSeconds how long
	// the backlog takes at that rate; 0 when it cannot be told.
	Rate         float64 `json:"rate"`
	DrainSeconds float64 `json:"drain_seconds,omitempty"`
	// Outcomes counts what the delivery log's lines since start are about, in events.
	Outcomes map[Outcome]int64 `json:"outcomes"`
}

// The states of a [ProfileStatus].
const (
	stateActive   = "active"
	stateWaiting  = "waiting"
	statePending  = "pending"
	stateInactive = "inactive"
)

// The positions of the breaker.
const (
	breakerClosed   = "closed"
	breakerOpen     = "open"
	breakerHalfOpen = "half_open"
)

// lastResults is what the last attempts came to.
type lastResults struct {
	success, failure time.Time
	reason           string
	status           int
	skew             time.Duration // of our clock against the endpoint's
}

// dateResolution is what a Date header cannot tell: it has whole seconds, and the reply was under way.
const dateResolution = 2 * time.Second

// clock takes note of how far our clock is ahead of the endpoint's. Receivers of signed requests
// refuse timestamps that are five minutes off.
func (l *lastResults) clock(r *Reply) {
	if r.Date.IsZero() {
		return
	}
	l.skew = r.Started.Add(r.Duration).Sub(r.Date)
	if l.skew.Abs() <= dateResolution {
		l.skew = 0
	}
}

// Status returns where each profile stands, in the config's order.
func (e *Engine) Status() ([]ProfileStatus, error) {
	all := make([]ProfileStatus, 0, len(e.all()))
	for _, d := range e.all() {
		err := d.look(func(now time.Time) error {
			s, err := d.status(now)
			all = append(all, s)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (d *dispatcher) status(now time.Time) (ProfileStatus, error) {
	backlog, err := d.store.Backlog(d.id)
	if err != nil {
		return ProfileStatus{}, err
	}
	s := ProfileStatus{
		Profile: d.code, Name: d.profile.config.Name, Removed: d.draining,
		LastSuccess: d.last.success, LastFailure: d.last.failure, LastReason: d.last.reason, LastStatus: d.last.status,
		NextAttempt:   d.nextDue,
		BacklogEvents: backlog.Events, BacklogBytes: backlog.Bytes, Oldest: backlog.Oldest,
		InFlight: d.handed, Retrying: d.events[Retrying], Blocked: d.events[Blocked], Dead: d.events[Dead],
		ClockSkewSeconds: d.last.skew.Round(time.Second).Seconds(),
		Outcomes:         map[Outcome]int64{OutcomeDelivered: d.delivered},
	}
	for ending, n := range d.endings {
		s.Outcomes[ending.Outcome] += n
	}
	for _, l := range d.lanes {
		if l.disk {
			s.BlockedKeys++
		}
		if len(l.holds) > 0 {
			s.HeldKeys++
		}
	}
	s.Rate = d.rate.perSecond(now)
	if s.Rate > 0 && d.active() {
		s.DrainSeconds = float64(backlog.Events) / s.Rate
	}
	if d.state.Replay != nil {
		s.Replaying = d.state.Replay.Left
	}
	d.statusState(&s, now)
	return s, nil
}

// statusState fills in the state: the strongest reason not to deliver is shown.
func (d *dispatcher) statusState(s *ProfileStatus, now time.Time) {
	hold, since := d.engine.waiting()
	o := d.state.Outage
	s.Breaker = breakerClosed
	if o != nil {
		s.Breaker, s.NextProbe = breakerOpen, o.Until
		if !o.Until.After(now) {
			s.Breaker = breakerHalfOpen
		}
		if d.last.reason == "" {
			s.LastReason, s.LastStatus = o.Reason, o.Status
		}
	}
	switch {
	case d.standing() == standsInactive:
		s.State, s.Reason, s.Since, s.Attention = stateInactive, d.idleReason(), d.state.Since, d.state.Inactive
		s.NextAttempt = time.Time{}
	case hold != "":
		s.State, s.Reason, s.Since, s.Attention = stateWaiting, hold, since, true
		s.NextAttempt = time.Time{}
	case d.standing() == standsPending:
		d.pendingStatus(s)
	case o != nil:
		s.State, s.Reason, s.Since, s.Attention = stateWaiting, o.Reason, o.Since, o.Attention
		s.NextAttempt = time.Time{}
		if s.BacklogEvents > 0 { // otherwise the next event is the next try
			s.NextAttempt = o.Until
		}
	default:
		s.State = stateActive
	}
}

// pendingStatus fills in the state of a profile that waits for its endpoint's consent.
func (d *dispatcher) pendingStatus(s *ProfileStatus) {
	a := &d.asking
	s.State, s.Reason, s.Since, s.NextAttempt = statePending, d.idleReason(), a.since, a.next
	s.Attention = s.Reason != ReasonSandbox
	if a.reply.Class != ClassOK && a.reply.Class != 0 {
		s.Reason, s.Problem = a.reply.Reason, a.reply.Error
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
