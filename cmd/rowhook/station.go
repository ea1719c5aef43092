package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
	"rowhook/delivery/alert"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/engine"
	"rowhook/delivery/spool"
	"rowhook/delivery/webhook"
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

	// How the profiles' requests go, and in which environment.
	options webhook.Options
	around  *surroundings

	mailer *alert.Mailer // sends while an agent runs
	name   string        // the source's, as far as it is known

	opened chan struct{} // closed when the rooms are open, or one could not be
}

// live is what a reload replaces.
type live struct {
	config    *config.Config
	endpoints map[string]*endpoint // where the profiles' requests go, by code
}

// config is the config as it was loaded last.
func (s *station) config() *config.Config { return s.live.Load().config }

// endpoints are where the profiles' requests go, by code.
func (s *station) endpoints() map[string]*endpoint { return s.live.Load().endpoints }

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
	if err := makePrivateDir(c.State); err != nil {
		return nil, withOwnerHint(c, err)
	}
	s := &station{logger: logger, audit: newAuditLog(c.State), opened: make(chan struct{})}
	if err := s.open(c, passing); err != nil {
		return nil, errors.Join(withOwnerHint(c, err), s.close())
	}
	return s, nil
}

// makePrivateDir makes the state directory, or takes other people's rights from one that is there:
// the spool holds row data, and whoever may enter may use the control socket.
func makePrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("keep the state directory to its owner: %w", err)
	}
	return nil
}

// permissionError says that a file belongs to somebody else. Like a wrong config it wants a person:
// whoever starts the agent again and again must not.
type permissionError struct {
	error
	remedy string
}

// Unwrap returns the cause.
func (e *permissionError) Unwrap() error { return e.error }

// Hint returns the remedy for the operator.
func (e *permissionError) Hint() string { return e.remedy }

// ExitCode is that of a config error.
func (e *permissionError) ExitCode() int { return exitUsage }

// withOwnerHint adds the remedy where files belong to somebody else.
func withOwnerHint(c *config.Config, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	me, dir := osUser(), c.State
	var at *fs.PathError
	if errors.As(err, &at) && !strings.HasPrefix(at.Path, c.State) {
		dir = filepath.Dir(c.Log.Deliveries)
	}
	remedy := fmt.Sprintf("give it to the user that rowhook runs as: install -d -o %s %s && chown -R %s: %s", me, dir, me, dir)
	if info, err := os.Stat(dir); err == nil {
		if uid, _ := ownerOf(info); int(uid) != os.Geteuid() {
			remedy += fmt.Sprintf("\nor run it as %s, who owns %s", userName(uid), dir)
		}
	}
	return &permissionError{err, remedy}
}

// refuseOwner keeps root, and its commands while no agent runs, from a state directory that is
// somebody else's: what root wrote there, the agent could not open.
func refuseOwner(state string, euid int) error {
	info, err := os.Stat(filepath.Join(state, "spool"))
	if err != nil {
		info, err = os.Stat(state)
	}
	if err != nil || euid != 0 {
		return nil
	}
	uid, _ := ownerOf(info)
	if uid == 0 {
		return nil
	}
	name := userName(uid)
	return &permissionError{
		fmt.Errorf("the state directory %s belongs to %s, who could not read what root writes there", state, name),
		fmt.Sprintf("put sudo -u %s in front of the command", name),
	}
}

func (s *station) open(c *config.Config, passing bool) error {
	defer close(s.opened)
	s.options, s.around = webhookOptions(c.Products()), newSurroundings(c)
	endpoints, err := newEndpoints(c, s.around, s.options)
	if err != nil {
		return err
	}
	s.live.Store(&live{config: c, endpoints: endpoints})
	s.name = c.Source.Name
	s.mailer = alert.New(c.Alerts, c.Profiles, alert.Options{
		Logger: s.logger, Products: c.Products(), States: s.states,
		Source: func() string { return s.name }, Environment: s.around.environment,
	})
	profiles, err := newProfiles(c, endpoints)
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
