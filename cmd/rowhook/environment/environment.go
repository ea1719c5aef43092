package environment

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
	"rowhook/delivery/engine"
	"rowhook/delivery/webhook"
)

// Environment is where the agent finds itself, for all profiles' endpoints.
type Environment struct {
	options webhook.Options // what all profiles' requests have in common; they share connections
	sandbox atomic.Bool

	mu    sync.Mutex
	given map[string]delivery.SandboxConfig // by code: URL and secret that were given by hand, here
}

// New is what the config alone says. The version is rowhook's, for requests.
func New(c *config.Config, version string) *Environment {
	host, _ := os.Hostname() // without one, the handshake names rowhook
	in := &Environment{
		options: webhook.Options{Products: c.Products(), Origin: host, UserAgent: "rowhook/" + version, Transports: webhook.NewTransports()},
		given:   map[string]delivery.SandboxConfig{},
	}
	in.sandbox.Store(c.Sandboxed(nil))
	return in
}

// String names it.
func (in *Environment) String() string {
	if in.sandbox.Load() {
		return "sandbox"
	}
	return "production"
}

// Sandbox reports whether it is one.
func (in *Environment) Sandbox() bool { return in.sandbox.Load() }

// Enter takes note of where the agent is, and returns whether that was a sandbox before.
func (in *Environment) Enter(sandbox bool) (was bool) { return in.sandbox.Swap(sandbox) }

// Opened is how many connections have been opened to endpoints.
func (in *Environment) Opened() int64 { return in.options.Transports.Opened() }

// Endpoints makes what sends and renders each profile's requests, by code.
func (in *Environment) Endpoints(c *config.Config) (map[string]*Endpoint, error) {
	endpoints := make(map[string]*Endpoint, len(c.Profiles))
	var errs []error
	for i := range c.Profiles {
		e, err := in.newEndpoint(c.Profiles[i])
		errs = append(errs, err)
		endpoints[c.Profiles[i].Code] = e
	}
	return endpoints, c.Explain(errors.Join(errs...))
}

// newEndpoint makes a profile's endpoint in the environment.
func (in *Environment) newEndpoint(p delivery.ProfileConfig) (*Endpoint, error) {
	production, err := newTarget(p, in.options)
	own := p.Sandbox
	in.mu.Lock()
	if given, ok := in.given[p.Code]; ok {
		own = given
	}
	in.mu.Unlock()
	sandbox, serr := newSandboxTarget(p, own, in.options)
	if err := errors.Join(err, serr); err != nil {
		return nil, err
	}
	e := &Endpoint{in: in, production: production}
	e.sandbox.Store(sandbox)
	return e, nil
}

// Give has a profile's endpoint use a URL and secret in sandboxes. Those that were given by hand
// take the place of the config's in the endpoints that are made from now on.
func (in *Environment) Give(e *Endpoint, p delivery.ProfileConfig, own delivery.SandboxConfig, byHand bool) error {
	to, err := newSandboxTarget(p, own, in.options)
	if err != nil {
		return err
	}
	in.mu.Lock()
	delete(in.given, p.Code)
	if byHand {
		in.given[p.Code] = own
	}
	in.mu.Unlock()
	e.sandbox.Store(to)
	return nil
}

// Profiles makes the profiles ready for the engine.
func Profiles(c *config.Config, endpoints map[string]*Endpoint) ([]*engine.Profile, error) {
	var profiles []*engine.Profile
	var errs []error
	for i := range c.Profiles {
		e := endpoints[c.Profiles[i].Code]
		profile, err := engine.NewProfile(c.Profiles[i], c.Products().Of(c.Profiles[i].Format), e, e.AsFormatter())
		if err != nil {
			errs = append(errs, err)
			continue
		}
		profiles = append(profiles, profile)
	}
	return profiles, c.Explain(errors.Join(errs...))
}
