package main

import (
	"context"

	"rowhook/delivery"
	"rowhook/mapping"
)

// exchange is what takes the place of a pipeline's mapper and router, between two transactions.
type exchange struct {
	rules  *mapping.Rules
	router *delivery.Router
	codes  map[delivery.ProfileID]string
	// rounded is as the pipeline has it.
	rounded map[string]bool
	// apply is called when everything that came before is stored, and nothing that comes after.
	apply func() error
	done  chan error
}

// exchange has another mapping and other recipients hold from the next transaction on. It returns when that is
// so, or when ctx has ended before.
func (p *pipeline) exchange(ctx context.Context, ex *exchange) error {
	ex.done = make(chan error, 1)
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
	defer p.mu.Unlock()
	select {
	case err := <-ex.done:
		return err
	default:
	}
	if p.coming == ex {
		p.coming = nil
	}
	return context.Cause(ctx)
}

// takeOver lets the exchange that is coming take over between two transactions, once what came before has gone to
// the appender. Called with mu held.
func (p *pipeline) takeOver() {
	ex := p.coming
	if ex == nil || p.open || p.cur.batch.Len() > 0 {
		return
	}
	p.coming = nil
	p.mapper = ex.rules.NewMapper((*pipelineOutput)(p), p.identity)
	p.router, p.codes, p.rounded = ex.router, ex.codes, ex.rounded
	p.settling = ex
	if p.spare != nil {
		p.settled(nil) // nothing is being stored
	}
}

// settled ends an exchange: what came before is stored, or could not be. Called with mu held.
func (p *pipeline) settled(err error) {
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
