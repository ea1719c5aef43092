package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

// describer makes relations of what the stream tells of them. What it does not tell (primary key,
// partitions, types that are not built in) is asked of the catalog, which may be newer than the
// stream: names that are gone are left out.
type describer struct {
	query       *querier
	known       *catalog
	publication string
}

func newDescriber(q *querier, publication string) *describer {
	return &describer{q, newCatalog(0), publication}
}

func (d *describer) relation(ctx context.Context, m *description) (*relation, error) {
	var shape tableShape
	t := &capture.Table{Schema: m.schema, Name: m.name, Identity: identityOf(m.identity)}
	rel := &relation{oid: m.oid, table: t}
	err := d.query.within(ctx, func(ctx context.Context, c *pgx.Conn) (err error) {
		if shape, err = readShape(ctx, c, d.publication, m.oid); err != nil {
			return err
		}
		t.Columns = make([]capture.Column, len(m.columns))
		for i, col := range m.columns {
			typ, err := d.known.typeOf(ctx, c, col.oid, m.types[col.oid])
			if err != nil {
				return err
			}
			t.Columns[i] = capture.Column{Name: col.name, Type: typ, Identity: col.key}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if before, known := d.known.shapes[m.oid]; shape.gone && known {
		shape = before
	} else if !shape.gone {
		d.known.shapes[m.oid] = shape
	}
	t.Partitioned = shape.partitioned
	d.number(&shape, t)
	t.FullSQL = "rowhook setup" // which looks first at whether the application's statements would go on
	t.Key = keyOf(t, shape.primary)
	rel.judge(shape)
	return rel, nil
}

// judge derives what tuples without marks, or with the root's marks, tell.
func (rel *relation) judge(shape tableShape) {
	t := rel.table
	// A server that looks into a past catalog wrongly tells so, at times: see
	// findings/decoding-after-a-rolled-back-alter.sh.
	for i := range t.Columns {
		if name := t.Columns[i].Name; t.Column(name) != i {
			rel.twice = name
		}
	}
	if shape.gone {
		// It may have been partitioned. Then the identity that the stream tells of is not that of
		// its tuples.
		rel.keyed = make([]bool, len(t.Columns))
		for i := range rel.keyed {
			rel.keyed[i], t.Columns[i].Identity = true, false
		}
		return
	}
	if !shape.partitioned {
		if t.Identity == capture.IdentityDefault || t.Identity == capture.IdentityIndex {
			rel.fixed = identityColumns(t)
		}
		return
	}
	rel.whole = true
	for _, leaf := range shape.leaves {
		if leaf.identity == capture.IdentityFull {
			continue
		}
		columns := columnIndexes(t, leaf.columns)
		if rel.whole { // the first leaf that is not FULL
			rel.whole, rel.keyed, rel.fixed = false, make([]bool, len(t.Columns)), columns
		}
		for _, i := range columns {
			rel.keyed[i] = true
		}
		rel.fixed = slices.DeleteFunc(rel.fixed, func(i int) bool { return !slices.Contains(columns, i) })
	}
	// What old rows of all partitions hold is what the table promises.
	for i := range t.Columns {
		t.Columns[i].Identity = rel.whole || slices.Contains(rel.fixed, i)
	}
}

func identityColumns(t *capture.Table) []int {
	var out []int
	for i := range t.Columns {
		if t.Columns[i].Identity {
			out = append(out, i)
		}
	}
	return out
}

// columnIndexes returns where the named columns are; nil when one is missing.
func columnIndexes(t *capture.Table, names []string) []int {
	out := make([]int, 0, len(names))
	for _, name := range names {
		i := t.Column(name)
		if i < 0 {
			return nil
		}
		out = append(out, i)
	}
	return out
}

// keyOf returns the primary key, else the replica identity if that is fewer than all columns.
func keyOf(t *capture.Table, primary []string) []int {
	if key := columnIndexes(t, primary); len(key) > 0 {
		return key
	}
	if key := identityColumns(t); len(key) < len(t.Columns) {
		return key
	}
	return nil
}

func identityOf(b byte) capture.Identity {
	switch b {
	case 'd':
		return capture.IdentityDefault
	case 'i':
		return capture.IdentityIndex
	case 'f':
		return capture.IdentityFull
	case 'n':
		return capture.IdentityNothing
	}
	return 0
}

func sameTable(a, b *capture.Table) bool {
	return a.Schema == b.Schema && a.Name == b.Name && a.Identity == b.Identity &&
		a.Partitioned == b.Partitioned && a.Version == b.Version && a.Filtered == b.Filtered && a.KeyDeferred == b.KeyDeferred &&
		slices.Equal(a.Key, b.Key) && slices.Equal(a.Columns, b.Columns)
}

// tableShape is what the catalog adds to a relation message.
type tableShape struct {
	gone        bool // the catalog does not have the table any more
	partitioned bool
	primary     []string // the primary key's columns in key order
	leaves      []leafShape
	// files names the table's storage, or its partitions': a rewritten table has another one.
	files string
	// published is another one when what the publication brings of the table is another, or was for
	// a while: what happened to rows meanwhile never comes.
	published string
	filtered  bool     // the publication has a row filter for it
	deferred  bool     // the primary key may be violated for a while
	columns   []string // with what is known of each
	numbers   []int32
	blind     []bool // their collation takes different texts for equal
}

// number adds to a table's description what tells that it was rewritten, and what its columns'
// types do not tell.
func (d *describer) number(s *tableShape, t *capture.Table) {
	t.Version = s.files + " " + s.published
	t.Filtered, t.KeyDeferred = s.filtered, s.deferred
	for i := range t.Columns {
		c := &t.Columns[i]
		at := slices.Index(s.columns, c.Name)
		if at < 0 {
			continue
		}
		c.Number = int(s.numbers[at])
		if s.blind[at] {
			c.Type = d.known.folded(c.Type)
		}
	}
}

// leafShape is a partition's own replica identity.
type leafShape struct {
	table    string // schema.table
	sql      string // its name as SQL wants it
	identity capture.Identity
	columns  []string
}

const indexColumns = `
  select coalesce(array_agg(a.attname::text order by k.n), '{}')
  from pg_catalog.pg_index i
  cross join lateral unnest(i.indkey) with ordinality k(attnum, n)
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  where i.indrelid = c.oid and k.n <= i.indnkeyatts`

// shapesSQL takes what not every version has from rows as JSON. A publication's xmin tells that it was
// altered, though it may be again as it was.
const shapesSQL = `
select c.oid, c.relkind = 'p', (` + indexColumns + ` and i.indisprimary),
  case c.relkind when 'p' then coalesce((
    select pg_catalog.md5(pg_catalog.string_agg(l.oid || ':' || l.relfilenode, ',' order by l.oid))
    from pg_catalog.pg_partition_tree(c.oid) t join pg_catalog.pg_class l on l.oid = t.relid where t.isleaf), '')
  else c.oid || ':' || c.relfilenode end,
  a.names, a.numbers, a.blind,
  coalesce((select not i.indimmediate from pg_catalog.pg_index i where i.indrelid = c.oid and i.indisprimary), false),
  coalesce(p.oid || ':' || p.xmin, '') || coalesce((
    select ' ' || pg_catalog.md5(pg_catalog.string_agg(pg_catalog.to_jsonb(m)::text, ',' order by m.oid))
    from pg_catalog.pg_publication_rel m where m.prpubid = p.oid and m.prrelid = any(r.oids)), '') || %[1]s,
  not %[2]s and exists (select from pg_catalog.pg_publication_rel m
    where m.prpubid = p.oid and m.prrelid = c.oid and pg_catalog.to_jsonb(m) ->> 'prqual' is not null)
from pg_catalog.pg_class c
left join pg_catalog.pg_publication p on p.pubname = $2
cross join lateral (
  select coalesce(pg_catalog.array_agg(a.attname::text order by a.attnum), '{}') as names, coalesce(pg_catalog.array_agg(a.attnum::int order by a.attnum), '{}') as numbers,
    coalesce(pg_catalog.array_agg(exists (select from pg_catalog.pg_collation l where l.oid = a.attcollation and not l.collisdeterministic) order by a.attnum), '{}') as blind
  from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) a
cross join lateral (
  select case when c.relkind = 'p' or c.relispartition then array(
    select t.relid::oid from pg_catalog.pg_partition_tree(c.oid) t union select t.relid::oid from pg_catalog.pg_partition_ancestors(c.oid) t(relid))
  else array[c.oid] end as oids) r
where c.oid = any($1::oid[])`

// Of schemas that are published, from PostgreSQL 15, that of a table and its partitions.
const (
	schemasPublished = `coalesce((
    select ' ' || pg_catalog.md5(pg_catalog.string_agg(n.oid || ':' || n.pnnspid, ',' order by n.oid)) from pg_catalog.pg_publication_namespace n
    where n.pnpubid = p.oid and n.pnnspid in (select s.relnamespace from pg_catalog.pg_class s where s.oid = any(r.oids))), '')`
	schemaPublished = `exists (select from pg_catalog.pg_publication_namespace n where n.pnpubid = p.oid and n.pnnspid = c.relnamespace)`
)

const leavesSQL = `
select r.oid, n.nspname || '.' || c.relname, pg_catalog.format('%I.%I', n.nspname, c.relname), c.relreplident::text, (` + indexColumns + ` and i.indimmediate and case c.relreplident
    when 'd' then i.indisprimary when 'i' then i.indisreplident else false end)
from unnest($1::oid[]) r(oid) cross join lateral pg_catalog.pg_partition_tree(r.oid) l
join pg_catalog.pg_class c on c.oid = l.relid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where l.isleaf
order by 2`

// readShape asks for a table by OID.
func readShape(ctx context.Context, c *pgx.Conn, publication string, oid uint32) (tableShape, error) {
	shapes, err := readShapes(ctx, c, publication, []uint32{oid})
	return shapes[oid], err
}

// readShapes asks for tables by OID, all at once: there may be thousands.
func readShapes(ctx context.Context, c *pgx.Conn, publication string, oids []uint32) (map[uint32]tableShape, error) {
	shapes := make(map[uint32]tableShape, len(oids))
	for _, oid := range oids {
		shapes[oid] = tableShape{gone: true}
	}
	schemas, err := publishesSchemas(ctx, c)
	if err != nil {
		return shapes, err
	}
	sql := fmt.Sprintf(shapesSQL, "''", "false")
	if schemas {
		sql = fmt.Sprintf(shapesSQL, schemasPublished, schemaPublished)
	}
	rows, err := c.Query(ctx, sql, oids, publication)
	if err != nil {
		return shapes, err
	}
	var (
		oid   uint32
		shape tableShape
		roots []uint32
	)
	_, err = pgx.ForEachRow(rows, []any{&oid, &shape.partitioned, &shape.primary, &shape.files, &shape.columns, &shape.numbers,
		&shape.blind, &shape.deferred, &shape.published, &shape.filtered}, func() error {
		shapes[oid] = shape
		if shape.partitioned {
			roots = append(roots, oid)
		}
		shape = tableShape{}
		return nil
	})
	if err != nil || len(roots) == 0 {
		return shapes, err
	}
	return shapes, readLeaves(ctx, c, roots, shapes)
}

// schemasVersion is the first version with schemas in publications.
const schemasVersion = 15

// publishesSchemas reports whether publications may have schemas, as the server's version says, which it
// tells at the beginning of a session.
func publishesSchemas(ctx context.Context, c *pgx.Conn) (yes bool, err error) {
	version := c.PgConn().ParameterStatus("server_version")
	digits := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if major, err := strconv.Atoi(version[:max(digits, 0)]); err == nil {
		return major >= schemasVersion, nil
	}
	err = c.QueryRow(ctx, "select pg_catalog.to_regclass('pg_catalog.pg_publication_namespace') is not null").Scan(&yes)
	return yes, err
}

// readLeaves adds the partitions to the shapes of their roots.
func readLeaves(ctx context.Context, c *pgx.Conn, roots []uint32, shapes map[uint32]tableShape) error {
	rows, err := c.Query(ctx, leavesSQL, roots)
	if err != nil {
		return err
	}
	var (
		oid      uint32
		leaf     leafShape
		identity string
	)
	_, err = pgx.ForEachRow(rows, []any{&oid, &leaf.table, &leaf.sql, &identity, &leaf.columns}, func() error {
		if identity != "" {
			leaf.identity = identityOf(identity[0])
		}
		shape := shapes[oid]
		shape.leaves = append(shape.leaves, leaf)
		shapes[oid] = shape
		leaf = leafShape{}
		return nil
	})
	return err
}
