package spool

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// privateMode is that of the spool's files, which hold row data: nobody but their owner reads them,
// also where a copy of them lies in a directory that others may enter, and whatever umask the agent
// was started with.
const privateMode fs.FileMode = 0o600

// privateFS makes the files that the store makes with its owner's rights alone.
type privateFS struct{ vfs.FS }

// Unwrap implements [vfs.FS].
func (p privateFS) Unwrap() vfs.FS { return p.FS }

// Create implements [vfs.FS].
func (p privateFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := p.FS.Create(name, category)
	return p.keep(f, err, name)
}

// OpenReadWrite implements [vfs.FS].
func (p privateFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := p.FS.OpenReadWrite(name, category, opts...)
	return p.keep(f, err, name)
}

// Lock implements [vfs.FS].
func (p privateFS) Lock(name string) (io.Closer, error) {
	lock, err := p.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, privateMode); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

func (p privateFS) keep(f vfs.File, err error, name string) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, privateMode); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// makePrivate takes others' rights from files that are there already.
func makePrivate(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().Perm()&0o077 == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		return os.Chmod(path, privateMode)
	})
}
