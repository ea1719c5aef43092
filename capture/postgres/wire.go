package postgres

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
)

// reader reads the fields of one message. After the first field that does not fit
// it keeps failing, so that callers check once, at the end.
type reader struct {
	b    []byte
	fail bool
}

func (r *reader) take(n int) []byte {
	if r.fail || n < 0 || n > len(r.b) {
		r.fail = true
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) lsn() pglogrepl.LSN { return pglogrepl.LSN(r.uint64()) }

// cstring reads up to a zero byte.
func (r *reader) cstring() []byte {
	for i, c := range r.b {
		if c == 0 {
			out := r.take(i)
			r.take(1)
			return out
		}
	}
	r.fail = true
	return nil
}

// done reports whether everything fitted and nothing is left.
func (r *reader) done() bool { return !r.fail && len(r.b) == 0 }

// postgresEpoch is where the server's timestamps start, in Unix microseconds.
const postgresEpoch = 946684800_000_000

func (r *reader) time() time.Time {
	return time.UnixMicro(int64(r.uint64()) + postgresEpoch).UTC()
}

// The first bytes of pgoutput's messages.
const (
	msgBegin    = 'B'
	msgCommit   = 'C'
	msgOrigin   = 'O'
	msgRelation = 'R'
	msgType     = 'Y'
	msgInsert   = 'I'
	msgUpdate   = 'U'
	msgDelete   = 'D'
	msgTruncate = 'T'
	msgMessage  = 'M'
)

// The first bytes of what the server sends inside COPY BOTH.
const (
	copyXLogData  = 'w'
	copyKeepalive = 'k'
)

// xlogHeader is the length of an XLogData header: type, WAL start, WAL end, clock.
const xlogHeader = 1 + 8 + 8 + 8

// keepalive is the server's sign of life.
type keepalive struct {
	end   pglogrepl.LSN // up to here everything has been sent
	reply bool          // the server wants an answer at once
}

func parseKeepalive(b []byte) (keepalive, error) {
	r := reader{b: b}
	r.byte()
	k := keepalive{end: r.lsn()}
	r.uint64()
	k.reply = r.byte() != 0
	if !r.done() {
		return keepalive{}, &streamError{what: fmt.Sprintf("keepalive of %d bytes", len(b))}
	}
	return k, nil
}

// relationMessage is a table as the stream announces it.
type relationMessage struct {
	oid      uint32
	schema   string
	name     string
	identity byte // d, n, f, i as in pg_class.relreplident
	columns  []relationColumn
}

type relationColumn struct {
	key  bool // part of the replica identity; all are under FULL
	name string
	oid  uint32 // of the type
}

func parseRelation(b []byte) (relationMessage, error) {
	r := reader{b: b}
	r.byte()
	m := relationMessage{oid: r.uint32()}
	m.schema, m.name = string(r.cstring()), string(r.cstring())
	m.identity = r.byte()
	n := int(r.uint16())
	// A column takes at least ten bytes: a lying count must not make us allocate.
	if n*10 > len(r.b) {
		r.fail = true
		n = 0
	}
	m.columns = make([]relationColumn, 0, n)
	for range n {
		c := relationColumn{key: r.byte()&1 != 0, name: string(r.cstring()), oid: r.uint32()}
		r.uint32() // type modifier: the text form has it applied already
		m.columns = append(m.columns, c)
	}
	if !r.done() {
		return relationMessage{}, &streamError{what: "relation message"}
	}
	if m.schema == "" {
		m.schema = "pg_catalog" // the protocol writes it as empty
	}
	return m, nil
}

// typeMessage is a type that is not built in, as the stream announces it before the table that has
// it. For a domain it names the base type. The server takes it from the catalog of the moment when
// the change was made.
type typeMessage struct {
	oid    uint32
	schema string // empty for pg_catalog
	name   string
	raw    []byte
}

func parseType(b []byte) (typeMessage, error) {
	r := reader{b: b}
	m := r.typeMessage()
	if !r.done() {
		return typeMessage{}, &streamError{what: "type message"}
	}
	return m, nil
}

func (r *reader) typeMessage() typeMessage {
	from := r.b
	r.byte()
	m := typeMessage{oid: r.uint32()}
	m.schema, m.name = string(r.cstring()), string(r.cstring())
	m.raw = append([]byte(nil), from[:len(from)-len(r.b)]...)
	return m
}

// streamError says that the stream is not what pgoutput sends: it cannot be read on.
type streamError struct {
	what string
}

func (e *streamError) Error() string { return "malformed replication stream: " + e.what }
