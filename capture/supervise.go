package capture

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	// retryFirst and retryMost bound the wait between attempts to connect.
	retryFirst = 250 * time.Millisecond
	retryMost  = 30 * time.Second
)

// What a source decides with the help of its own stream, though all sources decide it by the same
// measure.
const (
	// FailedTries is how often a stream is read again at one position when it cannot be framed, or
	// when the server refuses to send what stands there.
	FailedTries = 3
	// AcceptMost is how long after a start what is missing still counts as the gap that was
	// accepted.
	AcceptMost = time.Minute
)

// Streamer is what [Supervise] keeps going: the connections of a source, one after the other.
type Streamer interface {
	// Session connects and streams until something ends it. Settled says that it came far enough
	// for the next attempt to follow soon. No error says that the next is to begin at once.
	Session(ctx context.Context) (settled bool, err error)
	// Rest waits after a session that ended with [ErrPaused], until there is room and it is time to
	// go on, or ctx ends.
	Rest(ctx context.Context)
}

// Supervise keeps a source streaming until ctx ends, and then returns nil. Between sessions that
// fail it waits longer each time. It returns an error only for what a new session cannot fix: one
// that was marked as [Permanent], as it was before that, a [*GapError], or an [*OperatorError].
// Lost, if set, hears why a session ended before it is followed by another.
func Supervise(ctx context.Context, s Streamer, lost func(error), log *slog.Logger) error {
	pause := backoff.NewExponentialBackOff(backoff.WithInitialInterval(retryFirst),
		backoff.WithMaxInterval(retryMost), backoff.WithMaxElapsedTime(0))
	var failures FailureLog
	for {
		settled, err := s.Session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil || errors.Is(err, ErrAgain) {
			continue
		}
		if IsPermanent(err) {
			return unmarked(err)
		}
		if settled {
			pause.Reset()
			failures = FailureLog{}
		}
		if lost != nil {
			lost(err)
		}
		if errors.Is(err, ErrPaused) { // which is no failure
			s.Rest(ctx)
			if ctx.Err() != nil {
				return nil
			}
			continue
		}
		wait := pause.NextBackOff()
		if failures.Worth(err, time.Now()) {
			told := []any{"err", err, "attempt", failures.Count, "retry_in", wait.Round(time.Millisecond)}
			if remedy := Remedy(err); remedy != "" {
				told = append(told, "remedy", remedy)
			}
			log.Warn("replication connection lost", told...)
		}
		if Sleep(ctx, wait) != nil {
			return nil
		}
	}
}

// permanentError ends a run.
type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

// ErrAgain is what a [Sink] ends a session with to have the open transaction come again, from its
// beginning. The next session follows at once.
var ErrAgain = errors.New("the transaction is to come again")

// Permanent marks an error that ends a run as it is, since no new session can fix it: one of the
// sink, unless it is [ErrAgain], or of those who run the source.
func Permanent(err error) error {
	if errors.Is(err, ErrAgain) {
		return err
	}
	return &permanentError{err}
}

// IsPermanent reports whether no new session can fix the error.
func IsPermanent(err error) bool {
	return errors.As(err, new(*permanentError)) || errors.As(err, new(*GapError)) || errors.As(err, new(*OperatorError))
}

// unmarked takes our own mark off.
func unmarked(err error) error {
	var permanent *permanentError
	if errors.As(err, &permanent) {
		return permanent.err
	}
	return err
}
