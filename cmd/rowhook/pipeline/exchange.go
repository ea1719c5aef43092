package pipeline

import "context"

// exchange is a routing that takes the place of the pipeline's, between two transactions.
type exchange struct {
	to Routing
	// apply is called when everything that came before is stored, and nothing that comes after.
	apply func() error
	done  chan error
}

// Exchange has another routing hold from the next transaction on. apply is called when everything
// that came before is stored, and nothing that comes after. Exchange returns when that is so or
// cannot be any more, or when ctx ends before the routing has taken over.
func (p *Pipeline) Exchange(ctx context.Context, to Routing, apply func() error) error {
	ex := &exchange{to: to, apply: apply, done: make(chan error, 1)}
	p.mu.Lock()
	if p.failure != nil {
		p.mu.Unlock()
		return p.failure
	}
	p.coming = ex
	if !p.open {
		p.handOver(true)
	}
	p.takeOver()
	p.mu.Unlock()
	select {
	case err := <-ex.done:
		return err
	case <-ctx.Done():
	}
	p.mu.Lock()
	if p.coming == ex {
		p.coming = nil
		p.mu.Unlock()
		return context.Cause(ctx)
	}
	p.mu.Unlock()
	return <-ex.done // what comes next is mapped by it already
}

// takeOver lets the exchange that is coming take over between two transactions, once what came
// before has gone to the appender. Called with mu held.
func (p *Pipeline) takeOver() {
	ex := p.coming
	if ex == nil || p.open || p.batches.cur.batch.Len() > 0 {
		return
	}
	p.coming = nil
	p.rules, p.reader = ex.to.Rules, nil
	p.router, p.codes, p.bare, p.rounded = ex.to.Router, ex.to.Codes, ex.to.Bare, ex.to.Rounded
	if len(ex.to.Tables) > 0 {
		p.undescribed = false
	}
	p.keptConfigure(ex.to.Kept)
	before := p.mapper
	p.mapper = p.newMapper()
	p.looksUp(p.mapper, before)
	for _, t := range ex.to.Tables {
		p.mapper.Describe(t)
	}
	p.compare(ex.to.Tables)
	p.settling = ex
	if !p.batches.storing() {
		p.settled(nil) // nothing is being stored
	}
}

// settled ends an exchange: what came before is stored, or could not be. Called with mu held.
func (p *Pipeline) settled(err error) {
	ex := p.settling
	if ex == nil {
		return
	}
	p.settling = nil
	if err == nil {
		err = ex.apply()
	}
	ex.done <- err
}
