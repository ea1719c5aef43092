package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/jackc/pglogrepl"

	"rowhook/capture"
)

// decoder turns pgoutput messages into calls of a sink. It keeps the relation
// cache and reuses its rows, so that a change costs no allocation.
type decoder struct {
	sink capture.Sink
	// describe makes a relation of what the stream tells, asking the catalog. Its errors
	// are those of a connection: the stream is read again later.
	describe func(*description) (*relation, error)
	encoding *encoding // of the stream's texts; nil where that is UTF-8, or taken for it
	// reached, if set, hears where each transaction ends before the sink does.
	reached func(pglogrepl.LSN)

	relations map[uint32]*relation
	types     map[uint32]typeMessage // those announced
	tx        capture.Transaction
	open      bool          // inside a transaction
	committed pglogrepl.LSN // where the record of its commit begins
	commits   int           // transactions handed over
	ordinal   int           // of the next change or message in it
	handed    pglogrepl.LSN // the end of what the sink has been given whole
	rows      rowBuffer
	change    capture.Change
}

// rowBuffer holds the rows of one change; they are overwritten by the next.
type rowBuffer struct {
	old, new capture.Row
	text     []byte // what has been transcoded
}

// relation is a table as the stream describes it, with what its tuples can tell.
type relation struct {
	oid   uint32
	table *capture.Table
	raw   []byte // its description, as [parseDescription] reads it
	// encoding is that of its texts; nil where they are UTF-8, or taken for it.
	encoding *encoding
	// fixed are the columns that an update without an old tuple left as they were.
	fixed []int
	// Partitions have replica identities of their own, but the stream marks tuples by the
	// root's. For a partitioned table with partitions that are not FULL, keyed[i] says that
	// column i may stand in such a partition's key; elsewhere it is nil.
	keyed []bool
	// whole says that old tuples hold the whole row, whatever their mark.
	whole bool
	// twice is a column's name that the description has twice; empty when it has none.
	twice string
}

// keepMost is how large a buffer for transcoded texts is kept for the next ones.
const keepMost = 1 << 20

func sinkResult(err error) error {
	if err != nil {
		return capture.Permanent(err)
	}
	return nil
}

// message takes one pgoutput message.
func (d *decoder) message(b []byte) error {
	if len(b) == 0 {
		return &streamError{what: "empty message"}
	}
	switch b[0] {
	case msgInsert, msgUpdate, msgDelete, msgTruncate:
		if !d.open {
			return &streamError{what: "change outside a transaction"}
		}
		if b[0] == msgTruncate {
			return d.truncate(b)
		}
		return d.row(b)
	case msgBegin:
		return d.begin(b)
	case msgCommit:
		return d.commit(b)
	case msgRelation:
		return d.relation(b)
	case msgMessage:
		return d.logical(b)
	case msgType:
		m, err := parseType(b)
		if err != nil {
			return err
		}
		d.types[m.oid] = m
		return nil
	case msgOrigin:
		return nil
	}
	return &streamError{what: fmt.Sprintf("unknown message %q", b[0])}
}

func (d *decoder) begin(b []byte) error {
	r := reader{b: b[1:]}
	commit, at, xid := r.lsn(), r.time(), r.uint32()
	if !r.done() || d.open {
		return &streamError{what: "begin message"}
	}
	d.tx = transaction(commit, at, xid)
	d.open, d.ordinal, d.committed = true, 0, commit
	return sinkResult(d.sink.Begin(&d.tx))
}

// transaction names a transaction. Its identity is commit LSN, xid and commit time,
// so that a forked timeline cannot make the same one; the other names are parts of it.
func transaction(commit pglogrepl.LSN, at time.Time, xid uint32) capture.Transaction {
	var buf [64]byte
	id := appendLSN(buf[:0], commit)
	lsn := len(id)
	id = strconv.AppendUint(append(id, ' '), uint64(xid), 10)
	end := len(id)
	id = strconv.AppendInt(append(id, ' '), at.UnixMicro(), 10)
	name := string(id)
	return capture.Transaction{
		ID:       name[lsn+1 : end],
		Identity: name,
		Position: capture.Position(name[:lsn]),
		Time:     at,
	}
}

func (d *decoder) commit(b []byte) error {
	r := reader{b: b[1:]}
	r.byte()
	r.lsn()
	end := r.lsn()
	r.uint64()
	if !r.done() || !d.open {
		return &streamError{what: "commit message"}
	}
	d.open = false
	if d.reached != nil {
		d.reached(end) // the sink may ask for it
	}
	if err := d.sink.Commit(position(end)); err != nil {
		return capture.Permanent(err)
	}
	d.handed = max(d.handed, end)
	d.commits++
	return nil
}

func (d *decoder) relation(b []byte) error {
	m, err := parseRelation(b)
	if err != nil {
		return err
	}
	told := newDescription(m, d.types)
	raw := told.raw(d.encoding, b)
	if err := told.decode(d.encoding); err != nil {
		return err
	}
	rel, err := d.describe(told)
	if err != nil {
		return fmt.Errorf("describe table %s.%s: %w", told.schema, told.name, err)
	}
	rel.raw, rel.encoding = raw, d.encoding
	if known := d.relations[m.oid]; known != nil && sameTable(known.table, rel.table) {
		rel.table = known.table // the pointer is a key for caches
	}
	d.relations[m.oid] = rel
	return nil
}

// logical takes a message that the application wrote into the WAL.
func (d *decoder) logical(b []byte) error {
	r := reader{b: b[1:]}
	transactional := r.byte()&1 != 0
	r.lsn()
	prefix := r.cstring()
	content := r.take(int(r.uint32()))
	if !r.done() || transactional && !d.open {
		return &streamError{what: "logical message"}
	}
	if d.encoding != nil { // the server never converts a message's content
		d.rows.text = d.rows.text[:0]
		var err error
		if prefix, err = d.rows.transcode(d.encoding, prefix); err == nil {
			content, err = d.rows.transcode(d.encoding, content)
		}
		if err != nil {
			return err
		}
	}
	if !transactional {
		if sink, ok := d.sink.(capture.Ignorer); ok {
			sink.Ignored(string(prefix))
		}
		return nil
	}
	m := capture.Message{Prefix: string(prefix), Content: content, Ordinal: d.ordinal}
	d.ordinal++
	return sinkResult(d.sink.Message(&m))
}

// row takes an insert, update or delete.
func (d *decoder) row(b []byte) error {
	r := reader{b: b[1:]}
	rel := d.relations[r.uint32()]
	d.ordinal++
	if rel == nil {
		return d.park(nil, b, errNoRelation)
	}
	if err := decodeRow(b, rel, &d.rows, &d.change); err != nil { // As allocates, also without one
		if errors.As(err, new(*lookupError)) {
			return err
		}
		return d.park(rel, b, err)
	}
	d.change.Ordinal = d.ordinal - 1
	return sinkResult(d.sink.Change(&d.change))
}

// truncate takes one message for several tables and hands on one change for each.
func (d *decoder) truncate(b []byte) error {
	r := reader{b: b[1:]}
	n := int(r.uint32())
	r.byte() // cascade, restart identity
	if r.fail || n*4 != len(r.b) {
		d.ordinal++
		return d.park(nil, b, errMalformed)
	}
	for range n {
		rel := d.relations[r.uint32()]
		d.ordinal++
		if rel == nil {
			if err := d.park(nil, b, errNoRelation); err != nil {
				return err
			}
			continue
		}
		d.change = capture.Change{Op: capture.Truncate, Table: rel.table, Ordinal: d.ordinal - 1,
			Raw: capture.Raw{Relation: rel.raw, Change: b}}
		if err := d.sink.Change(&d.change); err != nil {
			return capture.Permanent(err)
		}
	}
	return nil
}

var (
	errNoRelation = errors.New("the stream did not describe the table")
	errMalformed  = errors.New("malformed change message")
)

// park hands on a change that cannot be decoded; the stream goes on.
func (d *decoder) park(rel *relation, b []byte, cause error) error {
	u := capture.Undecoded{Ordinal: d.ordinal - 1, Raw: capture.Raw{Change: b}, Err: cause}
	if rel != nil {
		u.Table, u.Raw.Relation = rel.table.String(), rel.raw
	}
	return sinkResult(d.sink.Park(&u))
}

// decodeRow decodes an insert, update or delete of rel into change, whose rows are rows'.
func decodeRow(b []byte, rel *relation, rows *rowBuffer, change *capture.Change) error {
	*change = capture.Change{Table: rel.table, Raw: capture.Raw{Relation: rel.raw, Change: b}}
	if rel.twice != "" {
		return fmt.Errorf("the server described the table with two columns %q: it takes it for what it was not when the row was written", rel.twice)
	}
	r := reader{b: b}
	r.take(5) // type and relation
	mark := r.byte()
	if rows.text = rows.text[:0]; cap(rows.text) > keepMost {
		rows.text = nil
	}
	var err error
	if (b[0] == msgUpdate || b[0] == msgDelete) && (mark == 'K' || mark == 'O') {
		if rows.old, err = rel.tuple(&r, rows, rows.old); err != nil {
			return err
		}
		change.Old = rows.old
		rel.forget(change.Old, mark)
		if b[0] == msgUpdate {
			mark = r.byte()
		}
	}
	switch b[0] {
	case msgInsert:
		change.Op = capture.Insert
	case msgUpdate:
		change.Op = capture.Update
	case msgDelete:
		change.Op = capture.Delete
	}
	if b[0] != msgDelete {
		if mark != 'N' {
			return errMalformed
		}
		if rows.new, err = rel.tuple(&r, rows, rows.new); err != nil {
			return err
		}
		change.New = rows.new
	} else if change.Old == nil {
		return errMalformed
	}
	if !r.done() {
		return errMalformed
	}
	if b[0] == msgUpdate {
		rel.complete(change, rows)
	}
	return nil
}

// tuple reads one row into row's memory.
func (rel *relation) tuple(r *reader, rows *rowBuffer, row capture.Row) (capture.Row, error) {
	n := int(r.uint16())
	if r.fail {
		return row, errMalformed
	}
	if want := len(rel.table.Columns); n != want {
		return row, fmt.Errorf("the row has %d columns where the table was described with %d", n, want)
	}
	row = rowOf(row, n)
	b := r.b
	for i := range row { // in place: a call for each byte would cost as much again
		kind, size := byte(0), uint64(0)
		if len(b) > 0 {
			kind, b = b[0], b[1:]
		}
		switch {
		case kind == 'n':
			row[i] = capture.Value{State: capture.Null}
		case kind == 'u':
			row[i] = capture.Value{State: capture.Unchanged}
		case kind == 't' && len(b) >= 4:
			if size = uint64(binary.BigEndian.Uint32(b)); size <= uint64(len(b)-4) {
				row[i] = capture.Value{State: capture.Present, Text: b[4 : 4+size : 4+size]}
				b = b[4+size:]
				continue
			}
			fallthrough
		default:
			return row, fmt.Errorf("column %s: %w", rel.table.Columns[i].Name, errMalformed)
		}
	}
	r.b = b
	for i := 0; i < n && rel.encoding != nil; i++ {
		var err error
		if row[i].Text, err = rows.transcode(rel.encoding, row[i].Text); err != nil {
			return row, err
		}
	}
	return row, nil
}

// transcode returns text in UTF-8, in the buffer's memory where it has to be changed.
func (b *rowBuffer) transcode(e *encoding, text []byte) ([]byte, error) {
	if isASCII(text) {
		return text, nil
	}
	from := len(b.text)
	var err error
	b.text, err = e.append(b.text, text)
	return b.text[from:len(b.text):len(b.text)], err
}

func isASCII(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// rowOf returns a row of n columns, in row's memory where it suffices.
func rowOf(row capture.Row, n int) capture.Row {
	if cap(row) < n {
		return make(capture.Row, n)
	}
	return row[:n]
}

// forget makes unknown what an old tuple only seems to tell: the stream writes NULL
// for columns that are not in the key. Key columns themselves are never NULL.
func (rel *relation) forget(old capture.Row, mark byte) {
	full := mark == 'O' && rel.keyed == nil || rel.whole
	for i := 0; i < len(old) && !full && rel.keyed != nil; i++ {
		full = old[i].State == capture.Present && !rel.keyed[i] // no partition's key has it: this one is FULL
	}
	for i := range old {
		if old[i].State == capture.Unchanged || old[i].State == capture.Null && !full {
			old[i] = capture.Value{}
		}
	}
}

// complete fills in what old and new row of an update tell of each other.
func (rel *relation) complete(change *capture.Change, rows *rowBuffer) {
	if change.Old != nil {
		for i := range change.New {
			if change.New[i].State == capture.Unchanged && change.Old[i].State == capture.Present {
				change.New[i] = change.Old[i]
			}
		}
		return
	}
	if len(rel.fixed) == 0 {
		return
	}
	rows.old = rowOf(rows.old, len(change.New))
	clear(rows.old)
	for _, i := range rel.fixed {
		if change.New[i].State != capture.Unchanged {
			rows.old[i] = change.New[i]
		}
	}
	change.Old = rows.old
}

// appendLSN appends an LSN as the server writes it.
func appendLSN(b []byte, lsn pglogrepl.LSN) []byte {
	b = appendUpperHex(b, uint32(lsn>>32))
	return appendUpperHex(append(b, '/'), uint32(lsn))
}

func appendUpperHex(b []byte, n uint32) []byte {
	from := len(b)
	b = strconv.AppendUint(b, uint64(n), 16)
	for i := from; i < len(b); i++ {
		if b[i] >= 'a' {
			b[i] -= 'a' - 'A'
		}
	}
	return b
}

// position writes an LSN as a position. No LSN is no position.
func position(lsn pglogrepl.LSN) capture.Position {
	if lsn == 0 {
		return ""
	}
	var buf [20]byte
	return capture.Position(appendLSN(buf[:0], lsn))
}

// parsePosition is the inverse of position.
func parsePosition(p capture.Position) (pglogrepl.LSN, error) {
	if p == "" {
		return 0, nil
	}
	lsn, err := pglogrepl.ParseLSN(string(p))
	if err != nil {
		return 0, fmt.Errorf("position %q is not an LSN such as 0/16B3748", p)
	}
	return lsn, nil
}
