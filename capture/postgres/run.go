package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

const (
	// retryFirst and retryMost bound the wait between attempts to connect.
	retryFirst = 250 * time.Millisecond
	retryMost  = 30 * time.Second
	// failedTries is how often a stream is read again at one position when it cannot be framed, or when the server refuses to
	// send what stands there.
	failedTries = 3
	// acceptMost is how long after a start what the server cannot send still counts as the gap that was accepted.
	acceptMost = time.Minute
	// settledAfter is how long a stream has to last for the next attempt to follow soon, if it did not move.
	settledAfter = time.Minute
	// repeatLog is how often a failure that does not change is logged.
	repeatLog = 5 * time.Minute
)

// run is one Run: what outlives its connections.
type run struct {
	*Source
	sink     capture.Sink
	start    capture.StartOptions
	position pglogrepl.LSN // stored, or handed to the sink; the next connection starts there
	timeline int32         // on which position was reached
	// stale is a durable position that was given up with a gap: it is not confirmed.
	stale pglogrepl.LSN

	known *catalog  // of the server that was connected last
	texts *encoding // of the stream's texts; nil where that is UTF-8, or taken for it

	accept   bool          // what the server cannot send, until the stream has moved
	skip     pglogrepl.LSN // behind a transaction that is given up; the next connection starts there
	failing  failing
	silences int // connections given up for silence since the stream last moved

	paused      time.Time     // since when nothing is read, since the sink has no room; see rest
	resting     time.Duration // how long to wait beyond that the next time
	idleTimeout time.Duration // idle_replication_slot_timeout; 0 for none
}

// permanentError ends the run as it is.
type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// Run streams into the sink until ctx ends, and then returns nil. It reconnects by
// itself. It returns an error only for what a new attempt cannot mend: an error of the sink or of
// OnConnect as it is, a [*capture.GapError], a [*capture.OperatorError], or a stream that cannot be read.
func (s *Source) Run(ctx context.Context, start capture.StartOptions, sink capture.Sink) error {
	stored, err := parsePosition(start.Stored)
	if err != nil {
		return err
	}
	r := &run{Source: s, sink: sink, start: start, position: stored, timeline: start.Timeline, accept: start.AcceptGap}
	stop := s.startHeartbeat(ctx)
	defer stop()

	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(retryFirst),
		backoff.WithMaxInterval(retryMost), backoff.WithMaxElapsedTime(0))
	var failures capture.FailureLog
	for {
		began, before := time.Now(), r.position
		err := r.session(ctx)
		if ctx.Err() != nil {
			r.final()
			return nil
		}
		if err = r.judge(ctx, err); isPermanent(err) {
			return unwrapPermanent(err)
		}
		if r.position != before || time.Since(began) > settledAfter {
			pause.Reset()
			failures = capture.FailureLog{}
		}
		if start.OnLost != nil {
			start.OnLost(err)
		}
		wait := pause.NextBackOff()
		if errors.Is(err, capture.ErrPaused) {
			wait = r.rest(ctx, began)
		} else if failures.Worth(err, time.Now()) {
			told := []any{"err", err, "attempt", failures.Count, "retry_in", wait.Round(time.Millisecond)}
			var hinted interface{ Hint() string }
			if errors.As(err, &hinted) && hinted.Hint() != "" {
				told = append(told, "remedy", hinted.Hint())
			}
			s.log.Warn("replication connection lost", told...)
		}
		if capture.Sleep(ctx, wait) != nil {
			r.final()
			return nil
		}
	}
}

// session connects and streams until something ends it.
func (r *run) session(ctx context.Context) error {
	conn, err := r.connectReplication(ctx)
	if err != nil {
		return err
	}
	defer closeNow(conn)
	query := r.newQuerier(streamQueryTimeout)
	defer query.close()
	started, confirmed, err := r.begin(ctx, conn, query)
	if err != nil {
		return err
	}
	r.log.Info("streaming", "slot", r.config.Slot, "position", started.Position, "created", started.Created, "resumed", started.Resumed)
	from, err := parsePosition(started.Position)
	if err != nil {
		return err
	}
	r.position, r.timeline = from, started.Server.Timeline
	if started.GapTo != "" && r.skip == 0 {
		r.accept = false // it was this gap
	}
	// What was said about the start holds for this one only.
	r.start.Start, r.start.AcceptGap, r.skip = "", false, 0
	if r.start.OnStarted != nil {
		r.start.OnStarted(started)
	}

	st := newStream(ctx, conn, r, query, confirmed, started.Server.SenderTimeout)
	if started.GapTo != "" {
		if err := st.sink.Idle(started.Position); err != nil {
			return &sinkError{err}
		}
	}
	following, end := context.WithCancelCause(ctx)
	watched := r.watchServer(following, query, end)
	began := time.Now()
	err = st.follow(following)
	if cause := context.Cause(following); cause != nil && ctx.Err() == nil {
		err = cause
	}
	end(nil)
	<-watched
	r.account(st, began, err)
	r.sink.Abort()
	if ctx.Err() != nil {
		st.finish()
	}
	return err
}

// account notes how far a stream has come.
func (r *run) account(st *stream, began time.Time, err error) {
	if st.decoder.handed > r.position {
		r.silences = 0
	}
	r.position = st.decoder.handed
	if st.decoder.commits > 0 || time.Since(began) > acceptMost {
		r.accept = false
	}
	var refused *refusedError
	if errors.As(err, &refused) && st.decoder.open {
		refused.commit = st.decoder.committed
	}
}

// final flushes the sink at the end of the run, once.
func (r *run) final() capture.Position {
	if r.start.Final == nil {
		return r.sink.Durable()
	}
	final := r.start.Final
	r.start.Final = nil
	return final()
}

// isPermanent reports whether a new attempt cannot mend the error.
func isPermanent(err error) bool {
	return errors.As(err, new(*sinkError)) || errors.As(err, new(*permanentError)) || errors.As(err, new(*capture.GapError)) ||
		errors.As(err, new(*capture.OperatorError))
}

// unwrapPermanent takes our own marks off.
func unwrapPermanent(err error) error {
	var sink *sinkError
	if errors.As(err, &sink) {
		return sink.err
	}
	var permanent *permanentError
	if errors.As(err, &permanent) {
		return permanent.err
	}
	return err
}

// startHeartbeat writes a logical message at the configured interval, as a liveness
// probe. stop ends it and waits.
func (s *Source) startHeartbeat(ctx context.Context) (stop func()) {
	if s.config.Heartbeat <= 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var failures capture.FailureLog
		for capture.Sleep(ctx, s.config.Heartbeat) == nil {
			err := s.query.do(ctx, func(c *pgx.Conn) error {
				_, err := c.Exec(ctx, `select pg_catalog.pg_logical_emit_message(false, 'rowhook.heartbeat', '')`)
				return err
			})
			switch {
			case err == nil:
				failures = capture.FailureLog{}
			case ctx.Err() == nil && failures.Worth(err, time.Now()):
				s.log.Warn("heartbeat not written", "err", err, "attempt", failures.Count)
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
