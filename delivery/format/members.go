package format

import (
	"bytes"
	"encoding/json"
)

// eachMember calls yield for each member of a JSON object, with the name and the value as they are written there.
func eachMember(object []byte, yield func(name, value []byte)) error {
	q := quoter{src: object}
	var room [256]byte
	q.dst = room[:0]
	if q.space(); !q.next('{') {
		return errBadJSON
	}
	if q.space(); q.next('}') {
		return nil
	}
	for {
		q.dst = q.dst[:0]
		name, ok := q.str()
		if !ok {
			return errBadJSON
		}
		if q.space(); !q.next(':') {
			return errBadJSON
		}
		q.space()
		start := q.pos
		if !q.value(false, 0) {
			return errBadJSON
		}
		yield(name, object[start:q.pos])
		if q.space(); q.next('}') {
			return nil
		}
		if !q.next(',') {
			return errBadJSON
		}
		q.space()
	}
}

// unquoted is a JSON value's text: of a string what it says, of anything else how it is written.
func unquoted(value []byte) string {
	if len(value) < 2 || value[0] != '"' {
		return string(value)
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return string(value[1 : len(value)-1])
	}
	var text string
	if json.Unmarshal(value, &text) != nil {
		return string(value)
	}
	return text
}
