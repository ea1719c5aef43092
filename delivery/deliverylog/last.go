package deliverylog

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"time"

	"rowhook/delivery"
)

// Last is when a profile last delivered, and last failed to.
type Last struct{ Success, Failure time.Time }

// lastWithin is how much of the log's end is looked at: a status must not take long.
const lastWithin = 32 << 20

// LastResults reads from the end of the delivery log, as far as lastWithin, when each profile last
// delivered and failed. What is further back, or in files that were closed, is not known.
func LastResults(path string) map[string]Last {
	last := map[string]Last{}
	file, err := os.Open(path)
	if err != nil {
		return last
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return last
	}
	start := max(0, info.Size()-lastWithin)
	tail, err := io.ReadAll(io.NewSectionReader(file, start, info.Size()-start))
	if err != nil {
		return last
	}
	if _, whole, cut := bytes.Cut(tail, []byte("\n")); start > 0 && cut {
		tail = whole
	}
	for line := range bytes.Lines(tail) {
		noteLast(last, line)
	}
	return last
}

// noteLast takes one line. Bodies are what makes lines long: members are read up to the outcome
// only.
func noteLast(last map[string]Last, line []byte) {
	var at time.Time
	var profile, outcome string
	members := json.NewDecoder(bytes.NewReader(line))
	for outcome == "" {
		name, err := members.Token()
		if err != nil {
			return
		}
		switch name {
		case json.Delim('{'):
			continue
		case json.Delim('}'):
			return
		case "time":
			err = members.Decode(&at)
		case "profile":
			err = members.Decode(&profile)
		case "outcome":
			err = members.Decode(&outcome)
		default:
			var other json.RawMessage
			err = members.Decode(&other)
		}
		if err != nil {
			return
		}
	}
	tries := last[profile]
	switch delivery.Outcome(outcome) {
	case delivery.OutcomeDelivered:
		tries.Success = at
	case delivery.OutcomeRetrying, delivery.OutcomeDead:
		tries.Failure = at
	}
	last[profile] = tries
}
