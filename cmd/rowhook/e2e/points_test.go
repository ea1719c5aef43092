package e2e_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
	"rowhook/delivery"
	"rowhook/delivery/spool"
)

// Killed exactly before and after what its promises rest on, again and again under load, the agent
// loses nothing. After every kill what the server was told is not ahead of what the spool holds.
func TestKillAtPoints(t *testing.T) {
	t.Parallel()
	onEach(t, nil, func(t *testing.T, w *world) { testKillAtPoints(t, w, "kill9-at-points", false) })
}

// The same with the power gone as well: what was not synced at that moment is not there any more.
func TestPowerLossAtPoints(t *testing.T) {
	t.Parallel()
	onEach(t, nil, func(t *testing.T, w *world) { testKillAtPoints(t, w, "power-loss-at-points", true) })
}

func testKillAtPoints(t *testing.T, w *world, name string, power bool) {
	s := w.scenario(name)
	random := chance(11)
	w.begin().term()
	l := w.load(4, 60, false)
	kills, points, gone := 0, 0, int64(0)
	for i, p := range killPoints {
		// In the short form the two scenarios share the points: with the power go those that leave
		// something unsynced for certain, such as before an fsync and after a log line.
		half := (i%2 == 0) != power
		if p.without[w.database] != "" || half && !soak() {
			continue
		}
		points++
		for range count(1, 5) {
			gone = max(gone, w.dieAt(p, 1+random.IntN(count(min(p.most, 10), p.most)), power))
			kills++
		}
	}
	changes := w.ledger(l.stop(t))
	a := w.start()
	w.hook.wait(t, "main", len(changes), 2*patience)
	w.logCount("main", len(changes))
	a.term()
	w.verify(changes, judge{profile: "main", killed: true})
	s.did(kills, "kill", "kills")
	s.did(points, "point", "points")
	if power {
		s.most("gone with the power", gone, "bytes")
		if gone == 0 {
			t.Error("nothing was lost with the power: nothing was tried that matters")
		}
	}
}

// dieAt runs the agent until it passes a point for the nth time, and looks at what it leaves. It
// returns how many bytes of that go with the power.
func (w *world) dieAt(p killPoint, nth int, power bool) (gone int64) {
	w.tb.Helper()
	began := w.appended()
	order := killOrder{
		Binary: binary, Args: []string{"run", "-c", w.path("config.yaml")}, Point: p.name, Nth: nth,
		Database: portOf(w.tb, w.server.address()), Receiver: portOf(w.tb, w.hook.addr), Report: w.path("report.json"),
	}
	a := w.traced(order)
	if code := a.wait(patience); code != 0 {
		w.tb.Fatalf("%s, %d: the tracer ended with %d", p.name, nth, code)
	}
	report := readReport(w.tb, order.Report)
	if !report.Killed {
		w.tb.Fatalf("%s, %d: the agent ended by itself", p.name, nth)
	}
	if power {
		gone = w.losePower(began, report.Synced)
	}
	w.confirmedIsStored(p.name)
	return gone
}

// traced starts the agent below a process that traces it.
func (w *world) traced(order killOrder) *agent {
	w.tb.Helper()
	w.write()
	w.hook.life.Add(1)
	raw, err := json.Marshal(order)
	capturetest.Must(w.tb, err)
	executable, err := os.Executable()
	capturetest.Must(w.tb, err)
	cmd := exec.Command(executable)
	cmd.Dir = w.dir
	cmd.Env = append(append(os.Environ(), w.env...), roleVariable+"=killer", orderVariable+"="+string(raw))
	return launch(w.tb, cmd)
}

func readReport(tb testing.TB, name string) killReport {
	tb.Helper()
	var report killReport
	raw, err := os.ReadFile(name)
	capturetest.Must(tb, err)
	capturetest.Must(tb, json.Unmarshal(raw, &report))
	capturetest.Must(tb, os.Remove(name))
	return report
}

// appended lists the files that are appended to, with their sizes: the store's logs and the
// delivery log.
func (w *world) appended() map[string]int64 {
	w.tb.Helper()
	sizes := map[string]int64{}
	for _, dir := range []string{"state/spool", "log"} {
		capturetest.Must(w.tb, filepath.WalkDir(w.path(dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() || !strings.HasSuffix(path, ".log") && !strings.HasSuffix(path, ".jsonl") {
				return err
			}
			info, err := entry.Info()
			if err == nil {
				sizes[path] = info.Size()
			}
			return err
		}))
	}
	return sizes
}

// losePower takes from the files what was not on the disk: all that came after the last sync. What
// was there when the agent began had been synced, or lost, before.
func (w *world) losePower(began, synced map[string]int64) (gone int64) {
	w.tb.Helper()
	for path, size := range w.appended() {
		kept := max(began[path], synced[path])
		if kept < size {
			capturetest.Must(w.tb, os.Truncate(path, kept))
			gone += size - kept
		}
	}
	return gone
}

// confirmedIsStored looks into the spool of an agent that is dead: what the server was told to be
// done with must be stored there, and of each row what is stored begins where the ledger does.
func (w *world) confirmedIsStored(when string) {
	w.tb.Helper()
	copied := w.path("autopsy")
	copyDir(w.tb, w.path("state/spool"), copied)
	s, err := spool.Open(copied, spool.Options{Reserve: -1})
	if err != nil {
		w.tb.Fatalf("%s: open the spool that was left: %v", when, err)
	}
	defer func() { capturetest.Must(w.tb, s.Close()) }()
	confirmed, ahead, err := w.server.ahead(context.Background(), s.Position())
	capturetest.Must(w.tb, err)
	if ahead {
		w.tb.Errorf("%s: the server was told %s, the spool holds %s", when, confirmed, s.Position())
	}
	w.storedWhole(s, when)
}

func portOf(tb testing.TB, address string) int {
	tb.Helper()
	_, port, _ := strings.Cut(address, ":")
	n, err := asInt64(port)
	capturetest.Must(tb, err)
	return int(n)
}

// storedWhole holds the stored events to the ledger: of each row they are the first changes, none
// left out. What is stored later than the position says cannot be seen, what is missing before it
// can.
func (w *world) storedWhole(s *spool.Spool, when string) {
	w.tb.Helper()
	id, err := s.Register("main")
	capturetest.Must(w.tb, err)
	last := map[int64]int64{} // seq by key
	for from, end := delivery.Seq(1), false; !end; {
		var entries []delivery.Entry
		entries, from, end, err = s.History(id, from, nil, 1000, 1<<20)
		capturetest.Must(w.tb, err)
		for _, entry := range entries {
			key, seq := placeOf(w.tb, entry.Event)
			if known, ok := last[key]; ok && seq != known+1 {
				w.tb.Errorf("%s: key %d: change %d is stored behind change %d", when, key, seq, known)
			}
			last[key] = seq
		}
	}
}

// placeOf is a stored event's place in the ledger.
func placeOf(tb testing.TB, ev *delivery.Event) (key, seq int64) {
	tb.Helper()
	var row struct {
		ID  int64 `json:"id"`
		Seq int64 `json:"seq"`
	}
	capturetest.Must(tb, json.Unmarshal(ev.Key, &row))
	if ev.Op == "delete" {
		capturetest.Must(tb, json.Unmarshal(ev.Previous, &row))
		return row.ID, row.Seq + 1
	}
	capturetest.Must(tb, json.Unmarshal(ev.Data, &row))
	return row.ID, row.Seq
}
