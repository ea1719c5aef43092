package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// roomInterval is how often the disk is asked for its free space, at most. Within a second, deliveries
// may write more than a small reserve has.
const roomInterval = 100 * time.Millisecond

// room knows whether there is space for appending.
type room struct {
	files   vfs.FS
	dir     string
	reserve int64

	mu      sync.Mutex
	checked time.Time
	free    int64
	refused error // ENOSPC from the disk, until there is more than the reserve again
}

// refuse notes that the disk refused a write.
func (r *room) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = err
}

// check returns a *NoRoomError when there is none. It asks the disk once an interval.
func (r *room) check(now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if since := now.Sub(r.checked); since < 0 || since >= roomInterval {
		// Open files would go on being written to, and confirmed, where nobody finds them again. The
		// directory is looked for by a file that it always has, since a mount point stays.
		if _, err := r.files.Stat(r.files.PathJoin(r.dir, witnessFile)); err != nil {
			return fmt.Errorf("look at spool: %w", err)
		}
		usage, err := r.files.GetDiskUsage(r.dir)
		if errors.Is(err, vfs.ErrUnsupported) {
			usage.AvailBytes, err = math.MaxInt64, nil
		}
		if err != nil {
			return fmt.Errorf("ask for free space of %s: %w", r.dir, err)
		}
		r.checked, r.free = now, int64(min(usage.AvailBytes, math.MaxInt64))
		if r.free >= r.reserve {
			r.refused = nil
		}
	}
	if r.free < r.reserve || r.refused != nil {
		return &NoRoomError{Free: r.free, Reserve: r.reserve, Err: r.refused}
	}
	return nil
}

// Room reports whether there is room to append: nil, or a [*NoRoomError] while the disk has
// less free space than Options.Reserve or has refused a write. A directory that is no longer there,
// because it was removed or unmounted, is the spool's end.
func (s *Spool) Room() error {
	if err := s.failed(); err != nil {
		return err
	}
	err := s.room.check(time.Now())
	if errors.Is(err, fs.ErrNotExist) {
		err = s.breaks(fmt.Errorf("the spool's directory has gone: %w", err))
	}
	return err
}

// Scarce reports whether deliveries, too, are to wait: half of the reserve is for what they write, and
// half for what the store then writes by itself, which merges its tables. While they wait already there
// must be an eighth more: what comes and goes around the half, such as history, does not start and stop them.
func (e *NoRoomError) Scarce(already bool) bool {
	most := e.Reserve / 2
	if already {
		most += e.Reserve / 8
	}
	return e.Err != nil || e.Free < most
}

// WaitRoom returns when there is room to append, or with the error of ctx or of the spool.
func (s *Spool) WaitRoom(ctx context.Context) error {
	ticker := time.NewTicker(roomInterval)
	defer ticker.Stop()
	for s.Room() != nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.stop:
			return errClosed
		case <-s.fatal:
			return s.failed()
		case <-ticker.C:
		}
	}
	return s.failed()
}

// available returns the free space as last asked for.
func (r *room) available() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.free
}
