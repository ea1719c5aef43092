package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	memtableSize  = 2 << 20
	cacheSize     = 4 << 20
	cacheReader   = 48 << 10 // more for each profile
	cacheKept     = 4 << 20  // more where rows are kept
	maxCache      = 32 << 20
	tableSize     = 4 << 20
	separateSize  = 512 // from which on a value of the log is kept apart from its key
	formatVersion = pebble.FormatValueSeparation
)

// pebbleOptions are small on purpose: the agent is a guest on the database's machine.
func (s *Spool) pebbleOptions(fs vfs.FS) *pebble.Options {
	cache := cacheSize + int64(s.options.Readers)*cacheReader
	if s.options.Keeps {
		cache += cacheKept
	}
	o := &pebble.Options{
		FS:                          fileGuard{fs, s},
		Logger:                      storeLogger{s},
		EventListener:               s.listener(),
		Merger:                      opsMerger,
		FormatMajorVersion:          formatVersion,
		CacheSize:                   min(cache, maxCache),
		MemTableSize:                memtableSize,
		MemTableStopWritesThreshold: 3,
		MaxOpenFiles:                256,
		L0CompactionThreshold:       4,
		L0CompactionFileThreshold:   2000, // the log's tables, see splitTables
		L0StopWritesThreshold:       64,
		LBaseMaxBytes:               64 << 20,
		MaxManifestFileSize:         4 << 20,
		// Space of removed history is wanted back even when nothing else is written.
		FlushDelayDeleteRange: 10 * time.Second,
	}
	for i := range o.TargetFileSizes {
		o.TargetFileSizes[i] = tableSize << min(i, 3)
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	o.CompactionConcurrencyRange = func() (lower, upper int) { return 1, 1 }
	o.Experimental.SpanPolicyFunc = splitTables
	o.Experimental.ValueSeparationPolicy = separateLog
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	if s.options.store != nil {
		s.options.store(o)
	}
	return o
}

// splitTables has the log in tables of its own. Its keys only ascend, so its tables never overlap
// each other and are merged once at most; together with the small values that are rewritten
// in place, each would overlap all others, and the log would be written again and again.
func splitTables(start []byte) (policy pebble.SpanPolicy, end []byte, err error) {
	switch {
	case len(start) == 0 || start[0] < prefixPiece:
		end = []byte{prefixPiece}
	case start[0] == prefixPiece:
		end = []byte{prefixPiece + 1}
	case start[0] < prefixLog:
		end = []byte{prefixLog}
	case start[0] == prefixLog:
		end = []byte{prefixLog + 1}
	}
	if len(start) > 0 && (start[0] == prefixLog || start[0] == prefixPiece) {
		return pebble.SpanPolicy{}, end, nil // separateLog holds
	}
	return pebble.SpanPolicy{ValueStoragePolicy: pebble.ValueStorageLowReadLatency}, end, nil
}

// separateLog has the log's values in files of their own, which are written once: what is merged
// are keys, and the files go when what refers to them has gone. Their values are never written
// again, as they go from the front, and as the store might end the process over a damaged one that
// it reads by itself.
func separateLog() pebble.ValueSeparationPolicy {
	return pebble.ValueSeparationPolicy{
		Enabled: true, MinimumSize: separateSize, MaxBlobReferenceDepth: math.MaxInt32,
		RewriteMinimumAge: time.Hour, TargetGarbageRatio: 1,
	}
}

// diskUsage is what the store takes on disk. Pebble 2.1.7 counts files of values from its opening on
// only, and below zero when older ones go.
func diskUsage(m *pebble.Metrics) uint64 {
	return m.DiskSpaceUsage() - m.BlobFiles.Local.LiveSize + m.BlobFiles.LiveSize
}

// listener hears of damage and of background work that fails.
func (s *Spool) listener() *pebble.EventListener {
	return &pebble.EventListener{
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.fail(&DamageError{Dir: s.dir, File: baseName(info.Path), Lost: "entries of this file cannot be read", Err: info.Details})
		},
		BackgroundError: func(err error) {
			full := errors.Is(err, syscall.ENOSPC)
			err = s.damage(fmt.Errorf("write spool in the background: %w", err))
			switch {
			case full && !s.opening.Load():
				// The store tries again by itself; appending stops meanwhile. While it is opened
				// nobody would hear of that.
				s.room.refuse(err)
			case errors.As(err, new(*DamageError)):
				s.fail(err)
			default:
				_ = s.breaks(err) // Err tells it; a commit may wait for ever for room in memory
			}
			time.Sleep(backgroundPause) //nolint:forbidigo // it is the store's own goroutine that is to pause, and no context reaches it
		},
	}
}

// backgroundPause keeps the store, which repeats a failed flush at once, from spinning.
const backgroundPause = 100 * time.Millisecond

// storeLogger passes Pebble's messages on. What Pebble calls fatal must not end the
// process from inside a library: it becomes the spool's fatal error.
type storeLogger struct{ s *Spool }

func (l storeLogger) Infof(format string, args ...any) {
	if l.s.log.Enabled(context.Background(), slog.LevelDebug) {
		l.s.log.Debug("spool store", "detail", fmt.Sprintf(format, args...))
	}
}

func (l storeLogger) Errorf(format string, args ...any) {
	l.s.log.Warn("spool store", "detail", fmt.Sprintf(format, args...))
}

// Fatalf is called on writes that failed in a way that Pebble cannot undo. A commit
// that failed is on its caller's goroutine, which looks at s.failed next and so may go on.
// Everything else is on a goroutine of Pebble's own, which must not go on: it ends
// here, running its deferred unlocks. Where what they unlock is not locked, nothing may come here:
// see [fileGuard].
func (l storeLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(strings.TrimPrefix(format, "pebble: "), args...)
	for _, arg := range args {
		if cause, ok := arg.(error); ok {
			err = fmt.Errorf("%s: %w", strings.TrimSuffix(strings.TrimPrefix(format, "pebble: "), ": %v"), cause)
		}
	}
	_ = l.s.breaks(fmt.Errorf("write spool: %w", err)) // Err tells it
	if strings.HasPrefix(format, "pebble: fatal commit error") {
		return
	}
	runtime.Goexit()
}

// guard runs a write. One that fails in any way is the end: what of it is on disk is not known. Once
// the spool is broken the store takes writes that it does not keep, and may panic.
func (s *Spool) guard(what string, call func() error) (err error) {
	if err := s.failed(); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		if err != nil {
			err = s.breaks(fmt.Errorf("%s: %w", what, err))
		}
	}()
	if err := call(); err != nil {
		return err
	}
	if s.isBroken() {
		return s.failed()
	}
	return nil
}

// opsMerger adds up how many batches there were: each batch merges its own number in.
// If the number of operands is not the highest of them, batches are missing.
var opsMerger = &pebble.Merger{
	Name: "rowhook.ops.1",
	Merge: func(_, value []byte) (pebble.ValueMerger, error) {
		var o opsCount
		return &o, o.add(value)
	},
}

// opsCount is the value of the ops key: how many batches, and the last one's number.
type opsCount struct{ count, last uint64 }

func (o *opsCount) add(value []byte) error {
	r := reader{b: value}
	count, last := r.uvarint(), r.uvarint()
	o.count += count
	o.last = max(o.last, last)
	return r.close("count of batches")
}

func (o *opsCount) MergeNewer(value []byte) error { return o.add(value) }
func (o *opsCount) MergeOlder(value []byte) error { return o.add(value) }

func (o *opsCount) Finish(bool) ([]byte, io.Closer, error) {
	return o.encode(nil), nil, nil
}

func (o *opsCount) encode(dst []byte) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(dst, o.count), o.last)
}

// startReading keeps the store open until reading is unlocked. Reads must not nest: Close may
// wait in between.
func (s *Spool) startReading() error {
	s.reading.RLock()
	err := s.failed()
	select {
	case <-s.stop:
		err = errClosed
	default:
	}
	if err != nil {
		s.reading.RUnlock()
	}
	return err
}

// look reads a value of the store, which may panic where it is to report damage of a file of the log's
// values.
func (s *Spool) look(read func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.fail(&DamageError{
				Dir: s.dir, Lost: "a file of events, *.blob, is missing or cannot be read", Err: fmt.Errorf("%v", r),
			})
		}
	}()
	if err = read(); err == nil || errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	return s.damage(fmt.Errorf("read spool: %w", err))
}

// get returns a copy of a key's value, or nil.
func (s *Spool) get(key []byte) ([]byte, error) { return s.getIn(s.db, key) }

// getIn is get in a view of the store.
func (s *Spool) getIn(view pebble.Reader, key []byte) ([]byte, error) {
	if err := s.startReading(); err != nil {
		return nil, err
	}
	defer s.reading.RUnlock()
	var value []byte
	var closer io.Closer
	err := s.look(func() (err error) { value, closer, err = view.Get(key); return err })
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	value = append([]byte{}, value...)
	return value, closer.Close()
}

// scan calls yield for the keys from lower up to upper, in order, until it returns
// false or an error. Key and value are valid only during the call, which must not read the store.
func (s *Spool) scan(lower, upper []byte, yield func(key, value []byte) (bool, error)) error {
	return s.scanKeys(lower, upper, func(key []byte, value func() ([]byte, error)) (bool, error) {
		v, err := value()
		if err != nil {
			return false, err
		}
		return yield(key, v)
	})
}

// scanKeys is scan for those who do not want every value: value reads that of the key at hand.
func (s *Spool) scanKeys(lower, upper []byte, yield func(key []byte, value func() ([]byte, error)) (bool, error)) (err error) {
	if err := s.startReading(); err != nil {
		return err
	}
	defer s.reading.RUnlock()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return s.damage(fmt.Errorf("read spool: %w", err))
	}
	defer func() {
		if cerr := it.Close(); cerr != nil && err == nil {
			err = s.damage(fmt.Errorf("read spool: %w", cerr))
		}
	}()
	value := func() (v []byte, err error) {
		err = s.look(func() (err error) { v, err = it.ValueAndErr(); return err })
		return v, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		if more, err := yield(it.Key(), value); err != nil || !more {
			return err
		}
	}
	return nil
}
