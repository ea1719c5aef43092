package mysql

import "testing"

// TestTableMaps: a transaction over many tables finds each, the last map of a number, and the next
// transaction none of them.
func TestTableMaps(t *testing.T) {
	t.Parallel()
	var maps tableMaps
	for _, count := range []uint64{1, fewMaps, fewMaps + 1, 10_000, 2} {
		want := map[uint64]*tableMap{}
		for round := range 2 {
			for id := range count {
				if round == 0 || id%3 == 0 {
					want[id] = &tableMap{id: id}
					maps.set(id, want[id])
				}
			}
		}
		for id := range count {
			if maps.of(id) != want[id] {
				t.Fatalf("of %d tables, %d has another map", count, id)
			}
		}
		if maps.of(count) != nil || len(maps.few) > fewMaps+1 {
			t.Errorf("of %d tables: %d are searched one by one", count, len(maps.few))
		}
		maps.empty()
		if maps.of(0) != nil {
			t.Errorf("of %d tables, the first is still there", count)
		}
	}
}

// TestSkippedTransactionsLeaveNothing: those that are passed over while a prepared one is looked for
// have table maps, too.
func TestSkippedTransactionsLeaveNothing(t *testing.T) {
	t.Parallel()
	d := &decoder{}
	d.tables.set(1, &tableMap{})
	d.tx = transaction{open: true, skip: true}
	if err := d.commit(); err != nil || d.tables.of(1) != nil || len(d.tables.few) > 0 {
		t.Error(err, len(d.tables.few))
	}
}
