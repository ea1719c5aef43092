// Package capture holds the words of capture: what a source tells the rest of
// rowhook about committed row changes. It does no I/O.
//
// A source (capture/postgres, capture/mysql) owns the connection to the host
// database and pushes what it reads into a [Sink], from one goroutine, in
// commit order:
//
//	Begin  (Change | Message | Park)*  Commit      one committed transaction
//	Begin  (Change | Message | Park)*  Abort       the connection broke inside it; it will come again whole
//	Idle                                           nothing to do up to this position
//
// What must hold between the two:
//
//   - A source confirms to its database only what [Sink.Durable] returns, so
//     that nothing committed is lost whatever is killed (invariant I1).
//   - A source never waits inside the sink for longer than an in-memory hand-over.
//     When what follows is slow, [Sink.Busy] says so and the source stops reading,
//     but goes on answering its server.
//   - Rows, values and raw bytes given to the sink are valid until the call
//     returns; a sink that keeps them copies them.
package capture

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Position is a place in the stream, in the source's own notation: an LSN such
// as "0/16B3748" (PostgreSQL), a GTID set or file:offset (MySQL, MariaDB). It is
// opaque outside its source. The empty Position means none.
type Position string

// Op is what happened to a row.
type Op uint8

// The operations. Read is a row seen by a snapshot.
const (
	Insert Op = iota + 1
	Update
	Delete
	Truncate
	Read
)

var opNames = [...]string{"", "insert", "update", "delete", "truncate", "read"}

// String returns the operation's name as payloads and config write it.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return ""
}

// ParseOp is the inverse of [Op.String].
func ParseOp(s string) (Op, bool) {
	for i, name := range opNames {
		if i > 0 && name == s {
			return Op(i), true
		}
	}
	return 0, false
}

// Transaction is the head of one committed transaction.
type Transaction struct {
	ID       string    // as payloads show it: an xid, a GTID
	Identity string    // what makes it unique within the lineage, hashed into event ids: commit LSN, xid and commit time; a GTID; ...
	Position Position  // of its commit, as payloads show it
	Time     time.Time // of its commit, UTC
	Begins   LogPlace  // MySQL, MariaDB: in the binlog
}

// LogPlace is a place in a file of the server's log. Zero is none.
type LogPlace struct {
	File   string
	Offset uint64
}

// Change is one row change. It is valid until the sink's call returns.
type Change struct {
	Op    Op
	Table *Table
	// Old is the row before the change, as far as the stream tells it: nil when it
	// tells nothing (always for an insert). Columns outside the replica identity are Unknown.
	Old Row
	// New is the row after the change; nil for a delete and a truncate.
	New Row
	// Ordinal is the change's place in its transaction, from 0, counted over all
	// changes and messages before any mapping.
	Ordinal int
	// Statement numbers the statement that made the change in its transaction, from 1; 0 where the
	// stream does not tell.
	Statement int
	// Raw is the change as the stream carried it, so that a change that cannot be
	// mapped can be parked and decoded again later (invariant I10).
	Raw Raw
}

// Raw is an undecoded change with what is needed to decode it again.
type Raw struct {
	Relation []byte // what describes its table: a relation message, with those that it needs, or a table map
	Change   []byte // the message itself
}

// CommentPrefix is the prefix of a [Message] that is the comment of the statement which made the
// changes that follow, in the form of sqlcommenter. An empty one says that the last no longer
// holds.
const CommentPrefix = "sqlcommenter"

// TriggerSource is what the column source of the context table holds in rows that a trigger wrote.
const TriggerSource = "trigger"

// Message is something that a transaction says about itself: a logical message (PostgreSQL) or a
// statement's comment (MySQL, [CommentPrefix]). It is valid until the sink's call returns.
type Message struct {
	Prefix  string
	Content []byte
	Ordinal int
}

// Undecoded is a change that the source could not turn into rows.
type Undecoded struct {
	Table   string // "schema.table"; empty when unknown
	Ordinal int
	Raw     Raw
	Err     error // what did not fit; never holds row data
	// Size is how many bytes a change had that was read past; 0 where Raw has it whole. Kept is
	// then what was seen of it: its small values, all others being Unknown. It is nil where nothing
	// can be told, and valid until the call returns.
	Size int64
	Kept *Change
}

// Sink takes what a source reads. All methods but Durable are called from one
// goroutine; Durable may be called from any. An error from the sink ends the source's run.
type Sink interface {
	// Begin opens a transaction.
	Begin(*Transaction) error
	Change(*Change) error
	Message(*Message) error
	// Park keeps a change that cannot be decoded as a dead letter of the source.
	Park(*Undecoded) error
	// Commit ends the open transaction; end is the position after it.
	Commit(end Position) error
	// Abort forgets the open transaction, if any; the stream will repeat it.
	Abort()
	// Idle says that the server has nothing for us before end.
	Idle(end Position) error
	// Busy returns nil while there is room. Otherwise it returns a channel that is
	// closed when there is room again; until then the source stops reading.
	Busy() <-chan struct{}
	// Durable returns the position up to which everything is fsynced. It never goes back.
	Durable() Position
}

// Ignorer is a [Sink] that wants to know of messages which the source leaves out, since they were
// told outside a transaction: a rollback would not undo them. It may be called at any time, as
// [Sink]'s methods are.
type Ignorer interface {
	Ignored(prefix string)
}

// LargeChange is how many bytes a change has that is read by itself, into memory that is given back
// at once. Of one that has VeryLarge the sink is asked beforehand.
const (
	LargeChange = 1 << 20
	VeryLarge   = 16 << 20
)

// Weigher is a [Sink] that has a say before a very large change is held in memory.
type Weigher interface {
	// Weigh is asked inside a transaction before a change of more than [VeryLarge] bytes, or of
	// more than source.max_change, is read. It is asked again when the connection broke and the
	// change comes again.
	Weigh(*Weighed) (Verdict, error)
}

// Weighed is a very large change that comes next.
type Weighed struct {
	Table   *Table // nil where the stream did not describe it
	Op      Op
	Ordinal int
	Size    int64 // in bytes; where the stream does not tell a single change's, of those that come together
	// TooLarge says that the change is over source.max_change: it will not be taken, whatever the
	// verdict.
	TooLarge bool
}

// Verdict is what becomes of a very large change. The zero value takes it.
type Verdict struct {
	// Unwanted says that nobody wants the table's changes: the change is read past.
	Unwanted bool
	// Refused is why the change is read past and parked.
	Refused error
}

// TooLargeError says that a change was not taken for its size.
type TooLargeError struct{ Size, Limit int64 }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the change has %d bytes, more than source.max_change: %d", e.Size, e.Limit)
}

// RemedyText tells the operator what to do.
func (e *TooLargeError) RemedyText() string {
	return "look the row up by its key; raise source.max_change, and the agent's memory to three times that, for rows of this size to come"
}

// WeighIn asks a sink about a very large change, and holds the change to the limit. A sink that has
// no say takes it.
func WeighIn(sink Sink, w *Weighed, limit int64) (v Verdict, err error) {
	w.TooLarge = w.Size > limit
	if weigher, ok := sink.(Weigher); ok && (w.Size > VeryLarge || w.TooLarge) {
		v, err = weigher.Weigh(w)
	}
	if w.TooLarge && err == nil && !v.Unwanted && v.Refused == nil {
		v.Refused = &TooLargeError{Size: w.Size, Limit: limit}
	}
	return v, err
}

// Reclaimer gives memory back to the system as soon as enough of it has come together that large
// changes no longer need: the garbage collector by itself would let them take twice as much.
type Reclaimer struct{ bytes int64 }

// Add says that so many bytes are not needed any more.
func (r *Reclaimer) Add(n int64) {
	if r.bytes += n; r.bytes >= VeryLarge/4 {
		r.bytes = 0
		debug.FreeOSMemory()
	}
}

// Definer is a [Sink] that wants to know of statements which may define tables anew, where the stream
// has them: ALTER, RENAME, CREATE and DROP.
type Definer interface {
	// Defines is told of a statement, in its place in the stream, and the database that it was run in.
	Defines(database string, statement []byte) error
}

// Listener is a [Sink] that knows which messages it wants, so that a large one of somebody else is
// read past.
type Listener interface {
	Listens(prefix string) bool
}

// Rester is a [Sink] that wants to know when the source has handed over all that it has
// received, so that it can store transactions together which came together.
type Rester interface {
	// Rest says that the source is about to wait for more. It may be called at any time, from any
	// goroutine; a sink that never hears it must not wait for it.
	Rest()
}

// Heeder is a [Sink] of which a call may take long: the end of a transaction may touch any number of rows.
type Heeder interface {
	// Heed says what such a call does now and then, from its own goroutine: it lets the source answer its
	// server, and ends with the error that this returns, as when the stream is to end. nil is nothing. It
	// is called between the sink's calls.
	Heed(source func() error)
}

// Table is one table as the stream describes it now. A source makes a new Table
// whenever the description changes, so a *Table is a key for caches.
type Table struct {
	Schema  string
	Name    string
	Columns []Column
	// Key lists the primary key's columns, in key order, as indexes into Columns. Empty when the
	// table has none; then it holds the replica identity's columns, if they are fewer than all.
	Key []int
	// Identity is how the table's replica identity is declared now. It is a hint for
	// checks only: what is known of an old row is told by the row itself.
	Identity Identity
	// WholeRows is set where rows may lack columns outside the identity, the new one of an update
	// those that did not change: it is the statement that makes the server log whole ones (MySQL's
	// row images).
	WholeRows string
	// FullSQL is the SQL after which old rows are whole (PostgreSQL's REPLICA IDENTITY FULL, of all
	// partitions), or the command that makes it, where that is known. NoFull says why there is
	// none: the server would refuse the application's UPDATE and DELETE.
	FullSQL, NoFull string
	// Partitioned says that the changes come from partitions and are shown as the root's.
	Partitioned bool
	// Version is another one when the table's rows may have been rewritten without a change in the
	// stream, as ALTER TABLE does it. Empty where the stream tells that itself, see [Definer].
	Version string
	// Silent says why rows may change without a change in the stream; empty where they do not.
	Silent string
	// Unread says why rows cannot be read beside the stream, and UnreadRemedy what to do; empty where
	// they can, and where nobody has looked.
	Unread, UnreadRemedy string
	// Filtered says that the stream leaves out rows by what is in them: one that never came may exist.
	Filtered bool
	// KeyDeferred says that the key is looked at behind a statement or a transaction only: until then
	// two rows may have one (PostgreSQL's DEFERRABLE).
	KeyDeferred bool
}

// String returns "schema.table".
func (t *Table) String() string { return t.Schema + "." + t.Name }

// LikePattern turns the * of a table's pattern into LIKE's %, and everything else into itself.
func LikePattern(pattern string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`).Replace(pattern)
}

// Column returns the index of the named column, or -1.
func (t *Table) Column(name string) int {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return i
		}
	}
	return -1
}

// ParseTable splits "schema.table".
func ParseTable(s string) (schema, name string, ok bool) {
	schema, name, ok = strings.Cut(s, ".")
	return schema, name, ok && schema != "" && name != ""
}

// Column describes one column.
type Column struct {
	Name string
	Type *Type
	// Identity says that the column belongs to the replica identity, so that its old value is
	// known.
	Identity bool
	// Omitted is set where updates and deletes come without the column, whatever the identity is:
	// it is what to do instead of reading it.
	Omitted string
	// Number tells the column from another one of its name, before or after it; 0 where nobody knows.
	Number int
}

// Identity is a table's replica identity (PostgreSQL), or what a row image amounts to (MySQL).
type Identity uint8

// The replica identities. Zero is unknown.
const (
	IdentityDefault Identity = iota + 1 // the primary key
	IdentityIndex                       // a unique index's columns
	IdentityFull                        // every column
	IdentityNothing                     // no old row at all
)

// State says what is known of a column's value.
type State uint8

// The states. Unchanged is a value that the stream left out because it equals
// the old one, which is unknown too (unchanged TOAST).
const (
	Unknown State = iota
	Unchanged
	Null
	Present
)

// Value is a column's value: the database's text, or why there is none.
type Value struct {
	State State
	Text  []byte // the database's text form; only when Present
}

// Row holds one value for each of the table's columns. A nil Row is no row.
type Row []Value

// Size is about how many bytes of memory a row's values take.
func (r Row) Size() int {
	bytes := 0
	for i := range r {
		bytes += len(r[i].Text) + 8
	}
	return bytes
}

// Kind is the family that a type belongs to, for conditions and expressions.
type Kind uint8

// The kinds. Other is compared as text.
const (
	Other    Kind = iota
	Text          // strings, enums, uuids
	Integer       // fits a signed 32-bit number, or an unsigned one
	Bigint        // 64-bit integers: numbers or strings in payloads, by profile
	Decimal       // exact, a string in payloads
	Float         // a number in payloads; "NaN", "Infinity", "-Infinity" as strings
	Bool          // "t" or "f" as text
	Instant       // a time with a zone: RFC 3339 in UTC in payloads
	DateTime      // a time without a zone
	Date
	JSON
	List  // arrays, vectors, sets
	Bytes // base64 in payloads
	Time  // a time of day, or MySQL's span of hours
	// Untyped values may be of another type than it seems, and nothing tells any more. They are
	// sent as they lie in the stream, always flagged, and never compared with anything but one
	// another.
	Untyped
)

// Type is how a column's text is compared and written. Types are immutable and shared.
type Type struct {
	Name string // the database's own name, for messages
	Kind Kind
	// Base is the name of the type that the values are of where the database, or an extension of it,
	// says what its values mean: the type itself, or for a domain that at the bottom of all domains. It
	// is empty for a type that somebody made, whatever its name is, and for lists.
	Base string
	// AppendJSON appends the payload form of a value's text to dst: one valid JSON
	// value without line breaks. ok is false when the text did not fit the type's policy and
	// was written as a JSON string instead; the delivery log then flags the column.
	AppendJSON func(dst, text []byte) (out []byte, ok bool)
	// Elem is the type of a list's elements; nil for other types, and where they have no type of
	// their own.
	Elem *Type
	// Labels are all the values that an enum has, or a set's members; nil for other types and where
	// they are not known.
	Labels []string
	// Folds says that texts are compared by a collation that may take different ones for equal, as
	// letters of either case, with accents or without, or with spaces behind.
	Folds bool
}

// Unlabelled returns what of a value is none of the type's labels, with those that there are. It is
// empty where the type has none, and where the value is one of them, or a list of them for a set.
func (t *Type) Unlabelled(value string) (part, labels string) {
	if len(t.Labels) == 0 || value == "" { // MySQL's value for an error, and a set of nothing
		return "", ""
	}
	parts := []string{value}
	if t.Kind == List {
		parts = strings.Split(value, ",")
	}
	for _, part := range parts {
		if !slices.Contains(t.Labels, part) {
			return part, "there are " + strings.Join(t.Labels, ", ")
		}
	}
	return "", ""
}
