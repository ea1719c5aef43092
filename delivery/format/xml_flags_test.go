package format

import (
	"slices"
	"strings"
	"testing"

	"rowhook/delivery"
)

// TestXMLFlags flags each column in which a character gives way to another, and no other, in bodies
// that parse.
func TestXMLFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		data string
		want []string
	}{
		{`{"id":1,"v":"plain"}`, nil},
		{`{"v":"a\u0001b"}`, []string{"v"}},
		{`{"a":"\t\n\r\"\\\/\u00e9\u001f","b":"\u0020"}`, []string{"a"}},
		{`{"a":"` + "\ufffe" + `","b":"` + "\ufffd\uff5e" + `"}`, []string{"a"}},
		{`{"a":"\uFFFF","b":"\ufffd","c":"\ud83d\ude42","d":"\ud83d"}`, []string{"a", "d"}},
		{`{"doc":{"x":["\b"]},"odd\"name":["\u0000"],"list":["\u00e9"]}`, []string{"doc", `odd"name`}},
	} {
		for name, cfg := range map[string]delivery.ProfileConfig{"native": profile("native", asXML), "alma": almaConfig(asXML)} {
			f, err := Products().Formatter(cfg)
			if err != nil {
				t.Fatal(err)
			}
			ev := &delivery.Event{Making: &delivery.Making{Type: "loan.returned", Object: "loan"}, Commit: &delivery.Commit{}, ID: "evt_1", Key: []byte(`{"id":1}`), Data: []byte(c.data)}
			if got := f.(delivery.Flagger).Flags(ev); !slices.Equal(got, c.want) {
				t.Errorf("%s: %s: flags %q, want %q", name, c.data, got, c.want)
			}
			body := mustRender(t, cfg, ev)
			assertXML(t, body)
			if replaced := strings.Count(string(body), "\ufffd") > strings.Count(c.data, "\ufffd")+strings.Count(c.data, `\ufffd`); replaced != (c.want != nil) {
				t.Errorf("%s: %s became %s", name, c.data, body)
			}
		}
	}
	f, err := Products().Formatter(profile("native", nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := f.(delivery.Flagger); ok {
		t.Error("JSON flags what it has")
	}
}

// TestXMLFlagsOfItsOwn flags what an event says beside its row.
func TestXMLFlagsOfItsOwn(t *testing.T) {
	t.Parallel()
	f, err := Products().Formatter(profile("native", asXML))
	if err != nil {
		t.Fatal(err)
	}
	ev := &delivery.Event{Making: &delivery.Making{}, Commit: &delivery.Commit{Actor: delivery.Actor{ID: "a", Name: "\x01"}, Operation: "\x02"}, Link: "/x"}
	if got := f.(delivery.Flagger).Flags(ev); !slices.Equal(got, []string{"actor", "operation"}) {
		t.Errorf("flags %q", got)
	}
}
