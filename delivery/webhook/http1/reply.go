package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http/httputil"
	"slices"
)

// ErrMalformed is a reply that is not HTTP/1.1, or whose head is too large.
var ErrMalformed = errors.New("the reply is not HTTP/1.1")

// Reply is what matters of a reply.
type Reply struct {
	Status int
	// The first header of its name each, nil where there is none.
	Date, RetryAfter, Location []byte
	// Body is the start of the body.
	Body []byte

	head []byte // what the headers are kept in
}

func (r *Reply) reset() { *r = Reply{Body: r.Body[:0], head: r.head[:0]} }

// set keeps a header's value.
func (r *Reply) set(at *[]byte, value []byte) {
	if *at != nil {
		return
	}
	// A reply's head may outgrow the array. What was kept in the old one stays there.
	start := len(r.head)
	r.head = append(r.head, value...)
	*at = r.head[start:len(r.head):len(r.head)]
}

// replyReader reads one reply.
type replyReader struct {
	x    *Exchange
	left int // bytes that the head may still have

	later     bool // HTTP/1.1 or later
	close     bool // Connection: close
	keepAlive bool // Connection: keep-alive
	chunked   bool
	encodings int   // Transfer-Encoding headers
	length    int64 // of the body, -1 when it was not said
}

// head reads up to the end of the reply's head. Informational replies are passed over, but 101 is
// the answer: nobody asked for another protocol.
func (r *replyReader) head() error {
	for {
		*r = replyReader{x: r.x, left: r.left, length: -1}
		if err := r.one(); err != nil {
			return err
		}
		if status := r.x.Reply.Status; status < 100 || status > 199 || status == 101 {
			return nil
		}
		r.x.Reply.reset()
	}
}

// one reads the head of one reply.
func (r *replyReader) one() error {
	line, err := r.line()
	if err != nil {
		return err
	}
	if !r.status(line) {
		return ErrMalformed
	}
	if next, err := r.x.in.Peek(1); err == nil && isBlank(next[0]) {
		return ErrMalformed
	}
	for {
		line, err := r.header()
		switch {
		case err != nil:
			return err
		case len(line) == 0:
			return r.framing()
		case !r.take(line):
			return ErrMalformed
		}
	}
}

// framing settles by what the body's end is told. HTTP/1.0 does not know encodings.
func (r *replyReader) framing() error {
	switch {
	case !r.later:
		r.chunked = false
	case r.encodings > 1, r.encodings == 1 && !r.chunked:
		return ErrMalformed
	}
	return nil
}

// line reads a line without its end. It is valid until the next one is read.
func (r *replyReader) line() ([]byte, error) {
	r.x.line = r.x.line[:0]
	err := r.more()
	return r.x.line, err
}

// more appends a line, without its end, to what was read.
func (r *replyReader) more() error {
	for {
		piece, err := r.x.in.ReadSlice('\n')
		r.x.Replied = r.x.Replied || len(piece) > 0
		if r.left -= len(piece); r.left < 0 {
			return ErrMalformed
		}
		r.x.line = append(r.x.line, piece...)
		switch {
		case err == nil:
			r.x.line = bytes.TrimSuffix(r.x.line[:len(r.x.line)-1], []byte{'\r'})
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && r.x.Replied:
			return io.ErrUnexpectedEOF
		default:
			return err
		}
	}
}

// header reads a header, which may go on in further lines (obs-fold of RFC 9112, 5.2), or the empty
// line, as an empty one.
func (r *replyReader) header() ([]byte, error) {
	line, err := r.line()
	if err != nil || len(line) == 0 {
		return nil, err
	}
	for {
		next, err := r.x.in.Peek(1)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if !isBlank(next[0]) {
			return bytes.TrimRight(r.x.line, " \t"), nil
		}
		r.x.line = append(bytes.TrimRight(r.x.line, " \t"), ' ')
		start := len(r.x.line)
		if err := r.more(); err != nil {
			return nil, err
		}
		text := bytes.Trim(r.x.line[start:], " \t")
		r.x.line = append(r.x.line[:start], text...)
	}
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// status reads a reply's first line.
func (r *replyReader) status(line []byte) bool {
	version, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(version) != len("HTTP/1.1") || !bytes.HasPrefix(version, []byte("HTTP/")) ||
		!isDigit(version[5]) || version[5] == '0' || version[6] != '.' || !isDigit(version[7]) {
		return false
	}
	r.later = version[5] > '1' || version[5] == '1' && version[7] >= '1'
	code, _, _ := bytes.Cut(bytes.TrimLeft(rest, " "), []byte{' '})
	if len(code) != 3 || !isDigit(code[0]) || !isDigit(code[1]) || !isDigit(code[2]) {
		return false
	}
	r.x.Reply.Status = int(code[0]-'0')*100 + int(code[1]-'0')*10 + int(code[2]-'0')
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// take looks at a header. It reports whether it is one.
func (r *replyReader) take(line []byte) bool {
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok || !isName(name) || !isValue(value) {
		return false
	}
	value = bytes.TrimLeft(value, " \t")
	reply := &r.x.Reply
	switch len(name) {
	case len("Date"):
		if equal(name, "date") {
			reply.set(&reply.Date, value)
		}
	case len("Location"):
		if equal(name, "location") {
			reply.set(&reply.Location, value)
		}
	case len("Connection"):
		if equal(name, "connection") {
			r.close = r.close || hasToken(value, "close")
			r.keepAlive = r.keepAlive || hasToken(value, "keep-alive")
		}
	case len("Retry-After"):
		if equal(name, "retry-after") {
			reply.set(&reply.RetryAfter, value)
		}
	case len("Content-Length"):
		if equal(name, "content-length") {
			return r.said(value)
		}
	case len("Transfer-Encoding"):
		if equal(name, "transfer-encoding") {
			r.encodings++
			r.chunked = equal(value, "chunked")
		}
	}
	return true
}

// said takes what a Content-Length header says. Two that differ are an attack or an accident.
func (r *replyReader) said(value []byte) bool {
	value = bytes.Trim(value, " \t")
	n, any := int64(0), false
	for _, c := range value {
		if !isDigit(c) || n > (1<<63-10)/10 {
			return false
		}
		n, any = n*10+int64(c-'0'), true
	}
	if !any || r.length >= 0 && r.length != n {
		return false
	}
	r.length = n
	return true
}

// equal compares without regard to case. The word is in lower case.
func equal(text []byte, word string) bool {
	if len(text) != len(word) {
		return false
	}
	for i, c := range text {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

// hasToken reports whether a list with commas has the word, which is in lower case.
func hasToken(list []byte, word string) bool {
	for len(list) > 0 {
		var one []byte
		one, list, _ = bytes.Cut(list, []byte{','})
		if equal(bytes.Trim(one, " \t"), word) {
			return true
		}
	}
	return false
}

// isName reports whether a header can be called so: a token of RFC 9110. Spaces are let through
// where net/http does, too: such a header is none of those that matter.
func isName(name []byte) bool {
	for _, c := range name {
		if !(isDigit(c) || c|0x20 >= 'a' && c|0x20 <= 'z' || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~ "), c) >= 0) {
			return false
		}
	}
	return len(name) > 0
}

func isValue(value []byte) bool {
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// body reads the reply's body as far as it is wanted. It reports whether the connection can serve
// again.
func (r *replyReader) body() (again bool) {
	status := r.x.Reply.Status
	again = !r.close && (r.later || r.keepAlive)
	switch {
	case status == 101:
		return false
	case status/100 == 1, status == 204, status == 304:
	case r.chunked:
		again = r.stream(httputil.NewChunkedReader(r.x.in)) && r.trailer() && again
	case r.length >= 0:
		again = r.sized() && again
	default:
		r.stream(r.x.in)
		return false
	}
	return again && r.x.in.Buffered() == 0
}

// sized reads a body whose length was said, as far as it is wanted. It reports whether that is all
// of it.
func (r *replyReader) sized() bool {
	if n, err := r.keep(r.x.in, int(min(r.length, int64(r.x.Keep)))); err != nil || int64(n) == r.length {
		return err == nil
	}
	wanted := min(r.length, int64(r.x.Read))
	_, err := r.x.in.Discard(int(wanted) - len(r.x.Reply.Body))
	return err == nil && wanted == r.length
}

// stream reads a body that tells its end itself, as far as it is wanted. It reports whether that is
// all of it.
func (r *replyReader) stream(body io.Reader) bool {
	n, err := r.keep(body, r.x.Keep)
	piece := slices.Grow(r.x.line[:0], readBuffer)[:readBuffer]
	for err == nil && n < r.x.Read {
		var more int
		more, err = body.Read(piece[:min(len(piece), r.x.Read-n)])
		n += more
	}
	return errors.Is(err, io.EOF)
}

// keep reads n bytes of a body's start and keeps them.
func (r *replyReader) keep(body io.Reader, n int) (int, error) {
	reply := &r.x.Reply
	reply.Body = slices.Grow(reply.Body[:0], n)[:n]
	n, err := io.ReadFull(body, reply.Body)
	reply.Body = reply.Body[:n]
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// trailer reads what follows the last chunk. It reports whether that is just the empty line:
// headers behind a body are so rare that they may cost the connection.
func (r *replyReader) trailer() bool {
	end, err := r.x.in.Peek(2)
	if err != nil || string(end) != "\r\n" {
		return false
	}
	_, err = r.x.in.Discard(2)
	return err == nil
}
