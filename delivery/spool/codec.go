package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// errMalformed is what decoders report for a value that does not follow the format.
var errMalformed = errors.New("value does not follow the format")

// VersionError reports a value whose version byte this program does not know.
type VersionError struct {
	What    string // event, delivery, ...
	Version byte
	Sent    bool // another machine sent it; otherwise it is in the spool
}

// Error implements error.
func (e *VersionError) Error() string {
	if e.Sent {
		return fmt.Sprintf("%s from another machine has format version %d, which this rowhook does not know", e.What, e.Version)
	}
	return fmt.Sprintf("%s in the spool has format version %d, which this rowhook does not know", e.What, e.Version)
}

// RemedyText tells the operator what to do.
func (e *VersionError) RemedyText() string {
	if e.Sent {
		return "another machine runs a newer rowhook: run that version on this one too, or a newer one"
	}
	return "the spool was written by a newer rowhook: run that version, or a newer one"
}

// reader takes a value apart. After the first bad read all further ones return
// zero values, so that only the end need be checked.
type reader struct {
	b       []byte
	off     int
	version byte
	bad     bool
}

// open checks a value's version byte and returns a reader behind it. All versions up to the
// newest are read; the decoder asks for the one at hand where they differ.
func open(what string, b []byte, newest byte) (reader, error) {
	if len(b) == 0 {
		return reader{}, fmt.Errorf("%s: %w", what, errMalformed)
	}
	if b[0] == 0 || b[0] > newest {
		return reader{}, &VersionError{What: what, Version: b[0]}
	}
	return reader{b: b, off: 1, version: b[0]}, nil
}

// sent says of an error in a value that another machine sent it.
func sent(err error) error {
	var version *VersionError
	if errors.As(err, &version) {
		version.Sent = true
	}
	return err
}

func (r *reader) uvarint() uint64 {
	if r.bad {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.off:])
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.off += n
	return v
}

func (r *reader) varint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// count reads a number of things that each take at least one byte.
func (r *reader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)-r.off) {
		r.bad = true
		return 0
	}
	return int(n)
}

// take returns the next n bytes, which belong to the value.
func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.b)-r.off {
		r.bad = true
		return nil
	}
	r.off += n
	return r.b[r.off-n : r.off : r.off]
}

// bytes returns the next length-prefixed bytes, which belong to the value.
func (r *reader) bytes() []byte { return r.take(r.count()) }

func (r *reader) text() string { return string(r.bytes()) }

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) time() time.Time {
	sec, nsec := int64(r.uint64()), r.uint32()
	if nsec >= 1e9 {
		r.bad = true
	}
	if r.bad {
		return time.Time{}
	}
	return time.Unix(sec, int64(nsec)).UTC()
}

// close reports whether the value was read without fault and to its end.
func (r *reader) close(what string) error {
	if r.bad || r.off != len(r.b) {
		return fmt.Errorf("%s: %w", what, errMalformed)
	}
	return nil
}

func appendText[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendTime writes seconds since 1970 (8 bytes) and nanoseconds (4 bytes).
func appendTime(dst []byte, t time.Time) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.Unix()))
	return binary.BigEndian.AppendUint32(dst, uint32(t.Nanosecond()))
}

func appendBool(dst []byte, b bool) []byte {
	if b {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// sortableTime maps a time to a number in the same order; times that do not fit
// nanoseconds since 1970 go to the ends.
func sortableTime(t time.Time) uint64 {
	switch {
	case t.Unix() <= 0:
		return 0
	case t.Unix() > 9_000_000_000:
		return 9_000_000_000e9
	}
	return uint64(t.UnixNano())
}
