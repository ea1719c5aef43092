package mysql

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestSetupAndCheck takes a server with useless settings and a user without rights to where it can
// be captured.
func TestSetupAndCheck(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			comments := map[string]string{"mysql": "binlog_rows_query_log_events", "mariadb": "binlog_annotate_row_events"}[kindOf(flavour)]
			s := ownServer(t, flavour, settings{comments: "OFF", "binlog_row_metadata": "MINIMAL", "binlog_row_image": "MINIMAL", "binlog_format": "MIXED", "binlog_expire_logs_seconds": "3600"})
			s.exec(t, "CREATE DATABASE lib", "CREATE TABLE lib.loans (id INT PRIMARY KEY, item INT)", "CREATE TABLE lib.notes (id INT)",
				"CREATE VIEW lib.open AS SELECT 1 AS one", "CREATE USER rowhook@'%'")
			patterns := []string{"lib.loans", "lib.notes", "lib.open", "lib.lone", "loans"}
			source, err := New(capture.SourceConfig{URL: fmt.Sprintf("mysql://rowhook@127.0.0.1:%d/lib", s.Port)},
				Options{Logger: slog.New(slog.DiscardHandler), AgentID: t.Name(), Comments: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(source.Close)
			found, _, err := source.Check(t.Context(), patterns)
			if err != nil || len(found) != 1 || found[0].Code != "replication_connection" || !strings.Contains(found[0].Remedy, "REPLICATION CLIENT") {
				t.Errorf("before setup: %v, %+v", err, found)
			}
			owner := s.URL("")
			options := capture.SetupOptions{Tables: []string{"lib.loans", "lib.notes"}, Owner: owner}
			plan, err := source.Setup(t.Context(), options)
			if err != nil || len(plan) < 6 {
				t.Fatalf("setup: %v, %+v", err, plan)
			}
			if again, err := source.SetupSQL(t.Context(), options); err != nil || len(again) != 0 {
				t.Errorf("setup again: %v, %+v", err, again)
			}
			source.Close() // grants hold for new connections
			if found, _, err = source.Check(t.Context(), patterns); err != nil {
				t.Fatal(err)
			}
			codes := map[string]bool{}
			for _, f := range found {
				codes[f.Code+" "+f.Table] = true
			}
			for _, want := range []string{"sync_binlog ", "binlog_expire_logs_seconds ", "table lib.lone", "table loans"} {
				if !codes[want] {
					t.Errorf("no finding %q in %+v", want, found)
				}
			}
			for _, not := range []string{"binlog_row_metadata ", "binlog_format ", "replication_privilege ", comments + " ", "monitor_privilege ", "select_privilege lib.loans"} {
				if codes[not] {
					t.Errorf("finding %q after setup", not)
				}
			}
			if drift, err := source.Drift(t.Context(), []string{"lib.loans"}); err != nil || len(drift) != 0 {
				t.Errorf("drift: %v, %+v", err, drift)
			}
			status, err := source.Status(t.Context(), "")
			if err != nil || status.End == "" || status.Binlog.RetainedBytes == 0 || status.Binlog.Oldest == "" {
				t.Errorf("status: %v, %+v", err, status)
			}
		})
	}
}

// TestCommentFindings asks for the statements' text only where comments are to tell something.
func TestCommentFindings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		wanted, mariaDB bool
		value           string
		want            string
	}{
		{false, false, "OFF", ""}, {true, false, "ON", ""}, {true, true, "ON", ""},
		{true, false, "OFF", "binlog_rows_query_log_events SET PERSIST binlog_rows_query_log_events = 'ON'; -- sessions that are open keep their value: let the application connect anew"},
		{true, true, "OFF", "binlog_annotate_row_events SET GLOBAL binlog_annotate_row_events = 'ON'; -- and binlog_annotate_row_events = ON in the server's configuration; " +
			"sessions that are open keep their value: let the application connect anew"},
	} {
		in := &inspection{mariaDB: c.mariaDB}
		in.variables = map[string]string{in.commentSetting(): c.value}
		got := ""
		for _, f := range (&Source{comments: c.wanted}).commentFindings(in) {
			got += f.Code + " " + f.Remedy
		}
		if got != c.want {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

// TestCollationFindings asks each server for all of its collations: those that are taken for no
// language's have no equals of one, and a key under one of the others is told.
func TestCollationFindings(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			s := sharedServer(t, flavour)
			ctx, db, own := t.Context(), s.db, s.database(t)
			rows, err := db.QueryContext(ctx, "SELECT collation_name FROM information_schema.collations WHERE character_set_name = 'utf8mb4'")
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for rows.Next() {
				var name string
				if err := rows.Scan(&name); err != nil {
					t.Fatal(err)
				}
				names = append(names, name)
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(names) < 20 {
				t.Fatalf("%d collations: %v", len(names), err)
			}
			found := map[bool]int{}
			for _, name := range names {
				var equals int
				err := db.QueryRowContext(ctx, "SELECT (_utf8mb4'ä' COLLATE "+name+" = _utf8mb4'ae') + (_utf8mb4'å' COLLATE "+name+" = _utf8mb4'aa') + (_utf8mb4'ü' COLLATE "+name+" = _utf8mb4'y') + "+
					"(_utf8mb4'v' COLLATE "+name+" = _utf8mb4'w') + (_utf8mb4'ö' COLLATE "+name+" = _utf8mb4'oe') + (_utf8mb4'i' COLLATE "+name+" = _utf8mb4'j')").Scan(&equals)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if equals > 0 {
					found[ofLanguage(name)]++
				}
				if equals > 0 && !ofLanguage(name) {
					t.Errorf("%s has equals of a language", name)
				}
			}
			if found[true] == 0 {
				t.Error("no collation has equals of a language")
			}
			s.exec(t, "CREATE TABLE "+own+".people (id INT, name VARCHAR(40) COLLATE utf8mb4_danish_ci, town VARCHAR(40) COLLATE utf8mb4_swedish_ci, PRIMARY KEY (name, id))",
				"CREATE TABLE "+own+".places (name VARCHAR(40) COLLATE utf8mb4_unicode_ci PRIMARY KEY)")
			in, err := inspect(ctx, db, []string{own + ".*"})
			if err != nil {
				t.Fatal(err)
			}
			var told []string
			for _, f := range in.tableFindings() {
				told = append(told, f.Code+" "+f.Table+" "+f.Text)
			}
			if len(told) != 1 || !strings.HasPrefix(told[0], "collation "+own+".people "+own+".people has in its key name (utf8mb4_danish_ci): ") {
				t.Errorf("%q", told)
			}
		})
	}
}

// TestLag counts the bytes between two places over several files.
func TestLag(t *testing.T) {
	t.Parallel()
	files := []binlogFile{{"b.1", 100}, {"b.2", 50}, {"b.3", 70}}
	for _, c := range []struct {
		from, to filePlace
		want     int64
	}{
		{filePlace{name: "b.1", offset: 90}, filePlace{name: "b.1", offset: 95}, 5},
		{filePlace{name: "b.1", offset: 90}, filePlace{name: "b.3", offset: 7}, 67},
		{filePlace{name: "b.0", offset: 90}, filePlace{name: "b.3", offset: 7}, 0},
		{filePlace{}, filePlace{name: "b.3", offset: 7}, 0},
	} {
		if got := lagBytes(files, c.from, c.to); got != c.want {
			t.Errorf("%s to %s: %d, want %d", c.from, c.to, got, c.want)
		}
	}
}

// TestParkedRows decodes a row again from what was kept of it.
func TestParkedRows(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database, source, n, stop := s.follow(t, "id INT PRIMARY KEY, title VARCHAR(10)")
		s.exec(t, "INSERT INTO "+database+".loans VALUES (1, 'a')", "UPDATE "+database+".loans SET title = 'b'")
		n.await(t, "update")
		stop()
		change, err := source.DecodeRaw(t.Context(), n.raw)
		if err != nil || change.Op != capture.Update || n.row(change.Table, change.Old) != "{id:1 title:a}" || n.row(change.Table, change.New) != "{id:1 title:b}" {
			t.Errorf("%v, %+v", err, change)
		}
	})
}

// TestGeneratedKeyShown finds the primary key that MySQL generates, though the server hides it from
// those who look.
func TestGeneratedKeyShown(t *testing.T) {
	t.Parallel()
	s := ownServer(t, "mysql", settings{"show_gipk_in_create_table_and_information_schema": "OFF", "sql_generate_invisible_primary_key": "ON"})
	s.exec(t, "CREATE DATABASE lib", "CREATE TABLE lib.t (a INT)", "CREATE USER rowhook@'%'", "GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO rowhook@'%'",
		"GRANT SELECT ON lib.t TO rowhook@'%'")
	source, err := New(capture.SourceConfig{URL: fmt.Sprintf("mysql://rowhook@127.0.0.1:%d/lib", s.Port)}, Options{Logger: quiet(), AgentID: t.Name()})
	capturetest.Must(t, err)
	t.Cleanup(source.Close)
	found, _, err := source.Check(t.Context(), []string{"lib.t"})
	capturetest.Must(t, err)
	for _, f := range found {
		if f.Code == "no_key" {
			t.Errorf("found %+v", f)
		}
	}
	n := newNotes()
	n.capture(t, source, capture.StartOptions{})
	s.exec(t, "INSERT INTO lib.t VALUES (5)")
	n.await(t, "insert t old=- new={my_row_id:1 a:5}")
	tables, err := source.Tables(t.Context(), []string{"lib.t"})
	capturetest.Must(t, err)
	if catalog, stream := outline(tables[0]), outline(n.tables["t"]); catalog != stream || catalog != "my_row_id a; key my_row_id" {
		t.Errorf("the catalog tells %s, the stream %s", catalog, stream)
	}
}
