package e2e_test

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
	"time"

	"rowhook/capture/capturetest"
)

// BenchmarkEndToEnd measures database to agent to receiver, each a process of its own, beside the
// floor in the same run, and prints one table for all databases. Absolute figures hold on one
// machine only; ratios travel. A database, and a measure of it, is a sub-benchmark, so that -bench
// chooses them. With ROWHOOK_BENCH_QUICK each is shorter; [proofVariable] names a page that the
// table is written into.
func BenchmarkEndToEnd(b *testing.B) {
	quick := os.Getenv("ROWHOOK_BENCH_QUICK") != ""
	table := &benchTable{}
	when := occasion() // before the page is changed
	for _, name := range databases {
		b.Run(name, func(b *testing.B) {
			w := newWorldOf(b, name, benchSettings[name])
			w.conf.spool = "{max_size: 20GiB}"
			w.conf.log = "  deliveries: ./log/deliveries.jsonl\n  max_size: 4GiB\n"
			m := &meter{world: w, quick: quick, source: newBenchSource(b, w), target: startReceiver(b)}
			m.database = table.database(m.source.title())
			for i, measure := range measures(quick) {
				m.place = i
				b.Run(measure.name, func(b *testing.B) {
					m.measure(b, measure)
					b.ReportMetric(0, "ns/op") // means nothing here
				})
			}
		})
		// After each, so that what breaks off a long run does not lose the databases before.
		if page := os.Getenv(proofVariable); page != "" && len(table.rows) > 0 {
			capturetest.Must(b, writeProof(page, speedSection, "Run on "+when+".\n\n"+table.markdown()))
		}
	}
	if len(table.rows) == 0 {
		b.Fatal("nothing was measured")
	}
	fmt.Print("\n", table.text(), "\n", when, "\n")
}

// meter measures one database.
type meter struct {
	*world
	quick    bool
	source   benchSource
	target   string // the receiver's base URL
	database *benchDatabase
	place    int // of the measure at hand, and its title
	title    string
	backlog  backlog
	marks    int
}

// backlog is what was written from a mark on for several measures to read.
type backlog struct {
	mark                 string
	rows, perTransaction int
	end                  float64 // of the log
}

func (m *meter) measure(b *testing.B, what measure) {
	m.tb, m.title = b, what.title
	if what.rows > 0 {
		m.have(what.rows, what.perTransaction)
	}
	what.run(m)
}

// have makes the backlog one of so many rows: what is missing is written, and with too many a new
// one begins.
func (m *meter) have(rows, perTransaction int) {
	m.tb.Helper()
	ctx := context.Background()
	now := m.backlog
	m.backlog = backlog{} // if that fails, the next one begins anew
	if now.mark == "" || now.perTransaction != perTransaction || now.rows > rows {
		if now.mark != "" {
			capturetest.Must(m.tb, m.source.release(ctx, now.mark))
		}
		m.exec(`truncate proof.rows`)
		now = backlog{mark: m.mark(""), perTransaction: perTransaction}
	}
	if now.rows < rows {
		capturetest.Must(m.tb, m.source.fill(ctx, now.rows/perTransaction, rows/perTransaction, perTransaction))
		now.rows, now.end = rows, m.logEnd()
	}
	m.backlog = now
}

// mark makes a point of the log, the end or what another one is.
func (m *meter) mark(of string) string {
	m.tb.Helper()
	m.marks++
	from, err := m.source.mark(context.Background(), fmt.Sprintf("mark%d", m.marks), of)
	capturetest.Must(m.tb, err)
	return from
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

// task is what the changes are for, the same for agent and floor.
type task struct {
	live     bool   // it reads what is written meanwhile and not the backlog
	mapping  string // of the agent; the usual one when empty
	profiles string // of the agent; one when empty
	floor    floorTask
}

// contender is the agent or the floor while it runs.
type contender struct {
	*agent
	name  string
	from  string
	begun time.Time
}

// starter starts a contender at a point of the log.
type starter struct {
	name  string
	start func(from string) *agent
}

// agentAndFloor are those who do a task: the agent, the floor, and where the environment names one,
// the agent of an earlier build.
func (m *meter) agentAndFloor(t task) []starter {
	sides := []starter{
		{"agent", func(from string) *agent { return m.startAgent(from, t) }},
		{"floor", func(from string) *agent { return m.startFloor(from, t) }},
	}
	if earlier := os.Getenv(earlierVariable); earlier != "" {
		sides = append(sides, starter{"earlier agent", func(from string) *agent {
			m.program = earlier
			defer func() { m.program = "" }()
			return m.startAgent(from, t)
		}})
	}
	return sides
}

// earlierVariable names the program of an earlier build.
const earlierVariable = "ROWHOOK_BENCH_EARLIER"

// contest lets two or three do the same in turns, from the same point, and notes what each round
// says of them: a value for each figure. The one that begins changes from round to round.
func (m *meter) contest(rounds int, live bool, sides []starter, figures []figure, round func(c *contender) []float64) {
	m.tb.Helper()
	if m.quick {
		rounds = 1
	}
	samples := make([]samples, len(figures))
	for n := range rounds {
		for turn := range sides {
			side := (n + turn + 1) % len(sides) // the second begins
			of := m.backlog.mark
			if live {
				of = ""
			}
			for i, value := range m.turn(of, sides[side], round) {
				samples[i].sides[side] = append(samples[i].sides[side], value)
			}
		}
	}
	for i, f := range figures {
		m.note(f, samples[i])
	}
}

// turn is one contender's part of a round.
func (m *meter) turn(of string, side starter, round func(c *contender) []float64) []float64 {
	m.tb.Helper()
	from := m.mark(of)
	m.stats("reset")
	c := &contender{name: side.name, from: from, begun: time.Now()}
	c.agent = side.start(from)
	defer m.end(c)
	return round(c)
}

// note puts a figure into the table, and among the benchmark's own.
func (m *meter) note(f figure, s samples) {
	m.database.add(m.place, m.title, f, s)
	unit := strings.ReplaceAll(f.what, " ", "_")
	b := m.tb.(*testing.B)
	b.ReportMetric(s.value(0), unit)
	if len(s.sides[1]) > 0 {
		b.ReportMetric(s.ratio(), unit+":ratio")
	}
}

func (m *meter) startFloor(from string, t task) *agent {
	m.tb.Helper()
	what := t.floor
	what.Kind, what.URL, what.From = m.source.kind(), m.source.url(m.source.address()), from
	if what.Percent > 0 {
		what.Target = m.target
	}
	text, err := json.Marshal(what)
	capturetest.Must(m.tb, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=floor", "ROWHOOK_TEST_TASK="+string(text))
	return launch(m.tb, cmd)
}

func (m *meter) startAgent(from string, t task) *agent {
	m.tb.Helper()
	m.forget()
	capturetest.Must(m.tb, os.RemoveAll(m.path("log")))
	var args []string
	m.conf.source, args = m.source.agent(from)
	m.conf.mapping, m.conf.profiles = t.mapping, t.profiles
	if t.profiles == "" {
		m.conf.profiles = m.profile("main", "/", "    concurrency: 16\n")
	}
	return m.start(args...)
}

// profile is one of the agent's. What has no path has no receiver.
func (m *meter) profile(code, path, lines string) string {
	url := m.target + path
	if path == "" {
		url = "http://127.0.0.1:9/" // nobody listens on the discard port
	}
	return fmt.Sprintf("  %s:\n    url: %s\n    secret: %s\n    allow_networks: [loopback]\n%s", code, url, secret, lines)
}

// end stops a contender and gives its point back.
func (m *meter) end(c *contender) {
	m.tb.Helper()
	c.kill()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	capturetest.Must(m.tb, m.source.release(ctx, c.from))
}

// received waits until the receiver has so many events, or requests with one event.
func (m *meter) received(c *contender, events int) receiverStats {
	m.tb.Helper()
	var stats receiverStats
	m.until(c, fmt.Sprintf("%d events", events), func() bool {
		stats = m.stats("")
		return stats.Events >= int64(events)
	})
	return stats
}

// until waits for a contender to have done something. It looks only now and then, since asking
// costs a little.
func (m *meter) until(c *contender, what string, ok func() bool) {
	m.tb.Helper()
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	eventually(m.tb, 10*time.Minute, c.name+": "+what, func() bool {
		<-pace.C
		if !c.running() {
			m.tb.Fatalf("the %s ended with exit code %d", c.name, c.code)
		}
		return ok()
	})
}

// logEnd is where the log ends, as a number that grows evenly.
func (m *meter) logEnd() float64 {
	m.tb.Helper()
	at, err := m.source.at(context.Background(), "", nil)
	capturetest.Must(m.tb, err)
	return at
}

// reaches waits until a contender has come to a place of the log, or beyond.
func (m *meter) reaches(c *contender, place float64) {
	m.tb.Helper()
	m.until(c, fmt.Sprintf("comes to %.0f", place), func() bool {
		at, err := m.source.at(context.Background(), c.from, c.agent)
		capturetest.Must(m.tb, err)
		return at >= place
	})
}

// reads waits until a contender reads.
func (m *meter) reads(c *contender) {
	m.tb.Helper()
	eventually(m.tb, patience, c.name+" streams", func() bool {
		reads, err := m.source.reads(context.Background(), c.from, c.agent)
		capturetest.Must(m.tb, err)
		return reads
	})
}

// cpuPer100000 is the processor time a contender has used, for so many of what it did.
func (c *contender) cpuPer100000(n int) float64 { return c.cpu().Seconds() * 100_000 / float64(n) }

// peak is the most memory that a contender has had, in MiB.
func (c *contender) peak() float64 { return float64(c.memory("VmHWM")) / (1 << 20) }
