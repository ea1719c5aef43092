package spool

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"rowhook/delivery"
)

// groupOf is a delivery of the events from first to last, those of one type only if it has a name.
func groupOf(first, last delivery.Seq, typ string, lanes ...uint64) delivery.Delivery {
	m := &delivery.Members{ID: "grp", Unit: "batch", Last: last, Count: int(last - first + 1), Lanes: lanes}
	if typ != "" {
		m.Unit, m.Type, m.Entry, m.Count = "type", typ, "circulation.loans", (m.Count+1)/2
	}
	return delivery.Delivery{Seq: first, State: delivery.Retrying, Due: epoch, Round: 1, Members: m}
}

// members reads the events of a delivery in pieces of a few, or of few bytes.
func members(t *testing.T, s *Spool, id delivery.ProfileID, d *delivery.Delivery, many, bytes int) (seqs []delivery.Seq) {
	t.Helper()
	for next, end := d.Seq, false; !end; {
		var entries []delivery.Entry
		var err error
		if entries, next, end, err = s.Events(id, d, next, entries, many, bytes); err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Event.ID != testEvent(int(e.Seq-1)).ID || e.Bytes == 0 {
				t.Fatalf("event %d is %s", e.Seq, e.Event.ID)
			}
			seqs = append(seqs, e.Seq)
		}
	}
	return seqs
}

// TestGroupOutlivesItsEvents has groups, two of them interleaved, whose first events leave the log:
// all of their events stay until they are over, and not longer.
func TestGroupOutlivesItsEvents(t *testing.T) {
	t.Parallel()
	o := memOptions(t, vfs.NewMem())
	s := openSpool(t, memDir, o)
	one, other := register(t, s, "one"), register(t, s, "other")
	batch := s.NewBatch()
	for n := range 1000 {
		ev, to := testEvent(n), []delivery.ProfileID{one}
		ev.Type, ev.Entry = []string{"odd", "even"}[n%2], "circulation.loans"
		if n == 20 {
			to[0] = other // stands in between without being a member
		}
		batch.Add(ev, to)
	}
	batch.Commit("0/1")
	if err := s.Apply(batch); err != nil {
		t.Fatal(err)
	}
	finish(t, s, other, 1001)
	odd, even, run := groupOf(3, 999, "odd", 1, 2), groupOf(4, 1000, "even", 2), groupOf(11, 30, "")
	span := func(first, last, step delivery.Seq) (all []delivery.Seq) {
		for seq := first; seq <= last; seq += step {
			if seq != 21 {
				all = append(all, seq)
			}
		}
		return all
	}
	check := func(when string) {
		t.Helper()
		s.tail.reset(s.tail.end()) // from disk
		for _, c := range []struct {
			d    delivery.Delivery
			want []delivery.Seq
		}{{odd, span(3, 999, 2)}, {even, span(4, 1000, 2)}, {run, span(11, 30, 1)}} {
			for _, limit := range [][2]int{{7, 1 << 20}, {1000, 3000}} {
				if got := members(t, s, one, &c.d, limit[0], limit[1]); !slices.Equal(got, c.want) {
					t.Errorf("%s, group at %d: %v", when, c.d.Seq, got)
				}
			}
		}
	}
	check("in the log")
	finish(t, s, one, 1001, odd, even, run)
	for i, want := range [][]delivery.Seq{0: nil, 1: {3}, 2: {3, 4}} {
		list, err := s.Lane(one, uint64(i), 0, nil, 10)
		var got []delivery.Seq
		for _, d := range list {
			got = append(got, d.Seq)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("lane %d: %v, want %v: %v", i, got, want, err)
		}
	}
	if err := s.removeBelow(500); err != nil {
		t.Fatal(err)
	}
	check("half copied")
	appendEvents(t, s, 1000, 1010, one)
	if err := s.removeBelow(1005); err != nil {
		t.Fatal(err)
	}
	check("copied")

	// A half of a group goes on alone, and gives up its lanes for others.
	half := groupOf(503, 999, "odd", 7)
	odd.Members = &delivery.Members{ID: "grp", Unit: "type", Type: "odd", Entry: "circulation.loans", Last: 501, Count: 250, Lanes: []uint64{1}}
	if err := s.Update(one, delivery.Update{Put: []delivery.Delivery{odd, half}}); err != nil {
		t.Fatal(err)
	}
	if list, err := s.Lane(one, 2, 0, nil, 10); err != nil || len(list) != 1 || list[0].Seq != 4 {
		t.Errorf("lane 2 after the cut: %v, %v", list, err)
	}
	if got := members(t, s, one, &half, 50, 1<<20); !slices.Equal(got, span(503, 999, 2)) {
		t.Errorf("second half %v", got)
	}
	if err := s.Update(one, delivery.Update{Remove: []delivery.Seq{3, 4}}); err != nil {
		t.Fatal(err)
	}
	if got := members(t, s, one, &half, 50, 1<<20); !slices.Equal(got, span(503, 999, 2)) {
		t.Errorf("second half after the first is over: %v", got)
	}
	if err := s.Update(one, delivery.Update{Remove: []delivery.Seq{11, 503}}); err != nil {
		t.Fatal(err)
	}
	left := 0
	err := s.scan(profileKey(one, kindEvent), after(profileKey(one, kindEvent)), func([]byte, []byte) (bool, error) { left++; return true, nil })
	if err != nil || left != 0 {
		t.Errorf("%d copies are left: %v", left, err)
	}
	lanes := 0
	err = s.scan(profileKey(one, kindLane), after(profileKey(one, kindLane)), func([]byte, []byte) (bool, error) { lanes++; return true, nil })
	if err != nil || lanes != 0 {
		t.Errorf("%d places in lanes are left: %v", lanes, err)
	}
	if _, _, err := s.Delivery(one, 3); err != nil {
		t.Error(err)
	}
}
