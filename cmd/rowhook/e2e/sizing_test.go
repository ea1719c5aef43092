package e2e_test

import (
	"fmt"
	"testing"

	"rowhook/capture/capturetest"
)

// What an event takes in the spool is what docs/runbooks.md reckons with: a row of some 400 bytes of
// JSON, of which half is text that nothing else repeats, for one receiver that is down.
func TestSpoolSizing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.exec(`create table proof.loans (loan_id bigint primary key, item_pid text, member_id bigint, status text, branch text, branch_name text,
			loaned_at timestamptz, due_at timestamptz, returned_at timestamptz, email text, title text, barcode text)`,
		`alter publication rowhook add table proof.loans`, `grant select on proof.loans to public`)
	w.conf.mapping = "  proof.loans: {}\n"
	a := w.begin()
	w.hook.down()
	const events, each = 20_000, 100
	for from := 1; from <= events; from += each {
		w.exec(fmt.Sprintf(`insert into proof.loans select n, 'item-' || n, n %% 977, 'OPEN', 'MAIN', 'Main library', now(), now() + interval '28 days', null,
			md5(n::text) || '@example.org', md5((n * 7)::text) || ' ' || md5((n * 11)::text), md5((n * 13)::text) from generate_series(%d, %d) n`, from, from+each-1))
	}
	number := func(of any, path ...string) float64 {
		for _, name := range path {
			of = of.(map[string]any)[name]
		}
		n, _ := of.(float64)
		return n
	}
	var status map[string]any
	eventually(t, patience, "all events are in the spool", func() bool {
		status, _ = w.status()
		return number(status["profiles"].([]any)[0], "backlog_events") == events
	})
	counted := number(status["profiles"].([]any)[0], "backlog_bytes") / events
	// After a restart everything is in its place: nothing twice, in a log and in a table.
	a.term()
	w.begin()
	status, _ = w.status()
	onDisk := number(status, "spool", "bytes") / events
	t.Logf("rows of %s bytes as JSON: events of %.0f bytes each in the backlog, %.0f on disk",
		w.value("select round(avg(length(row_to_json(l)::text))) from proof.loans l"), counted, onDisk)
	if counted < 560 || counted > 660 || onDisk < 140 || onDisk > 280 {
		t.Errorf("an event takes %.0f bytes in the backlog and %.0f on disk; docs/runbooks.md reckons with 608 and 209", counted, onDisk)
	}
}
