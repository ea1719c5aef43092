package webhook

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rowhook/delivery"
	"rowhook/delivery/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// profile returns the configuration of a profile that may talk with loopback.
func profile(url string) delivery.ProfileConfig {
	return delivery.ProfileConfig{
		Code:          "desk",
		URL:           url,
		Secret:        testSecret,
		Signature:     "standard",
		Timeout:       5 * time.Second,
		AllowNetworks: []string{"loopback"},
	}
}

// sender returns the profile's sender, whose connections end with the test.
func sender(t testing.TB, cfg delivery.ProfileConfig) (*Sender, *Transports) {
	t.Helper()
	transports := NewTransports()
	t.Cleanup(transports.CloseIdle)
	s, err := New(cfg, Options{Products: format.Products(), UserAgent: "rowhook/test", Transports: transports})
	if err != nil {
		t.Fatal(err)
	}
	return s, transports
}

func receiver(t testing.TB, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

var testRequest = delivery.Request{
	ID:   "evt_1",
	Body: []byte(`{"id":"evt_1","data":{"email":"someone@example.org"}}`),
	Head: delivery.Head{ContentType: "application/json"},
}

func TestSendWritesTheRequest(t *testing.T) {
	t.Parallel()
	type got struct {
		header http.Header
		body   []byte
		uri    string
		method string
		length int64
	}
	received := make(chan got, 1)
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- got{r.Header, body, r.RequestURI, r.Method, r.ContentLength}
		_, _ = io.WriteString(w, "thanks")
	})
	cfg := profile(server.URL + "/hooks?institution=X")
	cfg.Headers = []delivery.HeaderConfig{{Name: "x-team", Value: "circulation"}}
	s, _ := sender(t, cfg)
	req := testRequest
	req.Gap, req.Epoch = "3", "7"
	reply := s.Send(context.Background(), &req)
	if reply.Class != delivery.ClassOK || reply.Status != 200 || reply.Reason != "" || reply.Error != "" {
		t.Fatalf("reply %+v", reply)
	}
	if string(reply.Response) != "thanks" || reply.Date.IsZero() || reply.Duration <= 0 || reply.Started.IsZero() {
		t.Errorf("reply %+v", reply)
	}
	r := <-received
	if r.method != "POST" || r.uri != "/hooks?institution=X" || string(r.body) != string(req.Body) || r.length != int64(len(req.Body)) {
		t.Errorf("request %+v", r)
	}
	for name, want := range map[string]string{
		"webhook-id":    "evt_1",
		"content-type":  "application/json",
		"user-agent":    "rowhook/test",
		"x-team":        "circulation",
		"rowhook-gap":   "3",
		"rowhook-epoch": "7",
	} {
		if r.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, r.header.Get(name), want)
		}
	}
	if len(r.header) != 9 { // and timestamp, signature, content-length
		t.Errorf("headers %v", r.header)
	}
	if err := Verify(r.header, r.body, time.Now(), testSecret); err != nil {
		t.Error(err)
	}
	req.Gap, req.Epoch = "", ""
	s.Send(context.Background(), &req)
	if r := <-received; r.header.Get("Rowhook-Gap") != "" || r.header.Get("Rowhook-Epoch") != "" {
		t.Errorf("gap marker and epoch stayed: %v", r.header)
	}
}
