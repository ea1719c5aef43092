package pipeline

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"rowhook/capture"
)

// TestLargeMark: a very large change that two starts ended at is refused at the third; it is no
// matter how often the connection breaks.
func TestLargeMark(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	weigh := func(p *Pipeline, want string) {
		t.Helper()
		must(t, p.Begin(&capture.Transaction{ID: "7", Identity: "0/7 7", Position: "0/7"}))
		for range 2 { // the connection broke in between
			v, err := p.Weigh(&capture.Weighed{Table: w.table, Op: capture.Insert, Ordinal: 3, Size: 20 << 20})
			must(t, err)
			got := "taken"
			if v.Refused != nil {
				got = v.Refused.Error()
			}
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
	}
	weigh(w.pipe, "taken")
	weigh(w.newPipeline(), "taken")
	third := w.newPipeline()
	weigh(third, errEnded.Error())
	ctx := t.Context()
	go func() { _ = third.Run(ctx) }()
	kept := &capture.Change{Op: capture.Insert, Table: w.table, New: capture.Row{{State: capture.Present, Text: []byte("1")}, {}}, Ordinal: 3}
	must(t, third.Park(&capture.Undecoded{Table: "public.loans", Ordinal: 3, Err: errEnded, Size: 20 << 20, Kept: kept}))
	must(t, third.Commit("0/8"))
	third.Flush(ctx)
	if raw, err := w.spool.Meta(metaLarge); err != nil || len(raw) > 0 {
		t.Errorf("the mark stays: %s, %v", raw, err)
	}
	list := w.parked()
	if len(list) != 1 {
		t.Fatalf("%+v", list)
	}
	if item := list[0]; item.Reason != parkOversize || string(item.Key) != `{"id":"1"}` || item.Size != 20<<20 || item.Position != "0/7" || item.Ordinal != 3 {
		t.Errorf("%+v", item)
	}
	if v, err := third.Weigh(&capture.Weighed{Table: &capture.Table{Schema: "public", Name: "unmapped"}, Op: capture.Insert, Size: 20 << 20}); err != nil || !v.Unwanted {
		t.Errorf("a table that nobody mapped: %+v, %v", v, err)
	}
}

// TestLargeMarkEnds: an agent that ends in order leaves no mark, nor does a change that was stored.
func TestLargeMarkEnds(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	marked := func() string {
		raw, err := w.spool.Meta(metaLarge)
		must(t, err)
		var m largeMark
		if len(raw) > 0 {
			must(t, json.Unmarshal(raw, &m))
		}
		return m.Transaction
	}
	begin := func() { must(t, w.pipe.Begin(&capture.Transaction{ID: "7", Identity: "0/7 7", Position: "0/7"})) }
	begin()
	change := func(ordinal int) {
		t.Helper()
		_, err := w.pipe.Weigh(&capture.Weighed{Table: w.table, Op: capture.Insert, Ordinal: ordinal, Size: 20 << 20})
		must(t, err)
		if marked() != "0/7 7" {
			t.Error("no mark is written")
		}
	}
	change(0)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.pipe.Run(ctx) }()
	w.insert(0, "1", strings.Repeat("x", 2<<20))
	w.commit("0/8")
	w.pipe.Flush(ctx)
	if m := marked(); m != "" {
		t.Errorf("a change that is stored leaves the mark of %s", m)
	}
	begin()
	change(1)
	stop()
	if err := <-ended; err != nil || marked() != "" {
		t.Errorf("an orderly end leaves the mark of %s, %v", marked(), err)
	}
}
