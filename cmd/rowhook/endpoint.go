package main

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
	"rowhook/delivery/webhook"
)

// endpoint is a profile's sender and formatter in the environment that the agent is in.
type endpoint struct {
	in         *surroundings
	production *target
	sandbox    atomic.Pointer[target] // nil without a URL there
}

var (
	_ delivery.Sender         = (*endpoint)(nil)
	_ delivery.Challenger     = (*endpoint)(nil)
	_ delivery.Formatter      = (*endpoint)(nil)
	_ delivery.GroupFormatter = groupEndpoint{}
)

// target returns where requests go now; nil for nowhere.
func (e *endpoint) target() *target {
	if e.in.sandbox.Load() {
		return e.sandbox.Load()
	}
	return e.production
}

// Endpoint implements [delivery.Challenger].
func (e *endpoint) Endpoint() delivery.Endpoint {
	var at delivery.Endpoint
	sandbox := e.in.sandbox.Load()
	to := e.production
	if sandbox {
		to = e.sandbox.Load()
	}
	if to != nil {
		at = to.sender.Endpoint()
	}
	at.Sandbox = sandbox
	return at
}

// Challenge implements [delivery.Challenger].
func (e *endpoint) Challenge(ctx context.Context) delivery.Reply {
	to := e.target()
	if to == nil {
		return nowhere
	}
	return to.sender.Challenge(ctx)
}

// Send implements [delivery.Sender].
func (e *endpoint) Send(ctx context.Context, req *delivery.Request) delivery.Reply {
	to := e.target()
	if to == nil {
		return nowhere
	}
	return to.sender.Send(ctx, req)
}

// nowhere is the reply where there is no URL.
var nowhere = delivery.Reply{Class: delivery.ClassProfile, Reason: delivery.ReasonSandbox, Error: "the profile has no URL in this sandbox"}

// Describe implements [delivery.Sender].
func (e *endpoint) Describe() (method, url string) {
	to := e.target()
	if to == nil {
		return "POST", ""
	}
	return to.sender.Describe()
}

// formatter returns what renders here. Where there is no URL, what production would send stays
// unsent.
func (e *endpoint) formatter() delivery.Formatter {
	if to := e.target(); to != nil {
		return to.formatter
	}
	return e.production.formatter
}

// AppendBody implements [delivery.Formatter].
func (e *endpoint) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	return e.formatter().AppendBody(dst, ev)
}

// Head implements [delivery.Formatter].
func (e *endpoint) Head(ev *delivery.Event) delivery.Head { return e.formatter().Head(ev) }

// Copies implements [delivery.Copier].
func (e *endpoint) Copies(ev *delivery.Event) bool {
	copier, ok := e.formatter().(delivery.Copier)
	return ok && copier.Copies(ev)
}

// groupEndpoint is an endpoint whose format has groups.
type groupEndpoint struct{ *endpoint }

// WriteGroup implements [delivery.GroupFormatter].
func (e groupEndpoint) WriteGroup(w io.Writer, g *delivery.Group) error {
	return e.formatter().(delivery.GroupFormatter).WriteGroup(w, g)
}

// GroupHead implements [delivery.GroupFormatter].
func (e groupEndpoint) GroupHead(g *delivery.Group) delivery.Head {
	return e.formatter().(delivery.GroupFormatter).GroupHead(g)
}

// newEndpoint makes a profile's endpoint in the surroundings.
func (in *surroundings) newEndpoint(p delivery.ProfileConfig, options webhook.Options) (*endpoint, error) {
	production, err := newTarget(p, options)
	own := p.Sandbox
	in.mu.Lock()
	if given, ok := in.given[p.Code]; ok {
		own = given
	}
	in.mu.Unlock()
	sandbox, serr := newSandboxTarget(p, own, options)
	if err := errors.Join(err, serr); err != nil {
		return nil, err
	}
	e := &endpoint{in: in, production: production}
	e.sandbox.Store(sandbox)
	return e, nil
}

// asFormatter is the endpoint as the engine wants its formatter: with groups only where the format
// has them.
func (e *endpoint) asFormatter() delivery.Formatter {
	if _, groups := e.production.formatter.(delivery.GroupFormatter); groups {
		return groupEndpoint{e}
	}
	return e
}

// target is where a profile's requests go and what they say.
type target struct {
	sender    *webhook.Sender
	formatter delivery.Formatter
}

func newTarget(p delivery.ProfileConfig, options webhook.Options) (*target, error) {
	sender, err := webhook.New(p, options)
	formatter, ferr := options.Products.Formatter(p)
	if err := errors.Join(err, ferr); err != nil {
		return nil, err
	}
	return &target{sender, formatter}, nil
}

// newSandboxTarget is newTarget for a sandbox; nil without a URL.
func newSandboxTarget(p delivery.ProfileConfig, own delivery.SandboxConfig, options webhook.Options) (*target, error) {
	if own.URL == "" {
		return nil, nil
	}
	p, err := config.InSandbox(options.Products, p, own)
	if err != nil {
		return nil, err
	}
	return newTarget(p, options)
}
