package postgres

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"rowhook/capture"
	"rowhook/capture/capturetest"
	"rowhook/capture/capturetest/conformance"
)

func TestConformance(t *testing.T) {
	for _, major := range capturetest.Majors() {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			// Each scenario has a slot, and they run at once.
			slots := map[string]string{"max_replication_slots": "40", "max_wal_senders": "40"}
			shared := capturetest.StartPostgres(t, capturetest.Options{Major: major, Settings: slots})
			conformance.Run(t, dialect, func(t *testing.T, name string) conformance.Backend {
				pg := shared
				if strings.HasPrefix(name, "behaviour") {
					pg = capturetest.StartPostgres(t, capturetest.Options{Major: major})
				}
				return &backend{pg: pg, database: pg.Database(t, name)}
			})
		})
	}
}

var dialect = conformance.Dialect{
	Name:     "postgres",
	LongText: "text",
	Instant:  "timestamptz(6)",
	DateTime: "timestamp(6)",
	Bytes:    "bytea",
	JSON:     "jsonb",
	Hex:      func(digits string) string { return "decode('" + digits + "', 'hex')" },
	Complete: func(table string) string { return "alter table " + table + " replica identity full" },
	Message: func(content string) string {
		return "select pg_logical_emit_message(true, 'rowhook', " + quoteLiteral(content) + ")"
	},
	Prepared: func(id string) conformance.Prepared {
		id = quoteLiteral(id)
		return conformance.Prepared{
			Begin:    []string{"begin"},
			Prepare:  []string{"prepare transaction " + id},
			Commit:   []string{"commit prepared " + id},
			Rollback: []string{"rollback prepared " + id},
		}
	},
}

// backend is one database of a server, with a slot of its own name.
type backend struct {
	pg       *capturetest.Postgres
	database string
	source   *Source
}

func (b *backend) Session(t testing.TB) conformance.Session {
	return session{b.pg.Connect(t, b.pg.URL(b.database))}
}

func (b *backend) Prepare(t testing.TB, tables []string) {
	var err error
	b.source, err = New(capture.SourceConfig{URL: b.pg.URL(b.database), Slot: b.database}, Options{Logger: testLogger(t), AgentID: "test"})
	capturetest.Must(t, err)
	t.Cleanup(b.source.Close)
	capturetest.Must(t, b.pg.Exec(context.Background(), b.database,
		"create publication rowhook for table "+strings.Join(tables, ", "),
		fmt.Sprintf("select pg_create_logical_replication_slot('%s', 'pgoutput')", b.database)))
}

func (b *backend) Capture(ctx context.Context, sink capture.Sink) error {
	return b.source.Run(ctx, capture.StartOptions{Stored: sink.Durable(), Final: sink.Durable}, sink)
}

func (b *backend) Crash(t testing.TB) {
	capturetest.Must(t, b.pg.Crash())
	capturetest.Must(t, b.pg.Start())
}

type session struct{ conn *pgx.Conn }

func (s session) Close(t testing.TB) {
	t.Helper()
	capturetest.Must(t, s.conn.Close(context.Background()))
}

func (s session) Exec(t testing.TB, sql string) {
	t.Helper()
	_, err := s.conn.PgConn().Exec(context.Background(), sql).ReadAll()
	capturetest.Must(t, err)
}
