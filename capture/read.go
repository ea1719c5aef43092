package capture

import (
	"context"
	"time"
)

// What reading existing rows beside the stream is about. A read has a place in the stream only with
// its [Snapshot]: whoever puts its rows between the stream's transactions asks it of each.

// Reader reads existing rows over a connection of its own, without locks and without writing
// anything. It is used by one goroutine.
type Reader interface {
	// Settle returns once every transaction that the stream has brought by now is seen by the reads
	// to come, or ends with why not. While it waits it tells for what, and shows now and then what is
	// seen by then: whoever keeps a list of the stream's transactions can forget those.
	Settle(ctx context.Context, waiting func(string), seen func(Snapshot)) error
	// Describe looks at a table. Its error is an [OperatorError] where the table cannot be read.
	Describe(ctx context.Context, table string) (*Readable, error)
	// Read reads a chunk of a table that was described.
	Read(ctx context.Context, what *ReadRequest) (*Chunk, error)
	Close()
}

// Readable is a table as it is read.
type Readable struct {
	Table *Table
	// Rows is about how many rows it has; -1 where nobody knows.
	Rows int64
}

// ReadRequest says which rows to read: those behind a key, in key order, or those of some keys.
type ReadRequest struct {
	Table string // schema.table
	// After is the key of the last row that was read; nil begins.
	After []string
	// Keys are read instead, each by its own.
	Keys [][]string
	// Where are conditions on the rows.
	Where []ReadCondition
	// Limit is how many rows are read at most. Fewer may come, though there are more.
	Limit int
}

// ReadCondition holds for rows with this value in the column, or NULL.
type ReadCondition struct {
	Column string `json:"column"`
	Value  string `json:"value,omitempty"`
	Null   bool   `json:"null,omitempty"`
}

// Chunk is what one read gave.
type Chunk struct {
	Table *Table
	Rows  []Row // theirs who get it
	// More says that there may be rows behind the last one; of those that were asked for by their
	// keys, that some were left out, though not all.
	More bool
	Time time.Time
	Snapshot
}

// RowKey returns a row's key, or false where part of it is not known.
func (t *Table) RowKey(row Row) (key []string, ok bool) {
	for _, i := range t.Key {
		if row[i].State != Present {
			return nil, false
		}
		key = append(key, string(row[i].Text))
	}
	return key, len(key) > 0
}

// Sight says whether a read has seen a transaction.
type Sight uint8

// What is known of it.
const (
	// Unclear is not known.
	Unclear Sight = iota
	// Seen transactions come before the rows: these are as they left them, or later.
	Seen
	// Unseen transactions come behind the rows.
	Unseen
)

// Snapshot tells what a read has seen of the stream.
type Snapshot interface {
	// Sees tells it of a transaction of the stream.
	Sees(*Transaction) Sight
	// Passed reports whether the stream has handed over every transaction that the read has seen.
	// It counts between two transactions only.
	Passed() bool
	// Mark is the position by which that is so, as payloads show it.
	Mark() Position
	// Hasten looks whether less has to be waited for, when the stream stands still.
	Hasten(ctx context.Context) error
}
