package pipeline

import (
	"context"
	"errors"
	"slices"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/mapping"
)

// remapOutput collects what comes of a dead letter.
type remapOutput struct {
	pipe   *Pipeline
	only   string // the profile it was parked for; empty for all
	events []*delivery.Event
	to     [][]delivery.ProfileID
	err    error
}

// Event implements [mapping.Output].
func (o *remapOutput) Event(ev *delivery.Event, row delivery.Row) error {
	to, undecided := o.pipe.router.Match(ev, row, nil, nil)
	other := func(id delivery.ProfileID) bool { return o.only != "" && o.pipe.codes[id] != o.only }
	to, undecided = slices.DeleteFunc(to, other), slices.DeleteFunc(undecided, other)
	if len(undecided) > 0 {
		o.err = ErrUndecidable
		return nil
	}
	if len(to) > 0 {
		o.events, o.to = append(o.events, ev), append(o.to, to)
	}
	return nil
}

// Fail implements [mapping.Output].
func (o *remapOutput) Fail(f *mapping.Failure) error {
	o.err = f.Err
	return nil
}

// Notice implements [mapping.Output].
func (o *remapOutput) Notice(mapping.Notice) {}

// errUnmapped says that a dead letter has no place any more.
var errUnmapped = errors.New("no entry of the mapping is about this table any more: discard it, or map the table again")

// Remap maps a parked change outside the stream, stores its events and removes the letter; a touch has
// none. The events are fsynced before the letter goes: a crash in between repeats them, with the same ids.
// Rows are looked up as they are now: what they were at the change's commit is not known any more.
func (p *Pipeline) Remap(ctx context.Context, rules *mapping.Rules, parked *delivery.Parked, change *capture.Change) error {
	out := &remapOutput{pipe: p, only: parked.Profile}
	var mapped bool
	var err error
	again := func() {
		mapper := rules.NewMapper(out, p.identity)
		p.looksUp(mapper, p.mapper)
		as := &mapping.Parked{
			Transaction: capture.Transaction{
				ID: parked.Transaction, Identity: parked.Identity, Position: capture.Position(parked.Position), Time: parked.Time,
			},
			Actor: parked.Actor, Operation: parked.Operation, Entry: parked.Entry, Made: parked.Made,
		}
		if len(parked.Touch) > 0 {
			mapped, err = mapper.RemapTouch(as, parked.Touch)
		} else {
			mapped, err = mapper.Remap(as, change)
		}
	}
	if len(rules.LooksUp(parked.Entry)) == 0 {
		p.mu.Lock()
		again()
		p.mu.Unlock()
	} else if err := p.outside(ctx, again); err != nil {
		return err
	}
	switch {
	case err != nil:
		return err
	case out.err != nil:
		return out.err
	case !mapped:
		return errUnmapped
	}
	if err := p.inject(ctx, out); err != nil {
		return err
	}
	return p.journal.RemoveParked(parked.Seq)
}

// outside does something while no transaction is open, so that the kept rows are what was committed.
func (p *Pipeline) outside(ctx context.Context, do func()) error {
	done := make(chan struct{})
	left := false
	p.mu.Lock()
	if p.open {
		p.between = append(p.between, func() {
			if !left {
				do()
				close(done)
			}
		})
	} else {
		do()
		close(done)
	}
	p.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	left = true
	return context.Cause(ctx)
}

// injection is what comes into the spool beside the stream.
type injection struct {
	events []*delivery.Event
	to     [][]delivery.ProfileID
	stored chan struct{}
}

// inject stores events between two transactions of the stream and returns when they are fsynced.
func (p *Pipeline) inject(ctx context.Context, out *remapOutput) error {
	in := injection{events: out.events, to: out.to, stored: make(chan struct{})}
	p.mu.Lock()
	p.injections = append(p.injections, in)
	if !p.open {
		p.settleBeside()
	}
	p.mu.Unlock()
	select {
	case <-in.stored:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return p.spool.Flush(ctx)
}
