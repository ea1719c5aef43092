package pipeline

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
	"rowhook/delivery/deliverylog"
	"rowhook/delivery/spool"
	"rowhook/mapping"
)

// pipelineConfig maps one table for one profile whose second subscription looks at a column.
const pipelineConfig = `
source: {type: postgres, url: "postgres://nobody@127.0.0.1:1/library"}
mapping:
  public.loans:
    events:
      loan.created: {op: insert}
      loan.noted: {op: update, where: {note: urgent}}
      loan.deleted: {op: delete}
profiles:
  desk:
    url: http://127.0.0.1:1/
    signature: none
    allow_networks: [loopback]
`

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pipelineWorld is a pipeline on a real spool, whose appender a test starts.
type pipelineWorld struct {
	t     testing.TB
	spool *spool.Spool
	log   *deliverylog.Log
	lines string // the delivery log's file
	to    Routing
	pipe  *Pipeline
	table *capture.Table
	next  int // transaction number
}

func newPipelineWorld(t testing.TB) *pipelineWorld { return newPipelineWorldOf(t, pipelineConfig) }

func newPipelineWorldOf(t testing.TB, text string) *pipelineWorld {
	t.Helper()
	conf, err := config.Parse("config.yaml", []byte(text), func(string) (string, bool) { return "", false }, nil)
	must(t, err)
	w := &pipelineWorld{t: t, lines: filepath.Join(t.TempDir(), "deliveries.jsonl"), to: Routing{Rules: conf.Rules(), Codes: map[delivery.ProfileID]string{}}}
	logger := slog.New(slog.DiscardHandler)
	w.spool, err = spool.Open(t.TempDir(), spool.Options{Reserve: -1, Logger: logger})
	must(t, err)
	w.log, err = deliverylog.Open(deliverylog.Options{Path: w.lines, Logger: logger})
	must(t, err)
	t.Cleanup(func() {
		if err := errors.Join(w.log.Close(), w.spool.Close()); err != nil {
			t.Error(err)
		}
	})
	var targets []delivery.Target
	for _, p := range conf.Profiles {
		id, err := w.spool.Register(p.Code)
		must(t, err)
		w.to.Codes[id] = p.Code
		targets = append(targets, delivery.Target{ID: id, Subscriptions: delivery.CompileSubscriptions(p.Subscriptions)})
	}
	w.to.Router = delivery.NewRouter(targets)
	w.pipe = w.newPipeline()
	typ := &capture.Type{Name: "text", Kind: capture.Text, AppendJSON: func(dst, text []byte) ([]byte, bool) {
		return capture.AppendJSONString(dst, text)
	}}
	w.table = &capture.Table{
		Schema: "public", Name: "loans", Key: []int{0}, Identity: capture.IdentityFull,
		Columns: []capture.Column{{Name: "id", Type: typ, Identity: true}, {Name: "note", Type: typ, Identity: true}},
	}
	return w
}

// New makes a pipeline on the world's spool, as a start of the agent does.
func (w *pipelineWorld) newPipeline() *Pipeline {
	w.t.Helper()
	pipe, err := New(w.to, Options{
		Spool: w.spool, Log: w.log, Logger: slog.New(slog.DiscardHandler), Pausing: func() bool { return false },
	})
	must(w.t, err)
	pipe.Identify(mapping.Identity{Source: "library", Lineage: "7001"})
	return pipe
}

// parked returns the dead letters of the source.
func (w *pipelineWorld) parked() []delivery.Parked {
	w.t.Helper()
	var list []delivery.Parked
	must(w.t, w.spool.Parked(0, func(p delivery.Parked) bool {
		list = append(list, p)
		return true
	}))
	return list
}

// start runs the appender until the test ends.
func (w *pipelineWorld) start() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.pipe.Run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
}

func (w *pipelineWorld) begin() {
	w.t.Helper()
	w.next++
	err := w.pipe.Begin(&capture.Transaction{ID: fmt.Sprint(w.next), Identity: fmt.Sprint("tx", w.next), Position: "0/1", Time: time.Now().UTC()})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *pipelineWorld) insert(ordinal int, id, note string) {
	w.t.Helper()
	err := w.pipe.Change(&capture.Change{Op: capture.Insert, Table: w.table, Ordinal: ordinal, New: capture.Row{
		{State: capture.Present, Text: []byte(id)}, {State: capture.Present, Text: []byte(note)},
	}})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *pipelineWorld) commit(end capture.Position) {
	w.t.Helper()
	if err := w.pipe.Commit(end); err != nil {
		w.t.Fatal(err)
	}
}

// keys returns the keys of the events in the spool, in order.
func (w *pipelineWorld) keys() string {
	w.t.Helper()
	var keys []string
	for _, ev := range w.events() {
		keys = append(keys, string(ev.Key))
	}
	return strings.Join(keys, "")
}

// events returns the events in the spool, in order.
func (w *pipelineWorld) events() (events []*delivery.Event) {
	w.t.Helper()
	id, err := w.spool.Register("desk")
	if err != nil {
		w.t.Fatal(err)
	}
	for next, end := delivery.Seq(0), false; !end; {
		var entries []delivery.Entry
		entries, next, end, err = w.spool.Read(id, next, nil, 100, 1<<20)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range entries {
			events = append(events, e.Event)
		}
	}
	return events
}

func TestPipelineStoresWholeTransactions(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	w.start()
	w.begin()
	w.insert(0, "a", "")
	w.commit("0/10")
	w.begin()
	w.insert(0, "lost", "")
	w.pipe.Abort()
	w.begin()
	w.insert(0, "b", "")
	w.commit("0/20")
	if got := w.pipe.Flush(t.Context()); got != "0/20" {
		t.Errorf("durable = %q, want 0/20", got)
	}
	if got := w.keys(); got != `{"id":"a"}{"id":"b"}` {
		t.Errorf("events = %s", got)
	}
}

// A transaction larger than a part is stored in parts, which nobody sees before its end
// and which an abort drops.
func TestPipelineParts(t *testing.T) {
	t.Parallel()
	for _, committed := range []bool{true, false} {
		t.Run(fmt.Sprint("committed ", committed), func(t *testing.T) {
			t.Parallel()
			w := newPipelineWorld(t)
			w.start()
			w.begin()
			w.insert(0, "first", "")
			w.commit("0/10")
			w.begin()
			note := strings.Repeat("x", 1<<16)
			for i := range 64 {
				w.insert(i, fmt.Sprint(i), note)
				if ch := w.pipe.Busy(); ch != nil {
					<-ch
				}
			}
			if got := w.keys(); !strings.HasPrefix(`{"id":"first"}`, got) {
				t.Errorf("an open transaction is visible: %.100s", got)
			}
			want := `{"id":"first"}{"id":"last"}`
			if committed {
				w.commit("0/20")
				want = ""
				for i := range 64 {
					want += fmt.Sprintf(`{"id":"%d"}`, i)
				}
				want = `{"id":"first"}` + want + `{"id":"last"}`
			} else {
				w.pipe.Abort()
			}
			w.begin()
			w.insert(0, "last", "")
			w.commit("0/30")
			if got := w.pipe.Flush(t.Context()); got != "0/30" {
				t.Errorf("durable = %q", got)
			}
			if got := w.keys(); got != want {
				t.Errorf("events = %.200s, want %.200s", got, want)
			}
		})
	}
}

// A large delete on a partitioned table, whose mapper always holds the last one, is stored in parts
// too.
func TestPipelinePartsOfDeletes(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	w.table.Partitioned = true
	note := strings.Repeat("x", 1<<16)
	w.begin()
	for i := 0; !w.pipe.parts; i++ {
		if i > 64 {
			t.Fatal("no part was handed over")
		}
		old := capture.Row{{State: capture.Present, Text: fmt.Append(nil, i)}, {State: capture.Present, Text: []byte(note)}}
		if err := w.pipe.Change(&capture.Change{Op: capture.Delete, Table: w.table, Ordinal: i, Old: old}); err != nil {
			t.Fatal(err)
		}
	}
	w.start()
	w.commit("0/20")
	if got := w.pipe.Flush(t.Context()); got != "0/20" {
		t.Errorf("durable = %q", got)
	}
}

// While the appender does not keep up, the source is told to wait, and let go on afterwards.
func TestPipelineBusy(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	note := strings.Repeat("x", 1<<16)
	var busy <-chan struct{}
	for i := 0; busy == nil; i++ {
		if i > 64 {
			t.Fatal("never busy without an appender")
		}
		w.begin()
		w.insert(0, fmt.Sprint(i), note)
		w.commit("0/10")
		busy = w.pipe.Busy()
	}
	w.start()
	<-busy
	if w.pipe.Busy() != nil {
		<-w.pipe.Busy()
	}
}

func TestPipelineIdlePositionIsStored(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	w.start()
	idle := func(end capture.Position) {
		if err := w.pipe.Idle(end); err != nil {
			t.Fatal(err)
		}
	}
	idle("0/98")
	if got := w.pipe.Flush(t.Context()); got != "0/98" {
		t.Errorf("durable = %q", got)
	}
	idle("0/99")
	if got := w.pipe.Durable(); got != "0/98" {
		t.Errorf("durable = %q before the new position was stored", got)
	}
	if got := w.pipe.Flush(t.Context()); got != "0/99" {
		t.Errorf("durable = %q", got)
	}
	w.pipe.Abandon("0/99")
	if got := w.pipe.Durable(); got != "" {
		t.Errorf("durable = %q although that position was given up", got)
	}
}

// A rule that hangs on a value the stream did not carry parks the change, with a line in the log.
func TestPipelineParks(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	w.start()
	w.begin()
	err := w.pipe.Change(&capture.Change{Op: capture.Update, Table: w.table, New: capture.Row{
		{State: capture.Present, Text: []byte("a")}, {State: capture.Unchanged},
	}, Raw: capture.Raw{Relation: []byte("R"), Change: []byte("U")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.pipe.Park(&capture.Undecoded{Table: "public.loans", Ordinal: 1, Err: errors.New("3 columns, 2 values"), Raw: capture.Raw{Change: []byte("X")}}); err != nil {
		t.Fatal(err)
	}
	w.commit("0/20")
	w.pipe.Flush(t.Context())
	list := w.parked()
	if len(list) != 2 {
		t.Fatalf("parked = %+v", list)
	}
	if got := list[0]; got.Reason != "undecidable" || got.Entry != "public.loans" || got.Position != "0/1" || !strings.Contains(got.Error, "note") {
		t.Errorf("first = %+v", got)
	}
	if got := list[1]; got.Reason != delivery.ReasonUndecoded || got.Ordinal != 1 {
		t.Errorf("second = %+v", got)
	}
	must(t, w.log.Flush())
	raw, err := os.ReadFile(w.lines)
	must(t, err)
	for _, want := range []string{`"outcome":"undecidable"`, `"outcome":"unmapped"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the delivery log lacks %s: %s", want, raw)
		}
	}
}

// TestPipelineStopsWhenParkedChangesFillTheirShare holds that the next one ends the agent, as a
// failure that a restart may find mended, and what to do about it is told.
func TestPipelineStopsWhenParkedChangesFillTheirShare(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	must(t, w.spool.Close())
	var err error
	w.spool, err = spool.Open(t.TempDir(), spool.Options{Reserve: -1, MaxSize: 1 << 20, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	w.pipe = w.newPipeline()
	w.start()
	noise := make([]byte, 30<<10) // what is stored is compressed
	_, err = rand.Read(noise)
	must(t, err)
	park := func(n int) error {
		w.begin()
		err := w.pipe.Park(&capture.Undecoded{Table: "public.loans", Err: errors.New("3 columns, 2 values"), Raw: capture.Raw{Change: noise}})
		if err == nil {
			w.commit(capture.Position(fmt.Sprintf("0/%d", 20+n)))
			w.pipe.Flush(t.Context())
		}
		return err
	}
	for n := range 5 {
		must(t, park(n))
	}
	deadline := time.Now().Add(time.Minute) // the spool measures itself now and then
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ; w.spool.Usage().Parked < 5*30<<10; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("the spool holds %+v", w.spool.Usage())
		}
	}
	if err = park(5); !errors.Is(err, errParkedFull) || !strings.Contains(capture.Remedy(err), "rowhook failed list --source") {
		t.Errorf("one more: %v, %q", err, capture.Remedy(err))
	}
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		t.Errorf("the agent ends with %d, after which systemd may not start it again", coded.ExitCode())
	}
}

func TestPipelineTellsOfAGap(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	w.start()
	w.pipe.Gap("library", "0/10", "0/90")
	if got := w.pipe.Flush(t.Context()); got != "0/90" {
		t.Errorf("durable = %q", got)
	}
	id, err := w.spool.Register("desk")
	if err != nil {
		t.Fatal(err)
	}
	entries, _, _, err := w.spool.Read(id, 0, nil, 10, 1<<20)
	if err != nil || len(entries) != 1 || entries[0].Event.Type != gapType || string(entries[0].Event.Data) != `{"from":"0/10","to":"0/90"}` {
		t.Errorf("entries = %+v, %v", entries, err)
	}
}

// From a source that says when it has handed over what it had, transactions that came
// together are stored together, and at once when it rests.
func TestPipelineGathers(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	w.pipe.Rest()
	for i := range 3 {
		w.begin()
		w.insert(0, fmt.Sprint(i), "")
		w.commit("0/10")
	}
	if len(w.pipe.batches.work) != 0 {
		t.Error("a small transaction was handed over while the source has more at hand")
	}
	w.pipe.Rest()
	if len(w.pipe.batches.work) != 1 {
		t.Error("nothing was handed over when the source rested")
	}
	w.start()
	if got := w.pipe.Flush(t.Context()); got != "0/10" {
		t.Errorf("durable = %q", got)
	}
	if got := w.keys(); got != `{"id":"0"}{"id":"1"}{"id":"2"}` {
		t.Errorf("events = %s", got)
	}
}

// A position that nobody is in a hurry for is stored when the source rests for a moment, and at the
// latest after a second; sooner than that once a second.
func TestPipelineStoresWhenTheSourceRests(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	pass := func(end capture.Position) (hastened time.Time) {
		t.Helper()
		w.begin()
		w.commit(end) // of nothing that is wanted
		w.pipe.Rest()
		if len(w.pipe.batches.work) != 0 {
			t.Error("a position was stored at once")
		}
		b := <-w.pipe.batches.work
		must(t, w.pipe.store(t.Context(), b))
		return w.pipe.batches.hastened
	}
	first := pass("0/10")
	if first.IsZero() {
		t.Error("the first position waited for a second")
	}
	began := time.Now()
	if second := pass("0/20"); second.Sub(first) < positionInterval && !second.Equal(first) || time.Since(began) > 20*positionInterval {
		t.Errorf("the second position was stored %s after the first", second.Sub(first))
	}
	if got := w.pipe.Flush(t.Context()); got != "0/20" {
		t.Errorf("durable = %q", got)
	}
}
