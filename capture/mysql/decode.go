package mysql

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"

	"rowhook/capture"
)

// decoder turns events into calls of a sink. It reuses its rows and keeps table maps, so
// that a change costs no allocation.
type decoder struct {
	sink    capture.Sink
	log     *slog.Logger
	flavour byte
	at      place            // the end of what the sink has been given whole
	handed  capture.Position // the same, once the sink has taken it
	wanted  func(schema, table string) bool
	// describe makes a table of a table map, asking the catalog where it must. Its errors
	// are those of a connection: the stream is read again later.
	describe func(body []byte, q question) (*tableMap, error)
	// lookup asks the catalog for a table by name; nil when there is none.
	lookup func(table string) (*capture.Table, error)
	// room waits while the sink is busy; nil does not.
	room   func() error
	replay *replay // a prepared transaction to read again, instead of following
	// passage hears how far the stream has come; nil where nobody asks.
	passage *passage

	tables   tableMaps
	maps     map[string]*tableMap // those seen before, by their bytes
	last     mappedTable          // of them, the one that came last
	file     filePlace            // where the stream is
	tx       transaction
	comment  comment
	held     rowsEvent // the one whose rows are handed over
	rows     rowBuffer
	raw      []byte
	change   capture.Change
	inflater inflater
	buf      []byte // for the events of compressed transactions
	limit    int64  // of a change, in bytes; 0 is the default

	reclaimer capture.Reclaimer
}

// transaction is the one that is being read.
type transaction struct {
	capture.Transaction
	open    bool // its id has come, its end has not
	begun   bool // the sink knows it
	xa      bool // its rows wait for an XA COMMIT
	skip    bool // it is not the one that is to be read again
	grouped bool // it has a BEGIN, so that a statement does not end it
	ordinal int
	// statements is how many have ended.
	statements int

	after func(*place) // what its end does to the position
	from  string       // where it can be read again
}

// replay is a prepared transaction that has been committed and is read again, as the error that
// makes the stream start anew, and what that goes by. done says that it has been handed over.
type replay struct {
	from  place
	id    string // of the transaction that was prepared
	head  capture.Transaction
	place place // after the commit
	done  bool
}

func (r *replay) Error() string { return "prepared transaction " + r.id + " is read again" }

// event takes one event, or one in a compressed transaction.
func (d *decoder) event(h header, body []byte) error {
	kind := replication.EventType(h.kind)
	d.file.reach(h.end)
	if !d.tx.open && d.replay == nil {
		d.passage.reach(d.file)
	}
	switch kind {
	case replication.TABLE_MAP_EVENT:
		return d.tableMap(h, body)
	case replication.XID_EVENT:
		return d.commit()
	case replication.QUERY_EVENT:
		return d.query(body, false)
	case replication.MARIADB_QUERY_COMPRESSED_EVENT:
		return d.query(body, true)
	case replication.GTID_EVENT, replication.ANONYMOUS_GTID_EVENT, replication.GTID_TAGGED_LOG_EVENT:
		return d.mysqlHead(kind, h, body)
	case replication.MARIADB_GTID_EVENT:
		return d.mariaHead(h, body)
	case replication.ROWS_QUERY_EVENT:
		return d.statement(body[min(1, len(body)):])
	case replication.MARIADB_ANNOTATE_ROWS_EVENT:
		return d.statement(body)
	case replication.TRANSACTION_PAYLOAD_EVENT:
		return d.payload(h, bytes.NewReader(body))
	case replication.ROTATE_EVENT:
		return d.rotate(body)
	case replication.XA_PREPARE_LOG_EVENT:
		return d.xaPrepare(body)
	case replication.PARTIAL_UPDATE_ROWS_EVENT:
		return d.partialRows(kind, body)
	case replication.EXECUTE_LOAD_QUERY_EVENT:
		return d.parkEvent("", kind, body, errNoRows)
	case replication.FORMAT_DESCRIPTION_EVENT:
		return d.format(h, body)
	case replication.INCIDENT_EVENT:
		return &capture.GapError{Stored: d.at.position(), Text: "the server says that its binlog lost events (an incident event)", Remedy: gapRemedy}
	}
	if opOf(kind) != 0 {
		return d.rowsEvent(kind, h, body)
	}
	if !h.ignorable() && !changesNoRows(kind) {
		return &streamError{what: fmt.Sprintf("an event of type %d, which is not known here and may change rows", h.kind)}
	}
	return nil
}

// changesNoRows knows the types of events that have nothing to tell besides those that
// [decoder.event] takes. The row events of MySQL before 5.1 are not among them, nor is what a newer
// server may have.
func changesNoRows(kind replication.EventType) bool {
	return kind <= replication.TABLE_MAP_EVENT ||
		kind > replication.DELETE_ROWS_EVENTv1 && kind <= replication.GTID_TAGGED_LOG_EVENT ||
		kind >= replication.MARIADB_ANNOTATE_ROWS_EVENT && kind <= replication.MARIADB_START_ENCRYPTION_EVENT
}

// payload takes a compressed transaction, whose events lie in it one after the other.
func (d *decoder) payload(h header, in io.Reader) error {
	d.file.reach(h.end)
	return d.inflater.each(in, func(inner header, events io.Reader, size int) error {
		if d.room != nil {
			if err := d.room(); err != nil {
				return err
			}
		}
		inner.end = 0 // places in the payload mean nothing
		return d.take(inner, events, size)
	})
}

// rotate notes that another file begins.
func (d *decoder) rotate(body []byte) error {
	r := reader{b: body}
	offset := r.uint(8)
	if r.fail {
		return &streamError{what: "rotate event"}
	}
	d.file.name, d.file.offset = string(r.b), offset
	return nil
}

// format notes which file this is: a file of the same name may be another one.
func (d *decoder) format(h header, body []byte) error {
	d.file.created = h.at
	if restarted(body) {
		clear(d.maps) // the server numbers its tables anew
		d.last = mappedTable{}
	}
	if d.replay != nil || !d.at.byFile() || d.file.name != d.at.file.name {
		return nil
	}
	if d.at.file.created != 0 && h.at != 0 && d.at.file.created != h.at {
		return &capture.GapError{Stored: d.at.position(), Remedy: gapRemedy,
			Text: "binlog file " + d.file.name + " is not the one that the stored position is in: it was created at another time"}
	}
	return nil
}

// mysqlHead begins a transaction of MySQL.
func (d *decoder) mysqlHead(kind replication.EventType, h header, body []byte) error {
	id, at, err := parseMySQLHead(kind, body)
	if err != nil {
		return &streamError{what: err.Error()}
	}
	if at.IsZero() {
		at = time.Unix(int64(h.at), 0).UTC()
	}
	start := d.file
	start.offset -= min(uint64(h.size), start.offset)
	if kind == replication.ANONYMOUS_GTID_EVENT && !d.at.byFile() {
		return &capture.OperatorError{Err: errors.New("a transaction without a GTID came: gtid_mode is no longer ON"),
			Remedy: "SET GLOBAL gtid_mode = ON again; `rowhook run --accept-gap` begins after these transactions"}
	}
	if d.at.byFile() {
		return d.head(start.stamped(), capture.Transaction{ID: start.String(), Position: capture.Position(start.String()), Time: at}, start.stamped(), nil)
	}
	name := id.String()
	begins := capture.LogPlace{File: start.name, Offset: start.offset}
	return d.head(name, capture.Transaction{ID: name, Position: capture.Position(name), Time: at, Begins: begins}, name, func(p *place) { p.mysql.add(id) })
}

// Flags of MariaDB's GTID event.
const (
	mariaStandalone = 1
	mariaPreparedXA = 64
)

// mariaHead begins a transaction of MariaDB.
func (d *decoder) mariaHead(h header, body []byte) error {
	r := reader{b: body}
	id := mariaGTID{number: r.uint(8), domain: uint32(r.uint(4))}
	flags := r.byte()
	if r.fail {
		return &streamError{what: "GTID event"}
	}
	id.server = h.server
	name := id.String()
	from := name + "/" + d.at.maria.String()
	tx := capture.Transaction{ID: name, Position: capture.Position(name), Time: time.Unix(int64(h.at), 0).UTC(),
		Begins: capture.LogPlace{File: d.file.name, Offset: d.file.offset - min(uint64(h.size), d.file.offset)}}
	if err := d.head(name, tx, from, func(p *place) { p.maria.add(id) }); err != nil {
		return err
	}
	d.tx.grouped = flags&mariaStandalone == 0
	d.tx.xa = flags&mariaPreparedXA != 0 && d.replay == nil
	return nil
}

// head begins a transaction, which the sink hears of with its first change.
func (d *decoder) head(identity string, tx capture.Transaction, from string, after func(*place)) error {
	if d.tx.open {
		return &streamError{what: "a transaction begins inside another"}
	}
	tx.Identity = identity
	d.comment = comment{text: d.comment.text[:0]}
	d.tx = transaction{Transaction: tx, open: true, from: from, after: after}
	if d.replay != nil {
		d.tx.skip = d.replay.id != identity
		d.tx.Transaction = d.replay.head
	}
	return nil
}

// begin tells the sink of the transaction, once.
func (d *decoder) begin() error {
	if d.tx.begun {
		return nil
	}
	d.tx.begun = true
	d.passage.begin(&d.tx.Transaction)
	if err := d.sink.Begin(&d.tx.Transaction); err != nil {
		return capture.Permanent(err)
	}
	return nil
}

// end is the place after the transaction, which began at p and ends at file. It changes p's sets.
func (tx *transaction) end(p place, file filePlace) place {
	p.file = file
	if p.byFile() {
		return p
	}
	p.file.created = 0
	if tx.after != nil {
		tx.after(&p)
	}
	return p
}

// commit ends the open transaction.
func (d *decoder) commit() error {
	d.tables.empty()
	if d.tx.skip {
		d.tx = transaction{}
		return nil
	}
	if d.replay != nil {
		d.at = d.replay.place
	} else {
		d.at = d.tx.end(d.at, d.file)
	}
	end, begun := d.at.position(), d.tx.begun
	d.passage.end(end, d.at.file) // the sink may ask for it
	d.tx = transaction{}
	var err error
	if begun {
		err = d.sink.Commit(end)
	} else {
		err = d.sink.Idle(end)
	}
	if err != nil {
		if errors.Is(err, capture.ErrAgain) {
			d.takeBack()
		}
		return capture.Permanent(err)
	}
	d.handed = end
	if d.replay != nil {
		d.replay.done = true
		return d.replay
	}
	return nil
}

// takeBack has the position be what it was before a transaction that the sink wants to come again.
func (d *decoder) takeBack() {
	at, err := parsePlace(d.handed)
	if err != nil { // it was written here
		return
	}
	d.at = at
	d.passage.back(d.handed, at.file)
}
