package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/backfill"
	"rowhook/cmd/rowhook/pipeline"
)

// term is a time in which this machine captures: the source's run, the pipeline that it pushes into,
// and the backfills that are read beside it. One machine has one term, which lasts as long as its
// agent. An agent without a term stands by.
type term struct {
	*Agent
	from      Source // the agent's own, or one of this term
	pipe      *pipeline.Pipeline
	backfills *backfill.Manager
	over      chan struct{} // closed when it has ended
	anew      bool          // the stream begins without the stored position, which adoption gave up; capture's own
}

// errStandby is why an operation that needs the stream cannot be done here.
var errStandby = &capture.OperatorError{
	Err:    errors.New("this machine stands by: another one captures"),
	Remedy: "ask the machine that captures, which `rowhook status` names",
}

// beginTerm makes a term that goes on where the spool ends. It does not connect.
func (a *Agent) beginTerm() error {
	if a.shared() {
		if err := a.beginTurn(); err != nil {
			return err
		}
		if a.node.agreed() {
			if err := a.retireRemoved(); err != nil {
				return err
			}
		}
	}
	t := &term{Agent: a, over: make(chan struct{})}
	var err error
	if t.from, err = a.termSource(); err != nil {
		return err
	}
	if t.pipe, err = a.newPipeline(); err == nil {
		t.backfills, err = backfill.New(t.backfillOptions())
	}
	if err != nil {
		if a.shared() {
			t.from.Close()
		}
		return err
	}
	a.mu.Lock()
	a.connection = connection{State: "connecting", Since: time.Now()}
	a.sampled, a.ended, a.undescribed = sourceSample{}, nil, nil
	a.mu.Unlock()
	a.atWork.Store(t.backfills)
	a.term.Store(t)
	return nil
}

// termSource is what a term reads: in a cluster its connections have a mark that all machines know.
func (a *Agent) termSource() (Source, error) {
	if !a.shared() {
		return a.source, nil
	}
	return a.options.Source(a.config(), a.logger, a.node.marks())
}

// sourceNow is what the database is asked by.
func (a *Agent) sourceNow() Source {
	if t := a.term.Load(); t != nil {
		return t.from
	}
	return a.source
}

// run has the term's actors run until ctx ends.
func (t *term) run(ctx context.Context, act func(func() error)) {
	storing, stopStoring := context.WithCancel(context.WithoutCancel(ctx))
	act(func() error { return t.backfills.Run(ctx) })
	act(func() error {
		// The appender outlives the source: the last batch is stored and confirmed after reading
		// has stopped.
		defer stopStoring()
		return t.capture(ctx)
	})
	act(func() error { return t.pipe.Run(storing) })
}

// newPipeline makes the pipeline of a state directory. A position that an adoption gave up stays
// so.
func (w *workspace) newPipeline() (*pipeline.Pipeline, error) {
	codes, err := w.codes(w.config())
	if err != nil {
		return nil, err
	}
	abandoned, err := w.spool.Meta(metaAbandoned)
	if err != nil {
		return nil, fmt.Errorf("read the abandoned position: %w", err)
	}
	to := pipeline.Routing{
		Rules: w.config().Rules(), Router: w.live.Load().router, Codes: codes, Bare: bare(w.config(), codes), Rounded: w.config().Rounded(),
		Kept: keptWants(w.config().Rules()),
	}
	o := pipeline.Options{
		Spool: w.spool, Journal: w.journal, Log: w.log, Logger: w.logger, Pausing: w.engine.Pausing, Abandoned: capture.Position(abandoned),
	}
	if w.account == nil {
		w.openAccount()
	}
	if w.account != nil {
		o.Account = w.account
	}
	return pipeline.New(to, o)
}

// capture streams until ctx ends. A server of another lineage is waited for.
func (t *term) capture(ctx context.Context) error {
	for {
		options, err := t.startOptions(ctx)
		if err != nil {
			return err
		}
		err = t.from.Run(ctx, options, t.pipe)
		if !errors.Is(err, errForeign) {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.adopted:
			// What was abandoned with the adoption has been noted by it.
		case <-time.After(adoptionInterval):
		}
	}
}

func (t *term) startOptions(ctx context.Context) (capture.StartOptions, error) {
	stored := capture.Position(t.spool.Position())
	if t.anew = stored != "" && stored == t.pipe.Abandoned(); t.anew {
		stored = ""
	}
	if stored != "" && t.start.Position != "" {
		t.logger.Warn("--start is left alone: the state directory holds a position, and the stream goes on there", "position", stored)
	}
	timeline, err := t.timeline()
	if err != nil {
		return capture.StartOptions{}, err
	}
	return capture.StartOptions{
		Stored: stored, Timeline: timeline, Start: t.start.Position, AcceptGap: t.start.AcceptGap, TakeOver: t.shared(),
		OnConnect: t.connected, OnStarted: t.started, OnLost: t.lost,
		Final: func() capture.Position {
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.config().ShutdownGrace)
			defer cancel()
			return t.pipe.Flush(grace)
		},
	}, nil
}

func (w *workspace) timeline() (int32, error) {
	raw, err := w.spool.Meta(metaTimeline)
	if err != nil || raw == nil {
		return 0, err
	}
	var timeline int32
	if _, err := fmt.Sscan(string(raw), &timeline); err != nil {
		return 0, fmt.Errorf("read the stored timeline: %w", err)
	}
	return timeline, nil
}
