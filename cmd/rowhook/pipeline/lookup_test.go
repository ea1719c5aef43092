package pipeline

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/pipeline/kept"
	"rowhook/delivery"
	"rowhook/mapping"
)

const lookupConfig = `
source: {type: postgres, url: "postgres://nobody@127.0.0.1:1/library"}
lookups: {members: {table: public.members, key: id, columns: [name]}}
mapping:
  public.loans:
    lookup: {member: {from: members, by: note}}
    fields: {id: id, name: member.name}
    events:
      loan.created: {op: insert}
      loan.present: {op: read}
profiles:
  desk: {url: "http://127.0.0.1:1/", signature: none, allow_networks: [loopback]}
`

// lookupWorld is a pipeline whose loans, by their note, name a member.
type lookupWorld struct {
	*pipelineWorld
	members *capture.Table
	at      int
}

func newLookupWorld(t testing.TB, config string) *lookupWorld {
	t.Helper()
	w := &lookupWorld{pipelineWorld: newPipelineWorldOf(t, config)}
	w.to.Kept = []kept.Want{{Table: "public.members", Columns: []string{"id", "name"}}}
	w.pipe = w.newPipeline()
	w.members = &capture.Table{Schema: "public", Name: "members", Key: []int{0}, Identity: capture.IdentityDefault, Version: "1", Columns: slices.Clone(w.table.Columns)}
	w.members.Columns[1].Name, w.members.Columns[1].Identity = "name", false
	w.start()
	must(t, w.pipe.Idle("0/1"))
	w.pipe.Describe([]*capture.Table{w.members})
	return w
}

// rewritten is the table after VACUUM FULL.
func rewritten(t *capture.Table) *capture.Table {
	other := *t
	other.Version += "1"
	return &other
}

// lookSight is a snapshot that saw the same of all transactions.
type lookSight struct {
	sight  capture.Sight
	passed bool
}

func (s *lookSight) Sees(*capture.Transaction) capture.Sight { return s.sight }
func (s *lookSight) Passed() bool                            { return s.passed }
func (s *lookSight) Mark() capture.Position                  { return "0/1" }
func (s *lookSight) Hasten(context.Context) error            { return nil }

// load has the members kept: number and name of each.
func (w *lookupWorld) load(table *capture.Table, rows ...string) {
	w.t.Helper()
	chunk := &capture.Chunk{Table: table, Snapshot: &lookSight{capture.Seen, true}}
	for _, row := range rows {
		id, name, _ := strings.Cut(row, " ")
		chunk.Rows = append(chunk.Rows, pair(id, name))
	}
	generation, err := w.pipe.BeginKept(w.t.Context(), chunk)
	must(w.t, err)
	track := w.pipe.Track(table)
	defer track.End()
	_, err = track.Merge(w.t.Context(), &Merge{Chunk: chunk, Generation: generation, Last: func() bool { return true }})
	must(w.t, err)
	list := w.pipe.Kept()
	if !slices.ContainsFunc(list, func(k kept.Table) bool { return k.Table == table.String() && k.Loaded }) {
		w.t.Fatalf("not loaded: %+v", list)
	}
}

func pair(a, b string) capture.Row {
	return capture.Row{{State: capture.Present, Text: []byte(a)}, {State: capture.Present, Text: []byte(b)}}
}

func (w *lookupWorld) rename(ordinal int, id, name string) error {
	return w.pipe.Change(&capture.Change{Op: capture.Update, Table: w.members, Ordinal: ordinal, Old: capture.Row{{State: capture.Present, Text: []byte(id)}, {}}, New: pair(id, name)})
}

func (w *lookupWorld) end() {
	w.t.Helper()
	w.at++
	w.commit(capture.Position(fmt.Sprintf("0/%d", 10+w.at)))
}

// lend makes a loan, and returns the name that its event says.
func (w *lookupWorld) lend(member string) string {
	w.t.Helper()
	w.begin()
	w.insert(0, fmt.Sprint("loan ", w.next), member)
	w.end()
	return w.last()
}

// last is the name that the last event says; "?" where it does not say one.
func (w *lookupWorld) last() string {
	w.t.Helper()
	w.pipe.Flush(w.t.Context())
	events := w.events()
	if len(events) == 0 {
		return "no event"
	}
	ev := events[len(events)-1]
	if len(ev.Unavailable) > 0 {
		return "?"
	}
	_, name, _ := strings.Cut(string(ev.Data), `"name":"`)
	name, _, _ = strings.Cut(name, `"`)
	return name
}

// A table that was made another one without a change of its own is loaded anew, whoever tells of it
// first, and looked up in by what it is then.
func TestLookupRewritten(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		tell func(w *lookupWorld, tables []*capture.Table)
	}{
		{"described", func(w *lookupWorld, tables []*capture.Table) { w.pipe.Describe(tables) }},
		{"described within a transaction", func(w *lookupWorld, tables []*capture.Table) {
			w.begin()
			w.insert(0, "x", "5")
			w.pipe.Describe(tables)
			w.end()
		}},
		{"reload", func(w *lookupWorld, tables []*capture.Table) {
			to := w.to
			to.Tables = tables
			must(w.t, w.pipe.Exchange(w.t.Context(), to, func() error { return nil }))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newLookupWorld(t, lookupConfig)
			w.load(w.members, "5 Ann")
			if got := w.lend("5"); got != "Ann" {
				t.Fatalf("the member is %q", got)
			}
			same := *w.members
			test.tell(w, []*capture.Table{&same})
			if got := w.lend("5"); got != "Ann" {
				t.Errorf("the same table, told again: the member is %q", got)
			}
			now := rewritten(w.members)
			test.tell(w, []*capture.Table{now})
			if got := w.lend("5"); got != "?" {
				t.Errorf("rewritten: the member is %q", got)
			}
			if list := w.pipe.Kept(); list[0].Loaded || list[0].Generation != 0 || list[0].Reason == "" || list[0].Unknown == 0 {
				t.Errorf("rewritten: %+v", list)
			}
			w.load(now, "5 Bea")
			if got := w.lend("5"); got != "Bea" {
				t.Errorf("loaded anew: the member is %q", got)
			}
		})
	}
}

// A load brings the table's description along.
func TestLookupLoadDescribes(t *testing.T) {
	t.Parallel()
	w := newLookupWorld(t, lookupConfig)
	w.load(rewritten(w.members), "5 Ann")
	if got := w.lend("5"); got != "Ann" {
		t.Errorf("the member is %q", got)
	}
}

// The stream goes on without a description, and takes it later.
func TestLookupUndescribed(t *testing.T) {
	t.Parallel()
	w := newLookupWorld(t, lookupConfig)
	w.load(w.members, "5 Ann")
	w.pipe.Flush(t.Context())
	w.pipe = w.newPipeline()
	w.start()
	busy := w.pipe.Busy()
	if busy == nil || !w.pipe.Undescribed() {
		t.Fatal("the stream does not wait")
	}
	w.pipe.GoOn()
	<-busy
	if got := w.lend("5"); got != "?" || w.pipe.Busy() != nil || w.pipe.Undescribed() {
		t.Errorf("not described: the member is %q", got)
	}
	w.pipe.Describe([]*capture.Table{w.members})
	if got := w.lend("5"); got != "Ann" {
		t.Errorf("described: the member is %q", got)
	}
}

// A row that was read is not told with what an open transaction has done to others.
func TestLookupReads(t *testing.T) {
	t.Parallel()
	w := newLookupWorld(t, lookupConfig)
	w.load(w.members, "5 Ann")
	track := w.pipe.Track(w.table)
	defer track.End()
	sight := &lookSight{sight: capture.Unseen}
	m := &Merge{Chunk: &capture.Chunk{Table: w.table, Snapshot: sight, Rows: []capture.Row{pair("1", "5"), pair("2", "5")}}, Entry: "public.loans", Identity: "b"}
	c, err := track.handIn(m)
	must(t, err)
	w.begin()
	must(t, w.rename(0, "5", "tmp"))
	must(t, w.pipe.Change(&capture.Change{Op: capture.Update, Table: w.table, Ordinal: 1, Old: pair("1", "5"), New: pair("1", "5")}))
	must(t, w.rename(2, "5", "Bea"))
	sight.passed = true
	w.end()
	<-c.stored
	if got := w.last(); got != "Bea" || len(w.events()) != 1 {
		t.Errorf("the member is %q, %d events", got, len(w.events()))
	}
	if got := fmt.Sprint(c.merged.Again); got != "[[1]]" {
		t.Errorf("to be read again: %s", got)
	}
}

// A change that cannot be told behind look-ups of the same transaction has it come again.
func TestLookupTrusted(t *testing.T) {
	t.Parallel()
	undecoded := func(table string) func(w *lookupWorld) error {
		return func(w *lookupWorld) error {
			return w.pipe.Park(&capture.Undecoded{Table: table, Ordinal: 99, Err: errDeaf})
		}
	}
	for _, test := range []struct {
		name   string
		change func(w *lookupWorld) error
		again  bool
	}{
		{"undecoded", undecoded("public.members"), true},
		{"undecoded, of any table", undecoded(""), true},
		{"undecoded, of another table", undecoded("public.loans"), false},
		{"read past", func(w *lookupWorld) error {
			return w.pipe.Park(&capture.Undecoded{Table: "public.members", Ordinal: 99, Err: errDeaf, Size: 1 << 30})
		}, true},
		{"rewritten", func(w *lookupWorld) error {
			w.members = rewritten(w.members)
			return w.rename(99, "6", "Zoe")
		}, true},
		{"another row", func(w *lookupWorld) error { return w.rename(99, "6", "Zoe") }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newLookupWorld(t, lookupConfig)
			w.load(w.members, "5 Ann", "6 Zoe")
			large := func() error {
				w.begin()
				w.next-- // it is the same each time
				for n := range 6 {
					w.insert(n, strings.Repeat("x", 1<<20)+fmt.Sprint(n), "5")
					if busy := w.pipe.Busy(); busy != nil {
						<-busy
					}
				}
				return test.change(w)
			}
			err := large()
			if errors.Is(err, capture.ErrAgain) != test.again || err != nil && !test.again {
				t.Fatalf("error %v", err)
			}
			if !test.again {
				return
			}
			w.pipe.Abort()
			w.members = &capture.Table{Schema: "public", Name: "members", Key: []int{0}, Identity: capture.IdentityDefault, Version: "1", Columns: w.members.Columns}
			must(t, large())
			w.end()
			w.pipe.Flush(t.Context())
			events := w.events()
			if len(events) != 6 || len(events[0].Unavailable) == 0 {
				t.Errorf("%d events", len(events))
			}
		})
	}
}

// A change that was parked since a row was not known is retried with the rows of now, not with those
// of an open transaction.
func TestLookupRetried(t *testing.T) {
	t.Parallel()
	w := newLookupWorld(t, strings.Replace(lookupConfig, "{op: insert}", "{op: insert, where: {member.name: [Ann, Bea]}}", 1))
	w.begin()
	w.insert(0, "1", "5")
	w.end()
	w.pipe.Flush(t.Context())
	list := w.parked()
	if len(list) != 1 || list[0].Reason != string(delivery.OutcomeUndecidable) {
		t.Fatalf("parked: %+v", list)
	}
	change := &capture.Change{Op: capture.Insert, Table: w.table, New: pair("1", "5")}
	var undecidable *mapping.UndecidableError
	if err := w.pipe.Remap(t.Context(), w.to.Rules, &list[0], change); !errors.As(err, &undecidable) {
		t.Fatalf("retried before the load: %v", err)
	}
	w.load(w.members, "5 Ann")
	w.begin()
	must(t, w.rename(0, "5", "tmp"))
	given, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := w.pipe.Remap(given, w.to.Rules, &list[0], change); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("retried within a transaction: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- w.pipe.Remap(t.Context(), w.to.Rules, &list[0], change) }()
	w.waitFor(func() bool { return len(w.pipe.between) == 2 })
	must(t, w.rename(1, "5", "Bea"))
	w.end()
	must(t, <-done)
	if got := w.last(); got != "Bea" || len(w.parked()) != 0 || len(w.events()) != 1 {
		t.Errorf("the member is %q, %d events", got, len(w.events()))
	}
}
