package engine

import (
	"context"
	"time"

	"rowhook/delivery"
)

// standing is whether a profile gets its events.
type standing uint8

const (
	standsActive   standing = iota
	standsPending           // its endpoint has not agreed, or there is none
	standsInactive          // by the config, by an operator or since a 410
)

var standingNames = [...]string{delivery.StateActive, delivery.StatePending, delivery.StateInactive}

// String returns the state's name as the commands show it.
func (s standing) String() string { return standingNames[s] }

// consent is what is stored of a profile's activation.
type consent struct {
	// Inactive is set by an operator, or by a 410, until the profile is resumed.
	Inactive bool      `json:"inactive,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Reason   string    `json:"reason,omitempty"`
	// Activated is the endpoint that was activated last, see [endpointKey].
	Activated string `json:"activated,omitempty"`
	// Allowed is what that endpoint allowed when it agreed.
	Allowed delivery.Rate `json:"allowed,omitzero"`
}

// activation is whether a profile gets its events: whether the config and the operators want it,
// and whether its endpoint has agreed. It decides when the endpoint is asked; it makes no request
// and stores nothing.
type activation struct {
	profile *Profile // in force
	consent
	asking
}

func (a *activation) follow(p *Profile) { a.profile = p }

// asking is the agent's own attempt to activate its profile.
type asking struct {
	result  chan delivery.Reply
	running bool
	about   delivery.Endpoint // the endpoint that was asked last
	since   time.Time
	tries   int
	next    time.Time
	reply   delivery.Reply // of the last try
	cancel  context.CancelFunc
}

// Waits between two challenges.
const (
	firstChallengeWait = time.Second
	maxChallengeWait   = 5 * time.Minute
)

// endpointKey is the endpoint in [consent]: what is active in production is not so in a sandbox.
func endpointKey(e delivery.Endpoint) string {
	if e.Sandbox {
		return "sandbox " + e.Name
	}
	return e.Name
}

// standing tells how the profile stands now.
func (a *activation) standing() standing {
	switch p := a.profile; {
	case a.Inactive, p.off():
		return standsInactive
	case p.challenger == nil:
		return standsActive
	default:
		at := p.challenger.Endpoint()
		if at.Name == "" || p.challenged() && endpointKey(at) != a.Activated {
			return standsPending
		}
		return standsActive
	}
}

func (a *activation) active() bool { return a.standing() == standsActive }

// idleReason is why the profile is not active, from the log's closed set.
func (a *activation) idleReason() string {
	switch {
	case a.Inactive:
		return a.Reason
	case a.profile.off():
		return delivery.ReasonConfig
	case a.profile.challenger.Endpoint().Name == "":
		return delivery.ReasonSandbox
	}
	return delivery.ReasonChallenge
}

// challenge returns what asks the endpoint, when that is due; else nil. It may take its time, and
// must be called once, beside the dispatcher.
func (a *activation) challenge(now time.Time, ctx context.Context) func() {
	if a.running || a.standing() != standsPending {
		return nil
	}
	at := a.profile.challenger.Endpoint()
	if at != a.about {
		a.asking = asking{about: at, since: now}
	}
	if at.Name == "" || now.Before(a.next) {
		return nil
	}
	if a.result == nil {
		a.result = make(chan delivery.Reply, 1)
	}
	ctx, a.cancel = context.WithCancel(ctx)
	a.running = true
	a.tries++
	challenger, result := a.profile.challenger, a.result
	return func() { result <- challenger.Challenge(ctx) }
}

// replied takes the reply to a challenge, if it is there: agreed says that the endpoint is to be
// made active, refused that it does not agree, for the first time.
func (a *activation) replied(now time.Time) (agreed, refused bool) {
	if !a.running {
		return false, false
	}
	select {
	case a.reply = <-a.result:
	default:
		return false, false
	}
	a.running = false
	a.cancel()
	switch {
	case a.about != a.profile.challenger.Endpoint(), a.reply.Class == delivery.ClassStopped:
		return false, false // another endpoint is due, or nothing is
	case a.reply.Class == delivery.ClassOK:
		return a.standing() == standsPending, false
	}
	retry := schedule{initial: firstChallengeWait, max: maxChallengeWait, multiplier: 2, jitter: 0.2}
	a.next = now.Add(retry.wait(a.tries, vary()))
	return false, a.tries == 1
}

// activate makes the profile active at an endpoint, which allows a rate.
func (a *activation) activate(at delivery.Endpoint, allowed delivery.Rate) {
	a.consent = consent{Activated: endpointKey(at), Allowed: allowed}
	if a.cancel != nil {
		a.cancel()
	}
	a.asking = asking{}
}

// note remembers the endpoint of a profile that is active without having been asked, so that it
// counts as activated once before. moved says that it was another one until now.
func (a *activation) note() (news, moved bool) {
	c := a.profile.challenger
	if c == nil {
		return false, false
	}
	key := endpointKey(c.Endpoint())
	if a.Activated == key {
		return false, false
	}
	moved = a.Activated != ""
	a.Activated, a.Allowed = key, delivery.Rate{}
	return true, moved
}

// deactivate makes the profile inactive until it is resumed. It reports whether it was not yet.
func (a *activation) deactivate(now time.Time, reason string) bool {
	if a.Inactive {
		return false
	}
	a.Inactive, a.Since, a.Reason = true, now, reason
	return true
}

// resume takes deactivate back.
func (a *activation) resume() { a.Inactive, a.Since, a.Reason = false, time.Time{}, "" }

// skips reports whether what comes while the profile is not active is skipped. Unless the config
// says, it is while the profile has never been active, and in a sandbox.
func (a *activation) skips() bool {
	p := a.profile
	switch {
	case p.config.WhenInactive != "":
		return p.config.WhenInactive == "skip"
	case p.challenger == nil:
		return false
	case p.challenger.Endpoint().Sandbox:
		return true
	}
	return a.Activated == "" && (p.challenged() || p.off())
}

// mayAgree reports whether the endpoint is about to be asked, or being asked, for the first time.
func (a *activation) mayAgree() bool {
	if a.standing() != standsPending {
		return false
	}
	at := a.profile.challenger.Endpoint()
	return at.Name != "" && (a.about != at || a.tries == 0 || a.tries == 1 && a.running)
}

// challengeAt is when the next challenge is due; zero when none is.
func (a *activation) challengeAt() time.Time {
	if a.running || a.about.Name == "" || a.standing() != standsPending {
		return time.Time{}
	}
	return a.next
}

// status fills in the state of a profile that waits for its endpoint's consent.
func (a *activation) status(s *delivery.ProfileStatus) {
	s.State, s.Reason, s.Since, s.NextAttempt = delivery.StatePending, a.idleReason(), a.asking.since, a.next
	s.Attention = s.Reason != delivery.ReasonSandbox
	if a.reply.Class != delivery.ClassOK && a.reply.Class != 0 {
		s.Reason, s.Problem = a.reply.Reason, a.reply.Error
	}
}
