package mysql

import (
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// statements is a sink that writes down which statement made each change.
type statements struct{ *notes }

func (s statements) Change(c *capture.Change) error {
	return s.add("%d %s", c.Statement, c.Table.Name)
}

// TestStatementsAreNumbered: what one statement changes has one number, whatever tables its
// triggers write into and whether or not anybody wants them.
func TestStatementsAreNumbered(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.exec(t, "USE "+database, "CREATE TABLE loans (id INT PRIMARY KEY)", "CREATE TABLE told (id INT)", "CREATE TABLE noise (id INT)", "CREATE TABLE ending (id INT)",
			"CREATE TRIGGER tell BEFORE INSERT ON loans FOR EACH ROW INSERT INTO told VALUES (NEW.id)",
			"CREATE TRIGGER noise AFTER INSERT ON loans FOR EACH ROW INSERT INTO noise VALUES (NEW.id)")
		source, err := New(capture.SourceConfig{URL: s.URL(database)}, Options{
			Logger: quiet(), AgentID: t.Name(), Wanted: func(schema, table string) bool { return schema == database && table != "noise" },
		})
		capturetest.Must(t, err)
		t.Cleanup(source.Close)
		n := statements{newNotes()}
		stop := n.captureInto(t, source, capture.StartOptions{}, n)
		s.session(t, "USE "+database, "BEGIN", "INSERT INTO loans VALUES (1), (2)", "INSERT INTO noise VALUES (3)",
			"DELETE FROM loans", "COMMIT", "INSERT INTO ending VALUES (9)")
		want := []string{"begin", "1 told", "1 loans", "1 told", "1 loans", "3 loans", "3 loans", "begin", "1 ending"}
		lines := n.await(t, "ending")
		stop()
		if strings.Join(lines, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
	})
}
