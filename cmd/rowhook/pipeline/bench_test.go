package pipeline

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"rowhook/capture"
)

// BenchmarkStore takes inserted rows of some 200 bytes from the source into the spool while the
// receiver is dead, in transactions of a size, and those that no rule wants.
func BenchmarkStore(b *testing.B) {
	for _, bb := range []struct {
		name string
		rows int // of a transaction
		op   capture.Op
	}{{"wanted", 1, capture.Insert}, {"wanted", 1000, capture.Insert}, {"no rule holds", 1, capture.Update}, {"no rule holds", 100, capture.Update}} {
		b.Run(fmt.Sprintf("%s/%d", bb.name, bb.rows), func(b *testing.B) {
			w := newPipelineWorld(b)
			w.start()
			change := capture.Change{Op: bb.op, Table: w.table, Raw: capture.Raw{Change: make([]byte, 200)}}
			tx := capture.Transaction{Position: "0/16B3748", Time: time.Now().UTC()}
			id := make([]byte, 0, 20)
			row := capture.Row{{State: capture.Present}, {State: capture.Present, Text: []byte(strings.Repeat("n", 160))}}
			if change.New = row; bb.op == capture.Update {
				change.Old = row
			}
			b.ReportAllocs()
			transactions, before := 0, processorTime(b)
			for b.Loop() {
				transactions++
				tx.ID, tx.Identity = strconv.Itoa(transactions), strconv.Itoa(-transactions)
				if err := w.pipe.Begin(&tx); err != nil {
					b.Fatal(err)
				}
				for i := range bb.rows {
					id = strconv.AppendInt(id[:0], int64(i), 10)
					row[0].Text, change.Ordinal = id, i
					if err := w.pipe.Change(&change); err != nil {
						b.Fatal(err)
					}
				}
				if err := w.pipe.Commit(capture.Position(tx.ID)); err != nil {
					b.Fatal(err)
				}
				if transactions%32 == 0 {
					w.pipe.Rest()
				}
				if busy := w.pipe.Busy(); busy != nil {
					<-busy
				}
			}
			w.pipe.Flush(b.Context())
			b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(transactions*bb.rows), "cpu-ns/row")
		})
	}
}

// BenchmarkTouch changes members, each of whom so many loans of a hundred thousand refer to: what a touched
// row costs, and what a change costs that touches none.
func BenchmarkTouch(b *testing.B) {
	for _, loans := range []int{1, 10, 1000} {
		b.Run(strconv.Itoa(loans), func(b *testing.B) {
			w := newTouchWorld(b, touchConfig)
			const all = 100_000
			var rows, members []string
			for n := range all {
				rows = append(rows, fmt.Sprint(n, " ", n%(all/loans)))
			}
			for n := range all / loans {
				members = append(members, fmt.Sprint(n, " Ann"))
			}
			w.load(w.members, members...)
			w.load(w.table, rows...)
			b.ReportAllocs()
			n, before := 0, processorTime(b)
			for b.Loop() {
				n++
				w.begin()
				must(b, w.rename(1, strconv.Itoa(n*7919%len(members)), fmt.Sprint("name ", n)))
				w.end()
				if busy := w.pipe.Busy(); busy != nil {
					<-busy
				}
			}
			w.pipe.Flush(b.Context())
			b.ReportMetric(float64((processorTime(b)-before).Nanoseconds())/float64(n*loans), "cpu-ns/row")
		})
	}
}

// processorTime is what this process has used, whatever else the machine does.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
