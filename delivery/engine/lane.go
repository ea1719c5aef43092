package engine

import (
	"fmt"
	"time"

	"rowhook/delivery"
)

// A lane is the queue of one ordering key. It has two parts: jobs in memory, and behind
// them records on disk. What is read from the log while there are records on disk joins
// them, so that the two parts stay in commit order; when the memory part has drained, a few
// records are loaded. A lane that is empty is forgotten.
//
// An event that moved from one ordering key to another stands in both lanes, a group in those of all its
// events, and goes when it is first in all of them. The lowest delivery of all is first in its lanes, so that lanes
// cannot wait for each other in a circle.
type lane struct {
	hash       uint64
	head, tail *job
	disk       bool // records on disk, behind what is in memory
	asleep     bool // the first of these is retried later: its due time wakes the lane
	waking     bool // listed in dispatcher.waking
	// lowest is a bound: the lane has no records below it. Looking from there spares the store
	// to pass over all that was removed lately.
	lowest delivery.Seq
	// holds are the dead letters that keep later events of the lane back, ascending.
	holds []delivery.Seq
}

// laneHash is 64-bit FNV-1a. It is stored in records: it must stay as it is.
func laneHash(key string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(key) {
		h ^= uint64(key[i])
		h *= 1099511628211
	}
	return h
}

// lanesOf returns the hashes of an event's lane and of the lane it waits for besides, which is
// the same unless it moved.
func lanesOf(ev *delivery.Event) (own, wait uint64) {
	own = laneHash(ev.OrderKey)
	if ev.OrderKeyOld == "" || ev.OrderKeyOld == ev.OrderKey {
		return own, own
	}
	return own, laneHash(ev.OrderKeyOld)
}

// lane returns the lane with that hash, made if need be.
func (d *dispatcher) lane(hash uint64) *lane {
	l := d.lanes[hash]
	if l != nil {
		return l
	}
	if n := len(d.spareLanes); n > 0 {
		l = d.spareLanes[n-1]
		d.spareLanes = d.spareLanes[:n-1]
	} else {
		l = new(lane)
	}
	*l = lane{hash: hash}
	d.lanes[hash] = l
	return l
}

// forget drops a lane that is empty.
func (d *dispatcher) forget(l *lane) {
	if l.head != nil || l.disk || l.waking || len(l.holds) > 0 {
		return
	}
	delete(d.lanes, l.hash)
	if len(d.spareLanes) < maxWindowJobs {
		d.spareLanes = append(d.spareLanes, l)
	}
}

// enter puts a job at the end of its lanes' memory parts, and into the ready queue when it is first in them.
func (d *dispatcher) enter(j *job, lanes []uint64) {
	j.links = j.few[:0]
	if len(lanes) > len(j.few) {
		j.links = make([]link, 0, len(lanes))
	}
	j.state = jobWaiting
	for _, hash := range lanes {
		l := d.lane(hash)
		j.links = append(j.links, link{lane: l})
		if l.tail == nil {
			l.head = j
		} else {
			l.tail.in(l).behind = j
		}
		l.tail = j
	}
	d.readyIfFirst(j)
}

// readyIfFirst queues a job that nothing in its lanes stands before. It may have been queued already, by its other lane.
func (d *dispatcher) readyIfFirst(j *job) {
	if j.state != jobWaiting {
		return
	}
	for i := range j.links {
		if j.links[i].lane.head != j {
			return
		}
	}
	d.makeReady(j)
}

// leave takes a job that is first in its lanes out of them. The lanes' next jobs do not become ready here.
func (d *dispatcher) leave(j *job) {
	for i := range j.links {
		at := &j.links[i]
		at.lane.head = at.behind
		if at.behind == nil {
			at.lane.tail = nil
		}
		at.behind = nil
	}
}

// advance lets the lanes go on that a finished job has left.
func (d *dispatcher) advance(links []link) {
	for i := range links {
		l := links[i].lane
		switch {
		case l.head != nil:
			d.readyIfFirst(l.head)
		case l.disk:
			d.wakeLane(l)
		default:
			d.forget(l)
		}
	}
}

// wakeLane lists a lane whose records on disk are to be looked at.
func (d *dispatcher) wakeLane(l *lane) {
	if l.disk && !l.waking && !l.asleep {
		l.waking = true
		d.waking = append(d.waking, l)
	}
}

// block turns lanes to disk after the job that was first in them failed: what stands behind it
// in memory follows it there, and nothing is looked at until its retry is due.
func (d *dispatcher) block(links []link, failed delivery.Seq) {
	for i := range links {
		l := links[i].lane
		l.disk, l.asleep = true, true
		l.lowest = min(l.lowest, failed)
		if l.head != nil {
			d.evict(l.head)
		}
	}
}

// evict moves a job that no worker has, and all jobs behind it in its lanes, to disk.
func (d *dispatcher) evict(first *job) {
	moved := []*job{first}
	for len(moved) > 0 {
		j := moved[len(moved)-1]
		moved = moved[:len(moved)-1]
		links := j.links
		if links == nil {
			continue // reached a second time, by another lane
		}
		for i := range links {
			l := links[i].lane
			moved = l.cut(j, moved)
			l.disk = true
			l.lowest = min(l.lowest, j.seq)
		}
		for i := range links {
			if l := links[i].lane; l.head == nil {
				d.wakeLane(l)
			}
		}
		j.links = nil
		d.spill(j)
	}
}

// cut ends the lane's memory part before j and appends to moved what stood behind it.
func (l *lane) cut(j *job, moved []*job) []*job {
	var before *job
	at := l.head
	for at != nil && at != j {
		before, at = at, at.in(l).behind
	}
	if at == nil {
		return moved // cut off already, with one before it
	}
	for at = j.in(l).behind; at != nil; at = at.in(l).behind {
		moved = append(moved, at)
	}
	l.tail = before
	if before == nil {
		l.head = nil
	} else {
		before.in(l).behind = nil
	}
	return moved
}

// laneChunk is how many records of a lane are loaded at a time.
const laneChunk = 32

// loadLanes looks at the lanes that were woken, while there is room. What was decided
// before must have been committed: it reads the store.
func (d *dispatcher) loadLanes(now time.Time) error {
	for len(d.waking) > 0 && d.room() {
		l := d.waking[0]
		d.waking = d.waking[1:]
		l.waking = false
		if err := d.loadLane(l, now); err != nil {
			return err
		}
	}
	return nil
}

// loadLane brings a lane's first records on disk into memory, if they may go.
func (d *dispatcher) loadLane(l *lane, now time.Time) error {
	if l.head != nil || !l.disk {
		d.forget(l)
		return nil // woken again when it has drained
	}
	chunk := laneChunk
	if d.profile.config.Unit != delivery.UnitRecord {
		chunk = 1 // one that stands in several lanes is not loaded behind another
	}
	records, err := d.store.Lane(d.id, l.hash, l.lowest, d.records[:0], chunk)
	if err != nil {
		return fmt.Errorf("read lane: %w", err)
	}
	d.records = records[:0]
	defer clear(records)
	if len(records) == 0 {
		l.disk, l.asleep, l.lowest = false, false, 0
		d.forget(l)
		return nil
	}
	l.lowest = records[0].Seq
	for i := range records {
		r := &records[i]
		if l.holdsBack(r.Seq) || d.heldBack(r.Seq) {
			return nil
		}
		if wait := d.waits(r, now); r.State == delivery.Retrying && wait > 0 {
			if i == 0 {
				l.asleep = true
				d.ledger.dueBy(now.Add(wait))
			}
			return nil
		}
		if r.Members != nil || r.Lane != r.WaitLane {
			first, err := d.firstInOthers(l, r)
			if err != nil {
				return err
			}
			if i > 0 || !first {
				return nil
			}
		}
		if err := d.load(*r); err != nil {
			return err
		}
	}
	return nil
}

// firstInOthers reports whether a record that stands in several lanes is first in those that are not l.
// When it is not in one, that lane will come upon it.
func (d *dispatcher) firstInOthers(l *lane, r *delivery.Delivery) (bool, error) {
	var few [2]uint64
	lanes := r.Lanes(&few)
	for _, hash := range lanes {
		other := d.lane(hash)
		other.disk = true
		if other != l && (other.head != nil || other.holdsBack(r.Seq)) {
			return false, nil
		}
	}
	for _, hash := range lanes {
		other := d.lane(hash)
		if other == l || other.lowest == r.Seq {
			continue
		}
		records, err := d.store.Lane(d.id, hash, other.lowest, nil, 1)
		if err != nil {
			return false, fmt.Errorf("read lane: %w", err)
		}
		if len(records) > 0 {
			other.lowest = records[0].Seq
		}
		if len(records) == 0 || records[0].Seq != r.Seq {
			return false, nil
		}
	}
	return true, nil
}
