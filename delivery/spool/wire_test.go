package spool

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"rowhook/delivery"
)

// contents are what can be asked of a spool, by profiles' codes: two that hold the same give the same.
type contents struct {
	Position string
	End      delivery.Seq
	Parked   []delivery.Parked
	Kept     map[string]string
	Before   map[string]string
	Values   map[string]string
	Profiles map[string]profileContents
	Payloads map[string]string
	Counted  tally
}

type profileContents struct {
	Backlog    delivery.Backlog
	Progress   delivery.Progress
	State      string
	Mine, All  []delivery.Entry
	Deliveries []delivery.Delivery
	Due        []delivery.Seq
}

// checker is what helpers need of a test that goes on after a fault.
type checker interface {
	fataler
	errorer
	Errorf(format string, args ...any)
}

// contentsOf holds everything but what differs by itself: when history goes, and who has which number.
func contentsOf(t checker, s *Spool) contents {
	t.Helper()
	var errs []error
	c := contents{
		Position: s.Position(), End: s.End(), Kept: map[string]string{}, Before: map[string]string{}, Values: map[string]string{},
		Profiles: map[string]profileContents{}, Payloads: map[string]string{},
	}
	into := func(rows map[string]string) func(key, row []byte) (bool, error) {
		return func(key, row []byte) (bool, error) { rows[string(key)] = string(row); return true, nil }
	}
	c.Counted.events, c.Counted.bytes = s.ParkedCount()
	errs = append(errs,
		s.Parked(0, func(p delivery.Parked) bool { c.Parked = append(c.Parked, p); return true }),
		s.KeptRange(nil, nil, into(c.Kept)),
		s.KeptRangeBefore(nil, nil, []uint64{7}, into(c.Before)),
		s.scan([]byte{prefixMeta}, []byte{prefixMeta + 1}, into(c.Values)))
	for _, p := range s.profiles.all() {
		c.Profiles[p.code] = profileContentsOf(t, s, p.id, c.Payloads)
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return c
}

func profileContentsOf(t checker, s *Spool, id delivery.ProfileID, payloads map[string]string) (c profileContents) {
	t.Helper()
	var errs [6]error
	var state []byte
	c.Backlog, errs[0] = s.Backlog(id)
	c.Progress, errs[1] = s.Progress(id)
	state, errs[2] = s.LoadState(id)
	c.State = string(state)
	errs[3] = s.Deliveries(id, 0, nil, func(d delivery.Delivery) bool {
		full, ok, err := s.Delivery(id, d.Seq)
		if !ok || err != nil {
			t.Fatalf("delivery %d: %v", d.Seq, err)
		}
		c.Deliveries = append(c.Deliveries, full)
		return true
	})
	due, err := s.Due(id, epoch.Add(1000*time.Hour), nil, 1000)
	errs[4] = err
	for _, d := range due {
		c.Due = append(c.Due, d.Seq)
	}
	c.Mine = readAll(t, s, id, max(c.Progress.Cursor, s.retention.floor()))
	for next, end := s.retention.floor(), false; !end; {
		c.All, next, end, errs[5] = s.History(id, next, c.All, 1000, 1<<30)
	}
	for _, e := range c.All {
		if e.Event.Away == nil {
			continue
		}
		full, err := e.Event.WithPayload(func(part delivery.Part, yield func([]byte) error) error { return s.Payload(id, e.Seq, part, yield) })
		if err != nil {
			t.Fatal(err)
		}
		payloads[fmt.Sprint(e.Seq)] = string(bytes.Join([][]byte{full.Data, full.Previous, full.Shape, full.Marks}, []byte("|")))
	}
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	return c
}

func wantSame(t checker, got, want *Spool) {
	t.Helper()
	a, b := contentsOf(t, got), contentsOf(t, want)
	for code, p := range b.Profiles {
		late, known := a.Profiles[code]
		switch {
		case !known && len(p.Mine) == 0: // it is registered by its first event
			delete(b.Profiles, code)
		case code == "a" && (len(p.Mine) == 0 || late.Progress.Cursor <= p.Mine[0].Seq):
			late.Progress = p.Progress
			a.Profiles[code] = late
		}
	}
	if reflect.DeepEqual(a, b) {
		return
	}
	for code, p := range b.Profiles {
		if !reflect.DeepEqual(a.Profiles[code], p) {
			t.Errorf("profile %s: %s", code, firstDifference(a.Profiles[code], p))
		}
	}
	a.Profiles, b.Profiles = nil, nil
	t.Fatalf("the spool of parts has %+v, want %+v", a, b)
}

// firstDifference names the first field in which two profiles' contents differ.
func firstDifference(got, want profileContents) string {
	a, b := reflect.ValueOf(got), reflect.ValueOf(want)
	for i := range a.NumField() {
		if x, y := a.Field(i).Interface(), b.Field(i).Interface(); !reflect.DeepEqual(x, y) {
			return fmt.Sprintf("%s %+v, want %+v", a.Type().Field(i).Name, x, y)
		}
	}
	return "the same"
}

// pair is a spool that applies batches, and one that applies the parts that they are handed on in.
type pair struct {
	files    [2]*vfs.MemFS
	s        [2]*Spool
	n        int
	large    int  // events
	parts    bool // parts of an open transaction are stored
	position int
}

var pairCodes = []string{"a", "b", "c"}

func newPair(t *rapid.T) *pair {
	p := &pair{files: [2]*vfs.MemFS{vfs.NewCrashableMem(), vfs.NewCrashableMem()}}
	p.open(t)
	for i, codes := range [][]string{pairCodes, {"none", "c", "b"}} { // other numbers, and one is not known yet
		for _, code := range codes {
			if _, err := p.s[i].Register(code); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.s[1].Retire("none"); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *pair) open(t *rapid.T) {
	for i := range p.s {
		s, err := Open(memDir, Options{
			FS: p.files[i], Reserve: -1, Sync: time.Millisecond,
			History: math.MaxInt64, // these events are old, and both are to have the same
		})
		if err != nil {
			t.Fatal(err)
		}
		p.s[i] = s
	}
}

func (p *pair) close(t errorer) {
	for _, s := range p.s {
		if err := s.Close(); err != nil {
			t.Fatalf("%v", err)
		}
	}
}

func (p *pair) code(id delivery.ProfileID) string { return p.s[0].profiles.get(id).code }

func (p *pair) Reopen(t *rapid.T) {
	p.close(t)
	p.open(t)
	p.parts = false
}

func (p *pair) Abort(t *rapid.T) {
	for _, s := range p.s {
		if err := s.Abort(); err != nil {
			t.Fatal(err)
		}
	}
	p.parts = false
}

// fill adds what transactions have.
func (p *pair) fill(t *rapid.T, b *Batch) {
	shared := testEvent(p.n)
	for range rapid.IntRange(0, 5).Draw(t, "events") {
		p.n++
		var ev *delivery.Event
		switch kind := rapid.IntRange(0, 40).Draw(t, "event"); {
		case kind < 10:
			ev = testEvent(p.n)
		case kind < 36:
			ev = testEvent(p.n)
			ev.Making, ev.Commit = shared.Making, shared.Commit
		case kind < 40:
			ev = drawEvent(t)
		case p.large == 2: // they take long
			ev = fullEvent()
		default:
			p.large++
			ev = largeEvent(p.n)
			ev.Shape = []byte{}
		}
		var to []delivery.ProfileID
		for _, code := range pairCodes {
			if rapid.Bool().Draw(t, "to "+code) {
				to = append(to, p.s[0].profiles.find(code).id)
			}
		}
		b.Add(ev, to)
	}
	for range rapid.SampledFrom([]int{0, 0, 1, 3}).Draw(t, "parked") {
		p.n++
		parked := fullParked()
		parked.Ordinal, parked.Made = p.n, parked.Made[:p.n%3]
		b.Park(parked)
	}
	for range rapid.IntRange(0, 4).Draw(t, "rows") {
		p.n++
		key := []byte(rapid.SampledFrom([]string{"a", "b", "ba", "c", "d"}).Draw(t, "key"))
		b.KeepsFor(7)
		if rapid.IntRange(0, 3).Draw(t, "forget") == 0 {
			b.Forget(key)
		} else {
			b.Keep(key, fmt.Append(nil, p.n, strings.Repeat("x", p.n%100)))
		}
	}
	if rapid.Bool().Draw(t, "value") {
		b.Put(fmt.Sprint("value ", p.n%5), fmt.Append(nil, p.n))
	}
}

func (p *pair) Apply(t *rapid.T) {
	b := p.s[0].NewBatch()
	for range rapid.IntRange(0, 2).Draw(t, "commits") {
		p.fill(t, b)
		p.position++
		b.Commit(fmt.Sprint("p", p.position))
	}
	if rapid.Bool().Draw(t, "open") {
		p.fill(t, b)
		if rapid.Bool().Draw(t, "rollback") {
			b.Rollback()
		}
	}
	most := rapid.SampledFrom([]int{1, 300, 1000, 256 << 10}).Draw(t, "most")
	var commits int
	err := b.Encode(p.code, most, func(part []byte, last bool) error {
		if last {
			commits++
		}
		return p.receive(part, last, most)
	})
	if err == nil {
		err = p.s[0].Apply(b)
	}
	if err != nil || (commits == 1) != b.commits {
		t.Fatalf("%d parts commit: %v", commits, err)
	}
}

// receive applies a part as another machine does, which finds it in memory that is used again.
func (p *pair) receive(part []byte, commits bool, most int) error {
	const longest = 2 << 10 // but for pieces
	if len(part) > most+longest && len(part) > pieceSize+longest {
		return fmt.Errorf("a part has %d bytes, of about %d", len(part), most)
	}
	part = bytes.Clone(part)
	b, err := p.s[1].DecodePart(part)
	clear(part)
	if err == nil && b.commits != commits {
		err = fmt.Errorf("a part commits: %t", b.commits)
	}
	if err == nil {
		err = p.s[1].Apply(b)
	}
	return err
}

func (p *pair) Check(t *rapid.T) {
	if rapid.IntRange(0, 7).Draw(t, "look") == 0 {
		wantSame(t, p.s[1], p.s[0])
	}
}

// TestPartsMakeTheSame has random batches go to another spool in parts of random sizes, with aborts
// and reopenings in between: it holds the same, under the same numbers.
func TestPartsMakeTheSame(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := newPair(t)
		defer func() { p.close(t) }()
		t.Repeat(map[string]func(*rapid.T){"apply": p.Apply, "abort": p.Abort, "reopen": p.Reopen, "": p.Check})
		wantSame(t, p.s[1], p.s[0])
	})
}

// encodeParts returns the parts of about most bytes that a batch is handed on in.
func encodeParts(b *Batch, most int) (parts [][]byte, err error) {
	code := func(id delivery.ProfileID) string { return map[delivery.ProfileID]string{1: "desk", 300: "shelf"}[id] }
	err = b.Encode(code, most, func(part []byte, _ bool) error { parts = append(parts, bytes.Clone(part)); return nil })
	return parts, err
}

func partsOfBatch(t testing.TB, b *Batch, most int) [][]byte {
	t.Helper()
	parts, err := encodeParts(b, most)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// fullBatch has something of everything; large says that an event's parts come in pieces.
func fullBatch(large bool) *Batch {
	b := &Batch{}
	to := []delivery.ProfileID{1, 300}
	if large {
		b.Add(largeEvent(1), to)
	}
	b.Add(fullEvent(), to)
	b.Park(fullParked())
	b.KeepsFor(7)
	b.Keep([]byte("key"), []byte("row"))
	b.Forget([]byte("gone"))
	b.Put("name", []byte("value"))
	b.Commit("0/16B3748")
	b.Add(testEvent(2), to[1:])
	b.Keep([]byte("key"), []byte("row of the open transaction"))
	return b
}

// TestStamp sets a value in the write that applies a commit, and with nothing else.
func TestStamp(t *testing.T) {
	t.Parallel()
	s := setup(t)
	apply := func(stamp string, fill func(*Batch)) string {
		b := s.NewBatch()
		b.Stamp("log", []byte(stamp))
		fill(b)
		ops := s.ops
		if err := s.Apply(b); err != nil {
			t.Fatal(err)
		}
		if s.ops > ops+1 {
			t.Errorf("%s took %d writes", stamp, s.ops-ops)
		}
		value, err := s.Meta("log")
		if err != nil {
			t.Fatal(err)
		}
		return string(value)
	}
	for _, step := range []struct {
		stamp, want string
		fill        func(*Batch)
	}{
		{"a part", "", func(b *Batch) { b.Add(testEvent(1), nil) }},
		{"nothing", "", func(*Batch) {}},
		{"its end", "its end", func(b *Batch) { b.Add(testEvent(2), nil); b.Commit("p1") }},
		{"a part of the next", "its end", func(b *Batch) { b.Park(fullParked()) }},
		{"an end with more behind it", "an end with more behind it", func(b *Batch) { b.Commit("p2"); b.Add(testEvent(3), nil); b.Rollback() }},
		{"an end that was rolled back", "an end with more behind it", func(b *Batch) { b.Add(testEvent(4), nil); b.Rollback() }},
	} {
		if got := apply(step.stamp, step.fill); got != step.want {
			t.Errorf("after %s the stamp is %q, want %q", step.stamp, got, step.want)
		}
	}
	// Parts do not carry it.
	b := fullBatch(false)
	b.Stamp("log", []byte("of here"))
	for _, part := range partsOfBatch(t, b, 1<<20) {
		if bytes.Contains(part, []byte("of here")) {
			t.Error("a part carries the stamp")
		}
	}
}

// TestEncodeRefuses a batch whose large events are in a store already, and passes on what the caller
// says.
func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	s := setup(t)
	b := fullBatch(true)
	stop := errors.New("stop")
	for at := range 5 {
		n := 0
		err := b.Encode(func(delivery.ProfileID) string { return "desk" }, 1, func([]byte, bool) error {
			if n++; n > at {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) || n != at+1 {
			t.Errorf("after %d parts: %v", n, err)
		}
	}
	pieces, err := s.DecodePart(partsOfBatch(t, b, 1)[0])
	if err == nil {
		err = s.Apply(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []*Batch{b, pieces} {
		err := b.Encode(func(delivery.ProfileID) string { return "desk" }, 1, func([]byte, bool) error { return nil })
		if !errors.Is(err, errHandedOn) {
			t.Errorf("a batch that is stored is handed on: %v", err)
		}
	}
}

// TestPartsOutOfOrder: an event whose pieces did not come before it is refused, and leaves the spool
// as it was.
func TestPartsOutOfOrder(t *testing.T) {
	t.Parallel()
	parts := partsOfBatch(t, fullBatch(true), 256<<10)
	pieces := 0
	for parts[pieces][1] == partPieces {
		pieces++
	}
	if pieces < 3 {
		t.Fatalf("the event came in %d parts", pieces)
	}
	for name, order := range map[string][]int{
		"event first": {pieces}, "one is missing": {0, 2}, "the last is missing": {0, pieces}, "twice": {0, 0}, "without its event": {0, pieces + 1},
	} {
		s := setup(t)
		var err error
		for _, i := range order {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			b, decodeErr := s.DecodePart(parts[i])
			if err = decodeErr; err == nil {
				err = s.Apply(b)
			}
		}
		if !errors.Is(err, errPieces) || s.failed() != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Abort(); err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			b, err := s.DecodePart(part)
			if err == nil {
				err = s.Apply(b)
			}
			if err != nil {
				t.Fatalf("%s: after the abort: %v", name, err)
			}
		}
		holds(t, s, s.profiles.find("desk").id, 1, largeEvent(1))
	}
}

// TestRecipientsWithoutCode: no recipient is left out because it has no name.
func TestRecipientsWithoutCode(t *testing.T) {
	t.Parallel()
	names := map[delivery.ProfileID]string{1: "desk", 2: "shelf"}
	for name, tt := range map[string]struct {
		to []delivery.ProfileID
		ok bool
	}{
		"all have names": {[]delivery.ProfileID{1, 2}, true},
		"one has none":   {[]delivery.ProfileID{2, 300}, false},
		"none has any":   {[]delivery.ProfileID{300}, false},
	} {
		b := &Batch{}
		b.Add(testEvent(0), []delivery.ProfileID{2})
		b.Add(testEvent(1), tt.to)
		b.Commit("p1")
		parts := 0
		err := b.Encode(func(id delivery.ProfileID) string { return names[id] }, 1<<20, func([]byte, bool) error {
			parts++
			return nil
		})
		if (err == nil) != tt.ok || tt.ok != (parts == 1) {
			t.Errorf("%s: %d parts, %v", name, parts, err)
		}
	}
}

// FuzzDecodePart holds that no part makes the spool fail, that what is refused registers nobody, and
// that what is taken is handed on as it came.
func FuzzDecodePart(f *testing.F) {
	for _, large := range []bool{false, true} {
		for _, part := range partsOfBatch(f, fullBatch(large), 1<<10) {
			if len(part) < 4<<10 {
				f.Add(part)
			}
		}
	}
	f.Add([]byte{partVersion, partPieces, 1, 0, 0, 2, 'a', 'b'})
	s := openSpool(f, memDir, memOptions(f, vfs.NewCrashableMem()))
	f.Fuzz(func(t *testing.T, part []byte) {
		before := len(s.profiles.all())
		b, err := s.DecodePart(part)
		if err != nil {
			if now := len(s.profiles.all()); now != before {
				t.Fatalf("%d profiles became %d", before, now)
			}
			return
		}
		again, same := handedOn(t, s, b)
		if same && (again.commits != b.commits || again.position != b.position || !reflect.DeepEqual(again.entries, b.entries) ||
			!reflect.DeepEqual(again.parked, b.parked) || !reflect.DeepEqual(again.kept.list, b.kept.list)) {
			t.Fatalf("%+v became %+v", b, again)
		}
		if err := errors.Join(s.Apply(b), s.Abort()); err != nil && !errors.Is(err, errPieces) {
			t.Fatal(err)
		}
		for _, p := range s.profiles.all() {
			if err := s.Retire(p.code); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// handedOn encodes a decoded batch again, which cannot be done where it has pieces.
func handedOn(t *testing.T, s *Spool, b *Batch) (again *Batch, same bool) {
	t.Helper()
	err := b.Encode(func(id delivery.ProfileID) string { return s.profiles.get(id).code }, 1<<30, func(part []byte, _ bool) (err error) {
		again, err = s.DecodePart(part)
		return err
	})
	if err != nil && !errors.Is(err, errHandedOn) {
		t.Fatal(err)
	}
	return again, again != nil && err == nil
}
