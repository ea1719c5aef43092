package main_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"rowhook/capture/capturetest"
)

// BenchmarkEndToEnd measures each kind of database to agent to receiver, each a process of its own,
// beside the floor in the same run, and prints one table for each. Absolute figures hold on
// one machine only; ratios travel.
func BenchmarkEndToEnd(b *testing.B) {
	for _, name := range databases {
		b.Run(name, func(b *testing.B) {
			w := newWorldOf(b, name, benchSettings[name])
			m := &meter{world: w, source: newBenchSource(b, w), target: startReceiver(b)}
			w.conf.spool = "{max_size: 20GiB}"
			w.conf.log = "  deliveries: ./log/deliveries.jsonl\n  max_size: 4GiB\n"
			for range b.N { // one round takes minutes, so there is only one
				m.throughput("1 row a transaction", 1)
				m.throughput("1,000 rows a transaction", 1000)
				m.latency(200)
				m.latency(2000)
				m.neighbour()
				m.capture("1 row a transaction", 1)
				m.capture("1,000 rows a transaction", 1000)
				m.unwanted()
				m.idle()
			}
			m.print(name)
		})
	}
}

// meter collects figures and prints them.
type meter struct {
	*world
	source benchSource
	target string
	marks  int
	rows   []figure
}

// figure is one line of the table. Empty texts stay empty.
type figure struct{ what, agent, floor, ratio, target string }

func (m *meter) add(what, format string, agent, floor float64, target string) {
	f := figure{what: what, agent: fmt.Sprintf(format, agent), target: target}
	if floor > 0 {
		f.floor, f.ratio = fmt.Sprintf(format, floor), fmt.Sprintf("%.2f", agent/floor)
	}
	m.rows = append(m.rows, f)
}

func (m *meter) print(name string) {
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintf(table, "\n%s\tagent\tfloor\tratio\ttarget\n", name)
	for _, f := range m.rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", f.what, f.agent, f.floor, f.ratio, f.target)
	}
	_ = table.Flush() // to standard output
}

// startReceiver starts a receiver process and returns its base URL.
func startReceiver(tb testing.TB) string {
	tb.Helper()
	read, write, err := os.Pipe()
	capturetest.Must(tb, err)
	defer read.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=receiver")
	cmd.Stdout = write
	launch(tb, cmd)
	_ = write.Close() // the child has its own
	address, err := bufio.NewReader(read).ReadString('\n')
	capturetest.Must(tb, err)
	return "http://" + strings.TrimSpace(address)
}

// stats asks the receiver.
func (m *meter) stats(query string) receiverStats {
	m.tb.Helper()
	resp, err := http.Get(m.target + "/?" + query)
	capturetest.Must(m.tb, err)
	defer resp.Body.Close()
	var stats receiverStats
	capturetest.Must(m.tb, json.NewDecoder(resp.Body).Decode(&stats))
	return stats
}

// received waits until the receiver has n requests.
func (m *meter) received(n int) receiverStats {
	m.tb.Helper()
	var stats receiverStats
	eventually(m.tb, 10*time.Minute, fmt.Sprintf("%d requests", n), func() bool {
		stats = m.stats("")
		return stats.Count >= int64(n)
	})
	return stats
}

// contender is the agent or the floor, ready to be started at a point of the log of its own.
type contender struct {
	name  string
	from  string
	at    float64 // how long the log was
	start func() *agent
}

// contenders marks points for agent and floor before rows are written, so that both read the same.
func (m *meter) contenders(target string) []contender {
	return []contender{m.contender("floor", target, ""), m.contender("agent", target, "")}
}

// contender makes one that begins here. Further profiles are the agent's.
func (m *meter) contender(name, target, profiles string) contender {
	m.tb.Helper()
	m.marks++
	from, err := m.source.mark(context.Background(), fmt.Sprintf("%s%d", name, m.marks))
	capturetest.Must(m.tb, err)
	c := contender{name: name, from: from, at: m.logEnd()}
	c.start = func() *agent { return m.startFloor(from, target) }
	if name == "agent" {
		c.start = func() *agent { return m.startAgent(from, target, profiles) }
	}
	return c
}

func (m *meter) startFloor(from, target string) *agent {
	m.tb.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=floor", "ROWHOOK_TEST_KIND="+m.source.kind(), "ROWHOOK_TEST_URL="+m.source.url(m.source.address()),
		"ROWHOOK_TEST_FROM="+from, "ROWHOOK_TEST_TARGET="+target)
	return launch(m.tb, cmd)
}

func (m *meter) startAgent(from, target, profile string) *agent {
	m.tb.Helper()
	m.forget()
	capturetest.Must(m.tb, os.RemoveAll(m.path("log")))
	if target == "" {
		target = "http://127.0.0.1:9/" // nobody listens on the discard port
	}
	var args []string
	m.conf.source, args = m.source.agent(from)
	m.conf.profiles = fmt.Sprintf("  main:\n    url: %s\n    secret: %s\n    allow_networks: [loopback]\n    concurrency: 16\n%s", target, secret, profile)
	return m.start(args...)
}

// end stops a contender and gives its point back.
func (m *meter) end(c contender, a *agent) {
	m.tb.Helper()
	a.kill()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	capturetest.Must(m.tb, m.source.release(ctx, c.from))
}

// fill writes rows of about 200 bytes.
func (m *meter) fill(rows, perTransaction int) {
	m.tb.Helper()
	capturetest.Must(m.tb, m.source.fill(context.Background(), rows/perTransaction, perTransaction))
}

// logEnd is where the log ends, as a number that grows evenly.
func (m *meter) logEnd() float64 {
	m.tb.Helper()
	at, err := m.source.at(context.Background(), "", nil)
	capturetest.Must(m.tb, err)
	return at
}

// reaches waits until a contender has come to a place, or beyond, and returns where it is.
func (m *meter) reaches(c contender, a *agent, place float64) (at float64) {
	m.tb.Helper()
	// Asking costs the agent a little.
	pace := time.NewTicker(50 * time.Millisecond)
	defer pace.Stop()
	eventually(m.tb, 10*time.Minute, fmt.Sprintf("%s comes to %.0f", c.name, place), func() bool {
		<-pace.C
		if !a.running() {
			m.tb.Fatalf("the %s ended with exit code %d", c.name, a.code)
		}
		var err error
		at, err = m.source.at(context.Background(), c.from, a)
		capturetest.Must(m.tb, err)
		return at >= place
	})
	return at
}

// reads waits until a contender reads.
func (m *meter) reads(c contender, a *agent) {
	m.tb.Helper()
	eventually(m.tb, patience, c.name+" streams", func() bool {
		reads, err := m.source.reads(context.Background(), c.from, a)
		capturetest.Must(m.tb, err)
		return reads
	})
}

// throughput drains a backlog, one request a row.
func (m *meter) throughput(what string, perTransaction int) {
	const rows = 100_000
	contenders := m.contenders(m.target)
	m.fill(rows, perTransaction)
	rate, cpu, peak := map[string]float64{}, map[string]float64{}, map[string]float64{}
	for _, c := range contenders {
		m.stats("reset")
		a := c.start()
		stats := m.received(rows)
		rate[c.name] = rows / time.Duration(stats.Last-stats.First).Seconds()
		cpu[c.name] = a.cpu().Seconds() * 100_000 / rows
		peak[c.name] = float64(a.memory("VmHWM")) / (1 << 20)
		m.end(c, a)
	}
	m.add("events/s, "+what, "%.0f", rate["agent"], rate["floor"], "0.85 of the floor")
	m.add("CPU s per 100,000, "+what, "%.2f", cpu["agent"], cpu["floor"], "1.3 of the floor")
	m.add("peak MiB, "+what, "%.0f", peak["agent"], peak["floor"], "48 typical, 100 worst")
}

// latency measures commit to receipt at a steady rate.
func (m *meter) latency(perSecond int) {
	delays := map[string][]time.Duration{}
	for _, name := range []string{"floor", "agent"} {
		c := m.contender(name, m.target, "")
		a := c.start()
		delays[c.name] = m.delays(c, a, perSecond)
		m.end(c, a)
	}
	for _, p := range []struct {
		name   string
		at     float64
		target string
	}{{"p50", 0.5, "1.3 of the floor"}, {"p99", 0.99, "2 of the floor"}} {
		m.add(fmt.Sprintf("%s ms at %d/s", p.name, perSecond), "%.2f",
			percentile(delays["agent"], p.at).Seconds()*1000, percentile(delays["floor"], p.at).Seconds()*1000, p.target)
	}
}

// delays writes single rows at a steady rate for ten seconds and returns how long each took
// from commit to receipt. The first second warms up.
func (m *meter) delays(c contender, a *agent, perSecond int) []time.Duration {
	m.tb.Helper()
	m.reads(c, a)
	conn := m.connect()
	m.exec(`truncate proof.rows`)
	m.stats("reset&delays=1")
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	rows := 10 * perSecond
	for i := range rows {
		<-tick.C
		capturetest.Must(m.tb, conn.exec(m.tb.Context(), fmt.Sprintf(`insert into proof.rows values (%d, 1, '%s')`, i, m.source.stamp())))
	}
	m.received(rows)
	var delays []time.Duration
	for _, d := range m.stats("reset").Delays[rows/10:] {
		delays = append(delays, time.Duration(d))
	}
	return delays
}

// neighbour measures a healthy profile beside one that takes requests and never answers.
func (m *meter) neighbour() {
	hang := fmt.Sprintf("  hang:\n    url: %s/hang\n    secret: %s\n    allow_networks: [loopback]\n    concurrency: 16\n", m.target, secret)
	var p99 []float64
	for _, further := range []string{"", hang} {
		c := m.contender("agent", m.target, further)
		a := c.start()
		p99 = append(p99, percentile(m.delays(c, a, 200), 0.99).Seconds()*1000)
		m.end(c, a)
	}
	m.add("p99 ms beside a black hole, at 200/s", "%.2f", p99[1], p99[0], "1.5 of alone")
}

// capture drains a backlog into the spool while the receiver is dead; the floor parses
// and throws away.
func (m *meter) capture(what string, perTransaction int) {
	rows := 500_000
	if perTransaction == 1 {
		rows = 200_000 // MySQL takes a minute to write as many
	}
	contenders := m.contenders("")
	m.fill(rows, perTransaction)
	end := m.logEnd()
	rate := map[string]float64{}
	for _, c := range contenders {
		a := c.start()
		first := m.reaches(c, a, c.at+1)
		begun := time.Now()
		m.reaches(c, a, end)
		rate[c.name] = float64(rows) * (end - first) / (end - c.at) / time.Since(begun).Seconds()
		if c.name == "agent" {
			m.add("peak MiB, receiver dead, "+what, "%.0f", float64(a.memory("VmHWM"))/(1<<20), 0, "100")
		}
		m.end(c, a)
	}
	m.add("rows/s into the spool, "+what, "%.0f", rate["agent"], rate["floor"], "130,000")
}

// unwanted measures changes that no rule wants.
func (m *meter) unwanted() {
	const rows = 300_000
	contenders := m.contenders("")
	m.fill(rows, 100)
	end := m.logEnd()
	m.conf.mapping = "  proof.rows: {events: {never: {op: insert, where: {seq: 2}}}}\n"
	defer func() { m.conf.mapping = "" }()
	cpu := map[string]float64{}
	for _, c := range contenders {
		a := c.start()
		m.reaches(c, a, end)
		cpu[c.name] = a.cpu().Seconds() * 100_000 / rows
		m.end(c, a)
	}
	m.add("CPU s per 100,000 that no rule wants", "%.2f", cpu["agent"], cpu["floor"], "1.2 of the floor")
}

// idle measures start, idle time and the binary.
func (m *meter) idle() {
	c := m.contender("agent", m.target, "")
	begun := time.Now()
	a := c.start()
	m.reads(c, a)
	m.add("start to streaming, s", "%.2f", time.Since(begun).Seconds(), 0, "1")
	elapse(m.tb, 2*time.Second, "", nil)
	used := a.cpu()
	const long = 20 * time.Second
	elapse(m.tb, long, "", nil)
	m.add("idle CPU, % of a core", "%.2f", 100*(a.cpu()-used).Seconds()/long.Seconds(), 0, "0.5")
	m.add("idle MiB", "%.0f", float64(a.memory("VmRSS"))/(1<<20), 0, "48")
	info, err := os.Stat(binary)
	capturetest.Must(m.tb, err)
	m.add("binary MiB", "%.1f", float64(info.Size())/(1<<20), 0, "45")
	m.end(c, a)
}
