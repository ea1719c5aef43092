package delivery

import "time"

// ProfileStatus is where one profile stands.
type ProfileStatus struct {
	Profile string `json:"profile"`
	Name    string `json:"name,omitempty"`
	// Machine is the one that delivers it; empty where there is one machine only, or nobody does.
	Machine string `json:"machine,omitempty"`
	// State is active, waiting (for its endpoint, or for what Reason says), pending (activation) or
	// inactive (until it is resumed, or by the config).
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Problem says why the endpoint of a pending profile has not agreed.
	Problem string    `json:"problem,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	// Breaker is closed, open while the endpoint is left alone, or half_open while one request
	// finds out whether it answers again; NextProbe is when that one may go.
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
	StateActive   = "active"
	StateWaiting  = "waiting"
	StatePending  = "pending"
	StateInactive = "inactive"
)

// The positions of the breaker.
const (
	BreakerClosed   = "closed"
	BreakerOpen     = "open"
	BreakerHalfOpen = "half_open"
)
