package format

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// letter is a mail's text, made of lines.
type letter struct{ strings.Builder }

func (l *letter) line(format string, args ...any) { fmt.Fprintf(l, format+"\n", args...) }

func utc(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// oneLine keeps an answer from looking like lines of the mail.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }), " ")
}

// cut shortens a text to a number of characters.
func cut(s string, characters int) string {
	for i := range s {
		if characters == 0 {
			return s[:i]
		}
		characters--
	}
	return s
}
