package mysql

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestRights: REPLICATION SLAVE, REPLICATION CLIENT and SELECT on the mapped tables are all that
// the agent's user needs, to stream, to tell types and keys, to check and for status.
func TestRights(t *testing.T) {
	t.Parallel()
	onOwn(t, settings{"binlog_expire_logs_seconds": "864000", "sync_binlog": "1"}, func(t *testing.T, s *testServer) {
		item := map[string]string{"mysql": "BINARY(16)", "mariadb": "UUID"}[kindOf(s.flavour)]
		s.exec(t, "CREATE DATABASE lib", "CREATE TABLE lib.items (id INT PRIMARY KEY)",
			"CREATE TABLE lib.loans (branch VARCHAR(10) CHARACTER SET sjis, id INT, item "+item+", doc JSON, parent INT, PRIMARY KEY (id, branch), CONSTRAINT of_item FOREIGN KEY (parent) REFERENCES lib.items (id) ON DELETE CASCADE)",
			"CREATE TABLE lib.hidden (id INT)", "CREATE USER rowhook@'%' IDENTIFIED BY 'secret'",
			"GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO rowhook@'%'", "GRANT SELECT ON lib.loans TO rowhook@'%'")
		source, err := New(capture.SourceConfig{URL: fmt.Sprintf("mysql://rowhook@127.0.0.1:%d/lib", s.Port), Password: "secret"},
			Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), AgentID: t.Name(), Wanted: func(_, table string) bool { return table == "loans" }})
		capturetest.Must(t, err)
		t.Cleanup(source.Close)
		n := newNotes()
		n.json = true
		stop := n.capture(t, source, capture.StartOptions{})
		s.session(t, "SET NAMES utf8mb4", "USE lib", "INSERT INTO hidden VALUES (1)", "INSERT INTO items VALUES (7)",
			"INSERT INTO loans VALUES ('本館', 1, UNHEX('123e4567e89b12d3a456426655440000'), '[1, 2]', 7)", "TRUNCATE loans")
		lines := n.await(t, "truncate")
		want := map[string]string{"mysql": `item:"Ej5FZ+ibEtOkVkJmVUQAAA=="`, "mariadb": `item:"123e4567-e89b-12d3-a456-426655440000"`}[kindOf(s.flavour)]
		if !strings.Contains(lines[1], `branch:"本館" id:1 `+want+` doc:[1, 2]`) {
			t.Errorf("got %q", lines)
		}
		tables, err := source.Tables(t.Context(), []string{"lib.loans"})
		capturetest.Must(t, err)
		if len(tables) != 1 || fmt.Sprint(tables[0].Key) != "[1 0]" || tables[0].Columns[3].Type.Kind != capture.JSON {
			t.Errorf("tables %+v", tables)
		}
		found, _, err := source.Check(t.Context(), []string{"lib.loans", "lib.items"})
		capturetest.Must(t, err)
		codes := map[string]bool{}
		for _, f := range found {
			codes[f.Code] = true
		}
		if !codes["cascades"] == (kindOf(s.flavour) == "mariadb") || !codes["table"] || codes["no_key"] || codes["select_privilege"] || codes["replication_privilege"] {
			t.Errorf("check: %+v", found)
		}
		status, err := source.Status(t.Context(), n.Durable())
		if err != nil || status.Binlog.LagSeconds != 0 {
			t.Errorf("status: %+v, %v", status, err)
		}
		stop()
	})
}
