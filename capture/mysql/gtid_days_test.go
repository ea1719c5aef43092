package mysql

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// ids returns the ids of the rows that were inserted.
func ids(lines []string) string {
	var list []string
	for _, line := range lines {
		if _, rest, ok := strings.Cut(line, " new={id:"); ok {
			id, _, _ := strings.Cut(strings.TrimSuffix(rest, "}"), " ")
			list = append(list, id)
		}
	}
	return strings.Join(list, " ")
}

// inDomain inserts a row in one of MariaDB's replication domains.
func (s *testServer) inDomain(t *testing.T, domain, id int) {
	s.session(t, fmt.Sprintf("SET SESSION gtid_domain_id = %d", domain), fmt.Sprintf("INSERT INTO lib.loans VALUES (%d)", id))
}

// TestDomains follows several domains of MariaDB, resumes in them, and goes on at a replica.
func TestDomains(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours[1:] {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			followDomains(t, flavour)
		})
	}
}

func followDomains(t *testing.T, flavour string) {
	primary, replica, source := replicated(t, flavour)
	n := newNotes()
	primary.inDomain(t, 7, 1) // before the start
	stop := n.capture(t, source, capture.StartOptions{})
	primary.inDomain(t, 0, 2)
	primary.inDomain(t, 7, 3)
	primary.inDomain(t, 3, 4) // a domain that is new
	primary.inDomain(t, 0, 5)
	n.await(t, "id:5}")
	stop()
	set, err := parsePlace(n.Durable())
	capturetest.Must(t, err)
	if len(set.maria) != 3 {
		t.Errorf("position %s", n.Durable())
	}
	primary.inDomain(t, 3, 6)
	primary.inDomain(t, 7, 7)
	primary.inDomain(t, 9, 8)
	stop = n.capture(t, source, capture.StartOptions{})
	n.await(t, "id:8}")
	primary.inDomain(t, 0, 9)
	n.await(t, "id:9}")
	capturetest.Must(t, primary.AwaitReplica(t.Context(), replica.MySQLServer))
	capturetest.Must(t, primary.Crash())
	capturetest.Must(t, replica.Promote(t.Context()))
	replica.inDomain(t, 7, 10)
	replica.inDomain(t, 11, 11)
	lines := n.await(t, "id:11}")
	stop()
	if got := ids(lines); got != "2 3 4 5 6 7 8 9 10 11" {
		t.Errorf("got %s", got)
	}
	capturetest.Must(t, primary.Start())
	var gap *capture.GapError
	if err := runOnce(t, source, capture.StartOptions{Stored: n.Durable()}, n); !errors.As(err, &gap) {
		t.Errorf("the old primary: %v", err)
	}
}

// TestDiverged refuses a promoted replica that lacks a transaction which has been captured, though
// it has written as many of its own.
func TestDiverged(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			primary, replica, source := replicated(t, flavour)
			capturetest.Must(t, primary.AwaitReplica(t.Context(), replica.MySQLServer))
			capturetest.Must(t, replica.Promote(t.Context()))
			n := newNotes()
			stop := n.capture(t, source, capture.StartOptions{})
			primary.exec(t, "INSERT INTO lib.loans VALUES (1)", "INSERT INTO lib.loans VALUES (2)")
			n.await(t, "id:2}")
			stop()
			capturetest.Must(t, primary.Crash())
			replica.exec(t, "INSERT INTO lib.loans VALUES (11)", "INSERT INTO lib.loans VALUES (12)", "INSERT INTO lib.loans VALUES (13)")
			var gap *capture.GapError
			err := runOnce(t, source, capture.StartOptions{Stored: n.Durable()}, n)
			if !errors.As(err, &gap) || gap.Stored != n.Durable() || gap.Remedy == "" {
				t.Errorf("got %v", err)
			}
			if got := ids(n.await(t, "id:2}")); got != "1 2" {
				t.Errorf("got %s", got)
			}
		})
	}
}

// TestFailoverByFile refuses a replica where the position is a place in a file of its primary.
func TestFailoverByFile(t *testing.T) {
	t.Parallel()
	primary, replica := ownServer(t, "mysql", noGTID), ownServer(t, "mysql", noGTID)
	replica.exec(t, fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = %d, SOURCE_USER = 'root', GET_SOURCE_PUBLIC_KEY = 1, SOURCE_LOG_FILE = 'binlog.000001', SOURCE_LOG_POS = 4", primary.Port),
		"START REPLICA")
	primary.exec(t, "CREATE DATABASE lib", "CREATE TABLE lib.loans (id INT PRIMARY KEY)")
	source := ofBoth(t, primary, replica)
	n := newNotes()
	stop := n.capture(t, source, capture.StartOptions{})
	primary.exec(t, "INSERT INTO lib.loans VALUES (1)")
	n.await(t, "id:1}")
	stop()
	eventually(t, "the replica", func() bool {
		rows, err := replica.Query(t.Context(), "", "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'lib'")
		return err == nil && rows[0][0] == "1"
	})
	capturetest.Must(t, primary.Crash())
	capturetest.Must(t, replica.Promote(t.Context()))
	replica.exec(t, "INSERT INTO lib.loans VALUES (2)")
	var gap *capture.GapError
	err := runOnce(t, source, capture.StartOptions{Stored: n.Durable()}, n)
	if !errors.As(err, &gap) || !strings.Contains(err.Error(), "which says nothing on server") {
		t.Errorf("got %v", err)
	}
	capturetest.Must(t, primary.Start())
	primary.exec(t, "INSERT INTO lib.loans VALUES (3)")
	stop = n.capture(t, source, capture.StartOptions{})
	if got := ids(n.await(t, "id:3}")); got != "1 3" {
		t.Errorf("got %s", got)
	}
	stop()
}

// TestWrongFlavour refuses a position of the other kind of server.
func TestWrongFlavour(t *testing.T) {
	t.Parallel()
	for flavour, stored := range map[string]capture.Position{"mysql": "mariadb:0-1-1", "mariadb": "gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
		"mariadb118": "gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"} {
		s := sharedServer(t, flavour)
		source := newTestSource(t, s, s.database(t))
		var gap *capture.GapError
		if err := runOnce(t, source, capture.StartOptions{Stored: stored}, newNotes()); !errors.As(err, &gap) || !strings.Contains(err.Error(), "other kind of server") {
			t.Errorf("%s: %v", flavour, err)
		}
	}
}

// TestChecksumsSwitched follows a server that stops writing checksums, and begins again.
func TestChecksumsSwitched(t *testing.T) {
	t.Parallel()
	onOwn(t, settings{"binlog_checksum": "NONE"}, func(t *testing.T, s *testServer) {
		s.exec(t, "CREATE DATABASE lib")
		_, n, stop := s.followIn(t, "lib", "id INT PRIMARY KEY")
		s.exec(t, "INSERT INTO lib.loans VALUES (1)", "SET GLOBAL binlog_checksum = CRC32", "INSERT INTO lib.loans VALUES (2)",
			"FLUSH BINARY LOGS", "INSERT INTO lib.loans VALUES (3)", "SET GLOBAL binlog_checksum = NONE", "INSERT INTO lib.loans VALUES (4)")
		if got := ids(n.await(t, "id:4}")); got != "1 2 3 4" {
			t.Errorf("got %s", got)
		}
		stop()
		s.exec(t, "INSERT INTO lib.loans VALUES (5)")
		stop = n.capture(t, newTestSource(t, s, "lib"), capture.StartOptions{})
		n.await(t, "id:5}")
		stop()
	})
}
