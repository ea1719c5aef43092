package pipeline

import (
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// What would be one event and cannot be decided is one dead letter, with all of the row's changes;
// one that could not be decoded parts them.
func TestPipelineParksMerged(t *testing.T) {
	t.Parallel()
	w := newPipelineWorldOf(t, strings.Replace(pipelineConfig, "public.loans:\n", "public.loans:\n    coalesce: transaction\n", 1))
	w.table.Identity = capture.IdentityDefault
	w.start()
	w.begin()
	update := func(ordinal int) {
		t.Helper()
		must(t, w.pipe.Change(&capture.Change{Op: capture.Update, Table: w.table, Ordinal: ordinal, New: capture.Row{
			{State: capture.Present, Text: []byte("a")}, {State: capture.Unchanged},
		}, Raw: capture.Raw{Relation: []byte("R"), Change: []byte{'U', byte('0' + ordinal)}}}))
	}
	update(0)
	w.insert(1, "b", "x")
	update(2)
	must(t, w.pipe.Park(&capture.Undecoded{Table: "public.loans", Ordinal: 3, Err: errDeaf, Raw: capture.Raw{Change: []byte("X")}}))
	update(4)
	w.commit("0/20")
	w.pipe.Flush(t.Context())
	list := w.parked()
	if len(list) != 3 || list[0].Reason != delivery.ReasonUndecoded {
		t.Fatalf("parked = %+v", list)
	}
	if p := list[1]; string(p.Relation) != "R" || string(p.Change) != "U0" || len(p.Merged) != 1 || string(p.Merged[0]) != "U2" || p.Second != nil || p.Ordinal != 2 {
		t.Errorf("merged = %+v", p)
	}
	if p := list[2]; string(p.Change) != "U4" || p.Merged != nil || p.Ordinal != 4 {
		t.Errorf("behind what was not decoded = %+v", p)
	}
	if got := w.keys(); got != `{"id":"b"}` {
		t.Errorf("events of %s", got)
	}
}

// Nothing of a transaction that breaks off is left in what is held.
func TestPipelineHeldAbort(t *testing.T) {
	t.Parallel()
	w := newPipelineWorldOf(t, strings.Replace(pipelineConfig, "public.loans:\n", "public.loans:\n    coalesce: transaction\n", 1))
	w.start()
	w.begin()
	w.insert(0, "a", "x")
	w.pipe.Abort()
	w.begin()
	w.insert(0, "b", "x")
	w.commit("0/20")
	w.pipe.Flush(t.Context())
	if got := w.keys(); got != `{"id":"b"}` {
		t.Errorf("events of %s", got)
	}
}
