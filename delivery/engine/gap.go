package engine

import (
	"fmt"
	"strings"

	"rowhook/delivery"
)

// gap is what a receiver has not been told that it will not get.
type gap struct {
	Count int64  `json:"count"`
	First string `json:"first"`
	Last  string `json:"last"`
}

// header is the gap's part of the rowhook-gap header: an event's delivery may tell of several,
// separated by commas.
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

// untold is what is stored of gaps.
type untold struct {
	Gap *gap `json:"gap,omitempty"`
	// Gaps are those of ordering keys, by lane.
	Gaps map[uint64]*gap `json:"gaps,omitempty"`
}

// gaps is what a profile's receiver has not been told that it will not get: of its keys, and of
// all.
type gaps struct {
	untold
	ordered bool
	carrier *job // carries the profile's own; nil when none does, or when the gap has grown since
}

func (g *gaps) follow(p *Profile) { g.ordered = p.ordered() }

// grow takes note of an event, or the group that begins with it, that was dropped: the profile's
// next delivery tells of it.
func (g *gaps) grow(id string, m *delivery.Members) {
	if g.Gap == nil {
		g.Gap = new(gap)
	}
	g.Gap.grow(id)
	if m != nil {
		g.Gap.Count += int64(m.Count) - 1
		g.Gap.Last = m.LastID
	}
	g.carrier = nil // what is under way tells of less
}

// growKey takes note of an event that was given up while later ones of its key go on: the next of
// them tells of it. It reports whether anything did change.
func (g *gaps) growKey(r *delivery.Delivery, id string) bool {
	if !g.ordered {
		return false
	}
	if r.Events() > 1 { // of many keys, as a rule
		g.grow(id, r.Members)
		return true
	}
	var few [2]uint64
	for _, hash := range r.Lanes(&few) {
		key := g.Gaps[hash]
		switch {
		case key != nil:
		case len(g.Gaps) >= maxKeyGaps:
			g.grow(id, nil)
			continue
		case g.Gaps == nil:
			g.Gaps = make(map[uint64]*gap)
			fallthrough
		default:
			key = new(gap)
			g.Gaps[hash] = key
		}
		key.grow(id)
	}
	return true
}

// fill takes back the gap that is this one delivery, which is to be delivered after all. It reports
// whether there was such a one.
func (g *gaps) fill(r *delivery.Delivery, id string) (filled bool) {
	if own := g.Gap; own != nil && r.Events() > 1 && own.Count == int64(r.Events()) && own.First == id && g.carrier == nil {
		g.Gap = nil
		return true
	}
	var few [2]uint64
	for _, hash := range r.Lanes(&few) {
		if key := g.Gaps[hash]; key != nil && key.Count == 1 && key.First == id {
			delete(g.Gaps, hash)
			filled = true
		}
	}
	return filled
}

// mark has a job carry the gap marker: the profile's, one at a time until it was delivered, and its
// key's.
func (g *gaps) mark(j *job) {
	j.gap = ""
	if g.Gap == nil && len(g.Gaps) == 0 {
		return
	}
	var parts []string
	if g.Gap != nil && g.carrier == nil {
		g.carrier = j
		parts = append(parts, g.Gap.header())
	}
	var few [2]uint64
	for _, hash := range j.record.Lanes(&few) {
		if key := g.Gaps[hash]; key != nil {
			parts = append(parts, key.header())
		}
	}
	j.gap = strings.Join(parts, ", ")
}

// back takes note that a job is back. It reports whether it carried the profile's gap, as that
// still is.
func (g *gaps) back(j *job) (carried bool) {
	if carried = g.carrier == j; carried {
		g.carrier = nil
	}
	return carried
}

// told takes note that the receiver knows of what a job's marker told, unless it has grown since.
func (g *gaps) told(j *job, carried bool) {
	if carried {
		g.Gap = nil
	}
	var few [2]uint64
	for _, hash := range j.record.Lanes(&few) {
		if key := g.Gaps[hash]; key != nil && strings.Contains(j.gap, key.header()) {
			delete(g.Gaps, hash)
		}
	}
}
