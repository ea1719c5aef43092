package e2e_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"
)

// Killed at random moments while an application commits transactions of several rows, the agent
// delivers every event in some group, each key's in commit order, whatever the unit; by type, in
// the order of the transactions. What one transaction makes has one id and the same members,
// however often it is sent.
func TestCrashUnits(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testCrashUnits)
}

func testCrashUnits(t *testing.T, w *world) {
	s := w.scenario("kill9-units")
	w.hook.keepBodies = true
	units := []string{"batch", "transaction", "type"}
	for _, unit := range units {
		w.conf.profiles += w.usualProfile(unit) + "    unit: " + unit + "\n"
	}
	w.conf.profiles = strings.Replace(w.conf.profiles, "unit: batch\n", "unit: batch\n    batch: {max: 20, wait: 50ms}\n", 1)
	w.hook.answer(failing(7))
	random := chance(8)
	a := w.begin()
	l := w.load(2, 100, false)
	kills := count(4, 40)
	for range kills {
		elapse(t, between(random, 200*time.Millisecond, 900*time.Millisecond), "", nil)
		a.kill()
		a = w.start()
	}
	changes := w.ledger(l.stop(t))
	for _, unit := range units {
		g := &groups{t: t, unit: unit, all: w.hook.all}
		eventually(t, 2*patience, unit+" accepts all", func() bool { return g.distinct() >= len(changes) })
	}
	a.term()
	w.hook.sound(t)
	for _, unit := range units {
		g := &groups{t: t, unit: unit, all: w.hook.all}
		s.counted(unit, g.verify(changes))
	}
	s.did(kills, "kill", "kills")
}

// groups are the requests of a profile whose unit is a group.
type groups struct {
	t    *testing.T
	unit string
	all  func(string) []arrival
}

// group is the body of a request with several events.
type group struct {
	ID     string `json:"id"`
	Type   string `json:"type"`
	Count  int    `json:"count"`
	Source struct {
		Transaction string `json:"transaction"`
	} `json:"source"`
	Events []payload `json:"events"`
}

// sent are the groups in the order of arrival.
func (g *groups) sent() (list []group, arrivals []arrival) {
	g.t.Helper()
	arrivals = g.all(g.unit)
	for _, a := range arrivals {
		var one group
		if err := json.Unmarshal(a.body, &one); err != nil {
			g.t.Fatalf("%s: %v: %.200q", g.unit, err, a.body)
		}
		list = append(list, one)
	}
	return list, arrivals
}

// distinct is how many events are in groups that were accepted.
func (g *groups) distinct() int {
	g.t.Helper()
	seen := map[string]bool{}
	list, arrivals := g.sent()
	for i := range list {
		for _, e := range list[i].Events {
			if arrivals[i].accepted {
				seen[e.ID] = true
			}
		}
	}
	return len(seen)
}

// verify is the oracle for events inside groups. It counts events, not requests.
func (g *groups) verify(changes []change) verdict {
	t := g.t
	t.Helper()
	list, arrivals := g.sent()
	o := newOracle(t, changes)
	made := map[[2]int64]string{} // change to the transaction that made it
	for _, one := range list {
		for _, e := range one.Events {
			made[e.change()] = e.Source.Transaction
		}
	}
	accepted := map[[2]int64]bool{}
	for i, one := range list {
		within := map[[2]int64]bool{} // the group's changes so far
		for _, e := range one.Events {
			a := arrivals[i]
			a.id, a.op, a.note = e.ID, e.Source.Op, e.Data.Note
			place := e.change()
			a.key, a.seq = place[0], place[1]
			o.counts.requests++
			if !o.identify(a) {
				continue
			}
			for _, seq := range o.order[a.key] {
				earlier := [2]int64{a.key, seq}
				// What one transaction did to a row in several ways, in turn, comes by type, and
				// cannot come in turn.
				inTurn := g.unit != "type" || made[earlier] != e.Source.Transaction
				if seq < a.seq && inTurn && !accepted[earlier] && !within[earlier] {
					o.counts.disordered++
					o.errorf("%s: key %d: change %d arrived before change %d was accepted", g.unit, a.key, a.seq, seq)
				}
				if seq > a.seq && within[earlier] {
					o.counts.disordered++
					o.errorf("%s: key %d: change %d stands behind change %d in the group %s", g.unit, a.key, a.seq, seq, one.ID)
				}
			}
			within[place] = true
			if a.accepted {
				o.accept(a)
			}
		}
		if arrivals[i].accepted {
			maps.Copy(accepted, within)
		}
	}
	for _, c := range changes {
		if !accepted[[2]int64{c.key, c.seq}] {
			o.counts.lost++
			o.errorf("%s: key %d: change %d was committed and never accepted", g.unit, c.key, c.seq)
		}
	}
	g.identities(list)
	v := o.counts
	v.events = len(changes)
	v.delivered = v.events - v.lost
	for _, times := range o.times {
		v.repeated += times - 1
	}
	return v
}

// change is the place of an event's change in the ledger.
func (p *payload) change() [2]int64 {
	if p.Source.Op == "delete" {
		return [2]int64{p.Key.ID, p.Previous.Seq + 1}
	}
	return [2]int64{p.Key.ID, p.Data.Seq}
}

// identities looks at what groups are: of one transaction and type, and the same each time they are
// sent.
func (g *groups) identities(list []group) {
	t := g.t
	t.Helper()
	members := map[string]string{} // group to its events
	groupOf := map[string]string{} // event to the group it came in
	events, longest, again := 0, 0, 0
	for _, one := range list {
		var ids []string
		for _, e := range one.Events {
			ids = append(ids, e.ID)
			if g.unit == "batch" {
				continue // after a kill it may be grouped anew
			}
			if was, ok := groupOf[e.ID]; ok && was != one.ID {
				t.Errorf("%s: event %s came in the groups %s and %s", g.unit, e.ID, was, one.ID)
			}
			groupOf[e.ID] = one.ID
			if e.Source.Transaction != one.Source.Transaction || g.unit == "type" && e.Type != one.Type {
				t.Errorf("%s: group %s of transaction %s and type %q has an event of %s and %s", g.unit, one.ID, one.Source.Transaction, one.Type, e.Source.Transaction, e.Type)
			}
		}
		if len(ids) != one.Count || len(ids) == 0 {
			t.Errorf("%s: group %s says it has %d events, and has %d", g.unit, one.ID, one.Count, len(ids))
		}
		all := strings.Join(ids, " ")
		if was, ok := members[one.ID]; ok {
			again++
			if was != all {
				t.Errorf("%s: group %s has the events %s, and had %s", g.unit, one.ID, all, was)
			}
		}
		members[one.ID] = all
		events, longest = events+len(ids), max(longest, len(ids))
	}
	if longest < 2 {
		t.Errorf("%s: no group has several events", g.unit)
	}
	t.Logf("%s: %d requests with %d events, %d of them again; the longest has %d", g.unit, len(list), events, again, longest)
}
