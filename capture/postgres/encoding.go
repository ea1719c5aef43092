package postgres

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A server that is asked for UTF-8 refuses to send a text with a character that has no counterpart
// there, and with it the whole transaction and all that follow. So it is asked for the database's
// own encoding, in which it converts nothing, and the text becomes UTF-8 here. What a character
// becomes is asked of the server once, when it first comes: its maps differ from other libraries'
// in a few characters, and a text must read as the database's own clients read it.

// encodingUTF8 is the encoding that needs no transcoding; encodingASCII is SQL_ASCII, whose texts
// may be anything and are taken for UTF-8.
const (
	encodingUTF8  = "UTF8"
	encodingASCII = "SQL_ASCII"
)

// encoding turns texts in a database's encoding into UTF-8. One goroutine uses it at a time.
type encoding struct {
	name   string
	length func(lead byte) int // of the character that begins with a byte of 0x80 or more
	// known are the characters that have come: what they are in UTF-8, empty for those that are
	// nothing there.
	known map[string]string
	// convert asks the server for texts of this encoding in UTF-8.
	convert func(text []byte) ([]byte, error)
	missing []byte // characters to be asked for
}

// characterLength returns how long an encoding's characters are by their first byte; nil for an
// encoding that is not known here. In all of them a byte below 0x80 is the ASCII character.
func characterLength(name string) func(lead byte) int {
	switch name {
	case "EUC_JP", "EUC_JIS_2004", "EUC_KR":
		return func(lead byte) int {
			if lead == 0x8f {
				return 3
			}
			return 2
		}
	case "EUC_TW":
		return func(lead byte) int {
			switch lead {
			case 0x8e:
				return 4
			case 0x8f:
				return 3
			}
			return 2
		}
	case "EUC_CN":
		return func(byte) int { return 2 }
	}
	for _, prefix := range []string{"LATIN", "WIN", "ISO_8859_", "KOI8"} {
		if strings.HasPrefix(name, prefix) {
			return func(byte) int { return 1 }
		}
	}
	return nil
}

// unreadableEncoding is what to do about a database in MULE_INTERNAL, the one encoding for which
// the server has no conversion to UTF-8.
const unreadableEncoding = "the database's encoding, MULE_INTERNAL, has no conversion to UTF-8: move it to a database with ENCODING 'UTF8', " +
	"by pg_dump --encoding=E with an encoding E that has both, such as LATIN1 or EUC_JP"

// encodingRefused says that the server does not convert the database's texts to UTF-8.
func encodingRefused(e *pgconn.PgError) bool {
	return e.Code == "0A000" && strings.Contains(e.Message, `"client_encoding"`)
}

// newEncoding returns how a database's texts are transcoded; nil where they are not, because they
// are UTF-8, are taken for it, or the server has to do it.
func newEncoding(name string, convert func(text []byte) ([]byte, error)) *encoding {
	length := characterLength(name)
	if length == nil {
		return nil
	}
	return &encoding{name: name, length: length, known: map[string]string{}, convert: convert}
}

// clientEncoding is what the server is asked to send.
func clientEncoding(database string) string {
	if database == encodingASCII || characterLength(database) != nil {
		return database
	}
	return encodingUTF8
}

// lookupError says that the database could not be asked for what a change needs: the change is not
// at fault, and comes again.
type lookupError struct{ err error }

func (e *lookupError) Error() string { return e.err.Error() }
func (e *lookupError) Unwrap() error { return e.err }

// append appends text in UTF-8 to dst. A character without a counterpart stays as bytes that are no
// UTF-8, so that two of them differ, and whoever writes the text flags it. The error is a
// [lookupError].
func (e *encoding) append(dst, text []byte) ([]byte, error) {
	from := len(dst)
	e.missing = e.missing[:0]
	for i := 0; i < len(text); {
		c := e.next(text[i:])
		if _, ok := e.known[string(c)]; !ok && c[0] >= utf8.RuneSelf {
			e.known[string(c)] = ""
			e.missing = append(append(e.missing, c...), '\n')
		}
		i += len(c)
	}
	if len(e.missing) > 0 {
		if err := e.learn(e.missing); err != nil {
			e.forget(e.missing)
			return dst, &lookupError{fmt.Errorf("ask what characters of %s are in UTF-8: %w", e.name, err)}
		}
	}
	for i := 0; i < len(text); {
		n := i
		for n < len(text) && text[n] < utf8.RuneSelf {
			n++
		}
		if dst, i = append(dst, text[i:n]...), n; i == len(text) {
			break
		}
		c := e.next(text[i:])
		if known := e.known[string(c)]; known != "" {
			dst = append(dst, known...)
		} else {
			dst = appendBroken(dst, from, c)
		}
		i += len(c)
	}
	return dst, nil
}

// next is the character that text begins with. One that is cut is what there is of it.
func (e *encoding) next(text []byte) []byte {
	n := 1
	if text[0] >= utf8.RuneSelf {
		for want := min(e.length(text[0]), len(text)); n < want && text[n] >= utf8.RuneSelf; n++ {
		}
	}
	return text[:n:n]
}

// appendBroken appends bytes to a text that begins at from: as they are, but such that they are no
// UTF-8 together.
func appendBroken(dst []byte, from int, c []byte) []byte {
	const never = 0xff // in UTF-8
	for _, b := range c {
		if len(dst) > from && dst[len(dst)-1] >= 0xc0 && b < 0xc0 {
			b = never
		}
		dst = append(dst, b)
	}
	return dst
}

// learn asks what characters are, each with a line break behind it. The server converts all or
// none, so a text with one that has no counterpart is asked for in halves.
func (e *encoding) learn(lines []byte) error {
	converted, err := e.convert(lines)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && strings.HasPrefix(refused.Code, "22") {
		first := halve(lines)
		if first == len(lines) {
			return nil // it stays unknown
		}
		if err := e.learn(lines[:first]); err != nil {
			return err
		}
		return e.learn(lines[first:])
	}
	if err != nil {
		return err
	}
	from, to := strings.Split(string(lines), "\n"), strings.Split(string(converted), "\n")
	if len(from) != len(to) {
		return fmt.Errorf("%d characters became %d", len(from)-1, len(to)-1)
	}
	for i, c := range from[:len(from)-1] {
		if utf8.ValidString(to[i]) {
			e.known[c] = to[i]
		}
	}
	return nil
}

// halve returns where the second half of lines begins; len(lines) when there is one line only.
func halve(lines []byte) int {
	for i := len(lines) / 2; i < len(lines); i++ {
		if lines[i] == '\n' && i+1 < len(lines) {
			return i + 1
		}
	}
	for i := len(lines)/2 - 1; i >= 0; i-- {
		if lines[i] == '\n' {
			return i + 1
		}
	}
	return len(lines)
}

func (e *encoding) forget(lines []byte) {
	for _, c := range strings.Split(string(lines), "\n") {
		delete(e.known, c)
	}
}

// string is text in UTF-8, as far as it is known without asking; for names and messages of the
// server.
func (e *encoding) string(text string) string {
	out, err := e.append(nil, []byte(text))
	if err != nil {
		out = []byte(text)
	}
	return strings.ToValidUTF8(string(out), "\ufffd")
}

// converter asks over a querier's connection.
func converter(ctx context.Context, q *querier, name string) func([]byte) ([]byte, error) {
	return func(text []byte) (out []byte, err error) {
		err = q.within(ctx, func(ctx context.Context, c *pgx.Conn) error {
			var digits string
			err := c.QueryRow(ctx, `select pg_catalog.encode(pg_catalog.convert(pg_catalog.decode($1, 'hex'), $2::name, 'UTF8'), 'hex')`,
				hex.EncodeToString(text), name).Scan(&digits)
			if err == nil {
				out, err = hex.DecodeString(digits)
			}
			return err
		})
		return out, err
	}
}
