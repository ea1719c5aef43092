package cluster

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"rowhook/delivery"
	"rowhook/delivery/spool"
)

// lone is a replica that no servers feed: the test is the stream.
type lone struct {
	*Replica
	t   *testing.T
	ctx context.Context
	seq uint64
	n   [laneCount]uint64
}

func setupLone(t *testing.T, dir string, o spool.Options) *lone {
	t.Helper()
	sp, err := spool.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sp.Close() })
	config := DefaultConfig()
	config.Machine = "m1"
	r, err := NewReplica(&Stream{config: config, logger: slog.New(slog.DiscardHandler)}, sp, Self{Config: "same"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	t.Cleanup(cancel)
	return &lone{Replica: r, t: t, ctx: ctx}
}

// hear takes messages of the machine's own.
func (l *lone) hear(messages ...message) {
	l.t.Helper()
	for _, m := range messages {
		on := laneMembership
		switch m.(type) {
		case part, abort:
			on = laneCapture
		case progress:
			on = laneProgress
		}
		l.seq++
		l.n[on]++
		e := envelope{machine: "m1", incarnation: l.tenure.incarnation, lane: on, n: l.n[on], body: encodeMessage(m)}
		if err := l.take(l.ctx, l.seq, e.bytes()); err != nil {
			l.t.Fatal(err)
		}
	}
}

// event is a part with one event for p0.
func (l *lone) event(tx int, commits bool) part {
	l.t.Helper()
	id, err := l.Register("p0")
	if err != nil {
		l.t.Fatal(err)
	}
	batch := l.NewBatch()
	batch.Add(testEvent(tx, 1), []delivery.ProfileID{id})
	if commits {
		batch.Commit("30")
	}
	var made part
	if err := batch.Encode(l.code, 1<<16, func(bytes []byte, commits bool) error {
		made = part{epoch: 1, commits: commits, batch: slices.Clone(bytes)}
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
	return made
}

// TestRetireOfWhatWaits: an event that comes before a profile is forgotten keeps it, on each replica
// in the same way, and one in a transaction that is open does.
func TestRetireOfWhatWaits(t *testing.T) {
	t.Parallel()
	l := setupLone(t, filepath.Join(t.TempDir(), "spool"), testSpool)
	l.hear(genesis{lineage: "l"}, join{about: l.about()}, claim{[]claimed{{seat: captureSeat}}})
	has := func() bool {
		profiles, err := l.Spool.Profiles()
		if err != nil {
			t.Fatal(err)
		}
		return len(profiles) == 1
	}
	l.hear(l.event(1, false), retire{code: "p0"})
	if !has() {
		t.Fatal("a profile is forgotten while a transaction is open")
	}
	l.hear(abort{epoch: 1}, l.event(2, true), retire{code: "p0"})
	if !has() {
		t.Fatal("a profile is forgotten that has an event before")
	}
	l.hear(claim{[]claimed{{seat: "p0"}}},
		progress{[]progressItem{{code: "p0", epoch: 1, update: spool.EncodeUpdate(nil, &delivery.Update{Progress: &delivery.Progress{Cursor: 2}, DoneEvents: 1})}}},
		retire{code: "p0"})
	if !has() {
		t.Fatal("a profile is forgotten that was owned since")
	}
	l.actor = nobody{}
	l.hear(retire{code: "p0", epoch: 1})
	l.all.Wait()
	if has() || l.owned("p0") != 0 {
		t.Fatal("a profile that nothing waits for is not forgotten")
	}
}

// nobody is an actor that does nothing.
type nobody struct{}

func (nobody) BeginCapture(uint64) {}
func (nobody) EndCapture()         {}
func (nobody) Own(string, uint64)  {}
func (nobody) Release(string)      {}
func (nobody) Disown(string)       {}
func (nobody) Retired(string)      {}

// TestRetireFence: a profile is forgotten by who owns it, or by anybody in the epoch of its last owner.
func TestRetireFence(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		seat  *seat
		epoch uint64
		want  error
	}{
		"never owned":                {},
		"never owned, a later epoch": {epoch: 1, want: errClaimed},
		"free":                       {seat: &seat{epoch: 4}, epoch: 4},
		"free, owned since":          {seat: &seat{epoch: 5}, epoch: 4, want: errClaimed},
		"its own":                    {seat: &seat{owner: "m1", incarnation: 1, epoch: 4}, epoch: 4},
		"its own anew":               {seat: &seat{owner: "m1", incarnation: 1, epoch: 5}, epoch: 4, want: errClaimed},
		"another process's":          {seat: &seat{owner: "m1", incarnation: 9, epoch: 4}, epoch: 4, want: errClaimed},
		"another machine's":          {seat: &seat{owner: "m2", incarnation: 2, epoch: 4}, epoch: 4, want: errClaimed},
	} {
		s := newState()
		s.members["m1"], s.members["m2"] = &member{incarnation: 1}, &member{incarnation: 2}
		if tt.seat != nil {
			s.seats["p"] = tt.seat
		}
		e := envelope{machine: "m1", incarnation: 1, lane: laneMembership, n: 1, body: encodeMessage(retire{code: "p", epoch: tt.epoch})}
		f, err := s.apply(1, e.bytes())
		if err != nil || !errors.Is(f.refused, tt.want) || tt.want == nil && (f.refused != nil || tt.seat != nil && tt.seat.owner != "") {
			t.Errorf("%s: refused with %v, want %v (%v)", name, f.refused, tt.want, err)
		}
	}
}

// TestCopyHoldsNothingUp: while the spool is copied, messages are applied and the view is told. The
// copy has what it covers, and goes on behind.
func TestCopyHoldsNothingUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := setupLone(t, filepath.Join(dir, "spool"), testSpool)
	l.hear(genesis{lineage: "l"}, join{about: l.about()}, claim{[]claimed{{seat: captureSeat}}}, l.event(1, true))
	asked, may, checkpoint := make(chan struct{}), make(chan struct{}), l.checkpoint
	l.checkpoint = func(ctx context.Context, sp *spool.Spool, dir string) error { // on a slow disk
		close(asked)
		<-may
		return checkpoint(ctx, sp, dir)
	}
	var covers uint64
	copied := make(chan error, 1)
	go func() {
		var err error
		_, covers, err = l.copySpool(l.ctx, filepath.Join(dir, "copy"))
		copied <- err
	}()
	<-asked
	l.hear(renew{about: l.about()}, l.event(2, true))
	if v := l.View(); v.Applied != 6 {
		t.Errorf("message %d is applied while the spool is copied, want 6", v.Applied)
	}
	close(may)
	if err := <-copied; err != nil || covers != 4 {
		t.Fatalf("the copy covers %d, %v", covers, err)
	}
	has, err := l.stream.inspect(filepath.Join(dir, "copy"))
	if err != nil || has.core.next <= covers || has.core.state.lineage != "l" {
		t.Errorf("of the copy %d is due, %v", has.core.next, err)
	}
}

// TestConfigTold: a machine tells at once that its config changed; the renewal that is under way
// counts as it did.
func TestConfigTold(t *testing.T) {
	t.Parallel()
	l := setupLone(t, filepath.Join(t.TempDir(), "spool"), testSpool)
	now := time.Now()
	l.tenure.send(1, now)
	l.Took("other", 0)
	if told, ok := l.next(now).(renew); !ok || told.about.Config != "other" {
		t.Errorf("it says %+v", told)
	}
	if l.tenure.sent.at != now {
		t.Error("the renewal under way does not count any more")
	}
	if m := l.next(now); m != nil {
		t.Errorf("it says %+v besides", m)
	}
}

// TestGapExit: the service starts a machine again that fetches a snapshot then, and no other one.
func TestGapExit(t *testing.T) {
	t.Parallel()
	unit, err := os.ReadFile("../../../docs/rowhook.service")
	if err != nil {
		t.Fatal(err)
	}
	_, kept, _ := strings.Cut(string(unit), "\nRestartPreventExitStatus=")
	kept, _, _ = strings.Cut(kept, "\n")
	for _, tt := range []struct {
		gap  *GapError
		code string
	}{{&GapError{Passes: true}, "1"}, {&GapError{}, "4"}} {
		code := string(rune('0' + tt.gap.ExitCode()))
		if code != tt.code || slices.Contains(strings.Fields(kept), code) == tt.gap.Passes {
			t.Errorf("a gap that passes (%v) ends with %s, and the unit does not start again after %s", tt.gap.Passes, code, kept)
		}
	}
	if gap := new(GapError); !errors.As(otherStream("it"), &gap) || gap.Passes {
		t.Error("another stream would be tried again")
	}
}

// TestBeginning: a machine that began a cluster, and does not know whether that was stored, is still
// the one that began it; so is one that has fetched what it began with and ended there. When that was
// taken away a later snapshot is fetched.
func TestBeginning(t *testing.T) {
	t.Parallel()
	b := setup(t, sharedServers(t), 0, 1)
	dir := filepath.Join(t.TempDir(), "spool")
	alone(t, dir, 30)
	s, err := Connect(b.ctx, b.config, Options{})
	b.check(err)
	t.Cleanup(s.Close)
	first, err := s.inspect(dir)
	b.check(err)
	b.check(s.begin(b.ctx, dir, first))
	began, err := s.known(b.ctx)
	b.check(err)
	again, err := s.inspect(dir)
	b.check(err)
	b.check(s.begin(b.ctx, dir, again))
	tried, err := s.inspect(dir)
	b.check(err)
	if began.lineage == "" || tried.self.lineage != began.lineage {
		t.Errorf("the cluster is %q, and the machine began %q", began.lineage, tried.self.lineage)
	}
	other := filepath.Join(t.TempDir(), "spool")
	for range 2 {
		b.check(s.Prepare(b.ctx, other))
	}
	b.check(s.Prepare(b.ctx, dir))
	b.machines = append(b.machines, &machine{bed: b, name: "m0", dir: dir})
	b.machines[0].start()
	b.grow(40)
	b.settled()
	r := b.machines[0].replica
	b.check(r.snapshot(b.ctx, &keeper{}))
	store, err := s.snapshots(b.ctx)
	b.check(err)
	b.check(store.delete(b.ctx, began.origin))
	late := &machine{bed: b, name: "m1", dir: filepath.Join(t.TempDir(), "spool")}
	b.machines = append(b.machines, late)
	late.start()
	b.settled()
	if ev, err := late.spool.Event(late.ids["p0"], 1); err != nil || ev.ID != "alone-1" {
		t.Errorf("the first event is %+v, %v", ev, err)
	}
}

// TestSnapshotAgain: a snapshot that failed is tried again at the next look.
func TestSnapshotAgain(t *testing.T) {
	t.Parallel()
	b := setup(t, sharedServers(t), 0, 1)
	b.limits = limits{growth: 1 << 40, look: time.Hour}
	r := b.add("m0").replica
	b.spread()
	info, err := r.stream.info(b.ctx)
	b.check(err)
	info.State.Bytes = 1 << 41
	var k keeper
	good, file := r.self.Scratch, filepath.Join(t.TempDir(), "file")
	b.check(os.WriteFile(file, nil, 0o600))
	r.self.Scratch = file
	if err := r.keepSnapshot(b.ctx, &k, info); err == nil {
		t.Fatal("a snapshot was made in a file")
	}
	r.self.Scratch = good
	b.check(r.keepSnapshot(b.ctx, &k, info))
	list, err := r.stream.list(b.ctx, r.Lineage())
	if err != nil || len(list) != 1 {
		t.Errorf("snapshots %+v, %v", list, err)
	}
	known, err := r.stream.known(b.ctx)
	if err != nil || known.lineage != r.Lineage() || known.lineage == "" {
		t.Errorf("the stream says that it is of cluster %q, %v", known.lineage, err)
	}
}

// TestNotFollowing names the servers that do not follow.
func TestNotFollowing(t *testing.T) {
	t.Parallel()
	info := &jetstream.ClusterInfo{Replicas: []*jetstream.PeerInfo{{Name: "a", Current: true}, {Name: "b"}, {Name: "c", Current: true, Offline: true}}}
	if got := notFollowing(info); !slices.Equal(got, []string{"b", "c"}) || notFollowing(nil) != nil {
		t.Errorf("%q do not follow", got)
	}
}
