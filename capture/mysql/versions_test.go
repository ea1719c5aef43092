package mysql

import (
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
)

// TestSystemVersioned has the changes of a system-versioned table be those that its readers see: no
// old versions of rows, no removal of history, a delete for a delete, and the key without the time
// of the end.
func TestSystemVersioned(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, table string
		statements  []string
		want        []string
	}{
		{"hidden columns", "(id INT PRIMARY KEY, title VARCHAR(100))", []string{
			"INSERT INTO t VALUES (1, 'a'), (2, 'b')", "UPDATE t SET title = 'c'", "DELETE FROM t WHERE id = 1", "DELETE HISTORY FROM t",
		}, []string{
			"0 insert t old=- new={id:1 title:a}", "1 insert t old=- new={id:2 title:b}",
			"0 update t old={id:1 title:a} new={id:1 title:c}", "2 update t old={id:2 title:b} new={id:2 title:c}",
			"0 delete t old={id:1 title:c} new=-",
		}},
		{"one transaction", "(id INT PRIMARY KEY, title VARCHAR(100))", []string{
			"BEGIN", "INSERT INTO t VALUES (1, 'a')", "UPDATE t SET title = 'b'", "UPDATE t SET id = 3", "DELETE FROM t", "INSERT INTO t VALUES (1, 'd')", "COMMIT",
		}, []string{
			"0 insert t old=- new={id:1 title:a}", "1 update t old={id:1 title:a} new={id:1 title:b}",
			"update t old={id:1 title:b} new={id:3 title:b}", "delete t old={id:3 title:b} new=-", "insert t old=- new={id:1 title:d}",
		}},
		{"replaced", "(id INT PRIMARY KEY, title VARCHAR(100))", []string{
			"INSERT INTO t VALUES (1, 'a')", "REPLACE INTO t VALUES (1, 'b')", "INSERT INTO t VALUES (1, 'x') ON DUPLICATE KEY UPDATE title = 'c'",
		}, []string{
			"0 insert t old=- new={id:1 title:a}", "0 update t old={id:1 title:a} new={id:1 title:b}", "0 update t old={id:1 title:b} new={id:1 title:c}",
		}},
		{"no key", "(id INT, title VARCHAR(100))", []string{
			"INSERT INTO t VALUES (1, 'a')", "UPDATE t SET title = 'b'", "DELETE FROM t",
		}, []string{
			"0 insert t old=- new={id:1 title:a}", "0 update t old={id:1 title:a} new={id:1 title:b}", "0 delete t old={id:1 title:b} new=-",
		}},
		{"partial images", "(id INT PRIMARY KEY, title VARCHAR(100), other INT)", []string{
			"SET binlog_row_image = MINIMAL", "INSERT INTO t VALUES (1, 'a', 7)", "UPDATE t SET title = 'b'", "DELETE FROM t",
		}, []string{
			"0 insert t old=- new={id:1 title:a other:7}", "0 update t old={id:1 title:? other:?} new={id:1 title:b other:7}", "0 delete t old={id:1 title:? other:?} new=-",
		}},
		{"a column of which no versions are kept", "(id INT PRIMARY KEY, title VARCHAR(100), seen INT WITHOUT SYSTEM VERSIONING)", []string{
			"INSERT INTO t VALUES (1, 'a', 1)", "UPDATE t SET seen = 2",
		}, []string{
			"0 insert t old=- new={id:1 title:a seen:1}", "0 update t old={id:1 title:a seen:1} new={id:1 title:a seen:2}",
		}},
		{"history put in", "(id INT PRIMARY KEY, title VARCHAR(100))", []string{
			"SET system_versioning_insert_history = ON",
			"INSERT INTO t (id, title, row_start, row_end) VALUES (1, 'then', '2020-01-01', '2021-01-01')", "INSERT INTO t (id, title) VALUES (1, 'now')",
		}, []string{"0 insert t old=- new={id:1 title:now}"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			onMariaDBs(t, func(t *testing.T, s *testServer) {
				n, key := versioned(t, s, "CREATE TABLE t "+test.table+" WITH SYSTEM VERSIONING", test.statements)
				if keyed := strings.Contains(test.table, "PRIMARY KEY"); keyed && key != "id" || !keyed && key != "" {
					t.Errorf("key %q", key)
				}
				if !slices.EqualFunc(n, test.want, strings.HasSuffix) {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(n, "\n"), strings.Join(test.want, "\n"))
				}
			})
		})
	}
}

// TestSystemVersionedPeriod has the table's own columns be like others, but for the key.
func TestSystemVersionedPeriod(t *testing.T) {
	t.Parallel()
	onMariaDBs(t, func(t *testing.T, s *testServer) {
		// From 11.5 on a TIMESTAMP goes as far as four bytes without a sign do.
		endless := map[string]string{"mariadb": "2038-", "mariadb118": "2106-"}[s.flavour]
		lines, key := versioned(t, s, "CREATE TABLE t (other TIMESTAMP(6) NULL, since TIMESTAMP(6) GENERATED ALWAYS AS ROW START,"+
			" `un``til` TIMESTAMP(6) GENERATED ALWAYS AS ROW END, id INT PRIMARY KEY, title VARCHAR(100), PERIOD FOR SYSTEM_TIME (since, `un``til`)) WITH SYSTEM VERSIONING",
			[]string{"INSERT INTO t (id, title) VALUES (1, 'a')", "UPDATE t SET title = 'b'", "DELETE FROM t", "DELETE HISTORY FROM t"})
		var got []string
		for _, line := range lines {
			if !strings.Contains(line, " un`til:"+endless) {
				t.Errorf("the end of a valid row is missing: %s", line)
			}
			got = append(got, strings.Join(strings.Fields(line)[:2], " "))
		}
		if want := "0 insert, 0 update, 0 delete"; strings.Join(got, ", ") != want || key != "id" {
			t.Errorf("got %s, key %s, want %s", strings.Join(got, ", "), key, want)
		}
	})
}

// TestNumberedVersions has check say what the server does with a table whose versions are told by
// transactions.
func TestNumberedVersions(t *testing.T) {
	t.Parallel()
	onMariaDBs(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.exec(t, "CREATE TABLE "+database+".t (id INT PRIMARY KEY, since BIGINT UNSIGNED GENERATED ALWAYS AS ROW START,"+
			" until BIGINT UNSIGNED GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (since, until)) WITH SYSTEM VERSIONING")
		source := newTestSource(t, s, database)
		found, _, err := source.Check(t.Context(), []string{database + ".t"})
		if err != nil || !slices.ContainsFunc(found, func(f capture.Finding) bool { return f.Code == "numbered_versions" }) {
			t.Errorf("found %+v, %v", found, err)
		}
		n := newNotes()
		n.capture(t, source, capture.StartOptions{})
		s.exec(t, "INSERT INTO "+database+".t (id) VALUES (1)")
		n.await(t, "park "+database+".t: the change is in the binlog as a statement")
	})
}

// TestPeriodLookalike leaves a table alone that is not versioned, though it has columns like one
// that is.
func TestPeriodLookalike(t *testing.T) {
	t.Parallel()
	onMariaDBs(t, func(t *testing.T, s *testServer) {
		lines, key := versioned(t, s, "CREATE TABLE t (id INT, row_start TIMESTAMP(6) NULL, row_end TIMESTAMP(6) NULL, PRIMARY KEY (id, row_end))", []string{
			"INSERT INTO t VALUES (1, '2020-01-01', '2021-01-01')",
		})
		if len(lines) != 1 || !strings.Contains(lines[0], "row_end:2021-01-01") || key != "id row_end" {
			t.Errorf("got %q, key %s", lines, key)
		}
	})
}

// versioned makes the table t, runs statements, and returns the changes of t and the names of its
// key, which the catalog must tell as the stream does.
func versioned(t *testing.T, s *testServer, create string, statements []string) (lines []string, key string) {
	t.Helper()
	database := s.database(t)
	s.exec(t, "USE "+database, create, "CREATE TABLE done (v INT)")
	source := newTestSource(t, s, database)
	n := newNotes()
	stop := n.capture(t, source, capture.StartOptions{})
	s.exec(t, append(append([]string{"USE " + database}, statements...), "SET binlog_row_image = FULL", "INSERT INTO done VALUES (1)")...)
	for _, line := range n.await(t, "insert done") {
		if strings.Contains(line, " t old=") || strings.Contains(line, "park") {
			lines = append(lines, line)
		}
	}
	stop()
	tables, err := source.Tables(t.Context(), []string{database + ".t"})
	if err != nil || len(tables) != 1 {
		t.Fatalf("the catalog tells %v, %v", tables, err)
	}
	if n.tables["t"] == nil {
		t.Fatalf("no change came, but %q", n.await(t, "insert done"))
	}
	if catalog, stream := outline(tables[0]), outline(n.tables["t"]); catalog != stream {
		t.Errorf("the catalog tells %s, the stream %s", catalog, stream)
	}
	_, key, _ = strings.Cut(outline(n.tables["t"]), "; key ")
	return lines, key
}

// outline is a table's columns and key.
func outline(table *capture.Table) string {
	var columns, key []string
	for _, c := range table.Columns {
		columns = append(columns, c.Name)
	}
	for _, i := range table.Key {
		key = append(key, columns[i])
	}
	return strings.Join(columns, " ") + "; key " + strings.Join(key, " ")
}
