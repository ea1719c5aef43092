package postgres

import (
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestDomainsAreOfTheirBase: a domain's values are those of the type below all domains, a list's
// elements too, and a type that somebody made is none of ours, whatever its name is.
func TestDomainsAreOfTheirBase(t *testing.T) {
	t.Parallel()
	columns := []struct{ typ, base, element string }{
		{"uuid", "uuid", ""}, {"ident", "uuid", ""}, {"ident2", "uuid", ""}, {"mail2", "citext", ""}, {"numbers", "", "int8"}, {"numbers2", "", "int8"},
		{"ident2[]", "", "uuid"}, {"mine.uuid", "enum", ""}, {"mine.graded", "enum", ""}, {"mine.interval", "", ""}, {"mine.money", "", ""}, {"mine.uuid[]", "", "enum"}, {"wait", "interval", ""},
	}
	var list []string
	for i, c := range columns {
		list = append(list, string(rune('a'+i))+" "+c.typ)
	}
	pg := startServer(t, capturetest.Options{}, "create extension citext", "create schema mine", "create domain ident as uuid", "create domain ident2 as ident",
		"create domain mail as citext", "create domain mail2 as mail", "create domain numbers as bigint[]", "create domain numbers2 as numbers", "create domain wait as interval",
		"create type mine.uuid as enum ('a')", "create domain mine.graded as mine.uuid", "create type mine.interval as (a int)", "create type mine.money as range (subtype = date)",
		"create table based (id int primary key, "+strings.Join(list, ", ")+")")
	pg.Run(t, "select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
	sink := &tableSink{listSink: newListSink("")}
	s := newSource(t, pg.DSN)
	running, _ := follow(t, s, capture.StartOptions{}, sink)
	pg.Run(t, "insert into based values (1)")
	sink.await(t, "the row", func() bool { return len(sink.changes()) == 1 })
	running.stop(t)
	described, err := s.Tables(t.Context(), []string{"public.based"})
	capturetest.Must(t, err)
	for from, table := range map[string]*capture.Table{"catalog": described[0], "stream": sink.tables[0]} {
		for i, want := range columns {
			got, element := table.Columns[i+1].Type, ""
			if got.Elem != nil {
				element = got.Elem.Base
			}
			if got.Base != want.base || element != want.element || (got.Kind == capture.List) != (want.element != "") {
				t.Errorf("%s, from the %s: base %q of %q, kind %d; want %q of %q", want.typ, from, got.Base, element, got.Kind, want.base, want.element)
			}
		}
	}
}
