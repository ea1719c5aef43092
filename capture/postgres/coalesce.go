package postgres

import (
	"net"
	"time"
)

// A walsender sends each message by itself, so on small messages one read, wake-up and
// send per message costs more than everything else. coalescingConn lets messages gather for a
// moment before it reads, but only while they keep coming: where transactions are
// milliseconds apart it never waits.
type coalescingConn struct {
	net.Conn
	buf  []byte
	r, w int // unread bytes are buf[r:w]
	// reads are the times of the last reads, the oldest at next.
	reads [coalesceReads]time.Time
	next  int
	large bool // the last read brought much
	worth bool // the last read was worth its pause
	pause func()
	now   func() time.Time
	// rest, if not nil, is called when everything read has been taken, before more is read.
	rest func()
}

const (
	coalesceBuffer = 64 << 10
	coalesceWait   = 200 * time.Microsecond
	// coalesceReads reads within coalesceSpan make a rush. One small transaction
	// alone takes fewer.
	coalesceReads = 16
	coalesceSpan  = 5 * time.Millisecond
	// After a read of coalesceLarge the next is not delayed; a delayed read of
	// coalesceWorth is followed by another delayed one.
	coalesceLarge = 16 << 10
	coalesceWorth = 1 << 10
)

func newCoalescingConn(conn net.Conn) *coalescingConn {
	return &coalescingConn{Conn: conn, buf: make([]byte, coalesceBuffer), pause: pauseShortly, now: time.Now}
}

func (c *coalescingConn) Read(p []byte) (int, error) {
	if c.r < c.w {
		return c.take(p), nil
	}
	n, err := c.fill()
	c.r, c.w = 0, n
	return c.take(p), err
}

func (c *coalescingConn) take(p []byte) int {
	n := copy(p, c.buf[c.r:c.w])
	c.r += n
	return n
}

func (c *coalescingConn) fill() (int, error) {
	if c.rest != nil {
		c.rest()
	}
	pause := !c.large && (c.worth || c.rushing())
	if pause {
		c.pause()
	}
	n, err := c.Conn.Read(c.buf)
	c.large = n >= coalesceLarge
	c.worth = pause && n >= coalesceWorth
	c.reads[c.next] = c.now()
	c.next = (c.next + 1) % coalesceReads
	return n, err
}

// rushing reports whether the last reads were small and close together.
func (c *coalescingConn) rushing() bool {
	oldest, newest := c.reads[c.next], c.reads[(c.next+coalesceReads-1)%coalesceReads]
	return !oldest.IsZero() && newest.Sub(oldest) < coalesceSpan && c.now().Sub(newest) < coalesceWait
}

// coalescingOf finds the coalescing connection below TLS; nil when there is none.
func coalescingOf(conn net.Conn) *coalescingConn {
	for {
		switch c := conn.(type) {
		case *coalescingConn:
			return c
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			return nil
		}
	}
}
