package mysql

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
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

// query takes a statement: the ends of transactions, and what is not logged as rows.
func (d *decoder) query(body []byte, packed bool) error {
	r := reader{b: body}
	r.take(8) // thread, duration
	schema := int(r.byte())
	r.uint(2) // error
	r.take(int(r.uint(2)))
	database := string(r.take(schema))
	r.byte()
	if r.fail {
		return &streamError{what: "query event"}
	}
	text := r.b
	if packed {
		var err error
		if text, err = inflate(text); err != nil {
			return &streamError{what: "query event: " + err.Error()}
		}
	}
	word := firstWord(text)
	switch word {
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
	switch {
	case slices.Contains(changingWords, word) || word == "CREATE" && fillsTable(text):
		if err := d.statementChange(database, text, body); err != nil {
			return err
		}
	case word == "TRUNCATE":
		if err := d.truncate(database, text, body); err != nil {
			return err
		}
	case bytes.HasSuffix(bytes.TrimSpace(text), []byte("START TRANSACTION")): // CREATE TABLE ... SELECT
		d.tx.grouped = true
	}
	if d.tx.open && !d.tx.grouped {
		return d.commit()
	}
	return nil
}

// changingWords begin statements that change rows. SELECT is in the binlog where it calls a function that does.
var changingWords = []string{"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "SELECT", "DO"}

// fillsTable reports whether a CREATE is a CREATE TABLE ... SELECT that was logged as a statement; logged as rows it ends
// otherwise.
func fillsTable(text []byte) bool {
	if bytes.HasSuffix(bytes.TrimSpace(text), []byte("START TRANSACTION")) {
		return false
	}
	words := tokens(skipComments(text), 512)
	isWord := func(word string) func(string) bool {
		return func(s string) bool { return strings.EqualFold(s, word) }
	}
	table := slices.IndexFunc(words, isWord("TABLE"))
	return table > 0 && table <= 4 && slices.ContainsFunc(words[table:], isWord("SELECT"))
}

// firstWord returns a statement's first word, behind its comments, in capitals.
func firstWord(text []byte) string {
	text = skipComments(text)
	n := bytes.IndexFunc(text, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') })
	if n < 0 {
		n = len(text)
	}
	return strings.ToUpper(string(text[:n]))
}

func skipComments(text []byte) []byte {
	for {
		text = bytes.TrimLeft(text, " \t\r\n;(")
		switch {
		case bytes.HasPrefix(text, []byte("/*")):
			_, rest, ok := bytes.Cut(text[2:], []byte("*/"))
			if !ok {
				return nil
			}
			text = rest
		case bytes.HasPrefix(text, []byte("-- ")), bytes.HasPrefix(text, []byte("#")):
			_, text, _ = bytes.Cut(text, []byte("\n"))
		default:
			return text
		}
	}
}

// rollback ends a transaction that came to nothing. Going back to a savepoint is
// in the binlog only when tables without transactions were changed too; what it undoes cannot be told.
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

// statementChange parks a statement that changes rows.
func (d *decoder) statementChange(database string, text, body []byte) error {
	schema, name := targetOf(database, text)
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
func (d *decoder) truncate(database string, text, body []byte) error {
	schema, name := targetOf(database, text)
	table := &capture.Table{Schema: schema, Name: name, Identity: capture.IdentityFull}
	if name == "" || d.tx.xa || !d.mapped(schema, name) {
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

// targetOf finds the table that a plain statement changes; name is empty where it is not plain, so that it may be any.
func targetOf(database string, text []byte) (schema, name string) {
	words := tokens(skipComments(text), 256)
	if len(words) == 0 || slices.Contains([]string{"WITH", "SELECT", "DO", "LOAD"}, strings.ToUpper(words[0])) {
		return "", ""
	}
	if several(words) {
		return "", ""
	}
	skip := []string{"INSERT", "UPDATE", "DELETE", "REPLACE", "TRUNCATE", "TABLE", "INTO", "FROM", "IGNORE", "LOW_PRIORITY", "QUICK", "DELAYED", "HIGH_PRIORITY",
		"CREATE", "OR", "IF", "NOT", "EXISTS"}
	for len(words) > 0 && slices.Contains(skip, strings.ToUpper(words[0])) {
		words = words[1:]
	}
	if len(words) == 0 || !isName(words[0]) {
		return "", ""
	}
	if len(words) >= 3 && words[1] == "." {
		return unquote(words[0]), unquote(words[2])
	}
	return database, unquote(words[0])
}

// several reports whether an UPDATE or DELETE names more than one table: any of them may change.
func several(words []string) bool {
	end := "SET"
	switch strings.ToUpper(words[0]) {
	case "UPDATE":
	case "DELETE":
		end = "WHERE"
	default:
		return false
	}
	for _, word := range words {
		switch strings.ToUpper(word) {
		case end:
			return false
		case ",", "JOIN", "STRAIGHT_JOIN", "USING":
			return true
		}
	}
	return false
}

// tokens splits the beginning of a statement into names and single characters.
func tokens(text []byte, most int) []string {
	var list []string
	for len(text) > 0 && len(list) < most {
		switch c := text[0]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			text = text[1:]
		case c == '`':
			end := bytes.IndexByte(text[1:], '`')
			if end < 0 {
				return list
			}
			list, text = append(list, string(text[:end+2])), text[end+2:]
		case isNameByte(c):
			n := 0
			for n < len(text) && isNameByte(text[n]) {
				n++
			}
			list, text = append(list, string(text[:n])), text[n:]
		default:
			list, text = append(list, string(text[:1])), text[1:]
		}
	}
	return list
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || isDigit(c) || c == '_' || c == '$' || c >= 0x80
}

func isName(s string) bool { return s[0] == '`' || isNameByte(s[0]) }

func unquote(s string) string { return strings.Trim(s, "`") }

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
