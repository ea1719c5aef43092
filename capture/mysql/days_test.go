package mysql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// runOnce runs the source until it fails, and returns the error.
func runOnce(t *testing.T, source *Source, start capture.StartOptions, n *notes) error {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := source.Run(ctx, start, n)
	if err == nil {
		t.Fatal("the source ran on")
	}
	return err
}

// TestPurged stops with the gap when the server has removed what follows the position.
func TestPurged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flavour  string
		settings settings
	}{{"mysql", nil}, {"mariadb", nil}, {"mariadb118", nil}, {"mysql", noGTID}} {
		t.Run(fmt.Sprint(c.flavour, len(c.settings)), func(t *testing.T) {
			t.Parallel()
			s := ownServer(t, c.flavour, c.settings)
			database, source, n, stop := s.follow(t, "id INT PRIMARY KEY")
			s.exec(t, "INSERT INTO "+database+".loans VALUES (1)")
			n.await(t, "id:1}")
			stop()
			for i := range 3 {
				s.exec(t, fmt.Sprintf("INSERT INTO %s.loans VALUES (%d)", database, 10+i), "FLUSH BINARY LOGS")
			}
			var last string
			if err := s.db.QueryRow("SELECT SUBSTRING_INDEX(@@log_bin_basename, '/', -1)").Scan(&last); err != nil {
				t.Fatal(err)
			}
			for oldest := ""; oldest != last+".000004"; {
				s.exec(t, "PURGE BINARY LOGS TO '"+last+".000004'") // which leaves what a dying dump still reads
				files, err := binlogFiles(t.Context(), s.db)
				if err != nil {
					t.Fatal(err)
				}
				oldest = files[0].name
			}
			err := runOnce(t, source, capture.StartOptions{Stored: n.Durable()}, n)
			var gap *capture.GapError
			if !errors.As(err, &gap) || gap.Stored == "" || gap.RemedyText() == "" {
				t.Fatalf("got %v, want a gap", err)
			}
			// Accepted, the stream goes on after what is missing.
			var started capture.Started
			ctx, cancel := context.WithCancel(t.Context())
			err = source.Run(ctx, capture.StartOptions{Stored: n.Durable(), AcceptGap: true, OnStarted: func(s capture.Started) {
				if started = s; s.GapFrom != "" {
					cancel()
				}
			}}, n)
			if err != nil || started.GapFrom == "" || started.GapTo == "" {
				t.Errorf("accepted: %v, %+v", err, started)
			}
		})
	}
}

// TestForeignFile refuses a place in a file of another server.
func TestForeignFile(t *testing.T) {
	t.Parallel()
	s := ownServer(t, "mysql", noGTID)
	database, source, n, stop := s.follow(t, "id INT PRIMARY KEY")
	s.exec(t, "INSERT INTO "+database+".loans VALUES (1)", "FLUSH BINARY LOGS", "INSERT INTO "+database+".loans VALUES (2)")
	n.await(t, "id:2}")
	stop()
	at := string(n.Durable())
	if !strings.HasPrefix(at, "file:") || strings.HasSuffix(at, "@0") {
		t.Fatalf("position %s", at)
	}
	uuid, rest, _ := strings.Cut(strings.TrimPrefix(at, "file:"), "/")
	place, _, _ := strings.Cut(rest, "@")
	for _, wrong := range []string{"file:" + strings.Repeat("0", 36) + "/" + rest, "file:" + uuid + "/" + place + "@1"} {
		var gap *capture.GapError
		if err := runOnce(t, source, capture.StartOptions{Stored: capture.Position(wrong)}, n); !errors.As(err, &gap) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	stop = n.capture(t, source, capture.StartOptions{})
	s.exec(t, "INSERT INTO "+database+".loans VALUES (3)")
	n.await(t, "id:3}")
	stop()
}

// TestSecondAgent refuses a second agent and names the first.
func TestSecondAgent(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		first, second := newTestSource(t, s, database), newTestSource(t, s, database)
		second.agent = "another"
		n := newNotes()
		stop := n.capture(t, first, capture.StartOptions{})
		var operator *capture.OperatorError
		err := runOnce(t, second, capture.StartOptions{}, newNotes())
		if !errors.As(err, &operator) || !strings.Contains(err.Error(), "connection ") || !strings.Contains(err.Error(), "user root") {
			t.Errorf("got %v", err)
		}
		stop()
		stop = newNotes().capture(t, second, capture.StartOptions{})
		stop()
	})
}

// TestServerRestart resumes after a crash of the server without losing or repeating anything.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	onOwn(t, nil, func(t *testing.T, s *testServer) {
		database, _, n, stop := s.follow(t, "id INT PRIMARY KEY")
		s.exec(t, "INSERT INTO "+database+".loans VALUES (1)")
		n.await(t, "id:1}")
		capturetest.Must(t, s.Crash())
		capturetest.Must(t, s.Start())
		s.exec(t, "INSERT INTO "+database+".loans VALUES (2)")
		lines := n.await(t, "id:2}")
		stop()
		if len(lines) != 4 {
			t.Errorf("got %q", lines)
		}
	})
}

// TestPause gives the connection up when nothing is read for long, and repeats the open transaction
// whole.
func TestPause(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.exec(t, "CREATE TABLE "+database+".loans (id INT PRIMARY KEY)")
		source := newTestSource(t, s, database)
		source.pause = 50 * time.Millisecond
		n := newNotes()
		stop := n.capture(t, source, capture.StartOptions{})
		s.exec(t, "INSERT INTO "+database+".loans VALUES (1)")
		n.await(t, "id:1}")
		hold := make(chan struct{})
		n.mu.Lock()
		n.busy = hold
		n.mu.Unlock()
		s.exec(t, "INSERT INTO "+database+".loans VALUES (2)")
		<-time.After(300 * time.Millisecond) // longer than the pause that is borne
		n.mu.Lock()
		n.busy = nil
		n.mu.Unlock()
		close(hold)
		if lines := n.await(t, "id:2}"); len(lines) != 4 {
			t.Errorf("got %q", lines)
		}
		stop()
	})
}

// TestStatements parks changes that are in the binlog as statements, and tells of a truncate.
func TestStatements(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database, _, n, stop := s.follow(t, "id INT PRIMARY KEY")
		s.session(t, "USE "+database, "SET SESSION binlog_format = 'STATEMENT'", "INSERT INTO loans VALUES (1)", "DELETE FROM `"+database+"`.loans WHERE id = 1",
			"TRUNCATE TABLE loans")
		s.session(t, "INSERT INTO "+database+".loans VALUES (2) /* actor='a1',route='%2Floans' */", "BEGIN",
			"INSERT INTO "+database+".loans VALUES (3) /*k='v'*/", "INSERT INTO "+database+".loans VALUES (4)", "COMMIT")
		s.session(t, "INSERT INTO "+database+".loans VALUES (5)")
		lines := n.await(t, "id:5}")
		stop()
		park := "park " + database + ".loans: " + errStatement.Error()
		want := []string{"begin", "0 " + park, "begin", "0 " + park, "begin", "0 truncate loans old=- new=-",
			"begin", `0 message sqlcommenter "actor='a1',route='%2Floans'"`, "1 insert loans old=- new={id:2}",
			"begin", `0 message sqlcommenter "k='v'"`, "1 insert loans old=- new={id:3}", `2 message sqlcommenter ""`, "3 insert loans old=- new={id:4}",
			"begin", "0 insert loans old=- new={id:5}"}
		if strings.Join(lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestImages shows columns that a partial row image leaves out as unknown or unchanged.
func TestImages(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database, _, n, stop := s.follow(t, "id INT PRIMARY KEY, a INT, b TEXT")
		s.session(t, "USE "+database, "SET SESSION binlog_row_image = 'MINIMAL'", "INSERT INTO loans VALUES (1, 2, 'x')", "UPDATE loans SET a = 3", "DELETE FROM loans",
			"SET SESSION binlog_row_image = 'NOBLOB'", "INSERT INTO loans VALUES (2, 2, 'x')", "UPDATE loans SET a = 3")
		n.await(t, "b:=}")
		s.session(t, "INSERT INTO "+database+".loans VALUES (9, 9, 'end')")
		lines := n.await(t, "b:end")
		stop()
		for i, want := range map[int]string{3: "old={id:1 a:? b:?} new={id:= a:3 b:=}", 5: "old={id:1 a:? b:?} new=-", 9: "old={id:2 a:2 b:?} new={id:2 a:3 b:=}"} {
			if i >= len(lines) || !strings.HasSuffix(lines[i], want) {
				t.Errorf("line %d of %q, want %s", i, lines, want)
			}
		}
	})
}

// TestSchemaChanges follows added, dropped and renamed columns, and tables that swap their names.
func TestSchemaChanges(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database, _, n, stop := s.follow(t, "id INT PRIMARY KEY, a INT")
		s.exec(t, "USE "+database, "INSERT INTO loans VALUES (1, 1)", "ALTER TABLE loans ADD COLUMN b VARCHAR(10) DEFAULT 'x' AFTER id", "INSERT INTO loans VALUES (2, 'y', 2)",
			"ALTER TABLE loans CHANGE a c BIGINT UNSIGNED", "INSERT INTO loans VALUES (3, 'z', 18446744073709551615)", "ALTER TABLE loans DROP COLUMN b", "INSERT INTO loans VALUES (4, 4)",
			"CREATE TABLE loans_gho (id INT PRIMARY KEY, c BIGINT UNSIGNED, d DATE)", "INSERT INTO loans_gho SELECT id, c, NULL FROM loans",
			"RENAME TABLE loans TO loans_old, loans_gho TO loans", "INSERT INTO loans VALUES (5, 5, '2026-01-01')")
		lines := n.await(t, "2026-01-01")
		stop()
		got := strings.Join(lines, "\n")
		for _, want := range []string{"{id:1 a:1}", "{id:2 b:y a:2}", "{id:3 b:z c:18446744073709551615}", "{id:4 c:4}", "insert loans_gho old=- new={id:4 c:4 d:NULL}", "insert loans old=- new={id:5 c:5 d:2026-01-01}"} {
			if !strings.Contains(got, want) {
				t.Errorf("no %s in\n%s", want, got)
			}
		}
	})
}

// TestTagged follows transactions with tags, and resumes among them.
func TestTagged(t *testing.T) {
	t.Parallel()
	s := sharedServer(t, "mysql")
	database, source, n, stop := s.follow(t, "id INT PRIMARY KEY")
	s.session(t, "SET gtid_next = 'AUTOMATIC:batch'", "INSERT INTO "+database+".loans VALUES (1)", "SET gtid_next = 'AUTOMATIC:other_tag'", "INSERT INTO "+database+".loans VALUES (2)",
		"SET gtid_next = 'AUTOMATIC'", "INSERT INTO "+database+".loans VALUES (3)")
	n.await(t, "id:3}")
	stop()
	if at := string(n.Durable()); !strings.Contains(at, ":batch:1:other_tag:1") {
		t.Errorf("position %s", at)
	}
	stop = n.capture(t, source, capture.StartOptions{})
	s.session(t, "SET gtid_next = 'AUTOMATIC:batch'", "INSERT INTO "+database+".loans VALUES (4)")
	if lines := n.await(t, "id:4}"); len(lines) != 8 {
		t.Errorf("got %q", lines)
	}
	stop()
}
