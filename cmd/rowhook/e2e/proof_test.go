package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// proofVariable names the page that a run brings up to date, docs/proof.md.
const proofVariable = "ROWHOOK_PROOF"

// Sections of the page that runs write, between markers of their names.
const (
	faultsSection = "faults"
	speedSection  = "speed"
)

// writeProof replaces a section of a page, which must have its markers.
func writeProof(page, section, markdown string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, _, after, err := cutSection(string(text), section)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return os.WriteFile(page, []byte(before+"\n"+strings.TrimSpace(markdown)+"\n"+after), 0o644)
}

// cutSection returns what stands between a section's markers, and what stands around it with the
// markers.
func cutSection(text, section string) (before, inside, after string, err error) {
	begin, end := "<!-- "+section+" -->\n", "<!-- end of "+section+" -->\n"
	before, rest, ok := strings.Cut(text, begin)
	inside, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", "", "", fmt.Errorf("the markers of the section %q are missing", section)
	}
	return before + begin, inside, end + after, nil
}

// publish brings the page's table up to date: rows of this run replace those of earlier ones.
func (c *collector) publish(page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	_, inside, _, err := cutSection(string(text), faultsSection)
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	rows, missing := c.table(proofRows(inside))
	var b strings.Builder
	fmt.Fprintf(&b, "Run on %s.\n\n", machine())
	writeRow := func(cells []string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	writeRow(columns)
	writeRow(slices.Repeat([]string{"---"}, len(columns)))
	for _, cells := range rows {
		writeRow(cells)
	}
	if pending := scenarioNames(missing); len(pending) > 0 {
		fmt.Fprintf(&b, "\n%s%s.\n", pendingWords, strings.Join(pending, ", "))
	}
	return writeProof(page, faultsSection, b.String())
}

// pendingWords begin the line that names what has no row yet.
const pendingWords = "Not run at full length yet: "

// scenarioNames are the scenarios of keys such as those of [collector.table].
func scenarioNames(keys []string) []string {
	var names []string
	for _, key := range keys {
		name, _, _ := strings.Cut(key, " ")
		names = append(names, name)
	}
	return slices.Compact(names)
}

// proofRows reads a table's rows, by scenario and database.
func proofRows(section string) map[string][]string {
	rows := map[string][]string{}
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(line, "|\n "), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) == len(columns) && cells[0] != columns[0] && !strings.HasPrefix(cells[0], "---") {
			rows[cells[0]+" "+cells[1]] = cells
		}
	}
	return rows
}

// machine says what a run ran on.
func machine() string {
	model := runtime.GOARCH
	raw, _ := os.ReadFile("/proc/cpuinfo") // without it the architecture has to do
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	kernel, _ := exec.Command("uname", "-sr").Output()
	return fmt.Sprintf("%d cores of %s, %s, %s", runtime.NumCPU(), model, strings.TrimSpace(string(kernel)), runtime.Version())
}

// TestProofPage: docs/proof.md has a row for each scenario on each database, or names the scenario
// as one that was not run at full length yet; and no row of a scenario that failed or is not in the
// list.
func TestProofPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/proof.md")
	if err != nil {
		t.Fatal(err)
	}
	_, inside, _, err := cutSection(string(text), faultsSection)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := cutSection(string(text), speedSection); err != nil {
		t.Error(err)
	}
	var told []string
	if _, rest, ok := strings.Cut(inside, pendingWords); ok {
		names, _, _ := strings.Cut(rest, ".")
		told = strings.Split(names, ", ")
	}
	rows := proofRows(inside)
	want, missing := (&collector{}).table(rows)
	if pending := scenarioNames(missing); !slices.Equal(pending, told) {
		t.Errorf("the page says that %q were not run yet, and has no rows of %q: make soak RUN=… PROOF=docs/proof.md writes them", told, pending)
	}
	for _, cells := range want {
		key, verdict := cells[0]+" "+cells[1], cells[len(cells)-1]
		if got := rows[key]; !slices.Equal(got, cells) && !slices.Contains(told, cells[0]) {
			t.Errorf("%s: the page has %q, want %q", key, got, cells)
		}
		if verdict != "held" && verdict != "none" {
			t.Errorf("%s: %s", key, verdict)
		}
		delete(rows, key)
	}
	for key := range rows {
		t.Errorf("%s is not in the list of scenarios", key)
	}
}
