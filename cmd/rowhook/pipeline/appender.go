package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"rowhook/capture"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/spool"
)

// appender stores batches, one after the other, with their lines of the delivery log. Only the
// goroutine of [Pipeline.Run] uses it, but for since.
type appender struct {
	spool   *spool.Spool
	journal Journal
	log     *deliverylog.Log
	logger  *slog.Logger
	// roomless is told that a batch waits for room on the disk, and that it does not any more.
	roomless  func(yes bool)
	storing   atomic.Int64 // since when a batch is stored, Unix nanoseconds; 0 while none is
	reclaimer capture.Reclaimer
}

// store stores a batch. stored is false without an error when the agent was told to stop while there
// was no room: the source repeats it after the restart.
func (a *appender) store(ctx context.Context, b *storeBatch) (stored bool, err error) {
	a.storing.Store(time.Now().UnixNano())
	defer a.storing.Store(0)
	if b.abort {
		if err := a.journal.Abort(); err != nil {
			return false, fmt.Errorf("drop an open transaction from the spool: %w", err)
		}
	}
	if stored, err := a.apply(ctx, b.batch); !stored {
		return false, err
	}
	for i := range b.lines {
		a.log.Append(&b.lines[i])
	}
	return true, nil
}

// apply writes a batch into the spool. A full disk is waited for: nothing is lost, since the
// position does not move and the source pauses meanwhile.
func (a *appender) apply(ctx context.Context, batch *spool.Batch) (applied bool, err error) {
	for {
		var full *spool.NoRoomError
		err := a.journal.Apply(batch)
		if err == nil {
			return true, nil
		}
		if !errors.As(err, &full) {
			return false, fmt.Errorf("append to the spool: %w", err)
		}
		a.logger.Error("spool cannot grow: the source is paused", "err", err, "remedy", full.RemedyText())
		a.roomless(true)
		if a.spool.WaitRoom(ctx) != nil {
			return false, nil
		}
		a.roomless(false)
	}
}

// done empties a batch, and tells those who wait for it where it was stored.
func (a *appender) done(b *storeBatch, stored bool) {
	bytes, waiting := b.batch.Bytes(), b.stored
	b.empty()
	if bytes >= capture.LargeChange {
		a.reclaimer.Add(int64(bytes))
	}
	if stored {
		for _, told := range waiting {
			close(told)
		}
	}
}

// since is since when a batch is stored; zero while none is.
func (a *appender) since() time.Time {
	if at := a.storing.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}
