package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"rowhook/delivery"
)

// Open opens the spool in dir, creating it (owner-only) if there is none. The errors to tell apart
// are [*LockedError], [*DamageError], [*VersionError] and [*NoRoomError]. A torn tail and the
// stored part of a transaction that never ended are dropped: the source repeats them.
func Open(dir string, o Options) (*Spool, error) {
	o = o.withDefaults()
	s := &Spool{
		dir:     dir,
		options: o,
		log:     o.Logger,
		room:    room{files: o.FS, dir: dir, reserve: o.Reserve},
		tail:    newTail(),
		blocks:  newSharedBlocks(o.Readers),
		dirty:   make(chan struct{}, 1),
		force:   make(chan struct{}, 1),
		stop:    make(chan struct{}),
		closing: make(chan struct{}),
		fatal:   make(chan struct{}),
		errs:    make(chan error, 1),
		broken:  make(chan struct{}),
		durable: durable{changed: make(chan struct{})},
	}
	err := createDir(o.FS, dir)
	if err != nil {
		return nil, err
	}
	if s.lock, err = lockDir(dir, o.FS); err != nil {
		return nil, err
	}
	if _, onDisk := o.FS.(privateFS); onDisk {
		err = makePrivate(dir)
	}
	if err == nil {
		err = s.openLocked()
	}
	if err != nil {
		close(s.stop)
		if s.db != nil && !s.isBroken() {
			err = errors.Join(err, s.closeStore())
		}
		if errors.Is(err, syscall.ENOSPC) {
			err = &NoRoomError{Reserve: o.Reserve, Err: err}
		}
		return nil, errors.Join(remedied(err), s.release())
	}
	s.workers.Add(2)
	go s.syncLoop()
	go s.janitor()
	return s, nil
}

// createDir makes the directory and those above it, as far as they are missing, durably.
func createDir(files vfs.FS, dir string) error {
	found, err := exists(files, dir)
	if found || err != nil {
		return err
	}
	above := files.PathDir(dir)
	if above != dir {
		if err := createDir(files, above); err != nil {
			return err
		}
	}
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create spool: %w", err)
	}
	return syncDir(files, above)
}

func (s *Spool) openLocked() error {
	if err := writeHolder(s.dir, s.options.Passing, s.options.FS); err != nil {
		return err
	}
	found, err := s.openStore()
	if err != nil {
		return err
	}
	if err := s.recover(); err != nil {
		return err
	}
	if !found && s.ops > 0 {
		return &DamageError{Dir: s.dir, File: witnessFile, Lost: "it is missing, so that whether anything else is lost cannot be told"}
	}
	if err := s.attended(s.sync); err != nil {
		return err
	}
	// Opening has made everything durable that was found, so that this is a new beginning.
	s.durable.publish(s.ops, s.committed)
	return s.witness.write(s.durable.seal)
}

// openStore opens witness and store; found says that there was a witness.
func (s *Spool) openStore() (found bool, err error) {
	files := s.options.FS
	s.witness, found, err = openWitness(files, s.dir)
	if errors.Is(err, errWitness) {
		return found, &DamageError{Dir: s.dir, File: witnessFile, Lost: "whether anything else is lost cannot be told", Err: err}
	}
	if err != nil {
		return found, err
	}
	desc, err := pebble.Peek(s.dir, files)
	if err != nil {
		return found, s.damage(fmt.Errorf("open spool: %w", err))
	}
	if found && !desc.Exists {
		return found, &DamageError{Dir: s.dir, File: "MANIFEST", Lost: "all events: the store's list of files is gone"}
	}
	if err := s.openPebble(desc.Exists); err != nil {
		return found, err
	}
	if desc.Exists {
		return found, nil
	}
	// The log of a store that was just created is still in the oldest format, in which one
	// damaged byte silently ends it. A second opening begins one in the format asked for.
	err = s.attended(func() error { return s.guard("create spool", s.db.Close) })
	if err != nil {
		return found, err
	}
	return found, s.openPebble(true)
}

// attended runs a step of the opening that may never return, see [await].
func (s *Spool) attended(step func() error) error {
	done := make(chan error, 1)
	go func() { done <- step() }()
	if err := await(s, done); err != nil {
		return err
	}
	return s.failed()
}

// await waits for a step of the opening. Once the store cannot write, that may never return: it
// tries a flush again and again, or waits for one that has ended. It ends with damage
// that it finds, and is then waited for, so that nothing of it goes on.
func await[T any](s *Spool, done <-chan T) (result T) {
	select {
	case result = <-done:
	case <-s.fatal:
		if errors.As(s.failed(), new(*DamageError)) {
			result = <-done
		}
	}
	return result
}

// openPebble opens the store on a goroutine of its own, because a fatal error ends the one it is
// found on.
func (s *Spool) openPebble(exists bool) error {
	o := s.pebbleOptions(s.options.FS)
	o.Lock = s.lock
	o.ErrorIfNotExists = exists
	type result struct {
		db  *pebble.DB
		err error
	}
	opened := make(chan result, 1)
	s.opening.Store(true)
	defer s.opening.Store(false)
	go func() {
		r := result{err: errors.New("store gave up")}
		defer func() {
			if p := recover(); p != nil {
				s.log.Debug("opening the store panicked", "stack", string(debug.Stack()))
				r.err = &DamageError{Dir: s.dir, Lost: "the store cannot be read", Err: fmt.Errorf("%v", p)}
			}
			opened <- r
		}()
		r.db, r.err = pebble.Open(s.dir, o)
	}()
	r := await(s, opened)
	s.db = r.db
	if err := s.failed(); err != nil {
		return err
	}
	if r.err != nil {
		return s.damage(fmt.Errorf("open spool: %w", r.err))
	}
	return nil
}

// fileInError finds the file that an error of the store is about.
var fileInError = regexp.MustCompile(`\b(\d{6,}\.(?:sst|log|blob)|MANIFEST-\d+|OPTIONS-\d+|marker\.[\w.-]+)\b`)

// walInError finds a log that the store names by number only.
var walInError = regexp.MustCompile(`\b(?:wal|WAL) 0*(\d+)\b`)

// damage makes a *DamageError of an error that says the store is not as it was written.
// Errors of the file system itself are passed through.
func (s *Spool) damage(err error) error {
	var already *DamageError
	if errors.As(err, &already) {
		return err
	}
	for _, system := range [...]error{fs.ErrPermission, syscall.ENOSPC, syscall.EIO, syscall.EROFS, syscall.EMFILE, syscall.EDQUOT} {
		if errors.Is(err, system) {
			return err
		}
	}
	text := fmt.Sprintf("%+v", err)
	file := fileInError.FindString(text)
	if m := walInError.FindStringSubmatch(text); file == "" && m != nil {
		file = fmt.Sprintf("%06s.log", m[1])
	}
	return &DamageError{Dir: s.dir, File: file, Lost: "what it held, which may be events, progress or both", Err: err}
}

// recover reads the store's state and checks it against the witness.
func (s *Spool) recover() error {
	if err := s.recoverOps(); err != nil {
		return err
	}
	if err := s.recoverCommit(); err != nil {
		return err
	}
	if err := s.recoverMarks(); err != nil {
		return err
	}
	if err := s.recoverProfiles(); err != nil {
		return err
	}
	return s.recoverTotals()
}

// recoverOps checks that no batch is missing, neither in between nor at the end.
func (s *Spool) recoverOps() error {
	var ops opsCount
	value, err := s.get([]byte{prefixOps})
	if err != nil {
		return err
	}
	if value != nil {
		if err := ops.add(value); err != nil {
			return err
		}
	}
	s.ops = ops.last
	if ops.count != ops.last {
		return &DamageError{Dir: s.dir, Lost: fmt.Sprintf("%d of %d batches of events and progress are missing", ops.last-ops.count, ops.last)}
	}
	if sealed := s.witness.last; ops.last < sealed.ops {
		return &DamageError{Dir: s.dir, Lost: fmt.Sprintf(
			"the last %d batches are missing; the spool had been synced up to event %d at position %s",
			sealed.ops-ops.last, sealed.seq, sealed.position)}
	}
	return nil
}

// recoverCommit finds the end of the log and drops what lies behind it.
func (s *Spool) recoverCommit() error {
	value, err := s.get([]byte{prefixCommit})
	if err == nil && value != nil {
		s.committed, err = decodeCommit(value)
	}
	if err != nil {
		return err
	}
	floor := delivery.Seq(1)
	if value, err = s.get([]byte{prefixFloor}); err != nil {
		return err
	}
	if value != nil {
		floor = keySeq(value)
	}
	if value, err = s.get([]byte{prefixParking}); err == nil && value != nil {
		s.parking, err = decodeParking(value)
	}
	if err != nil {
		return err
	}
	c := s.committed
	s.retention.first.Store(uint64(floor))
	s.tail.reset(c.seq)
	s.appender = appender{next: c.seq + 1, nextParked: c.parked + 1, written: c.bytes}
	open, err := s.hasOpen(c)
	if err == nil && open {
		err = s.dropOpen(c)
	}
	if err != nil {
		return err
	}
	if err := s.checkValues(); err != nil {
		return err
	}
	return s.checkEnds(floor, c.seq)
}

// hasOpen reports whether there is anything behind a commit.
func (s *Spool) hasOpen(c commitRecord) (found bool, err error) {
	see := func(_, _ []byte) (bool, error) { found = true; return false, nil }
	err = s.scan(seqKey(prefixLog, c.seq+1), []byte{prefixLog + 1}, see)
	if err == nil {
		err = s.scan(seqKey(prefixPiece, c.seq+1), []byte{prefixPiece + 1}, see)
	}
	if err == nil {
		err = s.scan(seqKey(prefixParked, c.parked+1), []byte{prefixParked + 1}, see)
	}
	if err == nil {
		err = s.scan([]byte{prefixUndo}, []byte{prefixUndo + 1}, see)
	}
	return found, err
}

// checkEnds looks for the first and the last event; those between are checked as they are read.
func (s *Spool) checkEnds(first, last delivery.Seq) error {
	for _, seq := range [...]delivery.Seq{first, last} {
		if first > last {
			return nil
		}
		found := false
		err := s.logEvent(seq, func(*logged) error { found = true; return nil })
		if err != nil {
			return err
		}
		if !found {
			return &DamageError{Dir: s.dir, Lost: fmt.Sprintf("event %d is missing", seq)}
		}
	}
	return nil
}

// checkValues looks whether files of values are missing or cut. The store itself looks at those of
// keys only, and a value may be read long after its position was confirmed.
func (s *Spool) checkValues() error {
	var lost string
	for range 3 { // one may go by itself between the two looks
		known := s.db.Metrics().BlobFiles
		names, err := s.options.FS.List(s.dir)
		if err != nil {
			return fmt.Errorf("list spool: %w", err)
		}
		count, size := uint64(0), uint64(0)
		for _, name := range names {
			if !strings.HasSuffix(name, ".blob") {
				continue
			}
			info, err := s.options.FS.Stat(s.options.FS.PathJoin(s.dir, name))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("look at spool: %w", err)
			}
			count++
			size += uint64(info.Size())
		}
		if count >= known.LiveCount && size >= known.LiveSize {
			return nil
		}
		lost = fmt.Sprintf("events: %d bytes in %d files *.blob are there, of %d in %d", size, count, known.LiveSize, known.LiveCount)
	}
	return &DamageError{Dir: s.dir, File: "*.blob", Lost: lost}
}

func (s *Spool) recoverMarks() error {
	err := s.scan([]byte{prefixMark}, []byte{prefixMark + 1}, func(key, value []byte) (bool, error) {
		m, err := decodeMark(value)
		m.seq = keySeq(key)
		s.retention.marks = append(s.retention.marks, m)
		return err == nil, err
	})
	s.appender.marked = s.retention.lastMark()
	return err
}

func (s *Spool) recoverProfiles() error {
	err := s.scan([]byte{prefixRegistry}, []byte{prefixRegistry + 1}, func(key, value []byte) (bool, error) {
		g, err := decodeRegistration(value)
		if err != nil {
			return false, err
		}
		if len(key) != len(registryKey(0)) {
			return false, errKey(key)
		}
		p := &profile{id: profileNumber(key), code: g.code}
		if g.retired {
			s.profiles.reserve(p.id)
		} else {
			s.profiles.add(p)
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	for _, p := range s.profiles.all() {
		if err := s.recoverProgress(p); err != nil {
			return fmt.Errorf("profile %s: %w", p.code, err)
		}
	}
	return nil
}

func (s *Spool) recoverProgress(p *profile) error {
	value, err := s.get(profileKey(p.id, kindProgress))
	if err != nil {
		return err
	}
	if value == nil {
		return &DamageError{Dir: s.dir, Lost: "the progress of profile " + p.code}
	}
	p.progress, err = decodeProgress(value)
	return err
}

func (s *Spool) recoverTotals() error {
	value, err := s.get([]byte{prefixTotals})
	if err != nil {
		return err
	}
	var totals totalsRecord
	if value != nil {
		if totals, err = decodeTotals(value); err != nil {
			return err
		}
	}
	sent := totals.sent
	if sent == nil {
		sent = make(map[delivery.ProfileID]tally)
	}
	err = s.scanLog(totals.seq+1, openAlone, func(l *logged) (bool, error) {
		size, err := l.bytes()
		if err != nil {
			return false, err
		}
		return true, l.recipients(func(id delivery.ProfileID) {
			t := sent[id]
			t.add(1, int64(size))
			sent[id] = t
		})
	})
	if err != nil {
		return err
	}
	for id, t := range sent {
		if p := s.profiles.get(id); p != nil {
			p.sentEvents.Store(t.events)
			p.sentBytes.Store(t.bytes)
		}
	}
	s.appender.totaled = totals.seq
	return nil
}
