package mysql

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
)

// pieceMost is how much of a packet comes in one piece; what is longer is continued in the next.
const pieceMost = 1<<24 - 1

// packets reads a server's packets one after the other: a length of three bytes, a number, and the
// content. It is an [io.Reader] of the packet that was begun.
type packets struct {
	in     *bufio.Reader
	number byte
	left   int  // of the piece
	more   bool // the piece is continued
}

// begin goes to the next packet. What is left of the last one would be misread, so it must have
// been read whole.
func (p *packets) begin() error {
	if p.left == 0 && p.more { // what is a multiple of whole pieces ends with an empty one
		if err := p.piece(); err != nil {
			return err
		}
	}
	if !p.whole() {
		return &streamError{what: fmt.Sprintf("%d bytes behind an event", p.left), where: torn}
	}
	return p.piece()
}

func (p *packets) piece() error {
	head, err := p.in.Peek(4)
	if err != nil {
		return cutShort(err)
	}
	if head[3] != p.number {
		return &streamError{what: fmt.Sprintf("packet %d came, %d was expected", head[3], p.number), where: torn}
	}
	p.number++
	p.left = int(littleEndian(head[:3]))
	p.more = p.left == pieceMost
	_, err = p.in.Discard(len(head)) // which has just been there
	return err
}

// whole reports whether the packet has been read to its end.
func (p *packets) whole() bool { return p.left == 0 && !p.more }

// Read reads from the packet; its end is [io.EOF].
func (p *packets) Read(b []byte) (int, error) {
	for p.left == 0 {
		if !p.more {
			return 0, io.EOF
		}
		if err := p.piece(); err != nil {
			return 0, err
		}
	}
	n, err := p.in.Read(b[:min(len(b), p.left)])
	p.left -= n
	return n, cutShort(err)
}

// fill reads as many bytes of the packet as b holds.
func (p *packets) fill(b []byte) error {
	_, err := io.ReadFull(p, b)
	return tooEarly(err)
}

// tooEarly tells of a packet that ended before what it was to hold.
func tooEarly(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &streamError{what: "a packet ends too early", where: torn}
	}
	return err
}

// claimMost is how large an event may say it is to be given the memory at once; a larger one gets
// it as it comes.
const claimMost = 16 << 20

// readBody reads size bytes into buf, or into a larger one. A buffer of up to keepMost is returned
// to be used again.
func readBody(in io.Reader, buf []byte, size int) (body, kept []byte, err error) {
	if size <= cap(buf) {
		_, err = io.ReadFull(in, buf[:size])
		return buf[:size], buf, err
	}
	for len(body) < size && err == nil {
		at := len(body)
		body = slices.Grow(body, min(size-at, max(at, claimMost)))[:min(size, at+max(at, claimMost))]
		_, err = io.ReadFull(in, body[at:])
	}
	if size <= keepMost {
		buf = body
	}
	return body, buf, err
}

func (p *packets) byte() (byte, error) {
	if p.left > 0 {
		b, err := p.in.ReadByte()
		if err != nil {
			return 0, tooEarly(cutShort(err))
		}
		p.left--
		return b, nil
	}
	var b [1]byte
	err := p.fill(b[:])
	return b[0], err
}

// errCut says that a connection ended inside what it was bringing.
var errCut = errors.New("the connection was cut")

// cutShort tells the end of a connection from the end of a packet.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errCut
	}
	return err
}
