package kept

import (
	"cmp"
	"slices"
)

// Table is how the kept rows of a table stand.
type Table struct {
	Table      string
	Columns    []string // empty for all
	Generation uint32   // 0 while none are kept
	Loaded     bool
	Full       bool // there is no room for them
	Reason     string
	Bytes      int64 // on disk
	Filled     int64 // values that the stream did not carry and the rows did, since the start
	Unknown    int64 // rows that were looked for and not known, since the start
}

// Tables tells of all tables, by name.
func (s *Store) Tables() []Table {
	var list []Table
	for _, t := range s.tables {
		if t.want.Table == "" {
			continue
		}
		view := Table{
			Table: t.name, Columns: t.want.Columns, Loaded: t.settled.Loaded && t.current(&t.settled), Full: t.settled.Full, Reason: t.settled.Reason,
			Bytes: t.size, Filled: t.filled, Unknown: t.unknown,
		}
		if t.want.All {
			view.Columns = nil
		}
		if t.current(&t.settled) {
			view.Generation = t.settled.Generation
		}
		list = append(list, view)
	}
	slices.SortFunc(list, func(a, b Table) int { return cmp.Compare(a.Table, b.Table) })
	return list
}

// Measured is a table's size on disk.
type Measured struct {
	Table string
	Bytes int64
	rows  Range
	of    uint32 // generation
}

// ToMeasure lists what [Measure] is to look at.
func (s *Store) ToMeasure() []Measured {
	var list []Measured
	for _, t := range s.tables {
		if t.settled.Keeps {
			rows := Range{lower: appendPrefix(nil, t.settled.ID, t.settled.Generation), upper: appendPrefix(nil, t.settled.ID, t.settled.Generation+1)}
			list = append(list, Measured{Table: t.name, rows: rows, of: t.settled.Generation})
		}
	}
	return list
}

// Measure asks the spool how much the tables take. It may be called by any goroutine.
func Measure(s Spool, list []Measured) error {
	for i := range list {
		var err error
		if list[i].Bytes, err = s.KeptSize(list[i].rows.lower, list[i].rows.upper); err != nil {
			return err
		}
	}
	return nil
}

// Sized takes in what was measured. It is called between transactions. If all together take more than
// limit, nothing is known of the largest table from then on.
func (s *Store) Sized(b Batch, list []Measured, limit int64) (full string) {
	var sum int64
	var largest *table
	for _, m := range list {
		t := s.tables[m.Table]
		if t == nil || t.now.Generation != m.of { // measured were rows that are on their way out
			continue
		}
		t.size = m.Bytes
		sum += m.Bytes
		if t.now.Keeps && (largest == nil || t.size > largest.size) {
			largest = t
		}
	}
	if sum <= limit || largest == nil {
		return ""
	}
	s.renew(b, largest, state{Full: true, Reason: "its rows have no room in the spool"})
	largest.size = 0
	s.Settle()
	return largest.name
}
