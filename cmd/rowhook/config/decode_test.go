package config

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"rowhook/cmd/rowhook/spelling"
	"rowhook/delivery"
	"rowhook/mapping"
)

func TestNotations(t *testing.T) {
	t.Parallel()
	duration := func(s string) (any, string, bool) { d, near, ok := ParseDuration(s); return d, near, ok }
	size := func(s string) (any, string, bool) { n, near, ok := parseSize(s); return n, near, ok }
	percent := func(s string) (any, string, bool) { p, near, ok := parsePercent(s); return p, near, ok }
	for _, test := range []struct {
		parse func(string) (any, string, bool)
		text  string
		want  any // nil: refused
		near  string
	}{
		{duration, "0", time.Duration(0), ""},
		{duration, "500ms", 500 * time.Millisecond, ""},
		{duration, "15s", 15 * time.Second, ""},
		{duration, "1.5h", 90 * time.Minute, ""},
		{duration, "1h30m", 90 * time.Minute, ""},
		{duration, "30d", 720 * time.Hour, ""},
		{duration, "15", nil, spelling.Ask("15s")},
		{duration, "15S", nil, spelling.Ask("15s")},
		{duration, "2 hours", nil, spelling.Ask("2h")},
		{duration, "3w", nil, spelling.Ask("21d")},
		{duration, "", nil, ""},
		{duration, "s", nil, ""},
		{duration, "1e9s", nil, ""},
		{duration, "999999999999d", nil, ", which is too long"},
		{size, "0", int64(0), ""},
		{size, "100B", int64(100), ""},
		{size, "64MiB", int64(64 << 20), ""},
		{size, "1TiB", int64(1 << 40), ""},
		{size, "64MB", nil, spelling.Ask("64MiB")},
		{size, "64m", nil, spelling.Ask("64MiB")},
		{size, "64", nil, spelling.Ask("64B")},
		{size, "1.5GiB", nil, ""},
		{size, "-1B", nil, ""},
		{size, "9999999999GiB", nil, ", which is too large"},
		{percent, "25%", 0.25, ""},
		{percent, "12.5%", 0.125, ""},
		{percent, "100%", 1.0, ""},
		{percent, "101%", nil, ", which is more than 100%"},
		{percent, "25", nil, spelling.Ask("25%")},
		{percent, "0.25", nil, spelling.Ask("25%")},
		{percent, "-1%", nil, ""},
	} {
		got, near, ok := test.parse(test.text)
		if ok != (test.want != nil) || ok && got != test.want || near != test.near {
			t.Errorf("%q: got %v, %q, %v; want %v, %q", test.text, got, near, ok, test.want, test.near)
		}
	}
}

// full is what testdata/config/valid-full.yaml says.
func full(t *testing.T) *Config {
	t.Helper()
	c, err := Load("testdata/config/valid-full.yaml", env(map[string]string{"TIMEOUT": "5s", "PASSWORD": "p@ss/word"}), "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaultsProfilesAndPresets(t *testing.T) {
	t.Parallel()
	c := full(t)
	desk, plain := c.Profiles[0], c.Profiles[1]
	for _, test := range []struct {
		what      string
		got, want any
	}{
		{"the environment in a URL", desk.URL, "https://desk.example.org/hooks?token=p%40ss%2Fword"},
		{"a default", desk.Timeout, 3 * time.Second},
		{"a variable over a default", plain.Timeout, 5 * time.Second},
		{"a variable's default", plain.Concurrency, 4},
		{"the preset", desk.Concurrency, 8},
		{"a share", float64(plain.Share), 0.125},
		{"members of a map from both", desk.Retry, delivery.RetryConfig{
			Initial: 2 * time.Second, Max: 30 * time.Minute, Multiplier: 2, Jitter: 0.2, MaxAge: 72 * time.Hour}},
		{"keys of a map from both", desk.Headers, []delivery.HeaderConfig{
			{Name: "X-Env", Value: "production"}, {Name: "X-All", Value: "1"}, {Name: "X-Own", Value: "2"}}},
		{"other profiles keep the defaults", plain.Headers, []delivery.HeaderConfig{
			{Name: "X-Env", Value: "test"}, {Name: "X-All", Value: "1"}}},
		{"a list replaces the preset's", desk.Success, []string{"200", "201"}},
		{"one for a list", plain.AllowNetworks, []string{"loopback"}},
		{"one for a list in a list", desk.Subscriptions[0].Events, []string{"loan.*"}},
		{"a list in place of a map", desk.Subscriptions[0].Operations, delivery.OperationsConfig{Only: []string{"desk", "kiosk"}}},
		{"the map", desk.Subscriptions[1].Operations, delivery.OperationsConfig{Not: []string{"web_api"}}},
		{"not given", desk.LogBody, (*int)(nil)},
	} {
		if !reflect.DeepEqual(test.got, test.want) {
			t.Errorf("%s: got %#v, want %#v", test.what, test.got, test.want)
		}
	}
}

func TestMappingAsWritten(t *testing.T) {
	t.Parallel()
	entry := full(t).Mapping[1]
	literal := func(text string) delivery.Literal { return delivery.Literal{Text: text} }
	wantWhere := delivery.Where{
		{Column: "status", Values: []delivery.Literal{literal("OVERDUE")}},
		{Column: "shelf", Values: []delivery.Literal{literal("01")}},
		{Column: "branch", Values: []delivery.Literal{literal("MAIN"), {Text: "null", Null: true}}},
	}
	if !reflect.DeepEqual(entry.Where, wantWhere) {
		t.Errorf("where %+v", entry.Where)
	}
	scalar := func(text string) mapping.FieldValue { return mapping.FieldValue{Text: text} }
	wantFields := []mapping.FieldConfig{
		{Name: "loan_id", Members: []mapping.FieldConfig{{Name: "column", Value: scalar("loan_id")}, {Name: "type", Value: scalar("string")}}},
		{Name: "plain", Value: scalar("due_at")},
		{Name: "library", Members: []mapping.FieldConfig{{Name: "value", Value: scalar("branch")}, {Name: "desc", Value: scalar("branch_name")}}},
		{Name: "kind", Members: []mapping.FieldConfig{{Name: "const", Value: scalar("LOAN")}}},
		{Name: "version", Members: []mapping.FieldConfig{{Name: "const", Value: mapping.FieldValue{Text: "2", Quoted: true}}}},
	}
	if !reflect.DeepEqual(entry.Fields, wantFields) {
		t.Errorf("fields %+v", entry.Fields)
	}
	if got := entry.Events[0].Rules[0].Op; !reflect.DeepEqual(got, []string{"insert", "update"}) {
		t.Errorf("op %q", got)
	}
	if last := full(t).Mapping[2]; last.Name != "circulation.*" {
		t.Errorf("an entry with nothing behind its key: %+v", last)
	}
}

func TestAliases(t *testing.T) {
	t.Parallel()
	c, err := Load("testdata/config/valid-aliases.yaml", env(nil), "")
	if err != nil {
		t.Fatal(err)
	}
	two, three := c.Profiles[1], c.Profiles[2]
	if two.URL != "https://two.example.org/" || two.Retry.MaxAge != 720*time.Hour {
		t.Errorf("two: %s %v", two.URL, two.Retry)
	}
	if three.Retry.Max != time.Hour || three.Retry.MaxAge != 720*time.Hour {
		t.Errorf("three: %v", three.Retry)
	}
}

func TestAliasesCannotBlowUp(t *testing.T) {
	t.Parallel()
	text := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		before := string(c - 1)
		text += string(c) + ": &" + string(c) + " ["
		for range 10 {
			text += "*" + before + ","
		}
		text += "]\n"
	}
	_, err := parseYAML("bomb.yaml", []byte(text))
	if err == nil {
		t.Fatal("taken")
	}
}

func TestSecretFiles(t *testing.T) {
	t.Parallel()
	files := map[string]string{"etc/desk.key": "whsec_c2VjcmV0\r\n", "/etc/rowhook/db": "pass word\n\n"}
	c, err := Parse("etc/config.yaml", []byte(`
source: {type: postgres, url: "postgres://rowhook@127.0.0.1/library", password_file: /etc/rowhook/db}
mapping: {a.b: {}}
defaults: {secret_file: desk.key}
profiles:
  one: {url: https://one.example.org/}
  two: {url: https://two.example.org/, secret: own}
`), env(nil), func(path string) ([]byte, error) { return []byte(files[path]), nil })
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Source.Password; got != "pass word\n" {
		t.Errorf("password %q", got)
	}
	if one := c.Profiles[0]; one.Secret != "whsec_c2VjcmV0" || one.SecretFile != "etc/desk.key" {
		t.Errorf("one: %q from %q", one.Secret, one.SecretFile)
	}
	if two := c.Profiles[1]; two.Secret != "own" || two.SecretFile != "" {
		t.Errorf("two: %q from %q", two.Secret, two.SecretFile)
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	c := full(t)
	for _, test := range []struct {
		path         []string
		line, column int
	}{
		{nil, 1, 1},
		{[]string{"source", "url"}, 3, 8},
		{[]string{"source", "slot"}, 1, 1},
		{[]string{"mapping", "overdue", "events", "loan.overdue", "0", "if"}, 16, 48},
		{[]string{"mapping", "overdue", "where", "branch", "1"}, 8, 56},
		{[]string{"profiles", "desk", "retry"}, 26, 5},
		{[]string{"profiles", "desk", "retry", "initial"}, 20, 20},
		{[]string{"profiles", "desk", "subscriptions", "1"}, 31, 9},
		{[]string{"profiles", "desk", "share"}, 24, 3},
		{[]string{"nothing", "here"}, 1, 1},
	} {
		if line, column := c.locate(test.path...); line != test.line || column != test.column {
			t.Errorf("%q: %d:%d, want %d:%d", test.path, line, column, test.line, test.column)
		}
	}
}

// FuzzNotations reads durations, sizes and shares of any text: none is negative, and what is
// proposed instead of a text that is refused is taken.
func FuzzNotations(f *testing.F) {
	for _, text := range []string{"1h30m", "1.5h", "2 hours", "3w", "64m", "64MiB", "1.5GiB", "0.25", "101%"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		before, after, _ := strings.Cut(spelling.Ask("\x00"), "\x00")
		for _, notation := range []struct {
			name  string
			parse func(text string) (value, most float64, near string, ok bool)
		}{
			{"duration", func(text string) (float64, float64, string, bool) {
				d, near, ok := ParseDuration(text)
				return float64(d), math.MaxInt64, near, ok
			}},
			{"size", func(text string) (float64, float64, string, bool) {
				n, near, ok := parseSize(text)
				return float64(n), math.MaxInt64, near, ok
			}},
			{"share", func(text string) (float64, float64, string, bool) {
				share, near, ok := parsePercent(text)
				return share, 1, near, ok
			}},
		} {
			value, most, near, ok := notation.parse(text)
			if ok && (value < 0 || value > most) {
				t.Errorf("%s %q is %v", notation.name, text, value)
			}
			if word, is := strings.CutPrefix(near, before); is {
				word = strings.TrimSuffix(word, after)
				if _, _, _, ok := notation.parse(word); !ok {
					t.Errorf("%s %q: %q is proposed and refused", notation.name, text, word)
				}
			}
		}
	})
}

// TestComparisonsAreExpressions: what a refused comparison's remedy shows in its place is right in a
// rule.
func TestComparisonsAreExpressions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ kind, condition, want string }{
		{"where", "{total: {gt: 0}}", "row.total > 0"},
		{"where", "{'Net total': {$lte: 1.50}}", "row['Net total'] <= 1.50"},
		{"where", `{"it's": {'>': 1}}`, `row['it\'s'] > 1`},
		{"where", "{day: {between: [2026-01-01, 2026-12-31]}}", "row.day >= '2026-01-01' and row.day <= '2026-12-31'"},
		{"where", "{paid: {ne: true}}", "row.paid != true"},
		{"where", "{status: {not: [A, 'null', null]}}", "row.status != 'A' and row.status != 'null' and row.status != nil"},
		{"becomes", "{total: {gte: 10, lt: 20}}", "new.total >= 10 and new.total < 20 and not (old.total >= 10 and old.total < 20)"},
		{"where", `{"it's": {eq: 1}}`, `row['it\'s'] == 1`},
		{"where", "{total: {matches: x}}", "row.total > 0"}, // an example
	} {
		load := func(rule string) error {
			file := filepath.Join(t.TempDir(), "config.yaml")
			text := "source: {type: postgres, url: postgres://rowhook@127.0.0.1/library}\nmapping: {public.t: {events: {x: {" + rule + "}}}}\n" +
				"profiles: {p: {url: https://desk.example.org/, secret: whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz, subscriptions: [{events: [x]}]}}\n"
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load(file, env(nil), "")
			return err
		}
		told := printed(load(test.kind + ": " + test.condition))
		_, shown, _ := strings.Cut(told, " if: ")
		if shown, _ = strconv.QuotedPrefix(shown); shown != strconv.Quote(test.want) {
			t.Errorf("%s: %s: the error shows %s, want %q:\n%s", test.kind, test.condition, shown, test.want, told)
		} else if err := load("if: " + shown); err != nil {
			t.Errorf("the remedy is refused: %v", err)
		}
	}
}
