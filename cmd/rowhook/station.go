package main

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/environment"
	"rowhook/delivery"
	"rowhook/delivery/alert"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/engine"
	"rowhook/delivery/spool"
)

// station is the state directory with the rooms that need no database: what commands
// work on, with or without a running agent.
type station struct {
	live   atomic.Pointer[live]
	logger *slog.Logger
	spool  *spool.Spool
	log    *deliverylog.Log
	engine *engine.Engine
	audit  *auditLog

	around *environment.Environment // how the profiles' requests go, and where to

	mailer *alert.Mailer // sends while an agent runs
	name   string        // the source's, as far as it is known

	opened chan struct{} // closed when the rooms are open, or one could not be
}

// live is what a reload replaces.
type live struct {
	config    *config.Config
	endpoints map[string]*environment.Endpoint // where the profiles' requests go, by code
}

// config is the config as it was loaded last.
func (s *station) config() *config.Config { return s.live.Load().config }

// endpoints are where the profiles' requests go, by code.
func (s *station) endpoints() map[string]*environment.Endpoint { return s.live.Load().endpoints }

// lockPatience is how long an agent waits for commands that have its state directory open, and
// commands for whoever has.
const lockPatience = 10 * time.Second

// onceFree opens what a state directory's lock keeps from being opened twice. While another process
// has the lock it tries again, for as long as that is worth waiting for: wait, if not nil, says so
// at each look but the first.
func onceFree[T any](wait func(*spool.LockedError) bool, open func() (T, error)) (T, error) {
	for began, looks := time.Now(), 0; ; looks++ {
		opened, err := open()
		var locked *spool.LockedError
		if !errors.As(err, &locked) || looks > 0 && wait != nil && !wait(locked) || time.Since(began) > lockPatience {
			return opened, err
		}
		time.Sleep(50 * time.Millisecond) //nolint:forbidigo // lockPatience bounds it, and signals end the process: nobody catches them yet
	}
}

// openStation opens the state directory, for a moment or until an agent ends. The caller closes it.
func openStation(c *config.Config, logger *slog.Logger, passing bool) (*station, error) {
	if err := directories.MakePrivate(c.State); err != nil {
		return nil, directories.WithRemedy(c, err)
	}
	s := &station{logger: logger, audit: newAuditLog(c.State), opened: make(chan struct{})}
	if err := s.open(c, passing); err != nil {
		return nil, errors.Join(directories.WithRemedy(c, err), s.close())
	}
	return s, nil
}

func (s *station) open(c *config.Config, passing bool) error {
	defer close(s.opened)
	s.around = environment.New(c, readVersion().Version)
	endpoints, err := s.around.Endpoints(c)
	if err != nil {
		return err
	}
	s.live.Store(&live{config: c, endpoints: endpoints})
	s.name = c.Source.Name
	s.mailer = alert.New(c.Alerts, c.Profiles, alert.Options{
		Logger: s.logger, Products: c.Products(), States: s.states,
		Source: func() string { return s.name }, Environment: s.around.String,
	})
	profiles, err := environment.Profiles(c, endpoints)
	if err != nil {
		return err
	}
	// The spool first: its lock says who else works on this state directory.
	options := spoolOptions(c, s.logger)
	options.Passing, options.Expired = passing, s.expired
	options.BeforeSync = s.syncLog
	if s.spool, err = spool.Open(filepath.Join(c.State, "spool"), options); err != nil {
		return err
	}
	if s.log, err = deliverylog.Open(logOptions(c, s.logger)); err != nil {
		return err
	}
	rate, err := delivery.ParseRate(c.Rate)
	if err != nil {
		return fmt.Errorf("rate: %w", err)
	}
	s.engine, err = engine.New(s.spool, s.log, profiles, engine.Options{
		Logger: s.logger, Grace: c.ShutdownGrace, Rate: rate, OnState: s.stateChanged, OnFailure: s.failed,
	})
	return err
}

// syncLog makes the delivery log's lines durable before the acknowledgements that rest on
// them. When it fails the engine knows: it flushes the same log, and waits.
func (s *station) syncLog() {
	select {
	case <-s.opened:
		if s.log != nil {
			_ = s.log.Sync()
		}
	default: // still opening: nothing has been delivered
	}
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
