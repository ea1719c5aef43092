package mysql

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"

	"rowhook/capture"
)

// parseMySQLHead reads MySQL's GTID event: whose transaction it is, and when it was
// committed where it was first.
func parseMySQLHead(kind replication.EventType, body []byte) (id gtid, at time.Time, err error) {
	defer func() {
		if recover() != nil { // the library trusts lengths
			err = errors.New("GTID event")
		}
	}()
	var e replication.GtidTaggedLogEvent
	if kind == replication.GTID_TAGGED_LOG_EVENT {
		err = e.Decode(body)
	} else {
		err = e.GTIDEvent.Decode(body)
	}
	if err != nil || len(e.SID) != 16 || kind != replication.ANONYMOUS_GTID_EVENT && e.GNO < 1 {
		return id, at, errors.New("GTID event")
	}
	micros := e.OriginalCommitTimestamp
	if micros == 0 {
		micros = e.ImmediateCommitTimestamp
	}
	if micros != 0 {
		at = time.UnixMicro(int64(micros)).UTC()
	}
	return gtid{sid{[16]byte(e.SID), e.Tag}, e.GNO}, at, nil
}

// queryEvent is a statement with what it was run in.
type queryEvent struct {
	text     []byte
	database string
	how      dialect
}

func parseQuery(body []byte, packed bool) (q queryEvent, err error) {
	r := reader{b: body}
	r.take(8) // thread, duration
	schema := int(r.byte())
	r.uint(2) // error
	q.how = dialectOf(r.take(int(r.uint(2))))
	q.database = string(r.take(schema))
	r.byte()
	if r.fail {
		return q, &streamError{what: "query event"}
	}
	q.text = r.b
	if packed {
		if q.text, err = inflateStatement(q.text); err != nil {
			return q, &streamError{what: "query event: " + err.Error()}
		}
	}
	return q, nil
}

// firstWord is the statement's first word in capitals.
func (q *queryEvent) firstWord() string { return strings.ToUpper(newParser(q.text, q.how, true).word) }

// query takes a statement: the ends of transactions, and what is not logged as rows.
func (d *decoder) query(body []byte, packed bool) error {
	q, err := parseQuery(body, packed)
	if err != nil {
		return err
	}
	text := q.text
	if string(text) == "BEGIN" { // as the servers write it themselves
		d.tx.grouped = true
		return nil
	}
	switch q.firstWord() {
	case "BEGIN":
		d.tx.grouped = true
		return nil
	case "COMMIT":
		return d.commit()
	case "ROLLBACK":
		return d.rollback(text)
	case "SAVEPOINT":
		return nil
	case "XA":
		return d.xaQuery(text)
	}
	if d.tx.skip {
		return nil
	}
	if definer, ok := d.sink.(capture.Definer); ok {
		if err := definer.Defines(q.database, text); err != nil {
			return sinkResult(err)
		}
	}
	if bytes.HasSuffix(bytes.TrimSpace(text), []byte("START TRANSACTION")) { // CREATE TABLE ... SELECT, whose rows follow
		d.tx.grouped = true
	} else if err := d.apply(judge(q.database, text, q.how), body); err != nil {
		return err
	}
	if d.tx.open && !d.tx.grouped {
		return d.commit()
	}
	return nil
}

// apply takes what a statement does.
func (d *decoder) apply(j judged, body []byte) error {
	switch j.effect {
	case nothing, harmless:
		return nil
	case truncates:
		return d.truncate(j.schema, j.name, body)
	}
	return d.statementChange(j.schema, j.name, body)
}

// rollback ends a transaction that came to nothing. Going back to a savepoint is in the binlog only
// when tables without transactions were changed too; what it undoes cannot be told.
func (d *decoder) rollback(text []byte) error {
	if words := bytes.Fields(text); len(words) > 1 {
		return &capture.OperatorError{
			Err:    fmt.Errorf("transaction %s goes back to a savepoint after changing tables without transactions", d.tx.ID),
			Remedy: "rowhook cannot tell what it undid. Do not mix MyISAM with InnoDB in one transaction; `rowhook run --start now` with a new state directory begins after it"}
	}
	if d.tx.begun {
		d.sink.Abort()
		d.tx.begun = false
	}
	return d.commit()
}

// errStatement says why a change that was logged as a statement is no change of rows.
var errStatement = errors.New("the change is in the binlog as a statement, not as rows: the session's binlog_format was not ROW")

// statementChange parks a statement that changes rows of a table; an empty name is any.
func (d *decoder) statementChange(schema, name string, body []byte) error {
	if name != "" && !d.mapped(schema, name) {
		return nil
	}
	table := ""
	if name != "" {
		table = schema + "." + name
	}
	return d.parkEvent(table, replication.QUERY_EVENT, body, errStatement)
}

// truncate tells of a TRUNCATE, of the table as the stream or else the catalog describes it.
func (d *decoder) truncate(schema, name string, body []byte) error {
	table := &capture.Table{Schema: schema, Name: name, Identity: capture.IdentityFull}
	if d.tx.xa || !d.mapped(schema, name) {
		return nil
	}
	if known := d.known(schema, name); known != nil {
		table = known
	} else if found, err := d.lookup(table.String()); err != nil {
		return fmt.Errorf("describe %s: %w", table, err)
	} else if found != nil {
		table = found
	}
	if err := d.begin(); err != nil {
		return err
	}
	d.change = capture.Change{Op: capture.Truncate, Table: table, Ordinal: d.tx.ordinal,
		Raw: capture.Raw{Change: append([]byte{byte(replication.QUERY_EVENT)}, body...)}}
	d.tx.ordinal++
	return sinkResult(d.sink.Change(&d.change))
}

// known returns a table that the stream has described; nil when it has not.
func (d *decoder) known(schema, name string) *capture.Table {
	for _, t := range d.maps {
		if t.table.Schema == schema && t.table.Name == name && t.undecodable == nil {
			return t.table
		}
	}
	return nil
}

// xaQuery takes the statements of XA transactions.
func (d *decoder) xaQuery(text []byte) error {
	words := bytes.Fields(text)
	if len(words) < 3 {
		return nil
	}
	verb := strings.ToUpper(string(words[1]))
	switch verb {
	case "START":
		d.tx.grouped, d.tx.xa = true, d.replay == nil
		return nil
	case "COMMIT", "ROLLBACK":
	default:
		return nil
	}
	if d.tx.skip {
		return d.commit()
	}
	xid, ok := parseXID(string(bytes.Join(words[2:], nil)))
	if !ok {
		return &streamError{what: "XA " + verb}
	}
	after := d.at.clone()
	waiting, known := after.take(xid)
	switch {
	case !known && verb == "COMMIT":
		d.log.Warn("an XA transaction was committed that was prepared before rowhook's first start: its changes are not delivered", "transaction", d.tx.ID)
	case verb == "COMMIT":
		return d.again(waiting.from, after)
	case known:
		d.at = after
	}
	return d.commit()
}

// xaPrepare ends an XA transaction's rows. One phase means that it is committed.
func (d *decoder) xaPrepare(body []byte) error {
	r := reader{b: body}
	onePhase := r.byte() != 0
	format, global, branch := r.uint(4), int(r.uint(4)), int(r.uint(4))
	xid := hex.EncodeToString(r.take(global)) + "." + hex.EncodeToString(r.take(branch)) + "." + fmt.Sprint(format)
	if r.fail {
		return &streamError{what: "XA prepare event"}
	}
	switch {
	case d.replay != nil || d.tx.skip || !d.tx.open:
		return d.commit()
	case onePhase:
		return d.again(d.tx.from, d.at.clone())
	}
	d.at.prepared = append(d.at.prepared, prepared{xid, d.tx.from})
	return d.commit()
}

// again makes the stream start anew where a prepared transaction lies, to hand its rows over as
// the open transaction's. Until that is done, the position stays: after is what it becomes.
func (d *decoder) again(from string, after place) error {
	a := &replay{id: from, head: d.tx.Transaction}
	switch {
	case d.at.byFile():
		at, err := parseStamped(from)
		if err != nil {
			return &streamError{what: err.Error()}
		}
		a.from = place{server: d.at.server, file: at}
	case d.at.maria != nil:
		id, before, _ := strings.Cut(from, "/")
		set, err := parseMariaSet(before)
		if err != nil {
			return &streamError{what: err.Error()}
		}
		a.id, a.from = id, place{maria: set}
	default:
		set, err := parseMySQLSet(from)
		if err != nil {
			return &streamError{what: err.Error()}
		}
		a.from = place{mysql: d.at.mysql.clone()}
		for s, list := range set {
			a.from.mysql.remove(gtid{s, list[0].from})
		}
	}
	a.place = d.tx.end(after, d.file)
	return a
}
