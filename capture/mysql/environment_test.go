package mysql

import (
	"log/slog"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// A row of table rowhook.environment says what the server is; one without the table, or without a
// right on it, says nothing.
func TestEnvironmentRow(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			m := &capturetest.MySQL{MySQLServer: ownServer(t, flavour, nil).MySQLServer}
			m.User(t, "rowhook", "secret", "replication slave, replication client on *.*")
			said := func(user, password string) string {
				t.Helper()
				s, err := New(capture.SourceConfig{URL: m.TCP("", user, password)}, Options{Logger: slog.New(slog.DiscardHandler), AgentID: "test", ServerID: 1_234_567})
				capturetest.Must(t, err)
				defer s.Close()
				got, err := s.Identify(t.Context())
				capturetest.Must(t, err)
				return got.Environment
			}
			root := func() string { return said(capturetest.MySQLRoot, "") }
			agent := func() string { return said("rowhook", "secret") }
			if r, a := root(), agent(); r != "" || a != "" {
				t.Errorf("without a table: %q, %q", r, a)
			}
			m.Run(t, "create database rowhook")
			if r, a := root(), agent(); r != "" || a != "" {
				t.Errorf("without the table: %q, %q", r, a)
			}
			m.Run(t, "create table rowhook.environment (environment varchar(20), since datetime)")
			if r := root(); r != "" {
				t.Errorf("without a row: %q", r)
			}
			m.Run(t, "insert into rowhook.environment values ('sandbox', now())", "grant select on rowhook.environment to rowhook@'%'")
			if r, a := root(), agent(); r != "sandbox" || a != "sandbox" {
				t.Errorf("with a row: %q, %q", r, a)
			}
		})
	}
}
