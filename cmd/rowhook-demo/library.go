package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"rowhook/capture/capturetest"
)

// library is the database that the demonstration plays on.
type library interface {
	fmt.Stringer
	port() int
	// create makes the tables, from the schema's file, and the agent's account.
	create(ctx context.Context, schema string) error
	exec(ctx context.Context, sql string) error
	// read reports whether rowhook reads the stream.
	read(ctx context.Context) (bool, error)
	// script is an act as one query.
	script(a *act) string

	// config is the source in the agent's config, owner the URL that setup is given.
	config() string
	owner() string
	// made says what setup does, shell how a person gets in.
	made() string
	shell() string
	// unread says what the database holds back of its log for rowhook, or else what rowhook has
	// still to read of it.
	unread(ctx context.Context, a *agent) (waiting, error)
	close() error
}

// waiting is what unread found: a sentence for the story, and a line for the books.
type waiting struct{ sentence, what, amount, note string }

// sources are the kinds of databases that there are to play on.
var sources = []string{"postgres", "mysql", "mariadb"}

// openLibrary starts a throwaway server.
func openLibrary(o options) (library, error) {
	switch o.source {
	case "postgres":
		cluster, err := capturetest.NewCluster(capturetest.Options{Major: o.major})
		return &postgresLibrary{cluster}, err
	case "mysql":
		// As it is out of the box, so that setup has something to do.
		server, err := capturetest.NewMySQL(capturetest.MySQLOptions{Settings: map[string]string{
			"binlog_row_metadata": "MINIMAL", "binlog_rows_query_log_events": "OFF"}})
		return &mysqlLibrary{server}, err
	case "mariadb":
		server, err := capturetest.NewMariaDB(capturetest.MySQLOptions{Settings: map[string]string{"binlog_row_metadata": "NO_LOG"}})
		return &mysqlLibrary{server}, err
	}
	return nil, fmt.Errorf("there is no source %q: %s", o.source, strings.Join(sources, ", "))
}

// postgresLibrary is one of PostgreSQL.
type postgresLibrary struct{ *capturetest.Cluster }

// database is the library's database.
const database = "library"

func (l *postgresLibrary) String() string { return fmt.Sprintf("PostgreSQL %d", l.Major) }
func (l *postgresLibrary) port() int      { return l.Port }
func (l *postgresLibrary) close() error   { return l.Close() }

func (l *postgresLibrary) create(ctx context.Context, schema string) error {
	text, err := os.ReadFile(schema)
	if err != nil {
		return err
	}
	return errors.Join(
		l.Exec(ctx, "postgres", "create database "+database, "create role rowhook login replication"),
		// The ids that the story gives out are kept apart from those of visitors.
		l.Exec(ctx, database, string(text), "alter table circulation.members alter member_id restart with 5001",
			"alter table circulation.loans alter loan_id restart with 5001"),
	)
}

func (l *postgresLibrary) exec(ctx context.Context, sql string) error {
	return l.Exec(ctx, database, sql)
}

func (l *postgresLibrary) read(ctx context.Context) (bool, error) {
	rows, err := l.Query(ctx, database, "select 1 from pg_replication_slots where slot_name = 'rowhook' and active")
	return len(rows) == 1, err
}

// script tells who acts by a message at the transaction's head.
func (l *postgresLibrary) script(a *act) string {
	sql := a.sql
	if a.who != "" {
		sql = append([]string{fmt.Sprintf(`select pg_logical_emit_message(true, 'rowhook', '{"actor":{"id":"1","name":"%s"},"operation":"%s"}')`,
			a.who, a.how)}, sql...)
	}
	return transaction(sql, a.undone)
}

func (l *postgresLibrary) config() string {
	return "type: postgres\n  url: " + l.TCP(database, "rowhook")
}
func (l *postgresLibrary) owner() string { return l.TCP(database, capturetest.Superuser) }
func (l *postgresLibrary) made() string  { return "slot, publication and rights made, as the owner" }
func (l *postgresLibrary) shell() string { return "psql '" + l.owner() + "'" }

// unread is the WAL that the slot's confirmed position keeps from being removed.
func (l *postgresLibrary) unread(ctx context.Context, _ *agent) (waiting, error) {
	rows, err := l.Query(ctx, database,
		"select pg_current_wal_lsn() - confirmed_flush_lsn from pg_replication_slots where slot_name = 'rowhook'")
	if err != nil {
		return waiting{}, err
	}
	if len(rows) != 1 {
		return waiting{}, errors.New("the replication slot is gone")
	}
	bytes, err := strconv.ParseInt(rows[0][0], 10, 64)
	if err != nil {
		return waiting{}, err
	}
	held := kibibytes(bytes)
	return waiting{"the database holds back " + held + " of WAL for them", "WAL held back", held, "by the replication slot, now"}, nil
}

// mysqlLibrary is one of MySQL or MariaDB, whose schemas are databases.
type mysqlLibrary struct{ *capturetest.MySQLServer }

func (l *mysqlLibrary) port() int    { return l.Port }
func (l *mysqlLibrary) close() error { return l.Close() }

func (l *mysqlLibrary) create(ctx context.Context, schema string) error {
	text, err := os.ReadFile(schema)
	if err != nil {
		return err
	}
	return l.Exec(ctx, "", string(text), "alter table circulation.members auto_increment = 5001",
		"alter table circulation.loans auto_increment = 5001", "create user rowhook@'%' identified by 'rowhook'")
}

func (l *mysqlLibrary) exec(ctx context.Context, sql string) error { return l.Exec(ctx, "", sql) }

func (l *mysqlLibrary) read(ctx context.Context) (bool, error) {
	rows, err := l.Query(ctx, "", "select 1 from information_schema.processlist where user = 'rowhook' and command like 'Binlog Dump%'")
	return len(rows) > 0, err
}

// script tells who acts by a comment behind each statement.
func (l *mysqlLibrary) script(a *act) string {
	sql := a.sql
	if a.who != "" {
		sql = nil
		for _, statement := range a.sql {
			sql = append(sql, fmt.Sprintf("%s /*actor_id='1',actor_name='%s',operation='%s'*/", statement, a.who, a.how))
		}
	}
	return transaction(sql, a.undone)
}

func (l *mysqlLibrary) config() string {
	return "type: mysql\n  url: " + l.TCP("", "rowhook", "rowhook") + "\n  context: {comment: true}"
}
func (l *mysqlLibrary) owner() string { return l.URL("") }
func (l *mysqlLibrary) made() string {
	return "rights granted and the binlog's settings made, as the owner"
}
func (l *mysqlLibrary) shell() string {
	return fmt.Sprintf("mysql -h 127.0.0.1 -P %d -u %s", l.Port, capturetest.MySQLRoot)
}

// unread asks rowhook: the server keeps its binlog as long as it is told to, whoever reads it.
func (l *mysqlLibrary) unread(ctx context.Context, a *agent) (waiting, error) {
	out, err := a.command(ctx, "status", "--json")
	if err != nil {
		return waiting{}, err
	}
	var status struct {
		Source struct {
			Stream *struct {
				Lag int64 `json:"lag_bytes"`
			} `json:"stream"`
		} `json:"source"`
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return waiting{}, fmt.Errorf("rowhook status: %w", err)
	}
	if status.Source.Stream == nil {
		return waiting{}, errors.New("rowhook status does not say how far the binlog has been read")
	}
	lag := kibibytes(status.Source.Stream.Lag)
	return waiting{"the database holds back nothing for them: rowhook has stored what its binlog tells, but for the last " + lag,
		"binlog not stored", lag, "by rowhook, now"}, nil
}

func transaction(sql []string, undone bool) string {
	end := "commit"
	if undone {
		end = "rollback"
	}
	return "begin;\n" + strings.Join(sql, ";\n") + ";\n" + end
}

func kibibytes(n int64) string { return fmt.Sprintf("%.1f KiB", float64(n)/1024) }
