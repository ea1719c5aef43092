package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"rowhook/cmd/rowhook/account"
	"rowhook/cmd/rowhook/backfill"
	"rowhook/cmd/rowhook/cluster"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/environment"
	"rowhook/cmd/rowhook/pipeline"
	"rowhook/delivery"
	"rowhook/delivery/alert"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/engine"
	"rowhook/delivery/spool"
)

// workspace is an open state directory with the rooms that need no database: what operations work
// on, with or without a running agent.
type workspace struct {
	live    atomic.Pointer[live]
	options Options
	logger  *slog.Logger
	spool   *spool.Spool
	log     *deliverylog.Log
	engine  *engine.Engine
	audit   *auditLog

	node *node // nil on one machine
	// journal is by what the source's side of the state is changed.
	journal pipeline.Journal

	atWork  atomic.Pointer[backfill.Manager] // of an agent that captures; nil where nobody works on backfills
	account *account.Account                 // of what an agent that runs maps; nil for none

	here *environment.Environment // how the profiles' requests go, and where to

	mailer *alert.Mailer // sends while an agent runs
	name   string        // the source's, as far as it is known

	opened chan struct{} // closed when the rooms are open, or one could not be
}

// live is what a reload replaces.
type live struct {
	config    *config.Config
	endpoints map[string]*environment.Endpoint // where the profiles' requests go, by code
	router    *delivery.Router                 // over the profiles
}

// config is the config as it was loaded last.
func (w *workspace) config() *config.Config { return w.live.Load().config }

// endpoints are where the profiles' requests go, by code.
func (w *workspace) endpoints() map[string]*environment.Endpoint { return w.live.Load().endpoints }

// openWorkspace opens the state directory, for a moment or until an agent ends. The caller closes
// it.
func openWorkspace(c *config.Config, options Options, passing bool) (*workspace, error) {
	if err := directories.MakePrivate(c.State); err != nil {
		return nil, directories.WithRemedy(c, err)
	}
	w := &workspace{options: options, logger: options.Logger, audit: newAuditLog(c.State), opened: make(chan struct{})}
	if err := w.open(c, passing); err != nil {
		return nil, errors.Join(directories.WithRemedy(c, err), w.Close())
	}
	return w, nil
}

func (w *workspace) open(c *config.Config, passing bool) error {
	defer close(w.opened)
	w.here = environment.New(c, w.options.Version)
	endpoints, err := w.here.Endpoints(c)
	if err != nil {
		return err
	}
	w.live.Store(&live{config: c, endpoints: endpoints})
	w.name = c.Source.Name
	w.mailer = alert.New(c.Alerts, c.Profiles, alert.Options{
		Logger: w.logger, Products: c.Products(), States: w.states,
		Source: func() string { return w.name }, Environment: w.here.String,
	})
	profiles, err := environment.Profiles(c, endpoints)
	if err != nil {
		return err
	}
	// The spool first: its lock says who else works on this state directory.
	options := spoolOptions(c, w.logger)
	options.Passing, options.Expired = passing, w.expired
	options.Keeps = len(c.Rules().Memory()) > 0
	options.BeforeSync = w.syncLog
	if c.Cluster.Enabled() {
		if w.node, err = w.meet(c); err != nil {
			return err
		}
	}
	if w.spool, err = spool.Open(spoolDir(c), options); err != nil {
		return err
	}
	w.journal = w.spool
	if w.node != nil {
		if err := w.node.follow(c, w.spool, w.syncLog); err != nil {
			return err
		}
		w.journal = w.node.replica
	} else if err := cluster.Forget(w.spool); err != nil {
		return err
	}
	if w.log, err = deliverylog.Open(logOptions(c, w.logger)); err != nil {
		return err
	}
	rate, err := delivery.ParseRate(c.Rate)
	if err != nil {
		return fmt.Errorf("rate: %w", err)
	}
	of := engine.Options{Logger: w.logger, Grace: c.ShutdownGrace, Rate: rate, OnState: w.stateChanged, OnFailure: w.failed}
	if w.node != nil {
		of.Shared, of.Lease, of.Turns = true, w.node.replica.Lease, w.node.replica.Taken().Firsts
	}
	w.engine, err = engine.New(w.store(), w.log, profiles, of)
	if err != nil {
		return err
	}
	w.live.Store(&live{config: c, endpoints: endpoints, router: w.engine.Router()})
	return nil
}

// values are the agent's own values in the spool, as those who capture read and change them.
func (w *workspace) values() values { return values{w.spool, w.journal} }

// values are small values that are read in the spool and changed by the journal.
type values struct {
	*spool.Spool
	journal pipeline.Journal
}

// SetMeta implements metaStore.
func (v values) SetMeta(key string, value []byte) error { return v.journal.SetMeta(key, value) }

// backfills are the manager that works on them, or one that only knows what is stored.
func (w *workspace) backfills() (*backfill.Manager, error) {
	if at := w.atWork.Load(); at != nil {
		return at, nil
	}
	return backfill.New(backfill.Options{Store: w.values(), Logger: w.logger})
}

// syncLog makes the delivery log's lines durable before the acknowledgements that rest on
// them. When it fails the engine knows: it flushes the same log, and waits.
func (w *workspace) syncLog() {
	select {
	case <-w.opened:
		if w.log != nil {
			_ = w.log.Sync()
		}
	default: // still opening: nothing has been delivered
	}
}

// Close closes what open has opened, the log last: it takes the last lines.
func (w *workspace) Close() error {
	var errs []error
	if w.account != nil {
		errs = append(errs, w.account.Close())
	}
	if w.spool != nil {
		errs = append(errs, w.spool.Close())
	}
	if w.node != nil {
		w.node.stream.Close()
	}
	if w.log != nil {
		errs = append(errs, w.log.Close())
	}
	return errors.Join(errs...)
}
