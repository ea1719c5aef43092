package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"rowhook/cmd/rowhook/cluster/natstest"
)

type options struct {
	rowhook string
	source  string // one of sources
	schemas string // the directory of the library's schemas
	example string // the config whose mapping is used
	major   int
	keep    bool
	// machines is how many do the work.
	machines int
	pace     float64 // 1 is for people to read along
}

// patience bounds the wait for what must arrive, so that the demonstration always ends.
const patience = 20 * time.Second

// stage is all that runs during the demonstration.
type stage struct {
	*screen
	book      *ledger
	library   library
	receivers map[string]*receiver
	agent     *agent   // that commands are asked of
	machines  []*agent // all of them
	nats      *natstest.Cluster
	dir       string
	pace      float64
}

// show is the demonstration from curtain to curtain.
func show(ctx context.Context, s *screen, o options) (err error) {
	st := &stage{screen: s, book: newLedger(), pace: o.pace}
	defer func() { err = errors.Join(err, st.clear()) }()
	s.line("%s  row changes of a library's database become signed webhooks", s.paint(bold, "rowhook"))
	for _, scene := range []func(context.Context) error{
		func(ctx context.Context) error { return st.prepare(ctx, o) },
		st.ordinary,
		st.receiverAway,
		st.agentKilled,
		st.crowd,
		st.closing,
	} {
		if err := scene(ctx); err != nil {
			return st.explain(ctx, err)
		}
	}
	if o.keep {
		st.play(ctx)
	}
	for _, m := range st.machines {
		if err := m.stop(syscall.SIGTERM); err != nil {
			return st.explain(ctx, fmt.Errorf("rowhook did not end well: %w", err))
		}
	}
	return nil
}

// explain adds rowhook's own messages to an error that is not the user's Ctrl-C.
func (st *stage) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil || st.agent == nil {
		return err
	}
	if tail := st.agent.tail(); tail != "" {
		err = fmt.Errorf("%w\n\nthe end of rowhook's messages:\n%s", err, tail)
	}
	return err
}

// clear ends and removes everything, in the order in which it depends on each other.
func (st *stage) clear() error {
	var errs []error
	for _, m := range st.machines {
		errs = append(errs, m.stop(syscall.SIGTERM))
	}
	if st.nats != nil {
		errs = append(errs, st.nats.Close())
	}
	for _, r := range st.receivers {
		errs = append(errs, r.shut())
	}
	if st.library != nil {
		errs = append(errs, st.library.close())
	}
	return errors.Join(append(errs, os.RemoveAll(st.dir))...)
}

// prepare does what a DBA does once.
func (st *stage) prepare(ctx context.Context, o options) error {
	st.chapter("Setting up")
	began := time.Now()
	var err error
	if st.dir, err = os.MkdirTemp("", "rowhook-demo-"); err != nil {
		return err
	}
	server, err := openLibrary(o)
	if err != nil {
		return err
	}
	st.library = server
	schema := o.source
	if schema == "mariadb" {
		schema = "mysql"
	}
	if err := server.create(ctx, filepath.Join(o.schemas, schema+".sql")); err != nil {
		return err
	}
	st.done("%s with the library's tables, on port %d (%s)", server, server.port(), span(time.Since(began)))

	key := make([]byte, 24)
	if _, err := rand.Read(key); err != nil {
		return err
	}
	secret := "whsec_" + base64.StdEncoding.EncodeToString(key)
	st.receivers = map[string]*receiver{}
	for _, name := range []string{desk, search} {
		r := newReceiver(name, secret, st.book, st.arrival)
		if err := r.open(); err != nil {
			return err
		}
		st.receivers[name] = r
		st.done("receiver %s at %s", pad(name, 6), r.url())
	}
	return st.setUp(ctx, o, secret)
}

// setUp runs rowhook's own commands.
func (st *stage) setUp(ctx context.Context, o options, secret string) error {
	mapping, err := exampleMapping(o.example)
	if err != nil {
		return err
	}
	if err := st.makeMachines(ctx, o, settings{
		Source: st.library.config(), Mapping: mapping,
		Desk:   st.receivers[desk].url(),
		Search: st.receivers[search].url(),
		Secret: secret,
	}); err != nil {
		return err
	}
	if _, err := st.agent.command(ctx, "setup", "--apply", "--as", st.library.owner()); err != nil {
		return err
	}
	st.done("rowhook setup --apply   %s", st.library.made())
	if _, err := st.agent.command(ctx, "check"); err != nil {
		return err
	}
	st.done("rowhook check           no findings")
	began := time.Now()
	if err := st.run(ctx); err != nil {
		return err
	}
	st.done("rowhook run             streaming after %s", span(time.Since(began)))
	return nil
}

// run starts what does not run and waits until the stream is read.
func (st *stage) run(ctx context.Context) error {
	for _, m := range st.machines {
		if m.process != nil {
			continue
		}
		if err := m.start(); err != nil {
			return err
		}
	}
	deadline := time.After(patience)
	for {
		if reads, err := st.library.read(ctx); err != nil || reads {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case err := <-st.agent.ended:
			st.agent.process = nil
			return fmt.Errorf("rowhook has ended: %v", err) //nolint:errorlint // it is nil after exit 0
		case <-deadline:
			return fmt.Errorf("rowhook does not read the stream within %s", patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// perform does acts one by one and enters them into the books.
func (st *stage) perform(ctx context.Context, acts []act, between time.Duration) error {
	for i := range acts {
		a := &acts[i]
		st.act(a)
		if !a.undone {
			st.book.expect(len(a.sql), a.events)
		}
		if err := st.library.exec(ctx, st.library.script(a)); err != nil {
			return err
		}
		if err := st.pause(ctx, between); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until all that is expected has arrived at a receiver, or at all ("").
func (st *stage) settle(ctx context.Context, receiver string) error {
	deadline := time.After(patience)
	for {
		settled, news := st.book.settled(receiver)
		if settled {
			return nil
		}
		select {
		case <-news:
		case err := <-st.agent.ended:
			st.agent.process = nil
			return fmt.Errorf("rowhook has ended: %v", err) //nolint:errorlint // it is nil after exit 0
		case <-deadline:
			b := st.book.balance()
			return fmt.Errorf("%d of %d events have not arrived within %s", b.missing, b.expected, patience)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (st *stage) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(time.Duration(st.pace * float64(d))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// play leaves everything running and says how to use it.
func (st *stage) play(ctx context.Context) {
	st.chapter("Everything is left running: try it")
	st.line("  %s", st.library.shell())
	st.line("  insert into circulation.members (name, branch) values ('You', 'MAIN');")
	st.line("  config      %s", st.agent.config())
	st.line("  messages    %s", st.agent.log())
	st.line("  deliveries  %s", st.agent.deliveries())
	st.line("  %s status -c %s", st.agent.binary, st.agent.config())
	st.line("\n  Events show up here. Ctrl-C ends and removes everything.\n")
	<-ctx.Done()
}
