package deliverylog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"rowhook/delivery"
)

const (
	maxUnwritten = 1 << 20         // bytes of lines beyond which Append writes them itself
	keptBuffer   = 4 << 20         // a buffer that has grown beyond this is not kept
	movedCheck   = time.Second     // how often the path is looked at for a file moved away
	expiryCheck  = time.Minute     // how often old files are looked for
	rotateRetry  = 1 * time.Minute // after a rotation that failed
)

// Options say where the delivery log is and how much of it is kept. Only Path is
// required.
type Options struct {
	Path     string
	MaxSize  int64            // of one file in bytes; default 100 MiB
	Keep     time.Duration    // of files; default 30 days
	MaxTotal int64            // of all files in bytes; default 5 GiB
	Body     int              // characters kept of each body; 0 keeps row data out altogether
	Logger   *slog.Logger     // for what was repaired or removed; nil is silent
	Now      func() time.Time // default time.Now
}

// Log is the delivery log: JSON objects, one a line, in a file that is rotated. It is
// safe for concurrent use.
//
// Lines go to a buffer and from there to the file with one write a flush. A line that was
// appended is never lost while the process lives: when a write fails, what is not in the file
// stays in the buffer, each Flush tries again and says what is wrong, and a line that came to the
// file in part is taken back first. Lines are in the kernel's hands after Flush, so that they
// survive the process; [Log.Sync] makes them survive the machine.
//
// One process writes a file; a second is refused.
type Log struct {
	path     string
	maxSize  int64
	maxTotal int64
	keep     time.Duration
	bodyMax  int
	logger   *slog.Logger
	now      func() time.Time
	open     func(path string) (logFile, error)

	mu    sync.Mutex // guards lines and err, and is never held while writing
	lines []byte     // appended and not taken by a flush
	err   error      // of the last flush

	writing   sync.Mutex // held by the flush; guards everything below
	buffer    []byte     // what rest is a part of
	rest      []byte     // whole lines on their way to the file
	file      logFile    // nil after it could not be opened again
	size      int64      // of the whole lines in file
	begun     time.Time  // when the first of them was written
	torn      bool       // file holds a part of a line beyond size
	closed    bool
	nextMoved time.Time
	nextPrune time.Time
	noRotate  time.Time // until then the file grows beyond maxSize
}

// logFile is what the log needs of a file.
type logFile interface {
	io.Writer
	io.ReaderAt
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
	Close() error
}

// Open opens the delivery log for appending, creating its directory (0700) and file (0600) as
// needed. A torn last line, left by a kill or a power loss, is taken away.
func Open(o Options) (*Log, error) {
	return openLog(o, openLogFile)
}

func openLog(o Options, open func(string) (logFile, error)) (*Log, error) {
	defaults := delivery.DefaultLogConfig()
	l := &Log{
		path:     o.Path,
		maxSize:  cmp.Or(o.MaxSize, defaults.MaxSize),
		maxTotal: cmp.Or(o.MaxTotal, defaults.MaxTotal),
		keep:     cmp.Or(o.Keep, defaults.Keep),
		bodyMax:  o.Body,
		logger:   o.Logger,
		now:      o.Now,
		open:     open,
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	if l.now == nil {
		l.now = time.Now
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return nil, fmt.Errorf("open delivery log %s: %w", l.path, err)
	}
	if err := l.openFile(); err != nil {
		return nil, err
	}
	l.nextMoved = l.now().Add(movedCheck)
	return l, nil
}

// Append adds a line to the buffer. It fails only by what the next Flush and Err tell.
func (l *Log) Append(r *delivery.LogRecord) {
	l.mu.Lock()
	l.lines = append(AppendLine(l.lines, r, l.bodyMax), '\n')
	full := len(l.lines) >= maxUnwritten
	l.mu.Unlock()
	if full {
		_ = l.Flush() // remembered for Err, and the line stays in the buffer
	}
}

// Err returns why the last flush failed; nil when it did not. While it is not nil nothing
// should be sent, since it could not be logged.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Flush writes everything appended before the call to the file. After an error, which names the
// file, nothing is lost: the next Flush goes on from there.
func (l *Log) Flush() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.flush()
}

// Sync flushes and makes the lines durable on disk.
func (l *Log) Sync() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := l.flush(); err != nil {
		return err
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("sync delivery log %s: %w", l.path, err)
	}
	return nil
}

// Close flushes, makes the lines durable and releases the file. Lines that could not be written are
// lost, and the error says so.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.closed {
		return nil
	}
	err := l.flush()
	if l.file != nil {
		err = errors.Join(err, l.file.Sync(), l.file.Close())
	}
	l.closed, l.file = true, nil
	return err
}

func (l *Log) flush() error {
	err := l.flushLines()
	var named *fs.PathError
	if err != nil && !errors.As(err, &named) {
		err = fmt.Errorf("write %s: %w", l.path, err)
	}
	l.mu.Lock()
	l.err = err
	l.mu.Unlock()
	return err
}

func (l *Log) flushLines() error {
	if l.closed {
		return fs.ErrClosed
	}
	if err := l.maintain(); err != nil {
		return err
	}
	if err := l.write(); err != nil { // what an earlier flush left
		return err
	}
	if cap(l.buffer) > keptBuffer {
		l.buffer = nil
	}
	l.mu.Lock()
	l.buffer, l.lines = l.lines, l.buffer[:0]
	l.mu.Unlock()
	l.rest = l.buffer
	return l.write()
}

// write brings rest to the file, in one write unless it has to rotate.
func (l *Log) write() error {
	for len(l.rest) > 0 {
		if err := l.takeBack(); err != nil {
			return err
		}
		fits := l.fitting()
		if fits == 0 {
			if err := l.rotate(); err != nil {
				l.noRotate = l.now().Add(rotateRetry)
				l.logger.Warn("the delivery log could not be rotated and grows on", "path", l.path, "err", err)
			}
			if l.file == nil {
				return fs.ErrClosed
			}
			continue
		}
		if err := l.writeWhole(l.rest[:fits]); err != nil {
			return err
		}
	}
	return nil
}

// fitting returns how much of rest, in whole lines, the file has room for. An empty file
// takes a line of any size.
func (l *Log) fitting() int {
	room := l.maxSize - l.size
	if int64(len(l.rest)) <= room || l.now().Before(l.noRotate) {
		return len(l.rest)
	}
	if room > 0 {
		if n := bytes.LastIndexByte(l.rest[:room], '\n') + 1; n > 0 {
			return n
		}
	}
	if l.size > 0 {
		return 0
	}
	return bytes.IndexByte(l.rest, '\n') + 1
}

// writeWhole writes whole lines. When only a part of them came to the file, the lines that did are
// counted and the rest of the last one is taken back, now or before the next write.
func (l *Log) writeWhole(lines []byte) error {
	if l.size == 0 {
		l.begun = l.now()
	}
	n, err := l.file.Write(lines)
	if err == nil && n < len(lines) {
		err = io.ErrShortWrite
	}
	whole := n
	if n < len(lines) {
		whole = bytes.LastIndexByte(lines[:n], '\n') + 1
	}
	l.size += int64(whole)
	l.rest = l.rest[whole:]
	if whole < n {
		l.torn = true
		_ = l.takeBack() // tried again before the next write
	}
	return err
}

// takeBack removes the part of a line that a failed write left.
func (l *Log) takeBack() error {
	if !l.torn {
		return nil
	}
	info, err := l.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() > l.size {
		if err := l.file.Truncate(l.size); err != nil {
			return fmt.Errorf("take back a torn line: %w", err)
		}
	}
	l.torn = false
	return nil
}
