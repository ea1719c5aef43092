package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// librarySQL returns the statements of the library's schema for a kind of database: postgres or
// mysql.
func librarySQL(t testing.TB, kind string) []string {
	t.Helper()
	text, err := os.ReadFile("../../testdata/library/" + kind + ".sql")
	if err != nil {
		t.Fatal(err)
	}
	var plain strings.Builder
	for line := range strings.Lines(string(text)) {
		code, _, _ := strings.Cut(line, "--")
		plain.WriteString(strings.TrimSpace(code) + "\n")
	}
	var statements []string
	for statement := range strings.SplitSeq(plain.String(), ";\n") {
		if statement = strings.TrimSpace(statement); statement != "" {
			statements = append(statements, statement)
		}
	}
	return statements
}

// TestLibrarySchemas loads the library into each kind of database: the same tables with the same
// columns.
func TestLibrarySchemas(t *testing.T) {
	t.Parallel()
	columns := `select concat(table_schema, '.', table_name, '.', column_name) from information_schema.columns
		where table_schema in ('catalog', 'circulation', 'acquisition', 'sharing', 'app')`
	pg := capturetest.StartPostgres(t, capturetest.Options{})
	pg.Run(t, "create database library")
	capturetest.Must(t, pg.Exec(t.Context(), "library", librarySQL(t, "postgres")...))
	rows, err := pg.Query(t.Context(), "library", columns)
	capturetest.Must(t, err)
	want := firstOf(rows)
	if len(want) < 100 {
		t.Fatalf("only %d columns: %q", len(want), want)
	}
	for name, start := range mysqlFlavours {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, capturetest.MySQLOptions{})
			server.Run(t, librarySQL(t, "mysql")...)
			if got := firstOf(server.Rows(t, columns)); !slices.Equal(got, want) {
				t.Errorf("columns of mysql.sql\n%s\nof postgres.sql\n%s", got, want)
			}
		})
	}
}

// firstOf returns the rows' first column, sorted.
func firstOf(rows [][]string) []string {
	var names []string
	for _, row := range rows {
		names = append(names, row[0])
	}
	slices.Sort(names)
	return names
}
