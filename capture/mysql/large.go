package mysql

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/go-mysql-org/go-mysql/replication"

	"rowhook/capture"
)

// An event of more than keepMost is not held: its rows are taken one by one as they come, so that
// memory is that of the largest row, and a row that is not to be taken is read past. What else may
// be as large are statements, of which only both ends matter.

const (
	// windowHead and windowTail are what is kept of a statement that is not held.
	windowHead = 128 << 10
	windowTail = 64 << 10
	// keepValue is how large a value may be that is kept of a row that is read past, and keepAll
	// how much is kept in all.
	keepValue = 4 << 10
	keepAll   = 256 << 10
)

// take takes an event whose body is still to be read.
func (d *decoder) take(h header, in io.Reader, size int) error {
	if size > keepMost {
		return d.large(h, in, size)
	}
	body, kept, err := readBody(in, d.buf, size)
	if d.buf = kept; err != nil {
		return tooEarly(err)
	}
	return d.event(h, body)
}

// receiveLarge takes a large event off the connection. Its checksum is known when its rows have
// been handed over, which is soon enough: the transaction has not ended.
func (st *stream) receiveLarge(d *dump, h header, size int) error {
	if !d.checksums {
		if err := st.large(h, &d.in, size); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, &d.in)
		return err
	}
	sum := crc32.NewIEEE()
	sum.Write(d.head[:])
	body := io.TeeReader(io.LimitReader(&d.in, int64(size)), sum)
	if err := st.large(h, body, size); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		return err
	}
	var want [checksumSize]byte
	if err := d.in.fill(want[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(want[:]) != sum.Sum32() {
		return mismatch(h)
	}
	return nil
}

func mismatch(h header) error {
	return &streamError{what: fmt.Sprintf("the checksum of an event of type %d does not match: the server's binlog is damaged", h.kind), where: damaged}
}

// most is how large a change is taken.
func (d *decoder) most() int64 {
	if d.limit == 0 {
		return capture.DefaultMaxChange
	}
	return d.limit
}

// large takes an event that is not held. What it leaves of the body is the caller's to read past.
func (d *decoder) large(h header, in io.Reader, size int) error {
	kind := replication.EventType(h.kind)
	switch {
	case opOf(kind) != 0:
		d.file.reach(h.end)
		return d.largeRows(kind, in, int64(size))
	case kind == replication.ROWS_QUERY_EVENT, kind == replication.MARIADB_ANNOTATE_ROWS_EVENT:
		d.file.reach(h.end)
		text, err := window(in)
		if err != nil {
			return tooEarly(err)
		}
		if kind == replication.ROWS_QUERY_EVENT {
			text = text[1:]
		}
		return d.statement(text)
	case kind == replication.QUERY_EVENT, kind == replication.MARIADB_QUERY_COMPRESSED_EVENT:
		d.file.reach(h.end)
		return d.largeQuery(in, kind == replication.MARIADB_QUERY_COMPRESSED_EVENT)
	case kind == replication.PARTIAL_UPDATE_ROWS_EVENT && int64(size) > d.most():
		return d.largePartial(in, int64(size))
	case kind == replication.PARTIAL_UPDATE_ROWS_EVENT, kind == replication.EXECUTE_LOAD_QUERY_EVENT, kind == replication.TABLE_MAP_EVENT:
		if int64(size) > d.most() {
			return &streamError{what: fmt.Sprintf("an event of type %d with %d bytes", kind, size)}
		}
		body, _, err := readBody(in, nil, size)
		if err != nil {
			return tooEarly(err)
		}
		return d.event(h, body)
	}
	return d.event(h, nil) // what has nothing to tell may be of any size; what has is small
}

// largePartial parks an event of partial rows without its bytes.
func (d *decoder) largePartial(in io.Reader, size int64) error {
	if d.tx.skip || d.tx.xa {
		return nil
	}
	head := make([]byte, 8)
	if _, err := io.ReadFull(in, head); err != nil {
		return tooEarly(err)
	}
	r := reader{b: head}
	id := r.uint(6)
	last := r.uint(2)&endOfStatement != 0
	t := d.tables.of(id)
	if t == nil || !d.tx.open {
		return &streamError{what: "partial rows event"}
	}
	if err := d.inStatement(last); err != nil {
		return err
	}
	return d.largeUndecodable(t, size, errPartialJSON)
}

// window reads a text to its end and returns both ends of it.
func window(in io.Reader) ([]byte, error) {
	text := make([]byte, windowHead+2*windowTail)
	n, err := io.ReadFull(in, text)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return text[:n], nil
	}
	for err == nil {
		// The last windowTail bytes are always among those behind windowHead.
		copy(text[windowHead:], text[windowHead+windowTail:])
		n, err = io.ReadFull(in, text[windowHead+windowTail:])
		if n < windowTail && (err == io.EOF || err == io.ErrUnexpectedEOF) {
			return append(text[:windowHead], text[windowHead+n:windowHead+windowTail+n]...), nil
		}
	}
	return nil, err
}

// largeQuery takes a statement of which only both ends are kept.
func (d *decoder) largeQuery(in io.Reader, packed bool) error {
	if !packed {
		body, err := window(in)
		if err != nil {
			return tooEarly(err)
		}
		return d.query(body, false)
	}
	head := make([]byte, windowHead)
	n, err := io.ReadFull(in, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return tooEarly(err)
	}
	head = head[:n]
	r := reader{b: head}
	r.take(8)
	schema := int(r.byte())
	r.uint(2)
	r.take(int(r.uint(2)))
	r.take(schema + 1)
	if r.fail {
		return &streamError{what: "query event"}
	}
	head = head[: len(head)-len(r.b) : len(head)-len(r.b)]
	text, _, err := inflating(io.MultiReader(bytes.NewReader(r.b), in))
	if err != nil {
		return err
	}
	ends, err := window(text)
	if err != nil {
		return compressedError(err)
	}
	return d.query(append(head, ends...), false)
}

// inflateStatement undoes the compression of a statement, of a large one of both its ends.
func inflateStatement(packed []byte) ([]byte, error) {
	text, err := inflate(packed)
	if !errors.Is(err, errInflates) {
		return text, err
	}
	in, _, err := inflating(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return window(in)
}

// inflating begins to undo MariaDB's compression, see [inflate].
func inflating(in io.Reader) (io.Reader, int64, error) {
	var head [8]byte
	if _, err := io.ReadFull(in, head[:1]); err != nil {
		return nil, 0, tooEarly(err)
	}
	if head[0]>>4 != 8 {
		return nil, 0, &streamError{what: "malformed: compressed event"}
	}
	length := head[1 : 1+head[0]&7]
	if _, err := io.ReadFull(in, length); err != nil {
		return nil, 0, tooEarly(err)
	}
	z, err := zlib.NewReader(in)
	if err != nil {
		return nil, 0, compressedError(err)
	}
	size := int64(bigEndian(length))
	return io.LimitReader(z, size), size, nil
}

// compressedError says that an event cannot be inflated, unless it was the connection that broke
// inside it.
func compressedError(err error) error {
	if errors.Is(err, zlib.ErrHeader) || errors.Is(err, zlib.ErrChecksum) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &streamError{what: "malformed: compressed event: " + err.Error()}
	}
	return err
}

// largeRows takes an event of rows one by one.
func (d *decoder) largeRows(kind replication.EventType, in io.Reader, size int64) error {
	if d.tx.skip || d.tx.xa {
		return nil
	}
	w := &rowReader{d: d, in: bufio.NewReaderSize(in, receiveBuffer), left: size}
	e, err := w.head(kind)
	if err != nil {
		return tooEarly(err)
	}
	t, err := d.beginRows(&e)
	if err != nil {
		return err
	}
	return d.largeRowsOf(t, kind, &e, w)
}

// largeRowsOf takes an event's rows behind its head. Those that do not lie as the table map says
// are parked together, as [decoder.rowsOf] does it, with all behind them.
func (d *decoder) largeRowsOf(t *tableMap, kind replication.EventType, e *rowsEvent, w *rowReader) error {
	first, why := d.tx.ordinal, t.undecodable
	if why == nil && e.count != len(t.columns) {
		why = errFrame
	}
	if compressed(kind) {
		rows, size, err := inflating(w.in)
		if err != nil {
			return err
		}
		w.in, w.left = bufio.NewReaderSize(rows, receiveBuffer), size
	}
	size := w.left
	for why == nil && w.left > 0 {
		if d.room != nil {
			if err := d.room(); err != nil {
				return err
			}
		}
		left := w.left
		err := w.row(e, t)
		switch {
		case errors.Is(err, errFrame), w.left == left:
			why = errFrame
		case err != nil && compressed(kind):
			return compressedError(err)
		case err != nil:
			return tooEarly(err)
		}
	}
	if why != nil {
		if err := d.largeUndecodable(t, size, why); err != nil {
			return err
		}
	}
	if t.unsized {
		d.tx.ordinal = first + int(max(1, size))
	}
	return nil
}

// largeUndecodable parks an event whose rows cannot be told apart, without its bytes.
func (d *decoder) largeUndecodable(t *tableMap, size int64, why error) error {
	ordinal := d.tx.ordinal
	d.tx.ordinal++
	if t.ignored {
		return nil
	}
	if err := d.begin(); err != nil {
		return err
	}
	return sinkResult(d.sink.Park(&capture.Undecoded{Table: t.table.String(), Ordinal: ordinal, Err: why, Size: size}))
}

// rowReader reads the rows of an event that is not held.
type rowReader struct {
	d    *decoder
	in   *bufio.Reader
	left int64 // of the event
	held []byte

	// Of the row at hand.
	e       *rowsEvent
	t       *tableMap
	size    int64  // as far as it has been read
	buf     []byte // in the form that parkedRow reads; of a row that is read past, the small values
	spans   []valueSpan
	weighed bool
	passing bool
	verdict capture.Verdict
}

// valueSpan is where a value lies in the buffer, with the bytes before it that say its length.
type valueSpan struct {
	image, column int
	from, to      int
	null          bool
}

// head reads what stands before the rows.
func (w *rowReader) head(kind replication.EventType) (rowsEvent, error) {
	take := func(n int) []byte {
		at := len(w.held)
		w.held = append(w.held, make([]byte, n)...)
		k, _ := io.ReadFull(w.in, w.held[at:]) // what is missing shows below
		w.held = w.held[:at+k]
		w.left -= int64(k)
		return w.held[at:]
	}
	take(8)
	if hasExtra(kind) {
		take(max(0, int(littleEndian(take(2)))-2))
	}
	count := uint64(0)
	if first := take(1); len(first) == 1 {
		count = uint64(first[0])
		if width := map[byte]int{0xfc: 2, 0xfd: 3, 0xfe: 8}[first[0]]; width > 0 {
			count = littleEndian(take(width))
		}
	}
	bitmaps := 1
	if opOf(kind) == capture.Update {
		bitmaps = 2
	}
	if count <= 1<<16 {
		take(bitmaps * ((int(count) + 7) / 8))
	}
	e, err := parseRows(kind, w.held)
	if err != nil {
		return e, &streamError{what: "rows event: " + err.Error()}
	}
	return e, nil
}

// row takes the next row.
func (w *rowReader) row(e *rowsEvent, t *tableMap) error {
	d := w.d
	w.e, w.t, w.size, w.spans, w.weighed, w.passing, w.verdict = e, t, 0, w.spans[:0], false, false, capture.Verdict{}
	if t.ignored {
		w.passing, w.verdict.Unwanted = true, true
	}
	w.buf = e.appendRaw(w.buf[:0], nil, nil)
	ordinal, start := d.tx.ordinal, len(w.buf)
	if err := w.image(0, e.first); err != nil {
		return err
	}
	between := len(w.buf)
	if e.op == capture.Update {
		if err := w.image(1, e.second); err != nil {
			return err
		}
	}
	d.tx.ordinal++
	if w.passing {
		return w.pass(ordinal)
	}
	before, after := w.buf[start:between:between], []byte(nil)
	if e.op == capture.Update {
		after = w.buf[between:]
	}
	var err error
	if op := e.effect(t, before, after); op != 0 {
		err = d.handOver(e, t, op, ordinal, before, after, w.buf)
	}
	w.letGo()
	return err
}

// letGo forgets a row that was large.
func (w *rowReader) letGo() {
	d := w.d
	if cap(w.buf) > keepMost {
		w.buf = nil
	}
	if cap(d.rows.text) > keepMost {
		d.rows.text = nil
	}
	clear(d.rows.spans[:cap(d.rows.spans)])
	clear(d.rows.old[:cap(d.rows.old)])
	clear(d.rows.new[:cap(d.rows.new)])
	d.change.Old, d.change.New, d.change.Raw = nil, nil, capture.Raw{}
	d.reclaimer.Add(w.size)
}

// image reads the image of a row that holds these columns.
func (w *rowReader) image(image int, present []byte) error {
	columns := w.t.columns
	nulls, err := w.bytes((countBits(present, len(columns)) + 7) / 8)
	if err != nil {
		return err
	}
	nulls = bytes.Clone(nulls) // the buffer moves
	nth := 0
	for i := range columns {
		if !bit(present, i) {
			continue
		}
		if bit(nulls, nth) {
			w.spans = append(w.spans, valueSpan{image: image, column: i, null: true})
		} else if err := w.value(image, i, &columns[i]); err != nil {
			return err
		}
		nth++
	}
	return nil
}

// bytes reads n bytes into the buffer.
func (w *rowReader) bytes(n int) ([]byte, error) {
	if int64(n) > w.left {
		return nil, errFrame
	}
	at := len(w.buf)
	if need := at + n; need > cap(w.buf) {
		room := need
		if n > keepMost { // once for the whole row, if what is left may all be of it
			if rest := int64(need) + w.left - int64(n); rest <= w.d.most() {
				room = int(rest)
			}
		} else {
			room = max(need, 2*cap(w.buf))
		}
		w.buf = append(make([]byte, 0, room), w.buf...)
	}
	w.buf = w.buf[:at+n]
	_, err := io.ReadFull(w.in, w.buf[at:])
	w.left -= int64(n)
	w.size += int64(n)
	return w.buf[at:], err
}

// value reads a column's value.
func (w *rowReader) value(image, i int, c *column) error {
	n := int64(c.width)
	if c.prefix > 0 {
		length, err := w.bytes(c.prefix)
		if err != nil {
			return err
		}
		n = int64(littleEndian(length))
	}
	if n > w.left {
		return errFrame
	}
	if err := w.weigh(n); err != nil {
		return err
	}
	if w.passing && (n > keepValue || len(w.buf)+int(n) > keepAll) {
		_, err := io.CopyN(io.Discard, w.in, n)
		w.left -= n
		w.size += n
		return err
	}
	if _, err := w.bytes(int(n)); err != nil {
		return err
	}
	w.spans = append(w.spans, valueSpan{image: image, column: i, from: len(w.buf) - int(n), to: len(w.buf)})
	return nil
}
