package spool

import (
	"reflect"
	"testing"

	"rowhook/delivery"
)

// What is added after the last commit is taken out again; what is before it stays.
func TestRollback(t *testing.T) {
	t.Parallel()
	s := setup(t)
	id := register(t, s, "one")
	b := s.NewBatch()
	b.Add(testEvent(0), []delivery.ProfileID{id})
	b.Commit("p1")
	b.Add(testEvent(1), []delivery.ProfileID{id})
	b.Park(&delivery.Parked{Reason: "undecoded"})
	b.Rollback()
	b.Add(testEvent(2), []delivery.ProfileID{id})
	b.Commit("p2")
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	entries := readAll(t, s, id, 1)
	if len(entries) != 2 || entries[0].Event.ID != testEvent(0).ID || entries[1].Event.ID != testEvent(2).ID {
		t.Errorf("entries = %+v", entries)
	}
	if count, _ := s.ParkedCount(); count != 0 || s.Position() != "p2" {
		t.Errorf("%d parked at %q", count, s.Position())
	}
	b.Reset()
	b.Add(testEvent(3), []delivery.ProfileID{id})
	b.Rollback()
	if b.Len() != 0 || b.Bytes() != 0 {
		t.Errorf("a batch rolled back to nothing holds %d, %d bytes", b.Len(), b.Bytes())
	}
}

func TestParkedKeepsBothChangesOfAMove(t *testing.T) {
	t.Parallel()
	want := delivery.Parked{Table: "public.t", Reason: "undecidable", Time: epoch, Relation: []byte("R"), Change: []byte("D"), Second: []byte("I")}
	for range 2 {
		got, err := decodeParked(encodeParked(nil, &want))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("parked = %+v, %v", got, err)
		}
		want.Key = []byte(`{"id":7}`)
	}
}
