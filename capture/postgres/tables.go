package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

// Tables describes the tables that the patterns name ("schema.table", with * in either
// part), as the catalog has them now and as the stream would: without columns that the publication
// leaves out. Partitions do not count beside their root. What a pattern does not find is
// [Source.Check]'s matter.
func (s *Source) Tables(ctx context.Context, patterns []string) ([]*capture.Table, error) {
	found, err := s.inspect(ctx, patterns)
	if err != nil {
		return nil, err
	}
	return found.described(), nil
}

// described are the tables that can be streamed.
func (in *inspection) described() []*capture.Table {
	var tables []*capture.Table
	for _, f := range in.tables {
		if f.streamed() == "" {
			tables = append(tables, f.table)
		}
	}
	return tables
}

// inspection is what the catalog says about the mapped tables and the publication.
type inspection struct {
	version     int
	plainCase   bool // the database's locale knows capitals of ASCII alone
	publication publication
	ours        declared   // the publication as the server judges by it, as setup would create it where there is none
	others      []declared // the database's other publications
	tables      []*tableFacts
	strangers   []*holder // tables that our publication has and nobody mapped
	missing     []string  // patterns that match no relation
	near        map[string]string
}

// publication is our publication as it is declared.
type publication struct {
	exists, allTables                bool
	insert, update, delete, truncate bool
	viaRoot                          bool
	generated                        bool // stored generated columns are published
	members                          map[string]member
}

// member is one published table: roots where the publication publishes by root, else partitions.
type member struct {
	columns []string // published; nil is all
	filter  string   // row filter
}

// tableFacts is one relation that a pattern names.
type tableFacts struct {
	oid         uint32
	table       *capture.Table
	sql         string // its name as SQL wants it
	kind        byte   // r, p, v, m, f as in pg_class.relkind
	unlogged    bool
	root        string // of a partition: its topmost table
	primary     []string
	leaves      []leafShape
	holders     []*holder // the tables that hold its rows: itself or its partitions
	children    []child   // tables that inherit from it and are not mapped
	inherited   bool      // tables inherit from it, mapped or not
	generated   []string  // stored generated columns, which the stream leaves out
	unpublished []string  // columns that the publication's column list leaves out
	selectable  bool      // the role may read it
	usage       bool      // the role may use its schema
}

// schemaSQL is its schema's name as SQL wants it.
func (f *tableFacts) schemaSQL() string {
	if quoted := quoteIdent(f.table.Schema); strings.HasPrefix(f.sql, quoted) {
		return quoted
	}
	return f.table.Schema
}

// streamed says why the relation's changes are never in the stream; empty when they can be.
func (f *tableFacts) streamed() string {
	switch {
	case f.kind == 'v':
		return "is a view"
	case f.kind == 'm':
		return "is a materialized view"
	case f.kind == 'f':
		return "is a foreign table"
	case f.unlogged:
		return "is unlogged or temporary: its changes are not in the WAL"
	case f.root != "":
		return "is a partition of " + f.root
	}
	return ""
}

// inspect asks the catalog about the patterns' tables and the publication.
func (s *Source) inspect(ctx context.Context, patterns []string) (*inspection, error) {
	var found *inspection
	err := s.query.do(ctx, func(c *pgx.Conn) (err error) {
		found, err = s.inspectOn(ctx, c, patterns, s.connect.User)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("inspect tables: %w", err)
	}
	return found, nil
}

// versionSQL asks for the server's version, and whether the database's locale leaves É as it is. Not
// every encoding has it: where it is not sure to be there, nothing is said.
const versionSQL = `select current_setting('server_version_num')::int,
  case when pg_catalog.getdatabaseencoding() in ('UTF8', 'LATIN1', 'LATIN9') then
    (select pg_catalog.lower(pg_catalog.chr(c)) = pg_catalog.chr(c) from pg_catalog.generate_series(201, 201) c) else false end`

func (s *Source) inspectOn(ctx context.Context, c *pgx.Conn, patterns []string, role string) (*inspection, error) {
	in := &inspection{}
	if err := c.QueryRow(ctx, versionSQL).Scan(&in.version, &in.plainCase); err != nil {
		return nil, err
	}
	var err error
	if in.publication, err = readPublication(ctx, c, s.config.Publication); err != nil {
		return nil, err
	}
	found, err := findTables(ctx, c, slices.Compact(slices.Sorted(slices.Values(patterns))), role)
	if err != nil {
		return nil, err
	}
	in.tables, in.missing = found.tables, found.missing
	if in.near, err = nearNames(ctx, c, in.missing); err != nil {
		return nil, err
	}
	if err := in.describe(ctx, c, newDescriber(s.query, s.config.Publication)); err != nil {
		return nil, fmt.Errorf("describe tables: %w", err)
	}
	if err := in.readIdentities(ctx, c, s.config.Publication); err != nil {
		return nil, err
	}
	for _, f := range in.tables {
		if why := f.unread(role); f.streamed() == "" && why != nil {
			f.table.Unread, f.table.UnreadRemedy = why.Err.Error(), why.Remedy
		}
	}
	return in, nil
}

// readIdentities reads what decides about the application's statements: publications, and the
// replica identities of the tables that hold rows.
func (in *inspection) readIdentities(ctx context.Context, c *pgx.Conn, publication string) error {
	pubs, err := readDeclared(ctx, c, in.version)
	if err != nil {
		return err
	}
	in.ours = declared{name: publication, update: true, delete: true, viaRoot: true, generated: in.version >= generatedRule}
	for _, p := range pubs {
		if p.name == publication {
			in.ours = p
		} else if p.update || p.delete {
			in.others = append(in.others, p)
		}
	}
	tables := map[uint32]*tableFacts{}
	oids := []uint32{}
	for _, f := range in.tables {
		if f.streamed() == "" {
			tables[f.oid] = f
			oids = append(oids, f.oid)
		}
	}
	holders, err := readHolders(ctx, c, oids, &in.ours)
	if err != nil {
		return err
	}
	for _, h := range holders {
		if f := tables[h.root]; f != nil {
			f.holders = append(f.holders, h)
		} else if _, ok := in.ours.publishes(h); ok {
			in.strangers = append(in.strangers, h)
		}
	}
	if err := in.readChildren(ctx, c, tables, oids); err != nil {
		return err
	}
	for _, f := range in.tables {
		in.offerWholeRows(f)
	}
	return nil
}

// offerWholeRows says in the table's description how its old rows become whole, or why they cannot.
func (in *inspection) offerWholeRows(f *tableFacts) {
	if f.streamed() != "" {
		return
	}
	if p, why := in.widen(f); p != nil {
		f.table.FullSQL = p.sql()
	} else {
		f.table.NoFull = why
	}
}

// child is a table that inherits from a mapped one and is not mapped itself.
type child struct {
	name, sql string
	foreign   bool
}

const childrenSQL = `
with recursive below as (
  select i.inhparent as root, i.inhrelid as oid from pg_catalog.pg_inherits i where i.inhparent = any($1::oid[])
  union
  select b.root, i.inhrelid from below b join pg_catalog.pg_inherits i on i.inhparent = b.oid
)
select b.root, c.oid, n.nspname || '.' || c.relname, pg_catalog.format('%I.%I', n.nspname, c.relname), c.relkind = 'f'
from below b join pg_catalog.pg_class c on c.oid = b.oid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where not c.relispartition order by 3`

// readChildren finds the tables that inherit from mapped ones. They are tables of their own to the
// stream, whose rows a SELECT from the parent shows too.
func (in *inspection) readChildren(ctx context.Context, c *pgx.Conn, mapped map[uint32]*tableFacts, oids []uint32) error {
	rows, err := c.Query(ctx, childrenSQL, oids)
	if err != nil {
		return fmt.Errorf("look for tables that inherit: %w", err)
	}
	var (
		root, oid uint32
		k         child
	)
	_, err = pgx.ForEachRow(rows, []any{&root, &oid, &k.name, &k.sql, &k.foreign}, func() error {
		f := mapped[root]
		f.inherited = true
		if mapped[oid] == nil {
			f.children = append(f.children, k)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("look for tables that inherit: %w", err)
	}
	return nil
}

const tablesSQL = `
select c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relreplident::text, c.relpersistence <> 'p',
  pg_catalog.format('%I.%I', n.nspname, c.relname),
  coalesce((select rn.nspname || '.' || r.relname
    from pg_catalog.pg_class r join pg_catalog.pg_namespace rn on rn.oid = r.relnamespace
    where c.relispartition and r.oid = pg_catalog.pg_partition_root(c.oid)), ''),
  case when $1 = '' then false else pg_catalog.has_table_privilege($1, c.oid, 'select') end,
  case when $1 = '' then false else pg_catalog.has_schema_privilege($1, n.oid, 'usage') end
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and `

// Which relations tablesSQL reads: those that patterns with wildcards name, which take only what can be
// streamed, or those of exact names, however many.
const (
	likeTables = `n.nspname like $2 and c.relname like $3
  and c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence = 'p' and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by 2, 3`
	namedTables = `(n.nspname::text, c.relname::text) in (select * from unnest($2::text[], $3::text[]))`
)

// foundTables are the relations that patterns name.
type foundTables struct {
	tables  []*tableFacts // each once, by pattern
	missing []string      // patterns that name none
}

// findTables looks for the relations that patterns name: all exact names in one question, since there
// may be thousands of them.
func findTables(ctx context.Context, c *pgx.Conn, patterns []string, role string) (found foundTables, err error) {
	var schemas, names []string
	for _, pattern := range patterns {
		if schema, name, ok := capture.ParseTable(pattern); ok && !strings.Contains(pattern, "*") {
			schemas, names = append(schemas, schema), append(names, name)
		}
	}
	named := map[string]*tableFacts{}
	if len(names) > 0 {
		facts, err := readTables(ctx, c, tablesSQL+namedTables, role, schemas, names)
		if err != nil {
			return found, fmt.Errorf("look for tables: %w", err)
		}
		for _, f := range facts {
			named[f.table.String()] = f
		}
	}
	seen := map[uint32]bool{}
	for _, pattern := range patterns {
		var facts []*tableFacts
		if f := named[pattern]; f != nil {
			facts = append(facts, f)
		}
		if schema, name, ok := capture.ParseTable(pattern); ok && strings.Contains(pattern, "*") {
			facts, err = readTables(ctx, c, tablesSQL+likeTables, role, capture.LikePattern(schema), capture.LikePattern(name))
			if err != nil {
				return found, fmt.Errorf("look for %s: %w", pattern, err)
			}
		}
		if len(facts) == 0 {
			found.missing = append(found.missing, pattern)
		}
		for _, f := range facts {
			if !seen[f.oid] {
				seen[f.oid] = true
				found.tables = append(found.tables, f)
			}
		}
	}
	return found, nil
}

// readTables returns the relations that a query reads.
func readTables(ctx context.Context, c *pgx.Conn, sql, role string, schemas, names any) ([]*tableFacts, error) {
	rows, err := c.Query(ctx, sql, role, schemas, names)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (*tableFacts, error) {
		f := &tableFacts{table: &capture.Table{}}
		var kind, identity string
		err := row.Scan(&f.oid, &f.table.Schema, &f.table.Name, &kind, &identity, &f.unlogged, &f.sql, &f.root, &f.selectable, &f.usage)
		if err != nil {
			return nil, err
		}
		f.kind, f.table.Identity = kind[0], identityOf(identity[0])
		return f, nil
	})
}

// columnsSQL reads tables' columns. Virtual generated columns are never in the stream.
const columnsSQL = `
select a.attrelid, a.attname::text, a.atttypid, a.attgenerated::text,
  coalesce(a.attnum = any((i.indkey::int2[])[0:i.indnkeyatts - 1]), false),
  case when a.atttypid >= 16384 then (
    with recursive based as (
      select t.oid, t.typbasetype from pg_catalog.pg_type t where t.oid = a.atttypid
      union all select t.oid, t.typbasetype from based join pg_catalog.pg_type t on t.oid = based.typbasetype
    ) select pg_catalog.array_agg(e.enumlabel::text order by e.enumsortorder) from pg_catalog.pg_enum e join based on based.oid = e.enumtypid
  ) end
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
left join pg_catalog.pg_index i on i.indrelid = a.attrelid and i.indimmediate and i.indisvalid and case c.relreplident
    when 'd' then i.indisprimary when 'i' then i.indisreplident else false end
where a.attrelid = any($1::oid[]) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum`

// columnFacts is a column as the catalog has it.
type columnFacts struct {
	table           uint32
	name, generated string
	oid             uint32 // of its type
	key             bool
	labels          []string // of an enum, also behind a domain
}

// describe fills in columns, keys and partitions of all tables.
func (in *inspection) describe(ctx context.Context, c *pgx.Conn, d *describer) error {
	oids := make([]uint32, 0, len(in.tables))
	for _, f := range in.tables {
		oids = append(oids, f.oid)
	}
	shapes, err := readShapes(ctx, c, d.publication, oids)
	if err != nil {
		return err
	}
	rows, err := c.Query(ctx, columnsSQL, oids)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (col columnFacts, err error) {
		return col, row.Scan(&col.table, &col.name, &col.oid, &col.generated, &col.key, &col.labels)
	})
	if err != nil {
		return err
	}
	columns := make(map[uint32][]columnFacts, len(oids))
	for _, col := range all {
		columns[col.table] = append(columns[col.table], col)
	}
	for _, f := range in.tables {
		published := in.publication.members[f.table.String()].columns
		if in.version < generatedRule {
			// The server's view lists generated columns too where the publication has no list (15);
			// none are sent.
			columns[f.oid] = withholdGenerated(f, columns[f.oid])
		}
		if err := d.describeTable(ctx, c, f, columns[f.oid], published, in.publication.generated); err != nil {
			return fmt.Errorf("%s: %w", f.table, err)
		}
		d.settle(f, shapes[f.oid])
	}
	return nil
}

// describeTable fills in the columns of a table that the stream has, and those that it has not.
func (d *describer) describeTable(ctx context.Context, c *pgx.Conn, f *tableFacts, columns []columnFacts, published []string, generated bool) error {
	for _, col := range columns {
		if col.generated == "v" || col.generated == "s" && !generated && !slices.Contains(published, col.name) {
			f.generated = append(f.generated, col.name)
			continue
		}
		if published != nil && !slices.Contains(published, col.name) {
			f.unpublished = append(f.unpublished, col.name)
			continue
		}
		typ, err := d.known.typeOf(ctx, c, col.oid, typeMessage{})
		if err != nil {
			return err
		}
		if len(col.labels) > 0 {
			labelled := *typ
			labelled.Labels = col.labels
			typ = &labelled
		}
		f.table.Columns = append(f.table.Columns, capture.Column{Name: col.name, Type: typ,
			Identity: col.key || f.table.Identity == capture.IdentityFull})
	}
	return nil
}

// withholdGenerated takes generated columns out.
func withholdGenerated(f *tableFacts, columns []columnFacts) (rest []columnFacts) {
	for _, col := range columns {
		if col.generated != "" {
			f.generated = append(f.generated, col.name)
		} else {
			rest = append(rest, col)
		}
	}
	return rest
}

// settle derives what rests on the columns and the partitions.
func (d *describer) settle(f *tableFacts, shape tableShape) {
	f.primary, f.leaves = shape.primary, shape.leaves
	f.table.Partitioned = shape.partitioned
	d.number(&shape, f.table)
	f.table.Key = keyOf(f.table, shape.primary)
	rel := relation{table: f.table}
	rel.judge(shape)
}

// maxNear is for how many patterns that name nothing a similar name is looked for.
const maxNear = 100

// nearNames looks for tables with similar names, for "did you mean".
func nearNames(ctx context.Context, c *pgx.Conn, missing []string) (map[string]string, error) {
	near := make(map[string]string, len(missing))
	if len(missing) == 0 {
		return near, nil
	}
	rows, err := c.Query(ctx, `select n.nspname::text, c.relname::text
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by 1, 2 limit 10000`)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowToStructByPos[tableName])
	if err != nil {
		return nil, err
	}
	for _, pattern := range missing[:min(len(missing), maxNear)] {
		near[pattern] = nearest(names, pattern)
	}
	return near, nil
}

type tableName struct{ Schema, Name string }

// nearest returns the name that is most like a pattern; empty when none is.
func nearest(names []tableName, pattern string) string {
	schema, name, ok := capture.ParseTable(pattern)
	if !ok {
		schema, name = "", pattern
	}
	best, least := "", 4
	for _, n := range names {
		away := distance(n.Name, name)
		if n.Schema != schema {
			away++ // another schema is a small difference, whatever its name
		}
		if away < least {
			best, least = n.Schema+"."+n.Name, away
		}
	}
	return best
}

// distance is the number of letters to insert, delete or change to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
