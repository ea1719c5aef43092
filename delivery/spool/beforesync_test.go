package spool

import (
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"rowhook/delivery"
)

// What a commit rests on is synced before it is, and only then.
func TestBeforeSync(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	o := testOptions(t)
	o.BeforeSync = func() { calls.Add(1) }
	s := openSpool(t, filepath.Join(t.TempDir(), "spool"), o)
	id := register(t, s, "one")
	flush(t, s)
	for _, step := range []struct {
		name  string
		do    func() error
		calls int64
	}{
		{"an append", func() error {
			b := s.NewBatch()
			for n := range 10 {
				b.Add(testEvent(n), []delivery.ProfileID{id})
			}
			b.Park(&delivery.Parked{Change: []byte("x")})
			b.Commit("p")
			return s.Apply(b)
		}, 0},
		{"an acknowledgement", func() error {
			dead := []delivery.Delivery{{Seq: 3, State: delivery.Dead, Since: epoch}}
			return s.Update(id, delivery.Update{Progress: &delivery.Progress{Cursor: 6}, Put: dead, DoneEvents: 5, DoneBytes: 1})
		}, 1},
		{"a dead letter that expires", func() error { return s.expire(epoch.Add(31 * 24 * time.Hour)) }, 1},
		{"a parked change that is removed", func() error { return s.RemoveParked(1) }, 1},
	} {
		before := calls.Load()
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		flush(t, s)
		if n := calls.Load() - before; n != step.calls {
			t.Errorf("%d calls for %s, want %d", n, step.name, step.calls)
		}
	}
}

// Whenever the store's log is synced, be it at its turn or because the store begins another one, no
// acknowledgement in it is ahead of the lines that are synced.
func TestNoAcknowledgementAheadOfItsLine(t *testing.T) {
	t.Parallel()
	var written, synced atomic.Int64 // lines
	var looking atomic.Bool
	var id delivery.ProfileID
	var looks, files atomic.Int64
	disk := vfs.NewCrashableMem()
	o := memOptions(t, faulty(disk, func(op errorfs.Op) error {
		if !looking.Load() || !strings.HasSuffix(op.Path, ".log") {
			return nil
		}
		switch op.Kind {
		case errorfs.OpCreate, errorfs.OpReuseForWrite:
			files.Add(1)
		case errorfs.OpFileSync, errorfs.OpFileSyncData:
			looks.Add(1)
			// This is what the sync is about to make last.
			lines := synced.Load()
			left, err := Open(memDir, memOptions(t, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: newRand(1)})))
			if err != nil {
				t.Error(err)
				return nil
			}
			progress, err := left.Progress(id)
			if err = errors.Join(err, left.Close()); err != nil || int64(progress.Cursor) > lines+1 {
				t.Errorf("%d events are acknowledged, %d lines are synced (%v)", progress.Cursor-1, lines, err)
			}
		}
		return nil
	}))
	o.BeforeSync = func() { synced.Store(written.Load()) }
	o.Sync = time.Second // each look opens a store
	s := openSpool(t, memDir, o)
	id = register(t, s, "one")
	flush(t, s)
	looking.Store(true)
	for n := range 4000 {
		appendEvents(t, s, n, n+1, id)
		written.Add(1)
		err := s.Update(id, delivery.Update{Progress: &delivery.Progress{Cursor: delivery.Seq(n + 2)}, DoneEvents: 1, DoneBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		if n%400 == 399 {
			flush(t, s)
		}
	}
	looking.Store(false)
	t.Logf("%d syncs of %d new files", looks.Load(), files.Load())
	if looks.Load() < 10 || files.Load() == 0 {
		t.Error("that proves nothing")
	}
}
