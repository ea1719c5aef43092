package postgres

import (
	"fmt"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// TestTablesByTheThousand: the catalog is asked about all tables at once, and each gets what is its own.
func TestTablesByTheThousand(t *testing.T) {
	t.Parallel()
	const tables = 1000
	var sql []string
	for from := 0; from < tables; from += 500 { // a transaction has locks for so many
		var b strings.Builder
		for i := from; i < from+500; i++ {
			fmt.Fprintf(&b, "create table public.t%d (id int primary key, v text not null, e mood);", i)
		}
		sql = append(sql, b.String())
	}
	sql = append([]string{"create type mood as enum ('ok', 'bad')"}, append(sql,
		"create table public.parted (id int primary key) partition by range (id)",
		"create table public.parted_1 partition of public.parted for values from (0) to (10)")...)
	pg := startServer(t, capturetest.Options{}, sql...)
	s := newSource(t, pg.DSN)
	patterns := []string{"public.parted", "public.absent"}
	for i := range tables {
		patterns = append(patterns, fmt.Sprintf("public.t%d", i))
	}
	found, err := s.Tables(t.Context(), patterns)
	if err != nil || len(found) != tables+1 {
		t.Fatalf("%d tables: %v", len(found), err)
	}
	for _, table := range found {
		wantColumns := 3
		if table.Name == "parted" {
			wantColumns = 1
		}
		if len(table.Columns) != wantColumns || len(table.Key) != 1 || table.Key[0] != 0 || table.Partitioned != (table.Name == "parted") {
			t.Fatalf("%s: %+v, key %v", table, table.Columns, table.Key)
		}
		if wantColumns == 3 && len(table.Columns[2].Type.Labels) != 2 {
			t.Fatalf("%s: the enum has labels %v", table, table.Columns[2].Type.Labels)
		}
	}
}
