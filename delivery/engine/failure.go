package engine

import (
	"bytes"
	"encoding/json"
	"slices"

	"rowhook/delivery"
)

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
