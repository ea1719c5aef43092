package try

import (
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
	"rowhook/mapping"
)

// keptRows are the rows of looked-up tables that the lines told so far. What the lines do not tell is
// not known.
type keptRows struct {
	of   []mapping.LookedUp
	rows map[string]capture.Row // by table and key; nil where the row was deleted
	gone map[string]bool        // tables that were emptied: what is not among rows does not exist
}

var _ mapping.Lookups = (*keptRows)(nil)

func newKeptRows(of []mapping.LookedUp) *keptRows {
	return &keptRows{of: of, rows: map[string]capture.Row{}, gone: map[string]bool{}}
}

// place is where a row is among rows; ok is false where its key is not known.
func (k *keptRows) place(of *capture.Table, row capture.Row) (place string, ok bool) {
	var b strings.Builder
	b.WriteString(of.String())
	for _, l := range k.of {
		if l.Table != of.String() {
			continue
		}
		for _, column := range l.Key {
			i := of.Column(column)
			if i < 0 || row == nil || row[i].State != capture.Present {
				return "", false
			}
			fmt.Fprintf(&b, "/%d:%s", len(row[i].Text), row[i].Text)
		}
		return b.String(), true
	}
	return "", false
}

// change takes a change of a looked-up table in.
func (k *keptRows) change(c *capture.Change) {
	name := c.Table.String()
	if !slices.ContainsFunc(k.of, func(l mapping.LookedUp) bool { return l.Table == name }) {
		return
	}
	if c.Op == capture.Truncate {
		for place := range k.rows {
			if strings.HasPrefix(place, name+"/") {
				delete(k.rows, place)
			}
		}
		k.gone[name] = true
		return
	}
	was, knew := k.place(c.Table, c.Old)
	now, knows := k.place(c.Table, c.New)
	before := k.rows[now]
	if knew {
		before = k.rows[was]
		k.rows[was] = nil
	}
	if !knows {
		return
	}
	row := slices.Clone(c.New)
	for i := range row {
		if row[i].State != capture.Unchanged {
			continue
		}
		row[i] = capture.Value{}
		if i < len(before) {
			row[i] = before[i]
		}
	}
	k.rows[now] = row
}

// LookUp implements [mapping.Lookups].
func (k *keptRows) LookUp(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	place, ok := k.place(of, row)
	kept, told := k.rows[place]
	copy(row, kept)
	return kept != nil, ok && (told || k.gone[of.String()]), nil
}
