package postgres

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestPluginNotAllowed holds that a server which lets no slot use pgoutput is told from a role
// without rights, when the slot is made and when it is streamed from, and that the remedy is taken
// and cures it.
func TestPluginNotAllowed(t *testing.T) {
	t.Parallel()
	pg := startServer(t, capturetest.Options{Major: 19}, oneTable, "create role agent login replication", "alter system set output_plugin_libraries = 'test_decoding', 'other'", "select pg_reload_conf()")
	allowed := func(want string) func() bool {
		return func() bool {
			return strings.Contains(pg.Rows(t, "show output_plugin_libraries")[0][0], "pgoutput") == (want == "pgoutput")
		}
	}
	eventually(t, "the setting", allowed(""))
	sink := newListSink("")
	for _, what := range []string{"a slot that is to be made", "a slot that is there"} {
		err := runSource(t, newSource(t, pg.DSN), capture.StartOptions{Stored: sink.Durable()}, sink).wait(t)
		var operator *capture.OperatorError
		if !errors.As(err, &operator) || !strings.Contains(err.Error(), "SQLSTATE 42501") ||
			operator.Remedy != "ALTER SYSTEM SET output_plugin_libraries = 'test_decoding', 'other', 'pgoutput'; SELECT pg_reload_conf();" {
			t.Fatalf("%s: run ended with %v, remedy %v", what, err, operator)
		}
		// A role that is not shown the setting hands on the server's hint.
		err = runSource(t, newSource(t, pg.TCP("postgres", "agent")), capture.StartOptions{Stored: sink.Durable()}, sink).wait(t)
		if !errors.As(err, &operator) || strings.Contains(operator.Remedy, "ALTER ROLE") || !strings.Contains(operator.Remedy, "output_plugin_libraries") {
			t.Errorf("%s, as a plain role: %v, remedy %v", what, err, operator)
		}
		findings, _, err := newSource(t, pg.DSN).Check(context.Background(), nil)
		capturetest.Must(t, err)
		if lines := strings.Join(findingLines(findings), "\n"); !strings.Contains(lines, "error output_plugin_libraries") {
			t.Errorf("%s: check found\n%s", what, lines)
		}
		pg.Run(t, "alter system set output_plugin_libraries = 'test_decoding', 'other', 'pgoutput'", "select pg_reload_conf()")
		eventually(t, "the remedy to be taken", allowed("pgoutput"))
		running, _ := follow(t, newSource(t, pg.DSN), capture.StartOptions{Stored: sink.Durable()}, sink)
		running.stop(t)
		findings, _, err = newSource(t, pg.DSN).Check(context.Background(), nil)
		capturetest.Must(t, err)
		if lines := strings.Join(findingLines(findings), "\n"); strings.Contains(lines, "output_plugin_libraries") {
			t.Errorf("%s: cured, check found\n%s", what, lines)
		}
		pg.Run(t, "alter system set output_plugin_libraries = 'test_decoding', 'other'", "select pg_reload_conf()")
		eventually(t, "the setting", allowed(""))
	}
}

// TestSlotOnStandby holds that what a standby without logical decoding needs is said about its
// primary, and works.
func TestSlotOnStandby(t *testing.T) {
	t.Parallel()
	standby := capture.Server{Standby: true, Version: 180000}
	if got := decodingRemedy(standby); !strings.HasPrefix(got, "on the primary: wal_level = logical") {
		t.Errorf("on 18: %s", got)
	}
	if got := decodingRemedy(capture.Server{Version: 190000}); !strings.HasPrefix(got, "wal_level = replica") {
		t.Errorf("a primary of 19: %s", got)
	}
	// On 19 a slot of the primary's is enough.
	pg := startServer(t, capturetest.Options{Major: 19, Settings: map[string]string{"wal_level": "replica", "hot_standby_feedback": "on"}}, oneTable)
	capturetest.Must(t, pg.Stop(capturetest.Fast))
	capturetest.Must(t, os.WriteFile(filepath.Join(pg.DataDir, "standby.signal"), nil, 0o644))
	capturetest.Must(t, pg.Start())
	err := runSource(t, newSource(t, pg.DSN), capture.StartOptions{}, newListSink("")).wait(t)
	var operator *capture.OperatorError
	if !errors.As(err, &operator) || !strings.Contains(operator.Remedy, "on the primary: SELECT pg_create_logical_replication_slot(") {
		t.Errorf("run ended with %v", err)
	}
}
