package try

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"rowhook/cmd/rowhook/config"
)

func TestLineDifferences(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ a, b, want string }{
		{"", "", ""},
		{"a b c", "a b c", ""},
		{"a b c", "a c", "-b"},
		{"a c", "a b c", "+b"},
		{"a b c d", "a x c y", "-b +x -d +y"},
		{"a", "b", "-a +b"},
		{"", "a", "+a"},
	} {
		var got []string
		for _, d := range lineDifferences(strings.Fields(test.a), strings.Fields(test.b)) {
			got = append(got, string(d.sign)+d.line)
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%q to %q: %v, want %s", test.a, test.b, got, test.want)
		}
	}
}

// FuzzTry holds that no input makes it panic, that what is refused is told with its line, and that
// the same input gives the same output.
func FuzzTry(f *testing.F) {
	for _, file := range []string{"changes.jsonl", "undecided.jsonl"} {
		data, err := os.ReadFile("../testdata/try/" + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
		for line := range bytes.Lines(data) {
			f.Add(line)
		}
	}
	conf, err := config.Load("../testdata/try/config.yaml", func(string) (string, bool) { return "", false }, "whsec_bm8gc2VjcmV0LCBub3RoaW5nIGlzIHNlbnQ=")
	if err != nil {
		f.Fatal(err)
	}
	output := func(t *testing.T, data []byte) string {
		changes, err := parseRecorded("stdin", bytes.NewReader(data))
		var results *Results
		if err == nil {
			results, err = Run(conf, "library", changes, nil)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "stdin:") {
				t.Errorf("error %q has no place", err)
			}
			return err.Error()
		}
		var out bytes.Buffer
		if err := errors.Join(results.WriteJSON(&out, true), results.WriteText(&out, true)); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if one, two := output(t, data), output(t, data); one != two {
			t.Errorf("%q and then %q", one, two)
		}
	})
}

// What is held to the end of a transaction is told at the line that it comes from, and of the lines
// that became part of another that nothing came of them.
func TestHeldLines(t *testing.T) {
	t.Parallel()
	conf, err := config.Parse("config.yaml", []byte(`
source: {type: postgres, url: "postgres://nobody@127.0.0.1:1/library"}
mapping: {public.loans: {coalesce: transaction, key: [id]}, public.other: {key: [id]}}
profiles: {desk: {url: "http://127.0.0.1:1/", signature: none, allow_networks: [loopback]}}
`), func(string) (string, bool) { return "", false }, nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := `{"transaction":"7","table":"public.loans","op":"insert","key":["id"],"new":{"id":1,"n":1}}
{"transaction":"7","table":"public.other","op":"insert","key":["id"],"new":{"id":5}}
{"transaction":"7","table":"public.loans","op":"update","key":["id"],"new":{"id":1,"n":2}}
{"transaction":"7","table":"public.loans","op":"insert","key":["id"],"new":{"id":2,"n":1}}
{"transaction":"7","table":"public.loans","op":"delete","key":["id"],"old":{"id":2}}
`
	changes, err := parseRecorded("in", strings.NewReader(lines))
	if err != nil {
		t.Fatal(err)
	}
	results, err := Run(conf, "library", changes, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range results.list {
		if r.Kind != kindRequest {
			got = append(got, r.At+" "+r.Kind+" "+r.Op)
		}
	}
	want := "in:1 nothing insert|in:2 event insert|in:3 event insert|in:4 nothing insert|in:5 nothing delete"
	if strings.Join(got, "|") != want {
		t.Errorf("got %s\nwant %s", strings.Join(got, "|"), want)
	}
}
