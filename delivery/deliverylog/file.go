package deliverylog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// rotatedLayout is the time in a rotated file's name: names in order are files in order.
const rotatedLayout = "20060102T150405.000000Z"

// fileError is why a file cannot be a delivery log.
type fileError struct{ text, remedy string }

func (e *fileError) Error() string { return e.text }

// RemedyText says what would do.
func (e *fileError) RemedyText() string { return e.remedy }

// openLogFile opens the file of a delivery log and locks it for this process.
func openLogFile(path string) (logFile, error) {
	// Lines are appended, taken back and renamed: that goes with a file of our own alone. A pipe
	// would block, a device be renamed.
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		what := "not a file"
		if info.Mode()&fs.ModeSymlink != 0 {
			what = "a symbolic link, which a rotation would rename in place of the file"
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: &fileError{"it is " + what, "name a file, or one that is not there yet, in log.deliveries"}}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		_ = f.Close()
		return nil, &fs.PathError{Op: "lock", Path: path, Err: &fileError{"another process writes it",
			"one agent per delivery log: stop the other one, or name another file in log.deliveries"}}
	}
	return f, nil // some network file systems have no locks
}

// openFile opens the file at the log's path and takes its torn end away.
func (l *Log) openFile() error {
	file, err := l.open(l.path)
	if err != nil {
		return fmt.Errorf("open delivery log: %w", err)
	}
	size, err := l.repair(file)
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("repair delivery log %s: %w", l.path, err)
	}
	l.file, l.size, l.torn = file, size, false
	l.begun = firstLineTime(file)
	return nil
}

// repair makes the file end with a whole line and returns its size.
func (l *Log) repair(file logFile) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	whole, err := endOfLines(file, info.Size())
	if err != nil || whole == info.Size() {
		return whole, err
	}
	tail := make([]byte, info.Size()-whole)
	if _, err := file.ReadAt(tail, whole); err != nil {
		return 0, err
	}
	if json.Valid(tail) {
		if _, err := file.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		return info.Size() + 1, nil
	}
	l.logger.Warn("a torn last line was taken off the delivery log", "path", l.path, "bytes", len(tail))
	return whole, file.Truncate(whole)
}

// endOfLines returns the offset after the file's last newline.
func endOfLines(file logFile, size int64) (int64, error) {
	chunk := make([]byte, min(size, 64<<10))
	for end := size; end > 0; {
		start := max(0, end-int64(len(chunk)))
		part := chunk[:end-start]
		if _, err := file.ReadAt(part, start); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return start + int64(i) + 1, nil
		}
		end = start
	}
	return 0, nil
}

// firstLineTime returns the time of a file's first line; zero when there is none.
func firstLineTime(file logFile) time.Time {
	head := make([]byte, len(lineStart)+len(lineTime))
	if n, _ := file.ReadAt(head, 0); n < len(head) || string(head[:len(lineStart)]) != lineStart {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, string(head[len(lineStart):]))
	if err != nil {
		return time.Time{}
	}
	return t
}

// maintain looks at what others may have done with the file, and at what has become too old, each
// once in a while.
func (l *Log) maintain() error {
	now := l.now()
	if l.file == nil || !now.Before(l.nextMoved) {
		if err := l.reopen(); err != nil {
			return err // and the next flush looks again: the log is not to come and go
		}
		l.nextMoved = now.Add(movedCheck)
	}
	if !now.Before(l.nextPrune) {
		l.nextPrune = now.Add(expiryCheck)
		// A file is closed after a thirtieth of its time, so that little stays longer than it
		// should.
		if l.size > 0 && !l.begun.IsZero() && now.Sub(l.begun) > l.keep/30 && l.takeBack() == nil {
			if err := l.rotate(); err != nil {
				l.logger.Warn("the delivery log could not be rotated", "path", l.path, "err", err)
			}
		}
		l.prune()
	}
	return nil
}

// reopen begins a new file when somebody moved ours away, and notices when somebody emptied it.
func (l *Log) reopen() error {
	if l.file == nil {
		return l.openFile()
	}
	ours, err := l.file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(l.path)
	if err == nil && os.SameFile(ours, there) {
		if there.Size() < l.size {
			l.size, l.torn = there.Size(), false
		}
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := l.takeBack(); err != nil {
		return err
	}
	old := l.file
	if err := l.openFile(); err != nil {
		return err
	}
	return errors.Join(old.Sync(), old.Close())
}

// rotate gives the file its final name and begins a new one. After an error the old file is still
// in use, wherever it is.
func (l *Log) rotate() error {
	if err := l.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(l.path, l.rotatedName()); err != nil {
		return err
	}
	old := l.file
	if err := l.openFile(); err != nil {
		return err
	}
	err := errors.Join(old.Close(), syncDir(filepath.Dir(l.path)))
	l.prune()
	return err
}

// rotatedName returns a name that is not in use, as far as that can be seen: where it cannot, the
// rename tells why.
func (l *Log) rotatedName() string {
	prefix, ext := splitLogPath(l.path)
	for at := l.now().UTC(); ; at = at.Add(time.Microsecond) {
		name := prefix + at.Format(rotatedLayout) + ext
		if _, err := os.Lstat(name); err != nil {
			return name
		}
	}
}

// prune removes files that are too old, and the oldest while all are too big together.
func (l *Log) prune() {
	rotated, err := rotatedLogs(l.path)
	if err != nil {
		l.logger.Warn("old files of the delivery log could not be listed", "path", l.path, "err", err)
		return
	}
	total := l.size
	for _, f := range rotated {
		total += f.size
	}
	for _, f := range rotated {
		if l.now().Sub(f.closed) <= l.keep && total <= l.maxTotal {
			return
		}
		total -= f.size
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.logger.Warn("an old file of the delivery log could not be removed", "path", f.path, "err", err)
		}
	}
}

// rotatedLog is a file of the delivery log that is not written any more.
type rotatedLog struct {
	path   string
	closed time.Time
	size   int64
}

// rotatedLogs lists the closed files of the log at path, oldest first: none where there is no
// directory yet.
func rotatedLogs(path string) ([]rotatedLog, error) {
	prefix, ext := splitLogPath(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []rotatedLog
	for _, e := range entries {
		name := filepath.Join(filepath.Dir(path), e.Name())
		middle, ok := strings.CutPrefix(name, prefix)
		if !ok || !strings.HasSuffix(middle, ext) {
			continue
		}
		closed, err := time.Parse(rotatedLayout, strings.TrimSuffix(middle, ext))
		if err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // removed meanwhile
		}
		found = append(found, rotatedLog{name, closed, info.Size()})
	}
	slices.SortFunc(found, func(a, b rotatedLog) int { return a.closed.Compare(b.closed) })
	return found, nil
}

// splitLogPath returns what stands before and after the time in a rotated file's path.
func splitLogPath(path string) (prefix, ext string) {
	path = filepath.Clean(path)
	ext = filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "-", ext
}

// syncDir makes a rename in the directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
