package mysql

import (
	"bytes"

	"rowhook/capture"
)

// comment is what the statement that is being read says about itself. The sink hears of it with
// the statement's first change, so that statements about other tables cost nothing.
type comment struct {
	text    []byte
	ordinal int
	pending bool // the sink has not heard of it
	holds   bool // it is not empty
	over    bool // its statement has no further rows
}

// statement takes the text of the statement that made the rows that follow. Its comments, if they
// are in the form of sqlcommenter, are said to the sink; an empty one says that the last no longer
// holds.
func (d *decoder) statement(text []byte) error {
	if d.tx.skip || d.tx.xa || !d.tx.open {
		return nil
	}
	c := &d.comment
	c.over = false
	c.text = appendComments(c.text[:0], text)
	if len(c.text) == 0 && !c.holds {
		return nil
	}
	c.holds, c.pending, c.ordinal = len(c.text) > 0, true, d.tx.ordinal
	d.tx.ordinal++
	return nil
}

// sayComment tells the sink what holds for the change that comes next.
func (d *decoder) sayComment() error {
	c := &d.comment
	if !c.pending {
		return nil
	}
	c.pending = false
	return sinkResult(d.sink.Message(&capture.Message{Prefix: capture.CommentPrefix, Content: c.text, Ordinal: c.ordinal}))
}

// appendComments appends what stands in the comments before and behind a statement, in order and
// with commas between, as far as it has the form of sqlcommenter: key='value' with commas between.
// Other tools may have put theirs around the application's.
func appendComments(dst, text []byte) []byte {
	text = bytes.Trim(text, " \t\r\n;\x00")
	for bytes.HasPrefix(text, []byte("/*")) {
		inner, rest, ok := bytes.Cut(text[2:], []byte("*/"))
		if !ok {
			return dst
		}
		dst, text = appendTags(dst, inner), bytes.TrimLeft(rest, " \t\r\n")
	}
	// The last is found first, so each is put before those that were found.
	for at := len(dst); bytes.HasSuffix(text, []byte("*/")); {
		from := bytes.LastIndex(text, []byte("/*"))
		if from < 0 || from+4 > len(text) {
			return dst
		}
		behind := bytes.TrimPrefix(bytes.Clone(dst[at:]), []byte(","))
		dst = appendTags(dst[:at], text[from+2:len(text)-2])
		if len(behind) > 0 {
			dst = appendTags(dst, behind)
		}
		text = bytes.TrimRight(text[:from], " \t\r\n;")
	}
	return dst
}

// appendTags appends a comment in the form of sqlcommenter, and nothing of any other.
func appendTags(dst, inner []byte) []byte {
	inner = bytes.TrimSpace(inner)
	key, _, ok := bytes.Cut(inner, []byte("='"))
	if !ok || len(key) == 0 || bytes.ContainsAny(key, " '\t") || !bytes.HasSuffix(inner, []byte("'")) {
		return dst
	}
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	return append(dst, inner...)
}
