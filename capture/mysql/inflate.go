package mysql

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/go-mysql-org/go-mysql/replication"
	"github.com/klauspost/compress/zstd"

	"rowhook/capture"
)

// inflateMost bounds what a compressed value of MariaDB may become.
const inflateMost = 1 << 30

// errInflates says that a compressed event becomes too large to be held.
var errInflates = errors.New("a compressed event of many megabytes")

// inflate undoes MariaDB's compression of an event's body: a byte that says how many bytes
// hold the length, the length, and a zlib stream. What becomes of it is at most keepMost.
func inflate(b []byte) ([]byte, error) {
	r := reader{b: b}
	head := r.byte()
	length := bigEndian(r.take(int(head & 7)))
	if r.fail || head>>4 != 8 {
		return nil, errors.New("malformed: compressed event")
	}
	if length > keepMost {
		return nil, errInflates
	}
	z, err := zlib.NewReader(bytes.NewReader(r.b))
	if err != nil {
		return nil, fmt.Errorf("malformed: compressed event: %w", err)
	}
	defer z.Close()
	out := bytes.NewBuffer(make([]byte, 0, length))
	n, err := io.Copy(out, io.LimitReader(z, int64(length)+1))
	if err != nil || uint64(n) != length {
		return nil, errors.New("malformed: compressed event of another length")
	}
	return out.Bytes(), nil
}

// bound holds what the table's compressed values may become to what a change may have.
func (t *tableMap) bound(most int64) {
	for i := range t.columns {
		t.columns[i].most = most
	}
}

// appendUnpacked undoes MariaDB's compression of a column's value: a byte 0 before what was left as
// it is, or one that says how many bytes hold the length and whether the stream has zlib's frame.
func appendUnpacked(c *column, dst, v []byte) ([]byte, error) {
	if len(v) == 0 {
		return c.unpacked(c, dst, v)
	}
	r := reader{b: v}
	head := r.byte()
	if head == 0 {
		return c.unpacked(c, dst, r.b)
	}
	length := bigEndian(r.take(int(head & 7)))
	if r.fail || head>>4 != 8 || length > inflateMost {
		return dst, errors.New("malformed: compressed value")
	}
	if c.most > 0 && length > uint64(c.most) {
		return dst, &capture.TooLargeError{Size: int64(length), Limit: c.most}
	}
	var in io.Reader
	if head&8 != 0 {
		in = flate.NewReader(bytes.NewReader(r.b))
	} else {
		z, err := zlib.NewReader(bytes.NewReader(r.b))
		if err != nil {
			return dst, errors.New("malformed: compressed value")
		}
		in = z
	}
	out := *bytes.NewBuffer(make([]byte, 0, min(length+bytes.MinRead, 1<<20)))
	if n, err := io.Copy(&out, io.LimitReader(in, int64(length)+1)); err != nil || uint64(n) != length {
		return dst, errors.New("malformed: compressed value of another length")
	}
	return c.unpacked(c, dst, out.Bytes())
}

// The fields of a transaction payload's head.
const (
	payloadEnd         = 0
	payloadCompression = 2
	payloadFieldMost   = 64 // bytes of a field's value
)

// payload compression types.
const (
	payloadZstd = 0
	payloadNone = 255
)

// payloadWindow is what a decompression may hold: what the server's highest level needs, 22. With
// level 19 it is 8 MiB, with the default 2.
const payloadWindow = 128 << 20

// inflater takes compressed transactions apart. It keeps its decompressor, which costs more than a
// small transaction.
type inflater struct {
	zstd *zstd.Decoder
	in   *bufio.Reader
	body io.LimitedReader // of the event at hand
}

func (f *inflater) close() {
	if f.zstd != nil {
		f.zstd.Close()
	}
}

// each reads a compressed transaction piece by piece and gives each event in it to take, so that
// memory does not grow with the transaction.
func (f *inflater) each(in io.Reader, take func(h header, in io.Reader, size int) error) error {
	if f.in == nil {
		f.in = bufio.NewReaderSize(nil, 4096)
	}
	f.in.Reset(in)
	compression, err := f.head()
	if err != nil {
		return payloadError(err)
	}
	switch compression {
	case payloadNone:
		return f.events(f.in, take)
	case payloadZstd:
	default:
		return &streamError{what: fmt.Sprintf("transaction payload: compression type %d", compression)}
	}
	if f.zstd == nil {
		f.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(payloadWindow))
		if err != nil {
			return payloadError(err)
		}
	}
	if err := f.zstd.Reset(f.in); err != nil {
		return payloadError(err)
	}
	return f.events(f.zstd, take)
}

// head reads the fields before the payload, and returns how it is compressed.
func (f *inflater) head() (compression uint64, err error) {
	compression = payloadNone
	for {
		kind, err := f.packed()
		if err != nil || kind == payloadEnd {
			return compression, err
		}
		size, err := f.packed()
		if err != nil || size > payloadFieldMost {
			return 0, errors.Join(err, errShort)
		}
		value := make([]byte, size)
		if _, err := io.ReadFull(f.in, value); err != nil {
			return 0, err
		}
		if kind == payloadCompression {
			r := reader{b: value}
			if compression = r.packed(); r.fail {
				return 0, errShort
			}
		}
	}
}

// packed reads a length-encoded integer.
func (f *inflater) packed() (uint64, error) {
	first, err := f.in.ReadByte()
	if err != nil {
		return 0, err
	}
	width := map[byte]int{0xfc: 2, 0xfd: 3, 0xfe: 8}[first]
	if width == 0 {
		return uint64(first), nil
	}
	var b [8]byte
	_, err = io.ReadFull(f.in, b[:width])
	return littleEndian(b[:width]), err
}

func (f *inflater) events(in io.Reader, take func(h header, in io.Reader, size int) error) error {
	var head [headerSize]byte
	for {
		if _, err := io.ReadFull(in, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return payloadError(err)
		}
		h, _, _ := parseHeader(head[:])
		if h.size < headerSize || h.kind == byte(replication.TRANSACTION_PAYLOAD_EVENT) {
			return &streamError{what: "transaction payload: event of a wrong size or kind"}
		}
		body := &f.body
		*body = io.LimitedReader{R: in, N: int64(h.size) - headerSize}
		if err := take(h, payloadReader{body}, int(body.N)); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, body); err != nil {
			return payloadError(err)
		}
		if body.N > 0 {
			return payloadError(io.ErrUnexpectedEOF)
		}
	}
}

// payloadReader is a compressed transaction's content, with its errors for what they are.
type payloadReader struct{ in *io.LimitedReader }

func (r payloadReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = payloadError(err)
	}
	return n, err
}

// payloadError says that a compressed transaction is malformed, unless it was the connection that
// broke inside it.
func payloadError(err error) error {
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, net.ErrClosed) || errors.Is(err, errCut) {
		return err
	}
	return &streamError{what: "transaction payload: " + err.Error()}
}
