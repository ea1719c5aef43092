package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// expectation is one event that a committed change must become.
type expectation struct{ receiver, kind, key string }

// arrival is one request that a receiver accepted.
type arrival struct {
	expectation
	id       string
	at       time.Time
	lag      time.Duration // since the commit
	actor    string
	genuine  bool // its signature is right
	repeated bool // its id came before
}

// ledger holds what the library did against what arrived. It is safe for concurrent use.
type ledger struct {
	mu           sync.Mutex
	changes      int // committed row changes
	transactions int
	expected     []expectation
	arrived      []arrival // without repetitions
	ids          map[string]bool
	repeated     int
	forged       int
	news         chan struct{} // closed and replaced at each arrival
}

func newLedger() *ledger {
	return &ledger{ids: map[string]bool{}, news: make(chan struct{})}
}

// expect enters a committed transaction.
func (l *ledger) expect(changes int, events []expectation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.transactions++
	l.changes += changes
	l.expected = append(l.expected, events...)
}

// arrive enters a request and says whether it is a repetition.
func (l *ledger) arrive(a *arrival) {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := a.receiver + " " + a.id
	switch {
	case !a.genuine:
		l.forged++
	case l.ids[id]:
		a.repeated = true
		l.repeated++
	default:
		l.ids[id] = true
		l.arrived = append(l.arrived, *a)
	}
	close(l.news)
	l.news = make(chan struct{})
}

// settled reports whether as much has arrived as was expected, for one receiver or all (""),
// and when to ask again.
func (l *ledger) settled(receiver string) (bool, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	count := func(list []expectation) int {
		return len(slices.DeleteFunc(list, func(e expectation) bool { return receiver != "" && e.receiver != receiver }))
	}
	return count(l.came()) >= count(slices.Clone(l.expected)), l.news
}

func (l *ledger) came() []expectation {
	list := make([]expectation, len(l.arrived))
	for i := range l.arrived {
		list[i] = l.arrived[i].expectation
	}
	return list
}

// balance is what the books come to.
type balance struct {
	changes, transactions, expected, arrived int
	missing, surplus, repeated, forged       int
	disordered                               []string // keys whose events came in another order
}

func (b *balance) good() bool {
	return b.missing == 0 && b.surplus == 0 && b.forged == 0 && len(b.disordered) == 0
}

// balance compares, for each receiver and key, the order of commits with the order of arrivals.
func (l *ledger) balance() balance {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := balance{
		changes: l.changes, transactions: l.transactions,
		expected: len(l.expected), arrived: len(l.arrived), repeated: l.repeated, forged: l.forged,
	}
	want, got := byKey(l.expected), byKey(l.came())
	for lane, kinds := range want {
		missing, surplus := difference(kinds, got[lane])
		b.missing += missing
		b.surplus += surplus
		if missing == 0 && surplus == 0 && !slices.Equal(kinds, got[lane]) {
			b.disordered = append(b.disordered, fmt.Sprintf("%s %s: committed %v, arrived %v", lane.receiver, lane.key, kinds, got[lane]))
		}
	}
	for lane, kinds := range got {
		if want[lane] == nil {
			b.surplus += len(kinds)
		}
	}
	slices.Sort(b.disordered)
	return b
}

// byKey groups event types by receiver and key, in order.
func byKey(events []expectation) map[expectation][]string {
	lanes := map[expectation][]string{}
	for _, e := range events {
		lane := expectation{receiver: e.receiver, key: e.key}
		lanes[lane] = append(lanes[lane], e.kind)
	}
	return lanes
}

// difference counts what is in want only, and in got only.
func difference(want, got []string) (missing, surplus int) {
	counts := map[string]int{}
	for _, kind := range want {
		counts[kind]++
	}
	for _, kind := range got {
		counts[kind]--
	}
	for _, n := range counts {
		missing += max(n, 0)
		surplus += max(-n, 0)
	}
	return missing, surplus
}
