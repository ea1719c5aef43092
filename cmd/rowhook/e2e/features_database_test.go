package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// onLibraries runs a scenario in a library on PostgreSQL, and on MySQL and MariaDB too: those
// scenarios that together go through all that the example maps, and in the soak every one.
func onLibraries(t *testing.T, everywhere bool, changes map[string]string, scenario func(*testing.T, *library)) {
	for _, database := range databases {
		if database != "postgres" && !everywhere && !soak() {
			continue
		}
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			scenario(t, newLibraryOn(t, database, changes))
		})
	}
}

// onDatabase starts a server with the library's schema and an account for the agent that may do
// what it needs and nothing more, and returns what the example says of the database and must say
// instead.
func (l *library) onDatabase(database string) map[string]string {
	l.tb.Helper()
	const url = "postgres://rowhook@127.0.0.1:5432/library?sslmode=verify-full"
	if database == "postgres" {
		pg := capturetest.StartPostgres(l.tb, capturetest.Options{Major: postgresMajor(l.tb)})
		pg.Run(l.tb, "create database library", "create role rowhook login replication")
		l.db, l.owner = &postgres{pg, "library"}, pg.URL("library")
		capturetest.Must(l.tb, l.db.exec(context.Background(), l.schema(),
			"grant usage on schema circulation, catalog, acquisition, sharing, app to rowhook",
			"grant select on all tables in schema circulation, catalog, acquisition, sharing, app to rowhook"))
		return map[string]string{url: l.db.url(l.db.address())}
	}
	start := capturetest.StartMySQL
	if database == "mariadb" {
		start = startMariaDB
	}
	m := start(l.tb, capturetest.MySQLOptions{Settings: map[string]string{"sync_binlog": "1"}})
	l.db, l.owner = &mysql{MySQL: m, control: controlIn(l.dir)}, m.URL("catalog")
	capturetest.Must(l.tb, l.db.exec(context.Background(), l.schema()))
	m.User(l.tb, "rowhook", mysqlPassword, "replication slave, replication client on *.*",
		"select on circulation.*", "select on catalog.*", "select on acquisition.*", "select on sharing.*", "select on app.*")
	return map[string]string{
		url:                      m.TCP("catalog", "rowhook", mysqlPassword),
		"type: postgres":         "type: mysql",
		"\n  slot: ":             "\n  # slot: ",
		"\n  publication: ":      "\n  # publication: ",
		"\n  heartbeat: ":        "\n  # heartbeat: ",
		"message: rowhook  ":     "table: app.rowhook_context  ",
		"message: rowhook.event": "table: app.rowhook_signal  ",
	}
}

// schema is the library's, for the database's kind.
func (l *library) schema() string {
	l.tb.Helper()
	text, err := os.ReadFile(filepath.Join(l.folder, l.db.kind()+".sql"))
	capturetest.Must(l.tb, err)
	return string(text)
}

// exec commits statements in one transaction. They are written for all kinds of databases.
func (l *library) exec(statements ...string) {
	l.tb.Helper()
	capturetest.Must(l.tb, l.db.exec(context.Background(), "begin;\n"+strings.Join(statements, ";\n")+";\ncommit"))
}

// as is the statement that tells the context of what follows in its transaction: by a message, or
// by a row.
func (l *library) as(actor, name, operation string) string {
	if l.db.kind() == "mysql" {
		return fmt.Sprintf("insert into app.rowhook_context (actor_id, actor_name, operation) values ('%s', '%s', '%s')", actor, name, operation)
	}
	context, _ := json.Marshal(map[string]any{"actor": map[string]string{"id": actor, "name": name}, "operation": operation})
	return "select pg_logical_emit_message(true, 'rowhook', '" + strings.ReplaceAll(string(context), "'", "''") + "')"
}

// signal is the statement that tells that a job has finished.
func (l *library) signal(key string) string {
	if l.db.kind() == "mysql" {
		return "insert into app.rowhook_signal (type, `key`) values ('job.finished', '" + key + "')"
	}
	return `select pg_logical_emit_message(true, 'rowhook.event', '{"type":"job.finished","key":` + key + `}')`
}

// texts is the value of a column that holds a list of texts: an array, or JSON where there are
// none.
func (l *library) texts(list ...string) string {
	text, _ := json.Marshal(list)
	if l.db.kind() == "mysql" {
		return "'" + string(text) + "'"
	}
	return "'{" + strings.Trim(string(text), "[]") + "}'"
}

// each is a table expression with a row for each value.
func each(column string, values ...string) string {
	var b strings.Builder
	for i, value := range values {
		if i > 0 {
			b.WriteString(" union all ")
		}
		fmt.Fprintf(&b, "select '%s' as %s", value, column)
	}
	return "(" + b.String() + ") as of_" + column
}
