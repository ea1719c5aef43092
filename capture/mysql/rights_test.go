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
	own := settings{"binlog_expire_logs_seconds": "864000", "sync_binlog": "1", "loose-innodb_native_foreign_keys": "ON"}
	onOwn(t, own, func(t *testing.T, s *testServer) {
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
		if !codes["cascades"] || !codes["table"] || codes["no_key"] || codes["select_privilege"] || codes["replication_privilege"] {
			t.Errorf("check: %+v", found)
		}
		status, err := source.Status(t.Context(), n.Durable())
		if err != nil || status.Binlog.LagSeconds != 0 {
			t.Errorf("status: %+v, %v", status, err)
		}
		stop()
	})
}

// TestGrantedSelect holds that what an account may read by its grants it may read, and that what is
// granted in the usual ways is told by them.
func TestGrantedSelect(t *testing.T) {
	t.Parallel()
	const all = "lib.items lib.loans lib1x.items lib1x.loans lib_x.items lib_x.loans"
	cases := []struct {
		grants    []string
		told, may string // by the grants alone, and what may be read
		partial   bool   // on MySQL with partial_revokes
	}{
		{nil, "", "", false},
		{[]string{"GRANT SELECT ON *.* TO "}, all, all, false},
		{[]string{"GRANT SELECT, INSERT ON lib.* TO "}, "lib.items lib.loans", "lib.items lib.loans", false},
		{[]string{"GRANT ALL ON lib.loans TO ", "GRANT INSERT ON lib.items TO "}, "lib.loans", "lib.loans", false},
		{[]string{"GRANT SELECT ON `lib_x`.* TO "}, "", "lib1x.items lib1x.loans lib_x.items lib_x.loans", false},
		{[]string{"GRANT SELECT ON `lib\\_x`.* TO "}, "lib_x.items lib_x.loans", "lib_x.items lib_x.loans", false},
		{[]string{"GRANT SELECT ON `lib%`.* TO ", "GRANT INSERT ON lib.* TO "}, "", "lib1x.items lib1x.loans lib_x.items lib_x.loans", false},
		{[]string{"GRANT SELECT (id) ON lib.loans TO "}, "", "lib.loans", false},
		{[]string{"GRANT SELECT ON *.* TO ", "REVOKE SELECT ON lib.* FROM "}, "", "lib1x.items lib1x.loans lib_x.items lib_x.loans", true},
		{[]string{"GRANT SELECT ON `lib_x`.* TO "}, "lib_x.items lib_x.loans", "lib_x.items lib_x.loans", true},
		{[]string{"GRANT SELECT ON `lib\\_x`.* TO "}, "", "", true},
	}
	onOwn(t, settings{}, func(t *testing.T, s *testServer) {
		var tables []*tableFacts
		for _, database := range []string{"lib", "lib1x", "lib_x"} {
			s.exec(t, "CREATE DATABASE "+database)
			for _, name := range []string{"items", "loans"} {
				s.exec(t, "CREATE TABLE "+database+"."+name+" (id INT, note INT)")
				tables = append(tables, &tableFacts{table: &capture.Table{Schema: database, Name: name}})
			}
		}
		for i, c := range cases {
			if c.partial && s.kind != "mysql" {
				continue
			}
			if c.partial {
				s.exec(t, "SET GLOBAL partial_revokes = ON")
			}
			user := fmt.Sprintf("u%d@'%%'", i)
			s.exec(t, "CREATE USER "+user+" IDENTIFIED BY 'secret'")
			for _, grant := range c.grants {
				s.exec(t, grant+user)
			}
			told, may := readableTo(t, s, fmt.Sprint("u", i), tables)
			if told != c.told || may != c.may {
				t.Errorf("%q: the grants tell of %q, want %q; the server shows %q, want %q", c.grants, told, c.told, may, c.may)
			}
		}
	})
}

// readableTo returns which tables an account may read by what its grants tell, and by trying.
func readableTo(t *testing.T, s *testServer, user string, tables []*tableFacts) (told, may string) {
	t.Helper()
	db, err := open(host{name: "127.0.0.1", port: uint16(s.Port)}, user, "secret", nil)
	capturetest.Must(t, err)
	defer db.Close()
	grants, err := texts(t.Context(), db, "SHOW GRANTS")
	capturetest.Must(t, err)
	in := &inspection{}
	in.variables, err = variables(t.Context(), db)
	capturetest.Must(t, err)
	var byGrants, byTrying []string
	for _, f := range tables {
		if in.grantedSelect(grants, f) {
			byGrants = append(byGrants, f.table.String())
		}
		if mayRead(t.Context(), db, f) {
			byTrying = append(byTrying, f.table.String())
		}
	}
	return strings.Join(byGrants, " "), strings.Join(byTrying, " ")
}
