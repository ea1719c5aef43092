package spool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Checkpoint makes a copy of the spool in dir, which must not exist, fsynced and fit for Open. It has
// everything that was applied before the call, and may have more; of an open transaction it drops what
// it has when it is opened. The spool goes on working meanwhile. On the same file system the copy
// takes little time and space, since files that never change are shared by hard links; they keep
// their space until both are gone. When it fails nothing is left of it, and the spool is as it was.
func (s *Spool) Checkpoint(ctx context.Context, dir string) error {
	if err := s.checkpointTo(ctx, dir); err != nil {
		return fmt.Errorf("copy spool to %s: %w", dir, err)
	}
	return nil
}

func (s *Spool) checkpointTo(ctx context.Context, dir string) error {
	if found, err := exists(s.options.FS, dir); err != nil || found {
		if found {
			err = fs.ErrExist
		}
		return err
	}
	if err := s.Flush(ctx); err != nil {
		return err
	}
	if err := s.startReading(); err != nil {
		return err
	}
	defer s.reading.RUnlock()
	s.durable.mu.Lock()
	synced := s.durable.seal // the copy has all of it
	s.durable.mu.Unlock()
	err := s.db.Checkpoint(dir)
	if err == nil {
		err = s.attest(dir, synced)
	}
	if err != nil {
		return errors.Join(err, s.options.FS.RemoveAll(dir))
	}
	return nil
}

// attest gives a copy its witness, without which it is none, and makes it private.
func (s *Spool) attest(dir string, synced seal) error {
	if _, onDisk := s.options.FS.(privateFS); onDisk {
		if err := os.Chmod(dir, 0o700); err != nil {
			return err
		}
	}
	w, _, err := openWitness(s.options.FS, dir)
	if err != nil {
		return err
	}
	return joinClose(w.write(synced), w)
}
