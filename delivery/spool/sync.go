package spool

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// sealInterval is how far the witness may lag behind the last sync.
const sealInterval = time.Second

// durable is what has been synced.
type durable struct {
	syncing sync.Mutex // one sync at a time
	sealing sync.Mutex // likewise for the witness

	mu       sync.Mutex
	ops      uint64
	seal     seal
	position string
	changed  chan struct{}
}

// publish announces what is now synced.
func (d *durable) publish(ops uint64, c commitRecord) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ops, d.position = ops, c.position
	d.seal = seal{ops: ops, seq: c.seq, position: c.position}
	close(d.changed)
	d.changed = make(chan struct{})
}

func (d *durable) get() (ops uint64, position string, changed <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops, d.position, d.changed
}

// Durable returns the last committed position that has been fsynced, which is what may be
// confirmed to the source; empty when there is none.
func (s *Spool) Durable() string {
	_, position, _ := s.durable.get()
	return position
}

// DurableChanged returns a channel that is closed at the next sync. Take it before
// looking at Durable.
func (s *Spool) DurableChanged() <-chan struct{} {
	_, _, changed := s.durable.get()
	return changed
}

// Position returns the last committed position, synced or not; empty when there is none.
func (s *Spool) Position() string {
	s.write.Lock()
	defer s.write.Unlock()
	return s.committed.position
}

// Flush returns once everything applied before the call is fsynced.
func (s *Spool) Flush(ctx context.Context) error {
	s.write.Lock()
	target := s.ops
	s.write.Unlock()
	for {
		ops, _, changed := s.durable.get()
		if ops >= target {
			return s.failed()
		}
		select {
		case s.force <- struct{}{}:
		default:
		}
		select {
		case <-changed:
		case <-s.fatal:
			return s.failed()
		case <-s.stop:
			return errClosed
		case <-ctx.Done():
			return fmt.Errorf("flush spool: %w", context.Cause(ctx))
		}
	}
}

// syncLoop shares fsyncs: at most one per Options.Sync while something is unsynced, at
// once when somebody waits, none when idle. It keeps the witness behind them.
func (s *Spool) syncLoop() {
	defer s.workers.Done()
	pace := time.NewTimer(0)
	defer pace.Stop()
	seal := time.NewTimer(sealInterval)
	seal.Stop()
	defer seal.Stop()
	sealing := false
	for {
		select {
		case <-s.stop:
			return
		case <-s.fatal:
			return
		case <-seal.C:
			sealing = false
			if err := s.seal(); err != nil {
				s.fail(err)
				return
			}
			continue
		case <-s.dirty:
		}
		select {
		case <-s.stop:
			return
		case <-s.force:
		case <-pace.C:
		}
		pace.Reset(s.options.Sync)
		if err := s.sync(); err != nil {
			s.fail(err)
			return
		}
		if !sealing {
			sealing = true
			seal.Reset(sealInterval)
		}
	}
}

// sync makes durable what has been applied so far. Appending goes on meanwhile. A
// failed fsync is not repeated: what the kernel did with the pages is not known.
func (s *Spool) sync() error {
	s.durable.syncing.Lock()
	defer s.durable.syncing.Unlock()
	b := s.db.NewBatch()
	s.write.Lock()
	ops, committed := s.ops, s.committed
	if done, _, _ := s.durable.get(); done == ops {
		s.write.Unlock()
		return b.Close()
	}
	err := s.guard("sync spool", func() error {
		if err := b.LogData([]byte{1}, nil); err != nil {
			return err
		}
		return s.db.ApplyNoSyncWait(b, pebble.Sync)
	})
	s.write.Unlock()
	if err == nil {
		err = s.guard("sync spool", b.SyncWait)
	}
	if err != nil {
		return err
	}
	s.durable.publish(ops, committed)
	return b.Close()
}

// restsOnLines says before a commit that it rests on lines of the delivery log, which are written.
// It may be on the disk as soon as it is in the store, so that afterwards is too late.
func (s *Spool) restsOnLines() { s.acknowledged.Store(true) }

// syncLines makes durable what such commits rest on: the lines reach the disk before they do.
func (s *Spool) syncLines() {
	if s.options.BeforeSync == nil {
		return
	}
	s.lines.Lock()
	defer s.lines.Unlock()
	if s.acknowledged.Swap(false) {
		s.options.BeforeSync()
	}
}

// seal brings the witness up to what is synced.
func (s *Spool) seal() error {
	s.durable.sealing.Lock()
	defer s.durable.sealing.Unlock()
	s.durable.mu.Lock()
	now := s.durable.seal
	s.durable.mu.Unlock()
	if now == s.witness.last {
		return nil
	}
	if err := s.failed(); err != nil {
		return err
	}
	return s.witness.write(now)
}
