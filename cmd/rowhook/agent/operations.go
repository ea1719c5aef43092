package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/environment"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// The requests of operations. Who asks is for the audit log.

// operations are what commands can ask of a state directory, with or without an agent.
func (w *workspace) operations() map[string]control.Operation {
	all := map[string]control.Operation{
		"reload": control.Typed(func(context.Context, operation.ReloadRequest) (operation.ReloadStatus, error) {
			return operation.ReloadStatus{}, &control.Failure{Message: control.ErrNoAgent.Error(), Remedy: "`rowhook run` starts with the config as it is"}
		}),
		"status": control.Typed(func(ctx context.Context, _ operation.None) (*operation.StatusReport, error) {
			return w.status(ctx)
		}),
		"source/adopt": control.Typed(func(ctx context.Context, r operation.UserRequest) (operation.Adoption, error) {
			return w.adoptNow(ctx, r.User)
		}),
		"explain": control.Typed(w.explain),
	}
	maps.Copy(all, w.deliveryOperations())
	maps.Copy(all, w.parkedOperations())
	maps.Copy(all, w.profileOperations())
	maps.Copy(all, w.backfillOperations())
	return all
}

// deliveryOperations are about what waits, dead letters and history.
func (w *workspace) deliveryOperations() map[string]control.Operation {
	return map[string]control.Operation{
		"queue/list": control.Typed(func(_ context.Context, r operation.FilterRequest) (engine.Items, error) {
			return w.engine.Queue(r.Filter)
		}),
		"queue/retry-all": control.Typed(func(_ context.Context, r operation.DeliveryRequest) ([]engine.Hastened, error) {
			hastened, err := w.engine.RetryAllNow(r.Profile)
			for _, h := range hastened {
				err = errors.Join(err, w.audit.append(operation.AuditLine{User: r.User, Command: "queue retry-now", Profile: h.Profile, New: fmt.Sprint(h.Retries)}))
			}
			return hastened, err
		}),
		"queue/retry-now": control.Typed(func(_ context.Context, r operation.DeliveryRequest) (operation.None, error) {
			return operation.None{}, w.audited(r.User, "queue retry-now", r.Profile, r.Event, w.engine.RetryNow(r.Profile, r.Event))
		}),
		"queue/skip": control.Typed(func(_ context.Context, r operation.DeliveryRequest) (operation.None, error) {
			return operation.None{}, w.audited(r.User, "queue skip", r.Profile, r.Event, w.engine.Skip(r.Profile, r.Event))
		}),
		"failed/list": control.Typed(func(_ context.Context, r operation.FilterRequest) (engine.Items, error) {
			return w.engine.Failed(r.Filter)
		}),
		"failed/show": control.Typed(func(_ context.Context, r operation.DeliveryRequest) ([]engine.Letter, error) {
			return w.engine.FailedShow(r.Event)
		}),
		"failed/retry": control.Typed(func(ctx context.Context, r operation.FilterRequest) (engine.Changed, error) {
			changed, err := w.engine.FailedRetry(ctx, r.Filter)
			return changed, w.auditedCount(r.User, "failed retry", r.Filter.Profile, describeFilter(r.Filter), changed, err)
		}),
		"failed/discard": control.Typed(func(ctx context.Context, r operation.FilterRequest) (engine.Changed, error) {
			changed, err := w.engine.FailedDiscard(ctx, r.Filter)
			return changed, w.auditedCount(r.User, "failed discard", r.Filter.Profile, describeFilter(r.Filter), changed, err)
		}),
		"replay": control.Typed(func(_ context.Context, r operation.ReplayRequest) (engine.Replayed, error) {
			return w.replay(r)
		}),
		"replay/stop": control.Typed(func(_ context.Context, r operation.ReplayRequest) (operation.ReplayStopped, error) {
			return w.stopReplay(r)
		}),
		"body": control.Typed(func(ctx context.Context, r operation.BodyRequest) (operation.BodyAnswer, error) {
			return w.body(ctx, r)
		}),
	}
}

// parkedOperations are about dead letters of the source.
func (w *workspace) parkedOperations() map[string]control.Operation {
	return map[string]control.Operation{
		"parked/list": control.Typed(func(_ context.Context, r operation.ParkedRequest) (operation.ParkedList, error) {
			return w.listParked(r)
		}),
		"parked/discard": control.Typed(func(ctx context.Context, r operation.ParkedRequest) (engine.Changed, error) {
			changed, err := w.discardParked(ctx, r)
			return changed, w.auditedCount(r.User, "failed discard --source", "", describeParked(r), changed, err)
		}),
		"parked/retry": control.Typed(func(context.Context, operation.ParkedRequest) (engine.Changed, error) {
			return engine.Changed{}, &control.Failure{
				Message: "parked changes are decoded with the database's help, and no agent is running",
				Remedy:  "start the agent with `rowhook run`, then retry",
			}
		}),
	}
}

// profileOperations are about profiles and their endpoints.
func (w *workspace) profileOperations() map[string]control.Operation {
	return map[string]control.Operation{
		"profile/list": control.Typed(func(context.Context, operation.None) ([]operation.ProfileListing, error) {
			return w.listProfiles()
		}),
		"profile/pause": control.Typed(func(_ context.Context, r operation.ResumeRequest) (operation.StateAnswer, error) {
			return w.auditedState(r.User, "profile pause", r.Profile, func() error { return w.engine.Pause(r.Profile) })
		}),
		"profile/resume": control.Typed(func(_ context.Context, r operation.ResumeRequest) (operation.StateAnswer, error) {
			return w.auditedState(r.User, "profile resume --from "+r.From, r.Profile, func() error { return w.engine.Resume(r.Profile, r.From) })
		}),
		"profile/activate": control.Typed(func(ctx context.Context, r operation.ActivateRequest) (operation.EndpointAnswer, error) {
			found, err := w.whereabouts(ctx)
			if err != nil {
				return operation.EndpointAnswer{}, err
			}
			return w.activate(ctx, r, found)
		}),
		"profile/test": control.Typed(func(ctx context.Context, r operation.DeliveryRequest) (operation.EndpointAnswer, error) {
			if _, err := w.whereabouts(ctx); err != nil {
				return operation.EndpointAnswer{}, err
			}
			return w.test(ctx, r)
		}),
	}
}

// operations are what can be asked of a running agent: of a cluster, wherever it is done.
func (a *Agent) operations() map[string]control.Operation {
	here := a.operationsHere()
	if !a.shared() {
		return here
	}
	return a.dispatched(here)
}

// errAlone refuses what only a cluster can do.
var errAlone = &control.Failure{Message: "this agent is alone: there is no other machine that could capture", Remedy: "the section cluster of the config makes several machines one agent"}

// operationsHere adds to the workspace's what only a running agent can do.
func (a *Agent) operationsHere() map[string]control.Operation {
	all := a.workspace.operations()
	all["agent"] = control.Typed(func(context.Context, operation.None) (operation.AgentAnswer, error) {
		if a.shared() {
			return operation.AgentAnswer{ID: a.node.marks()}, nil
		}
		id, err := agentID(a.spool)
		return operation.AgentAnswer{ID: id}, err
	})
	all["explain"] = control.Typed(a.explain)
	all["health"] = control.Typed(func(context.Context, operation.None) (operation.HealthAnswer, error) {
		now := time.Now()
		return operation.HealthAnswer{Live: a.health(now), Ready: a.readiness(now)}, nil
	})
	all["parked/retry"] = control.Typed(func(ctx context.Context, r operation.ParkedRequest) (engine.Changed, error) {
		changed, err := a.retryParked(ctx, r)
		return changed, a.auditedCount(r.User, "failed retry --source", "", describeParked(r), changed, err)
	})
	all["profile/activate"] = control.Typed(func(ctx context.Context, r operation.ActivateRequest) (operation.EndpointAnswer, error) {
		a.mu.Lock()
		found := a.connection.Found
		a.mu.Unlock()
		return a.activate(ctx, r, found)
	})
	all["profile/test"] = control.Typed(func(ctx context.Context, r operation.DeliveryRequest) (operation.EndpointAnswer, error) {
		return a.test(ctx, r)
	})
	all["reload"] = control.Typed(func(ctx context.Context, r operation.ReloadRequest) (operation.ReloadStatus, error) {
		return a.reloadFor(ctx, r)
	})
	all["status"] = control.Typed(func(ctx context.Context, _ operation.None) (*operation.StatusReport, error) {
		return a.status(ctx)
	})
	all["source/adopt"] = control.Typed(func(_ context.Context, r operation.UserRequest) (operation.Adoption, error) {
		return a.adopt(r.User)
	})
	all["handover"] = control.Typed(func(context.Context, operation.UserRequest) (operation.HandoverAnswer, error) {
		return operation.HandoverAnswer{}, errAlone
	})
	if a.shared() {
		maps.Copy(all, a.clusterOperations())
	}
	return all
}

// audited writes the audit line of a change that was made; err is what came of it.
func (w *workspace) audited(user, command, profile, key string, err error) error {
	if err != nil {
		return err
	}
	return w.audit.append(operation.AuditLine{User: user, Command: command, Profile: profile, Key: key})
}

// auditedCount is audited for what was done to dead letters, also when it failed after some of
// them.
func (w *workspace) auditedCount(user, command, profile, key string, changed engine.Changed, err error) error {
	if changed.Count == 0 {
		return err
	}
	line := operation.AuditLine{User: user, Command: command, Profile: profile, Key: key, New: fmt.Sprint(changed.Count)}
	return errors.Join(err, w.audit.append(line))
}

// describeParked is a choice of parked changes as the audit log shows it: numbers, or a table, or up to which number.
func describeParked(r operation.ParkedRequest) string {
	if len(r.Seqs) == 0 {
		if r.UpTo > 0 {
			return strings.TrimSpace(fmt.Sprintf("%s up to %d", r.Table, r.UpTo))
		}
		return r.Table
	}
	numbers := make([]string, len(r.Seqs))
	for i, seq := range r.Seqs {
		numbers[i] = fmt.Sprint(seq)
	}
	return strings.Join(numbers, " ")
}

// describeFilter is a filter as the audit log shows it.
func describeFilter(f engine.Filter) string {
	if f.ID != "" {
		return f.ID
	}
	f.Profile = ""
	if f == (engine.Filter{}) {
		return ""
	}
	raw, err := json.Marshal(f)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

// adoptNow adopts without a running agent: the database is asked who it is.
func (w *workspace) adoptNow(ctx context.Context, user string) (operation.Adoption, error) {
	source, err := w.options.Source(w.config(), w.logger, "adopt")
	if err != nil {
		return operation.Adoption{}, err
	}
	defer source.Close()
	server, err := source.Identify(ctx)
	if err != nil {
		return operation.Adoption{}, err
	}
	found := operation.Identity{Lineage: server.Lineage, Hosts: source.Hosts(), Machine: w.machine()}
	pinned, known, err := loadIdentity(w.spool)
	if err != nil {
		return operation.Adoption{}, err
	}
	diffs := w.differences(pinned, found)
	if known && len(diffs) == 0 || !known {
		return operation.Adoption{}, errNothingToAdopt
	}
	return w.adopt(user, found, diffs)
}

var errNothingToAdopt = &control.Failure{
	Message: "there is nothing to adopt: the state directory belongs to this source and machine",
	Remedy:  "`rowhook status` shows what waits and why",
}

// body returns the whole body of an event for a profile, as long as the spool has it: as it was
// sent where that is kept, else rendered again.
func (w *workspace) body(ctx context.Context, r operation.BodyRequest) (operation.BodyAnswer, error) {
	answer, err := w.findBody(ctx, r)
	if r.Most > 0 && len(answer.Body) > r.Most {
		answer.Body, answer.Cut = answer.Body[:r.Most], true
	}
	return answer, err
}

func (w *workspace) findBody(ctx context.Context, r operation.BodyRequest) (operation.BodyAnswer, error) {
	if letters, err := w.engine.FailedShow(r.Event); err == nil {
		for _, letter := range letters {
			if letter.Profile == r.Profile && letter.Body != "" {
				return operation.BodyAnswer{Found: true, Body: []byte(letter.Body)}, nil
			}
		}
	}
	to := w.endpoints()[r.Profile]
	if to == nil {
		return operation.BodyAnswer{}, nil
	}
	if r.Count > 1 {
		return w.groupBody(ctx, r, to)
	}
	event, err := w.findEvent(ctx, r)
	if err != nil || event == nil {
		return operation.BodyAnswer{}, err
	}
	body, err := to.AppendBody(nil, event)
	return operation.BodyAnswer{Found: err == nil, Body: body}, err
}

// groupBody is body for a group, or tells whether an event is in it.
func (w *workspace) groupBody(ctx context.Context, r operation.BodyRequest, to *environment.Endpoint) (operation.BodyAnswer, error) {
	group, err := w.engine.GroupOf(ctx, &delivery.LogRecord{
		Profile: r.Profile, Event: r.Event, Unit: r.Unit, Count: r.Count, First: r.First, Last: r.Last,
	})
	if err != nil || group == nil {
		return operation.BodyAnswer{}, err
	}
	if r.Member != "" {
		for ev, err := range group.Events {
			if err != nil || ev.ID == r.Member {
				return operation.BodyAnswer{Found: err == nil, Member: err == nil}, err
			}
		}
		return operation.BodyAnswer{Found: true}, nil
	}
	formatter, groups := to.AsFormatter().(delivery.GroupFormatter)
	if !groups {
		return operation.BodyAnswer{}, nil
	}
	body := bodyUpTo{most: r.Most}
	if err = formatter.WriteGroup(&body, group); errors.Is(err, errEnough) {
		err = nil
	}
	return operation.BodyAnswer{Found: err == nil, Body: body.Bytes()}, err
}

// bodyUpTo keeps a body, and ends its making once there is more than is wanted.
type bodyUpTo struct {
	bytes.Buffer
	most int
}

var errEnough = errors.New("enough of the body")

// Write implements [io.Writer].
func (b *bodyUpTo) Write(p []byte) (int, error) {
	n, err := b.Buffer.Write(p)
	if err == nil && b.most > 0 && b.Len() > b.most {
		err = errEnough
	}
	return n, err
}

// findEvent reads the spool's log for an event of a profile; nil when it is not there any more.
func (w *workspace) findEvent(ctx context.Context, r operation.BodyRequest) (*delivery.Event, error) {
	id, err := w.spool.Register(r.Profile)
	if err != nil {
		return nil, err
	}
	var entries []delivery.Entry
	for next, end := delivery.Seq(0), false; !end; {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("look for event %s: %w", r.Event, err)
		}
		entries, next, end, err = w.spool.Read(id, next, entries[:0], 1000, 1<<20)
		if err != nil {
			return nil, fmt.Errorf("look for event %s: %w", r.Event, err)
		}
		for i := range entries {
			if e := &entries[i]; e.Event.ID == r.Event {
				event, err := e.Event.WithPayload(func(part delivery.Part, yield func([]byte) error) error {
					return w.spool.Payload(id, e.Seq, part, yield)
				})
				if err != nil {
					return nil, fmt.Errorf("read event %s: %w", r.Event, err)
				}
				return event, nil
			}
		}
	}
	return nil, nil
}
