package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"rowhook/capture"
)

const (
	// retryFirst is the first wait for what the server does not tell of, such as that a slot is
	// free.
	retryFirst = 250 * time.Millisecond
	// settledAfter is how long a stream has to last for the next attempt to follow soon, if it did
	// not move.
	settledAfter = time.Minute
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
	began    time.Time // of the latest session
	silences int       // connections given up for silence since the stream last moved

	paused      time.Time     // since when nothing is read, since the sink has no room; see rest
	resting     time.Duration // how long to wait beyond that the next time
	idleTimeout time.Duration // idle_replication_slot_timeout; 0 for none
}

// Run streams into the sink until ctx ends, and then returns nil. It reconnects by itself. It
// returns an error only for what a new attempt cannot fix: an error of the sink or of OnConnect as
// it is, a [*capture.GapError], a [*capture.OperatorError], or a stream that cannot be read.
func (s *Source) Run(ctx context.Context, start capture.StartOptions, sink capture.Sink) error {
	stored, err := parsePosition(start.Stored)
	if err != nil {
		return err
	}
	r := &run{Source: s, sink: sink, start: start, position: stored, timeline: start.Timeline, accept: start.AcceptGap}
	stop := s.startHeartbeat(ctx)
	defer stop()
	err = capture.Supervise(ctx, r, start.OnLost, s.log)
	if err == nil {
		r.start.Flush(sink)
	}
	return err
}

// Session implements [capture.Streamer]: a stream that moved, or lasted, has settled.
func (r *run) Session(ctx context.Context) (settled bool, err error) {
	before := r.position
	r.began = time.Now()
	err = r.session(ctx)
	if ctx.Err() == nil {
		err = r.judge(ctx, err)
	}
	return r.position != before || time.Since(r.began) > settledAfter, err
}

// Rest implements [capture.Streamer].
func (r *run) Rest(ctx context.Context) {
	_ = capture.Sleep(ctx, r.rest(ctx)) // the end of ctx is seen by who called
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
	r.reached.Store(uint64(from))
	if started.GapTo != "" && r.skip == 0 {
		r.accept = false // it was this gap
	}
	// What was said about the start holds for this one only.
	r.start.Start, r.start.AcceptGap, r.start.TakeOver, r.skip = "", false, false, 0
	if r.start.OnStarted != nil {
		r.start.OnStarted(started)
	}

	st := newStream(ctx, conn, r, query, confirmed, started.Server.SenderTimeout)
	if started.GapTo != "" {
		if err := st.sink.Idle(started.Position); err != nil {
			return capture.Permanent(err)
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
	r.reached.Store(uint64(r.position)) // a commit that was not taken comes again
	if st.decoder.commits > 0 || time.Since(began) > capture.AcceptMost {
		r.accept = false
	}
	var refused *refusedError
	if errors.As(err, &refused) && st.decoder.open {
		refused.commit = st.decoder.committed
	}
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
