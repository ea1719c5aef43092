package spool

import (
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
	for n := 0; n < 100_000; {
		batch.Reset()
		for range 100 {
			batch.Add(testEvent(n), to)
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
		flushed += metrics.Levels[i].TableBytesFlushed
		compacted += metrics.Levels[i].TableBytesCompacted
	}
	if flushed < 2*memtableSize {
		t.Fatalf("only %d bytes were flushed: this tests nothing", flushed)
	}
	if compacted > flushed+flushed/4 {
		t.Errorf("%d bytes were flushed, and %d written again by compactions", flushed, compacted)
	}
}
