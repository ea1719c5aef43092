package webhook

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
)

func TestChallengeIsAnUnsignedGet(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, path, want string }{
		{"plain", "/hook", "/hook?challenge="},
		{"with a query of its own", "/hook?institution=X", "/hook?institution=X&challenge="},
		{"with an empty query", "/hook?", "/hook?challenge="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan *http.Request, 1)
			server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				asked <- r
				_, _ = io.WriteString(w, `{"challenge":"`+r.URL.Query().Get("challenge")+`"}`)
			})
			cfg := profile(server.URL + tt.path)
			cfg.Challenge = "query"
			cfg.Headers = []delivery.HeaderConfig{{Name: "x-team", Value: "circulation"}}
			s, _ := sender(t, cfg)
			reply := s.Challenge(context.Background())
			if reply.Class != delivery.ClassOK || reply.Status != 200 || reply.Error != "" || reply.Started.IsZero() || reply.Duration <= 0 {
				t.Errorf("reply %+v", reply)
			}
			r := <-asked
			text := r.URL.Query().Get("challenge")
			if r.Method != "GET" || r.RequestURI != tt.want+text || len(text) < 16 || r.ContentLength != 0 {
				t.Errorf("%s %s with %d bytes", r.Method, r.RequestURI, r.ContentLength)
			}
			if r.Header.Get("X-Team") != "circulation" || r.Header.Get("User-Agent") != "rowhook/test" || len(r.Header) != 2 {
				t.Errorf("headers %v", r.Header)
			}
			if s.Challenge(context.Background()); (<-asked).URL.Query().Get("challenge") == text {
				t.Error("two challenges have the same text")
			}
		})
	}
}

func TestChallengeAnswers(t *testing.T) {
	t.Parallel()
	echo := func(format string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, strings.ReplaceAll(format, "TEXT", r.URL.Query().Get("challenge")))
		}
	}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		class  delivery.Class
		reason string
		says   string
	}{
		{"documented", echo(`{"challenge":"TEXT"}`), delivery.ClassOK, "", ""},
		{"bare text", echo(`TEXT`), delivery.ClassOK, "", ""},
		{"JSON and a zero-width space", echo("{\"challenge\":\"TEXT\"}\u200b"), delivery.ClassOK, "", ""},
		{"beyond what is kept for the log", echo(strings.Repeat(" ", 2*keptReply) + "TEXT"), delivery.ClassOK, "", ""},
		{"another text", echo("hello"), delivery.ClassEndpoint, "challenge", "does not contain"},
		{"204", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, delivery.ClassEndpoint, "challenge", "status 204 instead of 200"},
		{"201 with the text", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(201)
			_, _ = io.WriteString(w, r.URL.Query().Get("challenge"))
		}, delivery.ClassEndpoint, "challenge", "status 201"},
		{"redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/other?"+r.URL.RawQuery, http.StatusFound)
		}, delivery.ClassEndpoint, "challenge", "status 302"},
		{"closed", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, delivery.ClassNetwork, "reset", "closed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := profile(receiver(t, tt.answer).URL)
			cfg.Challenge = "query"
			s, _ := sender(t, cfg)
			reply := s.Challenge(context.Background())
			if reply.Class != tt.class || reply.Reason != tt.reason || !strings.Contains(reply.Error, tt.says) || tt.says == "" && reply.Error != "" {
				t.Errorf("reply %+v", reply)
			}
		})
	}
}

func TestChallengeInTime(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	cfg := profile(server.URL)
	cfg.Challenge, cfg.Timeout = "query", 50*time.Millisecond
	s, _ := sender(t, cfg)
	if reply := s.Challenge(context.Background()); reply.Reason != delivery.ReasonTimeout {
		t.Errorf("reply %+v", reply)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if reply := s.Challenge(ctx); reply.Class != delivery.ClassStopped {
		t.Errorf("reply %+v", reply)
	}
}

func TestCloudEventsHandshake(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name         string
		origin, rate string
		status       int
		says         string // empty for consent
	}{
		{"allowed", "db1.example.org", "120", 200, ""},
		{"allowed to all", "*", "*", 200, ""},
		{"the status is no refusal", "DB1.example.org", "*", 405, ""},
		{"the status is no consent", "", "", 200, "no WebHook-Allowed-Origin"},
		{"another origin", "db2.example.org", "*", 200, "another origin than db1.example.org"},
		{"without a rate", "*", "", 200, "no WebHook-Allowed-Rate"},
		{"with no rate at all", "*", "0", 200, "no WebHook-Allowed-Rate"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := make(chan *http.Request, 1)
			server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
				got <- r
				if tt.origin != "" {
					w.Header().Set("WebHook-Allowed-Origin", tt.origin)
				}
				if tt.rate != "" {
					w.Header().Set("WebHook-Allowed-Rate", tt.rate)
				}
				w.WriteHeader(tt.status)
			})
			cfg := profile(server.URL + "/hook?a=b")
			cfg.Challenge = "cloudevents"
			transports := NewTransports()
			t.Cleanup(transports.CloseIdle)
			s, err := New(cfg, Options{Transports: transports, Origin: "db1.example.org"})
			if err != nil {
				t.Fatal(err)
			}
			reply := s.Challenge(context.Background())
			if want := map[string]int{"120": 120}[tt.rate]; reply.Allowed.Requests != want || want > 0 && reply.Allowed.Per != time.Minute {
				t.Errorf("allowed %+v", reply.Allowed)
			}
			if consent := reply.Class == delivery.ClassOK; consent != (tt.says == "") || !strings.Contains(reply.Error, tt.says) {
				t.Errorf("reply %+v", reply)
			}
			r := <-got
			if r.Method != "OPTIONS" || r.RequestURI != "/hook?a=b" || r.Header.Get("WebHook-Request-Origin") != "db1.example.org" ||
				r.Header.Get("Webhook-Signature") != "" {
				t.Errorf("%s %s %v", r.Method, r.RequestURI, r.Header)
			}
			s.Send(context.Background(), &testRequest)
			if r := <-got; r.Header.Get("WebHook-Request-Origin") != "db1.example.org" || r.Header.Get("Webhook-Signature") == "" {
				t.Errorf("delivery %v", r.Header)
			}
		})
	}
}

func TestWithoutChallengeNothingIsAsked(t *testing.T) {
	t.Parallel()
	s, _ := sender(t, profile("http://127.0.0.1:1/"))
	if reply := s.Challenge(context.Background()); reply.Class != delivery.ClassOK || reply.Status != 0 {
		t.Errorf("reply %+v", reply)
	}
}

// TestEndpointNames holds what asks for another activation: the URL, not its credentials or the
// secret.
func TestEndpointNames(t *testing.T) {
	t.Parallel()
	name := func(url, secret string) string {
		cfg := profile(url)
		cfg.Secret = secret
		s, _ := sender(t, cfg)
		return s.Endpoint().Name
	}
	one := name("https://desk.example.org/hook?a=b", testSecret)
	if one == "" || strings.Contains(one, "desk") || one != name("https://desk.example.org/hook?a=b", "another secret of enough length") ||
		one != name("https://user:password@desk.example.org/hook?a=b", testSecret) {
		t.Errorf("name %q", one)
	}
	if one == name("https://desk.example.org/hook?a=c", testSecret) {
		t.Error("two URLs have one name")
	}
}
