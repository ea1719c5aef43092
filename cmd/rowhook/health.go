package main

import (
	"context"
	"time"

	"rowhook/capture"
)

const (
	// sampleInterval is how often the source is asked how far behind we are, while admin.listen is on.
	sampleInterval = 15 * time.Second
	// stallAfter is how long nothing may move before that counts as a stall.
	stallAfter = 2 * time.Minute
)

// sourceSample is what the source told last, and since when nothing has moved although there is something to read.
type sourceSample struct {
	at      time.Time
	stream  *capture.Status // nil while it does not answer
	durable capture.Position
	changes int64
	since   time.Time // of the last progress
}

// sample asks the source now and then, for metrics and readiness. A scrape does not wait for the database.
func (a *agent) sample(ctx context.Context) error {
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	for a.config().Admin.Listen != "" {
		a.sampleOnce(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	return nil
}

func (a *agent) sampleOnce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	next := sourceSample{at: time.Now(), durable: a.pipe.Durable(), changes: a.pipe.counts.changes.Load()}
	stream, err := a.source.Status(ctx, next.durable)
	if err == nil {
		next.stream = &stream
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.sampled
	next.since = next.at
	idle := next.stream != nil && next.stream.LagBytes == 0
	if !before.at.IsZero() && !idle && next.durable == before.durable && next.changes == before.changes {
		next.since = before.since
	}
	a.sampled = next
}

// health tells whether the agent works at all: whether a restart might help.
func (a *agent) health(now time.Time) health {
	h := health{Status: "ok"}
	if a.spoolFailed.Load() {
		h.add("spool", "the spool has failed; the agent is about to end")
	}
	if since := a.pipe.storingSince(); !since.IsZero() && now.Sub(since) > stallAfter && a.spool.Room() == nil {
		h.add("stalled", "storing has not come to an end for %s", humanDuration(now.Sub(since)))
	}
	return h
}

// readiness tells whether what is committed reaches the spool, and deliveries can go on from there. An endpoint that
// fails is no reason: the others are served.
func (a *agent) readiness(now time.Time) health {
	h := a.health(now)
	a.mu.Lock()
	link, findings, sampled := a.link, a.findings, a.sampled
	a.mu.Unlock()
	switch {
	case len(link.Diffs) > 0:
		h.add("identity", "%s", describeDifferences(link.Diffs))
	case link.State != "streaming":
		h.add("source", "the source is %s since %s", link.State, humanDuration(now.Sub(link.Since)))
	case !sampled.since.IsZero() && sampled.at.Sub(sampled.since) > stallAfter:
		h.add("stalled", "nothing has been read for %s although the source has more", humanDuration(now.Sub(sampled.since)))
	}
	if err := a.spool.Room(); err != nil {
		h.add("spool", "%v", err)
	}
	if err := a.engine.LogError(); err != nil {
		h.add("log", "the delivery log cannot be written: deliveries wait")
	}
	for _, f := range findings {
		if f.Severity == capture.Error {
			h.add("table", "%s: %s", f.Subject, f.Text)
		}
	}
	return h
}
