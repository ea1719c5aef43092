package engine

import (
	"slices"

	"rowhook/delivery"
)

// lanes keeps the order of a profile's deliveries, and queues those in memory that may go: each
// that nothing stands before. Which lanes have records on disk to be looked at is listed; lanes
// reads none of them. What has to leave memory is handed back, for the books to be kept.
//
// Without order every job may go at once, and there are no lanes.
type lanes struct {
	ordered bool
	byKey   map[uint64]*lane
	waking  []*lane // whose records on disk are to be looked at
	later   []*lane // likewise, once the store has what was decided about them
	spare   []*lane
	alones  alones
	fresh   jobQueue // ready first tries
	retries jobQueue
	turn    int // counts hand-outs, for the retries' share
}

// reset forgets everything but the order.
func (s *lanes) reset() {
	clear(s.byKey)
	*s = lanes{ordered: s.ordered, byKey: s.byKey, spare: s.spare, turn: s.turn}
}

// of returns the lane with that hash, made if need be.
func (s *lanes) of(hash uint64) *lane {
	l := s.byKey[hash]
	if l != nil {
		return l
	}
	if n := len(s.spare); n > 0 {
		l = s.spare[n-1]
		s.spare = s.spare[:n-1]
	} else {
		l = new(lane)
	}
	*l = lane{hash: hash}
	s.byKey[hash] = l
	return l
}

// forget drops a lane that is empty.
func (s *lanes) forget(l *lane) {
	if l.head != nil || l.disk || l.waking || len(l.blockedBy) > 0 {
		return
	}
	delete(s.byKey, l.hash)
	if len(s.spare) < maxWindowJobs {
		s.spare = append(s.spare, l)
	}
}

// wake lists a lane whose records on disk are to be looked at.
func (s *lanes) wake(l *lane) {
	if l.disk && !l.waking && !l.asleep {
		l.waking = true
		s.waking = append(s.waking, l)
	}
}

// woken takes the next lane off the list; nil when there is none.
func (s *lanes) woken() *lane {
	if len(s.waking) == 0 {
		return nil
	}
	l := s.waking[0]
	s.waking = s.waking[1:]
	l.waking = false
	return l
}

// postpone lists a lane that was woken for later.
func (s *lanes) postpone(l *lane) {
	l.waking = true
	s.later = append(s.later, l)
}

// resume lists what was postponed again.
func (s *lanes) resume() {
	s.waking = append(s.waking, s.later...)
	clear(s.later)
	s.later = s.later[:0]
}

// enter puts a job at the end of its lanes' memory parts, and into the ready queue when it is first
// in them.
func (s *lanes) enter(j *job, hashes []uint64) {
	j.nodes = j.few[:0]
	if len(hashes) > len(j.few) {
		j.nodes = make([]laneNode, 0, len(hashes))
	}
	j.state = jobWaiting
	for _, hash := range hashes {
		l := s.of(hash)
		l.asleep = false // what was to be retried later, if anything, is this job
		j.nodes = append(j.nodes, laneNode{lane: l})
		if l.tail == nil {
			l.head = j
		} else {
			l.tail.in(l).behind = j
		}
		l.tail = j
	}
	s.readyIfFirst(j)
}

// goAlone has a job wait until nothing before it is left.
func (s *lanes) goAlone(j *job) {
	j.state = jobWaiting
	s.alones.job = j
}

// readyIfFirst queues a job that nothing in its lanes stands before. It may have been queued
// already, by its other lane.
func (s *lanes) readyIfFirst(j *job) {
	if j.state != jobWaiting {
		return
	}
	for i := range j.nodes {
		if j.nodes[i].lane.head != j {
			return
		}
	}
	s.ready(j)
}

// ready queues a job that may go.
func (s *lanes) ready(j *job) {
	j.state = jobReady
	if j.firstTry() {
		s.fresh.push(j)
	} else {
		s.retries.push(j)
	}
}

// requeue takes back a job that was picked and not begun.
func (s *lanes) requeue(j *job) {
	j.state = jobReady
	if j.firstTry() {
		s.fresh.pushFront(j)
	} else {
		s.retries.pushFront(j)
	}
}

// queued is how many jobs may go.
func (s *lanes) queued() int { return s.fresh.n + s.retries.n }

// gone takes a job out of the queues' fronts that was evicted while it stood there; nil when none
// is.
func (s *lanes) gone() *job {
	for _, q := range [2]*jobQueue{&s.fresh, &s.retries} {
		if q.head != nil && q.head.state == jobGone {
			return q.pop()
		}
	}
	return nil
}

// retryTurn gives retries every fifth hand-out while there are first tries.
const retryTurn = 5

// turnOfRetries counts a hand-out and reports whether it is the retries' turn.
func (s *lanes) turnOfRetries() bool {
	s.turn++
	return s.turn%retryTurn == 0
}

// pick takes the next job to send, of which there is one: first tries before retries, unless it is
// their turn.
func (s *lanes) pick(mayFresh, retries bool) *job {
	if s.retries.n > 0 && (retries || !mayFresh || s.fresh.n == 0) {
		return s.retries.pop()
	}
	return s.fresh.pop()
}

// leave takes a job that is first in its lanes out of them. The lanes' next jobs do not become
// ready here.
func (s *lanes) leave(j *job) {
	for i := range j.nodes {
		at := &j.nodes[i]
		at.lane.head = at.behind
		if at.behind == nil {
			at.lane.tail = nil
		}
		at.behind = nil
	}
}

// advance lets the lanes go on that a finished job has left.
func (s *lanes) advance(nodes []laneNode) {
	for i := range nodes {
		l := nodes[i].lane
		switch {
		case l.head != nil:
			s.readyIfFirst(l.head)
		case l.disk:
			s.wake(l)
		default:
			s.forget(l)
		}
	}
}

// block turns lanes to disk after the job that was first in them failed: what stands behind it in
// memory follows it there, and nothing is looked at until its retry is due.
func (s *lanes) block(nodes []laneNode, failed delivery.Seq) (evicted []*job) {
	for i := range nodes {
		l := nodes[i].lane
		l.toDisk(failed)
		l.asleep = true
		if l.head != nil {
			evicted = s.evict(evicted, l.head)
		}
	}
	return evicted
}

// split turns lanes to disk in which the parts of a job wait that was first in them.
func (s *lanes) split(nodes []laneNode, seq delivery.Seq) (evicted []*job) {
	for i := range nodes {
		l := nodes[i].lane
		l.toDisk(seq)
		l.asleep = false
		if l.head != nil {
			evicted = s.evict(evicted, l.head)
		}
		s.wake(l)
	}
	return evicted
}

// evict takes a job that no worker has, and all jobs behind it in its lanes, out of them, and
// appends them to evicted. The lanes go on on disk.
func (s *lanes) evict(evicted []*job, first *job) []*job {
	moved := []*job{first}
	for len(moved) > 0 {
		j := moved[len(moved)-1]
		moved = moved[:len(moved)-1]
		nodes := j.nodes
		if nodes == nil {
			continue // reached a second time, by another lane
		}
		for i := range nodes {
			l := nodes[i].lane
			moved = l.cut(j, moved)
			l.toDisk(j.seq)
		}
		for i := range nodes {
			if l := nodes[i].lane; l.head == nil {
				s.wake(l)
			}
		}
		j.nodes = nil
		evicted = append(evicted, j)
	}
	return evicted
}

// onDisk reports whether what comes for the lanes joins records on disk.
func (s *lanes) onDisk(hashes []uint64) bool {
	for _, hash := range hashes {
		if l := s.byKey[hash]; l != nil && (l.disk || len(l.blockedBy) > 0) {
			return true
		}
	}
	return false
}

// join takes note that a delivery joins records on disk.
func (s *lanes) join(hashes []uint64) {
	for _, hash := range hashes {
		s.of(hash).disk = true
	}
}

// put takes note of a record on disk, which the lanes come upon in its turn.
func (s *lanes) put(r *delivery.Delivery) {
	if r.Alone() { // also without order: of a time when there was one
		s.alones.add(r.Seq)
		return
	}
	if !s.ordered {
		return
	}
	var few [2]uint64
	for _, hash := range r.Lanes(&few) {
		l := s.of(hash)
		l.toDisk(r.Seq)
		if l.head == nil {
			s.wake(l)
		}
	}
}

// recheck has the lanes of a record looked at again.
func (s *lanes) recheck(r *delivery.Delivery) {
	if !s.ordered {
		return
	}
	var few [2]uint64
	for _, hash := range r.Lanes(&few) {
		l := s.of(hash)
		l.disk, l.asleep = true, false
		if l.head == nil {
			s.wake(l)
		}
	}
}

// insert takes note of a record on disk that is older than what waits in memory, which makes way
// for it, but for what a worker has: that cannot be called back.
func (s *lanes) insert(r *delivery.Delivery) (evicted []*job) {
	if r.Alone() {
		s.alones.add(r.Seq)
	}
	var few [2]uint64
	for _, hash := range r.Lanes(&few) {
		l := s.of(hash)
		l.toDisk(r.Seq)
		l.asleep = false
		if first := l.head; first != nil {
			if first.state == jobHanded {
				first = first.in(l).behind
			}
			if first != nil {
				evicted = s.evict(evicted, first)
			}
		}
		if l.head == nil {
			s.wake(l)
		}
	}
	return evicted
}

// hold keeps the later events of a dead letter's lanes back until it is retried or discarded.
func (s *lanes) hold(r *delivery.Delivery) (evicted []*job) {
	if r.Alone() {
		s.alones.add(r.Seq)
	}
	var few [2]uint64
	for _, hash := range r.Lanes(&few) {
		l := s.of(hash)
		if at, found := slices.BinarySearch(l.blockedBy, r.Seq); !found {
			l.blockedBy = slices.Insert(l.blockedBy, at, r.Seq)
		}
		if l.head != nil {
			l.disk = true
			evicted = s.evict(evicted, l.head)
		}
	}
	return evicted
}

// unhold lets the lanes of a record go on that is no dead letter any more.
func (s *lanes) unhold(r *delivery.Delivery) {
	s.aloneOver(r)
	var few [2]uint64
	for _, hash := range r.Lanes(&few) {
		l := s.byKey[hash]
		if l == nil {
			continue
		}
		if at, found := slices.BinarySearch(l.blockedBy, r.Seq); found {
			l.blockedBy = slices.Delete(l.blockedBy, at, at+1)
		}
		if l.head == nil {
			s.wake(l)
		}
		s.forget(l)
	}
}

// unholdAll lets all lanes go on.
func (s *lanes) unholdAll() {
	for _, l := range s.byKey {
		if len(l.blockedBy) > 0 {
			l.blockedBy = nil
			if l.head == nil {
				s.wake(l)
			}
			s.forget(l)
		}
	}
}

// aloneOver lets everything go on that a group held back which went alone.
func (s *lanes) aloneOver(r *delivery.Delivery) {
	if !r.Alone() || !s.alones.remove(r.Seq) {
		return
	}
	for _, l := range s.byKey {
		if l.head == nil {
			s.wake(l)
		}
	}
}
