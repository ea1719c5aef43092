package postgres

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// tableSink keeps what tables looked like as their changes came.
type tableSink struct {
	*listSink
	tables []*capture.Table
}

func (s *tableSink) Change(c *capture.Change) error {
	s.mu.Lock()
	s.tables = append(s.tables, c.Table)
	s.mu.Unlock()
	return s.listSink.Change(c)
}

// TestVersionHasThePublication holds that a table is another one when its publication leaves out
// something else, or did so for a while, and the same for the stream, the catalog and the reader.
func TestVersionHasThePublication(t *testing.T) {
	t.Parallel()
	steps := []struct {
		name     string
		sql      []string
		another  bool
		filtered bool
		from     int // the server's version
	}{
		{name: "nothing"},
		{name: "another table comes", sql: []string{"alter publication rowhook add table others"}},
		{name: "rewritten", sql: []string{"vacuum full members", "vacuum full parts_1"}, another: true},
		{name: "out and in", sql: []string{"alter publication rowhook drop table members, parts", "update members set name = 'unseen'",
			"alter publication rowhook add table members, parts"}, another: true},
		{name: "other operations for a while", sql: []string{"alter publication rowhook set (publish = 'insert')", "update members set name = 'unseen too'",
			"alter publication rowhook set (publish = 'insert, update, delete, truncate')"}, another: true},
		{name: "a filter", sql: []string{"alter publication rowhook set table members where (id > 0), parts where (id > 0), others"}, another: true, filtered: true, from: 15},
		{name: "another filter", sql: []string{"alter publication rowhook set table members where (id > -1), parts where (id > -1), others"}, another: true, filtered: true, from: 15},
		{name: "no filter", sql: []string{"alter publication rowhook set table members, parts, others"}, another: true, from: 15},
		{name: "a schema", sql: []string{"alter publication rowhook add tables in schema public"}, another: true, from: 15},
		{name: "no schema", sql: []string{"alter publication rowhook drop tables in schema public"}, another: true, from: 15},
	}
	for _, major := range capturetest.Majors() {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			pg := capturetest.StartPostgres(t, capturetest.Options{Major: major})
			pg.Run(t, "create table members (id int primary key, name text)", "create table others (id int primary key)",
				"create table parts (id int primary key, name text) partition by range (id)", "create table parts_1 partition of parts for values from (0) to (1000)",
				"create publication rowhook for table members, parts with (publish_via_partition_root = true)",
				"select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
			sink := &tableSink{listSink: newListSink("")}
			s := newSource(t, pg.DSN)
			running, _ := follow(t, s, capture.StartOptions{}, sink)
			r := newReader(t, s)
			names := []string{"public.members", "public.parts"}
			before := map[string]string{}
			n := 0
			for _, step := range steps {
				if major < step.from {
					continue
				}
				pg.Run(t, step.sql...)
				n++
				pg.Run(t, "insert into members values ("+strconv.Itoa(n)+", 'a')", "insert into parts values ("+strconv.Itoa(n)+", 'a')")
				sink.await(t, step.name, func() bool {
					return len(slices.DeleteFunc(sink.changes(), func(line string) bool { return !strings.Contains(line, "insert") })) == 2*n
				})
				described, err := s.Tables(t.Context(), names)
				capturetest.Must(t, err)
				for i, name := range names {
					now := described[i]
					sink.mu.Lock()
					came := sink.tables[len(sink.tables)-len(names)+i]
					sink.mu.Unlock()
					read, err := r.Describe(t.Context(), name)
					capturetest.Must(t, err)
					if now.String() != name || came.String() != name {
						t.Fatalf("%s: %s came, %s is described, want %s", step.name, came, now, name)
					}
					if now.Version != came.Version || now.Version != read.Table.Version {
						t.Errorf("%s: %s is %q in the stream, %q in the catalog, %q to the reader", step.name, name, came.Version, now.Version, read.Table.Version)
					}
					if another := now.Version != before[name]; another != (step.another || before[name] == "") {
						t.Errorf("%s: %s is another one: %t: %q, was %q", step.name, name, another, now.Version, before[name])
					}
					if now.Filtered != step.filtered || came.Filtered != step.filtered {
						t.Errorf("%s: %s is filtered: %t, in the stream %t", step.name, name, now.Filtered, came.Filtered)
					}
					before[name] = now.Version
				}
			}
			running.stop(t)
		})
	}
}

// TestKeysOfTheCatalog tells what a key's constraint and its columns' collations make of it.
func TestKeysOfTheCatalog(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, "create collation blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
		"create extension citext", "create domain folded as citext",
		`create table plain (code text primary key, v text collate "C")`,
		"create table folding (code text collate blind primary key, v text, w text collate blind)",
		"create table domains (code folded primary key, v text)",
		"create table deferred (code text primary key deferrable, v text)", "alter table deferred replica identity full",
		"create table indexed (code text primary key deferrable, v text not null unique)", "alter table indexed replica identity using index indexed_v_key")
	pg.Run(t, "select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
	sink := &tableSink{listSink: newListSink("")}
	s := newSource(t, pg.DSN)
	running, _ := follow(t, s, capture.StartOptions{}, sink)
	wants := []struct {
		table      string
		folds      string
		unfollowed string
	}{
		{"deferred", "", "DEFERRABLE"},
		{"domains", "", ""}, // citext is a type of its own, which has no collation to fold by
		{"folding", "code w", ""},
		{"indexed", "", ""},
		{"plain", "", ""},
	}
	for _, want := range wants {
		pg.Run(t, "insert into "+want.table+" values ('a', 'b')")
	}
	sink.await(t, "all rows", func() bool { return len(sink.changes()) == len(wants) })
	running.stop(t)
	for i, want := range wants {
		described, err := s.Tables(t.Context(), []string{"public." + want.table})
		capturetest.Must(t, err)
		for from, table := range map[string]*capture.Table{"catalog": described[0], "stream": sink.tables[i]} {
			var folds []string
			for _, c := range table.Columns {
				if c.Type.Folds {
					folds = append(folds, c.Name)
				}
			}
			if got := strings.Join(folds, " "); got != want.folds || table.Name != want.table {
				t.Errorf("%s, from the %s: columns that fold are %q, want %q", table, from, got, want.folds)
			}
			if base := table.Columns[0].Type.Base; want.table == "domains" && base != "citext" {
				t.Errorf("%s, from the %s: a domain over citext is a %q", table, from, base)
			}
			why := table.Unfollowed()
			if !strings.Contains(why, want.unfollowed) || (why == "") != (want.unfollowed == "") {
				t.Errorf("%s, from the %s: cannot be followed: %q, want %q", table, from, why, want.unfollowed)
			}
		}
	}
}

// TestTablesThatCannotBeRead holds that a table's description tells what its reader would refuse.
func TestTablesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, "create role agent login replication", "create table open (id int primary key)", "create table closed (id int primary key)",
		"grant select on open to agent", "create schema hidden", "create table hidden.open (id int primary key)", "grant select on hidden.open to agent",
		"create table parts (id int, code int not null, primary key (id, code)) partition by range (id)",
		"create table parts_1 partition of parts for values from (0) to (1000)",
		"create unique index by_code on parts_1 (code)", "alter table parts_1 replica identity using index by_code", "grant select on parts to agent")
	s := newSource(t, pg.TCP("postgres", "agent"))
	for name, want := range map[string][2]string{
		"public.open":   {},
		"public.closed": {"our role may not read table public.closed", "GRANT SELECT ON public.closed TO"},
		"hidden.open":   {"our role may not read table hidden.open", "GRANT USAGE ON SCHEMA hidden TO"},
		"public.parts":  {"have a replica identity without its key", "ALTER TABLE public.parts_1 REPLICA IDENTITY DEFAULT;"},
	} {
		tables, err := s.Tables(t.Context(), []string{name})
		capturetest.Must(t, err)
		if got := tables[0]; !strings.Contains(got.Unread, want[0]) || !strings.Contains(got.UnreadRemedy, want[1]) || (got.Unread == "") != (want[0] == "") {
			t.Errorf("%s cannot be read: %q, remedy %q, want %q", name, got.Unread, got.UnreadRemedy, want)
		}
	}
}
