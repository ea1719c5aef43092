package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// A transaction that the server cannot send ends the agent with the server's own words and a
// command that gives up this transaction and nothing else, which those hear of who subscribe.
func TestTransactionCannotBeSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.exec("alter publication rowhook set table proof.rows where (100 / (id - 2) <> 4711)")
	w.begin().term()
	w.insert(1)
	w.insert(2)
	w.insert(3)
	said := w.refuses(1, "the server cannot send the transaction", "division by zero", "`rowhook run --accept-gap` goes on at ", "row filter")
	if strings.Contains(said, "connection lost") && strings.Count(said, "connection lost") > 3 {
		t.Errorf("the agent kept trying:\n%s", said)
	}
	w.exec("delete from proof.ledger where id = 2") // what is given up
	a := w.begin("--accept-gap")
	w.hook.wait(t, "main", 2, patience)
	a.says("stream gap accepted")
	w.logCount("main", 2)
	a.term()
	w.verify(w.ledger(nil), judge{profile: "main"})
	gaps := slices.DeleteFunc(w.hook.all("main"), func(a arrival) bool { return a.typ != "rowhook.gap" })
	if len(gaps) != 1 {
		t.Errorf("%d events tell of the gap, want 1", len(gaps))
	}
	w.begin().term()
}
