package postgres

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// slotAilment is a state of the slot in which check finds something. Each has a slot of its own,
// $s.
type slotAilment struct {
	name       string
	since      int
	sql        []string
	settings   map[string]string // during the state
	checkpoint bool              // brings the state about
	ail        func(t *testing.T, at *ailingSlot)
	severity   capture.Severity
	text       string // a part of the finding
	remedy     string // a part of the remedy
	// mend does what the remedy says where it is no SQL. It returns the slot to check afterwards.
	mend func(t *testing.T, at *ailingSlot) string
}

type ailingSlot struct {
	pg   *capturetest.Postgres
	slot string
}

const (
	ourSlot = "select pg_create_logical_replication_slot('$s', 'pgoutput')"
	noise   = "select pg_logical_emit_message(false, 'noise', repeat('x', 1000000)) from generate_series(1, 40)"
)

func slotAilments() []slotAilment {
	another := func(_ *testing.T, at *ailingSlot) string { return at.slot + "_other" }
	return []slotAilment{
		{name: "physical", sql: []string{"select pg_create_physical_replication_slot('$s')"}, severity: capture.Error,
			text: "physical slot", remedy: "source.slot", mend: another},
		{name: "another plugin's", sql: []string{"select pg_create_logical_replication_slot('$s', 'test_decoding')"}, severity: capture.Error,
			text: `plugin "test_decoding"`, remedy: "source.slot", mend: another},
		{name: "another database's", ail: slotElsewhere, severity: capture.Error, text: "belongs to database elsewhere", remedy: "source.slot", mend: another},
		{name: "in use", sql: []string{ourSlot}, ail: useSlot, severity: capture.Warning, text: `application_name "somebody"`, remedy: "pg_terminate_backend("},
		{name: "in use, another slot", sql: []string{ourSlot}, ail: useSlot, severity: capture.Warning, text: "in use by pid", remedy: "source.slot", mend: another},
		{name: "about to lose WAL", sql: []string{ourSlot, noise}, settings: map[string]string{"max_slot_wal_keep_size": "1MB"},
			severity: capture.Warning, text: "about to lose WAL", remedy: "ALTER SYSTEM SET max_slot_wal_keep_size = '1GB'"},
		{name: "WAL removed", sql: []string{ourSlot, noise, "select pg_switch_wal()"}, settings: map[string]string{"max_slot_wal_keep_size": "1MB"},
			checkpoint: true, severity: capture.Error, text: "invalidated (wal_removed)", remedy: "--accept-gap", mend: acceptGap},
		{name: "idle for too long", since: 18, sql: []string{ourSlot}, settings: map[string]string{"idle_replication_slot_timeout": "1s"},
			checkpoint: true, severity: capture.Error, text: "invalidated (idle_timeout)", remedy: "--accept-gap", mend: acceptGap},
	}
}

func slotElsewhere(t *testing.T, at *ailingSlot) {
	other := at.pg.Database(t, "elsewhere")
	capturetest.Must(t, at.pg.Exec(t.Context(), other, strings.ReplaceAll(ourSlot, "$s", at.slot)))
}

// useSlot streams from the slot, as somebody else.
func useSlot(t *testing.T, at *ailingSlot) {
	conn, err := pgconn.Connect(t.Context(), at.pg.DSN+"&replication=database&application_name=somebody")
	capturetest.Must(t, err)
	t.Cleanup(func() { _ = conn.Close(t.Context()) })
	capturetest.Must(t, pglogrepl.StartReplication(t.Context(), conn, at.slot, 0,
		pglogrepl.StartReplicationOptions{PluginArgs: []string{"proto_version '1'", "publication_names 'rowhook'"}}))
}

// acceptGap is `rowhook run --accept-gap`.
func acceptGap(t *testing.T, at *ailingSlot) string {
	running, started := follow(t, at.source(t, at.slot), capture.StartOptions{Stored: "0/1", AcceptGap: true}, newListSink(""))
	if started.GapTo == "" {
		t.Errorf("started %+v", started)
	}
	running.stop(t)
	return at.slot
}

func (at *ailingSlot) source(t *testing.T, slot string) *Source {
	t.Helper()
	s, err := New(capture.SourceConfig{URL: at.pg.DSN, Slot: slot}, Options{Logger: testLogger(t), AgentID: "test"})
	capturetest.Must(t, err)
	t.Cleanup(s.Close)
	return s
}

// finding is check's first one with a code that is more than a note.
func finding(t *testing.T, s *Source, code string) *capture.Finding {
	t.Helper()
	findings, _, err := s.Check(t.Context(), []string{"public.t"})
	capturetest.Must(t, err)
	for i := range findings {
		if f := &findings[i]; f.Code == code && f.Severity >= capture.Warning {
			return f
		}
	}
	return nil
}

// TestSlotRemediesCureTheirFindings brings a slot into each state, runs check, does what the remedy
// says, and expects the finding to be gone.
func TestSlotRemediesCureTheirFindings(t *testing.T) {
	t.Parallel()
	for _, major := range []int{14, 15, 16, 17, 18, 19} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			pg := startServer(t, capturetest.Options{Major: major}, oneTable)
			for i, a := range slotAilments() {
				if a.since <= major {
					t.Run(a.name, func(t *testing.T) { a.check(t, &ailingSlot{pg, fmt.Sprintf("s%d", i)}) })
				}
			}
		})
	}
}

func (a *slotAilment) check(t *testing.T, at *ailingSlot) {
	conn := at.pg.Connect(t, at.pg.DSN)
	// The next state is of a slot alone.
	defer pasteInto(t, conn, "alter system reset all; select pg_reload_conf();"+
		" select pg_terminate_backend(active_pid) from pg_replication_slots where active; select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active")
	for _, sql := range a.sql {
		at.pg.Run(t, strings.ReplaceAll(sql, "$s", at.slot))
	}
	for name, value := range a.settings {
		pasteInto(t, conn, fmt.Sprintf("alter system set %s = '%s'; select pg_reload_conf()", name, value))
	}
	if a.ail != nil {
		a.ail(t, at)
	}
	var f *capture.Finding
	source := at.source(t, at.slot)
	eventually(t, "the finding", func() bool {
		if a.checkpoint {
			at.pg.Run(t, "checkpoint")
		}
		f = finding(t, source, "slot")
		return f != nil && strings.Contains(f.Text, a.text)
	})
	if f.Severity != a.severity || !strings.Contains(f.Remedy, a.remedy) {
		t.Fatalf("found %+v, want the remedy %q", f, a.remedy)
	}
	slot := at.slot
	if a.mend != nil {
		slot = a.mend(t, at)
	} else {
		pasteInto(t, conn, f.Remedy)
	}
	source = at.source(t, slot)
	eventually(t, "the finding to be gone", func() bool { return finding(t, source, "slot") == nil })
}

// standbyOf makes a streaming standby, with a physical slot of its own.
func standbyOf(t *testing.T, pg *capturetest.Postgres) *capturetest.Postgres {
	t.Helper()
	pg.Run(t, "select pg_create_physical_replication_slot('standby', true)")
	capturetest.Must(t, pg.Stop(capturetest.Fast))
	standby := pg.Copy(t, 0, "standby.signal")
	capturetest.Must(t, standby.Stop(capturetest.Fast))
	standby.Set(map[string]string{"primary_conninfo": pg.DSN, "primary_slot_name": "standby", "wal_receiver_status_interval": "1s"})
	capturetest.Must(t, pg.Start())
	capturetest.Must(t, standby.Start())
	return standby
}

// TestStandbyRemediesCureTheirFindings does to a standby and its primary what check says there.
func TestStandbyRemediesCureTheirFindings(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 16, 18, 19} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			level := "logical"
			if major == 19 {
				level = "replica"
			}
			pg := startServer(t, capturetest.Options{Major: major, Settings: map[string]string{"wal_level": level}}, oneTable)
			standby := standbyOf(t, pg)
			s := newSource(t, standby.DSN)

			f := finding(t, s, "standby")
			if f == nil || (f.Severity == capture.Error) != (major < 16) || !strings.Contains(f.Remedy, "target_session_attrs=read-write") {
				t.Fatalf("found %+v", f)
			}
			both := fmt.Sprintf("postgres://%s@127.0.0.1:%d,127.0.0.1:%d/postgres?sslmode=disable&target_session_attrs=read-write", capturetest.Superuser, standby.Port, pg.Port)
			if f := finding(t, newSource(t, both), "standby"); f != nil {
				t.Errorf("with both hosts: %+v", f)
			}
			if major < 16 {
				return
			}
			cured := func(code, remedy string, on *capturetest.Postgres) {
				t.Helper()
				f := finding(t, s, code)
				if f == nil || f.Severity != capture.Error || !strings.Contains(f.Remedy, remedy) {
					t.Fatalf("found %+v, want %s", f, code)
				}
				pasteInto(t, on.Connect(t, on.DSN), f.Remedy)
				eventually(t, code+" to be gone", func() bool { return finding(t, s, code) == nil })
			}
			if major == 19 {
				cured("wal_level", "pg_create_logical_replication_slot(", pg)
			}
			streams := func(start capture.StartOptions, id int) capture.Position {
				t.Helper()
				stop := snapshots(t, pg)
				defer stop()
				sink := newListSink("")
				running, started := follow(t, s, start, sink)
				if (started.GapTo != "") != start.AcceptGap {
					t.Errorf("started %+v", started)
				}
				pg.Run(t, insertT(id))
				sink.await(t, "the row", hasInsert(sink, id))
				running.stop(t)
				return sink.Durable()
			}
			// Without feedback, what the primary vacuums away from its catalogs is not there for
			// the slot any more. On 19 the primary's own slot keeps that, and the standby's ends
			// with it.
			stored := streams(capture.StartOptions{}, 1)
			vacuum := []string{"create table gone (id int)", "drop table gone", "vacuum pg_catalog.pg_class"}
			ends, reason := vacuum, map[int]string{16: "conflicting", 18: "rows_removed", 19: "wal_level_insufficient"}[major]
			if major == 19 {
				ends = []string{"select pg_drop_replication_slot('rowhook_keeps_decoding_on')"}
			}
			pg.Run(t, append(slices.Clip(ends), insertT(2))...)
			eventually(t, "the slot's end", func() bool { f = finding(t, s, "slot"); return f != nil })
			if !strings.Contains(f.Text, "invalidated ("+reason+")") || !strings.Contains(f.Remedy, "--accept-gap") {
				t.Fatalf("found %+v", f)
			}
			if major == 19 {
				cured("wal_level", "pg_create_logical_replication_slot(", pg)
			}
			cured("hot_standby_feedback", "on the standby", standby)
			stored = streams(capture.StartOptions{Stored: stored, AcceptGap: true}, 3)
			if f := finding(t, s, "slot"); f != nil {
				t.Errorf("still %+v", f)
			}
			// With it the slot stays.
			eventually(t, "feedback", func() bool {
				return pg.Rows(t, "select catalog_xmin is not null from pg_replication_slots where slot_name = 'standby'")[0][0] == "t"
			})
			pg.Run(t, vacuum...)
			streams(capture.StartOptions{Stored: stored}, 4)
		})
	}
}

// snapshots has a primary tell its running transactions again and again, for which a slot on its
// standby waits.
func snapshots(t *testing.T, pg *capturetest.Postgres) (stop func()) {
	conn := pg.Connect(t, pg.DSN)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			if _, err := conn.Exec(t.Context(), "select pg_log_standby_snapshot()"); err != nil {
				t.Errorf("log a snapshot: %v", err)
				return
			}
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return func() { close(done); <-ended }
}
