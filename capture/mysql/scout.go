package mysql

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"
)

const (
	// scoutID is how our connections that look ahead differ from the others.
	scoutID = 0x08000000
	// scoutMost is for how long a look ahead may keep the stream waiting, whose server bears it for
	// longer.
	scoutMost = 10 * time.Second
	// scoutKeep is how much of statements is kept.
	scoutKeep = 4 << 20
)

// scout reads MariaDB's binlog ahead of the stream for statements that may change tables. The
// catalog is of the time when it was asked: what it tells of a table holds for a row that is being
// read if no statement has named the table in between.
type scout struct {
	source     *Source
	statements []aheadStatement
	size       int      // of the statements
	reached    mariaSet // to where the binlog has been read; nil for nowhere
	full       bool     // there were too many statements to keep
	// doubt is the last statement for which a table may not be what the catalog told, since it was
	// asked; nil for none.
	doubt *mariaGTID
}

// aheadStatement is a statement that may change tables.
type aheadStatement struct {
	id             mariaGTID
	database, text string // in which it was run
}

// unchanged reports whether no statement behind a place of the stream has named the table, whose
// definition was changed last at a time; zero is not known. The transaction at the place, in which
// a table may have been made, does not count. It is false when that takes too long to find out.
func (s *scout) unchanged(ctx context.Context, h host, at mariaSet, transaction string, m *rawTableMap, last time.Time) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, scoutMost)
	defer cancel()
	s.statements = slices.DeleteFunc(s.statements, func(a aheadStatement) bool { return at.contains(mariaSet{a.id.domain: a.id}) })
	if at == nil {
		return false, nil
	}
	from := place{maria: at}
	if s.reached != nil && s.reached.contains(at) {
		from.maria = s.reached
	}
	var until time.Time
	if !last.IsZero() {
		until = last.Add(clockMargin)
	}
	end, err := s.source.mariaEnd(ctx, h)
	if err != nil {
		return false, err
	}
	whole, err := s.read(ctx, h, from.clone(), until, end)
	var refused *gomysql.MyError
	if errors.As(err, &refused) || ctx.Err() != nil {
		return false, nil // the stream meets it too, if it is more than that
	}
	if err != nil || !whole || s.full {
		return false, err
	}
	for _, a := range s.statements {
		if a.id.String() != transaction && a.mayChange(string(m.schema), string(m.name)) {
			s.doubt = &mariaGTID{a.id.domain, a.id.server, a.id.number}
		}
	}
	return s.doubt == nil, nil
}

// read reads on from a place up to the binlog's end, or to what was written after until; whole is
// false when neither was reached. The end is where the binlog ended before: a server that is told to
// kill the connection says that it has no more to send, as at the end.
func (s *scout) read(ctx context.Context, h host, from place, until time.Time, end mariaSet) (whole bool, err error) {
	d, err := s.source.openDump(ctx, h, request{mariaDB: true, serverID: s.source.serverID ^ scoutID, from: &from, once: true})
	if err != nil {
		return false, err
	}
	defer s.source.kill(ctx, h, d.conn.GetConnectionID())
	defer d.close()
	defer context.AfterFunc(ctx, d.close)()
	s.reached = from.maria
	var id mariaGTID
	inside := false
	for {
		head, err := d.next()
		if errors.Is(err, errEnded) {
			if inside {
				s.reached.add(id)
			}
			return s.reached.contains(end), nil
		}
		if err != nil {
			return false, err
		}
		kind := replication.EventType(head.kind)
		if !slices.Contains(scoutEvents, kind) {
			if _, err := io.Copy(io.Discard, &d.in); err != nil {
				return false, err
			}
			continue
		}
		body, err := d.body(head)
		if err != nil {
			return false, err
		}
		switch kind {
		case replication.MARIADB_GTID_EVENT:
			if inside {
				s.reached.add(id)
			}
			r := reader{b: body}
			id, inside = mariaGTID{number: r.uint(8), domain: uint32(r.uint(4)), server: head.server}, true
			if !until.IsZero() && int64(head.at) > until.Unix() {
				return true, nil
			}
		case replication.QUERY_EVENT, replication.MARIADB_QUERY_COMPRESSED_EVENT:
			q, err := parseQuery(body, kind == replication.MARIADB_QUERY_COMPRESSED_EVENT)
			if err != nil {
				return false, err
			}
			s.keep(id, &q)
		}
	}
}

// mariaEnd is where the server's binlog ends now.
func (s *Source) mariaEnd(ctx context.Context, h host) (mariaSet, error) {
	db, err := s.pool(h)
	if err != nil {
		return nil, err
	}
	var end string
	if err := db.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_binlog_pos").Scan(&end); err != nil {
		return nil, fmt.Errorf("ask where the binlog ends: %w", err)
	}
	return parseMariaSet(end)
}

// scoutEvents are the events that a scout looks into.
var scoutEvents = []replication.EventType{replication.FORMAT_DESCRIPTION_EVENT, replication.MARIADB_GTID_EVENT,
	replication.QUERY_EVENT, replication.MARIADB_QUERY_COMPRESSED_EVENT}

// keep notes a statement that is not one of rows or of transactions.
func (s *scout) keep(id mariaGTID, q *queryEvent) {
	if s.full || slices.Contains(quietWords, q.firstWord()) {
		return
	}
	s.size += len(q.text)
	if s.full = s.size > scoutKeep; s.full {
		s.statements = nil
		return
	}
	s.statements = append(s.statements, aheadStatement{id, q.database, string(q.text)})
}

// quietWords begin statements that leave the definitions of tables alone.
var quietWords = []string{"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "XA", "TRUNCATE", "INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD"}

// mayChange reports whether a statement may change a table: whether it names the table, and its
// database or was run in it.
func (a *aheadStatement) mayChange(schema, table string) bool {
	return hasWord(a.text, table) && (strings.EqualFold(a.database, schema) || hasWord(a.text, schema))
}

// hasWord reports whether a statement may have a name as a word. What a name of other characters
// looks like there hangs on quotes and on the client's charset.
func hasWord(text, name string) bool {
	if strings.ContainsFunc(name, func(c rune) bool { return c >= 0x80 || !isNameByte(byte(c)) }) {
		return true
	}
	text, name = strings.ToLower(text), strings.ToLower(name)
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return false
		}
		begin, end := from+i, from+i+len(name)
		if (begin == 0 || !isNameByte(text[begin-1])) && (end == len(text) || !isNameByte(text[end])) {
			return true
		}
		from = begin + 1
	}
}
