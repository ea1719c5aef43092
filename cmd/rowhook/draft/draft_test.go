package draft

import (
	"slices"
	"testing"

	"gopkg.in/yaml.v3"

	"rowhook/capture"
)

// TestTakePassword: no password is left in a URL, but a variable's.
func TestTakePassword(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ raw, rest, password string }{
		{"postgres://rowhook@db/library", "postgres://rowhook@db/library", ""},
		{"postgres://rowhook:s%40e%2Fc@db:5432/library?sslmode=disable", "postgres://rowhook@db:5432/library?sslmode=disable", "s@e/c"},
		{"postgres://rowhook:a+b@db1:1,db2:2/library", "postgres://rowhook@db1:1,db2:2/library", "a+b"},
		{"postgres://rowhook@/library?host=/run&password=a%2Bb&sslmode=disable", "postgres://rowhook@/library?host=/run&sslmode=disable", "a+b"},
		{"postgres://db/library?password=x", "postgres://db/library", "x"},
		{"postgres://rowhook:${PW}@db/library", "postgres://rowhook:${PW}@db/library", ""},
		{"postgres://rowhook@db/library?sslpassword=${PW}", "postgres://rowhook@db/library?sslpassword=${PW}", ""},
		{"mysql://rowhook:@db", "mysql://rowhook@db", ""},
	} {
		rest, password, err := TakePassword(test.raw)
		if err != nil || rest != test.rest || password != test.password {
			t.Errorf("%s: %s, %q, %v", test.raw, rest, password, err)
		}
	}
	for _, raw := range []string{"postgres://rowhook:50%@db/library", "postgres://db/library?password=50%", "postgres://db/library?sslpassword=x"} {
		if rest, password, err := TakePassword(raw); err == nil || rest != "" || password != "" {
			t.Errorf("%s: %s, %q", raw, rest, password)
		}
	}
}

// TestSubjects: a table's rows in the singular, where that is plain.
func TestSubjects(t *testing.T) {
	t.Parallel()
	for table, want := range map[string]string{
		"loans": "loan", "Categories": "category", "boxes": "box", "addresses": "address", "status": "status", "OrderItems": "order_item", "bus": "bus",
		"貸出": "row", "records": "row", "rowhook": "row", "- {}": "row", "news": "new", "gas": "gas",
	} {
		if got := subjectOf(table); got != want {
			t.Errorf("%s: %s, want %s", table, got, want)
		}
	}
}

// TestOtherScripts: event types tell labels and columns of other scripts by their places, which stay
// what they are when a column before gets another label, and descriptions say the label itself.
func TestOtherScripts(t *testing.T) {
	t.Parallel()
	words, moment := &capture.Type{Name: "text", Kind: capture.Text}, &capture.Type{Name: "timestamptz", Kind: capture.Instant}
	got := propose(capture.Listing{
		Table: &capture.Table{Schema: "app", Name: "貸出", Identity: capture.IdentityFull, Key: []int{0}, Columns: []capture.Column{
			{Name: "id", Type: words}, {Name: "返却日時", Type: moment}, {Name: "状態", Type: words}, {Name: "status", Type: words},
		}},
		Facts: []capture.ColumnFacts{{}, {Nullable: true}, {Labels: []string{"貸出中", "返却済"}}, {Labels: []string{"延滞", "LOST"}}},
	}).events
	want := []eventProposal{
		{"row.column_2_set", `{op: update, set: "返却日時"}`, "NULL before, a value now"},
		{"row.column_3_1", `{op: update, becomes: {"状態": "貸出中"}, as: {desc: "貸出中"}}`, "another value before"},
		{"row.column_3_2", `{op: update, becomes: {"状態": "返却済"}, as: {desc: "返却済"}}`, "another value before"},
		{"row.status_1", `{op: update, becomes: {status: "延滞"}, as: {desc: "延滞"}}`, "another value before"},
		{"row.lost", `{op: update, becomes: {status: LOST}}`, "another value before"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

// FuzzQuoting: YAML takes every text back as it was: as a key, as a value, in a list.
func FuzzQuoting(f *testing.F) {
	for _, s := range []string{"loans", "null", "Yes", "01", "", "a: b", "# c", "it's", `"`, "{x}", "two\nlines", "返却", "~", "<<", "- a", "\u0085\u2028\ufeff", "\x7f", "%s", "!x", "&a", "*a", "@", "`"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8Valid(s) || len(s) > 256 { // keys are names, and short
			return
		}
		var got struct {
			Map  map[string]string
			List []string
		}
		doc := "map:\n  " + text(s) + ": {x: y}\n"
		var key struct {
			Map map[string]map[string]string
		}
		if err := yaml.Unmarshal([]byte(doc), &key); err != nil || len(key.Map) != 1 || key.Map[s] == nil {
			t.Errorf("key %q: %v in %s", s, err, doc)
		}
		doc = "map: {" + text(s) + ": " + text(s) + "}\nlist: [" + list([]string{s, "x"}) + "]\n"
		if err := yaml.Unmarshal([]byte(doc), &got); err != nil || got.Map[s] != s || len(got.List) != 2 {
			t.Errorf("%q: %v, %q in %s", s, err, got, doc)
		}
		var setting struct{ URL string }
		doc = "url: " + value(s) + "\n# " + comment(s) + "\n"
		if err := yaml.Unmarshal([]byte(doc), &setting); err != nil || setting.URL != s {
			t.Errorf("%q: %v, %q in %s", s, err, setting.URL, doc)
		}
	})
}

// utf8Valid reports whether a text is UTF-8 that YAML can hold.
func utf8Valid(s string) bool {
	for _, r := range s {
		if r == '\uFFFD' {
			return false
		}
	}
	return true
}

// TestPlace: where the agent logs stands in the config if it is not the config's default.
func TestPlace(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{"": "", "/var/log/rowhook/deliveries.jsonl": "/var/log/rowhook/deliveries.jsonl", "/a: b/c": "/a: b/c"} {
		var got struct{ Log struct{ Deliveries string } }
		raw := Config(Database{Type: Postgres, URL: "postgres://db/library"}, Choice{}, Receiver{Code: "listen", Secret: Setting{"secret", "x"}}, Place{Deliveries: path})
		if err := yaml.Unmarshal(raw, &got); err != nil || got.Log.Deliveries != want {
			t.Errorf("%q: %q, %v\n%s", path, got.Log.Deliveries, err, raw)
		}
	}
}
