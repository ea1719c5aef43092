package postgres

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"rowhook/capture"
)

// plan is a state of publications and tables that statements would bring about, so that they can be
// judged before anybody runs them.
type plan struct {
	in      *inspection
	table   *tableFacts // what the statements are about; nil for a table that is not mapped
	ours    declared
	holders []holder
	// The statements, in the order in which they are to run.
	publication, identity, membership []string
}

// sql is all of the plan's statements.
func (p *plan) sql() string {
	return strings.Join(slices.Concat(p.publication, p.identity, p.membership), " ")
}

// planFor begins a plan for the tables behind f with the state that the catalog has, and a
// publication that publishes all operations.
func (in *inspection) planFor(f *tableFacts, holders []*holder) *plan {
	p := &plan{in: in, table: f, ours: in.ours}
	for _, h := range holders {
		p.holders = append(p.holders, *h)
	}
	p.ours.tables = in.ours.about(p.lineage())
	p.ours.update, p.ours.delete = true, true
	return p
}

// about returns what the publication says of some tables, and all that it leaves out: a plan must
// not cost what the whole publication has.
func (p *declared) about(oids []uint32) map[uint32]declaredTable {
	if p.all {
		return maps.Clone(p.tables)
	}
	tables := map[uint32]declaredTable{}
	for _, oid := range oids {
		if t, ok := p.tables[oid]; ok {
			tables[oid] = t
		}
	}
	return tables
}

// refusal is the first reason why a statement of the application would fail; nil when there is
// none.
func (p *plan) refusal() *refusal {
	for i := range p.holders {
		if r := p.refusalOf(&p.holders[i]); r != nil {
			return r
		}
	}
	return nil
}

func (p *plan) refusalOf(h *holder) *refusal {
	pubs := append(slices.Clone(p.in.others), p.ours)
	if list := h.refusals(pubs, p.in.version); len(list) > 0 {
		return &list[0]
	}
	return nil
}

// change is a step of a plan: it changes the state and notes its statement. It reports whether
// there was anything to change.
type change func(*plan) bool

// nothing is the change that leaves all as it is.
func nothing(*plan) bool { return true }

// publishGenerated publishes stored generated columns, of all tables of our publication.
func publishGenerated(p *plan) bool {
	stored := slices.ContainsFunc(p.holders, func(h holder) bool { return len(h.stored) > 0 })
	if !stored || p.ours.generated || !p.in.publication.exists || p.in.version < generatedRule {
		return false
	}
	p.ours.generated = true
	p.publication = append(p.publication, fmt.Sprintf("ALTER PUBLICATION %s SET (publish_generated_columns = stored);", quoteIdent(p.ours.name)))
	return true
}

// publishWhole takes row filter and column list from the table in our publication.
func publishWhole(p *plan) bool {
	done := false
	for _, oid := range p.lineage() {
		t, ok := p.ours.tables[oid]
		if !ok || t.columns == nil && t.filter == nil {
			continue
		}
		p.ours.tables[oid] = declaredTable{sql: t.sql}
		name := t.sql
		if p.table != nil && oid == p.table.oid {
			name = p.table.member()
		}
		p.publication = append(p.publication, wholeTableSQL(p.ours.name, name))
		done = true
	}
	return done
}

// lineage are the relations under which our publication can have the tables.
func (p *plan) lineage() []uint32 {
	var list []uint32
	for i := range p.holders {
		list = append(list, p.holders[i].lineage...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// wholeTableSQL publishes a table without row filter and column list.
func wholeTableSQL(publication, table string) string {
	return fmt.Sprintf("BEGIN; ALTER PUBLICATION %[1]s DROP TABLE %[2]s; ALTER PUBLICATION %[1]s ADD TABLE %[2]s; COMMIT;",
		quoteIdent(publication), table)
}

// both makes two changes.
func both(a, b change) change {
	return func(p *plan) bool { return a(p) && b(p) }
}

// fitIdentities gives each table that refuses statements the cheapest replica identity that cures
// it: its primary key, another unique index, or all columns.
func fitIdentities(p *plan) bool {
	done := false
	for i := range p.holders {
		h := &p.holders[i]
		if p.refusalOf(h) == nil {
			continue
		}
		before := *h
		for _, try := range []struct {
			how     string
			to      capture.Identity
			columns []string
		}{
			{"DEFAULT", capture.IdentityDefault, h.primary},
			{"USING INDEX " + h.index, capture.IdentityIndex, h.unique},
			{"FULL", capture.IdentityFull, nil},
		} {
			if try.to != capture.IdentityFull && len(try.columns) == 0 {
				continue
			}
			h.identity, h.columns = try.to, try.columns
			if p.refusalOf(h) == nil {
				p.identity = append(p.identity, fmt.Sprintf("ALTER TABLE %s REPLICA IDENTITY %s;", h.sql, try.how))
				done = true
				break
			}
			*h = before
		}
	}
	return done
}

// makeFull makes the table and its partitions REPLICA IDENTITY FULL.
func makeFull(p *plan) bool {
	if p.table.kind == 'p' && p.table.table.Identity != capture.IdentityFull {
		p.identity = append(p.identity, identitySQL(p.table.sql))
	}
	for i := range p.holders {
		if h := &p.holders[i]; h.identity != capture.IdentityFull {
			h.identity = capture.IdentityFull
			p.identity = append(p.identity, identitySQL(h.sql))
		}
	}
	return true
}

// publishTable puts the table into our publication, as far as publications of its kind can be
// changed.
func publishTable(p *plan) bool {
	f, ours := p.table, &p.ours
	switch {
	case ours.all:
		t, ok := ours.tables[f.oid]
		if !ok || !t.except {
			return false
		}
		delete(ours.tables, f.oid)
		p.membership = append(p.membership, ours.allTablesSQL())
	case ours.sequences:
		return false
	default:
		ours.tables[f.oid] = declaredTable{sql: f.sql}
		p.membership = append(p.membership, fmt.Sprintf("ALTER PUBLICATION %s ADD TABLE %s;", quoteIdent(ours.name), f.member()))
	}
	return true
}

// member is how a publication names the table: without the children that inherit from it, which are
// tables of their own and may have no replica identity.
func (f *tableFacts) member() string {
	if f.inherited {
		return "ONLY " + f.sql
	}
	return f.sql
}

// withdraw takes the table out of our publication, where it is named there.
func withdraw(p *plan) bool {
	h, ours := &p.holders[0], &p.ours
	switch {
	case ours.all && p.in.version >= exceptVersion:
		root := h.lineage[len(h.lineage)-1]
		ours.tables[root] = declaredTable{sql: p.in.nameOf(root, h), except: true}
		p.membership = append(p.membership, ours.allTablesSQL())
	case ours.all:
		return false
	default:
		found := false
		for _, oid := range h.lineage {
			if t, ok := ours.tables[oid]; ok {
				delete(ours.tables, oid)
				p.membership = append(p.membership, fmt.Sprintf("ALTER PUBLICATION %s DROP TABLE ONLY %s;", quoteIdent(ours.name), t.sql))
				found = true
			}
		}
		return found
	}
	return true
}

// exceptVersion is the first version that can leave tables out of all tables.
const exceptVersion = 190000

// nameOf is the name of a table above a holder, or the holder's own.
func (in *inspection) nameOf(oid uint32, h *holder) string {
	for _, f := range in.tables {
		if f.oid == oid {
			return f.sql
		}
	}
	return h.sql
}

// allTablesSQL declares the publication for all tables anew, but for its exceptions.
func (p *declared) allTablesSQL() string {
	var except []string
	for _, oid := range slices.Sorted(maps.Keys(p.tables)) {
		if t := p.tables[oid]; t.except {
			except = append(except, t.sql)
		}
	}
	sql := "ALTER PUBLICATION " + quoteIdent(p.name) + " SET ALL TABLES"
	if len(except) > 0 {
		sql += " EXCEPT (TABLE " + strings.Join(except, ", TABLE ") + ")"
	}
	if p.sequences {
		sql += ", ALL SEQUENCES"
	}
	return sql + ";"
}

// search makes the first plan that ends in changes and after which no statement of the application
// fails. Milder changes come first; a publication is changed before the tables.
func (in *inspection) search(f *tableFacts, holders []*holder, identities []change, end change) (*plan, bool) {
	return in.searchFrom(in.planFor(f, holders), identities, end)
}

// searchFrom is search from a state that is planned already.
func (in *inspection) searchFrom(from *plan, identities []change, end change) (*plan, bool) {
	for _, identity := range identities {
		for _, publication := range []change{nothing, publishGenerated, publishWhole, both(publishGenerated, publishWhole)} {
			p := *from
			p.ours, p.holders = from.ours.clone(), slices.Clone(from.holders)
			if publication(&p) && identity(&p) && end(&p) && p.refusal() == nil {
				return &p, true
			}
		}
	}
	return nil, false
}

// cure returns statements after which the application's statements on the tables no longer fail.
// They work when they are pasted. It is empty where only a new key or index would do.
func (in *inspection) cure(f *tableFacts, holders []*holder) string {
	p, ok := in.search(f, holders, []change{nothing, fitIdentities}, nothing)
	if !ok {
		p, ok = in.search(f, holders, []change{nothing}, withdraw)
	}
	if !ok {
		return ""
	}
	return p.sql()
}

// include returns the statements that publish the table, with an identity first where it has none
// that suffices.
func (in *inspection) include(f *tableFacts) (*plan, bool) {
	identities := []change{nothing, func(p *plan) bool {
		// Judged as if the table were published already, since only then anything is refused.
		before := p.ours
		p.ours = before.clone()
		p.ours.tables[f.oid] = declaredTable{sql: f.sql}
		defer func() { p.ours = before }()
		return fitIdentities(p)
	}}
	return in.search(f, f.holders, identities, publishTable)
}

// widen makes the plan after which the stream carries whole old rows of the table. why says what
// the server would refuse if only the identity were changed; where nothing helps, there is no plan.
func (in *inspection) widen(f *tableFacts) (p *plan, why string) {
	end := func(p *plan) bool {
		if !in.publication.exists || !in.ours.all {
			// Setup publishes the table next, if it is not yet.
			if _, ok := p.ours.publishes(&p.holders[0]); !ok {
				p.ours.tables[f.oid] = declaredTable{sql: f.sql}
			}
		}
		return true
	}
	if len(f.holders) == 0 {
		end = nothing
	}
	plain := in.planFor(f, f.holders)
	if makeFull(plain) && end(plain) {
		if r := plain.refusal(); r != nil {
			why = r.text
		}
	}
	if p, ok := in.search(f, f.holders, []change{makeFull}, end); ok {
		return p, why
	}
	return nil, why
}

// withoutOldValues is what to do where whole old rows are not to be had.
const withoutOldValues = "write the rule without old values: `op: update` with `where`, or an `if` over new, instead of set, cleared, changed and becomes"

// needsKey is what to do about a table that nothing else can give a replica identity.
func needsKey(table string) string {
	return fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (…); -- with the columns that identify a row", table)
}
