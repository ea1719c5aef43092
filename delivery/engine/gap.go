package engine

import (
	"fmt"
	"strings"
	"time"

	"rowhook/delivery"
)

// gap is what a receiver has not been told that it will not get.
type gap struct {
	Count int64  `json:"count"`
	First string `json:"first"`
	Last  string `json:"last"`
}

// header is the gap's part of the rowhook-gap header: an event's delivery may tell of several, separated by commas.
func (g *gap) header() string {
	return fmt.Sprintf("count=%d; first=%s; last=%s", g.Count, g.First, g.Last)
}

func (g *gap) grow(id string) {
	if g.Count == 0 {
		g.First = id
	}
	g.Count++
	g.Last = id
}

// maxKeyGaps is how many ordering keys have a gap of their own. What exceeds it is told by the
// profile's next delivery, whatever its key.
const maxKeyGaps = 256

// gapGrows takes note of an event, or the group that begins with it, that was dropped: the profile's next delivery tells of it.
func (d *dispatcher) gapGrows(id string, m *delivery.Members) {
	if d.state.Gap == nil {
		d.state.Gap = new(gap)
	}
	d.state.Gap.grow(id)
	if m != nil {
		d.state.Gap.Count += int64(m.Count) - 1
		d.state.Gap.Last = m.LastID
	}
	d.carrier = nil // what is under way tells of less
}

// gapInKey takes note of an event that was given up while later ones of its key go on: the next of them tells of it.
func (d *dispatcher) gapInKey(r *delivery.Delivery, id string, now time.Time) {
	if !d.profile.ordered() {
		return
	}
	if r.Events() > 1 { // of many keys, as a rule
		d.gapGrows(id, r.Members)
		d.keepState(now)
		return
	}
	var few [2]uint64
	for _, hash := range r.Lanes(&few) {
		g := d.state.Gaps[hash]
		switch {
		case g != nil:
		case len(d.state.Gaps) >= maxKeyGaps:
			d.gapGrows(id, nil)
			continue
		case d.state.Gaps == nil:
			d.state.Gaps = make(map[uint64]*gap)
			fallthrough
		default:
			g = new(gap)
			d.state.Gaps[hash] = g
		}
		g.grow(id)
	}
	d.keepState(now)
}

// gapMended takes back the gap that is this one event, which is to be delivered after all.
func (d *dispatcher) gapMended(r *delivery.Delivery, id string, now time.Time) {
	if g := d.state.Gap; g != nil && r.Events() > 1 && g.Count == int64(r.Events()) && g.First == id && d.carrier == nil {
		d.state.Gap = nil
		d.keepState(now)
		return
	}
	var few [2]uint64
	for _, hash := range r.Lanes(&few) {
		if g := d.state.Gaps[hash]; g != nil && g.Count == 1 && g.First == id {
			delete(d.state.Gaps, hash)
			d.keepState(now)
		}
	}
}

// markGap has a job carry the gap marker: the profile's one at a time until it was delivered, and its key's.
func (d *dispatcher) markGap(j *job) {
	j.gap = ""
	if d.state.Gap == nil && len(d.state.Gaps) == 0 {
		return
	}
	var parts []string
	if d.state.Gap != nil && d.carrier == nil {
		d.carrier = j
		parts = append(parts, d.state.Gap.header())
	}
	var few [2]uint64
	for _, hash := range j.record.Lanes(&few) {
		if g := d.state.Gaps[hash]; g != nil {
			parts = append(parts, g.header())
		}
	}
	j.gap = strings.Join(parts, ", ")
}

// gapTold takes note that the receiver knows of what a job's marker told, unless it has grown since.
func (d *dispatcher) gapTold(j *job, carried bool, now time.Time) {
	if carried {
		d.state.Gap = nil
	}
	var few [2]uint64
	for _, hash := range j.record.Lanes(&few) {
		if g := d.state.Gaps[hash]; g != nil && strings.Contains(j.gap, g.header()) {
			delete(d.state.Gaps, hash)
		}
	}
	d.keepState(now)
}
