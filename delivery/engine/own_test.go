package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// cluster is what machines have in common: one store, who owns which profile under which epoch, and
// the profiles' receivers.
type cluster struct {
	t         testing.TB
	store     *memStore
	receivers map[string]*receiver
	codes     []string

	mu     sync.Mutex
	epochs map[delivery.ProfileID]uint64
	owners map[delivery.ProfileID]*machine
}

// machine is one engine of a cluster.
type machine struct {
	*replica
	lines  *lines
	engine *engine.Engine
	until  time.Time // its lease; guarded by the cluster's mu
	stop   context.CancelFunc
	done   chan error
}

// replica is the store as a machine sees it: an update under another epoch than the present one of its
// own is refused.
type replica struct {
	*memStore
	cluster *cluster
	machine *machine
	delay   time.Duration // of an update, before it is judged
	blocked chan struct{} // updates wait until it is closed; nil for none
	entered chan struct{} // hears of those that wait; nil for none
}

func (r *replica) Update(id delivery.ProfileID, u delivery.Update) error {
	c := r.cluster
	c.mu.Lock()
	delay, blocked, entered := r.delay, r.blocked, r.entered
	c.mu.Unlock()
	time.Sleep(delay)
	if entered != nil {
		entered <- struct{}{}
	}
	if blocked != nil {
		<-blocked
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owners[id] != r.machine || c.epochs[id] != u.Epoch {
		return delivery.ErrNotOwner
	}
	return r.memStore.Update(id, u)
}

func newCluster(t testing.TB, codes ...string) *cluster {
	c := &cluster{
		t: t, store: newMemStore(), receivers: make(map[string]*receiver), codes: codes,
		epochs: make(map[delivery.ProfileID]uint64), owners: make(map[delivery.ProfileID]*machine),
	}
	for _, code := range codes {
		c.receivers[code] = &receiver{}
	}
	return c
}

// updated returns how many updates were stored.
func (s *memStore) updated() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updates
}

func (c *cluster) profiles(change func(*delivery.ProfileConfig)) []*engine.Profile {
	c.t.Helper()
	var profiles []*engine.Profile
	for _, code := range c.codes {
		config := profileConfig(code)
		if change != nil {
			change(&config)
		}
		p, err := engine.NewProfile(config, productOf(config), c.receivers[code], plain{})
		if err != nil {
			c.t.Fatal(err)
		}
		profiles = append(profiles, p)
	}
	return profiles
}

// join starts another machine, which owns nothing and has a lease without end.
func (c *cluster) join(change func(*delivery.ProfileConfig)) *machine {
	c.t.Helper()
	m := &machine{lines: &lines{}, until: time.Now().Add(1000 * time.Hour), done: make(chan error, 1)}
	m.replica = &replica{memStore: c.store, cluster: c, machine: m}
	var err error
	m.engine, err = engine.New(m.replica, m.lines, c.profiles(change), engine.Options{Shared: true, Lease: m.lease})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	m.stop = cancel
	go func() { m.done <- m.engine.Run(ctx) }()
	return m
}

func (m *machine) lease() time.Time {
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	return m.until
}

func (m *machine) renew(until time.Time) {
	m.cluster.mu.Lock()
	defer m.cluster.mu.Unlock()
	m.until = until
}

func (m *machine) stopped() {
	m.cluster.t.Helper()
	m.stop()
	if err := <-m.done; err != nil {
		m.cluster.t.Errorf("Run: %v", err)
	}
}

func (c *cluster) id(code string) delivery.ProfileID {
	id, _ := c.store.Register(code)
	return id
}

// claim has a machine own a profile in the store's eyes, and returns the epoch. Its engine does not
// know yet.
func (c *cluster) claim(m *machine, code string) uint64 {
	id := c.id(code)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epochs[id]++
	c.owners[id] = m
	return c.epochs[id]
}

// give has a machine own a profile.
func (c *cluster) give(m *machine, code string) uint64 {
	c.t.Helper()
	epoch := c.claim(m, code)
	if err := m.engine.Own(code, epoch); err != nil {
		c.t.Fatal(err)
	}
	return epoch
}

func (c *cluster) append(events ...*delivery.Event) {
	for _, code := range c.codes {
		c.store.append([]delivery.ProfileID{c.id(code)}, events...)
	}
}

// takes has each request take so long from now on.
func (r *receiver) takes(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.took = d
}

// requests returns the ids and epochs of the requests that a receiver got, in their order.
func (r *receiver) requests() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, req := range r.got {
		all = append(all, req.ID+"@"+req.Epoch)
	}
	return all
}

// TestOwnAndRelease has nothing sent before a profile is owned, and hands it on between requests.
func TestOwnAndRelease(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "desk", "shelf")
		a, b := c.join(nil), c.join(nil)
		c.append(event("a", "1"))
		time.Sleep(time.Minute)
		if got := c.receivers["desk"].requests(); len(got) != 0 {
			t.Fatalf("nobody owns the profile, and it got %q", got)
		}
		c.give(a, "desk")
		time.Sleep(time.Second)
		if epoch, owned := a.engine.Owned("desk"); epoch != 1 || !owned {
			t.Errorf("owned under %d: %t", epoch, owned)
		}
		c.receivers["desk"].takes(5 * time.Second)
		c.append(event("b", "1"), event("c", "1"))
		time.Sleep(time.Second)
		began := time.Now()
		if err := a.engine.Release(t.Context(), "desk"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("released after %v: the request in flight had 4 s to go", took)
		}
		if p, _ := c.store.Progress(c.id("desk")); p.Cursor != 4 && !slices.Equal(p.Done, []delivery.Seq{3}) {
			t.Errorf("progress when it was released: %+v", p)
		}
		if _, owned := a.engine.Owned("desk"); owned {
			t.Error("it is owned still")
		}
		if err := a.engine.Release(t.Context(), "desk"); !errors.Is(err, delivery.ErrNotOwner) {
			t.Errorf("released twice: %v", err)
		}
		time.Sleep(time.Minute)
		c.give(b, "desk")
		time.Sleep(time.Minute)
		if got, want := c.receivers["desk"].requests(), []string{"a@1", "b@1", "c@2"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got := c.receivers["shelf"].requests(); len(got) != 0 {
			t.Errorf("shelf got %q", got)
		}
		if first, third := a.lines.of("a"), b.lines.of("c"); len(first) != 1 || first[0].Epoch != 1 || len(third) != 1 || third[0].Epoch != 2 {
			t.Errorf("lines %+v and %+v", first, third)
		}
		a.stopped()
		b.stopped()
	})
}

// TestReleaseIsBounded cancels what is in flight after the grace, or when the caller will not wait.
func TestReleaseIsBounded(t *testing.T) {
	t.Parallel()
	for _, patient := range []bool{true, false} {
		t.Run(strconv.FormatBool(patient), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "desk")
				a, b := c.join(nil), c.join(nil)
				c.receivers["desk"].takes(time.Hour)
				c.give(a, "desk")
				c.append(event("a", "1"))
				time.Sleep(time.Second)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				want := 20 * time.Second
				if patient {
					ctx = t.Context()
				} else {
					want = time.Second
				}
				began := time.Now()
				if err := a.engine.Release(ctx, "desk"); (err == nil) != patient {
					t.Error(err)
				}
				if took := time.Since(began).Round(time.Second); took != want {
					t.Errorf("took %v, want %v", took, want)
				}
				if err := a.engine.Release(t.Context(), "desk"); (err == nil) == patient {
					t.Errorf("again: %v", err)
				}
				if got := outcomes(a.lines.of("a")); !slices.Equal(got, []delivery.Outcome{delivery.OutcomeInterrupted}) {
					t.Errorf("lines %v", got)
				}
				c.receivers["desk"].takes(0)
				c.give(b, "desk")
				time.Sleep(time.Second)
				if got, want := c.receivers["desk"].requests(), []string{"a@1", "a@2"}; !slices.Equal(got, want) {
					t.Errorf("got %q, want %q", got, want)
				}
				a.stopped()
				b.stopped()
			})
		})
	}
}

// TestDisown gives a profile up while the store does not answer: requests end at once, their lines are
// written, nothing is stored, and the engine goes on with its other profile.
func TestDisown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "desk", "shelf")
		a, b := c.join(nil), c.join(nil)
		c.give(a, "desk")
		time.Sleep(time.Second)
		c.receivers["desk"].script(func(_ int, req *delivery.Request) delivery.Reply {
			if req.ID == "bad" {
				return broken
			}
			return ok
		})
		block := make(chan struct{})
		c.mu.Lock()
		a.blocked = block
		c.mu.Unlock()
		c.append(event("good", "1"), event("bad", "2"))
		time.Sleep(10 * time.Millisecond)
		c.receivers["desk"].takes(time.Hour)
		c.append(event("slow", "3"))
		time.Sleep(10 * time.Second) // an update has been under way since
		updates := c.store.updated()
		c.claim(b, "desk")
		a.engine.Disown("desk")
		synctest.Wait()
		if err := a.engine.Pause("desk"); !errors.Is(err, delivery.ErrNotOwner) || !strings.Contains(err.Error(), "desk") {
			t.Errorf("Pause: %v", err)
		}
		close(block)
		time.Sleep(time.Second)
		for id, want := range map[string]delivery.Outcome{"good": delivery.OutcomeDelivered, "bad": delivery.OutcomeRetrying, "slow": delivery.OutcomeInterrupted} {
			if got := outcomes(a.lines.of(id)); len(got) != 1 || got[0] != want {
				t.Errorf("lines of %s: %v, want %s", id, got, want)
			}
		}
		if a.lines.flushed != len(a.lines.all) {
			t.Errorf("%d of %d lines are written", a.lines.flushed, len(a.lines.all))
		}
		if c.store.updated() != updates {
			t.Errorf("%d updates were stored of a profile that was given up", c.store.updated()-updates)
		}
		c.give(a, "shelf")
		time.Sleep(time.Second)
		if got := c.receivers["shelf"].ids(); len(got) != 3 {
			t.Errorf("shelf got %q", got)
		}
		a.stopped()
		b.stopped()
	})
}

// TestStoreTellsOfAnotherOwner ends a dispatcher whose update is refused, before anybody disowned it.
func TestStoreTellsOfAnotherOwner(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "desk")
		a, b := c.join(nil), c.join(nil)
		c.give(a, "desk")
		time.Sleep(time.Second)
		epoch := c.claim(b, "desk")
		c.append(event("a", "1"))
		time.Sleep(time.Second)
		if _, owned := a.engine.Owned("desk"); owned {
			t.Error("the first owner does not know that it is none")
		}
		c.append(event("b", "1"))
		if err := b.engine.Own("desk", epoch); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got, want := c.receivers["desk"].requests(), []string{"a@1", "a@2", "b@2"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		a.engine.Disown("desk")
		a.stopped()
		b.stopped()
	})
}

// TestNothingIsRemembered has a machine own a profile again that another one has changed meanwhile: it
// was paused and resumed, its dead letter retried, its breaker closed.
func TestNothingIsRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "desk")
		a, b := c.join(nil), c.join(nil)
		r := c.receivers["desk"]
		r.answer = func(_ int, req *delivery.Request) delivery.Reply {
			if req.ID == "dead" {
				return delivery.Reply{Class: delivery.ClassDead, Status: 404, Reason: "status_4xx"}
			}
			return delivery.Reply{Class: delivery.ClassAuth, Status: 401, Reason: "status_4xx"}
		}
		c.give(a, "desk")
		c.append(event("dead", "1"))
		time.Sleep(time.Second)
		c.append(event("x", "1"), event("y", "1"), event("z", "2"))
		time.Sleep(time.Second)
		if err := a.engine.Pause("desk"); err != nil {
			t.Fatal(err)
		}
		if err := a.engine.Release(t.Context(), "desk"); err != nil {
			t.Fatal(err)
		}
		r.script(always(ok))
		c.give(b, "desk")
		time.Sleep(time.Second)
		if s, err := b.engine.State("desk"); s != delivery.StateInactive || err != nil {
			t.Errorf("state at the next owner: %s, %v", s, err)
		}
		if err := b.engine.Resume("desk", engine.ResumeHeld); err != nil {
			t.Fatal(err)
		}
		if n, err := b.engine.FailedRetry(t.Context(), engine.Filter{}); err != nil || n.Count != 1 {
			t.Errorf("retried %+v, %v", n, err)
		}
		time.Sleep(5 * time.Second)
		b.engine.Disown("desk")
		c.give(a, "desk")
		time.Sleep(5 * time.Second)
		c.append(event("more", "1"))
		time.Sleep(5 * time.Second)
		all, err := a.engine.Status()
		if err != nil {
			t.Fatal(err)
		}
		s := all[0]
		if s.State != delivery.StateActive || s.BacklogEvents != 0 || s.Dead != 0 || s.Breaker != delivery.BreakerClosed || s.Retrying+s.Blocked != 0 {
			t.Errorf("status %+v", s)
		}
		if got := r.requests(); got[len(got)-1] != "more@3" || slices.Contains(got, "x@3") || slices.Contains(got, "dead@3") {
			t.Errorf("got %q", got)
		}
		a.stopped()
		b.stopped()
	})
}

// TestLease starts nothing once the lease is over, lets what is in flight go on, and goes on when the
// lease was renewed.
func TestLease(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{delivery.UnitRecord, delivery.UnitTransaction, delivery.UnitBatch} {
		t.Run(unit, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "desk")
				a := c.join(func(p *delivery.ProfileConfig) {
					p.Unit, p.Concurrency = unit, 1
					p.Batch.Max = 1
				})
				r := c.receivers["desk"]
				r.takes(3 * time.Second)
				a.renew(time.Now().Add(5 * time.Second))
				c.give(a, "desk")
				for i := range 5 {
					ev := event("e"+strconv.Itoa(i), strconv.Itoa(i))
					ev.Commit = &delivery.Commit{Transaction: strconv.Itoa(i), Position: strconv.Itoa(i)}
					c.append(ev)
				}
				time.Sleep(time.Minute)
				if n := r.count(); n != 2 {
					t.Errorf("%d requests began within a lease of 5 s", n)
				}
				all, err := a.engine.Status()
				if err != nil || all[0].State != delivery.StateWaiting || all[0].Reason != "lease" || all[0].BacklogEvents != 3 {
					t.Errorf("status %+v, %v", all, err)
				}
				if n := len(a.lines.of("")); n != 2 {
					t.Errorf("%d lines of 2 requests", n)
				}
				a.renew(time.Now().Add(time.Hour))
				time.Sleep(10 * time.Second)
				if n := r.count(); n != 5 {
					t.Errorf("%d requests in all", n)
				}
				a.stopped()
			})
		})
	}
}

// TestLeaseEndsWhileConnecting: a request whose connection comes after the lease's end is not made, has
// no line and no attempt, and goes out under the next lease.
func TestLeaseEndsWhileConnecting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "desk")
		a := c.join(nil)
		r := c.receivers["desk"]
		r.mu.Lock()
		r.dials = 6 * time.Second
		r.mu.Unlock()
		a.renew(time.Now().Add(5 * time.Second))
		c.give(a, "desk")
		c.append(event("a", "1"))
		time.Sleep(time.Minute)
		if n, lines := r.count(), a.lines.of(""); n != 0 || len(lines) != 0 {
			t.Errorf("%d requests after the lease, lines %+v", n, lines)
		}
		a.renew(time.Now().Add(time.Hour))
		time.Sleep(10 * time.Second)
		if lines := a.lines.of("a"); r.count() != 1 || len(lines) != 1 || lines[0].Attempt != 1 || lines[0].Outcome != delivery.OutcomeDelivered {
			t.Errorf("%d requests, lines %+v", r.count(), lines)
		}
		a.stopped()
	})
}

// TestOperatorsOfOthers has what concerns a profile of another machine fail, and lists leave it out.
func TestOperatorsOfOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "desk", "shelf")
		a, b := c.join(nil), c.join(nil)
		c.give(a, "desk")
		c.give(b, "shelf")
		for _, code := range c.codes {
			c.receivers[code].answer = always(delivery.Reply{Class: delivery.ClassDead, Status: 404, Reason: "status_4xx"})
		}
		c.append(event("a", "1"))
		time.Sleep(time.Second)
		e := a.engine
		ctx := t.Context()
		for name, op := range map[string]func() error{
			"queue":     func() error { _, err := e.Queue(engine.Filter{Profile: "shelf"}); return err },
			"failed":    func() error { _, err := e.Failed(engine.Filter{Profile: "shelf"}); return err },
			"retry":     func() error { _, err := e.FailedRetry(ctx, engine.Filter{Profile: "shelf"}); return err },
			"discard":   func() error { _, err := e.FailedDiscard(ctx, engine.Filter{Profile: "shelf"}); return err },
			"retry now": func() error { return e.RetryNow("shelf", "a") },
			"retry all": func() error { _, err := e.RetryAllNow("shelf"); return err },
			"skip":      func() error { return e.Skip("shelf", "a") },
			"pause":     func() error { return e.Pause("shelf") },
			"resume":    func() error { return e.Resume("shelf", engine.ResumeHeld) },
			"replay":    func() error { _, err := e.Replay(engine.ReplayFilter{Profile: "shelf"}, true); return err },
			"stop":      func() error { _, err := e.StopReplay("shelf"); return err },
			"state":     func() error { _, err := e.State("shelf"); return err },
			"activate":  func() error { _, err := e.Activate(ctx, "shelf"); return err },
			"test":      func() error { _, err := e.Test(ctx, "shelf", event("t", "1")); return err },
		} {
			if err := op(); !errors.Is(err, delivery.ErrNotOwner) || !strings.Contains(err.Error(), "shelf") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if letters, err := e.FailedShow("a"); err != nil || len(letters) != 1 || letters[0].Profile != "desk" {
			t.Errorf("dead letters %+v, %v", letters, err)
		}
		if all, err := e.Status(); err != nil || len(all) != 1 || all[0].Profile != "desk" {
			t.Errorf("status %+v, %v", all, err)
		}
		if all, err := e.Stats(); err != nil || len(all) != 1 || all[0].Status.Profile != "desk" {
			t.Errorf("stats %+v, %v", all, err)
		}
		seen := 0
		if err := e.Each(ctx, true, func(w *engine.Waiting) error { seen++; return nil }); err != nil || seen != 1 {
			t.Errorf("each: %d, %v", seen, err)
		}
		if err := e.Expired("shelf", c.store.sorted(c.id("shelf"), func(delivery.Delivery) bool { return true })[0]); err != nil {
			t.Errorf("expired: %v", err)
		}
		if got := e.Profiles(); !slices.Equal(got, c.codes) {
			t.Errorf("profiles %q", got)
		}
		if err := e.Own("nobody", 1); err == nil {
			t.Error("a profile that does not exist is owned")
		}
		a.stopped()
		b.stopped()
	})
}

// TestOwnersChangeUnderLoad hands profiles to and fro between machines, in order and at once, while
// events come. Nothing is lost, keys are in order within an epoch and go on where they were or
// earlier, and no more is repeated than was in flight or not stored.
func TestOwnersChangeUnderLoad(t *testing.T) {
	t.Parallel()
	const keys = 40
	events := count(4000, 40_000)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "desk", "shelf", "cart")
		machines := []*machine{c.join(nil), c.join(nil)}
		for _, m := range machines {
			m.delay = 5 * time.Millisecond
		}
		for i, code := range c.codes {
			r := c.receivers[code]
			r.delay = func(req *delivery.Request) time.Duration { return time.Duration(len(req.ID)+i) * time.Millisecond }
			r.answer = func(n int, _ *delivery.Request) delivery.Reply {
				if n%97 == 0 {
					return broken
				}
				return ok
			}
			c.give(machines[i%2], code)
		}
		go func() {
			for i := range events {
				c.append(event(fmt.Sprintf("e%05d", i), strconv.Itoa(i%keys)))
				if i%100 == 99 {
					time.Sleep(500 * time.Millisecond)
				}
			}
		}()
		owner := map[string]int{"desk": 0, "shelf": 1, "cart": 0}
		for round := range 60 {
			time.Sleep(317 * time.Millisecond)
			code := c.codes[round%3]
			from, to := machines[owner[code]], machines[1-owner[code]]
			owner[code] = 1 - owner[code]
			if round%2 == 0 {
				if err := from.engine.Release(t.Context(), code); err != nil {
					t.Fatal(err)
				}
				c.give(to, code)
				continue
			}
			epoch := c.claim(to, code) // its owner has been frozen and hears of it later
			if round%4 == 1 {
				from.engine.Disown(code)
			}
			if err := to.engine.Own(code, epoch); err != nil {
				t.Fatal(err)
			}
			from.engine.Disown(code)
		}
		time.Sleep(time.Hour)
		for _, code := range c.codes {
			repeats := checkArrivals(t, code, c.receivers[code], events, keys)
			// At each of the 10 changes at once of a profile: what is in flight, and what comes in
			// until it is stored.
			if limit := 10 * (16 + 2*16*12); repeats > limit {
				t.Errorf("%s: %d repeats, want %d at most", code, repeats, limit)
			}
			if b, _ := c.store.Backlog(c.id(code)); b.Events != 0 {
				t.Errorf("%s: backlog %+v", code, b)
			}
		}
		for _, m := range machines {
			m.stopped()
		}
	})
}

// checkArrivals checks that every event arrived, and those of each key in order within each epoch. It
// returns how many succeeded twice.
func checkArrivals(t *testing.T, code string, r *receiver, events, keys int) (repeats int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := make(map[string]int)
	last := make(map[string]string) // by key and epoch
	for n, req := range r.got {
		i, err := strconv.Atoi(req.ID[1:])
		if err != nil {
			t.Fatal(err)
		}
		at := fmt.Sprintf("%d@%s", i%keys, req.Epoch)
		if req.ID < last[at] {
			t.Errorf("%s: %s arrived after %s in epoch %s", code, req.ID, last[at], req.Epoch)
		}
		last[at] = req.ID
		if (n+1)%97 != 0 {
			seen[req.ID]++
		}
	}
	for i := range events {
		id := fmt.Sprintf("e%05d", i)
		if seen[id] == 0 {
			t.Errorf("%s: %s was lost", code, id)
		}
		repeats += max(0, seen[id]-1)
	}
	return repeats
}

// TestStatusWhileTheStoreWaits shows a profile whose dispatcher waits for the store, and that it does.
func TestStatusWhileTheStoreWaits(t *testing.T) {
	t.Parallel()
	c := newCluster(t, "desk")
	a := c.join(nil)
	c.give(a, "desk")
	if all, err := a.engine.Status(); err != nil || len(all) != 1 || all[0].State != delivery.StateActive {
		t.Errorf("status %+v, %v", all, err)
	}
	c.receivers["desk"].takes(time.Hour)
	c.append(event("a", "1"))
	block, entered, paused := make(chan struct{}), make(chan struct{}, 10), make(chan error)
	c.mu.Lock()
	a.blocked, a.entered = block, entered
	c.mu.Unlock()
	go func() { paused <- a.engine.Pause("desk") }()
	<-entered
	for waits := false; !waits; { // the first update may be the dispatcher's, which Pause waits for
		all, err := a.engine.Status()
		if err != nil || len(all) != 1 || all[0].Profile != "desk" || all[0].BacklogEvents != 1 {
			t.Fatalf("status %+v, %v", all, err)
		}
		if waits = all[0].Reason == "store"; waits && (all[0].State != delivery.StateWaiting || !all[0].Attention) {
			t.Errorf("status %+v", all[0])
		}
	}
	if stats, err := a.engine.Stats(); err != nil || len(stats) != 1 || stats[0].Status.Reason != "store" {
		t.Errorf("stats %+v, %v", stats, err)
	}
	close(block)
	if err := <-paused; err != nil {
		t.Error(err)
	}
	if state, err := a.engine.State("desk"); err != nil || state != delivery.StateInactive {
		t.Errorf("state %s, %v", state, err)
	}
	a.engine.Disown("desk")
	a.stopped()
}

// TestRetryAllTakesFewUpdates has many retries tried at once: each update of a shared store takes its
// time.
func TestRetryAllTakesFewUpdates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, "desk")
		a := c.join(func(p *delivery.ProfileConfig) { p.Order = "none" })
		const events = 1000
		id := c.id("desk")
		for i := range events {
			c.append(event("e"+strconv.Itoa(i), strconv.Itoa(i)))
		}
		c.store.mu.Lock()
		profile := c.store.profiles[id]
		for i := range events {
			seq := delivery.Seq(i + 1)
			profile.records[seq] = delivery.Delivery{
				Seq: seq, State: delivery.Retrying, Round: 1, Attempts: 20, Due: time.Now().Add(time.Minute), Bytes: 100,
			}
		}
		profile.progress.Cursor = events + 1
		c.store.mu.Unlock()
		c.give(a, "desk")
		time.Sleep(time.Second)
		before := c.store.updated()
		done, err := a.engine.RetryAllNow("desk")
		if updates := c.store.updated() - before; err != nil || done[0].Retries != events || updates > 10 {
			t.Errorf("%+v, %v, by %d updates", done, err, updates)
		}
		time.Sleep(time.Second)
		if b, _ := c.store.Backlog(c.id("desk")); b.Events != 0 {
			t.Errorf("backlog %+v after %+v", b, done)
		}
		a.stopped()
	})
}

// TestReloadOfShared adds, changes and removes profiles on machines of which one owns them: the owner
// alone drains or drops what waits, and the others forget the profile when the store has.
func TestReloadOfShared(t *testing.T) {
	t.Parallel()
	for _, how := range []engine.Removal{engine.Drain, engine.Drop, engine.Park} {
		t.Run(string(how), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, "desk", "shelf")
				a, b := c.join(nil), c.join(nil)
				c.give(a, "desk")
				c.give(b, "shelf")
				c.receivers["desk"].takes(time.Minute)
				c.append(event("a", "1"), event("b", "1"))
				time.Sleep(time.Second)
				c.codes = []string{"shelf", "cart"}
				c.receivers["cart"] = &receiver{}
				change := func(p *delivery.ProfileConfig) { p.Name = "changed" }
				for _, m := range []*machine{a, b} {
					reload, err := m.engine.Prepare(c.profiles(change), map[string]engine.Removal{"desk": how})
					if err != nil {
						t.Fatal(err)
					}
					if err := reload.Apply(); err != nil {
						t.Fatal(err)
					}
					if got := fmt.Sprint(reload.Added, reload.Changed, reload.Removed); got != "[cart] [shelf] [desk]" {
						t.Errorf("reload says %s", got)
					}
				}
				want := []string{"shelf", "cart", "desk"}
				if how == engine.Park {
					want = want[:2]
				}
				if got := b.engine.Profiles(); !slices.Equal(got, want) {
					t.Errorf("profiles to be owned: %q", got)
				}
				c.give(b, "cart")
				c.append(event("c", "1"))
				time.Sleep(time.Hour)
				if got := c.receivers["cart"].requests(); !slices.Equal(got, []string{"c@1"}) {
					t.Errorf("cart got %q", got)
				}
				if all, err := b.engine.Status(); err != nil || len(all) != 2 || all[0].Name != "changed" {
					t.Errorf("status %+v, %v", all, err)
				}
				outcome := map[engine.Removal]delivery.Outcome{engine.Drain: delivery.OutcomeDelivered, engine.Drop: delivery.OutcomeDropped}[how]
				if got := outcomes(a.lines.ofProfile("desk", "b")); how != engine.Park && !slices.Equal(got, []delivery.Outcome{outcome}) {
					t.Errorf("b ended %v", got)
				}
				if got := b.lines.ofProfile("desk", "b"); len(got) != 0 {
					t.Errorf("the other machine wrote %+v", got)
				}
				if known := slices.Contains(c.store.codes, "desk"); known != (how == engine.Park) {
					t.Errorf("the store knows the profile: %t", known)
				}
				if _, owned := a.engine.Owned("desk"); owned {
					t.Error("the profile is owned still")
				}
				b.engine.Retired("desk")
				for _, m := range []*machine{a, b} {
					if got := m.engine.Profiles(); !slices.Equal(got, []string{"shelf", "cart"}) {
						t.Errorf("profiles at last: %q", got)
					}
				}
				a.stopped()
				b.stopped()
			})
		})
	}
}
