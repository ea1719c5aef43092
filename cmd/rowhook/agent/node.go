package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/cluster"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/spool"
)

// node is this machine as one of a cluster: its spool is a replica.
type node struct {
	stream  *cluster.Stream
	replica *cluster.Replica
	lease   time.Duration
	telling sync.Mutex // see tellProfiles
}

// joinPatience is how long a start waits for the cluster's servers before it fails.
const joinPatience = time.Minute

// spoolDir is where a config's spool is.
func spoolDir(c *config.Config) string { return filepath.Join(c.State, "spool") }

// meet connects with the cluster's stream and makes the spool's directory one that can follow it.
func (w *workspace) meet(c *config.Config) (*node, error) {
	ctx, cancel := context.WithTimeout(context.Background(), joinPatience)
	defer cancel()
	stream, err := cluster.Connect(ctx, c.Cluster, cluster.Options{Logger: w.logger, Version: w.options.Version})
	if err != nil {
		return nil, fmt.Errorf("meet the cluster: %w", err)
	}
	if err := stream.Prepare(ctx, spoolDir(c)); err != nil {
		stream.Close()
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	return &node{stream: stream, lease: c.Cluster.Lease}, nil
}

// follow makes the spool a replica. What beforeProgress makes durable is so before other machines hear
// of progress.
func (n *node) follow(c *config.Config, s *spool.Spool, beforeProgress func()) (err error) {
	n.replica, err = cluster.NewReplica(n.stream, s, cluster.Self{
		Config: c.Digest(), Address: c.Admin.Listen, BeforeProgress: beforeProgress,
	})
	return err
}

// shared reports whether several machines work on what is in the state directory.
func (w *workspace) shared() bool { return w.node != nil }

// agreed reports whether all machines that are there have the config by which is captured.
func (n *node) agreed() bool {
	last, taken := n.replica.LastTurn()
	return taken && !slices.ContainsFunc(n.replica.View().Machines, func(m cluster.MachineView) bool { return m.Alive && m.Config != last.Config })
}

// store is where the engine has its state.
func (w *workspace) store() delivery.Store {
	if w.node != nil {
		return w.node.replica
	}
	return w.spool
}

// machine is this machine in the identity; empty in a cluster, whose spools pass from machine to
// machine.
func (w *workspace) machine() string {
	if w.shared() {
		return ""
	}
	return thisMachine()
}

// differences lists where found disagrees with what the state directory is pinned to. The machines
// of a cluster may reach the same server by names of their own.
func (w *workspace) differences(pinned, found operation.Identity) []operation.Difference {
	diffs := compareIdentity(pinned, found, w.config().Source.Servers)
	if w.shared() {
		diffs = slices.DeleteFunc(diffs, func(d operation.Difference) bool { return d.What != "lineage" })
	}
	return diffs
}

// marks is the name that marks connections to the source. The machines of a cluster have the same,
// so that one which takes over knows those that the one before has left.
func (n *node) marks() string { return "cluster-" + n.replica.Lineage() }

// actor does what the cluster wants of this machine.
type actor struct {
	*Agent
	ctx    context.Context // the agent's work
	failed func(error)     // ends it

	mu    sync.Mutex
	stop  context.CancelFunc // of the term; nil while there is none
	ended chan struct{}      // closed when it has
}

var _ cluster.Actor = (*actor)(nil)

// BeginCapture implements [cluster.Actor].
func (r *actor) BeginCapture(epoch uint64) {
	r.EndCapture()
	r.yield()
	ctx, stop := context.WithCancel(r.ctx)
	ended := make(chan struct{})
	r.mu.Lock()
	r.stop, r.ended = stop, ended
	r.mu.Unlock()
	r.logger.Info("this machine captures from now on", "epoch", epoch)
	go func() {
		defer close(ended)
		defer stop()
		if err := r.captureUntil(ctx); err != nil && !errors.Is(err, cluster.ErrTermOver) && r.ctx.Err() == nil {
			r.failed(err)
		}
	}()
}

// EndCapture implements [cluster.Actor]. It returns when the source and the pipeline have stopped.
func (r *actor) EndCapture() {
	r.mu.Lock()
	stop, ended := r.stop, r.ended
	r.stop, r.ended = nil, nil
	r.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	<-ended
	r.logger.Info("this machine captures no more")
}

// captureUntil is a term, until ctx ends or the term is over.
func (a *Agent) captureUntil(ctx context.Context) error {
	a.reloading.Lock() // the config that it begins with is the one that the next reload changes
	err := a.beginTerm()
	a.reloading.Unlock()
	if err != nil {
		return err
	}
	t := a.term.Load()
	select {
	case a.compareNow <- nil: // the stream waits for the description of looked-up tables
	default:
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var actors sync.WaitGroup
	t.run(ctx, func(what func() error) {
		actors.Go(func() {
			if err := what(); err != nil {
				cancel(err)
			}
		})
	})
	<-ctx.Done()
	actors.Wait()
	a.endTerm(t)
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// endTerm has the agent stand by.
func (a *Agent) endTerm(t *term) {
	close(t.over)
	a.term.Store(nil)
	t.from.Close()
	a.atWork.Store(nil)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.connection.State, a.connection.Since, a.connection.Err = stateStandby, time.Now(), nil
	a.sampled, a.ended, a.undescribed = sourceSample{}, nil, nil
}

// stateStandby is how the source is while another machine captures.
const stateStandby = "standby"

// Own implements [cluster.Actor].
func (r *actor) Own(profile string, epoch uint64) {
	if err := r.engine.Own(profile, epoch); err != nil {
		r.logger.Error("a profile that fell to this machine is not delivered", "profile", profile, "epoch", epoch, "err", err)
		return
	}
	r.logger.Info("this machine delivers a profile from now on", "profile", profile, "epoch", epoch)
}

// Release implements [cluster.Actor].
func (r *actor) Release(profile string) {
	if err := r.engine.Release(r.ctx, profile); err != nil {
		r.logger.Warn("a profile is given to another machine before all of its requests are at an end", "profile", profile, "err", err)
		return
	}
	r.logger.Info("this machine delivers a profile no more", "profile", profile)
}

// Disown implements [cluster.Actor].
func (r *actor) Disown(profile string) {
	r.engine.Disown(profile)
	r.logger.Warn("another machine delivers a profile from now on", "profile", profile)
}

// Retired implements [cluster.Actor].
func (r *actor) Retired(profile string) {
	r.engine.Retired(profile)
	r.tellProfiles()
}

// tellProfiles tells the replica which profiles there are to be owned.
func (a *Agent) tellProfiles() {
	a.node.telling.Lock() // what is told last is what was found last
	defer a.node.telling.Unlock()
	a.node.replica.Profiles(a.engine.Profiles())
}

// arrival finds out which environment this is, while this machine does not capture and deliveries
// wait for it: at the start, and where a term has ended that had not found out, or had found another
// one. The database is asked until it answers, and again while it is not the cluster's.
func (a *Agent) arrival(ctx context.Context) error {
	var failures capture.FailureLog
	for {
		if a.term.Load() != nil || !a.suspension.has(suspendStart, suspendIdentity) { // a term's connection tells
			if capture.Sleep(ctx, arrivalRetry) != nil {
				return nil
			}
			continue
		}
		wait := arrivalRetry
		server, err := a.source.Identify(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			differs, err := a.arriveAt(server)
			if err != nil {
				return err
			}
			if differs {
				wait = adoptionInterval
			}
		case failures.Worth(err, time.Now()):
			a.logger.Warn("deliveries wait: the database has not said which environment this is", "err", err, "attempt", failures.Count)
		}
		if capture.Sleep(ctx, wait) != nil {
			return nil
		}
	}
}

// arrivalRetry is how long a database is left alone that did not answer.
const arrivalRetry = time.Second

// arriveAt compares the server with what the cluster belongs to, and enters its environment.
func (a *Agent) arriveAt(server capture.Server) (differs bool, err error) {
	found := operation.Identity{Lineage: server.Lineage, Hosts: a.source.Hosts(), Machine: a.machine()}
	pinned, known, err := loadIdentity(a.spool)
	if err != nil {
		return false, err
	}
	var diffs []operation.Difference
	if known {
		diffs = a.differences(pinned, found)
	}
	if a.term.Load() != nil { // it has begun meanwhile
		return false, nil
	}
	a.mu.Lock()
	a.connection.Server, a.connection.Found, a.connection.Diffs = &server, found, diffs
	a.mu.Unlock()
	if err := a.arrive(found, a.config().Sandboxed(&server)); err != nil {
		return false, err
	}
	if len(diffs) > 0 {
		a.suspension.set(suspendIdentity, describeDifferences(diffs))
	} else {
		a.suspension.clear(suspendIdentity)
	}
	a.suspension.clear(suspendStart)
	return len(diffs) > 0, nil
}

// leave gives up in order what this machine has in its cluster.
func (a *Agent) leave() {
	if a.spoolFailed.Load() {
		return // nothing can be stored any more, and the others notice
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.config().ShutdownGrace+leaveMargin)
	defer cancel()
	if err := a.node.replica.Leave(ctx); err != nil {
		a.logger.Warn("the cluster has not been left in order: other machines take over when the lease has ended", "err", err)
	}
}

// leaveMargin is what leaving may take beyond shutdown_grace.
const leaveMargin = 5 * time.Second
