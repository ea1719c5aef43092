package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"rowhook/delivery"
)

// TestCheckpoint copies a spool with something of everything: the copy holds the same, is its own,
// and nobody but its owner reads it.
func TestCheckpoint(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.History, o.Dead = math.MaxInt64, math.MaxInt64 // what is compared is old, and stays
	s := openSpool(t, filepath.Join(t.TempDir(), "spool"), o)
	for _, code := range pairCodes {
		register(t, s, code)
	}
	for range 3 {
		b := fullBatch(true)
		b.Rollback()
		if err := s.Apply(b); err != nil {
			t.Fatal(err)
		}
	}
	appendEvents(t, s, 0, 5000, 1, 2)
	record := delivery.Delivery{Seq: 1, State: delivery.Dead, Bytes: 2 << 20}
	err := s.UpdateAll([]ProfileUpdate{{"a", delivery.Update{Put: []delivery.Delivery{record}, Progress: &delivery.Progress{Cursor: 2000}, State: []byte("x")}}})
	if err == nil {
		err = s.removeBelow(3)
	}
	dir := filepath.Join(t.TempDir(), "deep", "copy")
	if err == nil {
		err = s.Checkpoint(t.Context(), dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(t.Context(), dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a copy in the place of another: %v", err)
	}
	for _, name := range []string{".", witnessFile} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	copied := openSpool(t, dir, o)
	wantSame(t, copied, s)
	appendEvents(t, copied, 5000, 5010, 1)
	appendEvents(t, s, 6000, 6020, 2)
	if copied.End() != 5016 || s.End() != 5026 {
		t.Errorf("the copy ends at %d, the spool at %d", copied.End(), s.End())
	}
}

// TestCheckpointMissingFile: a copy that is not whole is no spool.
func TestCheckpointMissingFile(t *testing.T) {
	t.Parallel()
	s := setup(t)
	appendEvents(t, s, 0, 5000)
	dir := filepath.Join(t.TempDir(), "copy")
	if err := s.Checkpoint(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := file.Name()
		if strings.HasPrefix(name, "OPTIONS-") || strings.HasPrefix(name, "marker.format") {
			continue // the store makes these anew
		}
		less := filepath.Join(t.TempDir(), "less")
		if err := os.CopyFS(less, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(less, name)); err != nil {
			t.Fatal(err)
		}
		opened, err := Open(less, testOptions(t))
		if err == nil {
			t.Errorf("without %s the copy opens: %v", name, opened.Close())
		}
	}
}

// load appends and acknowledges until it is stopped. Each transaction keeps a row, sets a value and
// has an event more than the one before had, at most seven.
func load(s *Spool, id delivery.ProfileID, stop *atomic.Bool) error {
	n := 0
	for size := 1; !stop.Load(); size = size%7 + 1 {
		for i := range size {
			b := s.NewBatch()
			b.Add(testEvent(n), []delivery.ProfileID{id})
			b.Keep([]byte("row"), fmt.Append(nil, "p", n))
			if n++; i == size-1 {
				b.Keep([]byte("row"), fmt.Append(nil, "p", n))
				b.Commit(fmt.Sprint("p", n))
				b.Stamp("stamp", fmt.Append(nil, "p", n))
			}
			if err := s.Apply(b); err != nil {
				return err
			}
		}
		u := delivery.Update{Progress: &delivery.Progress{Cursor: delivery.Seq(n)}, DoneEvents: int64(size)}
		if err := s.UpdateAll([]ProfileUpdate{{"one", u}}, Value{"rest", fmt.Append(nil, "p", n)}); err != nil {
			return err
		}
	}
	return nil
}

// TestCheckpointUnderLoad opens copies that were made while the spool went on: each is as of one
// place in time, no earlier than the call.
func TestCheckpointUnderLoad(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.History = math.MaxInt64 // these events are old
	s := openSpool(t, filepath.Join(t.TempDir(), "spool"), o)
	id := register(t, s, "one")
	var stop atomic.Bool
	var loads sync.WaitGroup
	loads.Go(func() {
		if err := load(s, id, &stop); err != nil {
			t.Error(err)
		}
	})
	defer loads.Wait()
	defer stop.Store(true)
	for round := range 5 {
		for range round { // let it write
			flush(t, s)
		}
		before := s.Position()
		dir := filepath.Join(t.TempDir(), "copy")
		if err := s.Checkpoint(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
		copied, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		asOfOnePlace(t, copied, before)
		if err := copied.Close(); err != nil {
			t.Error(err)
		}
	}
}

func asOfOnePlace(t *testing.T, s *Spool, before string) {
	t.Helper()
	var from, n int
	fmt.Sscanf(before, "p%d", &from)
	fmt.Sscanf(s.Position(), "p%d", &n)
	if n < from || int(s.End()) != n {
		t.Errorf("the copy is at %q and event %d, the spool was at %q", s.Position(), s.End(), before)
	}
	row, _, err := s.Kept([]byte("row"), nil)
	stamp, stampErr := s.Meta("stamp")
	rest, restErr := s.Meta("rest")
	if err := errors.Join(err, stampErr, restErr); err != nil || string(row) != s.Position() || string(stamp) != s.Position() {
		t.Errorf("row %q, stamp %q at %q: %v", row, stamp, s.Position(), err)
	}
	id := register(t, s, "one")
	progress, err := s.Progress(id)
	if err != nil || fmt.Sprint("p", max(progress.Cursor, 1)) != string(rest) && len(rest) > 0 || int(progress.Cursor) > n+1 {
		t.Errorf("progress %+v at %q beside %q: %v", progress, s.Position(), rest, err)
	}
	for i, e := range readAll(t, s, id, 1) {
		if e.Seq != delivery.Seq(i+1) || !reflect.DeepEqual(e.Event, testEvent(i)) {
			t.Fatalf("event %d is %+v", e.Seq, e.Event)
		}
		n--
	}
	if n != 0 {
		t.Errorf("%d events are not there", n)
	}
}

// TestCheckpointFails: a disk that has no room for the copy costs the copy and nothing else.
func TestCheckpointFails(t *testing.T) {
	t.Parallel()
	disk := vfs.NewCrashableMem()
	var broken atomic.Bool
	files := faulty(disk, func(op errorfs.Op) error {
		if broken.Load() && strings.Contains(op.Path, "copy") && (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpFileWriteAt) {
			return syscall.ENOSPC
		}
		return nil
	})
	s := openSpool(t, memDir, memOptions(t, files))
	appendEvents(t, s, 0, 10)
	broken.Store(true)
	if err := s.Checkpoint(t.Context(), "copy"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("without room: %v", err)
	}
	if found, err := exists(files, "copy"); found || err != nil {
		t.Errorf("something of the copy stays: %v", err)
	}
	broken.Store(false)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	appendEvents(t, s, 10, 20)
	if err := s.Checkpoint(stopped, "copy"); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("stopped: %v", err)
	}
	if err := s.Checkpoint(t.Context(), "copy2"); err != nil {
		t.Fatal(err)
	}
	copied := openSpool(t, "copy2", memOptions(t, disk))
	wantSame(t, copied, s)
}
