package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

const (
	testKeep = 16
	testRead = 64
)

// readReply reads a reply as an exchange does.
func readReply(reply []byte) (x *Exchange, again bool, err error) {
	x = &Exchange{Keep: testKeep, Read: testRead, in: bufio.NewReaderSize(bytes.NewReader(reply), readBuffer)}
	r := replyReader{x: x, left: 1 << 30}
	if err := r.head(); err != nil {
		return x, false, err
	}
	return x, r.body(), nil
}

// peerReply reads it by net/http.
func peerReply(reply []byte) (resp *http.Response, start []byte, again bool, err error) {
	in := bufio.NewReader(bytes.NewReader(reply))
	for {
		if resp, err = http.ReadResponse(in, &http.Request{Method: http.MethodPost}); err != nil {
			return nil, nil, false, err
		}
		if resp.StatusCode < 100 || resp.StatusCode > 199 || resp.StatusCode == 101 {
			break
		}
	}
	if resp.StatusCode == 101 {
		return resp, nil, false, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, testRead+1))
	again = err == nil && len(body) <= testRead && !resp.Close && in.Buffered() == 0
	return resp, body[:min(len(body), testKeep)], again, nil
}

var replies = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 204\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2;a=b\r\nok\r\n0\r\nTrailer: x\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.0 200 OK\r\n\r\nuntil the end",
	"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
	"HTTP/1.1 302 Found\nLocation: /a\n b\nDate: Sun, 06 Nov 1994 08:49:37 GMT\nRetry-After: 3\nContent-Length: 0\n\n",
	"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + strings.Repeat("x", 200),
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 200\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
	"HTTP/1.1 200 OK\r\n Content-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent Length: 2\r\nX: a\r\n\r\nok",
	"HTTP/1.1 200 OK\r\n: 2\r\n\r\nok",
	"HTTP/1.1 999 ?\r\nContent-Length: 0\r\n\r\n",
	"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1  200  OK\r\nContent-Length: 0\r\n\r\n",
	"SSH-2.0-OpenSSH_9.2\r\n",
	"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 9<<10) + "\r\nLocation: /a\r\nContent-Length: 1\r\n\r\no",
}

// FuzzReply has net/http read the same bytes. Where it sees a reply, so must we, with the same
// status, headers and start of the body; and a connection that it gives up is never used again.
func FuzzReply(f *testing.F) {
	for _, reply := range replies {
		f.Add([]byte(reply))
	}
	f.Fuzz(func(t *testing.T, reply []byte) {
		x, again, err := readReply(reply)
		resp, start, peer, peerErr := peerReply(reply)
		if peerErr == nil && err != nil && !odd(reply) {
			t.Fatalf("%q is no reply (%v); net/http: %d", reply, err, resp.StatusCode)
		}
		if peerErr != nil && err == nil {
			t.Fatalf("%q is a reply of %d; net/http: %v", reply, x.Reply.Status, peerErr)
		}
		if err != nil {
			if errors.Is(err, io.EOF) && len(reply) > 0 {
				t.Fatalf("%q: %v", reply, err)
			}
			return
		}
		if x.Reply.Status != resp.StatusCode {
			t.Fatalf("%q has status %d; net/http: %d", reply, x.Reply.Status, resp.StatusCode)
		}
		for name, value := range map[string][]byte{"Date": x.Reply.Date, "Retry-After": x.Reply.RetryAfter, "Location": x.Reply.Location} {
			if string(value) != resp.Header.Get(name) {
				t.Fatalf("%q has %s %q; net/http: %q", reply, name, value, resp.Header.Get(name))
			}
		}
		if !bytes.Equal(x.Reply.Body, start) {
			t.Fatalf("%q has body %q; net/http: %q", reply, x.Reply.Body, start)
		}
		if again && !peer {
			t.Fatalf("%q leaves a connection that net/http gives up", reply)
		}
	})
}

// odd are replies that net/http takes and this package does not: a signed status, a version below
// 1.0.
func odd(reply []byte) bool {
	for line := range bytes.Lines(reply) {
		version, rest, _ := bytes.Cut(line, []byte{' '})
		if rest = bytes.TrimLeft(rest, " "); bytes.HasPrefix(version, []byte("HTTP/0.")) ||
			bytes.HasPrefix(version, []byte("HTTP/")) && len(rest) > 0 && (rest[0] == '+' || rest[0] == '-') {
			return true
		}
	}
	return false
}
