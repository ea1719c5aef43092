package mysql

import (
	"encoding/binary"
	"errors"
)

// errShort is what a reader's user says when the bytes ended too early.
var errShort = errors.New("malformed: the bytes end too early")

// reader takes an event apart. Reading beyond the end sets fail and gives zeros, so
// that a malformed event never panics and is judged once, at the end.
type reader struct {
	b    []byte
	fail bool
}

// take returns the next n bytes, or nil.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// uint returns the next n bytes as a little-endian number.
func (r *reader) uint(n int) uint64 { return littleEndian(r.take(n)) }

func (r *reader) byte() byte { return byte(r.uint(1)) }

// packed returns a length-encoded integer.
func (r *reader) packed() uint64 {
	switch first := r.byte(); first {
	case 0xfc:
		return r.uint(2)
	case 0xfd:
		return r.uint(3)
	case 0xfe:
		return r.uint(8)
	default:
		return uint64(first)
	}
}

// text returns bytes behind a length-encoded length.
func (r *reader) text() []byte {
	n := r.packed()
	if n > uint64(len(r.b)) {
		r.fail, r.b = true, nil
		return nil
	}
	return r.take(int(n))
}

// short returns bytes behind a length of one byte.
func (r *reader) short() []byte { return r.take(int(r.byte())) }

func littleEndian(b []byte) uint64 {
	var v uint64
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
}

func bigEndian(b []byte) uint64 {
	var v uint64
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// bit reports a bit of a bitmap that counts from the lowest bit of the first byte.
func bit(bitmap []byte, i int) bool { return bitmap[i>>3]&(1<<(i&7)) != 0 }

// highBit reports a bit of a bitmap that counts from the highest bit of the first byte.
func highBit(bitmap []byte, i int) bool {
	return i>>3 < len(bitmap) && bitmap[i>>3]&(0x80>>(i&7)) != 0
}

// Event header: timestamp, type, server id, size, end position, flags.
const headerSize = 19

// header is the head that every event of a binlog has.
type header struct {
	at     uint32 // when, in seconds since 1970
	kind   byte
	server uint32 // where it was first
	size   uint32 // of the whole event
	end    uint32 // the position after it, or 0
	flags  uint16
}

// restarted reports whether a format description begins what a server writes after its start: it
// then says when that was, behind a version of the format and one of the server.
func restarted(body []byte) bool {
	return len(body) >= 56 && littleEndian(body[52:56]) != 0
}

// ignorable says that the server lets those ignore the event who do not know it.
func (h header) ignorable() bool { return h.flags&0x80 != 0 }

// parseHeader takes the header off an event.
func parseHeader(b []byte) (header, []byte, bool) {
	if len(b) < headerSize {
		return header{}, nil, false
	}
	le := binary.LittleEndian
	return header{at: le.Uint32(b), kind: b[4], server: le.Uint32(b[5:]), size: le.Uint32(b[9:]), end: le.Uint32(b[13:]), flags: le.Uint16(b[17:])}, b[headerSize:], true
}
