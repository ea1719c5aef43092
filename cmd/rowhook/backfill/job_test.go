package backfill

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/operation"
	"rowhook/cmd/rowhook/pipeline"
	"rowhook/cmd/rowhook/pipeline/kept"
	"rowhook/delivery"
	"rowhook/mapping"
)

// memory is a store in memory.
type memory map[string][]byte

func (m memory) Meta(key string) ([]byte, error)        { return m[key], nil }
func (m memory) SetMeta(key string, value []byte) error { m[key] = value; return nil }

func TestProgress(t *testing.T) {
	t.Parallel()
	table := &capture.Table{Schema: "app", Name: "t", Key: []int{0}, Columns: []capture.Column{{Name: "id"}}}
	chunk := func(more bool, keys ...string) *capture.Chunk {
		c := &capture.Chunk{Table: table, More: more}
		for _, k := range keys {
			c.Rows = append(c.Rows, capture.Row{{State: capture.Present, Text: []byte(k)}})
		}
		return c
	}
	k := func(keys ...string) (out [][]string) {
		for _, key := range keys {
			out = append(out, []string{key})
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		before progress
		keys   [][]string // read by their own
		chunk  *capture.Chunk
		again  [][]string
		want   progress
	}{
		{"first", progress{}, nil, chunk(true, "1", "2"), nil, progress{After: []string{"2"}}},
		{"conflict", progress{After: []string{"2"}}, nil, chunk(true, "3", "4"), k("3"), progress{After: []string{"4"}, Again: k("3")}},
		{"again", progress{After: []string{"4"}, Again: k("3", "1")}, k("3"), chunk(false, "3"), nil, progress{After: []string{"4"}, Again: k("1")}},
		{"again, in vain", progress{After: []string{"4"}, Again: k("3", "1")}, k("3"), chunk(false, "3"), k("3"), progress{After: []string{"4"}, Again: k("1", "3")}},
		{"again, not all at once", progress{After: []string{"4"}, Read: true, Again: k("1", "2", "3", "9")}, k("1", "2", "3"), chunk(true, "2"), nil,
			progress{After: []string{"4"}, Read: true, Again: k("9", "1", "3")}},
		{"last, with conflicts", progress{After: []string{"4"}, Again: k("3")}, nil, chunk(false, "5"), nil, progress{After: []string{"5"}, Read: true, Again: k("3")}},
		{"nothing left in order", progress{After: []string{"5"}}, nil, chunk(false), nil, progress{Part: 1}},
		{"last conflict of the last part", progress{Part: 1, After: []string{"5"}, Read: true, Again: k("3")}, k("3"), chunk(false), nil, progress{Part: 2, Done: true}},
	} {
		got := tt.before.after(&capture.ReadRequest{Keys: tt.keys}, tt.chunk, tt.again, 2)
		if len(got.Again) == 0 {
			got.Again = nil
		}
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestProgressReadsInTurns(t *testing.T) {
	t.Parallel()
	p := progress{Again: make([][]string, 60)}
	if got := len(p.again(true)); got != 0 {
		t.Errorf("%d rows again where rows are to be read in order", got)
	}
	if got := len(p.again(false)); got != againMost {
		t.Errorf("%d rows again at once", got)
	}
	if p.Read = true; len(p.again(true)) != againMost {
		t.Error("nothing again though all is read in order")
	}
	p = progress{Again: make([][]string, 20*againMost)}
	if len(p.again(true)) != againMost {
		t.Error("rows to be read again grow without bound")
	}
}

// TestManagerRemembers holds that backfills are there after a restart, that those which are over go
// at last, and that one that was killed at its very end is done.
func TestManagerRemembers(t *testing.T) {
	t.Parallel()
	store := memory{}
	list := jobs{Next: overMost + 5}
	for i := range overMost + 3 {
		list.Jobs = append(list.Jobs, &Job{ID: fmt.Sprint("b", i), State: operation.BackfillCancelled, Created: time.Unix(int64(i), 0)})
	}
	list.Jobs = append(list.Jobs,
		&Job{ID: "paused", State: operation.BackfillPaused, Parts: []Part{{"loans", "app.loans", 1000}}},
		&Job{ID: "ended", State: operation.BackfillRunning, Parts: []Part{{"loans", "app.loans", -1}}})
	m := &Manager{Options: Options{Store: store}, jobs: &list, progress: map[string]*progress{}}
	if err := m.saveProgress("paused", &progress{Rows: 250, After: []string{"250"}}); err != nil {
		t.Fatal(err)
	}
	if err := m.saveProgress("ended", &progress{Part: 1, Rows: 7, Done: true}); err != nil {
		t.Fatal(err)
	}
	if err := m.save(); err != nil {
		t.Fatal(err)
	}
	again, err := New(Options{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	views := again.List()
	if len(views) != overMost+2 || views[0].ID != "b3" {
		t.Errorf("%d backfills, the first %s", len(views), views[0].ID)
	}
	paused, ended := views[overMost], views[overMost+1]
	if paused.State != operation.BackfillPaused || paused.Rows != 250 || paused.Total != 1000 || paused.Table != "app.loans" {
		t.Errorf("paused: %+v", paused)
	}
	if ended.State != operation.BackfillDone || ended.Total != -1 || ended.Rows != 7 {
		t.Errorf("ended: %+v", ended)
	}
	if _, err := again.Start(t.Context(), operation.BackfillRequest{}); err == nil {
		t.Error("a backfill begins without an agent")
	}
	if _, err := again.Cancel("paused"); err != nil {
		t.Error(err)
	}
	if _, err := again.Resume("paused"); err == nil {
		t.Error("a cancelled backfill goes on")
	}
}

// TestStoredKeys holds that keys are stored byte for byte, and that what an agent of before has stored
// is read.
func TestStoredKeys(t *testing.T) {
	t.Parallel()
	const odd = "caf\xe9\x00\xff"
	p := progress{Part: 1, After: []string{odd, "ä"}, Read: true, Again: [][]string{{"1", odd}, {`{"bytes":"x"}`, ""}}, Rows: 5, Events: 4, Failed: 1}
	j := Job{ID: "b1", Created: time.Unix(5, 0).UTC(), Entries: []string{"loans"}, Key: []string{odd}, Parts: []Part{{"loans", "app.loans", 7}}, State: operation.BackfillPaused}
	for _, test := range []struct{ was, is any }{{&p, &progress{}}, {&j, &Job{}}} {
		raw, err := json.Marshal(test.was)
		if err == nil {
			err = json.Unmarshal(raw, test.is)
		}
		if err != nil || !reflect.DeepEqual(test.was, test.is) {
			t.Errorf("%s is read as %+v, %v", raw, test.is, err)
		}
	}
	var old jobs
	if err := json.Unmarshal([]byte(`{"next":3,"jobs":[{"id":"b2","created":"2026-11-22T01:02:03Z","entries":["loans"],"key":["4711","MAIN"],
		"parts":[{"entry":"loans","table":"app.loans","rows":-1}],"state":"running"}]}`), &old); err != nil || !slices.Equal(old.Jobs[0].Key, []string{"4711", "MAIN"}) || old.Jobs[0].ID != "b2" || old.Jobs[0].Created.IsZero() {
		t.Errorf("%+v, %v", old.Jobs, err)
	}
	var far progress
	want := progress{Part: 2, After: []string{"250"}, Read: true, Again: [][]string{{"7"}, {"8"}}, Rows: 250, Events: 249}
	if err := json.Unmarshal([]byte(`{"part":2,"after":["250"],"read":true,"again":[["7"],["8"]],"rows":250,"events":249}`), &far); err != nil || !reflect.DeepEqual(far, want) {
		t.Errorf("%+v, %v", far, err)
	}
	if raw, err := json.Marshal(want); err != nil || !strings.Contains(string(raw), `"after":["250"]`) || !strings.Contains(string(raw), `"again":[["7"],["8"]]`) {
		t.Errorf("%s, %v: an agent of before reads it no more", raw, err)
	}
}

// bench is a worker without a database: whatever is to be read ends with err.
type bench struct {
	*worker
	backlog map[string]int64
	mapping string
	err     error
	closed  int // how often the reader was
	log     bytes.Buffer
}

const benchMapping = `
  loans: {table: public.loans, events: {loan.added: {op: insert}, loan.present: {op: read}}}
  visits: {table: public.visits, events: {visit.present: {op: read}}}
`

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{backlog: map[string]int64{}, mapping: benchMapping}
	m := &Manager{
		Options: Options{
			Store: memory{}, Logger: slog.New(slog.NewTextHandler(&b.log, nil)), Reader: func() capture.Reader { return brokenReader{b} },
			Rules: func() *mapping.Rules {
				conf, err := config.Parse("config.yaml", []byte(`
source: {type: postgres, url: "postgres://nobody@127.0.0.1:1/library"}
profiles:
  desk: {url: "http://127.0.0.1:1/", signature: none, allow_networks: [loopback]}
mapping:`+b.mapping), func(string) (string, bool) { return "", false }, nil)
				if err != nil {
					t.Fatal(err)
				}
				return conf.Rules()
			},
			Subscribers: func(eventType, _ string) []string {
				return []string{map[string]string{"loan.added": "archive", "loan.present": "desk", "visit.present": "guests"}[eventType]}
			},
			Backlog: func(profile string) (delivery.Backlog, error) {
				return delivery.Backlog{Events: b.backlog[profile]}, nil
			},
			MostBacklog: func(string) int64 { return 1 << 40 },
		},
		wake: make(chan struct{}, 1), jobs: &jobs{}, progress: map[string]*progress{}, meters: map[string]*meter{}, waiting: map[string]string{},
	}
	b.worker = newWorker(m)
	return b
}

// begin adds a running backfill.
func (b *bench) begin(id, entry string) *Job {
	job := &Job{ID: id, State: operation.BackfillRunning, Parts: []Part{{Entry: entry, Table: "public." + entry}}}
	b.jobs.Jobs = append(b.jobs.Jobs, job)
	b.progress[id] = &progress{}
	return job
}

type brokenReader struct{ b *bench }

func (r brokenReader) Settle(context.Context, func(string), func(capture.Snapshot)) error {
	return r.b.err
}
func (r brokenReader) Describe(context.Context, string) (*capture.Readable, error) {
	return nil, r.b.err
}
func (r brokenReader) Read(context.Context, *capture.ReadRequest) (*capture.Chunk, error) {
	return nil, r.b.err
}
func (r brokenReader) Close() { r.b.closed++ }

// TestOneWaitsForItself holds that a backfill which waits leaves the others to go on.
func TestOneWaitsForItself(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, errors.New("the connection is refused"), pipeline.ErrTrackingLost} {
		w := newBench(t)
		first, second := w.begin("b1", "loans"), w.begin("b2", "visits")
		if w.err = err; err == nil {
			w.backlog["desk"] = mostBacklog + 1
		}
		at := time.Now()
		if job, _ := w.next(at); job != first {
			t.Fatalf("%v: the first is not the first", err)
		}
		if err := w.step(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if job, _ := w.next(at); job != second {
			t.Errorf("%v: the second does not go on", err)
		}
	}
}

// keeper tells how kept rows stand.
type keeper []kept.Table

func (k keeper) Kept() []kept.Table { return k }
func (keeper) BeginKept(context.Context, *capture.Chunk) (uint32, error) {
	return 0, errors.New("nothing is kept")
}

// TestLooksUpWhatIsKnown holds that looked-up rows are read before a backfill whose events say them,
// however old that is, and that it does not wait for what never comes.
func TestLooksUpWhatIsKnown(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	w.mapping = `
  loans:
    table: public.loans
    lookup: {member: {from: members, by: member_id}}
    fields: {id: id, name: member.name}
    events: {loan.present: {op: read}}
lookups: {members: {table: public.members, key: id, columns: [name]}}
`
	w.err = errors.New("read")
	loans := w.begin("b1", "loans")
	w.jobs.Jobs = append(w.jobs.Jobs, &Job{ID: "b2", State: operation.BackfillRunning, Memory: "public.members", Parts: []Part{{Table: "public.members"}}})
	w.progress["b2"] = &progress{}
	if job, _ := w.next(time.Now()); job.Memory == "" {
		t.Error("a backfill goes before what is to be remembered")
	}
	row := w.begin("b3", "loans")
	row.Key = []string{"1"}
	if job, _ := w.next(time.Now()); job != row {
		t.Error("a single row does not go first")
	}
	for _, test := range []struct {
		table kept.Table
		waits string
	}{
		{kept.Table{Table: "public.members"}, "the rows of public.members, which are read first"},
		{kept.Table{Table: "public.members", Loaded: true}, "the database: read"},
		{kept.Table{Table: "public.members", Full: true}, "the database: read"},
		{kept.Table{Table: "public.others"}, "the database: read"},
	} {
		w.Manager.Kept = keeper{test.table}
		if err := w.step(t.Context(), loans); err != nil {
			t.Fatal(err)
		}
		if got := w.waiting["b1"]; got != test.waits {
			t.Errorf("%+v: it waits for %q, want %q", test.table, got, test.waits)
		}
	}
}

// TestIdleKeepsTracking holds that a short pause does not have a backfill begin anew, and a long one
// does.
func TestIdleKeepsTracking(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	w.table = "public.loans"
	if !w.idle(t.Context(), time.Millisecond) || w.table == "" || w.closed != 0 {
		t.Error("a short pause ends the tracking, or the session")
	}
	w.nudge()
	if w.idle(t.Context(), time.Hour); w.table != "" || w.closed != 1 {
		t.Errorf("the tracking, or the session, is kept while nothing is to be read: closed %d times", w.closed)
	}
}

// TestLostAgainAndAgain holds that a backfill whose rows can never be placed makes less and less ado,
// and says so.
func TestLostAgainAndAgain(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	job := w.begin("b1", "loans")
	w.err = pipeline.ErrTrackingLost
	for range 3 * lostTold {
		if err := w.step(t.Context(), job); err != nil {
			t.Fatal(err)
		}
	}
	if wait := time.Until(w.due["b1"]); wait < lostMost/2 || wait > lostMost {
		t.Errorf("tries again in %s", wait)
	}
	if waiting := w.view(job).Waiting; !strings.Contains(waiting, "changed too much") {
		t.Errorf("waits for %q", waiting)
	}
	if n := strings.Count(w.log.String(), "waits for the stream"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// TestMappingTakesTheGroundAway holds that a backfill fails, and does not end well, once a new mapping
// makes nothing of what it reads.
func TestMappingTakesTheGroundAway(t *testing.T) {
	t.Parallel()
	for mapping, want := range map[string]string{
		"\n  visits: {table: public.visits}":                                   "no entry",
		"\n  loans: {table: public.loans, events: {loan.added: {op: insert}}}": "no event of a row that is read",
		"\n  loans: {table: public.lent, events: {loan.present: {op: read}}}":  "public.lent now",
	} {
		w := newBench(t)
		job := w.begin("b1", "loans")
		w.mapping = mapping
		if err := w.step(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		if job.State != operation.BackfillFailed || !strings.Contains(job.Error, want) || job.Remedy == "" {
			t.Errorf("%s: %s, %q, %q, want %q", mapping, job.State, job.Error, job.Remedy, want)
		}
	}
}

// TestRate holds that a rate is kept, and reached too where each chunk takes longer than its slice to
// be placed.
func TestRate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rate float64
		took time.Duration
		want int // rows of a chunk once it is known how long one takes
	}{{100, 10 * time.Millisecond, 20}, {100, time.Second, 100}, {20, 700 * time.Millisecond, 14}, {1, 0, 1}, {1000, time.Minute, rowsMost}, {10, time.Minute, 20}} {
		w := newBench(t)
		job := w.begin("b1", "loans")
		job.Rate = tt.rate
		start := time.Now()
		// Chunks follow one another as the worker has them; none of this waits.
		at, rows := start, 0
		for at.Sub(start) < 5*time.Minute {
			rows += w.limit(job)
			w.advance(job, progress{Rows: int64(rows)}, at, at.Add(tt.took))
			if at = at.Add(tt.took); w.due["b1"].After(at) {
				at = w.due["b1"]
			}
		}
		if got := w.limit(job); got != tt.want {
			t.Errorf("at %g/s chunks that take %s have %d rows, want %d", tt.rate, tt.took, got, tt.want)
		}
		most := tt.rate*(at.Sub(start)+rateSliceMost).Seconds() + 1
		least := 0.95 * tt.rate * at.Sub(start).Seconds()
		if float64(rows) > most || tt.took <= rateSliceMost && float64(rows) < least {
			t.Errorf("at %g/s with chunks that take %s: %d rows in %s", tt.rate, tt.took, rows, at.Sub(start))
		}
	}
}

// TestFullLooksAtReads holds that a backfill waits for those alone that get what it reads.
func TestFullLooksAtReads(t *testing.T) {
	t.Parallel()
	w := newBench(t)
	w.backlog["archive"] = mostBacklog + 1
	job := w.begin("b1", "loans")
	if full := w.full(job, 0); full != "" {
		t.Errorf("waits for %s", full)
	}
	w.backlog["desk"] = mostBacklog + 1
	if full := w.full(job, 0); !strings.Contains(full, "profile desk") {
		t.Errorf("waits for %q", full)
	}
}

// TestViewHasNoValues holds that the values of conditions are not shown.
func TestViewHasNoValues(t *testing.T) {
	t.Parallel()
	m := &Manager{jobs: &jobs{}, progress: map[string]*progress{"b1": {}}}
	view, err := json.Marshal(m.view(&Job{ID: "b1", Where: []capture.ReadCondition{{Column: "name", Value: "Ada"}}}))
	if err != nil || strings.Contains(string(view), "Ada") || !strings.Contains(string(view), `"where":["name"]`) {
		t.Errorf("%s, %v", view, err)
	}
}

func TestMeter(t *testing.T) {
	t.Parallel()
	m := newMeter()
	at := time.Unix(1000, 0)
	if m.rate(at, 5) != 0 {
		t.Error("a rate of nothing")
	}
	for i := range 40 {
		m.add(at.Add(time.Duration(i)*time.Second), int64(i*100))
	}
	if got := m.rate(at.Add(40*time.Second), 4000); got != 100 {
		t.Errorf("%g rows a second, want 100", got)
	}
	if len(m.samples) > 20 {
		t.Errorf("%d samples are kept", len(m.samples))
	}
}
