package postgres

import (
	"bufio"
	"encoding/binary"
	"io"

	"rowhook/capture"
)

// frames stands between a connection and the library that reads the protocol's messages, which
// reads each whole into memory of its own. It passes them on as they come, but for the large ones
// of a COPY: in the place of such a message the library gets a small one of copyLarge, and
// [frames.Read] nothing more before the body has been taken with [frames.body].
type frames struct {
	in    *bufio.Reader
	left  int    // bytes of the message that is being passed on
	mark  []byte // what is left of the small message that stands for a large one
	large int64  // bytes of the large message's body that have not been taken
}

const (
	// frameHead is a message's type and the length of the rest, which counts itself.
	frameHead = 5
	frameSize = 4
	// copyLarge is what the stand-in for a large message holds. No server sends it.
	copyLarge = 'L'
	copyData  = 'd'
)

func newFrames(in io.Reader) *frames { return &frames{in: bufio.NewReaderSize(in, coalesceBuffer)} }

// Read passes messages on, as many as are at hand. After an error of the connection it may be
// called again.
func (f *frames) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case len(f.mark) > 0:
			k := copy(p[n:], f.mark)
			f.mark = f.mark[k:]
			n += k
			if len(f.mark) == 0 {
				return n, nil
			}
		case f.large > 0:
			if n == 0 {
				return 0, &streamError{what: "a large message has not been taken"}
			}
			return n, nil
		case f.left == 0:
			if n > 0 && f.in.Buffered() < frameHead {
				return n, nil
			}
			if err := f.begin(); err != nil {
				return n, err
			}
		default:
			most := min(f.left, len(p)-n)
			if n > 0 {
				if most = min(most, f.in.Buffered()); most == 0 {
					return n, nil
				}
			}
			k, err := f.in.Read(p[n : n+most])
			f.left -= k
			n += k
			if err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// begin looks at the next message's head.
func (f *frames) begin() error {
	head, err := f.in.Peek(frameHead)
	if err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint32(head[1:]))
	if head[0] != copyData || size <= capture.LargeChange {
		f.left = 1 + int(max(size, frameSize)) // what is shorter than that is the library's to complain of
		return nil
	}
	if _, err := f.in.Discard(frameHead); err != nil {
		return err
	}
	f.large = size - frameSize
	f.mark = []byte{copyData, 0, 0, 0, frameSize + 1, copyLarge}
	return nil
}

// body reads from the body of the large message; its end is [io.EOF].
func (f *frames) body(p []byte) (int, error) {
	if f.large == 0 {
		return 0, io.EOF
	}
	n, err := f.in.Read(p[:min(int64(len(p)), f.large)])
	f.large -= int64(n)
	return n, err
}
