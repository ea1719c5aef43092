package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"rowhook/capture"
)

// Reading rows beside the stream.
//
// A row that was read stands in the stream behind every transaction that the read has seen, and
// before every one that it has not. A transaction is in the binlog, and may have been sent to us,
// before others see it: the group commit writes and syncs it first, waits for a semi-synchronous
// replica (AFTER_SYNC), and only then commits in the engine. So a place in the binlog alone tells
// nothing. Each chunk is read in one transaction of InnoDB that begins WITH CONSISTENT SNAPSHOT:
//
//   - MySQL adds a transaction to gtid_executed after the engine has committed it (the commit stage
//     calls ha_commit_low for the group and then Gtid_state::update_commit_group): what is there
//     before the snapshot is taken has been seen. What is seen has been written to the binlog before:
//     from where that ends, after the snapshot was taken, nothing has been seen. A transaction in
//     between is unclear, and a row that it changed is read again. Without GTIDs nothing tells the
//     lower bound, and the reader refuses.
//   - MariaDB takes the snapshot of the engine and of the binlog at once, and says where in the binlog
//     it is (the status variables binlog_snapshot_file and binlog_snapshot_position): what begins
//     before has been seen, all else has not.
//   - For one row, what is seen is a beginning of what is committed: who changes a row waits for its
//     former writer's lock, which is kept until the engine has committed.
//
// Texts come in their column's charset (character_set_results = NULL) and are decoded as the
// stream's are. What the text protocol writes in another way than the stream is written anew.

const (
	// readTimeout bounds one chunk's statement.
	readTimeout = 30 * time.Second
	// readBytes is what a chunk should have, readMost what of it is kept at most, but for one row.
	readBytes = 512 << 10
	readMost  = 4 << 20
	// readFirst is how many rows are read while nobody knows how large they are.
	readFirst = 100
	// settleEvery is how long is waited between two looks at first, settleTold after how long it is told,
	// and settleRarely how long is waited from then on.
	settleEvery  = 5 * time.Millisecond
	settleTold   = 2 * time.Second
	settleRarely = time.Second
)

// Reader reads rows beside the stream. It is used by one goroutine.
type Reader struct {
	source *Source
	db     *sql.DB
	conn   *sql.Conn
	host   host
	server capture.Server
	plans  map[string]*readPlan
	settle filePlace // MariaDB: a snapshot must not be before it
}

var _ capture.Reader = (*Reader)(nil)

// Reader returns a reader. It does not connect.
func (s *Source) Reader() capture.Reader { return &Reader{source: s, plans: map[string]*readPlan{}} }

// Close ends the reader's connection.
func (r *Reader) Close() {
	if r.conn != nil {
		_ = r.conn.Close() // the server may be gone
	}
	if r.db != nil {
		r.db.Close()
	}
	r.conn, r.db = nil, nil
}

// session returns a session with the server that the stream comes from.
func (r *Reader) session(ctx context.Context) (*sql.Conn, error) {
	p := &r.source.passage
	p.mu.Lock()
	h, server, begun := p.host, p.server, p.begun
	p.mu.Unlock()
	if !begun {
		return nil, errors.New("the stream has not begun")
	}
	if r.conn != nil && h == r.host && server.Lineage == r.server.Lineage {
		return r.conn, nil
	}
	r.Close()
	if !server.MariaDB && !server.GTID {
		return nil, &capture.OperatorError{Err: errNoGTIDs,
			Remedy: "turn gtid_mode and enforce_gtid_consistency on; MySQL's manual has the steps that need no stop"}
	}
	db, err := open(h, r.source.address.user, r.source.address.password, r.source.address.tlsFor(h))
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err == nil {
		for _, set := range []string{"SET SESSION time_zone = '+00:00', sql_mode = '', transaction_isolation = 'REPEATABLE-READ'",
			"SET SESSION character_set_results = NULL", fmt.Sprintf("SET SESSION max_execution_time = %d", readTimeout.Milliseconds())} {
			if server.MariaDB {
				set = strings.ReplaceAll(set, "transaction_isolation", "tx_isolation")
				set = strings.ReplaceAll(set, "max_execution_time = 30000", "max_statement_time = 30")
			}
			if _, err = conn.ExecContext(ctx, set); err != nil {
				break
			}
		}
	}
	if err != nil {
		db.Close()
		return nil, r.source.connectError(fmt.Errorf("connect to %s to read rows: %w", h, err))
	}
	r.db, r.conn, r.host, r.server = db, conn, h, server
	return conn, nil
}

// readDefinitionOf reads what changes when a table's columns do.
func readDefinitionOf(ctx context.Context, conn *sql.Conn, table string) (string, error) {
	var name, definition string
	if err := conn.QueryRowContext(ctx, "SHOW CREATE TABLE "+table).Scan(&name, &definition); err != nil {
		return "", err
	}
	if i := strings.LastIndexByte(definition, ')'); i > 0 {
		definition = definition[:i] // its counter comes behind
	}
	return definition, nil
}

// Read implements [capture.Reader].
func (r *Reader) Read(ctx context.Context, what *capture.ReadRequest) (*capture.Chunk, error) {
	for attempt := 0; ; attempt++ {
		plan := r.plans[what.Table]
		if plan == nil {
			var err error
			if plan, err = r.describe(ctx, what.Table); err != nil {
				r.Close()
				return nil, err
			}
		}
		chunk, err := r.read(ctx, plan, what)
		var answer *driver.MySQLError
		switch {
		case errors.Is(err, errAltered) && attempt < 3, errors.As(err, &answer) && attempt < 3 && (answer.Number == 1054 || answer.Number == 1146 || answer.Number == 1412):
			delete(r.plans, what.Table) // its columns are others now
		case answer != nil && answer.Number == 1142:
			return nil, &capture.OperatorError{Err: fmt.Errorf("read table %s: %w", what.Table, err), Remedy: fmt.Sprintf("GRANT SELECT ON %s TO %s;", plan.from, account(r.source.address.user))}
		default:
			return chunk, err
		}
	}
}

// errNoGTIDs says why a server's tables cannot be read.
var errNoGTIDs = errors.New("without GTIDs nothing tells which transactions of the binlog a read has seen")

// errAltered says that a table's columns have changed since it was described.
var errAltered = errors.New("the table was altered")

func (r *Reader) read(ctx context.Context, plan *readPlan, what *capture.ReadRequest) (*capture.Chunk, error) {
	limit := plan.limit
	if what.Limit > 0 {
		limit = min(limit, what.Limit)
	}
	if what.Keys != nil {
		limit = len(what.Keys)
	}
	conn, err := r.session(ctx)
	if err != nil {
		return nil, err
	}
	query, err := plan.sql(what, limit)
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	chunk, err := r.transact(within, conn, plan, query)
	if err != nil {
		r.Close() // with whatever is left of the transaction
		if within.Err() != nil && ctx.Err() == nil && plan.limit > 1 && what.Keys == nil {
			plan.limit = max(1, plan.limit/4)
		}
		return nil, fmt.Errorf("read table %s: %w", what.Table, err)
	}
	chunk.More = chunk.More || len(chunk.Rows) == limit && what.Keys == nil
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
func (r *Reader) transact(ctx context.Context, conn *sql.Conn, plan *readPlan, query string) (*capture.Chunk, error) {
	seen, err := r.snapshot(ctx, conn)
	if err != nil {
		return nil, err
	}
	chunk := &capture.Chunk{Table: plan.table, Time: time.Now(), Snapshot: seen}
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if err := plan.take(rows, chunk); err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, "COMMIT"); err != nil {
		return nil, err
	}
	// A table that was altered after the snapshot was taken is refused by the server (1412); before,
	// its definition differs.
	print, err := readDefinitionOf(ctx, conn, plan.from)
	if err == nil && print != plan.print {
		err = errAltered
	}
	return chunk, err
}

// snapshot begins a transaction with a snapshot, and returns what that has seen.
func (r *Reader) snapshot(ctx context.Context, conn *sql.Conn) (*sight, error) {
	const begin = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
	s := &sight{passage: &r.source.passage, mariaDB: r.server.MariaDB}
	if s.mariaDB {
		if _, err := conn.ExecContext(ctx, begin); err != nil {
			return nil, err
		}
		var err error
		if s.mark, err = snapshotPlace(ctx, conn); err == nil && before(s.mark, r.settle) {
			err = errors.New("the snapshot is older than the stream")
		}
		return s, err
	}
	executed, err := executedSet(ctx, conn)
	if err != nil {
		return nil, err
	}
	s.executed = executed
	if _, err := conn.ExecContext(ctx, begin); err != nil {
		return nil, err
	}
	s.mark, _, err = binlogEnd(ctx, conn, false, r.server.Version)
	return s, err
}

// snapshotPlace is where in MariaDB's binlog the open transaction's snapshot is.
func snapshotPlace(ctx context.Context, conn *sql.Conn) (at filePlace, err error) {
	rows, err := conn.QueryContext(ctx, "SHOW STATUS LIKE 'binlog_snapshot_%'")
	if err != nil {
		return at, err
	}
	defer rows.Close()
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return at, err
		}
		switch strings.ToLower(name) {
		case "binlog_snapshot_file":
			at.name = value
		case "binlog_snapshot_position":
			if at.offset, err = strconv.ParseUint(value, 10, 64); err != nil {
				return at, fmt.Errorf("the snapshot's place in the binlog: %w", err)
			}
		}
	}
	if err := rows.Err(); err != nil {
		return at, err
	}
	if at.name == "" {
		return at, errors.New("the server does not tell where in its binlog a snapshot is")
	}
	return at, nil
}

// executedSet is what MySQL has committed in its engine.
func executedSet(ctx context.Context, conn *sql.Conn) (mysqlSet, error) {
	var text string
	if err := conn.QueryRowContext(ctx, "SELECT @@GLOBAL.gtid_executed").Scan(&text); err != nil {
		return nil, err
	}
	return parseMySQLSet(text)
}

// take copies rows, as many as memory is meant for.
func (p *readPlan) take(rows *sql.Rows, chunk *capture.Chunk) error {
	defer rows.Close()
	raw := make([]sql.RawBytes, len(p.selects))
	targets := make([]any, len(raw))
	for i := range raw {
		targets[i] = &raw[i]
	}
	bytes := 0
	for rows.Next() {
		if chunk.More {
			continue // read past
		}
		if err := rows.Scan(targets...); err != nil {
			return err
		}
		row := make(capture.Row, len(raw))
		for i, v := range raw {
			switch {
			case v == nil:
				row[i].State = capture.Null
			case p.texts[i] != nil:
				row[i] = capture.Value{State: capture.Present, Text: p.texts[i]([]byte{}, v)}
			default:
				row[i] = capture.Value{State: capture.Present, Text: append([]byte{}, v...)}
			}
		}
		if bytes += row.Size(); bytes > readMost && len(chunk.Rows) > 0 {
			chunk.More = true
			continue
		}
		chunk.Rows = append(chunk.Rows, row)
	}
	return rows.Err()
}
