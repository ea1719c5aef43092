package deliverylog

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"rowhook/delivery"
)

// logMatcher is a query made ready.
type logMatcher struct {
	query        *Query
	since, until string   // in the form of lineTime; empty for none
	needles      [][]byte // every one of which a matching line contains
	event        []byte   // which it contains, or it is about several
	payload      []payloadCondition
}

// payloadCondition is one PATH=VALUE.
type payloadCondition struct {
	path  []string
	value string
	// needle is what every body that fulfils the condition contains, unless it writes characters as
	// \\u; nil when nothing can be said.
	needle []byte
}

func newPayloadCondition(path, value string) payloadCondition {
	c := payloadCondition{path: strings.Split(path, "."), value: value}
	plain := spellsItself(value)
	if _, integer, fraction, ok := delivery.SplitNumber(value); ok { // 12.50 also finds 12.5
		value, plain = integer, true
		if fraction != "" {
			value += "." + fraction
		}
	}
	if plain && value != "" {
		c.needle = []byte(value)
	}
	return c
}

// spellsItself reports whether a text stands in JSON as it is, whoever writes it: in ASCII, and
// without what must or may be escaped.
func spellsItself(text string) bool {
	beyond := strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf || r == '/' }) >= 0
	return !beyond && len(delivery.AppendJSONString(nil, text)) == len(`""`)+len(text)
}

// may reports quickly whether the line can fulfil the condition or leave it undecided.
func (c *payloadCondition) may(line []byte) bool {
	return c.needle == nil || bytes.Contains(line, c.needle) || bytes.Contains(line, []byte(`"body_truncated":true`)) ||
		!bytes.Contains(line, []byte(`,"body":"`)) || bytes.Contains(line, []byte(`\\u`))
}

func newLogMatcher(q *Query) (*logMatcher, error) {
	m := &logMatcher{query: q}
	for _, text := range q.Payload {
		at, value, ok := strings.Cut(text, "=")
		if !ok || at == "" {
			return nil, fmt.Errorf("payload condition %q is not PATH=VALUE", text)
		}
		m.payload = append(m.payload, newPayloadCondition(at, value))
	}
	m.since, m.until = lineTimeOf(q.Since), lineTimeOf(q.Until)
	m.need(`"profile":`, q.Profile)
	m.need(`"type":`, q.Type)
	m.need(`"outcome":`, string(q.Outcome))
	m.event = inner(q.Event)
	if q.URL != "" {
		m.needles = append(m.needles, inner(q.URL))
	}
	return m, nil
}

// inner is a text as it stands within a line's text.
func inner(text string) []byte {
	quoted := delivery.AppendJSONString(nil, text)
	return quoted[1 : len(quoted)-1]
}

// counted is in every line that is about several events, which may not name them all.
var counted = []byte(`,"count":`)

// lineTimeOf returns a time as lines have it.
func lineTimeOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(lineTime)
}

// need says that a line must have a member with exactly that value; globs are left to matches.
func (m *logMatcher) need(member, value string) {
	if value != "" && !strings.ContainsAny(value, "*?") {
		m.needles = append(m.needles, delivery.AppendJSONString([]byte(member), value))
	}
}

// may reports quickly, without parsing, whether a line can match.
func (m *logMatcher) may(line []byte) bool {
	if bytes.HasPrefix(line, []byte(lineStart)) && len(line) > len(lineStart)+len(lineTime) {
		at := line[len(lineStart):][:len(lineTime)]
		if m.since != "" && string(at) < m.since || m.until != "" && string(at) > m.until {
			return false
		}
	}
	if len(m.event) > 0 && !bytes.Contains(line, m.event) && !bytes.Contains(line, counted) {
		return false
	}
	for _, needle := range m.needles {
		if !bytes.Contains(line, needle) {
			return false
		}
	}
	for i := range m.payload {
		if !m.payload[i].may(line) {
			return false
		}
	}
	return m.query.Look == nil || m.query.Look(line)
}

// matches decides about a line.
func (m *logMatcher) matches(rec *ParsedRecord) delivery.Truth {
	q := m.query
	switch {
	case !q.Since.IsZero() && rec.Time.Before(q.Since.Truncate(time.Microsecond)),
		!q.Until.IsZero() && rec.Time.After(q.Until),
		q.Profile != "" && !delivery.MatchGlob(q.Profile, rec.Profile),
		q.Type != "" && !delivery.MatchGlob(q.Type, rec.Type),
		q.Outcome != "" && q.Outcome != rec.Outcome,
		!q.Status.Empty() && !q.Status.Has(rec.Status),
		q.URL != "" && !strings.Contains(rec.URL, q.URL):
		return delivery.False
	}
	return and(m.about(rec), m.body(rec))
}

func and(a, b delivery.Truth) delivery.Truth {
	switch {
	case a == delivery.False || b == delivery.False:
		return delivery.False
	case a == delivery.Undecidable || b == delivery.Undecidable:
		return delivery.Undecidable
	}
	return delivery.True
}

// about decides whether the line is about the wanted event, alone or in a group.
func (m *logMatcher) about(rec *ParsedRecord) delivery.Truth {
	id := m.query.Event
	switch {
	case id == "" || id == rec.Event || id == rec.First || id == rec.Last:
		return delivery.True
	case rec.Count <= 1:
		return delivery.False
	case rec.Event == "" && rec.Unit == "": // a summary: it may be among those that are not named
		return delivery.Undecidable
	}
	member := payloadCondition{path: []string{"events", "id"}, value: id}
	if whole := !rec.BodyTruncated && len(rec.Body) > 0; member.in(rec.Body, whole) == delivery.True {
		return delivery.True
	}
	if m.query.InGroup != nil { // not every format names its events
		return m.query.InGroup(rec, id)
	}
	return member.in(m.wholeBody(rec))
}

// body decides the payload conditions.
func (m *logMatcher) body(rec *ParsedRecord) delivery.Truth {
	if len(m.payload) == 0 {
		return delivery.True
	}
	answer := m.payloadIn(rec.Body, !rec.BodyTruncated && len(rec.Body) > 0)
	if answer != delivery.Undecidable {
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
		if full, ok := m.query.FullBody(rec); ok {
			return full, true
		}
	}
	return rec.Body, false
}

func (m *logMatcher) payloadIn(body []byte, whole bool) delivery.Truth {
	answer := delivery.True
	for i := range m.payload {
		answer = and(answer, m.payload[i].in(body, whole))
	}
	return answer
}

// in decides one condition on a body, or on the start of one.
func (c *payloadCondition) in(body []byte, whole bool) delivery.Truth {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	found, err := c.find(dec, c.path)
	switch {
	case found:
		return delivery.True
	case !whole:
		return delivery.Undecidable
	case err != nil && !errors.Is(err, io.EOF):
		return delivery.Undecidable // not JSON
	}
	return delivery.False
}

// find reads one value and reports whether the condition holds in it. rest is what is left of the
// path; nil passes the value over.
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
		return delivery.SenseNumber.Same(v.String(), c.value)
	case bool:
		return c.value == "true" && v || c.value == "false" && !v
	}
	return token == nil && c.value == "null"
}
