package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// Expressions and templates that a row makes costly end in dead letters with their reason. The
// agent lives on within the memory that it has, delivers what comes behind, and refuses a config
// whose template runs away by itself.
func TestCostlyExpressionsAndTemplates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.exec(`create table proof.costly (id int primary key, title text, s text, note text)`,
		`alter table proof.costly replica identity full`, `alter publication rowhook add table proof.costly`,
		`grant select on proof.costly to public`)
	w.conf.mapping = `  proof.costly:
    fields:
      id: id
      note: s
      joined: {expr: 'op == "insert" and new.id == 3 ? join(split(new.title, ""), new.note) : ""'}
    events:
      row.made: {op: insert}
      row.odd: {op: insert, if: 'new.id == 2 and len(replace(new.title, new.s, new.note)) > 0'}
`
	w.conf.profiles = w.usualProfile("main") + w.usualProfile("templated") +
		"    format: template\n    template: '{{$s := .data.note}}{{range 60}}{{$s = js $s $s}}{{end}}{{len $s}}'\n"
	a := w.begin()
	if out, err := exec.Command("prlimit", "--pid", fmt.Sprint(a.pid), "--data=1073741824").CombinedOutput(); err != nil {
		t.Fatalf("prlimit: %v: %s", err, out)
	}
	const row = `insert into proof.costly values (%d, repeat('a', 200000), 'a', repeat('b', 200000))`
	for id := 1; id <= 4; id++ {
		w.exec(fmt.Sprintf(row, id))
	}
	eventually(t, patience, "the last row arrives", func() bool {
		return slices.ContainsFunc(w.hook.all("main"), func(r arrival) bool { return r.key == 4 })
	})
	eventually(t, patience, "what is costly ends", func() bool {
		parked := 0
		for _, line := range w.readLog() {
			if strings.Contains(line.Error, "the entry's expressions make more than 64 MiB of one change") {
				parked++
			}
		}
		return parked == 2 && w.times("templated", "dead format") >= 2
	})
	good, err := os.ReadFile(w.path("config.yaml"))
	capturetest.Must(t, err)
	for _, loop := range []string{`{{$s := "''"}}{{range 60}}{{$s = html $s $s}}{{end}}`, `{{$n := 0}}{{range 2000000000}}{{$n = .}}{{end}}`} {
		text := strings.Replace(string(good), "{{$s := .data.note}}{{range 60}}{{$s = js $s $s}}{{end}}{{len $s}}", strings.ReplaceAll(loop, "'", "''"), 1)
		capturetest.Must(t, os.WriteFile(w.path("config.yaml"), []byte(text), 0o600))
		if r := w.rowhook("reload"); r.code != 2 || !strings.Contains(r.stdout+r.stderr, "loops too often or writes too much") {
			t.Errorf("reload of %s: %+v", loop, r)
		}
	}
	capturetest.Must(t, os.WriteFile(w.path("config.yaml"), good, 0o600))
	w.exec(fmt.Sprintf(row, 5))
	eventually(t, patience, "the agent goes on", func() bool {
		return slices.ContainsFunc(w.hook.all("main"), func(r arrival) bool { return r.key == 5 })
	})
	a.term()
}
