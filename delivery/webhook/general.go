package webhook

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"rowhook/delivery"
	"rowhook/delivery/webhook/http1"
)

// general is the way by net/http, which can do everything: bodies that are large or made while they
// are sent, proxies, HTTP/2, hosts in other scripts, challenges.
type general struct {
	sender *Sender
	stream *delivery.Stream // of the request at hand
	resp   *http.Response

	// net/http writes header and body in one piece only when it knows the reader to be in memory,
	// which leaves no way to hear when it is done with the caller's bytes. So it gets a copy.
	body    []byte
	reader  bytes.Reader
	streams []*streamBody // as often as the stream was begun
	may     func() bool   // see delivery.Request; nil for always

	trace     httptrace.ClientTrace
	conn      *countingConn
	reused    bool
	before    int64 // bytes that had gone out on conn before this request
	firstByte atomic.Bool
	wrote     atomic.Bool        // the transport is done with header and body
	withheld  atomic.Bool        // the request was not to be made any more when it had a connection
	cancel    context.CancelFunc // ends the request at hand; nil where it may always be made

	head [keptReply]byte
}

func newGeneral(s *Sender) *general {
	g := &general{sender: s}
	g.trace = httptrace.ClientTrace{
		GotConn:              g.gotConn,
		WroteRequest:         func(httptrace.WroteRequestInfo) { g.wrote.Store(true) },
		GotFirstResponseByte: func() { g.firstByte.Store(true) },
	}
	return g
}

func (g *general) once(ctx context.Context, a *attempt) (status int, err error) {
	header := g.sender.fixed.Clone()
	a.headers(func(name, value string) {
		if !isToken(name) || !isHeaderValue(value) {
			err = errHeader
		}
		header[name] = append(header[name], value)
	})
	if err != nil {
		return 0, err
	}
	if a.token != "" {
		header["Authorization"] = []string{a.token}
	}
	if g.sender.gzip {
		setHeader(header, "Content-Encoding", "gzip", "")
	}
	length := int64(len(a.body))
	if g.stream = a.stream; g.stream != nil {
		length = g.stream.Size
		if g.sender.gzip {
			length = -1
		}
	}
	g.body, g.may = append(g.body[:0], a.body...), a.may
	defer func() { g.may = nil }()
	return g.request(ctx, &http.Request{
		Method:        http.MethodPost,
		URL:           g.sender.url,
		Header:        header,
		ContentLength: length,
	})
}

// request makes a request with the body that was set. A kept connection that turns out to be closed
// is replaced by another as long as nothing of the request went out.
func (g *general) request(ctx context.Context, req *http.Request) (status int, err error) {
	req.Host, req.Proto, req.ProtoMajor, req.ProtoMinor = req.URL.Host, "HTTP/1.1", 1, 1
	req.GetBody = g.rewind
	g.reader.Reset(g.body)
	req.Body = io.NopCloser(&g.reader)
	switch {
	case g.stream != nil:
		req.Body = g.open()
	case len(g.body) == 0:
		req.Body = http.NoBody
	}
	g.withheld.Store(false)
	if g.may != nil {
		ctx, g.cancel = context.WithCancel(ctx)
	}
	ctx = httptrace.WithClientTrace(ctx, &g.trace)
	for {
		g.conn, g.reused = nil, false
		g.firstByte.Store(false)
		g.wrote.Store(false)
		g.resp, err = g.sender.transport.RoundTrip(req.WithContext(ctx)) //nolint:bodyclose // answer closes it
		if err == nil {
			return g.resp.StatusCode, nil
		}
		if g.withheld.Load() {
			return 0, http1.ErrWithheld
		}
		if !g.unsent() || ctx.Err() != nil {
			return 0, err
		}
		req.Body, _ = g.rewind()
	}
}

func (g *general) answer() answer {
	h := g.resp.Header
	return answer{[]byte(h.Get("Date")), []byte(h.Get("Retry-After")), []byte(h.Get("Location")), drain(g.resp.Body, g.head[:])}
}

// drain reads a reply's body as far as it is read at all, and returns its start. How the body ends
// changes nothing: the status was the answer.
func drain(body io.ReadCloser, head []byte) []byte {
	defer body.Close()
	if body == http.NoBody {
		return nil
	}
	n, err := io.ReadFull(body, head)
	if err == nil {
		_, _ = io.CopyN(io.Discard, body, readReply-int64(n))
	}
	return head[:n]
}

func (g *general) progress() progress {
	return progress{connected: g.conn != nil, wrote: g.wrote.Load(), replied: g.firstByte.Load()}
}

func (g *general) done() bool { return g.stream == nil && g.wrote.Load() && cap(g.body) <= keptBody }

// gotConn notes which connection the request goes out on.
func (g *general) gotConn(info httptrace.GotConnInfo) {
	g.wrote.Store(false)
	g.conn = countingConnOf(info.Conn)
	g.reused = info.Reused
	withheld := g.may != nil && !g.may()
	if withheld {
		g.withheld.Store(true)
		defer g.cancel()
	}
	if g.conn == nil || g.sender.http2 && speaksHTTP2(info.Conn) {
		g.reused = false // others are under way on it: what waits to be read tells nothing
		return
	}
	if withheld { // net/http would write although the request has ended
		g.conn.shut.Store(true)
	}
	g.before = g.conn.written.Load()
	if g.reused {
		g.conn.closeIfStale()
	}
}

// unsent reports whether a failed request had a kept connection and wrote nothing that a receiver
// could act on: less than the shortest request, or than one TLS record that could hold it (the
// closing alert of TLS is about 30 bytes).
func (g *general) unsent() bool {
	const shortestRequest = 64
	return g.reused && g.conn != nil && !g.firstByte.Load() && g.conn.written.Load()-g.before < shortestRequest
}

// rewind gives the transport the body from its start again. The reader before may still be looked
// at.
func (g *general) rewind() (io.ReadCloser, error) {
	if g.stream != nil {
		return g.open(), nil
	}
	return io.NopCloser(bytes.NewReader(g.body)), nil
}

// open returns a reader of the streamed body from its start.
func (g *general) open() io.ReadCloser {
	b := openStream(g.stream, g.sender.gzip)
	g.streams = append(g.streams, b)
	return b
}

// endStreams lets go of a streamed body.
func (g *general) endStreams() {
	for _, b := range g.streams {
		b.end()
	}
	g.stream, g.streams = nil, nil
}
