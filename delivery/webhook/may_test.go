package webhook

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"rowhook/delivery"
)

// TestMay: a request that may not go out once its connection is there leaves no byte of itself, whether
// the connection is new or was kept, and by whichever way. What may goes out on the same sender.
func TestMay(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		secure, http2, large bool
	}{
		"direct":       {},
		"direct, TLS":  {secure: true},
		"general":      {large: true},
		"general, TLS": {secure: true, large: true},
		"HTTP/2":       {secure: true, http2: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var heard atomic.Int64
			handler := func(_ http.ResponseWriter, r *http.Request) {
				heard.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
			}
			wire := &wiretap{}
			change := func(s *httptest.Server) {
				s.EnableHTTP2 = tt.http2
				s.Listener = wire.on(s.Listener)
			}
			c := profile("")
			if tt.secure {
				server, ca := secureServer(t, change, handler)
				c.URL, c.HTTP.TLS.CA, c.HTTP.HTTP2 = server.URL, ca, tt.http2
			} else {
				server := httptest.NewUnstartedServer(http.HandlerFunc(handler))
				change(server)
				server.Start()
				t.Cleanup(server.Close)
				c.URL = server.URL
			}
			s, _ := sender(t, c)
			req := testRequest
			if tt.large {
				req.Body = bytes.Repeat([]byte("x"), 2*keptBody)
			}
			want := int64(0)
			for i, may := range []bool{false, true, false, true} {
				asked := 0
				before := int64(0)
				req.May = func() bool {
					asked++
					before = wire.heard()
					return may
				}
				reply := s.Send(t.Context(), &req)
				if may {
					want++
				}
				if reply.Unsent == may || may != (reply.Class == delivery.ClassOK) || asked == 0 || heard.Load() != want {
					t.Fatalf("request %d, which may go out (%t): asked %d times, %d arrived, %+v", i, may, asked, heard.Load(), reply)
				}
				// A closing alert of TLS, or what HTTP/2 says of the connection, is no request.
				if most := int64(300); !may && wire.heard()-before > most {
					t.Errorf("request %d, which may not go out, left %d bytes", i, wire.heard()-before)
				}
			}
			req.May = nil
			if reply := s.Send(t.Context(), &req); reply.Class != delivery.ClassOK {
				t.Errorf("a request that nobody asks about: %+v", reply)
			}
		})
	}
}

// wiretap counts what a server reads.
type wiretap struct {
	mu   sync.Mutex
	read int64
}

func (w *wiretap) on(l net.Listener) net.Listener { return tapped{l, w} }

func (w *wiretap) heard() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read
}

type tapped struct {
	net.Listener
	tap *wiretap
}

func (l tapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return tappedConn{c, l.tap}, err
}

type tappedConn struct {
	net.Conn
	tap *wiretap
}

func (c tappedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.tap.mu.Lock()
	defer c.tap.mu.Unlock()
	c.tap.read += int64(n)
	return n, err
}
