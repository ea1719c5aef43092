package engine_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
)

// asked is a receiver that wants to be asked before its first delivery.
type asked struct {
	*receiver
	mu       sync.Mutex
	endpoint delivery.Endpoint
	consents func(n int) delivery.Reply // n counts challenges from 1
	at       []time.Time                // of the challenges
	hangs    bool
}

func (a *asked) Endpoint() delivery.Endpoint {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.endpoint
}

func (a *asked) moves(to delivery.Endpoint) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.endpoint = to
}

func (a *asked) answers(consents func(n int) delivery.Reply) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.consents = consents
}

func (a *asked) Challenge(ctx context.Context) delivery.Reply {
	a.mu.Lock()
	a.at = append(a.at, time.Now())
	reply, hangs := ok, a.hangs
	if a.consents != nil {
		reply = a.consents(len(a.at))
	}
	a.mu.Unlock()
	if hangs {
		<-ctx.Done()
		return delivery.Reply{Class: delivery.ClassStopped, Reason: "interrupted"}
	}
	return reply
}

func (a *asked) challenges() []time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.at)
}

var (
	first      = delivery.Endpoint{Name: "first"}
	unwilling  = delivery.Reply{Class: delivery.ClassEndpoint, Status: 200, Reason: "challenge", Error: "the reply does not contain the challenge's text"}
	noEndpoint = delivery.Endpoint{Sandbox: true}
)

// setupAsked is setup with a receiver that is asked.
func setupAsked(t testing.TB, change func(*delivery.ProfileConfig)) (*bench, *asked) {
	b := setup(t, func(c *delivery.ProfileConfig) {
		c.Challenge = "query"
		if change != nil {
			change(c)
		}
	})
	a := &asked{receiver: b.receiver, endpoint: first}
	b.sender = a
	b.build()
	return b, a
}

func TestActivatesByItselfAndDeliversWhatCameMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, a := setupAsked(t, nil)
		b.engine.Suspend("the source has not been identified yet")
		b.start()
		b.append(event("a", "1"))
		time.Sleep(time.Minute)
		if n := len(a.challenges()); n != 0 {
			t.Fatalf("%d challenges while nothing may be sent", n)
		}
		b.engine.Continue()
		time.Sleep(time.Second)
		wantOutcomes(t, b, "a", "delivered")
		if s := b.status(); s.State != "active" || len(a.challenges()) != 1 {
			t.Errorf("status %+v after %d challenges", s, len(a.challenges()))
		}
		b.stopped()
		b.build()
		b.start()
		b.append(event("b", "1"))
		time.Sleep(time.Hour)
		b.stopped()
		wantOutcomes(t, b, "b", "delivered")
		if n := len(a.challenges()); n != 1 {
			t.Errorf("%d challenges; once activated, a restart asks for none", n)
		}
	})
}

func TestPendingSkipsUntilItsEndpointAgrees(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, a := setupAsked(t, nil)
		a.consents = func(n int) delivery.Reply {
			if n <= 5 {
				return unwilling
			}
			return ok
		}
		b.start()
		defer b.stopped()
		b.append(event("a", "1"), event("b", "2"))
		time.Sleep(5 * time.Second)
		for _, id := range []string{"a", "b"} {
			if r := wantOutcomes(t, b, id, "skipped"); len(r) > 0 && r[0].Reason != "challenge" {
				t.Errorf("line %+v", r[0])
			}
		}
		s := b.status()
		if s.State != "pending" || s.Reason != "challenge" || s.Problem != unwilling.Error || !s.Attention ||
			s.Since.IsZero() || s.NextAttempt.IsZero() || s.BacklogEvents != 0 || s.Outcomes["skipped"] != 2 {
			t.Errorf("status %+v", s)
		}
		time.Sleep(time.Minute)
		at := a.challenges()
		if len(at) != 6 {
			t.Fatalf("%d challenges", len(at))
		}
		for i := range 5 {
			want := time.Second << i
			if wait := at[i+1].Sub(at[i]); wait < want*8/10 || wait > want*12/10+time.Millisecond {
				t.Errorf("wait %d was %v, want %v give or take a fifth", i+1, wait, want)
			}
		}
		b.append(event("c", "1"))
		time.Sleep(time.Second)
		wantOutcomes(t, b, "c", "delivered")
		if got := b.receiver.ids(); !slices.Equal(got, []string{"c"}) {
			t.Errorf("arrived %v", got)
		}
	})
}

// TestAnotherURLIsActivatedAgain holds that events wait for it, and go to it in order.
func TestAnotherURLIsActivatedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, a := setupAsked(t, nil)
		b.start()
		b.append(event("a", "1"))
		time.Sleep(time.Second)
		a.answers(func(int) delivery.Reply { return unwilling })
		a.moves(delivery.Endpoint{Name: "second"})
		b.engine.Reconsider()
		var want []string
		for i := range 2000 {
			id := fmt.Sprint("e", i)
			want = append(want, id)
			b.append(event(id, "1"))
		}
		time.Sleep(time.Hour)
		if s := b.status(); s.State != "pending" || s.BacklogEvents != 2000 || s.Outcomes["held"] != 2000 {
			t.Errorf("status %+v", s)
		}
		b.stopped()
		b.build()
		b.start()
		defer b.stopped()
		time.Sleep(time.Hour)
		reply, err := b.engine.Activate(t.Context(), "desk")
		if err != nil || reply.Error != unwilling.Error {
			t.Errorf("activate: %+v, %v", reply, err)
		}
		a.answers(nil)
		if reply, err := b.engine.Activate(t.Context(), "desk"); err != nil || reply.Class != delivery.ClassOK {
			t.Errorf("activate: %+v, %v", reply, err)
		}
		time.Sleep(time.Second)
		if got := b.receiver.ids(); !slices.Equal(got, append([]string{"a"}, want...)) {
			t.Errorf("%d arrived, or out of order", len(got))
		}
		for _, id := range want {
			wantOutcomes(t, b, id, "held", "delivered")
		}
	})
}

func TestWhenInactive(t *testing.T) {
	t.Parallel()
	off := false
	for _, tt := range []struct {
		name   string
		change func(*delivery.ProfileConfig)
		at     delivery.Endpoint
		pause  bool // after a first delivery
		want   delivery.Outcome
		reason string
		state  string
	}{
		{"never active", func(c *delivery.ProfileConfig) {}, first, false, "skipped", "challenge", "pending"},
		{"never active, hold", func(c *delivery.ProfileConfig) { c.WhenInactive = "hold" }, first, false, "held", "challenge", "pending"},
		{"sandbox without a URL", func(c *delivery.ProfileConfig) { c.Challenge = "none" }, noEndpoint, false, "skipped", "sandbox", "pending"},
		{"off in the config", func(c *delivery.ProfileConfig) { c.Active, c.Challenge = &off, "none" }, first, false, "skipped", "config", "inactive"},
		{"paused", func(c *delivery.ProfileConfig) { c.Challenge = "none" }, first, true, "held", "operator", "inactive"},
		{"paused, skip", func(c *delivery.ProfileConfig) { c.Challenge, c.WhenInactive = "none", "skip" }, first, true, "skipped", "operator", "inactive"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b, a := setupAsked(t, tt.change)
				a.endpoint = tt.at
				a.consents = func(int) delivery.Reply { return unwilling }
				b.start()
				defer b.stopped()
				if tt.pause {
					b.append(event("before", "1"))
					time.Sleep(time.Second)
					if err := b.engine.Pause("desk"); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Second)
				b.append(event("a", "1"), event("b", "1"))
				time.Sleep(time.Minute)
				b.append(event("c", "2"))
				time.Sleep(time.Minute)
				for _, id := range []string{"a", "b", "c"} {
					if r := wantOutcomes(t, b, id, tt.want); len(r) > 0 && (r[0].Reason != tt.reason || r[0].Attempt != 0) {
						t.Errorf("line %+v", r[0])
					}
				}
				backlog := int64(3)
				if tt.want == delivery.OutcomeSkipped {
					backlog = 0
				}
				if s := b.status(); s.State != tt.state || s.BacklogEvents != backlog || s.Outcomes[tt.want] != 3 {
					t.Errorf("status %+v", s)
				}
			})
		})
	}
}

func TestActivateEndsAPauseAndSaysWhatStandsInTheWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, a := setupAsked(t, nil)
		var mu sync.Mutex
		var changes []engine.StateChange
		b.onState = func(c engine.StateChange) {
			mu.Lock()
			defer mu.Unlock()
			changes = append(changes, c)
		}
		b.build()
		b.receiver.script(func(n int, _ *delivery.Request) delivery.Reply {
			if n == 1 {
				return delivery.Reply{Class: delivery.ClassGone, Status: 410, Reason: "status_4xx"}
			}
			return ok
		})
		b.start()
		b.append(event("a", "1"))
		time.Sleep(time.Minute)
		if s := b.status(); s.State != "inactive" {
			t.Fatalf("status %+v", s)
		}
		b.engine.Suspend("a person's word")
		if _, err := b.engine.Activate(t.Context(), "desk"); err == nil || !strings.Contains(err.Error(), "a person's word") {
			t.Errorf("activated while nothing may be sent: %v", err)
		}
		b.engine.Continue()
		if reply, err := b.engine.Activate(t.Context(), "desk"); err != nil || reply.Class != delivery.ClassOK {
			t.Errorf("activate: %+v, %v", reply, err)
		}
		time.Sleep(time.Second)
		wantOutcomes(t, b, "a", "held", "delivered")
		a.moves(noEndpoint)
		if _, err := b.engine.Activate(t.Context(), "desk"); err == nil {
			t.Error("activated without a URL")
		}
		a.moves(first)
		b.stopped()
		mu.Lock()
		defer mu.Unlock()
		want := []engine.StateChange{
			{Profile: "desk", Old: "pending", New: "active"},
			{Profile: "desk", Old: "active", New: "inactive", Reason: "status_4xx"},
		}
		if !slices.Equal(changes, want) {
			t.Errorf("told of %+v", changes)
		}
		off := false
		b.config.Active = &off
		b.build()
		if _, err := b.engine.Activate(t.Context(), "desk"); err == nil || !strings.Contains(err.Error(), "active: false") {
			t.Errorf("activated against the config: %v", err)
		}
	})
}

// A challenge that hangs does not keep the agent from stopping.
func TestStopDuringAChallenge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, a := setupAsked(t, nil)
		a.hangs = true
		b.start()
		time.Sleep(time.Second)
		began := time.Now()
		b.stopped()
		if took := time.Since(began); took > 0 {
			t.Errorf("stopping took %v", took)
		}
	})
}
