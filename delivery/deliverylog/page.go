package deliverylog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	"rowhook/delivery"
)

// Place is where a page of the log ended: a file and the offset in it. The zero Place is the log's
// newest end. A file keeps its place when it is rotated.
type Place struct {
	File   uint64 `json:"file,omitempty"`
	Offset int64  `json:"offset,omitempty"`
}

// Page is what one call of [ReadPage] found.
type Page struct {
	// Next is where the next page begins. It is set unless the log's oldest line was looked at.
	Next *Place
	// Reached is the time of the oldest line that was looked at; zero when there was none.
	Reached time.Time
	// Undecided counts the lines that could not be decided, as [Search] does.
	Undecided int
}

// pageBlock is how much of a file is read at once.
const pageBlock = 256 << 10

// ReadPage calls emit for the lines that the query selects, the newest first, from a place on,
// until there are as many as wanted. It reads the log's files backwards, block by block, so that a
// page costs what it looks at, however large the log is. When the context's time is over, the page
// ends where the search is by then: that is no error, and the next page goes on there. line and rec
// are only valid during the call. [Query.Follow] means nothing here.
func ReadPage(ctx context.Context, q Query, from Place, most int, emit func(line []byte, rec ParsedRecord) error) (Page, error) {
	match, err := newLogMatcher(&q)
	if err != nil {
		return Page{}, err
	}
	p := &pageSearch{query: &q, match: match, left: most, emit: emit}
	if err := p.files(ctx, from); err != nil {
		return p.page, fmt.Errorf("search delivery log %s: %w", q.Path, err)
	}
	return p.page, nil
}

// errPageFull ends a page.
var errPageFull = errors.New("the page is full")

// pageSearch is one page on its way back through the files.
type pageSearch struct {
	query *Query
	match *logMatcher
	left  int
	emit  func([]byte, ParsedRecord) error
	page  Page
	block []byte
}

// pageFile is a file of the log.
type pageFile struct {
	path   string
	closed time.Time // when it was rotated; zero of the one that is written
	older  time.Time // when the one before it was rotated; zero of the oldest
}

// files reads the files, the newest first, from a place on.
func (p *pageSearch) files(ctx context.Context, from Place) error {
	rotated, err := rotatedLogs(p.query.Path)
	if err != nil {
		return err
	}
	var before time.Time
	var files []pageFile
	for _, f := range rotated {
		files = append(files, pageFile{f.path, f.closed, before})
		before = f.closed
	}
	files = append(files, pageFile{path: p.query.Path, older: before})
	slices.Reverse(files)
	found := false
	for _, f := range files {
		err := p.file(ctx, f, &from)
		found = found || !errors.Is(err, fs.ErrNotExist)
		switch {
		case errors.Is(err, errPageFull):
			return nil
		case err != nil && !errors.Is(err, fs.ErrNotExist): // removed meanwhile: too old
			return err
		}
	}
	if !found {
		return fs.ErrNotExist
	}
	p.page.Next = nil
	return nil
}

// file reads one file backwards, if it can hold lines of the wanted time. Until from's file has
// come, files are newer than it.
func (p *pageSearch) file(ctx context.Context, f pageFile, from *Place) error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	number, end := fileNumber(info), info.Size()
	if from.File != 0 {
		if number != from.File {
			return nil
		}
		end = min(end, from.Offset)
		*from = Place{}
	}
	q := p.query
	if !f.closed.IsZero() && f.closed.Before(q.Since) {
		return nil
	}
	if !q.Until.IsZero() && f.older.After(q.Until.Add(time.Minute)) {
		return nil
	}
	return p.back(ctx, file, number, end)
}

// back takes the whole lines before an offset, the last first.
func (p *pageSearch) back(ctx context.Context, file *os.File, number uint64, end int64) error {
	if p.block == nil {
		p.block = make([]byte, pageBlock)
	}
	p.page.Next = &Place{number, end}
	var rest []byte // the end of a line whose start is further ahead
	torn := true    // what stands behind the last newline is no line yet
	for end > 0 {
		if ctx.Err() != nil {
			return errPageFull // Next says where
		}
		start := max(0, end-int64(len(p.block)))
		block := p.block[:end-start]
		if _, err := file.ReadAt(block, start); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for {
			i := bytes.LastIndexByte(block, '\n')
			if i < 0 {
				break
			}
			line := block[i+1:]
			if len(rest) > 0 {
				line = append(slices.Clone(line), rest...)
				rest = rest[:0]
			}
			block = block[:i]
			if torn {
				torn = false
				continue
			}
			if err := p.take(line, Place{number, start + int64(i) + 1}); err != nil {
				return err
			}
		}
		if int64(len(block)) == end-start {
			p.block = make([]byte, 2*len(p.block)) // a line longer than the block
		}
		rest = append(slices.Clone(block), rest...)
		end = start
		if start == 0 && !torn {
			if err := p.take(rest, Place{number, 0}); err != nil {
				return err
			}
		}
	}
	return nil
}

// take decides about one line that begins at a place.
func (p *pageSearch) take(line []byte, at Place) error {
	p.page.Next = &at
	if t := timeOfLine(line); !t.IsZero() {
		p.page.Reached = t
		// Lines stand in the order of their writing, which is nearly that of their times.
		if !p.query.Since.IsZero() && t.Before(p.query.Since.Add(-time.Minute)) {
			p.page.Next = nil
			return errPageFull
		}
	}
	if !p.match.may(line) {
		return nil
	}
	rec, err := ParseLine(line)
	if err != nil {
		return nil
	}
	switch p.match.matches(&rec) {
	case delivery.True:
		if err := p.emit(line, rec); err != nil {
			return err
		}
		if p.left--; p.left <= 0 {
			return errPageFull
		}
	case delivery.Undecidable:
		p.page.Undecided++
	}
	return nil
}

// timeOfLine is a line's time; zero where it is no line of the log.
func timeOfLine(line []byte) time.Time {
	if !bytes.HasPrefix(line, []byte(lineStart)) || len(line) < len(lineStart)+len(lineTime) {
		return time.Time{}
	}
	t, err := time.Parse(lineTime, string(line[len(lineStart):][:len(lineTime)]))
	if err != nil {
		return time.Time{}
	}
	return t
}

// fileNumber is a file's number on its disk, which a rename leaves alone.
func fileNumber(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}
