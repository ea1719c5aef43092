package account

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// header begins a segment.
const header = "rhacct1\n"

// frameHead is the length and the sum before each frame.
const frameHead = 8

// maxFrame is the longest that is believed.
const maxFrame = 4 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// extension is that of segments' names.
const extension = ".seg"

// segmentFile is a segment on the disk.
type segmentFile struct {
	number uint64
	size   int64
}

func (s segmentFile) path(dir string) string {
	return filepath.Join(dir, fmt.Sprintf("%010d%s", s.number, extension))
}

// listSegments lists a directory's segments, the oldest first.
func listSegments(dir string) ([]segmentFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var list []segmentFile
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), extension)
		number, err := strconv.ParseUint(name, 10, 64)
		if !ours || err != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // it has just gone
		}
		if err != nil {
			return nil, err
		}
		list = append(list, segmentFile{number, info.Size()})
	}
	slices.SortFunc(list, func(a, b segmentFile) int { return cmp.Compare(a.number, b.number) })
	return list, nil
}

// files are the segments that are being written.
type files struct {
	dir     string
	max     int64 // of all segments
	most    int64 // of one
	old     []segmentFile
	last    uint64 // the highest number that there was
	current segmentFile
	file    *os.File // of current; nil while there is none
	head    [frameHead]byte
}

func openFiles(dir string, limit int64, values bool) (files, error) {
	f := files{dir: dir, max: limit, most: min(max(limit/segments, minSegment), maxSegment)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return f, fmt.Errorf("open the account: %w", err)
	}
	if err := markValues(dir, values); err != nil {
		return f, err
	}
	old, err := listSegments(dir)
	if err != nil {
		return f, fmt.Errorf("open the account: %w", err)
	}
	f.old = old
	if n := len(old); n > 0 {
		f.last = old[n-1].number
	}
	return f, nil
}

// write writes one frame for each stretch between cuts, which begin segments. After an error the
// segment at hand ends where it did before the frame that failed; there is none where it could not
// be begun, or not be taken back.
func (f *files) write(buf []byte, cuts []int) error {
	from := 0
	for _, at := range cuts {
		if err := f.frame(buf[from:at]); err != nil {
			return err
		}
		if err := f.begin(); err != nil {
			return err
		}
		from = at
	}
	return f.frame(buf[from:])
}

// frame appends one frame.
func (f *files) frame(records []byte) error {
	switch {
	case len(records) == 0:
		return nil
	case f.file == nil:
		return errNoSegment
	}
	binary.BigEndian.PutUint32(f.head[:], uint32(len(records)))
	binary.BigEndian.PutUint32(f.head[4:], crc32.Checksum(records, castagnoli))
	for _, part := range [2][]byte{f.head[:], records} {
		if _, err := f.file.Write(part); err != nil {
			return f.takeBack(err)
		}
	}
	f.current.size += frameHead + int64(len(records))
	return nil
}

var errNoSegment = errors.New("there is no segment to write to")

// takeBack takes back what came to the file of a frame.
func (f *files) takeBack(cause error) error {
	err := f.file.Truncate(f.current.size)
	if err == nil {
		_, err = f.file.Seek(f.current.size, io.SeekStart)
	}
	if err != nil {
		return errors.Join(cause, err, f.close())
	}
	return cause
}

// begin begins a segment, and makes room for it.
func (f *files) begin() error {
	if err := f.close(); err != nil {
		return err
	}
	total := int64(0)
	for _, s := range f.old {
		total += occupied(s.size)
	}
	for len(f.old) > 0 && total+f.most > f.max {
		if err := os.Remove(f.old[0].path(f.dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		total -= occupied(f.old[0].size)
		f.old = f.old[1:]
	}
	next := segmentFile{number: f.last + 1, size: int64(len(header))}
	file, err := os.OpenFile(next.path(f.dir), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := file.WriteString(header); err != nil {
		return errors.Join(err, file.Close(), os.Remove(next.path(f.dir)))
	}
	f.current, f.file, f.last = next, file, next.number
	return nil
}

// Remove takes away all that a directory's account has. It is no error that there is none.
func Remove(dir string) error {
	list, err := listSegments(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the account: %w", err)
	}
	for _, s := range list {
		if err := os.Remove(s.path(dir)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the account: %w", err)
		}
	}
	if err := os.Remove(filepath.Join(dir, valuesMark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the account: %w", err)
	}
	return nil
}

// valuesMark is a file that is there while segments may have values.
const valuesMark = "values"

// markValues has the directory say whether its segments may have values. Those that have them go when
// none are to be kept any more.
func markValues(dir string, values bool) error {
	mark := filepath.Join(dir, valuesMark)
	if values {
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			return fmt.Errorf("open the account: %w", err)
		}
		return nil
	}
	switch _, err := os.Lstat(mark); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("open the account: %w", err)
	}
	return Remove(dir)
}

// occupied is what a file takes on the disk, at least: very many small ones are too much, too.
func occupied(size int64) int64 { return max(size, 4<<10) }

// close closes the segment at hand.
func (f *files) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	f.old = append(f.old, f.current)
	return err
}
