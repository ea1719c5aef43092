package main

import (
	"testing"

	"rowhook/delivery"
)

// A profile that left the config is forgotten when nothing waits for it, and kept otherwise.
func TestRemovedProfiles(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	for _, code := range []string{"empty", "waiting"} {
		if _, err := w.station.spool.Register(code); err != nil {
			t.Fatal(err)
		}
	}
	id, err := w.station.spool.Register("waiting")
	if err != nil {
		t.Fatal(err)
	}
	w.begin()
	w.insert(0, "a", "")
	w.commit("0/10")
	w.start()
	w.pipe.flush(t.Context())
	batch := w.station.spool.NewBatch()
	desk, err := w.station.spool.Register("desk")
	if err != nil {
		t.Fatal(err)
	}
	event, err := w.station.spool.Event(desk, 1)
	if err != nil {
		t.Fatal(err)
	}
	batch.Add(event, []delivery.ProfileID{id})
	batch.Commit("0/20")
	if err := w.station.spool.Apply(batch); err != nil {
		t.Fatal(err)
	}
	if err := w.station.retireRemoved(); err != nil {
		t.Fatal(err)
	}
	removed, err := w.station.removed()
	if err != nil || len(removed) != 1 || removed[0].Code != "waiting" {
		t.Errorf("removed = %+v, %v, want the waiting one only", removed, err)
	}
	shown, err := w.station.removedProfiles()
	if err != nil || len(shown) != 1 || shown[0].BacklogEvents != 1 {
		t.Errorf("shown = %+v, %v", shown, err)
	}
}
