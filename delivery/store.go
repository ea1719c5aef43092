package delivery

import "time"

// Seq is an event's place in the spool: append order, which is commit order. The first is 1.
type Seq uint64

// Entry is a spooled event with its place.
type Entry struct {
	Seq   Seq
	Event *Event
	Bytes int // what it takes in the spool, for shares and memory bounds
}

// State is where a delivery stands that is neither new nor delivered.
type State uint8

// The states that the spool keeps, see [Delivery].
const (
	// Retrying has been tried and will be tried again at Due.
	Retrying State = iota + 1
	// Blocked waits behind an earlier delivery of its ordering key.
	Blocked
	// Held waits for its profile to become active.
	Held
	// Dead has been given up; it stays until retried or discarded.
	Dead
)

var stateNames = [...]string{"", "retrying", "blocked", "held", "dead"}

// String returns the state's name as the commands show it.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return ""
}

// Delivery is the spool's record of one event for one profile that is below the
// profile's cursor and not over: the sparse part of its progress.
type Delivery struct {
	Seq   Seq
	State State
	// Lane is the hash of the ordering key; deliveries of one lane go in Seq order.
	// WaitLane is the hash of the old ordering key for an event that moved between
	// keys, otherwise equal to Lane.
	Lane, WaitLane uint64
	Round          int           // starts at 1; a retried dead letter starts the next
	Attempts       int           // in this round
	Due            time.Time     // of the next attempt; only when Retrying
	Since          time.Time     // of the first attempt, or of becoming held or dead
	Clock          time.Duration // event clock spent in this round
	Reason         string        // of the last failure, from the closed set
	Status         int           // of the last reply; 0 without one
	Error          string        // of the last failure, redacted
	// Body is the rendered body of the first attempt: later attempts send the same bytes.
	Body        []byte
	ContentType string
	Bytes       int // the event's size in the spool
}

// Progress is how far a profile has come: everything below Cursor is over or has a
// [Delivery]; Done lists what is over at and above it, ascending.
type Progress struct {
	Cursor Seq
	Done   []Seq
}

// Backlog is what a profile has not finished.
type Backlog struct {
	Events int64
	Bytes  int64
	Oldest time.Time // commit time of the oldest; zero when there is none
}

// Update is one atomic change of a profile's state in the store. Later reads see it at once;
// it is durable after the next shared sync. Done and removed deliveries count off the backlog;
// dead ones do too.
type Update struct {
	Progress *Progress  // nil leaves it
	Put      []Delivery // written whole, replacing what was there
	Remove   []Seq      // deliveries that are over
	// DoneEvents and DoneBytes are what Progress newly counts as over or dead, to keep the backlog.
	DoneEvents, DoneBytes int64
}

// Store is the durable queue as the delivery engine sees it. Profiles are named by
// their codes. Implementations are safe for concurrent use; one engine writes one profile's state.
type Store interface {
	// Progress returns the stored progress; for an unknown profile it registers it at the
	// end of the log, so that it gets what comes later.
	Progress(profile string) (Progress, error)
	// Read appends to dst entries addressed to the profile, from seq on, up to max
	// entries or maxBytes. next is where to read on; end reports that the log had no more.
	Read(profile string, from Seq, dst []Entry, max, maxBytes int) (entries []Entry, next Seq, end bool, err error)
	// Event returns the event of one entry or delivery.
	Event(profile string, seq Seq) (*Event, error)
	// Delivery returns one delivery's record.
	Delivery(profile string, seq Seq) (d Delivery, ok bool, err error)
	// Due appends retrying deliveries in order of their due time, up to max.
	Due(profile string, until time.Time, dst []Delivery, max int) ([]Delivery, error)
	// Lane appends the retrying, blocked and held deliveries of one lane (by Lane or WaitLane)
	// in Seq order from seq on, up to max.
	Lane(profile string, lane uint64, from Seq, dst []Delivery, max int) ([]Delivery, error)
	// Deliveries calls yield for each delivery in one of the states, in Seq order from seq on,
	// until it returns false. No states means all.
	Deliveries(profile string, from Seq, states []State, yield func(Delivery) bool) error
	// Update applies one change of the profile's state.
	Update(profile string, u Update) error
	// Backlog returns what the profile has not finished.
	Backlog(profile string) (Backlog, error)
	// Appended returns a channel that is closed when entries beyond seq are there.
	Appended(seq Seq) <-chan struct{}
	// Err returns a channel that yields the store's fatal error, after which every call fails.
	Err() <-chan error
}
