package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ordinary is a morning on which all is well.
func (st *stage) ordinary(ctx context.Context) error {
	st.chapter("An ordinary morning")
	if err := st.perform(ctx, morning(), 400*time.Millisecond); err != nil {
		return err
	}
	return st.settle(ctx, "")
}

// receiverAway shuts the desk's receiver: its events wait, the other's do not, the
// database does not notice.
func (st *stage) receiverAway(ctx context.Context) error {
	st.chapter("The desk's receiver goes away")
	if err := st.receivers[desk].shut(); err != nil {
		return err
	}
	if err := st.perform(ctx, outage(), 300*time.Millisecond); err != nil {
		return err
	}
	if err := st.settle(ctx, search); err != nil {
		return err
	}
	if err := st.pause(ctx, 2*time.Second); err != nil {
		return err
	}
	unread, err := st.library.unread(ctx, st.agent)
	if err != nil {
		return err
	}
	if err := st.quote(ctx, "status", "PROFILE"); err != nil {
		return err
	}
	st.aside("%s", unread.sentence)
	st.chapter("It is back, and gets them in order")
	if err := st.receivers[desk].open(); err != nil {
		return err
	}
	return st.settle(ctx, "")
}

// quote shows what a rowhook command prints, from a line that begins so on.
func (st *stage) quote(ctx context.Context, command, from string) error {
	out, err := st.agent.command(ctx, command)
	if err != nil {
		return err
	}
	st.line("  $ rowhook %s", command)
	if at := strings.Index(out, from); at > 0 {
		out = out[at:]
	}
	for line := range strings.Lines(out) {
		st.aside("%s", strings.TrimRight(line, " \n"))
	}
	return nil
}

// agentKilled kills rowhook; the library goes on meanwhile.
func (st *stage) agentKilled(ctx context.Context) error {
	// What has been acknowledged takes a moment to reach the disk. A kill before would
	// repeat it, rightly; this is the more usual kind.
	if err := st.pause(ctx, time.Second); err != nil {
		return err
	}
	if st.nats == nil {
		st.chapter("rowhook is killed (kill -9), and started again")
	} else {
		st.chapter("The machine that captures is killed (kill -9); another one takes over")
	}
	name, err := st.killCapturing(ctx)
	if err != nil {
		return err
	}
	if err := st.perform(ctx, absence(), 300*time.Millisecond); err != nil {
		return err
	}
	if st.nats != nil {
		if err := st.settle(ctx, ""); err != nil {
			return err
		}
		if err := st.quote(ctx, "status", "machine"); err != nil {
			return err
		}
		st.aside("%s is started again", name)
	}
	if err := st.run(ctx); err != nil {
		return err
	}
	return st.settle(ctx, "")
}

// crowd is one large transaction.
func (st *stage) crowd(ctx context.Context) error {
	const loans = 1000
	st.chapter("Many at once")
	st.receivers[desk].hush(true)
	began := time.Now()
	if err := st.perform(ctx, []act{rush(loans)}, 0); err != nil {
		return err
	}
	committed := time.Now()
	if err := st.settle(ctx, ""); err != nil {
		return err
	}
	st.receivers[desk].hush(false)
	st.aside("%d requests, one each, every loan's in order, %s after the commit (the transaction itself took %s)",
		2*loans, span(time.Since(committed)), span(committed.Sub(began)))
	return nil
}

// closing clears up, and the books are closed.
func (st *stage) closing(ctx context.Context) error {
	st.chapter("Closing time")
	if err := st.perform(ctx, []act{clearsUp(4, 3, "b-4")}, 0); err != nil {
		return err
	}
	if err := st.settle(ctx, ""); err != nil {
		return err
	}
	return st.sum(ctx)
}

// sum prints the balance; books that do not balance are an error.
func (st *stage) sum(ctx context.Context) error {
	if err := st.pause(ctx, time.Second); err != nil { // surplus events would come now
		return err
	}
	unread, err := st.library.unread(ctx, st.agent)
	if err != nil {
		return err
	}
	b := st.book.balance()
	st.chapter("The books")
	row := func(name string, value any, note string) {
		st.line("  %s %8v  %s", pad(name, 20), value, st.paint(dim, note))
	}
	row("committed changes", b.changes, fmt.Sprintf("in %d transactions", b.transactions))
	row("events expected", b.expected, "one rolled-back transaction among them expects none")
	row("events delivered", b.arrived, "signature verified on each")
	row("missing", b.missing, "expected, but never came")
	row("not expected", b.surplus, "came, but was never expected")
	row("repeated", b.repeated, "only a kill may repeat some, with the same id")
	row("out of order", len(b.disordered), "by key, against the order of commits")
	row(unread.what, unread.amount, unread.note)
	if !b.good() {
		for _, lane := range b.disordered {
			st.line("  %s", lane)
		}
		return errors.New("the books do not balance")
	}
	st.line("\n  %s", st.paint(green, "The books balance."))
	return nil
}
