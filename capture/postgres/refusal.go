package postgres

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

// A server refuses the UPDATE and DELETE of a published table whose replica identity does not fit
// what is published of it. That hits the application, not the publication's subscribers, so that
// nothing that setup runs and no remedy that check prints may bring it about. This is the server's
// judgement (its CheckCmdReplicaIdentity), for the state that the catalog has and for states that
// we plan.

// holder is one table that holds rows: a plain table or a partition without partitions of its own.
type holder struct {
	oid, root uint32 // root is the topmost partitioned table, or the table itself
	name, sql string // schema.table, and as SQL wants it
	identity  capture.Identity
	columns   []string // of the replica identity, if an index is it; none where there is no such index
	primary   []string // of the primary key, if REPLICA IDENTITY DEFAULT would use it
	index     string   // another index that REPLICA IDENTITY USING INDEX would take, and its columns
	unique    []string
	stored    []string // generated columns
	virtual   []string
	column    string   // any column, as SQL wants it
	lineage   []uint32 // itself and the partitioned tables above it
	schemas   []uint32 // where these are
}

// declared is a publication as the server judges by it.
type declared struct {
	oid                uint32
	name               string
	all, sequences     bool
	update, delete     bool
	viaRoot, generated bool
	tables             map[uint32]declaredTable
	schemas            map[uint32]bool
}

// declaredTable is a table that a publication names.
type declaredTable struct {
	sql     string
	columns []string // its column list; nil when it has none
	filter  []string // the columns that its row filter looks at
	except  bool     // it is left out of all tables
}

// clone returns a publication whose tables can be changed.
func (p declared) clone() declared {
	p.tables = maps.Clone(p.tables)
	if p.tables == nil {
		p.tables = map[uint32]declaredTable{}
	}
	return p
}

// publishes reports whether the publication has the table, and under which table's list and filter.
func (p *declared) publishes(h *holder) (as declaredTable, ok bool) {
	if p.all {
		for _, oid := range h.lineage {
			if p.tables[oid].except {
				return as, false
			}
		}
		return as, true
	}
	for i, oid := range h.lineage { // from the table itself upwards
		t, named := p.tables[oid]
		named = named || p.schemas[h.schemas[i]]
		if !named {
			continue
		}
		ok = true
		if i == 0 || p.viaRoot {
			as = t
		}
	}
	return as, ok
}

// refusal is why the server refuses the application's UPDATE and DELETE of a table.
type refusal struct {
	publication string
	statements  string // UPDATE, DELETE or both
	text        string
}

// refusals judges a table under publications, as the server does.
func (h *holder) refusals(pubs []declared, version int) []refusal {
	var out []refusal
	for i := range pubs {
		p := &pubs[i]
		as, ok := p.publishes(h)
		if !ok || !p.update && !p.delete {
			continue
		}
		if text := h.refusal(p, as, version); text != "" {
			out = append(out, refusal{p.name, p.statements(), text})
		}
	}
	return out
}

// statements are those of the application that the publication can make fail.
func (p *declared) statements() string {
	switch {
	case !p.delete:
		return "UPDATE"
	case !p.update:
		return "DELETE"
	}
	return "UPDATE and DELETE"
}

// noIdentity is the refusal of a table without replica identity.
const noIdentity = "it has no usable replica identity"

func (h *holder) refusal(p *declared, as declaredTable, version int) string {
	full := h.identity == capture.IdentityFull
	if !full && len(h.columns) == 0 {
		return noIdentity
	}
	if outside := without(as.filter, h.columns); !full && len(outside) > 0 {
		return fmt.Sprintf("the row filter in publication %s looks at %s, which the replica identity does not have", p.name, strings.Join(outside, ", "))
	}
	generated := slices.Concat(h.stored, h.virtual)
	if full {
		if as.columns != nil {
			return fmt.Sprintf("it is REPLICA IDENTITY FULL, and publication %s has a column list for it", p.name)
		}
	} else {
		if outside := without(h.columns, as.columns); as.columns != nil && len(outside) > 0 {
			return fmt.Sprintf("the column list in publication %s leaves out %s of the replica identity", p.name, strings.Join(outside, ", "))
		}
		generated = within(generated, h.columns)
	}
	if p.generated || as.columns != nil {
		generated = within(generated, h.virtual)
	}
	if version >= generatedRule && len(generated) > 0 {
		return fmt.Sprintf("publication %s does not publish the generated %s, which the replica identity has", p.name, strings.Join(generated, ", "))
	}
	return ""
}

// generatedRule is the first version that refuses replica identities with generated columns that
// are not published, and that can publish stored ones.
const generatedRule = 180000

func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(others, s) })
}

func within(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !slices.Contains(others, s) })
}

const declaredSQL = `
select p.oid, p.pubname::text, p.puballtables, coalesce((pg_catalog.to_jsonb(p) ->> 'puballsequences')::bool, false),
  p.pubupdate, p.pubdelete, p.pubviaroot, coalesce(pg_catalog.to_jsonb(p) ->> 'pubgencols', 'n') = 's'
from pg_catalog.pg_publication p order by p.pubname`

// declaredTablesSQL reads row filters by the columns in their parsed form, which every version
// writes alike.
const declaredTablesSQL = `
select r.prpubid, r.prrelid, r.prrelid::pg_catalog.regclass::text, coalesce((j.j ->> 'prexcept')::bool, false),
  (select pg_catalog.array_agg(a.attname::text order by a.attnum)
    from pg_catalog.jsonb_array_elements_text(case pg_catalog.jsonb_typeof(j.j -> 'prattrs') when 'array' then j.j -> 'prattrs' end) n
    join pg_catalog.pg_attribute a on a.attrelid = r.prrelid and a.attnum = n::int2),
  (select pg_catalog.array_agg(distinct a.attname::text)
    from pg_catalog.regexp_matches(j.j ->> 'prqual', ':varattno (\d+)', 'g') m
    join pg_catalog.pg_attribute a on a.attrelid = r.prrelid and a.attnum = m[1]::int2)
from pg_catalog.pg_publication_rel r cross join lateral (select pg_catalog.to_jsonb(r) as j) j`

// readDeclared reads the database's publications: each of them can make a statement fail.
func readDeclared(ctx context.Context, c *pgx.Conn, version int) ([]declared, error) {
	rows, err := c.Query(ctx, declaredSQL)
	if err != nil {
		return nil, fmt.Errorf("read publications: %w", err)
	}
	pubs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p declared, err error) {
		p.tables, p.schemas = map[uint32]declaredTable{}, map[uint32]bool{}
		return p, row.Scan(&p.oid, &p.name, &p.all, &p.sequences, &p.update, &p.delete, &p.viaRoot, &p.generated)
	})
	if err != nil {
		return nil, fmt.Errorf("read publications: %w", err)
	}
	byOID := map[uint32]*declared{}
	for i := range pubs {
		byOID[pubs[i].oid] = &pubs[i]
	}
	var (
		publication, oid uint32
		t                declaredTable
	)
	if rows, err = c.Query(ctx, declaredTablesSQL); err == nil {
		_, err = pgx.ForEachRow(rows, []any{&publication, &oid, &t.sql, &t.except, &t.columns, &t.filter}, func() error {
			if p := byOID[publication]; p != nil {
				p.tables[oid] = t
			}
			t = declaredTable{}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read publications' tables: %w", err)
	}
	if version < 150000 {
		return pubs, nil
	}
	if rows, err = c.Query(ctx, `select pnpubid, pnnspid from pg_catalog.pg_publication_namespace`); err == nil {
		_, err = pgx.ForEachRow(rows, []any{&publication, &oid}, func() error {
			if p := byOID[publication]; p != nil {
				p.schemas[oid] = true
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read publications' schemas: %w", err)
	}
	return pubs, nil
}

// identityColumnsOf are the columns of the index that the condition on i names. One that is
// deferrable or not valid is no replica identity, and columns that an index only includes are not
// part of it.
const identityColumnsOf = `
  (select coalesce(pg_catalog.array_agg(a.attname::text order by k.n), '{}')
  from pg_catalog.pg_index i
  cross join lateral pg_catalog.unnest(i.indkey) with ordinality k(attnum, n)
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  where i.indrelid = c.oid and k.n <= i.indnkeyatts and i.indimmediate and i.indisvalid and `

// holdersSQL finds the tables that hold rows: those of $1, and all that publication $2 has. The
// last two columns are an index that could be the identity.
const holdersSQL = `
with roots as (
  select pg_catalog.unnest($1::oid[]) as oid
  union select r.prrelid from pg_catalog.pg_publication_rel r where r.prpubid = $2
  union select c.oid from pg_catalog.pg_class c where c.relkind in ('r', 'p') and c.relnamespace = any($3::oid[])
  union select c.oid from pg_catalog.pg_class c where $4 and c.relkind = 'r' and c.oid >= 16384
), held as (
  select oid from roots
  union select t.relid from roots cross join lateral pg_catalog.pg_partition_tree(roots.oid) t where t.isleaf
)
select c.oid, coalesce(pg_catalog.pg_partition_root(c.oid)::oid, c.oid), n.nspname || '.' || c.relname,
  pg_catalog.format('%I.%I', n.nspname, c.relname), c.relreplident::text,
  ` + identityColumnsOf + ` case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end),
  ` + identityColumnsOf + ` i.indisprimary),
  coalesce(u.name, ''), coalesce(u.columns, '{}'),
  array(select a.attname::text from pg_catalog.pg_attribute a where a.attrelid = c.oid and not a.attisdropped and a.attgenerated = 's' order by a.attnum),
  array(select a.attname::text from pg_catalog.pg_attribute a where a.attrelid = c.oid and not a.attisdropped and a.attgenerated = 'v' order by a.attnum),
  coalesce((select pg_catalog.quote_ident(a.attname) from pg_catalog.pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum limit 1), ''),
  l.oids, l.schemas
from held join pg_catalog.pg_class c on c.oid = held.oid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
cross join lateral (select pg_catalog.array_agg(x.oid order by x.n) as oids, pg_catalog.array_agg(xc.relnamespace order by x.n) as schemas
  from (select c.oid as oid, 0::bigint as n
    union all select a.relid::oid, a.n from pg_catalog.pg_partition_ancestors(c.oid) with ordinality a(relid, n) where a.relid <> c.oid) x
  join pg_catalog.pg_class xc on xc.oid = x.oid) l
left join lateral (select pg_catalog.format('%I', ic.relname) as name, k.columns
  from pg_catalog.pg_index i join pg_catalog.pg_class ic on ic.oid = i.indexrelid
  cross join lateral (select pg_catalog.array_agg(a.attname::text order by k.n) as columns, pg_catalog.bool_and(a.attnotnull) as whole
    from pg_catalog.unnest(i.indkey) with ordinality k(attnum, n)
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum where k.n <= i.indnkeyatts) k
  where i.indrelid = c.oid and i.indisunique and i.indimmediate and i.indisvalid and i.indpred is null and i.indexprs is null
    and not i.indisprimary and k.whole
  order by i.indnkeyatts, i.indexrelid limit 1) u on true
where c.relkind = 'r' and c.relpersistence = 'p'
order by 3`

// readHolders reads the tables behind the relations, and behind our publication.
func readHolders(ctx context.Context, c *pgx.Conn, relations []uint32, ours *declared) ([]*holder, error) {
	schemas := slices.Collect(maps.Keys(ours.schemas))
	rows, err := c.Query(ctx, holdersSQL, relations, ours.oid, schemas, ours.all)
	if err != nil {
		return nil, fmt.Errorf("read replica identities: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*holder, error) {
		var (
			h        holder
			identity string
		)
		err := row.Scan(&h.oid, &h.root, &h.name, &h.sql, &identity, &h.columns, &h.primary, &h.index, &h.unique,
			&h.stored, &h.virtual, &h.column, &h.lineage, &h.schemas)
		if err == nil && identity != "" {
			h.identity = identityOf(identity[0])
		}
		return &h, err
	})
	if err != nil {
		return nil, fmt.Errorf("read replica identities: %w", err)
	}
	return list, nil
}
