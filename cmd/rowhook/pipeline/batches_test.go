package pipeline

import (
	"bytes"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/spool"
)

// batchesSetup returns batches of a spool, and how often a position's time came.
func batchesSetup(t *testing.T) (b *batches, lazy *atomic.Int64) {
	t.Helper()
	s, err := spool.Open(t.TempDir(), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	lazy = new(atomic.Int64)
	made := newBatches(s, func() { lazy.Add(1) })
	return &made, lazy
}

// put has a batch hold an event of so many bytes and some.
func (b *batches) put(size int) {
	b.cur.batch.Add(&delivery.Event{
		Making: &delivery.Making{Type: "loan.created"}, Commit: &delivery.Commit{}, ID: "evt_1", Data: bytes.Repeat([]byte("x"), size),
	}, []delivery.ProfileID{1})
}

// TestBatchesHandOver: what is handed over, by what the batch holds and where the stream is.
func TestBatchesHandOver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		size         int
		urgent       bool
		abort        bool
		rests        bool
		open, now    bool
		handed, part bool
	}{
		{name: "nothing"},
		{name: "a position nobody waits for", size: 1},
		{name: "a transaction", size: 1, urgent: true, handed: true},
		{name: "a small one, and more at hand", size: 1, urgent: true, rests: true},
		{name: "a small one, the last", size: 1, urgent: true, rests: true, now: true, handed: true},
		{name: "many, and more at hand", size: gatherBytes, urgent: true, rests: true, handed: true},
		{name: "an open transaction", size: gatherBytes, urgent: true, open: true, now: true},
		{name: "a part of a large one", size: partBytes, open: true, handed: true, part: true},
		{name: "parts to be dropped", abort: true, handed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b, _ := batchesSetup(t)
			if tt.size > 0 {
				b.put(tt.size)
			}
			b.cur.urgent, b.cur.abort, b.rests = tt.urgent, tt.abort, tt.rests
			if handed, part := b.handOver(tt.open, tt.now); handed != tt.handed || part != tt.part || len(b.work) != map[bool]int{true: 1}[handed] {
				t.Errorf("handed over %v, as a part %v", handed, part)
			}
		})
	}
}

// TestBatchesTurns: while one batch is stored the other is filled, and the source waits when that
// is full too, or the one that is stored is very large.
func TestBatchesTurns(t *testing.T) {
	t.Parallel()
	b, _ := batchesSetup(t)
	first := b.cur.batch
	b.put(1)
	b.committed(false)
	if handed, _ := b.handOver(false, true); !handed || !b.storing() || b.behind() || !b.unstored() {
		t.Fatal("the first batch is not on its way")
	}
	b.put(partBytes)
	if !b.behind() || b.overfull() {
		t.Error("the source is not told to wait, or a change is")
	}
	b.put(partBytes)
	if handed, _ := b.handOver(false, true); handed || !b.overfull() {
		t.Error("a second batch goes while the first is stored")
	}
	stored := <-b.work
	if stored.batch != first {
		t.Error("another batch came")
	}
	stored.empty()
	b.back(&stored)
	if b.storing() || b.behind() || b.overfull() || b.unstored() {
		t.Error("the batch is not back")
	}
}

// TestBatchesPosition: a position that nobody waits for goes within a second, and soon when the source
// rests, but not each time.
func TestBatchesPosition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, lazy := batchesSetup(t)
		came := func(after time.Duration, want int64) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			if got := lazy.Load(); got != want {
				t.Errorf("%d times, want %d", got, want)
			}
		}
		b.settle("1")
		came(positionInterval-time.Millisecond, 0)
		came(2*time.Millisecond, 1)
		b.cur.pending = false
		b.settle("2")
		b.hasten()
		came(restInterval+time.Millisecond, 2)
		if b.due(); !b.cur.urgent || b.hastened.IsZero() {
			t.Error("the position is not due")
		}
		b.cur.pending, b.cur.urgent = false, false
		b.settle("3")
		b.hasten()
		came(restInterval+time.Millisecond, 2)
		came(positionInterval, 3)
	})
}
