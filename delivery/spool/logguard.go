package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// fileGuard stands between the store and its files, for three things.
//
// Before a file of the log is synced the delivery log is, if acknowledgements may be in it. That
// cannot be done where a sync is asked for: what is written until the store gets to it becomes
// durable too, and the store syncs a file also when it begins the next.
//
// What fails in the log or in the list of tables, the MANIFEST, is told here, and the store never
// hears of it. Pebble closes its log and begins the next without its lock, and panics or ends the
// goroutine if that fails: the unlock that its caller has deferred then ends the whole process
// without a word. It has one failure for all that was ever written to a file and reports it when the
// file is closed. So the spool breaks, which everybody sees who looks for what became of a write
// ([Spool.guard]), and the store goes on with files that take everything and keep nothing. The same
// holds for files of values: Pebble closes one twice that cannot be finished, which panics on a
// goroutine of its own.
//
// What the store has on the disk stays as it is once the spool is broken. The store would go on: it
// would put what it has in memory into tables and remove the log that holds it. No file is removed
// any more, and nothing is written to the log and the MANIFEST. Tables that are still made are left
// as a crash leaves them, so that a commit that waits for one returns; once the spool is left none
// is made.
type fileGuard struct {
	vfs.FS
	s *Spool
}

// Create implements [vfs.FS].
func (g fileGuard) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.made(name, func() (vfs.File, error) { return g.FS.Create(name, category) })
}

// ReuseForWrite implements [vfs.FS].
func (g fileGuard) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.made(to, func() (vfs.File, error) { return g.FS.ReuseForWrite(from, to, category) })
}

// OpenDir implements [vfs.FS].
func (g fileGuard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err == nil && g.FS.PathJoin(name) == g.FS.PathJoin(g.s.dir) {
		f = guardedDir{f, name, g.s}
	}
	return f, err
}

// Link implements [vfs.FS].
func (g fileGuard) Link(from, to string) error {
	return g.change(func() error { return g.FS.Link(from, to) })
}

// Rename implements [vfs.FS].
func (g fileGuard) Rename(from, to string) error {
	return g.change(func() error { return g.FS.Rename(from, to) })
}

// Remove implements [vfs.FS].
func (g fileGuard) Remove(name string) error {
	if g.s.isBroken() {
		return nil
	}
	return g.FS.Remove(name)
}

// change renames or links, unless the spool is broken.
func (g fileGuard) change(do func() error) error {
	if g.s.isBroken() {
		return g.s.failed()
	}
	return do()
}

// made opens a file for writing. Files of a copy, which are in a directory of its own, are not
// guarded: a copy that fails costs the copy.
func (g fileGuard) made(name string, open func() (vfs.File, error)) (vfs.File, error) {
	if g.FS.PathDir(name) != g.FS.PathJoin(g.s.dir) {
		return open()
	}
	base := g.FS.PathBase(name)
	log := strings.HasSuffix(base, ".log")
	list := strings.HasPrefix(base, "MANIFEST-") || strings.HasPrefix(base, "marker.") // which one counts
	f, err := vfs.File(nil), g.s.failed()
	if !g.s.isBroken() || !log && !list && !g.s.isLeft() {
		f, err = open()
	}
	if err != nil {
		if log || list {
			g.s.lost("create", name, err)
			return &guardedFile{lostFile{name: base}, name, g.s}, nil
		}
		if errors.Is(err, fs.ErrNotExist) { // the directory has gone
			g.s.lost("create", name, err)
		}
		return nil, err
	}
	own := guardedFile{f, name, g.s}
	switch {
	case log:
		return &guardedLog{own}, nil
	case strings.HasSuffix(base, ".blob"):
		return &guardedValues{own}, nil
	case list:
		return &own, nil
	}
	return f, nil
}

// isLeft says that nobody uses the spool any more.
func (s *Spool) isLeft() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// lost breaks the spool over an operation on one of the store's files.
func (s *Spool) lost(op, name string, err error) {
	if !errors.As(err, new(*fs.PathError)) && !errors.As(err, new(*os.LinkError)) {
		err = &fs.PathError{Op: op, Path: name, Err: err}
	}
	_ = s.breaks(fmt.Errorf("write spool: %w", err)) // Err tells it
}

// guardedFile is a file whose methods do not fail.
type guardedFile struct {
	vfs.File
	name string
	s    *Spool
}

// try does an operation, unless the spool is broken.
func (f *guardedFile) try(op string, do func() error) {
	if f.s.isBroken() {
		return
	}
	if err := do(); err != nil {
		f.s.lost(op, f.name, err)
	}
}

// Sync implements [vfs.File].
func (f *guardedFile) Sync() error {
	f.try("sync", f.File.Sync)
	return nil
}

// SyncData implements [vfs.File].
func (f *guardedFile) SyncData() error {
	f.try("sync", f.File.SyncData)
	return nil
}

// SyncTo implements [vfs.File].
func (f *guardedFile) SyncTo(length int64) (whole bool, err error) {
	f.try("sync", func() (err error) { whole, err = f.File.SyncTo(length); return err })
	return whole, nil
}

// Write implements [vfs.File].
func (f *guardedFile) Write(p []byte) (int, error) {
	f.try("write", func() error { _, err := f.File.Write(p); return err })
	return len(p), nil
}

// Stat implements [vfs.File].
func (f *guardedFile) Stat() (info vfs.FileInfo, err error) {
	f.try("stat", func() error { info, err = f.File.Stat(); return err })
	if info == nil {
		info = lostFile{name: f.name}
	}
	return info, nil
}

// Close implements [vfs.File].
func (f *guardedFile) Close() error {
	if err := f.File.Close(); err != nil && !f.s.isBroken() {
		f.s.lost("close", f.name, err)
	}
	return nil
}

// guardedLog is a file of the store's log.
type guardedLog struct{ guardedFile }

// Sync implements [vfs.File].
func (f *guardedLog) Sync() error {
	f.s.syncLines()
	return f.guardedFile.Sync()
}

// SyncData implements [vfs.File].
func (f *guardedLog) SyncData() error {
	f.s.syncLines()
	return f.guardedFile.SyncData()
}

// SyncTo implements [vfs.File].
func (f *guardedLog) SyncTo(length int64) (whole bool, err error) {
	f.s.syncLines()
	return f.guardedFile.SyncTo(length)
}

// guardedValues is a file of the log's values.
type guardedValues struct{ guardedFile }

// Write implements [vfs.File]. On a full disk it waits for room, as the store itself does with files
// of keys; appending stops meanwhile.
func (f *guardedValues) Write(p []byte) (int, error) {
	rest := p
	f.try("write", func() error {
		for last := f.s.opening.Load(); ; {
			n, err := f.File.Write(rest)
			rest = rest[n:]
			if !errors.Is(err, syscall.ENOSPC) || last {
				return err
			}
			f.s.room.refuse(err)
			select {
			case <-f.s.closing:
				last = true
			case <-f.s.fatal:
				last = true
			case <-time.After(backgroundPause):
			}
		}
	})
	return len(p), nil
}

// guardedDir is the store's directory, whose syncs are the log's, too.
type guardedDir struct {
	vfs.File
	name string
	s    *Spool
}

// Sync implements [vfs.File].
func (d guardedDir) Sync() error {
	if d.s.isBroken() {
		return nil
	}
	if err := d.File.Sync(); err != nil {
		d.s.lost("sync", d.name, err)
	}
	return nil
}

// lostFile is what the store writes to where a file could not be made, and what that says of itself.
type lostFile struct {
	vfs.File // nil: guardedFile asks a broken spool's file for nothing but what is here
	name     string
}

// Close implements [vfs.File].
func (f lostFile) Close() error { return nil }

// Preallocate implements [vfs.File].
func (f lostFile) Preallocate(_, _ int64) error { return nil }

// Prefetch implements [vfs.File].
func (f lostFile) Prefetch(_, _ int64) error { return nil }

// Fd implements [vfs.File].
func (f lostFile) Fd() uintptr { return vfs.InvalidFd }

// Name implements [vfs.FileInfo].
func (f lostFile) Name() string { return f.name }

// Size implements [vfs.FileInfo].
func (f lostFile) Size() int64 { return 0 }

// Mode implements [vfs.FileInfo].
func (f lostFile) Mode() fs.FileMode { return privateMode }

// ModTime implements [vfs.FileInfo].
func (f lostFile) ModTime() time.Time { return time.Time{} }

// IsDir implements [vfs.FileInfo].
func (f lostFile) IsDir() bool { return false }

// Sys implements [vfs.FileInfo].
func (f lostFile) Sys() any { return nil }

// DeviceID implements [vfs.FileInfo].
func (f lostFile) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
