package engine_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// TestTurnOfShared: a machine that takes a config late puts the barrier where the config came to hold,
// and not at the end of the log.
func TestTurnOfShared(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "desk")
		a, b := c.join(nil), c.join(nil)
		c.give(a, "desk")
		c.append(event("x", "1"))
		time.Sleep(time.Second)
		if err := a.engine.Release(t.Context(), "desk"); err != nil {
			t.Fatal(err)
		}
		c.receivers["desk"].takes(time.Minute)
		c.append(event("a", "1"), event("b", "2")) // the second one by the next config
		reload, err := b.engine.Prepare(c.profiles(func(p *delivery.ProfileConfig) { p.Order = "none" }), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := reload.ApplyAt([]delivery.Seq{1, 3}); err != nil {
			t.Fatal(err)
		}
		c.give(b, "desk")
		time.Sleep(30 * time.Second)
		if got := c.receivers["desk"].requests(); !slices.Equal(got, []string{"x@1", "a@2"}) {
			t.Errorf("while the first is under way: %q", got)
		}
		time.Sleep(2 * time.Minute)
		if got := c.receivers["desk"].requests(); !slices.Equal(got, []string{"x@1", "a@2", "b@2"}) {
			t.Errorf("at last: %q", got)
		}
		a.stopped()
		b.stopped()
	})
}

// TestDrainedMeanwhile: a reload that has a profile back whose drain ends between its check and its
// taking effect delivers what comes for it, on each machine.
func TestDrainedMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "desk", "shelf")
		a, b := c.join(nil), c.join(nil)
		c.give(a, "desk")
		c.receivers["desk"].takes(time.Minute)
		c.append(event("a", "1"))
		time.Sleep(time.Second)
		reload := func(codes ...string) (taken []func() error) {
			c.codes = codes
			for _, m := range []*machine{a, b} {
				removals := map[string]engine.Removal{}
				if len(codes) == 1 {
					removals["desk"] = engine.Drain
				}
				plan, err := m.engine.Prepare(c.profiles(nil), removals)
				if err != nil {
					t.Fatal(err)
				}
				taken = append(taken, plan.Apply)
			}
			return taken
		}
		take := func(all []func() error) {
			for _, apply := range all {
				if err := apply(); err != nil {
					t.Fatal(err)
				}
			}
		}
		take(reload("shelf"))
		back := reload("desk", "shelf")
		time.Sleep(2 * time.Minute) // the drain ends
		b.engine.Retired("desk")
		if slices.Contains(c.store.codes, "desk") {
			t.Fatal("the store has not forgotten the profile")
		}
		take(back)
		c.receivers["desk"].takes(0)
		c.give(b, "desk")
		c.append(event("b", "1"))
		time.Sleep(time.Second)
		if got := c.receivers["desk"].requests(); !slices.Equal(got, []string{"a@1", "b@1"}) {
			t.Errorf("got %q", got)
		}
		for _, m := range []*machine{a, b} {
			if got := m.engine.Profiles(); !slices.Equal(got, []string{"desk", "shelf"}) {
				t.Errorf("profiles to be owned: %q", got)
			}
			m.stopped()
		}
	})
}
