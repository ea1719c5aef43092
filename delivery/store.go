package delivery

import (
	"errors"
	"time"
)

// ErrNotOwner says that a profile is another machine's to deliver, or may be. A store that machines
// share returns it for an update of theirs; nothing was changed then.
var ErrNotOwner = errors.New("another machine owns the profile")

// ErrWaiting says that a profile cannot be forgotten: events have come that wait for it. A store that
// machines share returns it; nothing was changed then.
var ErrWaiting = errors.New("events wait for the profile")

// Seq is an event's place in the spool: append order, which is commit order. The first is 1.
type Seq uint64

// Entry is a spooled event with its place.
type Entry struct {
	Seq   Seq
	Event *Event
	Bytes int // what it takes in the spool, for shares and memory bounds
	// Others says that it is addressed to other profiles only, see Store.History.
	Others bool
}

// State is where a delivery stands that is neither new nor delivered.
type State uint8

// The states that the spool keeps, see [Delivery].
const (
	// Retrying has been tried and will be tried again at Due.
	Retrying State = iota + 1
	// Blocked waits behind an earlier delivery of its ordering key.
	Blocked
	// Nothing ever stored the third number. It stays free, since Dead has the fourth in every
	// spool.
	_
	// Dead has been given up; it stays until retried or discarded.
	Dead
)

var stateNames = [...]string{Retrying: "retrying", Blocked: "blocked", Dead: "dead"}

// String returns the state's name as the commands show it.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return ""
}

// Delivery is the spool's record of one request's worth for one profile, an event or a group of
// them, that is below the profile's cursor and not over: the sparse part of its progress.
type Delivery struct {
	Seq     Seq      // of the event, or of a group's first
	Members *Members // nil for one event
	State   State
	// Lane is the hash of the ordering key; deliveries of one lane go in Seq order.
	// WaitLane is the hash of the old ordering key for an event that moved between
	// keys, otherwise equal to Lane. A group has its lanes in Members instead.
	Lane, WaitLane uint64
	Round          int           // starts at 1; a retried dead letter starts the next
	Attempts       int           // in this round
	Refusals       int           // of these, replies that refuse the event itself
	Due            time.Time     // of the next attempt; only when Retrying
	Since          time.Time     // of the first attempt, or of becoming dead
	Clock          time.Duration // event clock spent in this round, the wait until Due included
	Reason         string        // of the last failure, from the closed set
	Status         int           // of the last reply; 0 without one
	Error          string        // of the last failure, redacted
	// Body is the rendered body of the first attempt: later attempts send the same bytes.
	Body  []byte
	Head  Head // goes with Body
	Bytes int  // the events' size in the spool
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
// it is durable after the next shared sync.
type Update struct {
	Progress *Progress  // nil leaves it
	Put      []Delivery // written whole, replacing what was there; a new one whose event has left the log is passed over
	Remove   []Seq      // deliveries that are over
	State    []byte     // as of SaveState; nil leaves it
	// DoneEvents and DoneBytes are what leaves the backlog with this update, all in all: over by
	// Progress, removed, or become dead. They are negative when dead letters come back. The
	// store takes them as they are and need not look at the records it replaces.
	DoneEvents, DoneBytes int64
	// Epoch is the one under which the engine owns the profile, 0 where machines share none. A store
	// that knows of another one changes nothing and returns ErrNotOwner.
	Epoch uint64
}

// ProfileID is a profile's number in a store. It never changes and is never used again.
type ProfileID uint32

// Usage is what the spool takes on disk and what it may take.
type Usage struct {
	Bytes   int64 // on disk now, all in all
	Max     int64 // spool.max_size
	History int64 // of Bytes: delivered events kept for replay
	Parked  int64 // of Bytes: dead letters of the source
	Free    int64 // free space of the disk
	Reserve int64 // spool.reserve: below it nothing is appended
}

// Store is the durable queue as the delivery engine sees it. Implementations are
// safe for concurrent use; one engine writes one profile's state. Where machines share profiles,
// that is the profile's owner of the present epoch.
type Store interface {
	// Register returns the number of the profile with that code. A profile that the store
	// does not know starts at the end of the log, so that it gets what comes later.
	Register(code string) (ProfileID, error)
	// Retire forgets the profile with that code, which no engine works on any more: its deliveries,
	// dead letters and progress. Its number is not used again. An unknown code is no error. It may
	// return ErrNotOwner or ErrWaiting.
	Retire(code string) error
	// End returns the place of the last event; 0 when there never was one.
	End() Seq
	// Progress returns the profile's stored progress.
	Progress(ProfileID) (Progress, error)
	// Read appends to dst entries addressed to the profile, from seq on, up to max entries or
	// maxBytes (at least one). next is where to read on; end reports that the log had no more. It
	// may return none before the end, after passing over very many events of others.
	Read(id ProfileID, from Seq, dst []Entry, max, maxBytes int) (entries []Entry, next Seq, end bool, err error)
	// History is Read for all events that the log has, whoever they are addressed to.
	History(id ProfileID, from Seq, dst []Entry, max, maxBytes int) (entries []Entry, next Seq, end bool, err error)
	// Event returns the event of one entry, or the first of a delivery.
	Event(ProfileID, Seq) (*Event, error)
	// Payload calls yield for the bytes of one part of an event that is away, piece by piece. A
	// piece is valid until yield returns, which may use the store.
	Payload(id ProfileID, seq Seq, part Part, yield func(piece []byte) error) error
	// Events appends to dst the events that a delivery carries, from seq on, up to max entries or
	// maxBytes (at least one). next is where to read on; end reports that there are no more. It may
	// return none before the end. Of the delivery it needs Seq and Members.
	Events(id ProfileID, d *Delivery, from Seq, dst []Entry, max, maxBytes int) (entries []Entry, next Seq, end bool, err error)
	// Delivery returns one delivery's record.
	Delivery(ProfileID, Seq) (d Delivery, ok bool, err error)
	// Due appends retrying deliveries in order of their due time, up to max. Fewer than max are all
	// that there are, also while an update goes on.
	Due(id ProfileID, until time.Time, dst []Delivery, max int) ([]Delivery, error)
	// Lane appends the retrying and blocked deliveries of one lane (see [Delivery.Lanes])
	// in Seq order from seq on, up to max. Fewer than max are all that there are, see Due.
	Lane(id ProfileID, lane uint64, from Seq, dst []Delivery, max int) ([]Delivery, error)
	// Deliveries calls yield for each delivery in one of the states, in Seq order from seq on,
	// until it returns false. No states means all. Bodies are left out.
	Deliveries(id ProfileID, from Seq, states []State, yield func(Delivery) bool) error
	// Update applies one atomic change of the profile's state. It may return ErrNotOwner.
	Update(ProfileID, Update) error
	// Backlog returns what the profile has not finished. It costs nothing.
	Backlog(ProfileID) (Backlog, error)
	// LoadState and SaveState keep the engine's own few bytes per profile: inactive since when, and
	// the like.
	LoadState(ProfileID) ([]byte, error)
	SaveState(ProfileID, []byte) error
	// Appended returns a channel that is closed when there are entries at or beyond seq.
	// It may be closed already.
	Appended(seq Seq) <-chan struct{}
	Usage() Usage
}

// Parked is a dead letter of the source: a change that could not be decoded or
// mapped, kept raw until the cause is fixed (invariant I10).
type Parked struct {
	Seq         Seq // in append order of parked changes
	Table       string
	Entry       string // the mapping entry that failed; empty when the change could not be decoded
	Profile     string // the profile whose filter could not be decided; empty for all
	Reason      string // undecidable, unmapped, undecoded, oversize
	Error       string // never holds row data
	Transaction string
	Identity    string // of the transaction, for event ids
	Position    string
	Time        time.Time
	Ordinal     int
	Actor       Actor
	Operation   string
	Assumed     bool
	Relation    []byte
	Change      []byte
	// Made are the types of the events that the entry's other rules made of the change all the
	// same.
	Made []string
	// Second is the insert of a row's move between partitions, whose delete is Change.
	Second []byte
	// Merged are the changes of the same row behind Change which became one with it.
	Merged [][]byte
	// Size is how many bytes a change had that was read past, so that Change does not have it; 0
	// for others. Key is the row's then, where it is known, as events have it.
	Size int64
	Key  []byte
	// Touch is what a touch is made again with, in place of a change; nil for others. It is the mapping's.
	Touch []byte
}
