package e2e_test

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// benchTable is what the benchmark prints: a row for each figure, a column for each database.
type benchTable struct {
	databases []*benchDatabase
	rows      []*benchRow
}

// benchDatabase is a column that is being filled.
type benchDatabase struct {
	table *benchTable
	name  string
}

// benchRow is a figure of one section.
type benchRow struct {
	place   int // of the section
	section string
	figure
	cells map[*benchDatabase]samples
}

// figure is what is measured, with how many decimals it is told, and what it should be.
type figure struct {
	what     string
	decimals int
	target   target
}

// target is what a figure should be, absolutely or as its ratio to the floor. The zero value is
// none.
type target struct {
	bound   float64
	ofFloor bool
	least   bool
}

func leastOfFloor(ratio float64) target { return target{ratio, true, true} }
func mostOfFloor(ratio float64) target  { return target{ratio, true, false} }
func least(n float64) target            { return target{n, false, true} }
func most(n float64) target             { return target{n, false, false} }

func (t target) String() string {
	sign := "≤"
	if t.least {
		sign = "≥"
	}
	switch {
	case t == target{}:
		return ""
	case t.ofFloor:
		return fmt.Sprintf("%s %g floor", sign, t.bound)
	case t.bound == float64(int(t.bound)):
		return sign + " " + grouped(t.bound, 0)
	default:
		return fmt.Sprintf("%s %g", sign, t.bound)
	}
}

// mark says whether samples meet the target.
func (t target) mark(s samples) string {
	value := s.value(0)
	if t.ofFloor {
		value = s.ratio()
	}
	switch {
	case t == target{}:
		return " "
	case t.least == (value > t.bound) || value == t.bound:
		return "✓"
	default:
		return "✗"
	}
}

// samples are what the rounds said of the agent, of the floor if it has one, and of an earlier build.
type samples struct{ sides [3][]float64 }

func (s samples) value(side int) float64 { return middle(s.sides[side]) }

// ratios are the agent's to the floor's, round by round: both saw the same machine.
func (s samples) ratios() []float64 {
	var all []float64
	for i, floor := range s.sides[1] {
		if floor > 0 {
			all = append(all, s.sides[0][i]/floor)
		}
	}
	return all
}

func (s samples) ratio() float64 { return middle(s.ratios()) }

// middle is the median, 0 of nothing.
func middle(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

func (t *benchTable) database(name string) *benchDatabase {
	d := &benchDatabase{table: t, name: name}
	t.databases = append(t.databases, d)
	return d
}

// add fills a cell. Sections stand in the order of their places, also where a database lacks some.
func (d *benchDatabase) add(place int, section string, f figure, s samples) {
	for _, row := range d.table.rows {
		if row.section == section && row.figure == f {
			row.cells[d] = s
			return
		}
	}
	d.table.rows = append(d.table.rows, &benchRow{place, section, f, map[*benchDatabase]samples{d: s}})
	slices.SortStableFunc(d.table.rows, func(a, b *benchRow) int { return a.place - b.place })
}

// text is the table for a terminal of 110 columns.
func (t *benchTable) text() string {
	var b strings.Builder
	line := func(what, target string, cell func(d *benchDatabase) string) {
		text := pad(what, 20) + pad(target, 13)
		for _, d := range t.databases {
			text += pad(cell(d), 25)
		}
		b.WriteString(strings.TrimRight(text, " ") + "\n")
	}
	line("", "", func(d *benchDatabase) string { return "  " + d.name })
	line("medians", "target", func(*benchDatabase) string { return fmt.Sprintf("  %7s %7s %5s", "agent", "floor", "ratio") })
	section := ""
	for _, row := range t.rows {
		if row.section != section {
			section = row.section
			b.WriteString("\n" + section + "\n")
		}
		line("  "+row.what, row.target.String(), func(d *benchDatabase) string { return row.text(d) })
	}
	return b.String()
}

func (r *benchRow) text(d *benchDatabase) string {
	s, measured := r.cells[d]
	if !measured {
		return fmt.Sprintf("  %7s", "-")
	}
	floor, ratio := "", ""
	if len(s.sides[1]) > 0 {
		floor = grouped(s.value(1), r.decimals)
	}
	if len(s.ratios()) > 0 {
		ratio = fmt.Sprintf("%.2f", s.ratio())
	}
	text := fmt.Sprintf("  %7s %7s %5s %s", grouped(s.value(0), r.decimals), floor, ratio, r.target.mark(s))
	if len(s.sides[2]) > 0 {
		text += " (earlier " + grouped(s.value(2), r.decimals) + ")"
	}
	return text
}

// markdown is the table for a page. It tells the spread as well.
func (t *benchTable) markdown() string {
	var b strings.Builder
	b.WriteString("| | target | rounds |")
	rule := "|---|---|---|"
	for _, d := range t.databases {
		b.WriteString(" " + d.name + " |")
		rule += "---|"
	}
	b.WriteString("\n" + rule + "\n")
	section := ""
	for _, row := range t.rows {
		if row.section != section {
			section = row.section
			b.WriteString("| **" + section + "** | | |" + strings.Repeat(" |", len(t.databases)) + "\n")
		}
		rounds, text := 0, ""
		for _, d := range t.databases {
			text += " " + row.markdown(d) + " |"
			rounds = max(rounds, len(row.cells[d].sides[0]))
		}
		fmt.Fprintf(&b, "| %s | %s | %d |%s\n", row.what, row.target, rounds, text)
	}
	return b.String()
}

func (r *benchRow) markdown(d *benchDatabase) string {
	s, measured := r.cells[d]
	if !measured {
		return "not measured"
	}
	text := grouped(s.value(0), r.decimals)
	if len(s.sides[1]) > 0 {
		text += " of " + grouped(s.value(1), r.decimals)
	}
	if ratios := s.ratios(); len(ratios) > 0 {
		text += fmt.Sprintf(" = %.2f", s.ratio())
		if len(ratios) > 1 {
			text += fmt.Sprintf(" (%.2f to %.2f)", slices.Min(ratios), slices.Max(ratios))
		}
	}
	text = strings.TrimSpace(text + " " + r.target.mark(s))
	if len(s.sides[2]) > 0 {
		text += "; earlier " + grouped(s.value(2), r.decimals)
	}
	return text
}

// pad fills up with spaces.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

// grouped is a number with a comma between thousands.
func grouped(n float64, decimals int) string {
	text := fmt.Sprintf("%.*f", decimals, n)
	whole, rest := text, ""
	if at := strings.IndexByte(text, '.'); at >= 0 {
		whole, rest = text[:at], text[at:]
	}
	for at := len(whole) - 3; at > 0; at -= 3 {
		whole = whole[:at] + "," + whole[at:]
	}
	return whole + rest
}

// occasion says where, when and of what this was measured.
func occasion() string {
	text := machine() + ", " + time.Now().UTC().Format("2006-01-02 15:04 UTC")
	if commit, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil { // else it is no clone
		text += ", commit " + strings.TrimSpace(string(commit))
	}
	return text
}

// TestBenchTable holds the table to its two forms.
func TestBenchTable(t *testing.T) {
	t.Parallel()
	table := &benchTable{}
	one, other := table.database("PostgreSQL 15"), table.database("MariaDB 10.11")
	rate := figure{what: "events/s", target: leastOfFloor(0.85)}
	memory := figure{what: "peak MiB", decimals: 1, target: most(48)}
	one.add(0, "One request a row", rate, samples{[3][]float64{{20000, 21000, 1022000}, {25000, 24000, 23000}}})
	one.add(0, "One request a row", memory, samples{[3][]float64{{48.04}}})
	one.add(1, "At rest", figure{what: "seconds"}, samples{[3][]float64{{1, 2}, {0, 0}}})
	other.add(0, "One request a row", rate, samples{[3][]float64{{20000}, {25000}}})
	text := strings.TrimPrefix(`
                                   PostgreSQL 15            MariaDB 10.11
medians             target           agent   floor ratio      agent   floor ratio

One request a row
  events/s          ≥ 0.85 floor    21,000  24,000  0.88 ✓   20,000  25,000  0.80 ✗
  peak MiB          ≤ 48              48.0               ✗        -

At rest
  seconds                                2       0                -
`, "\n")
	if got := table.text(); got != text {
		t.Errorf("text is\n%s\nnot\n%s", got, text)
	}
	markdown := strings.TrimPrefix(`
| | target | rounds | PostgreSQL 15 | MariaDB 10.11 |
|---|---|---|---|---|
| **One request a row** | | | | |
| events/s | ≥ 0.85 floor | 3 | 21,000 of 24,000 = 0.88 (0.80 to 44.43) ✓ | 20,000 of 25,000 = 0.80 ✗ |
| peak MiB | ≤ 48 | 1 | 48.0 ✗ | not measured |
| **At rest** | | | | |
| seconds |  | 2 | 2 of 0 | not measured |
`, "\n")
	if got := table.markdown(); got != markdown {
		t.Errorf("markdown is\n%s\nnot\n%s", got, markdown)
	}
}
