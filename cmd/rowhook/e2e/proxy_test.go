package e2e_test

import (
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
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
	lost   [2]bool       // directions that pass nothing
	delay  time.Duration // of what is passed either way, and up to as much again
	taps   func() tap    // of new connections; nil for none
}

// tap is shown what the server sends on one connection, in order and in pieces of any size. What it
// returns is passed on instead, and then the connection is cut if it says so. Both may wait for a
// later call, as long as a message is not complete.
type tap func(piece []byte) (pass []byte, cut bool)

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
		var tap tap
		p.mu.Lock()
		p.open[l], l.stalled = true, p.lost
		if p.taps != nil {
			tap = p.taps()
		}
		p.mu.Unlock()
		p.carry(l, server, client, toServer, nil, func(int) {})
		p.carry(l, client, server, toClient, tap, p.spend)
	}
}

// piece is what was read at once, and when it is passed on.
type piece struct {
	bytes []byte
	due   time.Time
	end   error // nothing follows; without an error, the end is orderly
	last  bool
}

// onTheWay is how many pieces a delayed direction holds before the sender's window fills.
const onTheWay = 256

// carry copies one direction of a link. It tells how much it passes on.
func (p *proxy) carry(l *link, dst, src net.Conn, direction int, tap tap, passing func(n int)) {
	pieces := make(chan piece, onTheWay)
	p.group.Go(func() {
		defer close(pieces)
		for {
			buf := make([]byte, 32<<10)
			n, err := src.Read(buf)
			next := piece{bytes: buf[:n], due: time.Now().Add(p.latency()), last: err != nil}
			if err != nil && err != io.EOF {
				next.end = err
			}
			if tap != nil && n > 0 {
				var cut bool
				if next.bytes, cut = tap(next.bytes); cut {
					next.last, next.end = true, net.ErrClosed
				}
			}
			pieces <- next
			if next.last {
				return
			}
		}
	})
	p.group.Go(func() {
		l.pump(dst, pieces, direction, passing)
		l.close() // ends the reader, if it has not ended
		for range pieces {
		}
	})
}

// latency is how long what has been read now is on its way.
func (p *proxy) latency() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.delay == 0 {
		return 0
	}
	return p.delay + rand.N(p.delay)
}

// pump passes on pieces, each when it is due; while its direction is stalled it holds what it has,
// and the sender's window fills.
func (l *link) pump(dst net.Conn, pieces <-chan piece, direction int, passing func(n int)) {
	var timer *time.Timer
	for next := range pieces {
		if wait := time.Until(next.due); wait > 0 {
			if timer == nil {
				timer = time.NewTimer(wait)
				defer timer.Stop()
			} else {
				timer.Reset(wait)
			}
			<-timer.C
		}
		l.mu.Lock()
		for l.stalled[direction] && !l.closed {
			l.free.Wait()
		}
		l.mu.Unlock()
		if len(next.bytes) > 0 {
			passing(len(next.bytes))
			if _, err := dst.Write(next.bytes); err != nil {
				return
			}
		}
		if next.last {
			if next.end != nil {
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

// losing makes one direction of all connections pass nothing, of new ones too, as a route does that
// leads nowhere; healed, what was on its way arrives, as TCP sends it again.
func (p *proxy) losing(direction int, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lost[direction] = on
	for l := range p.open {
		l.mu.Lock()
		l.stalled[direction] = on
		l.free.Broadcast()
		l.mu.Unlock()
	}
}

// delaying makes what is passed either way take a time, and at random up to as much again.
func (p *proxy) delaying(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// tapping has each new connection tapped.
func (p *proxy) tapping(taps func() tap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taps = taps
}

// redirect makes new connections go elsewhere.
func (p *proxy) redirect(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.target = target
}
