package e2e_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"rowhook/capture/capturetest"
)

// reloaded is an agent under load whose config changes: one profile stays as it is, with a receiver
// of its own, another moves, and a third comes and goes.
type reloaded struct {
	*world
	agent  *agent
	steady *world // as the profile's receiver sees it
	said   int    // how much of what the agent says is known
	secret string // the lines of the config that sign for the profile that moves
}

// TestReloadTellsWhatDoesNotFit: the answer to a reload names what the database does not have. The
// config is in force all the same, as it would be at a start.
func TestReloadTellsWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	onEach(t, nil, func(t *testing.T, w *world) {
		a := w.begin()
		for _, step := range []struct {
			mapping string
			code    int
			says    []string
		}{
			{"  proof.rows: {events: {row.moved: {op: update, changed: [shelf]}}}\n", 3, []string{"reloaded: ", "error ", "proof.rows", "shelf"}},
			{"  proof.rows: {}\n  proof.shelves: {}\n", 3, []string{"reloaded: ", "error ", "table proof.shelves does not exist"}},
			{"  proof.rows: {}\n", 0, []string{"reloaded: "}},
		} {
			w.conf.mapping = step.mapping
			w.write()
			result := w.rowhook("reload")
			for _, word := range step.says {
				if !strings.Contains(result.stdout, word) {
					t.Errorf("%s: the answer does not say %q", step.mapping, word)
				}
			}
			if result.code != step.code || strings.Contains(result.stdout, "error ") != (step.code == 3) {
				t.Errorf("%s: exit code %d, want %d:\n%s%s", step.mapping, result.code, step.code, result.stdout, result.stderr)
			}
		}
		w.insert(1)
		w.hook.wait(t, "main", 1, patience)
		a.term()
	})
}

// TestReloadUnderLoad: a reload loses nothing and repeats nothing, keeps the order of each key also
// for the profile that changes, and is not noticed by the one that does not; a broken config
// changes nothing; what waits for a profile that goes is not dropped unasked.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testReloadUnderLoad)
}

func testReloadUnderLoad(t *testing.T, w *world) {
	s := w.scenario("config-edit-live")
	own := *w
	own.hook = newReceiver(t)
	r := &reloaded{world: w, steady: &own}
	r.profiles("moved", "")
	r.agent = w.begin()
	own.hook.life.Add(1)
	l := w.load(2, 80, false)
	own.hook.wait(t, "steady", 50, patience)
	w.hook.wait(t, "moved", 50, patience)

	// Its address changes while what was refused there waits for its next try.
	w.hook.answer(func(a arrival) reply {
		if a.profile == "moved" {
			return reply{status: 500}
		}
		return reply{}
	})
	eventually(t, patience, "tries fail at the old address", func() bool {
		all := w.hook.all("moved")
		return !all[len(all)-1].accepted
	})
	r.profiles("moved-on", "added")
	r.hangup("added added; changed moved")
	w.insert(900_001) // after the reload: the new profile must have it
	w.hook.wait(t, "moved-on", 50, patience)
	w.hook.wait(t, "added", 50, patience)

	r.broken()
	before := w.hook.distinct("moved-on")
	w.hook.wait(t, "moved-on", before+50, patience)
	r.profiles("moved-on", "added")
	r.hangup("nothing changed")
	rotations := count(1, 10)
	for i := range rotations {
		r.rotate(i)
	}

	changes := w.ledger(l.stop(t))
	own.hook.wait(t, "steady", len(changes), patience)
	r.joined(t, changes)
	r.verifyAdded(t, changes)
	r.remove(t)

	changes = w.ledger(nil)
	own.hook.wait(t, "steady", len(changes), patience)
	r.joined(t, changes)
	w.logCount("steady", len(changes))
	w.logCount("moved", len(changes))
	r.agent.term()
	own.verify(changes, judge{profile: "steady"})
	r.verifyMoved(changes)
	s.did(7+2*rotations, "", "edits: a profile added, moved while it retried, with its secret rotated, removed with a backlog; broken and mended")
	if n := own.hook.dialled.Load(); n != 1 {
		t.Errorf("the profile that did not change opened %d connections, want 1", n)
	}
}

// profiles writes the config: where the second profile posts to, and the third, if any.
func (r *reloaded) profiles(moved, third string) {
	r.tb.Helper()
	profile := func(code, url string) string {
		return strings.Replace(r.usualProfile(code), r.hook.url(code), url, 1)
	}
	signed := profile("moved", r.hook.url(moved))
	if r.secret != "" {
		signed = strings.Replace(signed, "secret: "+secret, r.secret, 1)
	}
	r.conf.profiles = profile("steady", r.steady.hook.url("steady")) + "    concurrency: 1\n" + signed
	if third != "" {
		r.conf.profiles += profile(third, r.hook.url(third))
	}
	r.write()
}

// hangup has the agent read its config again, and waits for what comes of it.
func (r *reloaded) hangup(result string) {
	r.tb.Helper()
	r.agent.signal(syscall.SIGHUP)
	r.says(`"config reloaded" by=signal`)
	if !strings.Contains(r.agent.stderr.String(), result) { // the agent may have seen the file itself before
		r.tb.Errorf("no reload says %q", result)
	}
}

// says waits until the agent has written something new, and returns its line.
func (r *reloaded) says(text string) string {
	r.tb.Helper()
	var line string
	eventually(r.tb, patience, fmt.Sprintf("the agent says %q", text), func() bool {
		fresh := r.agent.stderr.String()[r.said:]
		before, after, ok := strings.Cut(fresh, text)
		if !ok {
			return false
		}
		rest, _, ended := strings.Cut(after, "\n")
		if !ended {
			return false
		}
		line = before[strings.LastIndexByte(before, '\n')+1:] + text + rest
		r.said += len(before) + len(text) + len(rest)
		return true
	})
	return line
}

// rotate changes the secret of the profile that moved: first both sign, then the receiver knows the
// new one alone, then the config has only that one. No request is refused meanwhile.
func (r *reloaded) rotate(i int) {
	r.tb.Helper()
	both := []string{secret, "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("another secret..", 2)))}
	before, after := both[i%2], both[1-i%2]
	more := func() {
		r.tb.Helper()
		r.hook.wait(r.tb, "moved-on", r.hook.distinct("moved-on")+50, patience)
	}
	r.secret = fmt.Sprintf("secrets: [{secret: %s}, {secret: %s}]", after, before)
	r.profiles("moved-on", "added")
	r.hangup("changed moved")
	more() // what was signed before has arrived
	r.hook.trust(r.tb, "moved-on", after)
	more()
	r.secret = "secret: " + after
	r.profiles("moved-on", "added")
	r.hangup("changed moved")
	more()
}

// broken has the agent read a config with a mistake: it says where, and nothing changes.
func (r *reloaded) broken() {
	r.tb.Helper()
	text, err := os.ReadFile(r.path("config.yaml"))
	capturetest.Must(r.tb, err)
	good := "url: " + r.hook.url("moved-on")
	before, _, ok := strings.Cut(string(text), good)
	if !ok {
		r.tb.Fatalf("the config has no %q", good)
	}
	text = []byte(strings.Replace(string(text), good, "url: "+r.hook.url("astray")+"\n    timeuot: 1s", 1))
	capturetest.Must(r.tb, os.WriteFile(r.path("config.yaml"), text, 0o600))
	r.agent.signal(syscall.SIGHUP)
	where := fmt.Sprintf("config.yaml:%d:5", strings.Count(before, "\n")+2)
	if line := r.says(`stays in force" by=signal`); !strings.Contains(line, where) || !strings.Contains(line, "timeuot") {
		r.tb.Errorf("the broken config: the agent says %q, want %s", line, where)
	}
	if result := r.rowhook("reload"); result.code != 2 || !strings.Contains(result.stderr, where) {
		r.tb.Errorf("reload of the broken config: %+v", result)
	}
}

// joined waits until the profile that moved has accepted all, here or there.
func (r *reloaded) joined(t *testing.T, changes []change) {
	t.Helper()
	eventually(t, patience, "moved accepts all", func() bool { return r.hook.distinct("moved")+r.hook.distinct("moved-on") >= len(changes) })
}

// verifyMoved is the oracle over both addresses of the profile that moved.
func (r *reloaded) verifyMoved(changes []change) {
	r.tb.Helper()
	r.hook.sound(r.tb)
	o := newOracle(r.tb, changes)
	moved := false
	r.hook.mu.Lock()
	for _, a := range r.hook.arrivals {
		switch {
		case a.profile == "astray":
			r.tb.Errorf("key %d: change %d went where a config sends it that was refused", a.key, a.seq)
		case a.profile == "moved" || a.profile == "moved-on":
			moved = moved || a.profile == "moved-on"
			o.arrive(a)
		}
	}
	r.hook.mu.Unlock()
	if !moved {
		r.tb.Error("nothing went to the new address")
	}
	o.finish(judge{profile: "moved"})
	o.checkLog(r.readLog(), judge{profile: "moved"})
}

// verifyAdded looks at the new profile: from some transaction on, it has all changes of each key,
// once and in order.
func (r *reloaded) verifyAdded(t *testing.T, changes []change) {
	t.Helper()
	last := map[int64]int64{} // key to the seq of its last change
	for _, c := range changes {
		last[c.key] = max(last[c.key], c.seq)
	}
	eventually(t, patience, "added has the last of what it got", func() bool {
		got := map[int64]int64{}
		for _, a := range r.hook.all("added") {
			got[a.key] = a.seq
		}
		for key, seq := range got {
			if seq < last[key] {
				return false
			}
		}
		return got[900_001] == 1
	})
	got := map[int64]int64{}
	for _, a := range r.hook.all("added") {
		if before, ok := got[a.key]; ok && a.seq != before+1 {
			t.Errorf("added, key %d: change %d came after change %d", a.key, a.seq, before)
		}
		got[a.key] = a.seq
	}
}

// remove takes the third profile away while something waits for it: refused, until a person says
// what becomes of that.
func (r *reloaded) remove(t *testing.T) {
	t.Helper()
	const waiting = 20
	r.hook.answer(func(a arrival) reply {
		if a.profile == "added" {
			return reply{status: 503}
		}
		return reply{}
	})
	known := len(r.steady.hook.all("steady"))
	var keys []int64
	for i := range int64(waiting) {
		keys = append(keys, 910_000+i)
	}
	r.insert(keys...)
	r.steady.hook.wait(t, "steady", known+waiting, patience)
	want := map[string]bool{}
	for _, a := range r.steady.hook.all("steady")[known:] {
		want[a.id] = true // a change has one id, whoever gets it
	}

	r.profiles("moved-on", "")
	r.agent.signal(syscall.SIGHUP)
	if line := r.says("no longer has added"); !strings.Contains(line, "could not be reloaded") || !strings.Contains(line, "--removed added=drain") {
		t.Errorf("a profile with a backlog is gone: the agent says %q", line)
	}
	if status, _ := r.status(); !strings.Contains(fmt.Sprint(status["profiles"]), "added") {
		t.Errorf("the profile is gone though that was refused: %v", status["profiles"])
	}
	if result := r.rowhook("reload", "--removed", "added=drop"); result.code != 0 || result.stdout != "reloaded: removed added\n" {
		t.Errorf("reload --removed added=drop: %+v", result)
	}
	eventually(t, patience, "each event that waited has a line", func() bool { return len(r.dropped(t)) >= waiting })
	for id, lines := range r.dropped(t) {
		if !want[id] || lines != 1 {
			t.Errorf("event %s has %d lines that say dropped; was it waiting: %v", id, lines, want[id])
		}
	}
}

// dropped counts the lines that say dropped, by event.
func (r *reloaded) dropped(t *testing.T) map[string]int {
	t.Helper()
	found := map[string]int{}
	for _, line := range r.readLog() {
		if line.Profile == "added" && line.Outcome == "dropped" {
			found[line.Event]++
		}
	}
	return found
}
