package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const tryDir = "testdata/try/"

// tried runs the command on the config of testdata/try, with what comes in.
func tried(t *testing.T, in string, args ...string) result {
	t.Helper()
	return tryWith(t, tryDir+"config.yaml", in, args...)
}

func tryWith(t *testing.T, conf, in string, args ...string) result {
	t.Helper()
	var out, messages bytes.Buffer
	c := &console{in: strings.NewReader(in), out: &out, err: &messages, env: env(nil)}
	code := execute(t.Context(), append([]string{"try", "-c", conf}, args...), c)
	return result{code, out.String(), messages.String()}
}

// TestTry holds each form of output to its golden file. The config's secrets are in no file here.
func TestTry(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		golden string
		args   []string
		code   int
	}{
		{"changes.txt", []string{tryDir + "changes.jsonl"}, exitDone},
		{"changes.bodies.txt", []string{tryDir + "changes.jsonl", "--bodies"}, exitDone},
		{"changes.json", []string{tryDir + "changes.jsonl", "--json"}, exitDone},
		{"changes.events.json", []string{tryDir + "changes.jsonl", "--json", "--bodies=false"}, exitDone},
		{"undecided.txt", []string{tryDir + "undecided.jsonl"}, exitFindings},
		{"undecided.json", []string{tryDir + "undecided.jsonl", "--json"}, exitFindings},
	} {
		t.Run(test.golden, func(t *testing.T) {
			t.Parallel()
			got := tried(t, "", test.args...)
			if got.code != test.code || got.err != "" {
				t.Errorf("exit %d, messages %q", got.code, got.err)
			}
			golden(t, filepath.Join("try", test.golden), got.out)
			if again := tried(t, "", test.args...); again != got {
				t.Errorf("a second run differs:\n%s", again.out)
			}
			for _, secret := range []string{"a-credential", tryStandIn, "internal_note\":"} {
				if strings.Contains(got.out, secret) {
					t.Errorf("the output has %q", secret)
				}
			}
		})
	}
}

// TestTryMySQL has the types of MySQL, units by type and by batch, and a signal by a row.
func TestTryMySQL(t *testing.T) {
	t.Parallel()
	got := tryWith(t, tryDir+"mysql.yaml", "", tryDir+"mysql.jsonl", "--json")
	if got.code != exitDone || got.err != "" {
		t.Errorf("exit %d, messages %q", got.code, got.err)
	}
	golden(t, "try/mysql.json", got.out)
	if strings.Contains(got.out, "LOANKEY") {
		t.Error("the output has the identification key")
	}
}

// TestTryLibrary takes the example config, whose fields and formats are the widest.
func TestTryLibrary(t *testing.T) {
	t.Parallel()
	var out, messages bytes.Buffer
	in := `{"table":"app.sessions","op":"insert","key":["session_id"],"new":{"session_id":1,"user_id":"aa010001","user_name":"Mina","started_at":"2026-11-22T01:02:03Z","ended_at":null}}`
	code := execute(t.Context(), []string{"try", "-c", libraryConfig, "--json"}, &console{in: strings.NewReader(in), out: &out, err: &messages, env: exampleEnv})
	if code != exitDone || !strings.Contains(out.String(), `"type":"session.login"`) {
		t.Errorf("exit %d, %s%s", code, out.String(), messages.String())
	}
}

// TestTryPage runs what the page on operating shows, with the README's config.
func TestTryPage(t *testing.T) {
	t.Parallel()
	_, blocks := readme(t)
	text, _ := page(t, "../../docs/operating.md")
	dir := t.TempDir()
	_, rest, _ := strings.Cut(text, "cat > changes.jsonl <<'END'\n")
	changes, rest, found := strings.Cut(rest, "END\n")
	_, rest, _ = strings.Cut(rest, "```\n\n```\n")
	want, _, _ := strings.Cut(rest, "```")
	if !found || want == "" {
		t.Fatal("the page has no such example")
	}
	for name, content := range map[string]string{"config.yaml": blocks["yaml"][0], "changes.jsonl": changes} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := tryWith(t, filepath.Join(dir, "config.yaml"), "", filepath.Join(dir, "changes.jsonl"))
	if got.code != exitDone || got.out != want {
		t.Errorf("got %+v, the page has\n%s", got, want)
	}
}

func TestTryExpect(t *testing.T) {
	t.Parallel()
	expected := filepath.Join(t.TempDir(), "expected.jsonl")
	args := []string{tryDir + "undecided.jsonl", "--expect", expected}
	if got := tried(t, "", args...); got.code != exitFailed || !strings.Contains(got.err, "hint: --update writes the file\n") {
		t.Errorf("without the file: %+v", got)
	}
	if got := tried(t, "", append(args, "--update")...); got.code != exitDone || got.out != "" || !strings.Contains(got.err, "expected.jsonl has ") {
		t.Errorf("update: %+v", got)
	}
	written, err := os.ReadFile(expected)
	if err != nil {
		t.Fatal(err)
	}
	if want := tried(t, "", tryDir+"undecided.jsonl", "--json"); string(written) != want.out {
		t.Errorf("wrote\n%s\nnot\n%s", written, want.out)
	}
	if got := tried(t, "", args...); got.code != exitDone || got.out != "" || got.err != "" {
		t.Errorf("as expected: %+v", got)
	}

	lines := strings.SplitAfter(string(written), "\n")
	changed := strings.Replace(string(written), lines[0], "{\"kind\":\"other\"}\n", 1)
	if err := os.WriteFile(expected, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "- {\"kind\":\"other\"}\n+ " + lines[0] + expected + ": 1 line missing (-), 1 line not expected (+). If that is right: --update\n"
	if got := tried(t, "", args...); got.code != exitFindings || got.err != want {
		t.Errorf("changed: %+v, want\n%s", got, want)
	}
}

// TestTryRefuses has every way in which input is no recorded change.
func TestTryRefuses(t *testing.T) {
	t.Parallel()
	insert := `{"table":"app.settings","op":"insert","key":["name"],"new":{"name":"a"},"transaction":"t1","time":"2026-11-22T01:02:03Z","position":"0/1"}` + "\n"
	for _, test := range []struct{ name, in, want string }{
		{"no JSON", "nothing", "stdin:1: invalid character"},
		{"unknown member", `{"tabel":"app.settings"}`, `stdin:1: unknown field "tabel"`},
		{"two objects", `{"table":"a.b","op":"truncate"}{}`, "stdin:1: there is more than one object on the line"},
		{"table", `{"table":"settings","op":"insert","new":{}}`, `stdin:1: table: expected schema.name, got "settings"`},
		{"op", `{"table":"a.b","op":"upsert","new":{}}`, `stdin:1: op: expected insert, update, delete or truncate, got "upsert"`},
		{"read", `{"table":"a.b","op":"read","new":{}}`, `stdin:1: op: expected insert, update, delete or truncate, got "read"`},
		{"no new", `{"table":"a.b","op":"insert"}`, "stdin:1: new: missing; op insert has it"},
		{"no old", `{"table":"a.b","op":"delete"}`, "stdin:1: old: missing; op delete has it"},
		{"old of an insert", `{"table":"a.b","op":"insert","old":{},"new":{}}`, "stdin:1: old: op insert has none"},
		{"row", `{"table":"a.b","op":"insert","new":[1]}`, "stdin:1: a row is an object of columns"},
		{"twice", `{"table":"a.b","op":"insert","new":{"a":1,"a":2}}`, `stdin:1: column "a" is there twice`},
		{"type", `{"table":"a.b","op":"insert","new":{"a":1},"types":{"a":"numeric(8,2)"}}`, `stdin:1: types: there is no type "numeric(8,2)" for column a`},
		{"key's column", `{"table":"a.b","op":"insert","key":["b"],"new":{"a":1}}`, `stdin:1: key: no line names a column "b" of a.b`},
		{"another key", insert + `{"table":"app.settings","op":"insert","key":["value"],"new":{"value":1}}`, "stdin:2: key: app.settings has the key name in a line before"},
		{"another type", `{"table":"a.b","op":"insert","new":{},"types":{"a":"text"}}` + "\n" + `{"table":"a.b","op":"insert","new":{},"types":{"a":"int4"}}`, "stdin:2: types: column a has type text in a line before"},
		{"signal and change", `{"signal":{},"op":"insert"}`, "stdin:1: a signal has no table"},
		{"another time", insert + `{"table":"app.settings","op":"truncate","transaction":"t1","time":"2026-11-22T01:02:04Z"}`, "stdin:2: time: transaction t1 has another in its first line"},
		{"another position", insert + `{"table":"app.settings","op":"truncate","transaction":"t1","position":"0/2"}`, "stdin:2: position: transaction t1 has another in its first line"},
		{"torn", insert + `{"table":"app.settings","op":"truncate"}` + "\n" + insert, "stdin:3: transaction: the lines of t1 do not stand together"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := tried(t, test.in)
			if got.code != exitUsage || got.out != "" || !strings.HasPrefix(got.err, "rowhook: "+test.want) || !strings.Contains(got.err, "hint: a line is ") {
				t.Errorf("got %+v, want %s", got, test.want)
			}
		})
	}
	if got := tried(t, "", "--update"); got.code != exitUsage || !strings.Contains(got.err, "--update needs --expect") {
		t.Errorf("--update alone: %+v", got)
	}
	if got := tried(t, "", "none.jsonl"); got.code != exitFailed || !strings.Contains(got.err, "none.jsonl") {
		t.Errorf("a file that is not there: %+v", got)
	}
}
