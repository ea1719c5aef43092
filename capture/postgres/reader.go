package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
)

// Reading rows beside the stream.
//
// A row that was read stands in the stream behind every transaction that the read has seen, and
// before every one that it has not: an older state never follows a newer one. Neither can be told
// by an LSN alone. A transaction is in the WAL, and may have been decoded and delivered, before a
// snapshot sees it: its commit record is written and flushed first (RecordTransactionCommit), then
// it waits for synchronous standbys, for ever if need be (SyncRepWaitForLSN), and only then does it
// leave the list of those that run (ProcArrayEndTransaction). So each chunk is read in one
// REPEATABLE READ transaction that tells its own snapshot:
//
//   - What it has seen is exactly what pg_current_snapshot says: xids from xmax on, and those listed,
//     it has not. The stream's Begin has the top-level xid, and so has the list; xids there have 32
//     bits, the lower ones of the snapshot's.
//   - All of that has come once the stream is at the mark. That is the WAL's insert position, read
//     after the snapshot was taken: the commit records of asynchronous commits are visible before
//     they are flushed, and are not in any flush position.
//   - For one row, what is seen is a beginning of what is committed: who changes a row waits for the
//     row's lock, which its former writer keeps until after it has become visible. So the row belongs
//     before the first transaction that changed it and is not seen, wherever the mark is.
//   - What the stream brought before anybody kept a list of it may still be invisible.
//     [Reader.Settle] waits for it: whoever runs holds the lock of its own xid, which pg_locks shows
//     to every role.
//
// The insert position may lie behind pages that nobody flushes for long on a quiet server (hint bits
// under checksums). Asynchronous commits are flushed by the WAL writer within three of its delays, so
// that after these the flush position does as a mark, if two looks a delay apart find the writer not
// behind.
//
// A standby replays commits one by one, and its snapshots list no xids (all of them are in the list
// of subtransactions, which the function leaves out). There a transaction whose commit record lies
// before the replay position that was read before the snapshot is seen, one behind what the standby
// has received is not, and those in between are unclear.
//
// The session's output settings are the stream's, and so is the encoding, so that the same value
// has the same text. The stream's server and the reader's are the same one: a reader that reached
// another of several hosts is refused by the time its server started.

const (
	// readTimeout bounds one chunk's statement, and a third of it the wait for the table's lock.
	readTimeout = 30 * time.Second
	// readBytes is what a chunk should have, readMost what of it is kept at most, but for one row.
	readBytes = 512 << 10
	readMost  = 4 << 20
	// readFirst is how many rows are read while nobody knows how large they are.
	readFirst = 100
	// settleGrace is how long a transaction that runs may have been committed without being seen,
	// where no synchronous standby is waited for: it takes microseconds.
	settleGrace = 2 * time.Second
	// settleEvery is how long is waited between two looks at first, and settleRarely after the grace.
	settleEvery  = 5 * time.Millisecond
	settleRarely = time.Second
	// walWriterDelays is after how many of its delays the WAL writer has flushed asynchronous
	// commits.
	walWriterDelays = 3
)

// readerPinned are the settings of a reader's session. Without row_security = off, policies would
// take rows away silently; with it the server refuses.
const readerPinned = pinned + `;
set jit = off;
set row_security = off;
set standard_conforming_strings = on`

// Reader reads rows beside the stream. It is used by one goroutine.
type Reader struct {
	source  *Source
	query   *querier // of the characters' look-ups
	conn    *pgx.Conn
	reached string // the instance that conn has reached
	texts   *encoding
	name    string // of the session's encoding
	plans   map[string]*readPlan
	standby bool
	timeout time.Duration
	flush   time.Duration // after which the WAL writer has flushed asynchronous commits
	wal     walSizes
}

var _ capture.Reader = (*Reader)(nil)

// Reader returns a reader. It does not connect.
func (s *Source) Reader() capture.Reader {
	return &Reader{source: s, query: s.newQuerier(queryTimeout), plans: map[string]*readPlan{}, timeout: readTimeout}
}

// Close ends the reader's connections.
func (r *Reader) Close() {
	r.drop()
	r.query.close()
}

func (r *Reader) drop() {
	if r.conn != nil {
		closeNow(r.conn.PgConn())
		r.conn = nil
	}
}

// errElsewhere says that the reader's server is not the stream's.
var errElsewhere = errors.New("the connection for reading has reached another server than the stream's")

// session returns a connection to the server that the stream comes from.
func (r *Reader) session(ctx context.Context) (*pgconn.PgConn, error) {
	want := r.source.instance.Load()
	if want == nil {
		return nil, errors.New("the stream has not begun: `rowhook status` tells what the agent waits for")
	}
	if r.conn != nil && !r.conn.IsClosed() && r.reached == *want {
		return r.conn.PgConn(), nil
	}
	r.drop()
	config := r.source.connect.Copy()
	config.AfterConnect = pin(readerPinned + fmt.Sprintf("; set statement_timeout = %d; set lock_timeout = %d", r.timeout.Milliseconds(), r.timeout.Milliseconds()/3))
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, r.source.refused(fmt.Errorf("connect to read rows: %w", err))
	}
	r.conn = conn
	if err = r.acquaint(ctx, conn.PgConn()); err == nil && r.reached != *want {
		err = errElsewhere
	}
	if err != nil {
		r.drop()
		return nil, err
	}
	return conn.PgConn(), nil
}

// acquaint learns which server it is, and sets the session's encoding to the stream's.
func (r *Reader) acquaint(ctx context.Context, conn *pgconn.PgConn) error {
	got, err := rows(ctx, conn, `select pg_catalog.current_setting('server_encoding'),
  pg_catalog.max(setting) filter (where name = 'wal_writer_delay'),
  pg_catalog.max(setting) filter (where name = 'wal_block_size'),
  pg_catalog.max(setting) filter (where name = 'wal_segment_size'), pg_catalog.pg_is_in_recovery(), (`+instanceSQL+`) from pg_catalog.pg_settings`)
	if err != nil {
		return fmt.Errorf("ask for the server's settings: %w", err)
	}
	r.name, r.standby, r.reached = string(got[0][0]), string(got[0][4]) == "t", string(got[0][5])
	var numbers [3]uint64
	for i := range numbers {
		if numbers[i], err = strconv.ParseUint(string(got[0][i+1]), 10, 64); err != nil || numbers[i] == 0 {
			return fmt.Errorf("read the server's settings: %w", orShort(err))
		}
	}
	r.flush = walWriterDelays * time.Duration(numbers[0]) * time.Millisecond
	r.wal = walSizes{page: numbers[1], segment: numbers[2]}
	if r.texts == nil || r.texts.name != r.name {
		r.texts = newEncoding(r.name, nil)
	}
	if name := clientEncoding(r.name); name != encodingUTF8 {
		if _, err := conn.Exec(ctx, "set client_encoding = "+quoteLiteral(name)).ReadAll(); err != nil {
			return fmt.Errorf("ask for the database's own encoding %s: %w", name, err)
		}
	}
	return nil
}

// instanceSQL tells one start of a server from all others.
const instanceSQL = `select extract(epoch from pg_catalog.pg_postmaster_start_time())::text`

// markSQL tells the snapshot, the mark, which server it is, and what the table's columns are.
const markSQL = `select pg_catalog.pg_current_snapshot()::text,
  case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_insert_lsn() end::text,
  case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_receive_lsn() end::text, (` + instanceSQL + `), (%s)`

// replayedSQL is a standby's position before the snapshot is taken; NULL on a primary.
const replayedSQL = `select case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() end::text`

// Read implements [capture.Reader].
func (r *Reader) Read(ctx context.Context, what *capture.ReadRequest) (*capture.Chunk, error) {
	plan := r.plans[what.Table]
	for attempt := 0; ; attempt++ {
		if plan == nil {
			var err error
			if plan, err = r.describe(ctx, what.Table); err != nil {
				return nil, err
			}
		}
		chunk, err := r.read(ctx, plan, what)
		var answer *pgconn.PgError
		switch {
		case err == nil && chunk == nil, errors.As(err, &answer) && (answer.Code == "42703" || answer.Code == "42P01"):
			// The table's columns have changed, or it is another one.
			if delete(r.plans, what.Table); attempt > 2 {
				return nil, orShort(err)
			}
			if plan, err = r.describe(ctx, what.Table); err != nil {
				return nil, err
			}
		case answer != nil && answer.Code == "57014" && ctx.Err() == nil: // statement_timeout
			limit := plan.limitOf(what)
			if plan.limit = max(1, limit/4); limit > 1 {
				continue
			}
			if len(what.Where) == 0 && plan.filter == "" {
				return nil, err
			}
			return nil, plan.noIndex(what, err)
		case answer != nil && answer.Code == "55P03":
			return nil, fmt.Errorf("another session keeps table %s locked: %w", what.Table, err)
		case answer != nil && answer.Code == "42501":
			return nil, &capture.OperatorError{Err: fmt.Errorf("read table %s: %w", what.Table, err),
				Remedy: "the role needs SELECT on the table, and BYPASSRLS or no policies where row-level security is on"}
		default:
			return chunk, err
		}
	}
}

// limitOf is how many rows are read at once.
func (p *readPlan) limitOf(what *capture.ReadRequest) int {
	switch {
	case what.Keys != nil:
		return min(p.limit, len(what.Keys))
	case what.Limit > 0:
		return min(p.limit, what.Limit)
	}
	return p.limit
}

// noIndex says that even a single row takes too long to be found.
func (p *readPlan) noIndex(what *capture.ReadRequest, err error) error {
	if len(what.Where) == 0 {
		return &capture.OperatorError{Err: err, Remedy: "the publication's row filter leaves out so much of the table that its next row is not found in time: an index whose condition is that filter helps, on the key's columns"}
	}
	var columns []string
	for _, w := range what.Where {
		columns = append(columns, quoteIdent(w.Column))
	}
	for _, i := range p.table.Key {
		if name := quoteIdent(p.table.Columns[i].Name); !slices.Contains(columns, name) {
			columns = append(columns, name)
		}
	}
	return &capture.OperatorError{Err: err, Remedy: fmt.Sprintf("CREATE INDEX CONCURRENTLY ON %s (%s); -- then resume the backfill", strings.TrimPrefix(p.plain.from, "only "), strings.Join(columns, ", "))}
}

// read reads one chunk in one transaction. The chunk is nil where the table is not as the plan has
// it.
func (r *Reader) read(ctx context.Context, plan *readPlan, what *capture.ReadRequest) (*capture.Chunk, error) {
	limit := plan.limitOf(what)
	conn, err := r.session(ctx)
	if err != nil {
		return nil, err
	}
	if r.texts != nil {
		r.texts.convert = converter(ctx, r.query, r.name)
	}
	sql, err := plan.sql(what, limit, r.texts != nil)
	if err != nil {
		return nil, err
	}
	chunk, err := r.transact(ctx, conn, plan, sql)
	if err != nil || chunk == nil {
		r.drop() // with whatever is left of the transaction
		var operator *capture.OperatorError
		var answer *pgconn.PgError
		if errors.As(err, &answer) {
			err = serverWords(answer)
		}
		if err != nil && !errors.As(err, &operator) {
			err = fmt.Errorf("read table %s: %w", what.Table, err)
		}
		return nil, err
	}
	chunk.More = chunk.More || len(chunk.Rows) == limit && (what.Keys == nil || limit < len(what.Keys))
	if n := len(chunk.Rows); n > 0 && what.Keys == nil {
		bytes := 0
		for _, row := range chunk.Rows {
			bytes += row.Size()
		}
		plan.limit = max(1, min(1000, readBytes*n/max(bytes, 1), 4*limit))
	}
	return chunk, nil
}

// transact runs the transaction of one chunk.
func (r *Reader) transact(ctx context.Context, conn *pgconn.PgConn, plan *readPlan, sql string) (*capture.Chunk, error) {
	replayed, err := r.replayed(ctx, conn)
	if err != nil {
		return nil, err
	}
	// The lock comes before the snapshot: a table that was rewritten by whoever held it looks empty to
	// an older one. LOCK TABLE takes no snapshot itself.
	batch := "begin isolation level repeatable read read only; lock table " + plan.names(r.texts != nil).from + " in access share mode; " +
		fmt.Sprintf(markSQL, plan.ask) + "; " + sql + "; commit"
	results := conn.Exec(ctx, batch)
	defer results.Close()
	chunk := &capture.Chunk{Table: plan.table, Time: time.Now()}
	for range 2 { // begin, lock
		if err := skipResult(results); err != nil {
			return nil, err
		}
	}
	var seen *sight
	misfit := false
	err = oneRow(results, func(v [][]byte) (err error) {
		if want := r.source.instance.Load(); want == nil || string(v[3]) != *want {
			return errElsewhere
		}
		misfit = string(v[4]) != plan.print
		seen, err = newSight(string(v[0]), string(v[1]), string(v[2]), replayed)
		return err
	})
	if err != nil || misfit {
		return nil, err
	}
	if !results.NextResult() {
		return nil, orShort(results.Close())
	}
	if err := r.takeRows(results.ResultReader(), plan, chunk); err != nil {
		return nil, err
	}
	seen.reader, seen.taken = r, time.Now()
	seen.mark.Store(uint64(r.wal.endOf(pglogrepl.LSN(seen.mark.Load()))))
	chunk.Snapshot = seen
	return chunk, results.Close()
}

// replayed is a standby's position; empty on a primary. It is asked for before the transaction: in
// one message with it, the statement would have taken the snapshot.
func (r *Reader) replayed(ctx context.Context, conn *pgconn.PgConn) (string, error) {
	if !r.standby {
		return "", nil
	}
	got, err := rows(ctx, conn, replayedSQL)
	if err != nil {
		return "", err
	}
	return string(got[0][0]), nil
}

// oneRow takes a statement's only row.
func oneRow(results *pgconn.MultiResultReader, take func([][]byte) error) error {
	if !results.NextResult() {
		return orShort(results.Close())
	}
	one := results.ResultReader()
	if !one.NextRow() {
		_, err := one.Close()
		return orShort(err)
	}
	err := take(one.Values())
	if _, cerr := one.Close(); err == nil {
		err = cerr
	}
	return err
}

func skipResult(results *pgconn.MultiResultReader) error {
	if !results.NextResult() {
		return orShort(results.Close())
	}
	_, err := results.ResultReader().Close()
	return err
}

// takeRows copies rows, as many as memory is meant for.
func (r *Reader) takeRows(result *pgconn.ResultReader, plan *readPlan, chunk *capture.Chunk) error {
	bytes := 0
	buffer := rowBuffer{}
	var broken error
	for result.NextRow() {
		values := result.Values()
		if chunk.More || broken != nil {
			continue // read past
		}
		row := make(capture.Row, len(values))
		for i, v := range values {
			if v == nil {
				row[i].State = capture.Null
				continue
			}
			row[i] = capture.Value{State: capture.Present, Text: slices.Clone(v)}
			if row[i].Text == nil {
				row[i].Text = []byte{}
			}
			if r.texts != nil {
				buffer.text = nil
				if row[i].Text, broken = buffer.transcode(r.texts, row[i].Text); broken != nil {
					break
				}
			}
		}
		if bytes += row.Size(); bytes > readMost && len(chunk.Rows) > 0 {
			chunk.More = true
			continue
		}
		chunk.Rows = append(chunk.Rows, row)
	}
	_, err := result.Close()
	if broken != nil {
		return broken
	}
	return err
}
