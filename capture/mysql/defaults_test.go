package mysql

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestSessionDefaults: what the server gives new sessions by default, such as bounds that keep people
// from large answers or a character set of its own, does not make the catalog another than it is.
func TestSessionDefaults(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			m := &capturetest.MySQL{MySQLServer: ownServer(t, flavour, nil).MySQLServer}
			var columns []string
			for i := range 40 {
				columns = append(columns, fmt.Sprintf("c%d int", i))
			}
			m.Run(t, "create database d", "create table d.`été` (`clé` int primary key, e enum('é', 'b'), "+strings.Join(columns, ", ")+")")
			m.User(t, "reader", "secret", "replication slave, replication client on *.*", "select on d.*")
			limits := []string{"set global sql_select_limit = 7", "set global max_join_size = 3", "set global init_connect = 'set names latin1'"}
			if m.MariaDB {
				limits = append(limits, "set global max_statement_time = 0.000001")
			}
			m.Run(t, limits...)
			s, err := New(capture.SourceConfig{URL: m.TCP("d", "reader", "secret")}, Options{Logger: slog.New(slog.DiscardHandler), AgentID: "test", ServerID: 1_234_567})
			capturetest.Must(t, err)
			defer s.Close()
			tables, err := s.Tables(t.Context(), []string{"d.*"})
			capturetest.Must(t, err)
			if len(tables) != 1 || tables[0].Name != "été" || len(tables[0].Columns) != 42 || tables[0].Columns[0].Name != "clé" || tables[0].Columns[1].Type.Labels[0] != "é" {
				t.Fatalf("tables %+v", tables)
			}
			found, _, err := s.Check(t.Context(), []string{"d.été"})
			capturetest.Must(t, err)
			for _, f := range found {
				if f.Severity == capture.Error {
					t.Errorf("%s: %s", f.Code, f.Text)
				}
			}
		})
	}
}
