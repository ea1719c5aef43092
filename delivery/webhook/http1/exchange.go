package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// shortest is less than any request has, and than the TLS record has that carries one. What is
// shorter cannot have been acted on.
const shortest = 64

// Exchange is one request and what came of it. It can be used again, and its buffers are then, too.
// The zero value is ready.
type Exchange struct {
	// Head is the request's: its first line and its headers, each with its CRLF, and the empty
	// line.
	Head []byte
	// Body follows it. The head says how long it is.
	Body []byte
	// Deadline is when the reply must have ended.
	Deadline time.Time
	// Keep is how much of the reply's body is kept, and Read how much is read so that the
	// connection can serve again, in bytes.
	Keep, Read int
	// May, if not nil, is asked once there is a connection, immediately before the first byte goes
	// out: false ends the request with ErrWithheld.
	May func() bool

	// Reply is what came, valid until the next request.
	Reply Reply
	// Progress tells how far a request came that failed.
	Progress

	out  []byte
	in   *bufio.Reader
	line []byte // a header of several lines
}

// Progress is how far a request came.
type Progress struct {
	Connected bool // there was a connection, with its handshake made
	Reused    bool // which had been kept
	Wrote     bool // head and body went out
	Replied   bool // a first byte came back
	written   int
}

// ErrWithheld is of a request that was not to be made any more when its connection was there.
var ErrWithheld = errors.New("the request is not to go out any more")

// Do makes the request. An error says that there is no reply; Progress says how far it came.
func (h *Host) Do(ctx context.Context, x *Exchange) error {
	for {
		x.Progress = Progress{}
		x.Reply.reset()
		c, err := h.connect(ctx, x)
		if err != nil {
			return err
		}
		x.Connected = true
		if x.May != nil && !x.May() {
			h.keep(c)
			return ErrWithheld
		}
		again, err := c.exchange(ctx, x, h.client.MaxHead)
		if again {
			h.keep(c)
		} else {
			c.close()
		}
		if err == nil || ctx.Err() != nil || !x.unsent() {
			return err
		}
	}
}

// unsent reports whether a request that failed had a kept connection and left nothing that could be
// acted on.
func (x *Exchange) unsent() bool { return x.Reused && !x.Replied && x.written < shortest }

// connect returns a connection that was kept, or a new one.
func (h *Host) connect(ctx context.Context, x *Exchange) (*conn, error) {
	if c := h.kept(); c != nil {
		x.Reused = true
		return c, nil
	}
	timed, cancel := context.WithDeadline(ctx, x.Deadline)
	defer cancel()
	socket, err := h.client.Dial(timed, "tcp", h.address)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: socket}
	c.socket.init(socket)
	if h.tls != nil {
		secure := tls.Client(socket, h.tls)
		if err := secure.HandshakeContext(timed); err != nil {
			_ = socket.Close() // it serves nobody
			return nil, err
		}
		c.Conn = secure
	}
	return c, nil
}

// exchange writes the request and reads the reply. It reports whether the connection can serve
// again.
func (c *conn) exchange(ctx context.Context, x *Exchange, maxHead int) (again bool, err error) {
	if err := c.SetDeadline(x.Deadline); err != nil {
		return false, err
	}
	unwatch := context.AfterFunc(ctx, c.stop) // which at once sees a context that has ended
	defer func() { again = unwatch() && again }()
	x.out = append(append(x.out[:0], x.Head...), x.Body...)
	x.written, err = c.Write(x.out)
	x.Wrote = err == nil
	if err != nil && (errors.Is(err, os.ErrDeadlineExceeded) || x.written < shortest) {
		return false, err
	}
	// A write that was refused half-way may have been answered before.
	if x.in == nil {
		x.in = bufio.NewReaderSize(c, readBuffer)
	} else {
		x.in.Reset(c)
	}
	r := replyReader{x: x, left: maxHead}
	if failed := r.head(); failed != nil {
		return false, errors.Join(err, failed)
	}
	again = r.body()
	x.in.Reset(nothing{})
	return again && x.Wrote, nil
}

// readBuffer is enough for the head of most replies.
const readBuffer = 2 << 10

// nothing is read by an exchange without a connection, which so holds none.
type nothing struct{}

func (nothing) Read([]byte) (int, error) { return 0, net.ErrClosed }

var _ io.Reader = nothing{}
