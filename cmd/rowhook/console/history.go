package console

import (
	"sync"
	"time"
)

// What the plots show: an hour by minutes, a day by quarters of an hour.
const (
	hourStep, hourPoints = time.Minute, 60
	dayStep, dayPoints   = 15 * time.Minute, 96
)

// Sample is how an agent stands at one moment. Events and Failures count up from its start.
type Sample struct {
	At       time.Time `json:"at"`
	Events   int64     `json:"events"`   // read from the source
	Failures int64     `json:"failures"` // attempts that failed, and deliveries given up
	Lag      int64     `json:"lag"`      // bytes
	Backlog  int64     `json:"backlog"`  // events that wait
}

// Point is one step of a plot.
type Point struct {
	At       time.Time `json:"at"` // the step's end
	Events   int64     `json:"events"`
	Failures int64     `json:"failures"`
	Lag      int64     `json:"lag"`     // the most of the step
	Backlog  int64     `json:"backlog"` // likewise
}

// Series is what the plots show, the oldest point first.
type Series struct {
	Hour []Point `json:"hour"`
	Day  []Point `json:"day"`
}

// History keeps the points of the plots, in a few kilobytes. It is safe for concurrent use.
type History struct {
	mu        sync.Mutex
	last      Sample
	hour, day ring
}

// NewHistory returns an empty history.
func NewHistory() *History {
	return &History{hour: ring{step: hourStep, most: hourPoints}, day: ring{step: dayStep, most: dayPoints}}
}

// Add takes a sample. Samples come in the order of their times, however often.
func (h *History) Add(s Sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.last
	h.last = s
	if before.At.IsZero() || !s.At.After(before.At) {
		return
	}
	p := Point{Events: max(s.Events-before.Events, 0), Failures: max(s.Failures-before.Failures, 0), Lag: s.Lag, Backlog: s.Backlog}
	h.hour.add(s.At, p)
	h.day.add(s.At, p)
}

// Series returns the points.
func (h *History) Series() Series {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Series{Hour: h.hour.list(), Day: h.day.list()}
}

// ring is the latest points, one a step. The oldest gives way.
type ring struct {
	step   time.Duration
	most   int
	points []Point
	next   int // where the next one goes, once there are as many as can be
}

// add adds to the step that a time is in, or begins it.
func (r *ring) add(at time.Time, p Point) {
	p.At = at.Truncate(r.step).Add(r.step)
	n := len(r.points)
	if n > 0 {
		if last := &r.points[(r.next+n-1)%n]; last.At.Equal(p.At) {
			last.Events += p.Events
			last.Failures += p.Failures
			last.Lag, last.Backlog = max(last.Lag, p.Lag), max(last.Backlog, p.Backlog)
			return
		}
	}
	if n < r.most {
		r.points = append(r.points, p)
		return
	}
	r.points[r.next] = p
	r.next = (r.next + 1) % n
}

// list is the points, the oldest first.
func (r *ring) list() []Point {
	return append(append(make([]Point, 0, len(r.points)), r.points[r.next:]...), r.points[:r.next]...)
}
