package main_test

import (
	"fmt"
	"strings"
	"testing"
)

// largeSettings let servers take rows of hundreds of megabytes.
func largeSettings() settings {
	return settings{
		"mysql":   {"max_allowed_packet": "1G", "innodb_redo_log_capacity": "6G"},
		"mariadb": {"max_allowed_packet": "1G", "innodb_log_file_size": "6G"},
	}
}

// largePeak is what an agent's memory came to over one large row.
type largePeak struct{ before, peak int64 }

// peakOf has a fresh agent take one row of so many bytes, and waits until the profile's log has ended with it.
func (w *world) peakOf(id, size int) largePeak {
	w.tb.Helper()
	if id > 1 {
		w.forget()
	}
	var args []string
	if id > 1 && w.database == "postgres" {
		args = []string{"--start", "now"}
	}
	a := w.begin(args...)
	p := largePeak{before: a.memory("VmHWM")}
	known := len(w.told("main"))
	w.exec(fmt.Sprintf(`insert into proof.rows (id, seq, note) values (%d, 1, repeat('abcdefghij', %d))`, id, size/10))
	w.exec(fmt.Sprintf(`insert into proof.rows (id, seq, note) values (%d, 1, 'after')`, id+1))
	eventually(w.tb, 3*patience, "both rows are over", func() bool { return len(w.told("main")) == known+2 })
	p.peak = a.memory("VmHWM")
	a.term()
	return p
}

// TestLargePeaks measures what one large row takes: as a dead letter for its size, delivered, and with the large column left out.
func TestLargePeaks(t *testing.T) {
	if !soak() {
		t.Skip("measured in full only")
	}
	for _, database := range databases {
		t.Run(database, func(t *testing.T) {
			w := newWorldOf(t, database, largeSettings()[database])
			usual := strings.Replace(w.usualProfile("main"), "timeout: 5s", "timeout: 60s", 1)
			id := 1
			for _, mode := range []struct{ name, profiles, mapping string }{
				{"oversize", usual, ""},
				{"delivered", strings.Replace(usual, "timeout: 60s", "timeout: 60s\n    max_body: 1GiB", 1), ""},
				{"excluded", usual, "  proof.rows: {columns: {exclude: [note]}}\n"},
			} {
				w.conf.profiles, w.conf.mapping = mode.profiles, mode.mapping
				for _, size := range []int{20_000_000, 100_000_000, 200_000_000} {
					p := w.peakOf(id, size)
					id += 2
					t.Logf("%-9s %-9s %3d MB: before %3d MB, peak %4d MB, %.2f of the row, %.2f beyond the base", database, mode.name, size/1_000_000,
						p.before/1_000_000, p.peak/1_000_000, float64(p.peak)/float64(size), float64(p.peak-p.before)/float64(size))
				}
			}
		})
	}
}
