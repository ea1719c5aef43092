package try

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"rowhook/capture"
	"rowhook/cmd/rowhook/pipeline/kept"
	"rowhook/mapping"
)

// keptRows are the rows of looked-up tables that the lines told so far. What the lines do not tell is
// not known.
type keptRows struct {
	of   []mapping.LookedUp
	rows map[string]capture.Row // by table and key; nil where the row was deleted
	gone map[string]bool        // tables that were emptied: what is not among rows does not exist
	// was is what the transaction has found under the places that it has written to, and whole is gone as
	// it was before.
	was   map[string]keptBefore
	whole map[string]bool
	anew  map[string]bool // tables that it has emptied
}

// keptBefore is what was told of a row before a transaction.
type keptBefore struct {
	row  capture.Row
	told bool
}

var _ mapping.Lookups = (*keptRows)(nil)

func newKeptRows(of []mapping.LookedUp) *keptRows {
	k := &keptRows{of: of, rows: map[string]capture.Row{}, gone: map[string]bool{}}
	k.begin()
	return k
}

// begin opens a transaction.
func (k *keptRows) begin() {
	k.was, k.anew, k.whole = map[string]keptBefore{}, map[string]bool{}, maps.Clone(k.gone)
}

// set has a place hold a row; nil is that it was deleted.
func (k *keptRows) set(place string, row capture.Row) {
	if _, again := k.was[place]; !again {
		before, told := k.rows[place]
		k.was[place] = keptBefore{before, told}
	}
	k.rows[place] = row
}

// place is where a row is among rows; ok is false where its key is not known.
func (k *keptRows) place(of *capture.Table, row capture.Row) (place string, ok bool) {
	var b strings.Builder
	b.WriteString(of.String())
	for _, l := range k.of {
		if l.Table != of.String() {
			continue
		}
		key := of.Key
		if len(l.Key) > 0 {
			key = key[:0:0]
			for _, column := range l.Key {
				key = append(key, of.Column(column))
			}
		}
		for _, i := range key {
			if i < 0 || row == nil || row[i].State != capture.Present {
				return "", false
			}
			fmt.Fprintf(&b, "/%d:%s", len(row[i].Text), row[i].Text)
		}
		return b.String(), len(key) > 0
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
		k.gone[name], k.anew[name] = true, true
		return
	}
	was, knew := k.place(c.Table, c.Old)
	now, knows := k.place(c.Table, c.New)
	before := k.rows[now]
	if knew {
		if _, told := k.rows[was]; !told { // what its line says of it
			k.was[was] = keptBefore{slices.Clone(c.Old), true}
		}
		before = k.rows[was]
		k.set(was, nil)
	}
	if !knows {
		if c.New != nil || !knew { // of one of the rows, nobody knows which
			k.gone[name] = false
		}
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
	k.set(now, row)
}

// LookUp implements [mapping.Lookups].
func (k *keptRows) LookUp(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	place, ok := k.place(of, row)
	found, told := k.rows[place]
	copy(row, found)
	return found != nil, ok && (told || k.gone[of.String()]), nil
}

// Parts implements [mapping.Lookups]. Rows are known once the lines have emptied their table.
func (k *keptRows) Parts(of *capture.Table, by []int, row capture.Row, most int, take func(capture.Row) bool) (more, known bool, err error) {
	if !k.gone[of.String()] {
		return false, false, nil
	}
	rows, known := k.having(of, by, row)
	if !known {
		return false, false, nil
	}
	for n, r := range rows {
		if n == most || !take(r) {
			return true, true, nil
		}
	}
	return false, true, nil
}

// LookUpBefore implements [mapping.Lookups].
func (k *keptRows) LookUpBefore(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	place, ok := k.place(of, row)
	before, written := k.was[place]
	switch {
	case k.anew[of.String()]:
		return false, false, nil
	case !written:
		before.row, before.told = k.rows[place]
	}
	copy(row, before.row)
	return before.row != nil, ok && (before.told || k.whole[of.String()]), nil
}

// Referring implements [mapping.Lookups]. The rows are those that the lines told so far.
func (k *keptRows) Referring(of *capture.Table, by []int, row capture.Row, take func(capture.Row) (more bool, err error)) (known bool, err error) {
	rows, known := k.having(of, by, row)
	for _, r := range rows {
		if more, err := take(r); err != nil || !more {
			return known, err
		}
	}
	return known, nil
}

// having lists a table's rows that have these values, in the order of their keys; known is false where one
// does not tell.
func (k *keptRows) having(of *capture.Table, by []int, row capture.Row) (rows []capture.Row, known bool) {
	for place, r := range k.rows {
		if r == nil || !strings.HasPrefix(place, of.String()+"/") {
			continue
		}
		same := true
		for _, i := range by {
			switch {
			case r[i].State != capture.Present && r[i].State != capture.Null:
				return nil, false
			case r[i].State == capture.Null || !bytes.Equal(r[i].Text, row[i].Text):
				same = false
			}
		}
		if same {
			rows = append(rows, r)
		}
	}
	slices.SortFunc(rows, func(a, b capture.Row) int {
		var keys [2][]byte
		for _, i := range of.Key {
			keys[0] = kept.AppendSorted(keys[0], of.Columns[i].Type.Kind, a[i].Text)
			keys[1] = kept.AppendSorted(keys[1], of.Columns[i].Type.Kind, b[i].Text)
		}
		return bytes.Compare(keys[0], keys[1])
	})
	return rows, true
}
