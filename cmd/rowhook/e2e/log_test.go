package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"rowhook/capture/capturetest"
)

// The log keeps 4000 characters of a body, not bytes, and one of exactly that length whole; what is
// sent is whole in any case, and the payload is searched in all of it.
func TestLogBodyAt4000Characters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.hook.keepBodies = true
	w.conf.log = "  deliveries: ./log/deliveries.jsonl\n"
	a := w.begin()
	key := 10
	// sent inserts a row with a note of n characters, and returns what came of it.
	sent := func(n int) arrival {
		t.Helper()
		key++
		w.exec(fmt.Sprintf(`insert into proof.rows values (%d, 1, repeat('あ', %d - 4) || 'end' || %d %% 10)`, key, n, key))
		var got arrival
		eventually(t, patience, "the row arrives", func() bool {
			all := w.hook.all("main")
			if len(all) == 0 || all[len(all)-1].key != int64(key) {
				return false
			}
			got = all[len(all)-1]
			return true
		})
		return got
	}
	// of returns an arrival whose body has that many characters.
	of := func(characters int) arrival {
		t.Helper()
		n := 1000
		for range 5 {
			got := sent(n)
			have := utf8.RuneCount(got.body)
			if have == characters {
				return got
			}
			n += characters - have
		}
		t.Fatalf("no body has %d characters", characters)
		return arrival{}
	}
	for _, characters := range []int{4000, 4001} {
		got := of(characters)
		var line struct {
			Body      string `json:"body"`
			Truncated bool   `json:"body_truncated"`
			Bytes     int    `json:"bytes"`
		}
		found := func(args ...string) string {
			t.Helper()
			r := w.rowhook(append([]string{"log", "--event", got.id}, args...)...)
			if r.code != 0 || r.stderr != "" {
				t.Errorf("log %.60q: exit %d, %s", args, r.code, r.stderr)
			}
			return r.stdout
		}
		eventually(t, patience, "the log has its line", func() bool { return found("--json") != "" })
		if err := json.Unmarshal([]byte(found("--json")), &line); err != nil {
			t.Fatal(err)
		}
		kept := utf8.RuneCountInString(line.Body)
		if kept != 4000 || line.Truncated != (characters > 4000) || line.Bytes != len(got.body) || !strings.HasPrefix(string(got.body), line.Body) {
			t.Errorf("%d characters, %d bytes: kept %d of %d, truncated %v", characters, len(got.body), kept, line.Bytes, line.Truncated)
		}
		if shown := strings.Contains(found(), "… cut here"); shown != (characters > 4000) {
			t.Errorf("%d characters: said to be cut: %v", characters, shown)
		}
		note := w.value(fmt.Sprintf(`select note from proof.rows where id = %d`, got.key))
		if !strings.Contains(string(got.body), `"`+note+`"`) {
			t.Errorf("%d characters: the listener did not get the whole note", characters)
		}
		if found("--payload", "data.note="+note) == "" || found("--payload", fmt.Sprintf("key.id=%d", got.key), "--url", "/main") == "" {
			t.Errorf("%d characters: not found by its payload or URL", characters)
		}
		if found("--payload", "data.note="+note+"x") != "" || found("--url", "/other") != "" {
			t.Errorf("%d characters: found by another payload or URL", characters)
		}
	}
	a.term()
}
