package format

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"rowhook/delivery"
)

// slackProduct is what takes Slack's incoming webhooks, whose URL is their secret.
func slackProduct() delivery.Product {
	return delivery.Product{
		Name:       "slack",
		Preset:     func(c *delivery.ProfileConfig) { c.Signature = "none" },
		SecretPath: true,
		Formatter:  func(delivery.ProfileConfig) (delivery.Formatter, error) { return newSlack(), nil },
		Schema:     func(*delivery.ProfileConfig, *delivery.EventShape) delivery.Schema { return slackSchema() },
		GroupSchema: func(*delivery.ProfileConfig, []delivery.EventShape, []delivery.Schema) delivery.Schema {
			return slackSchema()
		},
	}
}

// slack writes what Slack's incoming webhooks take, and those of other chats that copied them:
// {"text": …}, a line an event with what happened, to which row, by whom, and a link. It tells
// keys, never other values of rows.
type slack struct {
	texts *sync.Pool // of *[]byte, in which texts are put together
}

func newSlack() slack { return slack{texts: &sync.Pool{New: func() any { return new([]byte) }}} }

// slackLines is how many events of a group are told one by one.
const slackLines = 20

// Head returns the body's media type.
func (slack) Head(*delivery.Event) delivery.Head {
	return delivery.Head{ContentType: "application/json"}
}

// AppendBody appends the body of one event.
func (s slack) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	text := s.texts.Get().(*[]byte)
	*text = appendSlackLine((*text)[:0], ev)
	dst = appendSlack(dst, *text)
	s.texts.Put(text)
	return dst, nil
}

// GroupHead returns the body's media type.
func (s slack) GroupHead(g *delivery.Group) delivery.Head { return s.Head(g.First) }

// WriteGroup writes a line for each of the first events, and how many more there are.
func (slack) WriteGroup(w io.Writer, g *delivery.Group) error {
	var text []byte
	n := 0
	for ev, err := range g.Events {
		if err != nil {
			return err
		}
		if n++; n > slackLines {
			continue
		}
		if n > 1 {
			text = append(text, '\n')
		}
		text = appendSlackLine(text, ev)
	}
	if n > slackLines {
		text = fmt.Appendf(text, "\n… and %d more", n-slackLines)
	}
	_, err := w.Write(appendSlack(nil, text))
	return err
}

func appendSlack(dst, text []byte) []byte {
	return append(delivery.AppendJSONString(append(dst, `{"text":`...), text), '}')
}

// appendSlackText appends a text with what Slack reads as links and entities escaped.
func appendSlackText[S ~string | ~[]byte](dst []byte, text S, newline string) []byte {
	for i := range len(text) {
		switch c := text[i]; c {
		case '&':
			dst = append(dst, "&amp;"...)
		case '<':
			dst = append(dst, "&lt;"...)
		case '>':
			dst = append(dst, "&gt;"...)
		case '\n':
			dst = append(dst, newline...)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

const slackDot = " · " // between the parts of a line

// appendSlackLine appends what happened, to which row, by whom and how, and a link.
func appendSlackLine(dst []byte, ev *delivery.Event) []byte {
	dst = append(dst, '*')
	if desc := ev.As["desc"]; desc != nil {
		dst = appendSlackText(dst, *desc, "\n")
	} else {
		start := len(dst)
		dst = appendInWords(dst, ev.Type)
		if bytes.ContainsAny(dst[start:], "&<>") {
			dst = appendSlackText(dst[:start], string(dst[start:]), "\n")
		}
	}
	dst = appendSlackRow(append(dst, '*'), ev)
	operation := ev.Operation
	if ev.Assumed {
		operation = ""
	}
	for _, part := range [...]string{actorName(ev), operation} {
		if part != "" {
			dst = appendSlackText(append(dst, slackDot...), part, " ")
		}
	}
	if ev.Link == "" {
		return dst
	}
	dst = append(append(dst, slackDot...), '<')
	for rest, more := ev.Link, true; more; {
		var piece string
		piece, rest, more = strings.Cut(rest, "|")
		if dst = appendSlackText(dst, piece, "\n"); more {
			dst = append(dst, "%7C"...)
		}
	}
	return append(dst, "|open>"...)
}

// appendSlackRow appends which row it is about: the table's title and the key's values.
func appendSlackRow(dst []byte, ev *delivery.Event) []byte {
	start := len(dst)
	dst = append(dst, slackDot...)
	from := len(dst)
	if ev.Title != "" {
		dst = appendSlackText(dst, ev.Title, " ")
	} else {
		dst = appendSlackText(dst, ev.Table, " ")
	}
	var room [64]byte
	if key := appendSubject(room[:0], ev.Key); len(key) > 0 {
		if len(dst) > from {
			dst = append(dst, ' ')
		}
		dst = appendSlackText(dst, key, " ")
		for dst[len(dst)-1] == ' ' {
			dst = dst[:len(dst)-1]
		}
	}
	if len(dst) <= from {
		return dst[:start]
	}
	return dst
}

// actorName is who made the change; empty where nobody told.
func actorName(ev *delivery.Event) string {
	switch {
	case ev.Assumed:
		return ""
	case ev.Actor.Name != "":
		return ev.Actor.Name
	}
	return ev.Actor.ID
}

// describe is the event's description: as the mapping gives it, else its type in words,
// loan.returned as "Loan returned".
func describe(ev *delivery.Event) string {
	if desc := ev.As["desc"]; desc != nil {
		return *desc
	}
	return inWords(ev.Type)
}

// inWords writes a type's names as words, the first with a capital.
func inWords(typ string) string { return string(appendInWords(nil, typ)) }

func appendInWords(dst []byte, typ string) []byte {
	first, size := utf8.DecodeRuneInString(typ)
	if size == 0 {
		return dst
	}
	start := len(dst)
	dst = append(utf8.AppendRune(dst, unicode.ToUpper(first)), typ[size:]...)
	for i := start; i < len(dst); i++ {
		if c := dst[i]; c == '.' || c == '_' || c == '-' {
			dst[i] = ' '
		}
	}
	return dst
}
