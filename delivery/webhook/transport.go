package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"rowhook/delivery/webhook/http1"
)

const (
	// idleTimeout is below the 60 seconds after which common load balancers close a connection, so
	// that we are mostly first.
	idleTimeout = 55 * time.Second
	// dialTimeout bounds a dial that goes on after its request has given up.
	dialTimeout = 30 * time.Second
	// maxReplyHeader bounds the header of a reply, in bytes.
	maxReplyHeader = 64 << 10
	// idlePerHost is more than the profiles of one endpoint can have in flight: every connection
	// that was opened may be kept.
	idlePerHost = 1 << 16
)

// Transports holds the connections of all senders made with it: profiles whose network settings are
// the same share them, and they outlive a reload. It is safe for concurrent use.
type Transports struct {
	roots    *x509.CertPool // nil: the system's
	resolver *net.Resolver  // nil: the system's
	opened   atomic.Int64

	mu      sync.Mutex
	bySetup map[string]*http.Transport
	clients map[string]*http1.Client // by the same
}

// NewTransports returns transports without any connection.
func NewTransports() *Transports {
	return &Transports{bySetup: map[string]*http.Transport{}, clients: map[string]*http1.Client{}}
}

// Opened returns how many connections were opened so far.
func (t *Transports) Opened() int64 { return t.opened.Load() }

// CloseIdle closes the connections that no request uses.
func (t *Transports) CloseIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, transport := range t.bySetup {
		transport.CloseIdleConnections()
	}
	for _, client := range t.clients {
		client.CloseIdle()
	}
}

// get returns the transport whose connections are made so.
func (t *Transports) get(s *setup) http.RoundTripper {
	t.mu.Lock()
	defer t.mu.Unlock()
	transport, ok := t.bySetup[s.shown]
	if !ok {
		transport = t.newTransport(s)
		t.bySetup[s.shown] = transport
	}
	return finite{transport}
}

// client returns the client whose connections are made so. It shares with the transport how they
// are made, not the connections.
func (t *Transports) client(s *setup) *http1.Client {
	t.mu.Lock()
	defer t.mu.Unlock()
	client, ok := t.clients[s.shown]
	if !ok {
		client = &http1.Client{Dial: t.dial(s), TLS: t.tls(s), IdleTimeout: idleTimeout, MaxHead: maxReplyHeader}
		t.clients[s.shown] = client
	}
	return client
}

// finite has every reply end with its request. After 101 Switching Protocols, which no request asks
// for, net/http hands out the bare connection, and nothing bounds what is read of that: it is
// closed, and the status is the answer.
type finite struct{ *http.Transport }

func (f finite) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := f.Transport.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusSwitchingProtocols {
		_ = resp.Body.Close() // nothing of it is wanted
		resp.Body = http.NoBody
	}
	return resp, err
}

func (t *Transports) newTransport(s *setup) *http.Transport {
	dial := t.dial(s)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(s.http2)
	return &http.Transport{
		Proxy:                  s.askProxy,
		OnProxyConnectResponse: proxyAnswered,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return newCountingConn(conn), nil
		},
		TLSClientConfig:        t.tls(s),
		TLSHandshakeTimeout:    dialTimeout,
		Protocols:              protocols,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxReplyHeader,
	}
}

// dial connects to addresses that the guard lets through.
func (t *Transports) dial(s *setup) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: dialTimeout, ControlContext: s.guard.control, Resolver: t.resolver}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, address)
		if err == nil {
			t.opened.Add(1)
		}
		return conn, err
	}
}

func (t *Transports) tls(s *setup) *tls.Config {
	config := s.tls.Clone()
	if config.RootCAs == nil {
		config.RootCAs = t.roots
	}
	return config
}

// askProxy has requests go through the setup's proxy.
func (s *setup) askProxy(*http.Request) (*url.URL, error) { return s.proxy, nil }

// proxyAnswered looks at what a proxy says to being asked for a connection.
func proxyAnswered(_ context.Context, proxy *url.URL, _ *http.Request, answer *http.Response) error {
	if answer.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyError{proxy.Host, answer.StatusCode}
}

// proxyError is a proxy that does not connect to the endpoint.
type proxyError struct {
	host   string
	status int
}

func (e *proxyError) Error() string { return fmt.Sprintf("the proxy %s answered %d", e.host, e.status) }

// speaksHTTP2 reports whether a connection was agreed to carry HTTP/2.
func speaksHTTP2(conn net.Conn) bool {
	secure, ok := conn.(*tls.Conn)
	return ok && secure.ConnectionState().NegotiatedProtocol == "h2"
}

// countingConn counts the bytes that went out, and can tell that the other side has closed.
type countingConn struct {
	net.Conn
	written atomic.Int64
	shut    atomic.Bool     // nothing goes out any more
	raw     syscall.RawConn // nil when the connection has no socket
	peek    func(fd uintptr)
	stale   bool // what peek found
}

func newCountingConn(conn net.Conn) *countingConn {
	c := &countingConn{Conn: conn}
	c.peek = func(fd uintptr) {
		var one [1]byte
		_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		c.stale = !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	}
	if socket, ok := conn.(syscall.Conn); ok {
		c.raw, _ = socket.SyscallConn()
	}
	return c
}

func (c *countingConn) Write(p []byte) (int, error) {
	if c.shut.Load() {
		return 0, http1.ErrWithheld
	}
	n, err := c.Conn.Write(p)
	c.written.Add(int64(n))
	return n, err
}

// closeIfStale closes an idle connection on which something waits to be read: its end, an alert, or
// a reply to nothing. net/http sees that too, but only when its reading goroutine gets to run, and
// a request written in between is lost. It must not be called while a request is under way.
func (c *countingConn) closeIfStale() {
	if c.raw == nil {
		return
	}
	c.stale = false
	if err := c.raw.Control(c.peek); err != nil || c.stale {
		_ = c.Close()
	}
}

// countingConnOf returns our connection below what the transport has, which may be TLS.
func countingConnOf(conn net.Conn) *countingConn {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	counting, _ := conn.(*countingConn)
	return counting
}
