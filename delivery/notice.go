package delivery

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"
)

// Failure is an attempt that did not deliver, for those who tell people of it. It holds no row data and no credentials.
type Failure struct {
	Profile string
	Time    time.Time
	Outcome Outcome // retrying, dead or held
	// Event is its id; Type, Op, As, Code and Title are as in [Event].
	Event, Type, Op string
	As              map[string]*string
	Code, Title     string
	URL             string // credentials masked
	Attempt         int
	Attempts        int // that there may be; 0 where nothing but time bounds them
	Status          int // 0 without a reply
	Reason, Error   string
	// Response is the start of the reply; empty when it repeats something of the event's data, and for groups.
	Response string
	Next     time.Time // the next attempt; zero when there is none
}

// tellFailure hands an attempt's line on to whoever tells people.
func (d *dispatcher) tellFailure(rec *LogRecord, ev *Event) {
	tell := d.engine.options.OnFailure
	if tell == nil || rec.Outcome == OutcomeInterrupted || len(d.profile.config.Contacts) == 0 {
		return
	}
	f := Failure{
		Profile: rec.Profile, Time: rec.Time, Outcome: rec.Outcome, Event: rec.Event, Type: ev.Type, Op: ev.Origin.Op, As: ev.As,
		Code: ev.Code, Title: ev.Title, URL: rec.URL, Attempt: rec.Attempt, Status: rec.Status, Reason: rec.Reason, Error: rec.Error,
		Next: rec.NextAttempt,
	}
	if n := len(d.profile.config.Retry.Schedule); n > 0 {
		f.Attempts = n + 1
	}
	if rec.Count <= 1 && !repeatsData(rec.Response, ev) {
		f.Response = string(rec.Response)
	}
	tell(f)
}

// shortestTelltale is the length from which on a value of the data is looked for in a reply.
const shortestTelltale = 3

// repeatsData reports whether a reply holds a text or number of the event's data, as receivers that quote what they refuse do; of a large event it is assumed.
func repeatsData(reply []byte, ev *Event) bool {
	if len(reply) == 0 {
		return false
	}
	if ev.Away != nil {
		return true // nobody looks through so much
	}
	for _, part := range [][]byte{ev.Key, ev.Data, ev.Previous, ev.Shape} {
		decoder := json.NewDecoder(bytes.NewReader(part))
		decoder.UseNumber()
		var value any
		if decoder.Decode(&value) == nil && repeatsValue(reply, value) {
			return true
		}
	}
	return false
}

func repeatsValue(reply []byte, value any) bool {
	text := ""
	switch v := value.(type) {
	case string:
		text = v
	case json.Number:
		text = v.String()
	case []any:
		return slices.ContainsFunc(v, func(one any) bool { return repeatsValue(reply, one) })
	case map[string]any:
		for _, one := range v {
			if repeatsValue(reply, one) {
				return true
			}
		}
	}
	return len(text) >= shortestTelltale && bytes.Contains(reply, []byte(text))
}
