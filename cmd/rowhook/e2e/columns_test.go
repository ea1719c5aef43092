package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// TestCheckOfTexts: check finds comparisons of texts that no row can settle, whichever way a column
// comes into them.
func TestCheckOfTexts(t *testing.T) {
	t.Parallel()
	onEach(t, nil, func(t *testing.T, w *world) {
		level, account := "enum('low', 'high')", "'rowhook'@'%'"
		if w.database == "postgres" {
			w.exec("create type proof.level as " + level)
			level, account = "proof.level", "rowhook"
		}
		w.exec("create table proof.levels (id bigint primary key, level "+level+", opens time)", "grant select on proof.levels to "+account)
		w.conf.mapping = "  proof.levels:\n    events:\n"
		for _, rule := range [][2]string{
			{"variable", `let l = new.level; l >= "high"`}, {"instead", `(new.level ?? "low") >= "high"`},
			{"member", `new.opens in ["08:00:00", "soon"]`}, {"fine", `new.level in ["low"] and new.opens in ["08:00:00"]`},
		} {
			w.conf.mapping += fmt.Sprintf("      level.%s: {op: insert, if: '%s'}\n", rule[0], rule[1])
		}
		w.write()
		checked := w.rowhook("check")
		for _, words := range []string{
			"error    " + w.path("config.yaml:10:"), `rule level.variable, if: >= compares l (`, `rule level.instead, if: >= compares new.level (`,
			`warning  ` + w.path("config.yaml:12:"), `rule level.member, if: in compares new.opens (time) with the text "soon"`,
		} {
			if !strings.Contains(checked.stdout, words) {
				t.Errorf("check does not say %q:\n%s", words, checked.stdout)
			}
		}
		if checked.code != 3 || strings.Contains(checked.stdout, "level.fine") {
			t.Errorf("check ends with %d: %s", checked.code, checked.stdout)
		}
	})
}

// A condition that does not fit the columns is told by check, with its place, before the first row.
// Where it runs all the same it parks its own events alone: the other rules' events of the same
// changes arrive, and arrive once.
func TestConditionsAndColumns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	const wrong, right = `new.note > 1000`, `new.note > \"A\"`
	entry := "  proof.rows:\n    events:\n      row.moved: {op: update, changed: seq}\n      row.big: {op: update, if: \"" + wrong + "\"}\n"
	w.conf.mapping = entry
	w.write()
	var report struct {
		Findings []struct{ Severity, Code, At, Text, Remedy string }
	}
	checked := w.rowhook("check", "--json")
	capturetest.Must(t, json.Unmarshal([]byte(checked.stdout), &report))
	line := 1 + strings.Count(before(w, "row.big"), "\n")
	if i := slices.IndexFunc(report.Findings, func(f struct{ Severity, Code, At, Text, Remedy string }) bool {
		return f.Code == "mapping" && f.Severity == "error" && strings.HasPrefix(f.Text, "rule row.big, if: > compares new.note (") &&
			strings.HasSuffix(f.Text, ") with 1000") && strings.HasPrefix(f.At, w.path("config.yaml")+":"+strconv.Itoa(line)+":")
	}); checked.code != 3 || i < 0 {
		t.Errorf("check ends with %d: %s", checked.code, checked.stdout)
	}

	a := w.begin()
	w.exec(`insert into proof.rows values (1, 1, 'EUR')`, `update proof.rows set seq = 2, note = 'JPY' where id = 1`,
		`update proof.rows set seq = 3, note = 'USD' where id = 1`)
	w.hook.wait(t, "main", 2, patience)
	var parked struct{ Items []struct{ Made []string } }
	eventually(t, patience, "both updates are parked for the rule alone", func() bool {
		listed := w.rowhook("failed", "list", "--source", "--json")
		return json.Unmarshal([]byte(listed.stdout), &parked) == nil && len(parked.Items) == 2 &&
			slices.Equal(parked.Items[0].Made, []string{"row.moved"})
	})
	w.conf.mapping = strings.Replace(entry, wrong, right, 1)
	w.write()
	if r := w.rowhook("reload"); r.code != 0 {
		t.Fatalf("reload ends with %d: %s", r.code, r.stderr)
	}
	if r := w.rowhook("failed", "retry", "--source", "--all"); r.code != 0 {
		t.Fatalf("the retry ends with %d: %s", r.code, r.stderr)
	}
	w.hook.wait(t, "main", 4, patience)
	var types []string
	for _, one := range w.hook.all("main") {
		types = append(types, one.typ)
	}
	slices.Sort(types)
	if want := "row.big row.big row.moved row.moved"; strings.Join(types, " ") != want {
		t.Errorf("arrived %v, want %s", types, want)
	}
	a.term()

	// The columns and types are the database's, not the lines'.
	capturetest.Must(t, os.WriteFile(w.path("changes.jsonl"), []byte(
		`{"table":"proof.rows","op":"update","old":{"id":1,"seq":1,"note":"EUR"},"new":{"id":1,"seq":2,"note":"EUR"}}`+"\n"), 0o600))
	tried := w.rowhook("try", "--from-database", w.path("changes.jsonl"))
	if tried.code != 0 || !strings.Contains(tried.stdout, "row.moved") || !strings.Contains(tried.stdout, "row.big") {
		t.Errorf("try ends with %d: %s%s", tried.code, tried.stdout, tried.stderr)
	}
}

// before is the config up to a text.
func before(w *world, text string) string {
	w.tb.Helper()
	raw, err := os.ReadFile(w.path("config.yaml"))
	capturetest.Must(w.tb, err)
	head, _, _ := strings.Cut(string(raw), text)
	return head
}
