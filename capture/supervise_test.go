package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// outcome is how a session ends.
type outcome struct {
	lasts   time.Duration
	settled bool
	err     error
}

// script is a source whose sessions end one after the other as it says; the last one streams until
// it is told to end.
type script struct {
	sessions []outcome
	rest     time.Duration
	began    time.Time
	starts   []time.Duration // of each session, since the beginning
	rests    int
}

func (s *script) Session(ctx context.Context) (settled bool, err error) {
	s.starts = append(s.starts, time.Since(s.began))
	if len(s.sessions) == 0 {
		<-ctx.Done()
		return true, ctx.Err()
	}
	o := s.sessions[0]
	s.sessions = s.sessions[1:]
	if Sleep(ctx, o.lasts) != nil {
		return o.settled, ctx.Err()
	}
	return o.settled, o.err
}

func (s *script) Rest(ctx context.Context) {
	s.rests++
	_ = Sleep(ctx, s.rest)
}

// remediedError is an error with a remedy.
type remediedError struct{ error }

func (remediedError) RemedyText() string { return "start the server" }

// supervised runs a script for so long, and returns what it ended with, what was lost and what was
// logged.
func supervised(t *testing.T, s *script, most time.Duration) (lost []string, log string, end error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "retry_in" { // the waits are drawn
			return slog.Attr{}
		}
		return a
	}}))
	s.began = time.Now()
	end = Supervise(ctx, s, func(err error) { lost = append(lost, err.Error()) }, logger)
	return lost, out.String(), end
}

// waits are the times between the sessions' starts.
func (s *script) waits() []time.Duration {
	var list []time.Duration
	for i := 1; i < len(s.starts); i++ {
		list = append(list, s.starts[i]-s.starts[i-1])
	}
	return list
}

// within reports whether a wait is one that is drawn around some length.
func within(wait, around time.Duration) bool { return wait >= around/2 && wait <= around*3/2 }

// TestSuperviseWaitsLonger holds that sessions that fail follow each other more and more slowly, up
// to a bound, and soon again after one that settled.
func TestSuperviseWaitsLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refused := outcome{err: errors.New("refused")}
		s := &script{}
		for range 20 {
			s.sessions = append(s.sessions, refused)
		}
		s.sessions = append(s.sessions, outcome{settled: true, err: errors.New("cut")}, refused)
		lost, log, end := supervised(t, s, time.Hour)
		if end != nil || len(lost) != 22 || len(s.starts) != 23 {
			t.Fatalf("ended with %v after %d losses and %d sessions", end, len(lost), len(s.starts))
		}
		around := retryFirst
		for i, wait := range s.waits() {
			if i == 20 { // the session that settled
				around = retryFirst
			}
			if !within(wait, around) {
				t.Errorf("wait %d is %s, want around %s", i, wait, around)
			}
			around = min(around*3/2, retryMost)
		}
		if n := strings.Count(log, "refused"); n < 2 || n > 6 {
			t.Errorf("a failure that does not change has %d lines:\n%s", n, log)
		}
		if !strings.Contains(log, "level=WARN msg=\"replication connection lost\" err=cut attempt=1\n") {
			t.Errorf("the count does not begin anew:\n%s", log)
		}
	})
}

// TestSuperviseEnds holds what ends a run and with which error.
func TestSuperviseEnds(t *testing.T) {
	t.Parallel()
	full := errors.New("the disk is full")
	gap := &GapError{Text: "purged"}
	operator := &OperatorError{Err: errors.New("denied"), Remedy: "GRANT"}
	for name, c := range map[string]struct{ err, want error }{
		"marked":       {Permanent(full), full},
		"marked below": {fmt.Errorf("receive: %w", Permanent(full)), full},
		"gap":          {gap, gap},
		"operator":     {operator, operator},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &script{sessions: []outcome{{err: errors.New("reset")}, {settled: true, err: c.err}}}
				lost, log, end := supervised(t, s, time.Hour)
				if end != c.want {
					t.Errorf("ended with %v, want %v", end, c.want)
				}
				if len(lost) != 1 || lost[0] != "reset" || strings.Count(log, "\n") != 1 {
					t.Errorf("lost %q, logged:\n%s", lost, log)
				}
			})
		})
	}
	wrapped := fmt.Errorf("receive: %w", gap)
	synctest.Test(t, func(t *testing.T) {
		if _, _, end := supervised(t, &script{sessions: []outcome{{err: wrapped}}}, time.Hour); end != wrapped {
			t.Errorf("ended with %v, want %v", end, wrapped)
		}
	})
}

// TestSuperviseRests holds that a pause is no failure: it has no line, no wait but its own, and
// lets no later wait grow.
func TestSuperviseRests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		paused := outcome{settled: true, err: fmt.Errorf("receive: %w", ErrPaused)}
		s := &script{rest: time.Minute, sessions: []outcome{paused, paused, {err: errors.New("refused")}}}
		lost, log, end := supervised(t, s, time.Hour)
		waits := s.waits()
		if end != nil || s.rests != 2 || len(lost) != 3 || len(waits) != 3 {
			t.Fatalf("ended with %v after %d rests, %q and waits of %s", end, s.rests, lost, waits)
		}
		if waits[0] != time.Minute || waits[1] != time.Minute || !within(waits[2], retryFirst) {
			t.Errorf("waits of %s", waits)
		}
		if strings.Count(log, "\n") != 1 {
			t.Errorf("logged:\n%s", log)
		}
	})
}

// TestSuperviseBeginsAnew has a session without an error be followed at once, without a word.
func TestSuperviseBeginsAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{sessions: []outcome{{lasts: time.Second}, {lasts: time.Second}}}
		lost, log, end := supervised(t, s, time.Minute)
		if end != nil || len(s.starts) != 3 || s.starts[2] != 2*time.Second || len(lost) != 0 || log != "" {
			t.Errorf("ended with %v, sessions at %s, lost %q, logged %q", end, s.starts, lost, log)
		}
	})
}

// TestSuperviseStops ends without an error when its context does: in a session, in a rest and in a
// wait.
func TestSuperviseStops(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*script{
		"session": {sessions: []outcome{{lasts: time.Hour, err: Permanent(errors.New("too late"))}}},
		"rest":    {rest: time.Hour, sessions: []outcome{{err: ErrPaused}}},
		"wait":    {sessions: []outcome{{lasts: time.Minute - time.Nanosecond, err: errors.New("refused")}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				_, _, end := supervised(t, s, time.Minute)
				if took := time.Since(s.began); end != nil || took != time.Minute || len(s.starts) != 1 {
					t.Errorf("ended with %v after %s and %d sessions", end, took, len(s.starts))
				}
			})
		})
	}
}

// TestSuperviseTellsTheRemedy logs what to do about a failure, where the error says so.
func TestSuperviseTellsTheRemedy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, log, _ := supervised(t, &script{sessions: []outcome{{err: fmt.Errorf("connect: %w", remediedError{errors.New("refused")})}}}, time.Minute)
		if want := "level=WARN msg=\"replication connection lost\" err=\"connect: refused\" attempt=1 remedy=\"start the server\"\n"; log != want {
			t.Errorf("logged %s, want %s", log, want)
		}
	})
}

// TestFlush flushes once, and says what is durable as often as it is asked.
func TestFlush(t *testing.T) {
	t.Parallel()
	flushed := 0
	o := StartOptions{Final: func() Position { flushed++; return "final" }}
	if first, second := o.Flush(durable("before")), o.Flush(durable("after")); first != "final" || second != "after" || flushed != 1 {
		t.Errorf("got %s and %s after %d flushes", first, second, flushed)
	}
}

// durable is a sink of which only the durable position is asked.
type durable Position

func (durable) Begin(*Transaction) error { return nil }
func (durable) Change(*Change) error     { return nil }
func (durable) Message(*Message) error   { return nil }
func (durable) Park(*Undecoded) error    { return nil }
func (durable) Commit(Position) error    { return nil }
func (durable) Abort()                   {}
func (durable) Idle(Position) error      { return nil }
func (durable) Busy() <-chan struct{}    { return nil }
func (d durable) Durable() Position      { return Position(d) }
