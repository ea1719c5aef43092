package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
	"rowhook/cmd/rowhook/cluster/natstest"
)

// wiring is every way between machines and servers, and between servers.
type wiring struct {
	*clustered
	machines map[string][]*proxy // by machine, to each server
	servers  [][]*proxy          // from server to server; nil to itself
}

// newWiring makes machines, which do not run yet, and servers that know each other by ways which can
// be cut.
func newWiring(t *testing.T, w *world, machines ...string) *wiring {
	t.Helper()
	n := &wiring{machines: map[string][]*proxy{}, servers: make([][]*proxy, 3)}
	for i := range n.servers {
		n.servers[i] = make([]*proxy, 3)
	}
	nats := startServers(t, natstest.Options{Route: func(from, to int, address string) string {
		n.servers[from][to] = newProxy(t, address)
		return n.servers[from][to].addr()
	}})
	n.clustered = newClusterOn(w, nats, func(machine string) string {
		var urls []string
		for i := range 3 {
			p := newProxy(t, strings.TrimPrefix(nats.ServerURL(i), "nats://"))
			n.machines[machine] = append(n.machines[machine], p)
			urls = append(urls, "nats://"+p.addr())
		}
		return strings.Join(urls, ",")
	}, machines...)
	return n
}

// around are the ways to a server and from it: those of machines, and those of other servers.
func (n *wiring) around(server int) (machines, servers []*proxy) {
	for _, ways := range n.machines {
		machines = append(machines, ways[server])
	}
	for i := range n.servers {
		if i != server {
			servers = append(servers, n.servers[i][server], n.servers[server][i])
		}
	}
	return machines, servers
}

// server is the number of the one that a machine is connected to.
func (n *wiring) server(machine string) int {
	n.tb.Helper()
	for i, p := range n.machines[machine] {
		p.mu.Lock()
		open := 0
		for l := range p.open {
			l.mu.Lock()
			if !l.closed {
				open++
			}
			l.mu.Unlock()
		}
		p.mu.Unlock()
		if open > 0 {
			return i
		}
	}
	n.tb.Fatalf("%s is connected to no server", machine)
	return 0
}

// way is how a network fails.
type way struct {
	name       string
	fail, heal func(p *proxy)
}

// ways are all. But for the first, connections stay open and nobody is told anything.
var ways = []way{
	{"cut", func(p *proxy) { p.refusing(true); p.cut() }, func(p *proxy) { p.refusing(false) }},
	{"silent both ways", func(p *proxy) { p.losing(toServer, true); p.losing(toClient, true) },
		func(p *proxy) { p.losing(toServer, false); p.losing(toClient, false) }},
	{"silent to NATS", func(p *proxy) { p.losing(toServer, true) }, func(p *proxy) { p.losing(toServer, false) }},
	{"silent from NATS", func(p *proxy) { p.losing(toClient, true) }, func(p *proxy) { p.losing(toClient, false) }},
}

// unheard is a network that nothing passes, and nobody is told.
var unheard = ways[1]

// during fails ways for as long as do takes. What machines send meanwhile may be repeated.
func (n *wiring) during(how way, proxies []*proxy, do func()) {
	n.tb.Helper()
	began := time.Now()
	for _, p := range proxies {
		how.fail(p)
	}
	do()
	n.goesOn(began)
	for _, p := range proxies {
		how.heal(p)
	}
}

// The network of a cluster fails, between a machine and the servers, around a server, and between all
// machines and all servers, with connections reset or in silence: others take over, nothing is lost, the
// order of each key holds under each epoch, and what was late has no effect. Without quorum nothing is
// sent, which is told, and the database keeps its log.
func TestClusterCut(t *testing.T) {
	t.Parallel()
	needsMachine(t)
	for _, database := range []string{"postgres", "mariadb"} {
		t.Run(database, func(t *testing.T) {
			t.Parallel()
			testClusterCut(t, newWorldOf(t, database, nil))
		})
	}
}

func testClusterCut(t *testing.T, w *world) {
	n := newWiring(t, w, "n1", "n2", "n3")
	n.s = w.scenario("cluster")
	admin := freeAddress(t)
	n.clustered.machines["n1"].conf.top += "admin: {listen: '" + admin + "'}\n"
	l := n.begin(usualLoad)
	for _, how := range ways {
		n.cutCapturing(how)
	}
	for _, how := range ways {
		n.cutDelivering(how)
	}
	n.cutServer()
	n.splitServer()
	n.cutAll(admin)
	n.finish(l)
}

// freeAddress is one of loopback that nobody listens at.
func freeAddress(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	capturetest.Must(tb, err)
	defer listener.Close()
	return listener.Addr().String()
}

// cutCapturing cuts the machine that captures off all servers, until another one captures.
func (n *wiring) cutCapturing(how way) {
	n.tb.Helper()
	v := n.awaitView(n.another().name, "the machines have shared out what there is", n.spread(3))
	victim := v.Captures
	n.fault("network of the capturing machine failed", "times the network of the capturing machine failed")
	n.during(how, n.machines[victim], func() {
		n.takeOver("capture, "+how.name, n.mark())
		now := n.awaitView(n.another(victim).name, "another machine captures", func(v *clusterView) bool { return v.Captures != victim && n.whole(v) })
		if now.Epoch <= v.Epoch {
			n.tb.Errorf("epoch %d of the capture after %d", now.Epoch, v.Epoch)
		}
	})
	n.awaitView(victim, "the machine is back", n.spread(3))
}

// cutDelivering cuts a machine that delivers and does not capture off all servers.
func (n *wiring) cutDelivering(how way) {
	n.tb.Helper()
	v := n.awaitView(n.another().name, "the machines have shared out what there is", n.spread(3))
	victim := n.another(v.Captures)
	owned := v.owned(victim.name)
	n.fault("network of a delivering machine failed", "times the network of a delivering machine failed")
	n.during(how, n.machines[victim.name], func() {
		n.takeOver("delivery, "+how.name, n.mark(owned...))
		now := n.awaitView(v.Captures, "others deliver", func(now *clusterView) bool { return len(now.owned(victim.name)) == 0 && n.whole(now) })
		for _, p := range v.Profiles {
			for _, q := range now.Profiles {
				if p.Profile == q.Profile && p.Machine == victim.name && q.Epoch <= p.Epoch {
					n.tb.Errorf("%s: epoch %d after %d", q.Profile, q.Epoch, p.Epoch)
				}
			}
		}
	})
	n.awaitView(victim.name, "the machine is back", n.spread(3))
}

// cutServer cuts the server that leads the stream off all others and all machines.
func (n *wiring) cutServer() {
	n.tb.Helper()
	leader, err := n.nats.Leader(n.tb.Context(), stream)
	capturetest.Must(n.tb, err)
	machines, servers := n.around(leader)
	n.fault("network of the stream's leader failed", "times the network of the stream's leader failed")
	n.during(unheard, append(machines, servers...), func() {
		n.takeOver("stream, leader silent", n.mark())
	})
	n.awaitView(n.another().name, "the machines have shared out what there is", n.spread(3))
	capturetest.Must(n.tb, n.nats.Current(n.tb.Context(), stream))
}

// splitServer cuts a server off the others alone: the machines that are connected to it find another
// one.
func (n *wiring) splitServer() {
	n.tb.Helper()
	v := n.awaitView(n.another().name, "the machines have shared out what there is", n.spread(3))
	server := n.server(v.Captures)
	_, servers := n.around(server)
	n.fault("server split off the others", "servers split off the others")
	n.during(unheard, servers, func() {
		n.takeOver("server split off", n.mark())
		for name := range n.clustered.machines {
			n.awaitView(name, "each machine has its part", n.spread(3))
		}
		n.mark()
	})
	capturetest.Must(n.tb, n.nats.Current(n.tb.Context(), stream))
}

// cutAll cuts all machines off all servers.
func (n *wiring) cutAll(admin string) {
	n.tb.Helper()
	n.awaitView(n.another().name, "the machines have shared out what there is", n.spread(3))
	var all []*proxy
	for _, ways := range n.machines {
		all = append(all, ways...)
	}
	n.fault("network of all machines failed", "times the network of all machines failed")
	key := n.keys.Add(1)
	n.during(unheard, all, func() {
		for _, m := range n.clustered.machines {
			eventually(n.tb, patience, m.name+" is not ready without quorum", func() bool {
				r := m.rowhook("status", "--ready")
				return r.code == 1 && strings.Contains(r.stderr, "quorum")
			})
			if r := m.rowhook("status"); !strings.Contains(r.stdout, "no quorum") {
				n.tb.Errorf("status on %s does not tell that there is no quorum: %s", m.name, r.stdout)
			}
		}
		if page := get(n.tb, admin, "/metrics"); !strings.Contains(page, "\nrowhook_cluster_quorum 0\n") {
			n.tb.Errorf("the metrics do not tell that there is no quorum")
		}
		n.insert(key)
		point := n.now()
		sent := n.hook.requests.Load()
		elapse(n.tb, 2*clusterLease, "nothing is sent without quorum", func() bool { return n.hook.requests.Load() == sent })
		if n.database == "postgres" {
			if n.settled(point) {
				n.tb.Errorf("the database was told that %s is done, which no server has", point)
			}
			if behind, err := n.world.server.behind(context.Background()); err != nil || behind <= 0 {
				n.tb.Errorf("the database keeps %d bytes of its log: %v", behind, err)
			}
		}
	})
	eventually(n.tb, 2*patience, "what was committed without quorum is delivered", func() bool {
		for _, code := range clusterProfiles {
			if !n.hook.accepts(code, key) {
				return false
			}
		}
		return true
	})

	for _, m := range n.clustered.machines {
		eventually(n.tb, patience, m.name+" is ready again", func() bool { return m.rowhook("status", "--ready").code == 0 })
	}
	if page := get(n.tb, admin, "/metrics"); !strings.Contains(page, "\nrowhook_cluster_quorum 1\n") {
		n.tb.Errorf("the metrics do not tell that there is a quorum again")
	}
}

// get reads a page of an agent's own.
func get(tb testing.TB, address, path string) string {
	tb.Helper()
	resp, err := http.Get(fmt.Sprintf("http://%s%s", address, path))
	capturetest.Must(tb, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	capturetest.Must(tb, err)
	return string(body)
}
