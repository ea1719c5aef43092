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
	dialects := map[string]conformance.Dialect{"mysql": conformance.MySQL(), "mariadb": conformance.MariaDB(), "mariadb118": conformance.MariaDB()}
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			shared := sharedServer(t, flavour)
			conformance.Run(t, dialects[flavour], func(t *testing.T, name string) conformance.Backend {
				s := shared
				if strings.HasPrefix(name, "behaviour") {
					s = ownServer(t, flavour, nil)
				}
				m := &capturetest.MySQL{MySQLServer: s.MySQLServer}
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
