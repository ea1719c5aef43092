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

// membersSQL takes what not every version has from the row as JSON. A table without columns has NULL
// for their names.
const membersSQL = `
select m.schemaname::text, m.tablename::text,
  coalesce((select pg_catalog.array_agg(c) from pg_catalog.jsonb_array_elements_text(nullif(pg_catalog.to_jsonb(m) -> 'attnames', 'null')) c), '{}'),
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

// Drift compares the mapped tables with what is published: tables, partitions, row filters, column
// lists and replica identities. Each finding carries the statement that cures it; a publication is
// only ever altered. No findings means that the stream brings what is mapped.
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
	switch {
	case !p.exists:
		out = append(out, capture.Finding{Severity: capture.Error, Code: "publication", Subject: name,
			Text: fmt.Sprintf("publication %s does not exist", name), Remedy: "rowhook setup"})
	case in.ours.sequences && !in.ours.all:
		out = append(out, capture.Finding{Severity: capture.Error, Code: "publication_kind", Subject: name,
			Text: fmt.Sprintf("publication %s is FOR ALL SEQUENCES and takes no tables", name), Remedy: ownPublication(name)})
	default:
		out = append(out, in.optionFindings(name)...)
		out = append(out, in.strangerFindings(name)...)
	}
	for _, pattern := range in.missing {
		if !strings.Contains(pattern, "*") {
			out = append(out, in.missingFinding(pattern))
		}
	}
	for _, f := range in.tables {
		out = append(out, in.tableDifferences(f, name)...)
	}
	return out
}

// ownPublication is the remedy where a publication cannot be changed without harm.
func ownPublication(name string) string {
	return fmt.Sprintf("give rowhook a publication of its own: source.publication: %s_tables, then rowhook setup", name)
}

// strangerFindings are tables that nobody mapped, and whose UPDATE and DELETE our publication makes
// fail.
func (in *inspection) strangerFindings(name string) []capture.Finding {
	var list []*holder
	pubs := []declared{in.ours}
	for _, h := range in.strangers {
		if len(h.refusals(pubs, in.version)) > 0 {
			list = append(list, h)
		}
	}
	if len(list) == 0 {
		return nil
	}
	why := list[0].refusals(pubs, in.version)[0]
	f := capture.Finding{Severity: capture.Error, Code: "statements_refused", Subject: name,
		Text: fmt.Sprintf("publication %s makes the application's %s fail NOW on tables that are not mapped: %s", name, why.statements, holderNames(list))}
	var remedies []string
	for _, h := range list {
		sql := in.release(h)
		if sql == "" {
			sql = needsKey(h.sql)
		}
		remedies = append(remedies, sql)
	}
	f.Remedy = strings.Join(remedies, "\n")
	return []capture.Finding{f}
}

// release returns what takes a table that is not mapped out of harm's way: out of the publication,
// or else another replica identity.
func (in *inspection) release(h *holder) string {
	if p, ok := in.search(nil, []*holder{h}, []change{nothing}, withdraw); ok && !in.ours.all {
		return p.sql()
	}
	return in.cure(nil, []*holder{h})
}

// holderNames lists tables, but not hundreds.
func holderNames(list []*holder) string {
	const most = 10
	var names []string
	for _, h := range list[:min(most, len(list))] {
		names = append(names, h.name)
	}
	if len(list) > most {
		names = append(names, fmt.Sprintf("and %d more", len(list)-most))
	}
	return strings.Join(names, ", ")
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
			out = append(out, in.tableAdvice(f)...)
		}
	}
	return out
}

func (in *inspection) missingFinding(pattern string) capture.Finding {
	f := capture.MissingTable(pattern, "public.loans")
	if near := in.near[pattern]; near != "" {
		f.Remedy = fmt.Sprintf("did you mean %s?", near)
	}
	return f
}

// optionFindings judges what the publication publishes of each table.
func (in *inspection) optionFindings(name string) []capture.Finding {
	p := &in.publication
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
		f := capture.Finding{Severity: capture.Error, Code: "publication_publish", Subject: name,
			Text:   fmt.Sprintf("publication %s leaves out %s", name, strings.Join(off, ", ")),
			Remedy: publishAllSQL(name)}
		if harmed := in.harmedByMore(); len(harmed) > 0 {
			f.Text += ", and publishing them would make the application's UPDATE and DELETE fail on tables that are not mapped: " + holderNames(harmed)
			f.Remedy = ownPublication(name)
		} else {
			f.Remedy = strings.Join(append(in.curesBefore(), f.Remedy), " ")
		}
		out = append(out, f)
	}
	partitioned := slices.ContainsFunc(in.tables, func(f *tableFacts) bool { return f.kind == 'p' })
	if partitioned && !p.viaRoot {
		out = append(out, capture.Finding{Severity: capture.Error, Code: "publication_root", Subject: name,
			Text:   fmt.Sprintf("publication %s publishes partitions under their own names", name),
			Remedy: fmt.Sprintf("ALTER PUBLICATION %s SET (publish_via_partition_root = true);", quoteIdent(name))})
	}
	return out
}

func publishAllSQL(name string) string {
	return fmt.Sprintf("ALTER PUBLICATION %s SET (publish = 'insert, update, delete, truncate');", quoteIdent(name))
}

// harmedByMore are the tables that nobody mapped, and whose statements would fail if the
// publication published all operations.
func (in *inspection) harmedByMore() []*holder {
	all := in.ours.clone()
	all.update, all.delete = true, true
	return slices.DeleteFunc(slices.Clone(in.strangers), func(h *holder) bool {
		return len(h.refusals([]declared{in.ours}, in.version)) > 0 || len(h.refusals([]declared{all}, in.version)) == 0
	})
}

// curesBefore are the statements that mapped tables need before the publication may publish all
// operations.
func (in *inspection) curesBefore() []string {
	var out []string
	for _, f := range in.tables {
		if len(f.holders) == 0 || in.planFor(f, f.holders).refusal() == nil {
			continue
		}
		if sql := in.cure(f, f.holders); sql != "" {
			out = append(out, sql)
		}
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

// tableDifferences judges whether the stream brings the table as it is mapped.
func (in *inspection) tableDifferences(f *tableFacts, publication string) []capture.Finding {
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
	if in.publication.exists && !(in.ours.sequences && !in.ours.all) {
		in.publicationFindings(f, publication, add)
	}
	in.identityFindings(f, add)
	f.childFindings(add)
	return out
}

// childFindings tells of tables that inherit from the mapped one. They are published, keyed and
// streamed as tables of their own, with columns of their own and keys that may repeat the parent's:
// their rows are never the parent's events.
func (f *tableFacts) childFindings(add addFinding) {
	for _, k := range f.children {
		remedy := fmt.Sprintf("map %s with an entry of its own, or with `events: {}` to leave it out", k.name)
		if k.foreign {
			remedy = "changes of foreign tables are not in the WAL: " + remedy
		}
		add(capture.Error, "inheritance", fmt.Sprintf("has the child %s, which is not mapped: a SELECT from the parent shows its rows, and their changes make no events", k.name), remedy)
	}
}

// tableAdvice names what the table itself keeps from the stream or from its events.
func (in *inspection) tableAdvice(f *tableFacts) []capture.Finding {
	var out []capture.Finding
	add := f.adder(&out)
	in.generatedFinding(f, add)
	for i, col := range f.table.Columns {
		if col.Type.Folds && slices.Contains(f.table.Key, i) {
			add(capture.Warning, "collation", fmt.Sprintf("has the key column %s, whose collation takes different texts for equal: of a row that is deleted and written again in another spelling, "+
				"events keep their order where the spellings differ by case, accents, width, kana or spaces at the end, and may change it where they differ by more", col.Name), "")
		}
		if slices.Contains(f.table.Key, i) && holdsNumbers(col.Type) {
			add(capture.Info, "key_spelling", fmt.Sprintf("has the key column %s (%s): of a row that is deleted and written again with a number in it in another spelling, such as 1.50 for 1.5, "+
				"events may change their order", col.Name, col.Type.Name), "")
		}
		if col.Type.Base == "citext" && in.plainCase {
			add(capture.Info, "citext_locale", fmt.Sprintf("has the citext column %s: in this database's locale it tells É from é, and conditions do not", col.Name), "")
		}
		if col.Type.Base == "money" {
			add(capture.Info, "money", fmt.Sprintf("has the money column %s, whose text depends on the server's lc_monetary", col.Name), "")
		}
	}
	return out
}

// holdsNumbers reports whether a type's values have numbers in them which may be written in several
// ways: lists of such, and types that somebody made.
func holdsNumbers(t *capture.Type) bool {
	if t.Kind != capture.List || t.Elem == nil {
		return t.Kind == capture.Other && t.Base == ""
	}
	return t.Elem.Kind == capture.Decimal || t.Elem.Kind == capture.Float || holdsNumbers(t.Elem)
}

// generatedFinding tells of generated columns that do not come, though nothing keeps them back but
// the publication.
func (in *inspection) generatedFinding(f *tableFacts, add addFinding) {
	if len(f.generated) == 0 {
		return
	}
	const compute = "compute the value in the mapping, with an expression in the entry's fields"
	remedy := compute
	if p := in.planFor(f, f.holders); publishGenerated(p) {
		remedy = p.sql()
		if slices.ContainsFunc(f.holders, func(h *holder) bool { return len(h.virtual) > 0 }) {
			remedy += " -- for the stored ones; for virtual ones " + compute
		}
	}
	add(capture.Warning, "generated_columns", "has generated columns that are not published: "+strings.Join(f.generated, ", "), remedy)
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

func (in *inspection) publicationFindings(f *tableFacts, publication string, add addFinding) {
	p := &in.publication
	m, ok := p.members[f.table.String()]
	if !ok && !p.covers(f) {
		text := "is not in publication " + publication
		if in.ours.tables[f.oid].except {
			text = "is excepted from publication " + publication
		}
		include, ok := in.include(f)
		switch {
		case ok:
			add(capture.Error, "not_published", text, include.sql())
		case in.ours.all && !in.ours.tables[f.oid].except:
			add(capture.Error, "not_published", text, ownPublication(publication))
		default:
			add(capture.Error, "not_published", text, needsKey(f.sql))
		}
		return
	}
	if m.filter == "" && len(f.unpublished) == 0 {
		return
	}
	again, ok := in.search(f, f.holders, []change{nothing, fitIdentities}, publishWhole)
	remedy := ""
	if ok {
		remedy = again.sql()
	}
	if m.filter != "" {
		add(capture.Warning, "row_filter", "has a row filter in the publication: rows outside it never arrive", remedy)
	}
	if len(f.unpublished) > 0 {
		add(capture.Warning, "column_list", "has a column list in the publication, which leaves out "+strings.Join(f.unpublished, ", "), remedy)
	}
}

// identityFindings judges whether the replica identities, of the table and of each partition, suit
// the publications. Where they do not, the server refuses the application's statements. The tables
// of one cause are one finding.
func (in *inspection) identityFindings(f *tableFacts, add addFinding) {
	now := slices.ContainsFunc(f.holders, func(h *holder) bool { _, ok := in.ours.publishes(h); return ok })
	if now {
		in.refusedNow(f, add)
	} else {
		in.refusedThen(f, add)
	}
	if f.table.Identity != capture.IdentityFull {
		return
	}
	for _, h := range f.holders {
		if h.root == h.oid || h.identity == capture.IdentityFull || len(h.columns) == 0 {
			continue
		}
		remedy := fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY DEFAULT;", f.sql)
		p := in.planFor(f, []*holder{h})
		if makeFull(p) && p.refusal() == nil {
			remedy = p.sql()
		}
		add(capture.Warning, "partition_identity", fmt.Sprintf("is REPLICA IDENTITY FULL, but its partition %s is not", h.name), remedy)
	}
}

// refusedNow tells of statements that fail now, because of our publication or another.
func (in *inspection) refusedNow(f *tableFacts, add addFinding) {
	causes := map[refusal][]*holder{}
	var order []refusal
	p := in.planFor(f, f.holders)
	for i := range p.holders {
		r := p.refusalOf(&p.holders[i])
		if r == nil {
			continue
		}
		if causes[*r] == nil {
			order = append(order, *r)
		}
		causes[*r] = append(causes[*r], f.holders[i])
	}
	for _, r := range order {
		list := causes[r]
		now := len(list[0].refusals(append(slices.Clone(in.others), in.ours), in.version)) > 0
		code, text := "statements_refused", fmt.Sprintf("is published, and the server refuses the application's %s NOW: %s", r.statements, r.text)
		switch {
		case r.text == noIdentity && now:
			code, text = "replica_identity", fmt.Sprintf("has no usable replica identity: while it is published, the application's %s on it fail", r.statements)
		case r.text == noIdentity:
			code, text = "replica_identity", "has no usable replica identity"
		case !now:
			text = "could not be published with all operations: the server would refuse the application's UPDATE and DELETE: " + r.text
		}
		if f.kind == 'p' {
			text += ", in " + holderNames(list)
		}
		remedy := in.cure(f, list)
		if remedy == "" {
			remedy = needsKey(list[0].sql)
		}
		add(capture.Error, code, text, remedy)
	}
}

// refusedThen tells of tables that cannot be published as they are.
func (in *inspection) refusedThen(f *tableFacts, add addFinding) {
	p := in.planFor(f, f.holders)
	p.ours.tables[f.oid] = declaredTable{sql: f.sql}
	var list []*holder
	for i := range p.holders {
		if r := p.refusalOf(&p.holders[i]); r != nil && r.text == noIdentity {
			list = append(list, f.holders[i])
		}
	}
	if len(list) == 0 {
		return
	}
	text := "has no usable replica identity"
	if f.kind == 'p' {
		text = "has partitions without a usable replica identity: " + holderNames(list)
	}
	remedy := needsKey(f.sql)
	if fitIdentities(p) && p.refusal() == nil {
		remedy = p.sql()
	}
	add(capture.Error, "replica_identity", text, remedy)
}

func identitySQL(table string) string {
	return fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY FULL;", table)
}
