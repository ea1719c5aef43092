package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery/engine"
)

// In a cluster each operation is done by the machine whose matter it is, whichever was asked: what is
// about the source by the one that captures, what is about a profile by the one that delivers it, and
// lists over all profiles by all of them.

// errNoCapture is why nobody can do what needs the stream.
var errNoCapture = &capture.OperatorError{
	Err:    errors.New("no machine of the cluster captures at the moment"),
	Remedy: "`rowhook status` shows the machines; try again when one has taken over, which takes seconds",
}

// sourceOperations are those of the machine that captures.
var sourceOperations = []string{
	"source/adopt", "parked/discard", "parked/retry", "explain",
	"backfill", "backfill/plan", "backfill/list", "backfill/pause", "backfill/resume", "backfill/cancel",
}

// ownerOperations are those of the machine that delivers the profile.
var ownerOperations = []string{
	"queue/retry-now", "queue/skip", "replay", "replay/stop", "profile/pause", "profile/resume", "profile/activate", "profile/test",
}

// listOperations are those of all machines that deliver, where no profile is named: how two answers
// become one.
var listOperations = map[string]func(a, b json.RawMessage) (any, error){
	"queue/list":      join(joinItems),
	"failed/list":     join(joinItems),
	"failed/show":     join(func(a, b []engine.Letter) []engine.Letter { return append(a, b...) }),
	"queue/retry-all": join(func(a, b []engine.Hastened) []engine.Hastened { return append(a, b...) }),
	"failed/retry":    join(joinChanged),
	"failed/discard":  join(joinChanged),
}

func join[T any](of func(a, b T) T) func(a, b json.RawMessage) (any, error) {
	return func(a, b json.RawMessage) (any, error) {
		var x, y T
		if err := errors.Join(json.Unmarshal(a, &x), json.Unmarshal(b, &y)); err != nil {
			return nil, fmt.Errorf("read the machines' answers: %w", err)
		}
		return of(x, y), nil
	}
}

func joinItems(a, b engine.Items) engine.Items {
	return engine.Items{Items: append(a.Items, b.Items...), More: a.More || b.More}
}

func joinChanged(a, b engine.Changed) engine.Changed {
	return engine.Changed{Count: a.Count + b.Count, More: a.More || b.More}
}

// about is what requests say of whom they are about.
type about struct {
	Profile string `json:"profile"`
	Filter  struct {
		Profile string `json:"profile"`
		Limit   int    `json:"limit"`
	} `json:"filter"`
}

func (a *about) profile() string { return cmp.Or(a.Profile, a.Filter.Profile) }

// dispatched are the operations as whoever asks this machine has them done.
func (a *Agent) dispatched(here map[string]control.Operation) map[string]control.Operation {
	all := maps.Clone(here)
	for _, name := range sourceOperations {
		all[name] = func(ctx context.Context, request json.RawMessage) (any, error) {
			captures := a.node.replica.View().Capture.Owner
			if captures == "" {
				return nil, errNoCapture
			}
			return a.at(ctx, captures, name, request, here[name])
		}
	}
	for _, name := range ownerOperations {
		all[name] = func(ctx context.Context, request json.RawMessage) (any, error) {
			var of about
			if err := json.Unmarshal(request, &of); err != nil {
				return nil, fmt.Errorf("read request: %w", err)
			}
			return a.atOwner(ctx, of.profile(), name, request, here[name])
		}
	}
	for name, join := range listOperations {
		all[name] = func(ctx context.Context, request json.RawMessage) (any, error) {
			var of about
			if err := json.Unmarshal(request, &of); err != nil {
				return nil, fmt.Errorf("read request: %w", err)
			}
			if of.profile() != "" {
				return a.atOwner(ctx, of.profile(), name, request, here[name])
			}
			return a.atAll(ctx, name, request, here[name], join)
		}
	}
	all["status"] = control.Typed(func(ctx context.Context, _ operation.None) (*operation.StatusReport, error) {
		return a.status(ctx)
	})
	all["profile/list"] = control.Typed(func(ctx context.Context, _ operation.None) ([]operation.ProfileListing, error) {
		return a.listAllProfiles(ctx)
	})
	all["handover"] = func(ctx context.Context, request json.RawMessage) (any, error) {
		captures := a.node.replica.View().Capture.Owner
		if captures == "" {
			return nil, errNoCapture
		}
		return a.at(ctx, captures, "handover", request, here["handover"])
	}
	for _, name := range []string{"reload/check", "reload/take"} { // for machines only
		delete(all, name)
	}
	return all
}

// atOwner has an operation done by the machine that delivers a profile. What nobody delivers is
// nobody's matter: this machine says what there is to say.
func (a *Agent) atOwner(ctx context.Context, profile, name string, request json.RawMessage, here control.Operation) (any, error) {
	if owner := a.node.replica.View().Profiles[profile].Owner; owner != "" {
		return a.at(ctx, owner, name, request, here)
	}
	if a.config().Profile(profile) != nil {
		return nil, &control.Failure{
			Message: fmt.Sprintf("no machine of the cluster delivers profile %s at the moment", profile),
			Remedy:  "`rowhook status` shows the machines; try again when one has taken over, which takes seconds",
		}
	}
	return here(ctx, request)
}

// at has an operation done by a machine.
func (a *Agent) at(ctx context.Context, machine, name string, request json.RawMessage, here control.Operation) (any, error) {
	if machine == a.node.replica.View().Machine {
		return here(ctx, request)
	}
	return a.ask(ctx, machine, name, request)
}

// reply is how an answer travels between machines.
type reply struct {
	Answer  json.RawMessage  `json:"answer,omitempty"`
	Failure *control.Failure `json:"failure,omitempty"`
}

// ask has another machine do an operation.
func (a *Agent) ask(ctx context.Context, machine, name string, request json.RawMessage) (json.RawMessage, error) {
	raw, err := a.node.replica.Ask(ctx, machine, name, request)
	if err != nil {
		return nil, &capture.OperatorError{
			Err:    fmt.Errorf("ask machine %s: %w", machine, err),
			Remedy: "it may have done what it was asked: look with `rowhook status`, then try again",
		}
	}
	var got reply
	if err := json.Unmarshal(raw, &got); err != nil {
		return nil, fmt.Errorf("read the answer of machine %s: %w", machine, err)
	}
	if got.Failure != nil {
		return nil, got.Failure
	}
	return got.Answer, nil
}

// answer does an operation for another machine.
func (a *Agent) answer(ctx context.Context, here map[string]control.Operation) func(name string, request []byte) ([]byte, error) {
	return func(name string, request []byte) ([]byte, error) {
		var got reply
		do, known := here[name]
		if !known {
			got.Failure = &control.Failure{Message: "unknown operation", Remedy: "the machines may run different versions of rowhook"}
			return json.Marshal(got)
		}
		done, err := do(ctx, request)
		if err == nil {
			got.Answer, err = json.Marshal(done)
		}
		if err != nil {
			got.Answer, got.Failure = nil, a.failure(err)
		}
		return json.Marshal(got)
	}
}

// failure is an error as another machine gets to know it.
func (a *Agent) failure(err error) *control.Failure {
	f := &control.Failure{Message: err.Error(), Remedy: capture.Remedy(err)}
	if a.options.ExitCode != nil {
		f.Exit = a.options.ExitCode(err)
	}
	return f
}

// atAll has an operation done by all machines that deliver, and joins what they say. Where none of
// them knows what was asked for, the first one's words are the answer.
func (a *Agent) atAll(ctx context.Context, name string, request json.RawMessage, here control.Operation, join func(a, b json.RawMessage) (any, error)) (any, error) {
	var whole json.RawMessage
	var refused error
	for _, one := range a.everywhere(ctx, name, request, here) {
		switch {
		case one.err != nil:
			refused = cmp.Or(refused, one.err)
		case whole == nil:
			whole = one.answer
		default:
			joined, err := join(whole, one.answer)
			if err != nil {
				return nil, err
			}
			if whole, err = json.Marshal(joined); err != nil {
				return nil, fmt.Errorf("join the machines' answers: %w", err)
			}
		}
	}
	var failed *control.Failure
	if whole != nil && (refused == nil || errors.As(refused, &failed)) {
		return whole, nil
	}
	return nil, refused
}

// answered is what one machine said.
type answered struct {
	machine string
	answer  json.RawMessage
	err     error
}

// everywhere has an operation done by all machines that are there, at the same time. This machine's
// answer comes first, and the others' by name.
func (a *Agent) everywhere(ctx context.Context, name string, request json.RawMessage, here control.Operation) []answered {
	view := a.node.replica.View()
	all := []answered{{machine: view.Machine}}
	for _, m := range view.Machines {
		if m.Alive && m.Name != view.Machine {
			all = append(all, answered{machine: m.Name})
		}
	}
	slices.SortFunc(all[1:], func(x, y answered) int { return cmp.Compare(x.machine, y.machine) })
	var asked sync.WaitGroup
	for i := range all[1:] {
		one := &all[1+i]
		asked.Go(func() { one.answer, one.err = a.ask(ctx, one.machine, name, request) })
	}
	done, err := here(ctx, request)
	if err == nil {
		all[0].answer, err = json.Marshal(done)
	}
	if err != nil {
		all[0].err = a.failure(err)
	}
	asked.Wait()
	return all
}

// askPatience is how long status waits for another machine.
const askPatience = 5 * time.Second

// statuses are the reports of the other machines that are there; those that did not answer are nil.
func (a *Agent) statuses(ctx context.Context) map[string]*operation.StatusReport {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	reports := map[string]*operation.StatusReport{}
	nothing := func(context.Context, json.RawMessage) (any, error) { return nil, nil }
	for _, one := range a.everywhere(ctx, "status", json.RawMessage("{}"), nothing)[1:] {
		report := &operation.StatusReport{}
		if one.err != nil || json.Unmarshal(one.answer, report) != nil {
			report = nil
		}
		reports[one.machine] = report
	}
	return reports
}
