package engine

import (
	"cmp"
	"context"
	"fmt"
	"iter"

	"rowhook/delivery"
)

// Waiting is an event that waits to be delivered to a profile, or is dead for it.
type Waiting struct {
	Profile string // code
	State   string // as in Item
	Event   *delivery.Event
}

// Each calls yield for each event of the deliveries that have a record, dead letters included, until
// it fails. With fresh it calls it before for those that have none yet, which are as many as the
// backlog; an event that is attempted meanwhile comes twice, and the later state counts.
func (e *Engine) Each(ctx context.Context, fresh bool, yield func(*Waiting) error) error {
	for _, d := range e.owned() {
		l := &listing{d: d}
		l.visit = func(state string, ev *delivery.Event, r *delivery.Delivery) error {
			w := Waiting{Profile: d.code, State: state, Event: ev}
			if r.Members == nil {
				return yield(&w)
			}
			for member, err := range d.store.members(r) {
				if err := cmp.Or(err, ctx.Err()); err != nil {
					return err
				}
				w.Event = member
				if err := yield(&w); err != nil {
					return err
				}
			}
			return nil
		}
		l.ctx = ctx
		if err := l.observe(); passedOn("", err) {
			continue
		} else if err != nil {
			return err
		}
		if fresh {
			if err := l.log(); err != nil {
				return err
			}
		}
		if err := d.store.each(nil, l.record); err != nil {
			return err
		}
	}
	return nil
}

// members ranges over the events of a group.
func (s *profileStore) members(r *delivery.Delivery) iter.Seq2[*delivery.Event, error] {
	return func(yield func(*delivery.Event, error) bool) {
		var entries []delivery.Entry
		for next, end := r.Seq, false; !end; {
			var err error
			if entries, next, end, err = s.Events(s.id, r, next, entries[:0], readChunk, renderBytes); err != nil {
				yield(nil, fmt.Errorf("read events of a waiting delivery: %w", err))
				return
			}
			for i := range entries {
				if !yield(entries[i].Event, nil) {
					return
				}
			}
		}
	}
}
