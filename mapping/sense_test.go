package mapping

import (
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// TestSenses: a condition holds for its value however people write it, in rules and in
// subscriptions alike. What no value of the column can be is told before the first row.
func TestSenses(t *testing.T) {
	t.Parallel()
	table := table("shop.senses", capture.IdentityFull, "id int key", "code char", "at time", "local local", "day date", "opens clock",
		"price numeric", "ratio float", "ref uuid", "doc json", "span interval", "raw binary", "on bit", "paid bool", "name text", "mail citext", "sum money")
	values := row("1", "AB  ", "2026-11-22 01:02:03.12+00", "2026-11-22 01:02:03", "2026-11-22", "01:02:03",
		"1000", "1e+21", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", `{"a": 1}`, "P1DT2H", `\x01ff`, "1", "t", "01", "A@B.C", "$1,234.50")
	for _, tt := range []struct {
		column, value string
		holds         bool
		never         string // what check says
	}{
		{"code", "AB", true, ""}, {"code", "AB ", true, ""}, {"code", "ab", false, ""},
		{"at", "2026-11-22 01:02:03.12+00", true, ""}, {"at", "2026-11-22T01:02:03.120000Z", true, ""}, {"at", "2026-11-22T10:02:03.12+09:00", true, ""},
		{"at", "2026-11-22T01:02:03Z", false, ""}, {"at", "yesterday", false, `the column is a timestamp with time zone and never "yesterday"`},
		{"local", "2026-11-22T01:02:03.000000", true, ""}, {"local", "0000-00-00 00:00:00", false, ""}, {"local", "2026-00-00 00:00:00", false, ""},
		{"day", "2026-11-22", true, ""}, {"day", "22.11.2026", false, `the column is a date and never "22.11.2026"`},
		{"opens", "01:02:03.000000", true, ""}, {"opens", "3723", false, `the column is a time and never "3723"`},
		{"price", "1e3", true, ""}, {"price", "1000.00", true, ""}, {"price", "1,000", false, `the column is a number and never "1,000"`},
		{"ratio", "1e21", true, ""}, {"ratio", "1000000000000000000000", true, ""},
		{"ref", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", true, ""}, {"ref", "a0eebc999c0b4ef8bb6d6bb9bd380a11", false, `the column is a uuid and never "a0eebc999c0b4ef8bb6d6bb9bd380a11"`},
		{"doc", `{"a":1}`, true, ""}, {"doc", `a`, false, `the column is a jsonb and never "a"`},
		{"span", "P1DT2H", true, ""}, {"span", "1 day 02:00:00", false, `the column is an interval and never "1 day 02:00:00"`},
		{"raw", `\x01ff`, true, ""}, {"raw", "Af8=", false, `the column is a bytea and never "Af8="`},
		{"on", "1", true, ""}, {"on", "true", false, `the column is a bit and never "true"`},
		{"paid", "true", true, ""}, {"paid", "false", false, ""},
		{"mail", "a@b.c", true, ""}, {"sum", "1234.5", false, `the column is money and never "1234.5"`}, {"sum", "$1,234.50", true, ""},
		{"name", "01", true, ""}, {"name", "1", false, ""}, // as written
	} {
		condition := delivery.Where{{Column: tt.column, Values: []delivery.Literal{{Text: tt.value}}}}
		cfg := Config{{Name: "shop.senses", Events: []EventConfig{
			{Type: "all", Rules: []RuleConfig{{Op: []string{"insert"}}}},
			{Type: "some", Rules: []RuleConfig{{Op: []string{"insert"}, Where: condition}}},
		}}}
		m, out := setup(t, cfg, Options{})
		subscribed := delivery.False
		out.row = func(r delivery.Row) { subscribed = condition.Match(r) }
		if err := m.Change(&capture.Change{Op: capture.Insert, Table: table, New: values}); err != nil {
			t.Fatal(err)
		}
		if got := out.types() == "all some"; got != tt.holds {
			t.Errorf("rule: %s = %s: %v, want %v", tt.column, tt.value, got, tt.holds)
		}
		if got := subscribed == delivery.True; got != tt.holds {
			t.Errorf("subscription: %s = %s: %v, want %v", tt.column, tt.value, got, tt.holds)
		}
		rules, err := Compile(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, f := range rules.Check(table) {
			said = append(said, f.Text)
		}
		if got := strings.Join(said, "; "); got != tt.never {
			t.Errorf("%s = %s: check says %q, want %q", tt.column, tt.value, got, tt.never)
		}
	}
}
