package engine_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
	"rowhook/delivery/spool"
)

// accepting is a receiver that accepts all and writes down what it was sent.
type accepting struct {
	mu       sync.Mutex
	requests []delivery.Request
}

func (a *accepting) Send(_ context.Context, req *delivery.Request) delivery.Reply {
	a.mu.Lock()
	defer a.mu.Unlock()
	kept := *req
	kept.Body = slices.Clone(req.Body)
	a.requests = append(a.requests, kept)
	now := time.Now()
	return delivery.Reply{Class: delivery.ClassOK, Status: 204, Started: now, Date: now}
}

func (a *accepting) Describe() (method, url string) { return "POST", "https://example.org/hook" }

// all returns the requests so far.
func (a *accepting) all() []delivery.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests)
}

// earlier is a copy of the state directory that an earlier version left, and an engine on it.
type earlier struct {
	t         *testing.T
	store     *spool.Spool
	engine    *engine.Engine
	lines     *lines
	receivers map[string]*accepting
}

// openEarlier opens the state with the profiles that it was written with. Their events are kept for
// good, so that the test does not depend on the day.
func openEarlier(t *testing.T) *earlier {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "spool")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "testdata", "state-428a154", "spool"))); err != nil {
		t.Fatal(err)
	}
	const ever = 100 * 365 * 24 * time.Hour
	store, err := spool.Open(dir, spool.Options{History: ever, Dead: ever})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	e := &earlier{t: t, store: store, lines: &lines{}, receivers: make(map[string]*accepting)}
	var profiles []*engine.Profile
	for _, code := range []string{"main", "down", "refused", "paused", "blocked", "batched", "grouped", "holding"} {
		c := delivery.Defaults()
		c.Code = code
		c.Retry.Initial, c.Retry.Max, c.Retry.Jitter = time.Hour, 2*time.Hour, 0
		switch code {
		case "batched":
			c.Unit, c.Batch = "batch", delivery.BatchConfig{Max: 3, Wait: 10 * time.Millisecond}
		case "grouped":
			c.Unit = "transaction"
		case "holding":
			c.OnDead = "hold_key"
		}
		e.receivers[code] = &accepting{}
		p, err := engine.NewProfile(c, productOf(c), e.receivers[code], plain{})
		if err != nil {
			t.Fatal(err)
		}
		profiles = append(profiles, p)
	}
	if e.engine, err = engine.New(store, e.lines, profiles, engine.Options{}); err != nil {
		t.Fatal(err)
	}
	return e
}

// status returns how a profile stands.
func (e *earlier) status(code string) delivery.ProfileStatus {
	e.t.Helper()
	all, err := e.engine.Status()
	if err != nil {
		e.t.Fatal(err)
	}
	return all[slices.IndexFunc(all, func(s delivery.ProfileStatus) bool { return s.Profile == code })]
}

// run lets the engine deliver until a profile has nothing left to do.
func (e *earlier) run(codes ...string) {
	e.t.Helper()
	ctx, cancel := context.WithCancel(e.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.engine.Run(ctx) }()
	for _, code := range codes {
		for e.status(code).BacklogEvents > 0 {
			if ctx.Err() != nil {
				e.t.Fatalf("%s: %+v", code, e.status(code))
			}
			runtime.Gosched()
		}
	}
	cancel()
	if err := <-ended; err != nil {
		e.t.Fatal(err)
	}
}

// earlierStands is how the profiles stand in the state that an earlier version left.
var earlierStands = map[string]delivery.ProfileStatus{
	"main":    {State: "active", Breaker: "closed"},
	"down":    {State: "waiting", Reason: "status_5xx", Breaker: "open", BacklogEvents: 8, Retrying: 2, Blocked: 4, BlockedKeys: 2},
	"refused": {State: "active", Breaker: "closed", Dead: 3},
	"paused":  {State: "inactive", Reason: "operator", Breaker: "closed", BacklogEvents: 8, Attention: true},
	"blocked": {State: "active", Breaker: "closed", BacklogEvents: 3, Retrying: 1, Blocked: 2, BlockedKeys: 1},
	"batched": {State: "active", Breaker: "closed", BacklogEvents: 8, Retrying: 3, Blocked: 3, BlockedKeys: 4},
	"grouped": {State: "active", Breaker: "closed", BacklogEvents: 8, Retrying: 4, Blocked: 4, BlockedKeys: 4},
	"holding": {State: "active", Breaker: "closed", BacklogEvents: 2, Blocked: 2, BlockedKeys: 1, HeldKeys: 1, Dead: 1},
}

// TestEarlierState opens what the agent of commit 428a154 left: it stands as it stood, and all of
// it is delivered, in order, told of as it was promised.
func TestEarlierState(t *testing.T) {
	t.Parallel()
	e := openEarlier(t)
	for code, want := range earlierStands {
		got := e.status(code)
		if got.Breaker == "half_open" { // its next probe is due by now
			got.Breaker = "open"
		}
		for _, field := range []struct {
			name      string
			got, want any
		}{
			{"state", got.State, want.State}, {"reason", got.Reason, want.Reason}, {"breaker", got.Breaker, want.Breaker},
			{"backlog", got.BacklogEvents, want.BacklogEvents}, {"retrying", got.Retrying, want.Retrying},
			{"blocked", got.Blocked, want.Blocked}, {"blocked keys", got.BlockedKeys, want.BlockedKeys},
			{"held keys", got.HeldKeys, want.HeldKeys}, {"dead", got.Dead, want.Dead}, {"attention", got.Attention, want.Attention},
		} {
			if field.got != field.want {
				t.Errorf("%s: %s is %v, was %v", code, field.name, field.got, field.want)
			}
		}
	}

	// Operators let go on what waits.
	if _, err := e.engine.RetryAllNow(""); err != nil {
		t.Fatal(err)
	}
	if err := e.engine.Resume("paused", engine.ResumeHeld); err != nil {
		t.Fatal(err)
	}
	if changed, err := e.engine.FailedRetry(t.Context(), engine.Filter{Profile: "holding"}); err != nil || changed.Count != 1 {
		t.Fatalf("retried dead letters: %+v, %v", changed, err)
	}
	e.run("down", "paused", "blocked", "batched", "grouped", "holding")

	for code, want := range map[string]int{"main": 0, "refused": 0, "down": 8, "paused": 8, "blocked": 3, "holding": 3, "batched": 3, "grouped": 6} {
		if got := e.receivers[code].all(); len(got) != want {
			t.Errorf("%s: %d requests, want %d", code, len(got), want)
		}
	}
	inOrder(t, e)
	e.tellGap()
}

// inOrder looks that each key's events came in the order in which they were committed.
func inOrder(t *testing.T, e *earlier) {
	t.Helper()
	for _, code := range []string{"down", "paused", "blocked", "holding"} {
		last := make(map[string]delivery.Seq)
		for _, req := range e.receivers[code].all() {
			key, seq := e.find(req.ID)
			if seq <= last[key] {
				t.Errorf("%s: %s of key %s came after a later one", code, req.ID, key)
			}
			last[key] = seq
		}
	}
}

// find returns an event's ordering key and place.
func (e *earlier) find(id string) (key string, seq delivery.Seq) {
	e.t.Helper()
	for _, entry := range e.entries() {
		if entry.Event.ID == id {
			return entry.Event.OrderKey, entry.Seq
		}
	}
	e.t.Fatalf("nobody knows %s", id)
	return "", 0
}

// entries are all events of the log.
func (e *earlier) entries() []delivery.Entry {
	e.t.Helper()
	id, err := e.store.Register("main")
	if err != nil {
		e.t.Fatal(err)
	}
	entries, _, _, err := e.store.History(id, 1, nil, 100, 1<<20)
	if err != nil || len(entries) < 8 {
		e.t.Fatalf("%d entries: %v", len(entries), err)
	}
	return entries
}

// tellGap delivers one more event of row 1: its receiver is told of the three that it did not get.
func (e *earlier) tellGap() {
	e.t.Helper()
	id, err := e.store.Register("refused")
	if err != nil {
		e.t.Fatal(err)
	}
	first := e.entries()[0].Event
	next := *first
	next.ID = "evt_after"
	batch := e.store.NewBatch()
	batch.Add(&next, []delivery.ProfileID{id})
	batch.Commit("0/2")
	if err := e.store.Apply(batch); err != nil {
		e.t.Fatal(err)
	}
	e.run("refused")
	got := e.receivers["refused"].all()
	if len(got) != 1 || !strings.HasPrefix(got[0].Gap, "count=3; first="+first.ID+"; last=evt_") {
		e.t.Errorf("refused: %+v", got)
	}
}
