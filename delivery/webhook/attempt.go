package webhook

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"rowhook/delivery"
)

// attempt is the working space of one request, used again for the next one of the profile once the transport
// is certainly done with it.
type attempt struct {
	sender *Sender
	proto  http.Request // everything but context and body
	signer *signer
	body   *requestBody

	// The values of the headers that change, in the slices that the header map holds.
	id, timestamp, signature, contentType, gap []string
	stamped                                    int64 // what timestamp says

	trace     httptrace.ClientTrace
	conn      *countingConn
	reused    bool
	before    int64 // bytes that had gone out on conn before this request
	firstByte atomic.Bool
	bodySent  bool // all of the body was handed to the connection

	head [keptReply]byte
}

func (s *Sender) newAttempt() *attempt {
	a := &attempt{sender: s, body: new(requestBody)}
	a.id, a.timestamp, a.signature = make([]string, 1), make([]string, 1), make([]string, 1)
	a.contentType, a.gap = make([]string, 1), make([]string, 1)
	a.signer = newSigner(s.keys)
	header := s.fixed.Clone()
	header["Webhook-Id"] = a.id
	header["Webhook-Timestamp"] = a.timestamp
	if len(s.keys) > 0 {
		header["Webhook-Signature"] = a.signature
	}
	header["Content-Type"] = a.contentType
	a.proto = http.Request{
		Method:     http.MethodPost,
		URL:        s.url,
		Host:       s.url.Host,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     header,
		GetBody:    a.rewind,
	}
	a.trace = httptrace.ClientTrace{
		GotConn:              a.gotConn,
		GotFirstResponseByte: func() { a.firstByte.Store(true) },
	}
	return a
}

// prepare fills in what is this request's own. It reports false when no key may sign any more.
func (a *attempt) prepare(req *delivery.Request, now time.Time) bool {
	a.id[0] = req.ID
	a.contentType[0] = req.ContentType
	if unix := now.Unix(); unix != a.stamped {
		a.stamped = unix
		a.timestamp[0] = strconv.FormatInt(unix, 10)
	}
	delete(a.proto.Header, "Rowhook-Gap")
	if req.Gap != "" {
		a.gap[0] = req.Gap
		a.proto.Header["Rowhook-Gap"] = a.gap
	}
	a.proto.ContentLength = int64(len(req.Body))
	a.body.set(req.Body)
	a.proto.Body = a.body
	if len(req.Body) == 0 {
		a.proto.Body = http.NoBody
		_ = a.body.Close()
	}
	if len(a.sender.keys) == 0 {
		return true
	}
	var ok bool
	a.signature[0], ok = a.signer.sign(req.ID, a.timestamp[0], req.Body, now)
	return ok
}

// roundTrip sends the request. A kept connection that turns out to be closed is replaced by another as long as
// nothing of the request went out.
func (a *attempt) roundTrip(ctx context.Context, transport http.RoundTripper) (*http.Response, error) {
	trace := &a.trace
	if httptrace.ContextClientTrace(ctx) != nil {
		own := a.trace // httptrace chains the caller's trace into it
		trace = &own
	}
	ctx = httptrace.WithClientTrace(ctx, trace)
	for {
		a.conn, a.reused = nil, false
		a.firstByte.Store(false)
		resp, err := transport.RoundTrip(a.proto.WithContext(ctx))
		if err == nil || !a.unsent() || ctx.Err() != nil {
			return resp, err
		}
		if _, err := a.rewind(); err != nil {
			return nil, err
		}
		a.proto.Body = a.body
	}
}

// gotConn notes which connection the request goes out on.
func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	a.conn = countingConnOf(info.Conn)
	a.reused = info.Reused
	if a.conn == nil {
		return
	}
	a.before = a.conn.written.Load()
	if a.reused {
		a.conn.closeIfStale()
	}
}

// unsent reports whether a failed request had a kept connection and wrote nothing that a
// receiver could act on: less than the shortest request, or than one TLS record that could hold it (the
// closing alert of TLS is about 30 bytes).
func (a *attempt) unsent() bool {
	const shortestRequest = 64
	return a.reused && a.conn != nil && !a.firstByte.Load() && a.conn.written.Load()-a.before < shortestRequest
}

// rewind gives the transport the body from its start again.
func (a *attempt) rewind() (io.ReadCloser, error) {
	fresh := new(requestBody)
	if !a.body.restart(fresh) {
		return nil, errDetached
	}
	a.body = fresh
	return fresh, nil
}

var errDetached = errors.New("the attempt is over")

// requestBody is a request's body. The transport may read it in a goroutine that outlives the attempt, so
// it is cut off from the caller's bytes when the attempt ends.
type requestBody struct {
	mu       sync.Mutex
	whole    []byte
	at       int
	closed   bool // the transport is done with it
	detached bool
}

func (b *requestBody) set(body []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.whole, b.at, b.closed, b.detached = body, 0, false, false
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.detached:
		return 0, errDetached
	case b.at >= len(b.whole):
		return 0, io.EOF
	}
	n := copy(p, b.whole[b.at:])
	b.at += n
	return n, nil
}

func (b *requestBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// sent reports whether all of the body was handed to the connection.
func (b *requestBody) sent() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.at >= len(b.whole)
}

// restart makes fresh read the same bytes from the start.
func (b *requestBody) restart(fresh *requestBody) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh.whole = b.whole
	return !b.detached
}

// detach ends the attempt for the body, and reports whether the transport is done with it and with
// the request's headers, which it writes before.
func (b *requestBody) detach() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.whole, b.detached = nil, true
	return b.closed
}
