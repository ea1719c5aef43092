package e2e_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// scenario is one row of the faults table: what was done on one database, and what the oracle
// counted. Tests of the same name on the same database share a row, and so do the rounds of a long
// run.
type scenario struct {
	name, database string
	took           time.Duration
	failed         bool
	deeds          []deed
	figures        []peak
	verdicts       map[string]verdict // by receiver and profile, the last one each
}

// deed is what was done and how often.
type deed struct {
	n         int
	one, many string
}

// peak is the worst that was measured of something.
type peak struct {
	what string
	n    int64
	unit string
}

// scenario makes the world's test a part of a row, which is counted when the test ends. The name
// is one of [scenarios].
func (w *world) scenario(name string) *scenario {
	w.tb.Helper()
	known := slices.IndexFunc(scenarios, func(p planned) bool { return p.name == name })
	if known < 0 {
		w.tb.Fatalf("%q is not in the list of scenarios", name)
	}
	if why := scenarios[known].without[w.database]; why != "" {
		w.tb.Fatalf("%s: the list says that there is none on %s: %s", name, w.database, why)
	}
	s := &scenario{name: name, database: w.database, verdicts: map[string]verdict{}}
	w.row = s
	began := time.Now()
	w.tb.Cleanup(func() {
		s.took, s.failed = time.Since(began), w.tb.Failed()
		faults.add(s)
	})
	return s
}

// did tells what was done, and how often: did(60, "kill", "kills"). Equal ones add up.
func (s *scenario) did(n int, one, many string) {
	if i := slices.IndexFunc(s.deeds, func(d deed) bool { return d.one == one }); i >= 0 {
		s.deeds[i].n += n
		return
	}
	s.deeds = append(s.deeds, deed{n, one, many})
}

// most tells a figure of which the worst counts: most("peak", 61, "MiB").
func (s *scenario) most(what string, n int64, unit string) {
	if i := slices.IndexFunc(s.figures, func(p peak) bool { return p.what == what }); i >= 0 {
		s.figures[i].n = max(s.figures[i].n, n)
		return
	}
	s.figures = append(s.figures, peak{what, n, unit})
}

// counted keeps what the oracle found for one profile; what it finds later replaces it.
func (s *scenario) counted(profile string, v verdict) {
	if s != nil {
		s.verdicts[profile] = v
	}
}

// total adds up the verdicts.
func (s *scenario) total() verdict {
	var sum verdict
	for _, v := range s.verdicts {
		sum.add(v)
	}
	return sum
}

// merge adds what another test counted for the same row.
func (s *scenario) merge(other *scenario) {
	s.took += other.took
	s.failed = s.failed || other.failed
	for _, d := range other.deeds {
		s.did(d.n, d.one, d.many)
	}
	for _, p := range other.figures {
		s.most(p.what, p.n, p.unit)
	}
	s.verdicts = map[string]verdict{"": sumOf(s.total(), other.total())}
}

// columns head the table.
var columns = []string{"scenario", "database", "done", "committed", "delivered", "requests", "repeated", "lost", "out of order", "rolled back", "measured", "seconds", "verdict"}

// cells are the row as text. What was not counted stays empty.
func (s *scenario) cells() []string {
	var deeds, figures []string
	for _, d := range s.deeds {
		deeds = append(deeds, strconv.Itoa(d.n)+" "+map[bool]string{true: d.one, false: d.many}[d.n == 1])
	}
	for _, p := range s.figures {
		figures = append(figures, strings.TrimSpace(fmt.Sprintf("%s %d %s", p.what, p.n, p.unit)))
	}
	v := s.total()
	counts := make([]string, 7)
	for i, n := range []int{v.events, v.delivered, v.requests, v.repeated, v.lost, v.disordered, v.phantoms} {
		if v.events > 0 {
			counts[i] = strconv.Itoa(n)
		}
	}
	verdict := "held"
	if s.failed {
		verdict = "FAILED"
	}
	row := append([]string{s.name, s.database, strings.Join(deeds, "; ")}, counts...)
	return append(row, strings.Join(figures, ", "), strconv.Itoa(int(s.took.Seconds()+0.5)), verdict)
}

// collector gathers the rows of a run. It is safe for concurrent use.
type collector struct {
	mu   sync.Mutex
	rows map[string]*scenario
}

// faults are the rows of this run; [runTests] prints them.
var faults = &collector{rows: map[string]*scenario{}}

func (c *collector) add(s *scenario) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := s.name + " " + s.database
	if row, ok := c.rows[key]; ok {
		row.merge(s)
	} else {
		c.rows[key] = s
	}
}

// table has the cells of every row of the list: those of this run, else what an earlier one wrote,
// else why there is none. Rows of which nothing is known are missing.
func (c *collector) table(earlier map[string][]string) (rows [][]string, missing []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range scenarios {
		for _, database := range databases {
			key := p.name + " " + database
			why := p.without[database]
			switch row, ran := c.rows[key]; {
			case ran:
				rows = append(rows, row.cells())
			case why != "":
				cells := make([]string, len(columns))
				cells[0], cells[1], cells[2], cells[len(cells)-1] = p.name, database, why, "none"
				rows = append(rows, cells)
			case earlier[key] != nil:
				rows = append(rows, earlier[key])
			default:
				missing = append(missing, key)
			}
		}
	}
	return rows, missing
}

// drop takes rows out.
func (c *collector) drop(which func(*scenario) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.rows, func(_ string, s *scenario) bool { return which(s) })
}

// print writes the table of this run, aligned.
func (c *collector) print() {
	rows, _ := c.table(nil)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\n%s\n", strings.Join(columns, "\t"))
	for _, cells := range rows {
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	_ = w.Flush() // what cannot be printed is nowhere to be told
}

// faultsVariable has a run with small counts print its table too.
const faultsVariable = "ROWHOOK_FAULTS"

// ofItsOwnTarget reports whether a missing row is of a scenario that a whole run leaves to another target.
func ofItsOwnTarget(key string) bool {
	name, _, _ := strings.Cut(key, " ")
	return slices.ContainsFunc(scenarios, func(p planned) bool { return p.apart && p.name == name })
}

// close ends a run: it prints the table, brings the page up to date when asked to, with what held,
// and reports rows that are missing from a run that was to have them all.
func (c *collector) close(code int) int {
	if len(c.rows) == 0 {
		return code
	}
	if os.Getenv(faultsVariable) != "" || soak() || testing.Verbose() {
		c.print()
	}
	_, missing := c.table(nil)
	if os.Getenv(clusterVariable) == "" {
		missing = slices.DeleteFunc(missing, ofItsOwnTarget)
	}
	if code == 0 && len(missing) > 0 && wholeRun() {
		fmt.Printf("scenarios without a row: %s\n", strings.Join(missing, ", "))
		code = 1
	}
	if page := os.Getenv(proofVariable); page != "" && soak() {
		c.drop(func(s *scenario) bool { return s.failed })
		if err := c.publish(page); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return code
}

// wholeRun says that no flag leaves tests out.
func wholeRun() bool {
	return !slices.ContainsFunc([]string{"test.run", "test.skip", "test.list", "test.fuzz"}, func(name string) bool {
		f := flag.Lookup(name)
		return f != nil && cmp.Or(f.Value.String(), "") != ""
	})
}
