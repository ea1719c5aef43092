package spool

import (
	"bytes"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"rowhook/delivery"
)

// largeData is made once: a byte at a time takes long under the race detector.
var largeData = sync.OnceValue(func() []byte {
	data := make([]byte, 3*pieceSize+delivery.LargePayload)
	for i := range data {
		data[i] = byte(i * 7 / 3)
	}
	return data
})

// largeEvent is an event whose parts are stored in pieces.
func largeEvent(n int) *delivery.Event {
	ev := testEvent(n)
	ev.Data, ev.Previous = slices.Clone(largeData()), make([]byte, pieceSize)
	ev.Marks = []byte{}
	return ev
}

// holds checks that a profile reads the event's parts as they were stored.
func holds(t *testing.T, s *Spool, id delivery.ProfileID, seq delivery.Seq, want *delivery.Event) {
	t.Helper()
	ev, err := s.Event(id, seq)
	if err != nil || ev.Away == nil || ev.PayloadSize() != want.PayloadSize() || !bytes.Equal(ev.Key, want.Key) {
		t.Fatalf("event %d: %+v, %v", seq, ev, err)
	}
	for i, part := range want.Parts() {
		var got []byte
		err := s.Payload(id, seq, delivery.Part(i), func(piece []byte) error {
			got = append(got, piece...)
			return nil
		})
		if err != nil || !bytes.Equal(got, *part) || (ev.Away.Sizes[i] < 0) != (*part == nil) {
			t.Errorf("part %d of event %d: %d bytes of %d, %v", i, seq, len(got), len(*part), err)
		}
	}
}

// TestPieces keeps a large event's parts across restarts, and under its profile once its place in
// the log is gone; what an open transaction left goes.
func TestPieces(t *testing.T) {
	t.Parallel()
	dir, o := filepath.Join(t.TempDir(), "spool"), testOptions(t)
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	id := register(t, s, "one")
	want := largeEvent(0)
	b := s.NewBatch()
	b.Add(largeEvent(0), []delivery.ProfileID{id})
	b.Commit("p1")
	for _, step := range []func() error{
		func() error { return s.Apply(b) },
		func() error { // a part of a transaction that never ends
			open := s.NewBatch()
			open.Add(largeEvent(1), []delivery.ProfileID{id})
			return s.Apply(open)
		},
		func() error { holds(t, s, id, 1, want); return s.Close() },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	s = openSpool(t, dir, o)
	holds(t, s, id, 1, want)
	if piece, err := s.piece(id, 2, delivery.PartData, 0); piece != nil || err != nil {
		t.Errorf("a piece of an open transaction stays: %d bytes, %v", len(piece), err)
	}
	backlog, err := s.Backlog(id)
	if err != nil || backlog.Bytes < want.PayloadSize() {
		t.Errorf("the backlog is %+v, %v", backlog, err)
	}
	appendEvents(t, s, 1, 3, id)
	record := delivery.Delivery{Seq: 1, State: delivery.Dead, Bytes: int(backlog.Bytes), Reason: delivery.ReasonOversize}
	err = s.Update(id, delivery.Update{Progress: &delivery.Progress{Cursor: 4}, Put: []delivery.Delivery{record}})
	if err == nil {
		err = s.removeBelow(3)
	}
	if err != nil {
		t.Fatal(err)
	}
	holds(t, s, id, 1, want)
	if piece, err := s.get(pieceKey(seqKey(prefixPiece, 1), delivery.PartData, 0)); piece != nil || err != nil {
		t.Errorf("the log's piece stays: %d bytes, %v", len(piece), err)
	}
	if err := s.Update(id, delivery.Update{Remove: []delivery.Seq{1}}); err != nil {
		t.Fatal(err)
	}
	if piece, err := s.piece(id, 1, delivery.PartData, 0); piece != nil || err != nil {
		t.Errorf("the copy's piece stays: %d bytes, %v", len(piece), err)
	}
}

// TestLargeCounts holds that a large event counts the same when it is added and when it is read, also
// where the size of a part takes a byte more for being written as one more.
func TestLargeCounts(t *testing.T) {
	t.Parallel()
	for _, previous := range []int{-1, 0, 126, 127, 128, 16_383} {
		ev := largeEvent(1)
		if ev.Previous = nil; previous >= 0 {
			ev.Previous = make([]byte, previous)
		}
		to := []delivery.ProfileID{1}
		b := new(Batch)
		b.Add(ev, to)
		record := appendEvent(nil, ev, to)
		stored, err := decodeEvent(record)
		if err != nil {
			t.Fatal(err)
		}
		if read := sizeOf(record, stored); b.Bytes() != read {
			t.Errorf("with a part of %d bytes it counts %d when added, %d when read", previous, b.Bytes(), read)
		}
	}
}
