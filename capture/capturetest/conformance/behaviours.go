package conformance

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
)

// behaviours are what a source owes its sink beyond the transactions themselves.
var behaviours = []struct {
	name  string
	check func(*testing.T, Backend)
}{
	{"stop_and_go", stopAndGo},
	{"repeat_from_durable", repeatFromDurable},
	{"busy", busy},
	{"again", again},
	{"crash", crash},
}

var ledger = table{"ledger", "id integer primary key, title varchar(2000)"}

func setUpLedger(t *testing.T, b Backend) Session {
	session := b.Session(t)
	setUp(t, session, Dialect{}, []table{ledger})
	b.Prepare(t, names([]table{ledger}))
	return session
}

func enter(t *testing.T, session Session, id int) {
	t.Helper()
	session.Exec(t, fmt.Sprintf("insert into ledger values (%d, 'x')", id))
}

func entry(id int) string { return fmt.Sprintf(`insert ledger {id=%d title="x"}`, id) }

// entries returns the ids of the ledger's rows as they came.
func entries(txs []transaction) []string {
	var ids []string
	for _, tx := range txs {
		for _, line := range tx.lines {
			if rest, ok := strings.CutPrefix(line, "insert ledger {id="); ok {
				id, _, _ := strings.Cut(rest, " ")
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func upTo(n int) []string {
	var ids []string
	for i := 1; i <= n; i++ {
		ids = append(ids, fmt.Sprint(i))
	}
	return ids
}

// stopAndGo stops the source again and again, idle and behind: with everything
// durable nothing is lost and nothing comes twice.
func stopAndGo(t *testing.T, b Backend) {
	session := setUpLedger(t, b)
	rec := newRecorder(t, "")
	id := 0
	for range 8 {
		id++
		enter(t, session, id) // while no source runs
		stop := start(t, b, rec)
		rec.await(t, entry(id))
		id++
		enter(t, session, id) // while it is idle
		rec.await(t, entry(id))
		stop()
	}
	if got := entries(rec.transactions()); !slices.Equal(got, upTo(id)) {
		t.Errorf("came %v, want 1 to %d once each", got, id)
	}
}

// repeatFromDurable checks that what the sink has not made durable comes again
// after a restart, the same in all that identifies it.
func repeatFromDurable(t *testing.T, b Backend) {
	session := setUpLedger(t, b)
	first := newRecorder(t, "")
	stop := start(t, b, first)
	enter(t, session, 1)
	first.await(t, entry(1))
	first.freeze()
	for id := 2; id <= 20; id++ {
		enter(t, session, id)
	}
	first.await(t, entry(20))
	stop()

	second := newRecorder(t, first.Durable())
	stop = start(t, b, second)
	enter(t, session, 21)
	second.await(t, entry(21))
	stop()

	if got := entries(second.transactions()); !slices.Equal(got, upTo(21)[1:]) {
		t.Fatalf("after the restart came %v, want 2 to 21", got)
	}
	before, after := first.transactions()[1:], second.transactions()
	for i := range before {
		if !same(&before[i], &after[i]) {
			t.Errorf("repeated as %+v, was %+v", after[i], before[i])
		}
	}
}

func same(a, b *transaction) bool {
	return a.ID == b.ID && a.Identity == b.Identity && a.Position == b.Position && a.Time.Equal(b.Time) &&
		a.end == b.end && slices.Equal(a.lines, b.lines)
}

// busy checks that a source stops reading for a busy sink and goes on where it stopped.
func busy(t *testing.T, b Backend) {
	const total = 5000
	session := setUpLedger(t, b)
	rec := newRecorder(t, "")
	stop := start(t, b, rec)
	enter(t, session, 1)
	rec.await(t, entry(1))

	release := rec.block()
	for id := 2; id <= total; id += 500 {
		var values []string
		for i := id; i < min(id+500, total+1); i++ {
			values = append(values, fmt.Sprintf("(%d, '%s')", i, strings.Repeat("y", 1000)))
		}
		session.Exec(t, "insert into ledger values "+strings.Join(values, ", "))
	}
	if got := rec.seen(); got >= total {
		t.Errorf("a busy sink got %d changes", got)
	}
	release()
	finish(t, session, rec, 1)
	stop()
	if got := entries(rec.transactions()); !slices.Equal(got, upTo(total)) {
		t.Errorf("came %d entries, want 1 to %d in order", len(got), total)
	}
}

// again checks that a transaction comes again whose commit the sink did not take, and that a source which
// is to stop ends a commit that takes long.
func again(t *testing.T, b Backend) {
	session := setUpLedger(t, b)
	rec := newRecorder(t, "")
	rec.refuse(1)
	stop := start(t, b, rec)
	enter(t, session, 1)
	rec.await(t, entry(1))
	enter(t, session, 2)
	rec.await(t, entry(2))
	rec.refuse(2)
	enter(t, session, 3)
	rec.await(t, entry(3))
	working := rec.work()
	enter(t, session, 4)
	<-working
	stop()
	stop = start(t, b, rec)
	rec.await(t, entry(4))
	stop()
	if got := entries(rec.transactions()); !slices.Equal(got, upTo(4)) {
		t.Errorf("came %v, want 1 to 4 once each", got)
	}
}

// crash kills the server between and inside transactions: what was committed comes,
// in order and, where it comes twice, as the same; what was not never does.
func crash(t *testing.T, b Backend) {
	session := setUpLedger(t, b)
	rec := newRecorder(t, "")
	stop := start(t, b, rec)
	id := 0
	for range 3 {
		for range 10 {
			id++
			enter(t, session, id)
		}
		open := b.Session(t)
		open.Exec(t, "begin")
		open.Exec(t, fmt.Sprintf("insert into ledger values (%d, 'never')", 1000+id))
		b.Crash(t)
		session = b.Session(t)
	}
	finish(t, session, rec, 1)
	stop()

	known := map[string]transaction{}
	var once []transaction
	for _, tx := range rec.transactions() {
		if was, ok := known[tx.Identity]; !ok {
			known[tx.Identity] = tx
			once = append(once, tx)
		} else if !same(&was, &tx) {
			t.Errorf("repeated as %+v, was %+v", tx, was)
		}
	}
	if got := entries(once); !slices.Equal(got, upTo(id)) {
		t.Errorf("came %v, want 1 to %d", got, id)
	}
	var last capture.Position
	for _, tx := range once {
		if tx.end == last {
			t.Errorf("two transactions end at %s", last)
		}
		last = tx.end
	}
}
