package engine

import (
	"slices"
	"testing"
	"time"

	"rowhook/delivery"
)

// TestWindow holds how many requests may be under way after failures (f) and answers (a).
func TestWindow(t *testing.T) {
	t.Parallel()
	for results, want := range map[string][]int{
		"":             {16},
		"f":            {16, 4},
		"ffff":         {16, 4, 2, 1, 1},
		"fffa":         {16, 4, 2, 1, 2},
		"fffaaaaaaaaa": {16, 4, 2, 1, 2, 2, 4, 4, 4, 4, 16, 16, 16},
	} {
		config := delivery.Defaults("native")
		d := &dispatcher{engine: &Engine{}, profile: &Profile{config: config, schedule: newSchedule(config.Retry)}}
		now := time.Unix(1, 0)
		limit := func() int {
			n, _ := d.gate(now)
			return n
		}
		got := []int{limit()}
		for i, result := range results {
			j := &job{seq: delivery.Seq(i), reply: delivery.Reply{Class: delivery.ClassTransient, Started: now}}
			if result == 'f' {
				d.fails(j, now)
			} else {
				d.answered(j, now)
			}
			got = append(got, limit())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", results, got, want)
		}
	}
}
