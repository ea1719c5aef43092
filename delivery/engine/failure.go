package engine

import (
	"bytes"
	"encoding/json"
	"slices"

	"rowhook/delivery"
)

// tellFailure hands an attempt's line on to whoever tells people.
func (d *dispatcher) tellFailure(rec *delivery.LogRecord, ev *delivery.Event) {
	tell := d.engine.options.OnFailure
	if tell == nil || rec.Outcome == delivery.OutcomeInterrupted || len(d.profile.config.Contacts) == 0 {
		return
	}
	f := delivery.Failure{
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

// repeatsData reports whether a reply holds a text or number of the event's data, as receivers that
// quote what they refuse do; of a large event it is assumed.
func repeatsData(reply []byte, ev *delivery.Event) bool {
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
