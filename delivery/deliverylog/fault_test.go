package deliverylog

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"rowhook/delivery"
)

// faultyDisk opens files that fail as the test says.
type faultyDisk struct {
	mu       sync.Mutex
	room     int // bytes that can be written before it is full; -1: no limit
	err      error
	truncate error
	sync     error
	openErr  error
}

var errDiskFull = errors.New("no space left on device")

func (d *faultyDisk) set(f func(*faultyDisk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

func (d *faultyDisk) open(path string) (logFile, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.openErr != nil {
		return nil, d.openErr
	}
	f, err := openLogFile(path)
	if err != nil {
		return nil, err
	}
	return &faultyFile{f, d}, nil
}

type faultyFile struct {
	logFile
	disk *faultyDisk
}

func (f *faultyFile) Write(p []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.room < 0 || len(p) <= f.disk.room {
		if f.disk.room >= 0 {
			f.disk.room -= len(p)
		}
		return f.logFile.Write(p)
	}
	n, _ := f.logFile.Write(p[:f.disk.room])
	f.disk.room = 0
	return n, f.disk.err
}

func (f *faultyFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.truncate != nil {
		return f.disk.truncate
	}
	return f.logFile.Truncate(size)
}

func (f *faultyFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.disk.sync
}

// TestLogLosesNothingOnAFullDisk fills the disk at every byte of a batch, and gives room again.
func TestLogLosesNothingOnAFullDisk(t *testing.T) {
	t.Parallel()
	size := len(AppendLine(nil, &delivery.LogRecord{Time: logNow, Profile: "desk", Outcome: delivery.OutcomeDelivered, Event: "evt_1"}, 0)) + 1
	for room := 0; room < 3*size; room += 7 {
		for _, noTruncate := range []bool{false, true} {
			disk := &faultyDisk{room: -1}
			l := setupLog(t, Options{}, disk.open)
			l.add(1)
			flushed(t, l)
			disk.set(func(d *faultyDisk) { d.room, d.err = room, errDiskFull })
			if noTruncate {
				disk.set(func(d *faultyDisk) { d.truncate = errDiskFull })
			}
			l.add(3)
			for range 3 {
				if err := l.Flush(); !errors.Is(err, errDiskFull) || !errors.Is(l.Err(), errDiskFull) {
					t.Fatalf("room %d: flush %v, err %v", room, err, l.Err())
				}
				l.add(1)
			}
			disk.set(func(d *faultyDisk) { d.room, d.truncate = -1, nil })
			flushed(t, l)
			if l.Err() != nil {
				t.Errorf("room %d: err stays %v", room, l.Err())
			}
			l.assertAll(t, 7)
			_ = l.Close()
		}
	}
}

func TestLogShortWriteIsAnError(t *testing.T) {
	t.Parallel()
	disk := &faultyDisk{room: 30}
	l := setupLog(t, Options{}, disk.open)
	l.add(2)
	if err := l.Flush(); err == nil {
		t.Fatal("a short write passed")
	}
	disk.set(func(d *faultyDisk) { d.room = -1 })
	flushed(t, l)
	l.assertAll(t, 2)
}

// A directory that cannot be looked into is an error of the rotation, not a name in use.
func TestLogGoesOnWhenItsDirectoryIsGone(t *testing.T) {
	t.Parallel()
	l := setupLog(t, Options{Path: filepath.Join(t.TempDir(), "log", "deliveries.jsonl"), MaxSize: 500}, nil)
	dir := filepath.Dir(l.path)
	l.add(3)
	flushed(t, l)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l.add(20)
	flushed(t, l) // to the file that is still open
	l.clock.move(2 * movedCheck)
	for range 2 {
		l.add(1)
		if err := l.Flush(); err == nil {
			t.Error("the log's path is no file, and nothing is said")
		}
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Fatal(err)
	}
	flushed(t, l)
	l.assertAll(t, 25)
}

func TestLogGoesOnWhenItCannotRotate(t *testing.T) {
	t.Parallel()
	disk := &faultyDisk{room: -1}
	l := setupLog(t, Options{MaxSize: 500}, disk.open)
	l.add(3)
	flushed(t, l)
	disk.set(func(d *faultyDisk) { d.sync = errDiskFull })
	l.add(20)
	flushed(t, l)
	if rotated, _ := rotatedLogs(l.path); len(rotated) != 0 {
		t.Errorf("%d rotated files", len(rotated))
	}
	disk.set(func(d *faultyDisk) { d.sync = nil })
	l.clock.move(2 * rotateRetry)
	l.add(20)
	flushed(t, l)
	if rotated, _ := rotatedLogs(l.path); len(rotated) == 0 {
		t.Error("never rotated again")
	}
	l.assertAll(t, 43)
}

// TestLogComesBackAfterALostFile cannot open the next file for a while: the lines wait.
func TestLogComesBackAfterALostFile(t *testing.T) {
	t.Parallel()
	disk := &faultyDisk{room: -1}
	l := setupLog(t, Options{}, disk.open)
	l.add(1)
	flushed(t, l)
	_ = os.Remove(l.path)
	disk.set(func(d *faultyDisk) { d.openErr = errDiskFull })
	l.clock.move(2 * time.Second)
	l.add(1)
	if err := l.Flush(); !errors.Is(err, errDiskFull) {
		t.Fatalf("flush: %v", err)
	}
	disk.set(func(d *faultyDisk) { d.openErr = nil })
	l.clock.move(2 * time.Second)
	flushed(t, l)
	if got := l.lines(t); len(got) != 1 || got[0] != "evt_2" {
		t.Errorf("lines %v", got)
	}
}

func TestLogSyncAndCloseTellTheirErrors(t *testing.T) {
	t.Parallel()
	disk := &faultyDisk{room: -1, sync: errDiskFull}
	l := setupLog(t, Options{}, disk.open)
	if err := l.Sync(); !errors.Is(err, errDiskFull) {
		t.Errorf("sync: %v", err)
	}
	disk.set(func(d *faultyDisk) { d.room, d.err = 0, errDiskFull })
	l.add(1)
	if err := l.Close(); !errors.Is(err, errDiskFull) {
		t.Errorf("close: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
}
