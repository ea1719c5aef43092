package backfill_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rowhook/delivery"
)

// The oracle for memory: a table whose stream tells old rows by their key alone, and a twin that the
// same transactions change in the same way and whose old rows come whole. What comes of the first, with
// memory, must be what comes of the twin.
const memoryConfig = `
source: {type: postgres, url: "postgres://nobody@127.0.0.1:1/library"}
mapping:
  loans: {table: %[1]s.loans, memory: all, events: &all {record.inserted: {op: insert}, record.updated: {op: update}, record.deleted: {op: delete}}}
  twin: {table: %[1]s.twin, events: *all}
  loan rules:
    table: %[1]s.loans
    events: &rules
      note.set: {op: update, set: note}
      note.cleared: {op: update, cleared: note}
      note.changed: {op: update, changed: note}
      state.changed: {op: update, changed: state}
      state.lost: {op: update, becomes: {state: LOST}}
      lost.deleted: {op: delete, where: {state: LOST}}
      due.later: {op: update, if: new.due > old.due}
  twin rules: {table: %[1]s.twin, events: *rules}
  marks: {table: %[1]s.marks, events: {mark: {op: insert}}}
profiles:
  desk: {url: "http://127.0.0.1:1/", signature: none, allow_networks: [loopback], subscriptions: [{events: ["*"]}]}
`

// memoryWorld is a world with writers of both tables.
type memoryWorld struct {
	*world
	postgres bool
	altered  bool // there is a column more
	marks    int
	next     delivery.Seq
	events   []*delivery.Event
}

// both are the statements that make one change in both tables. An empty image leaves the server's.
func (w *memoryWorld) both(format string, args ...any) []string {
	table := func(name string) string { return fmt.Sprintf(strings.ReplaceAll(format, "TABLE", name), args...) }
	if w.postgres {
		return []string{table("loans"), table("twin")}
	}
	return []string{"set session binlog_row_image = 'MINIMAL'", table("loans"), "set session binlog_row_image = 'FULL'", table("twin")}
}

// write has writers change rows until so many transactions of each are committed, or have failed with
// their connection.
func (w *memoryWorld) write(transactions int) {
	var group sync.WaitGroup
	const writers = 3
	for n := range writers {
		group.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(n), uint64(w.marks)))
			var session writer
			defer func() {
				if session != nil {
					session.Close()
				}
			}()
			for done := 0; done < transactions; done++ {
				if session == nil {
					var err error
					if session, err = w.session(); err != nil {
						session = nil
						<-time.After(50 * time.Millisecond)
						continue
					}
				}
				statements := []string{"begin"}
				for range 1 + rnd.IntN(4) {
					statements = append(statements, w.change(rnd, n, writers)...)
				}
				statements = append(statements, map[bool]string{true: "rollback", false: "commit"}[rnd.IntN(10) == 0])
				for _, sql := range statements {
					if err := session.Exec(sql); err != nil {
						session.Close()
						session = nil
						break
					}
				}
				w.pace()
			}
		})
	}
	group.Wait()
}

// pace keeps the stream from lagging more and more: a load would not come to its end.
func (w *memoryWorld) pace() { <-time.After(2 * time.Millisecond) }

// change is one change of a row that is the writer's own.
func (w *memoryWorld) change(rnd *rand.Rand, n, writers int) []string {
	id := rnd.IntN(60)*writers + n
	note := "null"
	switch rnd.IntN(4) {
	case 0:
		note = "'short'"
	case 1, 2:
		var long strings.Builder
		for range 700 {
			fmt.Fprintf(&long, "%08x", rnd.Uint32())
		}
		note = "'" + long.String() + "'"
	}
	state := fmt.Sprintf("'%s'", []string{"OUT", "LOST", "IN"}[rnd.IntN(3)])
	switch rnd.IntN(8) {
	case 0:
		return w.both("delete from TABLE where id = %d", id)
	case 1, 2:
		return append(w.both("delete from TABLE where id = %d", id),
			w.insert("%d, %s, %s, %d", id, note, state, rnd.IntN(100))...)
	case 3:
		other := rnd.IntN(60)*writers + n
		return append(w.both("delete from TABLE where id = %d", other), w.both("update TABLE set id = %d where id = %d", other, id)...)
	case 4:
		return w.both("update TABLE set note = %s where id = %d", note, id)
	case 5:
		return w.both("update TABLE set state = %s, due = due + %d where id = %d", state, rnd.IntN(3)-1, id)
	default:
		return w.both("update TABLE set due = %d where id = %d", rnd.IntN(100), id)
	}
}

// insert gives all columns: a minimal row image has no others, not even their defaults.
func (w *memoryWorld) insert(values string, args ...any) []string {
	if w.altered {
		return w.both("insert into TABLE (id, note, state, due, more) values ("+values+", 8)", args...)
	}
	return w.both("insert into TABLE (id, note, state, due) values ("+values+")", args...)
}

// mark writes a mark, and waits for it: an odd one begins what is compared strictly, the next ends it.
func (w *memoryWorld) mark() {
	w.t.Helper()
	w.marks++
	must(w.t, w.exec(fmt.Sprintf("insert into marks values (%d)", w.marks)))
	want := fmt.Sprintf(`{"n":%d}`, w.marks)
	w.eventually("mark "+want, func() bool {
		w.next = w.each(w.next, func(ev *delivery.Event) { w.events = append(w.events, ev) })
		return slices.ContainsFunc(w.events, func(ev *delivery.Event) bool { return ev.Type == "mark" && string(ev.Key) == want })
	})
}

// loaded waits until all rows are known, as of what was written so far: a stream that lags has not come
// to the statement yet after which they are read again.
func (w *memoryWorld) loaded() {
	w.t.Helper()
	w.mark()
	w.mark() // what is strict lies between an odd mark and the next
	w.eventually("the load", func() bool {
		list := w.pipe.Kept()
		return len(list) == 1 && list[0].Loaded
	})
}

// strictly has rows written of which everything must be known.
func (w *memoryWorld) strictly(transactions int, meanwhile ...func()) {
	w.t.Helper()
	w.mark()
	parked := w.pipe.Counts().Parked
	var group sync.WaitGroup
	for _, do := range meanwhile {
		group.Go(do)
	}
	w.write(transactions)
	group.Wait()
	w.mark()
	if now := w.pipe.Counts().Parked; now != parked {
		w.t.Errorf("%d changes could not be decided though all rows are known; %+v", now-parked, w.pipe.Kept())
	}
}

// told is what an event says, without whose it is.
type told struct {
	typ, key       string
	data, previous map[string]json.RawMessage
	unavailable    []string
}

func tell(t *testing.T, ev *delivery.Event) told {
	one := told{typ: ev.Type, key: string(ev.Key), unavailable: ev.Unavailable}
	for _, part := range []struct {
		raw []byte
		to  *map[string]json.RawMessage
	}{{ev.Data, &one.data}, {ev.Previous, &one.previous}} {
		if len(part.raw) > 0 {
			if err := json.Unmarshal(part.raw, part.to); err != nil {
				t.Fatal(err)
			}
		}
	}
	return one
}

// same reports whether one says what the twin says; where it need not be whole, it may leave out what
// was not known, and nothing else.
func (a *told) same(b *told, whole bool) bool {
	if a.typ != b.typ || a.key != b.key || whole && len(a.unavailable) > 0 {
		return false
	}
	agrees := func(a, b map[string]json.RawMessage) bool {
		for name, value := range a {
			if other, ok := b[name]; !ok || string(other) != string(value) {
				return false
			}
		}
		return !whole || len(a) == len(b)
	}
	return agrees(a.data, b.data) && agrees(a.previous, b.previous)
}

// compare holds the events of both tables to one another, transaction by transaction.
func (w *memoryWorld) compare() {
	t := w.t
	t.Helper()
	type pair struct{ one, twin []told }
	var order []string
	byTx, strict := map[string]*pair{}, map[string]bool{}
	marks, filled := 0, 0
	for _, ev := range w.events {
		if ev.Type == "mark" {
			marks++
			continue
		}
		p := byTx[ev.Transaction]
		if p == nil {
			p = &pair{}
			byTx[ev.Transaction] = p
			order = append(order, ev.Transaction)
			strict[ev.Transaction] = marks%2 == 1
		}
		if strings.HasPrefix(ev.Entry, "twin") {
			p.twin = append(p.twin, tell(t, ev))
		} else {
			p.one = append(p.one, tell(t, ev))
		}
	}
	wrong, compared := 0, 0
	for _, tx := range order {
		p := byTx[tx]
		at := 0
		for i := range p.one {
			found := -1
			for j := at; j < len(p.twin) && found < 0; j++ {
				if p.one[i].same(&p.twin[j], strict[tx]) {
					found = j
				}
				if strict[tx] {
					break
				}
			}
			if found < 0 {
				wrong++
				if wrong < 5 {
					t.Errorf("transaction %s, strictly %t: %.300v has no twin; they are %.600v", tx, strict[tx], p.one[i], p.twin)
				}
				break
			}
			at = found + 1
			filled += len(p.one[i].previous)
			compared++
		}
		if strict[tx] && len(p.one) != len(p.twin) {
			wrong++
			if wrong < 5 {
				t.Errorf("transaction %s: %d events, its twin has %d", tx, len(p.one), len(p.twin))
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d transactions differ", wrong, len(order))
	}
	if compared < 100 || filled < 100 {
		t.Errorf("%d events with %d old values are too few", compared, filled)
	}
	t.Logf("%d transactions, %d events, %d old values are the twin's", len(order), compared, filled)
}

// TestMemory holds what memory knows to what whole old rows tell: while the rows are read, through
// broken connections and restarts, a truncate, and a table that is altered and rewritten.
func TestMemory(t *testing.T) {
	t.Parallel()
	for _, db := range databases {
		t.Run(db.name, func(t *testing.T) {
			t.Parallel()
			d, dir := db.start(t), t.TempDir()
			w := &memoryWorld{postgres: db.name == "PostgreSQL"}
			w.world = &world{database: d, t: t}
			columns := "(id int primary key, note text, state varchar(10), due int)"
			must(t, d.exec("create table loans "+columns, "create table twin "+columns, "create table marks (n int primary key)"))
			if w.postgres {
				must(t, d.exec("alter table twin replica identity full", "alter table loans alter note set storage external, alter state set not null"))
			}
			for _, sql := range w.both("insert into TABLE select n, 'first', 'IN', n from (select a.n + 10 * b.n as n from digits a cross join digits b) x") {
				if strings.HasPrefix(sql, "insert into loans") {
					must(t, d.exec("create table digits (n int primary key)", "insert into digits values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)"))
				}
				must(t, d.exec(sql))
			}
			w.world = newWorldOf(t, d, memoryConfig, dir)

			w.write(60) // while they are read
			w.loaded()
			w.strictly(60)
			w.strictly(40, d.restart)

			w.stop()
			w.world = newWorldOf(t, d, memoryConfig, dir)
			w.strictly(40)

			truncate := w.both("truncate table TABLE")
			must(t, d.exec(truncate...))
			w.write(10)
			w.loaded()
			w.strictly(40)

			alter := w.both("alter table TABLE add column more int default 7")
			if w.postgres {
				alter = append(alter, w.both("alter table TABLE alter note type text using note || '!'")...)
			} else {
				alter = append(alter, w.both("alter table TABLE drop column note")...)
				alter = append(alter, w.both("alter table TABLE add column note text")...)
			}
			must(t, d.exec(alter...))
			w.altered = true
			w.write(30)
			w.loaded()
			w.strictly(40)
			w.compare()
		})
	}
}
