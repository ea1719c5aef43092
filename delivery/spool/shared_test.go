package spool

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"rowhook/delivery"
)

// sharingSpool has so many events in the store alone, each for all of so many profiles.
func sharingSpool(t *testing.T, events, profiles int) (*Spool, []delivery.ProfileID) {
	t.Helper()
	o := testOptions(t)
	o.Readers = profiles
	s := openSpool(t, t.TempDir(), o)
	var ids []delivery.ProfileID
	for n := range profiles {
		ids = append(ids, register(t, s, fmt.Sprint("p", n)))
	}
	for n := 0; n < events; n += 100 {
		appendEvents(t, s, n, n+100, ids...)
	}
	s.tail.reset(s.tail.end())
	return s, ids
}

// holds checks that blocks are what the books say, and returns how many are decoded.
func (b *sharedBlocks) holds(t *testing.T) (decoded int) {
	t.Helper()
	bytes := 0
	for at := b.recent.Front(); at != nil; at = at.Next() {
		block := at.Value.(*sharedBlock)
		if bytes += block.bytes; b.byLast[block.last] != at {
			t.Errorf("block %d is lost", block.last)
		}
		if block.entries != nil {
			decoded++
		}
	}
	if bytes != b.bytes || bytes > b.most || len(b.byLast) != b.recent.Len() {
		t.Errorf("%d blocks of %d bytes, up to %d, count for %d of %d", b.recent.Len(), bytes, b.most, len(b.byLast), b.bytes)
	}
	return decoded
}

// TestSharedBlocks: from the third profile on, all read the same events, which are those that each reads
// by itself.
func TestSharedBlocks(t *testing.T) {
	t.Parallel()
	s, ids := sharingSpool(t, 500, 5)
	var all [][]delivery.Entry
	for _, id := range ids {
		all = append(all, readAll(t, s, id, 1))
	}
	for i, got := range all {
		if len(got) != 500 || !reflect.DeepEqual(got, all[0]) {
			t.Fatalf("profile %d read %d events, or others", i, len(got))
		}
	}
	if all[0][400].Event == all[1][400].Event || all[1][400].Event == all[2][400].Event || all[2][400].Event != all[4][400].Event {
		t.Error("the first two do not read by themselves, or the others do not share")
	}
	if s.blocks.holds(t) == 0 {
		t.Error("no block is decoded")
	}
	// Those in between are passed over without being told.
	other := register(t, s, "other")
	if got := readAll(t, s, other, 1); len(got) > 0 {
		t.Errorf("another profile got %d events", len(got))
	}
	history, _, _, err := s.History(other, 1, nil, 10, 1<<20)
	if err != nil || len(history) != 10 || !history[0].Others || history[0].Event != all[2][0].Event {
		t.Errorf("history %+v: %v", history, err)
	}
}

// TestSharedBlocksOfSome: of a block that is decoded for all each gets its own, wherever it begins.
func TestSharedBlocksOfSome(t *testing.T) {
	t.Parallel()
	s, ids := sharingSpool(t, 0, 8)
	const total = 1000
	recipients := func(n int) []delivery.ProfileID {
		if n%10 == 0 {
			return ids
		}
		return ids[n%len(ids):][:1]
	}
	b := s.NewBatch()
	for n := range total {
		b.Add(testEvent(n), recipients(n))
	}
	b.Commit("p")
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	s.tail.reset(s.tail.end())
	for round := range 2 {
		for _, id := range ids {
			from := 1 + 13*int(id)
			got := readAll(t, s, id, delivery.Seq(from))
			for n := from - 1; n < total; n++ {
				if !slices.Contains(recipients(n), id) {
					continue
				}
				if len(got) == 0 || got[0].Seq != delivery.Seq(n+1) || !reflect.DeepEqual(got[0].Event, testEvent(n)) || got[0].Bytes != entryOf(testEvent(n), recipients(n)...).bytes {
					t.Fatalf("round %d: profile %d does not get event %d as it is", round, id, n)
				}
				got = got[1:]
			}
			if len(got) > 0 {
				t.Fatalf("round %d: profile %d gets %d events of others", round, id, len(got))
			}
		}
	}
	if s.blocks.holds(t) == 0 {
		t.Error("no block is decoded")
	}
}

// TestSharedBlocksAreBounded: blocks that are asked for again only after more others than there is room
// for are not decoded as a whole, and neither is a block that alone takes more.
func TestSharedBlocksAreBounded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		room  func(whole int) int
		share bool
	}{
		{"all", func(whole int) int { return whole }, true},
		{"half", func(whole int) int { return whole / 2 }, false},
		{"less than a block", func(int) int { return entryOverhead }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, ids := sharingSpool(t, 3000, 8)
			s.blocks.most = 1 << 30
			readAll(t, s, ids[0], 1)
			whole := s.blocks.bytes
			s.blocks = newSharedBlocks(8)
			s.blocks.most = tt.room(whole)
			for _, id := range ids {
				if got := readAll(t, s, id, 1); len(got) != 3000 {
					t.Fatalf("%d events", len(got))
				}
			}
			if decoded := s.blocks.holds(t); (decoded > 0) != tt.share {
				t.Errorf("%d blocks are decoded", decoded)
			}
		})
	}
}

// TestFewReadersShareNothing: memory is not spent on a profile or two.
func TestFewReadersShareNothing(t *testing.T) {
	t.Parallel()
	s, ids := sharingSpool(t, 500, sharedAsks-1)
	for range 4 {
		readAll(t, s, ids[0], 1)
	}
	if n := s.blocks.recent.Len(); n > 0 || s.blocks.bytes > 0 {
		t.Errorf("%d blocks of %d bytes", n, s.blocks.bytes)
	}
}

// TestReadersShare has profiles read the store side by side, some of what each other decodes.
func TestReadersShare(t *testing.T) {
	t.Parallel()
	const events = 3000
	s, ids := sharingSpool(t, events, 8)
	var readers sync.WaitGroup
	for _, id := range ids {
		readers.Go(func() { follow(t, s, id, events, false) })
	}
	readers.Wait()
	s.blocks.holds(t)
}

// TestDamagedBlockIsNotShared: a block that cannot be decoded is an error to everybody.
func TestDamagedBlockIsNotShared(t *testing.T) {
	t.Parallel()
	b := newSharedBlocks(sharedAsks)
	good := blockOf(entryOf(testEvent(1), 3), entryOf(testEvent(2), 3))
	bad := good[:len(good)-1]
	for n := range 2 * sharedAsks {
		l, err := b.open(1, 100, func() ([]byte, error) { return bad, nil }, nil)
		for more := true; err == nil && more; {
			more, err = l.next()
		}
		if !errors.Is(err, errMalformed) {
			t.Errorf("asked for the %d. time: %v", n+1, err)
		}
	}
	if b.holds(t) > 0 {
		t.Error("it is kept")
	}
}
