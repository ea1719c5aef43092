package spool

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// logGuard watches the files of the store's log, for two things.
//
// Before one is synced the delivery log is, if acknowledgements may be in it. That cannot be done
// where a sync is asked for: what is written until the store gets to it becomes durable too, and
// the store syncs a file also when it begins the next.
//
// When one cannot be written, Pebble panics at the next change of files, in a place that leaves its
// locks so that the whole process dies without a word. So the failure is told here, where it
// happens first, and the writer stays where it is: the spool has failed, and calls that wait for
// the log do not return.
type logGuard struct {
	vfs.FS
	s *Spool
}

func (g logGuard) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.guard(name)(g.FS.Create(name, category))
}

func (g logGuard) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return g.guard(to)(g.FS.ReuseForWrite(from, to, category))
}

func (g logGuard) guard(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err == nil && strings.HasSuffix(name, ".log") {
			f = guardedLog{f, g.s}
		}
		return f, err
	}
}

// guardedLog is a file of the store's log.
type guardedLog struct {
	vfs.File
	s *Spool
}

func (f guardedLog) Sync() error {
	f.s.syncLines()
	return f.File.Sync()
}

func (f guardedLog) SyncData() error {
	f.s.syncLines()
	return f.File.SyncData()
}

func (f guardedLog) SyncTo(length int64) (whole bool, err error) {
	f.s.syncLines()
	return f.File.SyncTo(length)
}

func (f guardedLog) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	if err == nil {
		return n, nil
	}
	_ = f.s.breaks(fmt.Errorf("write spool: %w", err)) // Err tells it
	select {}
}
