package engine

import (
	"encoding/json"
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

// stuck reports whether the commit waits for the delivery log. While it runs, its errors are the
// committer's.
func (c *commit) stuck() bool { return !c.running && c.logError != nil }

// write makes the store agree with what was decided, after the delivery log's lines that this rests
// on are written.
func (d *dispatcher) write(c *commit) {
	c.logError = d.log.Flush()
	d.engine.logFlushed(c.logError)
	if c.logError != nil {
		c.retryAt = time.Now().Add(tickDelay)
		return
	}
	if c.err != nil {
		return
	}
	p := &c.pending
	c.err = d.store.Update(d.store.id, delivery.Update{
		Progress: &c.progress, State: c.state, Put: p.puts, Remove: p.removes, DoneEvents: p.events, DoneBytes: p.bytes,
	})
}

// commitLoop writes commits while the dispatcher goes on.
func (d *dispatcher) commitLoop(commits <-chan *commit) {
	for c := range commits {
		d.write(c)
		c.done <- struct{}{}
		d.wake.notify()
	}
}

// begin moves what is pending into the commit, which is free.
func (d *dispatcher) begin() *commit {
	c := &d.current
	buffers := c.pending
	c.pending = d.queue.ledger.pending
	clear(buffers.puts)
	d.queue.ledger.pending = pending{puts: buffers.puts[:0], removes: buffers.removes[:0], done: buffers.done}
	c.progress.Cursor, c.progress.Done = d.queue.ledger.window.progress(d.reader.unread(), c.pending.done[:0])
	c.pending.done = c.progress.Done
	c.state = nil
	if d.dirty {
		d.state.Outage, d.state.consent, d.state.untold = d.endpoint.outage, d.activation.consent, d.gaps.untold
		d.state.Recording = d.queue.recording
		c.state, c.err = json.Marshal(&d.state)
		d.dirty = false
	}
	return c
}

// commitSoon has what is due written by the committer.
func (d *dispatcher) commitSoon(now time.Time) error {
	c := &d.current
	if c.running {
		select {
		case <-c.done:
			c.running = false
		default:
			return nil
		}
	}
	if c.err != nil {
		return fmt.Errorf("store progress: %w", c.err)
	}
	if c.logError != nil {
		if now.Before(c.retryAt) {
			return nil
		}
	} else if !d.queue.ledger.pending.due(now) {
		return nil
	} else {
		d.begin()
	}
	c.running = true
	d.commits <- c
	return nil
}

// commit writes everything that is pending and returns when the store has it. It reports false when
// the delivery log cannot be written; then it is tried again later, and nothing is sent meanwhile.
func (d *dispatcher) commit() (bool, error) {
	c := &d.current
	if c.running {
		<-c.done
		c.running = false
	}
	if c.logError != nil {
		d.write(c)
	}
	if c.err == nil && c.logError == nil && !d.queue.ledger.pending.empty() {
		d.write(d.begin())
	}
	if c.err != nil {
		return false, fmt.Errorf("store progress: %w", c.err)
	}
	return c.logError == nil, nil
}

// commitRecords is commit where only records matter, not progress: before they are read.
func (d *dispatcher) commitRecords() (bool, error) {
	c := &d.current
	touched := len(d.queue.ledger.pending.puts)+len(d.queue.ledger.pending.removes) > 0
	if !touched && !c.running && !c.stuck() && c.err == nil {
		return true, nil
	}
	return d.commit()
}

// profileState is what outlives a restart besides progress.
type profileState struct {
	consent
	untold
	// Told is below what the delivery log has lines of for having been held.
	Told    delivery.Seq `json:"told,omitempty"`
	Outage  *outage      `json:"outage,omitempty"`
	Replay  *replay      `json:"replay,omitempty"`
	Replays int          `json:"replays,omitempty"` // ever
	// Recording is where a large transaction begins whose records are being written; 0 when none
	// is.
	Recording delivery.Seq `json:"recording,omitempty"`
	ordering
}

// keepState has the state stored with the next commit, which is soon.
func (d *dispatcher) keepState(now time.Time) {
	d.dirty = true
	d.queue.ledger.pending.by(now.Add(commitDelay))
}

// loadState reads where the profile stands, and what waits on disk.
func (d *dispatcher) loadState() error {
	if d.loaded {
		return nil
	}
	d.reset()
	b, err := d.store.LoadState(d.store.id)
	if err == nil && len(b) > 0 {
		err = json.Unmarshal(b, &d.state)
	}
	if err != nil {
		return fmt.Errorf("read state of profile %s: %w", d.profile.code, err)
	}
	// The owners have what is stored before anything is committed, which stores it anew.
	d.endpoint.outage, d.activation.consent, d.gaps.untold = d.state.Outage, d.state.consent, d.state.untold
	d.inactive.told, d.queue.recording = d.state.Told, d.state.Recording
	d.use(d.state.inForce(d.configured))
	d.setPace()
	progress, err := d.store.Progress(d.store.id)
	if err != nil {
		return fmt.Errorf("read progress of profile %s: %w", d.profile.code, err)
	}
	d.reader.start(&progress)
	if err := d.unrecordStored(); err != nil {
		return err
	}
	var unread error
	err = d.store.Deliveries(d.store.id, 0, nil, func(r delivery.Delivery) bool {
		unread = d.recall(&r, progress.Cursor)
		return unread == nil
	})
	if err = firstError(err, unread); err != nil {
		return fmt.Errorf("read waiting deliveries of profile %s: %w", d.profile.code, err)
	}
	d.endpoint.wake(d.queue.ledger.counts[delivery.Retrying] > 0, time.Now())
	d.loaded = true
	return nil
}

// recall takes note of a record that is in the store at start.
func (d *dispatcher) recall(r *delivery.Delivery, cursor delivery.Seq) error {
	d.queue.ledger.count(r, 1)
	if err := d.recallMembers(r, cursor); err != nil {
		return err
	}
	if r.State == delivery.Dead {
		d.holdAgain(r)
		return nil
	}
	d.reader.knowRecord(r)
	if r.State == delivery.Retrying {
		now := time.Now()
		d.queue.ledger.dueBy(now.Add(d.waits(r, now)))
	}
	d.queue.lanes.put(r)
	return nil
}

// recallMembers takes note of which events at or above the cursor a record carries. Those of a
// transaction's group are known by the first of them, as they are for progress.
func (d *dispatcher) recallMembers(r *delivery.Delivery, cursor delivery.Seq) error {
	switch m := r.Members; {
	case r.Last() < cursor:
		return nil
	case m == nil || m.Count == 1 && m.Parts == 0:
		d.reader.know(r.Seq)
		return nil
	case m.Unit != delivery.UnitBatch:
		d.reader.knowGroup(r.Seq)
		return nil
	}
	var entries []delivery.Entry
	for next, end := max(r.Seq, cursor), false; !end; {
		var err error
		if entries, next, end, err = d.store.Events(d.store.id, r, next, entries[:0], readChunk, d.queue.memory.max); err != nil {
			return fmt.Errorf("read events of a waiting delivery: %w", err)
		}
		for i := range entries {
			d.reader.know(entries[i].Seq)
		}
	}
	return nil
}

// reset empties what is in memory.
func (d *dispatcher) reset() {
	d.reader.start(new(delivery.Progress))
	d.queue.reset()
	d.crew.handed = 0
	d.endpoint.outage, d.endpoint.breaker = nil, breaker{}
	d.state, d.dirty = profileState{}, false
	d.inactive = inactive{}
	d.activation.consent, d.activation.asking = consent{}, asking{}
	d.gaps.untold, d.gaps.carrier, d.expiring = untold{}, nil, 0
	d.current = commit{done: make(chan struct{}, 1)}
	d.tickAt = time.Time{}
}
