package mysql

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
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
	// settleEvery is how long is waited between two looks, settleTold after how long it is told.
	settleEvery = 5 * time.Millisecond
	settleTold  = 2 * time.Second
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
		return nil, &capture.OperatorError{Err: errors.New("without GTIDs nothing tells which transactions of the binlog a read has seen"),
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

// readPlan is how a table is read.
type readPlan struct {
	table   *capture.Table
	from    string
	selects []string // an expression for each column
	texts   []func(dst, v []byte) []byte
	print   string // its definition when it was described
	rows    int64
	limit   int
}

// Describe implements [capture.Reader].
func (r *Reader) Describe(ctx context.Context, table string) (*capture.Readable, error) {
	plan, err := r.describe(ctx, table)
	if err != nil {
		r.Close() // which may have broken
		return nil, err
	}
	return &capture.Readable{Table: plan.table, Rows: plan.rows}, nil
}

// readColumn is what a column's values are made of besides its type.
type readColumn struct{ name, dataType, columnType, charset string }

func (r *Reader) describe(ctx context.Context, table string) (*readPlan, error) {
	conn, err := r.session(ctx)
	if err != nil {
		return nil, err
	}
	db, err := r.source.pool(r.host)
	if err != nil {
		return nil, err
	}
	in, err := inspect(ctx, db, []string{table})
	if err != nil {
		return nil, err
	}
	if len(in.tables) != 1 {
		return nil, &capture.OperatorError{Err: fmt.Errorf("table %s does not exist, or our account may not see it", table),
			Remedy: "`rowhook check` shows what the mapping and the database have in common"}
	}
	f := in.tables[0]
	if err := readable(f); err != nil {
		return nil, err
	}
	plan := &readPlan{table: f.table, from: f.sql(), limit: readFirst}
	columns, err := readColumns(ctx, db, f.table)
	if err != nil {
		return nil, fmt.Errorf("look at the columns of %s: %w", table, err)
	}
	charsets, err := r.charsets(ctx, db, columns)
	if err != nil {
		return nil, fmt.Errorf("look at the charsets of %s: %w", table, err)
	}
	for i := range f.table.Columns {
		expression, text := columnText(columns[f.table.Columns[i].Name], charsets, r.server.MariaDB, f.table.Columns[i].Type)
		plan.selects, plan.texts = append(plan.selects, expression), append(plan.texts, text)
	}
	if plan.print, err = readDefinitionOf(ctx, conn, f.sql()); err != nil {
		return nil, r.refused(err, f)
	}
	var rows sql.NullInt64
	err = conn.QueryRowContext(ctx, "SELECT table_rows FROM information_schema.tables WHERE table_schema = ? AND table_name = ?", f.table.Schema, f.table.Name).Scan(&rows)
	if err != nil {
		return nil, fmt.Errorf("look at table %s: %w", table, err)
	}
	if plan.rows = rows.Int64; !rows.Valid {
		plan.rows = -1
	}
	if was := r.plans[table]; was != nil {
		plan.limit = was.limit
		if was.print == plan.print {
			plan.table = was.table // the pointer is a key for caches
		}
	}
	r.plans[table] = plan
	return plan, nil
}

// readable says why a table cannot be read in chunks.
func readable(f *tableFacts) error {
	name := f.table.String()
	if why := f.streamed(); why != "" {
		return &capture.OperatorError{Err: fmt.Errorf("table %s %s", name, why), Remedy: "only what the stream can bring is read beside it"}
	}
	if !strings.EqualFold(f.engine, "InnoDB") {
		return &capture.OperatorError{Err: fmt.Errorf("table %s is stored by %s, which has no snapshots", name, f.engine),
			Remedy: fmt.Sprintf("ALTER TABLE %s ENGINE=InnoDB;", f.sql())}
	}
	if len(f.table.Key) == 0 {
		return &capture.OperatorError{Err: fmt.Errorf("table %s has no key: rows without one cannot be read in chunks, nor told apart in the stream", name),
			Remedy: fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…);", f.sql())}
	}
	for _, i := range f.table.Key {
		switch c := f.table.Columns[i]; c.Type.Name {
		case "set", "float", "double", "geometry", "vector", "json":
			return &capture.OperatorError{Err: fmt.Errorf("column %s of the key of table %s is a %s, by whose order nothing is read", c.Name, name, c.Type.Name),
				Remedy: "give the table a key of numbers, texts or times"}
		}
	}
	return nil
}

// refused explains a missing right.
func (r *Reader) refused(err error, f *tableFacts) error {
	var answer *driver.MySQLError
	if errors.As(err, &answer) && (answer.Number == 1142 || answer.Number == 1143 || answer.Number == 1044) {
		return &capture.OperatorError{Err: fmt.Errorf("our account may not read table %s: %w", f.table, err),
			Remedy: fmt.Sprintf("GRANT SELECT ON %s TO %s;", f.sql(), account(r.source.address.user))}
	}
	return err
}

func readColumns(ctx context.Context, db *sql.DB, t *capture.Table) (map[string]readColumn, error) {
	rows, err := db.QueryContext(ctx, "SELECT column_name, data_type, column_type, COALESCE(character_set_name, '') FROM information_schema.columns WHERE table_schema = ? AND table_name = ?", t.Schema, t.Name)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns := map[string]readColumn{}
	for rows.Next() {
		var c readColumn
		if err := rows.Scan(&c.name, &c.dataType, &c.columnType, &c.charset); err != nil {
			return nil, err
		}
		c.dataType = strings.ToLower(c.dataType)
		columns[c.name] = c
	}
	return columns, rows.Err()
}

// charsets are those of a table's columns.
func (r *Reader) charsets(ctx context.Context, db *sql.DB, columns map[string]readColumn) (*charsets, error) {
	known, err := r.source.charsetsOf(ctx, r.host, db, nil)
	if err != nil {
		return nil, err
	}
	var collations []uint64
	for collation, charset := range known.names {
		for _, c := range columns {
			if c.charset == charset {
				collations = append(collations, collation)
			}
		}
	}
	return r.source.charsetsOf(ctx, r.host, db, collations)
}

// columnText returns the expression by which a column is read, and how what comes is written as the
// stream writes it; nil leaves it.
func columnText(c readColumn, charsets *charsets, mariaDB bool, t *capture.Type) (expression string, text func(dst, v []byte) []byte) {
	expression = quoteIdent(c.name)
	switch {
	case t.Name == "json" && !mariaDB:
		return expression, appendServerJSON
	case c.charset != "":
		decode, known := charsets.decoderOf(c.charset)
		if known && decode == nil {
			return expression, nil
		}
		return expression, func(dst, v []byte) []byte {
			from := len(dst)
			if known {
				if out, ok := decode(dst, v); ok {
					return out
				}
			}
			return append(append(dst[:from], misencoded), v...)
		}
	}
	switch c.dataType {
	case "tinyint", "smallint", "mediumint", "int", "bigint", "decimal":
		return expression, appendUnpadded
	case "float":
		return expression + " + 0e0", func(dst, v []byte) []byte { return appendParsedFloat(dst, v, 32) }
	case "double":
		return expression, func(dst, v []byte) []byte { return appendParsedFloat(dst, v, 64) }
	case "bit":
		column := column{whole: widthOf(c.columnType)}
		return expression, func(dst, v []byte) []byte {
			out, _ := appendBits(&column, dst, v) // which never fails
			return out
		}
	case "year":
		return expression, func(dst, v []byte) []byte { return append(dst, fmt.Sprintf("%04s", v)...) }
	case "timestamp":
		return expression, func(dst, v []byte) []byte {
			if dst = append(dst, v...); strings.HasPrefix(string(v), "0000-00-00") {
				return dst
			}
			return append(dst, "+00"...)
		}
	case "vector":
		return expression, func(dst, v []byte) []byte {
			out, _ := appendVector(nil, dst, v) // which never fails
			return out
		}
	}
	return expression, nil
}

// widthOf reads the number in a type such as bit(9).
func widthOf(columnType string) int {
	_, rest, _ := strings.Cut(columnType, "(")
	n, err := strconv.Atoi(strings.TrimSuffix(rest, ")"))
	if err != nil {
		return 1
	}
	return n
}

// appendUnpadded writes a number without the zeros of ZEROFILL.
func appendUnpadded(dst, v []byte) []byte {
	if len(v) > 0 && v[0] == '-' {
		dst, v = append(dst, '-'), v[1:]
	}
	for len(v) > 1 && v[0] == '0' && v[1] != '.' {
		v = v[1:]
	}
	return append(dst, v...)
}

func appendParsedFloat(dst, v []byte, bits int) []byte {
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil {
		return append(dst, v...)
	}
	return appendFloat(dst, f, bits)
}

// appendServerJSON writes MySQL's JSON as its binary form is written: an exponent has its sign.
func appendServerJSON(dst, v []byte) []byte {
	quoted := false
	for i, c := range v {
		dst = append(dst, c)
		switch {
		case quoted && c == '\\':
			continue
		case c == '"' && !escaped(v[:i]):
			quoted = !quoted
		case !quoted && c == 'e' && i > 0 && isDigit(v[i-1]) && i+1 < len(v) && isDigit(v[i+1]):
			dst = append(dst, '+')
		}
	}
	return dst
}

// escaped reports whether what follows a text in a JSON string is escaped.
func escaped(before []byte) bool {
	n := 0
	for n < len(before) && before[len(before)-1-n] == '\\' {
		n++
	}
	return n%2 == 1
}

var plainNumber = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)

// literal writes a column's value for a comparison, and the column as it is compared with it.
func (p *readPlan) literal(col int, value string) (expression, literal string, err error) {
	c := &p.table.Columns[col]
	expression = quoteIdent(c.Name)
	switch {
	case c.Type.Kind == capture.Integer || c.Type.Kind == capture.Bigint || c.Type.Kind == capture.Decimal:
		if !plainNumber.MatchString(value) {
			return "", "", &capture.OperatorError{Err: fmt.Errorf("column %s of table %s is a number, and what it is compared with is none", c.Name, p.table), Remedy: "write digits alone"}
		}
		return expression, value, nil
	case c.Type.Name == "enum": // which is in the order of its labels
		i := slices.Index(c.Type.Labels, value)
		if i < 0 && value != "" {
			return "", "", &capture.OperatorError{Err: fmt.Errorf("column %s of table %s has no such label", c.Name, p.table), Remedy: "name one of its labels"}
		}
		return expression + " + 0", strconv.Itoa(i + 1), nil
	case c.Type.Name == "bit":
		return expression, "b'" + value + "'", nil
	case c.Type.Kind == capture.Bytes:
		return expression, "X'" + hex.EncodeToString([]byte(value)) + "'", nil
	case c.Type.Kind == capture.Instant:
		value = strings.TrimSuffix(value, "+00")
	}
	if value != "" && value[0] == misencoded {
		return "", "", &capture.OperatorError{Err: fmt.Errorf("a text in column %s of table %s has no counterpart in UTF-8", c.Name, p.table), Remedy: "repair the text: rows behind it cannot be read"}
	}
	if value == "" {
		return expression, "''", nil
	}
	return expression, "_utf8mb4 X'" + hex.EncodeToString([]byte(value)) + "'", nil
}

// behind is the condition for rows behind a key. The first column's own is there for the index.
func (p *readPlan) behind(key []string) (string, error) {
	var out strings.Builder
	for i, value := range key {
		expression, literal, err := p.literal(p.table.Key[i], value)
		if err != nil {
			return "", err
		}
		if i == len(key)-1 {
			fmt.Fprintf(&out, "(%s > %s", expression, literal)
			break
		}
		if i == 0 {
			fmt.Fprintf(&out, "%s >= %s AND ", expression, literal)
		}
		fmt.Fprintf(&out, "(%[1]s > %[2]s OR %[1]s = %[2]s AND ", expression, literal)
	}
	return out.String() + strings.Repeat(")", len(key)), nil
}

// sql is the statement that reads a request's rows.
func (p *readPlan) sql(what *capture.ReadRequest, limit int) (string, error) {
	var conditions []string
	for _, w := range what.Where {
		col := p.table.Column(w.Column)
		if col < 0 {
			return "", &capture.OperatorError{Err: fmt.Errorf("table %s has no column %q", p.table, w.Column), Remedy: "name one of the table's columns, as the database calls it"}
		}
		if w.Null {
			conditions = append(conditions, quoteIdent(w.Column)+" IS NULL")
			continue
		}
		expression, literal, err := p.literal(col, w.Value)
		if err != nil {
			return "", err
		}
		conditions = append(conditions, expression+" = "+literal)
	}
	for _, key := range append(what.Keys, what.After) {
		if key != nil && len(key) != len(p.table.Key) {
			return "", &capture.OperatorError{Err: fmt.Errorf("the key of table %s has %d columns, and %d were given", p.table, len(p.table.Key), len(key)),
				Remedy: "cancel the backfill, if it began with another key, and begin it again"}
		}
	}
	if what.Keys != nil {
		var any []string
		for _, key := range what.Keys {
			var all []string
			for i, col := range p.table.Key {
				expression, literal, err := p.literal(col, key[i])
				if err != nil {
					return "", err
				}
				all = append(all, expression+" = "+literal)
			}
			any = append(any, "("+strings.Join(all, " AND ")+")")
		}
		conditions = append(conditions, "("+strings.Join(any, " OR ")+")")
	} else if what.After != nil {
		behind, err := p.behind(what.After)
		if err != nil {
			return "", err
		}
		conditions = append(conditions, "("+behind+")")
	}
	where := ""
	if len(conditions) > 0 {
		where = " WHERE " + strings.Join(conditions, " AND ")
	}
	var order []string
	for _, i := range p.table.Key {
		order = append(order, quoteIdent(p.table.Columns[i].Name))
	}
	return fmt.Sprintf("SELECT %s FROM %s%s ORDER BY %s LIMIT %d", strings.Join(p.selects, ", "), p.from, where, strings.Join(order, ", "), limit), nil
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
		if bytes += rowSize(row); bytes > readMost && len(chunk.Rows) > 0 {
			chunk.More = true
			continue
		}
		chunk.Rows = append(chunk.Rows, row)
	}
	return rows.Err()
}

// sight is a snapshot as the stream's transactions are held against it.
type sight struct {
	passage  *passage
	mariaDB  bool
	executed mysqlSet
	mark     filePlace
}

// Sees implements [capture.Snapshot].
func (s *sight) Sees(tx *capture.Transaction) capture.Sight {
	begins := filePlace{name: tx.Begins.File, offset: tx.Begins.Offset}
	if !s.mariaDB {
		if id, err := parseMySQLSet(tx.ID); err == nil && len(id) > 0 && s.executed.contains(id) {
			return capture.Seen
		}
	}
	switch {
	case begins.name == "":
		return capture.Unclear
	case !before(begins, s.mark):
		return capture.Unseen
	case s.mariaDB:
		return capture.Seen
	}
	return capture.Unclear
}

// Passed implements [capture.Snapshot].
func (s *sight) Passed() bool { return s.passage.passed(s.mark) }

// Mark implements [capture.Snapshot].
func (s *sight) Mark() capture.Position { return capture.Position(s.mark.String()) }

// Hasten implements [capture.Snapshot]: what the binlog has is on its way.
func (s *sight) Hasten(context.Context) error { return nil }

// Settle implements [capture.Reader].
func (r *Reader) Settle(ctx context.Context, waiting func(string)) error {
	conn, err := r.session(ctx)
	if err != nil {
		return err
	}
	p := &r.source.passage
	p.mu.Lock()
	handed, reached, open := p.handed, p.reached, p.open
	p.mu.Unlock()
	for began := time.Now(); ; {
		settled, err := r.settled(ctx, conn, handed, reached, &open)
		if err != nil {
			r.Close()
			return fmt.Errorf("wait for the engine: %w", err)
		}
		if settled {
			return nil
		}
		if time.Since(began) > settleTold {
			waiting("transactions that are in the binlog to be committed in the engine, which semi-synchronous replication may hold up")
		}
		if err := capture.Sleep(ctx, settleEvery); err != nil {
			return err
		}
	}
}

// settled reports whether a snapshot has seen all that was handed over, and the open transaction.
func (r *Reader) settled(ctx context.Context, conn *sql.Conn, handed capture.Position, reached filePlace, open *capture.Transaction) (bool, error) {
	if r.server.MariaDB {
		if begins := (filePlace{name: open.Begins.File, offset: open.Begins.Offset + 1}); open.ID != "" && before(reached, begins) {
			reached = begins
		}
		r.settle = filePlace{}
		s, err := r.snapshot(ctx, conn)
		if err != nil {
			return false, err
		}
		r.settle = reached
		_, err = conn.ExecContext(ctx, "COMMIT")
		return reached.name == "" || !before(s.mark, reached), err
	}
	at, err := parsePlace(handed)
	if err != nil {
		return false, err
	}
	if at.byFile() {
		return false, &capture.OperatorError{Err: errors.New("the stream goes by file and offset, by which nothing tells what a read has seen"),
			Remedy: "turn gtid_mode on, and begin with a new state directory"}
	}
	executed, err := executedSet(ctx, conn)
	if err != nil || !executed.contains(at.mysql) || open.ID == "" {
		return err == nil && executed.contains(at.mysql), err
	}
	id, err := parseMySQLSet(open.ID)
	return err == nil && executed.contains(id), err
}
