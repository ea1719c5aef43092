package pipeline

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/mapping"
)

// Rows that were read beside the stream are put between its transactions, so that no older state of
// a row follows a newer one:
//
//   - behind every transaction that the read has seen: a chunk waits until the stream has passed its
//     mark;
//   - before every transaction that it has not seen and that changed the row. When such a one comes
//     while the chunk waits, the row goes before its change. When it came before the chunk did, the
//     row is read again; so it is where its entry looks up rows, which that transaction may have
//     changed already.
//
// That a row may go before the mark rests on the databases' row locks: who changes a row has seen
// what was done to it before. So when the first transaction comes that changed the row and was not
// seen, all that were seen and changed it have come.
//
// For the second rule a [Tracking] keeps which rows the stream has changed, by transactions that no
// read has seen yet. It is bounded: when too many come together, it is lost, and whoever reads
// begins another. What came before it must be seen by the reads.
//
// The tracking is lost with the connection, and a chunk that waits is dropped: the server may have
// been another one, whose snapshots tell nothing of this stream, and a transaction that was open
// comes again. Reading goes on from where the last chunk ended.

const (
	// trackMost is how many changed rows, and transactions, a tracking keeps.
	trackMost = 1 << 16
	// mergePoll is how often a quiet stream is asked whether it has passed a chunk's mark.
	mergePoll = 2 * time.Millisecond
	// hastenAfter is after how long of waiting the snapshot is asked for an earlier mark.
	hastenAfter = 250 * time.Millisecond
)

// ErrTrackingLost says that a chunk has to be read again, with another tracking.
var ErrTrackingLost = errors.New("the stream changed too much, or its connection broke, while rows were read")

// errUnseen says that a chunk has to be read again: it has not seen a transaction that is in the
// stream already, and which rows that changed is not known.
var errUnseen = fmt.Errorf("a transaction is not seen yet: %w", ErrTrackingLost)

// Merge is a chunk on its way into the stream.
type Merge struct {
	Chunk *capture.Chunk
	// Entry is the mapping entry whose rules are asked, Profile the only one that gets the events;
	// empty for all that subscribe.
	Entry, Profile string
	// Identity begins what the events' ids are made of; the row's table and key follow.
	Identity string
	// Store names a value of the spool that is stored together with the rows, and makes it of what
	// became of them.
	Store func(Merged) (key string, value []byte)
	// Generation, if not 0, has the rows kept rather than mapped, as part of this generation of their
	// table's. Last, which is asked after Store, says that these are the last ones.
	Generation uint32
	Last       func() bool
}

// Merged is what became of a chunk's rows.
type Merged struct {
	Rows, Events int
	// Failed counts rows that could not be mapped or matched; each has a line in the delivery log.
	Failed int
	// Again are the keys of rows that must be read again.
	Again [][]string
}

// Tracking keeps which rows of one table the stream has changed.
type Tracking struct {
	pipe         *Pipeline
	schema, name string
	key          []string // the columns that tell rows apart in the stream
	seed         maphash.Seed

	// With the pipeline's mu held.
	lost    bool
	touched map[uint64]int        // rows, with the last transaction that changed them
	by      []capture.Transaction // in the stream's order
	latest  capture.Snapshot      // what it has seen, all to come will see
	table   *capture.Table        // as the stream described it last
	columns []int                 // of key there; nil where one is missing
	chunk   *merging
}

// merging is the chunk that waits.
type merging struct {
	*Merge
	tracking *Tracking
	rows     map[uint64]capture.Row // those that wait
	order    []uint64
	merged   Merged
	stored   chan struct{}
	dropped  chan struct{}
	// sight is what the chunk has seen of a transaction.
	sight capture.Sight
	of    string // its identity
	anew  bool   // a row was not kept: the table's kept rows are of another generation by now
}

// Track begins a tracking in place of the one before. Transactions that came before it must be seen
// by what is read.
func (p *Pipeline) Track(table *capture.Table) *Tracking {
	t := &Tracking{pipe: p, schema: table.Schema, name: table.Name, key: rowIdentity(table), seed: maphash.MakeSeed(), touched: map[uint64]int{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropRead()
	p.tracking = t
	return t
}

// End ends the tracking.
func (t *Tracking) End() {
	t.pipe.mu.Lock()
	defer t.pipe.mu.Unlock()
	if t.pipe.tracking == t {
		t.pipe.dropRead()
		t.pipe.tracking = nil
	}
}

// rowIdentity names the columns by which a row is told apart in the stream.
func rowIdentity(t *capture.Table) (names []string) {
	for _, i := range t.RowIdentity() {
		names = append(names, t.Columns[i].Name)
	}
	return names
}

// Merge hands a chunk in and waits until its rows are stored, those left out that must be read again.
// When ctx ends and the rows have been placed already, they are on their way.
func (t *Tracking) Merge(ctx context.Context, m *Merge) (Merged, error) {
	p := t.pipe
	for busy := p.Busy(); busy != nil; busy = p.Busy() {
		select {
		case <-busy:
		case <-ctx.Done():
			return Merged{}, context.Cause(ctx)
		}
	}
	c, err := t.handIn(m)
	if err != nil {
		return Merged{}, err
	}
	poll := time.NewTicker(mergePoll)
	defer poll.Stop()
	hasten := time.NewTicker(hastenAfter)
	defer hasten.Stop()
	for {
		select {
		case <-c.stored:
			if c.anew {
				return c.merged, ErrKeptAnew
			}
			return c.merged, nil
		case <-c.dropped:
			return Merged{}, ErrTrackingLost
		case <-poll.C:
			if err := t.look(); err != nil {
				return t.give(c, err)
			}
		case <-hasten.C:
			if err := m.Chunk.Hasten(ctx); err != nil {
				return t.give(c, err)
			}
		case <-ctx.Done():
			return t.give(c, context.Cause(ctx))
		}
	}
}

// give ends the wait for a chunk: it is dropped, or goes to the spool with whatever comes first.
func (t *Tracking) give(c *merging, err error) (Merged, error) {
	t.pipe.mu.Lock()
	defer t.pipe.mu.Unlock()
	if t.chunk == c {
		t.pipe.dropRead()
		return Merged{}, err
	}
	if dropped(c) {
		return Merged{}, ErrTrackingLost
	}
	return c.merged, nil
}

func dropped(c *merging) bool {
	select {
	case <-c.dropped:
		return true
	default:
		return false
	}
}

// handIn has the chunk wait, but for the rows that the stream changed before.
func (t *Tracking) handIn(m *Merge) (*merging, error) {
	p := t.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != nil {
		return nil, p.failure
	}
	if p.tracking != t || t.lost {
		return nil, ErrTrackingLost
	}
	t.prune(m.Chunk.Snapshot)
	columns := columnsOf(m.Chunk.Table, t.key)
	if columns == nil {
		return nil, errUnseen // the key is another one than when the tracking began
	}
	c := &merging{Merge: m, tracking: t, rows: make(map[uint64]capture.Row, len(m.Chunk.Rows)), stored: make(chan struct{}), dropped: make(chan struct{})}
	for _, row := range m.Chunk.Rows {
		h, ok := t.hash(row, columns)
		if _, changed := t.touched[h]; changed || !ok {
			if err := c.again(row); err != nil {
				return nil, err
			}
			continue
		}
		if _, twice := c.rows[h]; twice {
			return nil, errUnseen
		}
		c.rows[h] = row
		c.order = append(c.order, h)
	}
	t.chunk = c
	if !p.open && p.end != "" && m.Chunk.Passed() {
		p.settleBeside()
	}
	return c, p.failure
}

// look merges the chunk if the stream stands still behind its mark.
func (t *Tracking) look() error {
	p := t.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if t.chunk != nil && !p.open && p.end != "" && t.chunk.Chunk.Passed() {
		p.settleBeside()
	}
	return p.failure
}

// Seen forgets what a snapshot of the reader has seen. All reads to come must have seen it.
func (t *Tracking) Seen(by capture.Snapshot) {
	t.pipe.mu.Lock()
	defer t.pipe.mu.Unlock()
	if t.pipe.tracking == t && !t.lost {
		t.prune(by)
	}
}

// prune forgets the transactions that the latest read has seen.
func (t *Tracking) prune(latest capture.Snapshot) {
	t.latest = latest
	if len(t.by) == 0 {
		return
	}
	place := make([]int, len(t.by))
	var kept []capture.Transaction
	for i := range t.by {
		if place[i] = -1; latest.Sees(&t.by[i]) != capture.Seen {
			place[i] = len(kept)
			kept = append(kept, t.by[i])
		}
	}
	t.by = kept
	for h, i := range t.touched {
		if place[i] < 0 {
			delete(t.touched, h)
		} else {
			t.touched[h] = place[i]
		}
	}
}

// dropRead drops the chunk that waits. Called with mu held.
func (p *Pipeline) dropRead() {
	if t := p.tracking; t != nil && t.chunk != nil {
		close(t.chunk.dropped)
		t.chunk = nil
	}
}

// lose ends what is known of the stream's changes. Called with mu held.
func (t *Tracking) lose() {
	t.pipe.dropRead()
	t.lost, t.touched, t.by = true, nil, nil
}

// mergeDue puts the chunk that waits into the batch if the stream has passed its mark. Called with
// mu held, between transactions, before the batch's commit.
func (p *Pipeline) mergeDue() error {
	t := p.tracking
	if t == nil || t.chunk == nil || !t.chunk.Chunk.Passed() {
		return nil
	}
	c := t.chunk
	for _, h := range c.order {
		if row, waits := c.rows[h]; waits {
			if err := p.mapRead(c, row); err != nil {
				return err
			}
		}
	}
	if c.Generation != 0 && !c.anew {
		c.merged.Again = append(c.merged.Again, p.kept.Moved(p.batches.cur.batch, c.Generation, c.Chunk.Table)...)
	}
	if c.Store != nil {
		p.batches.cur.batch.Put(c.Store(c.merged))
	}
	if c.Generation != 0 && c.Last() && !c.anew {
		p.kept.Loaded(p.batches.cur.batch, c.Chunk.Table.String(), c.Generation)
	}
	p.batches.cur.stored = append(p.batches.cur.stored, c.stored)
	p.batches.cur.urgent = true
	t.chunk = nil
	return nil
}

// trackChange keeps that the open transaction changed a row, and puts the row's read before it, if
// one waits. Called with mu held.
func (t *Tracking) trackChange(c *capture.Change) error {
	if c.Table.Name != t.name || c.Table.Schema != t.schema || t.lost {
		return nil
	}
	if c.Table != t.table {
		t.table, t.columns = c.Table, columnsOf(c.Table, t.key)
	}
	if c.Op == capture.Truncate || t.columns == nil {
		t.trackAll()
		return nil
	}
	known := false
	for _, row := range [2]capture.Row{c.Old, c.New} {
		if row == nil {
			continue
		}
		if h, ok := t.hash(row, t.columns); ok {
			known = true
			if err := t.touch(h); err != nil {
				return err
			}
		}
	}
	if !known {
		t.trackAll()
	}
	return nil
}

// trackAll takes the open transaction for one that may have changed any row.
func (t *Tracking) trackAll() {
	if t.latest == nil || t.latest.Sees(&t.pipe.tx) != capture.Seen {
		t.lose()
	}
}

func (t *Tracking) touch(h uint64) error {
	tx := &t.pipe.tx
	if c := t.chunk; c != nil {
		if row, waits := c.rows[h]; waits {
			if c.of != tx.Identity {
				c.sight, c.of = c.Chunk.Sees(tx), tx.Identity
			}
			switch c.sight {
			case capture.Unseen:
				delete(c.rows, h)
				put := t.pipe.mapRead
				if c.Generation == 0 && len(t.pipe.rules.LooksUp(c.Entry)) > 0 {
					put = (*merging).again // it would look rows up in the midst of this transaction
				}
				if err := put(c, row); err != nil {
					return err
				}
			case capture.Unclear:
				delete(c.rows, h)
				if err := c.again(row); err != nil {
					return err
				}
			}
		}
	}
	last := len(t.by) - 1
	if last < 0 || t.by[last].Identity != tx.Identity {
		if t.latest != nil && t.latest.Sees(tx) == capture.Seen {
			return nil // so it is by all reads to come
		}
		t.by = append(t.by, *tx)
		last++
	}
	if t.touched[h] = last; len(t.touched) > trackMost || len(t.by) > trackMost {
		t.lose()
	}
	return nil
}

// hash makes a number of a row's key; ok is false where part of it is not known.
func (t *Tracking) hash(row capture.Row, columns []int) (h uint64, ok bool) {
	var hash maphash.Hash
	hash.SetSeed(t.seed)
	for _, i := range columns {
		if i >= len(row) || row[i].State != capture.Present {
			return 0, false
		}
		n := len(row[i].Text)
		hash.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
		hash.Write(row[i].Text)
	}
	return hash.Sum64(), true
}

// columnsOf finds columns by name; nil where one is missing.
func columnsOf(t *capture.Table, names []string) []int {
	columns := make([]int, len(names))
	for i, name := range names {
		if columns[i] = t.Column(name); columns[i] < 0 {
			return nil
		}
	}
	return columns
}

// again notes that a row must be read again.
func (c *merging) again(row capture.Row) error {
	key, ok := c.Chunk.Table.RowKey(row)
	if !ok {
		return fmt.Errorf("a row of %s was read without its key", c.Chunk.Table)
	}
	c.merged.Again = append(c.merged.Again, key)
	return nil
}

// mapRead makes the events of a row that was read. Called with mu held.
func (p *Pipeline) mapRead(c *merging, row capture.Row) error {
	if c.Generation != 0 {
		return p.keepRead(c, row)
	}
	if p.reader == nil {
		p.reader = p.rules.NewMapper(&readOutput{pipe: p}, p.identity)
	}
	p.looksUp(p.reader, p.mapper)
	var id strings.Builder
	fmt.Fprintf(&id, "%s/%s", c.Identity, c.Chunk.Table)
	for _, i := range c.Chunk.Table.Key {
		fmt.Fprintf(&id, "/%d:%s", len(row[i].Text), row[i].Text)
	}
	tx := capture.Transaction{Identity: id.String(), Position: c.Chunk.Mark(), Time: c.Chunk.Time}
	p.reading = c
	mapped, err := p.reader.Read(&tx, c.Entry, c.Chunk.Table, row)
	p.reading = nil
	if err == nil && !mapped {
		c.merged.Failed++
	}
	c.merged.Rows++
	return err
}

// readOutput takes what comes of rows that were read.
type readOutput struct{ pipe *Pipeline }

// Event implements [mapping.Output].
func (o *readOutput) Event(ev *delivery.Event, row delivery.Row) error {
	p, c := o.pipe, o.pipe.reading
	to, undecided := p.router.Match(ev, row, nil, nil)
	other := func(id delivery.ProfileID) bool { return c.Profile != "" && p.codes[id] != c.Profile }
	to, undecided = slices.DeleteFunc(to, other), slices.DeleteFunc(undecided, other)
	for _, profile := range undecided {
		o.failed(p.codes[profile], delivery.OutcomeUndecidable, ErrUndecidable)
	}
	if len(to) == 0 {
		p.counts.unsubscribed.Add(1)
		return nil
	}
	c.merged.Events++
	p.counts.events.Add(1)
	p.batches.cur.batch.Add(ev, to)
	return nil
}

// Fail implements [mapping.Output]. The row is still in its table: it is not kept.
func (o *readOutput) Fail(f *mapping.Failure) error {
	o.failed("", f.Reason, f.Err)
	return nil
}

func (o *readOutput) failed(profile string, outcome delivery.Outcome, err error) {
	p, c := o.pipe, o.pipe.reading
	c.merged.Failed++
	p.batches.cur.lines = append(p.batches.cur.lines, delivery.LogRecord{
		Time: time.Now(), Profile: profile, Outcome: outcome, Table: c.Chunk.Table.String(),
		Position: string(c.Chunk.Mark()), Reason: string(outcome), Error: err.Error(),
	})
}

// Notice implements [mapping.Output].
func (o *readOutput) Notice(n mapping.Notice) { (*mapperOutput)(o.pipe).Notice(n) }
