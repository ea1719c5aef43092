package engine

import (
	"context"
	"fmt"
	"time"

	"rowhook/delivery"
)

// Test sends an event to one profile at once, past its queue and whatever its state, so that a
// person sees what the endpoint makes of it. It needs no lease, since no queue is behind it. Nothing is kept of it but a line in the delivery log,
// without which nothing is sent.
func (e *Engine) Test(ctx context.Context, profile string, ev *delivery.Event) (delivery.Reply, error) {
	d, err := e.one(profile)
	if err != nil {
		return delivery.Reply{}, err
	}
	p := d.profileNow()
	if err := e.sendable(p); err != nil {
		return delivery.Reply{}, err
	}
	if err := e.LogError(); err != nil {
		return delivery.Reply{}, fmt.Errorf("nothing is sent unlogged: %w", err)
	}
	body, err := p.formatter.AppendBody(nil, ev)
	if err != nil {
		return delivery.Reply{}, fmt.Errorf("render the event for profile %s: %w", p.code, err)
	}
	t := d.tenure.Load()
	if t == nil {
		return delivery.Reply{}, d.notOwner()
	}
	reply := p.sender.Send(ctx, &delivery.Request{ID: ev.ID, Body: body, Head: p.formatter.Head(ev), Epoch: t.header})
	var line delivery.LogRecord
	p.lineAbout(&line, ev, nil, delivery.OutcomeDelivered)
	if reply.Class != delivery.ClassOK {
		line.Outcome = delivery.OutcomeDead
	}
	line.Time, line.Attempt, line.Epoch = time.Now(), 1, t.epoch
	line.Method, line.URL = p.sender.Describe()
	line.Status, line.Duration, line.Reason, line.Error = reply.Status, reply.Duration, reply.Reason, reply.Error
	line.Bytes, line.Body, line.Response, line.Location = len(body), body, reply.Response, reply.Location
	e.log.Append(&line)
	if err := e.log.Flush(); err != nil {
		return reply, fmt.Errorf("write delivery log: %w", err)
	}
	return reply, nil
}
