package spool

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"rowhook/delivery"
)

// standing is what an engine knows of an event of a profile: its record, and whether it is in the
// backlog.
type standing struct {
	state   delivery.State // 0 for none
	counted bool
}

// machines are two spools of the same events: one gets updates one by one, the other all of a message
// at once.
type machines struct {
	pair
	known map[string]map[delivery.Seq]*standing
}

func (m *machines) of(code string, seq delivery.Seq) *standing {
	if m.known[code] == nil {
		m.known[code] = map[delivery.Seq]*standing{}
	}
	st := m.known[code][seq]
	if st == nil {
		st = &standing{}
		m.known[code][seq] = st
	}
	return st
}

// Append appends the same events to both.
func (m *machines) Append(t *rapid.T) {
	var events []*delivery.Event
	var to [][]string
	if m.s[0].End() > 20 {
		return
	}
	for range rapid.IntRange(1, 4).Draw(t, "events") {
		m.n++
		events = append(events, testEvent(m.n))
		to = append(to, rapid.SliceOfDistinct(rapid.SampledFrom(pairCodes), rapid.ID[string]).Draw(t, "to"))
	}
	for _, s := range m.s {
		b := s.NewBatch()
		for i, ev := range events {
			var ids []delivery.ProfileID
			for _, code := range to[i] {
				id, err := s.Register(code)
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, id)
			}
			b.Add(ev, ids)
		}
		b.Commit(fmt.Sprint("p", m.n))
		if err := s.Apply(b); err != nil {
			t.Fatal(err)
		}
	}
	for i := range events {
		for _, code := range to[i] {
			m.of(code, m.s[0].End()-delivery.Seq(len(events)-1-i)).counted = true
		}
	}
}

// change draws what an engine might change of a delivery.
func (m *machines) change(t *rapid.T, u *delivery.Update, code string, seq delivery.Seq) {
	const bytes = 300
	st := m.of(code, seq)
	counts := func(counted bool) {
		if counted != st.counted {
			sign := int64(1)
			if counted {
				sign = -1
			}
			u.DoneEvents += sign
			u.DoneBytes += sign * bytes
		}
		st.counted = counted
	}
	switch what := rapid.SampledFrom([]string{"leave", "over", "retrying", "blocked", "dead"}).Draw(t, "what"); what {
	case "over":
		if st.state != 0 || rapid.Bool().Draw(t, "removed all the same") {
			u.Remove = append(u.Remove, seq)
		}
		st.state = 0
		counts(false)
	case "retrying", "blocked", "dead":
		m.n++
		d := delivery.Delivery{
			Seq: seq, Lane: uint64(seq % 3), WaitLane: uint64(seq % 2), Round: 1, Attempts: m.n, Since: epoch,
			State: map[string]delivery.State{"retrying": delivery.Retrying, "blocked": delivery.Blocked, "dead": delivery.Dead}[what], Bytes: bytes,
		}
		if d.State == delivery.Retrying {
			d.Due = epoch.Add(time.Duration(m.n%20) * time.Second)
		}
		if m.n%3 == 0 {
			d.Body = fmt.Append(nil, m.n)
		}
		u.Put = append(u.Put, d)
		st.state = d.State
		counts(live(d.State))
	}
}

// draw draws the updates of a message.
func (m *machines) draw(t *rapid.T) (updates []ProfileUpdate) {
	for _, code := range rapid.SliceOfN(rapid.SampledFrom(pairCodes), 0, 4).Draw(t, "codes") {
		var u delivery.Update
		for seq := delivery.Seq(1); seq <= m.s[0].End(); seq++ {
			if rapid.IntRange(0, 3).Draw(t, "this one") == 0 {
				m.change(t, &u, code, seq)
			}
		}
		if rapid.Bool().Draw(t, "progress") {
			u.Progress = &delivery.Progress{Cursor: m.s[0].End()/2 + 1}
			if rapid.Bool().Draw(t, "done") {
				u.Progress.Done = []delivery.Seq{u.Progress.Cursor, u.Progress.Cursor + 2}
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "state") == 0 {
			u.State = fmt.Append(nil, m.n)
		}
		updates = append(updates, ProfileUpdate{code, u})
	}
	return updates
}

// asSent returns updates as another machine gets them.
func asSent(t *rapid.T, updates []ProfileUpdate) (same []ProfileUpdate) {
	for _, u := range updates {
		got, err := DecodeUpdate(EncodeUpdate(nil, &u.Update))
		if err != nil {
			t.Fatal(err)
		}
		same = append(same, ProfileUpdate{u.Code, got})
	}
	return same
}

func (m *machines) Update(t *rapid.T) {
	updates := m.draw(t)
	var values []Value
	for range rapid.IntRange(0, 2).Draw(t, "values") {
		m.n++
		values = append(values, Value{fmt.Sprint("value ", m.n%3), fmt.Append(nil, m.n)})
	}
	for _, u := range updates {
		id, err := m.s[0].Register(u.Code)
		if err == nil {
			err = m.s[0].Update(id, u.Update)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range values {
		if err := m.s[0].SetMeta(v.Key, v.Value); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.s[1].UpdateAll(asSent(t, updates), values...); err != nil {
		t.Fatal(err)
	}
}

// Trim removes history from both.
func (m *machines) Trim(t *rapid.T) {
	cut := min(m.s[0].low(), m.s[1].low())
	for _, s := range m.s {
		if s.retention.floor() < cut {
			if err := s.removeBelow(cut); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestUpdateAll holds updates of several profiles in one write to the same updates one by one, also
// where a profile has several.
func TestUpdateAll(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &machines{pair: *newPair(t), known: map[string]map[delivery.Seq]*standing{}}
		defer func() { m.close(t) }()
		t.Repeat(map[string]func(*rapid.T){
			"append": m.Append, "update": m.Update, "trim": m.Trim, "reopen": m.Reopen, "": m.Check,
		})
		wantSame(t, m.s[1], m.s[0])
	})
}

// TestUpdateAllIsOneWrite: with its values, and whatever else is in it; what names nobody changes
// nothing.
func TestUpdateAllIsOneWrite(t *testing.T) {
	t.Parallel()
	s := setup(t)
	one, two := register(t, s, "one"), register(t, s, "two")
	appendEvents(t, s, 0, 4, one, two)
	ops := s.ops
	record := delivery.Delivery{Seq: 2, State: delivery.Blocked}
	updates := []ProfileUpdate{
		{"two", delivery.Update{Put: []delivery.Delivery{record}}},
		{"one", delivery.Update{Progress: &delivery.Progress{Cursor: 4}, DoneEvents: 3}},
		{"two", delivery.Update{Remove: []delivery.Seq{2}, DoneEvents: 1}},
	}
	if err := s.UpdateAll(updates, Value{"rest", []byte("7")}, Value{"log", []byte("6")}); err != nil || s.ops != ops+1 {
		t.Fatalf("%d writes, %v", s.ops-ops, err)
	}
	value, err := s.Meta("rest")
	if err != nil || string(value) != "7" {
		t.Errorf("value %q, %v", value, err)
	}
	if _, ok, err := s.Delivery(two, 2); ok || err != nil {
		t.Errorf("a delivery that a later update removes stays: %v", err)
	}
	if b, err := s.Backlog(one); err != nil || b.Events != 1 {
		t.Errorf("backlog %+v, %v", b, err)
	}
	ops = s.ops
	err = s.UpdateAll([]ProfileUpdate{{"one", delivery.Update{DoneEvents: 1}}, {"", delivery.Update{}}}, Value{"rest", []byte("8")})
	if value, _ := s.Meta("rest"); err == nil || s.ops != ops || string(value) != "7" {
		t.Errorf("an update of nobody: %d writes, %q, %v", s.ops-ops, value, err)
	}
	if err := s.UpdateAll(nil); err != nil || s.ops != ops {
		t.Errorf("nothing took %d writes, %v", s.ops-ops, err)
	}
}

// TestUpdatesMeet has profiles updated together, alone and trimmed at the same time.
func TestUpdatesMeet(t *testing.T) {
	t.Parallel()
	s := setup(t)
	codes := []string{"one", "two", "three"}
	var ids []delivery.ProfileID
	for _, code := range codes {
		ids = append(ids, register(t, s, code))
	}
	appendEvents(t, s, 0, 30, ids...)
	const rounds = 50
	work := []func() error{}
	for i := range codes {
		work = append(work, func() error {
			order := append(slices.Clone(codes[i:]), codes[:i]...)
			var all []ProfileUpdate
			for _, code := range order {
				all = append(all, ProfileUpdate{code, delivery.Update{
					Put: []delivery.Delivery{{Seq: delivery.Seq(i + 1), State: delivery.Blocked}}, Progress: &delivery.Progress{Cursor: 20}, DoneEvents: 1,
				}})
			}
			return s.UpdateAll(all, Value{codes[i], []byte("x")})
		}, func() error { return s.Update(ids[i], delivery.Update{DoneEvents: -1}) })
	}
	work = append(work, func() error {
		if s.retention.floor() < 15 {
			return s.removeBelow(s.retention.floor() + 1)
		}
		return nil
	})
	done := make(chan error, len(work))
	for _, do := range work {
		go func() {
			var err error
			for range rounds {
				err = errors.Join(err, do())
			}
			done <- err
		}()
	}
	for range work {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for _, id := range ids {
		if b, err := s.Backlog(id); err != nil || b.Events != 30-2*rounds && b.Events != 0 {
			t.Errorf("backlog %+v, %v", b, err)
		}
	}
}

// TestMissedDeliveries: where history has gone here that an update of another machine refers to, its
// deliveries are passed over, and leave nothing behind in the backlog, whatever becomes of them there.
func TestMissedDeliveries(t *testing.T) {
	t.Parallel()
	put := func(seq delivery.Seq, state delivery.State, events, change int64) delivery.Update {
		d := delivery.Delivery{Seq: seq, State: state, Bytes: int(100 * events), Due: epoch}
		if events > 1 {
			d.Members = &delivery.Members{Last: seq + delivery.Seq(events) - 1, Count: int(events), Unit: "batch"}
		}
		return delivery.Update{Put: []delivery.Delivery{d}, DoneEvents: -change, DoneBytes: -100 * change}
	}
	over := func(change int64, seqs ...delivery.Seq) delivery.Update {
		return delivery.Update{Remove: seqs, DoneEvents: -change, DoneBytes: -100 * change}
	}
	for name, updates := range map[string][]delivery.Update{
		"sent again":        {put(2, delivery.Blocked, 1, 1), put(2, delivery.Retrying, 1, 0), over(-1, 2)},
		"dead again":        {put(2, delivery.Blocked, 1, 1), put(2, delivery.Dead, 1, -1), over(0, 2)},
		"twice":             {put(2, delivery.Blocked, 1, 1), put(2, delivery.Dead, 1, -1), put(2, delivery.Blocked, 1, 1), over(-1, 2)},
		"expired here":      {over(0, 3)},
		"a group, divided":  {put(2, delivery.Blocked, 4, 4), put(2, delivery.Blocked, 1, 0), put(3, delivery.Blocked, 3, 0), over(-4, 2, 3)},
		"with one that is":  {put(2, delivery.Blocked, 1, 1), put(20, delivery.Blocked, 1, 0), over(-1, 2)},
		"in one message, 2": {put(2, delivery.Blocked, 1, 1), over(-1, 2)},
	} {
		for _, together := range []bool{false, true} {
			s := openSpool(t, filepath.Join(t.TempDir(), "spool"), testOptions(t))
			id := register(t, s, "one")
			appendEvents(t, s, 0, 20, id)
			err := s.Update(id, delivery.Update{Progress: &delivery.Progress{Cursor: 16}, DoneEvents: 15, DoneBytes: 1500})
			if err == nil {
				err = s.removeBelow(10)
			}
			if err != nil {
				t.Fatal(err)
			}
			want, err := s.Backlog(id)
			if err != nil {
				t.Fatal(err)
			}
			var all []ProfileUpdate
			for _, u := range updates {
				all = append(all, ProfileUpdate{"one", u})
			}
			if together {
				err = s.UpdateAll(all)
			} else {
				for i := range all {
					err = errors.Join(err, s.UpdateAll(all[i:i+1]))
				}
			}
			got, backlogErr := s.Backlog(id)
			if err := errors.Join(err, backlogErr); err != nil || got != want {
				t.Errorf("%s: backlog %+v, want %+v: %v", name, got, want, err)
			}
			left := 0
			err = s.scan(profileKey(id, kindMissed), after(profileKey(id, kindMissed)), func(_, _ []byte) (bool, error) { left++; return true, nil })
			if err != nil || left != 0 {
				t.Errorf("%s: %d records stay, %v", name, left, err)
			}
		}
	}
}

// TestUpdateRoundTrip holds what other machines are told of an update to the update.
func TestUpdateRoundTrip(t *testing.T) {
	t.Parallel()
	for _, want := range []*delivery.Update{
		{}, fullUpdate(), {Progress: &delivery.Progress{}}, {State: []byte("state")}, {Remove: []delivery.Seq{7, 1<<64 - 1}},
		{Put: []delivery.Delivery{{Body: []byte{}}}},
	} {
		raw := EncodeUpdate([]byte("before"), want)
		got, err := DecodeUpdate(raw[len("before"):])
		if err != nil || !reflect.DeepEqual(&got, want) {
			t.Errorf("%+v, want %+v: %v", &got, want, err)
		}
	}
}

// FuzzDecodeUpdate holds that no update makes the spool fail, and that what is taken is encoded as
// it came.
func FuzzDecodeUpdate(f *testing.F) {
	f.Add(EncodeUpdate(nil, fullUpdate()))
	f.Add(EncodeUpdate(nil, &delivery.Update{}))
	s := openSpool(f, memDir, memOptions(f, vfs.NewCrashableMem()))
	appendEvents(f, s, 0, 10, register(f, s, "one"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		u, err := DecodeUpdate(raw)
		if err != nil {
			return
		}
		again, err := DecodeUpdate(EncodeUpdate(nil, &u))
		if err != nil || !reflect.DeepEqual(again, u) {
			t.Fatalf("%+v became %+v: %v", u, again, err)
		}
		if err := s.UpdateAll([]ProfileUpdate{{"one", u}}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestValuesGoWithTheirEffect: own values are set in the write that removes dead letters of the
// source, or kept rows.
func TestValuesGoWithTheirEffect(t *testing.T) {
	t.Parallel()
	s := setup(t)
	b := s.NewBatch()
	b.Park(fullParked())
	b.Park(fullParked())
	fillBatch(b, []string{"a=1", "b=1"})
	b.Commit("p1")
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	for stamp, do := range map[string]func(Value) error{
		"unpark": func(v Value) error { return s.RemoveParkedStamped([]delivery.Seq{1, 7}, v) },
		"forget": func(v Value) error { return s.ForgetKeptStamped([]byte("a"), []byte("b"), v) },
	} {
		ops := s.ops
		err := do(Value{"rest", []byte(stamp)})
		value, metaErr := s.Meta("rest")
		if err := errors.Join(err, metaErr); err != nil || s.ops != ops+1 || string(value) != stamp {
			t.Errorf("%s: %d writes, %q, %v", stamp, s.ops-ops, value, err)
		}
	}
	wantKept(t, s, false, "b=1")
	if count, _ := s.ParkedCount(); count != 1 {
		t.Errorf("%d dead letters of the source", count)
	}
}
