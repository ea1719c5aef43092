package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
)

const (
	// retryFirst and retryMost bound the wait between attempts to connect.
	retryFirst = 250 * time.Millisecond
	retryMost  = 30 * time.Second
	// malformedTries is how often a stream that cannot be framed is read again at one position.
	malformedTries = 3
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

	malformedAt pglogrepl.LSN
	malformed   int
	silences    int // connections given up for silence since the stream last moved
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
	r := &run{Source: s, sink: sink, start: start, position: stored, timeline: start.Timeline}
	stop := s.startHeartbeat(ctx)
	defer stop()

	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(retryFirst),
		backoff.WithMaxInterval(retryMost), backoff.WithMaxElapsedTime(0))
	var failures capture.FailureLog
	for {
		streamed, err := r.session(ctx)
		if ctx.Err() != nil {
			r.final()
			return nil
		}
		if r.isPermanent(err) {
			return r.ended(err)
		}
		if streamed {
			pause.Reset()
			failures = capture.FailureLog{}
		}
		if start.OnLost != nil {
			start.OnLost(err)
		}
		wait := pause.NextBackOff()
		if failures.Worth(err, time.Now()) {
			s.log.Warn("replication connection lost", "err", err, "attempt", failures.Count, "retry_in", wait.Round(time.Millisecond))
		}
		if capture.Sleep(ctx, wait) != nil {
			r.final()
			return nil
		}
	}
}

// session connects and streams until something ends it. streamed says that it got to
// the point of receiving.
func (r *run) session(ctx context.Context) (streamed bool, err error) {
	conn, err := r.connectReplication(ctx)
	if err != nil {
		return false, err
	}
	defer closeNow(conn)
	started, confirmed, err := r.begin(ctx, conn)
	if err != nil {
		return false, err
	}
	r.log.Info("streaming", "slot", r.config.Slot, "position", started.Position, "created", started.Created, "resumed", started.Resumed)
	from, err := parsePosition(started.Position)
	if err != nil {
		return false, err
	}
	r.position, r.timeline = from, started.Server.Timeline
	// What was said about the start holds for this one only.
	r.start.Start, r.start.AcceptGap = "", false
	if r.start.OnStarted != nil {
		r.start.OnStarted(started)
	}

	query := r.newQuerier(streamQueryTimeout)
	defer query.close()
	st := newStream(ctx, conn, r, query, confirmed, started.Server.SenderTimeout)
	if started.GapTo != "" {
		if err := st.sink.Idle(started.Position); err != nil {
			return false, &sinkError{err}
		}
	}
	err = st.follow(ctx)
	if st.decoder.handed > r.position {
		r.silences = 0
	}
	r.position = st.decoder.handed
	r.sink.Abort()
	if ctx.Err() != nil {
		st.finish()
	}
	return true, err
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

func (r *run) isPermanent(err error) bool {
	var (
		sink      *sinkError
		permanent *permanentError
		gap       *capture.GapError
		operator  *capture.OperatorError
		malformed *streamError
	)
	if errors.As(err, &malformed) {
		if r.malformedAt != r.position {
			r.malformedAt, r.malformed = r.position, 0
		}
		r.malformed++
		return r.malformed >= malformedTries
	}
	return errors.As(err, &sink) || errors.As(err, &permanent) || errors.As(err, &gap) || errors.As(err, &operator)
}

// ended is the error that the run ends with.
func (r *run) ended(err error) error {
	if errors.As(err, new(*streamError)) {
		return &capture.OperatorError{Err: fmt.Errorf("at position %s, %d times: %w", r.malformedAt, r.malformed, err), Remedy: capture.UnreadableRemedy}
	}
	return unwrapPermanent(err)
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

// streamingError explains errors of the server that mean more than a lost connection.
func (r *run) streamingError(err error) error {
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		return err
	}
	switch {
	case pgErr.Code == "42704" && strings.Contains(pgErr.Message, "publication"):
		return &capture.GapError{
			Stored: position(r.position),
			Text:   fmt.Sprintf("publication %s did not exist yet where the stream stands, or has been dropped since", r.config.Publication),
			Remedy: fmt.Sprintf("`rowhook setup` for the publication; drop the slot (SELECT pg_drop_replication_slot(%s)); then `rowhook run --accept-gap`",
				quoteLiteral(r.config.Slot)),
		}
	case pgErr.Code == "42501":
		return &capture.OperatorError{Err: err, Remedy: fmt.Sprintf("ALTER ROLE %s REPLICATION;", quoteIdent(r.connect.User))}
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
