package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// newReader returns a reader of a source that streams.
func newReader(t testing.TB, s *Source) capture.Reader {
	t.Helper()
	r := s.Reader()
	t.Cleanup(r.Close)
	return r
}

// readAll reads a table in chunks and returns its rows' lines and keys.
func readAll(t testing.TB, r capture.Reader, what capture.ReadRequest) (lines []string, keys [][]string) {
	t.Helper()
	_, err := r.Describe(t.Context(), what.Table)
	capturetest.Must(t, err)
	for chunks := 0; ; chunks++ {
		chunk, err := r.Read(t.Context(), &what)
		capturetest.Must(t, err)
		for _, row := range chunk.Rows {
			lines = append(lines, rowLine(chunk.Table, row))
			key, ok := chunk.Table.RowKey(row)
			if !ok {
				t.Fatalf("a row without its key: %s", rowLine(chunk.Table, row))
			}
			keys = append(keys, key)
			what.After = key
		}
		if !chunk.More {
			return lines, keys
		}
		if chunks > 1000 {
			t.Fatal("there is no end")
		}
	}
}

// TestReaderReadsTheStreamsTexts holds that a row reads as the stream has it, in every type.
func TestReaderReadsTheStreamsTexts(t *testing.T) {
	t.Parallel()
	for _, major := range capturetest.Majors() {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			pg := startServer(t, capturetest.Options{Major: major}, columnTypeDefinitions)
			var script strings.Builder
			for i, typ := range columnTypes {
				fmt.Fprintf(&script, "create table t%d (id int primary key, v %s);\n", i, typ.sql)
			}
			pg.Run(t, script.String(), "select pg_create_logical_replication_slot('rowhook', 'pgoutput')", hostile,
				"grant select on all tables in schema public to agent", "alter role agent reset statement_timeout")
			script.Reset()
			rows := 0
			for i, typ := range columnTypes {
				for n, v := range append(slices.Clone(typ.values), "null") {
					fmt.Fprintf(&script, "insert into t%d values (%d, %s);\n", i, n, v)
					rows++
				}
			}
			pg.Run(t, script.String())
			sink := newListSink("")
			s := newSource(t, pg.TCP("postgres", "agent"))
			running, _ := follow(t, s, capture.StartOptions{}, sink)
			sink.await(t, "all rows", func() bool { return len(sink.changes()) == rows })
			r := newReader(t, s)
			var got, want []string
			for i := range columnTypes {
				lines, _ := readAll(t, r, capture.ReadRequest{Table: fmt.Sprintf("public.t%d", i), Limit: 2})
				got = append(got, lines...)
			}
			for _, line := range sink.changes() {
				want = append(want, line[strings.Index(line, "("):])
			}
			running.stop(t)
			if !slices.Equal(got, want) {
				for i := range want {
					if i >= len(got) || got[i] != want[i] {
						t.Fatalf("row %d reads %s, streamed %s", i, got[min(i, len(got)-1)], want[i])
					}
				}
				t.Fatalf("%d rows, want %d", len(got), len(want))
			}
		})
	}
}

// TestReaderPages holds that every row is read once, whatever the key is made of.
func TestReaderPages(t *testing.T) {
	t.Parallel()
	const words = `(values ('a'),('A'),('b'),('B'),('ä'),('Ä'),('z'),('Z'),('é'),('e'),('E'),(''),(' '),('a b'),('a-b'),('ab'),('a''b'),('a\b'),('漢'),('🙂')) w(w)`
	pg := startServer(t, capturetest.Options{}, `create collation blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`,
		`create type mood as enum ('sad', 'ok', 'happy')`, `create domain code as text`,
		`create schema "Odd ""S"`, "create extension citext")
	tables := []struct{ name, columns, fill string }{
		{"public.number", "id bigint primary key, v text", "select n * 7919 - 40000, 'x' from generate_series(1, 40) n"},
		{"public.words", `w text primary key`, "select w from " + words},
		{"public.c", `w text collate "C" primary key`, "select w from " + words},
		{"public.icu", `w text collate "en-x-icu" primary key`, "select w from " + words},
		{"public.blind", `w text collate blind primary key`, "select distinct on (w collate blind) w from " + words},
		{"public.pair", `w text, n int, primary key (n, w)`, "select w, n from " + words + ", generate_series(1, 4) n"},
		{"public.triple", `a code, b mood, c timestamptz, primary key (b, c, a)`, "select w, m, '2026-01-01'::timestamptz + n * '1us'::interval from " + words + ", unnest(enum_range(null::mood)) m, generate_series(1, 2) n"},
		{"public.padded", `c char(6) primary key`, "select w from (select distinct w::char(6) from " + words + ") x(w)"},
		{"public.bytes", `b bytea primary key, f float8 unique`, `select decode(lpad(to_hex(n), 2, '0'), 'hex'), n / 3.0 from generate_series(0, 255, 9) n`},
		{"public.cased", `c citext, n int, primary key (c, n)`, "select distinct on (w::citext, n) w, n from " + words + ", generate_series(1, 3) n"},
		{"public.floats", `f float8 primary key`, `select * from (values ('NaN'::float8), ('Infinity'), ('-Infinity'), (0.1), (1e300), (5e-324), (1.0/3)) v`},
		{"public.list", `l text[] primary key`, `select array[w, null, '{,}"'] from ` + words},
		{`Odd "S.Odd "T`, `"Odd ""C" int, "select" text, primary key ("select", "Odd ""C")`, "select n, w from " + words + ", generate_series(1, 2) n"},
		{"public.parts", `id int, region text, primary key (region, id)) partition by list (region`, "select n, (array['n', 's', 'w'])[n % 3 + 1] from generate_series(1, 40) n"},
	}
	quoted := func(name string) string {
		schema, table, _ := capture.ParseTable(name)
		return quoteIdent(schema) + "." + quoteIdent(table)
	}
	counts := map[string]int{}
	for _, tt := range tables {
		pg.Run(t, fmt.Sprintf("create table %s (%s)", quoted(tt.name), tt.columns))
		if tt.name == "public.parts" {
			pg.Run(t, "create table parts_n partition of parts for values in ('n')", "create table parts_s partition of parts for values in ('s')",
				"create table parts_other partition of parts default")
		}
		pg.Run(t, fmt.Sprintf("insert into %s %s", quoted(tt.name), tt.fill))
		counts[tt.name], _ = strconv.Atoi(pg.Rows(t, "select count(*) from "+quoted(tt.name))[0][0])
	}
	s := newSource(t, pg.DSN)
	follow(t, s, capture.StartOptions{}, newListSink(""))
	for _, tt := range tables {
		t.Run(tt.name, func(t *testing.T) {
			r := newReader(t, s)
			for _, limit := range []int{1, 3, 0} {
				_, keys := readAll(t, r, capture.ReadRequest{Table: tt.name, Limit: limit})
				seen := map[string]bool{}
				for _, key := range keys {
					seen[strings.Join(key, "\x00")] = true
				}
				if len(keys) != counts[tt.name] || len(seen) != len(keys) {
					t.Fatalf("%d keys, %d of them different, in chunks of %d; the table has %d", len(keys), len(seen), limit, counts[tt.name])
				}
				chunk, err := r.Read(t.Context(), &capture.ReadRequest{Table: tt.name, Keys: keys[:2]})
				capturetest.Must(t, err)
				if len(chunk.Rows) != 2 {
					t.Errorf("%d rows by the keys %q", len(chunk.Rows), keys[:2])
				}
				plan := r.(*Reader).plans[tt.name]
				sql, err := plan.sql(&capture.ReadRequest{Table: tt.name, After: keys[len(keys)/2]}, 10, false)
				capturetest.Must(t, err)
				checkIndexed(t, pg, sql, len(plan.table.Key))
			}
		})
	}
}

// checkIndexed holds that a statement begins at its place in an index of some columns.
func checkIndexed(t *testing.T, pg *capturetest.Postgres, sql string, columns int) {
	t.Helper()
	conn := pg.Connect(t, pg.DSN)
	results, err := conn.PgConn().Exec(t.Context(), "set search_path = ''; set enable_seqscan = off; set enable_bitmapscan = off; explain (costs off) "+sql).ReadAll()
	capturetest.Must(t, err)
	var plan []string
	place := ""
	for _, row := range results[len(results)-1].Rows {
		plan = append(plan, string(row[0]))
		if _, cond, ok := strings.Cut(string(row[0]), "Index Cond: "); ok {
			place = cond
		}
	}
	if place == "" || columns > 1 && !strings.Contains(place, "ROW(") && !strings.Contains(place, ">=") {
		t.Errorf("%s\nis planned\n%s", sql, strings.Join(plan, "\n"))
	}
}

// TestReaderWaitsForRewrites holds that a table which is rewritten while it is read does not look
// empty.
func TestReaderWaitsForRewrites(t *testing.T) {
	t.Parallel()
	for _, major := range capturetest.Majors() {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			pg := startServer(t, capturetest.Options{Major: major}, "create table t (id int primary key, n int)", "insert into t values (1, 1), (2, 1)",
				"create role agent login replication", "grant select on t to agent", "select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
			s := newSource(t, pg.TCP("postgres", "agent"))
			follow(t, s, capture.StartOptions{}, newListSink(""))
			r := newReader(t, s)
			_, err := r.Describe(t.Context(), "public.t")
			capturetest.Must(t, err)
			for _, rewrite := range []string{"alter table t alter column n type bigint", "truncate t; insert into t values (1, 2), (2, 2)"} {
				writer := pg.Connect(t, pg.DSN)
				_, err := writer.PgConn().Exec(t.Context(), "begin; "+rewrite).ReadAll()
				capturetest.Must(t, err)
				type read struct {
					chunk *capture.Chunk
					err   error
				}
				done := make(chan read, 1)
				go func() {
					chunk, err := r.Read(t.Context(), &capture.ReadRequest{Table: "public.t"})
					done <- read{chunk, err}
				}()
				eventually(t, "the reader to wait for the table", func() bool {
					return len(pg.Rows(t, "select 1 from pg_locks where not granted and relation = 't'::regclass")) > 0
				})
				_, err = writer.PgConn().Exec(t.Context(), "commit").ReadAll()
				capturetest.Must(t, err)
				got := <-done
				capturetest.Must(t, got.err)
				if len(got.chunk.Rows) != 2 {
					t.Errorf("%d rows after %s", len(got.chunk.Rows), rewrite)
				}
			}
		})
	}
}

// TestReaderBoundsRowsByKey holds that rows too large to be read at once are read one after the
// other, by their keys too.
func TestReaderBoundsRowsByKey(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, "create table t (id int primary key, pad text)",
		"insert into t select n, repeat('x', 3 << 20) from generate_series(1, 3) n", "insert into t select n, '' from generate_series(10, 200) n")
	s := newSource(t, pg.DSN)
	follow(t, s, capture.StartOptions{}, newListSink(""))
	r := newReader(t, s)
	_, err := r.Describe(t.Context(), "public.t")
	capturetest.Must(t, err)
	keys := [][]string{{"2"}, {"3"}, {"4"}, {"1"}}
	for want := 1; want <= 3; want++ {
		chunk, err := r.Read(t.Context(), &capture.ReadRequest{Table: "public.t", Keys: keys})
		capturetest.Must(t, err)
		if len(chunk.Rows) != 1 || string(chunk.Rows[0][0].Text) != strconv.Itoa(want) || chunk.More != (want < 3) {
			t.Fatalf("%d rows, more: %t, where row %d is next", len(chunk.Rows), chunk.More, want)
		}
		keys = slices.DeleteFunc(keys, func(key []string) bool { return key[0] == strconv.Itoa(want) })
	}
	var small [][]string
	for n := 10; n <= 200; n++ {
		small = append(small, []string{strconv.Itoa(n)})
	}
	chunk, err := r.Read(t.Context(), &capture.ReadRequest{Table: "public.t", Keys: small})
	capturetest.Must(t, err)
	if len(chunk.Rows) != readFirst || !chunk.More {
		t.Errorf("%d rows at once while nobody knows how large they are, more: %t", len(chunk.Rows), chunk.More)
	}
}

// TestReaderLeavesOut holds that a reader reads what the stream would bring: the publication's rows
// and columns, and rows that conditions name.
func TestReaderLeavesOut(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, "create table t (id int primary key, branch text, secret text, twice int generated always as (id * 2) stored)",
		"create table child () inherits (t)", "insert into child values (100, 'MAIN', 'x')",
		"insert into t select n, case when n % 2 = 0 then 'MAIN' when n % 3 = 0 then 'EAST' end, 's' from generate_series(1, 12) n",
		"create publication rowhook for table only t (id, branch) where (id > 2)")
	s := newSource(t, pg.DSN)
	follow(t, s, capture.StartOptions{}, newListSink(""))
	r := newReader(t, s)
	for _, tt := range []struct {
		where []capture.ReadCondition
		want  string
	}{
		{nil, "3 4 5 6 7 8 9 10 11 12"},
		{[]capture.ReadCondition{{Column: "branch", Value: "EAST"}}, "3 9"},
		{[]capture.ReadCondition{{Column: "branch", Null: true}}, "5 7 11"},
		{[]capture.ReadCondition{{Column: "branch", Value: "MAIN"}, {Column: "id", Value: "8"}}, "8"},
	} {
		lines, keys := readAll(t, r, capture.ReadRequest{Table: "public.t", Where: tt.where, Limit: 4})
		var ids []string
		for _, key := range keys {
			ids = append(ids, key[0])
		}
		if got := strings.Join(ids, " "); got != tt.want {
			t.Errorf("%+v reads %s, want %s", tt.where, got, tt.want)
		}
		if strings.Contains(lines[0], "secret") || strings.Contains(lines[0], "twice") {
			t.Errorf("row %s", lines[0])
		}
	}
	// A filter that comes meanwhile holds from then on.
	pg.Run(t, "alter publication rowhook set table only t (id, branch) where (id > 10)")
	chunk, err := r.Read(t.Context(), &capture.ReadRequest{Table: "public.t"})
	capturetest.Must(t, err)
	if len(chunk.Rows) != 2 {
		t.Errorf("%d rows by a newer filter", len(chunk.Rows))
	}
	// A column that comes meanwhile is read from then on.
	pg.Run(t, "alter publication rowhook set table only t", "alter table t add note text default 'n'")
	chunk, err = r.Read(t.Context(), &capture.ReadRequest{Table: "public.t", Keys: [][]string{{"1"}}})
	capturetest.Must(t, err)
	if got := rowLine(chunk.Table, chunk.Rows[0]); got != `(id:1 branch:null secret:"s" note:"n")` {
		t.Errorf("row %s", got)
	}
	// A table that is not published any more is not read.
	pg.Run(t, "create table other (id int primary key)", "alter publication rowhook set table other")
	_, err = r.Read(t.Context(), &capture.ReadRequest{Table: "public.t"})
	var operator *capture.OperatorError
	if !errors.As(err, &operator) || !strings.Contains(err.Error(), "publication rowhook does not have it") {
		t.Errorf("a table that is not published: %v", err)
	}
}

// TestReaderComparesAsTheType holds that a condition's value is compared by the column's own type.
func TestReaderComparesAsTheType(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, "create schema ext", "create extension citext schema ext", "create domain code as ext.citext", "create type mood as enum ('sad', 'ok')",
		"create domain doc as json",
		"create table t (id int primary key, c ext.citext, d code, v varchar(9), p char(6), m mood, f numeric, b boolean, j json, dj doc, x xml, pt point, pg polygon, jp jsonpath, jb jsonb, u uuid, i interval, at timestamptz)",
		`insert into t values (1, 'Main', 'Main', 'Main', 'Main', 'ok', 1.50, true, '1', '1', '<a/>', '(1,2)', '((1,2))', '$', '{"a":1}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '1 mon', '2026-11-22 01:02:03+00')`, "insert into t values (2, 'MAIN', 'MAIN', 'MAIN', 'MAIN', 'sad', 2, false)")
	s := newSource(t, pg.DSN)
	follow(t, s, capture.StartOptions{}, newListSink(""))
	r := newReader(t, s)
	for _, tt := range []struct {
		column, value string
		want          int
	}{{"c", "main", 2}, {"d", "main", 2}, {"v", "MAIN", 1}, {"v", "main", 0}, {"p", "MAIN", 1}, {"m", "ok", 1}, {"f", "1.5", 1}, {"b", "yes", 1}, {"jb", `{"a": 1.0}`, 1}, {"u", "A0EEBC999C0B4EF8BB6D6BB9BD380A11", 1}, {"i", "P30D", 1}, {"at", "2026-11-22T10:02:03.000000+09:00", 1}} {
		lines, _ := readAll(t, r, capture.ReadRequest{Table: "public.t", Where: []capture.ReadCondition{{Column: tt.column, Value: tt.value}}})
		if len(lines) != tt.want {
			t.Errorf("%s = %s has %q, want %d", tt.column, tt.value, lines, tt.want)
		}
	}
}

// TestReaderRefusesWhatHasNoEqual holds that a condition on a type that the server cannot compare says
// what to do.
func TestReaderRefusesWhatHasNoEqual(t *testing.T) {
	t.Parallel()
	var columns []string
	for i, typ := range append(slices.Clone(incomparable), "doc") {
		columns = append(columns, fmt.Sprintf("c%d %s", i, typ))
	}
	pg := startServer(t, capturetest.Options{}, "create domain doc as json", "create table t (id int primary key, "+strings.Join(columns, ", ")+")", "insert into t values (1)")
	s := newSource(t, pg.DSN)
	follow(t, s, capture.StartOptions{}, newListSink(""))
	r := newReader(t, s)
	_, err := r.Describe(t.Context(), "public.t")
	capturetest.Must(t, err)
	for i := range columns {
		name := fmt.Sprintf("c%d", i)
		_, err := r.Read(t.Context(), &capture.ReadRequest{Table: "public.t", Where: []capture.ReadCondition{{Column: name, Value: "1"}}})
		var operator *capture.OperatorError
		if !errors.As(err, &operator) || !strings.Contains(err.Error(), "has no = for it") || !strings.Contains(operator.Remedy, "where: {"+name) {
			t.Errorf("%s: %v", columns[i], err)
		}
		lines, _ := readAll(t, r, capture.ReadRequest{Table: "public.t", Where: []capture.ReadCondition{{Column: name, Null: true}}})
		if len(lines) != 1 {
			t.Errorf("%s is NULL in %q", columns[i], lines)
		}
		var count int
		if err := pg.Connect(t, pg.DSN).QueryRow(t.Context(), "select count(*) from t where "+name+" = "+name).Scan(&count); err == nil {
			t.Errorf("the server compares %s", columns[i])
		}
	}
}

// TestReaderLeavesSchemasOut holds that a table is not read any more once its schema is not published.
func TestReaderLeavesSchemasOut(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, "create schema a", "create schema b", "create table a.t (id int primary key)", "insert into a.t values (1)", "create publication rowhook for tables in schema a, b")
	s := newSource(t, pg.DSN)
	follow(t, s, capture.StartOptions{}, newListSink(""))
	r := newReader(t, s)
	readAll(t, r, capture.ReadRequest{Table: "a.t"})
	pg.Run(t, "alter publication rowhook drop tables in schema a")
	var operator *capture.OperatorError
	if _, err := r.Read(t.Context(), &capture.ReadRequest{Table: "a.t"}); !errors.As(err, &operator) || !strings.Contains(err.Error(), "does not have it") {
		t.Errorf("a table whose schema is not published: %v", err)
	}
}

// TestReaderInEncodings holds that tables, columns, types and keys of a database in another encoding
// than UTF-8 are named and found, whatever they are called.
func TestReaderInEncodings(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	for _, test := range []struct{ encoding, e, odd string }{
		{"LATIN1", "convert_from('\\xe9', 'LATIN1')", "convert_from('\\xe922', 'LATIN1')"},
		{"EUC_JP", "convert_from('\\xc6fc', 'EUC_JP')", "convert_from('\\xc6fc22', 'EUC_JP')"},
		{"SQL_ASCII", `E'\xc3\xa9'`, `E'\xff\xe9'`}, // the second is a key that is no UTF-8
		{"UTF8", `'é'`, `'é"'`},
	} {
		t.Run(test.encoding, func(t *testing.T) {
			t.Parallel()
			column := test.odd
			if test.encoding == "SQL_ASCII" {
				column = test.e // names that are no UTF-8 cannot be mapped
			}
			s := in(t, pg, test.encoding, fmt.Sprintf(`do $$begin execute format('create schema %%1$I; create type %%1$I.%%4$I as enum (%%1$L, ''x''); create table %%1$I.%%1$I (%%2$I text, n int, m %%1$I.%%4$I, primary key (%%2$I, n));
				insert into %%1$I.%%1$I select k, n, %%1$L::%%1$I.%%4$I from unnest(array[%%1$L, %%3$L, ''a'']) k, generate_series(1, 3) n', %[1]s, %[2]s, %[3]s, %[1]s || '_m'); end$$`, test.e, column, test.odd))
			follow(t, s, capture.StartOptions{}, newListSink(""))
			r := newReader(t, s)
			name := map[string]string{"EUC_JP": "日"}[test.encoding]
			if name == "" {
				name = "é"
			}
			what := capture.ReadRequest{Table: name + "." + name, Limit: 2}
			lines, keys := readAll(t, r, what)
			found, err := r.Describe(t.Context(), what.Table)
			capturetest.Must(t, err)
			if len(lines) != 9 {
				t.Fatalf("%d rows: %q", len(lines), lines)
			}
			for i, key := range keys {
				chunk, err := r.Read(t.Context(), &capture.ReadRequest{Table: what.Table, Keys: [][]string{key}, Where: []capture.ReadCondition{{Column: found.Table.Columns[2].Name, Value: name}}})
				capturetest.Must(t, err)
				if len(chunk.Rows) != 1 || rowLine(chunk.Table, chunk.Rows[0]) != lines[i] {
					t.Errorf("%d rows by the key of %s", len(chunk.Rows), lines[i])
				}
			}
		})
	}
}

// TestReaderKeepsRowsToItself holds that the server's answers are passed on without the values that
// they quote.
func TestReaderKeepsRowsToItself(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, "create table t (id int primary key)", "insert into t values (1)")
	s := newSource(t, pg.DSN)
	follow(t, s, capture.StartOptions{}, newListSink(""))
	r := newReader(t, s)
	_, err := r.Describe(t.Context(), "public.t")
	capturetest.Must(t, err)
	_, err = r.Read(t.Context(), &capture.ReadRequest{Table: "public.t", Where: []capture.ReadCondition{{Column: "id", Value: "A-4711"}}})
	if err == nil || strings.Contains(err.Error(), "4711") || !strings.Contains(err.Error(), "invalid input syntax for type integer") {
		t.Errorf("a value that is no number: %v", err)
	}
}

// TestReaderGivesUpWaiting holds that a statement which takes too long for a single row is not tried
// for ever, and that a wait for a lock is told as what it is.
func TestReaderGivesUpWaiting(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, "create domain slow as text check (pg_sleep(5) is not null)", "create table t (id int primary key, v slow)",
		"insert into t (id) values (1)")
	s := newSource(t, pg.DSN)
	follow(t, s, capture.StartOptions{}, newListSink(""))
	r := newReader(t, s)
	r.(*Reader).timeout = 300 * time.Millisecond
	_, err := r.Describe(t.Context(), "public.t")
	capturetest.Must(t, err)
	_, err = r.Read(t.Context(), &capture.ReadRequest{Table: "public.t", Where: []capture.ReadCondition{{Column: "v", Value: "x"}}})
	var operator *capture.OperatorError
	if !errors.As(err, &operator) || !strings.Contains(operator.Remedy, `CREATE INDEX CONCURRENTLY ON public.t ("v", "id");`) {
		t.Errorf("a condition that takes for ever: %v", err)
	}

	writer := pg.Connect(t, pg.DSN)
	_, err = writer.PgConn().Exec(t.Context(), "begin; lock table t").ReadAll()
	capturetest.Must(t, err)
	limit := r.(*Reader).plans["public.t"].limit
	_, err = r.Read(t.Context(), &capture.ReadRequest{Table: "public.t"})
	if err == nil || !strings.Contains(err.Error(), "another session keeps table public.t locked") {
		t.Errorf("a locked table: %v", err)
	}
	if got := r.(*Reader).plans["public.t"].limit; got != limit {
		t.Errorf("chunks have %d rows after a wait for a lock, and had %d", got, limit)
	}
}

// abortSink tells each end of a connection, with the server that reads must come from then.
type abortSink struct {
	*listSink
	source *Source
	aborts chan string
}

func (s abortSink) Abort() {
	if instance := s.source.instance.Load(); instance != nil {
		s.aborts <- *instance
	}
	s.listSink.Abort()
}

// TestReaderFollowsTheStream holds that a reader's session is one with the stream's server, and that
// what was read before is given up once the stream comes from another.
func TestReaderFollowsTheStream(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, "create table t (id int primary key)", "insert into t values (1)")
	s := newSource(t, pg.DSN)
	sink := abortSink{newListSink(""), s, make(chan string, 100)}
	follow(t, s, capture.StartOptions{}, sink)
	r := newReader(t, s)
	_, err := r.Describe(t.Context(), "public.t")
	capturetest.Must(t, err)
	chunk, err := r.Read(t.Context(), &capture.ReadRequest{Table: "public.t"})
	capturetest.Must(t, err)
	capturetest.Must(t, r.Settle(t.Context(), func(string) {}, func(capture.Snapshot) {}))

	own, other := s.instance.Load(), "1"
	s.instance.Store(&other)
	if err := r.Settle(t.Context(), func(string) {}, func(capture.Snapshot) {}); !errors.Is(err, errElsewhere) {
		t.Errorf("settled on a server that the stream does not come from: %v", err)
	}
	chunk.Snapshot.(*sight).taken = time.Time{}
	if err := chunk.Hasten(t.Context()); !errors.Is(err, errElsewhere) {
		t.Errorf("hastened on a server that the stream does not come from: %v", err)
	}
	s.instance.Store(own)
	capturetest.Must(t, r.Settle(t.Context(), func(string) {}, func(capture.Snapshot) {}))

	capturetest.Must(t, pg.Crash())
	capturetest.Must(t, pg.Start())
	for instance := range sink.aborts {
		if instance != *own {
			break
		}
	}
}

// TestReaderRefuses holds what is said of tables that cannot be read.
func TestReaderRefuses(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, "create table keyless (v text)", "create table t (id int primary key)", "create view v as select * from t",
		"create table policed (id int primary key)", "alter table policed enable row level security", "create table part (id int primary key) partition by range (id)",
		"create table part_1 partition of part default",
		"create table mixed (id int, region text, code text not null, primary key (id, region)) partition by list (region)",
		"create table mixed_n partition of mixed for values in ('n')", "create table mixed_s partition of mixed for values in ('s')",
		"create unique index mixed_s_code on mixed_s (code)", "alter table mixed_s replica identity using index mixed_s_code", "create role agent login replication", "grant select on keyless, policed to agent")
	s := newSource(t, pg.TCP("postgres", "agent"))
	follow(t, s, capture.StartOptions{}, newListSink(""))
	for _, tt := range []struct{ table, want, remedy string }{
		{"public.keyless", "has no key", "ADD PRIMARY KEY"},
		{"public.gone", "does not exist", "check"},
		{"public.v", "is a view", "stream"},
		{"public.part_1", "is a partition of public.part", "stream"},
		{"public.mixed", "without its key, so that rows cannot be told apart in the stream: public.mixed_s", "ALTER TABLE public.mixed_s REPLICA IDENTITY DEFAULT;"},
		{"public.t", "may not read", `GRANT SELECT ON public.t TO "agent"`},
		{"public.policed", "row-level security", "BYPASSRLS"},
	} {
		r := newReader(t, s)
		_, err := r.Describe(t.Context(), tt.table)
		if err == nil {
			_, err = r.Read(t.Context(), &capture.ReadRequest{Table: tt.table})
		}
		var operator *capture.OperatorError
		if !errors.As(err, &operator) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(operator.Remedy, tt.remedy) {
			t.Errorf("%s: %v", tt.table, err)
		}
	}
}

// txSink keeps the transactions that came.
type txSink struct {
	*listSink
	open *capture.Transaction
	txs  chan capture.Transaction
}

func (s txSink) Begin(tx *capture.Transaction) error {
	*s.open = *tx
	return s.listSink.Begin(tx)
}

// Change implements [capture.Sink]. A transaction without changes comes from old servers too.
func (s txSink) Change(c *capture.Change) error {
	if c.Table.Name == "t" {
		s.txs <- *s.open
	}
	return s.listSink.Change(c)
}

// TestReaderKnowsWhatItHasSeen holds a transaction that is in the stream while it waits for a
// synchronous standby: a read does not see it, and knows.
func TestReaderKnowsWhatItHasSeen(t *testing.T) {
	t.Parallel()
	for _, major := range capturetest.Majors() {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			pg := startServer(t, capturetest.Options{Major: major}, "create table t (id int primary key, n int)", "insert into t values (1, 1)",
				"select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
			sink := txSink{newListSink(""), &capture.Transaction{}, make(chan capture.Transaction, 10)}
			s := newSource(t, pg.DSN)
			follow(t, s, capture.StartOptions{}, sink)
			r := newReader(t, s)
			read := func() (*capture.Chunk, string) {
				t.Helper()
				chunk, err := r.Read(t.Context(), &capture.ReadRequest{Table: "public.t"})
				capturetest.Must(t, err)
				return chunk, rowLine(chunk.Table, chunk.Rows[0])
			}
			capturetest.Must(t, r.Settle(t.Context(), func(string) {}, func(capture.Snapshot) {}))
			chunk, line := read()
			eventually(t, "the mark", chunk.Passed)
			pg.Run(t, "update t set n = 2")
			seen := <-sink.txs
			if later, _ := read(); chunk.Sees(&seen) != capture.Unseen || later.Sees(&seen) != capture.Seen || line != "(id:1 n:1)" {
				t.Errorf("a transaction after the first read and before the second is %v, %v", chunk.Sees(&seen), later.Sees(&seen))
			}

			pg.Run(t, "alter system set synchronous_standby_names = 'nobody'", "select pg_reload_conf()")
			eventually(t, "the setting", func() bool { return pg.Rows(t, "show synchronous_standby_names")[0][0] == "nobody" })
			// Commits wait from when the checkpointer has taken the setting in, which nothing shows.
			visible, done := 1, make(chan error, 1)
			var hidden capture.Transaction
			for waits := false; !waits; {
				visible++
				go func() {
					done <- pg.Exec(context.Background(), "postgres", fmt.Sprintf("set synchronous_commit = on; update t set n = %d", visible+1))
				}()
				hidden = <-sink.txs
				eventually(t, "the commit waits, or is over", func() bool {
					waits = len(pg.Rows(t, "select from pg_stat_activity where wait_event = 'SyncRep'")) > 0
					return waits || len(done) > 0
				})
				if !waits {
					capturetest.Must(t, <-done)
				}
			}
			chunk, line = read()
			if chunk.Sees(&hidden) != capture.Unseen || line != fmt.Sprintf("(id:1 n:%d)", visible) {
				t.Errorf("a transaction that waits for its standby is %v, and the row reads %s", chunk.Sees(&hidden), line)
			}
			short, cancel := context.WithTimeout(t.Context(), settleGrace+2*time.Second)
			defer cancel()
			told, looks := "", 0
			err := r.Settle(short, func(what string) { told = what }, func(by capture.Snapshot) {
				if looks++; by.Sees(&seen) != capture.Seen || by.Sees(&hidden) == capture.Seen {
					t.Errorf("a look sees %v, %v", by.Sees(&seen), by.Sees(&hidden))
				}
			})
			if err == nil || !strings.Contains(told, "synchronous standby") || looks < 1 || looks > 3 {
				t.Errorf("settled: %v, told %q, %d looks", err, told, looks)
			}
			pg.Run(t, "alter system reset synchronous_standby_names", "select pg_reload_conf()")
			capturetest.Must(t, <-done)
			capturetest.Must(t, r.Settle(t.Context(), func(string) {}, func(capture.Snapshot) {}))
			if chunk, line = read(); chunk.Sees(&hidden) != capture.Seen || line != fmt.Sprintf("(id:1 n:%d)", visible+1) {
				t.Errorf("a transaction that is over is %v, and the row reads %s", chunk.Sees(&hidden), line)
			}
		})
	}
}

// TestReaderPassesUnflushedMarks holds that a chunk of a quiet server does not wait for WAL that
// nobody flushes.
func TestReaderPassesUnflushedMarks(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{Settings: map[string]string{"wal_log_hints": "on", "autovacuum": "off", "bgwriter_delay": "10s"}},
		"create table t (id int primary key, pad text)", "insert into t select n, repeat('x', 500) from generate_series(1, 5000) n", "checkpoint")
	s := newSource(t, pg.DSN)
	follow(t, s, capture.StartOptions{}, newListSink(""))
	r := newReader(t, s)
	_, err := r.Describe(t.Context(), "public.t")
	capturetest.Must(t, err)
	var after []string
	for range 5 {
		chunk, err := r.Read(t.Context(), &capture.ReadRequest{Table: "public.t", After: after, Limit: 100})
		capturetest.Must(t, err)
		after, _ = chunk.Table.RowKey(chunk.Rows[len(chunk.Rows)-1])
		// One look does not tell whether the WAL writer is late.
		chunk.Snapshot.(*sight).taken = time.Time{}
		mark := chunk.Mark()
		capturetest.Must(t, chunk.Hasten(t.Context()))
		if got := chunk.Mark(); got != mark {
			t.Errorf("the mark %s is lowered to %s at once", mark, got)
		}
		began := time.Now()
		eventually(t, "the mark", func() bool {
			capturetest.Must(t, chunk.Hasten(t.Context()))
			return chunk.Passed()
		})
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("a chunk waited for %s", took)
		}
	}
}

func TestSight(t *testing.T) {
	t.Parallel()
	tx := func(xid uint32, commit capture.Position) *capture.Transaction {
		return &capture.Transaction{ID: fmt.Sprint(xid), Position: commit}
	}
	const epoch = 5 << 32
	wide := func(n uint64) string { return fmt.Sprint(n) }
	for _, tt := range []struct {
		name, snapshot, mark, received, replayed string
		tx                                       *capture.Transaction
		want                                     capture.Sight
	}{
		{"before all that run", "100:110:100,105", "0/100", "", "", tx(99, "0/10"), capture.Seen},
		{"runs", "100:110:100,105", "0/100", "", "", tx(105, "0/10"), capture.Unseen},
		{"over, between those that run", "100:110:100,105", "0/100", "", "", tx(104, "0/10"), capture.Seen},
		{"later", "100:110:100,105", "0/100", "", "", tx(110, "0/10"), capture.Unseen},
		{"nobody runs", "110:110:", "0/100", "", "", tx(109, "0/10"), capture.Seen},
		{"epoch, seen", wide(epoch+100) + ":" + wide(epoch+110) + ":" + wide(epoch+105), "0/100", "", "", tx(99, "0/10"), capture.Seen},
		{"epoch, runs", wide(epoch+100) + ":" + wide(epoch+110) + ":" + wide(epoch+105), "0/100", "", "", tx(105, "0/10"), capture.Unseen},
		{"before the wraparound", wide(epoch+3) + ":" + wide(epoch+5) + ":", "0/100", "", "", tx(4294967290, "0/10"), capture.Seen},
		{"behind the wraparound", wide(epoch-6) + ":" + wide(epoch-4) + ":", "0/100", "", "", tx(3, "0/10"), capture.Unseen},
		{"standby, replayed before", "100:110:", "0/100", "0/200", "0/80", tx(105, "0/70"), capture.Seen},
		{"standby, received", "100:110:", "0/100", "0/200", "0/80", tx(105, "0/80"), capture.Unclear},
		{"standby, not received", "100:110:", "0/100", "0/200", "0/80", tx(105, "0/200"), capture.Unseen},
		{"standby, later", "100:110:", "0/100", "0/200", "0/80", tx(110, "0/70"), capture.Unseen},
		{"standby, before all that run", "100:110:", "0/100", "", "0/80", tx(99, "0/300"), capture.Seen},
		{"no xid", "100:110:", "0/100", "", "", &capture.Transaction{ID: "x"}, capture.Unclear},
	} {
		s, err := newSight(tt.snapshot, tt.mark, tt.received, tt.replayed)
		capturetest.Must(t, err)
		if got := s.Sees(tt.tx); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	for _, bad := range [][2]string{{"", "0/1"}, {"1:2", "0/1"}, {"a:2:", "0/1"}, {"1:b:", "0/1"}, {"1:2:c", "0/1"}, {"1:2:", "x"}} {
		if _, err := newSight(bad[0], bad[1], "", ""); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestEndOf(t *testing.T) {
	t.Parallel()
	w := walSizes{page: 8192, segment: 16 << 20}
	for insert, want := range map[pglogrepl.LSN]pglogrepl.LSN{
		0x1000028: 0x1000000, // behind a file's header
		0x1002018: 0x1002000, // behind a page's
		0x1002028: 0x1002028, // 16 bytes of a record that goes on
		0x1000018: 0x1000018,
		0x1000029: 0x1000029,
		0x1002000: 0x1002000,
	} {
		if got := w.endOf(insert); got != want {
			t.Errorf("end of %s is %s, want %s", insert, got, want)
		}
	}
}

// TestReaderOnAStandby holds that a read of a standby never takes a transaction for seen that it has
// not: the standby's snapshots do not list those that run.
func TestReaderOnAStandby(t *testing.T) {
	t.Parallel()
	for _, major := range []int{16, 18} {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			pg := startServer(t, capturetest.Options{Major: major}, "create table t (id int primary key, n int)", "insert into t values (1, 1)")
			standby := standbyOf(t, pg)
			s := newSource(t, standby.DSN)
			sink := txSink{newListSink(""), &capture.Transaction{}, make(chan capture.Transaction, 10)}
			// A slot on a standby begins with a record of the primary's running transactions.
			logged, stop := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				for capture.Sleep(logged, 100*time.Millisecond) == nil {
					_ = pg.Exec(logged, "postgres", "select pg_log_standby_snapshot()") // again, when it failed
				}
			}()
			follow(t, s, capture.StartOptions{}, sink)
			stop()
			<-done
			r := newReader(t, s)
			capturetest.Must(t, r.Settle(t.Context(), func(string) {}, func(capture.Snapshot) {}))
			read := func() (*capture.Chunk, string) {
				t.Helper()
				chunk, err := r.Read(t.Context(), &capture.ReadRequest{Table: "public.t"})
				capturetest.Must(t, err)
				return chunk, rowLine(chunk.Table, chunk.Rows[0])
			}
			open := pg.Connect(t, pg.DSN)
			_, err := open.Exec(t.Context(), "begin; update t set n = 2; savepoint s; update t set n = 3")
			capturetest.Must(t, err)
			pg.Run(t, "create table other (id int)", "insert into other values (1)") // a later transaction, which ends first
			behind := func() bool {
				return standby.Rows(t, "select pg_last_wal_replay_lsn() < '"+pg.Rows(t, "select pg_current_wal_flush_lsn()")[0][0]+"'::pg_lsn")[0][0] == "t"
			}
			eventually(t, "the standby to follow", func() bool { return !behind() })
			t.Logf("the standby's snapshot while a transaction runs: %s", standby.Rows(t, "select pg_current_snapshot()::text")[0][0])
			chunk, line := read()
			_, err = open.Exec(t.Context(), "commit")
			capturetest.Must(t, err)
			tx := <-sink.txs
			if got := chunk.Sees(&tx); got == capture.Seen || line != "(id:1 n:1)" {
				t.Errorf("a transaction that ran is %v, and the row reads %s", got, line)
			}
			eventually(t, "the new state", func() bool { _, line = read(); return line == "(id:1 n:3)" })
			later, _ := read()
			if got := later.Sees(&tx); got == capture.Unseen {
				t.Error("a transaction that was seen is taken for unseen")
			}
			pg.Run(t, "insert into other values (2)")
			eventually(t, "the mark", later.Passed)
		})
	}
}
