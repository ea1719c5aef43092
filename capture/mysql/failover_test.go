package mysql

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"rowhook/capture"
)

// TestFailover goes on at a replica that has all transactions, and refuses one that lacks some.
func TestFailover(t *testing.T) {
	t.Parallel()
	for _, flavour := range []string{"mysql", "mariadb"} {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			primary, replica := ownServer(t, flavour), ownServer(t, flavour, "--server-id=2", "--log-slave-updates=ON")
			change := []string{fmt.Sprintf("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT=%d, SOURCE_USER='root', SOURCE_AUTO_POSITION=1, GET_SOURCE_PUBLIC_KEY=1", primary.port), "START REPLICA"}
			if flavour == "mariadb" {
				change = []string{"SET GLOBAL gtid_slave_pos = ''", fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='root', MASTER_USE_GTID=slave_pos", primary.port), "START SLAVE"}
			}
			primary.exec(t, "CREATE USER IF NOT EXISTS root@'127.0.0.1'", "GRANT ALL ON *.* TO root@'127.0.0.1'")
			replica.exec(t, change...)
			primary.exec(t, "CREATE DATABASE lib", "CREATE TABLE lib.loans (id INT PRIMARY KEY)")
			source, err := New(capture.SourceConfig{URL: fmt.Sprintf("mysql://root@127.0.0.1:%d,127.0.0.1:%d/lib", primary.port, replica.port)},
				Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), AgentID: t.Name()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(source.Close)
			n := newNotes()
			stop := n.capture(t, source, capture.StartOptions{})
			primary.exec(t, "INSERT INTO lib.loans VALUES (1)")
			n.await(t, "id:1}")
			for count := 0; count < 1; {
				_ = replica.db.QueryRow("SELECT COUNT(*) FROM lib.loans").Scan(&count)
			}
			primary.kill()
			replica.exec(t, map[string]string{"mysql": "STOP REPLICA", "mariadb": "STOP SLAVE"}[flavour], "INSERT INTO lib.loans VALUES (2)")
			if lines := n.await(t, "id:2}"); len(lines) != 4 {
				t.Errorf("got %q", lines)
			}
			stop()
			if err := primary.start(); err != nil {
				t.Fatal(err)
			}
			// The old primary lacks what the new one has written since.
			var gap *capture.GapError
			if err := runOnce(t, source, capture.StartOptions{Stored: n.Durable()}, n); !errors.As(err, &gap) {
				t.Errorf("the old primary: %v", err)
			}
		})
	}
}
