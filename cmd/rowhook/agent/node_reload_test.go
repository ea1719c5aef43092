package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/cluster/natstest"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/operation"
)

// natsServers is one server that the tests share.
var natsServers struct {
	once    sync.Once
	started *natstest.Cluster
	err     error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if natsServers.started != nil {
		_ = natsServers.started.Close()
	}
	os.Exit(code)
}

func natsURL(t *testing.T) string {
	t.Helper()
	natsServers.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		natsServers.started, natsServers.err = natstest.Start(ctx, natstest.Options{Servers: 1})
	})
	must(t, natsServers.err)
	return natsServers.started.URL()
}

// database is one that several agents capture, made up: each of its transactions inserts a row. The
// last one may be open.
type database struct {
	mu     sync.Mutex
	notes  []string // of the rows, whose ids count
	open   bool     // the last one is not committed
	more   chan struct{}
	table  *capture.Table
	refuse error // of Tables
}

func newDatabase() *database {
	typ := &capture.Type{Name: "text", Kind: capture.Text, AppendJSON: func(dst, text []byte) ([]byte, bool) {
		return capture.AppendJSONString(dst, text)
	}}
	return &database{more: make(chan struct{}), table: &capture.Table{
		Schema: "public", Name: "loans", Key: []int{0}, Identity: capture.IdentityFull,
		Columns: []capture.Column{{Name: "id", Type: typ, Identity: true}, {Name: "note", Type: typ, Identity: true}},
	}}
}

// insert adds a transaction; commit ends one that was left open.
func (d *database) insert(note string, open bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes, d.open = append(d.notes, note), open
	close(d.more)
	d.more = make(chan struct{})
}

func (d *database) commit() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = false
	close(d.more)
	d.more = make(chan struct{})
}

// at returns a transaction, or what tells that there is more.
func (d *database) at(n int) (note string, there, open bool, more <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n > len(d.notes) {
		return "", false, false, d.more
	}
	return d.notes[n-1], true, d.open && n == len(d.notes), d.more
}

// feed is an agent's source that reads a database.
type feed struct {
	Source
	from *database
}

func (f *feed) Hosts() string                                              { return "db" }
func (f *feed) Database() string                                           { return "library" }
func (f *feed) Received() uint64                                           { return 0 }
func (f *feed) Reader() capture.Reader                                     { return idleReader{} }
func (f *feed) Close()                                                     {}
func (f *feed) Drift(context.Context, []string) ([]capture.Finding, error) { return nil, nil }
func (f *feed) Identify(context.Context) (capture.Server, error) {
	return capture.Server{Lineage: "1"}, nil
}
func (f *feed) Status(context.Context, capture.Position) (capture.Status, error) {
	return capture.Status{}, nil
}

func (f *feed) Tables(context.Context, []string) ([]*capture.Table, error) {
	f.from.mu.Lock()
	defer f.from.mu.Unlock()
	return []*capture.Table{f.from.table}, f.from.refuse
}

// idleReader reads nothing: there are no backfills.
type idleReader struct{ capture.Reader }

func (idleReader) Close() {}

// Run implements [Source].
func (f *feed) Run(ctx context.Context, start capture.StartOptions, sink capture.Sink) error {
	server := capture.Server{Lineage: "1"}
	if err := start.OnConnect(server); err != nil {
		return err
	}
	start.OnStarted(capture.Started{Server: server, Position: start.Stored, Resumed: start.Stored != ""})
	next, _ := strconv.Atoi(string(start.Stored))
	defer start.Flush(sink)
	for next++; ; next++ {
		begun := false
		for {
			note, there, open, more := f.from.at(next)
			if there && !begun {
				begun = true
				if err := f.begin(sink, next, note); err != nil {
					return err
				}
			}
			if there && !open {
				break
			}
			select {
			case <-more:
			case <-ctx.Done():
				sink.Abort()
				return nil
			}
		}
		if err := sink.Commit(capture.Position(strconv.Itoa(next))); err != nil {
			return err
		}
	}
}

func (f *feed) begin(sink capture.Sink, n int, note string) error {
	id := strconv.Itoa(n)
	err := sink.Begin(&capture.Transaction{ID: id, Identity: "tx" + id, Position: capture.Position(id), Time: time.Now().UTC()})
	return errors.Join(err, sink.Change(&capture.Change{Op: capture.Insert, Table: f.from.table, New: capture.Row{
		{State: capture.Present, Text: []byte(id)}, {State: capture.Present, Text: []byte(note)},
	}}))
}

// desk is a receiver that holds requests back until it is told.
type desk struct {
	*httptest.Server
	mu    sync.Mutex
	under []string // requests, by their rows' notes
	got   []string
	free  chan struct{} // closed once requests are let through
}

func newDesk(t *testing.T) *desk {
	d := &desk{free: make(chan struct{})}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, note, _ := strings.Cut(string(body), `"note":"`)
		note, _, _ = strings.Cut(note, `"`)
		d.mu.Lock()
		d.under = append(d.under, note)
		free := d.free
		d.mu.Unlock()
		select {
		case <-free:
		case <-r.Context().Done():
			return
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.got = append(d.got, note)
	}))
	t.Cleanup(d.Close)
	return d
}

func (d *desk) let() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.free)
}

// asked are the requests that came, answered or not.
func (d *desk) asked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.under)
}

// fleetWorld is a cluster of agents in this process.
type fleetWorld struct {
	t        *testing.T
	url      string
	name     string
	from     *database
	machines []*fleetMachine
}

type fleetMachine struct {
	*Agent
	file        string
	name, roles string
	stop        context.CancelFunc
	done        chan error
}

func newFleetWorld(t *testing.T) *fleetWorld {
	t.Helper()
	_ = t.TempDir() // directories go after the machines that use them: what is asked for first is cleaned up last
	w := &fleetWorld{t: t, url: natsURL(t), name: strings.ReplaceAll(t.Name(), "/", "-") + rand.Text()[:8], from: newDatabase()}
	t.Cleanup(func() {
		for _, m := range w.machines {
			m.end(t)
		}
	})
	return w
}

// text is a machine's config.
func (w *fleetWorld) text(name, roles, rest string) string {
	return fmt.Sprintf("source: {type: postgres, url: \"postgres://rowhook@127.0.0.1:1/library\"}\n"+
		"cluster: {nats: {url: %q}, name: %s, machine: %s, roles: [%s], replicas: 1, lease: 1s}\nspool: {reserve: 0MiB}\n%s", w.url, w.name, name, roles, rest)
}

// add starts a machine with some roles.
func (w *fleetWorld) add(roles, rest string) *fleetMachine {
	w.t.Helper()
	name := fmt.Sprintf("m%d", len(w.machines)+1)
	m := &fleetMachine{file: filepath.Join(w.t.TempDir(), "config.yaml"), name: name, roles: roles}
	writeFile(w.t, m.file, w.text(name, roles, rest))
	w.machines = append(w.machines, m)
	w.start(m)
	return m
}

func (w *fleetWorld) start(m *fleetMachine) {
	w.t.Helper()
	c, err := config.Load(m.file, noEnv, "")
	must(w.t, err)
	o := Options{Logger: slog.New(slog.NewTextHandler(w.t.Output(), nil)), Version: "1", QuietPeriod: time.Hour,
		Source: func(*config.Config, *slog.Logger, string) (Source, error) { return &feed{from: w.from}, nil }}
	m.Agent, err = New(c, Start{}, o)
	must(w.t, err)
	ctx, stop := context.WithCancel(context.Background())
	m.stop, m.done = stop, make(chan error, 1)
	go func() { m.done <- m.Run(ctx) }()
}

func (m *fleetMachine) end(t *testing.T) {
	t.Helper()
	if m.stop == nil {
		return
	}
	m.stop()
	if err := errors.Join(<-m.done, m.Close()); err != nil {
		t.Error(err)
	}
	m.stop = nil
}

// write changes the config of all machines.
func (w *fleetWorld) write(rest string) {
	w.t.Helper()
	for _, m := range w.machines {
		writeFile(w.t, m.file, w.text(m.name, m.roles, rest))
	}
}

func (w *fleetWorld) await(what string, ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			for _, m := range w.machines {
				w.t.Logf("%+v", m.node.replica.View())
			}
			w.t.Fatalf("waited for %s in vain", what)
		}
	}
}

// owner waits until a machine delivers a profile, and returns it.
func (w *fleetWorld) owner(code string) (owner *fleetMachine) {
	w.t.Helper()
	w.await("an owner of "+code, func() bool {
		for _, m := range w.machines {
			if _, owned := m.engine.Owned(code); owned && m.stop != nil {
				owner = m
			}
		}
		return owner != nil
	})
	return owner
}

const (
	loansByID   = "mapping:\n  public.loans: {}\n"
	loansByNote = "mapping:\n  public.loans: {order_by: [note]}\n"
)

func deskAt(url string) string {
	return "profiles:\n  desk: {url: " + url + ", signature: none, allow_networks: [loopback]}\n"
}

// twoMachines are a machine that captures alone, and one that delivers alone.
func (w *fleetWorld) twoMachines(rest string) (captures, delivers *fleetMachine) {
	w.t.Helper()
	captures = w.add("capture", rest)
	w.await("a capture", func() bool { return captures.term.Load() != nil })
	delivers = w.add("deliver", rest)
	w.owner("desk")
	return captures, delivers
}

// renewed waits until the machines have renewed their leases some times: what they could do at once they
// have done.
func (w *fleetWorld) renewed() {
	w.t.Helper()
	seen := w.machines[0].node.replica.View().Applied
	w.await("the leases renewed", func() bool { return w.machines[0].node.replica.View().Applied > seen+6 })
}

// hasAgreed reports whether a machine has agreed to another config than it has.
func (m *fleetMachine) hasAgreed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.agreedOn != "" && m.agreedOn != m.config().Digest()
}

// TestReloadChangesOrder: where a reload changes the ordering keys, what was made by the former ones is
// over before anything that is made by the new ones is sent, wherever the machines are in the stream
// when they take it, and whichever was asked.
func TestReloadChangesOrder(t *testing.T) {
	t.Parallel()
	for _, asked := range []string{"captures", "delivers"} {
		t.Run(asked, func(t *testing.T) {
			t.Parallel()
			w := newFleetWorld(t)
			desk := newDesk(t)
			captures, delivers := w.twoMachines(loansByID + deskAt(desk.URL))
			turn, _ := captures.node.replica.LastTurn()
			w.from.insert("before", true) // a transaction is open while the reload is agreed
			w.write(loansByNote + deskAt(desk.URL))
			initiator := map[string]*fleetMachine{"captures": captures, "delivers": delivers}[asked]
			reloaded := make(chan error, 1)
			go func() {
				_, err := initiator.reload(context.Background(), operation.ReloadRequest{User: "ada", By: operation.ReloadByCommand})
				reloaded <- err
			}()
			w.await("the reload to be agreed", initiator.hasAgreed)
			if asked == "captures" {
				delivers.reloading.Lock() // it takes the config late
			}
			w.from.commit()
			w.await("the turn", func() bool {
				now, _ := captures.node.replica.LastTurn()
				return now.Seq > turn.Seq
			})
			w.from.insert("behind", false)
			w.await("both events on the machine that delivers", func() bool { return delivers.spool.End() == 2 })
			w.await("the first request", func() bool { return len(desk.asked()) > 0 })
			if asked == "captures" {
				desk.let()
				w.renewed()
				if got := desk.asked(); !slices.Equal(got, []string{"before"}) {
					t.Errorf("before the machine has taken the config: %q", got)
				}
				delivers.reloading.Unlock()
				must(t, <-reloaded)
			} else {
				must(t, <-reloaded)
				w.renewed()
				if got := desk.asked(); !slices.Equal(got, []string{"before"}) {
					t.Errorf("while the first is under way: %q", got)
				}
				desk.let()
			}
			w.await("both", func() bool { return slices.Equal(desk.asked(), []string{"before", "behind"}) })
		})
	}
}

// TestCaptureDoesNotWaitForReload: a machine that is to capture begins, while a reload that it was asked
// for waits for a machine that does not answer.
func TestCaptureDoesNotWaitForReload(t *testing.T) {
	t.Parallel()
	w := newFleetWorld(t)
	rest := loansByID + deskAt(newDesk(t).URL)
	captures, _ := w.twoMachines(rest)
	next := w.add("capture", rest)
	silent := w.add("deliver", rest)
	for _, m := range []*fleetMachine{captures, next, silent} {
		w.await("four machines", func() bool { return len(m.node.replica.View().Machines) == 4 })
	}
	asked, over := make(chan struct{}, 16), make(chan struct{})
	defer close(over)
	silent.node.replica.Answer(func(string, []byte) ([]byte, error) {
		asked <- struct{}{}
		<-over
		return nil, errors.New("over")
	})
	ctx, stop := context.WithCancel(t.Context())
	reloaded := make(chan error, 1)
	go func() {
		_, err := next.reload(ctx, operation.ReloadRequest{User: "ada", By: operation.ReloadByCommand})
		reloaded <- err
	}()
	<-asked
	captures.end(t)
	w.await("the next one to capture", func() bool { return next.term.Load() != nil })
	select {
	case err := <-reloaded:
		t.Errorf("the reload was over before: %v", err)
	default:
		stop()
		<-reloaded
	}
	stop()
}

// TestTakesWhatItMissed: a machine that was not there when a config came to hold claims nothing while its
// file is another one, and takes the config by itself when it has it.
func TestTakesWhatItMissed(t *testing.T) {
	t.Parallel()
	w := newFleetWorld(t)
	desk := newDesk(t)
	desk.let()
	captures, delivers := w.twoMachines(loansByID + deskAt(desk.URL))
	delivers.end(t)
	before := loansByID + deskAt(desk.URL)
	w.write(loansByNote + deskAt(desk.URL))
	if _, err := captures.reload(t.Context(), operation.ReloadRequest{User: "ada", By: operation.ReloadByCommand}); err != nil {
		t.Fatal(err)
	}
	w.from.insert("one", false)
	writeFile(t, delivers.file, w.text(delivers.name, delivers.roles, before))
	w.start(delivers)
	w.await("the event on the machine that is back", func() bool { return delivers.spool.End() == 1 })
	w.renewed()
	if owner := captures.node.replica.View().Profiles["desk"].Owner; owner != "" {
		t.Errorf("%s has another config and delivers", owner)
	}
	writeFile(t, delivers.file, w.text(delivers.name, delivers.roles, loansByNote+deskAt(desk.URL)))
	w.await("the delivery", func() bool { return slices.Equal(desk.asked(), []string{"one"}) })
	if got := delivers.config().Digest(); got != captures.config().Digest() {
		t.Errorf("its config is %s", got)
	}
}
