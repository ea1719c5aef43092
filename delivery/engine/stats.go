package engine

import (
	"time"

	"rowhook/delivery"
)

// Ending is what became of an event or an attempt: the delivery log's outcome and reason, both from
// closed sets.
type Ending struct {
	Outcome delivery.Outcome
	Reason  string // empty where there is none
}

// ProfileStats are a profile's figures since the engine began, as metrics want them.
type ProfileStats struct {
	Status delivery.ProfileStatus
	// Endings counts what the delivery log's lines are about, in events.
	Endings map[Ending]int64
	// Latency is from an event's commit to the reply that took it, Duration that of requests.
	Latency, Duration Histogram
}

// Stats returns the figures of all profiles that are owned. It looks without touching, and costs the deliveries
// next to nothing.
func (e *Engine) Stats() ([]ProfileStats, error) {
	var all []ProfileStats
	for _, d := range e.owned() {
		s, err := d.stats(time.Now())
		if passedOn("", err) {
			continue
		} else if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

func (d *dispatcher) stats(now time.Time) (ProfileStats, error) {
	if !d.lockToLook() {
		return d.lastLook()
	}
	defer d.mu.Unlock()
	if err := d.attend(); err != nil {
		return ProfileStats{}, err
	}
	s, err := d.figures(now)
	if err == nil && d.engine.options.Shared {
		d.looked.Store(&look{t: d.loaded, stats: s})
	}
	return s, err
}

// look is what was seen of a profile last.
type look struct {
	t     *tenure
	stats ProfileStats
}

// lookPatience is how long those who look at a profile wait for its dispatcher, where that may wait for
// other machines.
const lookPatience = 200 * time.Millisecond

// reasonStore is shown while a profile's progress waits for the store, which machines share.
const reasonStore = "store"

// lockToLook takes the dispatcher's lock for those who look. It reports false when that is held for
// longer than an update of a shared store should take: people look when it takes long.
func (d *dispatcher) lockToLook() bool {
	if !d.engine.options.Shared {
		d.mu.Lock()
		return true
	}
	if d.mu.TryLock() {
		return true
	}
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for until := time.Now().Add(lookPatience); time.Now().Before(until); {
		<-again.C
		if d.mu.TryLock() {
			return true
		}
	}
	return false
}

// lastLook returns what was seen last in this tenure, with the backlog as it is.
func (d *dispatcher) lastLook() (ProfileStats, error) {
	t := d.tenure.Load()
	if t == nil {
		return ProfileStats{}, d.notOwner()
	}
	s := ProfileStats{Status: delivery.ProfileStatus{Profile: d.code}}
	if last := d.looked.Load(); last != nil && last.t == t {
		s = last.stats
	}
	backlog, err := d.store.Backlog(d.store.id)
	if err != nil {
		return ProfileStats{}, err
	}
	s.Status.State, s.Status.Reason, s.Status.Attention, s.Status.NextAttempt = delivery.StateWaiting, reasonStore, true, time.Time{}
	s.Status.BacklogEvents, s.Status.BacklogBytes, s.Status.Oldest = backlog.Events, backlog.Bytes, backlog.Oldest
	return s, nil
}

// figures are a profile's as they are.
func (d *dispatcher) figures(now time.Time) (ProfileStats, error) {
	status, err := d.status(now)
	s := ProfileStats{Status: status, Endings: make(map[Ending]int64, len(d.lines.endings)+1), Latency: d.tally.latency, Duration: d.tally.duration}
	for ending, n := range d.lines.endings {
		s.Endings[ending] = n
	}
	s.Endings[Ending{Outcome: delivery.OutcomeDelivered}] = d.tally.delivered
	return s, err
}

// histogramBounds are the upper bounds of a [Histogram]'s buckets: from a request in the same
// machine to an outage of some days.
var histogramBounds = [...]time.Duration{
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
	15 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute, 3 * time.Hour, 24 * time.Hour,
}

// Histogram counts durations. Its zero value is ready; observing allocates nothing.
type Histogram struct {
	counts [len(histogramBounds) + 1]uint64 // the last: above all bounds
	total  uint64
	sum    time.Duration
}

func (h *Histogram) observe(took time.Duration, events int) {
	took = max(took, 0) // clocks of two machines
	i := 0
	for i < len(histogramBounds) && took > histogramBounds[i] {
		i++
	}
	h.counts[i] += uint64(events)
	h.total += uint64(events)
	h.sum += time.Duration(events) * took
}

// Count is how many durations were observed.
func (h *Histogram) Count() uint64 { return h.total }

// Sum is all durations together.
func (h *Histogram) Sum() time.Duration { return h.sum }

// Cumulative returns how many durations were not above each bound, in seconds.
func (h *Histogram) Cumulative() map[float64]uint64 {
	buckets := make(map[float64]uint64, len(histogramBounds))
	below := uint64(0)
	for i, bound := range histogramBounds {
		below += h.counts[i]
		buckets[bound.Seconds()] = below
	}
	return buckets
}
