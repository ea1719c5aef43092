package pipeline

import (
	"sync/atomic"
	"time"
)

// Counts are what passed since the pipeline was made.
type Counts struct {
	Transactions int64 `json:"transactions"`
	Changes      int64 `json:"changes"`
	Events       int64 `json:"events"`
	Unsubscribed int64 `json:"unsubscribed"`
	Parked       int64 `json:"parked"`
	Notices      int64 `json:"notices"`
	// Worked grows while the end of a transaction is mapped, which may take long.
	Worked int64 `json:"-"`
	// LastCommit is when the last transaction was committed; zero before the first.
	LastCommit time.Time `json:"-"`
}

// counters are counted by the receive goroutine and read by others.
type counters struct {
	transactions, changes, events, unsubscribed, parked, notices atomic.Int64
	worked                                                       atomic.Int64
	lastCommit                                                   atomic.Int64 // time of the last commit seen, Unix nanoseconds
}

// Counts returns what passed since the pipeline was made.
func (p *Pipeline) Counts() Counts {
	c := &p.counts
	counts := Counts{
		Transactions: c.transactions.Load(), Changes: c.changes.Load(), Events: c.events.Load(),
		Unsubscribed: c.unsubscribed.Load(), Parked: c.parked.Load(), Notices: c.notices.Load(),
		Worked: c.worked.Load(),
	}
	if at := c.lastCommit.Load(); at != 0 {
		counts.LastCommit = time.Unix(0, at)
	}
	return counts
}
