package mysql

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-mysql-org/go-mysql/replication"

	"rowhook/capture"
)

// TestPartialJSON parks an update that tells of JSON only what differs, with its table's name, and
// none of a table that nobody asked for.
func TestPartialJSON(t *testing.T) {
	t.Parallel()
	s := sharedServer(t, "mysql")
	database := s.database(t)
	other := database + "_other"
	const table = ".p (id INT PRIMARY KEY, j JSON)"
	s.exec(t, "DROP DATABASE IF EXISTS "+other, "CREATE DATABASE "+other, "CREATE TABLE "+other+table, "CREATE TABLE "+database+table)
	n := newNotes()
	stop := n.capture(t, newTestSource(t, s, database), capture.StartOptions{})
	const insert, update = ` VALUES (1, '{"a":1,"b":"lllllllllllllllllllllllllll"}')`, ` SET j = JSON_SET(j, '$.a', 2)`
	s.session(t, "INSERT INTO "+other+".p"+insert, "INSERT INTO "+database+".p"+insert, "SET binlog_row_value_options = PARTIAL_JSON",
		"UPDATE "+other+".p"+update, "BEGIN", "UPDATE "+other+".p"+update, "UPDATE "+database+".p"+update, "DELETE FROM "+database+".p", "COMMIT")
	lines := slices.DeleteFunc(n.await(t, "delete p"), func(line string) bool { return line == "begin" })
	stop()
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "0 insert p ") || !strings.HasPrefix(lines[2], "1 delete p ") ||
		!strings.HasPrefix(lines[1], "0 park "+database+".p: ") || !strings.Contains(lines[1], "PARTIAL_JSON") {
		t.Errorf("got\n%s", strings.Join(lines, "\n"))
	}
}

// TestRowOfDefaults has a row be an insert of which the binlog holds no column at all, as MySQL
// logs it.
func TestRowOfDefaults(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.exec(t, "CREATE TABLE "+database+".t (a INT DEFAULT 1, b INT)", "CREATE TABLE "+database+".done (v INT)")
		n := newNotes()
		stop := n.capture(t, newTestSource(t, s, database), capture.StartOptions{})
		s.session(t, "SET binlog_row_image = MINIMAL", "INSERT INTO "+database+".t VALUES ()", "INSERT INTO "+database+".t (b) VALUES (5)", "INSERT INTO "+database+".done VALUES (1)")
		lines := slices.DeleteFunc(n.await(t, "insert done"), func(line string) bool { return line == "begin" || strings.Contains(line, "done") })
		stop()
		want := []string{"insert t old=- new={a:1 b:NULL}", "insert t old=- new={a:1 b:5}"}
		if s.kind == "mysql" {
			want = []string{"insert t old=- new={a:? b:?}", "insert t old=- new={a:? b:5}"}
		}
		same(t, lines, want)
	})
}

// TestUnreadableRows parks the rows of a table that cannot be read and goes on; of one that nobody
// asked for it takes no notice.
func TestUnreadableRows(t *testing.T) {
	t.Parallel()
	const (
		strange  = "\x01a\x00\x01t\x00\x02\x03\xc8\x00\x00\x04\x04\x01i\x01x" // a column of type 200
		cut      = "\x01a\x00\x01t\x00\x02\x03\x0f\x01\x0a\x00"               // metadata of one byte for a VARCHAR
		readable = "\x01a\x00\x01t\x00\x01\x03\x00\x00\x01\x01\x00\x04\x02\x01i"
		whole    = "\x00\x05\x00\x00\x00"
	)
	for _, test := range []struct{ name, table, columns, rows, want string }{
		{"unknown type", strange, "\x02\x03", "\x00\x05\x00\x00\x00xx", "column x: type 200 is not known"},
		{"malformed table map", cut, "\x02\x03", "\x00\x05\x00\x00\x00xx", "malformed"},
		{"too short a row", readable, "\x01\x01", whole + "\x00\x05\x00", "its rows do not lie in the binlog as its table map says"},
		{"other columns", readable, "\x02\x03", whole, "its rows do not lie in the binlog as its table map says"},
	} {
		for _, wanted := range []bool{true, false} {
			n := newNotes()
			d := decoder{sink: n, at: place{mysql: mysqlSet{}}, log: quiet(), flavour: flavourMySQL,
				wanted: func(string, string) bool { return wanted },
				describe: func(body []byte, _ question) (*tableMap, error) {
					return newTableMap(flavourMySQL, body, &charsets{}, nil)
				}}
			d.tx.open, d.tx.begun = true, true
			id := "\x07\x00\x00\x00\x00\x00\x01\x00"
			for _, e := range []struct {
				kind replication.EventType
				body string
			}{{replication.TABLE_MAP_EVENT, id + test.table}, {replication.WRITE_ROWS_EVENTv1, id + test.columns + test.rows}} {
				if err := d.event(header{kind: byte(e.kind)}, []byte(e.body)); err != nil {
					t.Errorf("%s, wanted %v: %v", test.name, wanted, err)
				}
			}
			if got := strings.Join(n.open, "\n"); wanted && !strings.Contains(got, test.want) || !wanted && got != "" || d.tx.ordinal != 1 {
				t.Errorf("%s, wanted %v: got %q, the next change is number %d", test.name, wanted, got, d.tx.ordinal)
			}
		}
	}
}
