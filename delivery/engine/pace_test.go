package engine_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// most returns the largest number of requests in any span of that length.
func most(times []time.Time, span time.Duration) int {
	most, first := 0, 0
	for i := range times {
		for times[i].Sub(times[first]) >= span {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

func TestRate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rate   string
		events int
		took   time.Duration
		span   time.Duration
		most   int
	}{
		{"10/1s", 200, 20 * time.Second, time.Second, 10},
		{"600/m", 200, 20 * time.Second, time.Second, 10},
		{"2000/s", 20_000, 10 * time.Second, 100 * time.Millisecond, 240},
	} {
		t.Run(tt.rate, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, func(c *delivery.ProfileConfig) {
					c.Rate, c.Retry.Initial, c.Retry.Max = tt.rate, 100*time.Millisecond, 100*time.Millisecond
				})
				tries := 0
				b.receiver.script(func(int, *delivery.Request) delivery.Reply {
					if tries++; tries%10 == 0 {
						return broken // retries count like first tries
					}
					return ok
				})
				b.start()
				b.appendMany(0, tt.events, 5000)
				time.Sleep(tt.took + tt.took/5 + 10*time.Second)
				if s := b.status(); s.BacklogEvents != 0 || s.Dead != 0 {
					t.Errorf("left over: %+v", s)
				}
				b.stopped()
				if n := most(b.receiver.times, tt.span-time.Millisecond); n > tt.most {
					t.Errorf("%d requests within %v", n, tt.span)
				}
				took := b.receiver.times[len(b.receiver.times)-1].Sub(b.receiver.times[0])
				if took < tt.took*9/10 || took > tt.took*13/10 {
					t.Errorf("%d requests took %v", len(b.receiver.times), took)
				}
				checkOrder(t, b, tt.events, func(i int) int { return i % 5000 })
			})
		})
	}
}

// TestAllowedRate: what an endpoint allowed when it agreed holds besides the profile's rate, also
// after a restart, until it agrees anew.
func TestAllowedRate(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		own   string
		times int // of six seconds, for 60 requests
	}{
		"no rate of its own": {"", 10}, "a higher one": {"50/s", 10}, "a lower one": {"30/m", 20},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, a := setupAsked(t, func(c *delivery.ProfileConfig) { c.Rate = tt.own })
				a.answers(func(int) delivery.Reply {
					return delivery.Reply{Class: delivery.ClassOK, Allowed: delivery.Rate{Requests: 60, Per: time.Minute}}
				})
				b.start()
				time.Sleep(time.Second) // it is asked and agrees
				b.appendMany(0, 30, 30)
				time.Sleep(10 * time.Second)
				b.stopped()
				b.build()
				b.start()
				b.appendMany(30, 30, 60)
				time.Sleep(5 * time.Minute)
				b.stopped()
				sent := b.receiver.times
				if n := most(sent, time.Minute-time.Millisecond); len(sent) != 60 || n > 61 {
					t.Errorf("%d requests, %d of them within a minute", len(sent), n)
				}
				took, want := sent[len(sent)-1].Sub(sent[0]), time.Duration(tt.times)*6*time.Second
				if took < want-5*time.Second || took > want+5*time.Second {
					t.Errorf("60 requests took %v, want %v", took, want)
				}
				if n := len(a.challenges()); n != 1 {
					t.Errorf("%d challenges", n)
				}
			})
		})
	}
}

// Profiles that share a rate take turns at it, however long their backlogs are.
func TestRateOfAllProfiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		receivers := []*receiver{{}, {}, {}}
		var profiles []*engine.Profile
		for i, r := range receivers {
			config := delivery.Defaults()
			config.Code = fmt.Sprint("p", i)
			profile, err := engine.NewProfile(config, productOf(config), r, plain{})
			if err != nil {
				t.Fatal(err)
			}
			profiles = append(profiles, profile)
		}
		running, err := engine.New(store, &lines{}, profiles, engine.Options{Rate: delivery.Rate{Requests: 30, Per: time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range []int{5000, 5000, 100} {
			for k := range n {
				store.append([]delivery.ProfileID{delivery.ProfileID(i + 1)}, event(fmt.Sprint(k), fmt.Sprint(k)))
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- running.Run(ctx) }()
		time.Sleep(9 * time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		all := 0
		for i, r := range receivers {
			all += r.count()
			if n := r.count(); n < 85 || n > 95 {
				t.Errorf("profile %d made %d requests of 270", i, n)
			}
		}
		if all > 272 {
			t.Errorf("%d requests in 9 s at 30 a second", all)
		}
	})
}
