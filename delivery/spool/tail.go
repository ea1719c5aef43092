package spool

import (
	"slices"
	"sync"

	"rowhook/delivery"
)

const (
	tailEntries = 1024
	tailBytes   = 8 << 20
	// entryOverhead is what an event costs in memory beside its record.
	entryOverhead = 448
)

// tail keeps the newest events decoded, so that profiles that keep up read what was
// just appended without touching the store. It also knows how far the log is
// visible, and wakes those who wait for more.
type tail struct {
	mu      sync.RWMutex
	ring    []tailEntry  // at seq modulo its length
	first   delivery.Seq // of the events in ring; first == next when it is empty
	next    delivery.Seq // behind the last event in ring
	bytes   int
	visible delivery.Seq // last event that readers may see

	waiters []waiter      // by distinct seq, usually one
	ready   chan struct{} // closed: what waiting for something that is there returns
}

type tailEntry struct {
	event *delivery.Event
	to    []delivery.ProfileID
	bytes int
}

// held is what the event's record takes in memory.
func (e *tailEntry) held() int {
	if e.event == nil || e.event.Away == nil {
		return e.bytes
	}
	return max(0, e.bytes-int(e.event.PayloadSize()))
}

type waiter struct {
	seq delivery.Seq
	ch  chan struct{}
}

func newTail() *tail {
	t := &tail{ring: make([]tailEntry, tailEntries), ready: make(chan struct{})}
	close(t.ready)
	return t
}

// reset empties the ring; the log is visible up to seq.
func (t *tail) reset(seq delivery.Seq) {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.ring)
	t.first, t.next, t.bytes, t.visible = seq+1, seq+1, 0, seq
}

func (t *tail) slot(seq delivery.Seq) *tailEntry { return &t.ring[int(seq%delivery.Seq(len(t.ring)))] }

// push adds the event behind the last one.
func (t *tail) push(seq delivery.Seq, e tailEntry) {
	if int(t.next-t.first) == len(t.ring) {
		t.evict()
	}
	*t.slot(seq) = e
	t.next = seq + 1
	t.bytes += e.held() + entryOverhead
	for t.bytes > tailBytes && t.first < t.next {
		t.evict()
	}
}

func (t *tail) evict() {
	slot := t.slot(t.first)
	t.bytes -= slot.held() + entryOverhead
	*slot = tailEntry{}
	t.first++
}

// add takes a batch's events, the first of which has number seq.
func (t *tail) add(seq delivery.Seq, entries []tailEntry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, e := range entries {
		t.push(seq+delivery.Seq(i), e)
	}
}

// show makes everything up to seq visible and wakes those who wait for it.
func (t *tail) show(seq delivery.Seq) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.visible = seq
	t.waiters = slices.DeleteFunc(t.waiters, func(w waiter) bool {
		if w.seq <= seq {
			close(w.ch)
		}
		return w.seq <= seq
	})
}

// drop forgets events that are not visible.
func (t *tail) drop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.next > t.visible+1 && t.next > t.first {
		t.next--
		slot := t.slot(t.next)
		t.bytes -= slot.held() + entryOverhead
		*slot = tailEntry{}
	}
	if t.first > t.visible+1 {
		t.first, t.next = t.visible+1, t.visible+1
	}
}

// read appends what is addressed to the profile, or everything, from seq on. ok is false when the
// ring does not reach back that far.
func (t *tail) read(id delivery.ProfileID, from delivery.Seq, dst []delivery.Entry, max, maxBytes int, all bool) (
	entries []delivery.Entry, next delivery.Seq, end, ok bool,
) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if from > t.visible {
		return dst, from, true, true
	}
	if from < t.first {
		return dst, from, false, false
	}
	taken, bytes := 0, 0
	for seq := from; seq <= t.visible; seq++ {
		e := t.slot(seq)
		mine := slices.Contains(e.to, id)
		if !mine && !all {
			continue
		}
		if taken > 0 && (taken >= max || bytes+e.bytes > maxBytes) {
			return dst, seq, false, true
		}
		dst = append(dst, delivery.Entry{Seq: seq, Event: e.event, Bytes: e.bytes, Others: !mine})
		taken++
		bytes += e.bytes
	}
	return dst, t.visible + 1, true, true
}

// entry returns a visible event of the ring.
func (t *tail) entry(seq delivery.Seq) (tailEntry, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if seq < t.first || seq > t.visible {
		return tailEntry{}, false
	}
	return *t.slot(seq), true
}

// end returns the last visible event's number.
func (t *tail) end() delivery.Seq {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.visible
}

// wait returns a channel that is closed once seq is visible.
func (t *tail) wait(seq delivery.Seq) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq <= t.visible {
		return t.ready
	}
	for _, w := range t.waiters {
		if w.seq == seq {
			return w.ch
		}
	}
	w := waiter{seq: seq, ch: make(chan struct{})}
	t.waiters = append(t.waiters, w)
	return w.ch
}
