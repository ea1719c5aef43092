package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/environment"
	"rowhook/cmd/rowhook/operation"
	"rowhook/cmd/rowhook/pipeline"
	"rowhook/cmd/rowhook/spelling"
	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// A reload reads the config file again, checks all of it, and only then has it take effect, as a
// whole: profiles in the engine, mapping and recipients in the pipeline between two transactions.
// Whatever is wrong, the agent goes on as before and says why.

// exitOfUsage is the exit code of a command line that makes no sense.
const exitOfUsage = 2

// reload reads the config again and has it take effect. One reload at a time; its result is kept
// for status.
func (a *Agent) reload(ctx context.Context, r operation.ReloadRequest) (status operation.ReloadStatus, err error) {
	for tries := 1; ; tries++ {
		status, err = a.reloadOnce(ctx, r)
		if !passing(err) || tries == reloadTries || capture.Sleep(ctx, rand.N(reloadPause)) != nil {
			return status, err
		}
	}
}

func (a *Agent) reloadOnce(ctx context.Context, r operation.ReloadRequest) (operation.ReloadStatus, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	return a.noteReload(r, func() (operation.ReloadStatus, error) {
		if a.shared() {
			return a.reloadShared(ctx, r)
		}
		ready, err := a.prepareReload(ctx, r)
		if err != nil {
			return operation.ReloadStatus{}, err
		}
		return ready.take(ctx)
	})
}

// noteReload does a reload and keeps what came of it. Called with reloading held.
func (a *Agent) noteReload(r operation.ReloadRequest, do func() (operation.ReloadStatus, error)) (operation.ReloadStatus, error) {
	status, err := do()
	if passing(err) { // it is tried again, or who asked is told
		return status, err
	}
	status.Time, status.OK, status.By = time.Now().UTC(), err == nil, r.By
	a.mu.Lock()
	if err != nil {
		status = operation.ReloadStatus{Time: status.Time, By: r.By, Restart: a.reloaded.Restart, Error: err.Error()}
	}
	a.reloaded = status
	a.mu.Unlock()
	if err != nil {
		words := []any{"by", r.By, "err", err}
		if remedy := capture.Remedy(err); remedy != "" {
			words = append(words, "remedy", remedy)
		}
		a.logger.Error("the config could not be reloaded: the one before stays in force", words...)
		return status, err
	}
	a.logger.Info("config reloaded", "by", r.By, "result", status.Words())
	if r.By != operation.ReloadByCommand {
		select {
		case a.compareNow <- nil:
		default:
		}
	}
	return status, a.audit.append(operation.AuditLine{User: r.User, Command: "reload", Key: "config", New: status.Words()})
}

// reloadFor is reload for somebody who waits for the answer, which tells how the config fits the
// database, too.
func (a *Agent) reloadFor(ctx context.Context, r operation.ReloadRequest) (operation.ReloadStatus, error) {
	status, err := a.reload(ctx, r)
	if err != nil {
		return status, err
	}
	result := a.compared(ctx)
	status.Findings = result.found
	if result.err != nil {
		status.Uncompared = result.err.Error()
	}
	return status, nil
}

// reloadPlan is a config that has been read and checked, and can take effect.
type reloadPlan struct {
	agent   *Agent
	next    *config.Config
	live    *live
	engine  *engine.Reload
	restart []string
	tables  []*capture.Table // those that the mapping looks rows up in; nil while this machine does not capture
}

// prepareReload does all of a reload that may fail. Nothing has changed when it returns.
func (a *Agent) prepareReload(ctx context.Context, r operation.ReloadRequest) (*reloadPlan, error) {
	before := a.live.Load()
	next, err := before.config.Reload()
	a.mu.Lock()
	a.read = next
	server := a.connection.Server
	a.mu.Unlock()
	if err != nil {
		return nil, err
	}
	restart, err := next.StartOnly(a.startedWith)
	if err := errors.Join(err, a.mayRemove(next, r.Removed)); err != nil {
		return nil, err
	}
	if server != nil {
		if err := mayPause(next, *server); err != nil {
			return nil, err
		}
	}
	endpoints, err := a.here.Endpoints(next)
	if err != nil {
		return nil, err
	}
	keepEndpoints(endpoints, next, before)
	profiles, err := environment.Profiles(next, endpoints)
	if err != nil {
		return nil, err
	}
	var tables []*capture.Table
	if a.term.Load() != nil {
		if tables, err = lookedUp(ctx, a.sourceNow(), next); err != nil {
			return nil, fmt.Errorf("read the looked-up tables: %w", err)
		}
	}
	plan, err := a.engine.Prepare(profiles, r.Removed)
	if err != nil {
		return nil, err
	}
	return &reloadPlan{
		agent: a, next: next, live: &live{config: next, endpoints: endpoints, router: plan.Router()}, engine: plan, restart: restart, tables: tables,
	}, nil
}

// take has the config take effect.
func (p *reloadPlan) take(ctx context.Context) (operation.ReloadStatus, error) {
	return p.exchange(ctx, p.agent.exchange, p.engine.Apply)
}

// exchange has the config take effect where by says, between two transactions; to puts the profiles to
// work.
func (p *reloadPlan) exchange(
	ctx context.Context, by func(context.Context, pipeline.Routing, func() error) error, to func() error,
) (operation.ReloadStatus, error) {
	a, next, before := p.agent, p.next, p.agent.config()
	codes, err := a.codes(next)
	if err != nil {
		return operation.ReloadStatus{}, err
	}
	routing := pipeline.Routing{
		Rules: next.Rules(), Router: p.live.router, Codes: codes, Bare: bare(next, codes), Rounded: next.Rounded(),
		Kept: keptWants(next.Rules()), Tables: p.tables,
	}
	err = by(ctx, routing, func() error {
		if err := to(); err != nil {
			return err
		}
		a.live.Store(p.live)
		a.mailer.Use(next.Alerts, next.Profiles)
		return nil
	})
	return operation.ReloadStatus{
		Added: p.engine.Added, Changed: p.engine.Changed, Removed: p.engine.Removed,
		Mapping: next.MapsOtherwise(before), Restart: p.restart,
	}, err
}

// exchange has a routing take over between two transactions, or at once where none come.
func (a *Agent) exchange(asked context.Context, to pipeline.Routing, apply func() error) error {
	t := a.term.Load()
	if t == nil {
		return apply()
	}
	ctx, cancel := context.WithCancel(asked)
	defer cancel()
	go func() {
		select {
		case <-t.over:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := t.pipe.Exchange(ctx, to, apply)
	select {
	case <-t.over:
		if errors.Is(err, context.Canceled) && asked.Err() == nil { // nothing has taken over
			return apply()
		}
	default:
	}
	return err
}

// codes are the profiles' codes by their numbers in the spool.
func (w *workspace) codes(c *config.Config) (map[delivery.ProfileID]string, error) {
	codes := make(map[delivery.ProfileID]string, len(c.Profiles))
	for i := range c.Profiles {
		code := c.Profiles[i].Code
		id, err := w.spool.Register(code)
		if err != nil {
			return nil, fmt.Errorf("register profile %s: %w", code, err)
		}
		codes[id] = code
	}
	return codes, nil
}

// bare are the profiles of which the delivery log keeps no row data, by their numbers in the spool.
func bare(c *config.Config, codes map[delivery.ProfileID]string) map[delivery.ProfileID]bool {
	profiles := map[delivery.ProfileID]bool{}
	for id, code := range codes {
		profiles[id] = c.Profile(code).BodyLimit() < 0
	}
	return profiles
}

// keepEndpoints has profiles that did not change keep what sends their requests.
func keepEndpoints(endpoints map[string]*environment.Endpoint, next *config.Config, before *live) {
	for i := range next.Profiles {
		p := &next.Profiles[i]
		if was := before.config.Profile(p.Code); was != nil && reflect.DeepEqual(was, p) {
			endpoints[p.Code] = before.endpoints[p.Code]
		}
	}
}

// mayRemove refuses words about profiles that nobody knows.
func (a *Agent) mayRemove(next *config.Config, removed map[string]engine.Removal) error {
	known, err := a.spool.Profiles()
	if err != nil {
		return fmt.Errorf("list the spool's profiles: %w", err)
	}
	var names []string
	for _, p := range known {
		names = append(names, p.Code)
	}
	for code := range removed {
		if !slices.Contains(names, code) && next.Profile(code) == nil {
			return &control.Failure{
				Message: fmt.Sprintf("--removed names %q, and nothing is known of such a profile%s", code, spelling.DidYouMean(code, names)),
				Remedy:  "`rowhook status` shows removed profiles that the spool still holds something for", Exit: exitOfUsage,
			}
		}
	}
	return nil
}

// Hangups takes the signals that ask for a reload.
func (a *Agent) Hangups() chan<- os.Signal { return a.hangups }

// hangup reloads on SIGHUP.
func (a *Agent) hangup(ctx context.Context) error {
	for {
		select {
		case <-a.hangups:
			_, _ = a.reload(ctx, operation.ReloadRequest{User: directories.User(), By: operation.ReloadBySignal}) // told by itself
		case <-ctx.Done():
			return nil
		}
	}
}
