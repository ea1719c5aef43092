package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"rowhook/delivery"
)

// order is a set of lanes and what went through them, by the places of their jobs.
type order struct {
	t *testing.T
	lanes
	jobs map[delivery.Seq]*job
}

func newOrder(t *testing.T) *order {
	return &order{t: t, lanes: lanes{ordered: true, byKey: make(map[uint64]*lane)}, jobs: make(map[delivery.Seq]*job)}
}

// delivery returns a record in the lanes of these keys; with none, one that goes alone.
func (o *order) delivery(seq delivery.Seq, keys ...string) *delivery.Delivery {
	r := &delivery.Delivery{Seq: seq, Members: &delivery.Members{Count: 2, Alone: len(keys) == 0}}
	for _, key := range keys {
		r.Members.Lanes = append(r.Members.Lanes, laneHash(key))
	}
	slices.Sort(r.Members.Lanes)
	return r
}

// come has a delivery come from the log.
func (o *order) come(seq delivery.Seq, keys ...string) {
	r := o.delivery(seq, keys...)
	j := &job{seq: seq, record: *r}
	o.jobs[seq] = j
	o.enter(j, r.Members.Lanes)
}

// send picks what may go, in order, and has workers hold it.
func (o *order) send() string {
	var sent []string
	for {
		for o.gone() != nil {
		}
		if o.queued() == 0 {
			return strings.Join(sent, " ")
		}
		j := o.pick(true, false)
		j.state = jobHanded
		sent = append(sent, fmt.Sprint(j.seq))
	}
}

// over ends what a worker had.
func (o *order) over(seq delivery.Seq) {
	j := o.jobs[seq]
	o.leave(j)
	o.advance(j.nodes)
}

// evicted lists jobs by place, and takes them out of memory as their dispatcher does.
func (o *order) evicted(jobs []*job) string {
	var m memory
	var list []delivery.Seq
	for _, j := range jobs {
		list = append(list, j.seq)
		m.release(j)
	}
	slices.Sort(list)
	return strings.Trim(fmt.Sprint(list), "[]")
}

// wokenLanes returns how many lanes are to be looked at, and takes them off the list.
func (o *order) wokenLanes() int {
	n := 0
	for o.woken() != nil {
		n++
	}
	return n
}

func (o *order) want(what, got, want string) {
	o.t.Helper()
	if got != want {
		o.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestLanesOrder: within a key one at a time and in order, over keys at once; what stands in
// several lanes is first in all.
func TestLanesOrder(t *testing.T) {
	t.Parallel()
	o := newOrder(t)
	o.come(1, "a")
	o.come(2, "b")
	o.come(3, "a")
	o.come(4, "a", "b") // moved from one to the other
	o.come(5, "b")
	o.come(6, "c")
	o.want("at first", o.send(), "1 2 6")
	o.over(2)
	o.want("b is over, 4 waits for a", o.send(), "")
	o.over(1)
	o.want("a goes on", o.send(), "3")
	o.over(3)
	o.want("4 is first in both", o.send(), "4")
	o.over(4)
	o.want("b goes on", o.send(), "5")
	o.over(5)
	o.over(6)
	if len(o.byKey) != 0 {
		t.Errorf("%d empty lanes are kept", len(o.byKey))
	}
}

// TestLanesBlock: what stands behind a failure follows it to disk, through all lanes that it stands
// in.
func TestLanesBlock(t *testing.T) {
	t.Parallel()
	o := newOrder(t)
	o.come(1, "a")
	o.come(2, "a", "b")
	o.come(3, "b", "c")
	o.come(4, "c")
	o.come(5, "d")
	o.want("at first", o.send(), "1 5")
	o.leave(o.jobs[1])
	o.want("1 fails", o.evicted(o.block(o.jobs[1].nodes, 1)), "2 3 4")
	if !o.onDisk([]uint64{laneHash("c")}) || o.onDisk([]uint64{laneHash("d")}) {
		t.Error("c is not on disk, or d is")
	}
	if n := o.wokenLanes(); n != 2 { // b and c; a sleeps until the retry is due
		t.Errorf("%d lanes are to be looked at", n)
	}
	o.recheck(o.delivery(1, "a"))
	if n := o.wokenLanes(); n != 1 {
		t.Errorf("%d lanes are to be looked at when the retry is due", n)
	}
}

// TestLanesEvictQueued: a job that is evicted while it stands in the ready queue does not go.
func TestLanesEvictQueued(t *testing.T) {
	t.Parallel()
	o := newOrder(t)
	o.come(1, "a")
	o.come(2, "b")
	o.want("1 leaves", o.evicted(o.evict(nil, o.jobs[1])), "1")
	o.want("what goes", o.send(), "2")
}

// TestLanesInsert: a delivery of old goes before what waits in memory, but not before what a worker
// has.
func TestLanesInsert(t *testing.T) {
	t.Parallel()
	o := newOrder(t)
	o.come(5, "a")
	o.want("at first", o.send(), "5")
	o.come(6, "a")
	o.want("6 makes way", o.evicted(o.insert(o.delivery(2, "a"))), "6")
	if l := o.of(laneHash("a")); l.head != o.jobs[5] || !l.disk || l.waking {
		t.Errorf("a: %+v", l)
	}
	o.over(5)
	if n := o.wokenLanes(); n != 1 {
		t.Errorf("%d lanes are to be looked at after 5", n)
	}
}

// TestLanesHold: a dead letter keeps later events of its key back until it is no more.
func TestLanesHold(t *testing.T) {
	t.Parallel()
	o := newOrder(t)
	dead := o.delivery(1, "a")
	o.come(2, "a")
	o.want("2 waits on disk", o.evicted(o.hold(dead)), "2")
	o.hold(dead) // a second time changes nothing
	a := o.of(laneHash("a"))
	if !a.holdsBack(2) || a.holdsBack(1) || !o.onDisk([]uint64{a.hash}) {
		t.Errorf("a: %+v", a)
	}
	o.wokenLanes()
	o.unhold(dead)
	if a.holdsBack(2) || o.wokenLanes() != 1 {
		t.Error("a does not go on")
	}
	o.hold(o.delivery(3, "b"))
	o.unholdAll()
	if o.byKey[laneHash("b")] != nil {
		t.Error("b, which is empty, is kept")
	}
}

// TestLanesAlone: a group of very many keys holds everything behind it back, and lets all go on.
func TestLanesAlone(t *testing.T) {
	t.Parallel()
	o := newOrder(t)
	group, later := o.delivery(4), o.delivery(2)
	o.put(group)
	o.put(later)
	o.put(o.delivery(7, "a"))
	o.wokenLanes()
	if o.alones.first() != 2 || !o.alones.holdsBack(3) || o.alones.holdsBack(1) {
		t.Errorf("alone: %v", o.alones.seqs)
	}
	o.aloneOver(later)
	if o.alones.first() != 4 || o.wokenLanes() != 1 {
		t.Errorf("alone: %v", o.alones.seqs)
	}
	o.aloneOver(later) // it is over already
	if o.wokenLanes() != 0 {
		t.Error("lanes are looked at for nothing")
	}
}

// TestLanesWithoutOrder: what once went alone still waits for its turn; nothing else stands in a lane.
func TestLanesWithoutOrder(t *testing.T) {
	t.Parallel()
	o := newOrder(t)
	o.ordered = false
	o.put(o.delivery(3))
	o.put(o.delivery(4, "a"))
	o.recheck(o.delivery(4, "a"))
	if o.alones.first() != 3 || len(o.byKey) != 0 {
		t.Errorf("alone: %v, %d lanes", o.alones.seqs, len(o.byKey))
	}
}

// TestLanesTurns: retries get every fifth hand-out while first tries wait, and all where none does.
func TestLanesTurns(t *testing.T) {
	t.Parallel()
	var o lanes
	for seq := range delivery.Seq(20) {
		o.ready(&job{seq: seq})
		o.ready(&job{seq: 100 + seq, record: delivery.Delivery{Attempts: 1}})
	}
	retries := 0
	for range 10 {
		if o.pick(true, o.turnOfRetries()).seq >= 100 {
			retries++
		}
	}
	if retries != 2 {
		t.Errorf("%d of 10 are retries", retries)
	}
	if j := o.pick(false, o.turnOfRetries()); j.seq < 100 {
		t.Error("a first try goes where none may")
	}
	j := o.pick(true, false)
	o.requeue(j)
	if o.pick(true, false) != j {
		t.Error("what was given back is not the next one")
	}
}

// TestLoadedEarlyWakesItsLanes: a record that is loaded by one of its lanes before its due time has
// woken the others does not leave those asleep.
func TestLoadedEarlyWakesItsLanes(t *testing.T) {
	t.Parallel()
	o := newOrder(t)
	o.come(1, "a", "b")
	o.send()
	first := o.jobs[1]
	o.leave(first)
	o.block(first.nodes, 1)
	o.put(o.delivery(2, "a", "b"))
	o.come(1, "a", "b") // from its record
	o.send()
	o.over(1)
	if n := len(o.waking); n != 2 {
		t.Errorf("%d of 2 lanes are looked at when the retry is over", n)
	}
}
