package engine_test

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
	"rowhook/delivery/spool"
)

// TestGroupsOnTheSpool brings small transactions and one that is too large for memory through the
// real spool, with failures and a stop halfway: the groups are the same again, and each event has
// one terminal line.
func TestGroupsOnTheSpool(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"batch", "transaction", "type"} {
		t.Run(unit, func(t *testing.T) {
			t.Parallel()
			p := groupPlan{unit: unit, max: 100}
			config := delivery.Defaults()
			config.Code, config.Unit, config.Batch = "desk", unit, delivery.BatchConfig{Max: p.max, Wait: time.Millisecond}
			config.Retry.Initial, config.Retry.Max = time.Millisecond, 5*time.Millisecond
			b := &bench{t: t, lines: &lines{}, receiver: &receiver{}, config: config}
			events := transactions(40, 20, 2500)
			half, over := make(chan struct{}), 0
			b.receiver.answer = func(n int, _ *delivery.Request) delivery.Reply {
				if n%5 == 0 {
					return broken
				}
				if over++; over == 10 {
					close(half)
				}
				return ok
			}
			dir := filepath.Join(t.TempDir(), "spool")
			b.runOnSpool(dir, events, func() { <-half })
			b.runOnSpool(dir, nil, func() {
				for b.status().BacklogEvents > 0 {
					runtime.Gosched()
				}
			})
			for _, problem := range p.wrongGroups(t, b, events, false) {
				t.Error(problem)
			}
		})
	}
}

// transactions makes so many transactions of a few events, with a large one in their midst.
func transactions(n, few, large int) (events []*delivery.Event) {
	for tx := range n {
		size := few
		if tx == n/2 {
			size = large
		}
		for i := range size {
			ev := event(fmt.Sprintf("e%d", len(events)), fmt.Sprint(len(events)%17))
			ev.Type = []string{"loan.created", "loan.returned"}[i%2]
			ev.Transaction = fmt.Sprint(tx)
			events = append(events, ev)
		}
	}
	return events
}

// runOnSpool runs the engine on a spool in a directory, to which events are appended first, until a
// function returns.
func (b *bench) runOnSpool(dir string, events []*delivery.Event, until func()) {
	b.t.Helper()
	store, err := spool.Open(dir, spool.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	defer store.Close()
	profile, err := engine.NewProfile(b.config, productOf(b.config), b.receiver, plain{})
	if err != nil {
		b.t.Fatal(err)
	}
	if b.engine, err = engine.New(store, b.lines, []*engine.Profile{profile}, engine.Options{}); err != nil {
		b.t.Fatal(err)
	}
	id, err := store.Register(b.config.Code)
	if err != nil {
		b.t.Fatal(err)
	}
	batch := store.NewBatch()
	for _, ev := range events {
		batch.Add(ev, []delivery.ProfileID{id})
	}
	batch.Commit("0/1")
	if len(events) > 0 {
		if err := store.Apply(batch); err != nil {
			b.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.engine.Run(ctx) }()
	until()
	cancel()
	if err := <-ended; err != nil {
		b.t.Fatal(err)
	}
}
