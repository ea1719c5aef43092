package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setup returns a client with a host whose connections handle serves, and the count of connections
// that it made.
func setup(t testing.TB, handle func(net.Conn)) (h *Host, made func() int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer c.Close()
				handle(c)
			})
		}
	})
	var mu sync.Mutex
	n := 0
	client := &Client{
		IdleTimeout: time.Minute,
		MaxHead:     64 << 10,
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			n++
			mu.Unlock()
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	t.Cleanup(func() {
		client.CloseIdle()
		_ = l.Close()
		served.Wait()
	})
	return client.Host(l.Addr().String(), ""), func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
}

// request returns an exchange with a body of n bytes.
func request(n int) *Exchange {
	return &Exchange{
		Head:     fmt.Appendf(nil, "POST /hook HTTP/1.1\r\nHost: example.org\r\nContent-Length: %d\r\nX-Filler: %s\r\n\r\n", n, strings.Repeat("f", 40)),
		Body:     []byte(strings.Repeat("b", n)),
		Deadline: time.Now().Add(5 * time.Second),
		Keep:     16,
		Read:     64,
	}
}

// echo answers each request with its own body.
func echo(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
}

func TestExchange(t *testing.T) {
	t.Parallel()
	h, made := setup(t, echo)
	x := request(10)
	for range 3 {
		if err := h.Do(t.Context(), x); err != nil {
			t.Fatal(err)
		}
		if r := &x.Reply; r.Status != 200 || string(r.Body) != "bbbbbbbbbb" || string(r.Date) != "Sun, 06 Nov 1994 08:49:37 GMT" || r.Location != nil {
			t.Errorf("reply %d %q %q %q", r.Status, r.Body, r.Date, r.Location)
		}
	}
	if made() != 1 || !x.Reused {
		t.Errorf("%d connections for three requests", made())
	}
}

// TestLongReplies: of a body more is not read than is wanted, and what was not read costs the
// connection.
func TestLongReplies(t *testing.T) {
	t.Parallel()
	for size, connections := range map[int]int{16: 1, 17: 1, 64: 1, 65: 2, 5000: 2} {
		h, made := setup(t, echo)
		x := request(size)
		for range 2 {
			if err := h.Do(t.Context(), x); err != nil {
				t.Fatal(err)
			}
		}
		if len(x.Reply.Body) != min(size, 16) || made() != connections {
			t.Errorf("%d bytes: %d kept, %d connections, want %d", size, len(x.Reply.Body), made(), connections)
		}
	}
}

// TestAnsweredWhileWriting: who refuses a request before it is all there and closes is heard.
func TestAnsweredWhileWriting(t *testing.T) {
	t.Parallel()
	h, _ := setup(t, func(c net.Conn) {
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		_, _ = io.ReadFull(c, make([]byte, 200))
		_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.CopyN(io.Discard, c, 100<<10)
	})
	x := request(20 << 20)
	if err := h.Do(t.Context(), x); err != nil || x.Reply.Status != 413 {
		t.Errorf("status %d, %v", x.Reply.Status, err)
	}
}

func TestEnds(t *testing.T) {
	t.Parallel()
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	t.Run("deadline", func(t *testing.T) {
		t.Parallel()
		h, _ := setup(t, silent)
		x := request(1)
		x.Deadline = time.Now().Add(50 * time.Millisecond)
		if err := h.Do(t.Context(), x); !errors.Is(err, os.ErrDeadlineExceeded) || !x.Connected || !x.Wrote || x.Replied {
			t.Errorf("%v after %+v", err, x.Progress)
		}
	})
	t.Run("context", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		h, _ := setup(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 10))
			cancel()
			silent(c)
		})
		begin := time.Now()
		if err := h.Do(ctx, request(1)); err == nil || time.Since(begin) > 4*time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
	})
	t.Run("context before", func(t *testing.T) {
		t.Parallel()
		h, _ := setup(t, echo)
		ctx, cancel := context.WithCancel(t.Context())
		if err := h.Do(ctx, request(1)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if h.Do(ctx, request(1)) == nil {
			t.Error("a request was made for nobody")
		}
	})
	t.Run("within the head", func(t *testing.T) {
		t.Parallel()
		h, _ := setup(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 10))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-")
		})
		x := request(1)
		if err := h.Do(t.Context(), x); !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, syscall.ECONNRESET) || !x.Replied {
			t.Errorf("%v after %+v", err, x.Progress)
		}
	})
	t.Run("endless head", func(t *testing.T) {
		t.Parallel()
		h, _ := setup(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 10))
			for _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n"); err == nil; _, err = io.WriteString(c, "X-More: of it\r\n") {
				continue
			}
		})
		if err := h.Do(t.Context(), request(1)); !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
	})
}

// TestIdleConnections: what nobody used for the idle timeout is closed, without a request that
// would notice.
func TestIdleConnections(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{}, 4)
	h, made := setup(t, func(c net.Conn) {
		echo(c)
		closed <- struct{}{}
	})
	h.client.IdleTimeout = 30 * time.Millisecond
	for round := range 2 {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if err := h.Do(t.Context(), request(1)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for range made() - round*2 {
			<-closed
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.idle) != 0 || h.armed {
		t.Errorf("%d connections are kept", len(h.idle))
	}
}

func BenchmarkDo(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "ok")
	}))
	defer server.Close()
	client := &Client{Dial: new(net.Dialer).DialContext, IdleTimeout: time.Minute, MaxHead: 64 << 10}
	defer client.CloseIdle()
	h := client.Host(server.Listener.Addr().String(), "")
	x := request(400)
	b.ReportAllocs()
	for b.Loop() {
		x.Deadline = time.Now().Add(5 * time.Second)
		if err := h.Do(b.Context(), x); err != nil {
			b.Fatal(err)
		}
	}
}
