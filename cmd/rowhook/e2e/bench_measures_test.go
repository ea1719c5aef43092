package e2e_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"rowhook/capture/capturetest"
)

// measure gives one section of the table. It reads a backlog of so many rows; with none, what it
// writes itself.
type measure struct {
	name, title          string
	rows, perTransaction int
	run                  func(m *meter)
}

// measures are all, in the order in which the backlogs only grow.
func measures(quick bool) []measure {
	// What takes seconds is measured in several rounds, what takes a minute once: all three
	// databases in half an hour.
	const few, short = 50_000, 100_000
	middle, many, long := 300_000, 500_000, 1_000_000
	if quick {
		middle, many, long = short, short, short
	}
	floors := min(long, 300_000)
	catch := func(kind string) string {
		return fmt.Sprintf("Catching up with %s rows in %s transactions (floor: the first %s)", grouped(float64(long), 0), kind, grouped(float64(floors), 0))
	}
	return []measure{
		{"record-1", "One request a row, 1-row transactions", short, 1, record(short)},
		{"peer-1", "One request a row, 1-row transactions; floor: " + peerTitle, short, 1, beside(short)},
		{"batch-1", "100 rows a request (batch), 1-row transactions", short, 1, batch(short, "batch")},
		{"capture-1", "Into the spool, receiver dead, 1-row transactions", middle, 1, captureOnly(middle)},
		{"catchup-1", catch("1-row"), long, 1, catchUp(long, floors)},
		{"match-100", "Every row matches a rule", few, 100, match(100, few)},
		{"transaction", "100 rows a request (transaction)", short, 100, batch(short, "transaction")},
		{"match-10", "10 % of the rows match a rule", middle, 100, match(10, middle)},
		{"match-1", "1 % of the rows match a rule", many, 100, match(1, many)},
		{"cluster-capture", "Into the spools of three machines, receiver dead, 100-row transactions; floor: an agent alone", middle, 100, machinesCapture(3, middle)},
		{"match-0", "No row matches a rule", many, 100, match(0, many)},
		{"profiles-100", "100 profiles that take every row", few / 100, 500, profiles(100, few/100, false)},
		{"profiles-10", "10 profiles that take every row", few / 10, 500, profiles(10, few/10, false)},
		{"profiles-100ths", "100 profiles that take a hundredth each", few, 500, profiles(100, few, true)},
		{"record-1000", "One request a row, 1,000-row transactions", short, 1000, record(short)},
		{"peer-1000", "One request a row, 1,000-row transactions; floor: " + peerTitle, short, 1000, beside(short)},
		{"batch-1000", "100 rows a request (batch), 1,000-row transactions", short, 1000, batch(short, "batch")},
		{"capture-1000", "Into the spool, receiver dead, 1,000-row transactions", many, 1000, captureOnly(many)},
		{"catchup-1000", catch("1,000-row"), long, 1000, catchUp(long, floors)},
		{"latency-200", "Commit to receiver, 200 rows/s", 0, 0, latency(200)},
		{"latency-2000", "Commit to receiver, 2,000 rows/s", 0, 0, latency(2000)},
		{"isolation", "20 healthy profiles beside 4 bad ones; floor: without them", 0, 0, isolation},
		{"profiles-1000", "1,000 profiles, 10 of them busy; floor: those 10 alone", 0, 0, crowd(few / 10)},
		{"lookups", "Three look-ups among a million rows; floor: without them", 0, 0, lookups(short)},
		{"lookups-latency", "Commit to receiver with three look-ups, 200 rows/s; floor: without them", 0, 0, lookupDelays(200)},
		{"memory", "Updates with memory and default identity; floor: with REPLICA IDENTITY FULL", 0, 0, remembering(short)},
		{"cluster-1", "One machine of a cluster, four profiles that take every row; floor: an agent alone", 0, 0, machines(1, few/2)},
		{"cluster-2", "Two machines of a cluster, four profiles that take every row; floor: an agent alone", 0, 0, machines(2, few/2)},
		{"cluster-3", "Three machines of a cluster, four profiles that take every row; floor: an agent alone", 0, 0, machines(3, few/2)},
		{"idle", "At rest", 0, 0, idle},
		{"peer-200", "Commit to receiver, 200 rows/s; floor: " + peerTitle, 0, 0, besideLive},
	}
}

// The figures that several measures have.
var (
	cpuFigure    = figure{what: "CPU s per 100,000", decimals: 2, target: mostOfFloor(0.75)}
	memoryFigure = figure{what: "peak MiB", decimals: 0, target: most(48)}
	eventsFigure = figure{what: "events/s", decimals: 0, target: leastOfFloor(1.15)}
)

// record drains a backlog, one request a row.
func record(rows int) func(m *meter) {
	return func(m *meter) {
		m.contest(3, false, m.agentAndFloor(task{floor: floorTask{Percent: 100}}), []figure{eventsFigure, cpuFigure, memoryFigure}, func(c *contender) []float64 {
			stats := m.received(c, rows)
			return []float64{stats.rate(), c.cpuPer100000(rows), c.peak()}
		})
	}
}

// batch drains a backlog, 100 rows a request.
func batch(rows int, unit string) func(m *meter) {
	return func(m *meter) {
		t := task{floor: floorTask{Percent: 100, Batch: 100},
			profiles: m.profile("main", "/", "    concurrency: 16\n    unit: "+unit+"\n    batch: {max: 100}\n")}
		if unit != "batch" {
			t.profiles = m.profile("main", "/", "    concurrency: 16\n    unit: "+unit+"\n")
		}
		figures := []figure{{what: "events/s", target: leastOfFloor(0.9)}, {what: "CPU s per 100,000", decimals: 2, target: most(1.1)}, memoryFigure}
		m.contest(3, false, m.agentAndFloor(t), figures, func(c *contender) []float64 {
			m.stats("reset&groups=1")
			stats := m.received(c, rows)
			return []float64{stats.rate(), c.cpuPer100000(rows), c.peak()}
		})
	}
}

// catchUp drains a long backlog; the floor, whose pace does not change, its beginning. The time
// begins with the process.
func catchUp(rows, floors int) func(m *meter) {
	return func(m *meter) {
		var seconds samples
		figures := []figure{eventsFigure, cpuFigure, {what: "peak MiB", target: most(100)}}
		m.contest(1, false, m.agentAndFloor(task{floor: floorTask{Percent: 100}}), figures, func(c *contender) []float64 {
			n := rows
			if c.name == "floor" {
				n = floors
			}
			stats := m.received(c, n)
			took := time.Unix(0, stats.Last).Sub(c.begun).Seconds()
			if c.name == "agent" {
				seconds.sides[0] = []float64{took}
			}
			return []float64{float64(stats.Events) / took, c.cpuPer100000(n), c.peak()}
		})
		m.note(figure{what: "seconds", decimals: 1}, seconds)
	}
}

// captureOnly drains a backlog into the spool while the receiver is dead; the floor parses and
// throws away.
func captureOnly(rows int) func(m *meter) {
	return func(m *meter) {
		figures := []figure{{what: "rows/s", target: least(130_000)}, {what: "CPU s per 100,000", decimals: 2}, {what: "peak MiB", target: most(100)}}
		m.contest(3, false, m.agentAndFloor(task{profiles: m.profile("main", "", "")}), figures, func(c *contender) []float64 {
			rate := m.drains(c, rows)
			return []float64{rate, c.cpuPer100000(rows), c.peak()}
		})
	}
}

// drains waits until a contender has read the backlog, and returns at what rate it did once the
// server sent.
func (m *meter) drains(c *contender, rows int) float64 {
	m.tb.Helper()
	m.reads(c)
	begun := time.Now()
	m.reaches(c, m.backlog.end)
	return float64(rows) / time.Since(begun).Seconds()
}

// match drains a backlog of which a rule wants a share, which the floor sends as well.
func match(percent, rows int) func(m *meter) {
	return func(m *meter) {
		wanted := make([]string, percent)
		for i := range wanted {
			wanted[i] = fmt.Sprint(i)
		}
		if percent == 0 {
			wanted = []string{"100"} // which no row has
		}
		t := task{floor: floorTask{Percent: percent},
			mapping: "  proof.rows: {events: {picked: {op: insert, where: {seq: [" + strings.Join(wanted, ", ") + "]}}}}\n"}
		figures := []figure{{what: "rows/s"}, cpuFigure}
		switch percent {
		case 0:
			figures[0].target, figures[1].target = leastOfFloor(0.95), mostOfFloor(1.2)
		case 100:
			figures[0].target = leastOfFloor(1.15)
		}
		m.contest(3, false, m.agentAndFloor(t), figures, func(c *contender) []float64 {
			if percent == 0 {
				return []float64{m.drains(c, rows), c.cpuPer100000(rows)}
			}
			rate := m.received(c, rows*percent/100).rate() * 100 / float64(percent)
			return []float64{rate, c.cpuPer100000(rows)}
		})
	}
}

// profiles drains a backlog with many profiles. The floor sends as many requests.
func profiles(n, rows int, share bool) func(m *meter) {
	return func(m *meter) {
		var all strings.Builder
		for i := range n {
			lines := ""
			if share {
				lines = fmt.Sprintf("    subscriptions: [{where: {seq: %d}}]\n", i)
			}
			all.WriteString(m.profile(fmt.Sprint("p", i), fmt.Sprint("/p", i), lines))
		}
		requests := rows
		t := task{profiles: all.String(), floor: floorTask{Percent: 100}}
		if !share {
			t.floor.Copies = n
			requests = n * rows
		}
		figures := []figure{{what: "requests/s", target: leastOfFloor(0.95)}, {what: "CPU s per 100,000", decimals: 2, target: mostOfFloor(1.1)}, {what: "peak MiB", target: most(64)}}
		m.contest(3, false, m.agentAndFloor(t), figures, func(c *contender) []float64 {
			stats := m.received(c, requests)
			return []float64{stats.rate(), c.cpuPer100000(requests), c.peak()}
		})
	}
}

// crowd writes rows for ten profiles among a thousand, and for the ten alone. What the start costs
// does not count.
func crowd(rows int) func(m *meter) {
	return func(m *meter) {
		profiles := func(n int) string {
			var all strings.Builder
			for i := range n {
				lines := ""
				if i >= 10 {
					lines = fmt.Sprintf("    subscriptions: [{where: {seq: %d}}]\n", 100+i) // which no row has
				}
				all.WriteString(m.profile(fmt.Sprint("p", i), fmt.Sprint("/p", i), lines))
			}
			return all.String()
		}
		agentWith := func(n int) func(from string) *agent {
			return func(from string) *agent { return m.startAgent(from, task{profiles: profiles(n)}) }
		}
		figures := []figure{
			{what: "CPU s per 100,000", decimals: 2, target: mostOfFloor(1.1)},
			{what: "resident MiB", target: most(96)},
		}
		sides := []starter{{"agent with 1,000 profiles", agentWith(1000)}, {"agent with 10", agentWith(10)}}
		m.contest(3, true, sides, figures, func(c *contender) []float64 {
			m.reads(c)
			m.exec(`truncate proof.rows`)
			elapse(m.tb, time.Second, "", nil) // until it has settled
			resident, used := float64(c.memory("VmRSS"))/(1<<20), c.cpu()
			capturetest.Must(m.tb, m.source.fill(context.Background(), 0, rows/500, 500))
			m.received(c, rows*10)
			return []float64{(c.cpu() - used).Seconds() * 100_000 / float64(rows*10), resident}
		})
	}
}

// delaysFor is how long delays are measured.
const delaysFor = 4 * time.Second

// latency measures commit to receipt at a steady rate.
func latency(perSecond int) func(m *meter) {
	return func(m *meter) {
		figures := []figure{{what: "p50 ms", decimals: 2, target: mostOfFloor(1.1)}, {what: "p99 ms", decimals: 2, target: mostOfFloor(1.3)}}
		m.contest(3, true, m.agentAndFloor(task{live: true, floor: floorTask{Percent: 100}}), figures, func(c *contender) []float64 {
			return m.delays(c, perSecond, delaysFor)
		})
	}
}

// delays writes single rows at a steady rate and returns p50 and p99 of how long each took from
// commit to receipt, in milliseconds. The first half second warms up.
func (m *meter) delays(c *contender, perSecond int, length time.Duration) []float64 {
	m.tb.Helper()
	m.reads(c)
	conn := m.connect()
	m.exec(`truncate proof.rows`)
	m.stats("reset&delays=1")
	timer := time.NewTimer(0)
	defer timer.Stop()
	rows := int(length.Seconds() * float64(perSecond))
	begun := time.Now()
	for i := range rows {
		<-timer.C
		capturetest.Must(m.tb, conn.exec(context.Background(), fmt.Sprintf(`insert into proof.rows values (%d, %d, '%s')`, i, i%100, m.source.stamp())))
		timer.Reset(time.Until(begun.Add(time.Duration(i+1) * time.Second / time.Duration(perSecond))))
	}
	if took := time.Since(begun); took > length*11/10 {
		m.tb.Logf("%d rows/s, not %d, were written beside the %s", int(float64(rows)/took.Seconds()), perSecond, c.name)
	}
	m.received(c, rows)
	all := m.stats("reset").Delays
	if len(all) != rows {
		m.tb.Fatalf("%s: %d delays of %d rows", c.name, len(all), rows)
	}
	var delays []time.Duration
	for _, d := range all[perSecond/2:] {
		delays = append(delays, time.Duration(d))
	}
	return []float64{percentile(delays, 0.5).Seconds() * 1000, percentile(delays, 0.99).Seconds() * 1000}
}

// isolation measures healthy profiles with and without bad neighbours that get every twentieth
// event: one takes requests and never answers, one answers after half a minute, one a byte a
// second, one answers 503.
func isolation(m *meter) {
	var healthy, bad strings.Builder
	for i := range 20 {
		seqs := []string{}
		for seq := i; seq < 100; seq += 20 {
			seqs = append(seqs, fmt.Sprint(seq))
		}
		healthy.WriteString(m.profile(fmt.Sprint("healthy", i), fmt.Sprint("/p", i), "    subscriptions: [{where: {seq: ["+strings.Join(seqs, ", ")+"]}}]\n"))
	}
	for _, code := range []string{"hang", "slow", "drip", "broken"} {
		bad.WriteString(m.profile(code, "/"+code, "    timeout: 40s\n    subscriptions: [{where: {seq: [0, 20, 40, 60, 80]}}]\n"))
	}
	agentWith := func(profiles string) func(from string) *agent {
		return func(from string) *agent { return m.startAgent(from, task{profiles: profiles}) }
	}
	sides := []starter{{"agent beside bad profiles", agentWith(healthy.String() + bad.String())}, {"agent", agentWith(healthy.String())}}
	figures := []figure{{what: "p50 ms at 800/s", decimals: 2}, {what: "p99 ms at 800/s", decimals: 2, target: mostOfFloor(1.5)}}
	m.contest(5, true, sides, figures, func(c *contender) []float64 { return m.delays(c, 800, 3*time.Second) })
}

// idle measures the start, time at rest, and the binary.
func idle(m *meter) {
	long := 10 * time.Second
	if m.quick {
		long = 5 * time.Second
	}
	figures := []figure{
		{what: "start, seconds", decimals: 2, target: most(1)},
		{what: "CPU, % of a core", decimals: 2, target: most(0.5)},
		{what: "resident MiB", target: most(48)},
	}
	m.contest(1, true, m.agentAndFloor(task{floor: floorTask{Percent: 100}}), figures, func(c *contender) []float64 {
		m.reads(c)
		start := time.Since(c.begun).Seconds()
		elapse(m.tb, 2*time.Second, "", nil) // until it has settled
		used, from := c.cpu(), time.Now()
		elapse(m.tb, long, "", nil)
		return []float64{start, 100 * (c.cpu() - used).Seconds() / time.Since(from).Seconds(), float64(c.memory("VmRSS")) / (1 << 20)}
	})
	info, err := os.Stat(binary)
	capturetest.Must(m.tb, err)
	m.note(figure{what: "binary MiB", decimals: 1, target: most(45)}, samples{sides: [3][]float64{{float64(info.Size()) / (1 << 20)}}})
}
