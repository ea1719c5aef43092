package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"rowhook/capture"
	"rowhook/capture/postgres"
	"rowhook/delivery"
	"rowhook/delivery/spool"
	"rowhook/mapping"
)

// agent is everything that `run` runs: the source pushes into the pipeline, the
// pipeline fills the spool, the engine empties it.
//
// The state directory belongs to one agent, one source and one machine. Until the
// first connection has shown that they are the ones it is pinned to, deliveries wait.
type agent struct {
	*station
	start   startFlags
	source  *postgres.Source
	pipe    *pipeline
	holds   holds
	adopted chan struct{} // a person adopted the source's identity
	began   time.Time

	mu       sync.Mutex
	link     sourceLink
	findings []capture.Finding
	growth   spoolGrowth
}

// startFlags are what `run` was told about the stream's start.
type startFlags struct {
	start     string
	acceptGap bool
}

// sourceLink is how the connection to the source stands, for status.
type sourceLink struct {
	State  string // connecting, streaming, waiting for adoption
	Since  time.Time
	Server *postgres.Server
	Found  identity
	Diffs  []difference
}

// The keys of the spool's small values that tell where the stored position belongs.
const (
	metaTimeline  = "timeline"  // of the server when the position was stored
	metaAbandoned = "abandoned" // a stored position of another lineage, given up by adoption
)

// errForeign stops capture until a person has adopted the server.
var errForeign = errors.New("the server is not the one this state directory belongs to")

// adoptionInterval is how often a foreign server is looked at again: it may have been
// a mistake in DNS that is mended by itself.
const adoptionInterval = 30 * time.Second

// newAgent opens the state directory and builds the rooms. The caller closes it.
func newAgent(c *Config, flags startFlags, logger *slog.Logger) (*agent, error) {
	s, err := openStation(c, logger)
	if err != nil {
		return nil, err
	}
	a := &agent{station: s, start: flags, adopted: make(chan struct{}, 1), began: time.Now()}
	if err := a.build(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return a, nil
}

func (a *agent) build() error {
	name, err := agentID(a.spool)
	if err != nil {
		return err
	}
	if a.source, err = a.config.newSource(a.logger, name); err != nil {
		return err
	}
	if a.pipe, err = newPipeline(a.station); err != nil {
		return err
	}
	a.holds.engine = a.engine
	a.link = sourceLink{State: "connecting", Since: a.began}
	a.holds.set(holdStart, "the source has not been identified yet")
	return nil
}

// sourceName is the source's name in payloads.
func (a *agent) sourceName() string {
	if a.config.Source.Name != "" {
		return a.config.Source.Name
	}
	return a.source.Database()
}

// run works until ctx ends or something fails that cannot be waited for.
func (a *agent) run(ctx context.Context) error {
	server := &controlServer{stateDir: a.config.State, operations: a.operations(), logger: a.logger}
	listener, err := server.listen()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	storing, stopStoring := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStoring()

	var actors sync.WaitGroup
	act := func(what func() error) {
		actors.Go(func() {
			if err := what(); err != nil {
				cancel(err)
			}
		})
	}
	act(func() error { return a.engine.Run(ctx) })
	act(func() error { return server.serve(ctx, listener) })
	act(func() error { return a.watch(ctx) })
	act(func() error { return a.spoolFailure(ctx) })
	act(func() error {
		// The appender outlives the source: the last batch is stored and confirmed after reading has stopped.
		defer stopStoring()
		return a.capture(ctx)
	})
	act(func() error { return a.pipe.run(storing) })
	<-ctx.Done()
	cause := context.Cause(ctx)
	a.logger.Info("stopping", "grace", a.config.ShutdownGrace)
	actors.Wait()
	if errors.Is(cause, context.Canceled) {
		return nil
	}
	return cause
}

// spoolFailure ends the agent when the spool has failed: a failed fsync is not retried.
func (a *agent) spoolFailure(ctx context.Context) error {
	select {
	case err := <-a.spool.Err():
		return err
	case <-ctx.Done():
		return nil
	}
}

// capture streams until ctx ends. A server of another lineage is waited for.
func (a *agent) capture(ctx context.Context) error {
	for {
		options, err := a.startOptions(ctx)
		if err != nil {
			return err
		}
		err = a.source.Run(ctx, options, a.pipe)
		if !errors.Is(err, errForeign) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-a.adopted:
			// What was abandoned with the adoption has been noted by it.
		case <-time.After(adoptionInterval):
		}
	}
}

func (a *agent) startOptions(ctx context.Context) (postgres.StartOptions, error) {
	stored := capture.Position(a.spool.Position())
	if stored == a.pipe.abandonedPosition() {
		stored = ""
	}
	timeline, err := a.timeline()
	if err != nil {
		return postgres.StartOptions{}, err
	}
	return postgres.StartOptions{
		Stored: stored, Timeline: timeline, Start: a.start.start, AcceptGap: a.start.acceptGap,
		OnConnect: a.connected, OnStarted: a.started,
		Final: func() capture.Position {
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.config.ShutdownGrace)
			defer cancel()
			return a.pipe.flush(grace)
		},
	}, nil
}

func (a *agent) timeline() (int32, error) {
	raw, err := a.spool.Meta(metaTimeline)
	if err != nil || raw == nil {
		return 0, err
	}
	var timeline int32
	if _, err := fmt.Sscan(string(raw), &timeline); err != nil {
		return 0, fmt.Errorf("read the stored timeline: %w", err)
	}
	return timeline, nil
}

// connected looks at the server before anything is read from it.
func (a *agent) connected(server postgres.Server) error {
	found := identity{Lineage: server.SystemID, Hosts: a.source.Hosts(), Machine: thisMachine()}
	pinned, known, err := loadIdentity(a.spool)
	if err != nil {
		return err
	}
	if !known {
		if err := saveIdentity(a.spool, found); err != nil {
			return err
		}
		pinned = found
	}
	diffs := pinned.compare(found, a.config.Source.Servers)
	a.setLink("connecting", &server, found, diffs)
	if a.config.sandboxed(&server) {
		a.holds.set(holdSandbox, "the environment is a sandbox: production receivers get nothing from it")
	} else {
		a.holds.clear(holdSandbox)
	}
	a.holds.clear(holdStart)
	if len(diffs) == 0 {
		a.holds.clear(holdIdentity)
		a.pipe.identify(mapping.Identity{Source: a.sourceName(), Lineage: found.Lineage})
		return nil
	}
	a.holds.set(holdIdentity, describeDifferences(diffs))
	for _, d := range diffs {
		if d.What == "lineage" {
			a.setLink("waiting for adoption", &server, found, diffs)
			a.logger.Error("the server is not the one this state directory belongs to; nothing is read from it",
				"pinned", d.Pinned, "found", d.Found, "remedy", adoptRemedy)
			return errForeign
		}
	}
	a.pipe.identify(mapping.Identity{Source: a.sourceName(), Lineage: found.Lineage})
	return nil
}

// started notes where the stream begins, and tells it where that is news.
func (a *agent) started(s postgres.Started) {
	a.mu.Lock()
	a.link.State, a.link.Since = "streaming", time.Now()
	a.mu.Unlock()
	if err := a.spool.SetMeta(metaTimeline, fmt.Append(nil, s.Server.Timeline)); err != nil {
		a.pipe.fail(fmt.Errorf("store the timeline: %w", err))
		return
	}
	switch {
	case s.GapFrom != "" || s.GapTo != "":
		a.logger.Warn("stream gap accepted: changes committed between the two positions may be missing", "from", s.GapFrom, "to", s.GapTo)
		if err := a.audit.append(auditLine{User: osUser(), Command: "run --accept-gap", Key: "gap", Old: string(s.GapFrom), New: string(s.GapTo)}); err != nil {
			a.pipe.fail(err)
			return
		}
		a.pipe.gap(a.sourceName(), s.GapFrom, s.GapTo)
	case s.Created:
		a.logger.Info("slot created: changes committed from now on are delivered", "slot", a.config.Source.Slot, "position", s.Position)
	case !s.Resumed:
		a.logger.Info("first start: changes since the slot's position are delivered", "slot", a.config.Source.Slot, "position", s.Position)
	}
}

func (a *agent) setLink(state string, server *postgres.Server, found identity, diffs []difference) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.link.State != state {
		a.link.Since = time.Now()
	}
	a.link.State, a.link.Server, a.link.Found, a.link.Diffs = state, server, found, diffs
}

// adopt pins the identity that was found last, on a person's word.
func (a *agent) adopt(user string) (adoption, error) {
	a.mu.Lock()
	found, diffs := a.link.Found, a.link.Diffs
	a.mu.Unlock()
	if len(diffs) == 0 {
		return adoption{}, &capture.OperatorError{Err: errors.New("there is nothing to adopt"), Remedy: "`rowhook status` shows what waits and why"}
	}
	done, err := a.station.adopt(user, found, diffs)
	if err != nil {
		return adoption{}, err
	}
	if done.Abandoned != "" {
		a.pipe.abandon(capture.Position(done.Abandoned))
	}
	a.mu.Lock()
	a.link.Diffs = nil
	a.mu.Unlock()
	a.holds.clear(holdIdentity)
	select {
	case a.adopted <- struct{}{}:
	default:
	}
	return done, nil
}

// The reasons for which all deliveries wait, in the order they are told.
const (
	holdStart = iota
	holdIdentity
	holdSandbox
	holdKinds
)

// holds keeps the reasons for which all deliveries wait: they go on when the last is gone.
type holds struct {
	engine  *delivery.Engine
	mu      sync.Mutex
	reasons [holdKinds]string
	told    string // what the engine was told last
}

func (h *holds) set(kind int, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reasons[kind] = reason
	h.apply()
}

func (h *holds) clear(kind int) { h.set(kind, "") }

// apply is called with mu held.
func (h *holds) apply() {
	first := cmp.Or(h.reasons[:]...)
	if first == h.told {
		return
	}
	h.told = first
	if first == "" {
		h.engine.Release()
		return
	}
	h.engine.Hold(first)
}

// station is the state directory with the rooms that need no database: what commands
// work on, with or without a running agent.
type station struct {
	config *Config
	logger *slog.Logger
	spool  *spool.Spool
	log    *delivery.Log
	rules  *mapping.Rules
	engine *delivery.Engine
	audit  *auditLog
	opened chan struct{} // closed when the rooms are open, or one could not be
}

// openStation opens the state directory. The caller closes it.
func openStation(c *Config, logger *slog.Logger) (*station, error) {
	if err := os.MkdirAll(c.State, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	s := &station{config: c, logger: logger, audit: newAuditLog(c.State), opened: make(chan struct{})}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *station) open() (err error) {
	defer close(s.opened)
	s.rules = s.config.rules
	profiles, err := s.config.profiles()
	if err != nil {
		return err
	}
	// The spool first: its lock says who else works on this state directory.
	options := s.config.spoolOptions(s.logger)
	options.Expired = s.expired
	if s.spool, err = spool.Open(filepath.Join(s.config.State, "spool"), options); err != nil {
		return err
	}
	if s.log, err = delivery.OpenLog(s.config.logOptions(s.logger)); err != nil {
		return err
	}
	s.engine, err = delivery.New(s.spool, s.log, profiles, delivery.Options{
		Logger: s.logger, Grace: s.config.ShutdownGrace,
	})
	return err
}

// close closes what open has opened, the log last: it takes the last lines.
func (s *station) close() error {
	var errs []error
	if s.spool != nil {
		errs = append(errs, s.spool.Close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	return errors.Join(errs...)
}
