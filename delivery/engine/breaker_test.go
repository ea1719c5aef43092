package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
)

// atOnce is how many requests were under way at most since the last call.
func (r *receiver) atOnce() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	most := r.most
	r.most = r.underway
	return most
}

// appendMany appends n events of as many keys, numbered from first on.
func (b *bench) appendMany(first, n, keys int) {
	events := make([]*delivery.Event, n)
	for i := range events {
		events[i] = event(fmt.Sprint(first+i), fmt.Sprint((first+i)%keys))
	}
	b.append(events...)
}

// TestOutageOfADay holds what a dead endpoint costs: thousands of events wait, and it sees no more
// than a probe now and then, which neither restarts nor waiting events change. When it is back
// everything comes, in order.
func TestOutageOfADay(t *testing.T) {
	t.Parallel()
	for name, reply := range map[string]delivery.Reply{"unreachable": unreachable, "failing": broken} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, func(c *delivery.ProfileConfig) { c.Retry.MaxAge = time.Hour })
				b.receiver.script(always(reply))
				b.start()
				const keys = 700
				b.appendMany(0, 5000, keys)
				n := 5000
				for hour := range 24 {
					for range 60 {
						time.Sleep(time.Minute)
						b.appendMany(n, 1, keys)
						n++
					}
					if hour%8 == 7 {
						b.stopped()
						b.build()
						b.start()
					}
				}
				// Twelve an hour are left alone for up to five minutes, less a fifth; before that
				// the waits grow.
				requests := b.receiver.count()
				t.Logf("%d events waited for 24 hours, the endpoint saw %d requests", n, requests)
				if requests > 24*15+60 {
					t.Errorf("%d requests to a dead endpoint in a day", requests)
				}
				if s := b.status(); s.Breaker != "open" || s.State != "waiting" || s.NextProbe.IsZero() || s.Since.IsZero() ||
					s.Reason != reply.Reason || s.BacklogEvents != int64(n) || time.Since(s.Since) < 23*time.Hour {
					t.Errorf("status %+v", s)
				}
				if records := b.store.sorted(1, func(r delivery.Delivery) bool { return r.State == delivery.Retrying }); len(records) > 500 {
					t.Errorf("%d deliveries were tried", len(records))
				}
				b.receiver.script(nil)
				time.Sleep(6 * time.Minute)
				if s := b.status(); s.BacklogEvents != 0 || s.Dead != 0 || s.Breaker != "closed" || s.State != "active" {
					t.Errorf("after it came back: %+v", s)
				}
				b.stopped()
				checkOrder(t, b, n, func(i int) int { return i % keys })
			})
		})
	}
}

func TestOneFailingEventDoesNotOpenTheBreaker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, func(c *delivery.ProfileConfig) { c.Retry.MaxAge = time.Hour })
		b.receiver.script(func(_ int, req *delivery.Request) delivery.Reply {
			if req.ID == "poison" {
				return broken
			}
			return ok
		})
		b.start()
		defer b.stopped()
		b.append(event("poison", "1"))
		time.Sleep(40 * time.Minute)
		b.append(event("a", "2"))
		time.Sleep(10 * time.Millisecond)
		wantOutcomes(t, b, "a", "delivered")
		if s := b.status(); s.Breaker != "closed" || s.State != "active" {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Hour)
		lines := b.lines.of("poison")
		if last := lines[len(lines)-1]; last.Outcome != "dead" {
			t.Errorf("last line %+v", last)
		}
	})
}

func TestProbesTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		down := true
		b.receiver.script(func(_ int, req *delivery.Request) delivery.Reply {
			if down || req.ID == "0" || req.ID == "1" {
				return broken
			}
			return ok
		})
		b.start()
		b.appendMany(0, 2, 10)
		time.Sleep(time.Minute)
		if s := b.status(); s.Breaker != "open" {
			t.Fatalf("status %+v", s)
		}
		b.receiver.mu.Lock()
		down = false
		b.receiver.mu.Unlock()
		b.appendMany(2, 8, 10)
		time.Sleep(2 * time.Minute)
		if s := b.status(); s.BacklogEvents != 2 {
			t.Errorf("two events that fail hold up the others: %+v", s)
		}
		b.stopped()
	})
}

func TestBreakerSurvivesARestart(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		reply    delivery.Reply
		most     int           // requests in the first minute after the start
		again    time.Duration // by when it is tried at the latest
		attended bool
	}{
		{"unreachable", unreachable, 1, 2 * time.Second, false},
		{"credentials", delivery.Reply{Class: delivery.ClassAuth, Status: 401, Reason: "status_4xx"}, 1, 2 * time.Second, true},
		{"asked for more", delivery.Reply{Class: delivery.ClassThrottle, Status: 429, Reason: "status_4xx", RetryAfter: 30 * time.Minute}, 0, 31 * time.Minute, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, nil)
				b.receiver.script(always(tt.reply))
				b.start()
				b.appendMany(0, 100, 100)
				time.Sleep(20 * time.Minute)
				began := b.status().Since
				b.stopped()
				b.build()
				if s := b.status(); s.Breaker != "open" || s.Attention != tt.attended || !s.Since.Equal(began) || s.LastReason != tt.reply.Reason {
					t.Errorf("without an agent: %+v", s)
				}
				b.start()
				before := b.receiver.count()
				time.Sleep(time.Minute)
				if n := b.receiver.count() - before; n > tt.most {
					t.Errorf("%d requests in the first minute after a restart", n)
				}
				if s := b.status(); s.Breaker != "open" || !s.Since.Equal(began) {
					t.Errorf("after a restart: %+v", s)
				}
				b.receiver.script(nil)
				b.stopped()
				b.build()
				b.start()
				time.Sleep(tt.again)
				if s := b.status(); s.Breaker != "closed" || s.BacklogEvents != 0 {
					t.Errorf("%v after a restart with an endpoint that answers: %+v", tt.again, s)
				}
				b.stopped()
			})
		})
	}
}

func TestSlowStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		b.receiver.script(always(unreachable))
		b.start()
		defer b.stopped()
		b.appendMany(0, 2000, 2000)
		time.Sleep(time.Minute)
		b.receiver.mu.Lock()
		b.receiver.answer, b.receiver.took = nil, time.Second
		b.receiver.mu.Unlock()
		b.receiver.atOnce()
		for b.status().Breaker != "closed" {
			time.Sleep(100 * time.Millisecond)
		}
		b.receiver.atOnce()
		// Offset against the rounds, so that each look sees one round.
		time.Sleep(300 * time.Millisecond)
		var windows []int
		for range 6 {
			b.receiver.atOnce()
			time.Sleep(time.Millisecond)
			windows = append(windows, b.receiver.atOnce())
			time.Sleep(time.Second - time.Millisecond)
		}
		if want := []int{1, 2, 4, 8, 8, 8}; !slices.Equal(windows, want) {
			t.Errorf("under way at once %v, want %v", windows, want)
		}
	})
}

// What became due while nothing ran does not come all at once.
func TestOverdueRetriesStartSlowly(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"key", "none"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, func(c *delivery.ProfileConfig) { c.Order, c.Concurrency = order, 64 })
				b.receiver.script(func(int, *delivery.Request) delivery.Reply { return refused })
				b.start()
				b.appendMany(0, 500, 500)
				time.Sleep(10 * time.Millisecond)
				b.stopped()
				if records := len(b.store.sorted(1, func(r delivery.Delivery) bool { return r.State == delivery.Retrying })); records != 500 {
					t.Fatalf("%d retries", records)
				}
				time.Sleep(time.Hour)
				b.receiver.mu.Lock()
				b.receiver.answer, b.receiver.took = nil, time.Second
				b.receiver.mu.Unlock()
				b.build()
				b.start()
				var windows []int
				for range 8 {
					time.Sleep(500 * time.Millisecond)
					b.receiver.atOnce()
					time.Sleep(time.Millisecond)
					windows = append(windows, b.receiver.atOnce())
					time.Sleep(499 * time.Millisecond)
				}
				if want := []int{1, 2, 4, 8, 16, 32, 64, 64}; !slices.Equal(windows, want) {
					t.Errorf("under way at once %v, want %v", windows, want)
				}
				time.Sleep(time.Minute)
				if s := b.status(); s.BacklogEvents != 0 {
					t.Errorf("status %+v", s)
				}
				b.stopped()
			})
		})
	}
}

func TestRetriesOfAListAreKeptToTheLetter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, func(c *delivery.ProfileConfig) {
			c.Retry.Schedule = []time.Duration{time.Minute, time.Minute}
		})
		b.receiver.script(always(unreachable))
		b.start()
		b.appendMany(0, 8, 8)
		time.Sleep(10 * time.Second)
		b.appendMany(8, 100, 100)
		time.Sleep(3 * time.Minute)
		b.stopped()
		for i := range 8 {
			lines := wantOutcomes(t, b, fmt.Sprint(i), "retrying", "retrying", "dead")
			for n, r := range lines[1:] {
				if wait := r.Time.Sub(lines[n].Time); wait < time.Minute || wait > time.Minute+10*time.Millisecond {
					t.Errorf("event %d waited %v", i, wait)
				}
			}
		}
		if n := b.receiver.count(); n > 8*3+30 {
			t.Errorf("%d requests: first tries are not held back", n)
		}
	})
}

// What was sent before the endpoint failed says nothing about it afterwards.
func TestLateRepliesAreNoProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, func(c *delivery.ProfileConfig) { c.Concurrency = 2; c.Retry.Jitter = 0 })
		b.receiver.delay = func(req *delivery.Request) time.Duration {
			if req.ID == "0" {
				return 2 * time.Second
			}
			return 0
		}
		b.receiver.script(func(n int, req *delivery.Request) delivery.Reply {
			if req.ID == "0" {
				return ok
			}
			return delivery.Reply{Class: delivery.ClassThrottle, Status: 503, Reason: "status_5xx", RetryAfter: time.Minute}
		})
		b.start()
		defer b.stopped()
		b.appendMany(0, 10, 10)
		time.Sleep(10 * time.Second)
		wantOutcomes(t, b, "0", "delivered")
		if s := b.status(); s.Breaker != "open" || b.receiver.count() != 2 {
			t.Errorf("%d requests, %+v", b.receiver.count(), s)
		}
	})
}

// TestNoNextAttemptOfNothing: where all that failed is dead, nothing waits for a next try, and
// status shows none.
func TestNoNextAttemptOfNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, func(c *delivery.ProfileConfig) { c.Retry.Schedule = []time.Duration{time.Minute} })
		b.receiver.script(always(delivery.Reply{Class: delivery.ClassTransient, Status: 500, Reason: "status_5xx"}))
		b.start()
		defer b.stopped()
		for i := range 10 {
			b.append(event(string(rune('a'+i)), string(rune('a'+i))))
		}
		time.Sleep(10 * time.Second)
		if s := b.status(); s.State != "waiting" || s.BacklogEvents != 10 || s.NextAttempt.IsZero() {
			t.Errorf("while they are retried: %+v", s)
		}
		time.Sleep(time.Hour)
		if s := b.status(); s.BacklogEvents != 0 || s.Reason != "status_5xx" || !s.NextAttempt.IsZero() {
			t.Errorf("once all are dead: %+v", s)
		}
	})
}

// TestOutageOverHalfRecorded: a start that takes back what was recorded of a large transaction knows
// of the outage as before.
func TestOutageOverHalfRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, func(c *delivery.ProfileConfig) { c.Unit = "transaction" })
		b.append(event("1", "a"))
		now := time.Now().UTC()
		state := fmt.Sprintf(`{"outage":{"since":%q,"until":%q,"wait":3600000000000,"reason":"status_4xx","status":429,"whole":true,"waits":1},"recording":1}`,
			now.Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339))
		if err := b.store.SaveState(b.ids[0], []byte(state)); err != nil {
			t.Fatal(err)
		}
		b.build()
		b.start()
		synctest.Wait()
		s := b.status()
		if s.Breaker != delivery.BreakerOpen || s.Reason != "status_4xx" || s.NextProbe.Sub(now) != time.Hour {
			t.Errorf("the endpoint wanted an hour: %+v", s)
		}
		if ids := b.receiver.ids(); len(ids) > 0 {
			t.Errorf("it got %v meanwhile", ids)
		}
		b.stopped()
		if kept, err := b.store.LoadState(b.ids[0]); err != nil || !strings.Contains(string(kept), `"status":429`) || strings.Contains(string(kept), "recording") {
			t.Errorf("kept %s, %v", kept, err)
		}
	})
}
