package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// recorder is a test that collects its errors instead of failing.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// The proof is worth what its oracle is: each kind of violation must be seen.
func TestOracle(t *testing.T) {
	t.Parallel()
	committed := []change{{1, 1, "insert"}, {1, 2, "update"}, {2, 1, "insert"}}
	at := func(key, seq int64, op, id string) arrival {
		return arrival{key: key, seq: seq, op: op, id: id, accepted: true, life: 1}
	}
	a1, a2, b1 := at(1, 1, "insert", "a1"), at(1, 2, "update", "a2"), at(2, 1, "insert", "b1")
	with := func(a arrival, change func(*arrival)) arrival { change(&a); return a }
	refused := func(a *arrival) { a.accepted = false }
	again := func(a *arrival) { a.life = 2 }
	line := func(id, outcome string) logLine {
		return logLine{V: 1, Profile: "main", Event: id, Outcome: outcome}
	}
	whole := []logLine{line("a1", "delivered"), line("a2", "delivered"), line("b1", "delivered")}

	tests := []struct {
		name     string
		arrivals []arrival
		log      []logLine
		killed   bool
		want     string // part of the only error; empty for none
		repeated int
	}{
		{name: "each once", arrivals: []arrival{a1, b1, a2}, log: whole},
		{name: "refused first", arrivals: []arrival{with(a1, refused), b1, a1, a2}, log: append([]logLine{line("a1", "retrying")}, whole...)},
		{name: "suffix repeated after a kill", arrivals: []arrival{a1, a2, b1, with(a1, again), with(a2, again)}, log: whole, killed: true, repeated: 2},
		{name: "repeated without a kill", arrivals: []arrival{a1, a2, b1, with(a2, again)}, log: whole, want: "accepted 2 times", repeated: 1},
		{name: "repeated within a life", arrivals: []arrival{a1, a2, a2, b1}, log: whole, killed: true, want: "within one run", repeated: 1},
		{name: "lost", arrivals: []arrival{a1, b1}, log: whole[:1:1], want: "never accepted", killed: true},
		{name: "overtaken", arrivals: []arrival{with(a1, refused), a2, a1, b1}, log: whole, want: "before change 1"},
		{name: "never committed", arrivals: []arrival{a1, a2, b1, at(9, 1, "insert", "x")}, log: whole, want: "never committed"},
		{name: "rolled back", arrivals: []arrival{with(a1, func(a *arrival) { a.note = rolledBack }), a2, b1}, log: whole, want: "rolled back"},
		{name: "one id for two", arrivals: []arrival{a1, with(a2, func(a *arrival) { a.id = "a1" }), b1}, log: whole, want: "stands for", repeated: 1},
		{name: "two ids for one", arrivals: []arrival{a1, a2, b1, with(a2, func(a *arrival) { a.id, a.life = "c", 2 })}, log: append(whole, line("c", "delivered")), want: "has the ids"},
		{name: "wrong kind", arrivals: []arrival{a1, with(a2, func(a *arrival) { a.op = "insert" }), b1}, log: whole, want: "arrived as"},
		{name: "no line", arrivals: []arrival{a1, a2, b1}, log: whole[:2:2], want: "no terminal line"},
		{name: "a line too many", arrivals: []arrival{a1, a2, b1}, log: append(whole[:3:3], line("a1", "delivered")), want: "2 terminal lines"},
		{name: "a line of nothing", arrivals: []arrival{a1, a2, b1}, log: append(whole[:3:3], line("z", "delivered")), want: "never arrived"},
		{name: "dead", arrivals: []arrival{a1, a2, b1}, log: append(whole[:2:2], line("b1", "dead")), want: "is dead"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{TB: t}
			o := newOracle(r, committed)
			for _, a := range test.arrivals {
				o.arrive(a)
			}
			j := judge{profile: "main", killed: test.killed}
			v := o.finish(j)
			if test.name != "lost" {
				o.checkLog(test.log, j)
			}
			all := strings.Join(r.errors, "\n")
			if test.want == "" && all != "" || !strings.Contains(all, test.want) {
				t.Errorf("found %q, want %q", all, test.want)
			}
			if v.repeated != test.repeated && test.name != "two ids for one" {
				t.Errorf("%d repeated, want %d", v.repeated, test.repeated)
			}
		})
	}
}
