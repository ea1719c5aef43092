package deliverylog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"rowhook/delivery"
)

// followPoll is how often a followed log is looked at for more.
const followPoll = 200 * time.Millisecond

// Query selects lines of the delivery log. What is left empty does not select.
type Query struct {
	Path    string // of the delivery log, as in the config's log.deliveries
	Profile string // may be a glob
	Event   string // an event's id; also finds the group that carried it
	Type    string // may be a glob
	Status  delivery.StatusSet
	Outcome delivery.Outcome
	URL     string   // any part of it
	Payload []string // PATH=VALUE: dotted members of the body, any element of an array
	Since   time.Time
	Until   time.Time
	Follow  bool // go on with what is appended later, until the context ends
	// Look refuses lines by their bytes, before they are parsed; nil refuses none.
	Look func(line []byte) bool
	// FullBody returns the whole body that a line is about, where the line kept only a
	// part of it; ok is false when it is not there any more. May be nil.
	FullBody func(rec *ParsedRecord) (body []byte, ok bool)
	// InGroup tells whether an event is in the group that a line is about. May be nil.
	InGroup func(rec *ParsedRecord, event string) delivery.Truth
}

// Search calls emit for each line that the query selects, oldest file first; line and rec are only
// valid during the call. It returns how many lines could not be decided, since they keep only a
// part of the body, and the first error of emit, of reading, or of the query itself. The end of a
// followed search by its context is no error.
func Search(ctx context.Context, q Query, emit func(line []byte, rec ParsedRecord) error) (undecided int, err error) {
	match, err := newLogMatcher(&q)
	if err != nil {
		return 0, err
	}
	s := &logSearch{query: &q, match: match, emit: emit}
	defer s.close()
	if err := s.files(ctx); err != nil {
		return s.undecided, fmt.Errorf("search delivery log %s: %w", q.Path, err)
	}
	if q.Follow {
		if err := s.follow(ctx); err != nil {
			return s.undecided, fmt.Errorf("follow delivery log %s: %w", q.Path, err)
		}
	}
	return s.undecided, nil
}

// logSearch is one search on its way through the files.
type logSearch struct {
	query     *Query
	match     *logMatcher
	emit      func([]byte, ParsedRecord) error
	undecided int

	file   *os.File // the one that is being written; nil while there is none
	reader *bufio.Reader
	line   []byte    // the start of a line whose end has not come yet
	last   time.Time // when the last closed file that was read was closed
}

func (s *logSearch) close() {
	if s.file != nil {
		_ = s.file.Close()
	}
}

// files reads all closed files and then the open one, which stays open for follow. The open file is
// opened first: if it is closed meanwhile, it is known by its identity.
func (s *logSearch) files(ctx context.Context) error {
	current, err := os.Open(s.query.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	rotated, err := rotatedLogs(s.query.Path)
	if err != nil {
		if current != nil {
			_ = current.Close()
		}
		return err
	}
	if current == nil && len(rotated) == 0 && !s.query.Follow {
		return fs.ErrNotExist
	}
	if err := s.closedFiles(ctx, rotated, current); err != nil {
		if current != nil {
			_ = current.Close()
		}
		return err
	}
	if current == nil {
		return nil
	}
	s.use(current)
	return s.read(ctx)
}

// closedFiles reads the closed files that can hold lines of the wanted time, other than the open
// one.
func (s *logSearch) closedFiles(ctx context.Context, rotated []rotatedLog, current *os.File) error {
	var open fs.FileInfo
	if current != nil {
		open, _ = current.Stat()
	}
	for _, f := range rotated {
		after := s.last
		s.last = f.closed
		tooOld := f.closed.Before(s.query.Since)
		tooNew := !s.query.Until.IsZero() && after.After(s.query.Until.Add(time.Minute))
		if tooOld || tooNew {
			continue
		}
		if err := s.closedFile(ctx, f.path, open); err != nil {
			return err
		}
	}
	return nil
}

func (s *logSearch) closedFile(ctx context.Context, path string, open fs.FileInfo) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile: too old
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && open != nil && os.SameFile(info, open) {
		return nil
	}
	s.line = s.line[:0]
	s.reader = resetReader(s.reader, file)
	return s.read(ctx)
}

// use makes file the one that is read, from its start.
func (s *logSearch) use(file *os.File) {
	s.close()
	s.file = file
	s.line = s.line[:0]
	s.reader = resetReader(s.reader, file)
}

func resetReader(r *bufio.Reader, file io.Reader) *bufio.Reader {
	if r == nil {
		return bufio.NewReaderSize(file, 256<<10)
	}
	r.Reset(file)
	return r
}

// read takes all whole lines there are. The start of a line at the end is kept until more of it
// comes.
func (s *logSearch) read(ctx context.Context) error {
	for {
		part, err := s.reader.ReadSlice('\n')
		if err != nil {
			s.line = append(s.line, part...)
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		line := part
		if len(s.line) > 0 {
			s.line = append(s.line, part...)
			line = s.line
		}
		err = s.take(line[:len(line)-1])
		s.line = s.line[:0]
		if err != nil {
			return err
		}
	}
}

// take decides about one line. What is not a line of the log, left by a damaged disk, is passed
// over.
func (s *logSearch) take(line []byte) error {
	if !s.match.may(line) {
		return nil
	}
	rec, err := ParseLine(line)
	if err != nil {
		return nil
	}
	switch s.match.matches(&rec) {
	case delivery.True:
		return s.emit(line, rec)
	case delivery.Undecidable:
		s.undecided++
	}
	return nil
}

// follow waits for more, across rotation, until the context ends.
func (s *logSearch) follow(ctx context.Context) error {
	ticker := time.NewTicker(followPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := s.more(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// more reads what has come since. When the path has another file now, what is left of ours comes
// first, then files that were opened and closed in between, then the new one.
func (s *logSearch) more(ctx context.Context) error {
	current, err := os.Open(s.query.Path)
	if errors.Is(err, fs.ErrNotExist) {
		current = nil // between two files
	} else if err != nil {
		return err
	}
	same, shrunk := s.compare(current)
	if current != nil && same {
		_ = current.Close()
	}
	if shrunk {
		if _, err := s.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		s.line = s.line[:0]
		s.reader.Reset(s.file)
	}
	if s.file != nil {
		if err := s.read(ctx); err != nil {
			return err
		}
	}
	if current == nil || same {
		return nil
	}
	return s.next(ctx, current)
}

// compare reports whether current is the file that is being read, and whether that was emptied.
func (s *logSearch) compare(current *os.File) (same, shrunk bool) {
	if current == nil || s.file == nil {
		return false, false
	}
	ours, err1 := s.file.Stat()
	there, err2 := current.Stat()
	if err1 != nil || err2 != nil || !os.SameFile(ours, there) {
		return false, false
	}
	at, err := s.file.Seek(0, io.SeekCurrent)
	return true, err == nil && there.Size() < at
}

// next goes on with the file that took the place of the one that was read.
func (s *logSearch) next(ctx context.Context, current *os.File) error {
	rotated, err := rotatedLogs(s.query.Path)
	if err == nil {
		rotated = slices.DeleteFunc(rotated, func(f rotatedLog) bool { return !f.closed.After(s.last) })
		var ours fs.FileInfo
		if s.file != nil {
			ours, _ = s.file.Stat()
		}
		for _, f := range rotated {
			if info, statErr := os.Stat(f.path); statErr == nil && ours != nil && os.SameFile(info, ours) {
				s.last = f.closed
				continue
			}
			var open fs.FileInfo
			if open, err = current.Stat(); err != nil {
				break
			}
			s.last = f.closed
			if err = s.closedFile(ctx, f.path, open); err != nil {
				break
			}
		}
	}
	if err != nil {
		_ = current.Close()
		return err
	}
	s.use(current)
	return s.read(ctx)
}
