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
	conf, err := config.LoadWithStandIn("../testdata/try/config.yaml", func(string) (string, bool) { return "", false }, "whsec_bm8gc2VjcmV0LCBub3RoaW5nIGlzIHNlbnQ=")
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
