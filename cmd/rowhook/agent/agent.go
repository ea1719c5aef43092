package agent

import (
	"cmp"
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/console"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery/spool"
)

// Agent is everything that `rowhook run` runs: the source pushes into the pipeline, the pipeline
// fills the spool, the engine empties it.
type Agent struct {
	*workspace
	start      Start
	source     Source
	term       atomic.Pointer[term] // nil while this machine does not capture
	suspension suspension
	adopted    chan struct{} // a person adopted the source's identity
	began      time.Time
	// reloading is held by a reload under way; hangups asks for one, compareNow for a look at the
	// tables, whose result who wants it is told.
	reloading   sync.Mutex
	hangups     chan os.Signal
	compareNow  chan chan<- comparison
	quietPeriod time.Duration // how long changed files are left alone
	// spoolFailed says that calls into the spool need not return any more.
	spoolFailed atomic.Bool

	mu         sync.Mutex
	connection connection
	findings   []capture.Finding
	reloaded   operation.ReloadStatus
	sampled    sourceSample
	ended      error // why the stream ended last, since something came of it
	// undescribed is why the stream waits for what looked-up tables look like; nil while it does not.
	undescribed error
	// startedWith is the config of the start: what a reload cannot change is as it was there.
	startedWith *config.Config
	read        *config.Config // the one that was read last, whether it could be used or not
	growth      spoolGrowth
	yielding    context.CancelCauseFunc // ends a reload that waits for other machines; nil while none does
	agreedOn    string                  // digest of the config that other machines were told to agree with
	agreedAt    time.Time

	history *console.History // what the console plots
	noted   time.Time        // when that was added to; sample's own
}

// Start says where the stream starts.
type Start struct {
	Position  string // slot, now or a position: where to begin when nothing is stored
	AcceptGap bool   // go on although changes behind the stored position are lost
}

// connection is how the connection to the source stands, for status.
type connection struct {
	State  string // connecting, streaming, paused, waiting for adoption
	Since  time.Time
	Server *capture.Server
	Found  operation.Identity
	Diffs  []operation.Difference
	Err    error // why there is no stream; nil while there is one
}

// The keys of the spool's small values that tell where the stored position belongs.
const (
	metaTimeline  = "timeline"  // of the server when the position was stored
	metaAbandoned = "abandoned" // a stored position of another lineage, given up by adoption
)

// errForeign stops capture until a person has adopted the server.
var errForeign = errors.New("the server is not the one this state directory belongs to")

// adoptionInterval is how often a foreign server is looked at again: it may have been
// a mistake in DNS that is soon corrected.
const adoptionInterval = 30 * time.Second

// New opens the state directory and builds the rooms. The caller closes it. A command that has
// the directory open when the agent starts is waited for; another agent is not.
func New(c *config.Config, start Start, options Options) (*Agent, error) {
	if err := directories.RefuseRoot(c.State, os.Geteuid()); err != nil {
		return nil, err
	}
	w, err := onceFree((*spool.LockedError).Passing, func() (*workspace, error) { return openWorkspace(c, options, false) })
	if err != nil {
		return nil, err
	}
	a := &Agent{
		workspace: w, start: start, adopted: make(chan struct{}, 1), began: time.Now(),
		hangups: make(chan os.Signal, 1), compareNow: make(chan chan<- comparison, 1), quietPeriod: cmp.Or(options.QuietPeriod, defaultQuietPeriod),
		history: console.NewHistory(),
	}
	a.read, a.startedWith = c, c
	a.reloaded = operation.ReloadStatus{Time: a.began.UTC(), OK: true, By: operation.ReloadByStart}
	if err := a.build(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return a, nil
}

func (a *Agent) build() error {
	if !a.shared() {
		if err := a.retireRemoved(); err != nil {
			return err
		}
	}
	name := "standby"
	if !a.shared() {
		var err error
		if name, err = agentID(a.spool); err != nil {
			return err
		}
	}
	var err error
	if a.source, err = a.options.Source(a.config(), a.logger, name); err != nil {
		return err
	}
	a.name = a.sourceName()
	a.suspension.engine = a.engine
	if a.shared() {
		a.connection = connection{State: stateStandby, Since: a.began}
		a.suspension.set(suspendStart, "the database has not said yet which environment this is")
		return nil
	}
	a.suspension.set(suspendStart, "the stream has not begun yet")
	return a.beginTerm()
}

// sourceName is the source's name in payloads.
func (a *Agent) sourceName() string {
	if a.config().Source.Name != "" {
		return a.config().Source.Name
	}
	return a.source.Database()
}

// Run works until ctx ends or something fails that cannot be waited for.
func (a *Agent) Run(ctx context.Context) error {
	server := &control.Server{StateDir: a.config().State, Operations: a.operations(), Logger: a.logger, ExitCode: a.options.ExitCode}
	listener, err := server.Listen()
	if err != nil {
		return err
	}
	admin, err := listenAdmin(a.config())
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := ctx
	if a.shared() { // what it has in the cluster is given up first
		var stop context.CancelFunc
		ctx, stop = context.WithCancel(context.WithoutCancel(ctx))
		defer stop()
		context.AfterFunc(ended, func() {
			defer stop()
			a.leave()
		})
	}

	var actors sync.WaitGroup
	act := func(what func() error) {
		actors.Go(func() {
			if err := what(); err != nil {
				cancel(err)
			}
		})
	}
	act(func() error { return a.engine.Run(ctx) })
	act(func() error { return server.Serve(ctx, listener) })
	act(func() error { return a.watch(ctx) })
	act(func() error { return a.watchRoom(ctx) })
	act(func() error { return a.mailer.Run(ctx) })
	act(func() error { return a.spoolFailure(ctx) })
	act(func() error { return a.hangup(ctx) })
	act(func() error { return a.serveAdmin(ctx, admin) })
	act(func() error { return a.sample(ctx) })
	act(func() error { return a.watchFiles(ctx) })
	if a.shared() {
		a.node.replica.Answer(a.answer(ctx, a.operationsHere()))
		a.tellProfiles()
		act(func() error { return a.arrival(ctx) })
		act(func() error { return a.followTurns(ctx) })
		act(func() error { return a.node.replica.Run(ctx, &actor{Agent: a, ctx: ctx, failed: cancel}) })
	} else {
		a.term.Load().run(ctx, act)
	}
	<-ctx.Done()
	cause := context.Cause(ended)
	a.logger.Info("stopping", "grace", a.config().ShutdownGrace)
	a.await(&actors)
	if errors.Is(cause, context.Canceled) {
		return nil
	}
	return cause
}

// await waits for the actors, but not for ever: calls into a failed spool need not return.
func (a *Agent) await(actors *sync.WaitGroup) {
	stopped := make(chan struct{})
	go func() {
		actors.Wait()
		close(stopped)
	}()
	patience := a.config().ShutdownGrace + stopMargin
	if a.spoolFailed.Load() {
		patience = failedMargin
	}
	select {
	case <-stopped:
	case <-time.After(patience):
		a.logger.Error("not everything has stopped in time: ending anyway; what was in flight is sent again")
	}
}

// stopMargin is what stopping may take beyond shutdown_grace.
const stopMargin = 10 * time.Second

// failedMargin is what stopping may take after the spool has failed: nothing can be stored any
// more.
const failedMargin = 2 * time.Second

// spoolFailure ends the agent when the spool has failed: a failed fsync is not retried.
func (a *Agent) spoolFailure(ctx context.Context) error {
	select {
	case err := <-a.spool.Err():
		a.spoolFailed.Store(true)
		return err
	case <-ctx.Done():
		return nil
	}
}
