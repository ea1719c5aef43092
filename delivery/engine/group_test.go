package engine_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// sent is the body of a group as plain renders it.
type sent struct {
	ID, Unit, Type     string
	Count, Part, Parts int
	Events             []struct{ ID string }
}

func (s *sent) ids() (ids []string) {
	for _, ev := range s.Events {
		ids = append(ids, ev.ID)
	}
	return ids
}

// groups returns what the receiver got, request by request.
func (r *receiver) groups(t testing.TB) (all []sent) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, req := range r.got {
		var s sent
		if err := json.Unmarshal(req.Body, &s); err != nil || s.ID != req.ID || s.Count != len(s.Events) {
			t.Fatalf("request %s: %s: %v", req.ID, req.Body, err)
		}
		all = append(all, s)
	}
	return all
}

// sizes returns how many events each request had.
func (r *receiver) sizes(t testing.TB) (all []int) {
	t.Helper()
	for _, s := range r.groups(t) {
		all = append(all, s.Count)
	}
	return all
}

func batches(max int, wait time.Duration) func(*delivery.ProfileConfig) {
	return func(c *delivery.ProfileConfig) {
		c.Unit, c.Batch = "batch", delivery.BatchConfig{Max: max, Wait: wait}
		c.Retry.Jitter = 0
	}
}

// some makes events e1, e2, ... of as many keys.
func some(from, to, keys int) (events []*delivery.Event) {
	for i := from; i <= to; i++ {
		events = append(events, event(fmt.Sprintf("e%d", i), fmt.Sprint(i%keys)))
	}
	return events
}

// TestBatchGoesWhenFullOrInTime holds when a batch goes, what it is known by, and what the log says
// of it.
func TestBatchGoesWhenFullOrInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batches(10, time.Second))
		b.start()
		b.append(some(1, 25, 1000)...)
		time.Sleep(time.Second - time.Millisecond)
		if got := b.receiver.sizes(t); !slices.Equal(got, []int{10, 10}) {
			t.Errorf("sent at once: %v", got)
		}
		if s := b.status(); s.BacklogEvents != 5 {
			t.Errorf("status %+v", s)
		}
		time.Sleep(2 * time.Millisecond)
		if got := b.receiver.sizes(t); !slices.Equal(got, []int{10, 10, 5}) {
			t.Errorf("sent after the wait: %v", got)
		}
		b.append(some(26, 26, 1000)...)
		time.Sleep(500 * time.Millisecond)
		b.append(some(27, 27, 1000)...)
		time.Sleep(501 * time.Millisecond)
		if got := b.receiver.groups(t); len(got) != 4 || !slices.Equal(got[3].ids(), []string{"e26", "e27"}) {
			t.Errorf("the first of a batch waits for a second: %v", got)
		}
		time.Sleep(time.Second)
		b.stopped()
		group := b.receiver.groups(t)[0]
		lines := wantOutcomes(t, b, group.ID, delivery.OutcomeDelivered)
		if l := lines[0]; l.Unit != "batch" || l.Count != 10 || l.First != "e1" || l.Last != "e10" || l.Key != nil || l.Type != "" || l.Position != "0/1" {
			t.Errorf("line %+v", l)
		}
		if s := b.status(); s.BacklogEvents != 0 || s.BacklogBytes != 0 || s.Outcomes[delivery.OutcomeDelivered] != 27 {
			t.Errorf("status %+v", s)
		}
		if !strings.HasPrefix(group.ID, "grp_") || strings.Contains(group.ID, ".") || group.Parts != 0 {
			t.Errorf("group %+v", group)
		}
	})
}

// TestBatchIsRetriedAsItWas has a batch fail: the same bytes come again, nothing of its keys
// before.
func TestBatchIsRetriedAsItWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batches(10, time.Second))
		b.receiver.script(func(n int, _ *delivery.Request) delivery.Reply {
			if n <= 2 {
				return broken
			}
			return ok
		})
		b.start()
		b.append(some(1, 10, 2)...)
		time.Sleep(10 * time.Millisecond)
		b.append(some(11, 40, 2)...)
		time.Sleep(10 * time.Millisecond)
		if s := b.status(); s.Retrying != 10 || s.Blocked != 30 || s.BlockedKeys != 2 {
			t.Errorf("status %+v", s)
		}
		b.stopped()
		b.build()
		b.start()
		time.Sleep(10 * time.Second)
		b.stopped()
		got := b.receiver.groups(t)
		if sizes := b.receiver.sizes(t); !slices.Equal(sizes, []int{10, 10, 10, 10, 10, 10}) {
			t.Fatalf("sent %v", sizes)
		}
		for i := range 3 {
			if string(b.receiver.got[i].Body) != string(b.receiver.got[0].Body) {
				t.Errorf("request %d: %s", i, b.receiver.got[i].Body)
			}
		}
		if got[3].Events[0].ID != "e11" || got[5].Events[9].ID != "e40" {
			t.Errorf("order: %v", got)
		}
		wantOutcomes(t, b, got[0].ID, "retrying", "retrying", "delivered")
		if records := b.store.sorted(1, func(delivery.Delivery) bool { return true }); len(records) != 0 {
			t.Errorf("left in the store: %+v", records)
		}
	})
}

// TestPoisonStandsAloneInTheEnd has a receiver refuse all requests with one of its events.
func TestPoisonStandsAloneInTheEnd(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"key", "none"} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, func(c *delivery.ProfileConfig) {
				batches(100, time.Second)(c)
				c.Order = order
			})
			b.receiver.script(func(_ int, req *delivery.Request) delivery.Reply {
				if strings.Contains(string(req.Body), `"e37"`) {
					return refused
				}
				return ok
			})
			b.start()
			b.append(some(1, 250, 1000)...)
			time.Sleep(10 * time.Second)
			if s := b.status(); s.BacklogEvents != 0 || s.Dead != 1 || s.Outcomes[delivery.OutcomeDead] != 1 {
				t.Errorf("status %+v", s)
			}
			items, err := b.engine.Failed(engine.Filter{})
			if err != nil || len(items.Items) != 1 || items.Items[0].First != "e37" || items.Items[0].Last != "e37" || items.Items[0].Count != 1 {
				t.Errorf("dead letters %+v, %v", items, err)
			}
			b.stopped()
			delivered := make(map[string]bool)
			for i, s := range b.receiver.groups(t) {
				if i < 1 && s.Count != 100 {
					t.Errorf("request %d has %d events", i, s.Count)
				}
				for _, id := range s.ids() {
					delivered[id] = delivered[id] || !slices.Contains(s.ids(), "e37")
				}
			}
			for _, ev := range some(1, 250, 1) {
				if delivered[ev.ID] != (ev.ID != "e37") {
					t.Errorf("%s delivered: %v", ev.ID, delivered[ev.ID])
				}
			}
			// 100, then 50 and so on down to the one that is tried three times.
			if n := len(wantOutcomes(t, b, items.Items[0].ID, "retrying", "retrying", "dead")); n != 3 {
				t.Errorf("%d tries of the poison", n)
			}
		})
	}
}

// TestLargeBatchIsSplit has batches whose bodies exceed max_body: nothing is refused but an event
// that is too large on its own.
func TestLargeBatchIsSplit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, func(c *delivery.ProfileConfig) {
			batches(100, time.Second)(c)
			c.MaxBody = 600
		})
		b.start()
		events := some(1, 100, 1000)
		events[49].Key = fmt.Appendf(nil, `{"loan_id":%q}`, strings.Repeat("x", 600))
		b.append(events...)
		time.Sleep(10 * time.Second)
		if s := b.status(); s.BacklogEvents != 0 || s.Dead != 1 || s.LastReason != "oversize" {
			t.Errorf("status %+v", s)
		}
		b.stopped()
		n := 0
		for i, s := range b.receiver.groups(t) {
			if n += s.Count; len(b.receiver.got[i].Body) > 600 {
				t.Errorf("a body of %d bytes", len(b.receiver.got[i].Body))
			}
		}
		if n != 99 {
			t.Errorf("%d events came", n)
		}
	})
}

// TestManyKeysGoAlone has a batch of more keys than lanes are kept for: it waits for all before it
// and holds all behind it.
func TestManyKeysGoAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batches(600, 100*time.Millisecond))
		b.receiver.took = 50 * time.Millisecond
		b.receiver.script(func(n int, _ *delivery.Request) delivery.Reply {
			if n == 1 || n == 3 {
				return broken
			}
			return ok
		})
		b.start()
		many := some(601, 1200, 1_000_000)
		for _, ev := range many {
			ev.OrderKeyOld = "old " + ev.OrderKey
		}
		b.append(some(1, 600, 1_000_000)...)
		b.append(many...)
		b.append(some(1201, 1800, 1_000_000)...)
		time.Sleep(20 * time.Second)
		b.stopped()
		var firsts []string
		for _, s := range b.receiver.groups(t) {
			firsts = append(firsts, s.Events[0].ID)
		}
		if !slices.Equal(firsts, []string{"e1", "e1", "e601", "e601", "e1201"}) {
			t.Errorf("came in the order %v", firsts)
		}
		for i, at := range b.receiver.times[1:] {
			if gap := at.Sub(b.receiver.times[i]); gap < 50*time.Millisecond {
				t.Errorf("request %d came %v after the one before", i+2, gap)
			}
		}
	})
}

// TestGroupsHold is TestOrderHolds for groups: for each key the first arrivals are in commit order,
// nothing is lost, and each event has one terminal line through its group, or more after a crash.
func TestGroupsHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPlan(rt)
		g := groupPlan{plan: p, unit: rapid.SampledFrom(groupUnits).Draw(rt, "unit"), max: rapid.IntRange(1, 20).Draw(rt, "max")}
		var problems []string
		synctest.Test(t, func(t *testing.T) { problems = g.run(t) })
		for _, problem := range problems {
			rt.Error(problem)
		}
	})
}

var groupUnits = []string{"batch", "transaction", "type"}

type groupPlan struct {
	plan
	unit string
	max  int
}

func (p *groupPlan) run(t *testing.T) []string {
	b := setup(t, func(c *delivery.ProfileConfig) {
		c.Unit, c.Batch = p.unit, delivery.BatchConfig{Max: p.max, Wait: 20 * time.Millisecond}
		c.Concurrency, c.OnDead = p.concurrency, p.onDead
		c.Retry = delivery.RetryConfig{Initial: 10 * time.Millisecond, Max: 100 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxAge: time.Hour}
	})
	random := rand.New(rand.NewPCG(p.seed, 0))
	bad := []delivery.Reply{
		broken, unreachable, refused,
		{Class: delivery.ClassThrottle, Status: 429, Reason: "status_4xx", RetryAfter: 30 * time.Millisecond},
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
	for i, s := range p.steps {
		switch s.action {
		case "append":
			var transaction []*delivery.Event
			n := 1 + s.n/6
			if s.n > 270 && p.unit != "batch" {
				n = 2500 // more than are held in memory
			}
			for range n {
				b.receiver.mu.Lock()
				ev := event(fmt.Sprintf("e%d", len(events)), fmt.Sprint(random.IntN(p.keys)))
				if random.IntN(5) == 0 {
					ev.OrderKeyOld = fmt.Sprint(random.IntN(p.keys))
				}
				ev.Type = []string{"loan.created", "loan.returned", "loan.lost"}[random.IntN(3)]
				b.receiver.mu.Unlock()
				ev.Transaction = fmt.Sprint(i)
				events, transaction = append(events, ev), append(transaction, ev)
			}
			b.append(transaction...)
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
	if p.onDead == "hold_key" {
		for b.status().Dead > 0 {
			if _, err := b.engine.FailedRetry(t.Context(), engine.Filter{}); err != nil {
				return []string{err.Error()}
			}
			time.Sleep(2 * time.Hour)
		}
	}
	var problems []string
	if s := b.status(); s.BacklogEvents != 0 || s.BacklogBytes != 0 || s.Retrying+s.Blocked != 0 || s.State != "active" {
		problems = append(problems, fmt.Sprintf("left over: %+v", s))
	}
	if jobs, lanes := engine.InMemory(b.engine); jobs != 0 || lanes != 0 {
		problems = append(problems, fmt.Sprintf("%d jobs and %d lanes left", jobs, lanes))
	}
	b.stopped()
	return append(problems, p.wrongGroups(t, b, events, crashed)...)
}

// wrongPart compares a request with the group that it should be, or be a part of.
func wrongPart(s *sent, whole []string) []string {
	want, parts := whole, 0
	if len(whole) > 1000 {
		chunks := slices.Collect(slices.Chunk(whole, 1000))
		parts = len(chunks)
		if s.Part < 1 || s.Part > parts {
			return []string{fmt.Sprintf("part %d of %d", s.Part, parts)}
		}
		want = chunks[s.Part-1]
	}
	if s.Parts != parts || !slices.Equal(s.ids(), want) {
		return []string{fmt.Sprintf("part %d of %d: %d events from %s on, want %d from %s on, in %d parts",
			s.Part, s.Parts, s.Count, s.ids()[0], len(want), want[0], parts)}
	}
	return nil
}

// reference sorts events into the groups that they belong to: by their places, in order. For a
// batch each is its own.
func (p *groupPlan) reference(events []*delivery.Event) (groups map[int][]string, of []int) {
	groups = make(map[int][]string)
	heads := make(map[string]int)
	for i, ev := range events {
		name := ev.Transaction
		switch p.unit {
		case "type":
			name += " " + ev.Type
		case "batch":
			name = ev.ID
		}
		if _, known := heads[name]; !known {
			heads[name] = i
		}
		head := heads[name]
		groups[head], of = append(groups[head], ev.ID), append(of, head)
	}
	return groups, of
}

// wrongGroups looks at what the receiver got and at the lines, member by member.
func (p *groupPlan) wrongGroups(t *testing.T, b *bench, events []*delivery.Event, crashed bool) (problems []string) {
	place := make(map[string]int)
	for i, ev := range events {
		place[ev.ID] = i
	}
	last, seen := make(map[string]int), make(map[string]bool)
	groups, of := p.reference(events)
	members := make(map[string][]string)
	for _, s := range b.receiver.groups(t) {
		if was := members[s.ID]; was != nil && !slices.Equal(was, s.ids()) {
			problems = append(problems, fmt.Sprintf("%s had %v, and then %v", s.ID, was, s.ids()))
		}
		members[s.ID] = s.ids()
		if p.unit == "batch" && s.Count > p.max {
			problems = append(problems, fmt.Sprintf("a batch of %d", s.Count))
		}
		if p.unit != "batch" {
			problems = append(problems, wrongPart(&s, groups[of[place[s.ids()[0]]]])...)
		}
		for _, id := range s.ids() {
			i := place[id]
			if seen[id] {
				continue
			}
			seen[id] = true
			rank := i // a request stands in the order where its first event does
			if p.unit != "batch" {
				rank = place[s.ids()[0]]
			}
			for _, key := range []string{events[i].OrderKey, events[i].OrderKeyOld} {
				if before, ok := last[key]; ok && key != "" && before > rank {
					problems = append(problems, fmt.Sprintf("%s came first after e%d of the same key", id, before))
				}
				last[key] = rank
			}
		}
	}
	if len(seen) != len(events) {
		problems = append(problems, fmt.Sprintf("%d of %d events came", len(seen), len(events)))
	}
	terminal := make(map[string]int)
	for _, r := range b.lines.of("") {
		ids := members[r.Event]
		if r.Count != len(ids) || r.First != ids[0] || r.Last != ids[len(ids)-1] {
			problems = append(problems, fmt.Sprintf("line %+v of %v", r, ids))
		}
		for _, id := range ids {
			if r.Outcome.Terminal() && r.Round <= 1 {
				terminal[id]++
			}
		}
	}
	for _, ev := range events {
		if n := terminal[ev.ID]; n == 0 || n > 1 && !crashed {
			problems = append(problems, fmt.Sprintf("%s has %d terminal lines", ev.ID, n))
		}
	}
	return problems
}

// TestTransactions holds what the requests of both units carry, and what the log says of them.
func TestTransactions(t *testing.T) {
	t.Parallel()
	for unit, want := range map[string][]string{
		"transaction": {"e1 e2 e3 e4 e5", "e6", "e7 e8"},
		"type":        {"e1 e3 e5", "e2 e4", "e6", "e7", "e8"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, func(c *delivery.ProfileConfig) { c.Unit, c.Concurrency = unit, 1 })
			b.start()
			events := some(1, 8, 1000)
			for i, ev := range events {
				ev.Type = []string{"loan.returned", "loan.created"}[i%2]
				ev.Transaction = []string{"10", "10", "10", "10", "10", "11", "12", "12"}[i]
			}
			b.append(events...) // in one go: where one ends must be seen
			time.Sleep(time.Second)
			b.stopped()
			var got []string
			for _, s := range b.receiver.groups(t) {
				got = append(got, strings.Join(s.ids(), " "))
				if (s.Type != "") != (unit == "type") || s.Parts != 0 {
					t.Errorf("%s: %+v", unit, s)
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", unit, got, want)
			}
			l := b.lines.of(b.receiver.groups(t)[0].ID)[0]
			if l.Unit != unit || l.First != "e1" || l.Last != "e5" || (l.Type == "loan.returned") != (unit == "type") || l.Position != "0/1" {
				t.Errorf("%s: line %+v", unit, l)
			}
			if s := b.status(); s.BacklogEvents != 0 || s.Outcomes[delivery.OutcomeDelivered] != 8 {
				t.Errorf("%s: status %+v", unit, s)
			}
		})
	}
}

// TestTransactionInParts has transactions whose bodies are too large: by their events' number, and
// by their size.
func TestTransactionInParts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		events, parts int
		maxBody       int64
	}{
		"of many events":             {2500, 3, 1 << 20},
		"of a few large ones":        {100, 9, 600},
		"of many events and too big": {1500, 25, 2400},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, func(config *delivery.ProfileConfig) { config.Unit, config.MaxBody = "transaction", c.maxBody })
			b.start()
			events := some(1, c.events, 1)
			for _, ev := range events {
				ev.Transaction = "10"
			}
			b.append(events...)
			time.Sleep(time.Second)
			b.stopped()
			next, ids := 1, make(map[string]bool)
			for i, s := range b.receiver.groups(t) {
				if s.Part != i+1 || s.Parts != c.parts || ids[s.ID] || int64(len(b.receiver.got[i].Body)) > c.maxBody {
					t.Errorf("%s: request %d is part %d of %d, %s, of %d bytes", name, i, s.Part, s.Parts, s.ID, len(b.receiver.got[i].Body))
				}
				ids[s.ID] = true
				for _, id := range s.ids() {
					if id != fmt.Sprint("e", next) {
						t.Fatalf("%s: %s came instead of e%d", name, id, next)
					}
					next++
				}
			}
			if s := b.status(); next != c.events+1 || s.BacklogEvents != 0 || s.BacklogBytes != 0 {
				t.Errorf("%s: %d events came, status %+v", name, next-1, s)
			}
		})
	}
}

// TestTransactionIsDroppedWhole has a profile shed what a transaction did: all of it, or nothing.
func TestTransactionIsDroppedWhole(t *testing.T) {
	t.Parallel()
	for _, n := range []int{50, 1500} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, func(c *delivery.ProfileConfig) { c.Unit = "transaction" })
			b.receiver.script(always(unreachable))
			b.start()
			var events []*delivery.Event
			for i := range 10 * n {
				ev := event(fmt.Sprint("e", i), fmt.Sprint(i%7))
				ev.Transaction = fmt.Sprint(i / n)
				events = append(events, ev)
			}
			b.append(events...)
			time.Sleep(time.Minute)
			held := b.status()
			b.store.mu.Lock()
			b.store.usage.Max = held.BacklogBytes * 2 // a quarter of it is half of what waits
			b.store.mu.Unlock()
			time.Sleep(10 * time.Second)
			b.receiver.script(nil)
			s := b.status()
			if s.BacklogEvents%int64(n) != 0 || s.BacklogEvents == 0 || s.BacklogEvents > 5*int64(n) {
				t.Errorf("%d events of transactions of %d are left", s.BacklogEvents, n)
			}
			time.Sleep(2 * time.Hour)
			b.stopped()
			dropped := 0
			for _, l := range b.lines.of("") {
				if l.Outcome == delivery.OutcomeDropped {
					dropped += max(1, l.Count)
				}
			}
			if s := b.status(); s.BacklogEvents != 0 || dropped%n != 0 || int(s.Outcomes[delivery.OutcomeDropped]) != dropped {
				t.Errorf("%d dropped, status %+v", dropped, s)
			}
		})
	}
}
