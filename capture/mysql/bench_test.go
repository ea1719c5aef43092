package mysql

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"
	"github.com/go-mysql-org/go-mysql/replication"

	"rowhook/capture"
)

// BenchmarkDecode takes inserts and full updates through the source's decoder, and through the
// library's own parser as the floor. Both take the same events from memory; the floor leaves the
// values as they are.
func BenchmarkDecode(b *testing.B) {
	inserts, updates := recordEvents(b)
	for _, kind := range []struct {
		name   string
		events recorded
	}{{"insert", inserts}, {"update", updates}} {
		var floor, ours float64
		b.Run(kind.name+"/floor", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := replication.NewBinlogParser()
				p.SetFlavor(gomysql.MySQLFlavor)
				for _, e := range kind.events.whole {
					if _, err := p.Parse(e); err != nil {
						b.Fatal(err)
					}
				}
			}
			floor = perRow(b)
		})
		b.Run(kind.name+"/rowhook", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				kind.events.decode(b)
			}
			ours = perRow(b)
			if floor > 0 {
				b.ReportMetric(ours/floor, "of-floor")
			}
		})
	}
}

func perRow(b *testing.B) float64 {
	ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N*benchRows)
	b.ReportMetric(ns, "ns/row")
	return ns
}

// recorded are events as they came, and their bodies.
type recorded struct{ whole, bodies [][]byte }

func (r *recorded) decode(b *testing.B) {
	d := decoder{sink: discard{}, at: place{mysql: mysqlSet{}}, log: quiet(),
		wanted: func(string, string) bool { return true },
		describe: func(body []byte, _ question) (*tableMap, error) {
			return newTableMap(flavourMySQL, body, &charsets{names: map[uint64]string{255: "utf8mb4"}}, nil)
		}}
	for i, e := range r.whole {
		h, _, _ := parseHeader(e)
		if err := d.event(h, r.bodies[i]); err != nil {
			b.Fatal(err)
		}
	}
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

// recordEvents takes the events of one large insert and one large update from a server.
func recordEvents(b *testing.B) (inserts, updates recorded) {
	s := ownServer(b, "mysql", nil)
	s.exec(b, "CREATE DATABASE lib", "CREATE TABLE lib.loans (id INT PRIMARY KEY, item BIGINT, status VARCHAR(20), fee DECIMAL(10,2), due DATETIME, title VARCHAR(200))")
	s.session(b, "SET SESSION cte_max_recursion_depth = 1000000", fmt.Sprintf(`INSERT INTO lib.loans WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
SELECT i, i * 1000, 'ON_LOAN', i / 100, '2026-11-22 01:02:03', REPEAT('title ', 20) FROM n`, benchRows), "UPDATE lib.loans SET status = 'RETURNED'")
	first := place{file: filePlace{name: "binlog.000001", offset: 4}}
	d, err := newTestSource(b, s, "lib").openDump(b.Context(), host{"127.0.0.1", uint16(s.Port)}, request{serverID: 77, from: &first})
	if err != nil {
		b.Fatal(err)
	}
	defer d.close()
	into, rows := &inserts, 0
	for {
		h, err := d.next()
		if err != nil {
			b.Fatal(err)
		}
		body, err := d.body(h)
		if err != nil {
			b.Fatal(err)
		}
		kind := replication.EventType(h.kind)
		if kind == replication.ROTATE_EVENT {
			continue
		}
		if kind == replication.FORMAT_DESCRIPTION_EVENT { // it says that no event has a checksum, and has one itself
			body[len(body)-1] = byte(replication.BINLOG_CHECKSUM_ALG_OFF)
			body = append(bytes.Clone(body), 0, 0, 0, 0)
		}
		// Without the checksum, whose size the head says.
		head := d.head
		binary.LittleEndian.PutUint32(head[9:], uint32(headerSize+len(body)))
		into.whole, into.bodies = append(into.whole, slices.Concat(head[:], body)), append(into.bodies, bytes.Clone(body))
		if opOf(kind) != 0 {
			rows++
		}
		if kind == replication.XID_EVENT && rows > 0 {
			if into == &updates {
				return inserts, updates
			}
			into, rows = &updates, 0
			updates = recorded{inserts.whole[:1:1], inserts.bodies[:1:1]} // the file's format
		}
	}
}

// BenchmarkPosition writes the position behind a transaction, which is done for each.
func BenchmarkPosition(b *testing.B) {
	for _, text := range []capture.Position{
		"gtid:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77 at:binlog.000003:120",
		"mariadb:0-1-77 at:binlog.000003:120",
	} {
		p, err := parsePlace(text)
		if err != nil {
			b.Fatal(err)
		}
		name, _, _ := strings.Cut(string(text), ":")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if got := p.position(); got != text {
					b.Fatalf("%q became %q", text, got)
				}
			}
		})
	}
}
