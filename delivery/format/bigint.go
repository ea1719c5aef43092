package format

import (
	"encoding/json"
	"errors"
)

var errBadJSON = errors.New("the event's values are not valid JSON")

// maxDepth bounds the nesting that is followed, as encoding/json does.
const maxDepth = 10000

// quote appends the JSON object to dst with the numbers at the given dotted paths in quotes; in an
// array at such a path, every number in it. Everything else is copied byte by byte.
func (q *quoter) quote(dst, object []byte, paths []string) ([]byte, error) {
	q.src, q.dst, q.pos, q.from, q.paths, q.path = object, dst, 0, 0, paths, q.room[:0]
	q.space()
	ok := q.value(false, 0)
	q.space()
	ok = ok && q.pos == len(q.src)
	q.flush()
	dst = q.dst
	q.src, q.dst, q.paths = nil, nil, nil
	if !ok {
		return dst, errBadJSON
	}
	return dst, nil
}

// quoter walks JSON texts from start to end, one at a time. Each step reports whether the text was
// valid so far.
type quoter struct {
	src, dst []byte
	pos      int // in src
	from     int // src[from:pos] is not copied yet
	paths    []string
	path     []byte   // the dotted path of the value at hand
	room     [96]byte // for path
}

// value copies one value; quote says that numbers in it are wanted as strings.
func (q *quoter) value(quote bool, depth int) bool {
	if q.pos >= len(q.src) || depth > maxDepth {
		return false
	}
	switch c := q.src[q.pos]; {
	case c == '{':
		return q.object(depth)
	case c == '[':
		return q.array(quote, depth)
	case c == '"':
		_, ok := q.str()
		return ok
	case quote && (c == '-' || c >= '0' && c <= '9'):
		q.flush()
		q.dst = append(q.dst, '"')
		ok := q.plain()
		q.flush()
		q.dst = append(q.dst, '"')
		return ok
	}
	return q.plain()
}

func (q *quoter) object(depth int) bool {
	q.pos++
	if q.space(); q.next('}') {
		return true
	}
	for {
		name, ok := q.str()
		if !ok {
			return false
		}
		if q.space(); !q.next(':') {
			return false
		}
		q.space()
		outer := len(q.path)
		q.enter(name)
		ok = q.value(q.wanted(), depth+1)
		q.path = q.path[:outer]
		if !ok {
			return false
		}
		if q.space(); q.next('}') {
			return true
		}
		if !q.next(',') {
			return false
		}
		q.space()
	}
}

func (q *quoter) array(quote bool, depth int) bool {
	q.pos++
	if q.space(); q.next(']') {
		return true
	}
	for {
		if !q.value(quote, depth+1) {
			return false
		}
		if q.space(); q.next(']') {
			return true
		}
		if !q.next(',') {
			return false
		}
		q.space()
	}
}

// enter appends a member's name, given as JSON, to the path.
func (q *quoter) enter(name []byte) {
	if len(q.path) > 0 {
		q.path = append(q.path, '.')
	}
	plain := name[1 : len(name)-1]
	for _, c := range plain {
		if c == '\\' {
			var decoded string
			if json.Unmarshal(name, &decoded) == nil {
				q.path = append(q.path, decoded...)
			}
			return
		}
	}
	q.path = append(q.path, plain...)
}

// wanted reports whether the value at hand is one that was asked for.
func (q *quoter) wanted() bool {
	for _, p := range q.paths {
		if p == string(q.path) {
			return true
		}
	}
	return false
}

// flush copies what was walked over.
func (q *quoter) flush() {
	q.dst = append(q.dst, q.src[q.from:q.pos]...)
	q.from = q.pos
}

// str takes a string and returns it with its quotes.
func (q *quoter) str() ([]byte, bool) {
	if q.pos >= len(q.src) || q.src[q.pos] != '"' {
		return nil, false
	}
	for i := q.pos + 1; i < len(q.src); i++ {
		if i, _ = plainRun(q.src, i); i >= len(q.src) {
			return nil, false
		}
		switch q.src[i] {
		case '\\':
			i++
		case '"':
			s := q.src[q.pos : i+1]
			q.pos = i + 1
			return s, true
		}
	}
	return nil, false
}

// endsPlain says which bytes end a number or a word.
var endsPlain = func() (ends [256]bool) {
	for _, c := range []byte(",]} \t\r\n") {
		ends[c] = true
	}
	return ends
}()

// plain takes a number, true, false or null.
func (q *quoter) plain() bool {
	start := q.pos
	for q.pos < len(q.src) && !endsPlain[q.src[q.pos]] {
		q.pos++
	}
	return q.pos > start
}

// next takes the byte if it is the one that must come.
func (q *quoter) next(c byte) bool {
	if q.pos >= len(q.src) || q.src[q.pos] != c {
		return false
	}
	q.pos++
	return true
}

func (q *quoter) space() {
	for q.pos < len(q.src) && (q.src[q.pos] == ' ' || q.src[q.pos] == '\t' || q.src[q.pos] == '\n' || q.src[q.pos] == '\r') {
		q.pos++
	}
}
