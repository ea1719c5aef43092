package delivery

import (
	"encoding/json"
	"fmt"
	"time"
)

// pending is what was decided and is not in the store yet.
type pending struct {
	at      time.Time // when it is to be committed; zero when there is nothing
	results int
	puts    []Delivery
	removes []Seq
	events  int64 // what leaves the backlog
	bytes   int64
	done    []Seq // buffer
}

func (p *pending) by(t time.Time) {
	if p.at.IsZero() || t.Before(p.at) {
		p.at = t
	}
}

// result counts a result, which is committed soon.
func (p *pending) result(now time.Time) {
	p.results++
	if p.results == 1 {
		p.by(now.Add(commitDelay))
	}
}

// moved notes that only the read position moved, which can wait.
func (p *pending) moved(now time.Time) { p.by(now.Add(tickDelay)) }

// off counts events that leave the backlog.
func (p *pending) off(events, bytes int) {
	p.events += int64(events)
	p.bytes += int64(bytes)
}

func (p *pending) put(r Delivery) { p.puts = append(p.puts, r) }

func (p *pending) due(now time.Time) bool {
	return !p.at.IsZero() && !p.at.After(now) || p.results >= commitResults || len(p.puts) >= commitResults
}

// commit makes the store agree with what was decided, after the delivery log's lines that this rests on are written. It
// reports false when the log cannot be written; it is tried again, and nothing is sent meanwhile.
func (d *dispatcher) commit(now time.Time) (bool, error) {
	p := &d.pending
	if p.at.IsZero() && len(p.puts) == 0 && len(p.removes) == 0 && p.events == 0 {
		return true, nil
	}
	err := d.log.Flush()
	d.engine.logFlushed(err)
	if err != nil {
		p.at = now.Add(tickDelay)
		p.results = 0
		d.halted.Store(true)
		return false, nil
	}
	progress := Progress{}
	progress.Cursor, progress.Done = d.window.progress(d.next, p.done[:0])
	p.done = progress.Done
	update := Update{Progress: &progress, Put: p.puts, Remove: p.removes, DoneEvents: p.events, DoneBytes: p.bytes}
	if err := d.store.Update(d.id, update); err != nil {
		return false, fmt.Errorf("store progress: %w", err)
	}
	clear(p.puts)
	*p = pending{puts: p.puts[:0], removes: p.removes[:0], done: p.done}
	return true, nil
}

// put has a job's record written with a new state.
func (d *dispatcher) put(j *job, state State, due time.Time) {
	if j.stored {
		d.counts[j.record.State]--
	}
	j.record.State, j.record.Due = state, due
	d.counts[state]++
	d.pending.put(j.record)
	d.pending.by(time.Now().Add(commitDelay))
}

// remove has the record of a job removed that is over.
func (d *dispatcher) remove(j *job) {
	d.counts[j.record.State]--
	d.pending.removes = append(d.pending.removes, j.seq)
	delete(d.stored, j.seq)
}

// keep writes a job as retrying, and lets what stands behind it in its lanes follow it to disk.
func (d *dispatcher) keep(j *job, due time.Time) {
	d.put(j, Retrying, due)
	if j.stored {
		delete(d.stored, j.seq)
	} else {
		d.window.settle(j.slot)
	}
	d.dueBy(due)
	lanes := j.lanes
	d.leave(j)
	d.release(j)
	d.block(lanes)
}

// profileState is what outlives a restart besides progress.
type profileState struct {
	Inactive bool      `json:"inactive,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Reason   string    `json:"reason,omitempty"`
	Gap      *gap      `json:"gap,omitempty"`
}

func (d *dispatcher) saveState() error {
	b, err := json.Marshal(&d.state)
	if err == nil {
		err = d.store.SaveState(d.id, b)
	}
	if err != nil {
		return fmt.Errorf("store state of profile %s: %w", d.profile.code, err)
	}
	return nil
}

// loadState reads where the profile stands, and what waits on disk.
func (d *dispatcher) loadState() error {
	if d.loaded {
		return nil
	}
	d.reset()
	b, err := d.store.LoadState(d.id)
	if err == nil && len(b) > 0 {
		err = json.Unmarshal(b, &d.state)
	}
	if err != nil {
		return fmt.Errorf("read state of profile %s: %w", d.profile.code, err)
	}
	progress, err := d.store.Progress(d.id)
	if err != nil {
		return fmt.Errorf("read progress of profile %s: %w", d.profile.code, err)
	}
	d.next = progress.Cursor
	d.settled = make(map[Seq]struct{}, len(progress.Done))
	for _, seq := range progress.Done {
		d.settled[seq] = struct{}{}
	}
	err = d.store.Deliveries(d.id, 0, nil, func(r Delivery) bool {
		d.recall(&r, progress.Cursor)
		return true
	})
	if err != nil {
		return fmt.Errorf("read waiting deliveries of profile %s: %w", d.profile.code, err)
	}
	d.loaded = true
	return nil
}

// recall takes note of a record that is in the store at start.
func (d *dispatcher) recall(r *Delivery, cursor Seq) {
	d.counts[r.State]++
	if r.Seq >= cursor {
		d.settled[r.Seq] = struct{}{}
	}
	if r.State == Dead {
		return
	}
	if r.State == Retrying {
		d.dueBy(r.Due)
	}
	if d.profile.ordered() {
		for _, hash := range [2]uint64{r.Lane, r.WaitLane} {
			l := d.lane(hash)
			l.disk = true
			d.wakeLane(l)
		}
	}
}

// reset empties what is in memory.
func (d *dispatcher) reset() {
	d.next, d.end, d.appended, d.settled = 0, false, nil, nil
	d.window = window{}
	d.jobs, d.bytes, d.handed = 0, 0, 0
	d.fresh, d.retries = jobQueue{}, jobQueue{}
	clear(d.lanes)
	clear(d.stored)
	d.waking = nil
	d.counts = [Dead + 1]int64{}
	d.nextDue = time.Time{}
	d.endpoint = endpoint{}
	d.state = profileState{}
	d.carrier = nil
	d.pending = pending{}
	d.tickAt = time.Time{}
}
