package mysql

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// inflateMost bounds what one compressed event of MariaDB may become: its events hold one
// statement's rows of about binlog_row_event_max_size, or one row.
const inflateMost = 1 << 30

// inflate undoes MariaDB's compression of an event's body: a byte that says how many bytes
// hold the length, the length, and a zlib stream.
func inflate(b []byte) ([]byte, error) {
	r := reader{b: b}
	head := r.byte()
	length := bigEndian(r.take(int(head & 7)))
	if r.fail || head>>4 != 8 || length > inflateMost {
		return nil, errors.New("malformed: compressed event")
	}
	z, err := zlib.NewReader(bytes.NewReader(r.b))
	if err != nil {
		return nil, fmt.Errorf("malformed: compressed event: %w", err)
	}
	defer z.Close()
	out := bytes.NewBuffer(make([]byte, 0, min(length, 1<<20)))
	n, err := io.Copy(out, io.LimitReader(z, int64(length)+1))
	if err != nil || uint64(n) != length {
		return nil, errors.New("malformed: compressed event of another length")
	}
	return out.Bytes(), nil
}

// The fields of a transaction payload's head.
const (
	payloadEnd = iota
	payloadSize
	payloadCompression
	payloadWindow = 8 << 20 // what a decompression may hold
)

// payload compression types.
const (
	payloadZstd = 0
	payloadNone = 255
)

// eachPayloadEvent reads a compressed transaction piece by piece and gives each event in it
// to f, so that memory does not grow with the transaction.
func eachPayloadEvent(b []byte, f func(h header, body []byte) error) error {
	r := reader{b: b}
	compression := uint64(payloadNone)
	for !r.fail {
		field := r.packed()
		if field == payloadEnd {
			break
		}
		value := reader{b: r.text()}
		if field == payloadCompression {
			compression = value.packed()
		}
	}
	if r.fail {
		return &streamError{what: "transaction payload"}
	}
	var in io.Reader = bytes.NewReader(r.b)
	if compression == payloadZstd {
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(payloadWindow))
		if err != nil {
			return &streamError{what: "transaction payload: " + err.Error()}
		}
		defer z.Close()
		in = z
	} else if compression != payloadNone {
		return &streamError{what: fmt.Sprintf("transaction payload: compression type %d", compression)}
	}
	return eachEvent(in, f)
}

func eachEvent(in io.Reader, f func(h header, body []byte) error) error {
	var head [headerSize]byte
	var body []byte
	for {
		if _, err := io.ReadFull(in, head[:]); err == io.EOF {
			return nil
		} else if err != nil {
			return &streamError{what: "transaction payload: " + err.Error()}
		}
		h, _, _ := parseHeader(head[:])
		if h.size < headerSize || h.size > inflateMost {
			return &streamError{what: "transaction payload: event of a wrong size"}
		}
		n := int(h.size) - headerSize
		if cap(body) < n {
			body = make([]byte, n)
		}
		body = body[:n]
		if _, err := io.ReadFull(in, body); err != nil {
			return &streamError{what: "transaction payload: " + err.Error()}
		}
		if err := f(h, body); err != nil {
			return err
		}
	}
}
