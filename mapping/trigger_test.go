package mapping

import (
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
)

// TestTriggerContext fixes what a trigger tells: below comments, above columns, and for its
// statement alone where statements are numbered.
func TestTriggerContext(t *testing.T) {
	t.Parallel()
	m, out := setup(t, Config{{Name: "app.t", Actor: ActorConfig{ID: "who"}, Operation: "how"}},
		Options{Context: ContextConfig{Message: "rowhook", Table: "app.context", Comment: true}})
	rows := table("app.t", capture.IdentityFull, "id int key", "who text", "how text")
	told := table("app.context", capture.IdentityDefault, "actor_id text", "operation text", "source text")
	change := func(statement int) {
		t.Helper()
		if err := m.Change(&capture.Change{Op: capture.Insert, Table: rows, New: row("1", "editor", "desk"), Statement: statement}); err != nil {
			t.Fatal(err)
		}
	}
	tell := func(statement int, values ...string) {
		t.Helper()
		if err := m.Change(&capture.Change{Op: capture.Insert, Table: told, New: row(values...), Statement: statement}); err != nil {
			t.Fatal(err)
		}
	}
	// PostgreSQL: a message holds until the next.
	message(t, m, "rowhook", `{"trigger":true,"actor":{"id":"session"},"operation":"kiosk"}`)
	change(0)
	message(t, m, "rowhook", `{"trigger":true,"actor":{"id":"session"},"operation":null}`)
	change(0) // the column tells the rest
	message(t, m, capture.CommentPrefix, "operation='web'")
	change(0)
	message(t, m, "rowhook", `{"actor":{"id":"bb"},"operation":"job"}`)
	message(t, m, "rowhook", `{"trigger":true,"actor":{"id":"session"},"operation":"kiosk"}`)
	change(0)
	m.Begin(&testTransaction)
	// MySQL: a row holds for its statement.
	tell(1, "session", "kiosk", "trigger")
	change(1)
	change(2)
	tell(3, "session", "kiosk", "trigger")
	tell(3, "cc", null, null)
	change(3)
	tell(4, "session", "kiosk", "trigger")
	change(4)
	change(5)

	var got []string
	for _, ev := range out.events {
		got = append(got, ev.Actor.ID+" "+ev.Operation)
	}
	want := []string{"session kiosk", "session desk", "session web", "bb job", "session kiosk", "editor desk", "cc kiosk", "cc kiosk", "cc desk"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
}
