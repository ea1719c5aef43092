package engine

import (
	"cmp"
	"slices"

	"rowhook/delivery"
)

// job is one delivery in memory: read from the log or loaded from its record, until it is over
// or back on disk. Its dispatcher owns it, except between hand-out and result, when a worker does.
type job struct {
	seq   delivery.Seq
	event *delivery.Event // the first one of a group
	bytes int             // of its events in the spool
	// members are a group's events, when they are in memory; otherwise they are read when they are
	// wanted.
	members []delivery.Entry
	// record is what the spool keeps or would keep of it. It is stored already when stored is set.
	record delivery.Delivery
	stored bool
	slot   uint64 // place in the window; only when not stored
	slots  int    // how many places from there on
	memory int    // bytes of memory it accounts for
	state  jobState

	// nodes are its places in its lanes: one, two for an event that moved between ordering keys,
	// any number for a group, by the lanes' hashes. few is room for those of a single event.
	nodes  []laneNode
	few    [2]laneNode
	queued *job // the next job in the ready queue

	// What goes to the worker and comes back.
	gap   string
	sent  bool // false: given back untouched
	reply delivery.Reply
	size  int      // of the body that was sent
	shown []byte   // the start of a body that was streamed, for the delivery log
	cuts  []int    // where a group whose body is too large is to be divided: how many of its events come before
	flags []string // of a group's events that have been rendered
	err   error    // of the store, which could not give the events of a group
}

// jobState says who holds a job.
type jobState uint8

const (
	jobWaiting jobState = iota // behind another job of a lane
	jobReady                   // in the ready queue
	jobHanded                  // with a worker, or on the way there and back
	jobGone                    // evicted while in the ready queue
)

// firstTry reports whether the job has not been tried in this round.
func (j *job) firstTry() bool { return j.record.Attempts == 0 && j.record.Body == nil }

// id is what the request is known by.
func (j *job) id() string {
	if m := j.record.Members; m != nil {
		return m.ID
	}
	return j.event.ID
}

// laneNode is a job's place in a lane.
type laneNode struct {
	lane   *lane
	behind *job // the next one in that lane
}

// in returns the job's place in a lane that it stands in.
func (j *job) in(l *lane) *laneNode {
	if len(j.nodes) <= len(j.few) {
		if j.nodes[0].lane == l {
			return &j.nodes[0]
		}
		return &j.nodes[1]
	}
	i, _ := slices.BinarySearchFunc(j.nodes, l.hash, func(at laneNode, hash uint64) int { return cmp.Compare(at.lane.hash, hash) })
	return &j.nodes[i]
}

// jobQueue is a queue of ready jobs, linked through the jobs themselves.
type jobQueue struct {
	head, tail *job
	n          int
}

func (q *jobQueue) push(j *job) {
	j.queued = nil
	if q.tail == nil {
		q.head = j
	} else {
		q.tail.queued = j
	}
	q.tail = j
	q.n++
}

func (q *jobQueue) pushFront(j *job) {
	j.queued = q.head
	q.head = j
	if q.tail == nil {
		q.tail = j
	}
	q.n++
}

func (q *jobQueue) pop() *job {
	j := q.head
	if j == nil {
		return nil
	}
	q.head = j.queued
	if q.head == nil {
		q.tail = nil
	}
	j.queued = nil
	q.n--
	return j
}

// window is the part of the log between the lowest entry that is not settled and the read position:
// what progress is made of. An entry is settled when it is over or has a record of its own.
type window struct {
	slots []slot
	front uint64 // place of slots[head]
	head  int
	n     int
}

// Entries that belong together (the groups of one transaction) leave the window together.
type slot struct {
	seq     delivery.Seq
	job     *job // nil once settled
	settled bool
	left    int    // how many of those that belong together are not settled; only in the first of them
	lead    uint64 // place of that one
}

// push adds an entry and returns its place.
func (w *window) push(seq delivery.Seq, j *job) uint64 {
	place := w.front + uint64(w.n)
	return w.join(seq, j, place)
}

// join is push for an entry that belongs to the one at a place, none of which has been settled.
func (w *window) join(seq delivery.Seq, j *job, lead uint64) uint64 {
	if w.n == len(w.slots) {
		w.grow()
	}
	w.slots[(w.head+w.n)&(len(w.slots)-1)] = slot{seq: seq, job: j, lead: lead}
	w.n++
	w.at(lead).left++
	return w.front + uint64(w.n) - 1
}

func (w *window) grow() {
	bigger := make([]slot, max(64, 2*len(w.slots)))
	for i := range w.n {
		bigger[i] = w.slots[(w.head+i)&(len(w.slots)-1)]
	}
	w.slots, w.head = bigger, 0
}

// settle marks the entry at a place, and drops what is settled in front.
func (w *window) settle(place uint64) {
	s := w.at(place)
	s.settled, s.job = true, nil
	w.at(s.lead).left--
	for w.n > 0 && w.slots[w.head].left == 0 {
		for lead := w.front; w.n > 0 && w.slots[w.head].lead == lead; w.n-- {
			w.head = (w.head + 1) & (len(w.slots) - 1)
			w.front++
		}
	}
}

func (w *window) at(place uint64) *slot {
	return &w.slots[(w.head+int(place-w.front))&(len(w.slots)-1)]
}

// open ranges over the entries that are not settled and have a job.
func (w *window) open(yield func(*slot) bool) {
	for i := range w.n {
		if s := &w.slots[(w.head+i)&(len(w.slots)-1)]; s.job != nil && !yield(s) {
			return
		}
	}
}

// oldest returns the job that holds the window open; nil when the window is empty.
func (w *window) oldest() *job {
	for i := range w.n {
		if s := &w.slots[(w.head+i)&(len(w.slots)-1)]; !s.settled {
			return s.job
		}
	}
	return nil
}

// progress appends to done what is settled above the lowest entry that is not, and returns that
// entry's place in the log, or next when there is none.
func (w *window) progress(next delivery.Seq, done []delivery.Seq) (delivery.Seq, []delivery.Seq) {
	if w.n == 0 {
		return next, done
	}
	for i := range w.n {
		if s := &w.slots[(w.head+i)&(len(w.slots)-1)]; s.settled {
			done = append(done, s.seq)
		}
	}
	return w.slots[w.head].seq, done
}

// find returns the job that carries an entry which is not settled; nil when there is none.
func (w *window) find(seq delivery.Seq) *job {
	for i := range w.n {
		s := &w.slots[(w.head+i)&(len(w.slots)-1)]
		if s.seq == seq || s.job != nil && s.job.slots == 1 && s.job.carries(seq) {
			return s.job
		}
	}
	return nil
}

// carries reports whether an entry is one of the members that the job has in memory.
func (j *job) carries(seq delivery.Seq) bool {
	_, found := slices.BinarySearchFunc(j.members, seq, func(e delivery.Entry, seq delivery.Seq) int { return cmp.Compare(e.Seq, seq) })
	return found
}
