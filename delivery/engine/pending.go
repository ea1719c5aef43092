package engine

import (
	"time"

	"rowhook/delivery"
)

// pending is what was decided and is not on its way into the store yet.
type pending struct {
	at      time.Time // when it is to be committed; zero when there is nothing
	results int
	puts    []delivery.Delivery
	removes []delivery.Seq
	touched touched
	done    []delivery.Seq // buffer for Progress
	events  int64          // what leaves the backlog
	bytes   int64
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

// reply counts a result that may have waited to be looked at, and is committed no later for that.
func (p *pending) reply(r *delivery.Reply, now time.Time) {
	p.result(now)
	if p.results == 1 {
		p.by(now.Add(commitDelay - min(max(now.Sub(r.Started.Add(r.Duration)), 0), commitDelay)))
	}
}

// moved notes that only the read position moved, which can wait.
func (p *pending) moved(now time.Time) { p.by(now.Add(tickDelay)) }

// off takes what a delivery carries off the backlog, back brings it back.
func (p *pending) off(r *delivery.Delivery) {
	p.events += int64(r.Events())
	p.bytes += int64(r.Bytes)
}

func (p *pending) back(r *delivery.Delivery) {
	p.events -= int64(r.Events())
	p.bytes -= int64(r.Bytes)
}

func (p *pending) put(r delivery.Delivery) {
	p.puts = append(p.puts, r)
	p.touched.add(&r)
}

func (p *pending) remove(r *delivery.Delivery) {
	p.removes = append(p.removes, r.Seq)
	p.touched.add(r)
}

// touched is which records are changed, and their lanes: what the store says of them is not how it
// is.
type touched struct {
	records map[delivery.Seq]struct{}
	lanes   map[uint64]struct{}
}

func (t *touched) add(r *delivery.Delivery) {
	if t.records == nil {
		t.records, t.lanes = make(map[delivery.Seq]struct{}), make(map[uint64]struct{})
	}
	t.records[r.Seq] = struct{}{}
	var few [2]uint64
	for _, hash := range r.Lanes(&few) {
		t.lanes[hash] = struct{}{}
	}
}

func (t *touched) clear() {
	clear(t.records)
	clear(t.lanes)
}

func (t *touched) record(seq delivery.Seq) bool { _, is := t.records[seq]; return is }
func (t *touched) lane(hash uint64) bool        { _, is := t.lanes[hash]; return is }

func (p *pending) due(now time.Time) bool {
	return !p.at.IsZero() && !p.at.After(now) || p.results >= commitResults || len(p.puts) >= commitResults
}

func (p *pending) empty() bool {
	return p.at.IsZero() && len(p.puts) == 0 && len(p.removes) == 0 && p.events == 0
}
