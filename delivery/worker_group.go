package delivery

import (
	"errors"
	"fmt"
	"iter"
)

// Bounds of the events of a group that are read from the store at a time while it is rendered.
const (
	renderChunk = 64
	renderBytes = 64 << 10
)

// renderGroup renders a group. One that turns out larger than max_body is given up at that size.
func (w *worker) renderGroup(j *job) ([]byte, Head, error) {
	formatter, ok := w.d.profile.formatter.(GroupFormatter)
	if !ok {
		return nil, Head{}, fmt.Errorf("format %s has no requests with several events", w.d.profile.config.Format)
	}
	g, m := &w.group, j.record.Members
	*g = Group{
		ID: m.ID, Unit: m.Unit, Type: m.Type, Count: m.Count, Part: m.Part, Parts: m.Parts,
		First: j.event, Events: w.d.eventsOf(j),
	}
	out := bodyWriter{buf: w.buf[:0], limit: w.d.profile.config.MaxBody}
	if err := formatter.WriteGroup(&out, g); err != nil || out.full {
		return nil, Head{}, firstError(out.err(), err)
	}
	return out.buf, formatter.GroupHead(g), nil
}

// cut finds out where a group whose body is too large is to be divided. A part is not divided again.
func (w *worker) cut(j *job) {
	m, p := j.record.Members, w.d.profile
	if m == nil || m.Unit == unitBatch || m.Parts > 0 || m.Count == 1 || !p.splits() {
		return
	}
	s := newSizer(p)
	j.cuts, _ = s.cuts(w.d.eventsOf(j), p.config.MaxBody) // an error is in the job
}

// eventsOf ranges over the events of a group, which are in memory or in the store. An error of the store, which is not the
// delivery's fault, is left in the job as well.
func (d *dispatcher) eventsOf(j *job) iter.Seq2[*Event, error] {
	if j.members != nil {
		return func(yield func(*Event, error) bool) {
			for i := range j.members {
				if !yield(j.members[i].Event, nil) {
					return
				}
			}
		}
	}
	if j.record.Events() == 1 {
		return func(yield func(*Event, error) bool) { yield(j.event, nil) }
	}
	return func(yield func(*Event, error) bool) {
		var entries []Entry
		left := j.record.Events()
		for next, end := j.seq, false; !end; {
			var err error
			entries, next, end, err = d.store.Events(d.id, &j.record, next, entries[:0], min(renderChunk, left), renderBytes)
			if end && err == nil && len(entries) < left {
				err = fmt.Errorf("%d events are missing", left-len(entries))
			}
			if err != nil {
				j.err = fmt.Errorf("read events of a waiting delivery: %w", err)
				yield(nil, j.err)
				return
			}
			left -= len(entries)
			for i := range entries {
				if !yield(entries[i].Event, nil) {
					return
				}
			}
		}
	}
}

// bodyWriter collects a body up to a limit.
type bodyWriter struct {
	buf   []byte
	limit int64
	full  bool
}

var errBodyFull = errors.New("the body is larger than max_body")

func (b *bodyWriter) Write(p []byte) (int, error) {
	if b.full = b.full || int64(len(b.buf)+len(p)) > b.limit; b.full {
		return 0, errBodyFull
	}
	b.buf = append(b.buf, p...)
	return len(p), nil
}

func (b *bodyWriter) err() error {
	if b.full {
		return errBodyFull
	}
	return nil
}
