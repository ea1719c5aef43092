package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// gaps returns the times between requests.
func (r *receiver) gaps() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []time.Duration
	for i := 1; i < len(r.times); i++ {
		all = append(all, r.times[i].Sub(r.times[i-1]))
	}
	return all
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

func wantOutcomes(t *testing.T, b *bench, id string, want ...delivery.Outcome) []delivery.LogRecord {
	t.Helper()
	records := b.lines.of(id)
	if got := outcomes(records); !slices.Equal(got, want) {
		t.Errorf("outcomes of %s: %v, want %v", id, got, want)
	}
	return records
}

func TestRetriesOnScheduleWithTheSameBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		b.receiver.script(func(n int, _ *delivery.Request) delivery.Reply {
			if n <= 3 {
				return broken
			}
			return ok
		})
		b.start()
		b.append(event("a", "1"), event("b", "1"))
		time.Sleep(20 * time.Second)
		b.stopped()

		if got := b.receiver.ids(); !slices.Equal(got, []string{"a", "a", "a", "a", "b"}) {
			t.Fatalf("requests %v", got)
		}
		for i, base := range []time.Duration{time.Second, 2 * time.Second, 4 * time.Second} {
			if gap := b.receiver.gaps()[i]; gap < base*8/10 || gap > base*12/10+time.Millisecond {
				t.Errorf("wait %d was %v, want %v give or take a fifth", i+1, gap, base)
			}
		}
		for _, req := range b.receiver.got[:4] {
			if string(req.Body) != string(b.receiver.got[0].Body) || req.Head.ContentType != "application/json" {
				t.Errorf("sent %s as %s", req.Body, req.Head.ContentType)
			}
		}
		records := wantOutcomes(t, b, "a", "retrying", "retrying", "retrying", "delivered")
		for i, r := range records {
			if r.Attempt != i+1 || r.Round != 0 || r.Unit != "record" || r.Method != "POST" || r.URL == "" || len(r.Body) == 0 {
				t.Errorf("line %d: %+v", i, r)
			}
			if retrying := r.Outcome == delivery.OutcomeRetrying; retrying == r.NextAttempt.IsZero() || retrying && r.Reason != "status_5xx" {
				t.Errorf("line %d: next attempt %v, reason %q", i, r.NextAttempt, r.Reason)
			}
		}
		wantOutcomes(t, b, "b", "delivered")
		if records := b.store.sorted(1, func(delivery.Delivery) bool { return true }); len(records) != 0 {
			t.Errorf("left in the store: %+v", records)
		}
	})
}

// TestClasses holds the table of what a first reply of each class does to its event, to another
// key's event and to the profile.
func TestClasses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		reply    delivery.Reply
		first    delivery.Outcome
		attempts int           // spent by the first reply
		other    bool          // another key's event goes on at once
		again    time.Duration // when it is tried again; 0 for never
		state    string
	}{
		{"event", refused, "retrying", 1, true, time.Second, "active"},
		{"endpoint", delivery.Reply{Class: delivery.ClassEndpoint, Status: 404, Reason: "status_4xx"}, "retrying", 1, true, time.Second, "active"},
		{"transient", broken, "retrying", 1, true, time.Second, "active"},
		{"network", unreachable, "retrying", 1, true, time.Second, "active"},
		{"throttle", delivery.Reply{Class: delivery.ClassThrottle, Status: 503, Reason: "status_5xx"}, "retrying", 1, false, time.Second, "waiting"},
		{"too many", delivery.Reply{Class: delivery.ClassThrottle, Status: 429, Reason: "status_4xx"}, "retrying", 1, false, 10 * time.Second, "waiting"},
		{"throttle asking", delivery.Reply{Class: delivery.ClassThrottle, Status: 503, Reason: "status_5xx", RetryAfter: 30 * time.Second}, "retrying", 1, false, 30 * time.Second, "waiting"},
		{"auth", delivery.Reply{Class: delivery.ClassAuth, Status: 401, Reason: "status_4xx"}, "retrying", 0, false, time.Hour, "waiting"},
		{"profile", delivery.Reply{Class: delivery.ClassProfile, Reason: "guard"}, "retrying", 0, false, time.Second, "waiting"},
		{"gone", delivery.Reply{Class: delivery.ClassGone, Status: 410, Reason: "status_4xx"}, "held", 0, false, 0, "inactive"},
		{"ours", delivery.Reply{Class: delivery.ClassOurs, Reason: "oversize"}, "dead", 1, true, 0, "active"},
		{"dead", delivery.Reply{Class: delivery.ClassDead, Status: 404, Reason: "status_4xx"}, "dead", 1, true, 0, "active"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, func(c *delivery.ProfileConfig) { c.Retry.Jitter = 0 })
				b.receiver.script(func(n int, _ *delivery.Request) delivery.Reply {
					if n == 1 {
						return tt.reply
					}
					return ok
				})
				b.start()
				defer b.stopped()
				b.append(event("a", "1"))
				time.Sleep(100 * time.Millisecond)
				b.append(event("b", "2"))
				time.Sleep(100 * time.Millisecond)

				first := wantOutcomes(t, b, "a", tt.first)[0]
				if first.Attempt != 1 || first.Reason != tt.reply.Reason || first.Status != tt.reply.Status {
					t.Errorf("first line %+v", first)
				}
				if went := slices.Contains(outcomes(b.lines.of("b")), delivery.OutcomeDelivered); went != tt.other {
					t.Errorf("the other key went on: %v, want %v", went, tt.other)
				}
				if s := b.status(); s.State != tt.state {
					t.Errorf("state %q, want %q", s.State, tt.state)
				}
				if records := b.store.sorted(1, func(delivery.Delivery) bool { return true }); len(records) != 1 || records[0].Attempts != tt.attempts {
					t.Errorf("records %+v, want one with %d attempts", records, tt.attempts)
				}
				time.Sleep(tt.again + time.Second)
				if s := b.status(); tt.again > 0 && (s.State != "active" || s.BacklogEvents != 0) {
					t.Errorf("after the wait: %+v", s)
				}
				if tt.again == 0 {
					wantOutcomes(t, b, "a", tt.first)
				} else if wait := b.receiver.gaps()[0]; !tt.other && (wait < tt.again || wait > tt.again+10*time.Millisecond) {
					t.Errorf("waited %v, want %v", wait, tt.again)
				}
			})
		})
	}
}

func TestRefusedThreeTimesIsDeadAndTheKeyGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		b.receiver.script(func(n int, req *delivery.Request) delivery.Reply {
			switch {
			case req.ID != "a":
				return ok
			case n <= 4:
				return broken // these do not count as refusals
			}
			return refused
		})
		b.start()
		b.append(event("a", "1"), event("b", "1"))
		time.Sleep(10 * time.Minute)
		b.stopped()
		r := repeat("retrying", 6)
		records := wantOutcomes(t, b, "a", append(r, "dead")...)
		if last := records[len(records)-1]; last.Attempt != 7 || last.Reason != "status_4xx" || last.Status != 400 {
			t.Errorf("last line %+v", last)
		}
		wantOutcomes(t, b, "b", "delivered")
		if s := b.status(); s.Dead != 1 || s.BacklogEvents != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func repeat(o delivery.Outcome, n int) []delivery.Outcome {
	return slices.Repeat([]delivery.Outcome{o}, n)
}

func TestGivesUpByScheduleAndByAge(t *testing.T) {
	t.Parallel()
	t.Run("list", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, func(c *delivery.ProfileConfig) {
				c.Retry.Schedule = []time.Duration{5 * time.Second, 5 * time.Second, 5 * time.Second}
			})
			b.receiver.script(always(broken))
			b.start()
			b.append(event("a", "1"))
			time.Sleep(time.Minute)
			b.stopped()
			wantOutcomes(t, b, "a", "retrying", "retrying", "retrying", "dead")
			for _, gap := range b.receiver.gaps() {
				if gap < 5*time.Second || gap > 5*time.Second+10*time.Millisecond {
					t.Errorf("waited %v", gap)
				}
			}
		})
	})
	t.Run("age", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, func(c *delivery.ProfileConfig) { c.Retry.MaxAge = time.Minute })
			b.receiver.script(always(unreachable))
			b.start()
			b.append(event("a", "1"))
			time.Sleep(10 * time.Second)
			b.stopped()
			time.Sleep(24 * time.Hour) // not running does not count
			b.build()
			b.start()
			time.Sleep(2 * time.Minute)
			b.stopped()
			records := b.lines.of("a")
			last := records[len(records)-1]
			if last.Outcome != delivery.OutcomeDead || len(records) < 6 {
				t.Fatalf("%d lines, last %+v", len(records), last)
			}
			if age := last.Time.Sub(records[0].Time) - 24*time.Hour; age < 40*time.Second || age > 61*time.Second {
				t.Errorf("died at an age of %v", age)
			}
		})
	})
}

func TestGoneMakesInactiveUntilResumed(t *testing.T) {
	t.Parallel()
	for _, from := range []string{engine.ResumeHeld, engine.ResumeNow} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, nil)
				b.receiver.script(always(delivery.Reply{Class: delivery.ClassGone, Status: 410, Reason: "status_4xx"}))
				b.start()
				b.append(event("a", "1"))
				time.Sleep(time.Second)
				b.append(event("b", "1"), event("c", "2"))
				time.Sleep(time.Hour)
				b.stopped()
				b.build()
				b.start()
				defer b.stopped()
				time.Sleep(time.Hour)
				if s := b.status(); s.State != "inactive" || s.Reason != "status_4xx" || s.BacklogEvents != 3 || !s.Attention {
					t.Fatalf("status %+v", s)
				}
				if n := b.receiver.count(); n != 1 {
					t.Fatalf("%d requests to an endpoint that is gone", n)
				}
				b.receiver.script(nil)
				if err := b.engine.Resume("desk", from); err != nil {
					t.Fatal(err)
				}
				b.append(event("d", "1"))
				time.Sleep(time.Second)
				end := delivery.OutcomeDelivered
				if from == engine.ResumeNow {
					end = delivery.OutcomeSkipped
				}
				wantOutcomes(t, b, "a", "held", end)
				wantOutcomes(t, b, "b", "held", end)
				wantOutcomes(t, b, "c", "held", end)
				wantOutcomes(t, b, "d", "delivered")
				if s := b.status(); s.State != "active" || s.BacklogEvents != 0 {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		took  time.Duration
		first delivery.Outcome
	}{
		{"within grace", 10 * time.Second, "delivered"},
		{"beyond grace", 30 * time.Second, "interrupted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, func(c *delivery.ProfileConfig) { c.Concurrency = 2; c.Timeout = time.Minute })
				b.receiver.took = tt.took
				b.start()
				for i := range 40 {
					b.append(event(fmt.Sprintf("e%02d", i), fmt.Sprint(i)))
				}
				time.Sleep(time.Second)
				b.stop()
				time.Sleep(21 * time.Second)
				b.stopped()
				if n := b.receiver.count(); n != 2 {
					t.Fatalf("%d requests, want the two in flight", n)
				}
				wantOutcomes(t, b, "e00", tt.first)
				wantOutcomes(t, b, "e01", tt.first)
				if lines := b.lines.of(""); len(lines) != 2 || lines[0].Attempt != 1 {
					t.Errorf("%d lines", len(lines))
				}

				b.receiver.took = 0
				b.build()
				b.start()
				time.Sleep(time.Second)
				b.stopped()
				ids := b.receiver.ids()
				if tt.first == delivery.OutcomeDelivered {
					if len(ids) != 40 {
						t.Errorf("%d requests in all, want 40", len(ids))
					}
					return
				}
				if len(ids) != 42 {
					t.Errorf("%d requests in all, want two repeated", len(ids))
				}
				wantOutcomes(t, b, "e00", "interrupted", "delivered")
				if lines := b.lines.of("e00"); lines[1].Attempt != 1 {
					t.Errorf("interrupted spent an attempt: %+v", lines[1])
				}
			})
		})
	}
}

func TestNothingIsSentUnlogged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		b.start()
		b.append(event("a", "1"))
		time.Sleep(time.Second)
		b.lines.fail(errors.New("no space left on device"))
		b.append(event("b", "1"))
		time.Sleep(time.Second)
		sent := b.receiver.count()
		b.append(event("c", "1"), event("d", "2"))
		time.Sleep(time.Minute)
		if n := b.receiver.count(); n != sent {
			t.Errorf("%d requests while the delivery log could not be written", n-sent)
		}
		if b.engine.LogError() == nil {
			t.Error("the engine does not say that the log fails")
		}
		b.lines.fail(nil)
		time.Sleep(3 * time.Second)
		if err := b.engine.LogError(); err != nil {
			t.Error(err)
		}
		b.stopped()
		for _, id := range []string{"a", "b", "c", "d"} {
			wantOutcomes(t, b, id, "delivered")
		}
	})
}

func TestHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		b.engine.Suspend("identity")
		b.start()
		defer b.stopped()
		b.append(event("a", "1"))
		time.Sleep(time.Hour)
		if s := b.status(); s.State != "waiting" || s.Reason != "identity" || b.receiver.count() != 0 {
			t.Errorf("status %+v", s)
		}
		b.engine.Continue()
		time.Sleep(10 * time.Millisecond)
		wantOutcomes(t, b, "a", "delivered")
	})
}

// Credentials are corrected in the config, and take effect at a restart: nothing waits out the old
// refusal.
func TestCredentialsMendedByARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		b.receiver.script(func(int, *delivery.Request) delivery.Reply {
			return delivery.Reply{Class: delivery.ClassAuth, Status: 401, Reason: "status_4xx"}
		})
		b.start()
		b.append(event("a", "1"), event("b", "2"), event("c", "3"))
		time.Sleep(time.Minute)
		b.stopped()
		b.receiver.script(func(int, *delivery.Request) delivery.Reply { return ok })
		b.build()
		b.start()
		defer b.stopped()
		time.Sleep(10 * time.Second)
		for _, id := range []string{"a", "b", "c"} {
			if got := b.lines.of(id); len(got) == 0 || got[len(got)-1].Outcome != delivery.OutcomeDelivered {
				t.Errorf("%s: %v", id, got)
			}
		}
	})
}

func TestAShortHoldIsNotWorthALine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		b := setup(t, nil)
		b.logger = slog.New(slog.NewTextHandler(&said, nil))
		b.build()
		b.start()
		defer b.stopped()
		hold := func(d time.Duration) {
			b.engine.Suspend("identity")
			time.Sleep(d)
			b.engine.Continue()
			time.Sleep(time.Minute)
		}
		hold(time.Second)
		if said.Len() > 0 {
			t.Errorf("said %s", said.String())
		}
		hold(10 * time.Second)
		if got := said.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "deliveries wait") || !strings.Contains(got, "waited_for=identity") {
			t.Errorf("said %s", got)
		}
	})
}

// TestLargeBodiesAreToldOnce: of a body that Alma's listeners may refuse there is one warning,
// however many follow, and it goes out.
func TestLargeBodiesAreToldOnce(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]int{"alma": 1, "native": 0} {
		synctest.Test(t, func(t *testing.T) {
			var said bytes.Buffer
			b := setup(t, func(c *delivery.ProfileConfig) { c.Format = format })
			b.logger = slog.New(slog.NewTextHandler(&said, nil))
			b.build()
			b.start()
			b.append(event("small", strings.Repeat("k", 100<<10-100)), event("large", strings.Repeat("k", 100<<10)))
			synctest.Wait()
			b.append(event("again", strings.Repeat("k", 200<<10))) // Beside large, another worker may be the first to warn.
			time.Sleep(time.Minute)
			b.stopped()
			if got := b.receiver.ids(); len(got) != 3 {
				t.Errorf("%s: %v arrived", format, got)
			}
			got := said.String()
			if strings.Count(got, "\n") != want || want > 0 && (!strings.Contains(got, "level=WARN") || !strings.Contains(got, "profile=desk") || !strings.Contains(got, "event=large") || !strings.Contains(got, "usual=102400")) {
				t.Errorf("%s: said %s", format, got)
			}
		})
	}
}

func TestMovedBetweenKeysWaitsForBoth(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		failures := map[string]int{"a1": 2, "b1": 4}
		b.receiver.script(func(_ int, req *delivery.Request) delivery.Reply {
			if failures[req.ID] > 0 {
				failures[req.ID]--
				return broken
			}
			return ok
		})
		b.start()
		moved := event("move", "b")
		moved.OrderKeyOld = "a"
		b.append(event("a1", "a"), event("b1", "b"), event("c1", "c"), moved, event("a2", "a"), event("b2", "b"))
		time.Sleep(time.Minute)
		b.stopped()
		var arrived []string
		for _, r := range b.lines.of("") {
			if r.Outcome == delivery.OutcomeDelivered {
				arrived = append(arrived, r.Event)
			}
		}
		at := func(id string) int { return slices.Index(arrived, id) }
		if len(arrived) != 6 || at("move") < at("a1") || at("move") < at("b1") || at("a2") < at("move") || at("b2") < at("move") {
			t.Errorf("arrived %v", arrived)
		}
	})
}

func TestDeadReceiverIsCheapAndDrainsInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		b.receiver.script(always(unreachable))
		b.start()
		n := 0
		for range 600 { // 60 s of 2,000 events a second
			var events []*delivery.Event
			for range 200 {
				events = append(events, event(fmt.Sprint(n), fmt.Sprint(n%5000)))
				n++
			}
			b.append(events...)
			time.Sleep(100 * time.Millisecond)
		}
		if tries := b.receiver.count(); tries > 1000 {
			t.Errorf("%d requests to a dead receiver in a minute", tries)
		}
		if records := len(b.store.sorted(1, func(delivery.Delivery) bool { return true })); records > 2000 {
			t.Errorf("%d records for a dead receiver", records)
		}
		if jobs, _ := engine.InMemory(b.engine); jobs > 1024 {
			t.Errorf("%d jobs in memory", jobs)
		}
		b.receiver.script(nil)
		time.Sleep(20 * time.Second)
		if s := b.status(); s.BacklogEvents != 0 || s.State != "active" {
			t.Errorf("20 s after it came back: %+v", s)
		}
		b.stopped()
		checkOrder(t, b, n, func(i int) int { return i % 5000 })
	})
}

// checkOrder fails unless each of n events was delivered once, and per key in order.
func checkOrder(t testing.TB, b *bench, n int, key func(int) int) {
	t.Helper()
	last := make(map[int]int)
	delivered := 0
	for _, r := range b.lines.of("") {
		if r.Outcome != delivery.OutcomeDelivered {
			continue
		}
		delivered++
		var i int
		if _, err := fmt.Sscan(r.Event, &i); err != nil {
			t.Fatal(err)
		}
		if before, ok := last[key(i)]; ok && before >= i {
			t.Fatalf("%d arrived after %d of the same key", i, before)
		}
		last[key(i)] = i
	}
	if delivered != n {
		t.Errorf("%d delivered of %d", delivered, n)
	}
}

func TestMemoryIsBoundedByConfiguration(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		down := true
		b.receiver.script(func(_ int, req *delivery.Request) delivery.Reply {
			if down && req.ID == "0" {
				return broken
			}
			return ok
		})
		b.start()
		const n = 20_000
		events := make([]*delivery.Event, n)
		for i := range events {
			events[i] = event(fmt.Sprint(i), fmt.Sprint(min(i%10, 1))) // a tenth are of the key that is blocked
		}
		b.append(events...)
		most := 0
		for range 1000 {
			time.Sleep(10 * time.Millisecond)
			jobs, _ := engine.InMemory(b.engine)
			most = max(most, jobs)
		}
		if most > 1024 {
			t.Errorf("%d jobs in memory", most)
		}
		if s := b.status(); s.Blocked != n/10-1 || s.Retrying != 1 || s.BlockedKeys != 1 {
			t.Errorf("status %+v", s)
		}
		b.receiver.mu.Lock()
		down = false
		b.receiver.mu.Unlock()
		time.Sleep(time.Minute)
		b.stopped()
		checkOrder(t, b, n, func(i int) int { return min(i%10, 1) })
	})
}
