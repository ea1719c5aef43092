package mysql

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/capture/capturetest"
	"rowhook/capture/capturetest/oracle"
)

// TestRandomTables compares the rows of random tables, column by column, with what the server
// answers to SELECT. ROWHOOK_RANDOM_SEED begins with a round that failed, ROWHOOK_RANDOM_TIME goes
// on for a while.
func TestRandomTables(t *testing.T) {
	t.Parallel()
	onEach(t, compareRandomTables)
}

func compareRandomTables(t *testing.T, s *testServer) {
	database := "random"
	capturetest.Must(t, s.Exec(t.Context(), "", "CREATE DATABASE "+database+" CHARACTER SET utf8mb4"))
	source := newTestSource(t, s, database)
	server, err := source.Identify(t.Context())
	capturetest.Must(t, err)
	db, err := s.Open(database)
	capturetest.Must(t, err)
	defer db.Close()
	conn, err := db.Conn(t.Context())
	capturetest.Must(t, err)
	defer conn.Close()
	sink := oracle.NewSink()
	runner := oracle.NewMySQL(t, writer{conn}, sink, database, server.Version, server.MariaDB)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	defer func() { cancel(); <-ended }()
	go func() {
		defer close(ended)
		sink.End(source.Run(ctx, capture.StartOptions{Stored: server.End}, sink))
	}()
	runner.Run(rounds, 3*time.Minute)
}

// rounds of random tables take a few seconds.
const rounds = 12

// writer is the session that the random tables are written in.
type writer struct{ conn *sql.Conn }

func (w writer) Exec(sql string) (int64, error) {
	result, err := w.conn.ExecContext(context.Background(), sql)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (w writer) Query(sql string) ([][]*string, error) {
	rows, err := w.conn.QueryContext(context.Background(), sql)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var list [][]*string
	for rows.Next() {
		row := make([]*string, len(columns))
		targets := make([]any, len(columns))
		for i := range row {
			targets[i] = &row[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		list = append(list, row)
	}
	return list, rows.Err()
}
