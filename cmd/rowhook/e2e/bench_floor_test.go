package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"time"
)

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

// floorTask is what the floor's process is told.
type floorTask struct {
	Kind, URL, From string
	Target          string // the receiver
	// Percent is the share of the rows that is sent; with 0 it only receives and parses. Batch is
	// how many go into one request when it is more than one, and Copies how often a request is
	// sent, when it is, to paths of their own.
	Percent, Batch, Copies int
}

// floor is the least that could do the job: receive, parse, JSON, 16 lanes of net/http.
// No durability, no retries, no signature, no log. What receives is a source's own.
type floor struct {
	floorTask
	client *http.Client
	lanes  [16]chan floorEvent
	group  floorGroup // being gathered
	groups chan floorGroup
}

// floorGroup is a request of several events.
type floorGroup struct {
	Count  int          `json:"count"`
	Events []floorEvent `json:"events"`
}

// playFloor runs the floor until it is killed.
func playFloor(text string) error {
	f := &floor{groups: make(chan floorGroup, 16)}
	if err := json.Unmarshal([]byte(text), &f.floorTask); err != nil {
		return fmt.Errorf("the floor's task: %w", err)
	}
	f.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: len(f.lanes), MaxConnsPerHost: len(f.lanes), DisableCompression: true}}
	for i := range f.lanes { // for the process's life
		if f.Batch > 1 {
			go f.sendGroups()
			continue
		}
		f.lanes[i] = make(chan floorEvent, 1024)
		go f.send(f.lanes[i])
	}
	if f.Kind == "postgres" {
		return playPostgresFloor(f)
	}
	return playMySQLFloor(f)
}

// dispatch sends an event on its key's lane, or gathers it.
func (f *floor) dispatch(event floorEvent) {
	if f.Batch > 1 {
		f.group.Events = append(f.group.Events, event)
		if f.group.Count++; f.group.Count == f.Batch {
			f.groups <- f.group
			f.group = floorGroup{Events: make([]floorEvent, 0, f.Batch)}
		}
		return
	}
	hash := fnv.New32a()
	_, _ = io.WriteString(hash, event.Key["id"]) // never fails
	f.lanes[hash.Sum32()%uint32(len(f.lanes))] <- event
}

func (f *floor) send(lane <-chan floorEvent) {
	for event := range lane {
		body := mustJSON(event)
		if f.Copies <= 1 {
			f.post(f.Target, body)
			continue
		}
		for i := range f.Copies {
			f.post(fmt.Sprintf("%s/p%d", f.Target, i), body)
		}
	}
}

func (f *floor) sendGroups() {
	for group := range f.groups {
		f.post(f.Target, mustJSON(group))
	}
}

func mustJSON(v any) []byte {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return body
}

func (f *floor) post(url string, body []byte) {
	resp, err := f.client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
	_ = resp.Body.Close()
}
