package spool

import (
	"math/rand/v2"
	"testing"

	"rowhook/delivery"
)

// A growing log is written to tables at most twice, by a flush and by one compaction, and
// not again and again, whatever small values change beside it.
func TestLogIsNotRewritten(t *testing.T) {
	t.Parallel()
	s := openSpool(t, t.TempDir(), testOptions(t))
	to := []delivery.ProfileID{register(t, s, "one")}
	batch := s.NewBatch()
	noise := rand.NewChaCha8([32]byte{}) // which does not become smaller
	for n := 0; n < 100_000; {
		batch.Reset()
		for range 100 {
			ev := testEvent(n)
			ev.Data = make([]byte, 256)
			noise.Read(ev.Data)
			batch.Add(ev, to)
			n++
		}
		batch.Commit("0/16B3748")
		if err := s.Apply(batch); err != nil {
			t.Fatal(err)
		}
	}
	var flushed, compacted uint64
	metrics := s.db.Metrics()
	for i := range metrics.Levels {
		m := &metrics.Levels[i]
		flushed += m.TableBytesFlushed + m.BlobBytesFlushed
		// A flush counts what it writes to files of values as compacted, too.
		compacted += m.TableBytesCompacted + m.BlobBytesCompacted - m.BlobBytesFlushed
	}
	if metrics.Flush.Count < 8 || flushed < memtableSize/2 {
		t.Fatalf("only %d bytes were flushed, %d times: this tests nothing", flushed, metrics.Flush.Count)
	}
	if compacted > flushed/4 {
		t.Errorf("%d bytes were flushed, and %d written again by compactions", flushed, compacted)
	}
}
