package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/cluster"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
	"rowhook/cmd/rowhook/pipeline"
	"rowhook/delivery/engine"
	"rowhook/delivery/spool"
)

// A reload in a cluster is agreed by all machines or refused. The one that is asked reads its file and
// has all others read theirs and check that it says the same. Then the machine that captures makes it
// hold, between two transactions, by a message of the stream: a turn. Every machine takes a turn when
// it sees it, whoever lives then, and delivers nothing behind it before.

// agreement asks a machine for its part in a reload.
type agreement struct {
	operation.ReloadRequest
	Digest string `json:"digest"`         // of the config that is to hold
	Turn   uint64 `json:"turn,omitempty"` // from where it holds
}

const (
	// agreePatience bounds what the machines take to take a config.
	agreePatience = time.Minute
	// checkPatience bounds what they take to read their files and to check them.
	checkPatience = 5 * time.Second
)

// errReloading refuses a reload while another one is under way.
var errReloading = &control.Failure{Message: "a reload is under way on another machine of the cluster", Remedy: "try again"}

// errMoving refuses a reload while the capture passes from one machine to another.
var errMoving = &control.Failure{
	Message: "no machine of the cluster captures at this moment, and the one that captures says from where on a config holds",
	Remedy:  "try again when `rowhook status` shows a machine that captures",
}

// passing reports whether a reload was refused for what passes by itself.
func passing(err error) bool {
	var failed *control.Failure
	return errors.As(err, &failed) && (failed.Message == errReloading.Message || failed.Message == errMoving.Message)
}

// reloadTries is how often a reload by changed files is tried while the machines, whose files change
// at the same time, ask each other; reloadPause the longest pause then.
const (
	reloadTries = 8
	reloadPause = time.Second
)

// reloadShared has all machines of the cluster reload. Called with reloading held.
func (a *Agent) reloadShared(ctx context.Context, r operation.ReloadRequest) (status operation.ReloadStatus, err error) {
	ctx, done := a.untilCapture(ctx)
	defer done()
	taken := false
	defer func() {
		if cause := context.Cause(ctx); err != nil && passing(cause) {
			err = cause
			if taken { // the others take it by themselves
				err = nil
			}
		}
	}()
	ready, err := a.prepareReload(ctx, r)
	if err != nil {
		return status, err
	}
	digest := ready.next.Digest()
	part := agreement{ReloadRequest: r, Digest: digest}
	// Two machines that are asked at the same time refuse each other.
	if err := a.haveOthers(ctx, "reload/check", part, checkPatience, "does not agree"); err != nil {
		return status, err
	}
	a.agreeOn(digest)
	switch view := a.node.replica.View(); view.Capture.Owner {
	case "":
		return status, errMoving
	case view.Machine:
		status, part.Turn, err = ready.turn(ctx, r)
	default:
		if part.Turn, err = a.haveTurned(ctx, view.Capture.Owner, part); err == nil {
			status, err = ready.takeFrom(ctx, part)
		}
	}
	if err != nil {
		return status, err
	}
	taken = true
	return status, a.haveOthers(ctx, "reload/take", part, agreePatience, "has agreed to the config, but has not taken it")
}

// haveTurned has the machine that captures do its part, and returns from where the config holds.
func (a *Agent) haveTurned(ctx context.Context, captures string, part agreement) (uint64, error) {
	request, err := json.Marshal(part)
	if err != nil {
		return 0, fmt.Errorf("encode request: %w", err)
	}
	raw, err := a.ask(ctx, captures, "reload/turn", request)
	if err != nil {
		return 0, err
	}
	var done agreement
	if err := json.Unmarshal(raw, &done); err != nil {
		return 0, fmt.Errorf("read the answer of machine %s: %w", captures, err)
	}
	return done.Turn, nil
}

// takeFrom takes the config of a turn that this machine asked for.
func (p *reloadPlan) takeFrom(ctx context.Context, part agreement) (operation.ReloadStatus, error) {
	t, err := p.agent.node.replica.AwaitTurnAt(ctx, part.Turn)
	switch {
	case err != nil:
		return operation.ReloadStatus{}, err
	case t.Config != part.Digest:
		return operation.ReloadStatus{}, errReloading // another machine's came behind it
	}
	return p.takeAt(ctx, t)
}

// haveOthers has all other machines that are there do their part.
func (a *Agent) haveOthers(ctx context.Context, name string, part agreement, patience time.Duration, otherwise string) error {
	request, err := json.Marshal(part)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	nothing := func(context.Context, json.RawMessage) (any, error) { return nil, nil }
	for _, one := range a.everywhere(ctx, name, request, nothing)[1:] {
		switch {
		case passing(one.err):
			return errReloading
		case one.err != nil:
			return &control.Failure{
				Message: fmt.Sprintf("machine %s %s: %v", one.machine, otherwise, one.err),
				Remedy:  "give all machines the same config, then `rowhook reload` on one of them",
			}
		}
	}
	return nil
}

// untilCapture is a context for a reload that ends when this machine is to capture: that does not wait
// until others answer.
func (a *Agent) untilCapture(ctx context.Context) (context.Context, func()) {
	ctx, end := context.WithCancelCause(ctx)
	a.mu.Lock()
	a.yielding = end
	a.mu.Unlock()
	if view := a.node.replica.View(); view.Capture.Owner == view.Machine && a.term.Load() == nil {
		end(errMoving)
	}
	return ctx, func() {
		a.mu.Lock()
		a.yielding = nil
		a.mu.Unlock()
		end(nil)
	}
}

// yield ends a reload that waits for other machines.
func (a *Agent) yield() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.yielding != nil {
		a.yielding(errMoving)
	}
}

// agreeOn notes the config that this machine has agreed to. If nobody makes it hold, this machine tries,
// see watchFiles.
func (a *Agent) agreeOn(digest string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.agreedOn, a.agreedAt = digest, time.Now()
}

// forsaken reports once whether nobody made the config hold that this machine agreed to.
func (a *Agent) forsaken() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.agreedOn == "" || time.Since(a.agreedAt) < filesInterval {
		return false
	}
	digest := a.agreedOn
	a.agreedOn = ""
	return digest != a.config().Digest()
}

// turn has the config hold from here on in the stream, by the machine that captures.
func (p *reloadPlan) turn(ctx context.Context, r operation.ReloadRequest) (operation.ReloadStatus, uint64, error) {
	a := p.agent
	note, err := json.Marshal(r)
	if err != nil {
		return operation.ReloadStatus{}, 0, fmt.Errorf("encode request: %w", err)
	}
	var t cluster.Turn
	status, err := p.exchange(ctx, a.exchangeInTerm, func() error {
		var err error
		if t, err = a.node.replica.Turn(p.next.Digest(), note); err != nil {
			return err
		}
		return p.engine.ApplyAt(t.Firsts)
	})
	if err == nil {
		a.took(t)
	}
	return status, t.Seq, err
}

// exchangeInTerm is exchange for what the machine that captures decides for all.
func (a *Agent) exchangeInTerm(ctx context.Context, to pipeline.Routing, apply func() error) error {
	t := a.term.Load()
	if t == nil {
		return errMoving
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-t.over:
			cancel(errMoving)
		case <-ctx.Done():
		}
	}()
	err := t.pipe.Exchange(ctx, to, apply)
	if errors.Is(err, cluster.ErrTermOver) {
		return errMoving
	}
	return err
}

// takeAt takes the config of a turn.
func (p *reloadPlan) takeAt(ctx context.Context, t cluster.Turn) (operation.ReloadStatus, error) {
	status, err := p.exchange(ctx, p.agent.exchange, func() error { return p.engine.ApplyAt(t.Firsts) })
	if err == nil {
		p.agent.took(t)
	}
	return status, err
}

// took tells the cluster that this machine has taken a turn.
func (a *Agent) took(t cluster.Turn) {
	a.tellProfiles()
	a.node.replica.Took(a.config().Digest(), t.Seq)
}

// beginTurn has what this machine captures begin with a turn, where the last one was another config's:
// the whole cluster has been started with another file.
func (a *Agent) beginTurn() error {
	t, taken := a.node.replica.LastTurn()
	if digest := a.config().Digest(); t.Config != digest {
		var err error
		if t, err = a.node.replica.Turn(digest, nil); err != nil {
			return err
		}
		taken = false
	}
	if taken {
		return nil
	}
	if err := a.engine.Follow(t.Firsts); err != nil {
		return err
	}
	a.took(t)
	return nil
}

// How long a turn that could not be taken is left alone.
const (
	turnRetry     = time.Second
	turnRetryMost = 30 * time.Second
)

// followTurns takes the turns that other machines make, until ctx ends.
func (a *Agent) followTurns(ctx context.Context) error {
	var failures capture.FailureLog
	for wait := turnRetry; ; {
		if _, err := a.node.replica.AwaitTurn(ctx); err != nil {
			return nil
		}
		err := a.takeTurn(ctx)
		if err == nil {
			wait = turnRetry
			continue
		}
		if failures.Worth(err, time.Now()) {
			a.logger.Error("this machine has not the config by which the cluster captures, and delivers nothing of what comes by it", "err", err,
				"remedy", "give all machines the same config")
		}
		if capture.Sleep(ctx, wait) != nil {
			return nil
		}
		wait = min(2*wait, turnRetryMost)
	}
}

// takeTurn takes the last turn, if this machine has not.
func (a *Agent) takeTurn(ctx context.Context) error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	t, taken := a.node.replica.LastTurn()
	if taken {
		return nil
	}
	next, err := a.config().Reload()
	if err == nil {
		err = agreed(next, t.Config)
	}
	if a.config().Digest() == t.Config && (err != nil || len(t.Note) == 0) {
		if err := a.engine.Follow(t.Firsts); err != nil {
			return err
		}
		a.took(t)
		return nil
	}
	if err != nil {
		return err
	}
	var r operation.ReloadRequest
	if len(t.Note) > 0 {
		if err := json.Unmarshal(t.Note, &r); err != nil {
			return fmt.Errorf("read a note of the cluster's stream: %w", err)
		}
	}
	r.By = operation.ReloadByCluster
	if r.Removed, err = a.stillKnown(r.Removed); err != nil {
		return err
	}
	ready, err := a.prepareReload(ctx, r)
	if err == nil {
		err = agreed(ready.next, t.Config)
	}
	if err != nil {
		return err
	}
	_, err = a.noteReload(r, func() (operation.ReloadStatus, error) { return ready.takeAt(ctx, t) })
	return err
}

// stillKnown leaves out words about profiles that have been forgotten since.
func (a *Agent) stillKnown(removed map[string]engine.Removal) (map[string]engine.Removal, error) {
	known, err := a.spool.Profiles()
	if err != nil {
		return nil, fmt.Errorf("list the spool's profiles: %w", err)
	}
	still := maps.Clone(removed)
	maps.DeleteFunc(still, func(code string, _ engine.Removal) bool {
		return !slices.ContainsFunc(known, func(p spool.ProfileInfo) bool { return p.Code == code })
	})
	return still, nil
}

// agreed reads this machine's file and refuses another config than was agreed on.
func agreed(next *config.Config, digest string) error {
	if own := next.Digest(); own != digest {
		return &control.Failure{Message: fmt.Sprintf("its config is another one: %s, not %s", own, digest), Remedy: "give all machines the same config"}
	}
	return nil
}

// checkReload is another machine's part of a reload before it is agreed.
func (a *Agent) checkReload(ctx context.Context, r agreement) (operation.None, error) {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	if !a.reloading.TryLock() {
		return operation.None{}, errReloading
	}
	defer a.reloading.Unlock()
	ready, err := a.prepareReload(ctx, r.ReloadRequest)
	if err == nil {
		err = agreed(ready.next, r.Digest)
	}
	if err == nil {
		a.agreeOn(r.Digest)
	}
	return operation.None{}, err
}

// turnReload is the part of the machine that captures.
func (a *Agent) turnReload(ctx context.Context, part agreement) (agreement, error) {
	ctx, cancel := context.WithTimeout(ctx, agreePatience)
	defer cancel()
	if !a.reloading.TryLock() {
		return part, errReloading
	}
	defer a.reloading.Unlock()
	_, err := a.noteReload(part.ReloadRequest, func() (status operation.ReloadStatus, err error) {
		ready, err := a.prepareReload(ctx, part.ReloadRequest)
		if err == nil {
			err = agreed(ready.next, part.Digest)
		}
		if err == nil {
			status, part.Turn, err = ready.turn(ctx, part.ReloadRequest)
		}
		return status, err
	})
	return part, err
}

// takeReload is another machine's part of a reload that holds.
func (a *Agent) takeReload(ctx context.Context, r agreement) (operation.None, error) {
	ctx, cancel := context.WithTimeout(ctx, agreePatience)
	defer cancel()
	if _, err := a.node.replica.AwaitTurnAt(ctx, r.Turn); err != nil {
		return operation.None{}, err
	}
	return operation.None{}, a.takeTurn(ctx)
}

// clusterOperations are what machines ask of each other, and what people ask of the cluster.
func (a *Agent) clusterOperations() map[string]control.Operation {
	return map[string]control.Operation{
		"reload/check": control.Typed(a.checkReload),
		"reload/turn":  control.Typed(a.turnReload),
		"reload/take":  control.Typed(a.takeReload),
		"status": control.Typed(func(ctx context.Context, _ operation.None) (*operation.StatusReport, error) {
			return a.statusHere(ctx)
		}),
		"profile/list": control.Typed(func(context.Context, operation.None) ([]operation.ProfileListing, error) {
			return a.listProfiles()
		}),
		"handover": control.Typed(func(ctx context.Context, r operation.UserRequest) (operation.HandoverAnswer, error) {
			return a.handover(ctx, r)
		}),
	}
}

// handover has another machine capture, at once.
func (a *Agent) handover(ctx context.Context, r operation.UserRequest) (operation.HandoverAnswer, error) {
	ctx, cancel := context.WithTimeout(ctx, agreePatience)
	defer cancel()
	began := time.Now()
	before := a.node.replica.View().Capture
	if err := a.node.replica.Handover(ctx); err != nil {
		return operation.HandoverAnswer{}, err
	}
	now := a.node.replica.View().Capture
	answer := operation.HandoverAnswer{From: before.Owner, To: now.Owner, Epoch: now.Epoch, Seconds: time.Since(began).Seconds()}
	return answer, a.audit.append(operation.AuditLine{User: r.User, Command: "handover", Key: "capture", Old: answer.From, New: answer.To})
}
