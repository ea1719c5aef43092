package pipeline

import (
	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/mapping"
)

// Accountant keeps account of what became of changes. It is called by the receive goroutine, and so
// waits for nothing.
type Accountant interface {
	// Begin opens a transaction, which stays where it is until the next; Abort drops it.
	Begin(tx *capture.Transaction)
	Abort()
	// Watch returns who is told of an entry's changes. subscribers tells the profiles that subscribe
	// to a type of the entry's events, and of which no row data is kept.
	Watch(e *mapping.Watched, subscribers func(eventType string) (codes []string, bare []bool)) mapping.Observer
	// Wants reports whether Routed is to be called for the events of the change at hand.
	Wants() bool
	// Routed takes an event with the answers of those profiles, in their order.
	Routed(ev *delivery.Event, answers []delivery.Matching)
	// Passed takes a change that could not be decoded, or was read past, and so is of no entry.
	Passed(p *delivery.Parked)
	// Settle has everything that was told ready to be read.
	Settle()
}

// watcher is the pipeline as its mapper sees it that keeps account.
type watcher Pipeline

// Watch implements [mapping.Watcher].
func (w *watcher) Watch(e *mapping.Watched) mapping.Observer {
	return w.account.Watch(e, func(eventType string) (codes []string, bare []bool) {
		for _, id := range w.router.Named(eventType, e.Entry, nil) {
			codes, bare = append(codes, w.codes[id]), append(bare, w.bare[id])
		}
		return codes, bare
	})
}

// newMapper makes the stream's mapper, of which account is kept.
func (p *Pipeline) newMapper() *mapping.Mapper {
	m := p.rules.NewMapper((*mapperOutput)(p), p.identity)
	if p.account != nil {
		m.Watch((*watcher)(p))
	}
	return m
}

// routed tells the account who gets an event. Called with mu held.
func (p *Pipeline) routed(ev *delivery.Event, row delivery.Row) {
	if p.account != nil && ev.Entry != "" && p.account.Wants() {
		p.answers = p.router.Explain(ev, row, p.answers[:0])
		p.account.Routed(ev, p.answers)
	}
}

// SettleAccount has everything that passed ready to be read from the account.
func (p *Pipeline) SettleAccount() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.account != nil {
		p.account.Settle()
	}
}
