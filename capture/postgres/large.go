package postgres

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"rowhook/capture"
)

const (
	// changeHead is a change's message up to its relation.
	changeHead = 1 + 4
	// keepValue is how large a value may be that is kept of a change that is read past, and keepAll
	// how much is kept in all.
	keepValue = 4 << 10
	keepAll   = 256 << 10
)

// largeBody is a large message's body as a reader that goes on answering the server while it waits.
type largeBody struct {
	ctx context.Context
	st  *stream
}

func (b largeBody) Read(p []byte) (int, error) {
	for {
		n, err := b.st.frames.body(p)
		if n > 0 {
			b.st.heard = true
			b.st.owner.received.Add(1)
			return n, nil
		}
		var network net.Error
		if err == nil || !errors.As(err, &network) || !network.Timeout() {
			return n, err
		}
		if b.ctx.Err() != nil {
			return 0, b.ctx.Err()
		}
		if err := b.st.tick(time.Now()); err != nil {
			return 0, err
		}
		b.st.arm(b.ctx)
	}
}

// large takes a message that stands in the connection still.
func (st *stream) large(ctx context.Context) error {
	size := st.frames.large
	in := largeBody{ctx, st}
	head := make([]byte, xlogHeader+changeHead)
	if _, err := io.ReadFull(in, head); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	verdict, err := st.weigh(head, size)
	if err != nil {
		return err
	}
	if verdict.Unwanted || verdict.Refused != nil {
		return st.decoder.pass(head[xlogHeader:], in, size-int64(len(head)), verdict)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(in, b[copy(b, head):]); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	err = st.data(ctx, b)
	b = nil
	st.decoder.letGo()
	st.reclaimer.Add(size)
	return err
}

// weigh asks what is to become of a large message. Only what an application writes can be as large
// as that.
func (st *stream) weigh(head []byte, size int64) (capture.Verdict, error) {
	limit := st.owner.config.ChangeLimit()
	d := &st.decoder
	if op := opOf(head[xlogHeader]); head[0] == copyXLogData && op != 0 && d.open {
		w := &capture.Weighed{Op: op, Ordinal: d.ordinal, Size: size}
		if rel := d.relations[binary.BigEndian.Uint32(head[xlogHeader+1:])]; rel != nil {
			w.Table = rel.table
		}
		v, err := capture.WeighIn(st.sink, w, limit)
		return v, sinkResult(err)
	}
	if size > limit {
		return capture.Verdict{Refused: &capture.TooLargeError{Size: size, Limit: limit}}, nil
	}
	return capture.Verdict{}, nil
}

// opOf says what a message does to a row; 0 for other messages.
func opOf(kind byte) capture.Op {
	switch kind {
	case msgInsert:
		return capture.Insert
	case msgUpdate:
		return capture.Update
	case msgDelete:
		return capture.Delete
	}
	return 0
}

// letGo forgets the rows of a change that was large.
func (d *decoder) letGo() {
	clear(d.rows.old[:cap(d.rows.old)])
	clear(d.rows.new[:cap(d.rows.new)])
	d.change, d.rows.text = capture.Change{}, nil
}

// pass reads past a message that is not taken. Of a change that is refused the small values are
// kept.
func (d *decoder) pass(head []byte, in io.Reader, left int64, verdict capture.Verdict) error {
	size := int64(len(head)) + left
	op := opOf(head[0])
	if op == 0 || !d.open {
		return d.passMessage(head, in, left, verdict)
	}
	d.ordinal++
	rel := d.relations[binary.BigEndian.Uint32(head[1:])]
	s := skimmer{in: bufio.NewReaderSize(in, coalesceBuffer), kept: append(make([]byte, 0, keepValue), head...)}
	if rel != nil && !verdict.Unwanted {
		s.change(head[0])
	}
	if _, err := io.Copy(io.Discard, s.in); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if verdict.Unwanted {
		return nil
	}
	u := capture.Undecoded{Ordinal: d.ordinal - 1, Err: verdict.Refused, Size: size}
	if rel != nil {
		u.Table = rel.table.String()
		if s.err == nil && decodeRow(s.kept, rel, &d.rows, &d.change) == nil {
			u.Kept = &d.change
			u.Kept.Ordinal, u.Kept.Raw = u.Ordinal, capture.Raw{}
			s.forget(u.Kept.Old, s.old)
			s.forget(u.Kept.New, s.new)
		}
	}
	return sinkResult(d.sink.Park(&u))
}

// passMessage reads past a message of an application, or what cannot be told.
func (d *decoder) passMessage(head []byte, in io.Reader, left int64, verdict capture.Verdict) error {
	if head[0] != msgMessage {
		return &streamError{what: fmt.Sprintf("a message %q of %d bytes", head[0], int64(len(head))+left)}
	}
	kept := make([]byte, min(left, keepValue))
	if _, err := io.ReadFull(in, kept); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return fmt.Errorf("receive: %w", err)
	}
	r := reader{b: append(append([]byte(nil), head...), kept...)}
	r.byte()
	transactional := r.byte()&1 != 0
	r.lsn()
	prefix := string(r.cstring())
	switch {
	case r.fail || transactional && !d.open:
		return &streamError{what: "logical message"}
	case !transactional:
		if sink, ok := d.sink.(capture.Ignorer); ok {
			sink.Ignored(prefix)
		}
		return nil
	}
	d.ordinal++
	if listener, ok := d.sink.(capture.Listener); ok && !listener.Listens(prefix) {
		return nil
	}
	return sinkResult(d.sink.Park(&capture.Undecoded{Ordinal: d.ordinal - 1, Err: fmt.Errorf("logical message: %w", verdict.Refused),
		Size: int64(len(head)) + left}))
}

// skimmer reads a change without holding it. What it keeps is the same change with its large values
// left out, as unchanged ones are; which they were, it notes.
type skimmer struct {
	in       *bufio.Reader
	kept     []byte
	old, new []int // columns that were left out
	err      error // the change is not what it should be, or the connection broke
}

// forget makes unknown what was left out.
func (s *skimmer) forget(row capture.Row, columns []int) {
	for _, i := range columns {
		if i < len(row) {
			row[i] = capture.Value{}
		}
	}
}

// change reads a change behind its relation.
func (s *skimmer) change(kind byte) {
	mark := s.byte()
	if (kind == msgUpdate || kind == msgDelete) && (mark == 'K' || mark == 'O') {
		s.old = s.tuple()
		if kind == msgDelete {
			return
		}
		s.byte()
	}
	s.new = s.tuple()
}

func (s *skimmer) byte() byte {
	b := s.take(1)
	if s.err != nil {
		return 0
	}
	return b[0]
}

// take reads n bytes and keeps them. They are valid until the next.
func (s *skimmer) take(n int) []byte {
	if s.err != nil {
		return nil
	}
	at := len(s.kept)
	s.kept = append(s.kept, make([]byte, n)...)
	_, s.err = io.ReadFull(s.in, s.kept[at:])
	return s.kept[at:]
}

// tuple reads a row and returns which columns were left out.
func (s *skimmer) tuple() (out []int) {
	count := s.take(2)
	if s.err != nil {
		return nil
	}
	for i := range binary.BigEndian.Uint16(count) {
		kind := s.byte()
		if s.err != nil || kind != 't' && kind != 'b' {
			continue
		}
		at := len(s.kept) - 1
		size := s.take(4)
		if s.err != nil {
			return nil
		}
		if n := int64(binary.BigEndian.Uint32(size)); n <= keepValue && len(s.kept)+int(n) <= keepAll {
			s.take(int(n))
		} else {
			s.kept, out = append(s.kept[:at], 'u'), append(out, int(i))
			_, s.err = io.CopyN(io.Discard, s.in, n)
		}
	}
	return out
}
