package capture

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrPaused ends a connection from which nothing has been read for a while, since the sink has no
// room. The stream resumes once it has.
var ErrPaused = errors.New("the source is paused, since nothing more can be stored")

// repeatLog is how often a failure that does not change is logged.
const repeatLog = 5 * time.Minute

// FailureLog says which of many failures are worth a line: the first, each that
// differs from the one before, and one from time to time.
type FailureLog struct {
	last  string
	at    time.Time
	Count int // of failures so far
}

// Worth counts a failure and reports whether it is worth a line now.
func (f *FailureLog) Worth(err error, now time.Time) bool {
	f.Count++
	text := fmt.Sprint(err)
	if text == f.last && now.Sub(f.at) < repeatLog {
		return false
	}
	f.last, f.at = text, now
	return true
}

// Sleep waits for d, or returns the context's error when that ends first.
func Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
