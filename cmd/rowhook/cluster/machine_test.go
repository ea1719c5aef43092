package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"rowhook/cmd/rowhook/cluster/natstest"
	"rowhook/delivery"
	"rowhook/delivery/spool"
)

func TestMain(m *testing.M) {
	if os.Getenv("CLUSTER_CHILD") != "" {
		child()
		return
	}
	var code int
	defer func() { os.Exit(code) }()
	defer func() {
		if s := servers.started; s != nil {
			_ = s.Close()
		}
	}()
	if code = m.Run(); code == 0 {
		// The last one is the client's: it waits for ever if the publisher ends before it has begun.
		if err := goleak.Find(goleak.IgnoreTopFunction("rowhook/cmd/rowhook/cluster/natstest.startChild.func1"),
			goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait"),
			goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
}

// servers are those that the tests share which do not harm them.
var servers struct {
	once    sync.Once
	started *natstest.Cluster
	err     error
}

func sharedServers(t *testing.T) *natstest.Cluster {
	t.Helper()
	servers.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		servers.started, servers.err = natstest.Start(ctx, natstest.Options{MaxPayload: 64 << 10})
	})
	if servers.err != nil {
		t.Fatal(servers.err)
	}
	return servers.started
}

// testPatience is how long a test waits for what must come.
const testPatience = 3 * time.Minute

// bed is a cluster of machines in this process, with a source and receivers that are made up.
type bed struct {
	t        testing.TB
	ctx      context.Context
	config   Config
	profiles []string
	lastTx   int // the source has no more transactions than this; guarded by mu
	machines []*machine
	limits   limits // zero for a replica's own

	mu   sync.Mutex
	more chan struct{}
	got  map[string][]arrival // by profile
	tell io.Writer            // of a child, gets arrivals; nil otherwise
}

// arrival is a request that a receiver got. at is just before its sender looked at the lease, by the
// clock that all processes of a computer share: a receiver may get it much later.
type arrival struct {
	seq     delivery.Seq
	epoch   uint64
	machine string
	at      int64
}

// clock is that clock, in nanoseconds.
func clock() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // it never fails
	return ts.Nano()
}

// machine is one of the bed's, with its actor.
type machine struct {
	bed     *bed
	name    string
	dir     string
	roles   []string // nil for both
	stream  *Stream
	replica *Replica
	spool   *spool.Spool
	ended   chan error // takes what Run returned
	cancel  context.CancelFunc
	ids     map[string]delivery.ProfileID

	late    sync.Mutex // held by who has it take turns late
	mu      sync.Mutex
	source  *task
	deliver map[string]*task
	retired []string
}

// task is a goroutine that can be stopped.
type task struct {
	stop chan struct{}
	once sync.Once
	done chan struct{}
}

func startTask(do func(stop <-chan struct{})) *task {
	k := &task{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(k.done)
		do(k.stop)
	}()
	return k
}

func (k *task) end() {
	k.once.Do(func() { close(k.stop) })
	<-k.done
}

func setup(t *testing.T, servers *natstest.Cluster, machines, profiles int) *bed {
	t.Helper()
	_ = t.TempDir() // Directories go after the machines that use them: what is asked for first is cleaned up last.
	ctx, cancel := context.WithTimeout(context.Background(), testPatience)
	t.Cleanup(cancel)
	b := newBed(ctx, t, servers.URL(), strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()), profiles)
	for _, name := range names("m", machines) {
		b.add(name)
	}
	t.Cleanup(func() {
		for _, m := range b.machines {
			m.kill()
		}
	})
	return b
}

func newBed(ctx context.Context, t testing.TB, url, name string, profiles int) *bed {
	b := &bed{t: t, ctx: ctx, config: DefaultConfig(), profiles: names("p", profiles), more: make(chan struct{}), got: map[string][]arrival{}}
	b.config.NATS.URL, b.config.Name = url, name
	return b
}

// add starts a new machine.
func (b *bed) add(name string) *machine {
	b.t.Helper()
	m := &machine{bed: b, name: name, dir: filepath.Join(b.t.TempDir(), "spool")}
	b.machines = append(b.machines, m)
	m.start()
	return m
}

func (b *bed) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// start starts the machine's process on what its directory has.
func (m *machine) start() {
	m.bed.t.Helper()
	m.bed.check(m.tryStart())
}

func (m *machine) tryStart() error {
	b := m.bed
	config := b.config
	config.Machine = m.name
	if m.roles != nil {
		config.Roles = m.roles
	}
	logger := slog.New(slog.NewTextHandler(testLog{b.t}, &slog.HandlerOptions{Level: slog.LevelInfo})).With("machine", m.name)
	var err error
	if m.stream, err = Connect(b.ctx, config, Options{Logger: logger}); err != nil {
		return err
	}
	if err = m.stream.Prepare(b.ctx, m.dir); err != nil {
		m.stream.Close()
		return err
	}
	if m.spool, err = spool.Open(m.dir, testSpool); err != nil {
		m.stream.Close()
		return err
	}
	m.replica, err = NewReplica(m.stream, m.spool, Self{Config: testDigest, Scratch: filepath.Dir(m.dir)})
	b.check(err)
	if b.limits != (limits{}) {
		m.replica.limits = b.limits
	}
	m.ids, m.deliver, m.source = map[string]delivery.ProfileID{}, map[string]*task{}, nil
	for _, code := range b.profiles {
		m.ids[code], err = m.replica.Register(code)
		b.check(err)
	}
	m.replica.Profiles(b.profiles)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	m.cancel, m.ended = cancel, ended
	go func() { ended <- m.replica.Run(ctx, m) }()
	go m.take(ctx)
	return nil
}

// take takes the turns that come.
func (m *machine) take(ctx context.Context) {
	for r := m.replica; ; {
		t, err := r.AwaitTurn(ctx)
		if err != nil {
			return
		}
		m.late.Lock()
		r.Took(testDigest, t.Seq)
		m.late.Unlock()
	}
}

// testDigest is that of the config that all machines have.
const testDigest = "same"

// kill ends the process and its connection without a word to the others.
func (m *machine) kill() {
	if m.cancel == nil {
		return
	}
	m.stream.Close()
	m.stop()
}

// stop ends the process.
func (m *machine) stop() error {
	m.cancel()
	err := <-m.ended
	m.cancel = nil
	m.stream.Close()
	if err := m.spool.Close(); err != nil {
		m.bed.t.Error(err)
	}
	return err
}

// event n of transaction tx goes to one profile.
func testEvent(tx, n int) *delivery.Event {
	return &delivery.Event{
		Making: &delivery.Making{Type: "loan.returned", Entry: "loans", Source: "library", Table: "circulation.loans", Op: "update"},
		Commit: &delivery.Commit{Time: time.Unix(int64(1e9+tx), 0).UTC(), Position: strconv.Itoa(tx), Transaction: strconv.Itoa(tx)},
		ID:     fmt.Sprintf("%d-%d", tx, n), Ordinal: n, Key: fmt.Appendf(nil, `{"id":%d}`, n),
		Data: fmt.Appendf(nil, `{"id":%d,"note":"%s"}`, n, strings.Repeat("x", tx*7%300)), OrderKey: strconv.Itoa(n),
	}
}

// eventsOf is how many events a transaction has.
func eventsOf(tx int) int {
	if tx%50 == 7 {
		return 700 // larger than a message
	}
	return tx % 4
}

// BeginCapture starts the source where the spool ends.
func (m *machine) BeginCapture(uint64) {
	next := 1
	if at := m.spool.Position(); at != "" {
		last, err := strconv.Atoi(at)
		m.bed.check(err)
		next = last + 1
	}
	k := startTask(func(stop <-chan struct{}) {
		if err := m.capture(next, stop); err != nil && !errors.Is(err, ErrTermOver) && !errors.Is(err, context.Canceled) && !errors.Is(err, errEnded) {
			m.bed.t.Errorf("%s captures: %v", m.name, err)
		}
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.source = k
}

// capture applies transactions as a source does: in parts at times, and aborting what it began.
func (m *machine) capture(next int, stop <-chan struct{}) error {
	r := rand.New(rand.NewPCG(uint64(next), 1))
	if t, _ := m.replica.LastTurn(); t.Config != testDigest {
		if _, err := m.replica.Turn(testDigest, nil); err != nil {
			return err
		}
	}
	for {
		for !m.bed.has(next) {
			select {
			case <-stop:
				return nil
			case <-m.bed.grown(next):
			}
		}
		select {
		case <-stop:
			return nil
		default:
		}
		if r.IntN(10) == 0 {
			b := m.spool.NewBatch()
			b.Add(testEvent(next, 0), m.to(next, 0))
			if err := m.replica.Apply(b); err != nil {
				return err
			}
			if err := m.replica.Abort(); err != nil {
				return err
			}
		}
		b := m.spool.NewBatch()
		for n := range eventsOf(next) {
			b.Add(testEvent(next, n), m.to(next, n))
			if r.IntN(200) == 0 {
				if err := m.replica.Apply(b); err != nil {
					return err
				}
				b.Reset()
			}
		}
		if next%9 == 0 {
			b.Park(&delivery.Parked{Table: "circulation.loans", Reason: "undecoded", Position: strconv.Itoa(next), Time: time.Unix(int64(1e9+next), 0).UTC(), Change: []byte{1}})
		}
		b.Put("last", []byte(strconv.Itoa(next)))
		b.Commit(strconv.Itoa(next))
		if err := m.replica.Apply(b); err != nil {
			return err
		}
		next++
	}
}

func (m *machine) to(tx, n int) []delivery.ProfileID {
	return []delivery.ProfileID{m.ids[m.bed.profiles[(tx+n)%len(m.bed.profiles)]]}
}

// EndCapture stops the source.
func (m *machine) EndCapture() {
	m.mu.Lock()
	k := m.source
	m.mu.Unlock()
	k.end()
}

// Own starts deliveries where the store's progress is.
func (m *machine) Own(code string, epoch uint64) {
	k := startTask(func(stop <-chan struct{}) { m.dispatch(code, epoch, stop) })
	m.mu.Lock()
	defer m.mu.Unlock()
	m.deliver[code] = k
}

// dispatch delivers events one by one, within the lease.
func (m *machine) dispatch(code string, epoch uint64, stop <-chan struct{}) {
	id := m.ids[code]
	progress, err := m.replica.Progress(id)
	m.bed.check(err)
	next := progress.Cursor
	for {
		select {
		case <-stop:
			return
		case <-m.replica.Appended(next):
		}
		entries, after, _, err := m.replica.Read(id, next, nil, 8, 1<<20)
		m.bed.check(err)
		for _, e := range entries {
			at := clock()
			for ; !time.Now().Before(m.replica.Lease()); at = clock() {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
			m.bed.arrive(code, arrival{e.Seq, epoch, m.name, at})
		}
		var bytes int64
		for _, e := range entries {
			bytes += int64(e.Bytes)
		}
		u := delivery.Update{Progress: &delivery.Progress{Cursor: after}, DoneEvents: int64(len(entries)), DoneBytes: bytes, Epoch: epoch}
		if err := m.replica.Update(id, u); err != nil {
			if !errors.Is(err, delivery.ErrNotOwner) && !errors.Is(err, errEnded) && !errors.Is(err, context.Canceled) {
				m.bed.t.Errorf("%s updates %s: %v", m.name, code, err)
			}
			return
		}
		next = after
	}
}

// Release ends deliveries in order, Disown at once; here both are quick.
func (m *machine) Release(code string) { m.Disown(code) }

// Disown ends deliveries.
func (m *machine) Disown(code string) {
	m.mu.Lock()
	k := m.deliver[code]
	m.mu.Unlock()
	k.end()
}

// Retired is told of a profile that was forgotten.
func (m *machine) Retired(code string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.retired = append(m.retired, code)
}

// grow lets the source have transactions up to one.
func (b *bed) grow(to int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastTx = to
	close(b.more)
	b.more = make(chan struct{})
}

func (b *bed) has(tx int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return tx <= b.lastTx
}

func (b *bed) grown(tx int) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if tx <= b.lastTx {
		there := make(chan struct{})
		close(there)
		return there
	}
	return b.more
}

func (b *bed) arrive(code string, a arrival) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.tell != nil {
		fmt.Fprintln(b.tell, code, a.seq, a.epoch, a.at)
		return
	}
	b.got[code] = append(b.got[code], a)
}

// await waits until ok.
func (b *bed) await(what string, ok func() bool) {
	b.t.Helper()
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		if ok() {
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-b.ctx.Done():
			for _, m := range b.machines {
				if m.cancel != nil {
					b.t.Logf("%s: %+v", m.name, m.replica.View())
				}
			}
			b.t.Fatalf("still not: %s", what)
		}
	}
}

// running are the machines whose process runs.
func (b *bed) running() (list []*machine) {
	for _, m := range b.machines {
		if m.cancel != nil {
			list = append(list, m)
		}
	}
	return list
}

// settled waits until all that the source has is on every machine and delivered.
func (b *bed) settled() {
	b.t.Helper()
	b.await("everything captured and delivered", func() bool {
		for _, m := range b.running() {
			if m.spool.Position() != strconv.Itoa(b.lastTx) {
				return false
			}
			for _, code := range b.profiles {
				if left, err := m.spool.Backlog(m.ids[code]); err != nil || left.Events != 0 {
					return false
				}
			}
		}
		return true
	})
}

// verify holds what the receivers got against what the source had, and the machines' spools against
// each other.
func (b *bed) verify() {
	b.t.Helper()
	b.settled()
	want := b.wanted()
	for _, m := range b.running() {
		b.same(m.name, m.spool, want)
	}
	b.arrived(len(want))
}

// wanted lists the events that the source had.
func (b *bed) wanted() (ids []string) {
	for tx := 1; tx <= b.lastTx; tx++ {
		for n := range eventsOf(tx) {
			ids = append(ids, testEvent(tx, n).ID)
		}
	}
	return ids
}

// same holds that a spool has the events that are wanted, and what else the source said.
func (b *bed) same(name string, sp *spool.Spool, want []string) {
	b.t.Helper()
	var have []string
	id, err := sp.Register(b.profiles[0])
	b.check(err)
	for from, end := delivery.Seq(1), false; !end; {
		entries, next, last, err := sp.History(id, from, nil, 1000, 1<<20)
		b.check(err)
		for _, e := range entries {
			have = append(have, e.Event.ID)
		}
		from, end = next, last
	}
	if !slices.Equal(have, want) {
		b.t.Errorf("%s has %d events, want %d", name, len(have), len(want))
	}
	parked := 0
	b.check(sp.Parked(0, func(p delivery.Parked) bool {
		parked++
		return true
	}))
	if parked != b.lastTx/9 {
		b.t.Errorf("%s has %d parked changes, want %d", name, parked, b.lastTx/9)
	}
	if last, _ := sp.Meta("last"); string(last) != strconv.Itoa(b.lastTx) {
		b.t.Errorf("%s: the value is %q, want %d", name, last, b.lastTx)
	}
}

// arrived holds what the receivers got: so many events, in order.
func (b *bed) arrived(want int) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	got := 0
	for code, arrivals := range b.got {
		slices.SortStableFunc(arrivals, func(a, b arrival) int { return cmp.Compare(a.at, b.at) })
		seen := map[delivery.Seq]bool{}
		var last arrival
		for _, a := range arrivals {
			if a.epoch < last.epoch {
				b.t.Errorf("%s: an event of epoch %d by %s came after one of epoch %d by %s", code, a.epoch, a.machine, last.epoch, last.machine)
			}
			if a.epoch == last.epoch && a.seq <= last.seq {
				b.t.Errorf("%s: event %d came after %d in epoch %d", code, a.seq, last.seq, a.epoch)
			}
			seen[a.seq] = true
			last = a
		}
		got += len(seen)
	}
	if got != want {
		b.t.Errorf("%d events arrived, want %d", got, want)
	}
}

// owner returns the machine that has a seat; nil for nobody.
func (b *bed) owner(seat string) *machine {
	for _, m := range b.running() {
		if m.replica.owned(seat) != 0 {
			return m
		}
	}
	return nil
}

// spread waits until each seat is a running machine's, evenly.
func (b *bed) spread() {
	b.t.Helper()
	b.await("all seats taken, evenly", func() bool {
		if b.owner(captureSeat) == nil {
			return false
		}
		counts := map[*machine]int{}
		for _, code := range b.profiles {
			m := b.owner(code)
			if m == nil {
				return false
			}
			counts[m]++
		}
		for _, m := range b.running() {
			if n := counts[m]; n < len(b.profiles)/len(b.running()) {
				return false
			}
		}
		return true
	})
}

type testLog struct{ t testing.TB }

func (l testLog) Write(b []byte) (int, error) { l.t.Logf("%s", b); return len(b), nil }

// testSpool keeps everything: the events of tests are old.
var testSpool = spool.Options{Reserve: -1, History: 1 << 62}
