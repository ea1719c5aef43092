package mysql

import (
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/replication"

	"rowhook/capture"
)

// rowsEvent is an event that holds rows of one table.
type rowsEvent struct {
	op    capture.Op
	table uint64 // the table map's id
	// The columns that the images hold, as bitmaps: of the only one, or the one before; and the one
	// after.
	first, second []byte
	count         int // of columns
	body          []byte
	last          bool // of its statement's
}

// endOfStatement is the flag of a statement's last event of rows.
const endOfStatement = 1

// opOf says what an event of rows does; 0 for other events.
func opOf(kind replication.EventType) capture.Op {
	switch kind {
	case replication.WRITE_ROWS_EVENTv1, replication.WRITE_ROWS_EVENTv2, replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1:
		return capture.Insert
	case replication.UPDATE_ROWS_EVENTv1, replication.UPDATE_ROWS_EVENTv2, replication.MARIADB_UPDATE_ROWS_COMPRESSED_EVENT_V1:
		return capture.Update
	case replication.DELETE_ROWS_EVENTv1, replication.DELETE_ROWS_EVENTv2, replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1:
		return capture.Delete
	}
	return 0
}

func hasExtra(kind replication.EventType) bool {
	switch kind {
	case replication.WRITE_ROWS_EVENTv2, replication.UPDATE_ROWS_EVENTv2, replication.DELETE_ROWS_EVENTv2:
		return true
	}
	return false
}

func compressed(kind replication.EventType) bool {
	return kind >= replication.MARIADB_WRITE_ROWS_COMPRESSED_EVENT_V1 && kind <= replication.MARIADB_DELETE_ROWS_COMPRESSED_EVENT_V1
}

// parseRows reads an event's head.
func parseRows(kind replication.EventType, b []byte) (rowsEvent, error) {
	r := reader{b: b}
	e := rowsEvent{op: opOf(kind), table: r.uint(6)}
	e.last = r.uint(2)&endOfStatement != 0
	if hasExtra(kind) {
		r.take(int(r.uint(2)) - 2)
	}
	count := r.packed()
	if count > 1<<16 {
		return e, errShort
	}
	e.count = int(count)
	e.first = r.take((e.count + 7) / 8)
	e.second = e.first
	if e.op == capture.Update {
		e.second = r.take((e.count + 7) / 8)
	}
	if r.fail {
		return e, errShort
	}
	e.body = r.b
	return e, nil
}

// unpack undoes the compression that MariaDB's events may have.
func (e *rowsEvent) unpack(kind replication.EventType) (err error) {
	if compressed(kind) {
		e.body, err = inflate(e.body)
	}
	return err
}

// omits reports whether the rows after an update lack columns.
func (e *rowsEvent) omits(t *tableMap) bool {
	return e.op == capture.Update && e.count == len(t.columns) && countBits(e.second, e.count) < e.count
}

// errFrame says that an event's rows do not fit their table.
var errFrame = errors.New("its rows do not lie in the binlog as its table map says")

// frame counts the event's rows, and checks that they are whole.
func (e *rowsEvent) frame(t *tableMap) (rows int, err error) {
	if e.count != len(t.columns) {
		return 0, errFrame
	}
	if len(e.body) == 0 && countBits(e.first, e.count)+countBits(e.second, e.count) == 0 {
		return 1, nil // MySQL logs a row of nothing but defaults so
	}
	for rest := *e; len(rest.body) > 0; rows++ {
		left := len(rest.body)
		if _, _, err := rest.next(t); err != nil || len(rest.body) == left {
			return 0, errFrame
		}
	}
	return rows, nil
}

// rowBuffer holds the rows of one change; they are overwritten by the next.
type rowBuffer struct {
	old, new capture.Row
	text     []byte
	spans    []span
}

// span is where a value's text lies in the buffer, which moves while it grows.
type span struct {
	value    *capture.Value
	from, to int
}

func (b *rowBuffer) reset(columns int) {
	b.text, b.spans = b.text[:0], b.spans[:0]
	if cap(b.old) < columns {
		b.old, b.new = make(capture.Row, columns), make(capture.Row, columns)
	}
	b.old, b.new = b.old[:columns], b.new[:columns]
}

func (b *rowBuffer) settle() {
	for _, s := range b.spans {
		s.value.Text = b.text[s.from:s.to:s.to]
	}
}

// imageSize returns how many bytes the row image at the start of b takes; false when it is
// not whole.
func (t *tableMap) imageSize(b, present []byte) (int, bool) {
	columns := t.columns
	nulls := (countBits(present, len(columns)) + 7) / 8
	if nulls > len(b) {
		return 0, false
	}
	at, nth := nulls, 0
	for i := range columns {
		if !bit(present, i) {
			continue
		}
		null := bit(b, nth)
		nth++
		if null {
			continue
		}
		_, end, ok := columns[i].value(b, at)
		if !ok {
			return 0, false
		}
		at = end
	}
	return at, true
}

// value returns where the column's value lies that begins at b[at].
func (c *column) value(b []byte, at int) (from, end int, ok bool) {
	n := c.width
	if c.prefix > 0 {
		if at+c.prefix > len(b) {
			return 0, 0, false
		}
		n = int(littleEndian(b[at : at+c.prefix]))
		at += c.prefix
	}
	return at, at + n, n <= len(b)-at
}

func countBits(bitmap []byte, n int) int {
	count := 0
	for i := range n {
		if bit(bitmap, i) {
			count++
		}
	}
	return count
}

// aliasFrom is how large a value is that is not copied where it need not be decoded.
const aliasFrom = 16 << 10

// readImage decodes the row image at the start of b, whose size has been checked, into as many
// columns as the row has, which lacks the hidden ones. Those that the image does not hold get the
// absent state.
func (t *tableMap) readImage(b, present []byte, row capture.Row, buf *rowBuffer, absent capture.State) error {
	at, nth, visible := (countBits(present, len(t.columns))+7)/8, 0, 0
	for i := range t.columns {
		c := &t.columns[i]
		if c.hidden {
			if bit(present, i) {
				if !bit(b, nth) {
					_, at, _ = c.value(b, at)
				}
				nth++
			}
			continue
		}
		v := &row[visible]
		visible++
		v.Text = nil
		if !bit(present, i) {
			v.State = absent
			if c.computed && absent == capture.Unchanged {
				v.State = capture.Unknown
			}
			continue
		}
		null := bit(b, nth)
		nth++
		if null {
			v.State = capture.Null
			continue
		}
		from, end, ok := c.value(b, at)
		if !ok {
			return errShort
		}
		if c.plain && end-from >= aliasFrom { // the row outlives the change that is made of it
			v.State, v.Text = capture.Present, b[from:end:end]
			at = end
			continue
		}
		start := len(buf.text)
		var err error
		if buf.text, err = c.append(c, buf.text, b[from:end]); err != nil {
			return fmt.Errorf("column %s: %w", t.table.Columns[visible-1].Name, err)
		}
		v.State = capture.Present
		buf.spans = append(buf.spans, span{v, start, len(buf.text)})
		at = end
	}
	return nil
}

// next takes the next row (for an update: two images) off the event's body.
func (e *rowsEvent) next(t *tableMap) (before, after []byte, err error) {
	n, ok := t.imageSize(e.body, e.first)
	if !ok {
		return nil, nil, errShort
	}
	before, e.body = e.body[:n], e.body[n:]
	if e.op != capture.Update {
		return before, nil, nil
	}
	if n, ok = t.imageSize(e.body, e.second); !ok {
		return nil, nil, errShort
	}
	after, e.body = e.body[:n], e.body[n:]
	return before, after, nil
}

// decodeRow fills in a change from a row's images, of which op is the effect.
func (e *rowsEvent) decodeRow(t *tableMap, op capture.Op, before, after []byte, buf *rowBuffer, change *capture.Change) error {
	buf.reset(len(t.table.Columns))
	change.Op, change.Table, change.Old, change.New = op, t.table, nil, nil
	image, present := before, e.first
	if e.op == capture.Update {
		image, present = after, e.second
	}
	var err error
	switch op {
	case capture.Insert:
		change.New = buf.new
		err = t.readImage(image, present, buf.new, buf, capture.Unknown)
	case capture.Delete:
		change.Old = buf.old
		err = t.readImage(before, e.first, buf.old, buf, capture.Unknown)
	default:
		change.Old, change.New = buf.old, buf.new
		if err = t.readImage(before, e.first, buf.old, buf, capture.Unknown); err == nil {
			// What a partial image leaves out after an update has not changed.
			err = t.readImage(image, present, buf.new, buf, capture.Unchanged)
		}
	}
	buf.settle()
	return err
}

// appendRaw writes one row in the form that parkedRow reads again.
func (e *rowsEvent) appendRaw(dst, before, after []byte) []byte {
	dst = append(dst, byte(e.op), byte(e.count), byte(e.count>>8))
	dst = append(dst, e.first...)
	if e.op == capture.Update {
		dst = append(dst, e.second...)
	}
	return append(append(dst, before...), after...)
}

// parkedRow reads a row that appendRaw wrote.
func parkedRow(b []byte) (rowsEvent, error) {
	r := reader{b: b}
	e := rowsEvent{op: capture.Op(r.byte()), count: int(r.uint(2))}
	e.first = r.take((e.count + 7) / 8)
	e.second = e.first
	if e.op == capture.Update {
		e.second = r.take((e.count + 7) / 8)
	}
	e.body = r.b
	if r.fail || e.op < capture.Insert || e.op > capture.Delete {
		return e, errShort
	}
	return e, nil
}
