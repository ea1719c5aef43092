package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// verdict is what the oracle counted.
type verdict struct {
	events     int // committed changes that map to one
	delivered  int // of them
	requests   int // whatever the receiver answered
	repeated   int // requests beyond the first that the receiver accepted
	lost       int
	disordered int // arrivals before the change that was committed before was accepted
	phantoms   int // arrivals of what was rolled back or never committed
}

func (v *verdict) add(other verdict) {
	v.events += other.events
	v.delivered += other.delivered
	v.requests += other.requests
	v.repeated += other.repeated
	v.lost += other.lost
	v.disordered += other.disordered
	v.phantoms += other.phantoms
}

func sumOf(a, b verdict) verdict {
	a.add(b)
	return a
}

// judge is what a profile may have seen besides each event once.
type judge struct {
	profile string
	// killed says that the agent was killed or cut off from its receiver, so that
	// requests may have been repeated.
	killed bool
	// cutOff says that the way to the receiver was cut, so that also one run of the agent repeats
	// what it got no answer to.
	cutOff bool
}

// verify is the oracle. For one profile, of all changes in the ledger:
//
//   - each arrived and was accepted at least once, and nothing else did;
//   - equal changes have equal ids, different ones different ids;
//   - per key no change arrived before the one committed before it was accepted;
//   - within one life of the agent no request was repeated once it was accepted;
//   - the delivery log has a terminal line for each, and further ones only as far as
//     the receiver accepted the request again.
//
// Without a kill, each was accepted exactly once.
func (w *world) verify(changes []change, j judge) verdict {
	w.tb.Helper()
	w.hook.sound(w.tb)
	arrivals := w.hook.all(j.profile)
	o := newOracle(w.tb, changes)
	for _, a := range arrivals {
		if !ownEvent(a.typ) {
			o.arrive(a)
		}
	}
	v := o.finish(j)
	o.checkLog(w.readLog(), j)
	w.row.counted(w.hook.addr+" "+j.profile, v)
	return v
}

// ownEvent says that an event is rowhook's own, such as rowhook.gap, and no row's.
func ownEvent(typ string) bool { return strings.HasPrefix(typ, "rowhook.") }

type oracle struct {
	tb     testing.TB
	wanted map[[2]int64]change
	order  map[int64][]int64 // per key the committed seqs, ascending
	next   map[int64]int     // per key how many of them are accepted
	ids    map[string][2]int64
	places map[[2]int64]string
	times  map[string]int // id to how often it was accepted
	lives  map[string]int64
	again  []arrival // accepted in one life of the agent though they had been in the same
	errors int
	counts verdict
}

func newOracle(tb testing.TB, changes []change) *oracle {
	o := &oracle{
		tb: tb, wanted: map[[2]int64]change{}, order: map[int64][]int64{}, next: map[int64]int{},
		ids: map[string][2]int64{}, places: map[[2]int64]string{}, times: map[string]int{}, lives: map[string]int64{},
	}
	for _, c := range changes {
		o.wanted[[2]int64{c.key, c.seq}] = c
		o.order[c.key] = append(o.order[c.key], c.seq)
	}
	for _, seqs := range o.order {
		sort.Slice(seqs, func(i, j int) bool { return seqs[i] < seqs[j] })
	}
	return o
}

// errorf reports a violation, but not thousands.
func (o *oracle) errorf(format string, args ...any) {
	o.tb.Helper()
	if o.errors++; o.errors <= 10 {
		o.tb.Errorf(format, args...)
	} else if o.errors == 11 {
		o.tb.Errorf("and more")
	}
}

func (o *oracle) arrive(a arrival) {
	o.tb.Helper()
	o.counts.requests++
	if !o.identify(a) {
		return
	}
	seqs, next := o.order[a.key], o.next[a.key]
	if next < len(seqs) && a.seq > seqs[next] {
		o.counts.disordered++
		o.errorf("key %d: change %d arrived before change %d was accepted", a.key, a.seq, seqs[next])
	}
	if !a.accepted {
		return
	}
	if next < len(seqs) && a.seq == seqs[next] {
		o.next[a.key]++
	}
	o.accept(a)
}

// identify looks at what an arrival is, and reports whether it was committed at all.
func (o *oracle) identify(a arrival) bool {
	o.tb.Helper()
	place := [2]int64{a.key, a.seq}
	c, ok := o.wanted[place]
	if !ok {
		o.counts.phantoms++
		o.errorf("key %d: change %d (%s, %q) was never committed", a.key, a.seq, a.op, a.note)
		return false
	}
	if a.note == rolledBack {
		o.counts.phantoms++
		o.errorf("key %d: change %d carries what was rolled back", a.key, a.seq)
	}
	if a.op != c.op {
		o.errorf("key %d: change %d was %s, arrived as %s", a.key, a.seq, c.op, a.op)
	}
	if known, ok := o.ids[a.id]; ok && known != place {
		o.errorf("id %s stands for key %d change %d and for key %d change %d", a.id, known[0], known[1], a.key, a.seq)
	}
	if id, ok := o.places[place]; ok && id != a.id {
		o.errorf("key %d: change %d has the ids %s and %s", a.key, a.seq, id, a.id)
	}
	o.ids[a.id], o.places[place] = place, a.id
	return true
}

// accept counts an arrival that the receiver accepted.
func (o *oracle) accept(a arrival) {
	o.tb.Helper()
	o.times[a.id]++
	if life, ok := o.lives[a.id]; ok && life == a.life {
		o.again = append(o.again, a)
	}
	o.lives[a.id] = a.life
}

// finish looks for what never arrived and counts what did more than once.
func (o *oracle) finish(j judge) verdict {
	o.tb.Helper()
	v := o.counts
	v.events = len(o.wanted)
	for _, a := range o.again {
		if !j.cutOff {
			o.errorf("key %d: change %d was accepted twice within one run of the agent", a.key, a.seq)
		}
	}
	for key, seqs := range o.order {
		for _, seq := range seqs[o.next[key]:] {
			v.lost++
			o.errorf("key %d: change %d was committed and never accepted", key, seq)
		}
	}
	for id, times := range o.times {
		v.repeated += times - 1
		if times > 1 && !j.killed && !j.cutOff {
			o.errorf("%s was accepted %d times", id, times)
		}
	}
	v.delivered = v.events - v.lost
	return v
}

// logLine is what the tests read of a line of the delivery log.
type logLine struct {
	V       int       `json:"v"`
	Time    time.Time `json:"time"`
	Profile string    `json:"profile"`
	Outcome string    `json:"outcome"`
	Event   string    `json:"event"`
	Type    string    `json:"type"`
	Table   string    `json:"table"`
	Attempt int       `json:"attempt"`
	Round   int       `json:"round"`
	Status  int       `json:"status"`
	Reason  string    `json:"reason"`
	Error   string    `json:"error"`
	Flags   []string  `json:"flags"`
}

func (l logLine) terminal() bool {
	switch l.Outcome {
	case "retrying", "held", "interrupted":
		return false
	}
	return true
}

// logLines are the lines of a delivery log that have been read, by their text: tests look at
// the log again and again, and a line that was written never changes.
type logLines struct {
	mu   sync.Mutex
	read map[string]logLine
}

// of reads one line.
func (l *logLines) of(tb testing.TB, text []byte) (line logLine, ok bool) {
	tb.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if line, ok := l.read[string(text)]; ok {
		return line, true
	}
	if err := json.Unmarshal(text, &line); err != nil {
		tb.Errorf("delivery log: %v: %.200q", err, text)
		return line, false
	}
	if line.V != 1 || line.Outcome == "" || line.Time.IsZero() {
		tb.Errorf("delivery log: incomplete line %.200q", text)
	}
	if len(l.read) < maxHeldLines {
		holdLine(tb, text)
	}
	l.read[string(text)] = line
	return line, true
}

// readLog reads the delivery log, rotated files first.
func (w *world) readLog() []logLine {
	w.tb.Helper()
	names, _ := filepath.Glob(filepath.Join(w.path("log"), "deliveries*"))
	var lines []logLine
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			w.tb.Fatal(err)
		}
		for text := range bytes.Lines(raw) {
			if !bytes.HasSuffix(text, []byte("\n")) {
				break // being written, or cut off by a kill: then the next start must have repaired it
			}
			if line, ok := w.lines.of(w.tb, text); ok {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// checkLog compares the delivery log with what the receiver saw.
func (o *oracle) checkLog(lines []logLine, j judge) {
	o.tb.Helper()
	terminal := map[string]int{}
	for _, line := range lines {
		if line.Profile != j.profile || line.Event == "" || !line.terminal() || ownEvent(line.Type) {
			continue
		}
		if line.Outcome != "delivered" {
			o.errorf("delivery log: %s is %s (%s %s)", line.Event, line.Outcome, line.Reason, line.Error)
		}
		terminal[line.Event]++
		if _, ok := o.ids[line.Event]; !ok {
			o.errorf("delivery log: %s is %s and never arrived", line.Event, line.Outcome)
		}
	}
	for id, place := range o.ids {
		if o.times[id] == 0 {
			continue // reported already
		}
		switch n := terminal[id]; {
		case n == 0:
			o.errorf("delivery log: no terminal line for %s (key %d change %d)", id, place[0], place[1])
		case n > o.times[id]:
			o.errorf("delivery log: %d terminal lines for %s, accepted %d times", n, id, o.times[id])
		}
	}
}

// logCount waits until the delivery log has as many terminal lines of a profile:
// the log is written in batches.
func (w *world) logCount(profile string, n int) {
	w.tb.Helper()
	eventually(w.tb, patience, fmt.Sprintf("the delivery log tells the end of %d events", n), func() bool {
		distinct := map[string]bool{}
		for _, line := range w.readLog() {
			if line.Profile == profile && line.terminal() {
				distinct[line.Event] = true
			}
		}
		return len(distinct) >= n
	})
}
