package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// ailment is a state of the database in which check finds something. $s is a schema and $p a
// publication of its own.
type ailment struct {
	name     string
	since    int // the first version that can be in this state; 0 is every
	before   int // the first that cannot; 0 is none
	sql      []string
	tables   []string // mapped; default $s.t
	code     string   // of the finding
	severity capture.Severity
	refuses  bool   // the application's UPDATE or DELETE fails in this state
	remedy   string // a part of the remedy, where it tells alternatives apart
	// mend does what the remedy says where it is no SQL. It returns the tables and the publication
	// to check afterwards.
	mend func(t *testing.T, at *ailing) (tables []string, publication string)
	own  bool // in a database of its own
}

// ailing is an ailment in a database.
type ailing struct {
	pg                    *capturetest.Postgres
	conn                  *pgx.Conn // a superuser's session
	database, schema, pub string
}

const (
	keyed    = "create table $s.t (id int primary key, a int)"
	keyless  = "create table $s.t (id int not null, a int)"
	stored   = "create table $s.t (id int primary key, a int, g int generated always as (a * 2) stored)"
	virtual  = "create table $s.t (id int primary key, a int, g int generated always as (a * 2) virtual)"
	publish  = "create publication $p for table $s.t with (publish_via_partition_root = true)"
	whole    = "alter table $s.t replica identity full"
	parts    = "create table $s.t (id int, a int, primary key (id, a)) partition by list (a)"
	part1    = "create table $s.t1 partition of $s.t for values in (1)"
	part2    = "create table $s.t2 partition of $s.t for values in (2)"
	identity = "replica_identity"
	refused  = "statements_refused"
)

func ailments() []ailment {
	return slices.Concat(publicationAilments(), membershipAilments(), identityAilments(), generatedAilments(), strangerAilments())
}

func publicationAilments() []ailment {
	return []ailment{
		{name: "no publication", sql: []string{keyed}, code: "publication", severity: capture.Error, mend: runSetup},
		{name: "operations left out", sql: []string{keyed, "create publication $p for table $s.t with (publish = 'insert')"},
			code: "publication_publish", severity: capture.Error},
		{name: "operations left out, and a mapped table has no key", sql: []string{keyless, "create publication $p for table $s.t with (publish = 'insert')"},
			code: "publication_publish", severity: capture.Error, remedy: "REPLICA IDENTITY FULL"},
		{name: "operations left out, and another table has no key",
			sql:  []string{keyed, "create table $s.log (at int)", "create publication $p for table $s.t, $s.log with (publish = 'insert')"},
			code: "publication_publish", severity: capture.Error, mend: ownPublicationMend},
		{name: "partitions by their own names", sql: []string{parts, part1, "create publication $p for table $s.t"},
			code: "publication_root", severity: capture.Error},
		{name: "all sequences", since: 19, sql: []string{keyed, "create publication $p for all sequences"},
			code: "publication_kind", severity: capture.Error, mend: ownPublicationMend},
		{name: "misspelt", sql: []string{keyed, publish}, tables: []string{"$s.tt"}, code: "table", severity: capture.Error,
			mend: func(_ *testing.T, at *ailing) ([]string, string) { return []string{at.schema + ".t"}, at.pub }},
		{name: "unlogged", sql: []string{keyed, publish, "create unlogged table $s.u (id int primary key)"}, tables: []string{"$s.u"},
			code: "table_kind", severity: capture.Error, remedy: "SET LOGGED"},
		{name: "a child inherits", sql: []string{keyed, publish, "create table $s.kid (b int, primary key (id)) inherits ($s.t)"},
			code: "inheritance", severity: capture.Error,
			mend: func(_ *testing.T, at *ailing) ([]string, string) {
				return []string{at.schema + ".t", at.schema + ".kid"}, at.pub
			}},
	}
}

func membershipAilments() []ailment {
	return []ailment{
		{name: "not published", sql: []string{keyed, "create publication $p"}, code: "not_published", severity: capture.Error},
		{name: "not published, no key", sql: []string{keyless, "create publication $p"}, code: "not_published", severity: capture.Error, remedy: "FULL"},
		{name: "not published, children without a key", sql: []string{keyed, "create table $s.kid () inherits ($s.t)", "create publication $p"},
			code: "not_published", severity: capture.Error, remedy: "ADD TABLE ONLY"},
		{name: "not published, deferrable key", sql: []string{"create table $s.t (id int primary key deferrable, a int)", "create publication $p"},
			code: "not_published", severity: capture.Error, remedy: "FULL"},
		{name: "not published, FULL with a stored column", since: 18, sql: []string{stored, whole, "create publication $p"},
			code: "not_published", severity: capture.Error, remedy: "publish_generated_columns = stored"},
		{name: "not published, FULL with a virtual column", since: 18, sql: []string{virtual, whole, "create publication $p"},
			code: "not_published", severity: capture.Error, remedy: "REPLICA IDENTITY DEFAULT"},
		{name: "not published, stored column without a key", since: 18,
			sql:  []string{"create table $s.t (a int, g int generated always as (a * 2) stored)", "create publication $p"},
			code: "not_published", severity: capture.Error, remedy: "stored"},
		{name: "not published, virtual column without a key", since: 18,
			sql:  []string{"create table $s.t (id int, a int, g int generated always as (a * 2) virtual)", "create publication $p"},
			code: "not_published", severity: capture.Error, remedy: "ADD PRIMARY KEY", mend: addKeyMend},
		{name: "excepted", since: 19, own: true, sql: []string{keyed, "create table $s.x (id int)", whole,
			"create publication $p for all tables except (table $s.t, $s.x), all sequences"},
			code: "not_published", severity: capture.Error, remedy: "EXCEPT"},
		{name: "excepted alone", since: 19, own: true, sql: []string{keyed, "create publication $p for all tables except (table $s.t)"},
			code: "not_published", severity: capture.Error, remedy: "SET ALL TABLES;"},
		{name: "row filter", since: 15, sql: []string{keyed, "create publication $p for table $s.t where (id > 1)"}, code: "row_filter", severity: capture.Warning},
		{name: "row filter beyond the identity", since: 15, refuses: true, sql: []string{keyed, "create publication $p for table $s.t where (a > 1)"},
			code: refused, severity: capture.Error},
		{name: "row filter by the root", since: 15, refuses: true, sql: []string{"create table $s.t (id int primary key, a int) partition by range (id)",
			"create table $s.t1 partition of $s.t for values from (0) to (9)",
			"create publication $p for table $s.t where (a > 1) with (publish_via_partition_root = true)"}, code: refused, severity: capture.Error},
		{name: "column list", since: 15, sql: []string{keyed, "create publication $p for table $s.t (id)"}, code: "column_list", severity: capture.Warning},
		{name: "column list without the identity", since: 15, refuses: true, sql: []string{keyed, "create publication $p for table $s.t (a)"},
			code: refused, severity: capture.Error},
		{name: "column list with FULL", since: 15, refuses: true, sql: []string{keyed, whole, "create publication $p for table $s.t (id, a)"},
			code: refused, severity: capture.Error},
		{name: "column list that has a stored column of the identity", since: 18,
			sql: []string{"create table $s.t (id int, a int, g int generated always as (id * 2) stored not null, unique (g))",
				"alter table $s.t replica identity using index t_g_key", "create publication $p for table $s.t (g)"},
			code: "column_list", severity: capture.Warning, remedy: "stored"},
		{name: "another publication's column list", since: 15, refuses: true,
			sql:  []string{keyed, whole, publish, "create publication $p_other for table $s.t (id)"},
			code: refused, severity: capture.Error, remedy: "REPLICA IDENTITY DEFAULT"},
		{name: "another publication's row filter", since: 15, refuses: true,
			sql:  []string{keyed, publish, "create publication $p_other for table $s.t where (a > 1)"},
			code: refused, severity: capture.Error, remedy: "REPLICA IDENTITY FULL"},
	}
}

func identityAilments() []ailment {
	return []ailment{
		{name: "no key", refuses: true, sql: []string{keyless, publish}, code: identity, severity: capture.Error, remedy: "FULL"},
		{name: "identity nothing", refuses: true, sql: []string{keyed, publish, "alter table $s.t replica identity nothing"},
			code: identity, severity: capture.Error, remedy: "DEFAULT"},
		{name: "no key, not published", sql: []string{keyless, "create publication $p"}, code: identity, severity: capture.Error, remedy: "FULL"},
		{name: "deferrable key", refuses: true, sql: []string{"create table $s.t (id int primary key deferrable, a int)", publish},
			code: identity, severity: capture.Error, remedy: "FULL"},
		{name: "deferrable key, another unique index", refuses: true,
			sql:  []string{`create table $s.t (id int primary key deferrable, a int not null, constraint "A key" unique (a))`, publish},
			code: identity, severity: capture.Error, remedy: `USING INDEX "A key"`},
		{name: "identity's index dropped", refuses: true, sql: []string{"create table $s.t (id int primary key, a int not null)", publish,
			"create unique index t_a on $s.t (a)", "alter table $s.t replica identity using index t_a", "drop index $s.t_a"},
			code: identity, severity: capture.Error, remedy: "DEFAULT"},
		{name: "partition with an identity of its own", refuses: true, sql: []string{parts, part1, part2, publish, "alter table $s.t2 replica identity nothing"},
			code: identity, severity: capture.Error, remedy: "t2 REPLICA IDENTITY DEFAULT"},
		{name: "partitions without a key", refuses: true, sql: []string{"create table $s.t (id int, a int) partition by list (a)", part1, part2, publish},
			code: identity, severity: capture.Error, remedy: "FULL"},
		{name: "partition that is not FULL", sql: []string{parts, part1, part2, publish, whole, "alter table $s.t1 replica identity full"},
			code: "partition_identity", severity: capture.Warning, remedy: "t2 REPLICA IDENTITY FULL"},
		{name: "partition that cannot be FULL", since: 18, sql: []string{
			"create table $s.t (id int, a int, g int generated always as (id * 2) virtual, primary key (id, a)) partition by list (a)", part1, publish, whole},
			code: "partition_identity", severity: capture.Warning, remedy: "t REPLICA IDENTITY DEFAULT"},
	}
}

func generatedAilments() []ailment {
	const unique = "create table $s.t (id int not null unique, a int, g int generated always as (a * 2) virtual)"
	return []ailment{
		{name: "stored column", since: 18, sql: []string{stored, publish}, code: "generated_columns", severity: capture.Warning},
		{name: "FULL with a stored column", since: 18, refuses: true, sql: []string{stored, whole, publish},
			code: refused, severity: capture.Error, remedy: "publish_generated_columns = stored"},
		{name: "stored column added to a FULL table", since: 18, refuses: true,
			sql:  []string{keyed, whole, publish, "alter table $s.t add g int generated always as (a * 2) stored"},
			code: refused, severity: capture.Error, remedy: "publish_generated_columns = stored"},
		{name: "FULL with a virtual column", since: 18, refuses: true, sql: []string{virtual, whole, publish},
			code: refused, severity: capture.Error, remedy: "REPLICA IDENTITY DEFAULT"},
		{name: "virtual column added to a FULL table", since: 18, refuses: true,
			sql:  []string{keyed, whole, publish, "alter table $s.t add g int generated always as (a * 2) virtual"},
			code: refused, severity: capture.Error, remedy: "REPLICA IDENTITY DEFAULT"},
		{name: "FULL with a virtual column, unique index", since: 18, refuses: true, sql: []string{unique, whole, publish},
			code: refused, severity: capture.Error, remedy: "USING INDEX"},
		{name: "FULL with a virtual column, no index", since: 18, refuses: true,
			sql:  []string{"create table $s.t (id int, a int, g int generated always as (a * 2) virtual)", whole, publish},
			code: refused, severity: capture.Error, remedy: "DROP TABLE"},
		{name: "FULL with a virtual column, no index, all tables", since: 18, before: 19, refuses: true, own: true,
			sql:  []string{"create table $s.t (id int, a int, g int generated always as (a * 2) virtual)", whole, "create publication $p for all tables"},
			code: refused, severity: capture.Error, remedy: "ADD PRIMARY KEY", mend: addKeyMend},
		{name: "FULL with a virtual column, no index, all tables but", since: 19, refuses: true, own: true,
			sql:  []string{"create table $s.t (id int, a int, g int generated always as (a * 2) virtual)", whole, "create publication $p for all tables"},
			code: refused, severity: capture.Error, remedy: "EXCEPT"},
		{name: "identity by a stored column", since: 18, refuses: true,
			sql: []string{"create table $s.t (id int, a int, g int generated always as (id * 2) stored not null, unique (g))",
				"alter table $s.t replica identity using index t_g_key", publish},
			code: refused, severity: capture.Error, remedy: "publish_generated_columns = stored"},
		{name: "another publication without the stored column", since: 18, refuses: true,
			sql: []string{stored, whole, "create publication $p for table $s.t with (publish_generated_columns = stored)",
				"create publication $p_other for table $s.t"},
			code: refused, severity: capture.Error, remedy: "REPLICA IDENTITY DEFAULT"},
		{name: "partitions FULL with a stored column", since: 18, refuses: true, sql: []string{
			"create table $s.t (id int, a int, g int generated always as (id * 2) stored, primary key (id, a)) partition by list (a)", part1, part2,
			publish, "alter table $s.t1 replica identity full", "alter table $s.t2 replica identity full"},
			code: refused, severity: capture.Error, remedy: "publish_generated_columns = stored"},
	}
}

func strangerAilments() []ailment {
	return []ailment{
		{name: "another table without a key", refuses: true, sql: []string{keyed, "create table $s.log (at int)", "create publication $p for table $s.t, $s.log"},
			code: refused, severity: capture.Error, remedy: "DROP TABLE"},
		{name: "a child without a key", refuses: true, sql: []string{keyed, "create table $s.kid () inherits ($s.t)", publish},
			code: refused, severity: capture.Error, remedy: "DROP TABLE ONLY"},
		{name: "all tables, one without a key", refuses: true, own: true, sql: []string{keyed, "create table $s.log (at int)", "create publication $p for all tables"},
			code: refused, severity: capture.Error, remedy: "FULL"},
		{name: "all tables of a schema, one without a key", since: 15, refuses: true,
			sql:  []string{keyed, "create table $s.log (at int)", "create publication $p for tables in schema $s"},
			code: refused, severity: capture.Error, remedy: "FULL"},
	}
}

// runSetup is the mend of what says `rowhook setup`.
func runSetup(t *testing.T, at *ailing) ([]string, string) {
	tables := []string{at.schema + ".t"}
	_, err := at.source(t, at.pub).Setup(t.Context(), capture.SetupOptions{Tables: tables})
	capturetest.Must(t, err)
	return tables, at.pub
}

// ownPublicationMend is the mend of a publication that is not for rowhook alone.
func ownPublicationMend(t *testing.T, at *ailing) ([]string, string) {
	own := *at
	own.pub += "_tables"
	return runSetup(t, &own)
}

// addKeyMend names the columns of the key, runs that statement, and then what check says next.
func addKeyMend(t *testing.T, at *ailing) ([]string, string) {
	at.paste(t, "ALTER TABLE "+at.schema+".t ADD PRIMARY KEY (id);")
	tables := []string{at.schema + ".t"}
	findings, err := at.source(t, at.pub).Drift(t.Context(), tables)
	capturetest.Must(t, err)
	for _, f := range findings {
		at.paste(t, f.Remedy)
	}
	return tables, at.pub
}

func (at *ailing) source(t *testing.T, publication string) *Source {
	t.Helper()
	s, err := New(capture.SourceConfig{URL: at.pg.URL(at.database), Publication: publication, Slot: "rowhook"}, Options{Logger: testLogger(t), AgentID: "test"})
	capturetest.Must(t, err)
	t.Cleanup(s.Close)
	return s
}

// paste runs statements one after the other in one session, as psql does.
func (at *ailing) paste(t *testing.T, sql string) { pasteInto(t, at.conn, sql) }

func pasteInto(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	for line := range strings.Lines(sql) {
		line, _, _ = strings.Cut(line, " -- ")
		for statement := range strings.SplitSeq(line, ";") {
			if statement = strings.TrimSpace(statement); statement == "" {
				continue
			}
			if _, err := conn.Exec(t.Context(), statement); err != nil {
				t.Errorf("the remedy %q: %s: %v", sql, statement, err)
			}
		}
	}
}

// refusing asks the server which tables of the schema refuse an UPDATE or DELETE.
func (at *ailing) refusing(t *testing.T) []string {
	t.Helper()
	conn := at.conn
	rows, err := conn.Query(t.Context(), `select format('%I.%I', n.nspname, c.relname), (select quote_ident(attname) from pg_attribute where attrelid = c.oid and attnum = 1)
from pg_class c join pg_namespace n on n.oid = relnamespace where relkind = 'r' and n.nspname = $1 order by 1`, at.schema)
	capturetest.Must(t, err)
	type table struct{ Name, Column string }
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[table])
	capturetest.Must(t, err)
	var list []string
	for _, table := range tables {
		_, plan := conn.Exec(t.Context(), "explain update only "+table.Name+" set "+table.Column+" = default")
		_, remove := conn.Exec(t.Context(), "explain delete from only "+table.Name)
		if plan != nil || remove != nil {
			list = append(list, table.Name)
		}
	}
	return list
}

// judged are the tables that our own judgement says refuse statements.
func judged(t *testing.T, s *Source, tables []string) []string {
	t.Helper()
	in, err := s.inspect(t.Context(), tables)
	capturetest.Must(t, err)
	list := []string{}
	holders := slices.Clone(in.strangers)
	for _, f := range in.tables {
		holders = append(holders, f.holders...)
	}
	pubs := in.others
	if in.publication.exists {
		pubs = append(slices.Clone(pubs), in.ours)
	}
	for _, h := range holders {
		if len(h.refusals(pubs, in.version)) > 0 {
			list = append(list, h.sql)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// TestEachRemedyCuresItsFinding brings a database into each state, runs check, does what the remedy
// says, and expects the finding to be gone. Our judgement about the application's statements is the
// server's, before and after, and no remedy makes one fail.
func TestEachRemedyCuresItsFinding(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 15, 16, 17, 18, 19} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			pg := capturetest.StartPostgres(t, capturetest.Options{Major: major})
			count, conn := 0, pg.Connect(t, pg.DSN)
			for i, a := range ailments() {
				if a.since > major || a.before != 0 && a.before <= major {
					continue
				}
				at := &ailing{pg: pg, conn: conn, database: "postgres", schema: fmt.Sprintf("s%d", i), pub: fmt.Sprintf("p%d", i)}
				if a.own {
					at.database = pg.Database(t, fmt.Sprintf("d%d", i))
					at.conn = pg.Connect(t, pg.URL(at.database))
				}
				t.Run(a.name, func(t *testing.T) { a.check(t, at) })
				count++
			}
			t.Logf("%d remedies on PostgreSQL %d", count, major)
		})
	}
}

func (a *ailment) check(t *testing.T, at *ailing) {
	fill := strings.NewReplacer("$s", at.schema, "$p", at.pub).Replace
	for _, sql := range append([]string{"create schema $s"}, a.sql...) {
		if _, err := at.conn.Exec(t.Context(), fill(sql)); err != nil {
			t.Fatalf("%s: %v", fill(sql), err)
		}
	}
	tables := []string{at.schema + ".t"}
	if len(a.tables) > 0 {
		tables = nil
		for _, name := range a.tables {
			tables = append(tables, fill(name))
		}
	}
	s := at.source(t, at.pub)
	before := at.refusing(t)
	if got := len(before) > 0; got != a.refuses {
		t.Fatalf("the server refuses statements on %q, want that: %t", before, a.refuses)
	}
	if list := judged(t, s, tables); !slices.Equal(list, before) && len(list)+len(before) > 0 {
		t.Errorf("judged to refuse statements: %q, the server refuses them on %q", list, before)
	}
	finding := findCode(t, s, tables, a.code)
	if finding == nil || finding.Severity != a.severity || finding.Remedy == "" || !strings.Contains(finding.Remedy, a.remedy) {
		t.Fatalf("found %+v, want %s %s with the remedy %q", finding, a.severity, a.code, a.remedy)
	}
	publication := at.pub
	if a.mend != nil {
		tables, publication = a.mend(t, at)
	} else {
		at.paste(t, finding.Remedy)
	}
	s = at.source(t, publication)
	if left := findCode(t, s, tables, a.code); left != nil {
		t.Errorf("after %q there is still: %+v", finding.Remedy, left)
	}
	after := at.refusing(t)
	if len(after) > 0 {
		t.Errorf("after %q the server refuses statements on %q", finding.Remedy, after)
	}
	if list := judged(t, s, tables); len(list) > 0 {
		t.Errorf("judged to refuse statements after %q: %q", finding.Remedy, list)
	}
}

// findCode judges the tables as check does and returns the first finding of a kind.
func findCode(t *testing.T, s *Source, tables []string, code string) *capture.Finding {
	t.Helper()
	in, err := s.inspect(t.Context(), tables)
	capturetest.Must(t, err)
	findings := append(in.differences(s.config.Publication), in.advice()...)
	if i := slices.IndexFunc(findings, func(f capture.Finding) bool { return f.Code == code }); i >= 0 {
		return &findings[i]
	}
	return nil
}
