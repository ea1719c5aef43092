package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// crew is an engine over several profiles, each with a receiver of its own, and a config that can
// be reloaded.
type crew struct {
	*bench
	receivers map[string]*receiver
	configs   []delivery.ProfileConfig
	ids       map[string]delivery.ProfileID
	router    *delivery.Router
}

func newCrew(t *testing.T, codes ...string) *crew {
	c := &crew{
		bench:     &bench{t: t, store: newMemStore(), lines: &lines{}},
		receivers: make(map[string]*receiver), ids: make(map[string]delivery.ProfileID),
	}
	for _, code := range codes {
		c.configs = append(c.configs, profileConfig(code))
	}
	c.open()
	return c
}

func profileConfig(code string) delivery.ProfileConfig {
	config := delivery.Defaults()
	config.Code, config.Retry.Jitter = code, 0
	return config
}

// open makes an engine from the configs as they are, as a start does.
func (c *crew) open() {
	c.t.Helper()
	running, err := engine.New(c.store, c.lines, c.profiles(), engine.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	c.engine, c.router = running, running.Router()
	c.know()
}

func (c *crew) profiles() []*engine.Profile {
	c.t.Helper()
	var profiles []*engine.Profile
	for _, config := range c.configs {
		if c.receivers[config.Code] == nil {
			c.receivers[config.Code] = &receiver{}
		}
		p, err := engine.NewProfile(config, productOf(config), c.receivers[config.Code], plain{})
		if err != nil {
			c.t.Fatal(err)
		}
		profiles = append(profiles, p)
	}
	return profiles
}

func (c *crew) know() {
	for _, config := range c.configs {
		id, err := c.store.Register(config.Code)
		if err != nil {
			c.t.Fatal(err)
		}
		c.ids[config.Code] = id
	}
}

// set replaces the config of one profile, or adds it.
func (c *crew) set(code string, change func(*delivery.ProfileConfig)) {
	i := slices.IndexFunc(c.configs, func(p delivery.ProfileConfig) bool { return p.Code == code })
	if i < 0 {
		i = len(c.configs)
		c.configs = append(c.configs, profileConfig(code))
	}
	if change != nil {
		change(&c.configs[i])
	}
}

func (c *crew) remove(code string) {
	c.configs = slices.DeleteFunc(c.configs, func(p delivery.ProfileConfig) bool { return p.Code == code })
}

func (c *crew) reload(removals map[string]engine.Removal) *engine.Reload {
	c.t.Helper()
	reload, err := c.engine.Prepare(c.profiles(), removals)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := reload.Apply(); err != nil {
		c.t.Fatal(err)
	}
	c.router = reload.Router()
	c.know()
	return reload
}

// commit appends events for whoever the router names.
func (c *crew) commit(events ...*delivery.Event) {
	for _, ev := range events {
		to, _ := c.router.Match(ev, nil, nil, nil)
		c.store.append(to, ev)
	}
}

func (c *crew) statusOf(code string) *delivery.ProfileStatus {
	c.t.Helper()
	all, err := c.engine.Status()
	if err != nil {
		c.t.Fatal(err)
	}
	for i := range all {
		if all[i].Profile == code {
			return &all[i]
		}
	}
	return nil
}

func (c *crew) expect(code string, want ...string) {
	c.t.Helper()
	if got := c.receivers[code].ids(); !slices.Equal(got, want) {
		c.t.Errorf("%s got %q, want %q", code, got, want)
	}
}

// TestReloadLeavesOthersAlone holds a profile that did not change to the state it was in: a lane
// blocked behind a retry, an endpoint that asked for a pause, and its counters.
func TestReloadLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "desk", "shelf")
		c.receivers["desk"].answer = func(n int, _ *delivery.Request) delivery.Reply {
			if n == 2 {
				return delivery.Reply{Class: delivery.ClassThrottle, Status: 429, Reason: "status_429", RetryAfter: time.Hour}
			}
			return ok
		}
		c.start()
		c.commit(event("a", "1"))
		time.Sleep(time.Second)
		c.commit(event("b", "1"), event("c", "1"))
		time.Sleep(time.Minute)
		before := *c.statusOf("desk")
		c.set("shelf", func(p *delivery.ProfileConfig) { p.Concurrency = 2 })
		c.set("new", nil)
		reload := c.reload(nil)
		if got := fmt.Sprint(reload.Added, reload.Changed, reload.Removed); got != "[new] [shelf] []" {
			t.Errorf("reload says %s", got)
		}
		time.Sleep(time.Second)
		after := *c.statusOf("desk")
		if before.State != "waiting" || fmt.Sprint(before) != fmt.Sprint(after) {
			t.Errorf("the unchanged profile was\n%+v and is\n%+v", before, after)
		}
		c.commit(event("d", "2"))
		time.Sleep(time.Second)
		c.expect("desk", "a", "b")
		c.expect("shelf", "a", "b", "c", "d")
		c.expect("new", "d")
		time.Sleep(time.Hour)
		if got := c.receivers["desk"].ids(); len(got) != 5 || !slices.Equal(got[:3], []string{"a", "b", "b"}) {
			t.Errorf("desk got %q", got) // c and d, of two keys, in either order
		}
		c.stopped()
	})
}

// TestReloadChangesProfiles has a retry go through the new sender with the body of the first
// attempt, and has what waited for the former endpoint tried at once.
func TestReloadChangesProfiles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "desk")
		old := c.receivers["desk"]
		old.answer = always(delivery.Reply{Class: delivery.ClassAuth, Status: 401, Reason: "status_4xx"})
		c.start()
		c.commit(event("a", "1"), event("b", "1"))
		time.Sleep(time.Minute)
		if s := c.statusOf("desk"); s.State != "waiting" || !s.Attention {
			t.Fatalf("status %+v", s)
		}
		c.receivers["desk"] = &receiver{}
		c.set("desk", func(p *delivery.ProfileConfig) { p.URL = "https://new.example.org/"; p.Concurrency = 1 })
		c.reload(nil)
		time.Sleep(time.Second)
		c.expect("desk", "a", "b")
		if len(old.got) != 1 || string(old.got[0].Body) != string(c.receivers["desk"].got[0].Body) {
			t.Errorf("the former endpoint saw %d requests", len(old.got))
		}
		if s := c.statusOf("desk"); s.State != "active" || s.Outcomes[delivery.OutcomeRetrying] != 1 {
			t.Errorf("status %+v: the counters go on", s)
		}
		c.stopped()
	})
}

// TestReloadActivates has a profile that skips what comes while it is off sent nothing of that, not
// even what came just before it was switched on.
func TestReloadActivates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "desk")
		off := false
		c.set("desk", func(p *delivery.ProfileConfig) { p.WhenInactive, p.Active = "skip", &off })
		c.open()
		c.start()
		time.Sleep(time.Second)
		c.commit(event("a", "1"))
		synctest.Wait() // it has been looked at, and the next look is a little later
		c.commit(event("b", "1"))
		c.set("desk", func(p *delivery.ProfileConfig) { p.Active = nil })
		c.reload(nil)
		synctest.Wait()
		c.commit(event("c", "1"))
		time.Sleep(time.Second)
		c.expect("desk", "c")
		if s := c.statusOf("desk"); s.Outcomes[delivery.OutcomeSkipped] != 2 {
			t.Errorf("skipped %d, want 2", s.Outcomes[delivery.OutcomeSkipped])
		}
		c.stopped()
	})
}

// TestReloadWaitsForRequests lets a request in flight end under the config it began with.
func TestReloadWaitsForRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "desk")
		old := c.receivers["desk"]
		old.took = 10 * time.Second
		c.start()
		c.commit(event("a", "1"))
		time.Sleep(time.Second)
		c.receivers["desk"] = &receiver{}
		c.set("desk", func(p *delivery.ProfileConfig) { p.Name = "Desk" })
		c.reload(nil)
		c.commit(event("b", "2"))
		time.Sleep(5 * time.Second)
		c.expect("desk")
		time.Sleep(5 * time.Second)
		c.expect("desk", "b")
		c.stopped()
		if got := c.lines.of("a"); len(got) != 1 || got[0].Outcome != delivery.OutcomeDelivered {
			t.Errorf("lines of a: %+v", got)
		}
	})
}

func TestReloadRemovesProfiles(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		how      engine.Removal
		got      []string // once the endpoint is back, after an hour
		outcomes []delivery.Outcome
		known    bool // by the store in the end
	}{
		{engine.Drain, []string{"a", "a", "b"}, []delivery.Outcome{delivery.OutcomeDelivered}, false},
		{engine.Park, []string{"a"}, nil, true},
		{engine.Drop, []string{"a"}, []delivery.Outcome{delivery.OutcomeDropped}, false},
	} {
		t.Run(string(test.how), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCrew(t, "desk", "shelf")
				c.receivers["desk"].answer = func(n int, _ *delivery.Request) delivery.Reply {
					if n == 1 {
						return delivery.Reply{Class: delivery.ClassThrottle, Status: 429, RetryAfter: time.Minute}
					}
					return ok
				}
				c.start()
				c.commit(event("a", "1"), event("b", "1"))
				time.Sleep(time.Second)
				c.remove("desk")
				_, err := c.engine.Prepare(c.profiles(), nil)
				if err == nil || !strings.Contains(remedy(err), "rowhook reload --removed desk=drain") {
					t.Fatalf("a removed profile with a backlog: %v, remedy %q", err, remedy(err))
				}
				if s := c.statusOf("desk"); s == nil || s.BacklogEvents != 2 {
					t.Errorf("a refused reload left %+v", s)
				}
				c.reload(map[string]engine.Removal{"desk": test.how})
				c.commit(event("c", "1"))
				time.Sleep(time.Hour)
				c.expect("desk", test.got...)
				c.expect("shelf", "a", "b", "c")
				if got := outcomes(c.lines.ofProfile("desk", "b")); !slices.Equal(got, test.outcomes) {
					t.Errorf("b ended %v, want %v", got, test.outcomes)
				}
				if c.statusOf("desk") != nil {
					t.Error("status still shows the profile")
				}
				if known := slices.Contains(c.store.codes, "desk"); known != test.known {
					t.Errorf("the store knows the profile: %v", known)
				}
				c.set("desk", nil)
				c.reload(nil)
				c.commit(event("d", "1"))
				time.Sleep(time.Minute)
				want := append(test.got, "d")
				if test.how == engine.Park {
					want = []string{"a", "a", "b", "d"} // what was parked is delivered, what came meanwhile was not for it
				}
				c.expect("desk", want...)
				c.stopped()
			})
		})
	}
}

// TestReloadDropsParked drops dead letters and what was parked at a former reload, and takes a
// profile back while it is being drained.
func TestReloadDropsParked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "desk")
		c.receivers["desk"].answer = always(refused)
		c.set("desk", func(p *delivery.ProfileConfig) { p.Retry.Schedule = []time.Duration{time.Hour} })
		c.reload(nil)
		c.start()
		c.commit(event("a", "1"))
		time.Sleep(2 * time.Hour)
		c.commit(event("b", "1"))
		time.Sleep(time.Second)
		if s := c.statusOf("desk"); s.Dead != 1 || s.Retrying != 1 {
			t.Fatalf("status %+v", s)
		}
		c.remove("desk")
		c.reload(map[string]engine.Removal{"desk": engine.Drain})
		if s := c.statusOf("desk"); s == nil || !s.Removed {
			t.Fatalf("status %+v: it is being drained", s)
		}
		c.set("desk", nil)
		c.reload(nil)
		if s := c.statusOf("desk"); s == nil || s.Removed {
			t.Fatalf("status %+v: it is back", s)
		}
		c.remove("desk")
		c.reload(map[string]engine.Removal{"desk": engine.Park})
		time.Sleep(time.Second)
		c.reload(map[string]engine.Removal{"desk": engine.Drop})
		time.Sleep(time.Second)
		c.stopped()
		if a, b := outcomes(c.lines.of("a")), outcomes(c.lines.of("b")); a[len(a)-1] != delivery.OutcomeDiscarded || b[len(b)-1] != delivery.OutcomeDropped {
			t.Errorf("a ended %v, b %v", a, b)
		}
		if slices.Contains(c.store.codes, "desk") {
			t.Error("the store still knows the profile")
		}
	})
}

// TestReloadBarrier has events from before a change of the order finish first, also over a restart.
func TestReloadBarrier(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		before  func(*delivery.ProfileConfig)
		after   func(*delivery.ProfileConfig)
		barrier bool
	}{
		{"order_by", keyedBy("app.t: id"), keyedBy("app.t: branch"), true},
		{"another build", keyedBy("app.t: (id)"), keyedBy("app.t: (id) canonical"), true},
		{"order", nil, func(p *delivery.ProfileConfig) { p.Order = "none" }, true},
		{"order back", func(p *delivery.ProfileConfig) { p.Order = "none" }, func(p *delivery.ProfileConfig) { p.Order = "key" }, true},
		{"whole schema", keyedBy("app.*: "), keyedBy("app.t: branch"), true},
		{"another table", keyedBy("app.t: id"), keyedBy("app.t: id", "app.u: id"), false},
		{"a table less", keyedBy("app.t: id", "app.u: id"), keyedBy("app.u: id"), false},
		{"name", keyedBy("app.t: id"), func(p *delivery.ProfileConfig) { p.Name = "Desk" }, false},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", test.name, restart), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					c := newCrew(t)
					c.set("desk", test.before)
					c.open()
					c.receivers["desk"].answer = func(n int, _ *delivery.Request) delivery.Reply {
						if n == 1 {
							return broken
						}
						return ok
					}
					c.set("desk", func(p *delivery.ProfileConfig) {
						p.Retry.Initial, p.Concurrency = time.Minute, 1 // a is first, also where nothing is in order
					})
					c.reload(nil)
					c.start()
					c.commit(event("a", "1"), event("b", "1"))
					time.Sleep(time.Second)
					c.set("desk", test.after)
					if restart {
						c.stopped()
						c.open()
						c.start()
					} else {
						c.reload(nil)
					}
					c.commit(event("c", "2"))
					time.Sleep(time.Second)
					waits := []string{"a"}
					if !test.barrier {
						waits = append(waits, "c")
					}
					if test.before != nil && test.name == "order back" {
						waits = []string{"a", "b"}
					}
					c.expect("desk", waits...)
					c.stopped() // in the middle
					c.open()
					c.start()
					time.Sleep(2 * time.Minute)
					got := c.receivers["desk"].ids()
					if len(got) != 4 || test.barrier && got[3] != "c" {
						t.Errorf("arrived %q", got)
					}
					if s := c.statusOf("desk"); s.BacklogEvents != 0 {
						t.Errorf("status %+v", s)
					}
					c.stopped()
				})
			})
		}
	}
}

// keyedBy says what the ordering keys of tables are made of: "table: columns".
func keyedBy(tables ...string) func(*delivery.ProfileConfig) {
	return func(p *delivery.ProfileConfig) {
		p.Ordering = make(map[string]string)
		for _, one := range tables {
			table, keys, _ := strings.Cut(one, ": ")
			p.Ordering[table] = keys
		}
	}
}

// TestReloadBarrierIsSkipped ends what is held on both sides of a barrier.
func TestReloadBarrierIsSkipped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "desk")
		c.start()
		if err := c.engine.Pause("desk"); err != nil {
			t.Fatal(err)
		}
		c.commit(event("a", "1"), event("b", "1"))
		c.set("desk", func(p *delivery.ProfileConfig) { p.Order = "none" })
		c.reload(nil)
		c.commit(event("c", "1"))
		time.Sleep(time.Second)
		if err := c.engine.Resume("desk", engine.ResumeNow); err != nil {
			t.Fatal(err)
		}
		c.commit(event("d", "1"))
		time.Sleep(time.Second)
		c.expect("desk", "d")
		c.stopped()
	})
}

// TestReloadUnderLoad changes, adds and removes profiles while events come, and counts that each
// profile gets what is its own once.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "desk", "shelf")
		c.receivers["shelf"].took = 3 * time.Millisecond
		c.start()
		want := map[string][]string{}
		for round := range 40 {
			c.set("desk", func(p *delivery.ProfileConfig) { p.Concurrency = 1 + round%3 })
			guest := fmt.Sprintf("guest%d", round%4)
			c.set(guest, nil)
			c.reload(nil)
			for i := range 50 {
				ev := event(fmt.Sprintf("%02d-%02d", round, i), fmt.Sprint(i%7))
				c.commit(ev)
				for _, config := range c.configs {
					want[config.Code] = append(want[config.Code], ev.ID)
				}
				time.Sleep(time.Millisecond)
			}
			c.remove(guest)
			c.reload(map[string]engine.Removal{guest: engine.Drain})
		}
		time.Sleep(time.Minute)
		for code, ids := range want {
			got := c.receivers[code].ids()
			slices.Sort(got)
			if !slices.Equal(got, ids) {
				t.Errorf("%s got %d events, want %d", code, len(got), len(ids))
			}
		}
		c.stopped()
	})
}

func remedy(err error) string {
	if h, ok := err.(interface{ RemedyText() string }); ok {
		return h.RemedyText()
	}
	return ""
}

// TestReloadAfterStop leaves nothing running when a reload and the end of the engine meet.
func TestReloadAfterStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "desk")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.engine.Run(ctx) }()
		cancel()
		c.set("shelf", nil)
		c.reload(nil)
		c.remove("desk")
		c.reload(map[string]engine.Removal{"desk": engine.Drop})
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestDryRun sends nothing, asks no endpoint, and logs whole what would have gone.
func TestDryRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(t, "desk")
		c.set("desk", func(p *delivery.ProfileConfig) { p.Mode = "dry_run" })
		c.reload(nil)
		c.start()
		c.commit(event("a", "1"), event("b", "1"))
		time.Sleep(time.Second)
		c.expect("desk")
		lines := c.lines.of("")
		if len(lines) != 2 || lines[0].Outcome != delivery.OutcomeDryRun || string(lines[0].Body) != `{"id":"a","key":{"loan_id":"1"}}` ||
			lines[0].URL == "" || lines[0].Attempt != 0 || lines[0].Status != 0 {
			t.Errorf("lines %+v", lines)
		}
		if s := c.statusOf("desk"); s.BacklogEvents != 0 || s.Outcomes[delivery.OutcomeDryRun] != 2 || s.Outcomes[delivery.OutcomeDelivered] != 0 {
			t.Errorf("status %+v", s)
		}
		c.set("desk", func(p *delivery.ProfileConfig) { p.Mode = "live" })
		c.reload(nil)
		c.commit(event("c", "1"))
		time.Sleep(time.Second)
		c.expect("desk", "c")
		c.stopped()
	})
}
