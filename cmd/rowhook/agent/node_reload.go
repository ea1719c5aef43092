package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
)

// A reload in a cluster is agreed by all machines or refused. The one that is asked reads its file,
// has all others read theirs and check that it says the same, and then has all take it.

// agreement asks a machine for its part in a reload.
type agreement struct {
	operation.ReloadRequest
	Digest string `json:"digest"` // of the config that is to hold
}

// agreePatience bounds what the machines take to check and to take a config.
const agreePatience = time.Minute

// agree has the other machines of the cluster check the config, each its own file. It returns what
// has them take it, once it has been taken here.
func (a *Agent) agree(ctx context.Context, next *config.Config, r operation.ReloadRequest) (take func(context.Context) error, err error) {
	request, err := json.Marshal(agreement{ReloadRequest: r, Digest: next.Digest()})
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	all := func(ctx context.Context, name, otherwise string) error {
		ctx, cancel := context.WithTimeout(ctx, agreePatience)
		defer cancel()
		nothing := func(context.Context, json.RawMessage) (any, error) { return nil, nil }
		for _, one := range a.everywhere(ctx, name, request, nothing)[1:] {
			var failed *control.Failure
			if errors.As(one.err, &failed) && failed.Message == errReloading.Message {
				return errReloading
			}
			if one.err != nil {
				return &control.Failure{Message: fmt.Sprintf("machine %s %s: %v", one.machine, otherwise, one.err), Remedy: "give all machines the same config, then `rowhook reload` on one of them"}
			}
		}
		return nil
	}
	if err := all(ctx, "reload/check", "does not agree"); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		a.reconfigured(next)
		return all(ctx, "reload/take", "has agreed to the config, but has not taken it")
	}, nil
}

// errReloading refuses a reload while another one is under way.
var errReloading = &control.Failure{Message: "a reload is under way on another machine of the cluster", Remedy: "try again"}

// reloadTries is how often a reload by changed files is tried while the machines, whose files change
// at the same time, ask each other; reloadPause the longest pause then.
const (
	reloadTries = 8
	reloadPause = time.Second
)

// reconfigured tells the others of the config that this machine has taken.
func (a *Agent) reconfigured(next *config.Config) {
	a.tellProfiles()
	a.node.replica.Reconfigured(next.Digest())
}

// agreed reads this machine's file and refuses another config than was agreed on.
func agreed(next *config.Config, digest string) error {
	if own := next.Digest(); own != digest {
		return &control.Failure{Message: fmt.Sprintf("its config is another one: %s, not %s", own, digest), Remedy: "give all machines the same config"}
	}
	return nil
}

// clusterOperations are what machines ask of each other, and what people ask of the cluster.
func (a *Agent) clusterOperations() map[string]control.Operation {
	return map[string]control.Operation{
		"reload/check": control.Typed(func(ctx context.Context, r agreement) (operation.None, error) {
			if !a.reloading.TryLock() {
				return operation.None{}, errReloading
			}
			defer a.reloading.Unlock()
			ready, err := a.prepareReload(ctx, r.ReloadRequest)
			if err != nil {
				return operation.None{}, err
			}
			return operation.None{}, agreed(ready.next, r.Digest)
		}),
		"reload/take": control.Typed(func(ctx context.Context, r agreement) (operation.ReloadStatus, error) {
			return a.reloadAgreed(ctx, r)
		}),
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
