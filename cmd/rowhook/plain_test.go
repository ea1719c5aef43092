package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// hostile holds what must not come to a terminal: an escape sequence, a bell, a carriage return, C1
// and bidi controls.
const hostile = "a\x1b]0;title\x07b\rc\u009b2J\u202ed\u2066e\u061cf\x7f"

const harmless = `a\u001b]0;title\u0007b\u000dc\u009b2J\u202ed\u2066e\u061cf\u007f`

func TestPlainWriter(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain\ttext\n":           "plain\ttext\n",
		"図書館の話 😀 é":               "図書館の話 😀 é",
		hostile:                   harmless,
		"bytes \x9b2J \xff":       `bytes \ufffd2J \ufffd`,
		"\u2028\u200fx\U000e0001": "\\u2028\\u200fx\U000e0001",
	} {
		for _, step := range []int{1, 2, 3, len(text)} { // characters may come in pieces
			var out bytes.Buffer
			w := &plainWriter{w: &out}
			for rest := text; rest != ""; {
				n := min(step, len(rest))
				if wrote, err := w.Write([]byte(rest[:n])); wrote != n || err != nil {
					t.Fatalf("%q: wrote %d of %d, %v", text, wrote, n, err)
				}
				rest = rest[n:]
			}
			if got := out.String() + strings.Repeat(`\ufffd`, len(w.rest)); got != want {
				t.Errorf("%q in steps of %d: %q, want %q", text, step, got, want)
			}
		}
	}
}

// What receivers and rows say comes to the terminal without its controls, and in JSON with the same
// meaning.
func TestCommandsPrintNoControls(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	conf := filepath.Join(dir, "config.yaml")
	line := func(value string) string {
		quoted, _ := json.Marshal(value)
		return `{"v":1,"time":"2026-11-22T11:00:09.394097Z","profile":"desk","outcome":"dead","event":"evt_1","type":"loan.returned",` +
			`"key":{"id":` + string(quoted) + `},"attempt":1,"status":500,"error":` + string(quoted) + `,"bytes":9,"body":` + string(quoted) + `}`
	}
	for path, text := range map[string]string{
		conf: "source: {type: postgres, url: 'postgres://u@127.0.0.1:1/d'}\nmapping: {a.b: {}}\nstate: ./state\n" +
			"profiles: {desk: {url: 'https://h.example.org/', secret: abcdefghijklmnopqrstuvwxyz}}\n" +
			"log: {deliveries: ./deliveries.jsonl}\n",
		filepath.Join(dir, "deliveries.jsonl"): line(hostile+"\nforged") + "\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"log", "--event", "evt_1"}, {"log", "--json"}, {"profile", "list"}, {"profile", "list", "--json"}, {"check"}} {
		var out, messages bytes.Buffer
		execute(t.Context(), append(args, "-c", conf), &console{in: strings.NewReader(""), out: &out, err: &messages, env: env(nil)})
		said := out.String() + messages.String()
		if i := strings.IndexFunc(said, func(r rune) bool { return !isPlain(r) }); i >= 0 || said == "" {
			t.Errorf("%v prints %.200q", args, said)
		}
		if args[0] == "log" && len(args) == 2 {
			var back struct{ Error string }
			if err := json.Unmarshal(out.Bytes(), &back); err != nil || back.Error != hostile+"\nforged" {
				t.Errorf("%v says %q, %v", args, back.Error, err)
			}
		} else if args[0] == "log" && !strings.Contains(said, harmless+`\nforged`) {
			t.Errorf("%v makes lines of its own: %q", args, said)
		}
	}
}
