package engine

import (
	"context"
	"fmt"
	"time"

	"rowhook/delivery"
)

func (d *dispatcher) standing() standing { return d.activation.standing() }
func (d *dispatcher) active() bool       { return d.activation.active() }

// ask sends the challenge when it is due, and takes note of its reply.
func (d *dispatcher) ask(now time.Time, ctx context.Context) {
	a := &d.activation
	agreed, refused := a.replied(now)
	if agreed {
		d.engine.stateChanged(d.terms.profile.code, standsPending, standsActive, "")
		d.activated(now, a.about, a.reply.Allowed)
		return
	}
	if refused {
		d.logger.Warn("profile is pending activation: its endpoint does not accept the challenge",
			"reason", a.reply.Reason, "status", a.reply.Status, "err", a.reply.Error,
			"remedy", "rowhook profile activate "+d.terms.profile.code)
	}
	if challenge := a.challenge(now, ctx); challenge != nil {
		d.helpers.Go(func() {
			challenge()
			d.wake.notify()
		})
	}
}

// activated makes the profile active at an endpoint, which allows a rate.
func (d *dispatcher) activated(now time.Time, at delivery.Endpoint, allowed delivery.Rate) {
	before := d.standing()
	d.activation.activate(at, allowed)
	d.setPace()
	d.endpoint.restart()
	if before != standsActive {
		d.logger.Info("profile is active", "was", before)
	}
	d.commits.keep(now)
}

// noteActive remembers the endpoint of a profile that is active without having been asked.
func (d *dispatcher) noteActive(now time.Time) {
	news, moved := d.activation.note()
	if moved {
		d.endpoint.restart() // what is known of the old endpoint says nothing of this one
	}
	if news {
		d.setPace()
		d.commits.keep(now)
	}
}

// deactivate makes the profile inactive: nothing is read or sent until it is resumed.
func (d *dispatcher) deactivate(now time.Time, reason string) {
	before := d.standing()
	if !d.activation.deactivate(now, reason) {
		return
	}
	if reason != delivery.ReasonOperator {
		d.engine.stateChanged(d.terms.profile.code, before, standsInactive, reason)
	}
	d.crew.halt()
	d.logger.Warn("profile is inactive", "reason", reason,
		"remedy", fmt.Sprintf("rowhook profile resume %s", d.terms.profile.code))
	d.commits.keep(now)
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

// Activate asks a profile's endpoint for its consent at once and makes the profile active when it
// agrees; one that was paused gets what was held. Without a challenge, it is active at once. The
// reply tells what the endpoint said.
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
		if e.lapsed() {
			return delivery.Reply{}, &operatorError{"no request may start: this machine's lease on its profiles is over", "`rowhook status` shows what the cluster waits for"}
		}
		if reply = p.challenger.Challenge(ctx); reply.Class != delivery.ClassOK {
			return reply, nil
		}
	}
	err = d.update(func(now time.Time) error {
		if d.terms.profile.endpoint() != at {
			return &operatorError{"the profile's URL changed while its endpoint was asked", "activate it again"}
		}
		d.activated(now, at, reply.Allowed)
		return nil
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
	return d.terms.profile
}

// sendable returns why no request may be made for a profile by hand either; nil when one may.
func (e *Engine) sendable(p *Profile) error {
	e.mu.Lock()
	hold := e.suspended
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
