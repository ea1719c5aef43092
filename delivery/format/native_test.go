package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"rowhook/delivery"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// events are the shapes an event can have. Each has a golden file of its name.
func events() map[string]*delivery.Event {
	at := time.Date(2026, 11, 22, 10, 2, 3, 456789012, time.FixedZone("", 9*3600))
	return map[string]*delivery.Event{
		"insert": {
			Making: &delivery.Making{Source: "library", Table: "circulation.loans", Op: "insert", Type: "loan.created", Bigints: []string{"loan_id"}},
			Commit: &delivery.Commit{Position: "0/16B3748", Transaction: "745", Time: at},
			ID:     "evt_01", Ordinal: 2, Key: []byte(`{"loan_id":1000}`), Data: []byte(`{"loan_id":1000,"returned_at":null}`),
		},
		"update": {
			Making: &delivery.Making{Source: "library", Table: "circulation.loans", Op: "update", Type: "loan.returned", Bigints: []string{"loan_id"}},
			Commit: &delivery.Commit{Position: "0/16B3748", Transaction: "745", Time: at, Actor: delivery.Actor{ID: "aa010001", Name: "Ada Lovelace"}, Operation: "web_form"},
			ID:     "evt_02", Ordinal: 2, Link: "https://ils.example.org/loans/1000?a=1&b=2",
			Key:      []byte(`{"loan_id":1000}`),
			Data:     []byte(`{"loan_id":1000,"fee":"12.50","returned_at":"2026-11-22T01:02:03.120000Z"}`),
			Previous: []byte(`{"returned_at":null}`),
		},
		"delete": {
			Making: &delivery.Making{Source: "library", Table: "circulation.loans", Op: "delete", Type: "loan.deleted", Bigints: []string{"loan_id"}},
			Commit: &delivery.Commit{Position: "0/16B3748", Transaction: "745", Time: at, Actor: delivery.Actor{ID: "aa010001"}},
			ID:     "evt_03", Ordinal: 2, Key: []byte(`{"loan_id":9223372036854775807}`),
			Data: []byte(`{"loan_id":9223372036854775807}`), Previous: []byte(`{"loan_id":9223372036854775807,"fee":"12.50"}`),
		},
		"truncate": {Making: &delivery.Making{Source: "library", Table: "circulation.loans", Op: "truncate", Type: "record.truncated"}, Commit: &delivery.Commit{Position: "0/16B3748", Transaction: "745", Time: at}, ID: "evt_04", Ordinal: 2},
		"signal": {
			Making: &delivery.Making{Type: "job.finished", Source: "library", Op: "signal"},
			Commit: &delivery.Commit{Time: at.Add(-at.Sub(at.Truncate(time.Second))), Position: "0/16B3748", Transaction: "745"},
			ID:     "evt_05", Ordinal: 1, Key: []byte(`{"job":"nightly"}`), Data: []byte(`{"rows":12}`),
		},
		"defaults": {
			Making: &delivery.Making{Source: "library", Table: "circulation.loans", Op: "insert", Type: "loan.created"},
			Commit: &delivery.Commit{Position: "0/16B3748", Transaction: "745", Time: at, Assumed: true, Actor: delivery.Actor{ID: "system", Name: "system"}, Operation: "unknown"},
			ID:     "evt_06", Ordinal: 2, Key: []byte(`{"loan_id":1}`), Data: []byte(`{"loan_id":1}`),
		},
		"unknowns": {
			Making: &delivery.Making{Source: "library", Table: "circulation.loans", Op: "update", Type: "loan.returned"},
			Commit: &delivery.Commit{Position: "0/16B3748", Transaction: "745", Time: at, Actor: delivery.Actor{Name: "Ada"}},
			ID:     "evt_07", Ordinal: 2, Key: []byte(`{"loan_id":1}`), Data: []byte(`{"loan_id":1}`),
			Previous: []byte(`{}`), Unavailable: []string{"big_note", `odd "name"`},
		},
		"nasty": {
			Making: &delivery.Making{Type: "note.changed", Source: "böse\\\"\n", Table: "public.a<b>&c", Op: "update"},
			Commit: &delivery.Commit{
				Time: at, Position: "mysql-bin.000012:4", Transaction: "3E11FA47:23",
				Actor: delivery.Actor{ID: "\x00\x1f\x7f", Name: "\u2028\u2029 😀 \xff\xfe"}, Operation: "</script>",
			},
			ID: "evt_08", Link: "javascript:alert('1')", Key: []byte(`{"a.b":1,"ä\"":2}`),
			Data: []byte(`{"t":"<&>\u2028😀\\","n":0.10,"e":1e400,"big":123456789012345678901234567890.10}`),
		},
		"bigints": {
			Making: &delivery.Making{Source: "library", Table: "circulation.loans", Op: "insert", Type: "loan.created", Bigints: []string{"id", "library.id", "list", "nulled", "text", "deep.x.y", "rows.id"}},
			Commit: &delivery.Commit{Position: "0/16B3748", Transaction: "745", Time: at},
			ID:     "evt_09", Ordinal: 2, Key: []byte(`{"id":-9007199254740993}`),
			Data: []byte(`{"id":-9007199254740993,"library":{"id":7,"no":7},"list":[1,[2,null],"3",{"id":4}],"nulled":null,"text":"8","d\u0065ep":{"x.y":5},"no":{"id":6},"rows":[{"id":8,"no":8},{"id":null}]}`),
		},
	}
}

func render(t testing.TB, bigint string, ev *delivery.Event) []byte {
	t.Helper()
	f, err := Products().Formatter(delivery.ProfileConfig{Code: "desk", Format: "native", MessageType: "json", Bigint: bigint})
	if err != nil {
		t.Fatal(err)
	}
	body, err := f.AppendBody(nil, ev)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// TestNativeGolden compares every shape, in both ways to write 64-bit integers, with its golden
// file: one line each.
func TestNativeGolden(t *testing.T) {
	t.Parallel()
	for name, ev := range events() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := append(render(t, "number", ev), '\n')
			got = append(append(got, render(t, "string", ev)...), '\n')
			path := filepath.Join("testdata", name+".jsonl")
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("got\n%swant\n%s", got, want)
			}
			assertBody(t, got[:strings.IndexByte(string(got), '\n')])
		})
	}
}

// assertBody fails when a body is not one line of valid UTF-8 JSON.
func assertBody(t testing.TB, body []byte) {
	t.Helper()
	if !json.Valid(body) || !utf8.Valid(body) || strings.ContainsAny(string(body), "\r\n\u2028\u2029") {
		t.Errorf("not one line of JSON: %q", body)
	}
}

// TestNativeGroups compares a group of each unit with its golden file, one line each.
func TestNativeGroups(t *testing.T) {
	t.Parallel()
	f, err := Products().Formatter(delivery.ProfileConfig{Bigint: "string"})
	if err != nil {
		t.Fatal(err)
	}
	all := events()
	var got []byte
	for _, g := range []delivery.Group{
		{ID: "grp_01", Unit: "batch", Count: 3},
		{ID: "grp_02", Unit: "transaction", Count: 3},
		{ID: "grp_03", Unit: "type", Type: "loan.returned", Count: 3, Part: 2, Parts: 4},
	} {
		members := []*delivery.Event{all["update"], all["nasty"], all["delete"]}
		g.First = members[0]
		g.Events = func(yield func(*delivery.Event, error) bool) {
			for _, ev := range members {
				if !yield(ev, nil) {
					return
				}
			}
		}
		var b bytes.Buffer
		if err := f.(delivery.GroupFormatter).WriteGroup(&b, &g); err != nil {
			t.Fatal(err)
		}
		assertBody(t, b.Bytes())
		got = append(append(got, b.Bytes()...), '\n')
	}
	path := filepath.Join("testdata", "groups.jsonl")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestNativeGroupInPieces writes a group that is larger than a piece, and one whose events or
// receiver fail.
func TestNativeGroupInPieces(t *testing.T) {
	t.Parallel()
	f, err := Products().Formatter(delivery.ProfileConfig{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	ev, broken := events()["update"], errors.New("broken")
	group := func(failing int) *delivery.Group {
		return &delivery.Group{ID: "grp_01", Unit: "batch", Count: n, First: ev, Events: func(yield func(*delivery.Event, error) bool) {
			for i := range n {
				if i == failing {
					yield(nil, broken)
					return
				}
				if !yield(ev, nil) {
					return
				}
			}
		}}
	}
	var body, largest = bytes.Buffer{}, 0
	write := func(p []byte) (int, error) { largest = max(largest, len(p)); return body.Write(p) }
	if err := f.(delivery.GroupFormatter).WriteGroup(writeFunc(write), group(-1)); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Count  int
		Events []json.RawMessage
	}
	if err := json.Unmarshal(body.Bytes(), &back); err != nil || back.Count != n || len(back.Events) != n || largest > 2*groupPiece {
		t.Errorf("%d events in pieces of up to %d bytes: %v", len(back.Events), largest, err)
	}
	if err := f.(delivery.GroupFormatter).WriteGroup(writeFunc(write), group(500)); !errors.Is(err, broken) {
		t.Errorf("events that fail: %v", err)
	}
	full := func([]byte) (int, error) { return 0, broken }
	if err := f.(delivery.GroupFormatter).WriteGroup(writeFunc(full), group(-1)); !errors.Is(err, broken) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

func TestNativeAppendsAndKeepsNothing(t *testing.T) {
	t.Parallel()
	f, err := Products().Formatter(delivery.ProfileConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ev := events()["update"]
	first, _ := f.AppendBody(nil, ev)
	both, err := f.AppendBody([]byte("before"), ev)
	if err != nil || string(both) != "before"+string(first) {
		t.Errorf("%s, %v", both, err)
	}
	if head := f.Head(ev); head.ContentType != "application/json" || head.Header != nil {
		t.Error(head)
	}
}

// TestNativeAllocates holds the promise that a body costs at most one allocation beyond the
// caller's buffer. It costs none but where a pool is emptied, as the race detector does at random.
func TestNativeAllocates(t *testing.T) {
	for _, bigint := range []string{"number", "string"} {
		f, err := Products().Formatter(delivery.ProfileConfig{Bigint: bigint})
		if err != nil {
			t.Fatal(err)
		}
		ev, buf := events()["update"], make([]byte, 0, 4096)
		if n := testing.AllocsPerRun(100, func() { _, _ = f.AppendBody(buf, ev) }); n > 1 {
			t.Errorf("bigint %s: %.0f allocations", bigint, n)
		}
	}
}

func TestNativeRefusesBrokenValues(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`{`, `{"id"`, `{"id":}`, `{"id":1`, `{"id":[1}`, `{"id":1}}`, `{"id" 1}`, `{"id":"1}`, `{"a":1 "id":1}`, strings.Repeat("[", 20000)} {
		ev := &delivery.Event{Making: &delivery.Making{Bigints: []string{"id"}}, Commit: &delivery.Commit{}, ID: "evt_1", Data: []byte(data)}
		f, _ := Products().Formatter(delivery.ProfileConfig{Bigint: "string"})
		body, err := f.AppendBody([]byte("kept"), ev)
		if !errors.Is(err, errBadJSON) || string(body) != "kept" {
			t.Errorf("%.20s: %q, %v", data, body, err)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		cfg  delivery.ProfileConfig
		path string
	}{
		{delivery.ProfileConfig{Code: "desk", Format: "morse"}, "profiles.desk.format"},
		{delivery.ProfileConfig{Code: "desk", Format: "slack", MessageType: "xml"}, "profiles.desk.message_type"},
		{delivery.ProfileConfig{Code: "desk", Bigint: "float"}, "profiles.desk.bigint"},
	} {
		_, err := Products().Formatter(test.cfg)
		var e *delivery.ConfigError
		if !errors.As(err, &e) || strings.Join(e.ConfigPath(), ".") != test.path || e.RemedyText() == "" {
			t.Errorf("%+v: %v", test.cfg, err)
		}
	}
}

// FuzzNative proves that whatever texts and valid objects an event has, its body is one line of
// valid JSON with the same values.
func FuzzNative(f *testing.F) {
	f.Add("evt_1", "loan.created", "web_form", `{"id":1,"a":{"b":[2,"3"]}}`, "id", "a.b")
	f.Add("\xff", "a\u2028b", "\x00", `{"\u0069d":1e5}`, "id", "")
	f.Add("", "", "", `{ "a" : [ ] , "b" : { } }`, "a", "b")
	f.Fuzz(func(t *testing.T, id, typ, operation, data, path1, path2 string) {
		if !json.Valid([]byte(data)) || data[0] != '{' || strings.ContainsAny(data, "\r\n\u2028\u2029") || !utf8.ValidString(data) {
			return
		}
		ev := &delivery.Event{
			Making: &delivery.Making{Type: typ, Bigints: []string{path1, path2}},
			Commit: &delivery.Commit{Operation: operation, Actor: delivery.Actor{Name: operation}},
			ID:     id, Link: id, Data: []byte(data), Previous: []byte(data), Unavailable: []string{id, typ},
		}
		plain, quoted := render(t, "number", ev), render(t, "string", ev)
		assertBody(t, plain)
		assertBody(t, quoted)
		var back struct {
			ID   string
			Data json.RawMessage
		}
		if err := json.Unmarshal(plain, &back); err != nil || string(back.Data) != strings.TrimRight(data, " \t") {
			t.Errorf("data %s became %s (%v)", data, back.Data, err)
		}
		if want := strings.ToValidUTF8(id, "\ufffd"); utf8.ValidString(id) && back.ID != want {
			t.Errorf("id %q became %q", id, back.ID)
		}
	})
}
