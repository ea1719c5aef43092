package format

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"rowhook/delivery"
)

// FuzzBodies proves that whatever payload, key and texts an event has, each format makes of it a
// body that its kind of receiver can read, or refuses it in words: JSON on one line, a canonical
// form of it where that is promised, well-formed XML.
func FuzzBodies(f *testing.F) {
	f.Add("evt_1", "loan.returned", "web_form", `{"id":1}`, `{"id":1,"title":"a <b> & \"c\"","doc":{"x":[1,{"y":null}]},"n":1.50}`)
	f.Add("", "a.b", "\x00", `{}`, `{"a b":"\u0000","1":[],"":{"<":"]]>"},"xml":"\ud800"}`)
	f.Add("\xff", "", "図書館", `{"k":"é😀"}`, `{"record":"<record><leader>x</leader><m:f xmlns:m=\"u\"/></record>","e":1e400,"big":12345678901234567890}`)
	canonicalToo := map[string]delivery.ProfileConfig{"alma": almaConfig(nil), "rakuraku": rakurakuConfig(nil)}
	readable := map[string]delivery.ProfileConfig{
		"native": profile("native", nil), "cloudevents": profile("cloudevents", nil), "slack": profile("slack", nil),
		"cloudevents binary": profile("cloudevents", func(p *delivery.ProfileConfig) { p.CloudEvents.Mode = "binary" }),
		"template":           withTemplate(`{"type":{{json .type}},"data":{{json .data}}}`),
	}
	inXML := map[string]delivery.ProfileConfig{"alma": almaConfig(asXML), "native": profile("native", asXML)}
	f.Fuzz(func(t *testing.T, id, typ, operation, key, data string) {
		for _, text := range []string{key, data} {
			if !json.Valid([]byte(text)) || text[0] != '{' || !utf8.ValidString(text) || strings.ContainsAny(text, "\r\n\u2028\u2029") {
				return
			}
		}
		ev := &delivery.Event{
			Making: &delivery.Making{Type: typ, Object: "loan", Source: operation, Table: typ, Op: "update"},
			Commit: &delivery.Commit{Operation: operation, Actor: delivery.Actor{Name: operation, ID: id}, Time: time.UnixMilli(1795309323456).UTC()},
			ID:     id, Link: id, Key: []byte(key), Data: []byte(data), Previous: []byte(data), Unavailable: []string{typ},
		}
		for name, cfg := range canonicalToo {
			if body, ok := tryBody(t, cfg, ev); ok {
				assertBodyOf(t, name, body)
				var c canon
				if again, err := c.append(nil, body, ""); err != nil || string(again) != string(body) {
					t.Errorf("%s: %s has the canonical form %s (%v)", name, body, again, err)
				}
			}
		}
		for name, cfg := range readable {
			if body, ok := tryBody(t, cfg, ev); ok {
				assertBodyOf(t, name, body)
			}
		}
		for _, cfg := range inXML {
			if body, ok := tryBody(t, cfg, ev); ok {
				assertXML(t, body)
			}
		}
	})
}

// tryBody is the event's body, if the format does not refuse it.
func tryBody(t *testing.T, cfg delivery.ProfileConfig, ev *delivery.Event) (body []byte, ok bool) {
	t.Helper()
	formatter, err := Products().Formatter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	formatter.Head(ev)
	body, err = formatter.AppendBody(nil, ev)
	return body, err == nil
}

func assertBodyOf(t *testing.T, name string, body []byte) {
	t.Helper()
	if !json.Valid(body) || !utf8.Valid(body) || strings.ContainsAny(string(body), "\r\n") {
		t.Errorf("%s: not one line of JSON: %q", name, body)
	}
}
