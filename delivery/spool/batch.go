package spool

import (
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"rowhook/delivery"
)

const (
	// markBytes is how much of the log lies between two marks. At a mark the profiles' totals
	// are written too, so that opening the spool counts no more than that, and that
	// history before a mark may go without being missed in the totals.
	markBytes = 1 << 20
	// markTime is how much time may lie between two marks of a quiet source.
	markTime = time.Hour
)

// Batch collects events, dead letters of the source and a position, to be applied in one
// piece. Its owner may use it again after Reset.
type Batch struct {
	bytes   int // of the events
	shared  sharedSize
	entries []tailEntry
	singles map[int][]byte // records of large events, which are in no block
	to      []delivery.ProfileID
	parked  []*delivery.Parked

	commits  bool
	position string
	visible  int // of entries, those before the last Commit
	seen     int // of parked, likewise
	values   []metaValue
	set      int // of values, likewise
	kept     keptChanges
	stamps   []metaValue
	wire     wireMemory
	pieces   []piece // of the event that comes first in the next part
}

// metaValue is one of the agent's own values.
type metaValue struct {
	key   string
	value []byte
}

// NewBatch returns an empty batch.
func (s *Spool) NewBatch() *Batch { return &Batch{} }

// Add appends an event for the profiles that get it. The spool keeps
// ev: the caller must not change it any more. The slice to is copied. An event for
// nobody may be added: it is history for replay.
func (b *Batch) Add(ev *delivery.Event, to []delivery.ProfileID) {
	if len(to) > cap(b.to)-len(b.to) {
		// Entries keep pointing into the old block, which therefore must not move.
		b.to = make([]delivery.ProfileID, 0, max(512, len(to)))
	}
	start := len(b.to)
	b.to = append(b.to, to...)
	bytes := b.shared.of(ev) + ownSize(ev, to) + logKeySize
	b.bytes += bytes
	b.entries = append(b.entries, tailEntry{event: ev, to: b.to[start:len(b.to):len(b.to)], bytes: bytes})
}

// Park appends a dead letter of the source. Its Seq is assigned by Apply.
func (b *Batch) Park(p *delivery.Parked) { b.parked = append(b.parked, p) }

// Put sets one of the agent's own values, see [Spool.Meta], together with the next Commit.
func (b *Batch) Put(key string, value []byte) { b.values = append(b.values, metaValue{key, value}) }

// Commit marks the end of a transaction: with it, everything before it in this batch and
// in batches applied earlier becomes visible, and position is where the source resumes. The
// last call in a batch counts; what comes after it belongs to a transaction still open.
func (b *Batch) Commit(position string) {
	b.commits, b.position = true, position
	b.visible, b.seen, b.set = len(b.entries), len(b.parked), len(b.values)
	b.kept.settled = len(b.kept.list)
}

// Stamp sets one of the agent's own values, see [Spool.Meta], in the write that applies the batch, if
// the batch commits; if not it is lost. It says where the batch came from to whom it belongs, so that
// it is no part of what [Batch.Encode] hands on. The value is the spool's until Apply returns.
func (b *Batch) Stamp(key string, value []byte) { b.stamps = append(b.stamps, metaValue{key, value}) }

// Rollback takes what was added since the last Commit, or since Reset, out of the batch.
func (b *Batch) Rollback() {
	for _, e := range b.entries[b.visible:] {
		b.bytes -= e.bytes
	}
	clear(b.entries[b.visible:])
	clear(b.parked[b.seen:])
	b.entries, b.parked = b.entries[:b.visible], b.parked[:b.seen]
	b.values = b.values[:b.set]
	b.kept.rollback()
}

// Len returns the number of events and dead letters.
func (b *Batch) Len() int { return len(b.entries) + len(b.parked) }

// Bytes returns the encoded size of the events, were each stored by itself, and of what is kept of
// rows.
func (b *Batch) Bytes() int { return b.bytes + b.kept.size() }

// empty reports whether there is nothing in the batch to apply.
func (b *Batch) empty() bool {
	return b.Len() == 0 && len(b.kept.list) == 0 && len(b.pieces) == 0
}

// Reset empties the batch for use again. What was applied is not affected.
func (b *Batch) Reset() {
	clear(b.entries)
	clear(b.singles)
	clear(b.parked)
	clear(b.values)
	clear(b.stamps)
	clear(b.pieces)
	b.entries, b.parked, b.values = b.entries[:0], b.parked[:0], b.values[:0]
	b.stamps, b.pieces = b.stamps[:0], b.pieces[:0]
	// Applied entries still point into the block: the next events go behind them.
	b.to = b.to[len(b.to):]
	b.kept.reset()
	b.shared = sharedSize{}
	b.commits, b.position, b.visible, b.seen, b.set, b.bytes = false, "", 0, 0, 0, 0
}

const logKeySize = 9

// appender is what the append side knows; it belongs to its goroutine.
type appender struct {
	next       delivery.Seq // of the next event
	nextParked delivery.Seq
	written    uint64 // bytes of all events ever, the invisible ones included

	// What the open transaction has added, to be counted when it ends.
	sent   []tally // by profile number
	parked tally
	marks  []mark
	undone bool                  // there are undo records of kept rows: parts of it are stored
	pieces [delivery.Parts]int64 // bytes of the next event's parts that are stored ahead of it

	marked  mark         // the last one
	totaled delivery.Seq // event up to which the totals are written

	block  blockWriter   // holds the events before next
	writes *pebble.Batch // empty between two batches; its memory is kept
}

// Apply writes the batch as one atomic change, unsynced; see Durable. Events get
// contiguous numbers, in the order of Add. A [*NoRoomError] leaves everything as it was:
// wait for room and apply the batch again.
func (s *Spool) Apply(b *Batch) error {
	if !b.commits && b.empty() {
		return nil
	}
	if err := s.failed(); err != nil {
		return err
	}
	if !b.empty() {
		if err := s.Room(); err != nil {
			return err
		}
	}
	if err := s.appender.fits(b); err != nil {
		return err
	}
	if len(b.parked) > 0 || s.appender.parked.events > 0 {
		s.parkingLock.Lock()
		defer s.parkingLock.Unlock()
	}
	if err := s.putAway(b); err != nil {
		return s.fail(fmt.Errorf("append to spool: %w", err))
	}
	w := s.appender.writes
	if w == nil {
		w = s.db.NewBatch()
		s.appender.writes = w
	}
	defer w.Reset()
	first := s.appender.next
	done, err := s.fill(w, b)
	if err != nil {
		return s.fail(fmt.Errorf("append to spool: %w", err))
	}
	err = s.commit(w, func() {
		if done != nil {
			s.committed = done.commit
			s.parking.add(done.parked.events, done.parked.bytes)
		}
	})
	if err != nil {
		return err
	}
	s.tail.add(first, b.entries)
	if done != nil {
		s.finish(done)
	}
	return nil
}

// putAway stores the parts of a batch's large events, which are not held from then on.
func (s *Spool) putAway(b *Batch) error {
	for i := range b.entries {
		e := &b.entries[i]
		if e.event.Away == nil && !large(e.event) {
			continue
		}
		if e.event.Away == nil {
			if err := s.writePieces(s.appender.next+delivery.Seq(i), e.event); err != nil {
				return err
			}
			e.event = e.event.WithoutPayload()
		}
		if b.singles == nil {
			b.singles = map[int][]byte{}
		}
		b.singles[i] = appendEvent(nil, e.event, e.to)
	}
	return nil
}

// transaction is what a commit makes visible.
type transaction struct {
	commit commitRecord
	sent   []tally
	parked tally
	marks  []mark
}

// fill writes a batch's keys. The result is nil when the batch does not commit.
func (s *Spool) fill(w *pebble.Batch, b *Batch) (done *transaction, err error) {
	if err := s.fillPieces(w, b); err != nil {
		return nil, err
	}
	visible, seen := 0, 0
	if b.commits {
		visible, seen = b.visible, b.seen
		if err := s.fillPart(w, b, 0, visible, 0, seen); err != nil {
			return nil, err
		}
		if done, err = s.fillCommit(w, b.position); err != nil {
			return nil, err
		}
		for _, values := range [...][]metaValue{b.values[:b.set], b.stamps} {
			for _, v := range values {
				if err := w.Set(metaKey(v.key), v.value, nil); err != nil {
					return nil, err
				}
			}
		}
		if err := s.fillKept(w, &b.kept); err != nil {
			return nil, err
		}
	}
	if err := s.fillOpen(w, &b.kept); err != nil {
		return nil, err
	}
	return done, s.fillPart(w, b, visible, len(b.entries), seen, len(b.parked))
}

func (s *Spool) fillPart(w *pebble.Batch, b *Batch, from, to, parkedFrom, parkedTo int) error {
	a := &s.appender
	for i := from; i < to; i++ {
		if err := s.fillEvent(w, &b.entries[i], b.singles[i]); err != nil {
			return err
		}
	}
	if err := s.fillBlock(w); err != nil {
		return err
	}
	for _, p := range b.parked[parkedFrom:parkedTo] {
		value := encodeParked(nil, p)
		p.Seq = a.nextParked
		a.nextParked++
		a.parked.add(1, int64(len(value)))
		if err := w.Set(seqKey(prefixParked, p.Seq), value, nil); err != nil {
			return err
		}
	}
	return nil
}

// fillEvent adds an event to the block at hand, or writes the record that it has of its own.
func (s *Spool) fillEvent(w *pebble.Batch, e *tailEntry, record []byte) error {
	a := &s.appender
	if s.markDue(e.event.Time) {
		if err := s.fillBlock(w); err != nil {
			return err
		}
		if err := s.fillMark(w, e.event.Time); err != nil {
			return err
		}
	}
	if record != nil || a.block.full() {
		if err := s.fillBlock(w); err != nil {
			return err
		}
	}
	if record == nil {
		a.block.add(e)
	} else if err := w.Set(seqKey(prefixLog, a.next), record, nil); err != nil {
		return err
	}
	for _, id := range e.to {
		if int(id) >= len(a.sent) {
			a.sent = append(a.sent, make([]tally, int(id)+1-len(a.sent))...)
		}
		a.sent[id].add(1, int64(e.bytes))
	}
	a.next++
	a.written += uint64(e.bytes)
	return nil
}

// fillBlock writes the block of the events before the next one, if there is one.
func (s *Spool) fillBlock(w *pebble.Batch) error {
	a := &s.appender
	if a.block.events == 0 {
		return nil
	}
	value := a.block.pack(a.block.take())
	op := w.SetDeferred(logKeySize, len(value))
	appendSeqKey(op.Key[:0], prefixLog, a.next-1)
	copy(op.Value, value)
	return op.Finish()
}

// markDue reports whether the last mark is far enough back for another before the next event.
func (s *Spool) markDue(at time.Time) bool {
	a := &s.appender
	return a.marked.seq == 0 || a.written-a.marked.before >= s.markSize() || at.Sub(a.marked.time) >= markTime
}

// fillMark writes a mark before the next event.
func (s *Spool) fillMark(w *pebble.Batch, at time.Time) error {
	a := &s.appender
	a.marked = mark{seq: a.next, time: at, before: a.written}
	a.marks = append(a.marks, a.marked)
	return w.Set(seqKey(prefixMark, a.next), a.marked.encode(nil), nil)
}

// markSize keeps marks close enough to honour a small HistorySize.
func (s *Spool) markSize() uint64 {
	return uint64(min(markBytes, max(s.options.HistorySize/16, 1)))
}

// fillCommit ends the open transaction.
func (s *Spool) fillCommit(w *pebble.Batch, position string) (*transaction, error) {
	a := &s.appender
	done := &transaction{
		commit: commitRecord{seq: a.next - 1, parked: a.nextParked - 1, bytes: a.written, position: position},
		sent:   slices.Clone(a.sent),
		parked: a.parked,
		marks:  a.marks,
	}
	clear(a.sent)
	a.parked, a.marks = tally{}, nil
	if err := w.Set([]byte{prefixCommit}, done.commit.encode(nil), nil); err != nil {
		return nil, err
	}
	if done.parked.events > 0 {
		parking := s.parked()
		parking.add(done.parked.events, done.parked.bytes)
		if err := w.Set([]byte{prefixParking}, encodeParking(parking), nil); err != nil {
			return nil, err
		}
	}
	if len(done.marks) > 0 {
		return done, s.fillTotals(w, done)
	}
	return done, nil
}

// fillTotals writes what profiles were addressed in all, done included.
func (s *Spool) fillTotals(w *pebble.Batch, done *transaction) error {
	a := &s.appender
	totals := totalsRecord{seq: done.commit.seq, sent: make(map[delivery.ProfileID]tally)}
	for _, p := range s.profiles.all() {
		sent := p.sentSoFar()
		if int(p.id) < len(done.sent) {
			sent.add(done.sent[p.id].events, done.sent[p.id].bytes)
		}
		totals.sent[p.id] = sent
	}
	a.totaled = done.commit.seq
	return w.Set([]byte{prefixTotals}, totals.encode(nil), nil)
}

// finish counts a committed transaction and shows it to the readers, in this order: what
// a reader finishes has been counted.
func (s *Spool) finish(done *transaction) {
	for id, sent := range done.sent {
		if sent.events == 0 {
			continue
		}
		if p := s.profiles.get(delivery.ProfileID(id)); p != nil {
			p.sentEvents.Add(sent.events)
			p.sentBytes.Add(sent.bytes)
		}
	}
	s.retention.addMarks(done.marks)
	s.tail.show(done.commit.seq)
}

// Abort drops what was applied since the last commit: the stored part of a transaction
// that the source will repeat.
func (s *Spool) Abort() error {
	a := &s.appender
	s.write.Lock()
	to := s.committed
	s.write.Unlock()
	if a.next == to.seq+1 && a.nextParked == to.parked+1 && !a.undone && a.pieces == [delivery.Parts]int64{} {
		return nil
	}
	if err := s.dropOpen(to); err != nil {
		return err
	}
	s.tail.drop()
	a.next, a.nextParked, a.written = to.seq+1, to.parked+1, to.bytes
	clear(a.sent)
	a.parked, a.marks, a.pieces = tally{}, nil, [delivery.Parts]int64{}
	a.marked = s.retention.lastMark()
	return nil
}

// dropOpen removes what lies behind a commit from the store.
func (s *Spool) dropOpen(to commitRecord) error {
	if err := s.undo(); err != nil {
		return err
	}
	w := s.db.NewBatch()
	defer w.Close()
	for _, tail := range [...]struct {
		prefix byte
		from   delivery.Seq
	}{{prefixLog, to.seq + 1}, {prefixPiece, to.seq + 1}, {prefixMark, to.seq + 1}, {prefixParked, to.parked + 1}} {
		if err := w.DeleteRange(seqKey(tail.prefix, tail.from), []byte{tail.prefix + 1}, nil); err != nil {
			return fmt.Errorf("drop open transaction: %w", err)
		}
	}
	return s.commit(w, nil)
}

// checkpoint writes the totals, so that the next Open need not count.
func (s *Spool) checkpoint() error {
	s.write.Lock()
	committed := s.committed
	s.write.Unlock()
	if committed.seq == s.appender.totaled {
		return nil
	}
	w := s.db.NewBatch()
	defer w.Close()
	if err := s.fillTotals(w, &transaction{commit: committed}); err != nil {
		return fmt.Errorf("write totals: %w", err)
	}
	return s.commit(w, nil)
}
