package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// change is one committed row change: the seq-th of its key.
type change struct {
	key, seq int64
	op       string
}

// rowState is what a writer knows of a row.
type rowState struct {
	seq   int64 // of the last change
	alive bool
}

// writer is an application: it changes rows of its own range of keys, in transactions
// of all kinds, and keeps a ledger of what it committed, in memory and, in the same
// transactions, in the table proof.ledger. What it rolls back is noted as such.
type writer struct {
	server server
	conn   session
	random *rand.Rand
	lo     int64 // first key
	keys   int64
	rows   map[int64]rowState // of the committed state
	wrote  []change           // committed for certain
}

// transaction is one under construction.
type transaction struct {
	w      *writer
	sql    strings.Builder
	ledger []change
	rows   map[int64]rowState // changed in it
	void   bool               // what follows will be rolled back
}

func newWriter(s server, seed uint64, lo, keys int64) *writer {
	return &writer{server: s, random: rand.New(rand.NewPCG(seed, 1)), lo: lo, keys: keys, rows: map[int64]rowState{}}
}

func (w *writer) close() {
	if w.conn != nil {
		w.conn.close()
	}
}

// step commits or rolls back one transaction.
func (w *writer) step(ctx context.Context) error {
	t := &transaction{w: w, rows: map[int64]rowState{}}
	t.sql.WriteString("begin;")
	end := "commit"
	switch kind := w.random.IntN(10); {
	case kind < 5:
		t.touch()
	case kind < 7: // several rows, some of them twice
		for range 2 + w.random.IntN(18) {
			t.touch()
		}
	case kind < 9: // savepoints, one inside the other
		t.touch()
		t.undone(func() {
			t.touch()
			t.undone(func() { t.touch() })
			t.touch()
		})
		t.touch()
	default:
		t.void = true
		for range 1 + w.random.IntN(5) {
			t.touch()
		}
		end = "rollback"
	}
	if !t.void {
		t.writeLedger()
	}
	t.sql.WriteString(end)
	if err := w.conn.exec(ctx, t.sql.String()); err != nil {
		return err
	}
	if !t.void {
		maps.Copy(w.rows, t.rows)
		w.wrote = append(w.wrote, t.ledger...)
	}
	return nil
}

// undone runs do inside a savepoint that is rolled back.
func (t *transaction) undone(do func()) {
	rows, ledger, void := maps.Clone(t.rows), len(t.ledger), t.void
	name := fmt.Sprintf("s%d", t.sql.Len())
	t.sql.WriteString("savepoint " + name + ";")
	t.void = true
	do()
	t.sql.WriteString("rollback to savepoint " + name + ";")
	t.rows, t.ledger, t.void = rows, t.ledger[:ledger], void
}

// touch changes one row.
func (t *transaction) touch() {
	key := t.w.lo + t.w.random.Int64N(t.w.keys)
	row, ok := t.rows[key]
	if !ok {
		row = t.w.rows[key]
	}
	row.seq++
	note := "kept " + filler
	if t.void {
		note = rolledBack
	}
	op := "insert"
	switch {
	case !row.alive:
		fmt.Fprintf(&t.sql, "insert into proof.rows (id, seq, note) values (%d, %d, '%s');", key, row.seq, note)
		row.alive = true
	case t.w.random.IntN(4) == 0:
		op = "delete"
		fmt.Fprintf(&t.sql, "delete from proof.rows where id = %d;", key)
		row.alive = false
	default:
		op = "update"
		fmt.Fprintf(&t.sql, "update proof.rows set seq = %d, note = '%s' where id = %d;", row.seq, note, key)
	}
	t.rows[key] = row
	t.ledger = append(t.ledger, change{key, row.seq, op})
}

const rolledBack = "rolled back"

// filler brings rows to about 200 bytes.
var filler = strings.Repeat("rowhook ", 20)

func (t *transaction) writeLedger() {
	t.sql.WriteString("insert into proof.ledger (id, seq, op) values ")
	for i, c := range t.ledger {
		if i > 0 {
			t.sql.WriteByte(',')
		}
		fmt.Fprintf(&t.sql, "(%d,%d,'%s')", c.key, c.seq, c.op)
	}
	t.sql.WriteByte(';')
}

// open begins on a new session, also after an error that left open whether a transaction was
// committed: the ledger in the database tells.
func (w *writer) open(ctx context.Context) error {
	if w.conn != nil {
		w.conn.close() // broken
	}
	var err error
	if w.conn, err = w.server.connect(ctx); err != nil {
		w.conn = nil
		return err
	}
	changes, err := readLedger(ctx, w.server, fmt.Sprintf("where id >= %d and id < %d order by seq", w.lo, w.lo+w.keys))
	if err != nil {
		return err
	}
	clear(w.rows)
	for _, c := range changes {
		w.rows[c.key] = rowState{c.seq, c.op != "delete"}
	}
	return nil
}

// load is writers at work.
type load struct {
	cancel  context.CancelFunc
	group   sync.WaitGroup
	writers []*writer
	mu      sync.Mutex
	errs    []error
}

// write starts n writers with perSecond transactions a second between them, on
// keys of their own, until the load is stopped. With enduring they outlive
// the server's restarts.
func (w *world) load(n, perSecond int, enduring bool) *load {
	w.tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel}
	interval := time.Second * time.Duration(n) / time.Duration(perSecond)
	for i := range n {
		writer := newWriter(w.server, uint64(i), int64(i)*1000, 50)
		if err := writer.open(ctx); err != nil {
			w.tb.Fatalf("read the ledger: %v", err)
		}
		l.writers = append(l.writers, writer)
		l.group.Go(func() {
			defer writer.close()
			if err := l.run(ctx, writer, interval, enduring); err != nil && ctx.Err() == nil {
				l.mu.Lock()
				l.errs = append(l.errs, err)
				l.mu.Unlock()
			}
		})
	}
	w.tb.Cleanup(func() { cancel(); l.group.Wait() })
	return l
}

func (l *load) run(ctx context.Context, w *writer, interval time.Duration, enduring bool) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// A transaction under way is finished when the load is stopped.
		err := w.step(context.Background())
		for err != nil && enduring {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			err = w.open(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// stop ends the load and returns what was committed for certain.
func (l *load) stop(tb testing.TB) []change {
	tb.Helper()
	l.cancel()
	l.group.Wait()
	for _, err := range l.errs {
		tb.Errorf("writer: %v", err)
	}
	var wrote []change
	for _, w := range l.writers {
		wrote = append(wrote, w.wrote...)
	}
	return wrote
}

// ledger is all that was committed, as the database has it. It must hold
// everything that a writer was told is committed.
func (w *world) ledger(wrote []change) []change {
	w.tb.Helper()
	changes, err := readLedger(context.Background(), w.server, "order by place")
	if err != nil {
		w.tb.Fatalf("read the ledger: %v", err)
	}
	known := make(map[change]bool, len(changes))
	for _, c := range changes {
		known[c] = true
	}
	for _, c := range wrote {
		if !known[c] {
			w.tb.Errorf("the database lost %+v, which was committed", c)
		}
	}
	return changes
}

// readLedger reads the ledger with the rest of a query.
func readLedger(ctx context.Context, s server, rest string) ([]change, error) {
	rows, err := s.query(ctx, "select id, seq, op from proof.ledger "+rest)
	if err != nil {
		return nil, err
	}
	changes := make([]change, len(rows))
	for i, row := range rows {
		key, keyErr := asInt64(row[0])
		seq, seqErr := asInt64(row[1])
		if err := errors.Join(keyErr, seqErr); err != nil {
			return nil, err
		}
		changes[i] = change{key, seq, row[2]}
	}
	return changes, nil
}
