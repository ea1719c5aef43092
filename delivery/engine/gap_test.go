package engine

import (
	"fmt"
	"testing"

	"rowhook/delivery"
)

// inKey is the record of one event in a lane.
func inKey(lane uint64) *delivery.Delivery { return &delivery.Delivery{Lane: lane, WaitLane: lane} }

// TestGapsInKey: the next delivery of a key tells of its gap, until the receiver has been told.
func TestGapsInKey(t *testing.T) {
	t.Parallel()
	g := gaps{ordered: true}
	g.growKey(inKey(1), "evt_1")
	g.growKey(inKey(1), "evt_2")
	g.growKey(inKey(2), "evt_3")
	j := &job{record: *inKey(1)}
	if g.mark(j); j.gap != "count=2; first=evt_1; last=evt_2" {
		t.Errorf("the next of the key has %q", j.gap)
	}
	g.growKey(inKey(1), "evt_4")
	if g.told(j, g.back(j)); len(g.Gaps) != 2 {
		t.Error("a gap that has grown meanwhile was taken for told")
	}
	g.mark(j)
	if g.told(j, g.back(j)); len(g.Gaps) != 1 || g.Gaps[2] == nil {
		t.Errorf("after the receiver was told: %v", g.Gaps)
	}
	other := &job{record: *inKey(3)}
	if g.mark(other); other.gap != "" {
		t.Errorf("another key's delivery has %q", other.gap)
	}
	if !g.fill(inKey(2), "evt_3") || len(g.Gaps) != 0 || g.fill(inKey(2), "evt_3") {
		t.Error("a gap is not filled by its event, or twice")
	}
}

// TestGapsOfAll: one delivery at a time tells of what was dropped, whatever its key.
func TestGapsOfAll(t *testing.T) {
	t.Parallel()
	g := gaps{ordered: true}
	g.grow("evt_1", nil)
	g.grow("evt_2", &delivery.Members{Count: 3, LastID: "evt_4"})
	first, second := &job{record: *inKey(1)}, &job{record: *inKey(2)}
	g.mark(first)
	if g.mark(second); first.gap != "count=4; first=evt_1; last=evt_4" || second.gap != "" {
		t.Errorf("%q and %q", first.gap, second.gap)
	}
	g.grow("evt_5", nil)
	if g.told(first, g.back(first)); g.Gap == nil {
		t.Error("a gap that has grown meanwhile was taken for told")
	}
	g.mark(second)
	if carried := g.back(second); !carried {
		t.Errorf("the second one carried %q", second.gap)
	} else if g.told(second, carried); g.Gap != nil {
		t.Errorf("after the receiver was told: %+v", g.Gap)
	}
	group := &delivery.Delivery{Members: &delivery.Members{Count: 2, LastID: "evt_7"}}
	if g.growKey(group, "evt_6"); g.Gap == nil || g.Gap.Count != 2 {
		t.Errorf("a group that was given up: %+v", g.Gap)
	}
	if !g.fill(group, "evt_6") || g.Gap != nil {
		t.Error("a group that is sent after all does not fill its gap")
	}
}

// TestGapsBound: keys beyond the bound share the profile's gap; without order there are none of
// keys.
func TestGapsBound(t *testing.T) {
	t.Parallel()
	g := gaps{ordered: true}
	for i := range maxKeyGaps + 3 {
		g.growKey(inKey(uint64(i)), fmt.Sprint(i))
	}
	if len(g.Gaps) != maxKeyGaps || g.Gap == nil || g.Gap.Count != 3 {
		t.Errorf("%d keys, %+v", len(g.Gaps), g.Gap)
	}
	if g = (gaps{}); g.growKey(inKey(1), "evt_1") || g.Gap != nil || g.Gaps != nil {
		t.Error("without order a key has a gap")
	}
}
