package e2e_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
	"rowhook/cmd/rowhook/cluster/natstest"
)

// fleet are the machines of a benchmark's cluster. The first one captures.
type fleet struct {
	*clustered
	machines []*machineOf
}

// startFleet starts three servers and so many machines, the one that captures last and at a point of the
// log: when it begins, the others are there.
func (m *meter) startFleet(from string, n int, t task) *fleet {
	m.tb.Helper()
	nats, err := natstest.Start(context.Background(), natstest.Options{})
	capturetest.Must(m.tb, err)
	m.tb.Cleanup(func() { capturetest.Must(m.tb, nats.Close()) })
	f := &fleet{clustered: newClusterOn(m.world, nats, func(string) string { return nats.URL() })}
	for i := range n {
		one := f.add(fmt.Sprintf("n%d", i+1))
		one.conf.profiles, one.conf.mapping = t.profiles, t.mapping
		one.conf.top = strings.Replace(one.conf.top, "lease: "+clusterLease.String(), "lease: 5s", 1)
		if i > 0 {
			one.conf.top += "  roles: [deliver]\n"
		}
		f.machines = append(f.machines, one)
	}
	// MySQL and MariaDB know a reader's place from the status of the agent in the world's own directory.
	f.machines[0].dir = m.dir
	f.machines[0].forget()
	capturetest.Must(m.tb, os.RemoveAll(m.path("log")))
	source, args := m.source.agent(from)
	for i, one := range slices.Backward(f.machines) {
		one.conf.source = source
		if i > 0 {
			one.agent = one.start()
			f.awaitView(one.name, "the machine has joined", func(v *clusterView) bool { return v.live(one.name) })
		} else {
			one.agent = one.start(args...)
		}
	}
	return f
}

// end kills all: who is left would take over.
func (f *fleet) end() {
	for _, one := range f.machines {
		one.agent.kill()
	}
}

// used is the processor time of all machines, and of the servers.
func (f *fleet) used(tb testing.TB) (machines, servers time.Duration) {
	tb.Helper()
	for _, one := range f.machines {
		machines += one.agent.cpu()
	}
	for _, pid := range f.nats.PIDs() {
		servers += processorTime(tb, pid)
	}
	return machines, servers
}

// machines writes rows for four profiles, which so many machines share out, and for an agent alone. A
// million events a minute need as many cores as the last figure says: those of the machines, to which
// the servers' come.
func machines(n, rows int) func(m *meter) {
	return func(m *meter) {
		m.conf.top = ""
		var all strings.Builder
		for _, code := range clusterProfiles {
			all.WriteString(m.profile(code, "/"+code, "    concurrency: 16\n"))
		}
		t := task{profiles: all.String()}
		var f *fleet
		sides := []starter{
			{"machines", func(from string) *agent {
				f = m.startFleet(from, n, t)
				return f.machines[0].agent
			}},
			{"agent", func(from string) *agent { return m.startAgent(from, t) }},
		}
		figures := []figure{
			{what: "events/s"},
			{what: "CPU s per 100,000", decimals: 2},
			{what: "and of the servers", decimals: 2},
			{what: "cores, 1,000,000/min", decimals: 1},
		}
		m.contest(3, true, sides, figures, func(c *contender) []float64 {
			used := func() (machines, servers time.Duration) { return c.cpu(), 0 }
			m.reads(c)
			if c.name == "machines" {
				defer f.end()
				f.awaitView("n1", "the machines have shared out what there is", f.spread(n))
				used = func() (machines, servers time.Duration) { return f.used(m.tb) }
			}
			m.exec(`truncate proof.rows`)
			elapse(m.tb, time.Second, "", nil) // until they have settled
			m.stats("reset")
			machines, servers := used()
			capturetest.Must(m.tb, m.source.fill(context.Background(), 0, rows/100, 100))
			events := rows * len(clusterProfiles)
			stats := m.received(c, events)
			nowMachines, nowServers := used()
			per := func(d time.Duration) float64 { return d.Seconds() * 100_000 / float64(events) }
			cost := per(nowMachines - machines)
			return []float64{stats.rate(), cost, per(nowServers - servers), cost * 10 / 60}
		})
	}
}

// machinesCapture drains a backlog into the spools of so many machines, while the receiver is dead:
// what one stream takes is bound to one machine that captures.
func machinesCapture(n, rows int) func(m *meter) {
	return func(m *meter) {
		m.conf.top = ""
		t := task{profiles: m.profile("main", "", "")}
		var f *fleet
		sides := []starter{
			{"machines", func(from string) *agent {
				f = m.startFleet(from, n, t)
				return f.machines[0].agent
			}},
			{"agent", func(from string) *agent { return m.startAgent(from, t) }},
		}
		figures := []figure{{what: "rows/s", target: least(1_000_000 / 60)}, {what: "CPU s per 100,000", decimals: 2}, {what: "and of the servers", decimals: 2}}
		m.contest(3, false, sides, figures, func(c *contender) []float64 {
			if c.name == "machines" {
				defer f.end()
			}
			rate := m.drains(c, rows)
			if c.name != "machines" {
				return []float64{rate, c.cpuPer100000(rows), 0}
			}
			machines, servers := f.used(m.tb)
			per := func(d time.Duration) float64 { return d.Seconds() * 100_000 / float64(rows) }
			return []float64{rate, per(machines), per(servers)}
		})
	}
}
