package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// deadly refuses the events of these ids for good.
func deadly(ids ...string) func(int, *delivery.Request) delivery.Reply {
	return func(_ int, req *delivery.Request) delivery.Reply {
		if slices.Contains(ids, req.ID) {
			return delivery.Reply{Class: delivery.ClassDead, Status: 404, Reason: "status_4xx"}
		}
		return ok
	}
}

// gapsTold returns the gap markers that came, by event.
func (r *receiver) gapsTold() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := make(map[string]string)
	for _, req := range r.got {
		if req.Gap != "" {
			told[req.ID] = req.Gap
		}
	}
	return told
}

func wantGaps(t *testing.T, b *bench, want map[string]string) {
	t.Helper()
	if got := b.receiver.gapsTold(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("gap markers %v, want %v", got, want)
	}
}

func TestTheNextEventOfAKeyTellsOfADeath(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%v", restart), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, nil)
				b.receiver.script(deadly("a", "b"))
				b.start()
				b.append(event("a", "1"), event("b", "1"), event("x", "2"))
				time.Sleep(time.Second)
				if restart {
					b.stopped()
					b.build()
					b.start()
				}
				b.append(event("y", "2"), event("c", "1"), event("d", "1"))
				time.Sleep(time.Second)
				b.stopped()
				// b was told of a, but did not take it.
				wantGaps(t, b, map[string]string{"b": "count=1; first=a; last=a", "c": "count=2; first=a; last=b"})
			})
		})
	}
}

func TestNoGapIsToldOfWhatIsRetried(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		b.receiver.script(deadly("a"))
		b.start()
		b.append(event("a", "1"))
		time.Sleep(time.Second)
		b.receiver.script(nil)
		if changed, err := b.engine.FailedRetry(t.Context(), engine.Filter{}); err != nil || changed.Count != 1 {
			t.Fatalf("%+v, %v", changed, err)
		}
		b.append(event("b", "1"))
		time.Sleep(time.Second)
		b.stopped()
		wantGaps(t, b, map[string]string{})
	})
}

func TestManyGapsBecomeTheProfiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		b.receiver.script(func(int, *delivery.Request) delivery.Reply {
			return delivery.Reply{Class: delivery.ClassDead, Status: 404, Reason: "status_4xx"}
		})
		b.start()
		b.appendMany(0, 1000, 1000)
		time.Sleep(time.Second)
		b.receiver.script(nil)
		b.append(event("other", "other"))
		time.Sleep(time.Second)
		b.stopped()
		if told := b.receiver.gapsTold()["other"]; !strings.HasPrefix(told, "count=744; ") {
			t.Errorf("told %q", told)
		}
		if len(b.store.profiles[1].state) > 64<<10 {
			t.Errorf("the profile's state has %d bytes", len(b.store.profiles[1].state))
		}
	})
}

func TestHoldKey(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		mend func(t *testing.T, b *bench) error
		want []string          // of key 1, after d has died
		gaps map[string]string // told
	}{
		{"retry", func(t *testing.T, b *bench) error {
			_, err := b.engine.FailedRetry(t.Context(), engine.Filter{Key: "1"})
			return err
		}, []string{"d", "e", "f", "g"}, map[string]string{}},
		{"discard", func(t *testing.T, b *bench) error {
			_, err := b.engine.FailedDiscard(t.Context(), engine.Filter{Key: "1"})
			return err
		}, []string{"e", "f", "g"}, map[string]string{"e": "count=1; first=d; last=d"}},
		{"skip what waits behind", func(t *testing.T, b *bench) error {
			if err := b.engine.Skip("", "e"); err != nil {
				return err
			}
			_, err := b.engine.FailedDiscard(t.Context(), engine.Filter{ID: "d"})
			return err
		}, []string{"f", "g"}, map[string]string{"f": "count=2; first=d; last=e"}},
		{"expiry", func(t *testing.T, b *bench) error {
			dead := b.store.sorted(1, func(r delivery.Delivery) bool { return r.State == delivery.Dead })
			if err := b.engine.Expired("desk", dead[0]); err != nil {
				return err
			}
			return b.store.Update(1, delivery.Update{Remove: []delivery.Seq{dead[0].Seq}})
		}, []string{"e", "f", "g"}, map[string]string{"e": "count=1; first=d; last=d"}},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart=%v", tt.name, restart), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					b := setup(t, func(c *delivery.ProfileConfig) { c.OnDead = "hold_key" })
					b.receiver.script(deadly("d"))
					b.start()
					b.append(event("d", "1"), event("e", "1"), event("x", "2"))
					time.Sleep(time.Minute)
					if restart {
						b.stopped()
						b.build()
						b.start()
					}
					b.append(event("f", "1"), event("y", "2"))
					time.Sleep(time.Hour)
					if s := b.status(); s.HeldKeys != 1 || s.BlockedKeys != 1 || s.BacklogEvents != 2 || s.Dead != 1 {
						t.Errorf("status %+v", s)
					}
					if got := b.receiver.ids(); len(got) != 3 || !slices.Contains(got, "y") {
						t.Fatalf("sent %v", got)
					}
					if err := b.engine.RetryNow("", "e"); err == nil || !strings.Contains(fmt.Sprint(err), "waits behind") {
						t.Errorf("retry of what is held: %v", err)
					}
					b.receiver.script(nil)
					if err := tt.mend(t, b); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
					b.append(event("g", "1"))
					time.Sleep(time.Second)
					if s := b.status(); s.HeldKeys != 0 || s.BacklogEvents != 0 || s.Dead > 1 || s.Dead < 0 {
						t.Errorf("status %+v", s)
					}
					b.stopped()
					if got := b.receiver.ids()[3:]; !slices.Equal(got, tt.want) {
						t.Errorf("sent %v, want %v", got, tt.want)
					}
					wantGaps(t, b, tt.gaps)
					if _, lanes := engine.InMemory(b.engine); lanes != 0 {
						t.Errorf("%d lanes left", lanes)
					}
				})
			})
		}
	}
}

// eventAt is event with the time of its commit, which max_block looks at.
func eventAt(id, key string) *delivery.Event {
	ev := event(id, key)
	ev.Time = time.Now()
	return ev
}

func TestMaxBlock(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*delivery.ProfileConfig)
		behind time.Duration // when the next event of the key comes; 0 for never
		died   time.Duration // 0 for not within four hours
	}{
		{"at once", nil, time.Millisecond, time.Hour},
		{"later", nil, 30 * time.Minute, 90 * time.Minute},
		{"after the time is up", nil, 2 * time.Hour, 3 * time.Hour},
		{"nothing behind", nil, 0, 0},
		{"off", func(c *delivery.ProfileConfig) { c.MaxBlock = 0 }, time.Millisecond, 0},
		{"short", func(c *delivery.ProfileConfig) { c.MaxBlock = 10 * time.Second }, time.Millisecond, 10 * time.Second},
		{"no order", func(c *delivery.ProfileConfig) { c.Order = "none" }, time.Millisecond, 0},
		{"a list", func(c *delivery.ProfileConfig) {
			c.MaxBlock, c.Retry.Schedule = time.Minute, []time.Duration{5 * time.Hour}
		}, time.Millisecond, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, tt.change)
				b.receiver.script(func(_ int, req *delivery.Request) delivery.Reply {
					if req.ID == "a" {
						return broken
					}
					return ok
				})
				b.start()
				b.append(eventAt("a", "1"))
				began := time.Now()
				if tt.behind > 0 {
					time.Sleep(tt.behind)
					b.append(eventAt("b", "1"))
				}
				time.Sleep(time.Until(began.Add(4 * time.Hour)))
				b.stopped()
				lines := b.lines.of("a")
				last := lines[len(lines)-1]
				if tt.died == 0 {
					if last.Outcome != "retrying" {
						t.Errorf("last line %+v", last)
					}
					return
				}
				if last.Outcome != "dead" || last.Reason != "max_block" || last.Status != 500 || !strings.Contains(last.Error, "status_5xx") {
					t.Fatalf("last line %+v", last)
				}
				// The clock of the event is what counts, and its jitter makes the waits no longer.
				if died := last.Time.Sub(began); died < tt.died || died > tt.died+tt.died/10 {
					t.Errorf("died after %v, want %v", died, tt.died)
				}
				wantOutcomes(t, b, "b", "delivered")
				wantGaps(t, b, map[string]string{"b": "count=1; first=a; last=a"})
			})
		})
	}
}

// A reload that changes on_dead takes effect on the dead letters that there are.
func TestHoldKeyFollowsTheConfig(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "desk")
		desk := c.receivers["desk"]
		desk.script(deadly("a", "d"))
		c.start()
		c.commit(event("a", "1"), event("b", "1"))
		time.Sleep(time.Second)
		hold := func(onDead string) {
			t.Helper()
			c.set("desk", func(p *delivery.ProfileConfig) { p.OnDead = onDead })
			c.reload(nil)
			time.Sleep(time.Second)
		}
		hold("hold_key")
		c.commit(event("c", "1"), event("d", "2"), event("e", "2"))
		time.Sleep(time.Minute)
		if s := c.status(); s.HeldKeys != 2 || s.BacklogEvents != 2 {
			t.Errorf("status %+v", s)
		}
		hold("continue")
		if s := c.status(); s.HeldKeys != 0 || s.BacklogEvents != 0 || s.Dead != 2 {
			t.Errorf("status %+v", s)
		}
		c.stopped()
		if ids := desk.ids(); len(ids) != 5 {
			t.Errorf("sent %v", ids)
		}
	})
}
