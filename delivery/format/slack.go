package format

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"rowhook/delivery"
)

// slack writes what Slack's incoming webhooks take, and those of other chats that copied them: {"text": …}, a line an event with
// what happened, to which row, by whom, and a link. It tells keys, never other values of rows.
type slack struct{}

// slackLines is how many events of a group are told one by one.
const slackLines = 20

// Head returns the body's media type.
func (slack) Head(*delivery.Event) delivery.Head {
	return delivery.Head{ContentType: "application/json"}
}

// AppendBody appends the body of one event.
func (slack) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	return appendSlack(dst, slackLine(ev)), nil
}

// GroupHead returns the body's media type.
func (s slack) GroupHead(g *delivery.Group) delivery.Head { return s.Head(g.First) }

// WriteGroup writes a line for each of the first events, and how many more there are.
func (slack) WriteGroup(w io.Writer, g *delivery.Group) error {
	var lines []string
	n := 0
	for ev, err := range g.Events {
		if err != nil {
			return err
		}
		if n++; n <= slackLines {
			lines = append(lines, slackLine(ev))
		}
	}
	if n > slackLines {
		lines = append(lines, fmt.Sprintf("… and %d more", n-slackLines))
	}
	_, err := w.Write(appendSlack(nil, strings.Join(lines, "\n")))
	return err
}

func appendSlack(dst []byte, text string) []byte {
	return append(delivery.AppendJSONString(append(dst, `{"text":`...), text), '}')
}

// slackEscaper escapes what Slack reads as links and entities.
var slackEscaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func slackLine(ev *delivery.Event) string {
	what := ev.Title
	if what == "" {
		what = ev.Origin.Table
	}
	if key := subject(ev.Key); key != "" {
		what = strings.TrimSpace(what + " " + key)
	}
	operation := ev.Operation
	if ev.Assumed {
		operation = ""
	}
	parts := []string{"*" + slackEscaper.Replace(describe(ev)) + "*"}
	for _, part := range [...]string{what, actorName(ev), operation} {
		if part != "" {
			parts = append(parts, slackEscaper.Replace(strings.ReplaceAll(part, "\n", " ")))
		}
	}
	if ev.Link != "" {
		parts = append(parts, "<"+slackEscaper.Replace(strings.ReplaceAll(ev.Link, "|", "%7C"))+"|open>")
	}
	return strings.Join(parts, " · ")
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

// describe is the event's description: as the mapping gives it, else its type in words, loan.returned as "Loan returned".
func describe(ev *delivery.Event) string {
	if desc := ev.As["desc"]; desc != nil {
		return *desc
	}
	return inWords(ev.Type)
}

// inWords writes a type's names as words, the first with a capital.
func inWords(typ string) string {
	words := strings.NewReplacer(".", " ", "_", " ", "-", " ").Replace(typ)
	first, size := utf8.DecodeRuneInString(words)
	if size == 0 {
		return ""
	}
	return string(unicode.ToUpper(first)) + words[size:]
}
