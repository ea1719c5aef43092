package mysql

import (
	"strings"
	"testing"

	"rowhook/capture"
)

// TestTargetOf finds the table of a plain statement, and none where it may be another.
func TestTargetOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"INSERT INTO loans VALUES (1)", "lib.loans"},
		{"/* x */ insert ignore into `other`.`lo.ans` (a) values (1)", "other.lo.ans"},
		{"REPLACE loans SET a = 1", "lib.loans"},
		{"UPDATE LOW_PRIORITY loans SET a = 1, b = 2 WHERE c IN (SELECT d FROM e JOIN f)", "lib.loans"},
		{"DELETE FROM loans WHERE a IN (1, 2)", "lib.loans"},
		{"TRUNCATE TABLE `loans`", "lib.loans"},
		{"CREATE TABLE IF NOT EXISTS copies AS SELECT * FROM loans", "lib.copies"},
		{"CREATE OR REPLACE TABLE lib2.copies SELECT 1", "lib2.copies"},
		{"UPDATE members m JOIN loans l ON m.id = l.member SET l.a = 1", "."},
		{"UPDATE members, loans SET loans.a = 1", "."},
		{"DELETE members FROM members JOIN loans USING (id)", "."},
		{"DELETE FROM members, loans USING members, loans WHERE 1", "."},
		{"WITH x AS (SELECT 1) UPDATE loans SET a = 1", "."},
		{"SELECT `lib`.`lend`(1)", "."},
		{"LOAD DATA INFILE 'x' INTO TABLE loans", "."},
		{"", "."},
	} {
		schema, name := targetOf("lib", []byte(c.text))
		if got := schema + "." + name; got != c.want {
			t.Errorf("%s: got %s, want %s", c.text, got, c.want)
		}
	}
}

// TestHiddenStatements parks what statements change that do not say so: functions, several tables at once, a new table's content.
func TestHiddenStatements(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			s := ownServer(t, flavour, settings{"log_bin_trust_function_creators": "ON"})
			s.exec(t, "CREATE DATABASE lib", "USE lib", "CREATE TABLE loans (id INT PRIMARY KEY, member INT)", "CREATE TABLE members (id INT PRIMARY KEY)",
				"CREATE FUNCTION lend(n INT) RETURNS INT BEGIN INSERT INTO loans VALUES (n, n); RETURN n; END",
				"INSERT INTO members VALUES (1)", "INSERT INTO loans VALUES (1, 1)")
			source := newTestSource(t, s, "lib")
			source.wanted = func(_, table string) bool { return table == "loans" || table == "copies" }
			n := newNotes()
			stop := n.capture(t, source, capture.StartOptions{})
			s.session(t, "USE lib", "SET SESSION binlog_format = 'STATEMENT'", "SELECT lend(2)",
				"UPDATE members m JOIN loans l ON m.id = l.member SET l.member = 7", "UPDATE members SET id = 9", "CREATE VIEW recent AS SELECT * FROM loans")
			if s.MariaDB { // MySQL 9 writes its rows
				s.session(t, "USE lib", "SET SESSION binlog_format = 'STATEMENT'", "CREATE TABLE copies SELECT * FROM loans")
			}
			s.session(t, "USE lib", "CREATE TABLE more SELECT * FROM loans", "INSERT INTO loans VALUES (99, 1)")
			lines := n.await(t, "id:99")
			stop()
			want := []string{"begin", "0 park : " + errStatement.Error(), "begin", "0 park : " + errStatement.Error()}
			if s.MariaDB {
				want = append(want, "begin", "0 park lib.copies: "+errStatement.Error())
			}
			want = append(want, "begin", "0 insert loans old=- new={id:99 member:1}")
			if strings.Join(lines, "\n") != strings.Join(want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestBlackhole takes the context's rows from a table that keeps none.
func TestBlackhole(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			s := ownServer(t, flavour, nil)
			if s.MariaDB {
				s.exec(t, "INSTALL SONAME 'ha_blackhole'")
			}
			s.exec(t, "CREATE DATABASE lib", "USE lib", "CREATE TABLE loans (id INT PRIMARY KEY)", "CREATE TABLE context (actor_id VARCHAR(20), operation VARCHAR(20)) ENGINE = BLACKHOLE")
			source := newTestSource(t, s, "lib")
			n := newNotes()
			stop := n.capture(t, source, capture.StartOptions{})
			s.session(t, "USE lib", "BEGIN", "INSERT INTO context VALUES ('a1', 'desk')", "INSERT INTO loans VALUES (1)", "COMMIT")
			lines := n.await(t, "id:1}")
			stop()
			want := "begin\n0 insert context old=- new={actor_id:a1 operation:desk}\n1 insert loans old=- new={id:1}"
			if got := strings.Join(lines, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			tables, err := source.Tables(t.Context(), []string{"lib.context"})
			if err != nil || len(tables) != 1 {
				t.Errorf("tables: %v, %v", tables, err)
			}
		})
	}
}

// TestTypesOfDroppedTables flags values whose type only the catalog told, once it no longer does.
func TestTypesOfDroppedTables(t *testing.T) {
	t.Parallel()
	onMariaDBs(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.exec(t, "USE "+database, "CREATE TABLE loans (id INT PRIMARY KEY, item UUID, key_ BINARY(16), doc JSON, note TEXT)")
		source := newTestSource(t, s, database)
		n := newNotes()
		n.json = true
		stop := n.capture(t, source, capture.StartOptions{})
		insert := "INSERT INTO " + database + ".loans VALUES (%s, '123e4567-e89b-12d3-a456-426655440000', UNHEX('0102'), '[1]', 'note')"
		s.exec(t, strings.Replace(insert, "%s", "1", 1))
		n.await(t, "id:1 ")
		stop()
		s.exec(t, strings.Replace(insert, "%s", "2", 1), "DROP TABLE "+database+".loans")
		stop = n.capture(t, source, capture.StartOptions{})
		s.exec(t, "CREATE TABLE "+database+".done (id INT)", "INSERT INTO "+database+".done VALUES (3)")
		lines := n.await(t, "id:3}")
		stop()
		want := []string{"begin", `0 insert loans old=- new={id:1 item:"123e4567-e89b-12d3-a456-426655440000" key_:"AQIAAAAAAAAAAAAAAAAAAA==" doc:[1] note:"note"}`,
			"begin", `0 insert loans old=- new={id:2 item:"Ej5FZ+ibEtOkVkJmVUQAAA==" (flagged) key_:"AQIAAAAAAAAAAAAAAAAAAA==" (flagged) doc:"[1]" (flagged) note:"note"}`,
			"begin", "0 insert done old=- new={id:3}"}
		if strings.Join(lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	})
}
