package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/delivery"
)

// logStore is a log of entries, of which some are read at a time.
type logStore struct {
	delivery.Store
	entries []delivery.Entry
	grown   chan struct{}
}

func (s *logStore) Read(_ delivery.ProfileID, from delivery.Seq, dst []delivery.Entry, limit, _ int) ([]delivery.Entry, delivery.Seq, bool, error) {
	for _, e := range s.entries {
		if e.Seq >= from && len(dst) < limit {
			dst = append(dst, e)
			from = e.Seq + 1
		}
	}
	return dst, from, from > s.entries[len(s.entries)-1].Seq, nil
}

func (s *logStore) Appended(delivery.Seq) <-chan struct{} { return s.grown }

// newReader returns a reader for a unit, and a log of events, each "transaction/type/key".
func newReader(unit string, events ...string) (*reader, *logStore) {
	config := delivery.Defaults()
	config.Unit, config.Batch = unit, delivery.BatchConfig{Max: 3, Wait: time.Minute}
	r := &reader{profile: &Profile{config: config}}
	r.start(&delivery.Progress{Cursor: 1})
	s := &logStore{grown: make(chan struct{})}
	for i, text := range events {
		part := strings.Split(text, "/")
		s.entries = append(s.entries, delivery.Entry{Seq: delivery.Seq(i + 1), Bytes: 10, Event: &delivery.Event{
			Making: &delivery.Making{Type: part[1]},
			Commit: &delivery.Commit{Transaction: part[0], Position: part[0]},
			ID:     fmt.Sprintf("evt_%d", i+1), OrderKey: part[2],
		}})
	}
	return r, s
}

// readAll reads the next entries and returns their places.
func readAll(t *testing.T, r *reader, s *logStore, o *ordering, limit int) []delivery.Seq {
	t.Helper()
	if _, err := r.read(s, 1, o, limit, 1<<20); err != nil {
		t.Fatal(err)
	}
	return places(r.chunk)
}

func places(entries []delivery.Entry) []delivery.Seq {
	var at []delivery.Seq
	for _, e := range entries {
		at = append(at, e.Seq)
	}
	return at
}

// TestReaderReads: it reads on where it was, waits at the end, and stops at a barrier until that is
// gone.
func TestReaderReads(t *testing.T) {
	t.Parallel()
	r, s := newReader("record", "1/a/x", "1/a/x", "2/a/x", "3/a/x", "4/a/x")
	o := &ordering{Barriers: []barrier{{At: 3}}}
	if got := readAll(t, r, s, o, 2); !slices.Equal(got, []delivery.Seq{1, 2}) || r.end || !r.more() {
		t.Errorf("first %v, end %t", got, r.end)
	}
	if got := readAll(t, r, s, o, 10); !slices.Equal(got, []delivery.Seq{3}) || !o.barred(r.next) {
		t.Errorf("up to the barrier %v, next %d", got, r.next)
	}
	if got := readAll(t, r, s, &ordering{}, 10); !slices.Equal(got, []delivery.Seq{4, 5}) || !r.end || r.more() {
		t.Errorf("beyond it %v, end %t", got, r.end)
	}
	if close(s.grown); !r.more() {
		t.Error("it does not notice that the log grew")
	}
}

// TestReaderStart: what is over at and above the cursor is known, and records tell how far the log
// was read.
func TestReaderStart(t *testing.T) {
	t.Parallel()
	r, _ := newReader("record", "1/a/x")
	r.start(&delivery.Progress{Cursor: 5, Done: []delivery.Seq{7, 9}})
	if !r.known(7) || r.known(8) || r.caughtUp() || r.next != 5 {
		t.Errorf("after a start: %+v", r)
	}
	r.knowRecord(&delivery.Delivery{Seq: 8, Members: &delivery.Members{Last: 12}})
	r.know(8)
	r.next = 12
	if r.caughtUp() {
		t.Error("it has not been as far as a record that is stored")
	}
	if r.next = 13; !r.caughtUp() {
		t.Error("it has been as far")
	}
	if r.prune(8); r.known(7) || r.known(8) || !r.known(9) {
		t.Error("what was read is still known, or what was not is forgotten")
	}
}

// TestReaderBatch: a batch is complete when it is full, or due; given back, it is read again.
func TestReaderBatch(t *testing.T) {
	t.Parallel()
	r, s := newReader("batch", "1/a/x", "2/a/y", "3/a/z", "4/a/x")
	readAll(t, r, s, &ordering{}, 10)
	now := endpointStart
	for i, full := range []bool{false, false, true} {
		if r.collect(&r.chunk[i], now, 1<<20) != full {
			t.Errorf("with %d entries full is %t", i+1, !full)
		}
	}
	if r.unread() != 1 {
		t.Errorf("unread from %d", r.unread())
	}
	if got := places(r.takeBatch()); !slices.Equal(got, []delivery.Seq{1, 2, 3}) || r.takeBatch() != nil {
		t.Errorf("batch %v", got)
	}
	r.collect(&r.chunk[3], now, 1<<20)
	if r.batchDue(now.Add(59*time.Second)) || !r.batchDue(now.Add(time.Minute)) {
		t.Error("a batch of one waits for something else than its time")
	}
	if r.giveBack(); r.next != 4 || r.forming.any() || r.end {
		t.Errorf("given back, the next one is %d", r.next)
	}
	r.chunk[0].Bytes = 100
	if !r.collect(&r.chunk[0], now, 100) {
		t.Error("a batch takes more memory than there is")
	}
}

// TestReaderTransaction: a transaction is divided by type where the unit says so, without what has
// a record already.
func TestReaderTransaction(t *testing.T) {
	t.Parallel()
	for unit, want := range map[string]string{
		"transaction": "[[1 2 3 4]]",
		"type":        "[[1 3] [2 4]]",
	} {
		r, s := newReader(unit, "1/a/x", "1/b/x", "1/a/y", "1/b/x", "2/a/x")
		readAll(t, r, s, &ordering{}, 10)
		for i := range 4 {
			if r.begins(&r.chunk[i]) || r.collectTransaction(&r.chunk[i], 1<<20) {
				t.Fatalf("%s: entry %d begins another transaction, or is too much", unit, i+1)
			}
		}
		if !r.begins(&r.chunk[4]) {
			t.Errorf("%s: the next transaction is taken for the same", unit)
		}
		groups, last := r.takeTransaction()
		var got [][]delivery.Seq
		for _, g := range groups {
			got = append(got, places(g))
		}
		if fmt.Sprint(got) != want || last != 4 {
			t.Errorf("%s: %v up to %d, want %s", unit, got, last, want)
		}
		r.know(3)
		members, over := r.wanting(groups[0])
		if slices.Contains(places(members), 3) || over {
			t.Errorf("%s: wanting %v, over %t", unit, places(members), over)
		}
		r.knowGroup(1)
		if _, over := r.wanting(groups[0]); !over {
			t.Errorf("%s: a group that is over is not known", unit)
		}
	}
	r, s := newReader("transaction", "1/a/x", "1/a/x", "1/a/x")
	readAll(t, r, s, &ordering{}, 10)
	if r.collectTransaction(&r.chunk[0], 20) || r.collectTransaction(&r.chunk[1], 20) || !r.collectTransaction(&r.chunk[2], 20) {
		t.Error("a transaction that is too large for memory goes unnoticed")
	}
}

// TestReaderDescribes: a group has the lanes of all its events, or goes alone when they are very
// many; its id hangs on its events.
func TestReaderDescribes(t *testing.T) {
	t.Parallel()
	r, s := newReader("batch", "1/a/x", "2/b/y", "3/a/x")
	var one, same, other delivery.Delivery
	r.describe(&one, s.entries, "batch")
	r.describe(&same, s.entries, "batch")
	r.describe(&other, s.entries[:2], "batch")
	m := one.Members
	want := []uint64{laneHash("x"), laneHash("y")}
	slices.Sort(want)
	if !slices.Equal(m.Lanes, want) || m.Alone || m.Count != 3 || m.Last != 3 || m.LastID != "evt_3" || one.Bytes != 30 {
		t.Errorf("%+v of %d bytes", m, one.Bytes)
	}
	if m.ID != same.Members.ID || m.ID == other.Members.ID {
		t.Errorf("ids %s, %s, %s", m.ID, same.Members.ID, other.Members.ID)
	}
	var many []string
	for i := range delivery.MaxGroupLanes + 1 {
		many = append(many, fmt.Sprintf("1/a/%d", i))
	}
	_, s = newReader("batch", many...)
	if r.describe(&one, s.entries, "batch"); !one.Alone() || one.Members.Lanes != nil {
		t.Error("a group of very many keys does not go alone")
	}
	single, s := newReader("record", "1/a/x")
	if rec := single.newRecord(&s.entries[0]); rec.Members != nil || rec.Lane != laneHash("x") || rec.Lane != rec.WaitLane || rec.Round != 1 {
		t.Errorf("%+v", rec)
	}
}
