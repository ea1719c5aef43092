package mysql

import (
	"context"
	"hash/fnv"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
	"rowhook/capture/capturetest/conformance"
)

// The same workload gives the same transactions as on PostgreSQL.
func TestConformance(t *testing.T) {
	for _, server := range []struct {
		dialect conformance.Dialect
		start   func(capturetest.TB, capturetest.MySQLOptions) *capturetest.MySQL
	}{
		{conformance.MySQL(), capturetest.StartMySQL},
		{conformance.MariaDB(), capturetest.StartMariaDB},
	} {
		t.Run(server.dialect.Name, func(t *testing.T) {
			t.Parallel()
			shared := server.start(t, capturetest.MySQLOptions{})
			conformance.Run(t, server.dialect, func(t *testing.T, name string) conformance.Backend {
				m := shared
				if strings.HasPrefix(name, "behaviour") {
					m = server.start(t, capturetest.MySQLOptions{})
				}
				return &backend{m: m, database: m.Database(t, name)}
			})
		})
	}
}

// backend is one database of a server.
type backend struct {
	m        *capturetest.MySQL
	database string
	source   *Source
	start    capture.Position
}

func (b *backend) Session(t testing.TB) conformance.Session {
	return conformance.SQLSession(b.m.Connect(t, b.database))
}

// Prepare makes the source, which begins where the server is now. The stream is the whole server's.
func (b *backend) Prepare(t testing.TB, tables []string) {
	id := fnv.New32a()
	id.Write([]byte(b.database))
	var err error
	b.source, err = New(capture.SourceConfig{URL: b.m.URL(b.database), Name: b.database}, Options{
		Logger: slog.New(slog.DiscardHandler), AgentID: "test", ServerID: id.Sum32()%100_000 + 1_000_000,
		Wanted: func(schema, table string) bool { return schema == b.database && slices.Contains(tables, table) },
	})
	capturetest.Must(t, err)
	t.Cleanup(b.source.Close)
	server, err := b.source.Identify(context.Background())
	capturetest.Must(t, err)
	b.start = server.End
}

func (b *backend) Capture(ctx context.Context, sink capture.Sink) error {
	stored := sink.Durable()
	if stored == "" {
		stored = b.start
	}
	return b.source.Run(ctx, capture.StartOptions{Stored: stored, Final: sink.Durable}, sink)
}

func (b *backend) Crash(t testing.TB) {
	capturetest.Must(t, b.m.Crash())
	capturetest.Must(t, b.m.Start())
}
