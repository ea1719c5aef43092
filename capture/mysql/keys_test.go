package mysql

import (
	"fmt"
	"slices"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestKeys has the catalog and the stream tell the same key of a table. Where none is declared, the
// servers take the first unique one for it whose columns are whole and never NULL.
func TestKeys(t *testing.T) {
	t.Parallel()
	shapes := []struct {
		columns string
		want    []string
		only    string // the kind of server
	}{
		{"a INT, b INT, PRIMARY KEY (b, a)", []string{"b", "a"}, ""},
		{"a INT NOT NULL, b INT NOT NULL, UNIQUE (a), PRIMARY KEY (b)", []string{"b"}, ""},
		{"a INT NOT NULL UNIQUE, b INT", []string{"a"}, ""},
		{"a INT UNIQUE, b INT", nil, ""},
		{"a INT UNIQUE, b INT NOT NULL UNIQUE", []string{"b"}, ""},
		{"b INT NOT NULL, a INT NOT NULL, UNIQUE (a, b)", []string{"a", "b"}, ""},
		{"a INT NOT NULL, b INT NOT NULL, UNIQUE z (a), UNIQUE y (b)", []string{"a"}, ""},
		{"a INT NOT NULL, b INT NOT NULL, UNIQUE z (a, b), UNIQUE y (b)", []string{"a", "b"}, ""},
		{"a VARCHAR(10) NOT NULL, b INT, UNIQUE (a(3))", nil, ""},
		{"a VARCHAR(10) NOT NULL, b INT NOT NULL, UNIQUE z (a(3)), UNIQUE y (b)", []string{"b"}, ""},
		{"a VARCHAR(10) NOT NULL, b INT, UNIQUE (a(10))", []string{"a"}, ""},
		{"a INT NOT NULL, b INT AS (a + 1) STORED NOT NULL, UNIQUE (b)", []string{"b"}, "mysql"},
		{"a INT NOT NULL, b INT AS (a + 1) VIRTUAL NOT NULL, UNIQUE (b)", nil, "mysql"},
		{"a INT NOT NULL, b INT NOT NULL, UNIQUE z ((a * 2)), UNIQUE y (b)", []string{"b"}, "mysql"},
		{"a TEXT NOT NULL UNIQUE, b INT", nil, "mariadb"},
		{"a TEXT NOT NULL UNIQUE, b INT NOT NULL UNIQUE", []string{"b"}, "mariadb"},
		{"a INT NOT NULL, b INT NOT NULL INVISIBLE DEFAULT 5, UNIQUE (b)", []string{"b"}, "mariadb"},
		{"a INT NOT NULL UNIQUE, b INT) WITH SYSTEM VERSIONING -- ", []string{"a"}, "mariadb"},
		{"a INT NOT NULL UNIQUE, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, e TIMESTAMP(6) GENERATED ALWAYS AS ROW END, " +
			"PERIOD FOR SYSTEM_TIME(s, e)) WITH SYSTEM VERSIONING -- ", []string{"a"}, "mariadb"},
	}
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		source := newTestSource(t, s, database)
		n := newNotes()
		stop := n.capture(t, source, capture.StartOptions{})
		for i, shape := range shapes {
			if shape.only == "" || shape.only == s.kind {
				s.session(t, "USE "+database, "SET sql_mode = ''", fmt.Sprintf("CREATE TABLE t%d (%s)", i, shape.columns), fmt.Sprintf("INSERT INTO t%d (a) VALUES (7)", i))
			}
		}
		s.exec(t, "CREATE TABLE "+database+".done (id INT)", "INSERT INTO "+database+".done VALUES (1)")
		n.await(t, "insert done")
		stop()
		for i, shape := range shapes {
			if shape.only != "" && shape.only != s.kind {
				continue
			}
			name := fmt.Sprintf("t%d", i)
			found, err := source.Tables(t.Context(), []string{database + "." + name})
			capturetest.Must(t, err)
			if streamed, cataloged := keyNames(n.tables[name]), keyNames(found[0]); !slices.Equal(streamed, shape.want) || !slices.Equal(cataloged, shape.want) {
				t.Errorf("%s: the stream has the key %q, the catalog %q, want %q", shape.columns, streamed, cataloged, shape.want)
			}
		}
	})
}

// keyNames are the names of the key's columns.
func keyNames(t *capture.Table) (names []string) {
	for _, i := range t.Key {
		names = append(names, t.Columns[i].Name)
	}
	return names
}

// TestMinimalImageTellsTheUniqueKey says which old values a minimal row image has where a unique
// key stands for the primary one: the catalog those that the stream brings.
func TestMinimalImageTellsTheUniqueKey(t *testing.T) {
	t.Parallel()
	onOwn(t, settings{"binlog_row_image": "MINIMAL"}, func(t *testing.T, s *testServer) {
		database, source, n, stop := s.follow(t, "a INT, b INT NOT NULL UNIQUE, c INT")
		s.session(t, "USE "+database, "INSERT INTO loans VALUES (1, 2, 3)", "UPDATE loans SET c = 4", "INSERT INTO loans VALUES (5, 6, 7)")
		lines := n.await(t, "a:5")
		stop()
		same(t, lines[3:4], []string{"update loans old={a:? b:2 c:?} new={a:= b:= c:4}"})
		found, err := source.Tables(t.Context(), []string{database + ".loans"})
		capturetest.Must(t, err)
		for _, column := range found[0].Columns {
			if column.Identity != (column.Name == "b") {
				t.Errorf("%s is in the identity: %t", column.Name, column.Identity)
			}
		}
	})
}
