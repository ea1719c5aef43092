package engine

import "rowhook/delivery"

// A lane is the queue of one ordering key. It has two parts: jobs in memory, and behind them
// records on disk. What is read from the log while there are records on disk joins them, so that
// the two parts stay in commit order; when the memory part has drained, a few records are loaded. A
// lane that is empty is forgotten.
//
// An event that moved from one ordering key to another stands in both lanes, a group in those of
// all its events, and goes when it is first in all of them. The lowest delivery of all is first in
// its lanes, so that lanes cannot wait for each other in a circle.
type lane struct {
	hash       uint64
	head, tail *job
	disk       bool // records on disk, behind what is in memory
	asleep     bool // the first of these is retried later: its due time wakes the lane
	waking     bool // listed in lanes.waking
	// lowest is a bound: the lane has no records below it. Looking from there spares the store
	// to pass over all that was removed lately.
	lowest delivery.Seq
	// blockedBy are the dead letters that keep later events of the lane back, ascending.
	blockedBy []delivery.Seq
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

// holdsBack reports whether a dead letter is in the way of an event of the lane.
func (l *lane) holdsBack(seq delivery.Seq) bool { return len(l.blockedBy) > 0 && seq > l.blockedBy[0] }

// toDisk takes note that the lane has a record on disk.
func (l *lane) toDisk(seq delivery.Seq) {
	l.disk = true
	l.lowest = min(l.lowest, seq)
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
