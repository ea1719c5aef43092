package pipeline

import (
	"time"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/delivery/spool"
)

const (
	// partBytes is how much is collected before a part of an open transaction is stored,
	// and, when storing falls behind, before the source is told to wait.
	partBytes = 256 << 10
	// gatherBytes is how much is collected at most from a source that has more at hand.
	gatherBytes = 64 << 10
	// positionInterval is how often the position is stored while nothing is mapped: a
	// change that no rule wants must not cost a write of its own.
	positionInterval = time.Second
	// restInterval is how long the source has nothing more until such a position is stored sooner, so
	// that the end of a burst is not behind by a second. That is done once a positionInterval at most,
	// which leaves a steady trickle at one write a second.
	restInterval = 20 * time.Millisecond
)

// storeBatch is what is stored at once, with the log lines that belong to it.
type storeBatch struct {
	batch   *spool.Batch
	lines   []delivery.LogRecord
	settled int             // of lines, those of complete transactions
	stored  []chan struct{} // closed once it is
	// abort says that the parts of an open transaction in the spool are to be dropped first.
	abort bool
	// unmark says that a very large change in it is no longer at work once it is stored.
	unmark bool
	// pending says that it holds complete transactions or a position; urgent that somebody waits
	// for them.
	pending, urgent bool
}

// empty makes the batch, of which nothing is left, one to fill.
func (b *storeBatch) empty() {
	b.batch.Reset()
	b.lines = b.lines[:0]
	b.stored, b.settled, b.abort, b.unmark, b.pending, b.urgent = nil, 0, false, false, false, false
}

// batches are the two that are filled and stored by turns: while one is being stored the other is
// filled, so that transactions share appends under load and go at once when there is none. They
// know when the one that is filled is to go, and how far storing is behind. All methods are called
// with the pipeline's mu held.
type batches struct {
	cur        storeBatch      // being filled
	spare      *storeBatch     // nil while the appender stores it
	work       chan storeBatch // to the appender
	storesMuch bool            // the appender stores a large change
	rests      bool            // the source says when it has handed over all that it has received
	lazy       *time.Timer     // hands over a batch that holds a position only
	lazyBy     time.Time       // when it does at the latest
	hastened   time.Time       // when it last did sooner
}

// newBatches returns two empty ones. flushLazy is called when a position that nobody was in a hurry
// to store has waited for long enough.
func newBatches(s *spool.Spool, flushLazy func()) batches {
	b := batches{
		cur:   storeBatch{batch: s.NewBatch()},
		spare: &storeBatch{batch: s.NewBatch()},
		work:  make(chan storeBatch, 1),
		lazy:  time.AfterFunc(positionInterval, flushLazy),
	}
	b.lazy.Stop()
	return b
}

// handOver gives the batch to the appender if that is idle and the batch is fit to be stored on its
// own: as a part of the open transaction, or with complete ones. Transactions that arrived together
// are stored together: until now, while the source has more at hand, a small batch waits for it.
func (b *batches) handOver(open, now bool) (handed, part bool) {
	if b.storing() {
		return false, false
	}
	part = open && b.cur.batch.Bytes() >= partBytes
	if !part && !b.cur.abort {
		if open || !b.cur.urgent || b.rests && !now && b.cur.batch.Bytes() < gatherBytes {
			return false, false
		}
	}
	b.lazy.Stop()
	full := b.cur
	b.storesMuch = full.batch.Bytes() >= capture.LargeChange
	b.cur, b.spare = *b.spare, nil
	b.work <- full
	return true, part
}

// back takes a batch that has been stored, and is empty.
func (b *batches) back(stored *storeBatch) { b.spare, b.storesMuch = stored, false }

// storing reports that the appender has a batch.
func (b *batches) storing() bool { return b.spare == nil }

// behind reports that the source has to wait for the appender: there is room for one large change at
// a time.
func (b *batches) behind() bool {
	return b.storing() && (b.storesMuch || b.cur.batch.Bytes() >= partBytes)
}

// overfull reports that even what a single change makes has to wait for the appender.
func (b *batches) overfull() bool { return b.storing() && b.cur.batch.Bytes() >= 2*partBytes }

// unstored reports that something complete is not stored yet.
func (b *batches) unstored() bool { return b.storing() || b.cur.pending }

// committed notes the end of a transaction: somebody waits for what it made, whose parts may be
// stored already.
func (b *batches) committed(parts bool) {
	b.cur.urgent = b.cur.urgent || parts || b.cur.batch.Len() > 0 || b.cur.batch.Bytes() >= gatherBytes
}

// settle notes that everything before end is in the batch.
func (b *batches) settle(end capture.Position) {
	b.cur.batch.Commit(string(end))
	b.cur.settled = len(b.cur.lines)
	if !b.cur.pending {
		b.lazy.Reset(positionInterval)
		b.lazyBy = time.Now().Add(positionInterval)
	}
	b.cur.pending = true
}

// abort drops what the open transaction left. Parts were handed over with everything that came
// before them, so that nothing else is in the batch then.
func (b *batches) abort(parts bool) {
	b.cur.batch.Rollback()
	b.cur.lines = b.cur.lines[:b.cur.settled]
	b.cur.abort = parts
}

// hasten has a position stored soon, since the source has nothing more.
func (b *batches) hasten() {
	if !b.cur.pending || b.cur.urgent {
		return
	}
	now := time.Now()
	wait := max(restInterval, b.hastened.Add(positionInterval).Sub(now))
	b.lazy.Reset(min(wait, b.lazyBy.Sub(now)))
}

// due has a position stored at the next turn.
func (b *batches) due() {
	if now := time.Now(); b.cur.pending && now.Before(b.lazyBy) {
		b.hastened = now
	}
	b.cur.urgent = b.cur.pending
}
