package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	listenSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	returned     = `{"id":"evt_1","type":"loan.returned","key":{"loan_id":1000},"data":{"loan_id":1000}}`
)

// newTestReceiver is a receiver at a fixed time, with its output.
func newTestReceiver(o listenOptions, secret string) (*receiver, *bytes.Buffer) {
	var out bytes.Buffer
	if o.print == "" {
		o.print = "line"
	}
	if o.status == 0 {
		o.status = http.StatusOK
	}
	r := newReceiver(&console{out: &out, err: io.Discard, env: env(nil)}, &o, secret)
	r.now = func() time.Time { return time.Date(2026, 11, 22, 1, 2, 3, 456e6, time.UTC) }
	return r, &out
}

// signed is a webhook as a sender that knows the secret makes it at the receiver's time.
func signed(t *testing.T, r *receiver, id, body string) *http.Request {
	t.Helper()
	signer, err := standardwebhooks.NewWebhook(listenSecret)
	if err != nil {
		t.Fatal(err)
	}
	signature, err := signer.Sign(id, r.now(), []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodPost, "/hooks", strings.NewReader(body))
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", "1795309323")
	req.Header.Set("webhook-signature", signature)
	return req
}

func answer(r *receiver, req *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

func TestReceiverVerifies(t *testing.T) {
	t.Parallel()
	r, out := newTestReceiver(listenOptions{}, listenSecret)
	forged := signed(t, r, "evt_2", returned)
	forged.Body = io.NopCloser(strings.NewReader(strings.Replace(returned, "1000", "1001", 1)))
	unsigned := signed(t, r, "evt_3", returned)
	unsigned.Header.Del("webhook-signature")
	old := signed(t, r, "evt_4", returned)
	old.Header.Set("webhook-timestamp", "1795300000")
	for _, test := range []struct {
		req  *http.Request
		code int
		line string
	}{
		{signed(t, r, "evt_1", returned), 200, `01:02:03.456  200  loan.returned  {"loan_id":1000}  evt_1  verified`},
		{signed(t, r, "evt_1", returned), 200, `01:02:03.456  200  loan.returned  {"loan_id":1000}  evt_1  verified  duplicate`},
		{forged, 401, `01:02:03.456  401  loan.returned  {"loan_id":1001}  evt_2  no signature matches the secret`},
		{unsigned, 401, `01:02:03.456  401  loan.returned  {"loan_id":1000}  evt_3  webhook-id, webhook-timestamp or webhook-signature is missing`},
		{old, 401, `01:02:03.456  401  loan.returned  {"loan_id":1000}  evt_4  webhook-timestamp is not a unix time within five minutes of now`},
	} {
		out.Reset()
		if w := answer(r, test.req); w.Code != test.code || out.String() != test.line+"\n" {
			t.Errorf("answer %d, printed %swant %d, %s", w.Code, out, test.code, test.line)
		}
	}
}

func TestReceiverWithoutSecret(t *testing.T) {
	t.Parallel()
	r, out := newTestReceiver(listenOptions{print: "body"}, "")
	req := httptest.NewRequest(http.MethodPost, "/hooks", strings.NewReader("<event>\x1b[2J</event>"))
	if w := answer(r, req); w.Code != http.StatusOK {
		t.Errorf("answer %d", w.Code)
	}
	if want := "01:02:03.456  200  POST  /hooks\n\"\\u003cevent\\u003e\\u001b[2J\\u003c/event\\u003e\"\n"; out.String() != want {
		t.Errorf("printed %q", out)
	}
}

func TestReceiverChallenges(t *testing.T) {
	t.Parallel()
	r, out := newTestReceiver(listenOptions{}, listenSecret)
	w := answer(r, httptest.NewRequest(http.MethodGet, "/?challenge=a%22b", nil))
	if w.Code != http.StatusOK || strings.TrimSpace(w.Body.String()) != `{"challenge":"a\"b"}` || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("answer %d %s", w.Code, w.Body)
	}
	handshake := httptest.NewRequest(http.MethodOptions, "/", nil)
	handshake.Header.Set("WebHook-Request-Origin", "library.example.org")
	if w := answer(r, handshake); w.Code != http.StatusOK || w.Header().Get("WebHook-Allowed-Origin") != "library.example.org" {
		t.Errorf("answer %d %v", w.Code, w.Header())
	}
	if w := answer(r, httptest.NewRequest(http.MethodGet, "/", nil)); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("answer %d to a GET without a challenge", w.Code)
	}
	if got, want := strings.Count(out.String(), "challenge"), 2; got != want {
		t.Errorf("printed %s", out)
	}
}

func TestReceiverFailures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		options listenOptions
		random  float64
		code    int
	}{
		{"none", listenOptions{status: 200}, 0, 200},
		{"a status for all", listenOptions{status: 503}, 0.99, 503},
		{"a share, hit", listenOptions{status: 500, fail: 0.3}, 0.29, 500},
		{"a share, missed", listenOptions{status: 500, fail: 0.3}, 0.3, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r, out := newTestReceiver(test.options, "")
			r.random = func() float64 { return test.random }
			for range 2 {
				req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(returned))
				if w := answer(r, req); w.Code != test.code {
					t.Errorf("answer %d, want %d", w.Code, test.code)
				}
			}
			if duplicate := strings.Contains(out.String(), "duplicate"); duplicate != (test.code == 200) {
				t.Errorf("only what was accepted can come twice; printed %s", out)
			}
		})
	}
}

func TestReceiverForgetsOldIDs(t *testing.T) {
	t.Parallel()
	r, _ := newTestReceiver(listenOptions{}, "")
	for i := range rememberedSeen + 10 {
		r.remember(&received{ID: time.Duration(i).String(), Status: 200})
	}
	if len(r.accepted) != rememberedSeen || len(r.order) != rememberedSeen {
		t.Errorf("%d and %d ids", len(r.accepted), len(r.order))
	}
}

func TestListenFlags(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args string
		want string
	}{
		{"--addr 8080", `--addr takes HOST:PORT such as 127.0.0.1:8080, not "8080"`},
		{"--status 99", "--status takes a status code from 200 to 599, not 99"},
		{"--fail 1.5", "--fail takes a share from 0 to 1, not 1.5"},
		{"--fail NaN", "--fail takes a share from 0 to 1, not NaN"},
		{"--delay -1s", "--delay takes a time such as 2s, not -1s"},
		{"--print lines", `--print takes body, line or none, not "lines"; did you mean "line"?`},
		{"--secret a --secret-file b", "if any flags in the group [secret secret-file] are set none of the others can be; [secret secret-file] were all set"},
		{"--status many", `invalid argument "many" for "--status" flag: strconv.ParseInt: parsing "many": invalid syntax`},
	} {
		got := rowhook(t, append([]string{"listen"}, strings.Fields(test.args)...)...)
		if want := "rowhook: " + test.want + "\nTry: rowhook listen --help\n"; got.code != exitUsage || got.err != want {
			t.Errorf("%s: exit %d, %s", test.args, got.code, got.err)
		}
	}
	if got := rowhook(t, "listen", "--secret-file", "testdata/none"); got.code != exitFailed || !strings.Contains(got.err, "no such file") {
		t.Errorf("got %+v", got)
	}
}

// TestListen runs the command itself: it says where it listens, prints JSON lines, and stops when
// told.
func TestListen(t *testing.T) {
	t.Parallel()
	secretFile := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secretFile, []byte(listenSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	messages, tell := io.Pipe()
	var out bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		c := &console{out: &out, err: tell, env: env(nil)}
		ended <- execute(ctx, []string{"listen", "--addr", "127.0.0.1:0", "--secret-file", secretFile, "--json", "--print", "body"}, c)
		tell.Close()
	}()
	greeting, err := bufio.NewReader(messages).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	url := strings.Fields(greeting)[2]
	resp, err := http.Post(url, "application/json", strings.NewReader(returned))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	stop()
	if code := <-ended; code != exitDone {
		t.Errorf("exit %d", code)
	}
	var line received
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("printed %s: %v", &out, err)
	}
	if line.Status != http.StatusUnauthorized || line.Verified == nil || *line.Verified || string(line.Body) != returned || string(line.Key) != `{"loan_id":1000}` {
		t.Errorf("printed %s", &out)
	}
}
