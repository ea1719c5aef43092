package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"rowhook/delivery"
	"rowhook/delivery/engine"
	"rowhook/delivery/format"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines is a delivery log in memory. What was not flushed is lost with crash.
type lines struct {
	mu      sync.Mutex
	all     []delivery.LogRecord
	flushed int
	failure error
	frozen  bool // nothing is written any more
}

func (l *lines) Append(rec *delivery.LogRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen {
		return
	}
	r := *rec
	r.Key, r.Body = bytes.Clone(rec.Key), bytes.Clone(rec.Body)
	l.all = append(l.all, r)
}

func (l *lines) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure == nil {
		l.flushed = len(l.all)
	}
	return l.failure
}

func (l *lines) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failure = err
}

// of returns the lines of one event, or all.
func (l *lines) of(id string) []delivery.LogRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	if id == "" {
		return slices.Clone(l.all)
	}
	var found []delivery.LogRecord
	for _, r := range l.all {
		if r.Event == id {
			found = append(found, r)
		}
	}
	return found
}

// ofProfile returns the lines of one event for one profile.
func (l *lines) ofProfile(code, id string) []delivery.LogRecord {
	return slices.DeleteFunc(l.of(id), func(r delivery.LogRecord) bool { return r.Profile != code })
}

func outcomes(records []delivery.LogRecord) []delivery.Outcome {
	var all []delivery.Outcome
	for _, r := range records {
		all = append(all, r.Outcome)
	}
	return all
}

// receiver is a sender with a script: answer decides about each request.
type receiver struct {
	mu             sync.Mutex
	got            []delivery.Request // in order of arrival, bodies copied
	times          []time.Time
	took           time.Duration
	dials          time.Duration                                     // until there is a connection
	delay          func(req *delivery.Request) time.Duration         // instead of took, when set
	underway, most int                                               // requests under way, and the most of them at once
	answer         func(n int, req *delivery.Request) delivery.Reply // n counts from 1; nil always succeeds
}

func (r *receiver) Send(ctx context.Context, req *delivery.Request) delivery.Reply {
	started := time.Now()
	r.mu.Lock()
	dials := r.dials
	r.mu.Unlock()
	if dials > 0 {
		time.Sleep(dials)
		if req.May != nil && !req.May() {
			return delivery.Reply{Class: delivery.ClassStopped, Unsent: true}
		}
	}
	r.mu.Lock()
	kept := *req
	kept.Body = bytes.Clone(req.Body)
	r.got = append(r.got, kept)
	r.times = append(r.times, started)
	reply := ok
	if r.answer != nil {
		reply = r.answer(len(r.got), req)
	}
	took := r.took
	if r.delay != nil {
		took = r.delay(req)
	}
	r.underway++
	r.most = max(r.most, r.underway)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.underway--
	}()
	if took > 0 {
		select {
		case <-time.After(took):
		case <-ctx.Done():
			reply = delivery.Reply{Class: delivery.ClassStopped, Reason: "shutdown"}
		}
	}
	reply.Started, reply.Duration = started, time.Since(started)
	return reply
}

func (r *receiver) Describe() (method, url string) { return "POST", "https://example.org/hook" }

func (r *receiver) script(answer func(n int, req *delivery.Request) delivery.Reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) ids() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, req := range r.got {
		all = append(all, req.ID)
	}
	return all
}

var (
	ok          = delivery.Reply{Class: delivery.ClassOK, Status: 200}
	broken      = delivery.Reply{Class: delivery.ClassTransient, Status: 500, Reason: "status_5xx"}
	refused     = delivery.Reply{Class: delivery.ClassEvent, Status: 400, Reason: "status_4xx"}
	unreachable = delivery.Reply{Class: delivery.ClassNetwork, Reason: "refused"}
)

func always(reply delivery.Reply) func(int, *delivery.Request) delivery.Reply {
	return func(int, *delivery.Request) delivery.Reply { return reply }
}

// plain renders an event as its id and key.
type plain struct{}

func (plain) AppendBody(dst []byte, ev *delivery.Event) ([]byte, error) {
	if ev.Type == "unrenderable" {
		return nil, errors.New("no such member")
	}
	return fmt.Appendf(dst, `{"id":%q,"key":%s}`, ev.ID, ev.Key), nil
}

func (plain) Head(*delivery.Event) delivery.Head {
	return delivery.Head{ContentType: "application/json"}
}

// WriteGroup renders a group as its id, its part and its events.
func (p plain) WriteGroup(w io.Writer, g *delivery.Group) error {
	body := fmt.Appendf(nil, `{"id":%q,"unit":%q,"type":%q,"count":%d,"part":%d,"parts":%d,"events":[`, g.ID, g.Unit, g.Type, g.Count, g.Part, g.Parts)
	for ev, err := range g.Events {
		if err != nil {
			return err
		}
		if body, err = p.AppendBody(body, ev); err != nil {
			return err
		}
		body = append(body, ',')
	}
	_, err := w.Write(append(bytes.TrimSuffix(body, []byte(",")), "]}"...))
	return err
}

func (plain) GroupHead(*delivery.Group) delivery.Head {
	return delivery.Head{ContentType: "application/json"}
}

// bench is one store with an engine on it that can be stopped and started again.
type bench struct {
	t        testing.TB
	store    *memStore
	over     delivery.Store // what the engine gets in place of the store; nil for the store
	lines    *lines
	receiver *receiver
	sender   delivery.Sender    // nil: the receiver
	format   delivery.Formatter // nil: plain
	config   delivery.ProfileConfig
	onState  func(engine.StateChange)
	logger   *slog.Logger // of the engine; nil is silent
	ids      []delivery.ProfileID

	engine *engine.Engine
	stop   context.CancelFunc
	done   chan error
}

func setup(t testing.TB, change func(*delivery.ProfileConfig)) *bench {
	config := delivery.Defaults()
	config.Code = "desk"
	if change != nil {
		change(&config)
	}
	b := &bench{t: t, store: newMemStore(), lines: &lines{}, receiver: &receiver{}, config: config}
	b.build()
	return b
}

// productOf is the product that a profile's format names.
func productOf(c delivery.ProfileConfig) delivery.Product { return format.Products().Of(c.Format) }

// build makes an engine that does not run.
func (b *bench) build() {
	b.t.Helper()
	var sender delivery.Sender = b.receiver
	if b.sender != nil {
		sender = b.sender
	}
	var formatter delivery.Formatter = plain{}
	if b.format != nil {
		formatter = b.format
	}
	profile, err := engine.NewProfile(b.config, productOf(b.config), sender, formatter)
	if err != nil {
		b.t.Fatal(err)
	}
	var store delivery.Store = b.store
	if b.over != nil {
		store = b.over
	}
	b.engine, err = engine.New(store, b.lines, []*engine.Profile{profile}, engine.Options{Logger: b.logger, OnState: b.onState})
	if err != nil {
		b.t.Fatal(err)
	}
	id, err := b.store.Register(b.config.Code)
	if err != nil {
		b.t.Fatal(err)
	}
	b.ids = []delivery.ProfileID{id}
}

// start runs the engine; stopped ends it, as SIGTERM does.
func (b *bench) start() {
	ctx, cancel := context.WithCancel(b.t.Context())
	b.stop, b.done = cancel, make(chan error, 1)
	go func() { b.done <- b.engine.Run(ctx) }()
}

func (b *bench) stopped() {
	b.t.Helper()
	b.stop()
	if err := <-b.done; err != nil {
		b.t.Errorf("Run: %v", err)
	}
}

// event makes an event whose ordering key is key.
func event(id, key string) *delivery.Event {
	return &delivery.Event{
		Making: &delivery.Making{Type: "loan.returned", Entry: "circulation.loans", Table: "circulation.loans", Op: "update"},
		Commit: &delivery.Commit{Position: "0/1"},
		ID:     id, Key: fmt.Appendf(nil, `{"loan_id":%q}`, key), OrderKey: key,
	}
}

func (b *bench) append(events ...*delivery.Event) { b.store.append(b.ids, events...) }

func (b *bench) status() delivery.ProfileStatus {
	b.t.Helper()
	all, err := b.engine.Status()
	if err != nil {
		b.t.Fatal(err)
	}
	return all[0]
}

func TestDeliversInOrderAndKeepsProgress(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := setup(t, nil)
		b.start()
		var want []string
		for i := range 3000 {
			id := fmt.Sprintf("e%04d", i)
			want = append(want, id)
			b.append(event(id, "same"))
		}
		time.Sleep(time.Second)
		if got := b.receiver.ids(); !slices.Equal(got, want) {
			t.Fatalf("arrived %d of %d, or out of order", len(got), len(want))
		}
		if s := b.status(); s.BacklogEvents != 0 || s.State != "active" {
			t.Errorf("status %+v", s)
		}
		b.stopped()
		if b.store.updates > 30 {
			t.Errorf("%d updates for 3000 events", b.store.updates)
		}
		b.build()
		b.start()
		time.Sleep(time.Second)
		b.stopped()
		if got := len(b.receiver.ids()); got != len(want) {
			t.Errorf("restart repeated %d", got-len(want))
		}
	})
}

// count is n in the soak, and few in `make test`.
func count(few, n int) int {
	if os.Getenv("ROWHOOK_SOAK") != "" {
		return n
	}
	return few
}
