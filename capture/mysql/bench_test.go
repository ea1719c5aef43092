package mysql

import (
	"context"
	"fmt"
	"testing"
	"time"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"rowhook/capture"
)

// BenchmarkDecode streams inserts through the source's decoder, and through the library's own
// parser as the floor. Both take the same events from memory.
func BenchmarkDecode(b *testing.B) {
	events, bodies := recordEvents(b)
	b.Run("floor", func(b *testing.B) {
		for b.Loop() {
			p := replication.NewBinlogParser()
			p.SetFlavor(gomysql.MySQLFlavor)
			for _, e := range events {
				if _, err := p.Parse(e); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchRows), "ns/row")
	})
	b.Run("rowhook", func(b *testing.B) {
		for b.Loop() {
			d := decoder{sink: discard{}, at: place{mysql: mysqlSet{}}, tables: map[uint64]*tableMap{}, log: quiet(),
				wanted: func(string, string) bool { return true },
				describe: func(body []byte) (*tableMap, error) {
					return newTableMap(flavourMySQL, body, map[uint64]string{255: "utf8mb4"}, nil)
				}}
			for i, e := range events {
				h, _, _ := parseHeader(e)
				if err := d.event(h, bodies[i]); err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchRows), "ns/row")
	})
}

const benchRows = 100_000

type discard struct{}

func (discard) Begin(*capture.Transaction) error { return nil }
func (discard) Change(*capture.Change) error     { return nil }
func (discard) Message(*capture.Message) error   { return nil }
func (discard) Park(*capture.Undecoded) error    { return nil }
func (discard) Commit(capture.Position) error    { return nil }
func (discard) Abort()                           {}
func (discard) Idle(capture.Position) error      { return nil }
func (discard) Busy() <-chan struct{}            { return nil }
func (discard) Durable() capture.Position        { return "" }

// recordEvents takes the events of one large insert from a server, whole and as their bodies.
func recordEvents(b *testing.B) (events, bodies [][]byte) {
	s := ownServer(b, "mysql", nil)
	s.exec(b, "CREATE DATABASE lib", "CREATE TABLE lib.loans (id INT PRIMARY KEY, item BIGINT, status VARCHAR(20), fee DECIMAL(10,2), due DATETIME, title VARCHAR(200))")
	s.session(b, "SET SESSION cte_max_recursion_depth = 1000000", fmt.Sprintf(`INSERT INTO lib.loans WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
SELECT i, i * 1000, 'ON_LOAN', i / 100, '2026-11-22 01:02:03', REPEAT('title ', 20) FROM n`, benchRows))
	syncer := replication.NewBinlogSyncer(replication.BinlogSyncerConfig{ServerID: 77, Flavor: gomysql.MySQLFlavor, Host: "127.0.0.1", Port: uint16(s.Port), User: "root",
		RawModeEnabled: true, Logger: quiet()})
	defer syncer.Close()
	stream, err := syncer.StartSync(gomysql.Position{Name: "binlog.000001", Pos: 4})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
	defer cancel()
	rows := 0
	for {
		e, err := stream.GetEvent(ctx)
		if err != nil {
			b.Fatal(err)
		}
		if e.Header.EventType != replication.ROTATE_EVENT {
			_, body, _ := parseHeader(e.RawData)
			if generic, ok := e.Event.(*replication.GenericEvent); ok {
				body = generic.Data
			}
			events, bodies = append(events, e.RawData), append(bodies, body)
		}
		if e.Header.EventType == replication.WRITE_ROWS_EVENTv2 {
			rows++
		}
		if rows > 0 && e.Header.EventType == replication.XID_EVENT {
			return events, bodies
		}
	}
}
