package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// must runs a command on a machine that is to succeed.
func (m *machineOf) must(args ...string) string {
	m.tb.Helper()
	r := m.rowhook(args...)
	if r.code != 0 {
		m.tb.Fatalf("on %s: rowhook %s: exit code %d: %s%s", m.name, strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// state is how a profile stands, as a machine tells of the whole.
func (m *machineOf) state(profile string) (state string, dead int) {
	m.tb.Helper()
	var report struct {
		Profiles []struct {
			Profile string `json:"profile"`
			State   string `json:"state"`
			Dead    int    `json:"dead"`
		} `json:"profiles"`
	}
	r := m.rowhook("status", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil {
		m.tb.Fatalf("status on %s: %v: %s%s", m.name, err, r.stdout, r.stderr)
	}
	for _, p := range report.Profiles {
		if p.Profile == profile {
			return p.State, p.Dead
		}
	}
	return "", 0
}

// Whatever machine is asked, the one whose matter it is does it, and status tells of the whole. A
// reload is agreed by all or refused. Without a majority of servers nothing is stored or sent, and
// that is told.
func TestClusterOperated(t *testing.T) {
	t.Parallel()
	needsMachine(t)
	w := newWorldOf(t, "postgres", nil)
	c := newCluster(t, w, "n1", "n2", "n3")
	names := []string{"n1", "n2", "n3"}
	for _, name := range names {
		c.machines[name].run()
	}
	v := c.awaitView("n1", "the machines have shared out what there is", c.spread(3))
	c.awaitStream()
	c.mark()

	for _, p := range v.Profiles { // each is asked for on machines that do not deliver it
		other := c.another(p.Machine)
		other.must("profile", "pause", p.Profile)
		for _, name := range names {
			if state, _ := c.machines[name].state(p.Profile); state != "inactive" {
				t.Errorf("%s says that %s is %q after it was paused on %s", name, p.Profile, state, other.name)
			}
		}
		other.must("profile", "resume", p.Profile)
	}

	// A dead letter is listed and sent again on whatever machine.
	c.hook.answer(func(a arrival) reply {
		if a.key == 77 {
			return reply{status: 400}
		}
		return reply{}
	})
	c.insert(77)
	for _, code := range clusterProfiles {
		eventually(t, 10*time.Second, "a dead letter of "+code, func() bool { _, dead := c.machines["n1"].state(code); return dead == 1 })
	}
	c.hook.answer(nil)
	for _, name := range names {
		if list := c.machines[name].must("failed", "list"); strings.Count(list, "dead") != len(clusterProfiles) {
			t.Errorf("on %s there is not a dead letter of each profile:\n%s", name, list)
		}
	}
	c.machines["n2"].must("failed", "retry", "--all")
	eventually(t, patience, "the dead letters are delivered", func() bool {
		for _, code := range clusterProfiles {
			if !c.hook.accepts(code, 77) {
				return false
			}
		}
		return true
	})
	for _, name := range names {
		c.machines[name].must("backfill", "list")
		c.machines[name].must("failed", "list")
		c.machines[name].must("queue", "list")
		c.machines[name].must("profile", "list")
		c.machines[name].must("check")
	}
	if r := c.machines["n1"].rowhook("explain", "proof.rows", "id=1000001"); r.code != 0 || !strings.Contains(r.stdout, "1000001") {
		t.Errorf("explain: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}

	c.reloaded()
	c.withoutQuorum()
	for _, name := range names {
		c.machines[name].agent.term()
	}
}

// reloaded changes the config, first of one machine, then of all.
func (c *clustered) reloaded() {
	c.tb.Helper()
	change := func(m *machineOf) {
		m.conf.profiles += m.usualProfile("p5")
		m.write()
	}
	change(c.machines["n1"])
	r := c.machines["n1"].rowhook("reload")
	if r.code == 0 || !strings.Contains(r.stderr, "machine n") {
		c.tb.Errorf("a reload that the others do not agree to: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	if state, _ := c.machines["n1"].state("p5"); state != "" {
		c.tb.Errorf("one machine has taken a config that the others do not have: p5 is %s", state)
	}
	change(c.machines["n2"])
	change(c.machines["n3"])
	eventually(c.tb, 2*patience, "all machines take the config", func() bool {
		v, ok := c.machines["n2"].view()
		if !ok {
			return false
		}
		for _, p := range v.Profiles {
			if p.Profile == "p5" && p.Machine != "" {
				return true
			}
		}
		return false
	})
	c.mark("p5", "p1")
	for _, m := range c.machines {
		if state, _ := m.state("p5"); state != "active" {
			c.tb.Errorf("%s says that p5 is %q", m.name, state)
		}
	}
}

// withoutQuorum takes two of three servers away.
func (c *clustered) withoutQuorum() {
	c.tb.Helper()
	c.nats.Kill(0)
	c.nats.Kill(1)
	for _, m := range c.machines {
		eventually(c.tb, patience, m.name+" is not ready without quorum", func() bool {
			r := m.rowhook("status", "--ready")
			return r.code == 1 && strings.Contains(r.stderr, "quorum")
		})
	}
	before := c.hook.requests.Load()
	key := c.keys.Add(1)
	c.insert(key)
	elapse(c.tb, clusterLease, "nothing is sent without quorum", func() bool { return c.hook.requests.Load() == before })
	capturetest.Must(c.tb, c.nats.Restart(0))
	capturetest.Must(c.tb, c.nats.Restart(1))
	eventually(c.tb, 2*patience, "what was committed without quorum is delivered", func() bool {
		for _, code := range clusterProfiles {
			if !c.hook.accepts(code, key) {
				return false
			}
		}
		return true
	})
	for _, m := range c.machines {
		eventually(c.tb, patience, m.name+" is ready again", func() bool { return m.rowhook("status", "--ready").code == 0 })
	}
}

// One machine becomes several, and several one again: nothing is lost and nothing is repeated.
func TestClusterMoved(t *testing.T) {
	t.Parallel()
	needsMachine(t)
	for _, database := range databases {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			testClusterMoved(t, newWorldOf(t, database, nil))
		})
	}
}

func testClusterMoved(t *testing.T, w *world) {
	c := newCluster(t, w, "n1", "n2")
	n1, n2 := c.machines["n1"], c.machines["n2"]
	block := n1.conf.top
	n1.conf.top = ""
	n1.run()
	n1.streaming(n1.agent)
	l := w.load(4, 100, false)
	c.mark()
	n1.agent.term()

	n1.conf.top = block // the machine that was alone is the cluster's first
	n1.run()
	c.awaitView("n1", "the first machine has all", c.whole)
	n2.run()
	c.awaitView("n2", "the second one has its share", c.spread(2))
	c.mark()
	n2.must("handover")
	c.mark()
	n2.must("handover")
	c.mark()
	n2.agent.term()
	c.mark()
	n1.agent.term()

	n1.conf.top = "" // and alone again
	n1.run()
	n1.streaming(n1.agent)
	c.mark()
	changes := w.ledger(l.stop(t))
	c.delivered(changes)
	n1.agent.term()
	lines := append(n1.readLog(), n2.readLog()...)
	for _, code := range clusterProfiles {
		o := newOracle(t, changes)
		for i, a := range c.hook.all(code) {
			a.life = int64(i) // every repeat is one
			o.arrive(a)
		}
		j := judge{profile: code}
		v := o.finish(j)
		o.checkLog(lines, j)
		if v.repeated > 0 {
			t.Errorf("%s: %d repeated", code, v.repeated)
		}
	}

	n1.conf.top = block // it has gone on alone: the cluster of before is not its own any more
	n1.run()
	if code := n1.agent.wait(patience); code == 0 || !strings.Contains(n1.agent.stderr.String(), "alone") {
		t.Errorf("exit code %d: %s", code, n1.agent.stderr.tail())
	}
}
