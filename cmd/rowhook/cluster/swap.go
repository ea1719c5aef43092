package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Beside a spool's directory lie, while another takes its place, the one that is being made and the
// one that goes.
const (
	freshSuffix = ".fetched"
	oldSuffix   = ".old"
)

// swapDir puts the directory dir.fetched, which is whole and fsynced, in the place of dir. It may end
// anywhere: recoverSwap goes on with it.
func swapDir(dir string) error {
	if err := os.RemoveAll(dir + oldSuffix); err != nil {
		return err
	}
	if err := os.Rename(dir, dir+oldSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return finishSwap(dir)
}

// finishSwap is the rest of it, once dir has made way.
func finishSwap(dir string) error {
	if err := os.Rename(dir+freshSuffix, dir); err != nil {
		return err
	}
	if err := syncParent(dir); err != nil {
		return err
	}
	return os.RemoveAll(dir + oldSuffix)
}

// recoverSwap finishes what a swapDir began that did not end, and takes away what was not whole. It is
// called before dir is looked at.
func recoverSwap(dir string) error {
	found := func(name string) bool { _, err := os.Stat(name); return err == nil }
	err := func() error {
		switch here, old, fresh := found(dir), found(dir+oldSuffix), found(dir+freshSuffix); {
		case !here && old && fresh: // dir makes way for what is whole
			return finishSwap(dir)
		case !here && old:
			return errors.Join(os.Rename(dir+oldSuffix, dir), syncParent(dir))
		}
		return errors.Join(os.RemoveAll(dir+freshSuffix), os.RemoveAll(dir+oldSuffix))
	}()
	if err != nil {
		return fmt.Errorf("put a directory in the place of %s: %w", dir, err)
	}
	return nil
}

// syncParent makes durable which directories there are beside dir.
func syncParent(dir string) error { return syncDir(filepath.Dir(dir)) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
