package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/compress/s2"
	"pgregory.net/rapid"

	"rowhook/delivery"
)

// blockOf returns the block of some events.
func blockOf(entries ...tailEntry) []byte {
	var w blockWriter
	for i := range entries {
		w.add(&entries[i])
	}
	return slices.Clone(w.take())
}

func entryOf(ev *delivery.Event, to ...delivery.ProfileID) tailEntry {
	return tailEntry{event: ev, to: to, bytes: recordSize(ev, to) + logKeySize}
}

// readBlock reads a block to its end.
func readBlock(seq delivery.Seq, value []byte) (entries []tailEntry, err error) {
	l, err := openLogged(seq, value, nil)
	for err == nil {
		var more bool
		var e tailEntry
		if more, err = l.next(); !more || err != nil {
			break
		}
		if e.event, err = l.event(); err != nil {
			break
		}
		_ = l.recipients(func(id delivery.ProfileID) { e.to = append(e.to, id) })
		e.bytes, err = l.bytes()
		entries = append(entries, e)
	}
	return entries, err
}

// drawEvent draws an event with few different values, so that neighbours share many of them.
func drawEvent(t *rapid.T) *delivery.Event {
	text := func(name string) string {
		return rapid.SampledFrom([]string{"", "a", "木村", "0/16B3748"}).Draw(t, name)
	}
	ev := &delivery.Event{Making: &delivery.Making{}, Commit: &delivery.Commit{Time: time.Unix(rapid.Int64Range(-1e9, 1e10).Draw(t, "time"), 5).UTC(), Assumed: rapid.Bool().Draw(t, "assumed")}}
	for i, s := range textsOf(ev) {
		*s = text(fmt.Sprint("text ", i))
	}
	for i, list := range listsOf(ev) {
		for range rapid.IntRange(0, 2).Draw(t, "list") {
			*list = append(*list, text(fmt.Sprint("in list ", i)))
		}
	}
	for i, part := range partsOf(ev) {
		if rapid.Bool().Draw(t, "part") {
			*part = []byte(text(fmt.Sprint("part ", i)))
		}
	}
	ev.Kinds = text("kinds")
	ev.Ordinal = rapid.IntRange(-3, 1<<40).Draw(t, "ordinal")
	if rapid.Bool().Draw(t, "as") {
		value := text("as")
		ev.As = map[string]*string{"action": &value, text("name"): nil}
	}
	return ev
}

// TestBlocks holds that events come out of a block as they went in, and count for what they would
// take by themselves.
func TestBlocks(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var want []tailEntry
		for range rapid.IntRange(1, 8).Draw(t, "events") {
			ev := drawEvent(t)
			to := rapid.SampledFrom([][]delivery.ProfileID{nil, {1}, {1, 300}}).Draw(t, "to")
			if size := len(appendEvent(nil, ev, to)); size != recordSize(ev, to) {
				t.Fatalf("a record of %d bytes counts for %d", size, recordSize(ev, to))
			}
			want = append(want, entryOf(ev, to...))
		}
		got, err := readBlock(100, blockOf(want...))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, want %+v: %v", got, want, err)
		}
	})
}

// TestOlderLog opens a log whose events were stored by themselves, and goes on with it.
func TestOlderLog(t *testing.T) {
	t.Parallel()
	files := vfs.NewCrashableMem()
	o := memOptions(t, files)
	o.HistorySize = 1
	s, err := Open(memDir, o)
	if err != nil {
		t.Fatal(err)
	}
	id := register(t, s, "one")
	appendEvents(t, s, 0, 40, id)
	w := s.db.NewBatch()
	err = w.DeleteRange([]byte{prefixLog}, []byte{prefixLog + 1}, nil)
	for n := range 40 {
		err = errors.Join(err, w.Set(seqKey(prefixLog, delivery.Seq(n+1)), appendEvent(nil, testEvent(n), []delivery.ProfileID{id}), nil))
	}
	if err := errors.Join(err, s.commit(w, nil), s.Close()); err != nil {
		t.Fatal(err)
	}
	o.HistorySize = 1 << 20
	s = openSpool(t, memDir, o)
	appendEvents(t, s, 40, 60, id)
	s.tail.reset(60) // all is read from the store
	for i, e := range readAll(t, s, id, 1) {
		if e.Seq != delivery.Seq(i+1) || !reflect.DeepEqual(e.Event, testEvent(i)) {
			t.Fatalf("event %d is %d: %+v", i, e.Seq, e.Event)
		}
		if ev, err := s.Event(id, e.Seq); err != nil || !reflect.DeepEqual(ev, e.Event) {
			t.Fatalf("event %d by itself: %+v, %v", i, ev, err)
		}
	}
	// Deliveries keep their events when these leave the log, from either kind of value.
	u := delivery.Update{Progress: &delivery.Progress{Cursor: 61}, DoneEvents: 58}
	for _, seq := range []delivery.Seq{7, 50} {
		u.Put = append(u.Put, delivery.Delivery{Seq: seq, State: delivery.Dead, Since: epoch})
	}
	if err := errors.Join(s.Update(id, u), s.removeBelow(61)); err != nil {
		t.Fatal(err)
	}
	for _, seq := range []delivery.Seq{7, 50} {
		if ev, err := s.Event(id, seq); err != nil || !reflect.DeepEqual(ev, testEvent(int(seq)-1)) {
			t.Errorf("copy of event %d: %+v, %v", seq, ev, err)
		}
	}
	if _, err := s.Event(id, 8); !errors.Is(err, ErrGone) {
		t.Errorf("event 8: %v", err)
	}
}

// TestBlockBounds holds that blocks end where marks and commits are.
func TestBlockBounds(t *testing.T) {
	t.Parallel()
	o := memOptions(t, vfs.NewMem())
	o.HistorySize = 16 * 4000 // a mark each 4,000 bytes
	s := openSpool(t, memDir, o)
	id := register(t, s, "one")
	b := s.NewBatch()
	for n := range 1000 {
		b.Add(testEvent(n), []delivery.ProfileID{id})
		if n == 899 {
			b.Commit("p900")
		}
	}
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	starts, most := map[delivery.Seq]bool{}, 0
	err := s.scan([]byte{prefixLog}, []byte{prefixLog + 1}, func(key, value []byte) (bool, error) {
		l, err := openLogged(keySeq(key), value, nil)
		starts[l.first()] = true
		most = max(most, int(keySeq(key)-l.first())+1)
		return true, err
	})
	if err != nil || most < 5 || !starts[901] {
		t.Errorf("blocks of up to %d events begin at %v: %v", most, starts, err)
	}
	for _, m := range s.retention.marks {
		if !starts[m.seq] {
			t.Errorf("no block begins at the mark before event %d", m.seq)
		}
	}
	if len(s.retention.marks) < 50 {
		t.Errorf("%d marks", len(s.retention.marks))
	}
	if err := s.Abort(); err != nil {
		t.Fatal(err)
	}
	s.tail.reset(900)
	if n := len(readAll(t, s, id, 1)); n != 900 {
		t.Errorf("%d events", n)
	}
}

// TestMalformedBlocks holds what a block must not say.
func TestMalformedBlocks(t *testing.T) {
	t.Parallel()
	good := blockOf(entryOf(testEvent(1), 3), entryOf(testEvent(2), 3))
	for name, value := range map[string][]byte{
		"no events":          {blockVersion, 0},
		"too many":           append([]byte{blockVersion, 3}, good[2:]...),
		"too few":            append([]byte{blockVersion, 1}, good[2:]...),
		"an unknown member":  slices.Replace(slices.Clone(good), 4, 5, 0x80),
		"a byte behind":      append(slices.Clone(good), 0),
		"nothing behind two": {blockVersion, 2},
	} {
		if _, err := readBlock(100, value); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := readBlock(1, good); !errors.Is(err, errMalformed) {
		t.Errorf("a block that begins before the log: %v", err)
	}
}

// packedEntries are those of a block that is worth packing.
func packedEntries() (entries []tailEntry) {
	for n := range 20 {
		entries = append(entries, entryOf(testEvent(n), 1, 300))
	}
	return entries
}

// TestPackedBlocks holds when a block is packed, and that it says the same then.
func TestPackedBlocks(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 4<<10)
	rand.NewChaCha8([32]byte{}).Read(noise)
	of := func(data []byte) []tailEntry {
		ev := testEvent(1)
		ev.Data = data
		return []tailEntry{entryOf(ev, 1)}
	}
	room := make([]byte, 0, blockBytes)
	for name, tt := range map[string]struct {
		entries []tailEntry
		packed  bool
	}{
		"many":       {packedEntries(), true},
		"one":        {of(bytes.Repeat([]byte("x"), packedLeast)), true},
		"small":      {of(nil), false},
		"noise":      {of(noise), false},
		"very large": {of(bytes.Repeat([]byte("x"), packedMost)), false},
	} {
		var w blockWriter
		for i := range tt.entries {
			w.add(&tt.entries[i])
		}
		block := w.take()
		value := w.pack(block)
		if packed := value[0] == packedVersion; packed != tt.packed || len(value) > len(block) || !packed && !bytes.Equal(value, block) {
			t.Errorf("%s: a block of %d bytes became %d of version %d", name, len(block), len(value), value[0])
		}
		l, err := openLogged(100, value, room)
		if err != nil || cap(l.room) != cap(room) {
			t.Errorf("%s: unpacked into %d bytes: %v", name, cap(l.room), err)
		}
		if got, err := readBlock(100, value); err != nil || !reflect.DeepEqual(got, tt.entries) {
			t.Errorf("%s: %+v, want %+v: %v", name, got, tt.entries, err)
		}
	}
}

// TestMalformedPackedBlocks holds what a packed block must not say.
func TestMalformedPackedBlocks(t *testing.T) {
	t.Parallel()
	pack := func(b []byte) []byte { return append([]byte{packedVersion}, s2.Encode(nil, b)...) }
	block := blockOf(packedEntries()...)
	for name, value := range map[string][]byte{
		"nothing":             {packedVersion},
		"an empty block":      pack(nil),
		"a single event":      pack(appendEvent(nil, testEvent(1), nil)),
		"a packed block":      pack(pack(block)),
		"half of a block":     pack(block[:len(block)/2]),
		"a block cut":         pack(block)[:100],
		"another size":        slices.Replace(pack(block), 1, 2, 0x81),
		"more than it may be": append(binary.AppendUvarint([]byte{packedVersion}, packedMost+1), 0),
	} {
		if _, err := readBlock(100, value); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEarlierBuildsRefuse holds that a build which does not know packed blocks does not take the store,
// and says that it is too old: it reads the commit record before anything else, whose version it does
// not know.
func TestEarlierBuildsRefuse(t *testing.T) {
	t.Parallel()
	s := openSpool(t, memDir, memOptions(t, vfs.NewCrashableMem()))
	apply(t, s, "p1")
	value, err := s.get([]byte{prefixCommit})
	if err != nil {
		t.Fatal(err)
	}
	var version *VersionError
	if _, err := open("commit record", value, 3); !errors.As(err, &version) {
		t.Errorf("a build of before says %v of %x", err, value)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// TestDamagedNamesAreNotShared: an event that cannot be read leaves nothing half made to the next.
func TestDamagedNamesAreNotShared(t *testing.T) {
	t.Parallel()
	var l logged
	l.begin()
	l.names = sharedNames{b: []byte{5}}
	for range 2 {
		if ev, err := l.event(); err == nil {
			t.Errorf("names that are cut off gave the event %v", ev.As)
		}
	}
}
