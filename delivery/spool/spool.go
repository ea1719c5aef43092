package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"rowhook/delivery"
)

// Options tune a spool. The zero value is useful.
type Options struct {
	// MaxSize is what the spool may take on disk, in bytes. History makes way for it;
	// beyond that it is reported through Usage for the engine to shed. Defaults to 10 GiB.
	MaxSize int64
	// HistorySize bounds delivered events kept for replay, in bytes as encoded (before
	// compression). Defaults to 1 GiB.
	HistorySize int64
	// History is how long delivered events are kept for replay. Defaults to 72 hours.
	History time.Duration
	// Dead is how long dead letters are kept. Defaults to 30 days.
	Dead time.Duration
	// Expired, if not nil, is told of each dead letter that Dead ends, before it is
	// removed; ev is nil if the event cannot be read. With an error the dead letter stays.
	Expired func(code string, d delivery.Delivery, ev *delivery.Event) error
	// BeforeSync, if not nil, is called before an fsync that makes acknowledgements durable. It
	// syncs the delivery log, whose lines they rest on. The store writes nothing meanwhile.
	BeforeSync func()
	// Sync is the least time between two shared fsyncs. Defaults to 10 ms.
	Sync time.Duration
	// Reserve is the free disk space, in bytes, below which nothing is appended and history makes
	// way. Defaults to 256 MiB; negative for none.
	Reserve int64
	// Passing says that the spool is opened for a moment, so that others may wait for it: see
	// [Holder].
	Passing bool
	// Readers is how many profiles will read the log, about: each that has fallen behind reads it
	// by itself, and the memory for what several read grows with them.
	Readers int
	// Keeps says that rows are kept, which are read at random: the store's cache is larger for them.
	Keeps bool
	// Logger gets the spool's own messages. Defaults to none.
	Logger *slog.Logger
	// FS is the file system. Defaults to the machine's; tests inject faults here.
	FS vfs.FS

	store func(*pebble.Options) // if not nil, changes how the store is set up, for a test
}

func (o Options) withDefaults() Options {
	set := func(v *int64, value int64) {
		if *v == 0 {
			*v = value
		}
	}
	set(&o.MaxSize, 10<<30)
	set(&o.HistorySize, 1<<30)
	set(&o.Reserve, 256<<20)
	set((*int64)(&o.History), int64(72*time.Hour))
	set((*int64)(&o.Dead), int64(30*24*time.Hour))
	set((*int64)(&o.Sync), int64(10*time.Millisecond))
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.FS == nil {
		o.FS = privateFS{vfs.Default}
	}
	return o
}

// Spool is an open spool. Its append side (NewBatch, Apply, Abort) belongs to one goroutine;
// everything else is safe for concurrent use.
type Spool struct {
	dir     string
	options Options
	log     *slog.Logger
	db      *pebble.DB
	lock    *pebble.Lock
	witness *witness
	room    room
	tail    *tail
	blocks  *sharedBlocks

	// write orders batches: a batch's number is its place in the store's log.
	write     sync.Mutex
	ops       uint64       // number of the last applied batch
	committed commitRecord // of the last applied commit
	parking   tally        // dead letters of the source

	// parkingLock is held by those who change the number of the source's dead letters.
	parkingLock sync.Mutex

	durable durable
	dirty   chan struct{} // something was applied
	force   chan struct{} // somebody waits for the sync

	// acknowledged says that something was or is being committed since the last BeforeSync that
	// rests on the delivery log's lines; lines is held while BeforeSync runs.
	acknowledged atomic.Bool
	lines        sync.Mutex

	appender appender

	profiles  profiles
	retention retention

	stop     chan struct{}
	stopOnce sync.Once
	workers  sync.WaitGroup

	// reading is held for reading while the store is read, so that Close waits for readers.
	reading sync.RWMutex

	failure atomic.Pointer[error]
	opening atomic.Bool   // the store is being opened
	closing chan struct{} // closed when the store is being closed, for good
	fatal   chan struct{} // closed with the first fatal error
	errs    chan error

	// broken is closed when the store cannot even be closed any more: calls that are under way may
	// not return.
	broken    chan struct{}
	breakOnce sync.Once
}

var _ delivery.Store = (*Spool)(nil)

// Err delivers the one fatal error after which the spool does nothing any more: a
// failed fsync, a failed write that cannot be repeated, damage. The process must then
// end: calls that were under way may not return.
func (s *Spool) Err() <-chan error { return s.errs }

// fail makes err the spool's fatal error unless there is one, and returns that.
func (s *Spool) fail(err error) error {
	err = remedied(err)
	if s.failure.CompareAndSwap(nil, &err) {
		close(s.fatal)
		s.errs <- err
	}
	return s.failed()
}

// breaks is fail for what leaves the store in a state in which it must not be touched any more.
func (s *Spool) breaks(err error) error {
	err = s.fail(err)
	s.breakOnce.Do(func() { close(s.broken) })
	return err
}

func (s *Spool) isBroken() bool {
	select {
	case <-s.broken:
		return true
	default:
		return false
	}
}

func (s *Spool) failed() error {
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// commit applies a batch of the store atomically, unsynced, and has it synced with the
// next shared sync. under, if not nil, runs while no other batch can come between.
func (s *Spool) commit(b *pebble.Batch, under func()) error {
	s.write.Lock()
	defer s.write.Unlock()
	select {
	case <-s.stop:
		return errClosed
	default:
	}
	op := opsCount{count: 1, last: s.ops + 1}
	err := s.guard("write spool", func() error {
		if err := b.Merge([]byte{prefixOps}, op.encode(nil), nil); err != nil {
			return err
		}
		return s.db.Apply(b, pebble.NoSync)
	})
	if err != nil {
		return err
	}
	s.ops++
	if under != nil {
		under()
	}
	select {
	case s.dirty <- struct{}{}:
	default:
	}
	return nil
}

// Close stops the spool's goroutines, syncs what was applied, and releases the
// directory. The append side and the engine must have stopped. After a fatal error it
// leaves the store as it is, which is what a crash would have left; a fatal error that comes only
// now it returns.
func (s *Spool) Close() error {
	var err error
	s.stopOnce.Do(func() {
		told := s.failed() != nil
		closed := make(chan error, 1)
		go func() { closed <- s.close() }()
		select {
		case err = <-closed:
		case <-s.broken: // a commit may wait for the store for ever, with what closing wants
		}
		if !told && s.isBroken() {
			err = s.failed()
		}
	})
	return err
}

func (s *Spool) close() error {
	err := s.failed()
	if err == nil {
		err = s.checkpoint()
	}
	s.write.Lock()
	close(s.stop)
	s.write.Unlock()
	if s.isBroken() {
		// The sync loop may hang in a store that waits for itself.
		return nil
	}
	s.workers.Wait()
	s.reading.Lock()
	defer s.reading.Unlock()
	if err == nil {
		err = s.sync()
	}
	if err == nil {
		err = s.seal()
	}
	if s.isBroken() {
		return err
	}
	if s.failed() != nil {
		err = nil // Err has told it
	}
	return errors.Join(err, s.closeStore(), s.release())
}

// closeStore closes the store, which waits for nothing that waits for room.
func (s *Spool) closeStore() error {
	close(s.closing)
	return s.db.Close()
}

// release gives the directory back.
func (s *Spool) release() error {
	var errs []error
	if s.witness != nil {
		errs = append(errs, s.witness.Close())
	}
	name := s.options.FS.PathJoin(s.dir, holderFile)
	if found, err := exists(s.options.FS, name); err == nil && found {
		errs = append(errs, s.options.FS.Remove(name))
	}
	errs = append(errs, s.lock.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close spool: %w", err)
	}
	return nil
}
