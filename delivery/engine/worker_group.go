package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"rowhook/delivery"
)

// Bounds of the events of a group that are read from the store at a time while it is rendered.
const (
	renderChunk = 64
	renderBytes = 64 << 10
)

// renderGroup renders a group. One that turns out larger than max_body is given up at that size.
func (w *worker) renderGroup(j *job) ([]byte, delivery.Head, error) {
	formatter, ok := w.crew.profile.formatter.(delivery.GroupFormatter)
	if !ok {
		return nil, delivery.Head{}, fmt.Errorf("format %s has no requests with several events", w.crew.profile.config.Format)
	}
	if w.crew.profile.streams(j.record.Members) && j.record.Events() > delivery.MaxGroupEvents {
		return nil, delivery.Head{}, errBodyFull
	}
	g := &w.group
	*g = w.groupOf(j)
	out := bodyWriter{buf: w.buf[:0], limit: w.crew.profile.config.MaxBody}
	if err := formatter.WriteGroup(&out, g); err != nil || out.full {
		return nil, delivery.Head{}, firstError(out.err(), err)
	}
	return out.buf, formatter.GroupHead(g), nil
}

// groupOf returns a group as formats see it.
func (w *worker) groupOf(j *job) delivery.Group {
	m := j.record.Members
	return delivery.Group{
		ID: m.ID, Unit: m.Unit, Type: m.Type, Count: m.Count, Part: m.Part, Parts: m.Parts,
		First: j.event, Events: w.flagged(j),
	}
}

// flagged ranges over a group's events and notes in the job which of their columns are to be
// flagged.
func (w *worker) flagged(j *job) iter.Seq2[*delivery.Event, error] {
	return func(yield func(*delivery.Event, error) bool) {
		for ev, err := range w.crew.store.eventsOf(j) {
			if err == nil {
				j.flags = appendNew(j.flags, w.crew.profile.flags(ev))
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}

// streams reports whether a group is sent whatever its size. The receiver was promised one request,
// so that max_body does not hold for it: its body is not held in memory.
func (p *Profile) streams(m *delivery.Members) bool { return m != nil && m.Parts == 0 && !p.splits() }

// stream renders a group straight to its receiver, after a first pass that tells its size. A later
// attempt renders it again.
func (w *worker) stream(ctx context.Context, j *job) {
	formatter := w.crew.profile.formatter.(delivery.GroupFormatter)
	write := func(out io.Writer) error {
		g := w.groupOf(j)
		return formatter.WriteGroup(out, &g)
	}
	var start bodyStart
	if err := write(&start); err != nil {
		j.reply = delivery.Reply{Class: delivery.ClassOurs, Reason: delivery.ReasonFormat, Error: err.Error()}
		return
	}
	j.size, j.shown = int(start.size), start.kept
	g := w.groupOf(j)
	w.sendStream(ctx, j, &delivery.Stream{Size: start.size, Write: write}, formatter.GroupHead(&g))
}

// sendStream sends a body that is not held.
func (w *worker) sendStream(ctx context.Context, j *job, body *delivery.Stream, head delivery.Head) {
	w.request = delivery.Request{ID: j.id(), Stream: body, Head: head, Gap: j.gap}
	if !w.send(ctx, j) || j.reply.Class != delivery.ClassOK || j.err != nil {
		return
	}
	w.tell(j, delivery.OutcomeDelivered, j.shown)
}

// bodyStart counts a body and keeps its start, as much as the delivery log may want.
type bodyStart struct {
	size int64
	kept []byte
}

// maxBodyStart is what is kept of a body that is streamed, in bytes.
const maxBodyStart = 64 << 10

func (b *bodyStart) Write(p []byte) (int, error) {
	b.size += int64(len(p))
	b.kept = append(b.kept, p[:min(len(p), maxBodyStart-len(b.kept))]...)
	return len(p), nil
}

// cut finds out where a group whose body is too large is to be divided. A part is not divided
// again.
func (w *worker) cut(j *job) {
	m, p := j.record.Members, w.crew.profile
	if m == nil || m.Unit == delivery.UnitBatch || m.Parts > 0 || m.Count == 1 {
		return
	}
	s := newSizer(p)
	j.cuts, _ = s.cuts(w.crew.store.eventsOf(j), p.config.MaxBody) // an error is in the job
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
