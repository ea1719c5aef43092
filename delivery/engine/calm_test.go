package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
)

// TestCalmProfileLosesNoTime has workers leave their results without a word while nothing waits for
// them: an event that comes meanwhile and waits for one still goes at once, a free worker takes one
// at once, and progress is no later.
func TestCalmProfileLosesNoTime(t *testing.T) {
	t.Parallel()
	const took, between = 7 * time.Millisecond, 2 * time.Millisecond
	for _, test := range []struct {
		name        string
		concurrency int
		second      string        // its key
		gap         time.Duration // from the first event's arrival
		want        time.Duration // until the second is sent
	}{
		{"same key, while the first is under way", 8, "a", between, took},
		{"same key, after the first", 8, "a", took + between, took + between},
		{"another key", 8, "b", between, between},
		{"another key, no worker is free", 1, "b", between, took},
		{"another key, the worker is free again", 1, "b", took + between, took + between},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, func(c *delivery.ProfileConfig) { c.Concurrency = test.concurrency })
				b.receiver.took = took
				b.start()
				synctest.Wait()
				begun := time.Now()
				b.append(event("e1", "a"))
				time.Sleep(test.gap)
				b.append(event("e2", test.second))
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				if len(b.receiver.times) != 2 {
					t.Fatalf("%d requests, want 2", len(b.receiver.times))
				}
				if got := b.receiver.times[1].Sub(begun); got != test.want {
					t.Errorf("sent after %s, want %s", got, test.want)
				}
				if p, err := b.store.Progress(b.ids[0]); err != nil || p.Cursor != 3 {
					t.Errorf("progress %+v, %v after 100ms; want cursor 3", p, err)
				}
				b.stopped()
			})
		})
	}
}
