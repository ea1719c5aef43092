package webhook

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"time"

	"rowhook/delivery"
)

// keptBody bounds the copy of a body that is kept for the next attempt, in bytes.
const keptBody = 64 << 10

// attempt is the working space of one request, used again for the next one of the profile once the
// transport is certainly done with it.
type attempt struct {
	sender *Sender
	proto  http.Request // everything but context and body
	signer *signer

	// net/http writes header and body in one piece only when it knows the reader to be in memory,
	// which leaves no way to hear when it is done with the caller's bytes. So it gets a copy.
	body []byte
	zip  *gzip.Writer // nil until it is wanted

	stream  *delivery.Stream // the body instead, see stream.go
	streams []*streamBody    // as often as it was begun

	reader bytes.Reader
	closer io.ReadCloser // of reader

	// The values of the headers that change, in the slices that the header map holds.
	id, timestamp, signature, contentType, gap []string
	extra                                      []string // the names of the last request's own headers
	stamped                                    int64    // what timestamp says

	trace     httptrace.ClientTrace
	conn      *countingConn
	reused    bool
	before    int64 // bytes that had gone out on conn before this request
	firstByte atomic.Bool
	wrote     atomic.Bool // the transport is done with header and body

	head [keptReply]byte
}

func (s *Sender) newAttempt() *attempt {
	a := &attempt{sender: s}
	a.closer = io.NopCloser(&a.reader)
	a.id, a.timestamp, a.signature = make([]string, 1), make([]string, 1), make([]string, 1)
	a.contentType, a.gap = make([]string, 1), make([]string, 1)
	a.signer = newSigner(s.signature, s.keys)
	header := s.fixed.Clone()
	header["Webhook-Id"] = a.id
	header["Webhook-Timestamp"] = a.timestamp
	if len(s.keys) > 0 {
		name := standardHeader
		if s.signature != nil {
			name = s.signature.Header
		}
		header[name] = a.signature
	}
	header["Content-Type"] = a.contentType
	if s.gzip {
		setHeader(header, "Content-Encoding", "gzip", "")
	}
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
		WroteRequest:         func(httptrace.WroteRequestInfo) { a.wrote.Store(true) },
		GotFirstResponseByte: func() { a.firstByte.Store(true) },
	}
	return a
}

// prepare fills in what is this request's own. It reports false when no key may sign any more, and
// the error of a body that cannot be written.
func (a *attempt) prepare(req *delivery.Request, now time.Time) (ok bool, err error) {
	a.id[0] = req.ID
	a.contentType[0] = req.Head.ContentType
	for _, name := range a.extra {
		delete(a.proto.Header, name)
	}
	a.extra = a.extra[:0]
	for _, h := range req.Head.Header {
		name := http.CanonicalHeaderKey(h.Name)
		a.proto.Header[name] = append(a.proto.Header[name], h.Value)
		a.extra = append(a.extra, name)
	}
	if unix := now.Unix(); unix != a.stamped {
		a.stamped = unix
		a.timestamp[0] = strconv.FormatInt(unix, 10)
	}
	delete(a.proto.Header, "Rowhook-Gap")
	if req.Gap != "" {
		a.gap[0] = req.Gap
		a.proto.Header["Rowhook-Gap"] = a.gap
	}
	if a.stream = req.Stream; a.stream == nil {
		a.fill(req.Body)
		a.proto.ContentLength = int64(len(a.body))
	} else {
		a.body, a.proto.ContentLength = a.body[:0], a.stream.Size
		if a.sender.gzip {
			a.proto.ContentLength = -1
		}
	}
	if len(a.sender.keys) == 0 {
		return true, nil
	}
	a.signature[0], ok, err = a.signer.sign(a.id[0], a.timestamp[0], req.Body, a.stream, now)
	return ok, err
}

// fill takes a copy of the body, compressed where the profile wants it.
func (a *attempt) fill(body []byte) {
	if !a.sender.gzip {
		a.body = append(a.body[:0], body...)
		return
	}
	buf := bytes.NewBuffer(a.body[:0])
	if a.zip == nil {
		a.zip = gzip.NewWriter(buf)
	} else {
		a.zip.Reset(buf)
	}
	_, _ = a.zip.Write(body) // a bytes.Buffer takes everything
	_ = a.zip.Close()
	a.body = buf.Bytes()
}

// authorized sends the request with an access token, where the profile has such. A token that the
// endpoint refuses is replaced once.
func (a *attempt) authorized(ctx context.Context, transport http.RoundTripper) (*http.Response, error) {
	tokens := a.sender.tokens
	if tokens == nil {
		return a.roundTrip(ctx, transport)
	}
	refused := ""
	for {
		header, err := tokens.header(ctx, refused)
		if err != nil {
			return nil, err
		}
		a.proto.Header["Authorization"] = []string{header}
		resp, err := a.roundTrip(ctx, transport)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || refused != "" || !a.wrote.Load() {
			return resp, err
		}
		// The connection is used again if the rest is short.
		_, _ = io.CopyN(io.Discard, resp.Body, maxReplyRest)
		resp.Body.Close()
		refused = header
	}
}

// maxReplyRest is how much is read of a reply that nobody looks at.
const maxReplyRest = 4 << 10

// roundTrip sends the request. A kept connection that turns out to be closed is replaced by another
// as long as nothing of the request went out.
func (a *attempt) roundTrip(ctx context.Context, transport http.RoundTripper) (*http.Response, error) {
	trace := &a.trace
	if httptrace.ContextClientTrace(ctx) != nil {
		own := a.trace // httptrace chains the caller's trace into it
		trace = &own
	}
	ctx = httptrace.WithClientTrace(ctx, trace)
	a.reader.Reset(a.body)
	a.proto.Body = a.closer
	switch {
	case a.stream != nil:
		a.proto.Body = a.open()
	case len(a.body) == 0:
		a.proto.Body = http.NoBody
	}
	for {
		a.conn, a.reused = nil, false
		a.firstByte.Store(false)
		a.wrote.Store(false)
		resp, err := transport.RoundTrip(a.proto.WithContext(ctx))
		if err == nil || !a.unsent() || ctx.Err() != nil {
			return resp, err
		}
		a.proto.Body, _ = a.rewind()
	}
}

// done reports whether the transport has let go of the attempt, so that it can be used again.
func (a *attempt) done() bool { return a.wrote.Load() && cap(a.body) <= keptBody }

// gotConn notes which connection the request goes out on.
func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	a.wrote.Store(false)
	a.conn = countingConnOf(info.Conn)
	a.reused = info.Reused
	if a.conn == nil || a.sender.http2 && speaksHTTP2(info.Conn) {
		a.reused = false // others are under way on it: what waits to be read tells nothing
		return
	}
	a.before = a.conn.written.Load()
	if a.reused {
		a.conn.closeIfStale()
	}
}

// unsent reports whether a failed request had a kept connection and wrote nothing that a receiver
// could act on: less than the shortest request, or than one TLS record that could hold it (the
// closing alert of TLS is about 30 bytes).
func (a *attempt) unsent() bool {
	const shortestRequest = 64
	return a.reused && a.conn != nil && !a.firstByte.Load() && a.conn.written.Load()-a.before < shortestRequest
}

// rewind gives the transport the body from its start again. The reader before may still be looked
// at.
func (a *attempt) rewind() (io.ReadCloser, error) {
	if a.stream != nil {
		return a.open(), nil
	}
	return io.NopCloser(bytes.NewReader(a.body)), nil
}
