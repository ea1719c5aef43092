package agent

import (
	"context"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/operation"
)

const (
	// sampleInterval is how often the source is asked how far behind we are.
	sampleInterval = 15 * time.Second
	// storeMost is how long the spool may take to store a batch before that counts as a stall.
	storeMost = 2 * time.Minute
)

// sample asks the source now and then, for metrics and readiness. A scrape does not wait for the
// database.
func (a *Agent) sample(ctx context.Context) error {
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	for {
		a.sampleOnce(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (a *Agent) sampleOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	t := a.term.Load()
	if t == nil {
		return
	}
	counts := t.pipe.Counts()
	next := sourceSample{at: time.Now(), durable: t.pipe.Durable(), changes: counts.Changes, worked: counts.Worked, received: t.from.Received()}
	if stream, err := a.sourceNow().Status(ctx, next.durable); err == nil {
		next.stream = &stream
	}
	a.observe(next)
	a.noteHistory(next.stream, next.at)
}

// health tells whether the agent works at all: whether a restart might help.
func (a *Agent) health(now time.Time) operation.Health {
	h := operation.Health{Status: "ok"}
	if a.spoolFailed.Load() {
		h.Add("spool", "the spool has failed; the agent is about to end")
	}
	if t := a.term.Load(); t != nil && a.spool.Room() == nil {
		addStoring(&h, t.pipe.StoringSince(), now)
	}
	return h
}

// addStoring adds that a batch is being stored for too long. since is zero while none is.
func addStoring(h *operation.Health, since, now time.Time) {
	if !since.IsZero() && now.Sub(since) > storeMost {
		h.Add("stalled", "storing has not come to an end for %s", operation.FormatDuration(now.Sub(since)))
	}
}

// readiness tells whether what is committed reaches the spool, and deliveries can go on from there.
// An endpoint that fails is no reason: the others are served.
func (a *Agent) readiness(now time.Time) operation.Health {
	h := a.health(now)
	a.mu.Lock()
	connection, findings, sampled := a.connection, a.findings, a.sampled
	a.mu.Unlock()
	switch {
	case len(connection.Diffs) > 0:
		h.Add("identity", "%s", describeDifferences(connection.Diffs))
	case a.shared() && connection.State == stateStandby:
		if a.node.replica.View().Capture.Owner == "" {
			h.Add("source", "no machine of the cluster captures")
		}
	case connection.State != "streaming" && connection.State != "paused":
		h.Add("source", "the source is %s since %s", connection.State, operation.FormatDuration(now.Sub(connection.Since)))
	case sampled.stalled():
		h.Add("stalled", "%s", sampled.stall(now).Text)
	}
	if err := a.spool.Room(); err != nil {
		h.Add("spool", "%v", err)
	}
	if a.shared() {
		a.node.addReadiness(&h, now)
	}
	if err := a.engine.LogError(); err != nil {
		h.Add("log", "the delivery log cannot be written: deliveries wait")
	}
	for _, f := range findings {
		if f.Severity == capture.Error {
			h.Add("table", "%s: %s", f.Subject, f.Text)
		}
	}
	return h
}
