package format

import (
	"cmp"
	"slices"
)

// outline is what objects of one shape share. It is never changed.
type outline struct {
	names []string // of the members, each with its quotes and its colon
	// inner are the outlines of the objects that the members are, or that are in their lists.
	inner   []*outline
	order   []int // the members in the order of their names; of several of one name, the last alone
	ordered bool  // that is the order in which they are written
}

// member returns the name of a member of such an object, and its outline, if it has them.
func (l *outline) member(i int) (name string, inner *outline) {
	if l == nil || i >= len(l.names) {
		return "", nil
	}
	return l.names[i], l.inner[i]
}

// outline returns the outermost object's outline.
func (x *row) outline() *outline {
	if x.like == nil {
		before := len(x.places)
		x.like = x.outlineOf(x.places[x.outer.start:x.outer.end], 1)
		x.places = x.places[:before]
	}
	return x.like
}

func (x *row) outlineOf(members []place, depth int) *outline {
	like := &outline{ordered: true}
	for i := range members {
		p := &members[i]
		like.names = append(like.names, string(x.src[p.start:p.nameEnd+1])+":")
		like.inner = append(like.inner, x.innerOf(p, depth))
		like.order = append(like.order, i)
		like.ordered = like.ordered && (i == 0 || x.compare(&members[i-1], p) < 0)
	}
	slices.SortFunc(like.order, func(a, b int) int { return cmp.Or(x.compare(&members[a], &members[b]), b-a) })
	like.order = slices.CompactFunc(like.order, func(a, b int) bool { return x.compare(&members[a], &members[b]) == 0 })
	return like
}

// innerOf returns the outline of an object, or of the first object in a list. Far within there are
// none, since each object is read anew for its own.
func (x *row) innerOf(p *place, depth int) *outline {
	const deepest = 6
	switch c := x.src[p.value]; {
	case depth > deepest:
	case c == '{':
		first := len(x.open)
		x.pos = int(p.value)
		x.members(nil, depth)
		like := x.outlineOf(x.open[first:], depth+1)
		x.open = x.open[:first]
		return like
	case c == '[':
		elements := x.inside(p)
		if elements.start < elements.end {
			e := x.places[elements.start]
			return x.innerOf(&e, depth+1)
		}
	}
	return nil
}
