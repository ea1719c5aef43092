package environment

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
	"rowhook/delivery/webhook"
)

// Endpoint is a profile's sender and formatter in the environment that the agent is in.
type Endpoint struct {
	in         *Environment
	production *target
	sandbox    atomic.Pointer[target] // nil without a URL there
}

var (
	_ delivery.Sender         = (*Endpoint)(nil)
	_ delivery.Challenger     = (*Endpoint)(nil)
	_ delivery.Formatter      = (*Endpoint)(nil)
	_ delivery.Copier         = (*Endpoint)(nil)
	_ delivery.Flagger        = (*Endpoint)(nil)
	_ delivery.GroupFormatter = groupEndpoint{}
)

// target returns where requests go now; nil for nowhere.
func (e *Endpoint) target() *target {
	if e.in.sandbox.Load() {
		return e.sandbox.Load()
	}
	return e.production
}

// Endpoint implements [delivery.Challenger].
func (e *Endpoint) Endpoint() delivery.Endpoint {
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
func (e *Endpoint) Challenge(ctx context.Context) delivery.Reply {
	to := e.target()
	if to == nil {
		return nowhere
	}
	return to.sender.Challenge(ctx)
}

// Send implements [delivery.Sender].
func (e *Endpoint) Send(ctx context.Context, req *delivery.Request) delivery.Reply {
	to := e.target()
	if to == nil {
		return nowhere
	}
	return to.sender.Send(ctx, req)
}

// nowhere is the reply where there is no URL.
var nowhere = delivery.Reply{Class: delivery.ClassProfile, Reason: delivery.ReasonSandbox, Error: "the profile has no URL in this sandbox"}

// Probe only connects. There is nothing to find out where there is no URL.
func (e *Endpoint) Probe(ctx context.Context) error {
	to := e.target()
	if to == nil {
		return nil
	}
	return to.sender.Probe(ctx)
}

// Describe implements [delivery.Sender].
func (e *Endpoint) Describe() (method, url string) {
	to := e.target()
	if to == nil {
		return "POST", ""
	}
	return to.sender.Describe()
}

// formatter returns what renders here. Where there is no URL, what production would send stays
// unsent.
func (e *Endpoint) formatter() delivery.Formatter {
	if to := e.target(); to != nil {
		return to.formatter
	}
	return e.production.formatter
}

// AppendBody implements [delivery.Formatter].
func (e *Endpoint) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	return e.formatter().AppendBody(dst, ev)
}

// Head implements [delivery.Formatter].
func (e *Endpoint) Head(ev *delivery.Event) delivery.Head { return e.formatter().Head(ev) }

// Copies implements [delivery.Copier].
func (e *Endpoint) Copies(ev *delivery.Event) bool {
	copier, ok := e.formatter().(delivery.Copier)
	return ok && copier.Copies(ev)
}

// Flags implements [delivery.Flagger].
func (e *Endpoint) Flags(ev *delivery.Event) []string {
	if flagger, ok := e.formatter().(delivery.Flagger); ok {
		return flagger.Flags(ev)
	}
	return nil
}

// groupEndpoint is an endpoint whose format has groups.
type groupEndpoint struct{ *Endpoint }

// WriteGroup implements [delivery.GroupFormatter].
func (e groupEndpoint) WriteGroup(w io.Writer, g *delivery.Group) error {
	return e.formatter().(delivery.GroupFormatter).WriteGroup(w, g)
}

// GroupHead implements [delivery.GroupFormatter].
func (e groupEndpoint) GroupHead(g *delivery.Group) delivery.Head {
	return e.formatter().(delivery.GroupFormatter).GroupHead(g)
}

// AsFormatter is the endpoint as the engine wants its formatter: with groups only where the format
// has them.
func (e *Endpoint) AsFormatter() delivery.Formatter {
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
