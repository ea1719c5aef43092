package spool

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"rowhook/delivery"
)

// modelProfile is what a correct store knows of one profile.
type modelProfile struct {
	id         delivery.ProfileID
	mine       map[delivery.Seq]bool // addressed to it and not over
	deliveries map[delivery.Seq]delivery.Delivery
	over       map[delivery.Seq]bool
	cursor     delivery.Seq
}

// model is the store in memory, beside the real one.
type model struct {
	files    *vfs.MemFS
	s        *Spool
	events   []*delivery.Event // event seq is events[seq-1]
	to       [][]delivery.ProfileID
	visible  int
	position string
	open     [][]delivery.ProfileID // recipients of what is not visible yet
	profiles map[string]*modelProfile
}

func newModel(t *rapid.T) *model {
	m := &model{files: vfs.NewCrashableMem(), profiles: map[string]*modelProfile{}}
	m.reopen(t)
	return m
}

func (m *model) reopen(t *rapid.T) {
	// Every event gets a mark, and history goes as soon as it may; or some events lie in a block.
	size := rapid.SampledFrom([]int64{1, 16 * 1500}).Draw(t, "history")
	s, err := Open(memDir, Options{FS: m.files, Reserve: -1, HistorySize: size, Sync: time.Millisecond, Readers: 100})
	if err != nil {
		t.Fatal(err)
	}
	m.s = s
}

func (m *model) codes() []string { return slices.Sorted(maps.Keys(m.profiles)) }

func (m *model) drawProfile(t *rapid.T) *modelProfile {
	if len(m.profiles) == 0 {
		m.Register(t)
	}
	return m.profiles[rapid.SampledFrom(m.codes()).Draw(t, "profile")]
}

func (m *model) Register(t *rapid.T) {
	code := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "code")
	id, err := m.s.Register(code)
	if err != nil {
		t.Fatal(err)
	}
	if p := m.profiles[code]; p != nil {
		if p.id != id {
			t.Fatalf("%s was %d and is %d", code, p.id, id)
		}
		return
	}
	m.profiles[code] = &modelProfile{
		id: id, mine: map[delivery.Seq]bool{}, deliveries: map[delivery.Seq]delivery.Delivery{},
		over: map[delivery.Seq]bool{}, cursor: delivery.Seq(m.visible + 1),
	}
}

func (m *model) Retire(t *rapid.T) {
	if rapid.IntRange(0, 9).Draw(t, "rarely") > 0 || len(m.open) > 0 {
		return
	}
	if codes := m.codes(); len(codes) > 0 {
		if err := m.s.Retire(codes[0]); err != nil {
			t.Fatal(err)
		}
		delete(m.profiles, codes[0])
	}
}

func (m *model) Append(t *rapid.T) {
	b := m.s.NewBatch()
	for range rapid.IntRange(0, 5).Draw(t, "events") {
		var to []delivery.ProfileID
		for _, code := range m.codes() {
			if rapid.Bool().Draw(t, "to "+code) {
				to = append(to, m.profiles[code].id)
			}
		}
		ev := testEvent(len(m.events))
		m.events = append(m.events, ev)
		m.to = append(m.to, to)
		m.open = append(m.open, to)
		b.Add(ev, to)
	}
	commit := rapid.IntRange(0, 3).Draw(t, "commit") > 0
	if commit {
		m.position = fmt.Sprint("p", len(m.events))
		b.Commit(m.position)
	}
	if err := m.s.Apply(b); err != nil {
		t.Fatal(err)
	}
	if !commit {
		return
	}
	for _, to := range m.open {
		m.visible++
		for _, p := range m.profiles {
			if slices.Contains(to, p.id) {
				p.mine[delivery.Seq(m.visible)] = true
			}
		}
	}
	m.open = nil
}

func (m *model) Abort(t *rapid.T) {
	if err := m.s.Abort(); err != nil {
		t.Fatal(err)
	}
	m.events, m.to, m.open = m.events[:m.visible], m.to[:m.visible], nil
}

// Update is what an engine might do: finish some events, put others to retry, give some up.
func (m *model) Update(t *rapid.T) {
	p := m.drawProfile(t)
	var u delivery.Update
	left := func(seq delivery.Seq) { u.DoneEvents++; u.DoneBytes += m.bytes(t, seq) }
	for _, seq := range slices.Sorted(maps.Keys(p.mine)) {
		old, had := p.deliveries[seq]
		switch rapid.SampledFrom([]string{"leave", "leave", "done", "put", "dead"}).Draw(t, "what") {
		case "done":
			if had {
				u.Remove = append(u.Remove, seq)
				delete(p.deliveries, seq)
			}
			delete(p.mine, seq)
			p.over[seq] = true
			left(seq)
		case "put":
			p.put(t, &u, seq, rapid.SampledFrom([]delivery.State{delivery.Retrying, delivery.Blocked}).Draw(t, "state"), old)
		case "dead":
			p.put(t, &u, seq, delivery.Dead, old)
			delete(p.mine, seq)
			left(seq)
		}
	}
	p.revive(t, m, &u)
	p.advance(m, &u)
	if err := m.s.Update(p.id, u); err != nil {
		t.Fatal(err)
	}
}

func (p *modelProfile) put(t *rapid.T, u *delivery.Update, seq delivery.Seq, state delivery.State, old delivery.Delivery) {
	d := delivery.Delivery{
		Seq: seq, State: state, Lane: uint64(seq % 3), WaitLane: uint64(seq % 3), Round: 1, Attempts: old.Attempts + 1,
		Since: epoch.Add(time.Hour), Clock: time.Duration(seq), Reason: "status_5xx", Status: 503, Bytes: int(seq),
	}
	if seq%5 == 0 {
		d.WaitLane++
	}
	if state == delivery.Retrying {
		d.Due = epoch.Add(time.Duration(rapid.IntRange(0, 100).Draw(t, "due")) * time.Second)
	}
	if rapid.Bool().Draw(t, "body") {
		d.Body, d.Head.ContentType = fmt.Appendf(nil, "body %d", seq), "application/json"
	}
	p.deliveries[seq] = d
	u.Put = append(u.Put, d)
}

// revive retries or discards dead letters.
func (p *modelProfile) revive(t *rapid.T, m *model, u *delivery.Update) {
	for _, seq := range slices.Sorted(maps.Keys(p.deliveries)) {
		old := p.deliveries[seq]
		if p.mine[seq] || slices.ContainsFunc(u.Put, func(d delivery.Delivery) bool { return d.Seq == seq }) {
			continue
		}
		switch rapid.SampledFrom([]string{"leave", "leave", "retry", "discard"}).Draw(t, "dead letter") {
		case "retry":
			p.mine[seq] = true
			p.put(t, u, seq, delivery.Blocked, old)
			u.DoneEvents--
			u.DoneBytes -= m.bytes(t, seq)
		case "discard":
			u.Remove = append(u.Remove, seq)
			delete(p.deliveries, seq)
			p.over[seq] = true
		}
	}
}

// advance sets the cursor to the first event that was not touched yet.
func (p *modelProfile) advance(m *model, u *delivery.Update) {
	for seq := p.cursor; int(seq) <= m.visible; seq++ {
		if _, has := p.deliveries[seq]; p.mine[seq] && !has {
			break
		}
		p.cursor = seq + 1
	}
	u.Progress = &delivery.Progress{Cursor: p.cursor}
	for _, seq := range slices.Sorted(maps.Keys(p.over)) {
		if seq >= p.cursor {
			u.Progress.Done = append(u.Progress.Done, seq)
		}
	}
}

func (m *model) bytes(t *rapid.T, seq delivery.Seq) int64 {
	if len(m.events) < int(seq) {
		t.Fatalf("no event %d", seq)
	}
	return int64(len(appendEvent(nil, m.events[seq-1], m.to[seq-1])) + logKeySize)
}

func (m *model) Trim(t *rapid.T) {
	if err := m.s.trim(time.Now()); err != nil {
		t.Fatal(err)
	}
}

// Crash stops the machine behind a sync, with some of what came after it.
func (m *model) Crash(t *rapid.T) {
	flush(t, m.s)
	// Drawing may end the test, so that it comes before the lock.
	rng := newRand(rapid.Uint64().Draw(t, "seed"))
	m.s.durable.syncing.Lock()
	files := m.files.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
	m.s.durable.syncing.Unlock()
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	m.files = files
	m.events, m.to, m.open = m.events[:m.visible], m.to[:m.visible], nil
	m.reopen(t)
}

func (m *model) Reopen(t *rapid.T) {
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	m.events, m.to, m.open = m.events[:m.visible], m.to[:m.visible], nil
	m.reopen(t)
}

// Check compares everything that can be asked.
func (m *model) Check(t *rapid.T) {
	if got := m.s.Position(); got != m.position {
		t.Fatalf("position %q, want %q", got, m.position)
	}
	for _, code := range m.codes() {
		p := m.profiles[code]
		m.checkRead(t, p)
		m.checkDeliveries(t, p)
		m.checkBacklog(t, p)
	}
}

func (m *model) checkRead(t *rapid.T, p *modelProfile) {
	progress, err := m.s.Progress(p.id)
	if err != nil || progress.Cursor != p.cursor {
		t.Fatalf("progress %+v, want %d: %v", progress, p.cursor, err)
	}
	var got, want []delivery.Seq
	for _, e := range readAll(t, m.s, p.id, p.cursor) {
		if !reflect.DeepEqual(e.Event, m.events[e.Seq-1]) {
			t.Fatalf("event %d is %+v", e.Seq, e.Event)
		}
		if _, has := p.deliveries[e.Seq]; !has && !slices.Contains(progress.Done, e.Seq) {
			got = append(got, e.Seq)
		}
	}
	for _, seq := range slices.Sorted(maps.Keys(p.mine)) {
		if _, has := p.deliveries[seq]; !has {
			want = append(want, seq)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("unread %v, want %v", got, want)
	}
}

func (m *model) checkDeliveries(t *rapid.T, p *modelProfile) {
	var got []delivery.Delivery
	err := m.s.Deliveries(p.id, 0, nil, func(d delivery.Delivery) bool { got = append(got, d); return true })
	if err != nil || len(got) != len(p.deliveries) {
		t.Fatalf("%d deliveries, want %d: %v", len(got), len(p.deliveries), err)
	}
	var due, wantDue []delivery.Delivery
	lanes := map[uint64][]delivery.Seq{}
	for _, listed := range got {
		want := p.deliveries[listed.Seq]
		full, ok, err := m.s.Delivery(p.id, listed.Seq)
		if err != nil || !ok || !sameDelivery(full, want) {
			t.Fatalf("delivery %+v, want %+v: %v", full, want, err)
		}
		if ev, err := m.s.Event(p.id, listed.Seq); err != nil || !reflect.DeepEqual(ev, m.events[listed.Seq-1]) {
			t.Fatalf("event %d of a delivery: %v", listed.Seq, err)
		}
		if want.State == delivery.Retrying && !want.Due.After(epoch.Add(50*time.Second)) {
			wantDue = append(wantDue, want)
		}
		if want.State != delivery.Dead {
			lanes[want.Lane] = append(lanes[want.Lane], want.Seq)
			if want.WaitLane != want.Lane {
				lanes[want.WaitLane] = append(lanes[want.WaitLane], want.Seq)
			}
		}
	}
	due, err = m.s.Due(p.id, epoch.Add(50*time.Second), nil, 1000)
	slices.SortStableFunc(wantDue, func(a, b delivery.Delivery) int { return a.Due.Compare(b.Due) })
	if err != nil || !slices.EqualFunc(due, wantDue, sameDelivery) {
		t.Fatalf("due %+v, want %+v: %v", due, wantDue, err)
	}
	for lane := range uint64(4) {
		list, err := m.s.Lane(p.id, lane, 0, nil, 1000)
		var seqs []delivery.Seq
		for _, d := range list {
			seqs = append(seqs, d.Seq)
		}
		if err != nil || !slices.Equal(seqs, lanes[lane]) {
			t.Fatalf("lane %d: %v, want %v: %v", lane, seqs, lanes[lane], err)
		}
	}
}

func sameDelivery(a, b delivery.Delivery) bool {
	if !a.Due.Equal(b.Due) || !a.Since.Equal(b.Since) {
		return false
	}
	a.Due, b.Due, a.Since, b.Since = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}

func (m *model) checkBacklog(t *rapid.T, p *modelProfile) {
	backlog, err := m.s.Backlog(p.id)
	var bytes int64
	for seq := range p.mine {
		bytes += m.bytes(t, seq)
	}
	if err != nil || backlog.Events != int64(len(p.mine)) || backlog.Bytes != bytes {
		t.Fatalf("backlog %+v, want %d of %d bytes: %v", backlog, len(p.mine), bytes, err)
	}
	if len(p.mine) == 0 {
		return
	}
	oldest := slices.Min(slices.Collect(maps.Keys(p.mine)))
	if !backlog.Oldest.Equal(m.events[oldest-1].Time) {
		t.Fatalf("oldest %v, want event %d", backlog.Oldest, oldest)
	}
}

// TestModel runs random operations on a store and on a model of it.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		defer func() {
			if err := m.s.Close(); err != nil && !errors.Is(err, errClosed) {
				t.Error(err)
			}
		}()
		t.Repeat(map[string]func(*rapid.T){
			"register": m.Register, "retire": m.Retire, "append": m.Append, "abort": m.Abort,
			"update": m.Update, "trim": m.Trim, "crash": m.Crash, "reopen": m.Reopen, "": m.Check,
		})
	})
}
