package operation

import (
	"strings"
	"testing"
	"time"
)

// TestLackTimes: what was left out is told once for each stretch of time, by its cause.
func TestLackTimes(t *testing.T) {
	t.Parallel()
	at := func(minute int) ExplainedLack {
		from := time.Date(2026, 11, 22, 12, minute, 0, 0, time.UTC)
		return ExplainedLack{Entry: "loans", From: from, To: from.Add(30 * time.Second), Events: 1, Eventless: 2}
	}
	unwritten := at(5)
	unwritten.Entry = ""
	for _, c := range []struct {
		list []ExplainedLack
		want []string // parts of the notes
	}{
		{[]ExplainedLack{at(1), at(0), at(60)}, []string{"too many changes at once: 4 without an event and 2 with", "too many changes at once: 2 without an event and 1 with"}},
		{[]ExplainedLack{unwritten}, []string{"could not be written, for the disk was full or slow: 2 without an event and 1 with"}},
		{[]ExplainedLack{at(0), at(10), at(20), at(30)}, []string{"4 times between "}},
	} {
		e := Explanation{LeftOut: c.list}
		notes := e.Notes()
		for i, want := range c.want {
			if !strings.Contains(notes[i], want) {
				t.Errorf("note %d is %s, want %s", i, notes[i], want)
			}
		}
		if len(notes) != len(c.want)+1 { // and that there is no account
			t.Errorf("notes are %q", notes)
		}
	}
}
