package engine

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"rowhook/delivery"
)

// endpointStart is when the endpoints of these tests begin.
var endpointStart = time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)

// newEndpoint returns an endpoint under the preset's terms without their randomness.
func newEndpoint(change func(*delivery.ProfileConfig)) *endpoint {
	config := delivery.Defaults()
	config.Retry.Jitter = 0
	if change != nil {
		change(&config)
	}
	e := &endpoint{log: slog.New(slog.DiscardHandler)}
	e.follow(&Profile{config: config, schedule: newSchedule(config.Retry)})
	return e
}

// reply is one to a request that was begun at a time.
func reply(class delivery.Class, status int, started time.Time) *delivery.Reply {
	return &delivery.Reply{Class: class, Reason: "reason", Status: status, Started: started}
}

// TestEndpointWindow holds how many requests may be under way after failures (f) and answers (a).
func TestEndpointWindow(t *testing.T) {
	t.Parallel()
	for results, want := range map[string][]int{
		"":             {16},
		"f":            {16, 4},
		"ffff":         {16, 4, 2, 1, 1},
		"fffa":         {16, 4, 2, 1, 2},
		"fffaaaaaaaaa": {16, 4, 2, 1, 2, 2, 4, 4, 4, 4, 16, 16, 16},
	} {
		e := newEndpoint(nil)
		limit := func() int {
			n, _ := e.gate(endpointStart, 0)
			return n
		}
		got := []int{limit()}
		for i, result := range results {
			if result == 'f' {
				e.failing(delivery.Seq(i), reply(delivery.ClassTransient, 500, endpointStart), endpointStart)
			} else {
				e.answered(reply(delivery.ClassOK, 200, endpointStart), endpointStart)
			}
			got = append(got, limit())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", results, got, want)
		}
	}
}

// TestEndpointOpens: the breaker opens after five failures in a row that are not one event's alone,
// or that are failures to connect.
func TestEndpointOpens(t *testing.T) {
	t.Parallel()
	type failure struct {
		seq   delivery.Seq
		class delivery.Class // 0 is an answer
	}
	const status, network = delivery.ClassTransient, delivery.ClassNetwork
	for name, test := range map[string]struct {
		failures []failure
		opens    bool
	}{
		"four":                      {[]failure{{1, status}, {2, status}, {3, status}, {4, status}}, false},
		"five":                      {[]failure{{1, status}, {2, status}, {3, status}, {4, status}, {5, status}}, true},
		"five of one event":         {[]failure{{1, status}, {1, status}, {1, status}, {1, status}, {1, status}}, false},
		"five, one of another":      {[]failure{{1, status}, {1, status}, {2, status}, {1, status}, {1, status}}, true},
		"five without a connection": {[]failure{{1, network}, {1, network}, {1, network}, {1, network}, {1, network}}, true},
		"an answer in between":      {[]failure{{1, status}, {2, status}, {3, status}, {}, {4, status}, {5, status}}, false},
	} {
		e := newEndpoint(nil)
		now := endpointStart
		opened := false
		for _, f := range test.failures {
			started := now
			now = now.Add(time.Second)
			if f.class == 0 {
				e.answered(reply(delivery.ClassOK, 200, started), now)
				continue
			}
			opened = e.failing(f.seq, reply(f.class, 503, started), now)
		}
		if opened != test.opens || e.down() != test.opens {
			t.Errorf("%s: opened %t, down %t, want %t", name, opened, e.down(), test.opens)
		}
		if test.opens && !e.outage.Since.Equal(endpointStart.Add(time.Second)) {
			t.Errorf("%s: an outage since %s, not since the first failure", name, e.outage.Since)
		}
	}
}

// TestEndpointWaits holds for how long an endpoint is left alone, and what follows for retries
// whose times are a list.
func TestEndpointWaits(t *testing.T) {
	t.Parallel()
	list := func(c *delivery.ProfileConfig) { c.Retry.Schedule = []time.Duration{time.Hour, 2 * time.Hour} }
	for name, test := range map[string]struct {
		change    func(*delivery.ProfileConfig)
		class     delivery.Class
		status    int
		after     time.Duration // Retry-After
		wait      time.Duration
		attention bool
	}{
		"503 that says when":          {nil, delivery.ClassThrottle, 503, 90 * time.Second, 90 * time.Second, false},
		"503 that does not":           {nil, delivery.ClassThrottle, 503, 0, time.Second, false},
		"429 that says when":          {nil, delivery.ClassThrottle, 429, 2 * time.Second, 2 * time.Second, false},
		"429 that does not":           {nil, delivery.ClassThrottle, 429, 0, throttleFloor, false},
		"429, retry.max is less":      {func(c *delivery.ProfileConfig) { c.Retry.Max = 3 * time.Second }, delivery.ClassThrottle, 429, 0, 3 * time.Second, false},
		"a day is too long":           {nil, delivery.ClassThrottle, 503, 24 * time.Hour, time.Hour, false},
		"credentials are refused":     {nil, delivery.ClassAuth, 401, 0, time.Hour, true},
		"a setting of ours":           {nil, delivery.ClassProfile, 0, 0, time.Second, true},
		"503 where a list holds":      {list, delivery.ClassThrottle, 503, 3 * time.Hour, time.Hour, false},
		"credentials where a list is": {list, delivery.ClassAuth, 403, 0, time.Hour, true},
	} {
		e := newEndpoint(test.change)
		r := reply(test.class, test.status, endpointStart)
		r.RetryAfter = test.after
		now := endpointStart.Add(time.Millisecond)
		var waits bool
		if test.class == delivery.ClassThrottle {
			waits = e.throttled(r, now)
		} else {
			waits = e.needsHand(r, now)
		}
		if left := e.left(now); !waits || left != test.wait || e.outage.Attention != test.attention {
			t.Errorf("%s: waits %t for %s, attention %t; want %s, %t", name, waits, left, e.outage.Attention, test.wait, test.attention)
		}
		if due := e.notBefore(now); !due.Equal(now.Add(test.wait)) {
			t.Errorf("%s: a retry goes at %s, before the endpoint wants it", name, due)
		}
		if limit, _ := e.gate(now, 0); limit != 0 {
			t.Errorf("%s: %d requests may go meanwhile", name, limit)
		}
		if limit, fresh := e.gate(now.Add(test.wait), 0); limit != 1 || !fresh {
			t.Errorf("%s: %d requests probe it, first tries %t", name, limit, fresh)
		}
	}
}

// TestEndpointProbes: one request at a time probes, retries and first tries in turn; replies to
// requests from before the wait prove nothing.
func TestEndpointProbes(t *testing.T) {
	t.Parallel()
	e := newEndpoint(nil)
	before, now := endpointStart, endpointStart.Add(time.Second)
	for seq := range delivery.Seq(tripAfter) {
		e.failing(seq, reply(delivery.ClassNetwork, 0, before), now)
	}
	first := e.outage.Until
	if e.answered(reply(delivery.ClassOK, 200, before), now) {
		t.Error("an answer to a request from before the wait closed the breaker")
	}
	if e.failing(9, reply(delivery.ClassNetwork, 0, before), now); !e.outage.Until.Equal(first) || e.outage.Waits != 1 {
		t.Errorf("a failure from before the wait made it %s, %d waits", e.outage.Until, e.outage.Waits)
	}
	if e.mayProbe(now, 0) || e.notBefore(now) != first {
		t.Error("it is probed at once")
	}
	for i, want := range []bool{true, false, true} {
		now = e.outage.Until
		if e.mayProbe(now, 1) || !e.mayProbe(now, 0) {
			t.Fatalf("probe %d: not one at a time", i)
		}
		if retries, ok := e.retriesFirst(); !ok || retries != want {
			t.Errorf("probe %d: a retry first is %t", i, retries)
		}
		if !e.spend() {
			t.Errorf("request %d is no probe", i)
		}
		started := now.Add(time.Millisecond)
		now = now.Add(time.Second)
		if !e.failing(9, reply(delivery.ClassNetwork, 0, started), now) {
			t.Errorf("probe %d failed and nothing follows", i)
		}
	}
	if wait, failing := e.left(now), now.Sub(e.outage.Since); wait > max(failing/4, time.Second) {
		t.Errorf("after %s it is left alone for %s", failing, wait)
	}
	now = now.Add(time.Hour)
	if !e.tryNow(now) || e.left(now) != 0 {
		t.Error("it is not tried when an operator wants it")
	}
	if !e.answered(reply(delivery.ClassOK, 200, now.Add(time.Millisecond)), now.Add(time.Second)) || e.down() {
		t.Error("an answered probe did not close the breaker")
	}
	if limit, _ := e.gate(now, 0); limit != 1 || e.unbounded() {
		t.Errorf("%d requests go at once after an outage", limit)
	}
	if e.tryNow(now) {
		t.Error("an endpoint that answers was left alone")
	}
}

// TestEndpointList: a schedule that is a list goes on while the breaker is open, unless the
// endpoint asked for more.
func TestEndpointList(t *testing.T) {
	t.Parallel()
	e := newEndpoint(func(c *delivery.ProfileConfig) { c.Retry.Schedule = []time.Duration{time.Hour} })
	now := endpointStart
	for seq := range delivery.Seq(tripAfter) {
		e.failing(seq, reply(delivery.ClassNetwork, 0, now), now)
	}
	e.outage.Until = now.Add(time.Minute)
	if limit, fresh := e.gate(now, 0); limit != e.concurrency || fresh {
		t.Errorf("%d requests, first tries %t", limit, fresh)
	}
	if due := e.notBefore(now); !due.Equal(now) {
		t.Errorf("a listed retry is put off to %s", due)
	}
	e.outage.Whole = true
	if limit, _ := e.gate(now, 0); limit != 0 || e.notBefore(now).Equal(now) {
		t.Errorf("%d requests although the endpoint asked for time", limit)
	}
}
