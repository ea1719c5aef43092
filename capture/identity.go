package capture

import "slices"

// RowIdentity lists the columns by which the stream tells a table's rows apart: the key, unless old
// rows come without it. Those of a partitioned table have nothing else in common: an index is unique
// within its partition only.
func (t *Table) RowIdentity() []int {
	if !slices.ContainsFunc(t.Key, func(i int) bool { return !t.Columns[i].Identity }) {
		return t.Key
	}
	if t.Partitioned || t.Identity == IdentityFull {
		return t.Key
	}
	var identity []int
	for i := range t.Columns {
		if t.Columns[i].Identity {
			identity = append(identity, i)
		}
	}
	if len(identity) == 0 {
		return t.Key
	}
	return identity
}

// Unfollowed says why a row cannot be followed from change to change, so that nothing could be known
// of its last values; empty when it can.
func (t *Table) Unfollowed() string {
	identity := t.RowIdentity()
	switch {
	case t.Silent != "":
		return t.Silent
	case len(identity) == 0:
		return "the table has no key to tell its rows apart"
	case t.Identity == IdentityNothing:
		return "the table has no replica identity, so that updates and deletes do not tell whose they are"
	case slices.ContainsFunc(identity, func(i int) bool { return !t.Columns[i].Identity }):
		return "the table's replica identity leaves the key out, so that updates and deletes do not tell whose they are"
	case t.KeyDeferred && t.Identity != IdentityIndex: // an index that is an identity is never deferred
		return "the table's primary key is DEFERRABLE, so that two rows may have one key for a while"
	}
	return ""
}
