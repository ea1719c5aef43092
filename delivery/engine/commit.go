package engine

import (
	"fmt"
	"time"

	"rowhook/delivery"
)

// commit is one update on its way into the store.
type commit struct {
	pending  pending
	progress delivery.Progress
	state    []byte        // nil leaves it
	err      error         // of the store
	logError error         // of the delivery log; the commit is tried again at retryAt
	done     chan struct{} // gets a value when the committer is through with it
	running  bool
	retryAt  time.Time
}

// committer brings what was decided into the store, after the delivery log's lines that it rests on.
// One commit at a time is under way: beside the dispatcher, or while that waits for it. It decides
// when; what is in it the owners know.
type committer struct {
	store   *profileStore
	log     Recorder
	flushed func(error) // hears how each flush of the log went
	wake    signal      // the dispatcher's
	ledger  *ledger
	reader  *reader
	kept    *kept
	tenure  *tenure // in which all this was decided

	dirty   bool   // what is kept is to be stored with the next commit
	current commit // on its way into the store, or waiting for the delivery log
	through int    // how many commits the store has
	commits chan *commit
}

// reset forgets what was under way.
func (c *committer) reset() { c.dirty, c.current = false, commit{done: make(chan struct{}, 1)} }

// write makes the store agree with what was decided, after the delivery log's lines that this rests
// on are written.
func (c *committer) write(w *commit) {
	if w.logError = c.flush(); w.logError != nil {
		w.retryAt = time.Now().Add(tickDelay)
		return
	}
	if w.err != nil {
		return
	}
	if c.tenure.isOver() {
		w.err = delivery.ErrNotOwner
		return
	}
	p := &w.pending
	w.err = c.store.Update(c.store.id, delivery.Update{
		Progress: &w.progress, State: w.state, Put: p.puts, Remove: p.removes, DoneEvents: p.events, DoneBytes: p.bytes, Epoch: c.tenure.epoch,
	})
}

// flush writes the delivery log's lines.
func (c *committer) flush() error {
	err := c.log.Flush()
	c.flushed(err)
	return err
}

// open returns what writes commits while the dispatcher goes on, until close. It is to be called
// once, beside the dispatcher.
func (c *committer) open() func() {
	commits := make(chan *commit, 1)
	c.commits = commits
	return func() {
		for w := range commits {
			c.write(w)
			w.done <- struct{}{}
			c.wake.notify()
		}
	}
}

func (c *committer) close() {
	close(c.commits)
	c.commits = nil
}

// begin moves what is pending into the commit, which is free.
func (c *committer) begin() *commit {
	w := &c.current
	buffers := w.pending
	w.pending = c.ledger.pending
	clear(buffers.puts)
	buffers.touched.clear()
	c.ledger.pending = pending{puts: buffers.puts[:0], removes: buffers.removes[:0], done: buffers.done, touched: buffers.touched}
	w.progress.Cursor, w.progress.Done = c.ledger.window.progress(c.reader.unread(), w.pending.done[:0])
	w.pending.done = w.progress.Done
	w.state = nil
	if c.dirty {
		w.state, w.err = c.kept.bytes()
		c.dirty = false
	}
	return w
}

// soon has what is due written beside the dispatcher.
func (c *committer) soon(now time.Time) error {
	w := &c.current
	if w.running {
		select {
		case <-w.done:
			w.running = false
			c.through++
		default:
			return nil
		}
	}
	if w.err != nil {
		return fmt.Errorf("store progress: %w", w.err)
	}
	if w.logError != nil {
		if now.Before(w.retryAt) {
			return nil
		}
	} else if !c.ledger.pending.due(now) {
		return nil
	} else {
		c.begin()
	}
	c.send(w)
	return nil
}

func (c *committer) send(w *commit) {
	w.running = true
	c.commits <- w
}

// hurry has what was decided about records be on its way into the store, before some are read. Those
// that it has not got there are unstored.
func (c *committer) hurry() (committed bool, err error) {
	w := &c.current
	switch {
	case c.commits == nil: // nobody writes beside
		return c.records()
	case w.running, w.logError != nil, w.err != nil, len(c.ledger.pending.puts)+len(c.ledger.pending.removes) == 0:
		return w.running || w.logError == nil, nil
	}
	c.send(c.begin())
	return true, nil
}

// unstored calls yield for what is not in the store yet: what is on its way, and what is pending.
func (c *committer) unstored(yield func(*pending) bool) {
	if w := &c.current; (w.running || w.logError != nil) && !yield(&w.pending) {
		return
	}
	yield(&c.ledger.pending)
}

// unstoredLane reports whether the store does not know yet how the records of a lane are.
func (c *committer) unstoredLane(hash uint64) bool {
	for p := range c.unstored {
		if p.touched.lane(hash) {
			return true
		}
	}
	return false
}

// unstoredRecord is unstoredLane for one record.
func (c *committer) unstoredRecord(seq delivery.Seq) bool {
	for p := range c.unstored {
		if p.touched.record(seq) {
			return true
		}
	}
	return false
}

// dueAt is when soon is to be called again; zero when that is known when something happens.
func (c *committer) dueAt() time.Time {
	switch w := &c.current; {
	case w.running: // notifies
		return time.Time{}
	case w.logError != nil:
		return w.retryAt
	}
	return c.ledger.pending.at
}

// stuck reports whether the commit waits for the delivery log. While it runs, its errors are not
// ours to look at.
func (c *committer) stuck() bool { return !c.current.running && c.current.logError != nil }

// commit writes everything that is pending and returns when the store has it. It reports false when
// the delivery log cannot be written; then it is tried again later, and nothing is sent meanwhile.
func (c *committer) commit() (bool, error) {
	w := &c.current
	if w.running {
		<-w.done
		w.running = false
	}
	c.through++
	if w.logError != nil {
		c.write(w)
	}
	if w.err == nil && w.logError == nil && !c.ledger.pending.empty() {
		c.write(c.begin())
	}
	if w.err != nil {
		return false, fmt.Errorf("store progress: %w", w.err)
	}
	return w.logError == nil, nil
}

// whole is commit where a delivery log that cannot be written is an error.
func (c *committer) whole() error {
	committed, err := c.commit()
	if err == nil && !committed {
		err = c.current.logError
	}
	return err
}

// records is commit where only records matter, not progress: before they are read.
func (c *committer) records() (bool, error) {
	w := &c.current
	touched := len(c.ledger.pending.puts)+len(c.ledger.pending.removes) > 0
	if !touched && !w.running && w.logError == nil && w.err == nil {
		return true, nil
	}
	return c.commit()
}

// ifDue is commit once as much is pending as a commit takes.
func (c *committer) ifDue(now time.Time) error {
	if !c.ledger.pending.due(now) {
		return nil
	}
	_, err := c.commit()
	return err
}

// keep has what outlives a restart stored with the next commit, which is soon.
func (c *committer) keep(now time.Time) {
	c.dirty = true
	c.ledger.pending.by(now.Add(commitDelay))
}
