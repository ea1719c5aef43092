package main_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// proxy is a TCP proxy whose network can fail.
type proxy struct {
	listener net.Listener
	group    sync.WaitGroup

	mu     sync.Mutex
	target string
	open   map[*link]bool
	refuse bool
	left   int           // bytes from the server until connections are cut
	spent  chan struct{} // closed when they are; nil when none are to be
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn
	mu             sync.Mutex
	free           *sync.Cond
	stalled        [2]bool // to the server, to the client
	closed         bool
}

const (
	toServer = 0
	toClient = 1
)

func newProxy(tb testing.TB, target string) *proxy {
	tb.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	p := &proxy{listener: listener, target: target, open: map[*link]bool{}}
	p.group.Go(p.accept)
	tb.Cleanup(func() {
		_ = listener.Close() // ends accept
		p.cut()
		p.group.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		target, refuse := p.target, p.refuse
		p.mu.Unlock()
		if refuse {
			reset(client)
			continue
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			reset(client)
			continue
		}
		l := &link{client: client, server: server}
		l.free = sync.NewCond(&l.mu)
		p.mu.Lock()
		p.open[l] = true
		p.mu.Unlock()
		p.group.Go(func() { l.pump(server, client, toServer, func(int) {}) })
		p.group.Go(func() { l.pump(client, server, toClient, p.spend) })
	}
}

// pump copies one direction; while that is stalled it holds what it has, and the
// sender's window fills. It tells how much it passes on.
func (l *link) pump(dst, src net.Conn, direction int, passing func(n int)) {
	defer l.close()
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		l.mu.Lock()
		for l.stalled[direction] && !l.closed {
			l.free.Wait()
		}
		l.mu.Unlock()
		if n > 0 {
			passing(n)
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				reset(dst)
			}
			return
		}
	}
}

func (l *link) close() {
	l.mu.Lock()
	l.closed = true
	l.free.Broadcast()
	l.mu.Unlock()
	_ = l.client.Close() // a second close is harmless
	_ = l.server.Close()
}

// reset ends a connection with RST.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// cut ends all connections at once.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.open {
		reset(l.client)
		reset(l.server)
		l.close()
	}
	clear(p.open)
}

// cutAfter cuts all connections once so many bytes more have come from the server, and tells when.
func (p *proxy) cutAfter(bytes int) (done <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.spent = bytes, make(chan struct{})
	return p.spent
}

func (p *proxy) spend(n int) {
	p.mu.Lock()
	p.left -= n
	spent := p.spent
	if spent == nil || p.left > 0 {
		p.mu.Unlock()
		return
	}
	p.spent = nil
	p.mu.Unlock()
	p.cut()
	close(spent)
}

// refusing makes new connections fail, or lets them through again.
func (p *proxy) refusing(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = on
}

// stall stops one direction of all connections that are open now, as a firewall that
// has forgotten them does; free lets it flow again.
func (p *proxy) stall(direction int) (free func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var stalled []*link
	for l := range p.open {
		l.mu.Lock()
		l.stalled[direction] = true
		l.mu.Unlock()
		stalled = append(stalled, l)
	}
	return func() {
		for _, l := range stalled {
			l.mu.Lock()
			l.stalled[direction] = false
			l.free.Broadcast()
			l.mu.Unlock()
		}
	}
}

// redirect makes new connections go elsewhere.
func (p *proxy) redirect(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}
