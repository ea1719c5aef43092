package delivery

import "time"

// Outcome is what an attempt, or the end of a delivery, came to.
type Outcome string

// The outcomes of the delivery log, version 1.
const (
	OutcomeDelivered   Outcome = "delivered"
	OutcomeDead        Outcome = "dead"
	OutcomeDiscarded   Outcome = "discarded"
	OutcomeDropped     Outcome = "dropped"
	OutcomeDryRun      Outcome = "dry_run"
	OutcomeSkipped     Outcome = "skipped"
	OutcomeUndecidable Outcome = "undecidable"
	OutcomeUnmapped    Outcome = "unmapped"
	OutcomeRetrying    Outcome = "retrying"
	OutcomeHeld        Outcome = "held"
	OutcomeInterrupted Outcome = "interrupted"
)

// Outcomes lists all outcomes of version 1.
func Outcomes() []Outcome {
	return []Outcome{
		OutcomeDelivered, OutcomeDead, OutcomeDiscarded, OutcomeDropped, OutcomeDryRun, OutcomeSkipped,
		OutcomeUndecidable, OutcomeUnmapped, OutcomeRetrying, OutcomeHeld, OutcomeInterrupted,
	}
}

// Terminal reports whether nothing follows for that event and profile (in this round).
func (o Outcome) Terminal() bool {
	switch o {
	case OutcomeRetrying, OutcomeHeld, OutcomeInterrupted:
		return false
	}
	return true
}

// LogRecord is one line of the delivery log, version 1. Its JSON members stand in this order and
// are absent when empty; the encoder is deliverylog.AppendLine.
//
// There is a line for every attempt and every end, except when an endpoint fails very often: beyond
// a thousand lines at once, or five a second, about attempts that another one follows (retrying,
// interrupted), a profile's further ones are collapsed. Every ten seconds, a line without event and
// unit then stands for all with the same outcome, status and reason: count says how many attempts
// they were, first and last are their first and last events, time and error are the last one's.
// Lines that end a delivery are never collapsed.
type LogRecord struct {
	Time        time.Time // when it happened
	Profile     string
	Outcome     Outcome
	Event       string // id
	Type        string
	Table       string
	Key         []byte // JSON object
	Position    string
	Unit        string
	Count       int
	First, Last string // ids of the first and last event, of a group or of what was collapsed
	Attempt     int
	Round       int    // absent for the first round
	Epoch       uint64 // under which its machine owned the profile; 0 where machines share none
	Method, URL string
	Status      int
	Duration    time.Duration // duration_ms, with three decimals
	Reason      string
	Error       string
	Flags       []string
	NextAttempt time.Time
	Bytes       int    // of the whole body
	Body        []byte // as sent; the log cuts it
	BodyLimit   int    // characters of Body to keep: 0 the log's own limit, negative none, and no row data at all
	Response    []byte // the start of the reply's body
	Location    string // of a redirect; not a member of the line, but it may be in Error
}
