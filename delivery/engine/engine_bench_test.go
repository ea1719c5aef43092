package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/engine"
	"rowhook/delivery/format"
	"rowhook/delivery/spool"
)

// instant is a receiver that has done its work before it is asked.
type instant struct {
	left atomic.Int64
	done chan struct{}
}

func (s *instant) Send(_ context.Context, req *delivery.Request) delivery.Reply {
	reply := delivery.Reply{Class: delivery.ClassOK, Status: 204, Started: time.Now(), Duration: time.Millisecond}
	if s.left.Add(-eventsIn(req.Body)) == 0 {
		close(s.done)
	}
	return reply
}

// eventsIn returns how many events a body of format native carries.
func eventsIn(body []byte) int64 {
	_, rest, group := bytes.Cut(body[:min(len(body), 300)], []byte(`},"count":`))
	if !group {
		return 1
	}
	digits, _, _ := bytes.Cut(rest, []byte(","))
	n, _ := strconv.ParseInt(string(digits), 10, 64)
	return n
}

func (s *instant) Describe() (method, url string) { return "POST", "https://example.org/hook" }

// BenchmarkEngine brings events from the spool's tail, or from its disk, through lane, format,
// delivery log and acknowledgement to a receiver that costs nothing: what is left is the engine's
// own cost of an event.
func BenchmarkEngine(b *testing.B) {
	for _, c := range []struct {
		name  string
		order string
		keys  int
		ahead bool // all events are in the spool before the engine starts
		unit  string
	}{
		{"tail", "key", 1000, false, "record"},
		{"tail_unordered", "none", 1000, false, "record"},
		{"tail_one_key", "key", 1, false, "record"},
		{"backlog", "key", 1000, true, "record"},
		{"backlog_batches_of_100", "key", 1_000_000, true, "batch"},
		{"backlog_batches_of_100_chained", "key", 1000, true, "batch"},
		{"backlog_transactions_of_10", "key", 1_000_000, true, "transaction"},
	} {
		b.Run(c.name, func(b *testing.B) {
			store, err := spool.Open(filepath.Join(b.TempDir(), "spool"), spool.Options{Sync: time.Second})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			log, err := deliverylog.Open(deliverylog.Options{Path: filepath.Join(b.TempDir(), "deliveries.jsonl"), Body: 4000})
			if err != nil {
				b.Fatal(err)
			}
			defer log.Close()
			config := delivery.Defaults()
			config.Code, config.Order, config.Concurrency, config.Unit = "bench", c.order, 16, c.unit
			sender := &instant{done: make(chan struct{})}
			sender.left.Store(int64(b.N))
			formatter, err := format.Products().Formatter(config)
			if err != nil {
				b.Fatal(err)
			}
			profile, err := engine.NewProfile(config, productOf(config), sender, formatter)
			if err != nil {
				b.Fatal(err)
			}
			running, err := engine.New(store, log, []*engine.Profile{profile}, engine.Options{})
			if err != nil {
				b.Fatal(err)
			}
			id, err := store.Register(config.Code)
			if err != nil {
				b.Fatal(err)
			}
			fill := func() { appendEvents(b, store, id, c.keys) }
			if c.ahead {
				fill()
			}
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			ended := make(chan error, 1)
			b.ReportAllocs()
			b.ResetTimer()
			before := cpuTime()
			go func() { ended <- running.Run(ctx) }()
			if !c.ahead {
				fill()
			}
			<-sender.done
			cancel()
			if err := <-ended; err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(cpuTime()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is what the process has used: on a busy machine it says more than the clock.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// appendEvents appends b.N events of about 400 bytes in transactions of 10.
func appendEvents(b *testing.B, store *spool.Spool, id delivery.ProfileID, keys int) {
	batch := store.NewBatch()
	to := []delivery.ProfileID{id}
	for i := range b.N {
		key := fmt.Appendf(nil, `{"loan_id":%d}`, i%keys)
		batch.Add(&delivery.Event{
			Making: &delivery.Making{Type: "loan.returned", Entry: "circulation.loans", Source: "library", Table: "circulation.loans", Op: "update"},
			Commit: &delivery.Commit{Time: time.Now(), Position: "0/16B3748", Transaction: strconv.Itoa(i / 10)},
			ID:     fmt.Sprintf("evt_%012d", i), Ordinal: i % 10, Key: key, OrderKey: string(key),
			Data:     fmt.Appendf(nil, `{"loan_id":%d,"item_id":"I-%08d","branch":"MAIN","due_at":"2026-11-30T00:00:00Z","returned_at":"2026-11-22T01:02:03.120000Z"}`, i%keys, i),
			Previous: []byte(`{"returned_at":null}`),
		}, to)
		if i%10 == 9 || i == b.N-1 {
			batch.Commit("0/16B3748")
			if err := store.Apply(batch); err != nil {
				b.Fatal(err)
			}
			batch.Reset()
		}
	}
}
