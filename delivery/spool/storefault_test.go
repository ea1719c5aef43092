package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"rowhook/delivery"
)

// faultyDisk fails an operation as an operating system does. Unlike errorfs it has files that are
// reused and files that cannot be closed.
type faultyDisk struct {
	vfs.FS
	fault func(op, name string) error
}

func (d faultyDisk) fails(op, name string) error {
	if err := d.fault(op, path.Base(name)); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (d faultyDisk) open(op, name string, open func() (vfs.File, error)) (vfs.File, error) {
	if err := d.fails(op, name); err != nil {
		return nil, err
	}
	f, err := open()
	if err != nil {
		return nil, err
	}
	return faultyFile{f, d, name}, nil
}

func (d faultyDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.open("create", name, func() (vfs.File, error) { return d.FS.Create(name, c) })
}

func (d faultyDisk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.open("reuse", to, func() (vfs.File, error) { return d.FS.ReuseForWrite(from, to, c) })
}

func (d faultyDisk) OpenDir(name string) (vfs.File, error) {
	return d.open("open", name, func() (vfs.File, error) { return d.FS.OpenDir(name) })
}

func (d faultyDisk) Remove(name string) error {
	if err := d.fails("remove", name); err != nil {
		return err
	}
	return d.FS.Remove(name)
}

type faultyFile struct {
	vfs.File
	disk faultyDisk
	name string
}

func (f faultyFile) Write(p []byte) (int, error) {
	if err := f.disk.fails("write", f.name); err != nil {
		n, _ := f.File.Write(p[:len(p)/2]) // as a disk does that becomes full
		return n, err
	}
	return f.File.Write(p)
}

func (f faultyFile) Sync() error {
	return errors.Join(f.disk.fails("sync", f.name), f.File.Sync())
}

func (f faultyFile) SyncData() error {
	return errors.Join(f.disk.fails("sync", f.name), f.File.SyncData())
}

func (f faultyFile) Stat() (vfs.FileInfo, error) {
	if err := f.disk.fails("stat", f.name); err != nil {
		return nil, err
	}
	return f.File.Stat()
}

func (f faultyFile) Close() error {
	return errors.Join(f.disk.fails("close", f.name), f.File.Close())
}

// storeFault is one operation of the store's that fails, where, and with what.
type storeFault struct {
	op, file string // file's name contains this
	err      syscall.Errno
	at       string // "append", on the caller's goroutine and those it wakes, "later" on one of the store's own, or "open"
}

func (c storeFault) String() string {
	return fmt.Sprintf("%s %s: %v, at %s", c.op, c.file, c.err, c.at)
}

// waitsForRoom says that the store tries again: tables can be written later.
func (c storeFault) waitsForRoom() bool {
	return c.err == syscall.ENOSPC && (c.file == ".sst" || c.file == ".blob" && c.op != "sync" && c.op != "close")
}

func storeFaults() (all []storeFault) {
	four := []syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.ENOENT, syscall.EMFILE}
	two := four[:2]
	for _, of := range []struct {
		op, file string
		errs     []syscall.Errno
		at       []string
	}{
		{"create", ".log", four, []string{"append", "later", "open"}},
		{"reuse", ".log", four, []string{"append", "later"}},
		{"write", ".log", two, []string{"append", "later"}},
		{"sync", ".log", two, []string{"append", "later"}},
		{"close", ".log", two, []string{"append", "later"}},
		{"stat", ".log", two[1:], []string{"append", "later"}},
		{"sync", path.Base(memDir), two, []string{"append", "later", "open"}},
		{"create", "MANIFEST", four, []string{"append", "later", "open"}},
		{"write", "MANIFEST", two, []string{"append", "later", "open"}},
		{"sync", "MANIFEST", two, []string{"append", "later", "open"}},
		{"create", "marker.manifest", two, []string{"append", "open"}},
		{"create", ".sst", four, []string{"append", "later"}},
		{"write", ".sst", two, []string{"append"}},
		{"create", ".blob", four, []string{"append"}},
		{"write", ".blob", two, []string{"append"}},
		{"sync", ".blob", two, []string{"append"}},
		{"close", ".blob", two, []string{"append"}},
	} {
		for i, err := range of.errs {
			for j, at := range of.at {
				if !raceDetector || i == (len(all)+j)%len(of.errs) { // one of them takes long enough there
					all = append(all, storeFault{of.op, of.file, err, at})
				}
			}
		}
	}
	return all
}

// TestStoreFaults has each operation of the store fail: the process lives, the spool says what
// failed and what to do, and whoever opens the directory next has all that was confirmed. It runs in
// a process of its own, since a fault may end that, and leaves goroutines behind.
func TestStoreFaults(t *testing.T) {
	t.Parallel()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), "SPOOL_FAULTS=1")
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out[:min(len(out), 8<<10)])
	}
}

// allStoreFaults is the process.
func allStoreFaults() error {
	all := storeFaults()
	errs := make([]error, len(all))
	var cases sync.WaitGroup
	places := make(chan struct{}, 4)
	for i, c := range all {
		places <- struct{}{}
		cases.Go(func() {
			defer func() { <-places }()
			if err := c.run(); err != nil {
				errs[i] = fmt.Errorf("%v: %w", c, err)
			}
		})
	}
	cases.Wait()
	return errors.Join(errs...)
}

// confirmedAlways is how many events are confirmed before anything fails. The store's memory has
// room for more, so that its first file of log is its last so far.
const confirmedAlways = 3

// faultPatience bounds what waits for the store, on a machine that does much else.
const faultPatience = 2 * time.Minute

func within[T any](what string, c <-chan T) (v T, err error) {
	select {
	case v = <-c:
		return v, nil
	case <-time.After(faultPatience):
		return v, fmt.Errorf("%s takes for ever", what)
	}
}

// storeUnder is a spool on a disk that can be made to fail.
type storeUnder struct {
	fault  storeFault
	disk   *vfs.MemFS
	armed  atomic.Bool
	failed atomic.Int64
	*Spool
	id delivery.ProfileID
}

// fails says whether an operation fails. A disk that is full, or gone, stays so; one that cannot do
// something does the next.
func (u *storeUnder) fails(op, name string) error {
	if !u.armed.Load() || op != u.fault.op || !strings.Contains(name, u.fault.file) {
		return nil
	}
	if u.failed.Add(1) > 1 && u.fault.err == syscall.EIO {
		return nil
	}
	return u.fault.err
}

func (u *storeUnder) options() Options {
	return Options{
		FS: faultyDisk{u.disk, u.fails}, Reserve: -1, History: 1 << 62,
		store: func(o *pebble.Options) {
			o.FlushDelayDeleteRange = 10 * time.Millisecond
			o.MemTableSize = 256 << 10
			if u.fault.file == "MANIFEST" && u.fault.op == "create" || strings.HasPrefix(u.fault.file, "marker") {
				o.MaxManifestFileSize = 1 // each change is to a file of its own
			}
		},
	}
}

func (c storeFault) run() error {
	u := &storeUnder{fault: c, disk: vfs.NewCrashableMem()}
	var err error
	if u.Spool, err = Open(memDir, u.options()); err != nil {
		return err
	}
	if u.id, err = u.Register("one"); err != nil {
		return err
	}
	if err := u.append(0, confirmedAlways); err != nil {
		return err
	}
	if c.op == "reuse" || c.op == "stat" {
		for range 2 {
			if err := u.db.Flush(); err != nil {
				return err
			}
		}
	}
	if err := u.Flush(context.Background()); err != nil {
		return err
	}
	if c.at == "open" {
		return u.open()
	}
	u.armed.Store(true)
	done := make(chan error, 1)
	go func() { done <- u.drive() }()
	if c.waitsForRoom() {
		return u.waits(done)
	}
	told, err := within("failing", u.Err())
	if err != nil {
		return err
	}
	if err := c.orderly(told); err != nil {
		return err
	}
	confirmed := u.Durable()
	if c.file == ".log" || c.file == "MANIFEST" || c.file == path.Base(memDir) { // the store goes on
		if err, late := within("a call into the failed spool", done); late != nil || err == nil {
			return fmt.Errorf("append: %w, %w", err, late)
		}
	}
	closed := make(chan error, 1)
	go func() { closed <- u.Close() }()
	if err, late := within("closing", closed); err != nil || late != nil {
		return fmt.Errorf("close: %w, %w", err, late)
	}
	return u.has(confirmed)
}

// orderly looks whether an error tells operation, subject, cause and remedy.
func (c storeFault) orderly(err error) error {
	var remedied interface{ RemedyText() string }
	if !errors.Is(err, c.err) || !errors.As(err, &remedied) || !strings.Contains(remedied.RemedyText(), "start the agent again") {
		return fmt.Errorf("told %w, which is not the cause or has no remedy", err)
	}
	if said := err.Error(); !strings.Contains(said, "spool: ") && !strings.Contains(said, "in the background: ") || !strings.Contains(said, c.op+" "+memDir) {
		return fmt.Errorf("told %w, without operation or subject", err)
	}
	return nil
}

// noise is the data of event n, which does not become smaller.
func noise(n int) []byte {
	data := make([]byte, 16<<10)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(data)
	return data
}

func (u *storeUnder) append(from, to int) error {
	b := u.NewBatch()
	for n := from; n < to; n++ {
		ev := testEvent(n)
		ev.Data = noise(n)
		b.Add(ev, []delivery.ProfileID{u.id})
	}
	b.Commit(fmt.Sprint("p", to))
	return u.Apply(b)
}

// drive has the store come to what fails.
func (u *storeUnder) drive() error {
	if u.fault.at == "later" {
		w := u.db.NewBatch()
		if err := w.DeleteRange([]byte("z0"), []byte("z1"), nil); err != nil {
			return err
		}
		if err := u.commit(w, nil); err != nil {
			return err
		}
		if u.fault.waitsForRoom() {
			return nil
		}
		<-u.fatal
		return u.Spool.failed()
	}
	for n := confirmedAlways; n < 150; n += 4 { // twice what memtables hold
		if err := u.append(n, n+4); err != nil {
			return err
		}
	}
	return nil
}

// waits looks whether a spool whose disk is full says so, and goes on when there is room again.
func (u *storeUnder) waits(done <-chan error) error {
	var full *NoRoomError
	for !errors.As(u.Room(), &full) {
		select {
		case err := <-u.Err():
			return err
		case <-time.After(time.Millisecond):
		}
	}
	u.armed.Store(false)
	if err, late := within("appending", done); err != nil && !errors.As(err, &full) || late != nil {
		return fmt.Errorf("append to a full disk: %w, %w", err, late)
	}
	position := u.Position()
	if err := errors.Join(u.Flush(context.Background()), u.Close()); err != nil {
		return err
	}
	return u.has(position)
}

// open opens what is on the disk, as a crash leaves it, while the operation fails.
func (u *storeUnder) open() error {
	left := &storeUnder{fault: u.fault, disk: u.disk.CrashClone(vfs.CrashCloneCfg{})}
	confirmed := u.Durable()
	if err := u.Close(); err != nil {
		return err
	}
	left.armed.Store(true)
	type result struct {
		s   *Spool
		err error
	}
	opened := make(chan result, 1)
	go func() {
		s, err := Open(memDir, left.options())
		opened <- result{s, err}
	}()
	r, err := within("opening", opened)
	if err != nil {
		return err
	}
	var full *NoRoomError
	if !errors.As(r.err, &full) {
		if err := u.fault.orderly(r.err); err != nil {
			return err
		}
	}
	left.armed.Store(false)
	return left.has(confirmed)
}

// has opens what is left on the disk, by a process that was killed and by a power cut, and looks
// for what was confirmed.
func (u *storeUnder) has(confirmed string) error {
	unsynced := []int{100, 0}
	if raceDetector {
		unsynced = unsynced[:1]
	}
	for _, kept := range unsynced {
		left := u.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: newRand(1)})
		s, err := Open(memDir, Options{FS: left, Reserve: -1, History: 1 << 62})
		if err != nil {
			return fmt.Errorf("open with %d %% of what was not synced: %w", kept, err)
		}
		var want, has int
		fmt.Sscanf(confirmed, "p%d", &want)
		fmt.Sscanf(s.Position(), "p%d", &has)
		id, err := s.Register("one")
		if err != nil {
			return err
		}
		n := 0
		for from, end := delivery.Seq(1), false; !end; {
			var entries []delivery.Entry
			if entries, from, end, err = s.Read(id, from, nil, 100, 1<<20); err != nil {
				return err
			}
			for _, e := range entries {
				if n++; !bytes.Equal(e.Event.Data, noise(n-1)) {
					return fmt.Errorf("event %d is another", n)
				}
			}
		}
		if n != has || has < want || want < confirmedAlways {
			return fmt.Errorf("with %d %% of what was not synced: %d events at p%d, confirmed was %q", kept, n, has, confirmed)
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	return nil
}

// TestDirectoryGone: a spool whose directory was removed ends before anything more is confirmed.
func TestDirectoryGone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	s, err := Open(dir, testOptions(t))
	if err != nil {
		t.Fatal(err)
	}
	appendEvents(t, s, 0, 1)
	flush(t, s)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	var remedied interface{ RemedyText() string }
	for err = nil; err == nil; err = s.Room() { // which looks ten times a second
		runtime.Gosched()
	}
	if !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &remedied) {
		t.Errorf("Room: %v", err)
	}
	if err := <-s.Err(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("Err: %v", err)
	}
	b := s.NewBatch()
	b.Commit("p2")
	if err := s.Apply(b); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Apply: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.db.Close(); err != nil {
		t.Log(err) // for the leak check: a process would simply end
	}
}
