package http1

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"
)

// Client holds connections to hosts. Its fields must not change once it is used. It is safe for
// concurrent use.
type Client struct {
	// Dial connects to an address, host:port. Required.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// TLS is how hosts are spoken to that want it. An empty ServerName stands for the host's own.
	TLS *tls.Config
	// IdleTimeout is how long a connection without a request is kept. Zero keeps none.
	IdleTimeout time.Duration
	// MaxHead bounds the head of a reply, with those of informational replies before it, in bytes.
	MaxHead int

	mu    sync.Mutex
	hosts map[string]*Host
}

// Host is an endpoint of connections. It is safe for concurrent use.
type Host struct {
	client  *Client
	address string
	tls     *tls.Config // nil for none

	mu    sync.Mutex
	idle  []*conn // the one that was used last is the last
	sweep *time.Timer
	armed bool
}

// Host returns the host at an address, host:port. With a name its connections are encrypted, and
// the certificate must be that name's. Equal arguments give the same host.
func (c *Client) Host(address, name string) *Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := address + " " + name
	if h := c.hosts[key]; h != nil {
		return h
	}
	h := &Host{client: c, address: address}
	if name != "" {
		h.tls = c.TLS.Clone()
		h.tls.NextProtos = []string{"http/1.1"}
		if h.tls.ServerName == "" {
			h.tls.ServerName = name
		}
	}
	if c.hosts == nil {
		c.hosts = map[string]*Host{}
	}
	c.hosts[key] = h
	return h
}

// CloseIdle closes the connections that no request uses.
func (c *Client) CloseIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, h := range c.hosts {
		h.closeIdle(time.Time{})
	}
}

// closeIdle closes the connections that have been idle since before a time, or all of them when it
// is zero.
func (h *Host) closeIdle(before time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for n < len(h.idle) && (before.IsZero() || !h.idle[n].since.After(before)) {
		h.idle[n].close()
		n++
	}
	rest := copy(h.idle, h.idle[n:])
	clear(h.idle[rest:])
	h.idle = h.idle[:rest]
	if rest == 0 && h.sweep != nil {
		h.armed = false
		h.sweep.Stop()
	}
}

// sweepIdle is what the timer does.
func (h *Host) sweepIdle() {
	h.closeIdle(time.Now().Add(-h.client.IdleTimeout))
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.idle) > 0 {
		h.sweep.Reset(h.client.IdleTimeout - time.Since(h.idle[0].since))
	}
}

// kept returns a connection that was kept and can serve, or nil.
func (h *Host) kept() *conn {
	for {
		h.mu.Lock()
		last := len(h.idle) - 1
		if last < 0 {
			h.mu.Unlock()
			return nil
		}
		c := h.idle[last]
		h.idle[last] = nil
		h.idle = h.idle[:last]
		h.mu.Unlock()
		if !c.stale() {
			return c
		}
		c.close()
	}
}

// keep holds on to a connection whose reply has ended.
func (h *Host) keep(c *conn) {
	if h.client.IdleTimeout <= 0 {
		c.close()
		return
	}
	c.since = time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle = append(h.idle, c)
	switch {
	case h.armed:
	case h.sweep == nil:
		h.armed, h.sweep = true, time.AfterFunc(h.client.IdleTimeout, h.sweepIdle)
	default:
		h.armed = true
		h.sweep.Reset(h.client.IdleTimeout)
	}
}

// conn is a connection. One request uses it at a time.
type conn struct {
	net.Conn           // what requests go through
	socket   peeker    // below it
	since    time.Time // it is idle
}

// stop breaks off reads and writes.
func (c *conn) stop() { _ = c.SetDeadline(time.Unix(1, 0)) }

func (c *conn) close() { _ = c.Close() } // nobody waits for anything of it

// stale reports whether something waits to be read on an idle connection: its end, an alert, or a
// reply to nothing.
func (c *conn) stale() bool { return c.socket.readable() }
