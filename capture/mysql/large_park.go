package mysql

import (
	"errors"

	"rowhook/capture"
)

// weigh looks whether a row is to be taken on, of which n more bytes come next.
func (w *rowReader) weigh(n int64) error {
	size := w.size + n
	tooLarge := size > w.d.most()
	if w.passing || !tooLarge && (size <= capture.VeryLarge || w.weighed) {
		return nil
	}
	w.weighed = true
	if !tooLarge {
		size += w.left - n // all that is left may be of this row
		size = min(size, w.d.most())
	}
	v, err := capture.WeighIn(w.d.sink, &capture.Weighed{Table: w.t.table, Op: w.e.op, Ordinal: w.d.tx.ordinal, Size: size}, w.d.most())
	if err != nil {
		return capture.Permanent(err)
	}
	if v.Unwanted || v.Refused != nil {
		w.verdict, w.passing = v, true
		w.keepSmall()
	}
	return nil
}

// keepSmall leaves the large values out of what has been read.
func (w *rowReader) keepSmall() {
	kept := make([]byte, 0, keepValue)
	spans := w.spans[:0]
	for _, s := range w.spans {
		if n := s.to - s.from; n <= keepValue && len(kept)+n <= keepAll {
			from := len(kept)
			kept = append(kept, w.buf[s.from:s.to]...)
			s.from, s.to = from, len(kept)
			spans = append(spans, s)
		}
	}
	w.buf, w.spans = kept, spans
}

// pass ends a row that was read past.
func (w *rowReader) pass(ordinal int) error {
	d := w.d
	if w.verdict.Unwanted {
		return nil
	}
	kept, before, after, out := w.reduced()
	op := kept.effect(w.t, before, after)
	if op == 0 {
		return nil
	}
	if err := d.introduce(); err != nil {
		return err
	}
	refused := w.verdict.Refused
	if large := new(capture.TooLargeError); errors.As(refused, &large) {
		refused = &capture.TooLargeError{Size: w.size, Limit: large.Limit}
	}
	u := capture.Undecoded{Table: w.t.table.String(), Ordinal: ordinal, Err: refused, Size: w.size}
	if err := kept.decodeRow(w.t, op, before, after, &d.rows, &d.change); err == nil && w.t.doubtful == nil {
		u.Kept = &d.change
		u.Kept.Ordinal, u.Kept.Raw = ordinal, capture.Raw{}
		visible := 0
		for i := range w.t.columns {
			if w.t.columns[i].hidden {
				continue
			}
			if u.Kept.New != nil && out[i] {
				u.Kept.New[visible] = capture.Value{}
			}
			visible++
		}
	}
	return sinkResult(d.sink.Park(&u))
}

// reduced makes images of the small values, with the event that they are rows of. out are the
// columns that are missing from the last image.
func (w *rowReader) reduced() (kept rowsEvent, before, after []byte, out map[int]bool) {
	kept = *w.e
	images := [2][]byte{}
	bitmaps := [2][]byte{}
	out = map[int]bool{}
	last := 0
	if w.e.op == capture.Update {
		last = 1
	}
	for image := range last + 1 {
		present := [2][]byte{w.e.first, w.e.second}[image]
		bitmap := make([]byte, len(present))
		var nulls, values []byte
		nth := 0
		for _, s := range w.spans {
			if s.image != image {
				continue
			}
			bitmap[s.column>>3] |= 1 << (s.column & 7)
			if nth%8 == 0 {
				nulls = append(nulls, 0)
			}
			if s.null {
				nulls[nth>>3] |= 1 << (nth & 7)
			} else if c := &w.t.columns[s.column]; c.prefix > 0 {
				values = append(appendLittleEndian(values, uint64(s.to-s.from), c.prefix), w.buf[s.from:s.to]...)
			} else {
				values = append(values, w.buf[s.from:s.to]...)
			}
			nth++
		}
		for i := range w.t.columns {
			if image == last && bit(present, i) && !bit(bitmap, i) {
				out[i] = true
			}
		}
		images[image], bitmaps[image] = append(nulls, values...), bitmap
	}
	kept.first, kept.second = bitmaps[0], bitmaps[0]
	if last == 1 {
		kept.second = bitmaps[1]
	}
	return kept, images[0], images[1], out
}

func appendLittleEndian(dst []byte, n uint64, width int) []byte {
	for range width {
		dst = append(dst, byte(n))
		n >>= 8
	}
	return dst
}
