package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/agent"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/directories"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/delivery/spool"
)

// repairWorld is a state directory on which commands are run, with or without an agent. Of its
// profile desk, events a and c are delivered, b is a dead letter, and d, which fails, has e of its key
// behind it.
type repairWorld struct {
	config string
	state  string
	well   atomic.Bool // the receiver takes everything
	stop   func()      // ends the agent, if one runs
}

func newRepairWorld(t *testing.T, running bool) *repairWorld {
	t.Helper()
	w := &repairWorld{}
	receiver := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case w.well.Load():
		case strings.Contains(string(body), `"id":"evt_b"`):
			rw.WriteHeader(http.StatusNotFound)
		case strings.Contains(string(body), `"id":"evt_d"`):
			rw.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(receiver.Close)
	c, path := write(t, fmt.Sprintf("%sprofiles:\n  desk: {url: %s, signature: none, allow_networks: [loopback], replies: {404: dead}, retry: {initial: 1h}}\n", smallConfig, receiver.URL))
	w.config, w.state = path, c.State
	if err := directories.MakePrivate(c.State); err != nil {
		t.Fatal(err)
	}
	store, err := spool.Open(filepath.Join(c.State, "spool"), spool.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	desk, err := store.Register("desk")
	if err != nil {
		t.Fatal(err)
	}
	batch := store.NewBatch()
	for i, ev := range []struct{ id, typ, key string }{
		{"a", "loan.created", "1"}, {"b", "loan.created", "1"}, {"c", "loan.returned", "1"}, {"d", "loan.created", "2"}, {"e", "loan.returned", "2"},
	} {
		batch.Add(&delivery.Event{
			Making: &delivery.Making{Type: ev.typ, Entry: "circulation.loans", Table: "circulation.loans", Op: "insert"},
			Commit: &delivery.Commit{Time: time.Now(), Position: "0/10"},
			ID:     "evt_" + ev.id, OrderKey: ev.key, Key: fmt.Appendf(nil, `{"loan_id":%s}`, ev.key), Data: []byte(`{}`), Ordinal: i,
		}, []delivery.ProfileID{desk})
	}
	batch.Commit("0/10")
	if err := errors.Join(store.Apply(batch), store.Close()); err != nil {
		t.Fatal(err)
	}
	w.open(t, c)
	w.await(t, func(s delivery.ProfileStatus) bool { return s.BacklogEvents == 2 && s.Retrying == 1 && s.Blocked == 1 })
	if !running {
		w.stop()
	}
	return w
}

// open runs an agent that delivers what the state directory holds.
func (w *repairWorld) open(t *testing.T, c *config.Config) {
	t.Helper()
	stop := runAgent(t, c, func(s agent.Source) agent.Source { return silentSource{s} })
	w.stop = sync.OnceFunc(stop)
	t.Cleanup(func() { w.stop() })
}

// silentSource is a source of which nothing comes.
type silentSource struct{ agent.Source }

// Run has the agent find the stream where it was.
func (silentSource) Run(ctx context.Context, start capture.StartOptions, _ capture.Sink) error {
	server := capture.Server{Lineage: "7001"}
	if err := start.OnConnect(server); err != nil {
		return err
	}
	start.OnStarted(capture.Started{Server: server, Resumed: true})
	<-ctx.Done()
	return nil
}

// await waits until the profile stands as wanted.
func (w *repairWorld) await(t *testing.T, reached func(delivery.ProfileStatus) bool) {
	t.Helper()
	running, err := agent.ReachRunning(w.state)
	if err != nil {
		t.Fatal(err)
	}
	defer running.Close()
	var all []operation.ProfileListing
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	deadline := time.After(30 * time.Second)
	for {
		if err := running.Call(t.Context(), "profile/list", operation.None{}, &all); err != nil {
			t.Fatal(err)
		}
		if reached(all[0].ProfileStatus) {
			return
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("profiles %+v", all)
		}
	}
}

func (w *repairWorld) run(t *testing.T, args ...string) result {
	t.Helper()
	return rowhook(t, append(args, "-c", w.config)...)
}

// audit returns the commands of the audit trail with their keys and counts.
func (w *repairWorld) audit(t *testing.T) (lines []string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.state, "audit.jsonl"))
	if err != nil {
		return nil
	}
	for text := range strings.Lines(string(raw)) {
		var line operation.AuditLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line.User == "" || line.Time.IsZero() {
			t.Errorf("audit line %s", text)
		}
		lines = append(lines, strings.TrimSpace(line.Command+" "+line.Key+" "+line.New))
	}
	return lines
}

func TestMendingCommands(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running=%v", running), func(t *testing.T) {
			t.Parallel()
			w := newRepairWorld(t, running)
			for _, step := range []struct {
				args     string
				code     int
				out, err string // parts of what is printed
			}{
				{"queue list", 0, "evt_d", ""},
				{"queue list --key 2 --state blocked --json", 0, `"id": "evt_e"`, ""},
				{"queue list --profile nobody", 1, "", `there is no profile "nobody"`},
				{"queue retry-now evt_e", 1, "", "waits behind"},
				{"queue retry-now evt_d --profile desk", 0, "", "evt_d is tried now."},
				{"queue retry-now", exitUsage, "", "name an event's id, --profile CODE for all that waits for one profile, or --all"},
				{"queue retry-now evt_d --all", exitUsage, "", "do not go together"},
				{"queue retry-now --profile dask", 1, "", `there is no profile "dask"`},
				{"queue skip evt_e", 0, "", "evt_e is a dead letter now."},
				{"failed list --type loan.c* --reason status_4xx --since 1h --json", 0, `"id": "evt_b"`, ""},
				{"failed list --until 1h", 0, "", "There are no dead letters."},
				{"failed show evt_b", 0, "reason    status_4xx", ""},
				{"failed retry evt_zzz", 1, "", "there is no dead letter of event evt_zzz"},
				{"failed retry", 2, "", "which dead letters?"},
				{"failed discard --reason operator --json", 0, `"count": 1`, ""},
				{"replay", 2, "", "which profile?"},
				{"replay --profile desk --dry-run", 0, "loan.returned  2", "3 events of"},
				{"replay --profile desk --dry-run --type loan.created --json", 0, `"loan.created": 1`, ""},
				{"replay --profile desk --until 1h", 0, "", "History has no such events."},
				{"replay --profile desk --stop", 1, "", "no replay to desk is under way"},
			} {
				got := w.run(t, strings.Fields(step.args)...)
				if got.code != step.code || !strings.Contains(got.out, step.out) || !strings.Contains(got.err, step.err) || strings.Contains(got.err, "hint: hint") {
					t.Errorf("%s: %+v, want exit %d, %q, %q", step.args, got, step.code, step.out, step.err)
				}
			}
			w.well.Store(true)
			for args, want := range map[string]string{"failed retry --profile desk": "1 retried.", "replay --profile desk --type loan.returned --since 1d": "2 events of"} {
				if got := w.run(t, strings.Fields(args)...); got.code != 0 || !strings.Contains(got.err, want) {
					t.Errorf("%s: %+v", args, got)
				}
			}
			if got := w.run(t, "queue", "retry-now", "--profile", "desk"); got.code != 0 || !strings.Contains(got.err, "desk: ") || !strings.Contains(got.err, "tried now.") {
				t.Errorf("%+v", got)
			}
			if !running {
				c, err := config.Load(w.config, env(nil), "")
				if err != nil {
					t.Fatal(err)
				}
				w.open(t, c)
			}
			w.await(t, func(s delivery.ProfileStatus) bool { return s.BacklogEvents == 0 && s.Replaying == 0 && s.Dead == 0 })
			w.stop()
			w.wantRounds(t)
			want := []string{"queue retry-now evt_d", "queue skip evt_e", `failed discard {"reason":"operator"} 1`, "queue retry-now  "}
			all := strings.Join(w.audit(t), "\n")
			for _, line := range want {
				if !strings.Contains(all, line) {
					t.Errorf("%q is not in the audit trail:\n%s", line, all)
				}
			}
			if !strings.Contains(all, "failed retry  1") || !strings.Contains(all, `replay {"type":"loan.returned","since":`) || strings.Count(all, "replay") != 1 {
				t.Errorf("audit trail:\n%s", all)
			}
		})
	}
}

// wantRounds holds the delivery log to what came of each event.
func (w *repairWorld) wantRounds(t *testing.T) {
	t.Helper()
	got := w.run(t, "log", "--json")
	lines := make(map[string][]string)
	for text := range strings.Lines(got.out) {
		var line struct {
			Event, Outcome, Reason string
			Round                  int
		}
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatal(err)
		}
		if line.Outcome != "retrying" {
			lines[line.Event] = append(lines[line.Event], fmt.Sprintf("%s %d", line.Outcome, line.Round))
		}
	}
	for event, want := range map[string]string{
		"evt_a": "delivered 0", "evt_b": "dead 0, delivered 2", "evt_c": "delivered 0, delivered 2", "evt_d": "delivered 0",
		"evt_e": "dead 0, discarded 0, delivered 2", // what was discarded is still in history
	} {
		if text := strings.Join(lines[event], ", "); text != want {
			t.Errorf("%s: %s, want %s", event, text, want)
		}
	}
}
