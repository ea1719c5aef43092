package engine_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"rowhook/delivery"
	"rowhook/delivery/engine"
	"rowhook/delivery/spool"
)

// pieces renders groups event by event, as the formats do.
type pieces struct{ plain }

func (p pieces) WriteGroup(w io.Writer, g *delivery.Group) error {
	buf := fmt.Appendf(nil, `{"type":%q,"count":%d,"data":[`, g.Type, g.Count)
	for ev, err := range g.Events {
		if err != nil {
			return err
		}
		if buf, err = p.AppendBody(buf, ev); err != nil {
			return err
		}
		if _, err := w.Write(append(buf, ',')); err != nil {
			return err
		}
		buf = buf[:0]
	}
	_, err := w.Write([]byte("]}"))
	return err
}

// streamReceiver reads streamed bodies, and looks at the memory meanwhile.
type streamReceiver struct {
	fail    atomic.Int64 // so many requests
	got     chan [sha256.Size]byte
	largest uint64 // of the heap
}

func (s *streamReceiver) Send(_ context.Context, req *delivery.Request) delivery.Reply {
	if req.Stream == nil {
		return delivery.Reply{Class: delivery.ClassDead, Reason: "status_4xx", Started: time.Now()}
	}
	sum, n := sha256.New(), 0
	err := req.Stream.Write(writeFunc(func(p []byte) (int, error) {
		if n++; n%20_000 == 0 {
			runtime.GC()
			var mem runtime.MemStats
			runtime.ReadMemStats(&mem)
			s.largest = max(s.largest, mem.HeapAlloc)
		}
		return sum.Write(p)
	}))
	reply := delivery.Reply{Class: delivery.ClassOK, Status: 200, Started: time.Now()}
	switch {
	case err != nil:
		reply = delivery.Reply{Class: delivery.ClassNetwork, Reason: "reset", Started: time.Now()}
	case s.fail.Add(-1) >= 0:
		reply = delivery.Reply{Class: delivery.ClassTransient, Status: 500, Reason: "status_5xx", Started: time.Now()}
	}
	s.got <- [sha256.Size]byte(sum.Sum(nil))
	return reply
}

func (s *streamReceiver) Describe() (method, url string) { return "POST", "https://example.org/hook" }

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }

// TestHundredThousandRowsInOneRequest has a format that sends once, whatever the size: a group of
// 100,000 events (30,000 but in the soak), with others in between, is streamed from the spool, the
// same again after a failure, and memory does not notice.
func TestHundredThousandRowsInOneRequest(t *testing.T) {
	n := count(30_000, 100_000)
	store, err := spool.Open(filepath.Join(t.TempDir(), "spool"), spool.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	config := delivery.Defaults()
	config.Code, config.Format, config.Unit = "desk", "rakuraku", "type"
	config.Retry.Initial, config.Retry.Max = time.Millisecond, time.Millisecond
	sender := &streamReceiver{got: make(chan [sha256.Size]byte, 10)}
	sender.fail.Store(1)
	profile, err := engine.NewProfile(config, productOf(config), sender, pieces{})
	if err != nil {
		t.Fatal(err)
	}
	log := &lines{}
	running, err := engine.New(store, log, []*engine.Profile{profile}, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := store.Register(config.Code)
	if err != nil {
		t.Fatal(err)
	}
	batch := store.NewBatch()
	for i := range n + n/100 {
		ev := event(fmt.Sprintf("evt_%026d", i), fmt.Sprint(i))
		ev.Type = "loan.created"
		if i%101 == 100 {
			ev.Type = "loan.returned" // a group of its own, small enough for memory
		}
		ev.Data = fmt.Appendf(nil, `{"loan_id":%d,"note":"%0300d"}`, i, i)
		batch.Add(ev, []delivery.ProfileID{id})
		if batch.Len() == 1000 {
			if err := store.Apply(batch); err != nil {
				t.Fatal(err)
			}
			batch.Reset()
		}
	}
	batch.Commit("0/1")
	if err := store.Apply(batch); err != nil {
		t.Fatal(err)
	}
	batch.Reset()
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- running.Run(ctx) }()
	first, second := <-sender.got, <-sender.got
	if first != second {
		t.Error("the second attempt sent other bytes")
	}
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for log.last().Outcome != delivery.OutcomeDelivered {
		<-look.C
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	l := log.last()
	if l.Count != n || l.Unit != "type" || l.Bytes < n*50 || len(l.Body) == 0 || len(l.Body) > 1<<20 || l.Attempt != 2 {
		t.Errorf("line: %d events, %d bytes, attempt %d", l.Count, l.Bytes, l.Attempt)
	}
	grown := int64(sender.largest) - int64(before.HeapAlloc)
	t.Logf("heap before %d KiB, at most %d KiB more", before.HeapAlloc>>10, grown>>10)
	if grown > 8<<20 {
		t.Errorf("the heap grew by %d KiB", grown>>10)
	}
}

// last returns the line of the largest group.
func (l *lines) last() (found delivery.LogRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.all {
		if r.Count >= found.Count {
			found = r
		}
	}
	return found
}
