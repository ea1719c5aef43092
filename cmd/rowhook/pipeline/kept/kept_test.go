package kept

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"rowhook/capture"
	"rowhook/delivery/spool"
)

// The model is a table (id, a, b, c) of which a and b are kept. Its changes come as with the default
// replica identity: old rows have the key alone, and where a long value did not change, new rows do
// not have it.
type row [3]string // a, b, c; "" is NULL

func value(s string) capture.Value {
	if s == "" {
		return capture.Value{State: capture.Null}
	}
	return capture.Value{State: capture.Present, Text: []byte(s)}
}

func testTable(version string, identity capture.Identity) *capture.Table {
	typ := &capture.Type{Name: "text", Kind: capture.Text}
	t := &capture.Table{Schema: "app", Name: "loans", Key: []int{0}, Identity: identity, Version: version}
	for i, name := range []string{"id", "a", "b", "c"} {
		t.Columns = append(t.Columns, capture.Column{Name: name, Type: typ, Number: i + 1, Identity: i == 0 || identity == capture.IdentityFull})
	}
	return t
}

func wholeRow(id string, r row) capture.Row {
	return capture.Row{value(id), value(r[0]), value(r[1]), value(r[2])}
}

func keyRowOf(id string) capture.Row { return capture.Row{value(id), {}, {}, {}} }

var wanted = []Want{{Table: "app.loans", Columns: []string{"a", "b"}, By: [][]string{{"b"}}}}

// model is an agent's pipeline around a store, as far as kept rows go, with the database beside it.
type model struct {
	spool *spool.Spool
	st    *Store
	table *capture.Table
	n     int
	limit int // of the cache

	db   map[string]row            // with the open transaction
	done map[string]row            // as of the last complete one
	at   map[string]map[string]row // by position
	cur  *spool.Batch
	// abort says that parts of an aborted transaction are to go before cur is stored.
	abort, parts, open bool
	flying             *spool.Batch // handed over, not stored yet
	flyingAbort        bool

	generation uint32 // of the load; 0 while none is under way
	loading    []string
	whole      bool // all rows are known
	filled     int
	listed     int  // found by an index
	truncated  bool // by the open transaction
}

func (m *model) commit() {
	m.n++
	position := fmt.Sprint("p", m.n)
	m.cur.Commit(position)
	m.st.Settle()
	m.done = maps.Clone(m.db)
	m.at[position] = m.done
	m.open, m.parts = false, false
}

// store is what the appender does.
func (m *model) store(t *rapid.T) {
	if m.flying == nil {
		return
	}
	if m.flyingAbort {
		if err := m.spool.Abort(); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.spool.Apply(m.flying); err != nil {
		t.Fatal(err)
	}
	if err := Forget(m.spool, m.st.Stored()); err != nil {
		t.Fatal(err)
	}
	m.flying = nil
}

func (m *model) handOver(t *rapid.T) {
	m.store(t)
	m.st.HandedOver(m.open)
	m.parts = m.parts || m.open
	m.flying, m.flyingAbort = m.cur, m.abort
	m.cur, m.abort = m.spool.NewBatch(), false
	if rapid.Bool().Draw(t, "stored at once") {
		m.store(t)
	}
}

// Transaction changes rows and looks at what the store makes of each change.
func (m *model) Transaction(t *rapid.T) {
	m.open = true
	for range rapid.IntRange(1, 6).Draw(t, "changes") {
		id := rapid.SampledFrom([]string{"1", "2", "3", "4", "5"}).Draw(t, "id")
		if r, there := m.db[id]; !there {
			m.n++
			r = row{fmt.Sprint("a", m.n), rapid.SampledFrom([]string{"", "b", "bb"}).Draw(t, "b"), "c"}
			m.db[id] = r
			m.change(t, &capture.Change{Op: capture.Insert, New: wholeRow(id, r)}, row{})
		} else if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
			delete(m.db, id)
			m.change(t, &capture.Change{Op: capture.Delete, Old: keyRowOf(id)}, r)
		} else {
			m.update(t, id, r)
		}
		if rapid.IntRange(0, 5).Draw(t, "part") == 0 {
			m.handOver(t)
		}
		if m.whole && rapid.IntRange(0, 30).Draw(t, "truncate") == 0 {
			clear(m.db)
			m.truncated = true
			m.change(t, &capture.Change{Op: capture.Truncate}, row{})
		}
	}
	m.truncated = false
	if rapid.IntRange(0, 3).Draw(t, "abort") == 0 {
		m.cur.Rollback()
		m.st.Abort()
		m.abort = m.abort || m.parts
		m.open, m.parts, m.db = false, false, maps.Clone(m.done)
		return
	}
	m.commit()
	if rapid.Bool().Draw(t, "hand over") {
		m.handOver(t)
	}
}

func (m *model) update(t *rapid.T, id string, old row) {
	r, to := old, id
	m.n++
	c := &capture.Change{Op: capture.Update, Old: keyRowOf(id)}
	if rapid.Bool().Draw(t, "a") {
		r[0] = fmt.Sprint("a", m.n)
	}
	if rapid.Bool().Draw(t, "move") {
		r[1] = rapid.SampledFrom([]string{"", "b", "bb"}).Draw(t, "b")
	}
	r[2] = fmt.Sprint("c", m.n)
	if free := fmt.Sprint("k", m.n%3); rapid.IntRange(0, 4).Draw(t, "key") == 0 {
		if _, taken := m.db[free]; !taken {
			to = free
		}
	}
	c.New = wholeRow(to, r)
	for i := range 2 {
		if r[i] == old[i] {
			c.New[i+1] = capture.Value{State: capture.Unchanged}
		}
	}
	delete(m.db, id)
	m.db[to] = r
	m.change(t, c, old)
}

// change has the store fill a change in, and holds what it made of it to the truth.
func (m *model) change(t *rapid.T, c *capture.Change, old row) {
	c.Table = m.table
	if c.Op != capture.Insert && c.Op != capture.Truncate {
		// It is in the tracking of a load, which reads it again.
		m.loading = slices.DeleteFunc(m.loading, func(id string) bool { return id == string(c.Old[0].Text) })
	}
	got, err := m.st.Change(m.cur, c)
	if err != nil {
		t.Fatal(err)
	}
	if c.Op == capture.Insert || c.Op == capture.Truncate {
		return
	}
	for i, want := range old[:2] {
		v := got.Old[i+1]
		if v.State == capture.Unknown {
			if m.whole {
				t.Fatalf("the old value of column %d is not known, though all rows are", i)
			}
			continue
		}
		m.filled++
		if w := value(want); v.State != w.State || string(v.Text) != string(w.Text) {
			t.Fatalf("the old value of column %d is %d %q, want %q", i, v.State, v.Text, want)
		}
	}
	if got.Old[3].State != capture.Unknown {
		t.Fatal("a column that is not kept is known")
	}
	m.look(t)
	if c.Op == capture.Update {
		if v := got.New[1]; v.State == capture.Present && string(v.Text) != m.db[string(got.New[0].Text)][0] {
			t.Fatalf("the new value is %q", v.Text)
		}
	}
}

// look finds rows by b, and holds what there is to the truth.
func (m *model) look(t *rapid.T) {
	for _, b := range [...]string{"b", "bb", "none"} {
		var got, want []string
		most := rapid.SampledFrom([]int{1, 2, 1000}).Draw(t, "most")
		more, known, err := m.st.Parts(m.table, []int{2}, capture.Row{{}, {}, value(b), {}}, most, func(r capture.Row) bool {
			got = append(got, string(r[0].Text)+"="+string(r[1].Text)+"/"+string(r[2].Text))
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range slices.Sorted(maps.Keys(m.db)) {
			if r := m.db[id]; r[1] == b {
				want = append(want, id+"="+r[0]+"/"+b)
			}
		}
		cut := len(want) > most
		if cut {
			want = want[:most]
		}
		switch {
		case known != m.whole:
			t.Fatalf("rows by %q are known: %t; all rows are: %t", b, known, m.whole)
		case known && (more != cut || !slices.Equal(got, want)):
			t.Fatalf("by %q: %q, more %t; want %q, more %t", b, got, more, want, cut)
		}
		m.listed += len(got)
		m.refers(t, b)
	}
	m.lookBefore(t)
}

// refers goes through all rows of a b, looking each up on the way.
func (m *model) refers(t *rapid.T, b string) {
	var got, want []string
	known, err := m.st.Referring(m.table, []int{2}, capture.Row{{}, {}, value(b), {}}, func(r capture.Row) (bool, error) {
		id := string(r[0].Text)
		got = append(got, id)
		exists, known, err := m.st.LookUp(m.table, keyRowOf(id))
		if !exists || !known {
			t.Fatalf("row %s refers, and is not there", id)
		}
		return true, err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range slices.Sorted(maps.Keys(m.db)) {
		if m.db[id][1] == b {
			want = append(want, id)
		}
	}
	if known != m.whole || known && !slices.Equal(got, want) {
		t.Fatalf("by %q: %q, known %t; want %q, known %t", b, got, known, want, m.whole)
	}
}

// lookBefore looks rows up as they were before the open transaction.
func (m *model) lookBefore(t *rapid.T) {
	for _, id := range []string{"1", "2", "3", "4", "5", "k0", "k1", "k2"} {
		r := keyRowOf(id)
		exists, known, err := m.st.LookUpBefore(m.table, r)
		if err != nil {
			t.Fatal(err)
		}
		want, there := m.done[id]
		switch {
		case m.truncated && known:
			t.Fatalf("row %s is known as it was before a truncate", id)
		case m.truncated:
		case known && exists != there, !known && m.whole:
			t.Fatalf("row %s was there before: %t, known %t; want %t", id, exists, known, there)
		case known && exists && m.whole && (string(r[1].Text) != want[0] || string(r[2].Text) != want[1]):
			t.Fatalf("row %s was %q %q before, want %q", id, r[1].Text, r[2].Text, want)
		}
	}
}

// Load begins, or goes on: a chunk of rows as they are between two transactions.
func (m *model) Load(t *rapid.T) {
	if m.generation == 0 {
		generation, err := m.st.Begin(m.cur, m.table)
		if err != nil {
			t.Fatal(err)
		}
		m.generation, m.whole = generation, false
		m.commit()
		return
	}
	for id, r := range m.db {
		if len(m.loading) > 0 && !slices.Contains(m.loading, id) && rapid.Bool().Draw(t, "later") {
			continue
		}
		if ok, err := m.st.Read(m.cur, m.generation, m.table, wholeRow(id, r)); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	m.commit()
	if rapid.Bool().Draw(t, "last") {
		for id, r := range m.db {
			if _, err := m.st.Read(m.cur, m.generation, m.table, wholeRow(id, r)); err != nil {
				t.Fatal(err)
			}
		}
		m.st.Loaded(m.cur, "app.loans", m.generation)
		m.commit()
		m.generation, m.whole = 0, true
	}
}

// Doubt has the rows given up, in a transaction that may be aborted.
func (m *model) Doubt(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "rarely") > 0 {
		return
	}
	m.open = true
	m.st.Doubt(m.cur, "", "test")
	if rapid.Bool().Draw(t, "abort") {
		m.cur.Rollback()
		m.st.Abort()
		m.open = false
		return
	}
	m.commit()
	m.generation, m.whole = 0, false
}

// Restart kills the agent: what was not stored comes again.
func (m *model) Restart(t *rapid.T) {
	if m.flying != nil && rapid.Bool().Draw(t, "stored") {
		m.store(t)
	}
	m.flying, m.cur, m.abort, m.open, m.parts = nil, m.spool.NewBatch(), false, false, false
	if err := m.spool.Abort(); err != nil { // as the spool's opening does
		t.Fatal(err)
	}
	m.done = m.at[m.spool.Position()]
	m.db = maps.Clone(m.done)
	m.openStore(t)
	m.generation, m.whole = 0, m.st.Tables()[0].Loaded
	if g := m.st.Tables()[0].Generation; g != 0 && !m.whole {
		m.generation = g
	}
}

func (m *model) openStore(t errorer) {
	var err error
	if m.st, err = Open(m.spool, wanted, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatalf("open: %v", err)
	}
	m.st.cache.limit, m.st.entries.limit, m.st.page = m.limit, min(m.limit, overlayBytes), 2
	m.st.Identify(m.cur, "7001")
}

type errorer interface {
	Fatalf(format string, args ...any)
}

func openSpool(t testing.TB) *spool.Spool {
	t.Helper()
	s, err := spool.Open(t.TempDir(), spool.Options{Reserve: -1, Sync: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// TestModel holds every old value that the store fills in to what the row really was, through aborts,
// parts, restarts, loads and doubts; and when all rows are known, that none is missing.
func TestModel(t *testing.T) {
	t.Parallel()
	s := openSpool(t)
	filled, listed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		if err := s.ForgetKept(nil, nil); err != nil {
			t.Fatal(err)
		}
		m := &model{
			spool: s, table: testTable("1", capture.IdentityDefault), cur: s.NewBatch(), limit: rapid.SampledFrom([]int{1, 500, cacheBytes}).Draw(t, "cache"),
			db: map[string]row{}, done: map[string]row{}, at: map[string]map[string]row{s.Position(): {}},
		}
		m.openStore(t)
		m.commit()
		t.Repeat(map[string]func(*rapid.T){
			"transaction": m.Transaction, "transaction again": m.Transaction, "load": m.Load, "doubt": m.Doubt, "restart": m.Restart,
			"hand over": func(t *rapid.T) { m.handOver(t) }, "look": m.look,
		})
		m.store(t)
		if err := s.Abort(); err != nil {
			t.Fatal(err)
		}
		filled += m.filled
		listed += m.listed
	})
	if filled == 0 || listed == 0 {
		t.Errorf("%d old values were known, %d rows were found", filled, listed)
	}
}

// keptOf begins and ends a load of the table's rows.
func keptOf(t *testing.T, s *spool.Spool, table *capture.Table, rows map[string]row) (*Store, *spool.Batch) {
	t.Helper()
	st, err := Open(s, wanted, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	st.Identify(b, "7001")
	generation, err := st.Begin(b, table)
	if err != nil {
		t.Fatal(err)
	}
	for id, r := range rows {
		if ok, err := st.Read(b, generation, table, wholeRow(id, r)); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	st.Loaded(b, "app.loans", generation)
	st.Settle()
	b.Commit("p1")
	return st, b
}

// oldOf is what the store makes of an update's old row, as "a b".
func oldOf(t *testing.T, st *Store, b Batch, table *capture.Table, id string) string {
	t.Helper()
	c := &capture.Change{Op: capture.Update, Table: table, Old: keyRowOf(id), New: wholeRow(id, row{"x", "y", "z"})}
	got, err := st.Change(b, c)
	if err != nil {
		t.Fatal(err)
	}
	text := func(v capture.Value) string {
		return map[capture.State]string{capture.Unknown: "?", capture.Null: "null", capture.Present: string(v.Text), capture.Unchanged: "="}[v.State]
	}
	return text(got.Old[1]) + " " + text(got.Old[2])
}

// TestGivenUp tells after what nothing is known of a table any more.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	table := testTable("1", capture.IdentityDefault)
	for _, tt := range []struct {
		name   string
		change func(st *Store, b *spool.Batch)
		table  *capture.Table
		want   string
	}{
		{"nothing happens", func(*Store, *spool.Batch) {}, table, "a1 null"},
		{"rewritten", func(*Store, *spool.Batch) {}, testTable("2", capture.IdentityDefault), "? ?"},
		{"described again", func(*Store, *spool.Batch) {}, testTable("1", capture.IdentityDefault), "a1 null"},
		{"another type", func(*Store, *spool.Batch) {}, func() *capture.Table {
			other := testTable("1", capture.IdentityDefault)
			other.Columns[2].Type = &capture.Type{Name: "varchar"}
			return other
		}(), "? ?"},
		{"another column of the name", func(*Store, *spool.Batch) {}, func() *capture.Table {
			other := testTable("1", capture.IdentityDefault)
			other.Columns[1].Number = 9
			return other
		}(), "? ?"},
		{"another column that is not kept", func(*Store, *spool.Batch) {}, func() *capture.Table {
			other := testTable("1", capture.IdentityDefault)
			other.Columns[3].Number = 9
			return other
		}(), "a1 null"},
		{"no identity any more", func(*Store, *spool.Batch) {}, testTable("1", capture.IdentityNothing), "? ?"},
		{"a gap", func(st *Store, b *spool.Batch) { st.Doubt(b, "", "gap") }, table, "? ?"},
		{"another table's change cannot be decoded", func(st *Store, b *spool.Batch) { st.Doubt(b, "app.items", "") }, table, "a1 null"},
		{"its own cannot", func(st *Store, b *spool.Batch) { st.Doubt(b, "app.loans", "") }, table, "? ?"},
		{"another database", func(st *Store, b *spool.Batch) { st.Identify(b, "7002") }, table, "? ?"},
		{"the same database", func(st *Store, b *spool.Batch) { st.Identify(b, "7001") }, table, "a1 null"},
		{"ALTER names it", func(st *Store, b *spool.Batch) { st.Defines(b, []byte("ALTER TABLE `Loans` FORCE")) }, table, "? ?"},
		{"ALTER names a longer one", func(st *Store, b *spool.Batch) {
			st.Defines(b, []byte("ALTER TABLE loans_2026 DROP COLUMN my_loans"))
			st.Defines(b, []byte("CREATE DATABASE app"))
			st.Defines(b, []byte("DROP DATABASE applications"))
		}, table, "a1 null"},
		{"behind a longer one", func(st *Store, b *spool.Batch) { st.Defines(b, []byte("DROP TABLE loans_2026,loans")) }, table, "? ?"},
		{"DROP DATABASE", func(st *Store, b *spool.Batch) { st.Defines(b, []byte("DROP SCHEMA `App`")) }, table, "? ?"},
		{"ALTER names another", func(st *Store, b *spool.Batch) { st.Defines(b, []byte("ALTER TABLE items FORCE")) }, table, "a1 null"},
		{"no room", func(st *Store, b *spool.Batch) { st.Sized(b, measured(st, 10), 9) }, table, "? ?"},
		{"room", func(st *Store, b *spool.Batch) { st.Sized(b, measured(st, 9), 9) }, table, "a1 null"},
		{"read past", func(st *Store, b *spool.Batch) { _ = st.Passed(b, "app.loans", nil) }, table, "? ?"},
		{"more is wanted", func(st *Store, b *spool.Batch) { st.Configure(b, []Want{{Table: "app.loans", All: true}}) }, table, "? ?"},
		{"nothing is wanted", func(st *Store, b *spool.Batch) { st.Configure(b, nil) }, table, "? ?"},
		{"the same is wanted", func(st *Store, b *spool.Batch) { st.Configure(b, wanted) }, table, "a1 null"},
		{"emptied", func(st *Store, b *spool.Batch) {
			_, _ = st.Change(b, &capture.Change{Op: capture.Truncate, Table: table})
		}, table, "? ?"},
		{"a row takes the key of another", func(st *Store, b *spool.Batch) {
			for _, id := range [2]string{"8", "9"} {
				_, _ = st.Change(b, &capture.Change{Op: capture.Insert, Table: table, New: wholeRow(id, row{})})
			}
			_, _ = st.Change(b, &capture.Change{Op: capture.Update, Table: table, Old: keyRowOf("8"), New: wholeRow("9", row{})})
		}, table, "? ?"},
		{"a row takes a free key", func(st *Store, b *spool.Batch) {
			_, _ = st.Change(b, &capture.Change{Op: capture.Insert, Table: table, New: wholeRow("8", row{})})
			_, _ = st.Change(b, &capture.Change{Op: capture.Update, Table: table, Old: keyRowOf("8"), New: wholeRow("9", row{})})
		}, table, "a1 null"},
		{"a change without its key", func(st *Store, b *spool.Batch) {
			_, _ = st.Change(b, &capture.Change{Op: capture.Update, Table: table, Old: nil, New: wholeRow("9", row{})})
		}, table, "? ?"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st, b := keptOf(t, openSpool(t), table, map[string]row{"1": {"a1", "", "c"}})
			if view := st.Tables(); !view[0].Loaded || view[0].Generation == 0 {
				t.Fatalf("tables: %+v", view)
			}
			tt.change(st, b)
			if got := oldOf(t, st, b, tt.table, "1"); got != tt.want {
				t.Errorf("the old row is %q, want %q", got, tt.want)
			}
		})
	}
}

// TestRead holds that rows are kept only as part of the load that they were read for.
func TestRead(t *testing.T) {
	t.Parallel()
	s, table := openSpool(t), testTable("1", capture.IdentityDefault)
	st, err := Open(s, wanted, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	st.Identify(b, "7001")
	generation, err := st.Begin(b, table)
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := st.Read(b, generation, table, wholeRow("2", row{"a2"})); err != nil || !ok {
		t.Fatal(ok, err)
	}
	if got := oldOf(t, st, b, table, "1") + ", " + oldOf(t, st, b, table, "1") + ", " + oldOf(t, st, b, table, "2"); got != "? ?, x y, a2 null" {
		t.Errorf("the old rows are %q", got)
	}
	if ok, err := st.Read(b, generation, testTable("2", capture.IdentityDefault), wholeRow("3", row{})); ok || err != nil {
		t.Errorf("a row of a table that was rewritten is kept: %v", err)
	}
	if ok, _ := st.Read(b, generation+1, table, wholeRow("3", row{})); ok {
		t.Error("a row of another generation is kept")
	}
	silent := testTable("1", capture.IdentityDefault)
	silent.Silent = "foreign keys change it"
	for lookedUp, want := range map[bool]string{false: "take memory out", true: "take the table out of lookups"} {
		st.Configure(b, []Want{{Table: "app.loans", Columns: []string{"a", "b"}, LookedUp: lookedUp}})
		var refused *capture.OperatorError
		if _, err := st.Begin(b, silent); !errors.As(err, &refused) || !strings.HasPrefix(refused.Remedy, want) {
			t.Errorf("a table whose rows change silently: %v, want the remedy to %s", err, want)
		}
	}
}

// TestMoved moves rows to other keys while the table is read: those of which not all is known are to be
// read by their new keys, after a restart, too, and not where the move was rolled back.
func TestMoved(t *testing.T) {
	t.Parallel()
	s, table := openSpool(t), testTable("1", capture.IdentityDefault)
	open := func() *Store {
		st, err := Open(s, wanted, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st, b := open(), s.NewBatch()
	st.Identify(b, "7001")
	if _, err := st.Begin(b, table); err != nil {
		t.Fatal(err)
	}
	move := func(from, to string) {
		t.Helper()
		same := capture.Value{State: capture.Unchanged}
		if _, err := st.Change(b, &capture.Change{Op: capture.Update, Table: table, Old: keyRowOf(from), New: capture.Row{value(to), same, same, same}}); err != nil {
			t.Fatal(err)
		}
	}
	move("7", "1")
	st.Abort()
	b.Reset()
	generation, err := st.Begin(b, table)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Read(b, generation, table, wholeRow("8", row{"a8", "b8"})); err != nil {
		t.Fatal(err)
	}
	move("8", "2") // which is known
	move("9", "3")
	st.Settle()
	b.Commit("p1")
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	st, b = open(), s.NewBatch()
	if got := st.Moved(b, generation+1, table); got != nil {
		t.Errorf("of another generation: %q", got)
	}
	if got := st.Moved(b, generation, table); !slices.EqualFunc(got, [][]string{{"3"}}, slices.Equal) {
		t.Errorf("to be read by their keys: %q", got)
	}
	if got := st.Moved(b, generation, table); got != nil {
		t.Errorf("asked again: %q", got)
	}
	for n := range mostMoved {
		move("x"+strconv.Itoa(n), "y"+strconv.Itoa(n))
	}
	if slices.Contains(st.Doubted(), "app.loans") {
		t.Error("given up early")
	}
	if move("x", "y"); !slices.Contains(st.Doubted(), "app.loans") {
		t.Error("more keys are remembered than there may be")
	}
}

// TestLookUp looks rows up: what is not there is known to be absent only when all rows are known.
func TestLookUp(t *testing.T) {
	t.Parallel()
	table := testTable("1", capture.IdentityDefault)
	st, b := keptOf(t, openSpool(t), table, map[string]row{"1": {"a1", "", "c"}})
	look := func(of *capture.Table, id string) string {
		found := make(capture.Row, len(of.Columns))
		found[0] = value(id)
		exists, known, err := st.LookUp(of, found)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("exists %t, known %t", exists, known)
		for i := range found[1:] {
			if v := found[i+1]; v.State != capture.Unknown {
				text += fmt.Sprintf(" %s=%d:%s", of.Columns[i+1].Name, v.State, v.Text)
			}
		}
		return text
	}
	const absent, unknown = "exists false, known true", "exists false, known false"
	for _, tt := range []struct {
		of       *capture.Table
		id, want string
	}{
		{table, "1", "exists true, known true a=3:a1 b=2:"}, {table, "2", absent}, {table, "", unknown},
		{testTable("2", capture.IdentityDefault), "1", unknown},
	} {
		if got := look(tt.of, tt.id); got != tt.want {
			t.Errorf("row %q of version %s: %s, want %s", tt.id, tt.of.Version, got, tt.want)
		}
	}
	if _, err := st.Change(b, &capture.Change{Op: capture.Update, Table: table, Old: keyRowOf("1"), New: wholeRow("1", row{"a2", "b", "c"})}); err != nil {
		t.Fatal(err)
	}
	if got, want := look(table, "1"), "exists true, known true a=3:a2 b=3:b"; got != want {
		t.Errorf("in the transaction that changed the row: %s, want %s", got, want)
	}
	st.Doubt(b, "", "test")
	if got := look(table, "2"); got != unknown {
		t.Errorf("a row of a table that was given up: %s", got)
	}
}

// A name that cannot be told from others, since nobody knows the statement's charset or how it is
// quoted, counts as named.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		statement, name string
		want            bool
	}{
		{"alter table `müller` force", "müller", true},
		{"alter table `m\xfcller` force", "müller", true},
		{"alter table `miller` force", "müller", true},
		{"alter table miller force", "müller", false},
		{"alter table m\xfcller force", "ller", false},
		{"alter table `a``b` force", "a`b", true},
		{"alter table loans", "loans", true},
		{"loans", "loans", true},
		{"rename table app.loans to app.old", "loans", true},
		{"alter table catalog force", "log", false},
		{"alter table my-loans force", "my-loans", true},
	} {
		if got := names([]byte(test.statement), test.name); got != test.want {
			t.Errorf("%q names %q: %v", test.statement, test.name, got)
		}
	}
}

// measured has the one table that is kept take so much.
func measured(st *Store, bytes int64) []Measured {
	list := st.ToMeasure()
	list[0].Bytes = bytes
	return list
}

// What was measured of rows that are on their way out does not count for those that took their place.
func TestSizedBefore(t *testing.T) {
	t.Parallel()
	table := testTable("1", capture.IdentityDefault)
	st, b := keptOf(t, openSpool(t), table, map[string]row{"1": {"a1", "", "c"}})
	before := measured(st, 1000)
	if _, err := st.Change(b, &capture.Change{Op: capture.Truncate, Table: table}); err != nil {
		t.Fatal(err)
	}
	st.Settle()
	if full := st.Sized(b, before, 10); full != "" {
		t.Errorf("%s is full, which has just been emptied", full)
	}
	if full := st.Sized(b, measured(st, 1000), 10); full != "app.loans" {
		t.Errorf("full: %q", full)
	}
}

// TestCacheIsBounded has a transaction of a million rows' size leave no more in memory than the cache
// may hold, and no row of its.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newCache()
	key := func(n int) []byte { return fmt.Appendf(nil, "key %d", n) }
	for n := range 200_000 {
		c.write(key(n), make([]byte, 50), true, uint64(n/1000+1))
		c.stored = uint64(n / 1000) // the one before
	}
	if n := len(c.young) + len(c.old); n > cacheBytes/entryOverhead+1000 {
		t.Errorf("%d entries", n)
	}
	if c.get(key(199_999)) == nil {
		t.Error("a row that is not stored is not in memory")
	}
	c.abort()
	if n := len(c.young) + len(c.old); n != 0 {
		t.Errorf("%d entries of a transaction that was aborted", n)
	}
}

func FuzzRow(f *testing.F) {
	f.Add([]byte{1, 0, 1, 2, 1, 'x'})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var values [3]capture.Value
		if err := readRow(values[:], b); err != nil {
			if !errors.Is(err, errMalformed) {
				t.Fatal(err)
			}
			return
		}
		again := []byte{rowVersion}
		for _, v := range values {
			again = appendValue(again, v)
		}
		var twice [3]capture.Value
		if err := readRow(twice[:], again); err != nil {
			t.Fatal(err)
		}
		for i := range values {
			if len(values[i].Text) <= maxValue && (values[i].State != twice[i].State || string(values[i].Text) != string(twice[i].Text)) {
				t.Errorf("value %d of %x", i, b)
			}
		}
	})
}
