package engine_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
)

// lossy is a format that has to change the column note of some events.
type lossy struct{ plain }

func (lossy) Flags(ev *delivery.Event) []string {
	if ev.ID == "e1" {
		return nil
	}
	return []string{"note", "price"}
}

// TestFlagsOfTheFormat holds that the log flags what the database's types and what the format had
// to change, of a group's events too.
func TestFlagsOfTheFormat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		unit   func(*delivery.ProfileConfig)
		events int
		want   [][]string
	}{
		{nil, 2, [][]string{{"price"}, {"price", "note"}}},
		{batches(2, time.Second), 2, [][]string{{"price", "note"}}},
		{batches(1, time.Second), 1, [][]string{{"price"}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t, c.unit)
			b.format = lossy{}
			b.build()
			b.start()
			for _, ev := range some(1, c.events, 1) {
				ev.Flags = []string{"price"}
				b.append(ev)
			}
			time.Sleep(2 * time.Second)
			b.stopped()
			var got [][]string
			for _, line := range b.lines.all {
				got = append(got, line.Flags)
			}
			if !slices.EqualFunc(got, c.want, slices.Equal) {
				t.Errorf("flags %q, want %q", got, c.want)
			}
		})
	}
}
