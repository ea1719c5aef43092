package mysql

import (
	"bytes"
	"strings"
	"testing"

	"rowhook/capture"
)

// TestAppendComments takes the comments around a statement, and none within it.
func TestAppendComments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"INSERT INTO t VALUES (1) /*actor_id='a1',operation='web'*/", "actor_id='a1',operation='web'"},
		{"INSERT INTO t VALUES (1) /* actor_id='a1' */ ;\n", "actor_id='a1'"},
		{"/*actor_id='a1'*/ INSERT INTO t VALUES (1)", "actor_id='a1'"},
		{"/*a='1'*/ /* plain */ /*b='2'*/ INSERT INTO t VALUES (1) /*c='3'*/ /* plain too */ /*d='4'*//*e='5'*/", "a='1',b='2',c='3',d='4',e='5'"},
		{"INSERT INTO t VALUES ('/*actor_id=''a1''*/')", ""},
		{"INSERT INTO t VALUES ('/*actor_id=''a1''*/') /*b='2'*/", "b='2'"},
		{"INSERT /*a='1'*/ INTO t VALUES (1)", ""},
		{"INSERT INTO t VALUES (1) /* page 7 */", ""},
		{"INSERT INTO t VALUES (1) /* it is='x' */", ""},
		{"/*+ SET_VAR(a='b') */ INSERT INTO t VALUES (1)", ""},
		{"INSERT INTO t VALUES (1) */", ""},
		{"/*a='1'", ""},
		{"/*/", ""},
		{"", ""},
	} {
		if got := string(appendComments(nil, []byte(c.text))); got != c.want {
			t.Errorf("%s: got %s, want %s", c.text, got, c.want)
		}
	}
}

func FuzzComments(f *testing.F) {
	f.Add([]byte("/*a='1'*/ INSERT INTO t VALUES (1) /*c='3'*/ /*d='4'*/;"))
	f.Add([]byte("/*/*/*='*/'*/"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tags := appendComments(nil, text)
		if bytes.Contains(tags, []byte("/*")) || bytes.Contains(tags, []byte("*/")) {
			return
		}
		again := appendComments(nil, append(append([]byte("DELETE FROM t /*"), tags...), "*/"...))
		if !bytes.Equal(again, bytes.TrimSpace(tags)) {
			t.Errorf("%q gave %q, then %q", text, tags, again)
		}
	})
}

// TestCommentsOfStatements holds each comment for its own statement's rows, and says nothing about
// statements that change no mapped table.
func TestCommentsOfStatements(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.exec(t, "CREATE TABLE "+database+".loans (id INT PRIMARY KEY)", "CREATE TABLE "+database+".log (id INT)",
			"CREATE TRIGGER "+database+".logged AFTER INSERT ON "+database+".loans FOR EACH ROW INSERT INTO "+database+".log VALUES (NEW.id)")
		source := newTestSource(t, s, database)
		source.wanted = func(schema, table string) bool { return schema == database && table == "loans" }
		n := newNotes()
		stop := n.capture(t, source, capture.StartOptions{})
		annotations := map[string]string{"mysql": "binlog_rows_query_log_events", "mariadb": "binlog_annotate_row_events"}[s.kind]
		compress := map[string]string{"mysql": "SET SESSION binlog_transaction_compression = ON", "mariadb": "DO 1"}[s.kind]
		s.session(t, compress, "USE "+database, "BEGIN", "INSERT INTO log VALUES (1) /*a='1'*/", "COMMIT",
			"BEGIN", "INSERT INTO log VALUES (2) /*a='2'*/", "INSERT INTO loans VALUES (1), (2) /*a='3'*/", "INSERT INTO loans VALUES (3)",
			"INSERT INTO loans VALUES (4) /*a='4'*/", "INSERT INTO loans VALUES (5) /*a='5'*/", "COMMIT")
		s.session(t, "SET SESSION "+annotations+" = OFF", "USE "+database, "INSERT INTO loans VALUES (6) /*a='6'*/")
		got := n.await(t, "id:6}")
		stop()
		want := []string{"begin", `2 message sqlcommenter "a='3'"`, "3 insert loans old=- new={id:1}", "5 insert loans old=- new={id:2}",
			`7 message sqlcommenter ""`, "8 insert loans old=- new={id:3}", `10 message sqlcommenter "a='4'"`, "11 insert loans old=- new={id:4}",
			`13 message sqlcommenter "a='5'"`, "14 insert loans old=- new={id:5}", "begin", "0 insert loans old=- new={id:6}"}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}
