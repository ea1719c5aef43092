package engine_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
	"rowhook/delivery/spool"
)

// TestOnTheSpool runs the engine on the real spool through failures, a stop, a reopened
// spool and a dead letter's second round.
func TestOnTheSpool(t *testing.T) {
	t.Parallel()
	const n = 2000
	dir := filepath.Join(t.TempDir(), "spool")
	config := delivery.Defaults()
	config.Code = "desk"
	config.Retry.Initial, config.Retry.Max = time.Millisecond, 5*time.Millisecond
	b := &bench{t: t, lines: &lines{}, receiver: &receiver{}}
	dead := delivery.Reply{Class: delivery.ClassDead, Status: 404, Reason: "status_4xx"}
	half, all := make(chan struct{}), make(chan struct{})
	over := 0
	b.receiver.answer = func(i int, req *delivery.Request) delivery.Reply {
		reply := ok
		switch {
		case i%7 == 0:
			return broken
		case req.ID == "77":
			reply = dead
		}
		switch over++; over {
		case n / 2:
			close(half)
		case n:
			close(all)
		}
		return reply
	}
	run := func(until <-chan struct{}, first bool) {
		store, err := spool.Open(dir, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		profile, err := engine.NewProfile(config, productOf(config), b.receiver, plain{})
		if err != nil {
			t.Fatal(err)
		}
		if b.engine, err = engine.New(store, b.lines, []*engine.Profile{profile}, engine.Options{}); err != nil {
			t.Fatal(err)
		}
		id, err := store.Register(config.Code)
		if err != nil {
			t.Fatal(err)
		}
		if first {
			batch := store.NewBatch()
			for i := range n {
				batch.Add(event(fmt.Sprint(i), fmt.Sprint(i%20)), []delivery.ProfileID{id})
			}
			batch.Commit("0/1")
			if err := store.Apply(batch); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- b.engine.Run(ctx) }()
		<-until
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if !first {
			if s := b.status(); s.BacklogEvents != 0 || s.BacklogBytes != 0 || s.Dead != 1 {
				t.Errorf("status %+v", s)
			}
			changed, err := b.engine.FailedRetry(t.Context(), engine.Filter{ID: "77"})
			if s := b.status(); err != nil || changed.Count != 1 || s.BacklogEvents != 1 || s.Blocked != 1 {
				t.Errorf("retry of a dead letter: %+v, %v, %+v", changed, err, s)
			}
		}
	}
	run(half, true)
	run(all, false)
	terminal := 0
	for _, r := range b.lines.of("") {
		if r.Outcome.Terminal() {
			terminal++
		}
	}
	if terminal != n {
		t.Errorf("%d terminal lines for %d events", terminal, n)
	}
	checkOrder(t, b, n-1, func(i int) int { return i % 20 })
}

// TestBlockedBacklogStaysOnDisk has one failing event hold up 100,000 of its key (10,000 but in the
// soak): they must not be in memory nor in the way of other keys, and come in order when it is
// through.
func TestBlockedBacklogStaysOnDisk(t *testing.T) {
	t.Parallel()
	const others = 1000
	n := count(10_000, 100_000)
	store, err := spool.Open(filepath.Join(t.TempDir(), "spool"), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	config := delivery.Defaults()
	config.Code = "desk"
	config.Retry.Initial, config.Retry.Max = 10*time.Millisecond, 10*time.Millisecond
	b := &bench{t: t, lines: &lines{}, receiver: &receiver{}}
	blocked, passed, all := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var running *engine.Engine
	delivered := 0
	b.receiver.answer = func(_ int, req *delivery.Request) delivery.Reply {
		if req.ID == "0" {
			select {
			case <-blocked:
			default:
				return broken
			}
		}
		switch delivered++; delivered {
		case others:
			close(passed)
		case n + others:
			close(all)
		}
		return ok
	}
	profile, err := engine.NewProfile(config, productOf(config), b.receiver, plain{})
	if err != nil {
		t.Fatal(err)
	}
	if running, err = engine.New(store, b.lines, []*engine.Profile{profile}, engine.Options{}); err != nil {
		t.Fatal(err)
	}
	batch := store.NewBatch()
	for i := range n {
		batch.Add(event(fmt.Sprint(i), "same"), []delivery.ProfileID{1})
		if i%1000 == 999 {
			batch.Commit("0/1")
			if err := store.Apply(batch); err != nil {
				t.Fatal(err)
			}
			batch.Reset()
		}
	}
	for i := range others {
		batch.Add(event(fmt.Sprint(n+i), fmt.Sprint("other", i)), []delivery.ProfileID{1})
	}
	batch.Commit("0/1")
	if err := store.Apply(batch); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	started := time.Now()
	go func() { ended <- running.Run(ctx) }()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for most := 0; ; <-look.C {
		status, err := running.Status()
		if err != nil {
			t.Fatal(err)
		}
		jobs, lanes := engine.InMemory(running)
		if most = max(most, jobs); most > 1024 || lanes > 1024 {
			t.Fatalf("%d jobs and %d lanes in memory", most, lanes)
		}
		if status[0].Blocked == int64(n-1) {
			break
		}
	}
	<-passed
	t.Logf("all blocked after %v", time.Since(started))
	started = time.Now()
	close(blocked)
	<-all
	t.Logf("drained after %v", time.Since(started))
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	checkOrder(t, b, n+others, func(i int) int { return max(0, i-n+1) })
}
