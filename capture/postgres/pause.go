package postgres

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
)

// A server that shuts down waits until its WAL senders have sent everything and the other side has
// confirmed it. One whose agent does not read, or is far behind, would wait for ever, with new
// connections refused. So the agent lets go.

const (
	// pauseMost is how long nothing is read before the connection is given up.
	pauseMost = time.Second
	// restMost bounds the wait before a stream that had to pause soon is resumed.
	restMost = 10 * time.Second
	// watchEvery is how often it is looked whether the server has ended our other connection, as it
	// does when it shuts down, and partWithin how long it then has for the rest of the stream.
	watchEvery = time.Second
	partWithin = 2 * time.Second
)

// errServerEnds ends a connection to a server that shuts down.
var errServerEnds = errors.New("the server is shutting down")

// rest waits until there is room, and says how long to wait beyond that: a stream that had to pause
// again soon is resumed later each time, since each resumption has the server decode again what is
// not confirmed.
func (r *run) rest(ctx context.Context) time.Duration {
	if r.paused.IsZero() || time.Since(r.began) > settledAfter {
		r.paused, r.resting = time.Now(), 0
		r.log.Info("the source is paused", "position", r.position)
	}
	r.awaitRoom(ctx)
	wait := r.resting
	r.resting = min(max(retryFirst, 2*wait), restMost)
	return wait
}

// awaitRoom waits until the sink takes more, or until the slot has been idle for so long that the
// server might give it up.
func (r *run) awaitRoom(ctx context.Context) {
	var soon <-chan time.Time
	if r.idleTimeout > 0 {
		timer := time.NewTimer(r.idleTimeout / 4)
		defer timer.Stop()
		soon = timer.C
	}
	for busy := r.sink.Busy(); busy != nil; busy = r.sink.Busy() {
		select {
		case <-busy:
		case <-soon:
			return
		case <-ctx.Done():
			return
		}
	}
}

// watchServer ends the stream of a server that shuts down and has not done with it in time. What it
// returns is closed when it has ended.
func (r *run) watchServer(ctx context.Context, query *querier, end context.CancelCauseFunc) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for capture.Sleep(ctx, watchEvery) == nil {
			if query.alive() {
				continue
			}
			err := query.within(ctx, func(context.Context, *pgx.Conn) error { return nil })
			if !isShutdown(err) {
				continue
			}
			if capture.Sleep(ctx, partWithin) == nil {
				end(fmt.Errorf("%w: %w", errServerEnds, err))
			}
			return
		}
	}()
	return done
}

// isShutdown reports whether a connection was refused as a server refuses it that shuts down, or
// has.
func isShutdown(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && answer.Code == "57P03" || errors.Is(err, syscall.ECONNREFUSED)
}

// alive reports whether the server has not ended the connection. One that is in use, or was never
// made, tells nothing.
func (q *querier) alive() bool {
	if !q.mu.TryLock() {
		return true
	}
	defer q.mu.Unlock()
	if q.conn == nil {
		return true
	}
	conn := q.conn.PgConn()
	return !conn.IsClosed() && conn.CheckConn() == nil && conn.CheckConn() == nil //nolint:staticcheck // Ping asks the server; its farewell comes first
}
