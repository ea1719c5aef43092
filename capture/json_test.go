package capture

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestAppendJSONString(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text, want string
		ok         bool
	}{
		{"", `""`, true},
		{"loan", `"loan"`, true},
		{`a"b\c`, `"a\"b\\c"`, true},
		{"line\nend\r\ttab", `"line\nend\r\ttab"`, true},
		{"\x00\x1f", `"\u0000\u001f"`, true},
		{"<&> \u2028 漢字 😀", "\"<&> \u2028 漢字 😀\"", true},
		{"a\xffb", "\"a\ufffdb\"", false},
	} {
		got, ok := AppendJSONString([]byte("x"), []byte(tt.text))
		if string(got) != "x"+tt.want || ok != tt.ok {
			t.Errorf("%q: got %s, %v, want %s, %v", tt.text, got[1:], ok, tt.want, tt.ok)
		}
	}
}

// What needs an escape is found wherever it stands.
func TestAppendJSONStringAnywhere(t *testing.T) {
	t.Parallel()
	const most = 20
	for special, want := range map[string]string{
		`"`: `\"`, `\`: `\\`, "\x00": `\u0000`, "\x1f": `\u001f`, "\n": `\n`, " ": " ", "!": "!", "#": "#", "[": "[", "]": "]",
		"\x7f": "\x7f", "\x80": "\ufffd", "\xff": "\ufffd", "\u00a2": "\u00a2", "漢": "漢",
	} {
		for before := range most {
			for after := range most {
				from, to := strings.Repeat("~", before), strings.Repeat("~", after)
				got, ok := AppendJSONString(nil, []byte(from+special+special+to))
				if wanted := `"` + from + want + want + to + `"`; string(got) != wanted || ok != utf8.ValidString(special) {
					t.Fatalf("%q between %d and %d others: %s, %v, want %s", special, before, after, got, ok, wanted)
				}
			}
		}
	}
}

func FuzzAppendJSONString(f *testing.F) {
	f.Add("loan \"returned\"\n\xff")
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := AppendJSONString(nil, []byte(text))
		var back string
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
		if ok != utf8.ValidString(text) || ok && back != text || strings.ContainsAny(string(got), "\n\r") {
			t.Fatalf("%q became %s, %v", text, got, ok)
		}
	})
}

// A failure that does not change is told at once and then from time to time.
func TestFailureLog(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	refused, reset := errors.New("refused"), errors.New("reset")
	var log FailureLog
	for i, step := range []struct {
		err   error
		after time.Duration
		want  bool
	}{
		{refused, 0, true},
		{refused, time.Second, false},
		{reset, time.Second, true},
		{refused, time.Second, true},
		{refused, repeatLog, true},
	} {
		now = now.Add(step.after)
		if got := log.Worth(step.err, now); got != step.want || log.Count != i+1 {
			t.Errorf("failure %d: worth a line %v, want %v; count %d", i, got, step.want, log.Count)
		}
	}
}
