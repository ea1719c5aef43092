package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// playRole runs the test binary as another process: of a benchmark, so that each
// process's time and memory are its own, or to trace the agent.
func playRole(role string) int {
	var err error
	switch role {
	case "receiver":
		err = playReceiver()
	case "floor":
		err = playFloor(os.Getenv("ROWHOOK_TEST_TASK"))
	case "killer":
		err = playKiller()
	case "traced":
		err = playTraced()
	default:
		err = fmt.Errorf("there is no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// receiverStats is what a receiver process tells about what it was sent.
type receiverStats struct {
	Events      int64   // requests, or what they hold where that is counted
	First, Last int64   // Unix nanoseconds
	Delays      []int64 // nanoseconds from commit to receipt, while they are measured
}

// rate is in events per second, from the first request to the last.
func (s receiverStats) rate() float64 {
	return float64(s.Events) / time.Duration(s.Last-s.First).Seconds()
}

// playReceiver accepts everything and counts it, but for what its bad profiles are sent. Its
// address is the first line of its output.
func playReceiver() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	c := &counter{}
	mux := http.NewServeMux()
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, req *http.Request) { passes(req, 30*time.Second) })
	mux.HandleFunc("/drip", func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Length", "1000")
		for passes(req, time.Second) {
			_, _ = w.Write([]byte(".")) // a client that has gone ends the request
			_ = http.NewResponseController(w).Flush()
		}
	})
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/", func(w http.ResponseWriter, req *http.Request) {
		if req.Method == http.MethodGet {
			c.tell(w, req)
		} else {
			c.take(w, req)
		}
	})
	return http.Serve(listener, mux)
}

// passes waits; it returns false when the client has gone before.
func passes(req *http.Request, d time.Duration) bool {
	select {
	case <-req.Context().Done():
		return false
	case <-time.After(d):
		return true
	}
}

// counter counts what a receiver is sent.
type counter struct {
	events, first, last atomic.Int64
	measure, groups     atomic.Bool
	mu                  sync.Mutex
	delays              []int64
}

// tell answers with the stats. With ?reset it counts anew: with &delays=1 it measures delays from
// then on, with &groups=1 it counts the events in each request.
func (c *counter) tell(w http.ResponseWriter, req *http.Request) {
	c.mu.Lock()
	stats := receiverStats{Events: c.events.Load(), First: c.first.Load(), Last: c.last.Load()}
	if req.URL.Query().Has("reset") {
		stats.Delays = c.delays
		c.events.Store(0)
		c.first.Store(0)
		c.delays = nil
		c.measure.Store(req.URL.Query().Has("delays"))
		c.groups.Store(req.URL.Query().Has("groups"))
	}
	c.mu.Unlock()
	_ = json.NewEncoder(w).Encode(stats) // the caller sees what is missing
}

func (c *counter) take(w http.ResponseWriter, req *http.Request) {
	now := time.Now().UnixNano()
	events := int64(1)
	if !c.measure.Load() && !c.groups.Load() {
		_, _ = io.Copy(io.Discard, req.Body) // counted all the same
	} else if body, err := io.ReadAll(req.Body); err == nil {
		if c.groups.Load() {
			events = countOf(body)
		} else if at, ok := timestampOf(body); ok {
			c.mu.Lock()
			c.delays = append(c.delays, now-at.UnixNano())
			c.mu.Unlock()
		}
	}
	c.first.CompareAndSwap(0, now)
	c.last.Store(now)
	c.events.Add(events)
	w.WriteHeader(http.StatusNoContent)
}

// countOf is how many events a group says that it holds, ahead of them.
func countOf(body []byte) int64 {
	_, rest, _ := bytes.Cut(body[:min(len(body), 1024)], []byte(`"count":`))
	n := int64(0)
	for _, digit := range rest {
		if digit < '0' || digit > '9' {
			break
		}
		n = 10*n + int64(digit-'0')
	}
	return n
}

// nowStamp is the time as the beginning of a row's note.
func nowStamp() string { return "at " + strconv.FormatInt(time.Now().UnixNano(), 10) + " " }

// timestampOf is when a row was written, by its note or else by the payload.
func timestampOf(body []byte) (time.Time, bool) {
	if _, rest, ok := bytes.Cut(body, []byte(`"note":"at `)); ok {
		text, _, _ := bytes.Cut(rest, []byte(" "))
		at, err := strconv.ParseInt(string(text), 10, 64)
		return time.Unix(0, at), err == nil
	}
	const member = `"timestamp":"`
	_, rest, _ := bytes.Cut(body, []byte(member))
	text, _, ok := bytes.Cut(rest, []byte(`"`))
	if !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(text))
	return at, err == nil
}
