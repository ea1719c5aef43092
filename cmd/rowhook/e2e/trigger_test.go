package e2e_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"rowhook/capture/capturetest"
)

// saying is how an application tells who it is, or does not, on one kind of database.
type saying struct {
	owner   string // URL of a login that owns the tables
	source  string // lines of the config's source
	session string // sets what the session says of its user
	said    string // the application's own word in a transaction
	plain   string // what the triggers tell of a session that says nothing: id, name, operation
	broken  string // takes away what the triggers need
	connect func(t *testing.T) session
}

func sayingOn(t *testing.T, w *world) saying {
	switch s := w.server.(type) {
	case *postgres:
		capturetest.Must(t, s.exec(t.Context(), `create role owner login`, `create role desk login`,
			`grant create on database app to owner`, `alter table proof.rows owner to owner`,
			`grant usage on schema proof to desk, owner`, `grant insert on proof.rows to desk`))
		return saying{
			owner:   s.TCP(s.db, "owner"),
			session: `set rowhook.actor_id = 'aa010001'; set rowhook.actor_name = '住友'; set rowhook.operation = 'web_form'`,
			said:    `select pg_logical_emit_message(true, 'rowhook', '{"actor":{"id":"bb"},"operation":"job"}')`,
			plain:   "desk desk@127.0.0.1 kiosk",
			broken: `do $$ declare f regprocedure; begin
				for f in select oid::regprocedure from pg_proc where proname = 'pg_logical_emit_message' loop
					execute format('revoke execute on function %s from public', f);
				end loop; end $$`,
			connect: func(t *testing.T) session {
				config, err := pgx.ParseConfig(s.TCP(s.db, "desk"))
				capturetest.Must(t, err)
				config.RuntimeParams["application_name"] = "kiosk"
				conn, err := pgx.ConnectConfig(context.Background(), config)
				capturetest.Must(t, err)
				t.Cleanup(pgSession{conn}.close)
				return pgSession{conn}
			},
		}
	case *mysql:
		if s.MariaDB {
			s.Run(t, "install soname 'ha_blackhole'")
		}
		return saying{
			owner:   s.URL("proof"),
			source:  "  context: {table: proof.rowhook_context}\n",
			session: `set @rowhook_actor_id = 'aa010001', @rowhook_actor_name = '住友', @rowhook_operation = 'web_form'`,
			said:    "insert into proof.rowhook_context (actor_id, operation) values ('bb', 'job')",
			plain:   "root root@localhost ",
			broken:  "drop table proof.rowhook_context",
			connect: func(t *testing.T) session { return w.connect() },
		}
	}
	t.Fatalf("no triggers for %T", w.server)
	return saying{}
}

// The application tells nothing, or only its session does: triggers tell who makes a change. What
// the application says itself wins, and its changes go on when the triggers cannot tell anything
// any more.
func TestContextTrigger(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testContextTrigger)
}

func testContextTrigger(t *testing.T, w *world) {
	s := sayingOn(t, w)
	w.conf.source = s.source
	w.hook.keepBodies = true
	w.write()
	setup := func(args ...string) result {
		t.Helper()
		return w.rowhook(append([]string{"setup", "--context-trigger", "--as", s.owner}, args...)...)
	}
	if r := setup(); r.code != 0 || !strings.Contains(r.stdout, "CREATE TRIGGER") || !strings.Contains(r.stderr, "Nothing has been changed") {
		t.Fatalf("setup: %+v", r)
	}
	if r := setup("--apply"); r.code != 0 {
		t.Fatalf("setup --apply: %+v", r)
	}
	if r := setup(); r.code != 0 || !strings.Contains(r.stderr, "Nothing is missing") {
		t.Errorf("setup again: %+v", r)
	}
	if r := w.rowhook("setup", "--apply", "--as", s.owner); r.code != 0 { // grants, for the context table
		t.Fatalf("setup --apply: %+v", r)
	}
	a := w.begin()
	app := s.connect(t)
	insert := "insert into proof." + map[bool]string{true: "rows", false: "`rows`"}[w.server.kind() == "postgres"] + " (id, seq, note) values "
	begin := "start transaction; "
	for _, sql := range []string{
		insert + "(1, 1, 'x')",
		s.session,
		insert + "(2, 1, 'x'), (3, 1, 'x')",
		begin + s.said + "; " + insert + "(4, 1, 'x'); commit",
		insert + "(5, 1, 'x')",
	} {
		capturetest.Must(t, app.exec(t.Context(), sql))
	}
	w.exec(s.broken)
	capturetest.Must(t, app.exec(t.Context(), insert+"(6, 1, 'x')"))
	w.hook.wait(t, "main", 6, patience)
	told := "aa010001 住友 web_form"
	want := map[string]string{"1": s.plain, "2": told, "3": told, "4": "bb  job", "5": told, "6": "  "}
	for _, arrived := range w.hook.all("main") {
		var body struct {
			Key       struct{ ID json.Number }
			Actor     struct{ ID, Name string }
			Operation string
		}
		capturetest.Must(t, json.Unmarshal(arrived.body, &body))
		if got := body.Actor.ID + " " + body.Actor.Name + " " + body.Operation; got != want[body.Key.ID.String()] {
			t.Errorf("row %s was made by %q, want %q", body.Key.ID, got, want[body.Key.ID.String()])
		}
	}
	if r := setup("--remove"); r.code != 0 || !strings.Contains(r.stdout, "DROP TRIGGER") {
		t.Errorf("setup --remove: %+v", r)
	}
	if r := setup("--remove"); r.code != 0 || !strings.Contains(r.stderr, "nothing to remove") {
		t.Errorf("setup --remove again: %+v", r)
	}
	a.term()
	w.hook.sound(t)
}
