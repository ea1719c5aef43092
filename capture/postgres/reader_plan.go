package postgres

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

// readPlan is how a table is read.
type readPlan struct {
	table *capture.Table
	// plain are the names as statements have them, escaped the same in ASCII, for a session in another
	// encoding than UTF-8.
	plain, escaped readNames
	filter         string         // the publication's row filter
	compared       []keyOperators // of the columns
	before         []keyOperators // of the key's columns
	rows           int64
	oid            uint32
	ask            string // asks for print
	print          string // of its columns, and of what is published of it, when it was described
	limit          int    // rows that make a chunk of readBytes
}

// readNames are quoted names.
type readNames struct {
	from           string
	columns, types []string
}

func (p *readPlan) names(encoded bool) *readNames {
	if encoded {
		return &p.escaped
	}
	return &p.plain
}

// escapedIdent quotes a name in ASCII.
func escapedIdent(name string) string {
	if isASCII([]byte(name)) {
		return quoteIdent(name)
	}
	var out strings.Builder
	out.WriteString(`U&"`)
	for _, r := range name {
		switch {
		case r == '"' || r == '\\':
			out.WriteRune(r)
			out.WriteRune(r)
		case r < utf8.RuneSelf:
			out.WriteRune(r)
		default:
			fmt.Fprintf(&out, `\+%06X`, r)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// incomparable are the built-in types without an operator =.
var incomparable = []string{"json", "xml", "point", "polygon", "jsonpath", "txid_snapshot"}

// keyOperators are how a key's column is compared, in the order that ORDER BY has.
type keyOperators struct{ more, equal, least string }

// builtinMore is the operator that rows of built-in types are compared with.
const builtinMore = "operator(pg_catalog.>)"

// printSQL is what changes when the table's columns do, or what is published of them.
const printSQL = `select coalesce((select pg_catalog.md5(pg_catalog.to_jsonb(p)::text) from pg_catalog.pg_publication p where p.oid = %[2]d), '') ||
  coalesce((select pg_catalog.md5(pg_catalog.string_agg(pg_catalog.to_jsonb(m)::text, ',' order by m.oid)) from pg_catalog.pg_publication_rel m where m.prpubid = %[2]d and m.prrelid = %[1]d), '') ||
  coalesce(pg_catalog.md5(pg_catalog.string_agg(a.attnum || ' ' || a.attname || ' ' || a.atttypid || ' ' || a.attgenerated::text, ',' order by a.attnum)), '')
  from pg_catalog.pg_attribute a where a.attrelid = %[1]d and a.attnum > 0 and not a.attisdropped`

// schemaPrintSQL is what changes when whole schemas are published or not any more, from PostgreSQL 15.
const schemaPrintSQL = `coalesce((select pg_catalog.md5(pg_catalog.string_agg(n.pnnspid::text, ',' order by n.pnnspid)) from pg_catalog.pg_publication_namespace n where n.pnpubid = %[2]d), '') || `

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
	plan := &readPlan{table: f.table, oid: f.oid, filter: in.publication.members[table].filter, limit: readFirst}
	plan.plain.from, plan.escaped.from = f.sql, escapedIdent(f.table.Schema)+"."+escapedIdent(f.table.Name)
	if f.kind == 'r' {
		plan.plain.from, plan.escaped.from = "only "+plan.plain.from, "only "+plan.escaped.from
	}
	for i := range f.table.Columns {
		plan.plain.columns = append(plan.plain.columns, quoteIdent(f.table.Columns[i].Name))
		plan.escaped.columns = append(plan.escaped.columns, escapedIdent(f.table.Columns[i].Name))
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
	if err := f.unread(r.source.connect.User); err != nil {
		return err
	}
	return nil
}

// unread says why a role cannot read a table that has a key.
func (f *tableFacts) unread(role string) *capture.OperatorError {
	if err := tellsApart(f); err != nil {
		return err
	}
	if !f.selectable || !f.usage {
		role := quoteIdent(role)
		return &capture.OperatorError{
			Err:    fmt.Errorf("our role may not read table %s", f.table),
			Remedy: fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %s;", f.schemaSQL(), role, f.sql, role),
		}
	}
	return nil
}

// tellsApart refuses a partitioned table some of whose partitions send old rows without the key: no
// other columns tell its rows apart, since an index is unique within its partition only.
func tellsApart(f *tableFacts) *capture.OperatorError {
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
select a.attname::text, n.nspname::text, t.typname::text,
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
	types, operators := map[string][2]string{}, map[string]keyOperators{}
	rows, err := c.Query(ctx, columnTypesSQL, p.oid)
	if err != nil {
		return err
	}
	var name, schema, typ string
	var ops keyOperators
	_, err = pgx.ForEachRow(rows, []any{&name, &schema, &typ, &ops.more, &ops.equal, &ops.least}, func() error {
		types[name], operators[name] = [2]string{schema, typ}, ops
		return nil
	})
	if err != nil {
		return err
	}
	for i := range p.table.Columns {
		typ, ops := types[p.table.Columns[i].Name], operators[p.table.Columns[i].Name]
		p.plain.types = append(p.plain.types, quoteIdent(typ[0])+"."+quoteIdent(typ[1]))
		p.escaped.types = append(p.escaped.types, escapedIdent(typ[0])+"."+escapedIdent(typ[1]))
		p.compared = append(p.compared, ops)
	}
	for _, i := range p.table.Key {
		p.before = append(p.before, p.compared[i])
	}
	var member uint32
	var schemas bool
	err = c.QueryRow(ctx, "select oid, pg_catalog.to_regclass('pg_catalog.pg_publication_namespace') is not null from pg_catalog.pg_publication where pubname = $1", publication).Scan(&member, &schemas)
	if err != nil {
		return err
	}
	ask := printSQL
	if schemas {
		ask = strings.Replace(ask, "select ", "select "+schemaPrintSQL, 1)
	}
	p.ask = fmt.Sprintf(ask, p.oid, member)
	if err := c.QueryRow(ctx, p.ask).Scan(&p.print); err != nil {
		return err
	}
	return c.QueryRow(ctx, `select coalesce(nullif(pg_catalog.sum(greatest(c.reltuples, 0))::bigint, 0), -1)
from pg_catalog.pg_class c where c.oid = $1 and c.relkind = 'r'
  or c.oid in (select t.relid from pg_catalog.pg_partition_tree($1) t where t.isleaf)`, p.oid).Scan(&p.rows)
}

// literal writes a value as the column's type, in a session whose encoding is the database's.
func (p *readPlan) literal(col int, value string, encoded bool) string {
	if encoded && !isASCII([]byte(value)) {
		return fmt.Sprintf("(pg_catalog.convert_from(pg_catalog.decode('%s', 'hex'), 'UTF8'))::%s", hex.EncodeToString([]byte(value)), p.escaped.types[col])
	}
	return quoteLiteral(value) + "::" + p.names(encoded).types[col]
}

// behind is the condition for rows behind a key, by the order of ORDER BY. Rows are compared as a
// whole where they can be: only that is a place in the index. Else the first column's own condition
// is there for the index.
func (p *readPlan) behind(key []string, encoded bool) string {
	columns, literals := make([]string, len(key)), make([]string, len(key))
	whole := true
	for i := range key {
		columns[i], literals[i] = p.names(encoded).columns[p.table.Key[i]], p.literal(p.table.Key[i], key[i], encoded)
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
	names := p.names(encoded)
	var conditions []string
	if encoded && !isASCII([]byte(p.filter)) {
		return "", &capture.OperatorError{
			Err:    fmt.Errorf("the publication's row filter of table %s has characters outside ASCII, and the database is not in UTF-8", p.table),
			Remedy: "write the filter with U&'\\…' literals and names in ASCII",
		}
	}
	if p.filter != "" {
		conditions = append(conditions, "("+p.filter+")")
	}
	for _, w := range what.Where {
		col := p.table.Column(w.Column)
		switch {
		case col < 0:
			return "", &capture.OperatorError{Err: fmt.Errorf("table %s has no column %q that is published", p.table, w.Column), Remedy: "name one of the table's columns, as the database calls it"}
		case w.Null:
			conditions = append(conditions, names.columns[col]+" is null")
		case slices.Contains(incomparable, p.table.Columns[col].Type.Base):
			return "", &capture.OperatorError{
				Err:    fmt.Errorf("column %q of table %s is %s, and PostgreSQL has no = for it", w.Column, p.table, p.table.Columns[col].Type.Name),
				Remedy: fmt.Sprintf("leave it out, and have the entry's rule for op read choose: `where: {%s: …}` compares such values, or `if` looks into them", w.Column),
			}
		default: // by the type's own operator: two texts may be one to it
			conditions = append(conditions, names.columns[col]+" "+p.compared[col].equal+" "+p.literal(col, w.Value, encoded))
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
				all = append(all, fmt.Sprintf("%s %s %s", names.columns[col], p.before[i].equal, p.literal(col, key[i], encoded)))
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
		order[i] = names.columns[col]
	}
	return fmt.Sprintf("select %s from %s%s order by %s limit %d", strings.Join(names.columns, ", "), names.from, where, strings.Join(order, ", "), limit), nil
}

// keyMisfit says that the table's key is not what it was.
func keyMisfit(t *capture.Table, key []string) error {
	return &capture.OperatorError{
		Err:    fmt.Errorf("the key of table %s has %d columns, and %d were given", t, len(t.Key), len(key)),
		Remedy: "cancel the backfill, if it began with another key, and begin it again",
	}
}
