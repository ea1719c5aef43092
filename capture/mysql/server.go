package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"rowhook/capture"
)

// Identify connects and says who answers.
func (s *Source) Identify(ctx context.Context) (capture.Server, error) {
	h, db, err := s.reach(ctx)
	if err != nil {
		return capture.Server{}, err
	}
	facts, err := s.identify(ctx, h, db)
	return facts.Server, err
}

// serverFacts are what a start goes by beyond what everybody may see of a server.
type serverFacts struct {
	capture.Server
	end     place    // what it has
	purged  mysqlSet // MySQL with GTIDs: what it no longer has
	format  string
	rowMeta string
	// variables are the server's settings.
	variables map[string]string
}

func (s *Source) identify(ctx context.Context, h host, db *sql.DB) (serverFacts, error) {
	explain := func(err error) error { return s.explainError(err, s.currentAccount(ctx, db)) }
	v, err := variables(ctx, db)
	if err != nil {
		return serverFacts{}, explain(fmt.Errorf("read the server's settings: %w", err))
	}
	f := serverFacts{format: v["binlog_format"], rowMeta: v["binlog_row_metadata"], variables: v}
	f.Host, f.Database = h.String(), s.address.database
	f.Version, f.MariaDB = parseVersion(v["version"])
	f.Lineage = v["server_uuid"]
	if f.MariaDB {
		f.Lineage = fmt.Sprintf("%s:%s:%s", v["hostname"], v["port"], v["server_id"])
	}
	f.GTID = f.MariaDB || v["gtid_mode"] == "ON"
	f.KeepFor = retention(v)
	f.Standby = v["read_only"] == "ON"
	if err := f.readEnd(ctx, db, v); err != nil {
		return serverFacts{}, explain(err)
	}
	f.Server.End = f.end.position()
	if f.Environment, err = readEnvironment(ctx, db); err != nil {
		return serverFacts{}, explain(fmt.Errorf("read rowhook.environment: %w", err))
	}
	return f, f.tooOld()
}

func (f *serverFacts) tooOld() error {
	least, name := 80000, "MySQL 8.0"
	if f.MariaDB {
		least, name = 100600, "MariaDB 10.6"
	}
	if f.Version < least {
		return &capture.OperatorError{Err: fmt.Errorf("version %d is too old", f.Version), Remedy: "rowhook needs " + name + " or later"}
	}
	return nil
}

// readEnd reads how far the server's transactions go.
func (f *serverFacts) readEnd(ctx context.Context, db *sql.DB, v map[string]string) (err error) {
	at, executed, err := binlogEnd(ctx, db, f.MariaDB, f.Version)
	if err != nil {
		return fmt.Errorf("ask where the binlog ends: %w", err)
	}
	f.end.file = at
	switch {
	case at.name == "": // the binlog is off
	case f.MariaDB:
		f.end.maria, err = parseMariaSet(v["gtid_binlog_pos"])
	case f.GTID:
		if f.end.mysql, err = parseMySQLSet(executed); err == nil {
			f.purged, err = parseMySQLSet(v["gtid_purged"])
		}
	default:
		f.end.server = f.Lineage
	}
	return err
}

// variables reads the server's settings. A server does not know all of them.
func variables(ctx context.Context, db *sql.DB) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, "SHOW GLOBAL VARIABLES")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	v := map[string]string{}
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, err
		}
		v[name] = value
	}
	return v, rows.Err()
}

// parseVersion reads "8.4.3-log" or "10.11.14-MariaDB-0+deb12u2".
func parseVersion(text string) (version int, mariaDB bool) {
	numbers := strings.FieldsFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	for _, n := range numbers[:min(3, len(numbers))] {
		part, _ := strconv.Atoi(n)
		version = version*100 + part
	}
	return version, strings.Contains(strings.ToLower(text), "mariadb")
}

// retention is how long binlog files are kept; 0 is for ever.
func retention(v map[string]string) time.Duration {
	if v["binlog_expire_logs_auto_purge"] == "OFF" {
		return 0
	}
	if seconds, err := strconv.ParseFloat(v["binlog_expire_logs_seconds"], 64); err == nil && seconds > 0 {
		return time.Duration(seconds) * time.Second
	}
	days, err := strconv.ParseFloat(v["expire_logs_days"], 64)
	if err != nil {
		return 0
	}
	return time.Duration(days * 24 * float64(time.Hour))
}

// binlogEnd asks where the binlog ends, and which GTIDs have been executed (MySQL).
func binlogEnd(ctx context.Context, db asker, mariaDB bool, version int) (filePlace, string, error) {
	query := "SHOW MASTER STATUS"
	if !mariaDB && version >= 80200 {
		query = "SHOW BINARY LOG STATUS"
	}
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return filePlace{}, "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || !rows.Next() {
		return filePlace{}, "", errors.Join(err, rows.Err()) // no row: the binlog is off
	}
	values := make([]sql.NullString, len(columns))
	targets := make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	if err := rows.Scan(targets...); err != nil {
		return filePlace{}, "", err
	}
	offset, err := strconv.ParseUint(values[1].String, 10, 64)
	executed := ""
	if len(values) > 4 {
		executed = values[4].String
	}
	return filePlace{name: values[0].String, offset: offset}, executed, err
}

// asker is a server's connections, or one of them.
type asker interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// unmarked are the errors of a server that has no table rowhook.environment: no such table or
// database, which to a login without any right there reads as access denied.
var unmarked = []uint16{1044, 1049, 1142, 1146}

// readEnvironment reads the mark that tells a sandbox, the first column of table
// rowhook.environment. Most servers have none.
func readEnvironment(ctx context.Context, db *sql.DB) (string, error) {
	rows, err := db.QueryContext(ctx, "SELECT * FROM rowhook.environment LIMIT 1")
	var refused *driver.MySQLError
	if errors.As(err, &refused) && slices.Contains(unmarked, refused.Number) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || !rows.Next() {
		return "", errors.Join(err, rows.Err())
	}
	values, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return "", err
	}
	return string(values[0]), rows.Err()
}
