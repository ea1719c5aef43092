package mysql

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// xaServers are the kinds of server and position that prepared transactions are tried on.
var xaServers = []struct {
	name, flavour string
	settings      settings
}{{"mysql", "mysql", nil}, {"mysql by file", "mysql", noGTID}, {"mariadb", "mariadb", nil}, {"mariadb118", "mariadb118", nil}}

// onXAServers runs a test on a server of each kind, whose table lib.loans a source follows.
func onXAServers(t *testing.T, f func(t *testing.T, s *testServer, source *Source, n *notes, stop func())) {
	for _, c := range xaServers {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := ownServer(t, c.flavour, c.settings)
			s.exec(t, "CREATE DATABASE lib")
			source, n, stop := s.followIn(t, "lib", "id INT PRIMARY KEY")
			f(t, s, source, n, stop)
		})
	}
}

// prepare leaves a prepared transaction behind that inserts some rows.
func (s *testServer) prepare(t *testing.T, name string, rows ...int) {
	statements := []string{"XA START '" + name + "'"}
	for _, id := range rows {
		statements = append(statements, fmt.Sprintf("INSERT INTO lib.loans VALUES (%d) /*operation='%s'*/", id, name))
	}
	s.session(t, append(statements, "XA END '"+name+"'", "XA PREPARE '"+name+"'")...)
}

// finish ends a prepared transaction, once its session is gone.
func (s *testServer) finish(t *testing.T, statement string) {
	var err error
	eventually(t, statement+": "+fmt.Sprint(err), func() bool {
		err = s.Exec(t.Context(), "", statement)
		return err == nil
	})
}

// TestXARestarts holds prepared work back while the agent and the server restart, and hands it over
// with its comments when it is committed, in the commit's place.
func TestXARestarts(t *testing.T) {
	t.Parallel()
	onXAServers(t, func(t *testing.T, s *testServer, source *Source, n *notes, stop func()) {
		s.prepare(t, "one", 1, 2)
		s.prepare(t, "two", 3)
		s.prepare(t, "three", 4)
		s.exec(t, "INSERT INTO lib.loans VALUES (10)")
		n.await(t, "id:10}")
		stop()
		capturetest.Must(t, s.Crash())
		capturetest.Must(t, s.Start())
		stop = n.capture(t, source, capture.StartOptions{})
		s.finish(t, "XA COMMIT 'two'")
		s.exec(t, "INSERT INTO lib.loans VALUES (11)")
		n.await(t, "id:11}")
		stop()
		s.finish(t, "XA ROLLBACK 'three'")
		s.finish(t, "XA COMMIT 'one'")
		s.exec(t, "FLUSH BINARY LOGS", "INSERT INTO lib.loans VALUES (12)")
		stop = n.capture(t, source, capture.StartOptions{})
		s.exec(t, "INSERT INTO lib.loans VALUES (13)")
		lines := n.await(t, "id:13}")
		stop()
		want := []string{"begin", "0 insert loans old=- new={id:10}",
			"begin", `0 message sqlcommenter "operation='two'"`, "1 insert loans old=- new={id:3}",
			"begin", "0 insert loans old=- new={id:11}",
			"begin", `0 message sqlcommenter "operation='one'"`, "1 insert loans old=- new={id:1}", `2 message sqlcommenter "operation='one'"`, "3 insert loans old=- new={id:2}",
			"begin", "0 insert loans old=- new={id:12}", "begin", "0 insert loans old=- new={id:13}"}
		if strings.Join(lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
		if strings.Contains(string(n.Durable()), "xa:") {
			t.Errorf("still prepared: %s", n.Durable())
		}
	})
}

// TestXAPurged names the gap when prepared work is committed whose rows have been removed from the
// binlog.
func TestXAPurged(t *testing.T) {
	t.Parallel()
	onXAServers(t, func(t *testing.T, s *testServer, source *Source, n *notes, stop func()) {
		s.prepare(t, "one", 1)
		s.exec(t, "FLUSH BINARY LOGS", "INSERT INTO lib.loans VALUES (10)")
		n.await(t, "id:10}")
		stop()
		eventually(t, "the purge", func() bool {
			s.exec(t, "PURGE BINARY LOGS TO 'binlog.000002'")
			files, err := binlogFiles(t.Context(), s.db)
			capturetest.Must(t, err)
			return files[0].name == "binlog.000002"
		})
		s.finish(t, "XA COMMIT 'one'")
		s.exec(t, "INSERT INTO lib.loans VALUES (11)")
		var gap *capture.GapError
		if err := runOnce(t, source, capture.StartOptions{Stored: n.Durable()}, n); !errors.As(err, &gap) || gap.Stored == "" || !strings.Contains(err.Error(), "prepared transaction") {
			t.Fatalf("got %v", err)
		}
		// Accepted, what was prepared is missing, and no more than that.
		stop = n.capture(t, source, capture.StartOptions{AcceptGap: true})
		s.exec(t, "INSERT INTO lib.loans VALUES (12)")
		if got := ids(n.await(t, "id:12}")); got != "10 11 12" {
			t.Errorf("got %s", got)
		}
		stop()
	})
}
