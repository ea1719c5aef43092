package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rowhook/delivery"
)

func TestReplies(t *testing.T) {
	t.Parallel()
	const moved = "HTTP/1.1 302 Found\r\nLocation: https://u:" + hidden + "@elsewhere.example.org/login?next=" + hidden + "\r\nContent-Length: 0\r\n\r\n"
	for _, test := range []struct {
		name   string
		reply  string
		want   delivery.Reply
		second bool // the connection serves a second request
	}{
		{"ok", "HTTP/1.1 204 No Content\r\n\r\n", delivery.Reply{Class: delivery.ClassOK, Status: 204}, true},
		{"informational replies first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
			delivery.Reply{Class: delivery.ClassOK, Status: 200, Response: []byte("ok")}, true},
		{"other protocol", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
			delivery.Reply{Class: delivery.ClassEndpoint, Reason: "status_1xx", Status: 101}, false},
		{"redirect", moved, delivery.Reply{Class: delivery.ClassEndpoint, Reason: "status_3xx", Status: 302,
			Location: "https://***@elsewhere.example.org/login?next=***",
			Error:    "redirected to https://***@elsewhere.example.org/login?next=***, which is not followed"}, true},
		{"refused event", "HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\nno member",
			delivery.Reply{Class: delivery.ClassEvent, Reason: "status_4xx", Status: 400, Response: []byte("no member")}, true},
		{"throttled", "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n",
			delivery.Reply{Class: delivery.ClassThrottle, Reason: "status_4xx", Status: 429, RetryAfter: 30 * time.Second}, true},
		{"gone", "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", delivery.Reply{Class: delivery.ClassGone, Reason: "status_4xx", Status: 410}, true},
		{"broken", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", delivery.Reply{Class: delivery.ClassTransient, Reason: "status_5xx", Status: 500}, true},
		{"invented", "HTTP/1.1 999 Denied\r\nContent-Length: 0\r\n\r\n", delivery.Reply{Class: delivery.ClassEndpoint, Reason: "status_other", Status: 999}, true},
		{"body that breaks off", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
			delivery.Reply{Class: delivery.ClassOK, Status: 200, Response: []byte("half")}, false},
		{"body without length", "HTTP/1.0 200 OK\r\n\r\nold", delivery.Reply{Class: delivery.ClassOK, Status: 200, Response: []byte("old")}, false},
		{"large body", "HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + strings.Repeat("x", 60000),
			delivery.Reply{Class: delivery.ClassOK, Status: 200, Response: bytes.Repeat([]byte("x"), keptReply)}, true},
		{"too large body", "HTTP/1.1 200 OK\r\nContent-Length: 6000000\r\n\r\n" + strings.Repeat("x", 6000000),
			delivery.Reply{Class: delivery.ClassOK, Status: 200, Response: bytes.Repeat([]byte("x"), keptReply)}, false},
		{"wrong dates", "HTTP/1.1 503 Away\r\nDate: yesterday\r\nRetry-After: tomorrow\r\nContent-Length: 0\r\n\r\n",
			delivery.Reply{Class: delivery.ClassThrottle, Reason: "status_5xx", Status: 503}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			host := serve(t, func(c net.Conn) {
				answering(test.reply)(c)
				if test.second {
					answering(test.reply)(c)
				}
			})
			s, transports := sender(t, secretive("http", host))
			for range 2 {
				reply := s.Send(context.Background(), &secretiveRequest)
				assertSafe(t, s, reply)
				reply.Started, reply.Duration = time.Time{}, 0
				if !bytes.Equal(reply.Response, test.want.Response) {
					t.Errorf("response %.80q", reply.Response)
				}
				reply.Response, test.want.Response = nil, reply.Response
				want := test.want
				want.Response = nil
				if !equalReplies(reply, want) {
					t.Errorf("reply %+v, want %+v", reply, want)
				}
			}
			if want := map[bool]int64{true: 1, false: 2}[test.second]; transports.Opened() != want {
				t.Errorf("%d connections, want %d", transports.Opened(), want)
			}
		})
	}
}

func equalReplies(a, b delivery.Reply) bool {
	return a.Class == b.Class && a.Reason == b.Reason && a.Status == b.Status && a.Error == b.Error &&
		a.RetryAfter == b.RetryAfter && a.Location == b.Location && a.Date.Equal(b.Date)
}

// TestSlowBodies has replies whose bodies never end, fast or slowly: the status counts and the
// timeout holds.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	for name, handler := range map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		},
		"a byte at a time": func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-r.Context().Done():
					return
				case <-tick.C:
					_, _ = io.WriteString(w, "x")
					w.(http.Flusher).Flush()
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := receiver(t, handler)
			cfg := profile(server.URL)
			cfg.Timeout = time.Second
			s, _ := sender(t, cfg)
			begin := time.Now()
			reply := s.Send(context.Background(), &testRequest)
			if reply.Class != delivery.ClassOK || reply.Status != 200 || len(reply.Response) == 0 {
				t.Errorf("reply %+v", reply)
			}
			if took := time.Since(begin); took > 4*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

// TestEarlyReply gets an answer before the body is sent, and must not touch the body after Send.
func TestEarlyReply(t *testing.T) {
	t.Parallel()
	host := serve(t, func(c net.Conn) {
		_, _ = io.ReadFull(c, make([]byte, 100))
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		untilClosed(c)
	})
	s, _ := sender(t, secretive("http", host))
	req := secretiveRequest
	req.Body = bytes.Repeat([]byte("x"), 32<<20)
	reply := s.Send(context.Background(), &req)
	clear(req.Body) // the race detector sees a late read
	if reply.Class != delivery.ClassEvent || reply.Status != 413 {
		t.Errorf("reply %+v", reply)
	}
}

func TestConnectionsAreReused(t *testing.T) {
	t.Parallel()
	const lanes, each = 8, 50
	var bad atomic.Int64
	var ids sync.Map
	server := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if Verify(r.Header, body, time.Now(), testSecret) != nil || string(body) != r.Header.Get("webhook-id") {
			bad.Add(1)
		}
		ids.Store(string(body), true)
		w.WriteHeader([]int{200, 400, 500, 302}[len(body)%4])
		_, _ = io.WriteString(w, "some text")
	})
	cfg := profile(server.URL)
	desk, transports := sender(t, cfg)
	cfg.Code = "other"
	other, err := New(cfg, Options{Transports: transports})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for lane := range lanes {
		wg.Go(func() {
			for i := range each {
				id := "evt_" + strconv.Itoa(lane) + "_" + strconv.Itoa(i)
				s := []*Sender{desk, other}[i%2]
				reply := s.Send(context.Background(), &delivery.Request{ID: id, Body: []byte(id), Head: delivery.Head{ContentType: "text/plain"}})
				if reply.Status == 0 {
					t.Errorf("reply %+v", reply)
				}
			}
		})
	}
	wg.Wait()
	// A dial that was begun for a lane which then got a kept connection adds one, at the start
	// only.
	if n := transports.Opened(); n > 2*lanes {
		t.Errorf("%d connections for %d lanes", n, lanes)
	}
	if bad.Load() > 0 {
		t.Errorf("%d requests were mixed up", bad.Load())
	}
	count := 0
	ids.Range(func(any, any) bool { count++; return true })
	if count != lanes*each {
		t.Errorf("%d different requests, want %d", count, lanes*each)
	}
}

// TestStaleConnection lets the receiver close kept connections. As long as nothing of a request
// went out, nobody hears of it; a request that may have been read is never sent again unseen.
func TestStaleConnection(t *testing.T) {
	t.Parallel()
	t.Run("closed while idle", func(t *testing.T) {
		t.Parallel()
		var requests atomic.Int64
		closed := make(chan struct{}, 1)
		host := serve(t, func(c net.Conn) {
			if readRequest(c) != nil {
				requests.Add(1)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
			_ = c.Close()
			closed <- struct{}{}
		})
		s, _ := sender(t, secretive("http", host))
		for i := range 200 {
			if reply := s.Send(context.Background(), &secretiveRequest); reply.Class != delivery.ClassOK {
				t.Fatalf("request %d: %+v", i, reply)
			}
			<-closed
		}
		if requests.Load() != 200 {
			t.Errorf("%d requests arrived", requests.Load())
		}
	})
	t.Run("closed while idle with TLS", func(t *testing.T) {
		t.Parallel()
		var requests atomic.Int64
		closed := make(chan struct{}, 1)
		cert, leaf := certificate(t, x509.Certificate{NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{{127, 0, 0, 1}}})
		host := serve(t, func(c net.Conn) {
			secure := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}})
			for range 3 {
				if readRequest(secure) != nil {
					requests.Add(1)
					_, _ = io.WriteString(secure, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
				closed <- struct{}{}
			}
			_ = secure.Close() // an alert, then the end
			closed <- struct{}{}
		})
		transports := NewTransports()
		t.Cleanup(transports.CloseIdle)
		transports.roots = x509.NewCertPool()
		transports.roots.AddCert(leaf)
		s, err := New(secretive("https", host), Options{Transports: transports})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			if reply := s.Send(context.Background(), &secretiveRequest); reply.Class != delivery.ClassOK {
				t.Fatalf("request %d: %+v", i, reply)
			}
			<-closed
			if i%3 == 2 {
				<-closed
			}
		}
		if requests.Load() != 60 || transports.Opened() != 20 {
			t.Errorf("%d requests on %d connections", requests.Load(), transports.Opened())
		}
	})
	t.Run("closed after reading", func(t *testing.T) {
		t.Parallel()
		var requests atomic.Int64
		host := serve(t, func(c net.Conn) {
			for i := 0; readRequest(c) != nil; i++ {
				requests.Add(1)
				if i == 1 {
					return
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		})
		s, _ := sender(t, secretive("http", host))
		s.Send(context.Background(), &secretiveRequest)
		reply := s.Send(context.Background(), &secretiveRequest)
		if reply.Class != delivery.ClassNetwork || reply.Reason != delivery.ReasonReset {
			t.Errorf("reply %+v", reply)
		}
		if requests.Load() != 2 {
			t.Errorf("%d requests arrived, 2 were made", requests.Load())
		}
	})
}

// TestSwitchingProtocols: a receiver that switches protocols unasked and keeps the connection gets
// nothing more of us. Its status is the answer, to deliveries and to challenges.
func TestSwitchingProtocols(t *testing.T) {
	t.Parallel()
	closed := make(chan error, 2)
	host := serve(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			closed <- err
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		_, err := io.Copy(io.Discard, c) // until our side closes it
		closed <- err
	})
	cfg := profile("http://" + host + "/")
	cfg.Challenge = "query"
	s, _ := sender(t, cfg)
	for name, ask := range map[string]func() delivery.Reply{
		"delivery":  func() delivery.Reply { return s.Send(t.Context(), &testRequest) },
		"challenge": func() delivery.Reply { return s.Challenge(t.Context()) },
	} {
		if reply := ask(); reply.Status != 101 || reply.Class != delivery.ClassEndpoint || reply.Duration >= cfg.Timeout {
			t.Errorf("%s: %+v", name, reply)
		}
		if err := <-closed; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
