package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

const oneTable = "create table t (id int primary key, note text)"

func insertT(id int) string { return fmt.Sprintf("insert into t values (%d, 'x')", id) }

func hasInsert(s *listSink, id int) func() bool {
	return func() bool {
		for _, line := range s.changes() {
			if strings.HasPrefix(line, fmt.Sprintf("0 insert public.t (id:%d ", id)) {
				return true
			}
		}
		return false
	}
}

// confirmed returns the slot's confirmed position, as the server knows it.
func confirmed(t testing.TB, pg *capturetest.Postgres) pglogrepl.LSN {
	t.Helper()
	rows := pg.Rows(t, "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'rowhook'")
	if len(rows) != 1 {
		t.Fatalf("slots: %v", rows)
	}
	lsn, err := pglogrepl.ParseLSN(rows[0][0])
	capturetest.Must(t, err)
	return lsn
}

func lsnOf(t testing.TB, p capture.Position) pglogrepl.LSN {
	t.Helper()
	lsn, err := parsePosition(p)
	capturetest.Must(t, err)
	return lsn
}

// TestFirstStart follows a source from nothing: publication, slot, first row.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	pg := capturetest.StartPostgres(t, capturetest.Options{Major: 17})
	pg.Run(t, oneTable)
	sink := newListSink("")
	err := runSource(t, newSource(t, pg.DSN), capture.StartOptions{}, sink).wait(t)
	var operator *capture.OperatorError
	if !errors.As(err, &operator) || operator.Remedy != "rowhook setup" {
		t.Fatalf("without a publication: %v", err)
	}
	pg.Run(t, "create publication rowhook for table t")
	running, got := follow(t, newSource(t, pg.DSN), capture.StartOptions{}, sink)
	if !got.Created || got.Position == "" || got.Server.Lineage == "" || got.Server.Database != "postgres" {
		t.Errorf("started %+v", got)
	}
	pg.Run(t, insertT(1))
	sink.await(t, "the row", hasInsert(sink, 1))
	running.stop(t)
	if rows := pg.Rows(t, "select failover from pg_replication_slots"); rows[0][0] != "t" {
		t.Error("the slot is not kept across failovers")
	}
}

// TestIdleRestarts holds that a row after an idle restart always comes.
func TestIdleRestarts(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, oneTable)
	sink := newListSink("")
	for id := 1; id <= 100; id++ {
		running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{Stored: sink.Durable()}, sink)
		if id%2 == 0 {
			running.stop(t)
			running, _ = follow(t, newSource(t, pg.DSN), capture.StartOptions{Stored: sink.Durable()}, sink)
		}
		pg.Run(t, insertT(id))
		sink.await(t, "the row", hasInsert(sink, id))
		running.stop(t)
		if slot := confirmed(t, pg); slot != lsnOf(t, sink.Durable()) {
			t.Fatalf("after the stop the slot is at %s, durable was %s", slot, sink.Durable())
		}
		if rows := pg.Rows(t, "select active from pg_replication_slots"); rows[0][0] != "f" {
			t.Fatal("after the stop the slot is still taken")
		}
	}
	if got := len(sink.changes()); got != 100 {
		t.Errorf("%d rows came, want 100", got)
	}
}

// TestOnlyDurableIsConfirmed holds invariant I1 against keepalives and WAL of others,
// and that the slot moves as soon as nothing is unanswered.
func TestOnlyDurableIsConfirmed(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{Settings: map[string]string{"wal_sender_timeout": "3s"}},
		oneTable, "create database other")
	sink := newListSink("")
	running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{}, sink)
	pg.Run(t, insertT(1))
	sink.await(t, "the row", hasInsert(sink, 1))
	eventually(t, "the confirmation of the first row", func() bool { return confirmed(t, pg) >= lsnOf(t, sink.Durable()) && sink.Durable() != "" })

	sink.mu.Lock()
	sink.frozen = true
	sink.mu.Unlock()
	stuck := lsnOf(t, sink.Durable())
	pg.Run(t, insertT(2))
	capturetest.Must(t, pg.Exec(context.Background(), "other", "create table noise as select generate_series(1, 10000)"))
	sink.await(t, "the second row", hasInsert(sink, 2))
	end := pg.Rows(t, "select pg_current_wal_flush_lsn()")[0][0]
	sink.await(t, "an idle position behind the noise", func() bool {
		sink.mu.Lock()
		defer sink.mu.Unlock()
		return lsnOf(t, sink.end) >= lsnOf(t, capture.Position(end))
	})
	if got := confirmed(t, pg); got > stuck {
		t.Errorf("confirmed %s beyond the durable %s", got, stuck)
	}
	sink.mu.Lock()
	sink.frozen, sink.durable = false, sink.end
	sink.mu.Unlock()
	eventually(t, "the slot to follow", func() bool { return confirmed(t, pg) >= lsnOf(t, capture.Position(end)) })
	running.stop(t)
}

func TestSinkErrorEndsTheRun(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, oneTable)
	sink := newListSink("")
	sink.fail = errors.New("spool is closed")
	running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{}, sink)
	pg.Run(t, insertT(1))
	if err := running.wait(t); err != sink.fail {
		t.Errorf("run ended with %v", err)
	}
}

// TestPublicationDropped holds that a publication dropped under the stream is a gap: made again, it
// does not exist yet where the stream stands.
func TestPublicationDropped(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, oneTable)
	started := make(chan capture.Started, 1)
	running := runSource(t, newSource(t, pg.DSN), capture.StartOptions{OnStarted: func(s capture.Started) { started <- s }}, newListSink(""))
	<-started
	pg.Run(t, "drop publication rowhook")
	pg.Run(t, insertT(1))
	var gap *capture.GapError
	if err := running.wait(t); !errors.As(err, &gap) || gap.Stored == "" || !strings.Contains(gap.Remedy, "rowhook setup") {
		t.Errorf("run ended with %v", err)
	}
}

func TestOnConnectMayRefuse(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, oneTable, "alter database postgres set rowhook.environment = 'sandbox'")
	refusal := errors.New("not this server")
	err := runSource(t, newSource(t, pg.DSN), capture.StartOptions{OnConnect: func(s capture.Server) error {
		if s.Environment != "sandbox" || s.Version < minVersion || s.Timeline != 1 {
			t.Errorf("server %+v", s)
		}
		return refusal
	}}, newListSink("")).wait(t)
	if err != refusal {
		t.Errorf("run ended with %v", err)
	}
}

// TestSlotTaken holds that another agent is named and refused, and that a dead
// connection of our own is waited for.
func TestSlotTaken(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, oneTable, "select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
	hold := func(application string) (release func()) {
		s := newSource(t, pg.DSN+"&application_name=x")
		s.application = application
		s.connect.RuntimeParams["application_name"] = application
		conn, err := s.connectReplication(context.Background())
		capturetest.Must(t, err)
		r := &run{Source: s}
		capturetest.Must(t, r.startReplication(context.Background(), conn, 0))
		return func() { closeNow(conn) }
	}
	release := hold("another agent")
	err := runSource(t, newSource(t, pg.DSN), capture.StartOptions{}, newListSink("")).wait(t)
	var operator *capture.OperatorError
	if !errors.As(err, &operator) || !strings.Contains(err.Error(), `application_name "another agent"`) || !strings.Contains(err.Error(), "pid ") {
		t.Errorf("run ended with %v", err)
	}
	findings, _, err := newSource(t, pg.DSN).Check(context.Background(), nil)
	capturetest.Must(t, err)
	if lines := strings.Join(findingLines(findings), "\n"); !strings.Contains(lines, "warning slot") {
		t.Errorf("check found:\n%s", lines)
	}
	release()
	eventually(t, "the slot to be free", func() bool {
		return pg.Rows(t, "select active from pg_replication_slots")[0][0] == "f"
	})

	release = hold("rowhook:test")
	sink := newListSink("")
	var dead *time.Timer
	running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{Start: "slot", OnConnect: func(capture.Server) error {
		dead = time.AfterFunc(500*time.Millisecond, release) // by then it has been seen
		return nil
	}}, sink)
	if dead.Stop() {
		t.Error("the source did not wait for the dead connection")
	}
	pg.Run(t, insertT(1))
	sink.await(t, "the row", hasInsert(sink, 1))
	running.stop(t)
}

// TestTakeOver holds that a connection which a machine has left that captures no more is ended, and
// another agent's is not.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, oneTable, "select pg_create_logical_replication_slot('rowhook', 'pgoutput')",
		"create role taker login replication", "grant select on all tables in schema public to taker")
	dsn := pg.TCP("postgres", "taker")
	hold := func(application string) {
		s := newSource(t, dsn)
		s.application = application
		s.connect.RuntimeParams["application_name"] = application
		conn, err := s.connectReplication(context.Background())
		capturetest.Must(t, err)
		t.Cleanup(func() { closeNow(conn) })
		capturetest.Must(t, (&run{Source: s}).startReplication(context.Background(), conn, 0))
	}
	hold("rowhook:test")
	sink := newListSink("")
	began := time.Now()
	running, _ := follow(t, newSource(t, dsn), capture.StartOptions{Start: "slot", TakeOver: true}, sink)
	t.Log("taken over in", time.Since(began))
	pg.Run(t, insertT(1))
	sink.await(t, "the row", hasInsert(sink, 1))
	running.stop(t)

	eventually(t, "the slot to be free", func() bool {
		return pg.Rows(t, "select active from pg_replication_slots")[0][0] == "f"
	})
	hold("another agent")
	err := runSource(t, newSource(t, dsn), capture.StartOptions{TakeOver: true}, newListSink("")).wait(t)
	var operator *capture.OperatorError
	if !errors.As(err, &operator) {
		t.Errorf("run ended with %v", err)
	}
}

// TestGaps drives the rules of decideStart through a real server.
func TestGaps(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{Settings: map[string]string{"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}}, oneTable)
	sink := newListSink("")
	expectGap := func(what string) {
		t.Helper()
		var gap *capture.GapError
		if err := runSource(t, newSource(t, pg.DSN), capture.StartOptions{Stored: sink.Durable()}, sink).wait(t); !errors.As(err, &gap) || !strings.Contains(gap.Text, what) {
			t.Fatalf("run ended with %v, want a gap: %s", err, what)
		}
	}
	accept := func(id int) {
		t.Helper()
		running, s := follow(t, newSource(t, pg.DSN), capture.StartOptions{Stored: sink.Durable(), AcceptGap: true}, sink)
		if s.GapFrom == "" || s.GapTo == "" || s.Resumed {
			t.Errorf("started %+v", s)
		}
		pg.Run(t, insertT(id))
		sink.await(t, "the row after the gap", hasInsert(sink, id))
		running.stop(t)
	}
	running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{}, sink)
	pg.Run(t, insertT(1))
	sink.await(t, "the row", hasInsert(sink, 1))
	running.stop(t)

	pg.Run(t, "select pg_drop_replication_slot('rowhook')", insertT(2))
	expectGap("is gone")
	accept(3)

	pg.Run(t, "select pg_drop_replication_slot('rowhook')", insertT(4), "select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
	expectGap("moved beyond the stored position")
	accept(5)

	for range 5 {
		pg.Run(t, "select pg_logical_emit_message(false, 'noise', repeat('x', 1000000))", "select pg_switch_wal()", "checkpoint")
	}
	expectGap("invalidated")
	accept(6)

	sink.durable = "7/0"
	expectGap("ends before the stored position")
	if hasInsert(sink, 2)() || hasInsert(sink, 4)() {
		t.Error("rows inside the gaps came")
	}
}

// TestEmptyStateBesideAUsedSlot holds the rule for a lost state directory.
func TestEmptyStateBesideAUsedSlot(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, oneTable, "select pg_create_logical_replication_slot('rowhook', 'pgoutput')")
	first := newListSink("")
	running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{}, first) // a fresh slot asks nothing
	pg.Run(t, insertT(1))
	first.await(t, "the row", hasInsert(first, 1))
	running.stop(t)
	pg.Run(t, insertT(2))

	var gap *capture.GapError
	if err := runSource(t, newSource(t, pg.DSN), capture.StartOptions{}, newListSink("")).wait(t); !errors.As(err, &gap) || !strings.Contains(gap.Remedy, "--start") {
		t.Fatalf("run ended with %v", err)
	}
	for _, from := range []string{"now", string(first.Durable()), "slot"} {
		sink := newListSink("")
		sink.frozen = true
		running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{Start: from}, sink)
		pg.Run(t, insertT(len(from)*100))
		sink.await(t, "the new row", hasInsert(sink, len(from)*100))
		if hasInsert(sink, 2)() != (from != "now") {
			t.Errorf("--start %s: came %q", from, sink.changes())
		}
		running.stop(t) // nothing was durable: the next may begin where this did
	}
}

// TestNewTimeline promotes a server and holds the stored position against its history.
func TestNewTimeline(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{Major: 17}, oneTable)
	sink := newListSink("")
	running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{}, sink)
	pg.Run(t, insertT(1))
	sink.await(t, "the row", hasInsert(sink, 1))
	running.stop(t)

	capturetest.Must(t, pg.Stop(capturetest.Fast))
	capturetest.Must(t, os.WriteFile(filepath.Join(pg.DataDir, "standby.signal"), nil, 0o644))
	pg.Set(map[string]string{"hot_standby_feedback": "on"})
	capturetest.Must(t, pg.Start())
	pg.Run(t, "select pg_promote()", insertT(2))

	running, s := follow(t, newSource(t, pg.DSN), capture.StartOptions{Stored: sink.Durable(), Timeline: 1}, sink)
	sink.await(t, "the row on the new timeline", hasInsert(sink, 2))
	if s.Server.Timeline != 2 || !s.Resumed {
		t.Errorf("started %+v", s)
	}
	running.stop(t)

	// The same, had we read on the old timeline beyond the point where the new one left it.
	var gap *capture.GapError
	err := runSource(t, newSource(t, pg.DSN), capture.StartOptions{Stored: sink.Durable(), Timeline: 1}, newListSink(sink.Durable())).wait(t)
	if !errors.As(err, &gap) || !strings.Contains(gap.Text, "branched off") {
		t.Errorf("run ended with %v", err)
	}
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, oneTable)
	s, err := New(capture.SourceConfig{URL: pg.DSN, Heartbeat: 10 * time.Millisecond}, Options{Logger: testLogger(t)})
	capturetest.Must(t, err)
	t.Cleanup(s.Close)
	sink := newListSink("")
	running, _ := follow(t, s, capture.StartOptions{}, sink)
	var first capture.Position
	sink.await(t, "idle positions that move", func() bool {
		sink.mu.Lock()
		defer sink.mu.Unlock()
		if first == "" {
			first = sink.end
		}
		return first != "" && sink.end != first
	})
	running.stop(t)
	if got := sink.changes(); len(got) != 0 {
		t.Errorf("heartbeats came as %q", got)
	}
}

// TestDecodeRaw holds that a parked change can be decoded once the cause is mended.
func TestDecodeRaw(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, oneTable)
	keep := &rawSink{listSink: newListSink("")}
	s := newSource(t, pg.DSN)
	running, _ := follow(t, s, capture.StartOptions{}, keep)
	pg.Run(t, insertT(1), "update t set note = 'y'", "delete from t", "truncate t")
	keep.await(t, "all changes", func() bool { return len(keep.changes()) == 4 })
	running.stop(t)
	for i, raw := range keep.raw {
		change, err := s.DecodeRaw(context.Background(), raw)
		if err != nil {
			t.Error(err)
			continue
		}
		if got := changeLine(change); got != keep.changes()[i] {
			t.Errorf("decoded %s, was %s", got, keep.changes()[i])
		}
	}
	for _, raw := range []capture.Raw{{}, {Relation: []byte("x"), Change: []byte("x")}, {Relation: loans('d'), Change: []byte("I")},
		{Relation: loans('d'), Change: []byte("?")}} {
		if _, err := s.DecodeRaw(context.Background(), raw); err == nil {
			t.Errorf("%q is decoded", raw)
		}
	}
}

type rawSink struct {
	*listSink
	raw []capture.Raw
}

func (s *rawSink) Change(c *capture.Change) error {
	s.raw = append(s.raw, capture.Raw{Relation: append([]byte(nil), c.Raw.Relation...), Change: append([]byte(nil), c.Raw.Change...)})
	return s.listSink.Change(c)
}

// A row of table rowhook.environment says what the database is. A table that the role may not read
// could say anything.
func TestEnvironmentRow(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{}, oneTable, "create role agent login replication", "create schema rowhook",
		"create table rowhook.environment (environment text, since date)")
	identify := func(url string) (capture.Server, error) { return newSource(t, url).Identify(t.Context()) }
	if s, err := identify(pg.DSN); err != nil || s.Environment != "" {
		t.Errorf("without a row: %q, %v", s.Environment, err)
	}
	pg.Run(t, "insert into rowhook.environment values ('sandbox', now())")
	if s, err := identify(pg.DSN); err != nil || s.Environment != "sandbox" {
		t.Errorf("with a row: %q, %v", s.Environment, err)
	}
	_, err := identify(pg.TCP("postgres", "agent"))
	var operator *capture.OperatorError
	if !errors.As(err, &operator) || !strings.Contains(operator.Remedy, "GRANT SELECT ON rowhook.environment") {
		t.Errorf("without the right to read it: %v", err)
	}
	pg.Run(t, "grant usage on schema rowhook to agent", "grant select on rowhook.environment to agent")
	if s, err := identify(pg.TCP("postgres", "agent")); err != nil || s.Environment != "sandbox" {
		t.Errorf("as the agent: %q, %v", s.Environment, err)
	}
}
