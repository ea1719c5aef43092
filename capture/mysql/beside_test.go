package mysql

import (
	"log/slog"
	"strings"
	"testing"

	"rowhook/capture"
)

// TestTablesThatCannotBeRead holds that a table's description tells what its reader would refuse.
func TestTablesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, flavour, definition string
		own                       settings
		want                      string // of why, and of what to do
	}{
		{"mysql", "mysql", "(id INT PRIMARY KEY)", nil, ""},
		{"mysql without GTIDs", "mysql", "(id INT PRIMARY KEY)", noGTID, "without GTIDs; SET PERSIST enforce_gtid_consistency"},
		{"mariadb", "mariadb", "(id INT PRIMARY KEY)", nil, ""},
		{"another engine", "mariadb", "(id INT PRIMARY KEY) ENGINE=MyISAM", nil, "stored by MyISAM; ALTER TABLE"},
		{"a key without an order", "mariadb", "(id DOUBLE PRIMARY KEY)", nil, "is a double; give the table a key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := ownServer(t, tt.flavour, tt.own)
			s.exec(t, "CREATE DATABASE lib", "CREATE TABLE lib.t "+tt.definition)
			source, err := New(capture.SourceConfig{URL: s.URL("lib")}, Options{Logger: slog.New(slog.DiscardHandler), AgentID: t.Name()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(source.Close)
			tables, err := source.Tables(t.Context(), []string{"lib.t"})
			if err != nil || len(tables) != 1 {
				t.Fatalf("%d tables: %v", len(tables), err)
			}
			why, remedy, _ := strings.Cut(tt.want, "; ")
			if got := tables[0]; !strings.Contains(got.Unread, why) || !strings.Contains(got.UnreadRemedy, remedy) || (got.Unread == "") != (why == "") {
				t.Errorf("cannot be read: %q, remedy %q, want %q", got.Unread, got.UnreadRemedy, tt.want)
			}
		})
	}
}
