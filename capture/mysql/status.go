package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"rowhook/capture"
)

// binlogFile is one file of the server's binlog.
type binlogFile struct {
	name string
	size int64
}

// Status asks the server how far its binlog is beyond the durable position; empty is none.
func (s *Source) Status(ctx context.Context, durable capture.Position) (capture.Status, error) {
	at, err := parsePlace(durable)
	if err != nil {
		return capture.Status{}, err
	}
	h, db, err := s.reach(ctx)
	if err != nil {
		return capture.Status{}, err
	}
	facts, err := s.identify(ctx, h, db)
	if err != nil {
		return capture.Status{}, err
	}
	files, err := binlogFiles(ctx, db)
	if err != nil {
		return capture.Status{}, fmt.Errorf("ask for the binlog's files: %w", err)
	}
	st := capture.Status{End: facts.End, Binlog: &capture.BinlogStatus{KeepSeconds: int64(facts.KeepFor.Seconds()), LagSeconds: -1, LostInSeconds: -1}}
	for _, f := range files {
		st.Binlog.RetainedBytes += f.size
	}
	if len(files) > 0 {
		st.Binlog.Oldest, st.Binlog.Newest = files[0].name, files[len(files)-1].name
	}
	if at.mysql != nil && facts.purged != nil {
		st.Binlog.Lost = !at.mysql.contains(facts.purged)
	}
	st.LagBytes = lagBytes(files, at.file, facts.end.file)
	switch {
	case at.empty() || st.Binlog.Lost:
	case at.file.name == facts.end.file.name && at.file.offset == facts.end.file.offset: // nothing is missing, so nothing needs to be read to tell how old it is
		st.Binlog.LagSeconds = 0
	default:
		s.addTimes(ctx, h, &facts, &at, files, st.Binlog)
	}
	return st, nil
}

// addTimes tells how old what is missing here is, and how long it is kept. What the server does not
// tell stays unknown.
func (s *Source) addTimes(ctx context.Context, h host, facts *serverFacts, at *place, files []binlogFile, st *capture.BinlogStatus) {
	if oldest, err := s.nextCommit(ctx, h, facts.MariaDB, at); err == nil && oldest.IsZero() {
		st.LagSeconds = 0
	} else if err == nil {
		st.LagSeconds = max(0, int64(time.Since(oldest).Seconds()))
	}
	// A file is removed when it was last written long enough ago, which was when the next one was
	// begun.
	i := slices.IndexFunc(files, func(f binlogFile) bool { return f.name == at.file.name })
	if facts.KeepFor == 0 || i < 0 || i == len(files)-1 {
		return
	}
	if next, err := s.begun(ctx, h, files[i+1].name); err == nil && !next.IsZero() {
		st.LostInSeconds = max(0, int64((facts.KeepFor - time.Since(next)).Seconds()))
	}
}

func binlogFiles(ctx context.Context, db *sql.DB) ([]binlogFile, error) {
	rows, err := db.QueryContext(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || len(columns) < 2 {
		return nil, err
	}
	var files []binlogFile
	for rows.Next() {
		var f binlogFile
		targets := []any{&f.name, &f.size}
		for range columns[2:] {
			targets = append(targets, new(sql.RawBytes))
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	return files, rows.Err()
}

// lagBytes is the binlog between two places, by the files' sizes; 0 where one is unknown.
func lagBytes(files []binlogFile, from, to filePlace) int64 {
	if from.name == "" || to.name == "" {
		return 0
	}
	if from.name == to.name {
		return max(0, int64(to.offset)-int64(from.offset))
	}
	var lag int64
	inside := false
	for _, f := range files {
		switch {
		case f.name == from.name:
			inside, lag = true, f.size-int64(from.offset)
		case inside && f.name == to.name:
			return lag + int64(to.offset)
		case inside:
			lag += f.size
		}
	}
	return 0
}

// errWhole says why a parked event cannot be decoded: it is not one of rows that can be told apart.
var errWhole = errors.New("the binlog does not hold its rows")

// DecodeRaw decodes a parked change again. The change is the caller's to keep. Its
// ordinal is not known here.
func (s *Source) DecodeRaw(ctx context.Context, raw capture.Raw) (*capture.Change, error) {
	flavour, f, body, err := parseRelation(raw.Relation)
	if err != nil || len(raw.Change) == 0 {
		return nil, fmt.Errorf("decode parked change: %w", errWhole)
	}
	h, _, err := s.reach(ctx)
	if err != nil {
		return nil, err
	}
	t, err := s.describe(ctx, h, flavour, f, body, moment{}, question{wanted: true})
	if err != nil {
		return nil, fmt.Errorf("decode parked change: %w", err)
	}
	change, err := decodeParked(t, append([]byte(nil), raw.Change...))
	if err != nil {
		return nil, fmt.Errorf("decode parked change of %s: %w", t.table, err)
	}
	return change, nil
}

func decodeParked(t *tableMap, b []byte) (*capture.Change, error) {
	if err := errors.Join(t.undecodable, t.doubtful); err != nil {
		return nil, err
	}
	e, err := parkedRow(b)
	if err != nil {
		return nil, err
	}
	if e.count != len(t.columns) {
		return nil, fmt.Errorf("%d columns, the table map has %d", e.count, len(t.columns))
	}
	before, after, err := e.next(t)
	if err != nil {
		return nil, err
	}
	op := e.effect(t, before, after)
	if op == 0 {
		return nil, errOldVersion
	}
	change := &capture.Change{Raw: capture.Raw{Relation: t.raw, Change: b}}
	return change, e.decodeRow(t, op, before, after, &rowBuffer{}, change)
}
