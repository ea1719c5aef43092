package mysql

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// TestList: what a mapping would want to know of each table and view that an account may see.
func TestList(t *testing.T) {
	t.Parallel()
	onOwn(t, settings{}, func(t *testing.T, s *testServer) {
		s.exec(t, "CREATE DATABASE app", "CREATE DATABASE other", "CREATE TABLE other.hidden (id INT PRIMARY KEY)",
			"CREATE TABLE app.loans (id INT PRIMARY KEY, status VARCHAR(9) NOT NULL COMMENT 'CHECK (`status` in (''no''))' CHECK (status IN ('OPEN', 'LOST')), "+
				"back DATETIME NULL, state ENUM('new', 'it''s'), other VARCHAR(9), CONSTRAINT c CHECK (other = 'a' OR other = 'b'))",
			"CREATE TABLE app.keyless (id INT)", "CREATE TABLE app.chosen (id INT NOT NULL UNIQUE)", "CREATE TABLE app.inserted (id INT PRIMARY KEY)",
			"CREATE VIEW app.seen AS SELECT 1 AS id", "CREATE TABLE app.`a*` (id INT PRIMARY KEY)",
			"CREATE USER reader@'%' IDENTIFIED BY 'secret'", "GRANT INSERT ON app.inserted TO reader@'%'")
		for _, name := range []string{"loans", "keyless", "chosen", "seen", "`a*`"} {
			s.exec(t, "GRANT SELECT ON app."+name+" TO reader@'%'")
		}
		source, err := New(capture.SourceConfig{URL: fmt.Sprintf("mysql://reader@127.0.0.1:%d", s.Port), Password: "secret"},
			Options{Logger: slog.New(slog.DiscardHandler), AgentID: t.Name()})
		capturetest.Must(t, err)
		t.Cleanup(source.Close)
		list, err := source.List(t.Context(), []string{"*.*"})
		capturetest.Must(t, err)
		var lines []string
		for _, l := range list {
			line := fmt.Sprintf("%s left %q denied %t", l.Table, l.Left, l.Denied)
			for i, f := range l.Facts {
				line += fmt.Sprintf(" %s %t %v%v", l.Table.Columns[i].Name, f.Nullable, f.Labels, l.Table.Columns[i].Type.Labels)
			}
			lines = append(lines, line)
		}
		slices.Sort(lines)
		want := `app.a* left "has a name that no mapping can say: a schema with a dot, or one of * ? [" denied false
app.chosen left "" denied false id false [][]
app.inserted left "" denied true id false [][]
app.keyless left "has no key by which its rows could be told apart" denied false id true [][]
app.loans left "" denied false id false [][] status false [OPEN LOST][] back true [][] state true [][new it's] other true [a b][]
app.seen left "is a view" denied false`
		if got := strings.Join(lines, "\n"); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}
