package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

const publicationSQL = `
select p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
  coalesce(pg_catalog.to_jsonb(p) ->> 'pubgencols', 'n') = 's'
from pg_catalog.pg_publication p where p.pubname = $1`

// membersSQL takes what not every version has from the row as JSON.
const membersSQL = `
select m.schemaname::text, m.tablename::text,
  coalesce((select pg_catalog.array_agg(c) from pg_catalog.jsonb_array_elements_text(pg_catalog.to_jsonb(m) -> 'attnames') c), '{}'),
  coalesce(pg_catalog.to_jsonb(m) ->> 'rowfilter', '')
from pg_catalog.pg_publication_tables m where m.pubname = $1`

func readPublication(ctx context.Context, c *pgx.Conn, name string) (publication, error) {
	p := publication{members: map[string]member{}}
	err := c.QueryRow(ctx, publicationSQL, name).
		Scan(&p.allTables, &p.insert, &p.update, &p.delete, &p.truncate, &p.viaRoot, &p.generated)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("read publication %s: %w", name, err)
	}
	p.exists = true
	rows, err := c.Query(ctx, membersSQL, name)
	if err != nil {
		return p, fmt.Errorf("read publication %s: %w", name, err)
	}
	for rows.Next() {
		var (
			schema, table string
			m             member
		)
		if err := rows.Scan(&schema, &table, &m.columns, &m.filter); err != nil {
			return p, fmt.Errorf("read publication %s: %w", name, err)
		}
		if len(m.columns) == 0 {
			m.columns = nil
		}
		p.members[schema+"."+table] = m
	}
	if err := rows.Err(); err != nil {
		return p, fmt.Errorf("read publication %s: %w", name, err)
	}
	return p, nil
}

// Drift compares the mapped tables with what is published: tables, partitions, row
// filters, column lists and replica identities. Each finding carries the statement that
// cures it; a publication is only ever altered. No findings means that the stream brings what is mapped.
func (s *Source) Drift(ctx context.Context, patterns []string) ([]capture.Finding, error) {
	in, err := s.inspect(ctx, patterns)
	if err != nil {
		return nil, err
	}
	return in.differences(s.config.Publication), nil
}

// differences judges the publication and what of each table it brings.
func (in *inspection) differences(name string) []capture.Finding {
	var out []capture.Finding
	p := &in.publication
	if !p.exists {
		out = append(out, capture.Finding{Severity: capture.Error, Code: "publication", Subject: name,
			Text: fmt.Sprintf("publication %s does not exist", name), Remedy: "rowhook setup"})
	} else {
		out = append(out, p.optionFindings(name, in.tables)...)
	}
	for _, pattern := range in.missing {
		if !strings.Contains(pattern, "*") {
			out = append(out, in.missingFinding(pattern))
		}
	}
	for _, f := range in.tables {
		out = append(out, f.differences(name, p)...)
	}
	return out
}

// advice is what else is worth knowing of each table.
func (in *inspection) advice() []capture.Finding {
	var out []capture.Finding
	for _, pattern := range in.missing {
		if strings.Contains(pattern, "*") {
			out = append(out, in.missingFinding(pattern))
		}
	}
	for _, f := range in.tables {
		if f.streamed() == "" {
			out = append(out, f.advice()...)
		}
	}
	return out
}

func (in *inspection) missingFinding(pattern string) capture.Finding {
	f := capture.Finding{Severity: capture.Error, Code: "table", Subject: pattern, Table: pattern,
		Text:   fmt.Sprintf("table %s does not exist", pattern),
		Remedy: "correct the name in mapping"}
	if strings.Contains(pattern, "*") {
		f.Severity, f.Text = capture.Warning, fmt.Sprintf("no table matches %s", pattern)
	}
	if _, _, ok := capture.ParseTable(pattern); !ok {
		f.Text = fmt.Sprintf("%q is not a table's name with its schema, such as public.loans", pattern)
	}
	if near := in.near[pattern]; near != "" {
		f.Remedy = fmt.Sprintf("did you mean %s?", near)
	}
	return f
}

// optionFindings judges what the publication publishes of each table.
func (p *publication) optionFindings(name string, tables []*tableFacts) []capture.Finding {
	var out []capture.Finding
	var off []string
	for _, option := range []struct {
		name string
		on   bool
	}{{"insert", p.insert}, {"update", p.update}, {"delete", p.delete}, {"truncate", p.truncate}} {
		if !option.on {
			off = append(off, option.name)
		}
	}
	if len(off) > 0 {
		out = append(out, capture.Finding{Severity: capture.Error, Code: "publication_publish", Subject: name,
			Text:   fmt.Sprintf("publication %s leaves out %s", name, strings.Join(off, ", ")),
			Remedy: fmt.Sprintf("ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate');", quoteIdent(name))})
	}
	partitioned := slices.ContainsFunc(tables, func(f *tableFacts) bool { return f.kind == 'p' })
	if partitioned && !p.viaRoot {
		out = append(out, capture.Finding{Severity: capture.Error, Code: "publication_root", Subject: name,
			Text:   fmt.Sprintf("publication %s publishes partitions under their own names", name),
			Remedy: fmt.Sprintf("ALTER PUBLICATION %s SET (publish_via_partition_root = true);", quoteIdent(name))})
	}
	return out
}

type addFinding func(severity capture.Severity, code, text, remedy string)

// adder returns a function that adds findings about the table to out.
func (f *tableFacts) adder(out *[]capture.Finding) addFinding {
	name := f.table.String()
	return func(severity capture.Severity, code, text, remedy string) {
		*out = append(*out, capture.Finding{Severity: severity, Code: code, Subject: name, Table: name, Text: name + " " + text, Remedy: remedy})
	}
}

// differences judges whether the stream brings the table as it is mapped.
func (f *tableFacts) differences(publication string, p *publication) []capture.Finding {
	var out []capture.Finding
	add := f.adder(&out)
	if why := f.streamed(); why != "" {
		remedy := "take it out of mapping, or map the tables behind it"
		if f.root != "" {
			remedy = "map " + f.root + ": changes of partitions come as the root's"
		} else if f.unlogged {
			remedy = fmt.Sprintf("ALTER TABLE %s SET LOGGED;", f.sql)
		}
		add(capture.Error, "table_kind", why, remedy)
		return out
	}
	if p.exists {
		f.publicationFindings(publication, p, add)
	}
	f.identityFindings(p, add)
	return out
}

// advice names what the table itself keeps from the stream or from its events.
func (f *tableFacts) advice() []capture.Finding {
	var out []capture.Finding
	add := f.adder(&out)
	if len(f.primary) == 0 {
		add(capture.Warning, "no_key", "has no primary key", "give the table a primary key, or name the columns in the mapping entry's `key`")
	}
	if len(f.generated) > 0 {
		add(capture.Warning, "generated_columns", "has generated columns that are not published: "+strings.Join(f.generated, ", "),
			"compute the value in the mapping; stored ones are published from PostgreSQL 18 on with publish_generated_columns = stored")
	}
	for _, col := range f.table.Columns {
		if col.Type.Name == "money" {
			add(capture.Info, "money", fmt.Sprintf("has the money column %s, whose text depends on the server's lc_monetary", col.Name), "")
		}
	}
	return out
}

// covers reports whether all of a partitioned table is published by its partitions' names.
func (p *publication) covers(f *tableFacts) bool {
	if f.kind != 'p' || p.viaRoot || len(f.leaves) == 0 {
		return false
	}
	return !slices.ContainsFunc(f.leaves, func(leaf leafShape) bool {
		_, ok := p.members[leaf.table]
		return !ok
	})
}

func (f *tableFacts) publicationFindings(publication string, p *publication, add addFinding) {
	table := f.sql
	m, ok := p.members[f.table.String()]
	if !ok && !p.covers(f) {
		remedy := fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s;", quoteIdent(publication), f.sql)
		for _, name := range f.unusable() { // first, or the application's UPDATEs would fail
			remedy = identitySQL(name) + " " + remedy
		}
		add(capture.Error, "not_published", "is not in publication "+publication, remedy)
		return
	}
	again := fmt.Sprintf("BEGIN; ALTER PUBLICATION %[1]s DROP TABLE %[2]s; ALTER PUBLICATION %[1]s ADD TABLE %[2]s; COMMIT;",
		quoteIdent(publication), table)
	if m.filter != "" {
		add(capture.Warning, "row_filter", "has a row filter in the publication: rows outside it never arrive", again)
	}
	if len(f.unpublished) > 0 {
		add(capture.Warning, "column_list", "has a column list in the publication, which leaves out "+strings.Join(f.unpublished, ", "), again)
	}
}

// identityFindings judges the replica identity, of the table and of each partition.
func (f *tableFacts) identityFindings(p *publication, add addFinding) {
	harm := p.exists && (p.update || p.delete)
	if f.kind != 'p' && !f.usable {
		text := "has no usable replica identity"
		if harm {
			text += ": while it is published, the application's UPDATE and DELETE on it fail"
		}
		add(capture.Error, "replica_identity", text, identitySQL(f.sql))
	}
	for _, leaf := range f.leaves {
		if leaf.identity != capture.IdentityFull && len(leaf.columns) == 0 {
			add(capture.Error, "replica_identity", fmt.Sprintf("has the partition %s without a usable replica identity", leaf.table), identitySQL(leaf.sql))
		} else if f.table.Identity == capture.IdentityFull && leaf.identity != capture.IdentityFull {
			add(capture.Warning, "partition_identity",
				fmt.Sprintf("is REPLICA IDENTITY FULL, but its partition %s is not", leaf.table), identitySQL(leaf.sql))
		}
	}
}

func identitySQL(table string) string {
	return fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL;", table)
}
