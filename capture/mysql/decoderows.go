package mysql

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-mysql-org/go-mysql/replication"

	"rowhook/capture"
)

// The part of [decoder] that takes table maps and rows.

// tableMap takes the description of a table that the next rows are of.
func (d *decoder) tableMap(h header, body []byte) error {
	r := reader{b: body}
	id := r.uint(6)
	r.uint(2)
	if r.fail {
		return &streamError{what: "table map"}
	}
	known := d.seen(r.b)
	if known != nil && (!known.asked || known.id == id) && !d.passed(known.doubt) {
		d.tables.set(id, known)
		return nil
	}
	schema, name, ok := tableName(r.b)
	if !ok {
		return &streamError{what: "table map"}
	}
	wanted := d.mapped(schema, name)
	t, err := d.describe(r.b, question{wanted: wanted, at: h.at})
	if errors.Is(err, errShort) { // its name is known, so that only its own rows are lost on us
		t, err = &tableMap{table: &capture.Table{Schema: schema, Name: name}, undecodable: err}, nil
	}
	if err != nil {
		return fmt.Errorf("describe a table: %w", err)
	}
	if known != nil && bytes.Equal(known.raw, t.raw) {
		known.doubt = t.doubt
		t = known // nothing about it has changed
	}
	t.id = id
	t.ignored = t.ignored || !wanted
	if len(d.maps) >= mapsMost || d.maps == nil {
		d.maps = map[string]*tableMap{}
	}
	d.maps[string(r.b)] = t
	d.last = mappedTable{}
	d.tables.set(id, t)
	return nil
}

// mappedTable is a table map with its bytes.
type mappedTable struct {
	body string
	*tableMap
}

// seen returns the table map that had these bytes before; nil when none had. Most are of the table
// that the one before is of.
func (d *decoder) seen(body []byte) *tableMap {
	if d.last.tableMap != nil && d.last.body == string(body) {
		return d.last.tableMap
	}
	t := d.maps[string(body)]
	if t != nil {
		d.last = mappedTable{string(body), t}
	}
	return t
}

// tableMaps are those of the open transaction, by the server's numbers. They are mostly few, and gone
// with it: a Go map would cost more to empty than to search. Of a transaction over many tables it is one.
type tableMaps struct {
	few  []numberedMap
	many map[uint64]*tableMap // of all, once there are more than fewMaps
}

// fewMaps is how many are searched one by one.
const fewMaps = 32

type numberedMap struct {
	id uint64
	*tableMap
}

// of returns the table map of a number; nil when there is none.
func (m *tableMaps) of(id uint64) *tableMap {
	if m.many != nil {
		return m.many[id]
	}
	for i := len(m.few) - 1; i >= 0; i-- {
		if m.few[i].id == id {
			return m.few[i].tableMap
		}
	}
	return nil
}

func (m *tableMaps) set(id uint64, t *tableMap) {
	if m.many != nil {
		m.many[id] = t
		return
	}
	for i := len(m.few) - 1; i >= 0; i-- {
		if m.few[i].id == id {
			m.few[i].tableMap = t
			return
		}
	}
	m.few = append(m.few, numberedMap{id, t})
	if len(m.few) > fewMaps {
		m.many = make(map[uint64]*tableMap, 2*len(m.few))
		for _, one := range m.few {
			m.many[one.id] = one.tableMap
		}
	}
}

// empty forgets them all, and the map with them.
func (m *tableMaps) empty() { m.few, m.many = m.few[:0], nil }

// passed reports whether the stream is behind a statement; none is never passed.
func (d *decoder) passed(statement *mariaGTID) bool {
	return statement != nil && d.at.maria.contains(mariaSet{statement.domain: *statement})
}

// mapsMost bounds the table maps that are kept.
const mapsMost = 4096

// mapped reports whether a table's changes are asked for. Servers write into their own schemas all
// the time.
func (d *decoder) mapped(schema, name string) bool {
	switch schema {
	case "mysql", "sys", "performance_schema", "information_schema":
		return false
	}
	return d.wanted(schema, name)
}

// rowsEvent takes an event of rows.
func (d *decoder) rowsEvent(kind replication.EventType, h header, body []byte) error {
	if d.tx.skip || d.tx.xa {
		return nil
	}
	e := &d.held
	var err error
	if *e, err = parseRows(kind, body); err != nil {
		return &streamError{what: "rows event: " + err.Error()}
	}
	t, err := d.beginRows(e)
	if err != nil {
		return err
	}
	if e.omits(t) && !t.asked && d.flavour == flavourMariaDB {
		if t, err = d.askComputed(t, e.table, h.at); err != nil {
			return err
		}
	}
	return d.rowsOf(t, kind, e, body)
}

// beginRows takes note of an event of rows, and returns its table.
func (d *decoder) beginRows(e *rowsEvent) (*tableMap, error) {
	if err := d.inStatement(e.last); err != nil {
		return nil, err
	}
	t := d.tables.of(e.table)
	if t == nil {
		return nil, &streamError{what: "rows of table " + strconv.FormatUint(e.table, 10) + " without a table map"}
	}
	if !d.tx.open {
		return nil, &streamError{what: "rows outside a transaction"}
	}
	return t, nil
}

// askComputed asks the catalog about a table of which rows come without columns that may have
// changed nevertheless.
func (d *decoder) askComputed(t *tableMap, id uint64, at uint32) (*tableMap, error) {
	_, _, body, err := parseRelation(t.raw)
	if err != nil || t.ignored || t.undecodable != nil {
		return t, nil
	}
	more, err := d.describe(body, question{wanted: true, at: at, partial: true})
	if err != nil {
		return nil, fmt.Errorf("describe a table: %w", err)
	}
	more.id = id
	d.maps[string(body)], d.last = more, mappedTable{}
	d.tables.set(id, more)
	return more, nil
}

// inStatement notes that an event is of the statement at hand, and whether it is its last.
func (d *decoder) inStatement(last bool) error {
	if d.comment.over { // the next statement came without its text
		if err := d.statement(nil); err != nil {
			return err
		}
	}
	d.comment.over = last && d.comment.holds
	d.change.Statement = d.tx.statements + 1
	if last {
		d.tx.statements++
	}
	return nil
}

// rowsOf takes an event's rows. Those that do not lie as the table map says are parked together:
// they may be anything. Ordinals hang on the event's bytes alone, so that they are the same when
// the transaction is read again and the catalog tells other things.
func (d *decoder) rowsOf(t *tableMap, kind replication.EventType, e *rowsEvent, body []byte) error {
	first, rows, why, packed := d.tx.ordinal, 0, t.undecodable, e.body
	switch err := e.unpack(kind); {
	case errors.Is(err, errInflates):
		return d.largeRowsOf(t, kind, e, &rowReader{d: d, in: bufio.NewReader(bytes.NewReader(packed)), left: int64(len(packed))})
	case why == nil:
		why = err
	}
	size := len(e.body)
	if why == nil {
		rows, why = e.frame(t)
	}
	switch {
	case why != nil && t.ignored:
		d.tx.ordinal++
	case why != nil:
		if err := d.parkEvent(t.table.String(), kind, body, why); err != nil {
			return err
		}
	case t.ignored:
		d.tx.ordinal += rows
	default:
		for range rows {
			if err := d.row(e, t); err != nil {
				return err
			}
		}
	}
	if t.unsized { // how many rows there are is known only when the catalog tells
		d.tx.ordinal = first + max(1, size)
	}
	return nil
}

// row takes the next row of an event.
func (d *decoder) row(e *rowsEvent, t *tableMap) error {
	before, after, err := e.next(t)
	if err != nil {
		return &streamError{what: "row of " + t.table.String()}
	}
	ordinal := d.tx.ordinal
	d.tx.ordinal++
	op := e.effect(t, before, after)
	if op == 0 {
		return nil
	}
	d.raw = e.appendRaw(d.raw[:0], before, after)
	return d.handOver(e, t, op, ordinal, before, after, d.raw)
}

// handOver gives the sink a row; raw is its form for parking.
func (d *decoder) handOver(e *rowsEvent, t *tableMap, op capture.Op, ordinal int, before, after, raw []byte) error {
	if err := d.introduce(); err != nil {
		return err
	}
	change := capture.Raw{Relation: t.raw, Change: raw}
	err := t.doubtful
	if err == nil {
		err = e.decodeRow(t, op, before, after, &d.rows, &d.change)
	}
	if err != nil {
		return sinkResult(d.sink.Park(&capture.Undecoded{Table: t.table.String(), Ordinal: ordinal, Raw: change, Err: err}))
	}
	d.change.Ordinal, d.change.Raw = ordinal, change
	return sinkResult(d.sink.Change(&d.change))
}

// introduce tells the sink what goes before a change.
func (d *decoder) introduce() error {
	if err := d.begin(); err != nil {
		return err
	}
	return d.sayComment()
}

// errNoRows is why an event is parked whole that tells changes of rows in another way.
var errNoRows = errors.New("the event holds no whole rows")

// partialRows takes an event of updates that tells of JSON documents only what differs.
func (d *decoder) partialRows(kind replication.EventType, body []byte) error {
	if d.tx.skip || d.tx.xa {
		return nil
	}
	r := reader{b: body}
	id := r.uint(6)
	last := r.uint(2)&endOfStatement != 0
	t := d.tables.of(id)
	if r.fail || t == nil || !d.tx.open {
		return &streamError{what: "partial rows event"}
	}
	if err := d.inStatement(last); err != nil {
		return err
	}
	if t.ignored {
		d.tx.ordinal++
		return nil
	}
	return d.parkEvent(t.table.String(), kind, body, errPartialJSON)
}

// errPartialJSON is why an update of a JSON column is parked.
var errPartialJSON = fmt.Errorf("%w: the session's binlog_row_value_options was PARTIAL_JSON, so that it has only what differs in JSON documents", errNoRows)

func sinkResult(err error) error {
	if err != nil {
		return capture.Permanent(err)
	}
	return nil
}

// parkEvent parks a whole event.
func (d *decoder) parkEvent(table string, kind replication.EventType, body []byte, why error) error {
	if d.tx.skip || d.tx.xa {
		return nil
	}
	if !d.tx.open {
		return &streamError{what: "change outside a transaction"}
	}
	if err := d.begin(); err != nil {
		return err
	}
	ordinal := d.tx.ordinal
	d.tx.ordinal++
	return sinkResult(d.sink.Park(&capture.Undecoded{Table: table, Ordinal: ordinal, Err: why,
		Raw: capture.Raw{Change: append([]byte{byte(kind)}, body...)}}))
}
