package postgres

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
	"rowhook/capture/capturetest"
	"rowhook/capture/capturetest/oracle"
)

// TestRandomTables compares the rows of random tables, column by column, with what the server
// answers to SELECT. ROWHOOK_RANDOM_SEED begins with a round that failed, ROWHOOK_RANDOM_TIME goes
// on for a while.
func TestRandomTables(t *testing.T) {
	t.Parallel()
	for _, major := range capturetest.Majors() {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			// Vacuum of the catalog makes the server decode wrongly what follows an ALTER that was
			// rolled back to a savepoint, see findings/decoding-after-a-rolled-back-alter.sh.
			pg := startServer(t, capturetest.Options{Major: major, Settings: map[string]string{"autovacuum": "off"}})
			pg.Run(t, "select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
			sink := oracle.NewSink()
			source := newSource(t, pg.DSN)
			server, err := source.Identify(t.Context())
			capturetest.Must(t, err)
			runner := oracle.NewPostgres(t, writer{pg.Connect(t, pg.DSN)}, sink, server.Version)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			defer func() { cancel(); <-ended }()
			go func() {
				defer close(ended)
				sink.End(source.Run(ctx, capture.StartOptions{}, sink))
			}()
			runner.Run(rounds, 2*time.Minute)
		})
	}
}

// rounds of random tables take a second or two.
const rounds = 6

// writer is the session that the random tables are written in.
type writer struct{ conn *pgx.Conn }

func (w writer) Exec(sql string) (int64, error) {
	results, err := w.conn.PgConn().Exec(context.Background(), sql).ReadAll()
	if err != nil {
		return 0, err
	}
	return results[len(results)-1].CommandTag.RowsAffected(), nil
}

func (w writer) Query(sql string) ([][]*string, error) {
	results, err := w.conn.PgConn().Exec(context.Background(), sql).ReadAll()
	if err != nil {
		return nil, err
	}
	var list [][]*string
	for _, values := range results[0].Rows {
		row := make([]*string, len(values))
		for i, v := range values {
			if v != nil {
				text := string(v)
				row[i] = &text
			}
		}
		list = append(list, row)
	}
	return list, nil
}
