package postgres

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestBusySinkLetsGo holds that a source whose sink has no room leaves the server alone, and
// resumes once there is room, losing and repeating nothing.
func TestBusySinkLetsGo(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, oneTable)
	sink := newListSink("")
	started, lost := make(chan capture.Started, 10), make(chan error, 10)
	running := runSource(t, newSource(t, pg.DSN), capture.StartOptions{
		OnStarted: func(s capture.Started) { started <- s }, OnLost: func(err error) { lost <- err }}, sink)
	<-started
	free := sink.block()
	pg.Run(t, "insert into t select i, repeat('x', 1000) from generate_series(1, 20000) i")
	select {
	case err := <-lost:
		if !errors.Is(err, capture.ErrPaused) {
			t.Errorf("the stream ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the source keeps the connection")
	}
	eventually(t, "the slot to be free", func() bool { return pg.Rows(t, "select active from pg_replication_slots")[0][0] == "f" })
	if n := len(sink.changes()); n == 20000 {
		t.Error("a busy sink got everything")
	}
	free()
	<-started
	sink.await(t, "all rows", func() bool { return len(sink.changes()) == 20000 })
	running.stop(t)
	if n := len(sink.changes()); n != 20000 {
		t.Errorf("%d rows came, want 20000", n)
	}
}

// block leaves the sink without room until free is called.
func (s *listSink) block() (free func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	busy := make(chan struct{})
	s.busy = busy
	return func() {
		s.mu.Lock()
		s.busy = nil
		s.mu.Unlock()
		close(busy)
	}
}

// slowSink takes a row, and then has no room for a moment.
type slowSink struct {
	*listSink
	moment time.Duration
}

func (s *slowSink) Busy() <-chan struct{} {
	room := make(chan struct{})
	time.AfterFunc(s.moment, func() { close(room) })
	return room
}

// TestServerStopsWhatever holds that a fast shutdown ends soon also when the agent does not read,
// reads slowly, or does not come to store what it has read; and that nothing is lost by it.
func TestServerStopsWhatever(t *testing.T) {
	t.Parallel()
	for _, major := range capturetest.Majors() {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			pg := startServer(t, capturetest.Options{Major: major}, oneTable)
			sink := &slowSink{newListSink(""), 0}
			stop := func(what string) {
				t.Helper()
				began := time.Now()
				capturetest.Must(t, pg.Stop(capturetest.Fast))
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("%s: the server took %s to stop", what, took)
				} else {
					t.Logf("%s: the server stopped in %s", what, took)
				}
				capturetest.Must(t, pg.Start())
			}
			insert := func(from, to int) {
				t.Helper()
				pg.Run(t, fmt.Sprintf("insert into t select i, repeat('x', 1000) from generate_series(%d, %d) i", from, to))
			}
			start := func(into capture.Sink) *running {
				running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{Stored: sink.Durable()}, into)
				return running
			}

			paused := start(sink.listSink)
			free := sink.block()
			insert(1, 5000)
			stop("paused")
			free()
			sink.await(t, "all rows", func() bool { return len(sink.changes()) == 5000 })
			paused.stop(t)

			sink.moment = 5 * time.Millisecond
			insert(5001, 15000)
			slow := start(sink)
			sink.await(t, "some rows", func() bool { return sink.count() > 5010 })
			stop("slow")
			slow.stop(t)
			sink.moment = 0

			stuck := start(sink.listSink)
			sink.await(t, "all rows", func() bool { return len(sink.changes()) == 15000 })
			sink.mu.Lock()
			sink.frozen = true
			sink.mu.Unlock()
			insert(15001, 15010)
			sink.await(t, "the last rows", func() bool { return len(sink.changes()) == 15010 })
			stop("nothing stored")
			stuck.stop(t)
		})
	}
}

// TestServerStopsAtOnce holds that a fast shutdown does not wait for the agent, and
// that the source comes back with the server.
func TestServerStopsAtOnce(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, oneTable)
	sink := newListSink("")
	running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{}, sink)
	for id := range 3 {
		pg.Run(t, insertT(2*id))
		began := time.Now()
		capturetest.Must(t, pg.Stop(capturetest.Fast))
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the server took %s to stop", took)
		}
		capturetest.Must(t, pg.Start())
		pg.Run(t, insertT(2*id+1))
		sink.await(t, "the row after the restart", hasInsert(sink, 2*id+1))
	}
	running.stop(t)
	if n := len(sink.changes()); n != 6 {
		t.Errorf("%d rows came, want 6", n)
	}
}
