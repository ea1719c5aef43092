package engine

import (
	"context"
	"testing"
	"time"

	"rowhook/delivery"
)

// consents is an endpoint that answers a challenge with a class.
type consents struct {
	delivery.Sender
	at    delivery.Endpoint
	reply delivery.Reply
}

func (c *consents) Endpoint() delivery.Endpoint                  { return c.at }
func (c *consents) Challenge(ctx context.Context) delivery.Reply { return c.reply }

// newActivation returns an activation of a profile that challenges an endpoint.
func newActivation(at string, class delivery.Class) (*activation, *consents) {
	c := &consents{at: delivery.Endpoint{Name: at}, reply: delivery.Reply{Class: class, Reason: "status_4xx"}}
	config := delivery.Defaults()
	config.Challenge = "query"
	return &activation{profile: &Profile{config: config, challenger: c}}, c
}

// asks makes the challenge that is due and takes its reply.
func asks(t *testing.T, a *activation, now time.Time) (agreed, refused bool) {
	t.Helper()
	challenge := a.challenge(now, t.Context())
	if challenge == nil {
		t.Fatal("no challenge is due")
	}
	if a.challenge(now, t.Context()) != nil {
		t.Error("a second challenge beside the first")
	}
	challenge()
	return a.replied(now)
}

// TestActivationAgreed: an endpoint that agrees is asked once, another one anew.
func TestActivationAgreed(t *testing.T) {
	t.Parallel()
	now := endpointStart
	a, c := newActivation("one", delivery.ClassOK)
	if a.standing() != standsPending || a.idleReason() != delivery.ReasonChallenge || !a.mayAgree() || !a.skips() {
		t.Errorf("a new profile is %s for %s", a.standing(), a.idleReason())
	}
	agreed, refused := asks(t, a, now)
	if !agreed || refused {
		t.Fatalf("agreed %t, refused %t", agreed, refused)
	}
	a.activate(a.about, delivery.Rate{Requests: 5, Per: time.Second})
	if !a.active() || a.Allowed.Requests != 5 || a.challenge(now, t.Context()) != nil {
		t.Errorf("after its consent the profile is %s", a.standing())
	}
	c.at.Name = "two"
	if a.standing() != standsPending || a.skips() {
		t.Errorf("at another endpoint it is %s, skips %t", a.standing(), a.skips())
	}
	c.at = delivery.Endpoint{Name: "one", Sandbox: true}
	if a.standing() != standsPending || !a.skips() {
		t.Error("the consent of production holds in a sandbox")
	}
	c.at.Name = ""
	if a.idleReason() != delivery.ReasonSandbox || a.challenge(now, t.Context()) != nil || a.mayAgree() {
		t.Errorf("without an endpoint it waits for %s", a.idleReason())
	}
}

// TestActivationRefused: an endpoint that does not agree is asked again, later each time.
func TestActivationRefused(t *testing.T) {
	t.Parallel()
	now := endpointStart
	a, _ := newActivation("one", delivery.ClassEvent)
	var last time.Duration
	for try := range 12 {
		agreed, refused := asks(t, a, now)
		if agreed || refused != (try == 0) {
			t.Fatalf("try %d: agreed %t, refused %t", try, agreed, refused)
		}
		wait := a.challengeAt().Sub(now)
		if wait < last/2 || wait > maxChallengeWait*6/5 || a.challenge(now, t.Context()) != nil {
			t.Errorf("try %d: the next one is in %s", try, wait)
		}
		last = wait
		now = a.challengeAt()
	}
	if last < maxChallengeWait/2 {
		t.Errorf("the last wait is %s", last)
	}
	var s delivery.ProfileStatus
	if a.status(&s); s.State != delivery.StatePending || s.Reason != "status_4xx" || !s.Attention || !s.Since.Equal(endpointStart) {
		t.Errorf("status: %+v", s)
	}
	if a.mayAgree() {
		t.Error("after its refusal what comes is still kept for its consent")
	}
}

// TestActivationStale: a reply of an endpoint that is no longer the profile's decides nothing.
func TestActivationStale(t *testing.T) {
	t.Parallel()
	a, c := newActivation("one", delivery.ClassOK)
	challenge := a.challenge(endpointStart, t.Context())
	c.at.Name = "two"
	challenge()
	if agreed, refused := a.replied(endpointStart); agreed || refused {
		t.Errorf("agreed %t, refused %t", agreed, refused)
	}
	if agreed, _ := asks(t, a, endpointStart); !agreed || a.about.Name != "two" {
		t.Errorf("then it asked %q, agreed %t", a.about.Name, agreed)
	}
}

// TestActivationByHand: what an operator decided stands before what the endpoint says.
func TestActivationByHand(t *testing.T) {
	t.Parallel()
	a, _ := newActivation("one", delivery.ClassOK)
	a.activate(delivery.Endpoint{Name: "one"}, delivery.Rate{})
	if !a.deactivate(endpointStart, delivery.ReasonOperator) || a.deactivate(endpointStart.Add(time.Hour), "status_4xx") {
		t.Error("the first reason does not stay")
	}
	if a.standing() != standsInactive || a.idleReason() != delivery.ReasonOperator || !a.consent.Since.Equal(endpointStart) || a.skips() {
		t.Errorf("it is %s for %s since %s", a.standing(), a.idleReason(), a.consent.Since)
	}
	if a.resume(); !a.active() {
		t.Errorf("resumed it is %s", a.standing())
	}
	off := false
	a.profile.config.Active = &off
	if a.standing() != standsInactive || a.idleReason() != delivery.ReasonConfig {
		t.Errorf("with active: false it is %s for %s", a.standing(), a.idleReason())
	}
}

// TestActivationUnasked: a profile that needs no consent is active, and its endpoint counts as
// activated.
func TestActivationUnasked(t *testing.T) {
	t.Parallel()
	a, c := newActivation("one", delivery.ClassOK)
	a.profile.config.Challenge = "none"
	if !a.active() {
		t.Fatalf("it is %s", a.standing())
	}
	for i, want := range []struct {
		at          string
		news, moved bool
	}{{"one", true, false}, {"one", false, false}, {"two", true, true}} {
		c.at.Name = want.at
		if news, moved := a.note(); news != want.news || moved != want.moved {
			t.Errorf("%d: news %t, moved %t", i, news, moved)
		}
	}
}
