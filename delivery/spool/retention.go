package spool

import (
	"errors"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"rowhook/delivery"
)

const (
	// janitorInterval is how often history is looked at while the spool is in use.
	janitorInterval = 10 * time.Second
	// expiryInterval is how often dead letters are looked at.
	expiryInterval = time.Hour
	// usageInterval is how old the figures of Usage may be.
	usageInterval = time.Second
	// makeWayInterval is how long the disk gets to give back what history took.
	makeWayInterval = time.Minute
	// removeMarks is how many marks' worth of history goes at a time.
	removeMarks = 64
)

// retention keeps history in bounds.
type retention struct {
	// removing is held for reading while deliveries are put, for writing while a piece of
	// the log is removed: no delivery may lose its event in between.
	removing sync.RWMutex
	first    atomic.Uint64 // first event in the log; set before what lies below is removed

	mu    sync.Mutex
	marks []mark
	usage delivery.Usage
	asked time.Time

	// The janitor's own.
	lastOps uint64 // nothing to do while nothing changes
	expired time.Time
	madeWay time.Time
}

func (r *retention) floor() delivery.Seq { return delivery.Seq(r.first.Load()) }

func (r *retention) addMarks(marks []mark) {
	if len(marks) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.marks = append(r.marks, marks...)
}

func (r *retention) lastMark() mark {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.marks) == 0 {
		return mark{}
	}
	return r.marks[len(r.marks)-1]
}

// before returns the bytes of the log before seq, to the mark at or below it.
func (r *retention) before(seq delivery.Seq) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := sort.Search(len(r.marks), func(i int) bool { return r.marks[i].seq > seq })
	if i == 0 {
		return 0
	}
	return r.marks[i-1].before
}

// after returns the mark that is n marks behind seq, but no more than limit.
func (r *retention) after(seq delivery.Seq, n int, limit delivery.Seq) delivery.Seq {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := sort.Search(len(r.marks), func(i int) bool { return r.marks[i].seq > seq })
	if i+n < len(r.marks) {
		return min(limit, r.marks[i+n].seq)
	}
	return limit
}

// start returns the bytes before the first event that is still there.
func (r *retention) start() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.marks) == 0 {
		return 0
	}
	return r.marks[0].before
}

// low returns the lowest cursor of all profiles: what lies below is history.
func (s *Spool) low() delivery.Seq {
	low := s.tail.end() + 1
	for _, p := range s.profiles.all() {
		low = min(low, p.cursor())
	}
	return low
}

// Usage implements [delivery.Store]. The figures are at most about a second old.
func (s *Spool) Usage() delivery.Usage {
	now := time.Now()
	s.retention.mu.Lock()
	usage, asked := s.retention.usage, s.retention.asked
	s.retention.mu.Unlock()
	if since := now.Sub(asked); s.failed() != nil || since >= 0 && since < usageInterval {
		return usage
	}
	low := s.low()
	if s.startReading() != nil {
		return usage
	}
	usage = s.measure(now, low)
	s.reading.RUnlock()
	s.retention.mu.Lock()
	defer s.retention.mu.Unlock()
	s.retention.usage, s.retention.asked = usage, now
	return usage
}

func (s *Spool) measure(now time.Time, low delivery.Seq) delivery.Usage {
	s.write.Lock()
	written, parking := s.committed.bytes, s.parking
	s.write.Unlock()
	usage := delivery.Usage{
		Bytes:   int64(diskUsage(s.db.Metrics())),
		Max:     s.options.MaxSize,
		Parked:  parking.bytes,
		Reserve: max(s.options.Reserve, 0),
	}
	_ = s.room.check(now) // only to have the figure: whether there is room is Room's business
	usage.Free = s.room.available()
	// The log's share on disk is told apart by its encoded sizes.
	start := s.retention.start()
	if log := written - start; log > 0 {
		history := s.retention.before(low) - start
		usage.History = min(int64(history), int64(float64(usage.Bytes)*float64(history)/float64(log)))
	}
	return usage
}

// janitor owns retention.
func (s *Spool) janitor() {
	defer s.workers.Done()
	ticker := time.NewTicker(janitorInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.fatal:
			return
		case now := <-ticker.C:
			if err := s.tidy(now); err != nil && !errors.Is(err, errClosed) && s.failed() == nil {
				s.log.Error("tidying the spool", "err", err)
			}
		}
	}
}

// tidy removes what has been kept long enough. It does nothing while nothing changes and the disk has
// room, but for the passing of time once an hour.
func (s *Spool) tidy(now time.Time) error {
	r := &s.retention
	s.write.Lock()
	ops := s.ops
	s.write.Unlock()
	hourly := now.Sub(r.expired) >= expiryInterval
	if ops == r.lastOps && !hourly && s.Room() == nil {
		return nil
	}
	r.lastOps = ops
	var err error
	if hourly {
		r.expired = now
		err = s.expire(now)
	}
	return errors.Join(err, s.trim(now))
}

// trim removes history by range, a piece at a time, so that nobody who puts a delivery waits long.
func (s *Spool) trim(now time.Time) error {
	cut := s.cut(now)
	for s.retention.floor() < cut {
		piece := s.retention.after(s.retention.floor(), removeMarks, cut)
		if err := s.removeBelow(piece); err != nil {
			return fmt.Errorf("remove history: %w", err)
		}
		select {
		case <-s.stop:
			return nil
		default:
		}
	}
	return nil
}

// cut returns where the log may begin now: at the highest mark within history that is too old or
// beyond the size; at 0 when nothing is to go.
func (s *Spool) cut(now time.Time) (cut delivery.Seq) {
	low := s.low()
	end := s.retention.before(low)
	usage := s.Usage()
	r := &s.retention
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.marks) == 0 {
		return 0
	}
	// What the disk holds beyond the budget, and what it lacks to the reserve, goes with history,
	// whatever its age. The disk takes its time to give the space back, so that the figures must not
	// be believed again at once.
	excess := max(usage.Bytes-usage.Max, usage.Reserve-usage.Free, 0)
	if now.Sub(r.madeWay) < makeWayInterval {
		excess = 0
	} else if excess > 0 {
		r.madeWay = now
	}
	for i, m := range r.marks {
		tooOld := now.Sub(m.time) > s.options.History
		tooMuch := end > m.before && end-m.before > uint64(s.options.HistorySize)
		makesWay := excess > 0 && r.marks[max(i-1, 0)].before-r.marks[0].before < uint64(excess)
		if m.seq > low || !tooOld && !tooMuch && !makesWay {
			break
		}
		cut = m.seq
	}
	return cut
}

// removeBelow makes cut the first event of the log. Events that deliveries below it still
// need are copied under their profiles first.
func (s *Spool) removeBelow(cut delivery.Seq) error {
	r := &s.retention
	r.removing.Lock()
	defer r.removing.Unlock()
	w := s.db.NewBatch()
	defer w.Close()
	for _, p := range s.profiles.all() {
		for _, kind := range [...]byte{kindLive, kindDead} {
			if err := s.copyEvents(w, p, kind, cut); err != nil {
				return err
			}
		}
	}
	floor := r.floor()
	if err := w.DeleteRange(seqKey(prefixLog, floor), seqKey(prefixLog, cut), nil); err != nil {
		return err
	}
	if err := w.DeleteRange(seqKey(prefixPiece, floor), seqKey(prefixPiece, cut), nil); err != nil {
		return err
	}
	if err := w.DeleteRange(seqKey(prefixMark, floor), seqKey(prefixMark, cut), nil); err != nil {
		return err
	}
	if err := w.Set([]byte{prefixFloor}, seqKey(prefixFloor, cut), nil); err != nil {
		return err
	}
	r.first.Store(uint64(cut))
	if err := s.commit(w, nil); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.marks) > 0 && r.marks[0].seq < cut {
		r.marks = r.marks[1:]
	}
	return nil
}

// copyChunk bounds the copies that are collected in memory before they are written.
const copyChunk = 1 << 20

// copyEvents copies the events of a profile's deliveries between the floor and cut. Copies
// may be written before the removal: they do no harm if it does not come about.
func (s *Spool) copyEvents(w *pebble.Batch, p *profile, kind byte, cut delivery.Seq) error {
	var found []delivery.Delivery // with what says which events they carry
	from := profileKey(p.id, kind, uint64(s.retention.floor()))
	err := s.scan(from, profileKey(p.id, kind, uint64(cut)), func(key, value []byte) (bool, error) {
		d, err := decodeDelivery(keySeq(key), value)
		if d.Members != nil {
			d.Members.Lanes = nil
		}
		found = append(found, delivery.Delivery{Seq: d.Seq, Members: d.Members})
		return true, err
	})
	for i := range found {
		if err == nil {
			err = s.copyMembers(w, p, &found[i])
		}
	}
	return err
}

// copyMembers copies the events that a delivery carries, those beyond the cut as well: then all are
// in one place.
func (s *Spool) copyMembers(w *pebble.Batch, p *profile, d *delivery.Delivery) error {
	copyOne := func(seq delivery.Seq) error {
		err := s.copyEvent(w, p, seq)
		if err == nil && w.Len() >= copyChunk {
			err = s.commit(w, nil)
			w.Reset()
		}
		return err
	}
	if d.Events() == 1 {
		return copyOne(d.Seq)
	}
	var entries []delivery.Entry
	for next, end := d.Seq, false; !end; {
		var err error
		if entries, next, end, err = s.logMembers(p.id, d, next, entries[:0], copyMany, copyChunk); err != nil {
			return err
		}
		for i := range entries {
			if err := copyOne(entries[i].Seq); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyMany is how many of a group's events are looked at in one go.
const copyMany = 256

func (s *Spool) copyEvent(w *pebble.Batch, p *profile, seq delivery.Seq) error {
	var value []byte
	err := s.logEvent(seq, func(l *logged) (err error) {
		value, err = l.record()
		return err
	})
	if err != nil {
		return err
	}
	if value == nil {
		return s.missing(seq, seq)
	}
	if value[0] > wholeVersion {
		if err := s.copyPieces(w, p, seq); err != nil {
			return err
		}
	}
	return w.Set(profileKey(p.id, kindEvent, uint64(seq)), value, nil)
}

// expire removes dead letters that have been kept for Options.Dead.
func (s *Spool) expire(now time.Time) error {
	var errs []error
	for _, p := range s.profiles.all() {
		if err := s.expireProfile(p, now); err != nil {
			errs = append(errs, fmt.Errorf("remove old dead letters of %s: %w", p.code, err))
		}
	}
	return errors.Join(errs...)
}

// expireChunk bounds the numbers that are collected before dead letters are removed.
const expireChunk = 1024

func (s *Spool) expireProfile(p *profile, now time.Time) error {
	for from := delivery.Seq(0); ; {
		var old []delivery.Seq
		err := s.Deliveries(p.id, from, []delivery.State{delivery.Dead}, func(d delivery.Delivery) bool {
			if now.Sub(d.Since) > s.options.Dead {
				old = append(old, d.Seq)
			}
			return len(old) < expireChunk
		})
		for _, seq := range old {
			if err == nil {
				err = s.expireOne(p, seq)
			}
		}
		if err != nil || len(old) < expireChunk {
			return err
		}
		from = old[len(old)-1] + 1
	}
}

func (s *Spool) expireOne(p *profile, seq delivery.Seq) error {
	d, ok, err := s.Delivery(p.id, seq)
	if err != nil || !ok {
		return err
	}
	if s.options.Expired != nil {
		// An event that cannot be read has said so elsewhere; the line is written without it.
		ev, err := s.Event(p.id, seq)
		if err != nil && !errors.Is(err, ErrGone) {
			return err
		}
		if err := s.options.Expired(p.code, d, ev); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	// It may have been retried meanwhile.
	still, ok, err := s.delivery(p.id, seq)
	if err != nil || !ok || still.State != delivery.Dead || !still.Since.Equal(d.Since) {
		return err
	}
	w := s.db.NewBatch()
	defer w.Close()
	u := newUpdate(s, p, w, s.db)
	if err := u.forget(&still); err != nil {
		return err
	}
	s.restsOnLines()
	return s.commit(w, nil)
}
