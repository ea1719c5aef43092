package postgres

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 2 * time.Minute

// newSource makes a source for a URL, with slot and publication "rowhook".
func newSource(t testing.TB, url string) *Source {
	t.Helper()
	s, err := New(capture.SourceConfig{URL: url}, Options{Logger: testLogger(t), AgentID: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// testLogger writes to the test's log, as long as the test runs.
func testLogger(t testing.TB) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t = nil
	})
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

type testWriter struct {
	mu sync.Mutex
	t  testing.TB
}

func (w *testWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Log(string(bytes.TrimSpace(p)))
	}
	return len(p), nil
}

// running is a Run in the background.
type running struct {
	cancel context.CancelFunc
	ended  chan error
}

func runSource(t testing.TB, s *Source, start capture.StartOptions, sink capture.Sink) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- s.Run(ctx, start, sink) }()
	t.Cleanup(func() {
		cancel()
		select {
		case <-r.ended:
		case <-time.After(patience):
			t.Error("the source does not end")
		}
	})
	return r
}

// follow runs a source and waits until it streams. What durable says at the end is confirmed.
func follow(t testing.TB, s *Source, start capture.StartOptions, sink capture.Sink) (*running, capture.Started) {
	t.Helper()
	started := make(chan capture.Started, 100)
	start.OnStarted = func(s capture.Started) { started <- s }
	if start.Final == nil {
		start.Final = sink.Durable
	}
	r := runSource(t, s, start, sink)
	select {
	case got := <-started:
		return r, got
	case err := <-r.ended:
		t.Fatalf("run: %v", err)
	case <-time.After(patience):
		t.Fatal("the source does not start")
	}
	return nil, capture.Started{}
}

// stop ends the run and expects no error.
func (r *running) stop(t testing.TB) {
	t.Helper()
	r.cancel()
	if err := r.wait(t); err != nil {
		t.Errorf("run: %v", err)
	}
}

// wait waits for the end of the run by itself.
func (r *running) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		return err
	case <-time.After(patience):
		t.Fatal("the source does not end")
		return nil
	}
}

// listSink is a sink that keeps what it gets as lines of text.
type listSink struct {
	mu      sync.Mutex
	lines   []string
	whole   int // of lines: those of committed transactions
	changed chan struct{}
	durable capture.Position
	end     capture.Position // of what came
	frozen  bool             // durable stays
	busy    chan struct{}
	fail    error // returned by Change
}

func newListSink(durable capture.Position) *listSink {
	return &listSink{durable: durable, changed: make(chan struct{})}
}

func (s *listSink) add(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *listSink) reached(end capture.Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = end
	if !s.frozen {
		s.durable = end
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *listSink) Begin(*capture.Transaction) error { s.add("begin"); return nil }

func (s *listSink) Change(c *capture.Change) error {
	s.mu.Lock()
	fail := s.fail
	s.mu.Unlock()
	if fail != nil {
		return fail
	}
	s.add(changeLine(c))
	return nil
}

func (s *listSink) Message(m *capture.Message) error {
	s.add(fmt.Sprintf("%d message %s %s", m.Ordinal, m.Prefix, m.Content))
	return nil
}

func (s *listSink) Park(u *capture.Undecoded) error {
	s.add(fmt.Sprintf("%d park %s: %v", u.Ordinal, u.Table, u.Err))
	return nil
}

func (s *listSink) Commit(end capture.Position) error {
	s.mu.Lock()
	s.lines = append(s.lines, "commit")
	s.whole = len(s.lines)
	s.mu.Unlock()
	s.reached(end)
	return nil
}

func (s *listSink) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = s.lines[:s.whole]
}

func (s *listSink) Idle(end capture.Position) error { s.reached(end); return nil }

func (s *listSink) Busy() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy == nil {
		return nil
	}
	return s.busy
}

func (s *listSink) Durable() capture.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.durable
}

// count is how many lines there are, of open transactions too.
func (s *listSink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.lines)
}

// changes returns the lines of committed changes, messages and parked changes.
func (s *listSink) changes() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, line := range s.lines[:s.whole] {
		if line != "begin" && line != "commit" {
			out = append(out, line)
		}
	}
	return out
}

// await waits until cond holds, which is asked again whenever something came.
func (s *listSink) await(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if cond() {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waited in vain for %s; came:\n%s", what, strings.Join(s.changes(), "\n"))
		}
	}
}

// changeLine writes a change as "ordinal op table old -> new".
func changeLine(c *capture.Change) string {
	line := fmt.Sprintf("%d %s %s", c.Ordinal, c.Op, c.Table)
	if c.Old != nil {
		line += " " + rowLine(c.Table, c.Old)
	}
	if c.Op == capture.Update {
		line += " ->"
	}
	if c.New != nil {
		line += " " + rowLine(c.Table, c.New)
	}
	return line
}

// rowLine writes known values; ? is unknown and = unchanged.
func rowLine(t *capture.Table, row capture.Row) string {
	parts := make([]string, len(row))
	for i, v := range row {
		var text string
		switch v.State {
		case capture.Unknown:
			text = "?"
		case capture.Unchanged:
			text = "="
		case capture.Null:
			text = "null"
		case capture.Present:
			out, ok := t.Columns[i].Type.AppendJSON(nil, v.Text)
			if text = string(out); !ok {
				text = "!" + text
			}
			if t.Columns[i].Type.Kind == capture.Untyped {
				text = "~" + text
			}
			if len(text) > 100 {
				text = fmt.Sprintf("<%d bytes>", len(text))
			}
		}
		parts[i] = t.Columns[i].Name + ":" + text
	}
	return "(" + strings.Join(parts, " ") + ")"
}

// eventually asks cond until it holds: for what the server does in its own time.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-tick.C
	}
}

// startServer starts a server with a database of the given statements and a publication for all its
// tables.
func startServer(t testing.TB, opts capturetest.Options, sql ...string) *capturetest.Postgres {
	t.Helper()
	pg := capturetest.StartPostgres(t, opts)
	pg.Run(t, sql...)
	pg.Run(t, "create publication rowhook for all tables with (publish_via_partition_root = true)")
	return pg
}
