package operation

import (
	"strings"
	"time"

	"rowhook/capture"
)

// BackfillState is how a backfill stands.
type BackfillState string

// The states. A failed one can be resumed once its cause is fixed.
const (
	BackfillRunning   BackfillState = "running"
	BackfillPaused    BackfillState = "paused"
	BackfillFailed    BackfillState = "failed"
	BackfillDone      BackfillState = "done"
	BackfillCancelled BackfillState = "cancelled"
)

// Over reports whether nothing follows any more.
func (s BackfillState) Over() bool { return s == BackfillDone || s == BackfillCancelled }

// BackfillRequest asks for existing rows as events.
type BackfillRequest struct {
	User    string   `json:"user"`
	Entries []string `json:"entries"`
	// Profile is the only one that gets them; empty for all that subscribe.
	Profile string                  `json:"profile,omitempty"`
	Where   []capture.ReadCondition `json:"where,omitempty"`
	Rate    float64                 `json:"rate,omitempty"` // rows a second; 0 is as fast as may be
	// Key is the key of the only row to be read, by column.
	Key map[string]string `json:"key,omitempty"`
}

// BackfillChange names a backfill that is to be paused, to go on, or to end.
type BackfillChange struct {
	User string `json:"user"`
	ID   string `json:"id"`
}

// Backfill is a backfill as people and programs see it.
type Backfill struct {
	ID      string        `json:"id"`
	State   BackfillState `json:"state"`
	Entries []string      `json:"entries"`
	// Memory is the table whose last values are read to be remembered; nothing of it is sent.
	Memory  string `json:"memory,omitempty"`
	Profile string `json:"profile,omitempty"`
	// Where are the columns that conditions look at. Their values may be row data.
	Where []string `json:"where,omitempty"`
	Rate  float64  `json:"rate,omitempty"`
	// Table is the one that is read.
	Table string `json:"table,omitempty"`
	Rows  int64  `json:"rows"`
	// Total is about how many rows there are; -1 where nobody knows.
	Total  int64 `json:"total"`
	Events int64 `json:"events"`
	// Failed counts rows that could not be mapped.
	Failed int64 `json:"failed"`
	// Again counts rows that are to be read again, since the stream changed them meanwhile.
	Again int `json:"again"`
	// RowsPerSecond and SecondsLeft are by the last seconds; 0 where nothing moves.
	RowsPerSecond float64 `json:"rows_per_second"`
	SecondsLeft   float64 `json:"seconds_left,omitempty"`
	// Waiting is what it waits for.
	Waiting string    `json:"waiting,omitempty"`
	Error   string    `json:"error,omitempty"`
	Remedy  string    `json:"hint,omitempty"`
	User    string    `json:"user,omitempty"`
	Created time.Time `json:"created"`
	Ended   time.Time `json:"ended,omitzero"`
}

// What names the entries, or the table that is remembered.
func (b *Backfill) What() string {
	if b.Memory != "" {
		return "memory of " + b.Memory
	}
	return strings.Join(b.Entries, " ")
}
