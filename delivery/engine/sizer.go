package engine

import (
	"errors"
	"iter"

	"rowhook/delivery"
)

// sizer measures what events take in the body of a group, by rendering groups of one and of two of
// them: their difference is what one more costs.
type sizer struct {
	formatter delivery.GroupFormatter
	group     delivery.Group
	base      int64 // the most that a body without events took
}

// sizeSlack is what a group's own members may take beyond what was measured.
const sizeSlack = 64

func newSizer(p *Profile) sizer {
	formatter, _ := p.formatter.(delivery.GroupFormatter)
	return sizer{formatter: formatter, group: delivery.Group{
		ID: "grp_aaaaaaaaaaaaaaaaaaaaaaaaaa", Unit: p.config.Unit, Count: delivery.MaxGroupEvents, Part: 1e6, Parts: 1e6,
	}}
}

// of returns what an event takes; 0 when it cannot be rendered, which is told when it is to be
// sent.
func (s *sizer) of(ev *delivery.Event) int64 {
	if s.formatter == nil {
		return 0
	}
	s.group.First = ev
	if s.group.Unit == delivery.UnitType {
		s.group.Type = ev.Type
	}
	one, err1 := s.write(1, ev)
	two, err2 := s.write(2, ev)
	if errors.Join(err1, err2) != nil {
		return 0
	}
	s.base = max(s.base, 2*one-two+sizeSlack)
	return two - one
}

func (s *sizer) write(times int, ev *delivery.Event) (int64, error) {
	s.group.Events = func(yield func(*delivery.Event, error) bool) {
		for range times {
			if !yield(ev, nil) {
				return
			}
		}
	}
	var n byteCounter
	err := s.formatter.WriteGroup(&n, &s.group)
	return int64(n), err
}

// byteCounter is a writer that only counts.
type byteCounter int64

func (n *byteCounter) Write(p []byte) (int, error) {
	*n += byteCounter(len(p))
	return len(p), nil
}

// cuts returns where a group is to be divided so that the bodies of its parts are not too large.
func (s *sizer) cuts(events iter.Seq2[*delivery.Event, error], limit int64) (cuts []int, err error) {
	n, size := 0, int64(0)
	for ev, err := range events {
		if err != nil {
			return nil, err
		}
		one := s.of(ev)
		if size > 0 && s.base+size+one > limit {
			cuts = append(cuts, n)
			size = 0
		}
		size += one
		n++
	}
	return cuts, nil
}
