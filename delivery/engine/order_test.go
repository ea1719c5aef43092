package engine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// crash ends the engine as kill -9 does: what was not in the store by now never comes there, and
// lines that were not flushed are gone.
func (b *bench) crash() {
	b.store.mu.Lock()
	b.store.frozen = true
	b.store.mu.Unlock()
	b.lines.mu.Lock()
	b.lines.all = b.lines.all[:b.lines.flushed]
	b.lines.frozen = true
	b.lines.mu.Unlock()
	b.stop()
	<-b.done
	b.store.frozen, b.lines.frozen = false, false
	b.build()
	b.start()
}

// plan is what happens in one run of TestOrderHolds.
type plan struct {
	concurrency, keys, failing int // failing is a percentage
	onDead                     string
	seed                       uint64
	steps                      []step
}

type step struct {
	action string
	n      int // events, or milliseconds
}

func drawPlan(rt *rapid.T) plan {
	drawStep := rapid.Custom(func(rt *rapid.T) step {
		return step{
			rapid.SampledFrom([]string{"append", "append", "append", "wait", "wait", "stop", "crash"}).Draw(rt, "action"),
			rapid.IntRange(1, 300).Draw(rt, "n"),
		}
	})
	return plan{
		concurrency: rapid.IntRange(1, 5).Draw(rt, "concurrency"),
		keys:        rapid.IntRange(1, 6).Draw(rt, "keys"),
		failing:     rapid.IntRange(0, 70).Draw(rt, "failing"),
		onDead:      rapid.SampledFrom([]string{"continue", "hold_key"}).Draw(rt, "on_dead"),
		seed:        rapid.Uint64().Draw(rt, "seed"),
		steps:       rapid.SliceOfN(drawStep, 1, 30).Draw(rt, "steps"),
	}
}

// TestOrderHolds sends events of few keys through an endpoint that fails at random, with stops and
// crashes in between. For each key the first arrivals must be in commit order, nothing may be lost,
// and without a crash each event has one terminal line.
func TestOrderHolds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlan(rt)
		var problems []string
		synctest.Test(t, func(t *testing.T) { problems = p.run(t) })
		for _, problem := range problems {
			rt.Error(problem)
		}
	})
}

func (p *plan) run(t *testing.T) []string {
	b := setup(t, func(c *delivery.ProfileConfig) {
		c.Concurrency, c.OnDead = p.concurrency, p.onDead
		c.Retry = delivery.RetryConfig{Initial: 10 * time.Millisecond, Max: 100 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxAge: time.Hour}
	})
	random := rand.New(rand.NewPCG(p.seed, 0))
	bad := []delivery.Reply{
		broken, unreachable, refused,
		{Class: delivery.ClassThrottle, Status: 429, Reason: "status_4xx", RetryAfter: 30 * time.Millisecond},
		{Class: delivery.ClassProfile, Reason: "guard"},
		{Class: delivery.ClassDead, Status: 404, Reason: "status_4xx"},
	}
	b.receiver.took = time.Millisecond
	b.receiver.script(func(int, *delivery.Request) delivery.Reply {
		if random.IntN(100) >= p.failing {
			return ok
		}
		return bad[random.IntN(20)%len(bad)]
	})
	b.start()
	var events []*delivery.Event
	crashed := false
	for _, s := range p.steps {
		switch s.action {
		case "append":
			for range s.n / 6 {
				b.receiver.mu.Lock()
				ev := event(fmt.Sprintf("e%d", len(events)), fmt.Sprint(random.IntN(p.keys)))
				if random.IntN(5) == 0 {
					ev.OrderKeyOld = fmt.Sprint(random.IntN(p.keys))
				}
				b.receiver.mu.Unlock()
				events = append(events, ev)
				b.append(ev)
			}
		case "wait":
			time.Sleep(time.Duration(s.n) * time.Millisecond)
		case "stop":
			b.stopped()
			b.build()
			b.start()
		case "crash":
			b.crash()
			crashed = true
		}
	}
	b.receiver.script(nil)
	time.Sleep(2 * time.Hour)
	var problems []string
	if p.onDead == "hold_key" {
		for b.status().Dead > 0 {
			if _, err := b.engine.FailedRetry(t.Context(), engine.Filter{}); err != nil {
				return []string{err.Error()}
			}
			time.Sleep(2 * time.Hour)
		}
		problems = append(problems, wrongDeliveries(b, events)...)
	}
	if s := b.status(); s.BacklogEvents != 0 || s.Retrying+s.Blocked != 0 || s.State != "active" {
		problems = append(problems, fmt.Sprintf("left over: %+v", s))
	}
	if jobs, lanes := engine.InMemory(b.engine); jobs != 0 || lanes != 0 {
		problems = append(problems, fmt.Sprintf("%d jobs and %d lanes left", jobs, lanes))
	}
	b.stopped()
	problems = append(problems, wrongArrivals(b, events)...)
	return append(problems, wrongLines(b, events, crashed)...)
}

// wrongArrivals looks at what the receiver got, in the order of its coming.
func wrongArrivals(b *bench, events []*delivery.Event) (problems []string) {
	place := make(map[string]int)
	for i, ev := range events {
		place[ev.ID] = i
	}
	last := make(map[string]int)
	seen := make(map[string]bool)
	for _, req := range b.receiver.got {
		i := place[req.ID]
		if seen[req.ID] {
			continue
		}
		seen[req.ID] = true
		for _, key := range []string{events[i].OrderKey, events[i].OrderKeyOld} {
			if key == "" {
				continue
			}
			if before, ok := last[key]; ok && before > i {
				problems = append(problems, fmt.Sprintf("%s came first after e%d of the same key", req.ID, before))
			}
			last[key] = i
		}
	}
	if len(seen) != len(events) {
		problems = append(problems, fmt.Sprintf("%d of %d events came", len(seen), len(events)))
	}
	return problems
}

// wrongDeliveries looks for events that were delivered after later ones of their keys.
func wrongDeliveries(b *bench, events []*delivery.Event) (problems []string) {
	place := make(map[string]int)
	for i, ev := range events {
		place[ev.ID] = i
	}
	last := make(map[string]int)
	seen := make(map[string]bool) // a crash may repeat
	for _, r := range b.lines.of("") {
		if r.Outcome != delivery.OutcomeDelivered || seen[r.Event] {
			continue
		}
		seen[r.Event] = true
		i := place[r.Event]
		for _, key := range []string{events[i].OrderKey, events[i].OrderKeyOld} {
			if before, ok := last[key]; ok && key != "" && before > i {
				problems = append(problems, fmt.Sprintf("%s was delivered after e%d of the same key", r.Event, before))
			}
			last[key] = max(i, last[key])
		}
	}
	return problems
}

// wrongLines looks for events without their one terminal line.
func wrongLines(b *bench, events []*delivery.Event, crashed bool) (problems []string) {
	terminal := make(map[string]int)
	for _, r := range b.lines.of("") {
		if r.Outcome.Terminal() && r.Round <= 1 {
			terminal[r.Event]++
		}
	}
	for _, ev := range events {
		if n := terminal[ev.ID]; n == 0 || n > 1 && !crashed {
			problems = append(problems, fmt.Sprintf("%s has %d terminal lines", ev.ID, n))
		}
	}
	return problems
}
