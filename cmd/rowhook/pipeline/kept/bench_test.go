package kept

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"syscall"
	"testing"

	"rowhook/capture"
	"rowhook/delivery/spool"
)

func cpu(b *testing.B) float64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return float64(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkChange has updates of a table of a million rows filled in: in no order, and among the rows
// that are hot; such as change a kept column, and such as do not. What it costs a table that is not
// kept is "other".
func BenchmarkChange(b *testing.B) {
	const rows = 1_000_000
	s, err := spool.Open(b.TempDir(), spool.Options{Reserve: -1, Keeps: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
	})
	st, err := Open(s, wanted, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	table, batch := testTable("1", capture.IdentityDefault), s.NewBatch()
	store := func() {
		st.Settle()
		batch.Commit("0/1")
		st.HandedOver(false)
		if err := s.Apply(batch); err != nil {
			b.Fatal(err)
		}
		st.Stored()
		batch.Reset()
	}
	st.Identify(batch, "7001")
	generation, err := st.Begin(batch, table)
	if err != nil {
		b.Fatal(err)
	}
	id := func(n int) string { return fmt.Sprintf("%07d", n) }
	for n := range rows {
		if ok, err := st.Read(batch, generation, table, wholeRow(id(n), row{"OUT", fmt.Sprintf("2026-11-22 01:%02d:%02d.%06d", n%60, n/60%60, n), ""})); !ok || err != nil {
			b.Fatal(ok, err)
		}
		if n%1000 == 999 {
			store()
		}
	}
	st.Loaded(batch, "app.loans", generation)
	store()
	other := testTable("1", capture.IdentityDefault)
	other.Name = "items"
	for _, bench := range []struct {
		name   string
		hot    int
		writes bool
		table  *capture.Table
	}{
		{"cold", rows, false, table}, {"hot", 1000, false, table}, {"hot, written", 1000, true, table}, {"other", 1000, false, other},
	} {
		b.Run(bench.name, func(b *testing.B) {
			rnd, n := rand.New(rand.NewPCG(1, 2)), 0
			old, now := keyRowOf(""), wholeRow("", row{})
			c := &capture.Change{Op: capture.Update, Table: bench.table, Old: old, New: now}
			keys := make([][]byte, 1<<16)
			for i := range keys {
				keys[i] = []byte(id(rnd.IntN(bench.hot)))
			}
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				key := keys[n%len(keys)]
				old[0].State, old[0].Text, now[0] = capture.Present, key, capture.Value{State: capture.Present, Text: key}
				now[1], now[2] = capture.Value{State: capture.Unchanged}, capture.Value{State: capture.Unchanged}
				if bench.writes {
					now[1] = capture.Value{State: capture.Present, Text: keys[(n+n/len(keys)+1)%len(keys)]}
				}
				got, err := st.Change(batch, c)
				if err != nil || bench.table == table && got.Old[2].State == capture.Unknown {
					b.Fatal("not known", err)
				}
				if n++; n%1000 == 0 {
					store()
				}
			}
			b.ReportMetric((cpu(b)-before)/float64(b.N), "cpu-ns/change")
		})
	}
}
