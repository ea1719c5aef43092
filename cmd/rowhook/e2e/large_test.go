package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"rowhook/capture/capturetest"
)

// largeSettings let servers take rows of dozens of megabytes, in full of hundreds: a row may have a
// tenth of the log, which is there from the start, in memory.
func largeSettings() settings {
	log := "512M"
	if soak() {
		log = "6G"
	}
	return settings{
		"mysql":   {"max_allowed_packet": "1G", "innodb_redo_log_capacity": log},
		"mariadb": {"max_allowed_packet": "1G", "innodb_log_file_size": log},
	}
}

// largePeak is what an agent's memory came to over one large row.
type largePeak struct{ before, peak int64 }

// peakOf has a fresh agent take one row of so many bytes, and waits until the profile's log has
// ended with it.
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

// TestLargePeaks measures what one large row takes: as a dead letter for its size, delivered, and
// with the large column left out.
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
				w.conf.profiles, w.conf.mapping, w.conf.source = mode.profiles, mode.mapping, "  max_change: 512MiB\n"
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

// TestLargeBeyond: with default settings and 512 MiB of memory an agent parks a row that is larger
// than it takes, and delivers what stands behind it; the row's key, size and position are told. In
// `make test` a smaller one, above a lower source.max_change.
func TestLargeBeyond(t *testing.T) {
	t.Parallel()
	onEach(t, largeSettings(), func(t *testing.T, w *world) {
		size := count(30, 400) * 1_000_000
		if !soak() {
			w.conf.source = "  max_change: 8MiB\n"
		}
		a := w.begin()
		limit := uint64(512 << 20)
		if !soak() {
			limit = 160 << 20
		}
		capturetest.Must(t, setDataLimit(a.pid, limit))
		w.exec(fmt.Sprintf(`insert into proof.rows (id, seq, note) values (1, 1, repeat('abcdefghij', %d))`, size/10))
		w.insert(2)
		w.hook.wait(t, "main", 1, 3*patience)
		if !a.running() {
			t.Fatalf("the agent ended with %d", a.code)
		}
		r := w.rowhook("failed", "list", "--source", "--json")
		var list struct {
			Items []struct {
				Seq      int64          `json:"seq"`
				Table    string         `json:"table"`
				Reason   string         `json:"reason"`
				Position string         `json:"position"`
				Size     int            `json:"size"`
				Key      map[string]int `json:"key"`
			} `json:"items"`
		}
		capturetest.Must(t, json.Unmarshal([]byte(r.stdout), &list))
		if len(list.Items) != 1 {
			t.Fatalf("%d dead letters of the source: %s", len(list.Items), r.stdout)
		}
		if item := list.Items[0]; item.Table != "proof.rows" || item.Reason != "oversize" || item.Position == "" || item.Size < size || len(item.Key) != 1 || item.Key["id"] != 1 {
			t.Errorf("parked: %+v", item)
		}
		if r := w.rowhook("failed", "retry", "--source", fmt.Sprint(list.Items[0].Seq)); r.code != 1 || !strings.Contains(r.stderr, "read past") || !strings.Contains(r.stderr, "hint: ") {
			t.Errorf("a retry ends with %d and says %s", r.code, r.stderr)
		}
		a.term()
	})
}

// TestLargeKills: a change that two starts of the agent ended at is parked by the third, which
// delivers what stands behind it.
func TestLargeKills(t *testing.T) {
	if !soak() {
		t.Skip("tried in full only")
	}
	t.Parallel()
	onEach(t, largeSettings(), func(t *testing.T, w *world) {
		w.begin().term()
		const size = 120_000_000 // which takes a while
		w.exec(fmt.Sprintf(`insert into proof.rows (id, seq, note) values (1, 1, repeat('abcdefghij', %d))`, size/10))
		w.insert(2)
		for range 2 {
			a := w.start()
			a.says("a very large change comes")
			a.kill()
		}
		a := w.begin()
		w.hook.wait(t, "main", 1, patience)
		r := w.rowhook("failed", "list", "--source")
		if !strings.Contains(r.stdout, "oversize") || !strings.Contains(r.stdout, "ended 2 times") {
			t.Errorf("parked: %s%s", r.stdout, r.stderr)
		}
		a.term()
	})
}

// TestLargeShown: the body of an event that was sent in pieces and refused is shown whole and
// searched whole, by the agent and without one.
func TestLargeShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.hook.keepBodies = true
	w.conf.profiles = w.usualProfile("main") + "    max_body: 16MiB\n"
	w.conf.log = "  deliveries: ./log/deliveries.jsonl\n  body: 100\n"
	a := w.begin()
	w.hook.answer(func(got arrival) reply {
		if got.key == 1 {
			return reply{status: 422}
		}
		return reply{}
	})
	w.exec(`insert into proof.rows (id, seq, note) values (1, 1, repeat('あ"bcdefg', 300000)), (2, 1, repeat('あ"bcdefg', 300000))`,
		`update proof.rows set seq = 2`)
	eventually(t, patience, "the events of one row are given up", func() bool { return w.times("main", "dead status_4xx") == 2 })
	w.hook.wait(t, "main", 2, patience)
	w.logCount("main", 4)
	sent := map[string]string{}
	var update, delivered string
	for _, got := range w.hook.all("main") {
		if got.key != 1 {
			delivered = got.id // the last
			continue
		}
		if before := sent[got.id]; before != "" && before != string(got.body) {
			t.Errorf("event %s was sent with two bodies", got.id)
		}
		sent[got.id] = string(got.body)
		if got.seq == 2 {
			update = got.id
		}
	}
	if len(sent) != 2 || update == "" {
		t.Fatalf("%d events were sent", len(sent))
	}
	look := func() {
		t.Helper()
		for id, body := range sent {
			if len(body) < 3_000_000 {
				t.Errorf("event %s has %d bytes", id, len(body))
			}
			var letters []struct{ Body string }
			if r := w.rowhook("failed", "show", id, "--json"); json.Unmarshal([]byte(r.stdout), &letters) != nil || len(letters) != 1 || letters[0].Body != body {
				t.Errorf("failed show %s --json: exit code %d, %d letters, %.200s%s", id, r.code, len(letters), r.stdout, r.stderr)
			}
			start := string([]rune(body)[:4000])
			if r := w.rowhook("failed", "show", id); !strings.Contains(r.stdout, "\n"+start+"\n… cut here; ") || !strings.Contains(r.stdout, "--json") {
				t.Errorf("failed show %s: exit code %d, %.1000s%s", id, r.code, r.stdout, r.stderr)
			}
		}
		// What tells the two apart stands behind the large column, far beyond what the log keeps.
		for outcome, event := range map[string]string{"dead": update, "delivered": delivered} {
			r := w.rowhook("log", "--payload", "previous.seq=1", "--outcome", outcome, "--json")
			if strings.Count(r.stdout, "\n") != 1 || !strings.Contains(r.stdout, event) || r.stderr != "" {
				t.Errorf("log --payload, %s: exit code %d, %s%s", outcome, r.code, r.stdout, r.stderr)
			}
		}
	}
	look()
	a.term()
	look()
}

// setDataLimit bounds the memory that a running process may have.
func setDataLimit(pid int, limit uint64) error {
	bound := unix.Rlimit{Cur: limit, Max: limit}
	return unix.Prlimit(pid, unix.RLIMIT_DATA, &bound, nil)
}
