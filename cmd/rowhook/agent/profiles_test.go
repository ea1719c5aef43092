package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/webhook"
)

// endpointWorld is a state directory without an agent, and the endpoint of its profile desk.
type endpointWorld struct {
	*workspace
	server *httptest.Server

	mu     sync.Mutex
	silent bool // does not answer challenges
	status int  // to deliveries; 0 is 200
	got    []*http.Request
	bodies []string
}

const endpointSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func newEndpointWorld(t *testing.T, more string) *endpointWorld {
	t.Helper()
	w := &endpointWorld{}
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)
	c := write(t, fmt.Sprintf(`%sprofiles:
  desk: {url: "%s/hook?institution=X", secret: %s, allow_networks: [loopback], challenge: query, name: Circulation desk, description: Lights%s}
`, smallConfig, w.server.URL, endpointSecret, more))
	var err error
	if w.workspace, err = openWorkspace(c, testOptions(), false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *endpointWorld) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got, w.bodies = append(w.got, r), append(w.bodies, string(body))
	if r.Method == http.MethodGet && !w.silent {
		fmt.Fprintf(rw, `{"challenge":%q}`, r.URL.Query().Get("challenge"))
		return
	}
	if w.status != 0 && r.Method == http.MethodPost {
		rw.WriteHeader(w.status)
	}
	_, _ = io.WriteString(rw, "thanks\n")
}

func TestActivateCommand(t *testing.T) {
	t.Parallel()
	w := newEndpointWorld(t, "")
	w.silent = true
	answer, err := w.activate(t.Context(), operation.ActivateRequest{User: "ada", Profile: "desk"}, operation.Identity{})
	if err != nil || answer.OK || answer.State != "pending" || answer.Reason != "challenge" || answer.Status != 200 {
		t.Fatalf("answer %+v, %v", answer, err)
	}
	w.mu.Lock()
	w.silent = false
	w.mu.Unlock()
	answer, err = w.activate(t.Context(), operation.ActivateRequest{User: "ada", Profile: "desk"}, operation.Identity{})
	if err != nil || !answer.OK || answer.State != "active" {
		t.Fatalf("answer %+v, %v", answer, err)
	}
	if _, err := w.auditedState("ada", "profile pause", "desk", func() error { return w.engine.Pause("desk") }); err != nil {
		t.Fatal(err)
	}
	if _, err := w.activate(t.Context(), operation.ActivateRequest{User: "ada", Profile: "nobody"}, operation.Identity{}); err == nil {
		t.Error("a profile that is none was activated")
	}
	raw, err := os.ReadFile(w.audit.path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, l := range readAudit(append(raw, `{"time":"2026`...)) {
		lines = append(lines, strings.Join([]string{l.User, l.Command, l.Profile, l.Key, l.Old, l.New}, " "))
	}
	want := "ada profile activate desk challenge  challenge\nada profile activate desk state pending active\nada profile pause desk state active inactive"
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("audit:\n%s\nwant:\n%s", got, want)
	}
}

func TestTestCommand(t *testing.T) {
	t.Parallel()
	w := newEndpointWorld(t, "")
	answer, err := w.test(t.Context(), operation.DeliveryRequest{User: "ada", Profile: "desk"})
	if err != nil || !answer.OK || answer.Status != 200 || answer.Response != "thanks\n" || answer.State != "pending" {
		t.Fatalf("answer %+v, %v", answer, err)
	}
	r, body := w.got[0], w.bodies[0]
	if r.RequestURI != "/hook?institution=X" {
		t.Errorf("sent to %s", r.RequestURI)
	}
	if err := webhook.Verify(r.Header, []byte(body), time.Now(), endpointSecret); err != nil {
		t.Error(err)
	}
	if !strings.Contains(body, `"type":"rowhook.test"`) || !strings.Contains(body, answer.Event) {
		t.Errorf("body %s", body)
	}
	w.mu.Lock()
	w.status = 404
	w.mu.Unlock()
	if answer, err = w.test(t.Context(), operation.DeliveryRequest{User: "ada", Profile: "desk"}); err != nil || answer.OK {
		t.Fatalf("answer %+v, %v", answer, err)
	}
	raw, err := os.ReadFile(w.config().Log.Deliveries)
	if err != nil {
		t.Fatal(err)
	}
	var outcomes []string
	for line := range strings.Lines(string(raw)) {
		rec, err := deliverylog.ParseLine([]byte(strings.TrimSuffix(line, "\n")))
		if err != nil || rec.Type != "rowhook.test" || rec.Attempt != 1 {
			t.Errorf("line %s: %v", line, err)
		}
		outcomes = append(outcomes, string(rec.Outcome)+" "+rec.Reason)
	}
	if got := strings.Join(outcomes, ","); got != "delivered ,dead status_4xx" {
		t.Errorf("log has %s", got)
	}
}

func TestProfileList(t *testing.T) {
	t.Parallel()
	w := newEndpointWorld(t, `, subscriptions: [{events: [loan.*], tables: [circulation.loans], where: {branch: [MAIN]}, operations: {not: [web_api]}}, {events: [record.deleted]}]`)
	list, err := w.listProfiles()
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	l := list[0]
	l.Host = strings.TrimPrefix(l.Host, strings.TrimPrefix(w.server.URL, "http://"))
	if l.Host != "" || l.Format != "native" || l.MessageType != "json" || l.Description != "Lights" || l.State != "pending" || l.Reason != "challenge" {
		t.Errorf("%+v", l)
	}
	l.Host = "desk.example.org"
	if got := strings.Join(l.Subscriptions, "; "); got != "loan.* of circulation.loans by branch not in web_api; record.deleted" || l.Name != "Circulation desk" {
		t.Errorf("%+v", l)
	}
	raw, err := json.Marshal(l)
	if err != nil || !strings.Contains(string(raw), `"profile":"desk"`) || !strings.Contains(string(raw), `"host":"desk.example.org"`) {
		t.Errorf("JSON %s, %v", raw, err)
	}
}
