package mapping

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"rowhook/capture"
	"rowhook/delivery"
)

// TestDecodeComment reads the tags of sqlcommenter, ours and other tools'.
func TestDecodeComment(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want told
		bad  bool
	}{
		{"", told{}, false},
		{"actor_id='aa010001',actor_name='%E5%B1%B1%E7%94%B0%20%E5%A4%AA%E9%83%8E',operation='web_form'", told{delivery.Actor{ID: "aa010001", Name: "山田 太郎"}, "web_form"}, false},
		{"action='%2Fparam*d',controller='index',framework='spring',traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'", told{}, false},
		{" operation = 'x'", told{}, true},
		{"operation='a' , actor_id='b' ", told{delivery.Actor{ID: "b"}, "a"}, false},
		{"actor_name='O\\'Neil%2c%20%27x%27'", told{delivery.Actor{Name: "O'Neil, 'x'"}, ""}, false},
		{"actor_id='a+b'", told{delivery.Actor{ID: "a+b"}, ""}, false},
		{"actor_id='',operation=''", told{}, false},
		{"actor_id='%zz'", told{}, true},
		{"actor_id='%ff'", told{}, true},
		{"trace='%zz',operation='o'", told{operation: "o"}, false},
		{"operation='open", told{}, true},
		{"operation='a'actor_id='b'", told{}, true},
		{"operation", told{}, true},
	} {
		got, err := decodeComment(c.text)
		if got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: got %+v, %v", c.text, got, err)
		}
	}
}

func FuzzComment(f *testing.F) {
	f.Add("actor_id='aa010001',actor_name='%E5%B1%B1',operation='web_form'")
	f.Add("a='\\'',operation='%'")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := decodeComment(text)
		if err != nil && got != (told{}) {
			t.Errorf("%q: %+v beside an error", text, got)
		}
		for _, s := range []string{got.actor.ID, got.actor.Name, got.operation} {
			if !utf8.ValidString(s) {
				t.Errorf("%q gave %q", text, s)
			}
		}
	})
}

// TestCommentContext fixes a comment's rank: below table, above columns; it holds until the next.
func TestCommentContext(t *testing.T) {
	t.Parallel()
	options := Options{Context: ContextConfig{Table: "app.context", Comment: true}}
	m, out := setup(t, Config{{Name: "app.t", Actor: ActorConfig{ID: "who"}, Operation: "how"}}, options)
	comment := func(text string) { message(t, m, capture.CommentPrefix, text) }
	insert(t, m, "1", "editor", "desk")
	comment("actor_id='7',operation='web'")
	insert(t, m, "1", "editor", "desk")
	insert(t, m, "2", "editor", "desk")
	comment("")
	insert(t, m, "1", "editor", "desk")
	comment("operation='%zz'")
	insert(t, m, "1", "editor", "desk")
	comment("operation='web'")
	insert(t, m, "1", "editor", "desk")
	c := capture.Change{Op: capture.Insert, Table: table("app.context", capture.IdentityDefault, "actor_id text", "operation text"), New: row("9", "batch")}
	if err := m.Change(&c); err != nil {
		t.Fatal(err)
	}
	insert(t, m, "1", "editor", "desk")
	m.Begin(&testTransaction)
	insert(t, m, "1", "editor", "desk")

	var got []string
	for _, ev := range out.events {
		got = append(got, ev.Actor.ID+" "+ev.Operation)
	}
	if want := []string{"editor desk", "7 web", "7 web", "editor desk", "editor desk", "editor web", "9 batch", "editor desk"}; !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
	if len(out.notices) != 1 || out.notices[0].Kind != ContextMalformed {
		t.Errorf("notices %+v", out.notices)
	}

	options.Context.Comment = false
	m, out = setup(t, Config{{Name: "app.t", Operation: "how"}}, options)
	message(t, m, capture.CommentPrefix, "operation='web'")
	insert(t, m, "1", "editor", "desk")
	if got := fmt.Sprint(out.events[0].Operation, len(out.notices)); got != "desk0" {
		t.Errorf("switched off: %s", got)
	}
}
