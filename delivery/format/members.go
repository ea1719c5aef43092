package format

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// appendTexts appends the values of a JSON object as their texts, with a separator between them.
// Where it is no object, it fails.
func appendTexts(dst, object []byte, separator byte) ([]byte, error) {
	var x xmlWriter
	start := len(dst)
	err := x.members(object, func(_, value []byte) error {
		if len(dst) > start {
			dst = append(dst, separator)
		}
		dst = appendUnquoted(dst, value)
		return nil
	})
	return dst, err
}

// appendUnquoted appends a JSON value's text: of a string what it says, of anything else how it is
// written.
func appendUnquoted(dst, value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return append(dst, value...)
	}
	for text := value[1 : len(value)-1]; ; {
		i := bytes.IndexByte(text, '\\')
		if i < 0 {
			return append(dst, text...)
		}
		dst = append(dst, text[:i]...)
		r, size, ok := unescape(text[i:])
		if !ok {
			return append(dst, text[i:]...)
		}
		dst = utf8.AppendRune(dst, r)
		text = text[i+size:]
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
