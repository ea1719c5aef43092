package main

import (
	"fmt"
	"io"
	"sync"
	"unicode"
	"unicode/utf8"
)

// plainWriter is what commands write to. What they print comes from databases, receivers and files,
// so that it may hold characters that move a terminal's cursor, set its title or turn the order of
// letters: these are written as \u and four digits, which a JSON string takes for the same
// character. Line ends and tabs stay. It is safe for concurrent use.
type plainWriter struct {
	w    io.Writer
	mu   sync.Mutex
	rest []byte // the start of a character whose end has not been written yet
}

// Write implements [io.Writer].
func (p *plainWriter) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	given := len(text)
	if len(p.rest) > 0 {
		text, p.rest = append(p.rest, text...), nil
	}
	var out []byte // once something was replaced
	done := 0
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			if !utf8.FullRune(text[i:]) {
				p.rest = append([]byte(nil), text[i:]...)
				text = text[:i]
				break
			}
			r, size = utf8.DecodeRune(text[i:])
		}
		if isPlain(r) && (r != utf8.RuneError || size > 1) {
			i += size
			continue
		}
		out = append(out, text[done:i]...)
		out = fmt.Appendf(out, `\u%04x`, r)
		i += size
		done = i
	}
	if done > 0 {
		text = append(out, text[done:]...)
	}
	if _, err := p.w.Write(text); err != nil {
		return 0, err
	}
	return given, nil
}

// isPlain reports whether a character is one that terminals show where it stands.
func isPlain(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return true
	case r < ' ', r >= 0x7f && r <= 0x9f: // C0, DEL and C1
		return false
	case r < 0x200e:
		return r != 0x061c
	case unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029':
		return false
	}
	return true
}

// unfiltered is the writer below, for lines whose parts have been made plain one by one.
func unfiltered(w io.Writer) io.Writer {
	if p, ok := w.(*plainWriter); ok {
		return p.w
	}
	return w
}
