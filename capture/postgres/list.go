package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

// relationsSQL reads the names of all relations that people would call tables. Partitions are their
// root's, and what an extension made is the extension's.
const relationsSQL = `
select n.nspname::text, c.relname::text
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition and c.relpersistence <> 't'
  and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
  and not exists (select from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
    and d.objid = c.oid and d.deptype = 'e')
  and exists (select from unnest($1::text[], $2::text[]) as p(schema, name) where n.nspname like p.schema and c.relname like p.name)
order by 1, 2`

// checksSQL reads what the catalog says of columns beside their types: whether they may be NULL, the
// constraints on each alone, and those of their domains.
const checksSQL = `
select a.attrelid, a.attname::text, pg_catalog.quote_ident(a.attname), not a.attnotnull,
  array(select pg_catalog.pg_get_constraintdef(k.oid) from pg_catalog.pg_constraint k
    where k.conrelid = a.attrelid and k.contype = 'c' and k.conkey = array[a.attnum] order by k.conname),
  array(select pg_catalog.pg_get_constraintdef(k.oid) from pg_catalog.pg_constraint k
    where k.contypid = a.atttypid and k.contype = 'c' order by k.conname)
from pg_catalog.pg_attribute a
where a.attrelid = any($1::oid[]) and a.attnum > 0 and not a.attisdropped`

// List returns the tables, views and all that look like tables which the patterns name
// ("schema.table", with * in either part), with what a mapping would want to know of them.
func (s *Source) List(ctx context.Context, patterns []string) ([]capture.Listing, error) {
	var list []capture.Listing
	err := s.query.do(ctx, func(c *pgx.Conn) (err error) {
		list, err = s.listOn(ctx, c, patterns)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	return list, nil
}

func (s *Source) listOn(ctx context.Context, c *pgx.Conn, patterns []string) ([]capture.Listing, error) {
	schemas, likes := []string{}, []string{}
	for _, pattern := range patterns {
		if schema, name, ok := capture.ParseTable(pattern); ok {
			schemas, likes = append(schemas, capture.LikePattern(schema)), append(likes, capture.LikePattern(name))
		}
	}
	rows, err := c.Query(ctx, relationsSQL, schemas, likes)
	if err != nil {
		return nil, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowToStructByPos[tableName])
	if err != nil {
		return nil, err
	}
	var exact []string
	for _, n := range names {
		if capture.Nameable(n.Schema, n.Name) {
			exact = append(exact, n.Schema+"."+n.Name)
		}
	}
	in, err := s.inspectOn(ctx, c, exact, s.connect.User)
	if err != nil {
		return nil, err
	}
	facts, err := readColumnFacts(ctx, c, in)
	if err != nil {
		return nil, err
	}
	known := make(map[string]*tableFacts, len(in.tables))
	for _, f := range in.tables {
		known[f.table.String()] = f
	}
	warnings := map[string][]string{}
	for _, f := range in.advice() {
		if f.Severity >= capture.Warning && f.Table != "" {
			warnings[f.Table] = append(warnings[f.Table], f.Text)
		}
	}
	var list []capture.Listing
	for _, n := range names {
		l := capture.Listing{Table: &capture.Table{Schema: n.Schema, Name: n.Name}, Left: capture.Unnameable}
		if capture.Nameable(n.Schema, n.Name) {
			f := known[n.Schema+"."+n.Name]
			if f == nil {
				continue // it was dropped meanwhile
			}
			l = in.listing(f, facts[f.oid], s.connect.User)
			l.Warnings = warnings[f.table.String()]
		}
		list = append(list, l)
	}
	return list, nil
}

// listing says of one relation whether it can be had, and what its columns are.
func (in *inspection) listing(f *tableFacts, facts map[string]capture.ColumnFacts, role string) capture.Listing {
	l := capture.Listing{Table: f.table, Left: f.streamed(), Denied: !f.usage || !f.selectable}
	if l.Left != "" {
		return l
	}
	for _, column := range f.table.Columns {
		l.Facts = append(l.Facts, facts[column.Name])
	}
	if wide, _ := in.widen(f); wide != nil && len(wide.publication) > 0 || len(f.generated) > 0 {
		f.table.FullSQL = "" // it takes options of the publication, which setup does not decide about
	}
	plan := &setupPlan{}
	switch {
	case plan.refusePlain(in, f):
		l.Left, l.Remedy = strings.TrimPrefix(strings.TrimPrefix(plan.problems[0], f.table.String()), ": "), plan.remedies[0]
		l.Left = strings.TrimSpace(l.Left)
	case len(f.table.Key) == 0:
		l.Left, l.Remedy = capture.Keyless, needsKey(f.sql)
	case l.Denied:
		l.Remedy = fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %s;", f.schemaSQL(), quoteIdent(role), f.sql, quoteIdent(role))
	}
	return l
}

// readColumnFacts reads the facts of all tables' columns, by the tables' OIDs and the columns' names.
func readColumnFacts(ctx context.Context, c *pgx.Conn, in *inspection) (map[uint32]map[string]capture.ColumnFacts, error) {
	oids := []uint32{}
	for _, f := range in.tables {
		oids = append(oids, f.oid)
	}
	rows, err := c.Query(ctx, checksSQL, oids)
	if err != nil {
		return nil, err
	}
	all := map[uint32]map[string]capture.ColumnFacts{}
	var (
		oid              uint32
		name, sql        string
		nullable         bool
		checks, ofDomain []string
	)
	_, err = pgx.ForEachRow(rows, []any{&oid, &name, &sql, &nullable, &checks, &ofDomain}, func() error {
		facts := capture.ColumnFacts{Nullable: nullable}
		for _, check := range checks {
			if labels := capture.CheckedLabels(check, sql); labels != nil {
				facts.Labels = labels
			}
		}
		for _, check := range ofDomain {
			if labels := capture.CheckedLabels(check, "VALUE"); labels != nil && facts.Labels == nil {
				facts.Labels = labels
			}
		}
		if all[oid] == nil {
			all[oid] = map[string]capture.ColumnFacts{}
		}
		all[oid][name] = facts
		return nil
	})
	return all, err
}
