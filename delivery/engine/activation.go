package engine

import (
	"context"
	"fmt"
	"time"

	"rowhook/delivery"
)

// endpointKey is the endpoint in [profileState]: what is active in production is not so in a sandbox.
func endpointKey(e delivery.Endpoint) string {
	if e.Sandbox {
		return "sandbox " + e.Name
	}
	return e.Name
}

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

// standing tells how the profile stands now.
func (d *dispatcher) standing() standing {
	switch p := d.profile; {
	case d.state.Inactive, p.off():
		return standsInactive
	case p.challenger == nil:
		return standsActive
	default:
		at := p.challenger.Endpoint()
		if at.Name == "" || p.challenged() && endpointKey(at) != d.state.Activated {
			return standsPending
		}
		return standsActive
	}
}

func (d *dispatcher) active() bool { return d.standing() == standsActive }

// off reports whether the config has the profile inactive.
func (p *Profile) off() bool { return p.config.Active != nil && !*p.config.Active }

// challenged reports whether the endpoint has to agree.
func (p *Profile) challenged() bool {
	return p.challenger != nil && !p.dry() && p.config.Challenge != "" && p.config.Challenge != "none"
}

// idleReason is why the profile is not active, from the log's closed set.
func (d *dispatcher) idleReason() string {
	switch {
	case d.state.Inactive:
		return d.state.Reason
	case d.profile.off():
		return delivery.ReasonConfig
	case d.profile.challenger.Endpoint().Name == "":
		return delivery.ReasonSandbox
	}
	return delivery.ReasonChallenge
}

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

// ask sends the challenge when it is due, and takes note of its reply.
func (d *dispatcher) ask(now time.Time, ctx context.Context) error {
	a := &d.asking
	if a.running {
		select {
		case a.reply = <-a.result:
			a.running = false
		default:
			return nil
		}
		if err := d.answeredChallenge(now); err != nil {
			return err
		}
	}
	if d.standing() != standsPending {
		return nil
	}
	at := d.profile.challenger.Endpoint()
	if at != a.about {
		*a = asking{about: at, since: now}
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
	challenger, result := d.profile.challenger, a.result
	d.helpers.Go(func() {
		result <- challenger.Challenge(ctx)
		d.poke()
	})
	return nil
}

// answeredChallenge decides what follows from the reply to the agent's own challenge.
func (d *dispatcher) answeredChallenge(now time.Time) error {
	a := &d.asking
	a.cancel()
	if a.about != d.profile.challenger.Endpoint() {
		return nil // another endpoint is due
	}
	if a.reply.Class == delivery.ClassOK {
		if d.standing() != standsPending {
			return nil
		}
		d.engine.stateChanged(d.profile.code, standsPending, standsActive, "")
		return d.activated(now, a.about, a.reply.Allowed)
	}
	if a.reply.Class == delivery.ClassStopped {
		return nil
	}
	if a.tries == 1 {
		d.logger().Warn("profile is pending activation: its endpoint does not accept the challenge",
			"reason", a.reply.Reason, "status", a.reply.Status, "err", a.reply.Error,
			"remedy", "rowhook profile activate "+d.profile.code)
	}
	retry := schedule{initial: firstChallengeWait, max: maxChallengeWait, multiplier: 2, jitter: 0.2}
	a.next = now.Add(retry.wait(a.tries, vary()))
	return nil
}

// activated makes the profile active at an endpoint, which allows a rate.
func (d *dispatcher) activated(now time.Time, at delivery.Endpoint, allowed delivery.Rate) error {
	before := d.standing()
	d.state.Activated, d.state.Allowed = endpointKey(at), allowed
	d.setPace()
	d.state.Inactive, d.state.Since, d.state.Reason = false, time.Time{}, ""
	d.endpoint.restart()
	if d.asking.cancel != nil {
		d.asking.cancel()
	}
	d.asking = asking{}
	if before != standsActive {
		d.logger().Info("profile is active", "was", before)
	}
	d.keepState(now)
	return nil
}

// noteActive remembers the endpoint of a profile that is active without having been asked, so that it counts as
// activated once before.
func (d *dispatcher) noteActive(now time.Time) {
	c := d.profile.challenger
	if c == nil || d.state.Activated == endpointKey(c.Endpoint()) {
		return
	}
	if d.state.Activated != "" {
		d.endpoint.restart() // what is known of the old endpoint says nothing of this one
	}
	d.state.Activated, d.state.Allowed = endpointKey(c.Endpoint()), delivery.Rate{}
	d.setPace()
	d.keepState(now)
}

// StateChange is a profile's change of state that no operator's command made.
type StateChange struct {
	Profile  string
	Old, New string // active, pending or inactive
	Reason   string
}

func (e *Engine) stateChanged(profile string, before, after standing, reason string) {
	if e.options.OnState != nil {
		e.options.OnState(StateChange{Profile: profile, Old: before.String(), New: after.String(), Reason: reason})
	}
}

// Reconsider has every profile look again at where its requests go.
func (e *Engine) Reconsider() { e.wakeAll() }

// Activate asks a profile's endpoint for its consent at once and makes the profile active when it agrees; one
// that was paused gets what was held. Without a challenge, it is active at once. The reply tells what the endpoint said.
func (e *Engine) Activate(ctx context.Context, profile string) (delivery.Reply, error) {
	d, err := e.one(profile)
	if err != nil {
		return delivery.Reply{}, err
	}
	p := d.profileNow()
	if err := e.sendable(p); err != nil {
		return delivery.Reply{}, err
	}
	if p.off() {
		return delivery.Reply{}, &operatorError{fmt.Sprintf("profile %s has active: false", p.code), "take that out of the config, then restart"}
	}
	at := p.endpoint()
	reply := delivery.Reply{Class: delivery.ClassOK}
	if p.challenged() {
		if reply = p.challenger.Challenge(ctx); reply.Class != delivery.ClassOK {
			return reply, nil
		}
	}
	err = d.with(func(now time.Time) error {
		if d.profile.endpoint() != at {
			return &operatorError{"the profile's URL changed while its endpoint was asked", "activate it again"}
		}
		return d.activated(now, at, reply.Allowed)
	})
	return reply, err
}

// State returns how a profile stands: active, pending or inactive.
func (e *Engine) State(profile string) (string, error) {
	d, err := e.one(profile)
	if err != nil {
		return "", err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.attend(); err != nil {
		return "", err
	}
	return d.standing().String(), nil
}

// profileNow returns the profile as it is now.
func (d *dispatcher) profileNow() *Profile {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.profile
}

// endpoint is where the profile's requests go; zero when its sender does not say.
func (p *Profile) endpoint() delivery.Endpoint {
	if p.challenger == nil {
		return delivery.Endpoint{}
	}
	return p.challenger.Endpoint()
}

// sendable returns why no request may be made for a profile by hand either; nil when one may.
func (e *Engine) sendable(p *Profile) error {
	e.mu.Lock()
	hold := e.hold
	e.mu.Unlock()
	switch {
	case hold != "":
		return &operatorError{"nothing is sent at present: " + hold, "`rowhook status` says what to do"}
	case p.challenger != nil && p.endpoint().Name == "":
		return &operatorError{fmt.Sprintf("profile %s has no URL in this sandbox", p.code),
			"`rowhook profile activate " + p.code + " --url URL` gives it one, for this environment only"}
	}
	return nil
}
