package e2e_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// mysql is a MySQL or MariaDB server, as a [server].
type mysql struct {
	*capturetest.MySQL
	control *http.Client // asks the agent through its socket
}

var _ server = (*mysql)(nil)

// mysqlSchema is what [postgresSchema] is.
var mysqlSchema = []string{
	`create database proof`,
	`create table proof.rows (id bigint primary key, seq bigint not null, note longtext not null)`,
	`create table proof.ledger (place bigint auto_increment primary key, id bigint not null, seq bigint not null, op varchar(10) not null)`,
	`create table proof.noise (id bigint auto_increment primary key, filler text)`,
	`create database nobodys`,
	`create table nobodys.noise (filler text)`,
}

const mysqlPassword = "e2e"

// startMySQL starts a server with the usual tables and an account for the agent that may do what it
// needs and nothing more. The agent is the one whose directory is dir.
func startMySQL(tb testing.TB, start func(capturetest.TB, capturetest.MySQLOptions) *capturetest.MySQL, dir string, own map[string]string) *mysql {
	tb.Helper()
	m := &mysql{MySQL: start(tb, capturetest.MySQLOptions{Settings: maps.Clone(own)})}
	depth := "cte_max_recursion_depth"
	if m.MariaDB {
		depth = "max_recursive_iterations"
	}
	m.Run(tb, "set global "+depth+" = 100000000") // for numbers
	m.Run(tb, mysqlSchema...)
	m.User(tb, "rowhook", mysqlPassword, "replication slave, replication client on *.*", "select on proof.rows")
	m.control = controlIn(dir)
	return m
}

// controlIn asks the agent whose directory is dir.
func controlIn(dir string) *http.Client {
	socket := filepath.Join(dir, "state", "rowhook.sock")
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}
}

func (m *mysql) kind() string    { return "mysql" }
func (m *mysql) address() string { return "127.0.0.1:" + strconv.Itoa(m.Port) }
func (m *mysql) url(address string) string {
	return fmt.Sprintf("mysql://rowhook:%s@%s/proof", mysqlPassword, address)
}

func (m *mysql) start() error { return m.Start() }

// halts has one orderly stop in three: the server takes eight seconds to end its readers.
func (m *mysql) halts() []func() error { return []func() error{m.Crash, m.Crash, m.Stop} }

func (m *mysql) exec(ctx context.Context, sql ...string) error { return m.Exec(ctx, "", sql...) }

func (m *mysql) query(ctx context.Context, sql string) ([][]string, error) {
	return m.Query(ctx, "", sql)
}

func (m *mysql) connect(ctx context.Context) (session, error) {
	db, err := m.Open("")
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		_ = db.Close() // it has no connection
		return nil, err
	}
	return mysqlSession{db, conn}, nil
}

type mysqlSession struct {
	db   *sql.DB
	conn *sql.Conn
}

func (s mysqlSession) exec(ctx context.Context, sql string) error {
	_, err := s.conn.ExecContext(ctx, sql)
	return err
}

func (s mysqlSession) close() {
	_ = s.conn.Close() // it may be broken
	_ = s.db.Close()
}

func (m *mysql) readers(ctx context.Context, ports []string) (int, error) {
	which := ""
	if len(ports) > 0 {
		which = " and substring_index(host, ':', -1) in (" + strings.Join(ports, ",") + ")"
	}
	return one(ctx, m, strconv.Atoi, "select count(*) from information_schema.processlist where command like 'Binlog Dump%'"+which)
}

// end is a set of global transaction ids.
func (m *mysql) end(ctx context.Context) (string, error) {
	if m.MariaDB {
		return one(ctx, m, asText, "select @@global.gtid_binlog_pos")
	}
	return one(ctx, m, asText, "select @@global.gtid_executed")
}

// settled asks the agent, since the server does not know what a reader is done with.
func (m *mysql) settled(ctx context.Context, point string) (bool, error) {
	status, err := m.ask(ctx)
	if err != nil {
		return false, err
	}
	return m.within(ctx, point, gtidsOf(status.Durable))
}

func (m *mysql) behind(ctx context.Context) (int64, error) {
	status, err := m.ask(ctx)
	return status.Stream.LagBytes, err
}

// sourceStatus is what these tests read of the source in the agent's status.
type sourceStatus struct {
	Durable string `json:"durable"`
	Stream  struct {
		LagBytes int64 `json:"lag_bytes"`
	} `json:"stream"`
}

func (m *mysql) ask(ctx context.Context) (sourceStatus, error) {
	var status struct {
		Source sourceStatus `json:"source"`
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://agent/status", strings.NewReader("{}"))
	if err != nil {
		return status.Source, err
	}
	answer, err := m.control.Do(request)
	if err != nil {
		return status.Source, err
	}
	defer answer.Body.Close()
	return status.Source, json.NewDecoder(answer.Body).Decode(&status)
}

func (m *mysql) ahead(ctx context.Context, position string) (told string, ahead bool, err error) {
	end, err := m.end(ctx)
	if err != nil {
		return "", false, err
	}
	within, err := m.within(ctx, gtidsOf(position), end)
	return "nothing, and has " + end, !within, err
}

// gtidsOf are the transactions of a position: a word each for the set, and where that is in the
// server's files.
func gtidsOf(position string) string {
	set, _, _ := strings.Cut(position, " ")
	_, set, _ = strings.Cut(set, ":")
	return set
}

// within reports whether one set of transactions holds all of another.
func (m *mysql) within(ctx context.Context, part, whole string) (bool, error) {
	if !m.MariaDB {
		return one(ctx, m, strconv.ParseBool, fmt.Sprintf("select gtid_subset('%s', '%s')", part, whole))
	}
	// There is one domain: the sequence number tells.
	want, wantErr := asInt64(part[strings.LastIndexByte(part, '-')+1:])
	have, haveErr := asInt64(whole[strings.LastIndexByte(whole, '-')+1:])
	return wantErr == nil && haveErr == nil && have >= want, nil
}

func (m *mysql) rotate(ctx context.Context) error { return m.exec(ctx, "flush binary logs") }

func (m *mysql) elsewhere(ctx context.Context) error {
	return m.exec(ctx, "insert into nobodys.noise select repeat('x', 500) from "+numbers(200))
}

// lose purges. A file that a connection reads is kept, and the server notices only when it has
// something to send that a reader has gone.
func (m *mysql) lose(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if err := m.rotate(ctx); err != nil {
			return err
		}
		logs, err := m.query(ctx, "show binary logs")
		if err != nil {
			return err
		}
		last := logs[len(logs)-1][0]
		if err := m.exec(ctx, "purge binary logs to '"+last+"'"); err != nil {
			return err
		}
		if oldest, err := one(ctx, m, asText, "show binary logs"); err != nil || oldest == last {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
