package delivery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// logMatcher is a query made ready.
type logMatcher struct {
	query        *LogQuery
	since, until string   // in the form of lineTime; empty for none
	needles      [][]byte // every one of which a matching line contains
	payload      []payloadCondition
}

// payloadCondition is one PATH=VALUE.
type payloadCondition struct {
	path  []string
	value string
}

func newLogMatcher(q *LogQuery) (*logMatcher, error) {
	m := &logMatcher{query: q}
	for _, glob := range []string{q.Profile, q.Type} {
		if _, err := path.Match(glob, ""); err != nil {
			return nil, fmt.Errorf("glob %q: %w", glob, err)
		}
	}
	for _, text := range q.Payload {
		at, value, ok := strings.Cut(text, "=")
		if !ok || at == "" {
			return nil, fmt.Errorf("payload condition %q is not PATH=VALUE", text)
		}
		m.payload = append(m.payload, payloadCondition{strings.Split(at, "."), value})
	}
	m.since, m.until = lineTimeOf(q.Since), lineTimeOf(q.Until)
	m.need(`"profile":`, q.Profile)
	m.need(`"type":`, q.Type)
	m.need(`"outcome":`, string(q.Outcome))
	for _, text := range []string{q.Event, q.URL} {
		if text != "" {
			quoted := AppendJSONString(nil, text)
			m.needles = append(m.needles, quoted[1:len(quoted)-1])
		}
	}
	return m, nil
}

// lineTimeOf returns a time as lines have it.
func lineTimeOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(lineTime)
}

// need says that a line must have a member with exactly that value; globs are left to matches.
func (m *logMatcher) need(member, value string) {
	if value != "" && !strings.ContainsAny(value, `*?[\`) {
		m.needles = append(m.needles, AppendJSONString([]byte(member), value))
	}
}

// matches decides about a line.
func (m *logMatcher) matches(rec *ParsedRecord) Truth {
	q := m.query
	switch {
	case !q.Since.IsZero() && rec.Time.Before(q.Since.Truncate(time.Microsecond)),
		!q.Until.IsZero() && rec.Time.After(q.Until),
		q.Profile != "" && !globMatch(q.Profile, rec.Profile),
		q.Type != "" && !globMatch(q.Type, rec.Type),
		q.Outcome != "" && q.Outcome != rec.Outcome,
		!q.Status.Empty() && !q.Status.Has(rec.Status),
		q.URL != "" && !strings.Contains(rec.URL, q.URL):
		return False
	}
	return and(m.event(rec), m.body(rec))
}

func and(a, b Truth) Truth {
	switch {
	case a == False || b == False:
		return False
	case a == Undecidable || b == Undecidable:
		return Undecidable
	}
	return True
}

func globMatch(glob, text string) bool {
	if glob == text {
		return true
	}
	ok, _ := path.Match(glob, text)
	return ok
}

// event decides whether the line is about the wanted event, alone or in a group.
func (m *logMatcher) event(rec *ParsedRecord) Truth {
	id := m.query.Event
	switch {
	case id == "" || id == rec.Event || id == rec.First || id == rec.Last:
		return True
	case rec.Count <= 1:
		return False
	}
	body, whole := m.wholeBody(rec)
	if bytes.Contains(body, AppendJSONString(nil, id)) {
		return True
	}
	if !whole {
		return Undecidable
	}
	return False
}

// body decides the payload conditions.
func (m *logMatcher) body(rec *ParsedRecord) Truth {
	if len(m.payload) == 0 {
		return True
	}
	answer := m.payloadIn(rec.Body, !rec.BodyTruncated && len(rec.Body) > 0)
	if answer != Undecidable {
		return answer
	}
	body, whole := m.wholeBody(rec)
	return m.payloadIn(body, whole)
}

// wholeBody returns the body as it was sent if that can be had, else what the line keeps of it.
func (m *logMatcher) wholeBody(rec *ParsedRecord) (body []byte, whole bool) {
	if !rec.BodyTruncated && len(rec.Body) > 0 {
		return rec.Body, true
	}
	if m.query.FullBody != nil {
		if full, ok := m.query.FullBody(rec.Profile, rec.Event); ok {
			return full, true
		}
	}
	return rec.Body, false
}

func (m *logMatcher) payloadIn(body []byte, whole bool) Truth {
	answer := True
	for i := range m.payload {
		answer = and(answer, m.payload[i].in(body, whole))
	}
	return answer
}

// in decides one condition on a body, or on the start of one.
func (c *payloadCondition) in(body []byte, whole bool) Truth {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	found, err := c.find(dec, c.path)
	switch {
	case found:
		return True
	case !whole:
		return Undecidable
	case err != nil && !errors.Is(err, io.EOF):
		return Undecidable // not JSON
	}
	return False
}

// find reads one value and reports whether the condition holds in it. rest is what is left of the path;
// nil passes the value over.
func (c *payloadCondition) find(dec *json.Decoder, rest []string) (bool, error) {
	token, err := dec.Token()
	if err != nil {
		return false, err
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return rest != nil && len(rest) == 0 && c.equals(token), nil
	}
	for dec.More() {
		inner := rest
		if delim == '{' {
			name, err := dec.Token()
			if err != nil {
				return false, err
			}
			inner = descend(rest, name)
		}
		found, err := c.find(dec, inner)
		if found || err != nil {
			return found, err
		}
	}
	_, err = dec.Token()
	return false, err
}

// descend returns the path below a member, or nil when the path does not lead there.
func descend(rest []string, name json.Token) []string {
	if len(rest) == 0 || name != rest[0] {
		return nil
	}
	return rest[1:]
}

// equals compares a value with the condition's text; numbers compare by value.
func (c *payloadCondition) equals(token json.Token) bool {
	switch v := token.(type) {
	case string:
		return v == c.value
	case json.Number:
		return v.String() == c.value || equalNumbers(v.String(), c.value)
	case bool:
		return c.value == "true" && v || c.value == "false" && !v
	}
	return token == nil && c.value == "null"
}
