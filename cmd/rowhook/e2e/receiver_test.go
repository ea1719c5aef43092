package e2e_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// secret signs all profiles of these tests.
const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// arrival is one request that the receiver was sent, whatever it answered.
type arrival struct {
	at       time.Time
	profile  string // the URL's path
	id       string
	typ      string
	table    string
	op       string
	key, seq int64
	note     string        // of the new row
	gap      string        // the rowhook-gap header
	epoch    int64         // the rowhook-epoch header; 0 for none
	http     int           // 1 or 2
	body     []byte        // kept only when the receiver keeps bodies
	skew     time.Duration // of the time that was signed
	life     int64         // which run of the agent opened the connection
	accepted bool          // answered with 2xx
}

// reply is how a request is answered. Zero is 204 at once.
type reply struct {
	wait   time.Duration  // before the answer
	reset  bool           // the connection is reset instead of an answer
	raw    func(net.Conn) // answers by itself, with what status says
	status int
	header map[string]string
	body   func(http.ResponseWriter)
}

func (r reply) accepts() bool { return !r.reset && (r.status == 0 || r.status/100 == 2) }

// payload is what the receiver reads of a native body.
type payload struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Source    struct {
		Name        string `json:"name"`
		Table       string `json:"table"`
		Op          string `json:"op"`
		Position    string `json:"position"`
		Transaction string `json:"transaction"`
		Seq         int    `json:"seq"`
	} `json:"source"`
	Key struct {
		ID int64 `json:"id"`
	} `json:"key"`
	Data struct {
		Seq  int64  `json:"seq"`
		Note string `json:"note"`
	} `json:"data"`
	Previous struct {
		Seq int64 `json:"seq"`
	} `json:"previous"`
}

// receiver is a webhook receiver that writes down all it is sent. Profiles are told
// apart by the URL's path.
type receiver struct {
	addr       string
	keepBodies bool
	anyTime    bool        // signatures may be of any time
	tls        *tls.Config // when it speaks TLS, and with that HTTP/2; set while it is off
	life       atomic.Int64
	requests   atomic.Int64
	dialled    atomic.Int64 // connections that were opened to it

	mu       sync.Mutex
	arrivals []arrival
	accepted map[string]int // profile to the number of distinct ids accepted
	seen     map[string]bool
	taken    map[profileKey]bool                  // of which something was accepted
	faults   []string                             // requests that are wrong in themselves
	due      map[net.Conn]bool                    // connections on which an answer is due at once
	settled  *sync.Cond                           // due has become empty; its lock is mu
	trusted  map[string]*standardwebhooks.Webhook // profile to what verifies it; "" for all others
	behave   func(arrival) reply
	server   *http.Server
}

// profileKey is a row of a profile's.
type profileKey struct {
	profile string
	key     int64
}

type (
	lifeKey struct{}
	connKey struct{}
)

// newReceiver starts a receiver on a port of its own.
func newReceiver(tb testing.TB) *receiver {
	tb.Helper()
	r := &receiver{addr: "127.0.0.1:0", accepted: map[string]int{}, seen: map[string]bool{}, taken: map[profileKey]bool{}, trusted: map[string]*standardwebhooks.Webhook{}, due: map[net.Conn]bool{}}
	r.settled = sync.NewCond(&r.mu)
	r.trust(tb, "", secret)
	r.up(tb)
	tb.Cleanup(r.down)
	return r
}

// up listens, at the same address as before.
func (r *receiver) up(tb testing.TB) {
	tb.Helper()
	var listener net.Listener
	var err error
	listener, err = net.Listen("tcp", r.addr)
	if err != nil {
		tb.Fatalf("listen: %v", err)
	}
	r.addr = listener.Addr().String()
	server := &http.Server{
		Handler: r,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			r.dialled.Add(1)
			return context.WithValue(context.WithValue(ctx, lifeKey{}, r.life.Load()), connKey{}, conn)
		},
		ConnState: func(conn net.Conn, state http.ConnState) {
			if state != http.StateNew && state != http.StateActive {
				r.answered(conn)
			}
		},
	}
	r.mu.Lock()
	r.server = server
	r.mu.Unlock()
	if r.tls == nil {
		go func() { _ = server.Serve(listener) }() // ends with down or leave
		return
	}
	server.TLSConfig = r.tls.Clone()
	server.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail, as some are to
	go func() { _ = server.ServeTLS(listener, "", "") }()
}

// leave is an orderly end: nothing new is taken, by HTTP/2 with a GOAWAY, and what has begun is
// answered.
func (r *receiver) leave(tb testing.TB) {
	tb.Helper()
	r.mu.Lock()
	server := r.server
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		tb.Fatalf("the receiver does not end: %v", err)
	}
}

// trust verifies a profile's requests by another secret from now on.
func (r *receiver) trust(tb testing.TB, profile, secret string) {
	tb.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		tb.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trusted[profile] = verifier
}

// verify checks a request's signature.
func (r *receiver) verify(profile string, header http.Header, body []byte) error {
	r.mu.Lock()
	verifier := r.trusted[profile]
	if verifier == nil {
		verifier = r.trusted[""]
	}
	r.mu.Unlock()
	if r.anyTime {
		return verifier.VerifyIgnoringTimestamp(body, header)
	}
	return verifier.Verify(body, header)
}

// answered says that nothing is due any more on a connection.
func (r *receiver) answered(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.due, conn)
	if len(r.due) == 0 {
		r.settled.Broadcast()
	}
}

// down is a receiver whose machine is off: connections are refused. What it accepted
// before is still answered, unless that answer waits or goes on: an agent that is not
// told has to repeat, and the tests that cut answers off do so on purpose.
func (r *receiver) down() {
	r.mu.Lock()
	server := r.server
	r.server = nil // from here on nothing is accepted
	for len(r.due) > 0 {
		r.settled.Wait()
	}
	r.mu.Unlock()
	if server != nil {
		_ = server.Close() // its listener and connections are what is wanted gone
	}
}

// url is where a profile posts to.
func (r *receiver) url(profile string) string {
	if r.tls != nil {
		return "https://" + r.addr + "/" + profile
	}
	return "http://" + r.addr + "/" + profile
}

// answer sets how requests are answered from now on; nil accepts all.
func (r *receiver) answer(behave func(arrival) reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behave = behave
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.requests.Add(1)
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // the agent was killed while it sent
	}
	a := arrival{at: time.Now(), profile: strings.TrimPrefix(req.URL.Path, "/"), gap: req.Header.Get("rowhook-gap"), http: req.ProtoMajor}
	a.life, _ = req.Context().Value(lifeKey{}).(int64)
	fault := r.read(&a, req, body)
	if r.keepBodies {
		a.body = body
	}

	r.mu.Lock()
	if r.server == nil {
		r.mu.Unlock()
		panic(http.ErrAbortHandler) // off
	}
	var how reply
	if r.behave != nil {
		how = r.behave(a)
	}
	a.accepted = how.accepts()
	if a.accepted && !ownEvent(a.typ) && !r.seen[a.profile+" "+a.id] {
		r.seen[a.profile+" "+a.id] = true
		r.accepted[a.profile]++
		r.taken[profileKey{a.profile, a.key}] = true
	}
	r.arrivals = append(r.arrivals, a)
	if fault != "" {
		r.faults = append(r.faults, fault)
	}
	if conn, ok := req.Context().Value(connKey{}).(net.Conn); ok && a.accepted && how.wait == 0 && how.body == nil {
		r.due[conn] = true
	}
	r.mu.Unlock()
	how.write(w, req)
}

// read checks a request's form and takes from it what the oracle needs.
func (r *receiver) read(a *arrival, req *http.Request, body []byte) (fault string) {
	if req.Method != http.MethodPost || req.Header.Get("content-type") == "" || !strings.HasPrefix(req.UserAgent(), "rowhook/") {
		return fmt.Sprintf("a %s with content type %q from %q", req.Method, req.Header.Get("content-type"), req.UserAgent())
	}
	if err := r.verify(a.profile, req.Header, body); err != nil {
		return fmt.Sprintf("signature: %v", err)
	}
	if slices.Contains(body, '\n') {
		return fmt.Sprintf("body has a line break: %.100q", body)
	}
	var p payload
	if err := json.Unmarshal(body, &p); err != nil {
		return fmt.Sprintf("body: %v: %.100q", err, body)
	}
	a.id, a.typ, a.table, a.op = p.ID, p.Type, p.Source.Table, p.Source.Op
	a.key, a.seq, a.note = p.Key.ID, p.Data.Seq, p.Data.Note
	if a.op == "delete" {
		a.seq = p.Previous.Seq + 1 // as the ledger counts it
	}
	a.epoch, _ = strconv.ParseInt(req.Header.Get("rowhook-epoch"), 10, 64) // none where one machine delivers
	if signed, err := strconv.ParseInt(req.Header.Get("webhook-timestamp"), 10, 64); err == nil {
		a.skew = time.Unix(signed, 0).Sub(a.at)
	}
	if head := req.Header.Get("webhook-id"); head != p.ID || p.ID == "" || strings.Contains(p.ID, ".") {
		return fmt.Sprintf("webhook-id %q, id in the body %q", head, p.ID)
	}
	return ""
}

func (how reply) write(w http.ResponseWriter, req *http.Request) {
	if how.wait > 0 {
		timer := time.NewTimer(how.wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-req.Context().Done():
			return
		}
	}
	if how.raw != nil {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			how.raw(conn)
			_ = conn.Close()
		}
		return
	}
	if how.reset {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0) // close sends RST
			_ = conn.Close()
		}
		return
	}
	for name, value := range how.header {
		w.Header().Set(name, value)
	}
	if how.status == 0 {
		how.status = http.StatusNoContent
	}
	w.WriteHeader(how.status)
	if how.body != nil {
		how.body(w)
	}
}

// all returns what one profile was sent so far, in order.
func (r *receiver) all(profile string) []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []arrival
	for _, a := range r.arrivals {
		if a.profile == profile {
			found = append(found, a)
		}
	}
	return found
}

// distinct is how many events a profile has accepted.
func (r *receiver) distinct(profile string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted[profile]
}

// wait waits until a profile has accepted n distinct events.
func (r *receiver) wait(tb testing.TB, profile string, n int, within time.Duration) {
	tb.Helper()
	deadline := time.Now().Add(within)
	eventually(tb, within+time.Second, fmt.Sprintf("%s accepts %d events", profile, n), func() bool {
		if got := r.distinct(profile); got < n && time.Now().After(deadline) {
			tb.Fatalf("%s accepted %d of %d events within %s", profile, got, n, within)
		}
		return r.distinct(profile) >= n
	})
}

// sound fails the test over requests that were wrong in themselves.
func (r *receiver) sound(tb testing.TB) {
	tb.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, fault := range r.faults {
		if i == 5 {
			tb.Errorf("%d more requests were wrong", len(r.faults)-i)
			break
		}
		tb.Errorf("request: %s", fault)
	}
}
