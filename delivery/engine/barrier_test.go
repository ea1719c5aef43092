package engine

import (
	"reflect"
	"testing"

	"rowhook/delivery"
)

// TestTurns holds where barriers stand for a profile whose events came to be made by other configs at
// places of a log that may have more already.
func TestTurns(t *testing.T) {
	t.Parallel()
	old := barrier{Order: "key", Unit: delivery.UnitRecord}
	at := func(b barrier, at delivery.Seq) barrier { b.At = at; return b }
	now := barrier{Order: "none", Unit: delivery.UnitRecord}
	for name, tt := range map[string]struct {
		before ordering
		order  string
		turns  []delivery.Seq
		next   delivery.Seq
		want   []barrier
	}{
		"another order":               {ordering{Order: old.Order, Unit: old.Unit, Turned: 1}, now.Order, []delivery.Seq{1, 9}, 5, []barrier{at(old, 8)}},
		"the same order":              {ordering{Order: old.Order, Unit: old.Unit, Turned: 1}, old.Order, []delivery.Seq{1, 9}, 5, nil},
		"one that is not known":       {ordering{}, now.Order, []delivery.Seq{9}, 5, nil},
		"read up to it":               {ordering{Order: old.Order, Unit: old.Unit, Turned: 1}, now.Order, []delivery.Seq{1, 9}, 9, []barrier{at(old, 8)}},
		"read beyond it":              {ordering{Order: old.Order, Unit: old.Unit, Turned: 1}, now.Order, []delivery.Seq{1, 9}, 12, nil},
		"two turns":                   {ordering{Order: old.Order, Unit: old.Unit, Turned: 1}, now.Order, []delivery.Seq{1, 9, 20}, 5, []barrier{at(old, 8), at(now, 19)}},
		"there and back":              {ordering{Order: old.Order, Unit: old.Unit, Turned: 1}, old.Order, []delivery.Seq{1, 9, 20}, 5, []barrier{at(old, 8), at(old, 19)}},
		"the first one has been read": {ordering{Order: old.Order, Unit: old.Unit}, now.Order, []delivery.Seq{1, 9, 20}, 15, []barrier{at(now, 19)}},
		"two at one place":            {ordering{Order: old.Order, Unit: old.Unit, Turned: 9, Barriers: []barrier{at(now, 8)}}, now.Order, []delivery.Seq{1, 9}, 5, []barrier{at(now, 8)}},
		"another one at its place":    {ordering{Order: old.Order, Unit: old.Unit, Turned: 9}, now.Order, []delivery.Seq{1, 9}, 5, []barrier{at(old, 8)}},
		"nothing was before":          {ordering{Order: old.Order, Unit: old.Unit}, now.Order, []delivery.Seq{1}, 1, nil},
		"seen before":                 {ordering{Order: now.Order, Unit: now.Unit, Turned: 9, Barriers: []barrier{at(old, 8)}}, now.Order, []delivery.Seq{1, 9}, 5, []barrier{at(old, 8)}},
	} {
		p := &Profile{config: delivery.ProfileConfig{Order: tt.order, Unit: delivery.UnitRecord}}
		o := tt.before
		o.followTurns(p, tt.turns, tt.next)
		if !reflect.DeepEqual(o.Barriers, tt.want) || o.Turned != tt.turns[len(tt.turns)-1] || o.Order != tt.order {
			t.Errorf("%s: %+v", name, o)
		}
		if o.followTurns(p, tt.turns, tt.next) {
			t.Errorf("%s: differs again", name)
		}
	}
}
