package engine_test

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
)

// slowStore takes its time with updates, as one that waits for other machines does.
type slowStore struct {
	*memStore
	takes time.Duration
}

func (s *slowStore) Update(id delivery.ProfileID, u delivery.Update) error {
	time.Sleep(s.takes)
	return s.memStore.Update(id, u)
}

// TestSlowStoreDoesNotHoldUpRequests compares, by the virtual clock, how long a busy profile takes
// with a store that answers at once and with one that takes 20 ms for an update.
func TestSlowStoreDoesNotHoldUpRequests(t *testing.T) {
	t.Parallel()
	fails := func(part int) func(int, *delivery.Request) delivery.Reply {
		return func(n int, _ *delivery.Request) delivery.Reply {
			if part > 0 && n%part == 0 {
				return broken
			}
			return ok
		}
	}
	for _, test := range []struct {
		name   string
		change func(*delivery.ProfileConfig)
		part   int // one of so many requests fails
		events int
		keys   int
	}{
		{"all succeed", nil, 0, 8000, 1000},
		{"one key", nil, 0, 2000, 1},
		{"1 of 20 fails", nil, 20, 8000, 1000},
		{"1 of 20 fails, unordered", func(c *delivery.ProfileConfig) { c.Order = "none" }, 20, 8000, 1000},
		{"1 of 20 fails, batches", func(c *delivery.ProfileConfig) { c.Unit = delivery.UnitBatch; c.Batch.Max = 5 }, 20, 20_000, 5000},
		{"transactions", func(c *delivery.ProfileConfig) { c.Unit = delivery.UnitTransaction }, 20, 20_000, 5000},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var took [2]time.Duration
			for i, delay := range []time.Duration{0, 20 * time.Millisecond} {
				synctest.Test(t, func(t *testing.T) {
					config := func(c *delivery.ProfileConfig) {
						c.Retry.Jitter, c.Concurrency = 0, 8
						if test.change != nil {
							test.change(c)
						}
					}
					b := setup(t, config)
					b.over = &slowStore{b.store, delay}
					b.build()
					b.receiver.answer = fails(test.part)
					b.receiver.took = 2 * time.Millisecond
					for n := range test.events {
						ev := event(fmt.Sprintf("e%05d", n), strconv.Itoa(n%test.keys))
						ev.Commit = &delivery.Commit{Transaction: strconv.Itoa(n / 5), Position: strconv.Itoa(n / 5)}
						b.append(ev)
					}
					began := time.Now()
					b.start()
					for left := int64(test.events); left > int64(test.events)/10; { // the last ones wait for their retries
						time.Sleep(5 * time.Millisecond)
						b.store.mu.Lock()
						left = b.store.profiles[b.ids[0]].backlog.Events
						b.store.mu.Unlock()
					}
					took[i] = time.Since(began)
					b.stopped()
				})
			}
			if limit := took[0]*11/10 + 100*time.Millisecond; took[1] > limit {
				t.Errorf("a slow store has it take %v instead of %v", took[1], took[0])
			}
		})
	}
}
