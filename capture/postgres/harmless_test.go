package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestSetupNeverMakesStatementsFail sets up tables whose publishing, or whose REPLICA IDENTITY
// FULL, makes the server refuse the application's statements: they are refused, with the way out,
// and every statement of the application works after it.
func TestSetupNeverMakesStatementsFail(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 17, 18, 19} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			pg := capturetest.StartPostgres(t, capturetest.Options{Major: major})
			conn := pg.Connect(t, pg.DSN)
			for i, test := range []struct {
				name         string
				since, until int
				sql          []string
				full         bool
				refused      string // a part of the reason; empty when it is set up
				remedy       string
				ran          string // a part of what was run
			}{
				{name: "stored column, new publication", since: 18, sql: []string{stored}, full: true, ran: "publish_generated_columns = stored"},
				{name: "stored column, publication that is there", since: 18, sql: []string{stored, "create publication $p"}, full: true,
					refused: "does not publish the generated g", remedy: `SET (publish_generated_columns = stored);`},
				{name: "virtual column", since: 18, sql: []string{virtual}, full: true, refused: "does not publish the generated g", remedy: "without old values"},
				{name: "virtual column, nothing needs FULL", since: 18, sql: []string{virtual}, ran: "CREATE PUBLICATION"},
				{name: "generated column before the rule", until: 18, sql: []string{stored}, full: true, ran: "REPLICA IDENTITY FULL"},
				{name: "FULL already, stored column, publication that is there", since: 18, sql: []string{stored, whole, "create publication $p"},
					refused: "does not publish the generated g", remedy: "publish_generated_columns = stored"},
				{name: "FULL already, virtual column", since: 18, sql: []string{virtual, whole}, refused: "fail", remedy: "REPLICA IDENTITY DEFAULT"},
				{name: "no key", sql: []string{keyless}, refused: "no usable replica identity", remedy: "FULL"},
				{name: "deferrable key", sql: []string{"create table $s.t (id int primary key deferrable, a int)"}, refused: "no usable replica identity", remedy: "FULL"},
				{name: "column list", since: 15, sql: []string{keyed, "create publication $p for table $s.t (id)"}, full: true, refused: "column list", remedy: "DROP TABLE"},
				{name: "column list of another publication", since: 15, sql: []string{keyed, "create publication $p_other for table $s.t (id)"}, full: true,
					refused: "column list", remedy: "without old values"},
				{name: "another publication without the stored column", since: 18, sql: []string{stored, "create publication $p_other for table $s.t"}, full: true,
					refused: "$p_other", remedy: "without old values"},
				{name: "a child without a key", sql: []string{keyed, "create table $s.kid () inherits ($s.t)"}, ran: "FOR TABLE ONLY $s.t"},
				{name: "operations of a table that is not mapped", sql: []string{keyed, "create table $s.log (at int)", "create publication $p for table $s.t, $s.log with (publish = 'insert')"},
					refused: "$s.log", remedy: "source.publication"},
				{name: "partitions", sql: []string{parts, part1, part2}, full: true, ran: "ALTER TABLE $s.t2 REPLICA IDENTITY FULL"},
			} {
				if test.since > major || test.until != 0 && major >= test.until {
					continue
				}
				t.Run(test.name, func(t *testing.T) {
					at := &ailing{pg: pg, conn: conn, database: "postgres", schema: fmt.Sprintf("s%d", i), pub: fmt.Sprintf("p%d", i)}
					fill := strings.NewReplacer("$s", at.schema, "$p", at.pub).Replace
					for _, sql := range append([]string{"create schema $s"}, test.sql...) {
						at.paste(t, fill(sql))
					}
					opts := capture.SetupOptions{Tables: []string{at.schema + ".t"}}
					if test.full {
						opts.Full = map[string]string{at.schema + ".t": "rule x needs the old value of a"}
					}
					ran, err := at.source(t, at.pub).Setup(t.Context(), opts)
					var operator *capture.OperatorError
					switch refused := errors.As(err, &operator); {
					case err != nil && !refused, refused != (test.refused != ""):
						t.Errorf("setup: %v, want it refused: %q", err, test.refused)
					case refused && (!strings.Contains(err.Error(), fill(test.refused)) || !strings.Contains(operator.Remedy, fill(test.remedy))):
						t.Errorf("refused: %v\nremedy: %s\nwant %q, %q", err, operator.Remedy, fill(test.refused), fill(test.remedy))
					}
					if !slices.ContainsFunc(ran, func(s capture.Statement) bool { return strings.Contains(s.SQL, fill(test.ran)) }) && test.ran != "" {
						t.Errorf("ran %v, want %q", ran, fill(test.ran))
					}
					if list := at.refusing(t); len(list) > 0 && !slices.Contains(test.sql, whole) {
						t.Errorf("after setup the server refuses statements on %q", list)
					}
				})
			}
		})
	}
}

// TestSetupAsksTheServerItself plans what makes a statement fail behind our judgement's back: the
// server is asked before the commit, and nothing is changed.
func TestSetupAsksTheServerItself(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{Major: 18})
	pg.Run(t, "create table t (id int primary key, a int, g int generated always as (a * 2) virtual)", "create publication rowhook for table t")
	conn := pg.Connect(t, pg.DSN)
	plan := &setupPlan{steps: []step{{sql: "ALTER TABLE public.t REPLICA IDENTITY FULL;", exclusive: []string{"public.t"}}},
		holders: []*holder{{oid: 1, name: "public.t", sql: "public.t", column: "id"}}}
	err := apply(t.Context(), conn, plan)
	if err == nil || !strings.Contains(err.Error(), "nothing has been changed") {
		t.Errorf("apply: %v", err)
	}
	pg.Run(t, "update t set a = 1")
}

// TestSetupGivesWay holds that a setup which waits for a lock neither keeps the application waiting
// for long nor makes it the victim of a deadlock, and then says who holds the lock.
func TestSetupGivesWay(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{Settings: map[string]string{"deadlock_timeout": "1s"}})
	pg.Run(t, "create table a (id int primary key)", "create table b (id int primary key)", "insert into a values (1)", "insert into b values (1)")
	s := newSource(t, pg.DSN)
	opts := capture.SetupOptions{Tables: []string{"public.a", "public.b"}, Full: map[string]string{"public.a": "x", "public.b": "x"}}
	app := pg.Connect(t, pg.DSN)
	_, err := app.Exec(t.Context(), "set application_name = 'till'; begin; update b set id = id")
	capturetest.Must(t, err)
	pid := app.PgConn().PID()

	ended := make(chan error, 1)
	go func() { _, err := s.Setup(context.WithoutCancel(t.Context()), opts); ended <- err }()
	// The application holds b, for which setup waits, and goes on to a.
	longest := time.Duration(0)
	for waited := false; !waited; {
		select {
		case err = <-ended:
			waited = true
		default:
			begun := time.Now()
			if _, err := app.Exec(t.Context(), "update a set id = id"); err != nil {
				t.Fatalf("the application's statement: %v", err)
			}
			longest = max(longest, time.Since(begun))
			if _, err := app.Exec(t.Context(), "select pg_sleep(0.01)"); err != nil {
				t.Fatal(err)
			}
		}
	}
	var operator *capture.OperatorError
	if !errors.As(err, &operator) || !strings.Contains(err.Error(), "nothing has been changed") ||
		!strings.Contains(operator.Remedy, fmt.Sprintf("pid %d", pid)) || !strings.Contains(operator.Remedy, "till") {
		t.Errorf("setup: %v, remedy %+v", err, operator)
	}
	t.Logf("the application waited for %s at most", longest)
	_, err = app.Exec(t.Context(), "commit")
	capturetest.Must(t, err)
	if _, err := s.Setup(t.Context(), opts); err != nil {
		t.Errorf("setup when the lock is free: %v", err)
	}
}

// TestSetupSaysWhoMay runs statements as roles that may not, and expects the role that may.
func TestSetupSaysWhoMay(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, "create role clerk login", "create role chief login", "create role agent login replication", `create schema "Reporting" authorization chief`,
		`create table "Reporting".t (id int primary key)`, `alter table "Reporting".t owner to clerk`, `grant usage on schema "Reporting" to clerk`,
		"create role reader login replication")
	s := newSource(t, pg.TCP("postgres", "agent"))
	opts := capture.SetupOptions{Tables: []string{"Reporting.t"}, Owner: pg.TCP("postgres", "clerk")}
	_, err := s.Setup(t.Context(), opts)
	var operator *capture.OperatorError
	if !errors.As(err, &operator) || !strings.Contains(operator.Remedy, `the owner of schema "Reporting" (chief)`) {
		t.Errorf("an owner of the table alone: %v, %+v", err, operator)
	}
	pg.Run(t, `grant usage on schema "Reporting" to agent`)
	_, err = s.Setup(t.Context(), opts)
	if !errors.As(err, &operator) || !strings.Contains(operator.Remedy, "CREATE on database postgres") {
		t.Errorf("an owner who may not make publications: %v, %+v", err, operator)
	}
	if rows := pg.Rows(t, `select has_table_privilege('agent', '"Reporting".t', 'select')`); rows[0][0] != "f" {
		t.Error("a setup that failed has left a part of itself")
	}
	plan, err := s.SetupSQL(t.Context(), opts)
	if err != nil || len(plan) == 0 || plan[0].SQL != lockTimeoutSQL {
		t.Errorf("the printed SQL does not begin with the lock timeout: %v, %v", plan, err)
	}
}

// TestRemoveLooksFirst holds that a removal which cannot be finished changes nothing.
func TestRemoveLooksFirst(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, "create role agent login replication", "create publication rowhook", "select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
	s := newSource(t, pg.TCP("postgres", "agent"))
	removed, err := s.Remove(t.Context(), "")
	var operator *capture.OperatorError
	if !errors.As(err, &operator) || len(removed) != 0 || !strings.Contains(operator.Remedy, "the owner of publication rowhook (postgres)") {
		t.Errorf("remove: %v, %v, %+v", removed, err, operator)
	}
	left := `select (select count(*) from pg_publication) || ' ' || (select count(*) from pg_replication_slots)`
	if got := pg.Rows(t, left)[0][0]; got != "1 1" {
		t.Errorf("publications and slots left: %s, want both", got)
	}
	pg.Run(t, "alter role agent noreplication", "alter publication rowhook owner to agent")
	if removed, err = s.Remove(t.Context(), ""); err == nil || len(removed) != 0 {
		t.Errorf("remove without REPLICATION: %v, %v", removed, err)
	}
	if got := pg.Rows(t, left)[0][0]; got != "1 1" {
		t.Errorf("publications and slots left: %s, want both", got)
	}
	pg.Run(t, "alter role agent replication")
	if removed, err = s.Remove(t.Context(), ""); err != nil || len(removed) != 2 {
		t.Errorf("remove: %v, %v", removed, err)
	}
	if got := pg.Rows(t, left)[0][0]; got != "0 0" {
		t.Errorf("publications and slots left: %s, want none", got)
	}
}
