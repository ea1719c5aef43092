package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

const library = `
create schema circulation;
create table circulation.loans (loan_id int primary key, due_at timestamptz, fee numeric(10,2));
create table circulation.holds (no int, branch text, title text, primary key (branch, no));
create table circulation.notes (body text);
create table circulation.scratch (id int primary key);
alter table circulation.scratch set unlogged;
create view circulation.overdue as select * from circulation.loans;
create table circulation.prices (id int primary key, net numeric, gross numeric generated always as (net * 1.2) stored, paid money);
create table circulation.visits (id int, day date, who text, primary key (id, day)) partition by range (day);
create table circulation.visits_2025 partition of circulation.visits for values from ('2025-01-01') to ('2026-01-01');
create table circulation.visits_2026 partition of circulation.visits for values from ('2026-01-01') to ('2027-01-01');
create role keeper login`

// findingLines writes findings as "severity code subject: remedy".
func findingLines(findings []capture.Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, strings.TrimSpace(f.Severity.String()+" "+f.Code+" "+f.Table+": "+f.Remedy))
	}
	return out
}

func TestTables(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, library)
	s := newSource(t, pg.DSN)
	tables, err := s.Tables(context.Background(), []string{"circulation.*", "circulation.loans", "nowhere.*"})
	capturetest.Must(t, err)
	var got []string
	for _, table := range tables {
		line := table.String()
		for i, c := range table.Columns {
			line += " " + c.Name + " " + c.Type.Name
			if slices.Contains(table.Key, i) {
				line += " key"
			}
			if c.Identity {
				line += " id"
			}
		}
		got = append(got, line)
	}
	want := []string{
		"circulation.holds no int4 key id branch text key id title text",
		"circulation.loans loan_id int4 key id due_at timestamptz fee numeric",
		"circulation.notes body text",
		"circulation.prices id int4 key id net numeric paid money",
		"circulation.visits id int4 key id day date key id who text",
	}
	if !slices.Equal(got, want) {
		t.Errorf("tables:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if key := tables[0].Key; !slices.Equal(key, []int{1, 0}) {
		t.Errorf("key of holds is %v, want its order (branch, no)", key)
	}
}

func TestDriftNamesTheAlter(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 15, 18} {
		pg := capturetest.StartPostgres(t, capturetest.Options{Major: major})
		pg.Run(t, library, "create publication rowhook for table circulation.loans with (publish = 'insert, update')",
			"alter table circulation.visits replica identity full",
			"alter table circulation.visits_2025 replica identity full")
		s := newSource(t, pg.DSN)
		got, err := s.Drift(context.Background(), []string{"circulation.*", "circulation.lones", "circulation.scratch",
			"circulation.overdue", "circulation.visits_2026", "circulation.notes"})
		capturetest.Must(t, err)
		want := []string{
			"error publication_publish : ALTER PUBLICATION \"rowhook\" SET (publish = 'insert, update, delete, truncate');",
			"error publication_root : ALTER PUBLICATION \"rowhook\" SET (publish_via_partition_root = true);",
			"error table circulation.lones: did you mean circulation.loans?",
			"error not_published circulation.holds: ALTER PUBLICATION \"rowhook\" ADD TABLE circulation.holds;",
			"error not_published circulation.notes: ALTER TABLE circulation.notes REPLICA IDENTITY FULL; ALTER PUBLICATION \"rowhook\" ADD TABLE circulation.notes;",
			"error replica_identity circulation.notes: ALTER TABLE circulation.notes REPLICA IDENTITY FULL;",
			"error not_published circulation.prices: ALTER PUBLICATION \"rowhook\" ADD TABLE circulation.prices;",
			"error not_published circulation.visits: ALTER PUBLICATION \"rowhook\" ADD TABLE circulation.visits;",
			"warning partition_identity circulation.visits: ALTER TABLE circulation.visits_2026 REPLICA IDENTITY FULL;",
			"error table_kind circulation.overdue: take it out of mapping, or map the tables behind it",
			"error table_kind circulation.scratch: ALTER TABLE circulation.scratch SET LOGGED;",
			"error table_kind circulation.visits_2026: map circulation.visits: changes of partitions come as the root's",
		}
		if lines := findingLines(got); !slices.Equal(lines, want) {
			t.Errorf("PostgreSQL %d:\n%s\nwant:\n%s", major, strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestRemediesCure runs the statements of the findings and expects no findings then.
func TestRemediesCure(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{Major: 15})
	pg.Run(t, library,
		"create publication rowhook for table circulation.loans where (loan_id > 10), circulation.holds (branch, no) with (publish = 'insert')",
		"alter table circulation.visits replica identity full")
	s := newSource(t, pg.DSN)
	tables := []string{"circulation.loans", "circulation.holds", "circulation.visits"}
	findings, err := s.Drift(context.Background(), tables)
	capturetest.Must(t, err)
	if len(findings) < 5 {
		t.Fatalf("findings: %q", findingLines(findings))
	}
	for _, f := range findings {
		if strings.HasPrefix(f.Remedy, "ALTER") || strings.HasPrefix(f.Remedy, "BEGIN") {
			pg.Run(t, f.Remedy)
		}
	}
	findings, err = s.Drift(context.Background(), tables)
	capturetest.Must(t, err)
	if len(findings) != 0 {
		t.Errorf("still: %q", findingLines(findings))
	}
}

func TestSetup(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{Major: 15})
	pg.Run(t, library)
	ctx := context.Background()
	s := newSource(t, pg.TCP("postgres", "agent"))
	opts := capture.SetupOptions{Tables: []string{"circulation.loans", "circulation.visits", "circulation.notes"},
		Owner: pg.DSN, Slot: true}

	plan, err := s.SetupSQL(ctx, opts)
	var operator *capture.OperatorError
	if !errors.As(err, &operator) || operator.Remedy != "ALTER TABLE circulation.notes REPLICA IDENTITY FULL;" {
		t.Fatalf("a table without identity: %v", err)
	}
	const others = `CREATE PUBLICATION "rowhook" FOR TABLE circulation.loans, circulation.visits WITH (publish_via_partition_root = true);`
	if !slices.ContainsFunc(plan, func(s capture.Statement) bool { return s.SQL == others }) {
		t.Errorf("the other tables are not set up: %v", plan)
	}
	opts.Full = map[string]string{"circulation.notes": "has no key", "circulation.visits": "visit.moved looks at old values"}
	plan, err = s.Setup(ctx, opts)
	capturetest.Must(t, err)
	var got []string
	for _, statement := range plan {
		got = append(got, statement.SQL)
	}
	want := []string{
		`CREATE ROLE "agent" LOGIN REPLICATION;`,
		`GRANT USAGE ON SCHEMA circulation TO "agent";`,
		`GRANT SELECT ON circulation.loans TO "agent";`,
		`GRANT SELECT ON circulation.notes TO "agent";`,
		`GRANT SELECT ON circulation.visits TO "agent";`,
		`ALTER TABLE circulation.notes REPLICA IDENTITY FULL;`,
		`ALTER TABLE circulation.visits REPLICA IDENTITY FULL;`,
		`ALTER TABLE circulation.visits_2025 REPLICA IDENTITY FULL;`,
		`ALTER TABLE circulation.visits_2026 REPLICA IDENTITY FULL;`,
		`CREATE PUBLICATION "rowhook" FOR TABLE circulation.loans, circulation.notes, circulation.visits WITH (publish_via_partition_root = true);`,
		`SELECT pg_create_logical_replication_slot('rowhook', 'pgoutput');`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("ran:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if plan, err = s.SetupSQL(ctx, opts); err != nil || len(plan) != 0 {
		t.Errorf("after setup there is left: %v, %v", plan, err)
	}
	findings, _, err := s.Check(ctx, opts.Tables)
	capturetest.Must(t, err)
	for _, f := range findings {
		if f.Severity == capture.Error {
			t.Errorf("after setup check finds: %+v", f)
		}
	}
	pg.Run(t, "create type circulation.place as (shelf int, height numeric)",
		"create table circulation.slots (spans numeric[], place circulation.place, names text[], primary key (spans, place, names))")
	findings, _, err = s.Check(ctx, []string{"circulation.notes", "circulation.prices", "circulation.slots"})
	capturetest.Must(t, err)
	lines := strings.Join(findingLines(findings), "\n")
	for _, want := range []string{"warning generated_columns circulation.prices", "info money circulation.prices"} {
		if !strings.Contains(lines, want) {
			t.Errorf("check lacks %s:\n%s", want, lines)
		}
	}
	if n := strings.Count(lines, "info key_spelling circulation.slots"); n != 2 { // a list of texts has no numbers
		t.Errorf("%d findings about keys, want 2:\n%s", n, lines)
	}
	// Who owns the tables seldom may drop a slot: our own role does that.
	pg.Run(t, "create role owner login; grant create on database postgres to owner; alter publication rowhook owner to owner")
	removed, err := s.Remove(ctx, pg.TCP("postgres", "owner"))
	if err != nil || len(removed) != 2 {
		t.Errorf("removed %v: %v", removed, err)
	}
}

func TestCheckFindsWhatTheServerLacks(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{Major: 18, Settings: map[string]string{
		"wal_level": "replica", "max_replication_slots": "0", "wal_sender_timeout": "20s", "idle_replication_slot_timeout": "1d"}})
	pg.Run(t, library)
	s := newSource(t, pg.TCP("postgres", "keeper"))
	findings, _, err := s.Check(context.Background(), []string{"circulation.loans"})
	capturetest.Must(t, err)
	var codes []string
	for _, f := range findings {
		codes = append(codes, f.Severity.String()+" "+f.Code)
		if f.Severity > capture.Info && f.Remedy == "" {
			t.Errorf("%s has no remedy", f.Code)
		}
	}
	want := []string{"error replication_connection", "error wal_level", "error max_replication_slots",
		"error replication_privilege", "warning idle_replication_slot_timeout", "info slot",
		"warning usage_privilege", "warning select_privilege", "error publication"}
	if !slices.Equal(codes, want) {
		t.Errorf("found %q, want %q", codes, want)
	}
	pg.Run(t, "alter role keeper replication")
	findings, _, err = s.Check(context.Background(), []string{"circulation.loans"})
	capturetest.Must(t, err)
	if lines := strings.Join(findingLines(findings), "\n"); !strings.Contains(lines, "warning wal_sender_timeout") || !strings.Contains(lines, "info max_slot_wal_keep_size") {
		t.Errorf("with replication allowed, found:\n%s", lines)
	}
}

// TestTableWithoutColumns: PostgreSQL has tables without columns, and a publication of all tables has
// them too. What is published of them is nothing, and no reason to fail.
func TestTableWithoutColumns(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 15, 19} {
		pg := capturetest.StartPostgres(t, capturetest.Options{Major: major})
		pg.Run(t, "create table bare ()", "alter table bare replica identity full", "create table full_one (id int primary key)", "create publication rowhook for all tables with (publish_via_partition_root = true)")
		found, _, err := newSource(t, pg.DSN).Check(t.Context(), []string{"public.full_one"})
		if err != nil {
			t.Fatalf("%d: %v", major, err)
		}
		for _, f := range found {
			if f.Severity == capture.Error {
				t.Errorf("%d: %s %s", major, f.Code, f.Text)
			}
		}
	}
}
