package engine

import (
	"time"

	"golang.org/x/time/rate"

	"rowhook/delivery"
)

// How many lines about attempts that were not the last a profile may write: floodBurst at once,
// then floodRate a second. The others are collapsed to one line for each reason every floodSummary.
const (
	floodBurst   = 1000
	floodRate    = 5
	floodSummary = 10 * time.Second
)

// flood keeps a failing endpoint from filling the delivery log's disk.
type flood struct {
	limiter *rate.Limiter
	kinds   []delivery.LogRecord // what was collapsed, by outcome, reason and status
	due     time.Time            // when it is to be written
}

// collapses reports whether a line is to be collapsed: it repeats what many before it said, and
// another one follows.
func (f *flood) collapses(rec *delivery.LogRecord) bool {
	if rec.Outcome != delivery.OutcomeRetrying && rec.Outcome != delivery.OutcomeInterrupted {
		return false
	}
	if f.limiter == nil {
		f.limiter = rate.NewLimiter(floodRate, floodBurst)
	}
	return !f.limiter.AllowN(rec.Time, 1)
}

// add takes a line that is collapsed.
func (f *flood) add(rec *delivery.LogRecord) {
	if len(f.kinds) == 0 {
		f.due = rec.Time.Add(floodSummary)
	}
	k := f.kind(rec)
	if k.Count++; k.Count == 1 {
		k.First = rec.Event
	}
	k.Last, k.Time, k.Error, k.Location = rec.Event, rec.Time, rec.Error, rec.Location
}

// kind returns what is collapsed with a line. Reasons and statuses are few.
func (f *flood) kind(rec *delivery.LogRecord) *delivery.LogRecord {
	for i := range f.kinds {
		if k := &f.kinds[i]; k.Outcome == rec.Outcome && k.Reason == rec.Reason && k.Status == rec.Status {
			return k
		}
	}
	f.kinds = append(f.kinds, delivery.LogRecord{
		Profile: rec.Profile, Outcome: rec.Outcome, Method: rec.Method, URL: rec.URL, Status: rec.Status, Reason: rec.Reason,
		BodyLimit: rec.BodyLimit, Epoch: rec.Epoch,
	})
	return &f.kinds[len(f.kinds)-1]
}
