package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// both runs a test on an engine that runs and on one that never did.
func both(t *testing.T, test func(t *testing.T, running bool)) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running=%v", running), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, running) })
		})
	}
}

// troubled makes a bench where of key 1 event a is retrying with b and c behind it, d of key 2 is
// dead with e of its key delivered after it.
func troubled(t *testing.T, running bool) *bench {
	b := setup(t, nil)
	b.receiver.script(func(_ int, req *delivery.Request) delivery.Reply {
		switch req.ID {
		case "a":
			return broken
		case "d":
			return delivery.Reply{Class: delivery.ClassDead, Status: 404, Reason: "status_4xx"}
		}
		return ok
	})
	b.start()
	b.append(event("a", "1"), event("b", "1"), event("c", "1"), event("d", "2"), event("e", "2"))
	time.Sleep(100 * time.Second)
	if !running {
		b.stopped()
		b.build()
	}
	return b
}

// settle lets what an operator did take effect.
func (b *bench) settle(running bool, d time.Duration) {
	b.receiver.script(nil)
	if !running {
		b.start()
	}
	time.Sleep(d)
	b.stopped()
}

func ids(items []engine.Item) string {
	var all []string
	for _, item := range items {
		all = append(all, item.ID+":"+item.State)
	}
	return strings.Join(all, " ")
}

func TestQueueAndFailedList(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, running bool) {
		b := troubled(t, running)
		defer b.settle(running, time.Hour)
		if !running {
			b.append(event("f", "3"))
		}
		for _, tt := range []struct {
			filter engine.Filter
			want   string
		}{
			{engine.Filter{}, "a:retrying b:blocked c:blocked"},
			{engine.Filter{State: "retrying"}, "a:retrying"},
			{engine.Filter{Key: "1", Limit: 2}, "a:retrying b:blocked"},
			{engine.Filter{Key: "2"}, ""},
			{engine.Filter{ID: "c", Type: "loan.*"}, "c:blocked"},
			{engine.Filter{Until: time.Unix(1, 0)}, "a:retrying b:blocked c:blocked"}, // events of the tests have no time
		} {
			got, err := b.engine.Queue(tt.filter)
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if !running && (tt.filter == engine.Filter{} || !tt.filter.Until.IsZero()) {
				want += " f:pending"
			}
			if ids(got.Items) != want || got.More != (tt.filter.Limit == 2) {
				t.Errorf("%+v: %s, more %v", tt.filter, ids(got.Items), got.More)
			}
		}
		failed, err := b.engine.Failed(engine.Filter{Reason: "status_4xx"})
		if err != nil || ids(failed.Items) != "d:dead" {
			t.Errorf("failed: %v, %v", failed, err)
		}
		for fresh, want := range map[bool]string{false: "a:retrying b:blocked c:blocked d:dead", true: "f:pending a:retrying b:blocked c:blocked d:dead"} {
			if fresh && running {
				want = strings.TrimPrefix(want, "f:pending ")
			}
			var got []string
			err := b.engine.Each(t.Context(), fresh, func(w *engine.Waiting) error {
				got = append(got, w.Event.ID+":"+w.State)
				return nil
			})
			if err != nil || strings.Join(got, " ") != want {
				t.Errorf("each, fresh %v: %s, %v", fresh, got, err)
			}
		}
		enough := errors.New("enough")
		if err := b.engine.Each(t.Context(), true, func(*engine.Waiting) error { return enough }); !errors.Is(err, enough) {
			t.Errorf("each, refused: %v", err)
		}
		letters, err := b.engine.FailedShow("d")
		if err != nil || len(letters) != 1 || letters[0].Body != `{"id":"d","key":{"loan_id":"2"}}` || letters[0].Attempts != 1 {
			t.Errorf("letter %+v, %v", letters, err)
		}
		if _, err := b.engine.FailedShow("a"); err == nil {
			t.Error("showed a dead letter that is none")
		}
	})
}

func TestRetryNow(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, running bool) {
		b := troubled(t, running)
		b.receiver.script(nil)
		before := b.receiver.count()
		if err := b.engine.RetryNow("", "b"); err == nil || !strings.Contains(err.Error(), "waits behind") {
			t.Errorf("retry of what is blocked: %v", err)
		}
		if err := b.engine.RetryNow("desk", "a"); err != nil {
			t.Fatal(err)
		}
		b.settle(running, time.Second)
		if got := b.receiver.ids()[before:]; !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("sent %v", got)
		}
	})
}

// TestRetryAllNow: all that waits for a profile is tried at once, in order, also where its endpoint
// is left alone.
func TestRetryAllNow(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, running bool) {
		b := setup(t, nil)
		b.receiver.script(func(int, *delivery.Request) delivery.Reply {
			return delivery.Reply{Class: delivery.ClassEndpoint, Status: 401, Reason: "status_4xx"}
		})
		b.start()
		b.append(event("a", "1"), event("b", "2"), event("c", "1"))
		time.Sleep(100 * time.Second)
		if !running {
			b.stopped()
			b.build()
		}
		b.receiver.script(nil)
		before := b.receiver.count()
		if _, err := b.engine.RetryAllNow("dask"); err == nil {
			t.Error("a profile that is none was taken")
		}
		hastened, err := b.engine.RetryAllNow("desk")
		if err != nil || len(hastened) != 1 || hastened[0].Profile != "desk" || !hastened[0].Endpoint || hastened[0].Retries == 0 {
			t.Fatalf("hastened %+v, %v", hastened, err)
		}
		b.settle(running, 5*time.Second)
		got := b.receiver.ids()[before:]
		slices.Sort(got)
		if !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Errorf("sent %v", got)
		}
		if hastened, err := b.engine.RetryAllNow(""); err != nil || len(hastened) > 0 {
			t.Errorf("with nothing waiting: %+v, %v", hastened, err)
		}
	})
}

func TestSkip(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, running bool) {
		b := troubled(t, running)
		b.receiver.script(nil)
		for _, id := range []string{"a", "c"} {
			if err := b.engine.Skip("desk", id); err != nil {
				t.Fatal(err)
			}
		}
		err := b.engine.Skip("desk", "zzz")
		var remedy interface{ RemedyText() string }
		if !errors.As(err, &remedy) || remedy.RemedyText() == "" {
			t.Errorf("skip of an unknown id: %v", err)
		}
		b.settle(running, time.Second)
		for _, id := range []string{"a", "c"} {
			lines := b.lines.of(id)
			if last := lines[len(lines)-1]; last.Outcome != "dead" || last.Reason != "operator" {
				t.Errorf("last line of %s: %+v", id, last)
			}
		}
		wantOutcomes(t, b, "b", "delivered")
		b.build()
		if s := b.status(); s.Dead != 3 || s.BacklogEvents != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

func TestSkipOfWhatWasNotReadYet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		b.append(event("a", "1"), event("b", "1"), event("c", "1"))
		if err := b.engine.Skip("", "b"); err != nil {
			t.Fatal(err)
		}
		b.start()
		time.Sleep(time.Second)
		b.stopped()
		if got := b.receiver.ids(); !slices.Equal(got, []string{"a", "c"}) {
			t.Errorf("sent %v", got)
		}
		wantOutcomes(t, b, "b", "dead")
	})
}

func TestFailedRetryGoesBeforeNewerEvents(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, running bool) {
		b := troubled(t, running)
		before := b.receiver.count()
		b.receiver.script(nil)
		if running {
			// One of the key is under way, others wait in memory behind it.
			b.receiver.mu.Lock()
			b.receiver.took = time.Second
			b.receiver.mu.Unlock()
		}
		b.append(event("f", "2"), event("g", "2"), event("h", "2"))
		time.Sleep(time.Millisecond)
		changed, err := b.engine.FailedRetry(t.Context(), engine.Filter{Key: "2"})
		if err != nil || changed.Count != 1 || changed.More {
			t.Fatalf("%+v, %v", changed, err)
		}
		b.settle(running, time.Hour)
		var got []string
		for _, id := range b.receiver.ids()[before:] {
			if id > "c" {
				got = append(got, id)
			}
		}
		want := []string{"d", "f", "g", "h"}
		if running {
			want = []string{"f", "d", "g", "h"}
		}
		if !slices.Equal(got, want) {
			t.Errorf("sent %v, want %v", got, want)
		}
		lines := wantOutcomes(t, b, "d", "dead", "delivered")
		if lines[1].Round != 2 || lines[1].Attempt != 1 || string(lines[1].Body) != string(lines[0].Body) {
			t.Errorf("second round: %+v", lines[1])
		}
	})
}

func TestFailedDiscard(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, running bool) {
		b := troubled(t, running)
		if changed, err := b.engine.FailedDiscard(t.Context(), engine.Filter{Type: "other.*"}); err != nil || changed.Count != 0 {
			t.Errorf("%+v, %v", changed, err)
		}
		if changed, err := b.engine.FailedDiscard(t.Context(), engine.Filter{ID: "d"}); err != nil || changed.Count != 1 {
			t.Errorf("%+v, %v", changed, err)
		}
		if s := b.status(); s.Dead != 0 || s.BacklogEvents != 3 {
			t.Errorf("status %+v", s)
		}
		b.settle(running, time.Hour)
		wantOutcomes(t, b, "d", "dead", "discarded")
	})
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, running bool) {
		b := troubled(t, running)
		if err := b.engine.Pause("desk"); err != nil {
			t.Fatal(err)
		}
		before := b.receiver.count()
		b.append(event("f", "3"))
		if running {
			time.Sleep(time.Hour)
		}
		if s := b.status(); s.State != "inactive" || s.Reason != "operator" || b.receiver.count() != before {
			t.Errorf("status %+v", s)
		}
		for state, want := range map[string]string{"": "a:held b:held c:held f:held", "held": "a:held b:held c:held f:held", "retrying": "", "pending": ""} {
			if got, err := b.engine.Queue(engine.Filter{State: state}); err != nil || ids(got.Items) != want {
				t.Errorf("queue %q: %s, %v", state, ids(got.Items), err)
			}
		}
		if err := b.engine.Resume("desk", "yesterday"); err == nil {
			t.Error("resumed from yesterday")
		}
		if err := b.engine.Resume("desk", engine.ResumeHeld); err != nil {
			t.Fatal(err)
		}
		if err := b.engine.Resume("desk", engine.ResumeHeld); err == nil {
			t.Error("resumed twice")
		}
		if err := b.engine.Pause("nobody"); err == nil || !strings.Contains(err.Error(), "nobody") {
			t.Errorf("pause of an unknown profile: %v", err)
		}
		b.settle(running, 3*time.Hour)
		for _, id := range []string{"b", "c"} {
			wantOutcomes(t, b, id, "delivered")
		}
		if running {
			wantOutcomes(t, b, "f", "held", "delivered")
		} else {
			wantOutcomes(t, b, "f", "delivered")
		}
	})
}

func TestShedsTheOldestAndTellsOfTheGap(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"key", "none"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, func(c *delivery.ProfileConfig) { c.Order = order })
				b.store.usage.Max = 400_000 // of which a quarter are 1000 events
				b.receiver.script(always(unreachable))
				b.start()
				var events []*delivery.Event
				for i := range 3000 {
					events = append(events, event(fmt.Sprint(i), fmt.Sprint(i%50)))
				}
				b.append(events...)
				time.Sleep(10 * time.Second)
				if s := b.status(); s.BacklogEvents > 1000 || s.BacklogEvents < 900 {
					t.Fatalf("backlog %d", s.BacklogEvents)
				}
				b.receiver.script(nil)
				from := b.receiver.count()
				time.Sleep(10 * time.Minute)
				b.stopped()
				terminal := make(map[string]int)
				dropped := 0
				for _, r := range b.lines.of("") {
					if r.Outcome.Terminal() {
						terminal[r.Event]++
					}
					if r.Outcome == delivery.OutcomeDropped {
						dropped++
						if len(r.Key) == 0 || r.Position == "" || r.Reason != "share" {
							t.Fatalf("dropped line %+v", r)
						}
					}
				}
				for _, ev := range events {
					if terminal[ev.ID] != 1 {
						t.Fatalf("%s has %d terminal lines", ev.ID, terminal[ev.ID])
					}
				}
				if dropped < 2000 || dropped > 2100 {
					t.Errorf("%d dropped", dropped)
				}
				told := 0
				for _, req := range b.receiver.got[from:] {
					if req.Gap != "" {
						told++
						if !strings.HasPrefix(req.Gap, fmt.Sprintf("count=%d; first=", dropped)) {
							t.Errorf("gap %q, %d dropped", req.Gap, dropped)
						}
					}
				}
				if told != 1 {
					t.Errorf("the gap was told %d times", told)
				}
			})
		})
	}
}

func TestPauseSourceInsteadOfShedding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, func(c *delivery.ProfileConfig) { c.OnFull = "pause_source" })
		b.store.usage.Max = 4000
		b.receiver.script(always(unreachable))
		b.start()
		if b.engine.Pausing() {
			t.Error("pauses the source without a backlog")
		}
		for i := range 20 {
			b.append(event(fmt.Sprint(i), fmt.Sprint(i)))
		}
		time.Sleep(10 * time.Second)
		if !b.engine.Pausing() {
			t.Error("does not pause the source")
		}
		b.receiver.script(nil)
		time.Sleep(10 * time.Minute)
		if b.engine.Pausing() {
			t.Error("pauses the source still")
		}
		b.stopped()
		checkOrder(t, b, 20, func(i int) int { return i })
	})
}
