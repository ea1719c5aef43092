package capturetest

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"net"
	"net/url"
	"strconv"

	"github.com/go-sql-driver/mysql"
)

// URL returns a connection URL for a database, as root, over TCP.
func (s *MySQLServer) URL(database string) string { return s.TCP(database, MySQLRoot, "") }

// TCP returns a connection URL for a database and an account over TCP. An empty
// database selects none.
func (s *MySQLServer) TCP(database, user, password string) string {
	u := url.URL{Scheme: "mysql", User: url.User(user), Path: "/" + database}
	if password != "" {
		u.User = url.UserPassword(user, password)
	}
	u.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port))
	return u.String()
}

// Open returns a handle on a database as root, over the Unix socket. It does no I/O. A connection
// that is closed ends its session: the handle keeps none. A query may hold several statements.
func (s *MySQLServer) Open(database string) (*sql.DB, error) {
	config := mysql.NewConfig()
	config.User, config.Net, config.Addr, config.DBName = MySQLRoot, "unix", s.Socket, database
	config.MultiStatements = true
	config.Logger = log.New(io.Discard, "", 0) // what it would log is in the errors too
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(-1)
	return db, nil
}

// Exec runs statements one after the other on one session in a database as root.
// An element may hold several statements, with ";" between them.
func (s *MySQLServer) Exec(ctx context.Context, database string, statements ...string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	db, err := s.Open(database)
	if err != nil {
		return err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", s, err)
	}
	defer conn.Close()
	for _, statement := range statements {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", firstLine(statement), err)
		}
	}
	return nil
}

// Query runs one query in a database as root and returns its rows as text, NULL as "".
func (s *MySQLServer) Query(ctx context.Context, database, query string) ([][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	db, err := s.Open(database)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", firstLine(query), err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	values := make([]sql.NullString, len(columns))
	targets := make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	var texts [][]string
	for rows.Next() {
		if err := rows.Scan(targets...); err != nil {
			return nil, fmt.Errorf("%s: %w", firstLine(query), err)
		}
		row := make([]string, len(values))
		for i, value := range values {
			row[i] = value.String
		}
		texts = append(texts, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", firstLine(query), err)
	}
	return texts, nil
}
