package e2e_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink is a receiver that misbehaves in one way for a while: a profile of its own.
type sink struct {
	name string
	// fault is how each event's first try is answered, or every try when always is set.
	fault  reply
	always bool
}

// accepted is a fault that still says 200: the request counts, whatever happens to the answer's
// body.
const accepted = http.StatusOK

// sinks are the status table of the design, section 8, and what networks and servers do to an
// answer.
func sinks(w *world) []sink {
	status := func(code int, always bool) sink {
		return sink{name: fmt.Sprintf("s%d", code), fault: reply{status: code}, always: always}
	}
	list := []sink{
		// Each event is refused once: three times would be its end.
		status(400, false), status(413, false), status(415, false), status(422, false),
		{name: "redirect", fault: reply{status: 302, header: map[string]string{"Location": w.hook.url("redirect")}}, always: true},
		{name: "throttle429", fault: reply{status: 429, header: map[string]string{"Retry-After": "1"}}, always: true},
		{name: "throttle503", fault: reply{status: 503, header: map[string]string{"Retry-After": "1"}}, always: true},
		{name: "reset", fault: reply{reset: true}, always: true},
		{name: "sleeper", fault: reply{wait: 30 * time.Second, status: 500}, always: true},
		{name: "half-open", fault: reply{status: -1, raw: func(c net.Conn) { silent(c) }}, always: true},
		{name: "slow-headers", fault: reply{status: -1, raw: func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }}, always: true},
		{name: "no-http", fault: reply{status: -1, raw: func(c net.Conn) { _, _ = c.Write([]byte("220 smtp.example.org ESMTP\r\n")) }}, always: true},
		{name: "slow-body", fault: reply{status: accepted, body: func(rw http.ResponseWriter) { dripBody(rw) }}, always: true},
		{name: "large-body", fault: reply{status: accepted, body: func(rw http.ResponseWriter) { largeBody(rw, 10<<20) }}, always: true},
		{name: "wrong-length", fault: reply{status: accepted, raw: func(c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")) }}, always: true},
	}
	for _, code := range []int{301, 307, 401, 403, 404, 405, 407, 408, 409, 425, 500, 501, 502, 504, 599} {
		list = append(list, status(code, true))
	}
	return list
}

// Receivers that misbehave in every way of the status table, all at once under load, delay nothing
// for the one that is well; once they are mended each has everything, in order.
func TestSinks(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testSinks)
}

func testSinks(t *testing.T, w *world) {
	s := w.scenario("slow-sink")
	own := *w // the receiver of the profile that is well
	own.hook = newReceiver(t)
	bad := sinks(w)
	w.conf.profile = "    concurrency: 4\n"
	w.conf.profiles = own.usualProfile("main")
	faults := map[string]sink{}
	for _, sink := range bad {
		faults[sink.name] = sink
		w.conf.profiles += strings.Replace(w.usualProfile(sink.name), "timeout: 5s", "timeout: 1s", 1)
	}
	var mu sync.Mutex
	tried, refused := map[string]bool{}, map[string]int{}
	w.hook.answer(func(a arrival) reply {
		mu.Lock()
		defer mu.Unlock()
		sink := faults[a.profile]
		if again := tried[a.profile+a.id]; again && !sink.always {
			return reply{}
		}
		tried[a.profile+a.id] = true
		refused[a.profile]++
		return sink.fault
	})
	a := w.begin()
	own.hook.life.Add(1)
	l := w.load(2, 10, false)
	for range count(3, 30) {
		own.hook.wait(t, "main", own.hook.distinct("main")+20, patience)
		behind := time.Now()
		changes := len(w.ledger(nil))
		own.hook.wait(t, "main", changes, 5*time.Second) // others that wait do not make it wait
		s.most("healthy profile behind by", time.Since(behind).Milliseconds(), "ms")
	}
	eventually(t, patience, "each has been tried", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(refused) == len(bad)
	})
	changes := w.ledger(l.stop(t))
	w.hook.answer(nil)
	own.hook.wait(t, "main", len(changes), patience)
	for _, sink := range bad {
		w.hook.wait(t, sink.name, len(changes), 2*patience)
		w.logCount(sink.name, len(changes))
	}
	w.logCount("main", len(changes))
	a.term()
	own.verify(changes, judge{profile: "main"})
	for _, sink := range bad {
		// Whoever answers after a second, as a busy machine may have it, is rightly sent the event
		// again.
		v := w.verify(changes, judge{profile: sink.name, cutOff: true})
		if late := w.times(sink.name, "retrying timeout"); v.repeated > late {
			t.Errorf("%s: %d events were repeated, and %d requests timed out", sink.name, v.repeated, late)
		}
	}
	total := 0
	for _, sink := range bad {
		total += refused[sink.name]
		t.Logf("%s: %d answers", sink.name, refused[sink.name])
	}
	s.did(len(bad), "kind of bad answer", "kinds of bad answers")
	s.did(total, "bad answer", "bad answers")
}

// silent says nothing until the other side is gone.
func silent(c net.Conn) {
	buf := make([]byte, 1)
	_, _ = c.Read(buf)
}

// drip writes a byte a second until the other side is gone.
func drip(c net.Conn, text string) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for _, b := range []byte(text) {
		if _, err := c.Write([]byte{b}); err != nil {
			return
		}
		<-tick.C
	}
}

func dripBody(rw http.ResponseWriter) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range 30 {
		if _, err := rw.Write([]byte{'x'}); err != nil || http.NewResponseController(rw).Flush() != nil {
			return
		}
		<-tick.C
	}
}

func largeBody(rw http.ResponseWriter, size int) {
	chunk := make([]byte, 64<<10)
	for sent := 0; sent < size; sent += len(chunk) {
		if _, err := rw.Write(chunk); err != nil {
			return
		}
	}
}
