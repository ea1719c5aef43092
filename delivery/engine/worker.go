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
	crew    *crew
	request delivery.Request
	group   delivery.Group
	line    delivery.LogRecord
	buf     []byte
}

// maxKeptBuffer is the largest body buffer that a worker keeps for the next attempt.
const maxKeptBuffer = 256 << 10

// attempt renders and sends one delivery. A success is logged here; what else may come of it
// is for the dispatcher to decide, which gets the body along.
func (w *worker) attempt(ctx context.Context, j *job) {
	body := j.record.Body
	if body != nil && w.crew.profile.endpoint().Sandbox {
		body = nil // it may have been rendered in production, before the state directory was copied
	}
	head := j.record.Head
	if body == nil && j.record.Members == nil && j.event.Away != nil {
		w.attemptLarge(ctx, j)
		return
	}
	if body == nil {
		rendered, rendering, err := w.render(j)
		if errors.Is(err, errBodyFull) && w.crew.profile.streams(j.record.Members) {
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
	w.crew.noteSize(j)
	if int64(len(body)) > w.crew.profile.config.MaxBody {
		j.reply = delivery.Reply{Class: delivery.ClassOurs, Reason: delivery.ReasonOversize}
	} else if w.crew.profile.dry() {
		w.rehearse(j, body)
		return
	} else {
		w.request = delivery.Request{ID: j.id(), Body: body, Head: head, Gap: j.gap}
		if !w.send(ctx, j) {
			return
		}
	}
	if j.reply.Class == delivery.ClassOK {
		w.tell(j, delivery.OutcomeDelivered, body)
		return
	}
	if j.record.Body == nil {
		j.record.Body = append(make([]byte, 0, len(body)), body...)
		j.record.Head = head
	}
}

// send makes a job's request, unless none may start any more: then the job goes back untouched.
func (w *worker) send(ctx context.Context, j *job) (sent bool) {
	if j.sent = w.crew.mayStart(); !j.sent {
		return false
	}
	w.request.Epoch, w.request.May = w.crew.tenure.header, w.crew.may
	j.reply = w.crew.profile.sender.Send(ctx, &w.request)
	if j.reply.Unsent { // the lease ended while it was connected
		j.sent, j.reply = false, delivery.Reply{}
	}
	return j.sent
}

// tell writes the line of an attempt that ends its delivery.
func (w *worker) tell(j *job, outcome delivery.Outcome, body []byte) {
	w.crew.profile.line(&w.line, j, outcome, body)
	if outcome == delivery.OutcomeDryRun {
		w.line.Attempt = 0
	}
	w.line.Epoch = w.crew.tenure.epoch
	w.line.Method, w.line.URL = w.crew.profile.sender.Describe()
	w.crew.log.Append(&w.line)
}

// rehearse ends a delivery of a profile that sends nothing, with a line of what would have been
// sent.
func (w *worker) rehearse(j *job, body []byte) {
	j.reply = delivery.Reply{Class: delivery.ClassOK}
	w.tell(j, delivery.OutcomeDryRun, body)
}

// render renders what a delivery carries.
func (w *worker) render(j *job) ([]byte, delivery.Head, error) {
	if j.record.Members != nil {
		return w.renderGroup(j)
	}
	body, err := w.crew.profile.formatter.AppendBody(w.buf[:0], j.event)
	if err != nil {
		return nil, delivery.Head{}, err
	}
	return body, w.crew.profile.formatter.Head(j.event), nil
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
		Table:    ev.Table,
		Key:      ev.Key,
		Position: ev.Position,
		Unit:     delivery.UnitRecord,
		Flags:    p.flags(ev),

		BodyLimit: p.bodyLimit,
	}
	if m != nil {
		rec.About(ev, m)
	}
}
