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

func (p *pending) put(r delivery.Delivery) { p.puts = append(p.puts, r) }

func (p *pending) due(now time.Time) bool {
	return !p.at.IsZero() && !p.at.After(now) || p.results >= commitResults || len(p.puts) >= commitResults
}

func (p *pending) empty() bool {
	return p.at.IsZero() && len(p.puts) == 0 && len(p.removes) == 0 && p.events == 0
}
