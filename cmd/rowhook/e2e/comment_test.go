package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// The application tells who acts in a comment of each statement, where the database logs
// statements; check and setup see to that. PostgreSQL's stream has no comments, and the config says
// so.
func TestContextComment(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testContextComment)
}

func testContextComment(t *testing.T, w *world) {
	w.conf.source = "  context: {comment: true, defaults: {operation: unknown}}\n"
	w.hook.keepBodies = true
	w.write()
	m, ok := w.server.(*mysql)
	if !ok {
		if r := w.rowhook("check"); r.code != 2 || !strings.Contains(r.stderr, "source.context.comment") || !strings.Contains(r.stderr, "context.message") {
			t.Errorf("check: %+v", r)
		}
		return
	}
	setting := "binlog_rows_query_log_events"
	if m.MariaDB {
		setting = "binlog_annotate_row_events"
	}
	w.exec("set global " + setting + " = off")
	if r := w.rowhook("check", "--json"); r.code != 3 || !strings.Contains(r.stdout, setting) {
		t.Errorf("check: %+v", r)
	}
	if r := w.rowhook("setup", "--apply", "--as", m.URL("")); r.code != 0 || !strings.Contains(r.stdout, setting) {
		t.Fatalf("setup: %+v", r)
	}
	if r := w.rowhook("check", "--json"); strings.Contains(r.stdout, setting) {
		t.Errorf("check after setup: %+v", r)
	}
	a := w.begin()
	app := w.connect()
	for _, sql := range []string{
		"insert into proof.`rows` (id, seq, note) values (1, 1, 'x') /*actor_id='aa010001',actor_name='%E5%B1%B1%E7%94%B0',operation='web_form',traceparent='00-1-2-01'*/",
		"start transaction",
		"/*actor_id='bb'*/ insert into proof.`rows` (id, seq, note) values (2, 1, 'x'), (3, 1, 'x')",
		"insert into proof.`rows` (id, seq, note) values (4, 1, 'x')",
		"commit",
		"delete from proof.`rows` where id = 1 /*operation='clean_up'*/",
	} {
		capturetest.Must(t, app.exec(t.Context(), sql))
	}
	w.hook.wait(t, "main", 5, patience)
	want := map[string]string{"1 insert": "aa010001 山田 web_form", "2 insert": "bb  unknown", "3 insert": "bb  unknown", "4 insert": "  unknown", "1 delete": "  clean_up"}
	for _, arrived := range w.hook.all("main") {
		var body struct {
			Source    struct{ Op string }
			Key       struct{ ID json.Number }
			Actor     struct{ ID, Name string }
			Operation string
		}
		capturetest.Must(t, json.Unmarshal(arrived.body, &body))
		change := body.Key.ID.String() + " " + body.Source.Op
		if got := body.Actor.ID + " " + body.Actor.Name + " " + body.Operation; got != want[change] {
			t.Errorf("%s was made by %q, want %q", change, got, want[change])
		}
	}
	a.term()
	w.hook.sound(t)
}
