package try

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"rowhook/delivery"
)

// The kinds of results. Nothing is a change that makes no event, which JSON leaves out.
const (
	kindEvent   = "event"
	kindRequest = "request"
	kindProblem = "problem"
	kindNothing = "nothing"
)

// resultLine is a line of `rowhook try --json`.
type resultLine struct {
	Kind string `json:"kind"`
	At   string `json:"at,omitempty"` // the line of input; for a group, of its first event

	// Of an event.
	Type      string          `json:"type,omitempty"`
	Entry     string          `json:"entry,omitempty"`
	Table     string          `json:"table,omitempty"`
	Op        string          `json:"op,omitempty"`
	Key       json.RawMessage `json:"key,omitempty"`
	Actor     *delivery.Actor `json:"actor,omitempty"`
	Operation string          `json:"operation,omitempty"`
	ID        string          `json:"id,omitempty"` // also of a request: its webhook-id
	Profiles  *[]string       `json:"profiles,omitempty"`

	// Of a request, and of a problem that one profile has.
	Profile string            `json:"profile,omitempty"`
	Unit    string            `json:"unit,omitempty"`   // of a group
	Events  []string          `json:"events,omitempty"` // the group's
	Headers map[string]string `json:"headers,omitempty"`
	Body    json.RawMessage   `json:"body,omitempty"` // a string where it is not a JSON object or list on one line

	// Of a problem.
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	Remedy string `json:"hint,omitempty"`

	text string // the body as it is sent
}

// bodyJSON is a body in JSON: itself where it is an object or a list and would not change by it.
func bodyJSON(body []byte) json.RawMessage {
	if len(body) > 0 && (body[0] == '{' || body[0] == '[') && json.Valid(body) && string(compactJSON(body)) == string(body) {
		return body
	}
	return delivery.AppendJSONString(nil, string(body))
}

// Results are what came of changes: events, requests and problems.
type Results struct {
	list     []resultLine
	problems bool
}

// Problems reports whether a change could not be mapped or decided, or a signal was left out.
func (rs *Results) Problems() bool { return rs.problems }

// Len is how many results there are.
func (rs *Results) Len() int { return len(rs.list) }

// WriteJSON writes a line for each result. Requests are left out without bodies.
func (rs *Results) WriteJSON(w io.Writer, bodies bool) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	for i := range rs.list {
		r := &rs.list[i]
		if r.Kind == kindNothing || r.Kind == kindRequest && !bodies {
			continue
		}
		if err := encoder.Encode(r); err != nil {
			return err
		}
	}
	return nil
}

// WriteText writes the results for people.
func (rs *Results) WriteText(w io.Writer, bodies bool) error {
	var b strings.Builder
	for i := range rs.list {
		switch r := &rs.list[i]; r.Kind {
		case kindEvent:
			fmt.Fprintf(&b, "%s  %s  %s", r.At, r.Type, r.ID)
			if r.Entry != "" {
				fmt.Fprintf(&b, "  entry %s", r.Entry)
			}
			to := "nobody"
			if len(*r.Profiles) > 0 {
				to = strings.Join(*r.Profiles, ", ")
			}
			fmt.Fprintf(&b, "  to %s\n", to)
		case kindRequest:
			if bodies {
				printRequest(&b, r)
			}
		case kindProblem:
			about := r.Table
			if r.Entry != "" {
				about = r.Entry
			}
			if r.Profile != "" {
				about += " for profile " + r.Profile
			}
			fmt.Fprintf(&b, "%s  %s  %s\n", r.At, strings.TrimSpace(r.Reason+" "+about), r.Error)
			if r.Remedy != "" {
				fmt.Fprintf(&b, "    %s\n", r.Remedy)
			}
		case kindNothing:
			fmt.Fprintf(&b, "%s  no event  %s %s\n", r.At, r.Op, r.Table)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func printRequest(b *strings.Builder, r *resultLine) {
	fmt.Fprintf(b, "    %s", r.Profile)
	if r.Unit != "" {
		fmt.Fprintf(b, " (unit %s, %s)", r.Unit, numberOf(len(r.Events), "event"))
	}
	b.WriteByte('\n')
	names := make([]string, 0, len(r.Headers))
	for name := range r.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(b, "      %s: %s\n", name, r.Headers[name])
	}
	fmt.Fprintf(b, "      %s\n", strings.ReplaceAll(strings.TrimRight(r.text, "\n"), "\n", "\n      "))
}
