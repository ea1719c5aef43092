package engine

import (
	"context"
	"fmt"
	"iter"

	"rowhook/delivery"
)

// GroupOf returns the group that a line of the delivery log is about, as long as the store has all
// of its events; else nil. The line has no part numbers, so that the group has none.
func (e *Engine) GroupOf(ctx context.Context, rec *delivery.LogRecord) (*delivery.Group, error) {
	d := e.find(rec.Profile)
	if d == nil || rec.Count <= 1 {
		return nil, nil
	}
	var first *delivery.Event
	var id delivery.GroupID
	from, count, whole := delivery.Seq(0), 0, false
	for entry, err := range d.store.entriesFrom(ctx, 1) {
		if err != nil {
			return nil, err
		}
		switch ev := entry.Event; {
		case first == nil && ev.ID != rec.First:
			continue
		case first == nil:
			first, from = ev, entry.Seq
		case !together(rec.Unit, first, ev):
			continue
		}
		id.Add(entry.Event.ID)
		count++
		if whole = entry.Event.ID == rec.Last; whole || count == rec.Count {
			break
		}
	}
	if !whole || count != rec.Count || id.Sum() != rec.Event {
		return nil, nil
	}
	g := &delivery.Group{ID: rec.Event, Unit: rec.Unit, Count: count, First: first, Events: d.store.eventsTogether(ctx, rec.Unit, first, from, count)}
	if rec.Unit == delivery.UnitType {
		g.Type = first.Type
	}
	return g, nil
}

// together reports whether an event can be in the group that first begins.
func together(unit string, first, ev *delivery.Event) bool {
	switch unit {
	case delivery.UnitTransaction:
		return ev.Transaction == first.Transaction
	case delivery.UnitType:
		return ev.Transaction == first.Transaction && ev.Type == first.Type && ev.Entry == first.Entry
	}
	return true
}

// entriesFrom ranges over the profile's entries of the log, each valid until the next.
func (s *profileStore) entriesFrom(ctx context.Context, from delivery.Seq) iter.Seq2[*delivery.Entry, error] {
	return func(yield func(*delivery.Entry, error) bool) {
		var entries []delivery.Entry
		for next, end := from, false; !end; {
			err := ctx.Err()
			if err != nil {
				yield(nil, err)
				return
			}
			if entries, next, end, err = s.Read(s.id, next, entries[:0], readChunk, 1<<20); err != nil {
				yield(nil, fmt.Errorf("read spool at %d: %w", next, err))
				return
			}
			for i := range entries {
				if !yield(&entries[i], nil) {
					return
				}
			}
		}
	}
}

// eventsTogether ranges over a group's events in the log.
func (s *profileStore) eventsTogether(ctx context.Context, unit string, first *delivery.Event, from delivery.Seq, count int) iter.Seq2[*delivery.Event, error] {
	return func(yield func(*delivery.Event, error) bool) {
		left := count
		for entry, err := range s.entriesFrom(ctx, from) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !together(unit, first, entry.Event) {
				continue
			}
			if left--; !yield(entry.Event, nil) || left == 0 {
				return
			}
		}
	}
}
