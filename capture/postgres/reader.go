package postgres

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
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
	// settleEvery is how long is waited between two looks.
	settleEvery = 5 * time.Millisecond
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
	if r.texts != nil {
		r.texts.convert = converter(ctx, r.query, r.name)
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

// readPlan is how a table is read.
type readPlan struct {
	table   *capture.Table
	columns []string // quoted
	from    string
	filter  string // the publication's row filter
	types   []string
	before  []keyOperators // of the key's columns
	rows    int64
	oid     uint32
	member  uint32 // the publication's oid
	print   string // of its columns, and of what is published of it, when it was described
	limit   int    // rows that make a chunk of readBytes
}

// keyOperators are how a key's column is compared, in the order that ORDER BY has.
type keyOperators struct{ more, equal, least string }

// builtinMore is the operator that rows of built-in types are compared with.
const builtinMore = "operator(pg_catalog.>)"

// printSQL is what changes when the table's columns do, or what is published of them.
const printSQL = `select coalesce((select pg_catalog.md5(pg_catalog.to_jsonb(p)::text) from pg_catalog.pg_publication p where p.oid = %[2]d), '') ||
  coalesce((select pg_catalog.md5(pg_catalog.string_agg(pg_catalog.to_jsonb(m)::text, ',' order by m.oid)) from pg_catalog.pg_publication_rel m where m.prpubid = %[2]d and m.prrelid = %[1]d), '') ||
  coalesce(pg_catalog.md5(pg_catalog.string_agg(a.attnum || ' ' || a.attname || ' ' || a.atttypid || ' ' || a.attgenerated::text, ',' order by a.attnum)), '')
  from pg_catalog.pg_attribute a where a.attrelid = %[1]d and a.attnum > 0 and not a.attisdropped`

// Describe implements [capture.Reader].
func (r *Reader) Describe(ctx context.Context, table string) (*capture.Readable, error) {
	plan, err := r.describe(ctx, table)
	if err != nil {
		return nil, err
	}
	return &capture.Readable{Table: plan.table, Rows: plan.rows}, nil
}

func (r *Reader) describe(ctx context.Context, table string) (*readPlan, error) {
	in, err := r.source.inspect(ctx, []string{table})
	if err != nil {
		return nil, err
	}
	if len(in.tables) != 1 {
		return nil, &capture.OperatorError{Err: fmt.Errorf("table %s does not exist", table), Remedy: "`rowhook check` shows what the mapping and the database have in common"}
	}
	f := in.tables[0]
	if err := r.readable(f, &in.publication); err != nil {
		return nil, err
	}
	plan := &readPlan{table: f.table, from: f.sql, oid: f.oid, filter: in.publication.members[table].filter, limit: readFirst}
	if f.kind == 'r' {
		plan.from = "only " + f.sql
	}
	for i := range f.table.Columns {
		plan.columns = append(plan.columns, quoteIdent(f.table.Columns[i].Name))
	}
	if was := r.plans[table]; was != nil {
		plan.limit = was.limit
		if sameTable(was.table, plan.table) {
			plan.table = was.table // the pointer is a key for caches
		}
	}
	err = r.query.do(ctx, func(c *pgx.Conn) error { return plan.learn(ctx, c, r.source.config.Publication) })
	if err != nil {
		return nil, fmt.Errorf("look at table %s: %w", table, err)
	}
	r.plans[table] = plan
	return plan, nil
}

// readable says why a table cannot be read in chunks.
func (r *Reader) readable(f *tableFacts, p *publication) error {
	name := f.table.String()
	if why := f.streamed(); why != "" {
		return &capture.OperatorError{Err: fmt.Errorf("table %s %s", name, why), Remedy: "only what the stream can bring is read beside it"}
	}
	if _, ok := p.members[name]; !ok {
		return &capture.OperatorError{
			Err:    fmt.Errorf("the stream does not bring table %s: publication %s does not have it", name, r.source.config.Publication),
			Remedy: "`rowhook check` shows the statement that puts it there",
		}
	}
	if len(f.table.Key) == 0 {
		return &capture.OperatorError{
			Err: fmt.Errorf("table %s has no key: rows without one cannot be read in chunks, nor told apart in the stream", name),
			Remedy: fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…), or a unique index on NOT NULL columns and ALTER TABLE %s REPLICA IDENTITY USING INDEX …",
				f.sql, f.sql),
		}
	}
	if err := tellsApart(f); err != nil {
		return err
	}
	if !f.selectable || !f.usage {
		role := quoteIdent(r.source.connect.User)
		return &capture.OperatorError{
			Err:    fmt.Errorf("our role may not read table %s", name),
			Remedy: fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %s;", f.schemaSQL(), role, f.sql, role),
		}
	}
	return nil
}

// tellsApart refuses a partitioned table some of whose partitions send old rows without the key: no
// other columns tell its rows apart, since an index is unique within its partition only.
func tellsApart(f *tableFacts) error {
	if f.kind != 'p' || !slices.ContainsFunc(f.table.Key, func(i int) bool { return !f.table.Columns[i].Identity }) {
		return nil
	}
	var names, remedy []string
	for _, leaf := range f.leaves {
		lacks := func(i int) bool { return !slices.Contains(leaf.columns, f.table.Columns[i].Name) }
		if leaf.identity != capture.IdentityFull && slices.ContainsFunc(f.table.Key, lacks) {
			names = append(names, leaf.table)
			remedy = append(remedy, "ALTER TABLE "+leaf.sql+" REPLICA IDENTITY DEFAULT;")
		}
	}
	return &capture.OperatorError{
		Err:    fmt.Errorf("partitions of table %s have a replica identity without its key, so that rows cannot be told apart in the stream: %s", f.table, strings.Join(names, ", ")),
		Remedy: strings.Join(remedy, " "),
	}
}

// columnTypesSQL reads the columns' types by which literals are cast, and the operators of their
// default order where these are not the built-in ones: ORDER BY goes by the type, but an operator's
// name by the search path.
const columnTypesSQL = `
with recursive based as (
  select a.attname, t.oid, t.typbasetype, 0 as depth from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
  where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
  union all select b.attname, t.oid, t.typbasetype, b.depth + 1 from based b join pg_catalog.pg_type t on t.oid = b.typbasetype
)
select a.attname::text, pg_catalog.format('%I.%I', n.nspname, t.typname),
  coalesce((select pg_catalog.format('operator(%I.%s)', opn.nspname, o.oprname) from based b
    join pg_catalog.pg_opclass c on c.opcintype = b.oid and c.opcdefault
    join pg_catalog.pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
    join pg_catalog.pg_amop p on p.amopfamily = c.opcfamily and p.amoplefttype = b.oid and p.amoprighttype = b.oid and p.amopstrategy = 5
    join pg_catalog.pg_operator o on o.oid = p.amopopr join pg_catalog.pg_namespace opn on opn.oid = o.oprnamespace
    where b.attname = a.attname order by b.depth desc limit 1), 'operator(pg_catalog.>)'),
  coalesce((select pg_catalog.format('operator(%I.%s)', opn.nspname, o.oprname) from based b
    join pg_catalog.pg_opclass c on c.opcintype = b.oid and c.opcdefault
    join pg_catalog.pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
    join pg_catalog.pg_amop p on p.amopfamily = c.opcfamily and p.amoplefttype = b.oid and p.amoprighttype = b.oid and p.amopstrategy = 3
    join pg_catalog.pg_operator o on o.oid = p.amopopr join pg_catalog.pg_namespace opn on opn.oid = o.oprnamespace
    where b.attname = a.attname order by b.depth desc limit 1), 'operator(pg_catalog.=)'),
  coalesce((select pg_catalog.format('operator(%I.%s)', opn.nspname, o.oprname) from based b
    join pg_catalog.pg_opclass c on c.opcintype = b.oid and c.opcdefault
    join pg_catalog.pg_am m on m.oid = c.opcmethod and m.amname = 'btree'
    join pg_catalog.pg_amop p on p.amopfamily = c.opcfamily and p.amoplefttype = b.oid and p.amoprighttype = b.oid and p.amopstrategy = 4
    join pg_catalog.pg_operator o on o.oid = p.amopopr join pg_catalog.pg_namespace opn on opn.oid = o.oprnamespace
    where b.attname = a.attname order by b.depth desc limit 1), 'operator(pg_catalog.>=)')
from pg_catalog.pg_attribute a
join pg_catalog.pg_type t on t.oid = a.atttypid
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped`

// learn asks the catalog for what the statements are made of.
func (p *readPlan) learn(ctx context.Context, c *pgx.Conn, publication string) error {
	types, operators := map[string]string{}, map[string]keyOperators{}
	rows, err := c.Query(ctx, columnTypesSQL, p.oid)
	if err != nil {
		return err
	}
	var name, typ string
	var ops keyOperators
	_, err = pgx.ForEachRow(rows, []any{&name, &typ, &ops.more, &ops.equal, &ops.least}, func() error {
		types[name], operators[name] = typ, ops
		return nil
	})
	if err != nil {
		return err
	}
	for i := range p.table.Columns {
		p.types = append(p.types, types[p.table.Columns[i].Name])
	}
	for _, i := range p.table.Key {
		p.before = append(p.before, operators[p.table.Columns[i].Name])
	}
	if err := c.QueryRow(ctx, "select oid from pg_catalog.pg_publication where pubname = $1", publication).Scan(&p.member); err != nil {
		return err
	}
	if err := c.QueryRow(ctx, fmt.Sprintf(printSQL, p.oid, p.member)).Scan(&p.print); err != nil {
		return err
	}
	return c.QueryRow(ctx, `select coalesce(nullif(pg_catalog.sum(greatest(c.reltuples, 0))::bigint, 0), -1)
from pg_catalog.pg_class c where c.oid = $1 and c.relkind = 'r'
  or c.oid in (select t.relid from pg_catalog.pg_partition_tree($1) t where t.isleaf)`, p.oid).Scan(&p.rows)
}

// literal writes a value as the column's type, in a session whose encoding is the database's.
func (p *readPlan) literal(col int, value string, encoded bool) string {
	if encoded && !isASCII([]byte(value)) {
		return fmt.Sprintf("(pg_catalog.convert_from(pg_catalog.decode('%s', 'hex'), 'UTF8'))::%s", hex.EncodeToString([]byte(value)), p.types[col])
	}
	return quoteLiteral(value) + "::" + p.types[col]
}

// behind is the condition for rows behind a key, by the order of ORDER BY. Rows are compared as a
// whole where they can be: only that is a place in the index. Else the first column's own condition
// is there for the index.
func (p *readPlan) behind(key []string, encoded bool) string {
	columns, literals := make([]string, len(key)), make([]string, len(key))
	whole := true
	for i := range key {
		columns[i], literals[i] = p.columns[p.table.Key[i]], p.literal(p.table.Key[i], key[i], encoded)
		whole = whole && p.before[i].more == builtinMore
	}
	if whole {
		return fmt.Sprintf("(%s) %s (%s)", strings.Join(columns, ", "), builtinMore, strings.Join(literals, ", "))
	}
	last := len(key) - 1
	out := fmt.Sprintf("%s %s %s", columns[last], p.before[last].more, literals[last])
	for i := last - 1; i >= 0; i-- {
		out = fmt.Sprintf("(%s %s %s or %s %s %s and %s)", columns[i], p.before[i].more, literals[i], columns[i], p.before[i].equal, literals[i], out)
	}
	return fmt.Sprintf("%s %s %s and %s", columns[0], p.before[0].least, literals[0], out)
}

// sql is the statement that reads a request's rows.
func (p *readPlan) sql(what *capture.ReadRequest, limit int, encoded bool) (string, error) {
	var conditions []string
	if p.filter != "" {
		conditions = append(conditions, "("+p.filter+")")
	}
	for _, w := range what.Where {
		col := p.table.Column(w.Column)
		switch {
		case col < 0:
			return "", &capture.OperatorError{Err: fmt.Errorf("table %s has no column %q that is published", p.table, w.Column), Remedy: "name one of the table's columns, as the database calls it"}
		case w.Null:
			conditions = append(conditions, p.columns[col]+" is null")
		default:
			conditions = append(conditions, p.columns[col]+" = "+p.literal(col, w.Value, encoded))
		}
	}
	if what.Keys != nil {
		var any []string
		for _, key := range what.Keys {
			if len(key) != len(p.table.Key) {
				return "", keyMisfit(p.table, key)
			}
			var all []string
			for i, col := range p.table.Key {
				all = append(all, fmt.Sprintf("%s %s %s", p.columns[col], p.before[i].equal, p.literal(col, key[i], encoded)))
			}
			any = append(any, "("+strings.Join(all, " and ")+")")
		}
		conditions = append(conditions, "("+strings.Join(any, " or ")+")")
	} else if what.After != nil {
		if len(what.After) != len(p.table.Key) {
			return "", keyMisfit(p.table, what.After)
		}
		conditions = append(conditions, p.behind(what.After, encoded))
	}
	where := ""
	if len(conditions) > 0 {
		where = " where " + strings.Join(conditions, " and ")
	}
	order := make([]string, len(p.table.Key))
	for i, col := range p.table.Key {
		order[i] = p.columns[col]
	}
	return fmt.Sprintf("select %s from %s%s order by %s limit %d", strings.Join(p.columns, ", "), p.from, where, strings.Join(order, ", "), limit), nil
}

// keyMisfit says that the table's key is not what it was.
func keyMisfit(t *capture.Table, key []string) error {
	return &capture.OperatorError{
		Err:    fmt.Errorf("the key of table %s has %d columns, and %d were given", t, len(t.Key), len(key)),
		Remedy: "cancel the backfill, if it began with another key, and begin it again",
	}
}

// markSQL tells the snapshot, the mark, which server it is, and what the table's columns are.
const markSQL = `select pg_catalog.pg_current_snapshot()::text,
  case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() else pg_catalog.pg_current_wal_insert_lsn() end::text,
  case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_receive_lsn() end::text, (` + instanceSQL + `), (` + printSQL + `)`

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
		if !slices.Contains(columns, p.columns[i]) {
			columns = append(columns, p.columns[i])
		}
	}
	return &capture.OperatorError{Err: err, Remedy: fmt.Sprintf("CREATE INDEX CONCURRENTLY ON %s (%s); -- then resume the backfill", strings.TrimPrefix(p.from, "only "), strings.Join(columns, ", "))}
}

// read reads one chunk in one transaction. The chunk is nil where the table is not as the plan has
// it.
func (r *Reader) read(ctx context.Context, plan *readPlan, what *capture.ReadRequest) (*capture.Chunk, error) {
	limit := plan.limitOf(what)
	conn, err := r.session(ctx)
	if err != nil {
		return nil, err
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
			bytes += rowSize(row)
		}
		plan.limit = max(1, min(1000, readBytes*n/max(bytes, 1), 4*limit))
	}
	return chunk, nil
}

func rowSize(row capture.Row) int {
	bytes := 0
	for i := range row {
		bytes += len(row[i].Text) + 8
	}
	return bytes
}

// transact runs the transaction of one chunk.
func (r *Reader) transact(ctx context.Context, conn *pgconn.PgConn, plan *readPlan, sql string) (*capture.Chunk, error) {
	replayed, err := r.replayed(ctx, conn)
	if err != nil {
		return nil, err
	}
	// The lock comes before the snapshot: a table that was rewritten by whoever held it looks empty to
	// an older one. LOCK TABLE takes no snapshot itself.
	batch := "begin isolation level repeatable read read only; lock table " + plan.from + " in access share mode; " +
		fmt.Sprintf(markSQL, plan.oid, plan.member) + "; " + sql + "; commit"
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
		if bytes += rowSize(row); bytes > readMost && len(chunk.Rows) > 0 {
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

// sight is a snapshot as the stream's transactions are held against it.
type sight struct {
	xmin, xmax uint64
	running    map[uint32]bool
	// On a standby, what is committed before replayed is seen, and what is committed from received on
	// is not.
	standby  bool
	replayed pglogrepl.LSN
	received pglogrepl.LSN // what the standby had received, or all there was
	// mark is asked by the stream while Hasten lowers it.
	mark atomic.Uint64

	reader *Reader
	taken  time.Time
	looked time.Time // when all that was written was flushed first
}

// newSight reads what markSQL and replayedSQL tell.
func newSight(snapshot, mark, received, replayed string) (*sight, error) {
	parts := strings.Split(snapshot, ":")
	if len(parts) != 3 {
		return nil, fmt.Errorf("malformed snapshot %q", snapshot)
	}
	s := &sight{running: map[uint32]bool{}}
	var err error
	if s.xmin, err = strconv.ParseUint(parts[0], 10, 64); err != nil {
		return nil, fmt.Errorf("malformed snapshot %q", snapshot)
	}
	if s.xmax, err = strconv.ParseUint(parts[1], 10, 64); err != nil {
		return nil, fmt.Errorf("malformed snapshot %q", snapshot)
	}
	for xid := range strings.SplitSeq(parts[2], ",") {
		if xid == "" {
			continue
		}
		n, err := strconv.ParseUint(xid, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("malformed snapshot %q", snapshot)
		}
		s.running[uint32(n)] = true
	}
	if s.received, err = pglogrepl.ParseLSN(mark); err != nil {
		return nil, fmt.Errorf("malformed position %q", mark)
	}
	s.mark.Store(uint64(s.received))
	if s.standby = replayed != ""; !s.standby {
		return s, nil
	}
	if s.replayed, err = pglogrepl.ParseLSN(replayed); err != nil {
		return nil, fmt.Errorf("malformed position %q", replayed)
	}
	if got, err := pglogrepl.ParseLSN(received); err == nil {
		s.received = max(s.received, got)
		s.mark.Store(uint64(s.received))
	}
	return s, nil
}

// walSizes are the sizes of the WAL's pages and files.
type walSizes struct{ page, segment uint64 }

// The headers of a file's first page and of all others.
const longHeader, shortHeader = 40, 24

// endOf returns where a stream ends that has everything before an insert position: at a page's
// start the insert position lies behind the page's header, and what was sent ends before it.
func (w walSizes) endOf(insert pglogrepl.LSN) pglogrepl.LSN {
	within, header := uint64(insert)%w.page, uint64(shortHeader)
	if uint64(insert)%w.segment < w.page {
		header = longHeader
	}
	if within == header {
		return insert - pglogrepl.LSN(header)
	}
	return insert
}

// Sees implements [capture.Snapshot].
func (s *sight) Sees(tx *capture.Transaction) capture.Sight {
	n, err := strconv.ParseUint(tx.ID, 10, 32)
	if err != nil {
		return capture.Unclear
	}
	xid := uint32(n)
	switch {
	case int32(xid-uint32(s.xmax)) >= 0, s.running[xid]:
		return capture.Unseen
	case !s.standby, int32(xid-uint32(s.xmin)) < 0:
		return capture.Seen
	}
	commit, err := parsePosition(tx.Position)
	switch {
	case err != nil:
		return capture.Unclear
	case commit < s.replayed:
		return capture.Seen
	case commit >= s.received:
		return capture.Unseen
	}
	return capture.Unclear
}

// Passed implements [capture.Snapshot].
func (s *sight) Passed() bool { return s.reader.source.reached.Load() >= s.mark.Load() }

// Mark implements [capture.Snapshot].
func (s *sight) Mark() capture.Position { return position(pglogrepl.LSN(s.mark.Load())) }

// Hasten implements [capture.Snapshot]: once asynchronous commits that were seen have been flushed,
// the flush position does.
func (s *sight) Hasten(ctx context.Context) error {
	if s.standby || time.Since(s.taken) < s.reader.flush {
		return nil
	}
	conn, err := s.reader.session(ctx)
	if err != nil {
		return err
	}
	got, err := rows(ctx, conn, `select pg_catalog.pg_current_wal_flush_lsn(), pg_catalog.pg_current_wal_lsn(),
  (select setting from pg_catalog.pg_settings where name = 'wal_writer_delay')`)
	if err != nil {
		s.reader.drop()
		return fmt.Errorf("ask how far the WAL is flushed: %w", err)
	}
	flushed, err := pglogrepl.ParseLSN(string(got[0][0]))
	if err != nil {
		return fmt.Errorf("malformed position %q", got[0][0])
	}
	delay, err := strconv.Atoi(string(got[0][2])) // it may have been set meanwhile
	if err != nil {
		return fmt.Errorf("malformed wal_writer_delay %q", got[0][2])
	}
	// A WAL writer that is late has written what it does not get flushed, or writes it within a delay.
	switch {
	case string(got[0][0]) != string(got[0][1]):
		s.looked = time.Time{}
	case s.looked.IsZero():
		s.looked = time.Now()
	case time.Since(s.looked) >= time.Duration(delay)*time.Millisecond && uint64(flushed) < s.mark.Load():
		s.mark.Store(uint64(flushed))
	}
	return nil
}

// runningSQL lists the transactions that run, those that wait for a synchronous standby included,
// where our role may see it. A standby's own are none.
const runningSQL = `select l.transactionid::text from pg_catalog.pg_locks l where l.locktype = 'transactionid' and l.granted and l.mode = 'ExclusiveLock'`

// Settle implements [capture.Reader].
func (r *Reader) Settle(ctx context.Context, waiting func(string)) error {
	conn, err := r.session(ctx)
	if err != nil {
		return err
	}
	var names string
	began := time.Now()
	running, err := r.running(ctx, conn, &names)
	for err == nil && len(running) > 0 {
		if names == "" && time.Since(began) > settleGrace {
			return nil // they have not been committed
		}
		if time.Since(began) > settleGrace {
			waiting(fmt.Sprintf("transaction %s to be seen: it ran when the stream was joined, and may be in it since it waits for a synchronous standby", running[0]))
		}
		if err := capture.Sleep(ctx, settleEvery); err != nil {
			return err
		}
		var got [][][]byte
		if got, err = rows(ctx, conn, "select pg_catalog.pg_current_snapshot()::text"); err != nil {
			break
		}
		running = slices.DeleteFunc(running, func(id string) bool {
			xid, _ := strconv.ParseUint(id, 10, 32)
			seen, _ := sees(string(got[0][0]), uint32(xid))
			return seen
		})
	}
	if err != nil {
		r.drop()
		return fmt.Errorf("wait for running transactions: %w", err)
	}
	return nil
}

// running lists the transactions that run, and the synchronous standbys that are waited for.
func (r *Reader) running(ctx context.Context, conn *pgconn.PgConn, standbys *string) (ids []string, err error) {
	got, err := rows(ctx, conn, "select pg_catalog.current_setting('synchronous_standby_names'), pg_catalog.pg_is_in_recovery()::text")
	if err != nil {
		return nil, err
	}
	if *standbys = string(got[0][0]); string(got[0][1]) == "true" {
		return nil, nil // a standby shows a transaction before it sends it
	}
	if got, err = rows(ctx, conn, runningSQL); err != nil {
		return nil, err
	}
	for _, row := range got {
		ids = append(ids, string(row[0]))
	}
	return ids, nil
}
