package engine_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
)

// An endpoint that fails four requests of five is not to fill the disk with lines that say the
// same, and yet no attempt goes uncounted and no end unsaid.
func TestFloodIsCollapsed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, func(c *delivery.ProfileConfig) {
			c.Retry.Initial, c.Retry.Max, c.Concurrency = time.Second, 10*time.Second, 32
		})
		down, failed := true, 0
		b.receiver.script(func(n int, req *delivery.Request) delivery.Reply {
			if down && n%5 > 0 { // more often in a row and the breaker opens
				failed++
				if n%2 > 0 {
					return unreachable
				}
				return broken
			}
			return ok
		})
		b.start()
		const events = 1000
		b.appendMany(0, events, events)
		time.Sleep(5 * time.Minute)
		b.receiver.mu.Lock()
		down = false
		b.receiver.mu.Unlock()
		time.Sleep(time.Hour)
		b.stopped()

		whole, counted, summaries, ended := 0, 0, 0, make(map[string]int)
		for _, r := range b.lines.of("") {
			switch {
			case r.Outcome.Terminal():
				ended[r.Event]++
			case r.Event != "":
				whole++
			default:
				summaries++
				counted += r.Count
				if r.Outcome != "retrying" || r.Unit != "" || r.First == "" || r.Last == "" || len(r.Body) > 0 || r.URL == "" ||
					r.Reason != unreachable.Reason && (r.Reason != broken.Reason || r.Status != 500) || r.Time.IsZero() {
					t.Fatalf("summary %+v", r)
				}
			}
		}
		if whole+counted != failed {
			t.Errorf("%d lines and %d attempts collapsed, %d requests failed", whole, counted, failed)
		}
		span := b.receiver.times[len(b.receiver.times)-1].Sub(b.receiver.times[0])
		if whole > 1000+int(5*span.Seconds())+1 || counted < 1000 || summaries > 2*int(span/(10*time.Second))+2 {
			t.Errorf("%d failures within %v, %d lines and %d summaries", failed, span, whole, summaries)
		}
		for i := range events {
			if n := ended[fmt.Sprint(i)]; n != 1 {
				t.Fatalf("event %d has %d final lines", i, n)
			}
		}
		if n := b.status().Outcomes["retrying"]; n != int64(failed) {
			t.Errorf("status counts %d", n)
		}
	})
}
