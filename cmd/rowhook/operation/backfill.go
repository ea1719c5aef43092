package operation

import (
	"fmt"
	"strings"
	"time"

	"rowhook/capture"
	"rowhook/delivery"
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

// BackfillPlan is what a backfill would read, and for whom.
type BackfillPlan struct {
	Parts    []BackfillPart `json:"parts"`
	Profiles []string       `json:"profiles"`
}

// BackfillPart is one table, read for one entry.
type BackfillPart struct {
	Entry string `json:"entry"`
	Table string `json:"table"`
	Rows  int64  `json:"rows"` // about how many there are; -1 where nobody knows
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
	Remedy  string    `json:"remedy,omitempty"`
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

// ParseReadConditions reads conditions such as branch=MAIN; null is NULL. Errors name a text by its
// number: it may be row data.
func ParseReadConditions(texts []string) (conditions []capture.ReadCondition, err error) {
	for i, text := range texts {
		column, value, ok := strings.Cut(text, "=")
		if !ok || column == "" {
			return nil, fmt.Errorf("condition %d is no COLUMN=VALUE", i+1)
		}
		if value == "null" {
			conditions = append(conditions, capture.ReadCondition{Column: column, Null: true})
		} else {
			conditions = append(conditions, capture.ReadCondition{Column: column, Value: value})
		}
	}
	return conditions, nil
}

// ParseReadRate reads a rate such as 500/s as rows a second; empty does not limit.
func ParseReadRate(text string) (float64, error) {
	rate, err := delivery.ParseRate(text)
	if err != nil {
		return 0, fmt.Errorf("%w: write 500/s, or 10/1m", err)
	}
	if rate.Per == 0 {
		return 0, nil
	}
	return float64(rate.Requests) / rate.Per.Seconds(), nil
}
