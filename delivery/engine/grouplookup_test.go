package engine_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/delivery"
)

// The lines of the delivery log name a group's first and last event; the store still knows all of
// them.
func TestGroupOfALine(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"batch", "transaction", "type"} {
		t.Run(unit, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t, func(c *delivery.ProfileConfig) { c.Unit, c.Batch.Max = unit, 7 })
				b.start()
				for i := range 30 {
					ev := event(fmt.Sprintf("e%02d", i), fmt.Sprint(i))
					ev.Transaction = fmt.Sprint(i / 10)
					ev.Type = []string{"loan.returned", "loan.created"}[i%2]
					b.append(ev)
				}
				time.Sleep(time.Minute)
				b.stopped()
				groups, members := 0, map[string]int{}
				for _, line := range b.lines.of("") {
					group, err := b.engine.GroupOf(t.Context(), &line)
					if err != nil {
						t.Fatal(err)
					}
					if line.Count <= 1 {
						if group != nil {
							t.Errorf("a group of %+v", line)
						}
						continue
					}
					if group == nil {
						t.Errorf("the store knows no group of line %+v", line)
						continue
					}
					groups++
					var ids []string
					for ev, err := range group.Events {
						if err != nil {
							t.Fatal(err)
						}
						ids = append(ids, ev.ID)
						members[ev.ID]++
					}
					if len(ids) != line.Count || ids[0] != line.First || ids[len(ids)-1] != line.Last || !slices.IsSorted(ids) {
						t.Errorf("line %+v has %v", line, ids)
					}
					forged := line
					forged.Event = "grp_another"
					if group, err := b.engine.GroupOf(t.Context(), &forged); group != nil || err != nil {
						t.Errorf("another group was taken for it: %+v, %v", group, err)
					}
				}
				for id, n := range members {
					if n != 1 {
						t.Errorf("%s is in %d groups", id, n)
					}
				}
				if groups < 3 {
					t.Errorf("%d groups", groups)
				}
			})
		})
	}
}
