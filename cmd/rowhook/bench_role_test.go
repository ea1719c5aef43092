package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
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
		err = playFloor(os.Getenv("ROWHOOK_TEST_KIND"), os.Getenv("ROWHOOK_TEST_URL"), os.Getenv("ROWHOOK_TEST_FROM"), os.Getenv("ROWHOOK_TEST_TARGET"))
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
	Count       int64
	First, Last int64   // Unix nanoseconds
	Delays      []int64 // nanoseconds from commit to receipt, while they are measured
}

// playReceiver accepts everything and counts it. Its address is the first line of its
// output; GET tells the stats, with ?reset also the delays, and counts anew; &delays=1 measures them from then on.
func playReceiver() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var count, first, last atomic.Int64
	var measure atomic.Bool
	var mu sync.Mutex
	var delays []int64
	fmt.Println(listener.Addr())
	return http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/hang" {
			<-req.Context().Done()
			return
		}
		if req.Method == http.MethodGet {
			mu.Lock()
			stats := receiverStats{Count: count.Load(), First: first.Load(), Last: last.Load()}
			if req.URL.Query().Has("reset") {
				stats.Delays = delays
				count.Store(0)
				first.Store(0)
				delays = nil
				measure.Store(req.URL.Query().Get("delays") == "1")
			}
			mu.Unlock()
			_ = json.NewEncoder(w).Encode(stats) // the caller sees what is missing
			return
		}
		now := time.Now().UnixNano()
		if !measure.Load() {
			_, _ = io.Copy(io.Discard, req.Body) // counted all the same
		} else if body, err := io.ReadAll(req.Body); err == nil {
			if at, ok := timestampOf(body); ok {
				mu.Lock()
				delays = append(delays, now-at.UnixNano())
				mu.Unlock()
			}
		}
		first.CompareAndSwap(0, now)
		last.Store(now)
		count.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}))
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

// floorEvent is the body that the floor sends: the native one's members.
type floorEvent struct {
	ID        string            `json:"id"`
	Type      string            `json:"type"`
	Timestamp time.Time         `json:"timestamp"`
	Source    floorSource       `json:"source"`
	Key       map[string]string `json:"key"`
	Data      map[string]string `json:"data"`
}

type floorSource struct {
	Name        string `json:"name"`
	Table       string `json:"table"`
	Op          string `json:"op"`
	Position    string `json:"position"`
	Transaction string `json:"transaction"`
	Seq         int    `json:"seq"`
}

// floor is the least that could do the job: receive, parse, JSON, 16 lanes of net/http.
// No durability, no retries, no signature, no log. What receives is a source's own.
type floor struct {
	target string // empty only receives and parses
	client *http.Client
	lanes  [16]chan floorEvent
}

func newFloor(target string) *floor {
	f := &floor{target: target}
	f.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: len(f.lanes), MaxConnsPerHost: len(f.lanes), DisableCompression: true}}
	for i := range f.lanes {
		f.lanes[i] = make(chan floorEvent, 1024)
		go f.send(f.lanes[i]) // for the process's life
	}
	return f
}

// playFloor runs the floor until it is killed.
func playFloor(kind, address, from, target string) error {
	switch kind {
	case "postgres":
		return playPostgresFloor(address, from, newFloor(target))
	default:
		return playMySQLFloor(address, from, newFloor(target))
	}
}

// dispatch sends an event on its key's lane.
func (f *floor) dispatch(event floorEvent) {
	hash := fnv.New32a()
	_, _ = io.WriteString(hash, event.Key["id"]) // never fails
	f.lanes[hash.Sum32()%uint32(len(f.lanes))] <- event
}

func (f *floor) send(lane <-chan floorEvent) {
	for event := range lane {
		body, err := json.Marshal(event)
		if err != nil {
			panic(err)
		}
		resp, err := f.client.Post(f.target, "application/json", bytes.NewReader(body))
		if err != nil {
			panic(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
		_ = resp.Body.Close()
	}
}
