package spool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const holderFile = "holder"

// lockDir takes the directory's lock, or says who has it.
func lockDir(dir string, files vfs.FS) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, files)
	if err == nil {
		return lock, nil
	}
	// fcntl itself reports a held lock as one of these; a file that cannot be created is a
	// PathError.
	var path *fs.PathError
	held := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) && !errors.As(err, &path) ||
		strings.Contains(err.Error(), "held by current process")
	if !held {
		return nil, fmt.Errorf("lock spool %s: %w", dir, err)
	}
	locked := &LockedError{Dir: dir}
	if b, err := readFile(files, files.PathJoin(dir, holderFile)); err == nil {
		// Who holds it is a courtesy: without a name the lock says enough.
		_ = json.Unmarshal(b, &locked.Holder)
	}
	return nil, locked
}

// writeHolder leaves our name beside the lock, for those who are refused.
func writeHolder(dir string, passing bool, files vfs.FS) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	b, err := json.Marshal(Holder{PID: os.Getpid(), Host: host, Since: time.Now().UTC().Truncate(time.Second), Passing: passing})
	if err != nil {
		return fmt.Errorf("name the spool's holder: %w", err)
	}
	f, err := files.Create(files.PathJoin(dir, holderFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("name the spool's holder: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("name the spool's holder: %w", err)
	}
	return nil
}

func readFile(files vfs.FS, name string) ([]byte, error) {
	f, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

func exists(files vfs.FS, name string) (bool, error) {
	_, err := files.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func baseName(path string) string { return filepath.Base(path) }
