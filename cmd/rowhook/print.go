package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"rowhook/cmd/rowhook/operation"
)

// patience is how long a command works without a word.
const patience = 2 * time.Second

// waiting says on standard error whom a command waits for, where that takes long, until the function
// that it returns is called.
func (c *console) waiting(whom string) (answered func()) {
	said := make(chan struct{})
	timer := time.AfterFunc(patience, func() {
		defer close(said)
		fmt.Fprintf(c.err, "Waiting for %s …\n", whom)
	})
	return func() {
		if !timer.Stop() {
			<-said
		}
	}
}

// addJSONFlag adds --json, which every command with data has.
func addJSONFlag(cmd *cobra.Command, into *bool) {
	cmd.Flags().BoolVar(into, "json", false, "print JSON")
}

// printJSON prints one indented JSON value.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// printJSONLine prints one JSON value on one line.
func printJSONLine(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// table prints rows in aligned columns, two spaces apart. The last column is not padded.
type table struct {
	rows [][]string
}

// newTable begins a table with its heading.
func newTable(heading ...string) *table { return &table{rows: [][]string{heading}} }

// add adds a row of as many cells as the heading has; line breaks in cells become spaces.
func (t *table) add(cells ...string) {
	for i := range cells {
		cells[i] = strings.ReplaceAll(cells[i], "\n", " ")
	}
	t.rows = append(t.rows, cells)
}

func (t *table) print(w io.Writer) error {
	widths := make([]int, len(t.rows[0]))
	for _, row := range t.rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " "))
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// humanBytes writes a size as the config does, to three digits: 512B, 1.5KiB, 64MiB.
func humanBytes(n int64) string {
	if n < 0 {
		return "-" + humanBytes(-n)
	}
	if n < 1<<10 {
		return strconv.FormatInt(n, 10) + "B"
	}
	size := float64(n)
	units := []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	unit := -1
	for size >= 1023.5 && unit < len(units)-1 || unit < 0 {
		size /= 1 << 10
		unit++
	}
	decimals := 0
	switch {
	case size < 9.995:
		decimals = 2
	case size < 99.95:
		decimals = 1
	}
	text := strconv.FormatFloat(size, 'f', decimals, 64)
	if decimals > 0 {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text + units[unit]
}

// ago writes how long ago a time was; never for the zero time.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return fmt.Sprintf("%s ago", operation.FormatDuration(now.Sub(t)))
}
