package engine

import (
	"context"
	"errors"
	"time"

	"rowhook/delivery"
)

// worker makes attempts. Its buffers live as long as it does, so that an attempt that
// succeeds allocates nothing of its own.
type worker struct {
	d       *dispatcher
	request delivery.Request
	group   delivery.Group
	line    delivery.LogRecord
	buf     []byte
}

// maxKeptBuffer is the largest body buffer that a worker keeps for the next attempt.
const maxKeptBuffer = 256 << 10

// work makes the attempts that are handed out until the dispatcher closes the channel.
func (d *dispatcher) work(ctx context.Context, handout <-chan *job) {
	w := &worker{d: d}
	for {
		var j *job
		var ok bool
		select {
		case j, ok = <-handout:
		default:
			// Nothing to do: now the dispatcher must look at the results, if anything waits for
			// them.
			if !d.calm.Load() || d.halted.Load() {
				d.notify()
			}
			j, ok = <-handout
		}
		if !ok {
			return
		}
		if j.sent = !d.halted.Load(); j.sent {
			w.attempt(ctx, j)
			d.slowDown(j.reply.Class)
		}
		d.giveBack(j)
	}
}

// slowDown keeps the other workers from going on at an endpoint that wants to be left alone, and
// has the dispatcher look at a failure at once.
func (d *dispatcher) slowDown(class delivery.Class) {
	switch class {
	case delivery.ClassOK:
		return
	case delivery.ClassThrottle, delivery.ClassAuth, delivery.ClassProfile, delivery.ClassGone:
		d.halted.Store(true)
	}
	d.notify()
}

// attempt renders and sends one delivery. A success is logged here; what else may come of it
// is for the dispatcher to decide, which gets the body along.
func (w *worker) attempt(ctx context.Context, j *job) {
	body := j.record.Body
	if body != nil && w.d.profile.endpoint().Sandbox {
		body = nil // it may have been rendered in production, before the state directory was copied
	}
	head := j.record.Head
	if body == nil && j.record.Members == nil && j.event.Away != nil {
		w.attemptLarge(ctx, j)
		return
	}
	if body == nil {
		rendered, rendering, err := w.render(j)
		if errors.Is(err, errBodyFull) && w.d.profile.streams(j.record.Members) {
			w.stream(ctx, j)
			return
		}
		if errors.Is(err, errBodyFull) {
			j.reply = delivery.Reply{Class: delivery.ClassOurs, Reason: delivery.ReasonOversize}
			w.cut(j)
			return
		}
		if err != nil {
			j.reply = delivery.Reply{Class: delivery.ClassOurs, Reason: delivery.ReasonFormat, Error: err.Error()}
			return
		}
		body, head = rendered, rendering
		if cap(body) <= maxKeptBuffer {
			w.buf = body
		}
	}
	j.size = len(body)
	w.d.noteSize(j)
	if int64(len(body)) > w.d.profile.config.MaxBody {
		j.reply = delivery.Reply{Class: delivery.ClassOurs, Reason: delivery.ReasonOversize}
	} else if w.d.profile.dry() {
		w.rehearse(j, body)
		return
	} else {
		w.request = delivery.Request{ID: j.id(), Body: body, Head: head, Gap: j.gap}
		j.reply = w.d.profile.sender.Send(ctx, &w.request)
	}
	if j.reply.Class == delivery.ClassOK {
		w.d.profile.line(&w.line, j, delivery.OutcomeDelivered, body)
		w.line.Method, w.line.URL = w.d.profile.sender.Describe()
		w.d.log.Append(&w.line)
		return
	}
	if j.record.Body == nil {
		j.record.Body = append(make([]byte, 0, len(body)), body...)
		j.record.Head = head
	}
}

// noteSize warns once of a body that is larger than receivers of the format usually take. Each line
// of the delivery log has its size.
func (d *dispatcher) noteSize(j *job) {
	if usual := d.profile.product.UsualBody; usual.Size > 0 && j.size > usual.Size && !d.warnedOfSize.Swap(true) {
		d.logger().Warn("a body is larger than listeners of this format usually take: they may refuse it with status 413", "event", j.id(),
			"bytes", j.size, "usual", usual.Size, "remedy", usual.Remedy)
	}
}

// rehearse ends a delivery of a profile that sends nothing, with a line of what would have been
// sent.
func (w *worker) rehearse(j *job, body []byte) {
	j.reply = delivery.Reply{Class: delivery.ClassOK}
	w.d.profile.line(&w.line, j, delivery.OutcomeDryRun, body)
	w.line.Attempt = 0
	w.line.Method, w.line.URL = w.d.profile.sender.Describe()
	w.d.log.Append(&w.line)
}

// render renders what a delivery carries.
func (w *worker) render(j *job) ([]byte, delivery.Head, error) {
	if j.record.Members != nil {
		return w.renderGroup(j)
	}
	body, err := w.d.profile.formatter.AppendBody(w.buf[:0], j.event)
	if err != nil {
		return nil, delivery.Head{}, err
	}
	return body, w.d.profile.formatter.Head(j.event), nil
}

// line fills in a line of the delivery log about an attempt.
func (p *Profile) line(rec *delivery.LogRecord, j *job, outcome delivery.Outcome, body []byte) {
	p.lineAbout(rec, j.event, j.record.Members, outcome)
	if j.record.Members != nil {
		rec.Flags = j.flags
	}
	rec.Attempt = j.record.Attempts + 1
	if j.record.Round > 1 {
		rec.Round = j.record.Round
	}
	if j.reply.Started.IsZero() {
		rec.Time = time.Now()
	} else {
		rec.Time = j.reply.Started.Add(j.reply.Duration)
	}
	rec.Status, rec.Duration = j.reply.Status, j.reply.Duration
	rec.Reason, rec.Error, rec.Location = j.reply.Reason, j.reply.Error, j.reply.Location
	rec.Response = j.reply.Response
	rec.Bytes, rec.Body = j.size, body
}

// lineAbout fills in what a line says about its event, or about the group that begins with it.
func (p *Profile) lineAbout(rec *delivery.LogRecord, ev *delivery.Event, m *delivery.Members, outcome delivery.Outcome) {
	*rec = delivery.LogRecord{
		Profile:  p.code,
		Outcome:  outcome,
		Event:    ev.ID,
		Type:     ev.Type,
		Table:    ev.Origin.Table,
		Key:      ev.Key,
		Position: ev.Origin.Position,
		Unit:     delivery.UnitRecord,
		Flags:    p.flags(ev),

		BodyLimit: p.bodyLimit,
	}
	if m != nil {
		rec.About(ev, m)
	}
}

// giveBack returns a job to the dispatcher, which looks at results when a worker runs dry and
// something waits for them, and in any case soon (see dispatcher.wakeAt): there is no wake-up for
// each of them.
func (d *dispatcher) giveBack(j *job) {
	d.resultsMu.Lock()
	d.results = append(d.results, j)
	d.resultsMu.Unlock()
}

// takeResults returns what workers gave back. It is valid until the next call.
func (d *dispatcher) takeResults() []*job {
	d.resultsMu.Lock()
	d.results, d.taken = d.taken[:0], d.results
	d.resultsMu.Unlock()
	return d.taken
}

// notify wakes the dispatcher.
func (d *dispatcher) notify() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}
