package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// verifyCluster is the oracle of a cluster. For each profile: each change of the ledger was accepted,
// nothing else arrived, equal changes have equal ids and different ones different ids; under each
// epoch, a key's changes came in order, and began with none left out that no machine had delivered
// before; what came of an older epoch behind a newer one was in flight at most; and each change has its
// line in a machine's delivery log.
func (c *clustered) verifyCluster(changes []change) {
	c.tb.Helper()
	c.hook.sound(c.tb)
	var lines []logLine
	for _, m := range c.machines {
		lines = append(lines, m.readLog()...)
	}
	repeated := 0
	for _, code := range clusterProfiles {
		o := newOracle(c.tb, changes)
		newest := o.arriveShared(c.hook.all(code))
		j := judge{profile: code, killed: true}
		v := o.finish(j)
		o.checkLog(lines, j)
		c.row.counted(c.hook.addr+" "+code, v)
		repeated += v.repeated
		c.tb.Logf("%s: %d events, %d requests, %d repeated, %d epochs", code, v.events, v.requests, v.repeated, newest)
	}
	if repeated > c.allowed {
		c.tb.Errorf("%d requests were repeated; what was in flight or just sent was %d", repeated, c.allowed)
	}
}

// arriveShared looks at what a profile of a cluster was sent, and returns its newest epoch.
func (o *oracle) arriveShared(arrivals []arrival) (newest int64) {
	o.tb.Helper()
	index := map[[2]int64]int{}
	for key, seqs := range o.order {
		for i, seq := range seqs {
			index[[2]int64{key, seq}] = i
		}
	}
	done := map[int64]int{} // per key, how many changes have been accepted without a gap
	epochs := map[[2]int64]int{}
	late := int64(0)
	for _, a := range arrivals {
		if ownEvent(a.typ) {
			continue
		}
		o.counts.requests++
		if !o.identify(a) {
			continue
		}
		if a.epoch == 0 {
			o.errorf("key %d: change %d came without an epoch", a.key, a.seq)
		}
		if a.epoch < newest {
			late++
		}
		newest = max(newest, a.epoch)
		at, in := index[[2]int64{a.key, a.seq}], [2]int64{a.epoch, a.key}
		next, begun := epochs[in]
		if !begun {
			next = min(at, done[a.key])
			epochs[in] = next
		}
		if at > next {
			o.counts.disordered++
			o.errorf("epoch %d: key %d: change %d arrived before the one before it was accepted", a.epoch, a.key, a.seq)
		}
		if !a.accepted {
			continue
		}
		o.times[a.id]++
		if at == next {
			epochs[in]++
		}
		if at == done[a.key] {
			done[a.key], o.next[a.key] = at+1, at+1
		}
	}
	if most := newest * clusterConcurrency; late > most {
		o.errorf("%d requests of an epoch came behind a later one's; %d could be in flight", late, most)
	}
	return newest
}

// The oracle of a cluster sees each kind of violation.
func TestClusterOracle(t *testing.T) {
	t.Parallel()
	committed := []change{{1, 1, "insert"}, {1, 2, "update"}, {1, 3, "update"}}
	at := func(epoch, seq int64) arrival {
		a := committed[seq-1]
		return arrival{key: a.key, seq: a.seq, op: a.op, id: fmt.Sprint("a", seq), epoch: epoch, accepted: true}
	}
	refused := func(a arrival) arrival { a.accepted = false; return a }
	renamed := func(a arrival) arrival { a.id += "x"; return a }
	tests := []struct {
		name     string
		arrivals []arrival
		want     string // part of the only error; empty for none
	}{
		{"each once", []arrival{at(1, 1), at(1, 2), at(1, 3)}, ""},
		{"the next owner repeats", []arrival{at(1, 1), at(1, 2), at(2, 1), at(2, 2), at(2, 3)}, ""},
		{"the next owner repeats the last one", []arrival{at(1, 1), at(1, 2), at(2, 2), at(2, 3)}, ""},
		{"one in flight comes late", []arrival{at(1, 1), at(2, 2), at(1, 2), at(2, 3)}, ""},
		{"tried again", []arrival{refused(at(1, 1)), at(1, 1), at(1, 2), at(1, 3)}, ""},
		{"lost", []arrival{at(1, 1), at(1, 2)}, "never accepted"},
		{"overtaken", []arrival{refused(at(1, 1)), at(1, 2), at(1, 1), at(1, 2), at(1, 3)}, "before the one before it"},
		{"left out by the next owner", []arrival{at(1, 1), at(2, 3), at(1, 2), at(1, 3)}, "epoch 2: key 1: change 3"},
		{"left out of a repeat", []arrival{at(1, 1), at(1, 2), at(1, 3), at(2, 1), at(2, 3)}, "epoch 2: key 1: change 3"},
		{"without an epoch", []arrival{at(0, 1), at(1, 2), at(1, 3)}, "without an epoch"},
		{"another id", []arrival{at(1, 1), at(1, 2), renamed(at(2, 2)), at(2, 3)}, "has the ids"},
		{"an owner that goes on", slices.Concat([]arrival{at(1, 1), at(2, 2), at(2, 3)}, slices.Repeat([]arrival{at(1, 1)}, 2*clusterConcurrency+1)), "could be in flight"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := &recorder{TB: t}
			o := newOracle(r, committed)
			o.arriveShared(test.arrivals)
			o.finish(judge{profile: "p1", killed: true})
			if all := strings.Join(r.errors, "\n"); len(r.errors) > 1 || (test.want == "") != (all == "") || !strings.Contains(all, test.want) {
				t.Errorf("found %q, want %q", all, test.want)
			}
		})
	}
}
