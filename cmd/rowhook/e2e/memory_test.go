package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// Killed at random moments, the agent knows old values as of where the stream goes on: each update
// counts its row up by one, which a rule holds to what memory says of the row before.
func TestMemoryIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.exec(`create table proof.counted (id int primary key, n int)`, `insert into proof.counted select n, 0 from generate_series(1, 20) n`)
	w.conf.mapping = "  proof.counted:\n    memory: all\n    events:\n      row.next: {op: update, if: new.n == old.n + 1}\n      row.wrong: {op: update, if: new.n != old.n + 1}\n"
	w.write()
	w.exec(`grant select on proof.counted to rowhook`, `alter publication rowhook add table proof.counted`)
	a := w.begin()
	eventually(t, patience, "all rows are known", func() bool {
		status, _ := w.status()
		tables, _ := status["memory"].([]any)
		return len(tables) == 1 && tables[0].(map[string]any)["state"] == "loaded"
	})
	random := chance(5)
	const rounds, kills = 1500, 6
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		for range kills {
			elapse(t, between(random, 100*time.Millisecond, 500*time.Millisecond), "", nil)
			a.kill()
			a = w.start()
		}
	}()
	for n := range rounds {
		w.exec(fmt.Sprintf(`update proof.counted set n = n + 1 where id = %d`, n%20+1))
	}
	<-killed
	w.hook.wait(t, "main", rounds, 2*patience)
	a.term()
	seen := map[string]bool{}
	for _, one := range w.hook.all("main") {
		if one.typ != "row.next" {
			t.Fatalf("%s of row %d: memory knew another value than the row had", one.typ, one.key)
		}
		seen[one.id] = true
	}
	if len(seen) != rounds {
		t.Errorf("%d updates arrived, want %d", len(seen), rounds)
	}
}
