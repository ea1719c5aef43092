package delivery

import "slices"

// routes are those of the profiles that name an event, in the targets' order, with indexes by what
// their conditions ask for: with very many profiles that take a part each, only those are asked whose
// conditions the row can meet.
type routes struct {
	all     []route
	rest    []int // of all, those that are in no index
	indexes []columnIndex
	hits    []int // buffers
	merged  []int
}

// columnIndex has routes all of whose subscriptions have a condition on a column, by the values that they
// ask for.
type columnIndex struct {
	column  string
	members []int
	text    map[string][]int
	null    []int
	// odd are those that name a value which a number may be equal to though it is spelled otherwise.
	odd []int
}

// leastIndexed is from how many routes on an index is worth its look-up.
const leastIndexed = 4

func newRoutes(all []route) *routes {
	r := &routes{all: all}
	at := map[string]int{} // of the indexes, by column
	for i := range all {
		column := all[i].indexed()
		if column == "" {
			r.rest = append(r.rest, i)
			continue
		}
		n, ok := at[column]
		if !ok {
			n = len(r.indexes)
			at[column], r.indexes = n, append(r.indexes, columnIndex{column: column, text: map[string][]int{}})
		}
		r.indexes[n].add(i, &all[i])
	}
	r.indexes = slices.DeleteFunc(r.indexes, func(x columnIndex) bool {
		small := len(x.members) < leastIndexed
		if small {
			r.rest = append(r.rest, x.members...)
		}
		return small
	})
	slices.Sort(r.rest)
	return r
}

// indexed returns a column on which each of the route's subscriptions has a condition; empty for none.
func (r *route) indexed() string {
	if r.always {
		return ""
	}
	for _, c := range r.subscriptions[0].where {
		if !slices.ContainsFunc(r.subscriptions, func(s *subscription) bool { return s.where.on(c.Column) == nil }) {
			return c.Column
		}
	}
	return ""
}

// on returns the condition on a column, or nil.
func (w Where) on(column string) *Condition {
	for i := range w {
		if w[i].Column == column {
			return &w[i]
		}
	}
	return nil
}

func (x *columnIndex) add(i int, r *route) {
	x.members = append(x.members, i)
	once := func(list []int) []int {
		if n := len(list); n > 0 && list[n-1] == i {
			return list
		}
		return append(list, i)
	}
	for _, s := range r.subscriptions {
		for _, v := range s.where.on(x.column).Values {
			if v.Null {
				x.null = once(x.null)
				continue
			}
			x.text[v.Text] = once(x.text[v.Text])
			if !isInteger(v.Text) {
				x.odd = once(x.odd)
			}
		}
	}
}

// appendHits appends the routes that may match a row, some perhaps twice.
func (x *columnIndex) appendHits(dst []int, row Row) []int {
	text, known, sense, ok := row.Column(x.column)
	switch {
	case !ok:
		return dst
	case known == ValueNull:
		return append(dst, x.null...)
	case known == ValuePresent && (sense == SenseText || sense == SenseOpaque): // spelled alike, or not the same
		return append(dst, x.text[text]...)
	case known == ValuePresent && sense == SenseNumber && isInteger(text): // integers have one spelling
		return append(append(dst, x.text[text]...), x.odd...)
	}
	return append(dst, x.members...)
}

// candidates returns the routes that may match an event with this row, in order. It is valid until the
// next call.
func (r *routes) candidates(row Row) []int {
	if len(r.indexes) == 0 || row == nil { // conditions on a row that is not there do not hold
		return r.rest
	}
	r.hits = r.hits[:0]
	for i := range r.indexes {
		r.hits = r.indexes[i].appendHits(r.hits, row)
	}
	slices.Sort(r.hits)
	r.merged = r.merged[:0]
	rest := r.rest
	for _, hit := range slices.Compact(r.hits) {
		for len(rest) > 0 && rest[0] < hit {
			r.merged, rest = append(r.merged, rest[0]), rest[1:]
		}
		r.merged = append(r.merged, hit)
	}
	r.merged = append(r.merged, rest...)
	return r.merged
}
