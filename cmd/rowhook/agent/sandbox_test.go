package agent

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery/webhook"
)

// listener counts what it is sent.
type listener struct {
	*httptest.Server
	requests atomic.Int64
	bodies   chan string
}

func newListener(t *testing.T) *listener {
	t.Helper()
	l := &listener{bodies: make(chan string, 100)}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.requests.Add(1)
		body, _ := io.ReadAll(r.Body)
		l.bodies <- fmt.Sprint(r.Header.Get("X-Key"), webhook.Verify(r.Header, body, time.Now(), sandboxSecret))
	}))
	t.Cleanup(l.Close)
	return l
}

const sandboxSecret = "whsec_c2FuZGJveCBzZWNyZXQgb2YgZW5vdWdoIGxlbmd0aA=="

func TestSandboxUsesNothingOfProduction(t *testing.T) {
	t.Parallel()
	production, sandbox, third := newListener(t), newListener(t), newListener(t)
	c := write(t, fmt.Sprintf(strings.Replace(smallConfig, "{type", "{environment: sandbox, type", 1)+`profiles:
  own: {url: "%[1]s/own", secret: %[3]s, headers: {X-Key: "93fa"}, allow_networks: [loopback], sandbox: {url: "%[2]s/own", secret: %[4]s}}
  bare: {url: "%[1]s/bare", secret: %[3]s, allow_networks: [loopback]}
`, production.URL, sandbox.URL, endpointSecret, sandboxSecret))
	s, err := openWorkspace(c, testOptions(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	here := operation.Identity{Lineage: "7001", Hosts: "db2"}
	if err := s.arrive(here, true); err != nil {
		t.Fatal(err)
	}
	test := func(code string) (operation.EndpointAnswer, error) {
		return s.test(t.Context(), operation.DeliveryRequest{User: "ada", Profile: code})
	}
	if answer, err := test("own"); err != nil || !answer.OK {
		t.Fatalf("own: %+v, %v", answer, err)
	}
	if got := <-sandbox.bodies; got != "<nil>" {
		t.Errorf("the sandbox's listener got production's header or secret: %s", got)
	}
	if _, err := test("bare"); err == nil || !strings.Contains(err.Error(), "no URL in this sandbox") {
		t.Errorf("bare: %v", err)
	}
	list, err := s.listProfiles()
	if err != nil || list[1].State != "pending" || list[1].Reason != "sandbox" || list[1].Host != "" || list[1].Attention || list[0].Host != strings.TrimPrefix(sandbox.URL, "http://") {
		t.Errorf("listed %+v, %v", list, err)
	}

	give := func(url string) error {
		_, err := s.activate(t.Context(), operation.ActivateRequest{User: "ada", Profile: "bare", URL: url, Secret: sandboxSecret}, here)
		return err
	}
	for url, want := range map[string]string{
		production.URL + "/bare/": "the URL that the profile has in production",
		"ftp://127.0.0.1/":        "scheme",
	} {
		if err := give(url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("given %s: %v", url, err)
		}
	}
	if err := give(third.URL); err != nil {
		t.Fatal(err)
	}
	if answer, err := test("bare"); err != nil || !answer.OK || <-third.bodies != "<nil>" {
		t.Errorf("after it was given a URL: %+v, %v", answer, err)
	}
	if raw, err := os.ReadFile(s.audit.path); err != nil || strings.Contains(string(raw), "whsec") || !strings.Contains(string(raw), third.URL) {
		t.Errorf("audit: %s, %v", raw, err)
	}

	// The same state directory finds itself elsewhere: what was given does not go with it.
	if err := s.arrive(operation.Identity{Lineage: "7001", Hosts: "db3"}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := test("bare"); err == nil {
		t.Error("a URL that was given in another environment was used")
	}
	if err := s.arrive(here, true); err != nil {
		t.Fatal(err)
	}
	if answer, err := test("bare"); err != nil || !answer.OK {
		t.Errorf("back again: %+v, %v", answer, err)
	}
	if n := production.requests.Load(); n != 0 {
		t.Errorf("%d requests to production's listener", n)
	}
}

func TestURLIsNotGivenInProduction(t *testing.T) {
	t.Parallel()
	w := newEndpointWorld(t, "")
	_, err := w.activate(t.Context(), operation.ActivateRequest{User: "ada", Profile: "desk", URL: "https://other.example.org/"}, operation.Identity{})
	if err == nil || !strings.Contains(err.Error(), "this is production") || len(w.got) != 0 {
		t.Errorf("%v, %d requests", err, len(w.got))
	}
}

func TestSandboxBlockIsChecked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	text := smallConfig + `profiles:
  desk:
    url: https://desk.example.org/
    secret: ` + endpointSecret + `
    sandbox:
      url: ftp://desk.example.org/
      secret: whsec_!
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(path, noEnv, "")
	want := path + ":10:12: profiles.desk.sandbox.url: the URL's scheme is neither https nor http\n" +
		path + ":11:15: profiles.desk.sandbox.secret: a secret that begins with whsec_ must go on with standard base64"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
