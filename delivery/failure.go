package delivery

import (
	"strconv"
	"time"
)

// Failure is an attempt that did not deliver, for those who tell people of it. It holds no row data
// and no credentials.
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
	// Response is the start of the reply; empty when it repeats something of the event's data, and
	// for groups.
	Response string
	Next     time.Time // the next attempt; zero when there is none
}

// Result says in one line what came of an attempt.
func (f *Failure) Result() string {
	text := f.Reason
	if f.Status != 0 {
		text = "status " + strconv.Itoa(f.Status)
	}
	if f.Error != "" {
		text += ": " + f.Error
	}
	return text
}
