package postgres

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// countSink counts, and closes done at the last row.
type countSink struct {
	listSink
	rows, want int
	done       chan struct{}
}

func (s *countSink) Begin(*capture.Transaction) error { return nil }
func (s *countSink) Change(*capture.Change) error {
	if s.rows++; s.rows == s.want {
		close(s.done)
	}
	return nil
}
func (s *countSink) Message(*capture.Message) error    { return nil }
func (s *countSink) Park(u *capture.Undecoded) error   { return u.Err }
func (s *countSink) Commit(end capture.Position) error { return nil }
func (s *countSink) Idle(capture.Position) error       { return nil }
func (s *countSink) Busy() <-chan struct{}             { return nil }
func (s *countSink) Durable() capture.Position         { return "" }

const loansSQL = `create table loans (loan_id bigint primary key, item_id bigint, patron text, branch text, due_at timestamptz,
  fee numeric(10,2), status text, note text)`

const loanRow = `i, i * 7, 'patron ' || i, 'MAIN', '2026-11-22 01:02:03+00'::timestamptz + i * interval '1 minute', i / 100.0, 'OPEN', repeat('n', 60)`

// benchServer makes a slot with rows behind it, in transactions of a size.
func benchServer(b *testing.B, rows, perTransaction int) *capturetest.Postgres {
	pg := startServer(b, capturetest.Options{Settings: map[string]string{"shared_buffers": "128MB", "max_wal_size": "4GB"}},
		loansSQL)
	pg.Run(b, "select pg_create_logical_replication_slot('rowhook', 'pgoutput')", fmt.Sprintf(`do $$ begin
  for t in 0 .. %d loop
    insert into loans select %s from generate_series(t * %d + 1, (t + 1) * %d) i;
    commit;
  end loop; end $$`, rows/perTransaction-1, loanRow, perTransaction, perTransaction))
	return pg
}

// BenchmarkStream drains a slot through the source, beside a bare pglogrepl receive loop
// over the same slot, in rows per second and in CPU of this process.
func BenchmarkStream(b *testing.B) {
	for _, perTransaction := range []int{1, 1000} {
		const rows = 100_000
		pg := benchServer(b, rows, perTransaction)
		for _, network := range []string{"unix", "tcp"} {
			url := pg.DSN
			if network == "tcp" {
				url = pg.TCP("postgres", "postgres")
			}
			b.Run(fmt.Sprintf("%s/%d/floor", network, perTransaction), func(b *testing.B) {
				perRow(b, pg, rows, func() { drainBare(b, url, rows) })
			})
			b.Run(fmt.Sprintf("%s/%d/source", network, perTransaction), func(b *testing.B) {
				perRow(b, pg, rows, func() { drainSource(b, url, rows) })
			})
		}
	}
}

func perRow(b *testing.B, pg *capturetest.Postgres, rows int, drain func()) {
	b.ReportAllocs()
	before := cpu(b)
	for b.Loop() {
		drain()
		eventually(b, "the slot to be free", func() bool {
			return pg.Rows(b, "select active from pg_replication_slots")[0][0] == "f"
		})
	}
	b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N*rows), "cpu-ns/row")
	b.ReportMetric(float64(b.N*rows)/b.Elapsed().Seconds(), "rows/s")
}

// cpu is what this process has used of it, whatever else the machine does.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func drainSource(b *testing.B, url string, rows int) {
	s, err := New(capture.SourceConfig{URL: url}, Options{Logger: testLogger(b), AgentID: "bench"})
	capturetest.Must(b, err)
	defer s.Close()
	sink := &countSink{want: rows, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, capture.StartOptions{Start: "slot"}, sink) }()
	select {
	case <-sink.done:
	case err := <-ended:
		b.Fatal(err)
	}
	cancel()
	capturetest.Must(b, <-ended)
}

// drainBare is the least that a client of pglogrepl does.
func drainBare(b *testing.B, url string, rows int) {
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, url+"&replication=database")
	capturetest.Must(b, err)
	defer conn.Close(ctx)
	capturetest.Must(b, pglogrepl.StartReplication(ctx, conn, "rowhook", 0, pglogrepl.StartReplicationOptions{
		PluginArgs: []string{"proto_version '1'", "publication_names 'rowhook'"}}))
	deadline := time.Now().Add(time.Minute)
	for got := 0; got < rows; {
		ctx, cancel := context.WithDeadline(ctx, deadline)
		msg, err := conn.ReceiveMessage(ctx)
		cancel()
		capturetest.Must(b, err)
		data, ok := msg.(*pgproto3.CopyData)
		if !ok || data.Data[0] != pglogrepl.XLogDataByteID {
			continue
		}
		xld, err := pglogrepl.ParseXLogData(data.Data[1:])
		capturetest.Must(b, err)
		if xld.WALData[0] == 'I' {
			_, err := pglogrepl.Parse(xld.WALData)
			capturetest.Must(b, err)
			got++
		}
	}
}

// BenchmarkDecode turns a transaction's messages, as a server sent them, into rows.
func BenchmarkDecode(b *testing.B) {
	messages := record(b, 1000)
	sink := &countSink{}
	d := newDecoder(sink)
	size := 0
	for _, m := range messages {
		size += len(m)
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range messages {
			if err := d.message(m); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*1000), "ns/row")
}

// BenchmarkAppendJSON writes the rows of the same transaction as payloads.
func BenchmarkAppendJSON(b *testing.B) {
	rows := &jsonSink{}
	d := newDecoder(rows)
	messages := record(b, 1000)
	b.ReportAllocs()
	for b.Loop() {
		for _, m := range messages {
			if err := d.message(m); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*1000), "ns/row")
}

type jsonSink struct {
	countSink
	buf []byte
}

func (s *jsonSink) Change(c *capture.Change) error {
	s.buf = s.buf[:0]
	for i, v := range c.New {
		s.buf, _ = c.Table.Columns[i].Type.AppendJSON(s.buf, v.Text)
	}
	return nil
}

// record returns the messages of one transaction of so many rows.
func record(b *testing.B, rows int) [][]byte {
	pg := benchServer(b, rows, rows)
	out := pg.Rows(b, `select encode(data, 'hex') from pg_logical_slot_peek_binary_changes('rowhook', null, null,
		'proto_version', '1', 'publication_names', 'rowhook')`)
	var messages [][]byte
	for _, row := range out {
		m := make([]byte, 0, len(row[0])/2)
		for i := 0; i < len(row[0]); i += 2 {
			hi, _ := unhex(row[0][i])
			lo, _ := unhex(row[0][i+1])
			m = append(m, hi<<4|lo)
		}
		messages = append(messages, m)
	}
	// What came before the rows: transactions without any.
	for i, m := range messages {
		if m[0] == msgRelation {
			return append([][]byte{begin(1)}, messages[i:]...)
		}
	}
	b.Fatal("no rows recorded")
	return nil
}
