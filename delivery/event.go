package delivery

import (
	"time"
)

// Event is a domain event, neutral of any receiver's format. It is immutable once made, and so are
// the parts that it shares with others, which are never nil.
//
// Key, Data and Previous are JSON objects on one line, ready to be copied into a
// body: members in payload order, every digit of the database's value kept.
type Event struct {
	*Making
	*Commit
	ID      string // stable and opaque, without dots
	Ordinal int    // of the change in its transaction
	Link    string

	Key      []byte
	Data     []byte
	Previous []byte // nil when there are no old values to tell
	// Shape is, for a delete, the payload's whole shape read from the old row, for formats
	// that send a deleted record's last content; nil where Data is it, or where nobody wants it.
	Shape []byte
	// Kinds has one [Kind] for each member of the payload's shape, in its order: what the values in
	// Data (in Shape for a delete) are. A member whose value the stream did not carry is missing
	// from Data and is KindMissing here, so that places in the shape stay what they are.
	Kinds string
	// Marks are the only places in the payload's shape (Data, or Shape for a delete) that formats
	// whose JSON is canonical have to look at, see [AppendMark]: all else is a fixed point of
	// JavaScript's JSON.stringify(JSON.parse(x)) as it stands, and is copied. Not nil but empty
	// says that there are none; nil says that nobody knows, and the payload is read as a whole.
	Marks []byte
	// Unavailable names the members whose value the stream did not carry, and with name[n:] what a list
	// of rows has no room for.
	Unavailable []string
	// Away is set where Data, Previous, Shape and Marks are not here for their size.
	Away *Away
	// Flags names the columns whose value did not fit its type's policy.
	Flags []string

	// OrderKey is the ordering key: events of one profile with equal OrderKeys
	// arrive in commit order. OrderKeyOld is set when the change moved the row from
	// another ordering key: the event waits for that key's lane as well.
	OrderKey    string
	OrderKeyOld string
}

// Making is what the events of a rule and an operation have in common. They share it: it makes up a
// good part of an event, of which a large transaction has many in memory.
type Making struct {
	Type   string // loan.returned
	Entry  string // the mapping entry that made it
	Source string // source.name
	Table  string // schema.table; empty for a signal
	Op     string // insert, update, delete, truncate, read; signal
	// Bigints names the members of Key, Data and Previous that hold 64-bit integers, as dotted
	// paths from the payload's object, for profiles that want them as strings.
	Bigints []string
	// As names the event for formats with a vocabulary: action, event, desc. A
	// member that is present but nil is omitted by such formats.
	As map[string]*string
	// Title, Code and Object are the mapping entry's names for such formats.
	Title, Code, Object string
}

// Commit is what the events of a transaction have in common, of those that one context holds for.
type Commit struct {
	Time        time.Time
	Position    string
	Transaction string
	Actor       Actor
	Operation   string
	// Assumed says that actor and operation are the configured defaults, which
	// count as not known in filters.
	Assumed bool
}

// Actor is who made the change. Both members may be empty.
type Actor struct {
	ID   string `json:"id,omitempty"`
	Name string `json:"name,omitempty"`
}

// Kind says what a payload member's value is in the database, for formats that write or name types
// in their own way.
type Kind = byte

// The kinds of payload members. They are stored in the spool.
const (
	KindMissing  Kind = '-' // the member is not in the payload: the stream did not carry its value
	KindOther    Kind = 'x' // anything that is written as its text
	KindText     Kind = 's' // short texts, enums, uuids
	KindLongText Kind = 'S' // texts without a bound, which may have line breaks
	KindInteger  Kind = 'i' // integers up to 32 bits
	KindBigint   Kind = 'I'
	KindDecimal  Kind = 'n' // exact numbers, strings in Data
	KindFloat    Kind = 'f'
	KindBool     Kind = 'b'
	KindInstant  Kind = 'z' // a time with a zone, UTC in Data
	KindDateTime Kind = 't' // a time without a zone
	KindDate     Kind = 'd'
	KindTime     Kind = 'h' // a time of day
	KindJSON     Kind = 'j'
	KindList     Kind = 'l'
	KindBytes    Kind = 'o' // base64 in Data
	KindNested   Kind = 'm' // an object of the shape's own
)

// Known says what is known of a column's value.
type Known uint8

// What can be known of a value.
const (
	ValueUnknown Known = iota
	ValueNull
	ValuePresent
)

// Row is what a subscription's conditions look at: the changed row (the old one for
// a delete), by the table's own column names; for signals the members of data.
type Row interface {
	// Column returns a column's value as plain text, booleans as true and false.
	// sense says how it compares. An absent column is reported by ok = false.
	Column(name string) (text string, known Known, sense Sense, ok bool)
}

// Literal is a value in a condition, as written in the config: 01 stays 01.
type Literal struct {
	Text string
	Null bool
}

// UnmarshalScalar takes the scalar as written; null is YAML's null.
func (l *Literal) UnmarshalScalar(text string, null bool) error {
	l.Text, l.Null = text, null
	return nil
}

// Where is a set of conditions, all of which must hold: column to the values it may have.
type Where []Condition

// Condition is one column's condition in a [Where].
type Condition struct {
	Column string    `yaml:",key"`
	Values []Literal `yaml:",value,oneormany"`
}

// Truth is a three-valued answer.
type Truth uint8

// The answers. Undecidable means that it hangs on a value the stream did not carry.
const (
	False Truth = iota
	True
	Undecidable
)

// Match reports whether the row meets all conditions. A condition that certainly fails
// settles the answer, whatever else is unknown; a column the row does not have fails.
func (w Where) Match(row Row) Truth {
	answer := True
	for i := range w {
		switch w[i].match(row) {
		case False:
			return False
		case Undecidable:
			answer = Undecidable
		}
	}
	return answer
}

func (c *Condition) match(row Row) Truth {
	text, known, sense, ok := row.Column(c.Column)
	if !ok {
		return False
	}
	if known == ValueUnknown {
		return Undecidable
	}
	for _, want := range c.Values {
		if want.Matches(text, known == ValueNull, sense) {
			return True
		}
	}
	return False
}

// Matches reports whether a known value equals the literal.
func (l Literal) Matches(text string, null bool, sense Sense) bool {
	if null || l.Null {
		return null && l.Null
	}
	return sense.Same(text, l.Text)
}
