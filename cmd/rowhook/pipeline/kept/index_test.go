package kept

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"rowhook/capture"
	"rowhook/delivery/spool"
)

// lines is a table whose key has two columns, of which the first is that of an order.
func lines() *capture.Table {
	integer, text := &capture.Type{Name: "bigint", Kind: capture.Bigint}, &capture.Type{Name: "text", Kind: capture.Text}
	return &capture.Table{Schema: "app", Name: "loans", Key: []int{0, 1}, Identity: capture.IdentityDefault, Columns: []capture.Column{
		{Name: "order_id", Type: integer, Number: 1, Identity: true}, {Name: "line", Type: integer, Number: 2, Identity: true},
		{Name: "shelf", Type: text, Number: 3}, {Name: "note", Type: text, Number: 4},
	}}
}

func line(order, n, shelf, note string) capture.Row {
	return capture.Row{value(order), value(n), value(shelf), value(note)}
}

// lineStore keeps lines by their order, and by shelf and order.
func lineStore(t *testing.T, table *capture.Table, rows ...capture.Row) (*Store, *spool.Batch) {
	t.Helper()
	s := openSpool(t)
	st, err := Open(s, []Want{{Table: "app.loans", Columns: []string{"note", "shelf"}, By: [][]string{{"order_id"}, {"shelf", "order_id"}, {"none"}}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	st.Identify(b, "7001")
	generation, err := st.Begin(b, table)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if ok, err := st.Read(b, generation, table, r); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	st.Loaded(b, "app.loans", generation)
	st.Settle()
	return st, b
}

// parts tells the lines that are found.
func parts(t *testing.T, st *Store, table *capture.Table, by []int, row capture.Row, most int) string {
	t.Helper()
	var list []string
	more, known, err := st.Parts(table, by, row, most, func(r capture.Row) bool {
		var columns []string
		for _, v := range r {
			columns = append(columns, map[capture.State]string{capture.Unknown: "?", capture.Null: "null", capture.Present: string(v.Text)}[v.State])
		}
		list = append(list, strings.Join(columns, ":"))
		return len(list) < 20
	})
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case !known:
		return "unknown"
	case more:
		list = append(list, "more")
	}
	return strings.Join(list, " ")
}

func TestParts(t *testing.T) {
	t.Parallel()
	table := lines()
	st, b := lineStore(t, table,
		line("7", "10", "A", "ten"), line("7", "9", "A", ""), line("7", "-1", "B", "minus"), line("8", "1", "", "eight"), line("70", "1", "A", ""))
	order, shelf := []int{0}, []int{2, 0}
	both := func(shelf, order string) capture.Row { return line(order, "", shelf, "") }
	check := func(by []int, row capture.Row, most int, want string) {
		t.Helper()
		if got := parts(t, st, table, by, row, most); got != want {
			t.Errorf("lines by %v of %q %q: %s, want %s", by, row[0].Text, row[2].Text, got, want)
		}
	}
	change := func(c capture.Change) {
		t.Helper()
		c.Table = table
		if _, err := st.Change(b, &c); err != nil {
			t.Fatal(err)
		}
	}
	check(order, both("", "7"), 9, "7:-1:B:minus 7:9:A:null 7:10:A:ten")
	check(order, both("", "7"), 3, "7:-1:B:minus 7:9:A:null 7:10:A:ten")
	check(order, both("", "7"), 2, "7:-1:B:minus 7:9:A:null more")
	check(order, both("", "9"), 2, "")
	check(order, both("", ""), 2, "unknown")
	check(shelf, both("A", "7"), 9, "7:9:A:null 7:10:A:ten")
	check(shelf, both("A", "8"), 9, "")
	check([]int{1}, both("A", "7"), 9, "unknown")

	change(capture.Change{Op: capture.Update, Old: line("7", "9", "", ""), New: line("8", "2", "A", "moved")})
	check(order, both("", "7"), 9, "7:-1:B:minus 7:10:A:ten")
	check(order, both("", "8"), 9, "8:1:null:eight 8:2:A:moved")
	check(shelf, both("A", "8"), 9, "8:2:A:moved")

	// A row that does not tell its shelf may stand on any.
	st.Settle()
	change(capture.Change{Op: capture.Insert, New: capture.Row{value("9"), value("1"), {}, value("x")}})
	check(shelf, both("A", "8"), 9, "unknown")
	check(order, both("", "9"), 9, "9:1:?:x")
	st.Abort()
	check(shelf, both("A", "8"), 9, "8:2:A:moved")
	change(capture.Change{Op: capture.Insert, New: capture.Row{value("9"), value("1"), {}, value("x")}})
	st.Settle()
	check(shelf, both("A", "8"), 9, "unknown")
	change(capture.Change{Op: capture.Update, Old: capture.Row{value("9"), value("1"), {}, {}}, New: line("9", "1", "C", "x")})
	check(shelf, both("A", "8"), 9, "8:2:A:moved")
	check(shelf, both("C", "9"), 9, "9:1:C:x")

	change(capture.Change{Op: capture.Delete, Old: capture.Row{value("7"), value("10"), {}, {}}})
	check(shelf, both("A", "7"), 9, "")
	for n := range 30 {
		change(capture.Change{Op: capture.Insert, New: line("5", fmt.Sprint(n), "D", "")})
	}
	if got := parts(t, st, table, order, both("", "5"), 1000); !strings.HasSuffix(got, " 5:18:D:null 5:19:D:null more") {
		t.Errorf("told to stop: %s", got)
	}
	change(capture.Change{Op: capture.Truncate})
	check(order, both("", "8"), 9, "")
	st.Doubt(b, "", "test")
	check(order, both("", "8"), 9, "unknown")
}

// Another choice of indexes has the rows read again, since the entries that there are say nothing of it.
func TestPartsByOthers(t *testing.T) {
	t.Parallel()
	table := lines()
	st, b := lineStore(t, table, line("7", "1", "A", ""))
	wants := func(by ...[]string) []Want {
		return []Want{{Table: "app.loans", Columns: []string{"note", "shelf"}, By: by}}
	}
	st.Configure(b, wants([]string{"shelf", "order_id"}))
	if got := parts(t, st, table, []int{2, 0}, line("7", "", "A", ""), 9); got != "unknown" {
		t.Errorf("by other columns: %s", got)
	}
	if view := st.Tables(); view[0].Loaded || view[0].Generation != 0 {
		t.Errorf("not to be read again: %+v", view)
	}
	st.Configure(b, wants([]string{"order_id"}, []string{"shelf", "order_id"}, []string{"none"}))
	if got := parts(t, st, table, []int{2, 0}, line("7", "", "A", ""), 9); got != "7:1:A:null" {
		t.Errorf("by the same as before: %s", got)
	}
	st.Configure(b, wants([]string{"order_id"}))
	if _, err := st.Change(b, &capture.Change{Op: capture.Insert, Table: table, New: line("7", "2", "A", "")}); err != nil {
		t.Fatal(err)
	}
	st.Configure(b, wants([]string{"order_id"}, []string{"shelf", "order_id"}, []string{"none"}))
	if got := parts(t, st, table, []int{2, 0}, line("7", "", "A", ""), 9); got != "unknown" {
		t.Errorf("behind a change that was not entered: %s", got)
	}
}

// TestSorted: what keys become in an index has the order of the numbers, or of the bytes of texts, and
// gives back what it was made of.
func TestSorted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		number := func() (string, float64) {
			text := rapid.StringMatching(`-?(0|[1-9][0-9]{0,12})(\.[0-9]{1,3})?`).
				Filter(func(text string) bool { return strings.Trim(text, "0.") != "-" }). // which no server writes
				Draw(t, "number")
			size, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			return text, size
		}
		a, sizeOfA := number()
		b, sizeOfB := number()
		inA, inB := AppendSorted(nil, capture.Decimal, []byte(a)), AppendSorted(nil, capture.Decimal, []byte(b))
		if sizeOfA != sizeOfB && bytes.Compare(inA, inB) != cmp.Compare(sizeOfA, sizeOfB) {
			t.Fatalf("%s is %x, %s is %x", a, inA, b, inB)
		}
		x, y := rapid.SliceOf(rapid.SampledFrom([]byte{0, 1, 0xff, 'a'})).Draw(t, "x"), rapid.SliceOf(rapid.SampledFrom([]byte{0, 1, 0xff, 'a'})).Draw(t, "y")
		if bytes.Compare(AppendSorted(nil, capture.Text, x), AppendSorted(nil, capture.Text, y)) != bytes.Compare(x, y) {
			t.Fatalf("%x and %x are in another order", x, y)
		}
		entry := inA
		for _, text := range [][]byte{x, []byte(b), y} {
			entry = AppendSorted(entry, rapid.SampledFrom([]capture.Kind{capture.Bigint, capture.Text}).Draw(t, "kind"), text)
		}
		for _, want := range [][]byte{[]byte(a), x, []byte(b), y} {
			text, rest, ok := cutSorted(entry)
			if !ok || !bytes.Equal(text, want) {
				t.Fatalf("%q of %x, want %q", text, entry, want)
			}
			entry = rest
		}
	})
}

func FuzzSorted(f *testing.F) {
	for _, text := range []string{"12", "-12.50", "0", "-0", "012", "a\x00b", ""} {
		f.Add(AppendSorted(nil, capture.Decimal, []byte(text)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		text, rest, ok := cutSorted(b)
		if !ok {
			return
		}
		kind := capture.Text
		if b[0] != sortedText {
			kind = capture.Decimal
		}
		if again := append(AppendSorted(nil, kind, text), rest...); !bytes.Equal(again, b) {
			t.Errorf("%x is %q and %x", b, text, again)
		}
	})
}

// ownCPU is what this thread has taken.
func ownCPU(b *testing.B) float64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(1, &usage); err != nil { // RUSAGE_THREAD
		b.Fatal(err)
	}
	return float64(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkParts finds 1, 10 or 100 of a million rows by a column that is not their key: of parents in no
// order at all, and of a hundred whose rows are in the cache.
func BenchmarkParts(b *testing.B) {
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
	text := &capture.Type{Name: "text", Kind: capture.Text}
	table := &capture.Table{Schema: "app", Name: "fines", Key: []int{0}, Identity: capture.IdentityDefault, Columns: []capture.Column{
		{Name: "fine_id", Type: &capture.Type{Name: "bigint", Kind: capture.Bigint}, Number: 1, Identity: true},
		{Name: "a", Type: text, Number: 2}, {Name: "b", Type: text, Number: 3}, {Name: "c", Type: text, Number: 4}, {Name: "reason", Type: text, Number: 5},
	}}
	st, err := Open(s, []Want{{Table: "app.fines", Columns: []string{"a", "b", "c", "reason"}, By: [][]string{{"a"}, {"b"}, {"c"}}}}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	batch := s.NewBatch()
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
	of := func(n, children int) string { return fmt.Sprint((n * 7919) % (rows / children)) } // siblings are far from each other
	for n := range rows {
		r := capture.Row{value(fmt.Sprint(n)), value(of(n, 1)), value(of(n, 10)), value(of(n, 100)), value(fmt.Sprintf("overdue since %d", n))}
		if ok, err := st.Read(batch, generation, table, r); !ok || err != nil {
			b.Fatal(ok, err)
		}
		if n%1000 == 999 {
			store()
		}
	}
	st.Loaded(batch, "app.fines", generation)
	store()
	for col, children := range []int{1, 10, 100} {
		for _, parents := range []int{rows / children, 100} {
			name := fmt.Sprintf("%d, cold", children)
			if parents == 100 {
				name = fmt.Sprintf("%d, hot", children)
			}
			b.Run(name, func(b *testing.B) {
				rnd, row := rand.New(rand.NewPCG(1, 2)), make(capture.Row, len(table.Columns))
				by := []int{col + 1}
				keys := make([][]byte, 1<<12)
				for i := range keys {
					keys[i] = []byte(fmt.Sprint(rnd.IntN(parents)))
				}
				n, found := 0, 0
				b.ReportAllocs()
				runtime.LockOSThread() // the store may still be putting its files in order, on threads of its own
				defer runtime.UnlockOSThread()
				before := ownCPU(b)
				for b.Loop() {
					row[col+1] = capture.Value{State: capture.Present, Text: keys[n%len(keys)]}
					n++
					_, known, err := st.Parts(table, by, row, 1000, func(capture.Row) bool { found++; return true })
					if err != nil || !known {
						b.Fatal("not known", err)
					}
				}
				b.ReportMetric((ownCPU(b)-before)/float64(b.N), "cpu-ns/list")
				if found != n*children {
					b.Errorf("%d lists of %d rows", n, found)
				}
			})
		}
	}
}
