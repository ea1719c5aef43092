package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rowhook/capture/capturetest"
	"rowhook/cmd/rowhook/cluster/natstest"
)

// clusterProfiles are the receivers that the machines of a cluster share out.
var clusterProfiles = []string{"p1", "p2", "p3", "p4"}

// clusterLease is short, so that a take-over is: a machine is taken for dead a second after it.
const clusterLease = 2 * time.Second

// clusterConcurrency is how many requests of a profile are in flight at most.
const clusterConcurrency = 4

// clustered is a database, a receiver and several machines that do one agent's work.
type clustered struct {
	*world
	s        *scenario
	nats     *natstest.Cluster
	urls     func(machine string) string // where a machine finds the servers
	machines map[string]*machineOf
	keys     atomic.Int64 // of rows that mark moments
	allowed  int          // requests that the faults may have repeated
}

// machineOf is one machine: a directory and an agent.
type machineOf struct {
	*world
	name  string
	agent *agent
}

// newCluster starts three servers and makes machines, which do not run yet.
func newCluster(t *testing.T, w *world, machines ...string) *clustered {
	t.Helper()
	nats := startServers(t, natstest.Options{})
	return newClusterOn(w, nats, func(string) string { return nats.URL() }, machines...)
}

// startServers starts three servers that end with the test.
func startServers(t *testing.T, o natstest.Options) *natstest.Cluster {
	t.Helper()
	nats, err := natstest.Start(t.Context(), o)
	capturetest.Must(t, err)
	t.Cleanup(func() {
		if err := nats.Close(); err != nil {
			t.Error(err)
		}
	})
	return nats
}

// newClusterOn makes machines, which do not run yet, on servers that do.
func newClusterOn(w *world, nats *natstest.Cluster, urls func(machine string) string, machines ...string) *clustered {
	c := &clustered{world: w, nats: nats, urls: urls, machines: map[string]*machineOf{}, s: &scenario{verdicts: map[string]verdict{}}}
	c.keys.Store(1_000_000)
	for _, name := range machines {
		c.add(name)
	}
	return c
}

// add makes a machine with an empty state directory.
func (c *clustered) add(name string) *machineOf {
	c.tb.Helper()
	own := *c.world
	own.dir, own.lines = newTempDir(c.tb), &logLines{read: map[string]logLine{}}
	m := &machineOf{world: &own, name: name}
	m.conf.profile = fmt.Sprintf("    concurrency: %d\n", clusterConcurrency)
	for _, code := range clusterProfiles {
		m.conf.profiles += m.usualProfile(code)
	}
	m.conf.top = fmt.Sprintf("cluster:\n  nats: {url: %q}\n  name: proof\n  machine: %s\n  lease: %s\n", c.urls(name), name, clusterLease)
	c.machines[name] = m
	return m
}

// run starts a machine's agent.
func (m *machineOf) run() {
	m.tb.Helper()
	m.agent = m.start()
}

// view is what a machine says of the cluster; ok is false while it does not answer.
func (m *machineOf) view() (v clusterView, ok bool) {
	m.tb.Helper()
	r := m.rowhook("status", "--json")
	var report struct {
		Cluster *clusterView `json:"cluster"`
	}
	if json.Unmarshal([]byte(r.stdout), &report) != nil || report.Cluster == nil {
		return v, false
	}
	return *report.Cluster, true
}

// clusterView is what the tests read of status.
type clusterView struct {
	Machine  string `json:"machine"` // the one that was asked
	Captures string `json:"captures"`
	Epoch    uint64 `json:"epoch"`
	Machines []struct {
		Name string `json:"name"`
		Live bool   `json:"live"`
	} `json:"machines"`
	Profiles []struct {
		Profile string `json:"profile"`
		Machine string `json:"machine"`
		Epoch   uint64 `json:"epoch"`
	} `json:"profiles"`
}

// owned are the profiles that a machine delivers.
func (v *clusterView) owned(machine string) (codes []string) {
	for _, p := range v.Profiles {
		if p.Machine == machine {
			codes = append(codes, p.Profile)
		}
	}
	return codes
}

// live reports whether a machine is one of the cluster whose lease has not ended.
func (v *clusterView) live(machine string) bool {
	for _, m := range v.Machines {
		if m.Name == machine {
			return m.Live
		}
	}
	return false
}

// awaitView waits until a machine's view of the cluster is as wanted.
func (c *clustered) awaitView(at, what string, ok func(v *clusterView) bool) (v clusterView) {
	c.tb.Helper()
	var last clusterView
	defer func() {
		if c.tb.Failed() {
			c.tb.Logf("%s sees %+v", at, last)
		}
	}()
	eventually(c.tb, 2*patience, what, func() bool {
		if !c.machines[at].agent.running() {
			c.tb.Fatalf("%s has ended with exit code %d", at, c.machines[at].agent.code)
		}
		answered := false
		last, answered = c.machines[at].view()
		return answered && ok(&last)
	})
	return last
}

// whole says that a machine captures and every profile is delivered, and by machines that run. What a
// machine sees that is cut off is of the past.
func (c *clustered) whole(v *clusterView) bool {
	if !v.live(v.Machine) {
		return false
	}
	runs := func(name string) bool { m := c.machines[name]; return m != nil && m.agent != nil && m.agent.running() }
	if !runs(v.Captures) || len(v.Profiles) != len(clusterProfiles) {
		return false
	}
	for _, p := range v.Profiles {
		if !runs(p.Machine) {
			return false
		}
	}
	return true
}

// spread says that each of so many machines delivers something, too.
func (c *clustered) spread(machines int) func(*clusterView) bool {
	return func(v *clusterView) bool {
		owners := map[string]bool{}
		for _, p := range v.Profiles {
			owners[p.Machine] = true
		}
		return c.whole(v) && len(owners) == machines
	}
}

// another is a machine that runs, and is not one of these.
func (c *clustered) another(not ...string) *machineOf {
	c.tb.Helper()
	for _, name := range slices.Sorted(maps.Keys(c.machines)) {
		if m := c.machines[name]; m.agent != nil && m.agent.running() && !slices.Contains(not, name) {
			return m
		}
	}
	c.tb.Fatalf("no machine runs besides %v", not)
	return nil
}

// mark commits a row and returns how long it takes until all profiles, or one, have it.
func (c *clustered) mark(profiles ...string) time.Duration {
	c.tb.Helper()
	key := c.keys.Add(1)
	began := time.Now()
	c.insert(key)
	if len(profiles) == 0 {
		profiles = clusterProfiles
	}
	eventually(c.tb, 2*patience, "a row comes to "+strings.Join(profiles, ", "), func() bool {
		return !slices.ContainsFunc(profiles, func(code string) bool { return !c.hook.accepts(code, key) })
	})
	return time.Since(began).Round(10 * time.Millisecond)
}

// accepts reports whether a profile has accepted a change of a key. It is asked so often that it must not
// look through all arrivals: the receiver could do nothing else.
func (r *receiver) accepts(profile string, key int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.taken[profileKey{profile, key}]
}

// fault notes what is about to be done to the cluster: whatever is in flight, or was sent within the
// last seconds, may be repeated.
func (c *clustered) fault(one, many string) {
	c.tb.Helper()
	c.s.did(1, one, many)
	c.recent()
}

// recent allows repeats of what is in flight, or was sent within the last seconds.
func (c *clustered) recent() {
	c.tb.Helper()
	recently := time.Now().Add(-clusterLease)
	for _, code := range clusterProfiles {
		c.allowed += clusterConcurrency + c.acceptedSince(code, recently)
	}
}

// goesOn notes that what a fault hit went on for a lease: what it sent meanwhile, and could not tell of,
// may be repeated.
func (c *clustered) goesOn(since time.Time) {
	c.tb.Helper()
	for _, code := range clusterProfiles {
		c.allowed += c.acceptedSince(code, since) - c.acceptedSince(code, since.Add(2*clusterLease))
	}
}

// takeOver tells how long it took until what was committed after a fault was delivered.
func (c *clustered) takeOver(what string, took time.Duration) {
	c.tb.Helper()
	c.tb.Logf("%s: what was committed then was delivered after %s", what, took)
	c.s.most(what, took.Milliseconds(), "ms")
}

// delivered waits until each profile has accepted all changes.
func (c *clustered) delivered(changes []change) {
	c.tb.Helper()
	for _, code := range clusterProfiles {
		c.hook.wait(c.tb, code, len(changes), 3*patience)
	}
	for _, code := range clusterProfiles {
		eventually(c.tb, patience, "the delivery logs tell the end of all events of "+code, func() bool {
			told := map[string]bool{}
			for _, m := range c.machines {
				for _, line := range m.readLog() {
					if line.Profile == code && line.terminal() && !ownEvent(line.Type) {
						told[line.Event] = true
					}
				}
			}
			return len(told) >= len(changes)
		})
	}
}

// Machines of a cluster are killed, frozen and woken, stopped, added and taken away under load, and so
// are its servers: nothing is lost, the order of each key holds under each epoch, ids are equal, and
// only what was in flight is repeated.
func TestCluster(t *testing.T) {
	t.Parallel()
	needsMachine(t)
	for _, database := range databases {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			testCluster(t, newWorldOf(t, database, nil))
		})
	}
}

func testCluster(t *testing.T, w *world) {
	c := newCluster(t, w, "n1", "n2", "n3")
	c.s = w.scenario("cluster")
	l := c.begin(usualLoad)

	c.killCapturing()
	c.killDelivering()
	c.killServer()
	c.freeze()
	c.handOver()
	c.addAndRemove()
	c.finish(l)
}

// usualLoad is of transactions a second.
const usualLoad = 100

// begin starts all machines, and load when they have shared out what there is.
func (c *clustered) begin(perSecond int) *load {
	c.tb.Helper()
	for _, name := range slices.Sorted(maps.Keys(c.machines)) {
		c.machines[name].run()
	}
	c.awaitView(c.another().name, "the machines have shared out what there is", c.spread(len(c.machines)))
	c.awaitStream()
	l := c.load(4, perSecond, false)
	c.mark()
	return l
}

// finish ends load and machines, and looks at the whole account.
func (c *clustered) finish(l *load) {
	c.tb.Helper()
	changes := c.ledger(l.stop(c.tb))
	c.delivered(changes)
	for _, m := range c.machines {
		if m.agent.running() {
			m.agent.term()
		}
	}
	c.verifyCluster(changes)
}

// awaitStream waits until the machine that captures reads the stream: a first start captures what is
// committed from then on.
func (c *clustered) awaitStream() {
	c.tb.Helper()
	eventually(c.tb, patience, "a machine streams", func() bool {
		n, err := c.server.readers(context.Background(), nil)
		return err == nil && n >= 1
	})
}

// killCapturing is kill -9 of the machine that captures.
func (c *clustered) killCapturing() {
	c.tb.Helper()
	v := c.awaitView(c.another().name, "a machine captures", c.whole)
	victim := c.machines[v.Captures]
	c.fault("kill of the capturing machine", "kills of the capturing machine")
	victim.agent.kill()
	c.takeOver("capture, killed", c.mark())
	victim.run()
	c.awaitView(victim.name, "the machine is back", c.spread(3))
}

// killDelivering is kill -9 of a machine that delivers and does not capture.
func (c *clustered) killDelivering() {
	c.tb.Helper()
	v := c.awaitView(c.another().name, "a machine captures", c.whole)
	victim := c.another(v.Captures)
	owned := v.owned(victim.name)
	if len(owned) == 0 {
		c.tb.Fatalf("%s delivers nothing: %+v", victim.name, v)
	}
	c.fault("kill of a delivering machine", "kills of a delivering machine")
	victim.agent.kill()
	c.takeOver("delivery, killed", c.mark(owned...))
	victim.run()
	c.awaitView(victim.name, "the machine is back", c.spread(3))
}

// killServer is kill -9 of the server that leads the stream.
func (c *clustered) killServer() {
	c.tb.Helper()
	leader, err := c.nats.Leader(c.tb.Context(), stream)
	capturetest.Must(c.tb, err)
	c.fault("kill of the stream's leader", "kills of the stream's leader")
	c.nats.Kill(leader)
	c.takeOver("stream, leader killed", c.mark())
	capturetest.Must(c.tb, c.nats.Restart(leader))
	capturetest.Must(c.tb, c.nats.Ready(c.tb.Context()))
}

// freeze stops a machine that delivers until others have taken over, and wakes it.
func (c *clustered) freeze() {
	c.tb.Helper()
	v := c.awaitView(c.another().name, "the machines have shared out what there is", c.spread(3))
	victim := c.another(v.Captures)
	owned := v.owned(victim.name)
	c.fault("time that a machine was frozen", "times that a machine was frozen")
	victim.agent.signal(syscall.SIGSTOP)
	c.takeOver("delivery, frozen", c.mark(owned...))
	victim.agent.signal(syscall.SIGCONT)
	c.awaitView(victim.name, "the machine is back", c.spread(3))
	c.mark()
}

// handOver has another machine capture.
func (c *clustered) handOver() {
	c.tb.Helper()
	v := c.awaitView(c.another().name, "a machine captures", c.whole)
	c.s.did(1, "handover", "handovers")
	if r := c.another(v.Captures).rowhook("handover"); r.code != 0 {
		c.tb.Fatalf("handover: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	c.takeOver("capture, handed over", c.mark())
	now := c.awaitView(c.another().name, "a machine captures", c.whole)
	if now.Captures == v.Captures {
		c.tb.Errorf("%s captures after it has handed over", v.Captures)
	}
}

// addAndRemove adds a machine that has nothing yet, and takes it away again.
func (c *clustered) addAndRemove() {
	c.tb.Helper()
	added := c.add("n4")
	c.s.did(1, "machine added and taken away", "machines added and taken away")
	added.run()
	c.awaitView("n4", "the new machine delivers", func(v *clusterView) bool { return c.whole(v) && len(v.owned("n4")) > 0 })
	c.mark()
	added.agent.term()
	c.mark()
	c.awaitView(c.another().name, "the others deliver what it had", c.whole)
}

// clusterVariable has whole clusters be tested.
const clusterVariable = "ROWHOOK_CLUSTER"

// needsMachine leaves a test to `make cluster`: three servers that sync each write, three agents and a
// database need a machine for themselves, or leases end for want of time. What `make test` has of
// clusters is in cmd/rowhook/cluster.
func needsMachine(t *testing.T) {
	t.Helper()
	if os.Getenv(clusterVariable) == "" {
		t.Skipf("%s is not set: `make cluster` runs it", clusterVariable)
	}
}

// roundsVariable says how often TestClusterAtRandom does each fault.
const roundsVariable = "ROWHOOK_CLUSTER_ROUNDS"

func faultRounds(tb testing.TB) int {
	tb.Helper()
	text := os.Getenv(roundsVariable)
	if text == "" {
		return count(2, 50)
	}
	rounds, err := strconv.Atoi(text)
	capturetest.Must(tb, err)
	return rounds
}

// TestClusterAtRandom does each kind of fault of a machine, of the stream's leader and of a machine's
// network some times, at full length fifty, at random moments and in random order.
func TestClusterAtRandom(t *testing.T) {
	t.Parallel()
	needsMachine(t)
	for _, database := range databases {
		t.Run(database, func(t *testing.T) { testClusterAtRandom(t, newWorldOf(t, database, nil)) })
	}
}

func testClusterAtRandom(t *testing.T, w *world) {
	n := newWiring(t, w, "n1", "n2", "n3")
	n.s = w.scenario("cluster")
	l := n.begin(usualLoad / 4) // for an hour, at full length
	random := chance(15)
	var order []func()
	for i := range faultRounds(t) {
		how := ways[i%len(ways)]
		order = append(order, n.killCapturing, n.killDelivering, n.killServer, n.freeze, n.handOver,
			func() { n.cutCapturing(how) }, func() { n.cutDelivering(how) })
	}
	random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for _, fault := range order {
		elapse(t, between(random, 0, 2*time.Second), "", nil)
		fault()
	}
	n.finish(l)
}
