package mapping

import (
	"fmt"
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
		"price numeric", "ratio float", "ref uuid", "doc json", "span interval", "raw binary", "on bit", "paid bool", "name text", "mail citext", "sum money", "net cidr")
	values := row("1", "AB  ", "2026-11-22 01:02:03.12+00", "2026-11-22 01:02:03", "2026-11-22", "01:02:03",
		"1000", "1e+21", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", `{"a": 1}`, "P1DT2H", `\x01ff`, "1", "t", "01", "A@B.C", "$1,234.50", "10.0.0.1/32")
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
		{"ref", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", true, ""}, {"ref", "a0eebc999c0b4ef8bb6d6bb9bd380a11", true, ""}, {"ref", "a0eebc99", false, `the column is a uuid and never "a0eebc99"`},
		{"doc", `{"a":1.0}`, true, ""}, {"doc", `{"a":2}`, false, ""}, {"doc", `a`, false, `the column is a jsonb and never "a"`},
		{"span", "P1DT2H", true, ""}, {"span", "PT26H", true, ""}, {"span", "1 day 02:00:00", false, `the column is an interval and never "1 day 02:00:00"`},
		{"raw", `\x01ff`, true, ""}, {"raw", `\x01FF`, true, ""}, {"raw", "01ff", false, `the column is a bytea and never "01ff"`}, {"raw", "Af8=", false, `the column is a bytea and never "Af8="`},
		{"on", "1", true, ""}, {"on", "true", false, `the column is a bit and never "true"`},
		{"paid", "true", true, ""}, {"paid", "false", false, ""},
		{"mail", "a@b.c", true, ""}, {"sum", "1234.5", false, `the column is money and never "1234.5"`}, {"sum", "$1,234.50", true, ""},
		{"net", "10.0.0.1/32", true, ""}, {"net", "10.0.0.1", true, ""}, {"net", "10.0.0.0/8", false, ""}, {"net", "10.0.0.1/8", false, `the column is a cidr and never "10.0.0.1/8"`}, {"net", "10.1", false, `the column is a cidr and never "10.1"`},
		{"name", "01", true, ""}, {"name", "1", false, ""}, // as written
	} {
		condition := delivery.Where{{Column: tt.column, Values: []delivery.Literal{{Text: tt.value}}}}
		cfg := Config{{Name: "shop.senses", Events: []EventConfig{
			{Type: "all", Rules: []RuleConfig{{Op: []string{"insert"}}}},
			{Type: "some", Rules: []RuleConfig{{Op: []string{"insert"}, Where: condition}}},
		}}}
		ifs := Config{{Name: "shop.senses", Events: []EventConfig{
			{Type: "all", Rules: []RuleConfig{{Op: []string{"insert"}}}},
			{Type: "same", Rules: []RuleConfig{{Op: []string{"insert"}, If: fmt.Sprintf("new.%s == %q", tt.column, tt.value)}}},
			{Type: "in", Rules: []RuleConfig{{Op: []string{"insert"}, If: fmt.Sprintf("new.%s in [%q]", tt.column, tt.value)}}},
			{Type: "other", Rules: []RuleConfig{{Op: []string{"insert"}, If: fmt.Sprintf("new.%s != %q", tt.column, tt.value)}}},
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
		if tt.column != "paid" { // which expressions compare with true and false
			m, out := setup(t, ifs, Options{})
			if err := m.Change(&capture.Change{Op: capture.Insert, Table: table, New: values}); err != nil {
				t.Fatal(err)
			}
			want := map[bool]string{true: "all same in", false: "all other"}[tt.holds]
			if got := out.types(); got != want || len(out.failures) > 0 {
				t.Errorf("if: %s == %s: %v, want %v; %v", tt.column, tt.value, got, want, out.failures)
			}
		}
		rules, err := Compile(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, f := range rules.Check(table, nil) {
			said = append(said, f.Text)
		}
		if got := strings.Join(said, "; "); got != tt.never {
			t.Errorf("%s = %s: check says %q, want %q", tt.column, tt.value, got, tt.never)
		}
	}
}

// TestSensedValues: what compares otherwise than as a text is one to everything else in expressions.
func TestSensedValues(t *testing.T) {
	t.Parallel()
	uuids := &capture.Type{Name: "uuid[]", Kind: capture.List, Elem: testTypes["uuid"], AppendJSON: jsonAsIs}
	prices := &capture.Type{Name: "numeric[]", Kind: capture.List, Elem: testTypes["numeric"], AppendJSON: jsonAsIs}
	of := table("shop.senses", capture.IdentityFull, "id int key", "code char", "ref uuid", "mail citext", "opens clock", "closes clock", "span interval", "net other", "name text",
		"upper text", "padded text", "unpadded text", "raw bytes", "bytes text", "at timetz", "ids list", "tags list", "doc json")
	of.Columns = append(of.Columns, capture.Column{Name: "refs", Type: uuids, Identity: true}, capture.Column{Name: "prices", Type: prices, Identity: true})
	values := row("1", "AB  ", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A@b.c", "99:00:00", "100:00:00", "P1M", "10.0.0.0/8", "ab",
		"A@B.C", "AB ", "AB", `\x0a`, `\x0A`, "99:00:00+00", "[1,2]", `["1","2"]`, `{"a":1}`,
		`["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",null]`, `["1.50","10"]`)
	for text, want := range map[string]string{
		"new.opens < new.closes":                             "true",
		`new.opens >= "99:00:00.000000"`:                     "true",
		`"100:00:00" > new.opens`:                            "true",
		`new.opens > "soon"`:                                 "error: > compares values whose order is not known",
		`new.opens == "soon"`:                                "false",
		`new.span > "P29D" and new.span < "P1M1D"`:           "true",
		`new.net < "10.0.0.1"`:                               "true",
		`new.span == new.opens`:                              "false",
		`new.span > new.opens`:                               "error: > compares values whose order is not known",
		`new.code == "AB" and new.code == "AB "`:             "true",
		`new.code + "!"`:                                     `"AB!"`,
		`new.code + new.name`:                                `"ABab"`,
		`lower(new.code) == new.name`:                        "true",
		`upper(new.mail)`:                                    `"A@B.C"`,
		`new.mail`:                                           `"A@b.c"`,
		`[new.mail, new.span]`:                               `["A@b.c","P1M"]`,
		`len(new.code)`:                                      "2",
		`new.ref[0:4]`:                                       `"a0ee"`,
		`new.ref startsWith "a0ee"`:                          "true",
		`new.ref matches "^[0-9a-f-]+$"`:                     "true",
		`split(new.mail, "@")[0]`:                            `"A"`,
		`string(new.span)`:                                   `"P1M"`,
		`type(new.span)`:                                     `"string"`,
		`new.mail in ["a@B.C"]`:                              "true",
		`"a@B.C" in [new.mail]`:                              "true",
		`"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11" in new.refs`: "true",
		`any(new.refs, # == "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}")`:            "true",
		`new.refs[0] == new.ref`:                                              "true",
		`count(new.prices, # == "1.5")`:                                       "1",
		`any(new.prices, # > 9)`:                                              "true",
		`new.prices[1] > new.prices[0]`:                                       "true",
		`new.mail == new.name`:                                                "false", // as PostgreSQL compares citext with text
		`new.mail == new.upper`:                                               "false",
		`new.mail == "A@B.C"`:                                                 "true",
		`new.mail < new.name`:                                                 "true",
		`new.code == new.padded`:                                              "false",
		`new.code == new.unpadded`:                                            "true",
		`new.raw == new.bytes`:                                                "false",
		`new.opens == new.at`:                                                 "error: == compares a time with a zone and one without, which takes the session's zone",
		`new.ids == ["1", "2"] and ["1", "2"] == new.ids`:                     "true",
		`let ids = ["1", "2"]; new.ids == ids`:                                "true",
		`new.tags == [1, 2] and [[1, 2]] == [new.tags]`:                       "true",
		`new.ids == new.tags`:                                                 "false",
		`new.doc == '{"a": "1"}'`:                                             "false",
		`first(new.refs) == "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"`:           "true",
		`get(take(new.refs, 1), 0) == "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"`: "true",
		`"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11" in sort(concat(new.refs[0:1], new.refs[0:1]))`: "true",
		`last(uniq(flatten([new.refs[0:1]]))) == "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"`:       "true",
		`first([new.refs[0], "x"]) == "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"`:                  "false",
		`new.prices == ["1.5", "10.0"]`:                  "true",
		`join(new.refs[0:1], ",") == lower(new.refs[0])`: "true",
		`let m = new.mail; m == "A@B.C"`:                 "true",
		`(new.mail ?? "") == "A@B.C"`:                    "true",
		`new.opens ? 1 : 2`:                              "error: the condition before ? is neither true nor false",
		`new.opens.Hours()`:                              "error: method Hours does not go with a text",
		`new.opens + 1`:                                  "error: + does not go with a text and a number",
	} {
		x, err := compileExpression(text, false)
		if err != nil {
			if want != "refused" {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		b := binder{&boundEntry{entry: &entry{schema: "shop", table: "senses"}, table: of}}
		bound := b.expression(x, nil)
		v, ok, err := bound.value(&evaluation{rows: newRows(&capture.Change{Op: capture.Insert, Table: of, New: values}), at: testTransaction.Time, context: &contexts{}})
		got := "unknown"
		switch {
		case err != nil:
			got = "error: " + err.Error()
		case ok:
			got = string(appendValue(nil, v))
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
