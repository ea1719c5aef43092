package environment

import (
	"testing"

	"rowhook/delivery"
	"rowhook/delivery/format"
	"rowhook/delivery/webhook"
)

// The same URL is another endpoint in a sandbox: it is activated for itself.
func TestEndpointsDiffer(t *testing.T) {
	t.Parallel()
	in := &Environment{options: webhook.Options{Products: format.Products()}, given: map[string]delivery.SandboxConfig{}}
	p := delivery.Defaults()
	p.Code, p.URL, p.Sandbox.URL = "desk", "https://desk.example.org/", "https://desk.example.org/"
	e, err := in.newEndpoint(p)
	if err != nil {
		t.Fatal(err)
	}
	before := e.Endpoint()
	in.sandbox.Store(true)
	if after := e.Endpoint(); after == before || !after.Sandbox || after.Name == "" {
		t.Errorf("endpoints %+v and %+v", before, after)
	}
}

// What was given by hand is used at once, and by the endpoints of a config that is read again.
// Without a URL nothing is sent.
func TestGive(t *testing.T) {
	t.Parallel()
	in := &Environment{options: webhook.Options{Products: format.Products()}, given: map[string]delivery.SandboxConfig{}}
	p := delivery.Defaults()
	p.Code, p.URL = "desk", "https://desk.example.org/"
	e, err := in.newEndpoint(p)
	if err != nil {
		t.Fatal(err)
	}
	if in.String() != "production" || in.Enter(true) || in.String() != "sandbox" || !in.Sandbox() {
		t.Errorf("the environment is %s", in)
	}
	shown := func(e *Endpoint) string {
		_, url := e.Describe()
		return url
	}
	if reply := e.Send(t.Context(), &delivery.Request{}); shown(e) != "" || reply.Reason != delivery.ReasonSandbox || e.Probe(t.Context()) != nil {
		t.Errorf("without a URL: %q, %+v", shown(e), reply)
	}
	own := delivery.SandboxConfig{URL: "https://desk.sandbox.example.org/"}
	if err := in.Give(e, p, own, true); err != nil || shown(e) != own.URL {
		t.Errorf("given: %q, %v", shown(e), err)
	}
	again, err := in.newEndpoint(p)
	if err != nil || shown(again) != own.URL {
		t.Errorf("read again: %q, %v", shown(again), err)
	}
	if err := in.Give(again, p, p.Sandbox, false); err != nil || shown(again) != "" {
		t.Errorf("taken back: %q, %v", shown(again), err)
	}
	if !in.Enter(false) || shown(again) != p.URL {
		t.Errorf("in production: %q", shown(again))
	}
}

// The delivery log flags what the profile's format cannot hold.
func TestFlags(t *testing.T) {
	t.Parallel()
	in := &Environment{options: webhook.Options{Products: format.Products()}, given: map[string]delivery.SandboxConfig{}}
	p := delivery.Defaults()
	p.Code, p.URL, p.MessageType = "desk", "https://desk.example.org/", "xml"
	event := &delivery.Event{Making: &delivery.Making{Type: "loan.created"}, Commit: &delivery.Commit{}, ID: "evt_1", Key: []byte(`{}`), Data: []byte(`{"note":"\u0001"}`)}
	for messageType, want := range map[string]int{"xml": 1, "json": 0} {
		p.MessageType = messageType
		e, err := in.newEndpoint(p)
		if err != nil {
			t.Fatal(err)
		}
		flagger, ok := e.AsFormatter().(delivery.Flagger)
		if !ok || len(flagger.Flags(event)) != want {
			t.Errorf("%s: %t, %v", messageType, ok, flagger.Flags(event))
		}
	}
}
