package oracle

import (
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
)

// mysqlDialect is the SQL of MySQL and MariaDB.
type mysqlDialect struct {
	Server
	database string
	types    []Type
	image    string // the rows' images in this round
}

// sampleCharacters are tried in each charset: a charset's columns get those that it has.
var sampleCharacters = []string{"a", "B", "7", " ", "~", "|", "\\", "é", "ü", "ß", "€", "Ж", "я", "Ω", "α", "א", "ש", "ا", "ก", "漢", "字", "表", "能", "誠", "〜", "～", "−", "①", "ｶ", "한", "글", "½", "ž", "Ł", "╝", "🙂", "〒", "é"}

// NewMySQL makes a runner for a database of MySQL or MariaDB. The session's time zone is UTC.
func NewMySQL(t TB, session Session, sink *Sink, database string, version int, mariaDB bool) *Runner {
	t.Helper()
	r := &Runner{T: t, Session: session, Sink: sink, server: Server{Version: version, MariaDB: mariaDB}}
	r.must("SET NAMES utf8mb4")
	r.server.Charsets = r.charsets()
	r.dialect = &mysqlDialect{Server: r.server, database: database, types: mysqlTypes(r.server)}
	r.must("CREATE TABLE " + finishTable + " (id INT PRIMARY KEY)")
	return r
}

// charsets asks for all charsets but that of bytes, each with another collation than its default
// where it has one by the name of _bin.
func (r *Runner) charsets() []Charset {
	rows := r.query("SELECT character_set_name, default_collate_name FROM information_schema.character_sets WHERE character_set_name NOT IN ('binary', 'filename') ORDER BY 1")
	var list []Charset
	for _, row := range rows {
		c := Charset{Name: *row[0], Collation: *row[1]}
		if c.Name != "utf8mb4" && c.Name != "utf8mb3" {
			c.Collation = c.Name + "_bin"
		}
		tries := make([]string, len(sampleCharacters))
		for i, s := range sampleCharacters {
			tries[i] = fmt.Sprintf("BINARY CONVERT(CONVERT(%[1]s USING %[2]s) USING utf8mb4) = BINARY %[1]s", mysqlString(s), c.Name)
		}
		for i, same := range r.query("SELECT " + strings.Join(tries, ", "))[0] {
			if same != nil && *same == "1" {
				c.Characters = append(c.Characters, sampleCharacters[i])
			}
		}
		list = append(list, c)
	}
	return list
}

func (d *mysqlDialect) quote(name string) string {
	return "`" + strings.ReplaceAll(name, "`", "``") + "`"
}

func (d *mysqlDialect) about(t *Table) string   { return t.Options + ", binlog_row_image " + d.image }
func (d *mysqlDialect) savepoints() bool        { return false }
func (d *mysqlDialect) strict() bool            { return false }
func (d *mysqlDialect) logsUnchanged() bool     { return false }
func (d *mysqlDialect) definitionsCommit() bool { return true }

// forgets is about MariaDB, whose catalog tells types that its binlog does not. Whether a statement
// names a table of an odd name is not known.
func (d *mysqlDialect) forgets(changed, t *Table) bool {
	odd := strings.ContainsFunc(t.Name, func(c rune) bool {
		return c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z')
	})
	return d.MariaDB && (changed == t || odd)
}

func (d *mysqlDialect) begin(g *Gen) []string {
	images := []string{"FULL", "FULL", "FULL", "FULL", "MINIMAL", "NOBLOB"}
	if d.MariaDB && d.Version >= 110400 {
		images = append(images, "FULL_NODUP")
	}
	d.image = g.Of(images...)
	settings := []string{"SET NAMES utf8mb4", "SET sql_mode = ''", "SET time_zone = '+00:00'", "SET binlog_row_image = " + d.image}
	if d.MariaDB {
		return append(settings, "SET system_versioning_alter_history = KEEP")
	}
	return append(settings, "SET binlog_transaction_compression = "+g.Of("OFF", "ON"))
}

func (d *mysqlDialect) columnsSQL(t *Table) string {
	return "SELECT column_name FROM information_schema.columns WHERE table_schema = " + mysqlString(d.database) +
		" AND table_name = " + mysqlString(t.Name) + " ORDER BY ordinal_position"
}

// uniqueSQL asks for what the server shows as the primary key. No unique key is drawn of more than
// one column, so that there is no order to ask for.
func (d *mysqlDialect) uniqueSQL(t *Table) string {
	return "SELECT column_name FROM information_schema.columns WHERE column_key = 'PRI' AND table_schema = " + mysqlString(d.database) +
		" AND table_name = " + mysqlString(t.Name)
}

// hiddenKey is the column of a primary key that MySQL generates.
const hiddenKey = "my_row_id"

func (d *mysqlDialect) create(g *Gen) (*Table, []string) {
	t := &Table{Name: g.Name(), Identity: Full}
	t.Options = g.Of("", "", " CHARACTER SET latin1", " CHARACTER SET utf8mb4", " CHARACTER SET sjis", " CHARACTER SET utf16", " ROW_FORMAT=COMPRESSED")
	if d.MariaDB && g.Chance(10) {
		t.Options += " WITH SYSTEM VERSIONING"
	}
	if d.image != "FULL" {
		t.Identity = Partial
	}
	for range g.number(g.Between(1, 8), g.Between(1, 20), g.Between(20, 40)) {
		t.Fields = append(t.Fields, d.field(g, g.Name()))
	}
	if g.Chance(85) {
		marker := &Field{Name: g.Name(), NotNull: true, Column: integer("INT", 32)(g)}
		marker.SQL = "INT" + g.Of("", " UNSIGNED")
		t.Marker = marker.Name
		t.Fields = slices.Insert(t.Fields, g.IntN(len(t.Fields)+1), marker)
	}
	if t.Marker != "" {
		for range g.number(0, 0, 1, 3) {
			t.Fields = slices.Insert(t.Fields, g.IntN(len(t.Fields)+1), d.generated(g, t))
		}
	}
	var lines []string
	for _, f := range t.Fields {
		lines = append(lines, d.definition(f))
	}
	lines = append(lines, d.keys(g, t)...)
	create := "CREATE TABLE " + d.quote(t.Name) + " (" + strings.Join(lines, ", ") + ")" + t.Options
	if !d.MariaDB {
		generate := "OFF"
		unique := slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "UNIQUE") }) // may stand for it
		if len(t.Key) == 0 && !unique && g.Chance(40) {
			generate, t.Key = "ON", []string{hiddenKey}
			t.Fields = append(t.Fields, &Field{Name: hiddenKey, Generated: "by the server", Column: Column{SQL: "BIGINT UNSIGNED", Want: "CONCAT(§+0)", Form: Raw}})
		}
		create = "SET SESSION sql_generate_invisible_primary_key = " + generate + "; " + create
	}
	return t, []string{create}
}

// field draws a column.
func (d *mysqlDialect) field(g *Gen, name string) *Field {
	f := &Field{Name: name, Column: d.types[g.IntN(len(d.types))].Make(g), NotNull: g.Chance(35)}
	if g.Chance(30) {
		f.Default = f.Value(g)
	}
	f.Hidden = g.Chance(5) && (f.Default != "" || !f.NotNull)
	return f
}

// generated draws a column that is made of the marker.
func (d *mysqlDialect) generated(g *Gen, t *Table) *Field {
	f := &Field{Name: g.Name(), Generated: g.Of("VIRTUAL", "STORED")}
	if d.image != "FULL" && strings.Contains(t.Options, "VERSIONING") {
		f.Generated = "STORED" // MariaDB 11.8 logs NULL for virtual ones
	}
	for f.Make == nil || d.MariaDB && strings.Contains(f.SQL, "TEXT") { // of a TEXT MariaDB logs another row's value now and then
		f.Column = d.types[g.IntN(len(d.types))].Make(g)
	}
	f.After = " GENERATED ALWAYS AS (" + f.Make(d.quote(t.Marker)) + ") " + f.Generated
	f.Hidden = g.Chance(20)
	f.Partial = d.MariaDB && d.Version >= 110400
	return f
}

func (d *mysqlDialect) definition(f *Field) string {
	sql := d.quote(f.Name) + " " + f.SQL + f.After
	if f.Generated == "" {
		if f.NotNull {
			sql += " NOT NULL"
		} else {
			sql += " NULL"
		}
	}
	if f.Default != "" {
		sql += " DEFAULT (" + f.Default + ")"
	}
	if f.Hidden {
		sql += " INVISIBLE"
	}
	return sql
}

// keys draws a primary key and others.
func (d *mysqlDialect) keys(g *Gen, t *Table) []string {
	var lines []string
	if parts := d.parts(g, t, g.number(0, 1, 1, 2, 4), true); len(parts) > 0 {
		lines = append(lines, "PRIMARY KEY ("+strings.Join(parts, ", ")+")")
	}
	if parts := d.parts(g, t, g.number(0, 0, 1, 3), false); len(parts) > 0 {
		lines = append(lines, "KEY ("+strings.Join(parts, ", ")+")")
	}
	for _, f := range t.Fields {
		document := strings.HasPrefix(f.SQL, "JSON")
		switch {
		case !d.MariaDB && document && g.Chance(40):
			lines = append(lines, "KEY ((CAST("+d.quote(f.Name)+"->'$.list' AS UNSIGNED ARRAY)))")
		case d.MariaDB && strings.Contains(f.SQL, "TEXT") && !strings.Contains(f.SQL, "COMPRESSED") && g.Chance(25):
			lines = append(lines, "UNIQUE ("+d.quote(f.Name)+")")
		case !d.MariaDB && f.Name == t.Marker && g.Chance(20):
			lines = append(lines, "KEY (("+d.quote(f.Name)+" * 2))")
		case f.Key == "§" && f.Generated == "" && (f.Name == t.Marker && g.Chance(15) || g.Chance(3)):
			lines = append(lines, "UNIQUE ("+d.quote(f.Name)+")")
		}
	}
	return lines
}

// parts draws columns of a key. One of the primary key becomes part of the table.
func (d *mysqlDialect) parts(g *Gen, t *Table, n int, primary bool) []string {
	var parts []string
	for _, i := range g.Perm(len(t.Fields)) {
		f := t.Fields[i]
		if len(parts) == n || f.Key == "" || primary && (f.Generated != "" || f.Hidden) || f.Generated == "VIRTUAL" {
			continue
		}
		if primary {
			f.NotNull = true
			t.Key = append(t.Key, f.Name)
		}
		parts = append(parts, strings.ReplaceAll(f.Key, "§", d.quote(f.Name)))
	}
	return parts
}

func (d *mysqlDialect) known(t *Table, c *change, f *Field, e *expected) {
	if c.op == capture.Update || c.op == capture.Delete {
		e.oldMay, e.newMay = f.Partial, f.Partial
	}
	if t.Identity == Partial {
		e.newMay = e.new == nil || e.old == nil || e.old.null == e.new.null && e.old.text == e.new.text
		e.oldMay = !slices.Contains(t.Key, f.Name) && !slices.Contains(t.Unique, f.Name)
	}
}

// alter draws a change of the definition.
func (d *mysqlDialect) alter(g *Gen, t *Table) alteration {
	table := "ALTER TABLE " + d.quote(t.Name) + " "
	a := alteration{apply: func() {}}
	f := t.Fields[g.IntN(len(t.Fields))]
	ours := f.Name != t.Marker && f.Generated == "" && !slices.Contains(t.Key, f.Name)
	switch n := g.IntN(12); {
	case n < 4:
		added := d.field(g, g.Name())
		a.sql = []string{table + "ADD COLUMN " + d.definition(added) + d.place(g, t, "")}
		a.apply = func() { t.Fields = append(t.Fields, added) }
	case n < 6 && ours:
		a.sql = []string{table + "DROP COLUMN " + d.quote(f.Name)}
		a.apply = func() { t.Fields = slices.DeleteFunc(t.Fields, func(o *Field) bool { return o == f }) }
	case n < 8 && ours:
		other := d.field(g, f.Name)
		a.sql = []string{table + "MODIFY COLUMN " + d.definition(other) + d.place(g, t, f.Name)}
		a.apply = func() { *f = *other }
	case n == 8 && ours:
		a.sql = []string{table + "MODIFY COLUMN " + d.definition(f) + d.place(g, t, f.Name)}
	case n == 9 && ours:
		name := g.Name()
		a.sql = []string{table + "RENAME COLUMN " + d.quote(f.Name) + " TO " + d.quote(name)}
		a.apply = func() { f.Name = name }
	// The servers take the labels of ENUM and SET for text in the new charset as they are.
	case n == 10 && !slices.ContainsFunc(t.Fields, func(f *Field) bool { return strings.HasPrefix(f.SQL, "ENUM") || strings.HasPrefix(f.SQL, "SET") }):
		a.sql = []string{table + "CONVERT TO CHARACTER SET " + g.Of("latin1", "utf8mb4", "utf16", "gbk")}
	case len(t.Key) > 0 && t.Key[0] != hiddenKey && g.Chance(50):
		a.sql = []string{table + "DROP PRIMARY KEY"}
		a.apply = func() { t.Key = nil }
	default:
		name := g.Name()
		a.sql = []string{"RENAME TABLE " + d.quote(t.Name) + " TO " + d.quote(name)}
		a.apply = func() { t.Name = name }
	}
	return a
}

func (d *mysqlDialect) place(g *Gen, t *Table, but string) string {
	f := t.Fields[g.IntN(len(t.Fields))]
	switch {
	case g.Chance(25):
		return " FIRST"
	case g.Chance(50) && f.Name != but:
		return " AFTER " + d.quote(f.Name)
	}
	return ""
}
