package spool

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"pgregory.net/rapid"
)

// keptRows returns all kept rows, as "key=row", as of what was applied or of the last commit.
func keptRows(t errorer, s *Spool, before bool) map[string]string {
	get := s.Kept
	rows := map[string]string{}
	err := s.KeptRange(nil, nil, func(key, row []byte) (bool, error) {
		rows[string(key)] = string(row)
		return true, nil
	})
	if before { // those of nobody in particular, as these tests write them
		get = func(key, dst []byte) ([]byte, bool, error) {
			if of, ok, err := s.KeptBefore(key, dst, 1); err != nil {
				return of, ok, err
			} else if now, there, err := s.Kept(key, dst); err != nil || ok != there || string(of) != string(now) {
				return nil, false, fmt.Errorf("another transaction's undo is taken: %q, not %q: %w", of, now, err)
			}
			return s.KeptBefore(key, dst, 2, 0)
		}
		err = errors.Join(err, s.scan([]byte{prefixUndo}, []byte{prefixUndo + 1}, func(key, value []byte) (bool, error) {
			_, row, was, err := decodeUndo(value)
			if delete(rows, string(key[1:])); was {
				rows[string(key[1:])] = string(row)
			}
			return true, err
		}))
		err = errors.Join(err, scansBefore(s, rows))
	}
	if err != nil {
		t.Fatalf("scan: %v", err)
	}
	for key, want := range rows {
		if row, ok, err := get([]byte(key), []byte("x")); err != nil || !ok || string(row) != "x"+want {
			t.Fatalf("%s is %q, %t, %v; by a scan %q", key, row, ok, err, want)
		}
	}
	if row, ok, err := get([]byte("none"), nil); err != nil || ok || row != nil {
		t.Fatalf("a row that nobody kept is %q, %t, %v", row, ok, err)
	}
	return rows
}

// scansBefore holds scans without a transaction's own to the rows as they were, and scans without
// another one's to those that are there.
func scansBefore(s *Spool, rows map[string]string) error {
	into := func(list *[]string) func(key, row []byte) (bool, error) {
		return func(key, row []byte) (bool, error) {
			*list = append(*list, string(key)+"="+string(row))
			return true, nil
		}
	}
	var before, after, other, some, want []string
	err := errors.Join(s.KeptRangeBefore(nil, nil, []uint64{2, 0}, into(&before)), s.KeptRange(nil, nil, into(&after)),
		s.KeptRangeBefore(nil, nil, []uint64{1}, into(&other)), s.KeptRangeBefore([]byte("b"), []byte("d"), []uint64{0}, into(&some)))
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		want = append(want, key+"="+rows[key])
	}
	within := slices.DeleteFunc(slices.Clone(want), func(row string) bool { return row < "b" || row >= "d" })
	if !slices.Equal(before, want) || !slices.Equal(other, after) || !slices.Equal(some, within) {
		err = errors.Join(err, fmt.Errorf("scans before: %q, want %q; of another: %q, want %q; b to d: %q, want %q", before, want, other, after, some, within))
	}
	return err
}

type errorer interface {
	Fatalf(format string, args ...any)
}

func apply(t errorer, s *Spool, position string, changes ...string) {
	b := s.NewBatch()
	fillBatch(b, changes)
	if position != "" {
		b.Commit(position)
	}
	if err := s.Apply(b); err != nil {
		t.Fatalf("apply: %v", err)
	}
}

// fillBatch takes "key=row" for a row that is kept and "-key" for one that is forgotten.
func fillBatch(b *Batch, changes []string) {
	for _, c := range changes {
		if key, gone := strings.CutPrefix(c, "-"); gone {
			b.Forget([]byte(key))
			continue
		}
		key, row, _ := strings.Cut(c, "=")
		b.Keep([]byte(key), []byte(row))
	}
}

func wantKept(t errorer, s *Spool, before bool, want ...string) {
	rows := keptRows(t, s, before)
	var got []string
	for _, key := range slices.Sorted(maps.Keys(rows)) {
		got = append(got, key+"="+rows[key])
	}
	if !slices.Equal(got, want) {
		t.Fatalf("kept (before: %t) %q, want %q", before, got, want)
	}
}

// TestKept follows rows through the parts of a transaction: its end keeps them, an abort puts back
// what stood there before the first part, however often it was overwritten.
func TestKept(t *testing.T) {
	t.Parallel()
	s := setup(t)
	apply(t, s, "p1", "a=1", "b=1", "c=1")
	wantKept(t, s, false, "a=1", "b=1", "c=1")
	apply(t, s, "", "a=2", "-b", "d=2")
	apply(t, s, "", "a=3", "b=3", "e=3", "-e")
	wantKept(t, s, false, "a=3", "b=3", "c=1", "d=2")
	wantKept(t, s, true, "a=1", "b=1", "c=1")
	if err := s.Abort(); err != nil {
		t.Fatal(err)
	}
	wantKept(t, s, false, "a=1", "b=1", "c=1")
	wantKept(t, s, true, "a=1", "b=1", "c=1")

	// A batch ends one transaction and begins the next, whose undo is what the first one left.
	apply(t, s, "", "a=4")
	b := s.NewBatch()
	fillBatch(b, []string{"a=5", "-c", "f=5"})
	b.Commit("p2")
	fillBatch(b, []string{"a=6", "c=6", "f=6", "-b"})
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	wantKept(t, s, false, "a=6", "c=6", "f=6")
	wantKept(t, s, true, "a=5", "b=1", "f=5")
	if err := s.Abort(); err != nil {
		t.Fatal(err)
	}
	wantKept(t, s, false, "a=5", "b=1", "f=5")

	// What is rolled back in the batch was never there.
	b.Reset()
	fillBatch(b, []string{"a=7"})
	b.Commit("p3")
	fillBatch(b, []string{"a=8", "b=8"})
	b.Rollback()
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	wantKept(t, s, false, "a=7", "b=1", "f=5")
	if err := s.ForgetKept([]byte("b"), nil); err != nil {
		t.Fatal(err)
	}
	wantKept(t, s, false, "a=7")
}

// keptModel is what a correct store keeps, beside the real one.
type keptModel struct {
	files     *vfs.MemFS
	s         *Spool
	committed map[string]string
	open      map[string]string
	parts     bool
	at        map[string]map[string]string // by position
	n         int
}

func (m *keptModel) reopen(t *rapid.T) {
	s, err := Open(memDir, Options{FS: m.files, Reserve: -1, Sync: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	m.s = s
}

func (m *keptModel) Apply(t *rapid.T) {
	b := m.s.NewBatch()
	change := func(rows map[string]string) {
		for range rapid.IntRange(0, 4).Draw(t, "rows") {
			key := rapid.SampledFrom([]string{"a", "b", "ba", "c", "d"}).Draw(t, "key")
			m.n++
			if rapid.IntRange(0, 3).Draw(t, "forget") == 0 {
				b.Forget([]byte(key))
				delete(rows, key)
			} else {
				rows[key] = fmt.Sprint(m.n)
				b.Keep([]byte(key), []byte(rows[key]))
			}
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "commits") {
		change(m.open)
		if rapid.IntRange(0, 3).Draw(t, "event") == 0 {
			b.Add(testEvent(m.n), nil)
		}
		m.n++
		position := fmt.Sprint("p", m.n)
		b.Commit(position)
		m.committed = maps.Clone(m.open)
		m.at[position] = m.committed
		m.parts = false
	}
	before := maps.Clone(m.open)
	change(m.open)
	if rapid.Bool().Draw(t, "rollback") && !m.parts {
		b.Rollback()
		m.open = before
	}
	if err := m.s.Apply(b); err != nil {
		t.Fatal(err)
	}
	m.parts = m.parts || !maps.Equal(m.open, before)
}

func (m *keptModel) Abort(t *rapid.T) {
	if err := m.s.Abort(); err != nil {
		t.Fatal(err)
	}
	m.open, m.parts = maps.Clone(m.committed), false
}

func (m *keptModel) Reopen(t *rapid.T) {
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	m.reopen(t)
	m.open, m.parts = maps.Clone(m.committed), false
}

// Crash leaves any of the commits, but no earlier one than was synced.
func (m *keptModel) Crash(t *rapid.T) {
	rng := newRand(rapid.Uint64().Draw(t, "seed"))
	durable := m.s.Durable()
	left := m.files.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "percent"), RNG: rng})
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	m.files = left
	m.reopen(t)
	position := m.s.Position()
	var from, to int
	fmt.Sscanf(durable, "p%d", &from)
	fmt.Sscanf(position, "p%d", &to)
	if to < from {
		t.Fatalf("position %q is before %q, which was synced", position, durable)
	}
	m.committed = m.at[position]
	m.open, m.parts = maps.Clone(m.committed), false
}

func (m *keptModel) Check(t *rapid.T) {
	if got := keptRows(t, m.s, false); !maps.Equal(got, m.open) {
		t.Fatalf("kept %v, want %v", got, m.open)
	}
	if got := keptRows(t, m.s, true); !maps.Equal(got, m.committed) {
		t.Fatalf("kept before %v, want %v", got, m.committed)
	}
}

// TestKeptModel has random transactions, in parts and several in a batch, aborted, crashed and
// reopened: kept rows are always as of the position that the store is at.
func TestKeptModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &keptModel{files: vfs.NewCrashableMem(), committed: map[string]string{}, open: map[string]string{}, at: map[string]map[string]string{"": {}}}
		m.reopen(t)
		defer func() {
			if err := m.s.Close(); err != nil {
				t.Error(err)
			}
		}()
		t.Repeat(map[string]func(*rapid.T){"apply": m.Apply, "abort": m.Abort, "reopen": m.Reopen, "crash": m.Crash, "": m.Check})
	})
}

// TestKeptUndoIsKilled has the process end at each write of an abort with many undo records: the
// next opening puts back what is left of them.
func TestKeptUndoIsKilled(t *testing.T) {
	t.Parallel()
	disk := vfs.NewCrashableMem()
	var left []*vfs.MemFS
	var watching atomic.Bool
	var mu sync.Mutex // the store writes on several goroutines
	writes := 0
	files := faulty(disk, func(op errorfs.Op) error {
		if !watching.Load() || op.Kind != errorfs.OpFileWrite {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		if writes++; writes%4 == 0 && len(left) < 20 {
			left = append(left, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newRand(uint64(len(left)))}))
		}
		return nil
	})
	s := openSpool(t, memDir, memOptions(t, files))
	const rows = 300
	row := strings.Repeat("x", 8<<10) // two chunks and more
	var before, parts []string
	for i := range rows {
		before = append(before, fmt.Sprintf("k%03d=%s", i, row))
		parts = append(parts, fmt.Sprintf("k%03d=part", i), fmt.Sprintf("n%03d=new", i))
	}
	apply(t, s, "p1", before...)
	apply(t, s, "", parts...)
	flush(t, s)
	watching.Store(true)
	if err := s.Abort(); err != nil {
		t.Fatal(err)
	}
	watching.Store(false)
	mu.Lock()
	looked := left
	mu.Unlock()
	if len(looked) < 3 {
		t.Fatalf("%d writes are looked at", len(looked))
	}
	wantKept(t, s, false, before...)
	for _, files := range looked {
		after, err := Open(memDir, memOptions(t, files))
		if err != nil {
			t.Fatal(err)
		}
		wantKept(t, after, false, before...)
		if err := after.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzUndo(f *testing.F) {
	f.Add(encodeUndo(300, []byte("row"), true))
	f.Add(encodeUndo(1, nil, false))
	f.Fuzz(func(t *testing.T, b []byte) {
		transaction, row, was, err := decodeUndo(b)
		if err != nil {
			if !errors.Is(err, errMalformed) && !errors.As(err, new(*VersionError)) {
				t.Fatal(err)
			}
			return
		}
		again := encodeUndo(transaction, row, was)
		if transaction2, row2, was2, err := decodeUndo(again); err != nil || transaction2 != transaction || string(row2) != string(row) || was2 != was {
			t.Errorf("%x is written as %x: %v", b, again, err)
		}
	})
}

// BenchmarkKept looks rows up among a million, in no order and among the few that are hot, and keeps
// them as a stream of single updates does.
func BenchmarkKept(b *testing.B) {
	const rows = 1_000_000
	o := testOptions(b)
	o.Keeps = true
	s := openSpool(b, benchDir(b), o)
	key := func(dst []byte, n uint64) []byte { return fmt.Appendf(dst, "\x01\x00\x00\x00\x01%010d", n) }
	// About 50 bytes that differ from row to row, as columns of times, states and names do.
	row := func(dst []byte, n uint64) []byte {
		n *= 0x9e3779b97f4a7c15
		return fmt.Appendf(dst, "\x01\x1a2026-11-%02d %02d:%02d:%02d.%06d\x03OUT\x0c%012x", n%30, n>>8%24, n>>16%60, n>>24%60, n>>32%1e6, n>>16)
	}
	batch := s.NewBatch()
	for i := range uint64(rows) {
		batch.Keep(key(nil, i), row(nil, i))
		if i%1000 == 999 {
			batch.Commit("0/16B3748")
			if err := s.Apply(batch); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
	flush(b, s)
	if err := s.db.Flush(); err != nil {
		b.Fatal(err)
	}
	size, err := s.KeptSize(nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, hot := range []uint64{rows, 1000} {
		b.Run(fmt.Sprintf("get/rows=%d", hot), func(b *testing.B) {
			rng, buf, k := newRand(1), []byte(nil), []byte(nil)
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				k = key(k[:0], rng.Uint64N(hot))
				var ok bool
				var err error
				if buf, ok, err = s.Kept(k, buf[:0]); err != nil || !ok {
					b.Fatal(ok, err)
				}
			}
			b.ReportMetric((cpu(b)-before)/float64(b.N), "cpu-ns/row")
			b.ReportMetric(float64(size)/rows, "disk-bytes/row")
			b.ReportMetric(resident(b)/(1<<20), "MiB-resident")
		})
	}
	b.Run("absent", func(b *testing.B) {
		rng, k := newRand(1), []byte(nil)
		before := cpu(b)
		for b.Loop() {
			k = append(key(k[:0], rng.Uint64N(rows)), 'x')
			if _, ok, err := s.Kept(k, nil); err != nil || ok {
				b.Fatal(ok, err)
			}
		}
		b.ReportMetric((cpu(b)-before)/float64(b.N), "cpu-ns/row")
	})
	for _, parts := range []bool{false, true} {
		b.Run(fmt.Sprintf("keep/parts=%t", parts), func(b *testing.B) {
			rng, k, n := newRand(1), []byte(nil), 0
			before := cpu(b)
			for b.Loop() {
				k = key(k[:0], rng.Uint64N(rows))
				batch.Keep(k, row(nil, uint64(n)))
				if n++; n%1000 == 0 {
					if !parts || n%100_000 == 0 {
						batch.Commit("0/16B3748")
					}
					if err := s.Apply(batch); err != nil {
						b.Fatal(err)
					}
					batch.Reset()
				}
			}
			flush(b, s)
			b.ReportMetric((cpu(b)-before)/float64(b.N), "cpu-ns/row")
			batch.Reset()
			if err := s.Abort(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
