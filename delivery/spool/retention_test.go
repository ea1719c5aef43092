package spool

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"rowhook/delivery"
)

// finish moves a profile's cursor, leaving the given events dead or retrying behind.
func finish(t *testing.T, s *Spool, id delivery.ProfileID, cursor delivery.Seq, put ...delivery.Delivery) {
	t.Helper()
	u := delivery.Update{Progress: &delivery.Progress{Cursor: cursor}, Put: put}
	if err := s.Update(id, u); err != nil {
		t.Fatal(err)
	}
}

func TestHistory(t *testing.T) {
	t.Parallel()
	size := int64(len(appendEvent(nil, testEvent(1), []delivery.ProfileID{1})) + logKeySize)
	exactly, most := [2]delivery.Seq{1, 1}, [2]delivery.Seq{850, 1000}
	tests := []struct {
		name   string
		change func(*Options)
		now    time.Time // events are a millisecond apart from epoch on
		low    delivery.Seq
		floor  [2]delivery.Seq // marks lie apart, so that it is a range
	}{
		{name: "all is young and small", now: epoch.Add(time.Hour), low: 1001, floor: exactly},
		{name: "all is old", now: epoch.Add(80 * time.Hour), low: 1001, floor: most},
		{name: "old but undelivered", now: epoch.Add(80 * time.Hour), low: 1, floor: exactly},
		{name: "too big", change: func(o *Options) { o.HistorySize = 10 * size }, now: epoch.Add(time.Hour), low: 1001, floor: most},
		{name: "beyond the budget", change: func(o *Options) { o.MaxSize = 1 }, now: epoch.Add(time.Hour), low: 1001, floor: [2]delivery.Seq{2, 1000}},
		{name: "beyond the budget, not beyond its own", change: func(o *Options) { o.MaxSize, o.HistorySize = 1, 2000*size }, now: epoch.Add(time.Hour), low: 1001, floor: [2]delivery.Seq{2, 1000}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			o := memOptions(t, vfs.NewMem())
			o.HistorySize = 1000 * size
			if test.change != nil {
				test.change(&o)
			}
			s := openSpool(t, memDir, o)
			id := register(t, s, "one")
			for n := 0; n < 1000; n += 10 {
				appendEvents(t, s, n, n+10, id)
			}
			finish(t, s, id, test.low, delivery.Delivery{Seq: 3, State: delivery.Dead}, delivery.Delivery{Seq: 5, State: delivery.Retrying})
			if err := s.trim(test.now); err != nil {
				t.Fatal(err)
			}
			floor := s.retention.floor()
			if floor < test.floor[0] || floor > test.floor[1] {
				t.Errorf("log begins at %d, want %d", floor, test.floor)
			}
			s.tail.reset(s.tail.end()) // the newest are in memory yet
			for _, seq := range []delivery.Seq{3, 5, 1000} {
				if ev, err := s.Event(id, seq); err != nil || !reflect.DeepEqual(ev, testEvent(int(seq-1))) {
					t.Errorf("event %d: %v", seq, err)
				}
			}
			if got := readAll(t, s, id, 1); len(got) != 1000-int(floor)+1 || got[0].Seq != floor {
				t.Errorf("%d events are left", len(got))
			}
		})
	}
}

// History makes way for the disk's reserve, too, also while nothing is written: no more of it a minute
// than the disk lacks, and never what is undelivered.
func TestHistoryMakesWayForReserve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		files := vfs.NewMem()
		files.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 2000, TotalBytes: 10_000})
		o := memOptions(t, files)
		size := int64(len(appendEvent(nil, testEvent(1), []delivery.ProfileID{1})) + logKeySize)
		o.Reserve, o.HistorySize, o.History = 1000, 1000*size, 10_000*time.Hour
		s := openSpool(t, memDir, o)
		id := register(t, s, "one")
		for n := 0; n < 1000; n += 10 {
			appendEvents(t, s, n, n+10, id)
		}
		finish(t, s, id, 901)
		time.Sleep(time.Hour)
		if floor := s.retention.floor(); floor != 1 {
			t.Fatalf("log begins at %d while there is room", floor)
		}
		files.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 900, TotalBytes: 10_000})
		time.Sleep(2 * janitorInterval)
		first := s.retention.floor()
		if first == 1 || first > 300 {
			t.Errorf("log begins at %d, when the disk lacks 100 bytes", first)
		}
		time.Sleep(2 * janitorInterval)
		if floor := s.retention.floor(); floor != first {
			t.Errorf("log begins at %d, before the disk can have given back what was removed up to %d", floor, first)
		}
		time.Sleep(time.Hour)
		if floor := s.retention.floor(); floor <= 700 || floor > 901 {
			t.Errorf("log begins at %d, though 901 is undelivered and the disk still has no room", floor)
		}
		if got := readAll(t, s, id, 901); len(got) != 100 {
			t.Errorf("%d undelivered events are left, want 100", len(got))
		}
	})
}

func TestGoneEvent(t *testing.T) {
	t.Parallel()
	o := memOptions(t, vfs.NewMem())
	o.HistorySize = 1
	s := openSpool(t, memDir, o)
	id := register(t, s, "one")
	appendEvents(t, s, 0, 2*tailEntries, id)
	finish(t, s, id, 2*tailEntries+1)
	if err := s.trim(epoch); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Event(id, 7); !errors.Is(err, ErrGone) {
		t.Errorf("Event: %v", err)
	}
	// A replay may find an event that history loses before it is sent again.
	before, _ := s.Backlog(id)
	put := delivery.Update{Put: []delivery.Delivery{{Seq: 7, State: delivery.Blocked, Bytes: 100}}, DoneEvents: -1, DoneBytes: -100}
	if err := s.Update(id, put); err != nil {
		t.Errorf("Update: %v", err)
	}
	if _, ok, err := s.Delivery(id, 7); ok || err != nil {
		t.Errorf("a delivery without its event was kept: %v", err)
	}
	if after, err := s.Backlog(id); after != before || err != nil {
		t.Errorf("backlog %+v, was %+v, %v", after, before, err)
	}
	if err := s.failed(); err != nil {
		t.Errorf("asking for what is gone is no failure: %v", err)
	}
}

func TestHistoryOfEverybody(t *testing.T) {
	t.Parallel()
	s := openSpool(t, memDir, memOptions(t, vfs.NewMem()))
	one, two := register(t, s, "one"), register(t, s, "two")
	appendEvents(t, s, 0, tailEntries, one)
	appendEvents(t, s, tailEntries, tailEntries+100, two)
	for name, tail := range map[string]bool{"from memory": true, "from disk": false} {
		if !tail {
			s.tail.reset(s.tail.end())
		}
		next, n, others := delivery.Seq(0), 0, 0
		for end := false; !end; {
			var entries []delivery.Entry
			var err error
			if entries, next, end, err = s.History(one, next, nil, 1000, 1<<20); err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if n++; e.Seq != delivery.Seq(n) || e.Bytes == 0 || e.Event == nil {
					t.Fatalf("%s: entry %d is %+v", name, n, e)
				}
				if e.Others {
					others++
				}
			}
		}
		if n != tailEntries+100 || others != 100 {
			t.Errorf("%s: %d events, %d of them of others", name, n, others)
		}
	}
}

func TestExpired(t *testing.T) {
	t.Parallel()
	var told []string
	var refuse error
	o := memOptions(t, vfs.NewMem())
	o.Expired = func(code string, d delivery.Delivery, ev *delivery.Event) error {
		told = append(told, fmt.Sprint(code, " ", d.Seq, " ", ev.ID))
		return refuse
	}
	s := openSpool(t, memDir, o)
	id := register(t, s, "one")
	appendEvents(t, s, 0, 10, id)
	finish(t, s, id, 11,
		delivery.Delivery{Seq: 3, State: delivery.Dead, Since: epoch},
		delivery.Delivery{Seq: 4, State: delivery.Dead, Since: epoch.Add(20 * 24 * time.Hour)},
		delivery.Delivery{Seq: 5, State: delivery.Blocked, Since: epoch})
	now := epoch.Add(31 * 24 * time.Hour)
	refuse = errors.New("delivery log is full")
	if err := s.expire(now); !errors.Is(err, refuse) {
		t.Fatalf("expire: %v", err)
	}
	refuse = nil
	if err := s.tidy(now); err != nil {
		t.Fatal(err)
	}
	if want := []string{"one 3 " + testEvent(2).ID, "one 3 " + testEvent(2).ID}; !reflect.DeepEqual(told, want) {
		t.Errorf("told %q", told)
	}
	var left []delivery.Seq
	err := s.Deliveries(id, 0, nil, func(d delivery.Delivery) bool { left = append(left, d.Seq); return true })
	if err != nil || !reflect.DeepEqual(left, []delivery.Seq{4, 5}) {
		t.Errorf("left %v: %v", left, err)
	}
}

// TestRetire takes away a profile that pins the log.
func TestRetire(t *testing.T) {
	t.Parallel()
	files := vfs.NewMem()
	o := memOptions(t, files)
	o.HistorySize = 1
	s := openSpool(t, memDir, o)
	gone, stays := register(t, s, "gone"), register(t, s, "stays")
	appendEvents(t, s, 0, 100, gone, stays)
	finish(t, s, stays, 101)
	if err := s.trim(epoch); err != nil {
		t.Fatal(err)
	}
	if got := s.retention.floor(); got != 1 {
		t.Fatalf("log begins at %d although a profile needs it", got)
	}
	list, err := s.Profiles()
	if err != nil || len(list) != 2 || list[0].Code != "gone" || list[0].Backlog.Events != 100 {
		t.Fatalf("profiles %+v: %v", list, err)
	}
	if err := s.Retire("gone"); err != nil {
		t.Fatal(err)
	}
	if err := s.Retire("never known"); err != nil {
		t.Fatal(err)
	}
	if err := s.trim(epoch); err != nil {
		t.Fatal(err)
	}
	if got := s.retention.floor(); got < 90 {
		t.Errorf("log begins at %d", got)
	}
	if _, err := s.Progress(gone); err == nil {
		t.Error("a retired profile has progress")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, memDir, o)
	again := register(t, s, "gone")
	if again == gone || again == stays {
		t.Errorf("number %d was used before", again)
	}
	if b, err := s.Backlog(again); err != nil || b.Events != 0 {
		t.Errorf("backlog %+v: %v", b, err)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	o := memOptions(t, vfs.NewMem())
	o.MaxSize, o.Reserve = 1<<30, 77
	s := openSpool(t, memDir, o)
	id := register(t, s, "one")
	for n := 0; n < 20_000; n += 500 {
		appendEvents(t, s, n, n+500, id)
	}
	b := s.NewBatch()
	b.Park(&delivery.Parked{Change: make([]byte, 1000)})
	b.Commit("p")
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	finish(t, s, id, 15_001)
	s.retention.asked = time.Time{}
	u := s.Usage()
	if u.Max != 1<<30 || u.Reserve != 77 || u.Bytes < 1<<18 || u.Parked < 1000 || u.Free <= 0 {
		t.Errorf("usage %+v", u)
	}
	if share := float64(u.History) / float64(u.Bytes); share < 0.5 || share > 0.8 {
		t.Errorf("%.2f of the spool is history", share)
	}
}

// TestUsageOfFiles compares what the store says that it takes with its files: after it was opened
// again, and when history has gone.
func TestUsageOfFiles(t *testing.T) {
	t.Parallel()
	files := vfs.NewMem()
	s, err := Open(memDir, memOptions(t, files))
	if err != nil {
		t.Fatal(err)
	}
	rng := newRand(1)
	fill := func(n int) {
		id := register(t, s, "one")
		b := s.NewBatch()
		for i := range n {
			ev := testEvent(i)
			ev.Data = fmt.Appendf(nil, `{"noise":"%x"}`, rng.Uint64())
			b.Add(ev, []delivery.ProfileID{id})
		}
		b.Commit("p")
		if err := errors.Join(s.Apply(b), s.db.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	compare := func(what string) {
		t.Helper()
		var onDisk int64
		names, err := files.List(memDir)
		for _, name := range names {
			info, serr := files.Stat(files.PathJoin(memDir, name))
			err = errors.Join(err, serr)
			onDisk += info.Size()
		}
		s.retention.asked = time.Time{}
		if u := s.Usage(); err != nil || u.Bytes < onDisk*8/10 || u.Bytes > onDisk*12/10 {
			t.Errorf("%s: %d bytes are said, %d lie there: %v", what, u.Bytes, onDisk, err)
		}
	}
	fill(20_000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, memDir, memOptions(t, files))
	compare("opened again")
	finish(t, s, 1, 20_001)
	if err := errors.Join(s.removeBelow(20_000), s.db.Compact(context.Background(), []byte{prefixLog}, []byte{prefixLog + 1}, false)); err != nil {
		t.Fatal(err)
	}
	fill(2000)
	compare("without history")
}

func TestParked(t *testing.T) {
	t.Parallel()
	files := vfs.NewMem()
	s := openSpool(t, memDir, memOptions(t, files))
	b := s.NewBatch()
	for n := range 40 {
		p := *fullParked()
		p.Ordinal = n
		b.Park(&p)
	}
	b.Commit("p1")
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	var seqs []delivery.Seq
	err := s.Parked(0, func(p delivery.Parked) bool {
		want := *fullParked()
		want.Seq, want.Ordinal = delivery.Seq(len(seqs)+1), len(seqs)
		if !reflect.DeepEqual(p, want) {
			t.Errorf("parked %+v", p)
		}
		seqs = append(seqs, p.Seq)
		// Whoever walks may remove behind himself.
		if p.Seq%2 == 0 {
			if err := s.RemoveParked(p.Seq, p.Seq, 1000); err != nil {
				t.Error(err)
			}
		}
		return true
	})
	if err != nil || len(seqs) != 40 {
		t.Fatalf("%d parked: %v", len(seqs), err)
	}
	count, bytes := s.ParkedCount()
	if count != 20 || bytes <= 0 {
		t.Errorf("%d parked of %d bytes", count, bytes)
	}
	if _, ok, err := s.ParkedChange(2); ok || err != nil {
		t.Errorf("a removed one is there: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, memDir, memOptions(t, files))
	if again, size := s.ParkedCount(); again != count || size != bytes {
		t.Errorf("%d parked of %d bytes after opening again", again, size)
	}
	if p, ok, err := s.ParkedChange(3); !ok || err != nil || p.Ordinal != 2 {
		t.Errorf("parked %+v: %v", p, err)
	}
}
