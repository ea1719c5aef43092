package engine

import (
	"fmt"
	"sync/atomic"
	"time"
)

// budget is what others than the dispatcher ask of a profile, at any time.
type budget struct {
	share  float64
	pauses bool // on_full: pause_source
}

func newBudget(p *Profile) *budget {
	return &budget{share: float64(p.config.Share), pauses: p.config.OnFull == "pause_source"}
}

// share is how much of the spool a profile's backlog may take, and how much of it is too much. It
// drops nothing.
type share struct {
	store     *profileStore
	budget    atomic.Pointer[budget]
	relieveAt time.Time // when the spool as a whole may be relieved again
}

// set takes over the terms of a profile, before they are in force.
func (s *share) set(p *Profile) { s.budget.Store(newBudget(p)) }

// pauses reports whether the source is to be paused rather than anything dropped.
func (s *share) pauses() bool { return s.budget.Load().pauses }

// excess returns by how many bytes the backlog is above the profile's share of the spool.
func (s *share) excess() int64 {
	limit := s.store.Usage().Max
	backlog, err := s.store.Backlog(s.store.id)
	if err != nil || limit <= 0 {
		return 0
	}
	return backlog.Bytes - int64(s.budget.Load().share*float64(limit))
}

// Relief of a spool that is full as a whole: the space of what is dropped comes back
// with a delay, so that it is done in steps with a pause between them.
const (
	reliefPart  = 8
	reliefPause = 10 * time.Second
)

// tooMuch returns how many bytes of the backlog are to be dropped: what is above the share or, where
// the spool is full and this is the largest backlog in it, a part of it. 0 or less is none.
func (s *share) tooMuch(now time.Time, largestWhenFull func() bool) (int64, error) {
	if s.pauses() {
		return 0, nil
	}
	excess := s.excess()
	if excess <= 0 && !now.Before(s.relieveAt) && largestWhenFull() {
		backlog, err := s.store.Backlog(s.store.id)
		if err != nil {
			return 0, fmt.Errorf("read backlog: %w", err)
		}
		excess = max(1, backlog.Bytes/reliefPart)
		s.relieveAt = now.Add(reliefPause)
	}
	return excess, nil
}
