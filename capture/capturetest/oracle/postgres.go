package oracle

import (
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
)

// postgresDialect is the SQL of PostgreSQL.
type postgresDialect struct {
	Server
	types     []postgresType
	generated bool // stored generated columns are published
}

// NewPostgres makes a runner for a database of PostgreSQL, in which the publication is of all
// tables.
func NewPostgres(t TB, session Session, sink *Sink, version int) *Runner {
	t.Helper()
	r := &Runner{T: t, Session: session, Sink: sink, server: Server{Version: version}}
	d := &postgresDialect{Server: r.server, types: slices.Clone(postgresTypes)}
	r.dialect = d
	r.must(postgresDefinitions)
	for _, row := range r.query("select name from pg_catalog.pg_available_extensions order by 1") {
		if more := extensionTypes[*row[0]]; len(more) > 0 {
			r.must("create extension " + *row[0])
			d.types = append(d.types, more...)
		}
	}
	r.must("create table " + finishTable + " (id int primary key)")
	return r
}

func (d *postgresDialect) quote(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

func (d *postgresDialect) about(t *Table) string {
	return "replica identity " + [...]string{"full", "default", "of an index", "", "nothing"}[t.Identity]
}

func (d *postgresDialect) forgets(_, _ *Table) bool { return false }

func (d *postgresDialect) savepoints() bool        { return true }
func (d *postgresDialect) strict() bool            { return true }
func (d *postgresDialect) logsUnchanged() bool     { return true }
func (d *postgresDialect) definitionsCommit() bool { return false }

func (d *postgresDialect) begin(g *Gen) []string {
	settings := []string{"set timezone = 'UTC'", "set datestyle = 'ISO, YMD'", "set intervalstyle = 'iso_8601'", "set bytea_output = 'hex'", "set extra_float_digits = 1",
		"set jit = off"}
	if d.Version < 180000 {
		return settings
	}
	d.generated = g.Chance(50)
	return append(settings, "alter publication rowhook set (publish_generated_columns = "+map[bool]string{true: "stored", false: "none"}[d.generated]+")")
}

func (d *postgresDialect) columnsSQL(t *Table) string {
	sql := "select attname from pg_catalog.pg_attribute where attrelid = '" + strings.ReplaceAll(d.quote(t.Name), "'", "''") + "'::regclass and attnum > 0 and not attisdropped"
	if d.generated {
		return sql + " and attgenerated in ('', 's') order by attnum"
	}
	return sql + " and attgenerated = '' order by attnum"
}

func (*postgresDialect) uniqueSQL(*Table) string { return "" }

func (d *postgresDialect) create(g *Gen) (*Table, []string) {
	t := &Table{Name: g.Name()}
	for range g.number(g.Between(1, 8), g.Between(1, 20), g.Between(20, 40)) {
		t.Fields = append(t.Fields, d.field(g, g.Name()))
	}
	if g.Chance(85) {
		marker := &Field{Name: g.Name(), NotNull: true, Column: Column{SQL: g.Of("int4", "int8", "numeric"), Want: asNumber, Form: Raw, Key: "§"}}
		if marker.SQL == "numeric" {
			marker.Want = asText
		}
		t.Marker = marker.Name
		t.Fields = slices.Insert(t.Fields, g.IntN(len(t.Fields)+1), marker)
		for range g.number(0, 0, 1, 2) {
			t.Fields = slices.Insert(t.Fields, g.IntN(len(t.Fields)+1), d.generatedField(g, t))
		}
	}
	var lines, dropped []string
	for _, f := range t.Fields {
		lines = append(lines, d.definition(f))
		if g.Chance(15) { // numbers of columns have holes then
			name := g.Name()
			lines = append(lines, d.quote(name)+" "+d.field(g, name).SQL)
			dropped = append(dropped, "drop column "+d.quote(name))
		}
	}
	if t.Key = d.parts(g, t, g.number(0, 1, 1, 2, 4)); len(t.Key) > 0 {
		t.KeyName = g.Name()
		lines = append(lines, "constraint "+d.quote(t.KeyName)+" primary key ("+d.list(t.Key)+")")
	}
	statements := []string{"create table " + d.quote(t.Name) + " (" + strings.Join(lines, ", ") + ")"}
	if len(dropped) > 0 {
		statements[0] += "; alter table " + d.quote(t.Name) + " " + strings.Join(dropped, ", ")
	}
	statements[0] += "; " + d.identity(g, t)
	return t, statements
}

// identity draws a replica identity.
func (d *postgresDialect) identity(g *Gen, t *Table) string {
	alter := "alter table " + d.quote(t.Name) + " replica identity "
	t.Identity, t.ByIndex = Full, nil
	switch n := g.IntN(10); {
	case n < 3 && len(t.Key) > 0:
		t.Identity = ByKey
		return alter + "default"
	case n < 5:
		if parts := d.parts(g, t, g.Between(1, 3)); len(parts) > 0 {
			t.Identity, t.ByIndex = Index, parts
			name := d.quote(g.Name())
			sql := "create unique index " + name + " on " + d.quote(t.Name) + " (" + d.list(parts) + "); " + alter + "using index " + name
			for _, part := range parts {
				sql = "alter table " + d.quote(t.Name) + " alter " + d.quote(part) + " set not null; " + sql
			}
			return sql
		}
	case n == 5 && g.Chance(30):
		t.Identity = Nothing
		return alter + "nothing"
	}
	return alter + "full"
}

func (d *postgresDialect) list(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = d.quote(name)
	}
	return strings.Join(quoted, ", ")
}

// parts draws columns of a key.
func (d *postgresDialect) parts(g *Gen, t *Table, n int) []string {
	var parts []string
	for _, i := range g.Perm(len(t.Fields)) {
		if f := t.Fields[i]; len(parts) < n && f.Key != "" && f.Generated == "" {
			f.NotNull = true
			parts = append(parts, f.Name)
		}
	}
	return parts
}

func (d *postgresDialect) field(g *Gen, name string) *Field {
	p := d.types[g.IntN(len(d.types))]
	f := &Field{Name: name, Column: p.column(), NotNull: g.Chance(25)}
	if g.Chance(30) {
		f.Column = p.array()
	}
	if g.Chance(25) {
		if f.Default = f.Value(g); strings.Contains(f.Default, "select ") {
			f.Default = ""
		}
	}
	return f
}

func (d *postgresDialect) generatedField(g *Gen, t *Table) *Field {
	f := &Field{Name: g.Name(), Generated: "stored"}
	if d.Version >= 180000 && g.Chance(50) {
		f.Generated = "virtual"
	}
	f.Column = postgresType{"numeric", asText, true, []string{"0"}}.column()
	f.After = " generated always as (" + f.Make(d.quote(t.Marker)) + ") " + f.Generated
	return f
}

func (d *postgresDialect) definition(f *Field) string {
	sql := d.quote(f.Name) + " " + f.SQL + f.After
	if f.NotNull && f.Generated == "" {
		sql += " not null"
	}
	if f.Default != "" {
		sql += " default " + f.Default
	}
	return sql
}

func (d *postgresDialect) known(t *Table, c *change, f *Field, e *expected) {
	switch t.Identity {
	case ByKey:
		e.oldMay = !slices.Contains(t.Key, f.Name)
	case Index:
		e.oldMay = !slices.Contains(t.ByIndex, f.Name)
	}
	// Values out of line that did not change are not sent.
	e.newMay = t.Identity != Full && c.op == capture.Update && e.new.text == e.old.text && len(e.new.text) > 1000
}

func (d *postgresDialect) alter(g *Gen, t *Table) alteration {
	table := "alter table " + d.quote(t.Name) + " "
	a := alteration{apply: func() {}}
	if len(t.Fields) == 0 {
		return a
	}
	f := t.Fields[g.IntN(len(t.Fields))]
	ours := f.Name != t.Marker && f.Generated == "" && !slices.Contains(t.Key, f.Name) && !slices.Contains(t.ByIndex, f.Name)
	switch n := g.IntN(12); {
	case n < 4:
		added := d.field(g, g.Name())
		a.sql = []string{table + "add column " + d.definition(added)}
		a.apply = func() { t.Fields = append(t.Fields, added) }
	case n < 6 && ours:
		a.sql = []string{table + "drop column " + d.quote(f.Name)}
		a.apply = func() { t.Fields = slices.DeleteFunc(t.Fields, func(o *Field) bool { return o == f }) }
	case n < 8 && ours:
		other := d.field(g, f.Name)
		other.NotNull, other.Default = f.NotNull, ""
		column, value := "alter column "+d.quote(f.Name), other.Value(g)
		if strings.Contains(value, "select ") {
			value = "null"
		}
		a.sql = []string{fmt.Sprintf("%s%s drop default, %s type %s using (%s)::%s", table, column, column, other.SQL, value, other.SQL)}
		a.apply = func() { *f = *other }
	case n == 8 && f.Name != t.Marker:
		name := g.Name()
		a.sql = []string{table + "rename column " + d.quote(f.Name) + " to " + d.quote(name)}
		a.apply = func() { d.rename(t, f, name) }
	case n == 9:
		copied := *t
		a.sql = []string{d.identity(g, &copied)}
		a.apply = func() { t.Identity, t.ByIndex = copied.Identity, copied.ByIndex }
	case n == 10 && len(t.Key) > 0 && t.Identity == Full:
		a.sql = []string{table + "drop constraint " + d.quote(t.KeyName)}
		a.apply = func() { t.Key = nil }
	default:
		name := g.Name()
		a.sql = []string{table + "rename to " + d.quote(name)}
		a.apply = func() { t.Name = name }
	}
	return a
}

// rename gives a column another name, in the keys too.
func (d *postgresDialect) rename(t *Table, f *Field, name string) {
	for _, names := range [][]string{t.Key, t.ByIndex} {
		if i := slices.Index(names, f.Name); i >= 0 {
			names[i] = name
		}
	}
	f.Name = name
}
