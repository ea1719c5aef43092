package agent

import (
	"testing"
	"time"

	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
)

// Dead letters of the source are discarded when they are selected, and not by accident.
func TestDiscardParked(t *testing.T) {
	t.Parallel()
	s := newTestWorkspace(t)
	batch := s.spool.NewBatch()
	for i := range 2 {
		batch.Park(&delivery.Parked{Table: "public.loans", Reason: "undecoded", Position: "0/1", Ordinal: i, Time: time.Now()})
	}
	batch.Commit("0/20")
	must(t, s.spool.Apply(batch))
	list, err := s.listParked(operation.ParkedRequest{})
	if err != nil || len(list.Items) != 2 || list.Items[1].Ordinal != 1 {
		t.Fatalf("parked = %+v, %v", list, err)
	}
	if _, err := s.discardParked(t.Context(), operation.ParkedRequest{}); err == nil {
		t.Error("everything was discarded without being asked for")
	}
	// What is parked after somebody looked stays.
	batch = s.spool.NewBatch()
	batch.Park(&delivery.Parked{Table: "public.loans", Reason: "undecoded", Position: "0/2", Time: time.Now()})
	batch.Commit("0/30")
	must(t, s.spool.Apply(batch))
	if done, err := s.discardParked(t.Context(), operation.ParkedRequest{All: true, UpTo: list.Last}); err != nil || done.Count != 2 {
		t.Errorf("discarded %+v, %v", done, err)
	}
	if list, err = s.listParked(operation.ParkedRequest{}); err != nil || len(list.Items) != 1 || list.Last != list.Items[0].Seq {
		t.Errorf("left is %+v, %v", list, err)
	}
	if done, err := s.discardParked(t.Context(), operation.ParkedRequest{All: true}); err != nil || done.Count != 1 {
		t.Errorf("discarded %+v, %v", done, err)
	}
}
