package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/pipeline/kept"
	"rowhook/delivery"
	"rowhook/delivery/spool"
)

const touchConfig = `
source: {type: postgres, url: "postgres://nobody@127.0.0.1:1/library"}
lookups: {members: {table: public.members, key: id, columns: [name]}}
mapping:
  public.loans:
    lookup: {member: {from: members, by: note, max_touched: 10000}}
    fields: {id: id, name: member.name}
    events:
      loan.renamed: {touch: member, changed: member.name}
profiles:
  desk: {url: "http://127.0.0.1:1/", signature: none, allow_networks: [loopback]}
`

// newTouchWorld is a pipeline whose loans are touched by the members that they name.
func newTouchWorld(t testing.TB, config string) *lookupWorld {
	t.Helper()
	w := newLookupWorld(t, config)
	w.to.Kept = nil
	for _, m := range w.to.Rules.Memory() {
		w.to.Kept = append(w.to.Kept, kept.Want{Table: m.Table, Columns: m.Columns, All: m.All, By: m.By, LookedUp: m.LookedUp})
	}
	must(t, w.pipe.Exchange(t.Context(), w.to, func() error { return nil }))
	w.pipe.Describe([]*capture.Table{w.members, w.table})
	return w
}

// A change that touches ten thousand rows tells each of them, and has a part of their events in memory at
// a time; a description of the tables may come meanwhile.
func TestTouchParts(t *testing.T) {
	t.Parallel()
	w := newTouchWorld(t, touchConfig)
	const loans = 10_000
	var rows []string
	for n := range loans {
		rows = append(rows, fmt.Sprint(n, " 5"))
	}
	w.load(w.members, "5 Ann", "6 Bob")
	w.load(w.table, rows...)
	w.begin()
	name := strings.Repeat("x", 2000)
	must(t, w.rename(3, "5", name))
	must(t, w.rename(4, "6", name))
	done, looked := make(chan struct{}), make(chan int)
	go func() {
		most := 0
		for {
			select {
			case <-done:
				looked <- most
				return
			default:
			}
			w.pipe.mu.Lock()
			most = max(most, w.pipe.batches.cur.batch.Bytes())
			w.pipe.mu.Unlock()
			members := *w.members
			w.pipe.Describe([]*capture.Table{&members})
		}
	}()
	w.end()
	close(done)
	if most := <-looked; most > 3*partBytes {
		t.Errorf("%d bytes of events waited to be stored", most)
	}
	w.pipe.Flush(t.Context())
	seen := map[string]bool{}
	for _, ev := range w.events() {
		if ev.Ordinal != 3 || !strings.Contains(string(ev.Data), name) || string(ev.Previous) != `{"name":"Ann"}` {
			t.Fatalf("event %d of %s was %s", ev.Ordinal, ev.Key, ev.Previous)
		}
		seen[ev.ID+string(ev.Key)] = true
	}
	if len(seen) != loans || len(w.parked()) > 0 {
		t.Errorf("%d events, %d parked", len(seen), len(w.parked()))
	}
}

// A transaction that is read again gives the same events again, and one that is aborted leaves nothing.
func TestTouchRepeated(t *testing.T) {
	t.Parallel()
	w := newTouchWorld(t, touchConfig)
	w.load(w.members, "5 Ann")
	w.load(w.table, "1 5", "2 5", "3 6")
	w.begin()
	must(t, w.rename(1, "5", "Zoe"))
	w.pipe.Abort()
	w.next--
	w.begin()
	must(t, w.rename(1, "5", "Zoe"))
	w.end()
	w.begin()
	w.insert(1, "4", "5")
	must(t, w.rename(2, "5", "Ida"))
	w.end()
	w.pipe.Flush(t.Context())
	var got []string
	for _, ev := range w.events() {
		got = append(got, string(ev.Data)+string(ev.Previous))
	}
	want := []string{
		`{"id":"1","name":"Zoe"}{"name":"Ann"}`, `{"id":"2","name":"Zoe"}{"name":"Ann"}`,
		`{"id":"1","name":"Ida"}{"name":"Zoe"}`, `{"id":"2","name":"Ida"}{"name":"Zoe"}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
}

// A touch of too many rows is one dead letter of the source, and is made once more rows may be touched,
// though the stream did not tell what was before.
func TestTouchParked(t *testing.T) {
	t.Parallel()
	w := newTouchWorld(t, strings.Replace(touchConfig, "10000", "2", 1))
	w.load(w.members, "5 Ann")
	w.load(w.table, "1 5", "2 5", "3 5")
	w.begin()
	must(t, w.rename(1, "5", "Zoe"))
	w.end()
	w.pipe.Flush(t.Context())
	list := w.parked()
	if len(list) != 1 || list[0].Reason != string(delivery.OutcomeUnmapped) || list[0].Table != "public.loans" || list[0].Ordinal != 1 || len(w.events()) > 0 {
		t.Fatalf("%d events, parked %+v", len(w.events()), list)
	}
	conf, err := config.Parse("config.yaml", []byte(touchConfig), func(string) (string, bool) { return "", false }, nil)
	must(t, err)
	must(t, w.pipe.Remap(t.Context(), conf.Rules(), &list[0], nil))
	w.pipe.Flush(t.Context())
	for _, ev := range w.events() {
		if string(ev.Previous) != `{"name":"Ann"}` || ev.Ordinal != 1 || ev.Transaction != list[0].Transaction {
			t.Errorf("event %+v", ev)
		}
	}
	if len(w.events()) != 3 || len(w.parked()) != 0 {
		t.Errorf("%d events, %d parked", len(w.events()), len(w.parked()))
	}
}

// Until the rows are loaded a change is parked, once for all rows that it may touch.
func TestTouchUnloaded(t *testing.T) {
	t.Parallel()
	w := newTouchWorld(t, touchConfig)
	w.load(w.members, "5 Ann")
	w.begin()
	must(t, w.rename(1, "5", "Zoe"))
	w.end()
	w.pipe.Flush(t.Context())
	list := w.parked()
	if len(list) != 1 || list[0].Reason != string(delivery.OutcomeUndecidable) {
		t.Fatalf("parked %+v", list)
	}
	w.load(w.table, "1 5")
	must(t, w.pipe.Remap(t.Context(), w.to.Rules, &list[0], nil))
	if got := w.last(); got != "Zoe" || len(w.parked()) > 0 {
		t.Errorf("the member is %q", got)
	}
}

// Touches that no rule wants give way to who asks the pipeline and to the source meanwhile, and end with
// it; the transaction then comes again.
func TestTouchHeeds(t *testing.T) {
	t.Parallel()
	w := newTouchWorld(t, strings.Replace(touchConfig, "changed: member.name", `changed: member.name, where: {id: "7"}`, 1))
	var rows []string
	for n := range 3000 {
		rows = append(rows, fmt.Sprint(n, " 5"))
	}
	w.load(w.members, "5 Ann")
	w.load(w.table, rows...)
	heeds, worked, ended := 0, int64(0), errors.New("the stream is to end")
	w.pipe.Heed(func() error {
		heeds++
		before := worked
		worked = w.pipe.Counts().Worked
		if len(w.pipe.Kept()) != 2 || worked == before || heeds == 2 {
			return ended
		}
		return nil
	})
	w.begin()
	must(t, w.rename(1, "5", "Zoe"))
	if err := w.pipe.Commit("0/20"); !errors.Is(err, ended) || heeds != 2 {
		t.Fatalf("ended after %d: %v", heeds, err)
	}
	w.pipe.Abort()
	w.next--
	w.begin()
	must(t, w.rename(1, "5", "Zoe"))
	w.end()
	w.pipe.Flush(t.Context())
	if list := w.events(); len(list) != 1 || string(list[0].Previous) != `{"name":"Ann"}` || heeds < 3 {
		t.Errorf("%d events, heeded %d times", len(list), heeds)
	}
}

// stuckJournal takes nothing from when it is told until it is freed.
type stuckJournal struct {
	*spool.Spool
	stuck atomic.Pointer[chan struct{}]
}

func (j *stuckJournal) Apply(b *spool.Batch) error {
	if stuck := j.stuck.Load(); stuck != nil {
		<-*stuck
	}
	return j.Spool.Apply(b)
}

// Touches wait while nothing can be stored, and hold no more in memory meanwhile, until the source ends.
func TestTouchStuck(t *testing.T) {
	t.Parallel()
	w := newTouchWorld(t, touchConfig)
	journal, freed := &stuckJournal{Spool: w.spool}, make(chan struct{})
	w.pipe.journal, w.pipe.appender.journal = journal, journal
	var rows []string
	for n := range 1000 {
		rows = append(rows, fmt.Sprint(n, " 5"))
	}
	w.load(w.members, "5 Ann")
	w.load(w.table, rows...)
	journal.stuck.Store(&freed)
	defer close(freed)
	most, behind, ended := 0, 0, errors.New("the stream is to end")
	w.pipe.Heed(func() error {
		w.pipe.mu.Lock()
		defer w.pipe.mu.Unlock()
		most = max(most, w.pipe.batches.cur.batch.Bytes())
		if w.pipe.batches.overfull() {
			behind++
		}
		if behind == 3 {
			return ended
		}
		return nil
	})
	w.begin()
	must(t, w.rename(1, "5", strings.Repeat("x", 2000)))
	if err := w.pipe.Commit("0/20"); !errors.Is(err, ended) || most > 3*partBytes {
		t.Errorf("%d bytes were held: %v", most, err)
	}
	w.pipe.Abort()
}
