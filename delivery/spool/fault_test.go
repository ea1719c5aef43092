package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"rowhook/delivery"
)

// faulty returns files whose operations fail with fault's error, when it has one.
func faulty(files vfs.FS, fault func(errorfs.Op) error) vfs.FS {
	return errorfs.Wrap(files, errorfs.InjectorFunc(fault))
}

// TestFailedSync has an fsync fail: everything stops at once, nothing more is called durable, and
// what was durable is there after a restart.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	disk := vfs.NewCrashableMem()
	files := faulty(disk, func(op errorfs.Op) error {
		if broken.Load() && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData) {
			return syscall.EIO
		}
		return nil
	})
	s, err := Open(memDir, memOptions(t, files))
	if err != nil {
		t.Fatal(err)
	}
	id := register(t, s, "one")
	appendEvents(t, s, 0, 10, id)
	flush(t, s)
	broken.Store(true)
	b := s.NewBatch()
	b.Add(testEvent(10), []delivery.ProfileID{id})
	b.Commit("p11")
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(context.Background()); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Flush: %v", err)
	}
	broken.Store(false) // a later sync would succeed, and must not be tried
	if err := <-s.Err(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Err: %v", err)
	}
	if err := s.Apply(b); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Apply: %v", err)
	}
	if err := s.Update(id, delivery.Update{Progress: &delivery.Progress{Cursor: 5}}); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Update: %v", err)
	}
	if _, _, _, err := s.Read(id, 1, nil, 1, 1); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Read: %v", err)
	}
	if got := s.Durable(); got != "p10" {
		t.Fatalf("durable %s", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Close(); err == nil {
		t.Log("the store could be closed") // for the leak check: a process would simply end
	}
	crashed := disk.CrashClone(vfs.CrashCloneCfg{})
	s, err = Open(memDir, memOptions(t, crashed))
	if err != nil {
		t.Fatal(err)
	}
	if got := len(readAll(t, s, id, 1)); got != 10 || s.Position() != "p10" {
		t.Fatalf("%d events at %s", got, s.Position())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		files := vfs.NewMem()
		files.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 200, TotalBytes: 1000})
		o := memOptions(t, files)
		o.Reserve = 100
		s := openSpool(t, memDir, o)
		id := register(t, s, "one")
		appendEvents(t, s, 0, 1, id)
		if err := s.Room(); err != nil {
			t.Fatal(err)
		}
		files.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 50, TotalBytes: 1000})
		time.Sleep(roomInterval)
		b := s.NewBatch()
		b.Add(testEvent(1), []delivery.ProfileID{id})
		b.Commit("p2")
		var full *NoRoomError
		if err := s.Apply(b); !errors.As(err, &full) || full.Free != 50 || full.Reserve != 100 || full.RemedyText() == "" || full.Scarce(false) {
			t.Fatalf("Apply: %v", err)
		}
		// Positions and acknowledgements go on.
		idle := s.NewBatch()
		idle.Commit("p1.5")
		if err := s.Apply(idle); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := s.WaitRoom(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("WaitRoom: %v", err)
		}
		files.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 49, TotalBytes: 1000})
		time.Sleep(roomInterval)
		if err := s.Room(); !errors.As(err, &full) || !full.Scarce(false) {
			t.Fatalf("Room with less than half of the reserve: %v", err)
		}
		files.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 150, TotalBytes: 1000})
		if err := s.WaitRoom(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Apply(b); err != nil {
			t.Fatal(err)
		}
		if got := len(readAll(t, s, id, 1)); got != 2 {
			t.Fatalf("%d events", got)
		}
		s.room.refuse(syscall.ENOSPC)
		if err := s.Room(); !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &full) || !full.Scarce(false) {
			t.Fatalf("Room: %v", err)
		}
		if err := s.WaitRoom(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLocked(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state", "spool")
	s := openSpool(t, dir, testOptions(t))
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("directory %v: %v", info.Mode(), err)
	}
	_, err := Open(dir, testOptions(t))
	var locked *LockedError
	if !errors.As(err, &locked) || locked.Holder.PID != os.Getpid() || locked.RemedyText() == "" {
		t.Fatalf("second Open: %v", err)
	}
	if since := time.Since(locked.Holder.Since); since < 0 || since > time.Hour {
		t.Fatalf("held since %v", locked.Holder.Since)
	}
	// Being refused must not have hurt the holder.
	register(t, s, "one")
	flush(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, testOptions(t))
	flush(t, s)
}

// TestSharedSync counts fsyncs: some for work, none when idle.
func TestSharedSync(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int64
		files := faulty(vfs.NewMem(), func(op errorfs.Op) error {
			if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
				syncs.Add(1)
			}
			return nil
		})
		s := openSpool(t, memDir, memOptions(t, files))
		id := register(t, s, "one")
		time.Sleep(time.Minute)
		syncs.Store(0)
		for n := range 1000 {
			appendEvents(t, s, n, n+1, id)
			time.Sleep(time.Millisecond)
		}
		// A second at one sync each 10 ms, and the witness.
		if got := syncs.Load(); got < 50 || got > 110 {
			t.Errorf("%d fsyncs in a second", got)
		}
		time.Sleep(time.Minute)
		if got := s.Durable(); got != "p1000" {
			t.Errorf("durable %s", got)
		}
		syncs.Store(0)
		time.Sleep(30 * time.Minute)
		if got := syncs.Load(); got != 0 {
			t.Errorf("%d fsyncs when idle", got)
		}
		var w witness
		if _, err := w.read(files, files.PathJoin(memDir, witnessFile)); err != nil || w.last.position != "p1000" {
			t.Errorf("witness %+v: %v", w.last, err)
		}
	})
}

// TestDurableChanged waits for a position to become durable, as the capture pipeline does.
func TestDurableChanged(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for n := range 20 {
		b := s.NewBatch()
		b.Commit(fmt.Sprint("p", n))
		if err := s.Apply(b); err != nil {
			t.Fatal(err)
		}
		for {
			changed := s.DurableChanged()
			if s.Durable() == s.Position() {
				break
			}
			<-changed
		}
	}
}

// TestCloseBehindStuckCommit closes a spool while a commit waits for the store's log, which cannot
// be written any more: it never comes back, and closing does not wait for it. What it leaves behind
// goes with a process of its own.
func TestCloseBehindStuckCommit(t *testing.T) {
	t.Parallel()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "SPOOL_STUCK=1")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// closeBehindStuckCommit is the process.
func closeBehindStuckCommit() error {
	var full atomic.Bool
	files := faulty(vfs.NewMem(), func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpFileWrite && strings.HasSuffix(op.Path, ".log") {
			return syscall.ENOSPC
		}
		return nil
	})
	s, err := Open(memDir, Options{FS: files, Reserve: -1})
	if err != nil {
		return err
	}
	id, err := s.Register("one")
	if err != nil {
		return err
	}
	if err := s.Flush(context.Background()); err != nil {
		return err
	}
	full.Store(true)
	// The store buffers half a mebibyte of its log.
	go func() { _ = s.Update(id, delivery.Update{State: make([]byte, 900<<10)}) }()
	if err := <-s.Err(); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("failed with %w", err)
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(20 * time.Second):
		return errors.New("Close waits for ever")
	}
}
