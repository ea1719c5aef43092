package spool

import (
	"sync"
	"testing"

	"rowhook/delivery"
)

func TestAppended(t *testing.T) {
	t.Parallel()
	s := setup(t)
	closed := func(ch <-chan struct{}) bool {
		select {
		case <-ch:
			return true
		default:
			return false
		}
	}
	appendEvents(t, s, 0, 3)
	if !closed(s.Appended(0)) || !closed(s.Appended(3)) {
		t.Error("what is there is waited for")
	}
	next, again, later := s.Appended(4), s.Appended(4), s.Appended(6)
	if closed(next) || closed(later) || next != again {
		t.Error("what is not there is not waited for")
	}
	b := s.NewBatch()
	b.Add(testEvent(3), nil)
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	if closed(next) {
		t.Error("an open transaction wakes readers")
	}
	b.Reset()
	b.Commit("p")
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	if !closed(next) || closed(later) {
		t.Error("the wrong ones are woken")
	}
	appendEvents(t, s, 4, 10)
	if !closed(later) {
		t.Error("a jump beyond does not wake")
	}
}

// TestReaders has profiles follow the log while it is written, some of them from the store.
func TestReaders(t *testing.T) {
	t.Parallel()
	const total = 3 * tailEntries
	s := setup(t)
	ids := []delivery.ProfileID{register(t, s, "a"), register(t, s, "b"), register(t, s, "c")}
	var readers sync.WaitGroup
	for i, id := range ids {
		readers.Go(func() { follow(t, s, id, total, i == 0) })
	}
	for n := 0; n < total; n += 16 {
		appendEvents(t, s, n, n+16, ids...)
	}
	readers.Wait()
	for _, id := range ids {
		if b, err := s.Backlog(id); err != nil || b.Events != 0 {
			t.Errorf("backlog %+v: %v", b, err)
		}
	}
}

// follow reads and finishes a profile's events up to a number; slow begins when all are there.
func follow(t *testing.T, s *Spool, id delivery.ProfileID, total delivery.Seq, slow bool) {
	next := delivery.Seq(1)
	if slow {
		<-s.Appended(total)
	}
	var entries []delivery.Entry
	for next <= total {
		<-s.Appended(next)
		from := next
		var err error
		entries, next, _, err = s.Read(id, next, entries[:0], 64, 1<<20)
		if err != nil {
			t.Error(err)
			return
		}
		bytes := 0
		for i, e := range entries {
			if e.Seq != from+delivery.Seq(i) || e.Event.ID != testEvent(int(e.Seq)-1).ID {
				t.Errorf("entry %d is %d", from+delivery.Seq(i), e.Seq)
				return
			}
			bytes += e.Bytes
		}
		done := delivery.Update{Progress: &delivery.Progress{Cursor: next}, DoneEvents: int64(len(entries)), DoneBytes: int64(bytes)}
		if err := s.Update(id, done); err != nil {
			t.Error(err)
			return
		}
	}
}

// TestLargeEvent passes one that neither the memory's tail nor a memtable holds.
func TestLargeEvent(t *testing.T) {
	t.Parallel()
	s := setup(t)
	id := register(t, s, "one")
	ev := testEvent(0)
	ev.Data = make([]byte, tailBytes+1)
	b := s.NewBatch()
	b.Add(ev, []delivery.ProfileID{id})
	b.Commit("p1")
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	appendEvents(t, s, 1, 3, id)
	entries, next, end, err := s.Read(id, 1, nil, 10, 100)
	if err != nil || len(entries) != 1 || next != 2 || end || entries[0].Event.Away == nil || entries[0].Event.Away.Sizes[delivery.PartData] != tailBytes+1 || entries[0].Bytes <= tailBytes {
		t.Fatalf("%d entries, next %d, end %v: %v", len(entries), next, end, err)
	}
}
