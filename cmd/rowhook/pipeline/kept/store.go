package kept

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"unicode/utf8"

	"rowhook/capture"
)

// First bytes of the keys in the spool.
const (
	keyNext  = 'n' // the next table's number
	keyRow   = 'r' // + number + generation + row's key: row
	keyState = 's' // + schema.table: state
)

// Spool is where the rows are.
type Spool interface {
	Kept(key, dst []byte) (row []byte, ok bool, err error)
	KeptBefore(key, dst []byte, of ...uint64) (row []byte, ok bool, err error)
	KeptRange(lower, upper []byte, yield func(key, row []byte) (bool, error)) error
	KeptRangeBefore(lower, upper []byte, of []uint64, yield func(key, row []byte) (bool, error)) error
	ForgetKept(lower, upper []byte) error
	KeptSize(lower, upper []byte) (int64, error)
}

// Batch takes what a transaction changes of the rows.
type Batch interface {
	KeepsFor(transaction uint64)
	Keep(key, row []byte)
	Forget(key []byte)
}

// Range is of keys that nobody needs any more.
type Range struct {
	lower, upper []byte
	batch        uint64 // the one that makes it so; not before it is stored
}

// bindingsMost is how many tables' descriptions are remembered: the stream's, and those of reads.
const bindingsMost = 1000

// Store keeps rows. Its methods are called by one goroutine at a time: the pipeline's mutex is held.
type Store struct {
	spool   Spool
	logger  *slog.Logger
	lineage string
	next    uint32
	tables  map[string]*table

	bindings map[*capture.Table]*binding
	last     *binding // of the change before; nil for none
	cache    cache
	entries  overlay   // of indexes
	batch    uint64    // number of the batch that is being filled
	parts    bool      // the store has parts of the open transaction
	dropping []dropped // aborted transactions of which the store may have parts
	dirty    []*table
	doubted  []string // by the open transaction
	garbage  []Range  // of complete transactions
	doomed   []Range  // of the open one

	change       capture.Change
	old, new     capture.Row
	values       []capture.Value
	key, key2, w []byte
	indexing     indexing
	found        capture.Row // by an index
	page         int         // referringPage, but for tests
}

// dropped is a transaction that was aborted after parts of it had been handed over. They are gone
// when the batch is stored that was being filled then. Before, the store may have them, or have them
// in a moment, or have parts of another transaction that is complete meanwhile: its undo records
// tell whose they are.
type dropped struct{ transaction, batch uint64 }

// Open reads what is kept.
func Open(s Spool, wants []Want, logger *slog.Logger) (*Store, error) {
	st := &Store{spool: s, logger: logger, tables: map[string]*table{}, bindings: map[*capture.Table]*binding{}, cache: newCache(), entries: newOverlay(), batch: 1, next: 1, page: referringPage}
	if raw, ok, err := s.Kept([]byte{keyNext}, nil); err != nil {
		return nil, err
	} else if ok && len(raw) == 4 {
		st.next = binary.BigEndian.Uint32(raw)
	}
	err := s.KeptRange([]byte{keyState}, []byte{keyState + 1}, func(key, raw []byte) (bool, error) {
		now, err := decodeState(raw)
		name := string(key[1:])
		st.tables[name] = &table{name: name, now: now, settled: now}
		return true, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the state of kept rows: %w", err)
	}
	st.want(wants)
	for name, t := range st.tables {
		t.now.Full, t.settled.Full = false, false // there may be room by now
		if t.want.Table == "" {
			delete(st.tables, name)
			if err := s.ForgetKept(stateKey(name), append(stateKey(name), 0)); err != nil {
				return nil, err
			}
		}
	}
	return st, st.sweep()
}

// sweep forgets the rows of generations, and tables, that are no more.
func (s *Store) sweep() error {
	var live []*table
	for _, t := range s.tables {
		live = append(live, t)
	}
	slices.SortFunc(live, func(a, b *table) int { return int(a.now.ID) - int(b.now.ID) })
	from := []byte{keyRow}
	for _, t := range live {
		if err := s.sweepRange(from, appendPrefix(nil, t.now.ID, t.now.Generation)); err != nil {
			return err
		}
		from = appendPrefix(nil, t.now.ID, t.now.Generation+1)
	}
	return s.sweepRange(from, []byte{keyRow + 1})
}

func (s *Store) sweepRange(lower, upper []byte) error {
	found := false
	err := s.spool.KeptRange(lower, upper, func(_, _ []byte) (bool, error) { found = true; return false, nil })
	if err == nil && found {
		err = s.spool.ForgetKept(lower, upper)
	}
	return err
}

// want takes in what is to be kept; what is no longer goes with the next batch.
func (s *Store) want(wants []Want) {
	for _, t := range s.tables {
		t.want = Want{}
	}
	for _, w := range wants {
		t := s.tables[w.Table]
		if t == nil {
			t = &table{name: w.Table}
			s.tables[w.Table] = t
		}
		t.want = w
	}
	clear(s.bindings)
	s.last = nil
}

// Configure has other tables or columns kept from now on. It is called between transactions. A table
// for which there was no room gets another try.
func (s *Store) Configure(b Batch, wants []Want) {
	s.want(wants)
	for name, t := range s.tables {
		switch {
		case t.want.Table == "":
			s.drop(b, t)
			delete(s.tables, name)
		case t.now.Full:
			t.now.Full, t.now.Reason = false, ""
			s.save(b, t)
		}
	}
	s.Settle()
}

// drop forgets a table.
func (s *Store) drop(b Batch, t *table) {
	if t.now.ID == 0 {
		return
	}
	s.forgetIn(b, stateKey(t.name))
	s.doom(appendPrefix(nil, t.now.ID, 0), appendPrefix(nil, t.now.ID+1, 0))
}

func (s *Store) doom(lower, upper []byte) {
	s.doomed = append(s.doomed, Range{lower: lower, upper: upper, batch: s.batch})
}

func stateKey(name string) []byte { return append([]byte{keyState}, name...) }

// save has a table's state move with the open transaction.
func (s *Store) save(b Batch, t *table) {
	if !slices.Contains(s.dirty, t) {
		s.dirty = append(s.dirty, t)
	}
	s.keepIn(b, stateKey(t.name), t.now.encode())
}

// Empty reports whether nothing is kept of any table, and nothing wanted.
func (s *Store) Empty() bool { return len(s.tables) == 0 }

// Keeps reports whether rows of a table are kept, so that none of its changes may be left out.
func (s *Store) Keeps(t *capture.Table) bool {
	known := s.tables[t.String()]
	return known != nil && known.now.Keeps
}

// Identify names the database that the stream is of. What was kept of another one is not known any
// more.
func (s *Store) Identify(b Batch, lineage string) {
	s.lineage = lineage
	for _, t := range s.tables {
		if t.now.Keeps && t.now.Lineage != lineage {
			s.doubt(b, t, "the rows were another database's")
		}
	}
	s.Settle()
}

// Begin has a table's rows kept from now on: none is known yet. It is called between transactions,
// with the table as it is about to be read, and not before the stream is where that was found out: it
// would be behind the table's definition.
func (s *Store) Begin(b Batch, of *capture.Table) (generation uint32, err error) {
	t := s.tables[of.String()]
	if t == nil || t.want.Table == "" {
		return 0, fmt.Errorf("no rows of table %s are to be kept any more", of)
	}
	bound := t.bind(of)
	if bound.refused != "" {
		s.renew(b, t, state{Reason: bound.refused})
		s.Settle()
		return 0, &capture.OperatorError{Err: fmt.Errorf("rows of table %s cannot be kept: %s", of, bound.refused), Remedy: t.want.remedy()}
	}
	s.renew(b, t, state{Keeps: true, Definition: bound.definition, Lineage: s.lineage, Columns: t.want.Columns, All: t.want.All, By: t.want.By})
	s.Settle()
	return t.now.Generation, nil
}

// renew begins another generation of a table's rows.
func (s *Store) renew(b Batch, t *table, to state) {
	to.ID, to.Generation = t.now.ID, t.now.Generation+1
	if to.ID == 0 {
		to.ID = s.next
		s.next++
		s.keepIn(b, []byte{keyNext}, binary.BigEndian.AppendUint32(nil, s.next))
	} else {
		s.doom(appendPrefix(nil, t.now.ID, t.now.Generation), appendPrefix(nil, t.now.ID, t.now.Generation+1))
	}
	t.now = to
	s.save(b, t)
}

// doubt takes all rows of a table for not known.
func (s *Store) doubt(b Batch, t *table, reason string) {
	if !t.now.Keeps {
		return
	}
	s.logger.Warn("the last values of a table's rows are not known any more, and are read again", "table", t.name, "reason", reason)
	s.renew(b, t, state{Reason: reason})
	s.doubted = append(s.doubted, t.name)
}

// Doubt takes the rows of a table for not known, since they may have changed in a way that nobody
// told; an empty name is of all tables.
func (s *Store) Doubt(b Batch, name, reason string) {
	for _, t := range s.tables {
		if name == "" || t.name == name {
			s.doubt(b, t, reason)
		}
	}
}

// Another reports whether a table is another one than when its rows were read.
func (s *Store) Another(of *capture.Table) bool {
	t := s.tables[of.String()]
	return t != nil && t.want.Table != "" && t.now.Keeps && t.bind(of).definition != t.now.Definition
}

// Doubted are the tables whose rows the open transaction has made unknown.
func (s *Store) Doubted() []string { return s.doubted }

// Defines takes note of a statement that may define tables anew. It hardly reads it: what names a
// table may change it, and what drops its database does.
func (s *Store) Defines(b Batch, statement []byte) {
	if len(s.tables) == 0 {
		return
	}
	statement = bytes.ToLower(statement)
	drops := names(statement, "drop") && (names(statement, "database") || names(statement, "schema"))
	for _, t := range s.tables {
		schema, name, _ := strings.Cut(t.name, ".")
		if t.now.Keeps && (names(statement, strings.ToLower(name)) || drops && names(statement, strings.ToLower(schema))) {
			s.doubt(b, t, "a statement that names the table may have rewritten it")
		}
	}
}

// names reports whether a statement may have a name as a word of its own. The statement is in its
// client's charset, of which only what is ASCII is certain, and quotes may stand in it twice.
func names(statement []byte, name string) bool {
	if strings.ContainsFunc(name, func(r rune) bool { return r >= utf8.RuneSelf || r == '`' || r == '"' }) {
		return bytes.ContainsFunc(statement, func(r rune) bool { return r >= utf8.RuneSelf || r == '`' || r == '"' })
	}
	word := func(c byte) bool {
		return c == '_' || c == '$' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || c >= utf8.RuneSelf
	}
	for from := 0; ; {
		at := bytes.Index(statement[from:], []byte(name))
		if at < 0 {
			return false
		}
		at += from
		end := at + len(name)
		if (at == 0 || !word(statement[at-1])) && (end == len(statement) || !word(statement[end])) {
			return true
		}
		from = at + 1
	}
}

// Loaded notes that all rows of a table are kept, if it is still the generation that was loaded.
func (s *Store) Loaded(b Batch, name string, generation uint32) {
	if t := s.tables[name]; t != nil && t.now.Keeps && t.now.Generation == generation {
		t.now.Loaded = true
		s.save(b, t)
	}
}

// bind finds the table that a change is of; nil where its rows are not kept.
func (s *Store) bind(of *capture.Table) *binding {
	bound := s.last
	if bound == nil || bound.of != of {
		bound = s.bindings[of]
	}
	if bound == nil {
		bound = &binding{of: of}
		if t := s.tables[of.String()]; t != nil && t.want.Table != "" {
			bound = t.bind(of)
		}
		if len(s.bindings) >= bindingsMost {
			clear(s.bindings)
		}
		s.bindings[of] = bound
	}
	if s.last = bound; bound.table == nil {
		return nil
	}
	return bound
}

// Settle ends the open transaction, or what was done between two.
func (s *Store) Settle() {
	for _, t := range s.dirty {
		t.settled = t.now
	}
	s.dirty, s.doubted = s.dirty[:0], s.doubted[:0]
	for i := range s.doomed {
		s.doomed[i].batch = s.batch
	}
	s.garbage = append(s.garbage, s.doomed...)
	s.doomed = s.doomed[:0]
	s.cache.settle()
	s.entries.settle()
	s.parts = false
}

// Abort forgets the open transaction.
func (s *Store) Abort() {
	for _, t := range s.dirty {
		t.now = t.settled
	}
	s.dirty, s.doomed, s.doubted = s.dirty[:0], s.doomed[:0], s.doubted[:0]
	if s.parts {
		s.dropping = append(s.dropping, dropped{s.cache.open, s.batch})
	}
	s.cache.abort()
	s.entries.abort()
	s.parts = false
}

// HandedOver says that the batch is on its way into the store, with a part of the open transaction or
// without.
func (s *Store) HandedOver(part bool) {
	s.batch++
	s.parts = s.parts || part
}

// Stored says that the store has all batches that were handed over. It returns what nobody needs any
// more.
func (s *Store) Stored() (unneeded []Range) {
	s.cache.stored, s.entries.stored = s.batch-1, s.batch-1
	s.dropping = slices.DeleteFunc(s.dropping, func(d dropped) bool { return d.batch <= s.cache.stored })
	s.garbage = slices.DeleteFunc(s.garbage, func(r Range) bool {
		if r.batch > s.cache.stored {
			return false
		}
		unneeded = append(unneeded, r)
		return true
	})
	return unneeded
}

// Forget takes ranges that nobody needs any more out of the spool. It may be called by any goroutine.
func Forget(s Spool, ranges []Range) error {
	for _, r := range ranges {
		if err := s.ForgetKept(r.lower, r.upper); err != nil {
			return err
		}
	}
	return nil
}

// get looks a row up.
func (s *Store) get(key []byte) (*entry, error) {
	if e := s.cache.get(key); e != nil {
		return e, nil
	}
	row, ok, err := s.stored(key)
	if err != nil {
		return nil, err
	}
	e := s.cache.read(key, row, ok)
	if s.parts {
		e.transaction = s.cache.open
	}
	return e, nil
}

// stored reads a row from the store, without what aborted transactions have left there.
func (s *Store) stored(key []byte) (row []byte, ok bool, err error) {
	if len(s.dropping) == 0 {
		return s.spool.Kept(key, nil)
	}
	return s.spool.KeptBefore(key, nil, s.gone()...)
}

// gone are the aborted transactions of which the store may have parts.
func (s *Store) gone() []uint64 {
	gone := make([]uint64, len(s.dropping))
	for i, d := range s.dropping {
		gone[i] = d.transaction
	}
	return gone
}

// put keeps a row, unless it is kept so already.
func (s *Store) put(b Batch, t *binding, key []byte, was *entry, row []byte) error {
	if was.exists && bytes.Equal(was.row, row) {
		return nil
	}
	row = bytes.Clone(row)
	s.keepIn(b, key, row)
	s.cache.write(key, row, true, s.batch)
	return s.reindex(b, t, key, was.row, row)
}

func (s *Store) forget(b Batch, t *binding, key []byte, was *entry) error {
	if !was.exists {
		return nil
	}
	s.forgetIn(b, key)
	s.cache.write(key, nil, false, s.batch)
	return s.reindex(b, t, key, was.row, nil)
}

func (s *Store) keepIn(b Batch, key, value []byte) {
	b.KeepsFor(s.cache.open)
	b.Keep(key, value)
}

func (s *Store) forgetIn(b Batch, key []byte) {
	b.KeepsFor(s.cache.open)
	b.Forget(key)
}
