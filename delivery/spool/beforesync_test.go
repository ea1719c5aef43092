package spool

import (
	"path/filepath"
	"sync/atomic"
	"testing"

	"rowhook/delivery"
)

// What acknowledgements rest on is synced before they are, and only then.
func TestBeforeSync(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	o := testOptions(t)
	o.BeforeSync = func() { calls.Add(1) }
	s := openSpool(t, filepath.Join(t.TempDir(), "spool"), o)
	id := register(t, s, "one")
	flush(t, s)
	calls.Store(0)
	appendEvents(t, s, 0, 10, id)
	flush(t, s)
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls for an append", n)
	}
	err := s.Update(id, delivery.Update{Progress: &delivery.Progress{Cursor: 6}, DoneEvents: 5, DoneBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	if n := calls.Load(); n != 1 {
		t.Errorf("%d calls for one acknowledgement", n)
	}
}
