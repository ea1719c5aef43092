package engine_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// history makes a bench where of ten events, a minute apart, of two types and two keys, all were
// delivered but 8, which is dead, and 9, which waits behind nothing and is retrying.
func history(t *testing.T, running bool) *bench {
	b := setup(t, nil)
	b.receiver.script(func(_ int, req *delivery.Request) delivery.Reply {
		switch req.ID {
		case "8":
			return delivery.Reply{Class: delivery.ClassDead, Status: 404, Reason: "status_4xx"}
		case "9":
			return broken
		}
		return ok
	})
	b.start()
	for i := range 10 {
		ev := eventAt(fmt.Sprint(i), fmt.Sprint(i%2))
		if i >= 4 {
			ev.Type = "loan.lost"
		}
		b.append(ev)
		time.Sleep(time.Minute)
	}
	if !running {
		b.stopped()
		b.build()
	}
	return b
}

func TestReplayCounts(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, running bool) {
		b := history(t, running)
		defer b.settle(running, time.Hour)
		first := b.store.log[0].event.Time
		for _, tt := range []struct {
			filter  engine.ReplayFilter
			types   map[string]int64
			waiting int64
		}{
			{engine.ReplayFilter{}, map[string]int64{"loan.returned": 4, "loan.lost": 4}, 2},
			{engine.ReplayFilter{Type: "loan.l*"}, map[string]int64{"loan.lost": 4}, 2},
			{engine.ReplayFilter{Since: first.Add(2 * time.Minute), Until: first.Add(5 * time.Minute)}, map[string]int64{"loan.returned": 2, "loan.lost": 1}, 0},
			{engine.ReplayFilter{Since: first.Add(time.Hour)}, map[string]int64{}, 0},
		} {
			tt.filter.Profile = "desk"
			got, err := b.engine.Replay(tt.filter, true)
			if err != nil || fmt.Sprint(got.Types) != fmt.Sprint(tt.types) || got.Waiting != tt.waiting {
				t.Errorf("%+v: %+v, %v", tt.filter, got, err)
			}
		}
		if s := b.status(); s.BacklogEvents != 1 || s.Replaying != 0 {
			t.Errorf("a dry run changed something: %+v", s)
		}
		if _, err := b.engine.Replay(engine.ReplayFilter{Profile: "nobody"}, true); err == nil {
			t.Error("replayed to nobody")
		}
	})
}

func TestReplay(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, running bool) {
		b := history(t, running)
		before := b.receiver.count()
		b.append(eventAt("10", "0"))
		for round := 2; round <= 3; round++ {
			if round == 3 && !running {
				b.start()
			}
			time.Sleep(time.Minute)
			got, err := b.engine.Replay(engine.ReplayFilter{Profile: "desk", Type: "loan.lost"}, false)
			if err != nil || got.Events != 4 || got.Waiting != 2 {
				t.Fatalf("%+v, %v", got, err)
			}
			if !running { // otherwise the first may be over already
				if _, err := b.engine.Replay(engine.ReplayFilter{Profile: "desk"}, false); err == nil {
					t.Error("two replays at once")
				}
			}
			if !running && round == 2 {
				b.start()
			}
			time.Sleep(time.Minute)
			if !running {
				b.stopped()
				b.build()
			}
		}
		b.settle(running, time.Hour)
		for _, id := range []string{"4", "5", "6", "7"} {
			lines := wantOutcomes(t, b, id, "delivered", "delivered", "delivered")
			if lines[0].Round != 0 || lines[1].Round != 2 || lines[2].Round != 3 || lines[1].Attempt != 1 {
				t.Errorf("rounds of %s: %+v", id, lines)
			}
		}
		wantOutcomes(t, b, "3", "delivered")
		wantOutcomes(t, b, "8", "dead")
		var sent []string
		for _, id := range b.receiver.ids()[before:] {
			if id != "9" {
				sent = append(sent, id)
			}
		}
		for _, key := range []string{"46", "57"} {
			a, z := slices.Index(sent, key[:1]), slices.Index(sent, key[1:])
			if a < 0 || a > z {
				t.Errorf("sent %v", sent)
			}
		}
		b.build()
		if s := b.status(); s.BacklogEvents != 0 || s.Replaying != 0 || s.Dead != 1 {
			t.Errorf("status %+v", s)
		}
	})
}

// A replay of much history grows neither memory nor backlog, survives stops, crashes and an outage,
// and can be stopped.
func TestReplayOfMuch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n, keys = 20_000, 300
		b := setup(t, nil)
		b.start()
		b.appendMany(0, n, keys)
		time.Sleep(time.Minute)
		b.receiver.mu.Lock()
		b.receiver.got, b.receiver.took = nil, time.Millisecond
		b.receiver.mu.Unlock()
		got, err := b.engine.Replay(engine.ReplayFilter{Profile: "desk"}, false)
		if err != nil || got.Events != n {
			t.Fatalf("%+v, %v", got, err)
		}
		look := func() {
			t.Helper()
			time.Sleep(300 * time.Millisecond)
			s := b.status()
			if s.BacklogEvents > 2000 || s.Replaying == 0 {
				t.Errorf("status %+v", s)
			}
			if jobs, _ := engine.InMemory(b.engine); jobs > 1024+32 { // the last lane is loaded by the chunk
				t.Errorf("%d jobs in memory", jobs)
			}
		}
		look()
		b.stopped()
		b.build()
		b.start()
		look()
		b.receiver.script(always(unreachable))
		time.Sleep(10 * time.Minute)
		look()
		b.receiver.script(nil)
		time.Sleep(3 * time.Minute)
		b.crash()
		time.Sleep(10 * time.Minute)
		if s := b.status(); s.BacklogEvents != 0 || s.Replaying != 0 {
			t.Errorf("status %+v", s)
		}
		seen := make(map[string]bool)
		last := make(map[int]int)
		for _, req := range b.receiver.got {
			var i int
			fmt.Sscan(req.ID, &i)
			if !seen[req.ID] && i < last[i%keys] {
				t.Fatalf("%d came after %d of its key", i, last[i%keys])
			}
			seen[req.ID] = true
			last[i%keys] = max(i, last[i%keys])
		}
		if len(seen) != n {
			t.Errorf("%d of %d came again", len(seen), n)
		}

		if _, err := b.engine.Replay(engine.ReplayFilter{Profile: "desk"}, false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		left, err := b.engine.StopReplay("desk")
		if err != nil || left == 0 || left >= n {
			t.Errorf("%d left, %v", left, err)
		}
		if _, err := b.engine.StopReplay("desk"); err == nil {
			t.Error("stopped twice")
		}
		time.Sleep(time.Minute)
		if s := b.status(); s.BacklogEvents != 0 || s.Replaying != 0 {
			t.Errorf("status %+v", s)
		}
		b.stopped()
	})
}

// A profile that was added later gets by a replay what it would have got.
func TestReplayToANewProfile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, r := newMemStore(), &receiver{}
		desk, err := store.Register("desk")
		if err != nil {
			t.Fatal(err)
		}
		for i, typ := range []string{"loan.returned", "loan.lost", "loan.lost", "item.deleted"} {
			ev := event(fmt.Sprint(i), "1")
			ev.Type, ev.Operation = typ, []string{"", "", "web_api", ""}[i]
			store.append([]delivery.ProfileID{desk}, ev)
		}
		config := delivery.Defaults()
		config.Code = "later"
		config.Subscriptions = []delivery.SubscriptionConfig{
			{Events: []string{"loan.*"}, Operations: delivery.OperationsConfig{Not: []string{"web_api"}}},
			{Events: []string{"item.*"}, Where: delivery.Where{{Column: "branch", Values: []delivery.Literal{{Text: "MAIN"}}}}},
		}
		profile, err := engine.NewProfile(config, productOf(config), r, plain{})
		if err != nil {
			t.Fatal(err)
		}
		running, err := engine.New(store, &lines{}, []*engine.Profile{profile}, engine.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- running.Run(ctx) }()
		got, err := running.Replay(engine.ReplayFilter{Profile: "later"}, false)
		if err != nil || got.Events != 2 || got.Undecided != 1 {
			t.Errorf("%+v, %v", got, err)
		}
		time.Sleep(time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if ids := r.ids(); !slices.Equal(ids, []string{"0", "1"}) {
			t.Errorf("sent %v", ids)
		}
	})
}

// Where requests carry groups, what is sent again goes in groups of one.
func TestReplayOfGroups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, batches(10, time.Second))
		b.start()
		b.appendMany(0, 30, 3)
		time.Sleep(10 * time.Second)
		if got, err := b.engine.Replay(engine.ReplayFilter{Profile: "desk"}, false); err != nil || got.Events != 30 {
			t.Fatalf("%+v, %v", got, err)
		}
		time.Sleep(10 * time.Second)
		b.stopped()
		var again []string
		for _, s := range b.receiver.groups(t)[3:] {
			again = append(again, s.ids()...)
		}
		last := make(map[int]int)
		for _, id := range again {
			var i int
			fmt.Sscan(id, &i)
			if i < last[i%3] {
				t.Errorf("%d came after %d of its key", i, last[i%3])
			}
			last[i%3] = i
		}
		if len(again) != 30 || b.receiver.count() != 33 {
			t.Errorf("sent again %v in %d requests", again, b.receiver.count()-3)
		}
		rounds := 0
		for _, r := range b.lines.of("") {
			if r.Round == 2 && r.Outcome == delivery.OutcomeDelivered && r.Unit == "batch" && r.Count == 1 {
				rounds++
			}
		}
		if s := b.status(); rounds != 30 || s.BacklogEvents != 0 {
			t.Errorf("%d lines of a second round, %+v", rounds, s)
		}
	})
}

// A group that waits is left to wait, also those members that lie beyond what is read of history at
// a time.
func TestReplayLeavesLargeGroups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const n = 700
		b := setup(t, batches(n, time.Second))
		b.receiver.script(func(int, *delivery.Request) delivery.Reply { return broken })
		b.start()
		b.appendMany(0, n, 3)
		time.Sleep(10 * time.Second)
		tries := b.receiver.count()
		if tries == 0 {
			t.Fatal("the group was not tried")
		}
		for _, dry := range []bool{true, false} {
			if got, err := b.engine.Replay(engine.ReplayFilter{Profile: "desk"}, dry); err != nil || got.Events != 0 || got.Waiting != n {
				t.Errorf("dry %v: %+v, %v, want %d that wait", dry, got, err, n)
			}
		}
		b.receiver.script(func(int, *delivery.Request) delivery.Reply { return ok })
		time.Sleep(2 * time.Hour)
		b.stopped()
		if s := b.status(); s.BacklogEvents != 0 || b.receiver.count() != tries+1 {
			t.Errorf("%d requests after the first %d, %+v", b.receiver.count()-tries, tries, s)
		}
	})
}
