package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"rowhook/delivery"
)

// books is a ledger with one delivery of two events and 100 bytes, and how it stands.
type books struct {
	ledger
	job    *job
	record delivery.Delivery
	now    time.Time
}

// newBooks returns books in which the delivery is in a state of the drawing, with nothing pending.
func newBooks(state string) *books {
	b := &books{now: endpointStart, ledger: ledger{stored: make(map[delivery.Seq]*job)}}
	b.record = delivery.Delivery{Seq: 7, Bytes: 100, Members: &delivery.Members{Count: 2, Last: 8}}
	switch state {
	case "in_memory":
		b.read()
	case "loaded":
		b.record.State, b.record.Due = delivery.Retrying, b.now
		b.count(&b.record, 1)
		b.loadRecord()
	case "retrying":
		b.record.State, b.record.Due = delivery.Retrying, b.now.Add(time.Hour)
		b.count(&b.record, 1)
	case "blocked":
		b.record.State = delivery.Blocked
		b.count(&b.record, 1)
	case "dead":
		b.record.State = delivery.Dead
		b.count(&b.record, 1)
	}
	return b
}

func (b *books) read() {
	b.job = &job{seq: 7, record: b.record, slots: 1}
	b.job.slot = b.window.push(7, b.job)
}

func (b *books) loadRecord() {
	b.job = &job{seq: 7, record: b.record}
	b.load(b.job)
}

// addAgain adds the delivery as the dispatcher of an ordered profile does.
func (b *books) addAgain() {
	b.record.State, b.record.Due = delivery.Blocked, time.Time{}
	b.add(&b.record)
}

// steps are the ledger's, by their names in the drawing.
var steps = map[string]func(*books){
	"read":    (*books).read,
	"load":    (*books).loadRecord,
	"pass":    func(b *books) { b.pass(&b.record, b.now) },
	"giveUp":  func(b *books) { b.giveUp(&b.record, b.record.State == 0) },
	"done":    func(b *books) { b.done(b.job) },
	"retry":   func(b *books) { b.retry(b.job, b.now.Add(time.Minute)) },
	"bury":    func(b *books) { b.bury(b.job) },
	"spill":   func(b *books) { b.spill(b.job, true) },
	"claim":   func(b *books) { b.claim(b.job, b.now) },
	"split":   func(b *books) { b.split(b.job, b.now) },
	"hasten":  func(b *books) { b.hasten(&b.record, b.now, b.now) },
	"drop":    func(b *books) { b.drop(&b.record, b.now) },
	"discard": func(b *books) { b.discard(&b.record, b.now) },
	"expire":  func(b *books) { b.expire(&b.record) },
	"revive":  func(b *books) { b.revive(&b.record); b.addAgain() },
	"again":   func(b *books) { b.again(&b.record); b.addAgain() },
}

// state tells where the delivery stands by the books.
func (b *books) state() string {
	var found []string
	if b.window.n > 0 {
		found = append(found, "in_memory")
	}
	for state, n := range b.counts {
		if n == 0 {
			continue
		}
		name := delivery.State(state).String()
		if b.stored[7] != nil {
			name = "loaded"
		}
		if n != 1 || b.events[state] != 2 {
			name += fmt.Sprintf(" %d times with %d events", n, b.events[state])
		}
		found = append(found, name)
	}
	switch {
	case len(found) == 0 && len(b.stored) > 0:
		return "loaded without a record"
	case len(found) == 0:
		return "over"
	case len(found) > 1:
		return fmt.Sprint(found)
	}
	return found[0]
}

// TestDeliveryStates makes each step of docs/delivery-states.md, and looks that each step is on
// that page.
func TestDeliveryStates(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "delivery-states.md"))
	if err != nil {
		t.Fatal(err)
	}
	drawn := make(map[string]bool)
	for _, edge := range regexp.MustCompile(`(?m)^    (\w+) --> (\w+): (\w+)$`).FindAllStringSubmatch(string(page), -1) {
		from, to, step := edge[1], edge[2], edge[3]
		drawn[step] = true
		made := steps[step]
		if made == nil {
			t.Errorf("the drawing has a step %s that the ledger does not", step)
			continue
		}
		b := newBooks(from)
		made(b)
		if got := b.state(); got != to {
			t.Errorf("%s of one that is %s: it is %s, the drawing says %s", step, from, got, to)
		}
		if want := backlog(from, to, step); b.pending.events != 2*want || b.pending.bytes != 100*want {
			t.Errorf("%s of one that is %s: %d events and %d bytes leave the backlog, want %d times all",
				step, from, b.pending.events, b.pending.bytes, want)
		}
		written := len(b.pending.puts) > 0
		if want := writes(from, to, step); written != want {
			t.Errorf("%s of one that is %s: a record is written: %t", step, from, written)
		}
		if removed, want := slices.Equal(b.pending.removes, []delivery.Seq{7}), removes(from, to, step); removed != want {
			t.Errorf("%s of one that is %s: its record is removed: %t", step, from, removed)
		}
		if due := b.nextDue; to == "retrying" && (due.IsZero() || due.After(b.now.Add(time.Hour))) {
			t.Errorf("%s of one that is %s: it is due at %s", step, from, due)
		}
	}
	for step := range steps {
		if !drawn[step] {
			t.Errorf("the step %s is not drawn", step)
		}
	}
}

// backlog is how often a delivery leaves the backlog with a step: it is in it unless it is dead or
// over.
func backlog(from, to, step string) int64 {
	inside := func(state string) bool { return state != "dead" && state != "over" }
	switch {
	case step == "split", inside(from) == inside(to):
		return 0
	case inside(from):
		return 1
	}
	return -1
}

// writes reports whether a step writes a record: where the delivery comes to be on disk otherwise
// than before.
func writes(from, to, step string) bool {
	switch {
	case step == "load", from == "loaded" && step == "spill":
		return false
	case step == "hasten", step == "claim":
		return true
	}
	return slices.Contains([]string{"retrying", "blocked", "dead"}, to)
}

// removes reports whether a step removes a record: where there was one and nothing takes its place.
func removes(from, to, step string) bool {
	recorded := slices.Contains([]string{"loaded", "retrying", "blocked", "dead"}, from)
	return recorded && to == "over" && step != "split" && step != "expire"
}

// TestLedgerSpillWithoutOrder: what need not wait for others is due at once.
func TestLedgerSpillWithoutOrder(t *testing.T) {
	t.Parallel()
	b := newBooks("in_memory")
	b.spill(b.job, false)
	if got := b.state(); got != "retrying" || b.nextDue.IsZero() {
		t.Errorf("it is %s, due at %s", got, b.nextDue)
	}
}

// TestLedgerUnrecord: records that were never sent are taken back, others stay.
func TestLedgerUnrecord(t *testing.T) {
	t.Parallel()
	var l ledger
	l.stored = make(map[delivery.Seq]*job)
	tried := delivery.Delivery{Seq: 9, State: delivery.Retrying, Attempts: 1, Members: &delivery.Members{Count: 1}}
	l.record(&tried)
	parts := []delivery.Delivery{
		{Seq: 10, State: delivery.Blocked, Members: &delivery.Members{Count: 3}},
		{Seq: 13, State: delivery.Blocked, Members: &delivery.Members{Count: 4}},
	}
	for i := range parts {
		l.record(&parts[i])
	}
	if l.waiting() != 3 || l.events[delivery.Blocked] != 7 {
		t.Fatalf("%d records with %d events", l.waiting(), l.events[delivery.Blocked])
	}
	l.unrecord(10, parts)
	if l.waiting() != 1 || l.events[delivery.Blocked] != 0 {
		t.Errorf("%d records with %d events are left", l.waiting(), l.events[delivery.Blocked])
	}
	if len(l.pending.puts) != 1 || l.pending.puts[0].Seq != 9 || !slices.Equal(l.pending.removes, []delivery.Seq{10, 13}) {
		t.Errorf("%d records are written, %v are removed", len(l.pending.puts), l.pending.removes)
	}
}
