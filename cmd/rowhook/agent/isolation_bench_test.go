package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
)

// BenchmarkIsolation measures how long events take from the spool to twenty healthy receivers,
// alone and beside four bad neighbours: a black hole, one that answers after 30 s, one whose reply
// comes a byte a second, and one that answers 503 to everything. Rounds with and without neighbours
// take turns, so that both see the same machine, each with an engine of its own; the medians of
// their p99 are compared.
func BenchmarkIsolation(b *testing.B) {
	const rounds, healthy = 7, 20
	receivers := newIsolationReceivers(b)
	var alone, beside []time.Duration
	for range b.N {
		state := b.TempDir() // the neighbours' backlog grows from round to round
		for range rounds {
			alone = append(alone, receivers.round(b, b.TempDir(), healthy))
			beside = append(beside, receivers.round(b, state, healthy, "slow", "drip", "broken", "hole"))
		}
	}
	p99Alone, p99Beside := median(alone), median(beside)
	ratio := float64(p99Beside) / float64(p99Alone)
	b.ReportMetric(float64(p99Alone.Microseconds())/1000, "p99-alone-ms")
	b.ReportMetric(float64(p99Beside.Microseconds())/1000, "p99-beside-ms")
	b.ReportMetric(ratio, "ratio")
	table := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(table, "\nfigure\tbeside 4 bad neighbours\talone\tratio\ttarget")
	fmt.Fprintf(table, "p99 of %d healthy profiles, %d events/s each\t%v\t%v\t%.2f\t1.5\n", healthy, isolationRate/healthy,
		p99Beside.Round(10*time.Microsecond), p99Alone.Round(10*time.Microsecond), ratio)
	_ = table.Flush() // to standard output
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// What a round sends: so many events a second, each to one healthy profile in turn, and every
// twentieth to all neighbours.
const (
	isolationRate   = 800
	isolationWarmUp = 500 * time.Millisecond
	isolationLength = 3 * time.Second
)

// isolationReceivers are the receivers, and what the healthy ones noted.
type isolationReceivers struct {
	url  string // of the server
	hole string

	mu      sync.Mutex
	born    map[string]time.Time // when each event was appended
	latency []time.Duration
	got     int
}

func newIsolationReceivers(b *testing.B) *isolationReceivers {
	w := &isolationReceivers{hole: blackHole(b)}
	over := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/healthy", func(_ http.ResponseWriter, r *http.Request) { w.arrived(r) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { await(r, over, 30*time.Second) })
	mux.HandleFunc("/drip", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Length", "1000")
		for await(r, over, time.Second) {
			_, _ = rw.Write([]byte("."))
			_ = http.NewResponseController(rw).Flush()
		}
	})
	mux.HandleFunc("/broken", func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusServiceUnavailable) })
	server := httptest.NewServer(mux)
	b.Cleanup(func() {
		close(over)
		server.Close()
	})
	w.url = server.URL
	return w
}

// await waits until the request is cancelled or the benchmark over; it returns true when the time
// has passed before.
func await(r *http.Request, over <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-r.Context().Done():
	case <-over:
	case <-timer.C:
		return true
	}
	return false
}

// blackHole listens and never answers; it returns its address.
func blackHole(b *testing.B) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

// arrived notes how long an event took to one of the healthy receivers.
func (w *isolationReceivers) arrived(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got++
	if born, measured := w.born[r.Header.Get("webhook-id")]; measured {
		w.latency = append(w.latency, now.Sub(born))
	}
}

// round runs an engine on a state directory, with healthy profiles and these neighbours, and
// returns the healthy ones' p99.
func (w *isolationReceivers) round(b *testing.B, state string, healthy int, neighbours ...string) time.Duration {
	profiles := &strings.Builder{}
	add := func(code, url string) {
		fmt.Fprintf(profiles, "  %s: {url: %s, secret: %s, allow_networks: [loopback], timeout: 40s}\n", code, url, endpointSecret)
	}
	for i := range healthy {
		add(fmt.Sprint("healthy", i), w.url+"/healthy")
	}
	for _, code := range neighbours {
		if code == "hole" {
			add(code, "http://"+w.hole)
		} else {
			add(code, w.url+"/"+code)
		}
	}
	path := filepath.Join(state, "config.yaml")
	if err := os.WriteFile(path, []byte(smallConfig+"profiles:\n"+profiles.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	c, err := config.Load(path, noEnv, "")
	if err != nil {
		b.Fatal(err)
	}
	c.ShutdownGrace = time.Millisecond
	s, err := openWorkspace(c, testOptions(), false)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.engine.Run(ctx) }()
	w.send(b, s, healthy, neighbours)
	p99 := w.awaitAll(b)
	cancel()
	if err := errors.Join(<-ended, s.Close()); err != nil {
		b.Fatal(err)
	}
	return p99
}

// send appends the round's events at a steady pace.
func (w *isolationReceivers) send(b *testing.B, s *workspace, healthy int, neighbours []string) {
	id := func(code string) delivery.ProfileID {
		n, err := s.spool.Register(code)
		if err != nil {
			b.Fatal(err)
		}
		return n
	}
	var all []delivery.ProfileID
	for _, code := range neighbours {
		all = append(all, id(code))
	}
	w.mu.Lock()
	w.born, w.latency, w.got = make(map[string]time.Time), nil, 0
	w.mu.Unlock()
	const step = 5 * time.Millisecond
	perStep := int(isolationRate * step / time.Second)
	batch := s.spool.NewBatch()
	pace := time.NewTicker(step)
	defer pace.Stop()
	began := time.Now()
	for n := 0; n < isolationEvents; {
		now := <-pace.C
		for range perStep {
			to := []delivery.ProfileID{id(fmt.Sprint("healthy", n%healthy))}
			if n%20 == 0 {
				to = append(to, all...)
			}
			key := strconv.Itoa(n % 1000)
			batch.Add(&delivery.Event{
				Making: &delivery.Making{Type: "loan.returned", Entry: "circulation.loans"},
				Commit: &delivery.Commit{Time: now},
				ID:     fmt.Sprintf("evt_%d_%d", began.UnixNano(), n), OrderKey: key, Key: []byte(`{"loan_id":` + key + `}`),
				Data: []byte(`{"loan_id":` + key + `,"returned_at":"2026-11-22T01:02:03.120000Z"}`),
			}, to)
			if now.Sub(began) > isolationWarmUp {
				w.mu.Lock()
				w.born[fmt.Sprintf("evt_%d_%d", began.UnixNano(), n)] = time.Now()
				w.mu.Unlock()
			}
			n++
		}
		batch.Commit("0/10")
		if err := s.spool.Apply(batch); err != nil {
			b.Fatal(err)
		}
		batch.Reset()
	}
}

// isolationEvents is how many events a round has.
const isolationEvents = int(isolationRate * (isolationWarmUp + isolationLength) / time.Second)

// awaitAll waits for the round's last event and returns the p99.
func (w *isolationReceivers) awaitAll(b *testing.B) time.Duration {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-look.C {
		w.mu.Lock()
		got, all := w.got, slices.Clone(w.latency)
		w.mu.Unlock()
		if got >= isolationEvents {
			slices.Sort(all)
			return all[len(all)*99/100]
		}
		if time.Now().After(deadline) {
			b.Fatalf("%d of %d events came", got, isolationEvents)
		}
	}
}
