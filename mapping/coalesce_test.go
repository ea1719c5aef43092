package mapping

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// merging is an entry for every event of the table app.t.
func merging(name, coalesce string) EntryConfig {
	op := func(op string) []RuleConfig { return []RuleConfig{{Op: []string{op}}} }
	return EntryConfig{Name: name, Table: "app.t", Coalesce: coalesce, Events: []EventConfig{
		{"t.made", op("insert")}, {"t.changed", op("update")}, {"t.gone", op("delete")}, {"t.wiped", op("truncate")},
	}}
}

func mergedTable(identity capture.Identity) *capture.Table {
	return table("app.t", identity, "id int key", "n int", "big text")
}

// play has the stream bring changes such as "+1 a x" (insert), "1>2 b =" (update; = is unchanged), "-1", "!" (truncate)
// and "?" (one that was not decoded).
func play(t *testing.T, m *Mapper, tbl *capture.Table, story string) {
	t.Helper()
	full := tbl.Identity == capture.IdentityFull
	rows := map[string]capture.Row{}
	for ordinal, text := range strings.Split(story, "; ") {
		words := strings.Fields(text)
		c := &capture.Change{Table: tbl, Ordinal: ordinal, Raw: capture.Raw{Relation: []byte("R"), Change: []byte(text)}}
		before := func(id string) capture.Row {
			was := rows[id]
			if was == nil {
				was = row(id, "old", "OLD")
			}
			delete(rows, id)
			if !full {
				return row(id, missing, missing)
			}
			return was
		}
		switch {
		case text == "?":
			m.Undecoded("app.t")
			continue
		case text == "!":
			c.Op, rows = capture.Truncate, map[string]capture.Row{}
		case text[0] == '+':
			c.Op, c.New = capture.Insert, row(words[0][1:], words[1], words[2])
			rows[words[0][1:]] = c.New
		case text[0] == '-':
			c.Op, c.Old = capture.Delete, before(text[1:])
		default:
			from, to, _ := strings.Cut(words[0], ">")
			c.Op, c.Old = capture.Update, before(from)
			big := words[2]
			if big == "=" {
				big = unchanged
			}
			c.New = row(to, words[1], big)
			rows[to] = c.New
			if full && big == unchanged {
				rows[to] = row(to, words[1], string(c.Old[2].Text))
			}
			if !full && from == to {
				c.Old = nil
			}
		}
		if err := m.Change(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.End(); err != nil {
		t.Fatal(err)
	}
}

func tell(events []*delivery.Event) string {
	var list []string
	for _, ev := range events {
		text := fmt.Sprintf("%d %s %s", ev.Ordinal, strings.TrimPrefix(ev.Type, "t."), ev.Key)
		if string(ev.Data) != string(ev.Key) {
			text += " " + string(ev.Data)
		}
		if len(ev.Previous) > 0 {
			text += " was " + string(ev.Previous)
		}
		list = append(list, strings.NewReplacer(`"`, "", ",", " ").Replace(text))
	}
	return strings.Join(list, "\n")
}

func TestCoalesce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, story, full string
		identity          string // what differs without old rows
	}{
		{"one", "+1 5 x", "0 made {id:1} {id:1 n:5 big:x}", ""},
		{"insert and update", "+1 5 x; 1>1 6 =", "1 made {id:1} {id:1 n:6 big:x}", ""},
		{"insert and delete", "+1 5 x; 1>1 6 y; -1", "", ""},
		{"insert, delete, insert", "+1 5 x; -1; +1 6 y", "2 made {id:1} {id:1 n:6 big:y}", ""},
		{"updates", "1>1 5 y; 1>1 6 =", "1 changed {id:1} {id:1 n:6 big:y} was {n:old big:OLD}", "1 changed {id:1} {id:1 n:6 big:y}"},
		{"there and back", "1>1 5 =; 1>1 old =", "1 changed {id:1} {id:1 n:old big:OLD}", "1 changed {id:1} {id:1 n:old}"},
		{"update and delete", "1>1 5 y; -1", "1 gone {id:1} was {id:1 n:old big:OLD}", "1 gone {id:1} was {id:1}"},
		{"delete and insert", "-1; +1 5 x", "1 changed {id:1} {id:1 n:5 big:x} was {n:old big:OLD}", "1 changed {id:1} {id:1 n:5 big:x}"},
		{"the key follows", "1>2 5 =; 2>3 6 =", "1 changed {id:3} {id:3 n:6 big:OLD} was {id:1 n:old}", "1 changed {id:3} {id:3 n:6} was {id:1}"},
		{"moved and deleted", "1>2 5 =; -2", "1 gone {id:1} was {id:1 n:old big:OLD}", "1 gone {id:1} was {id:1}"},
		{"rows are not mixed", "1>1 5 x; 2>2 6 y; 1>1 7 z",
			"1 changed {id:2} {id:2 n:6 big:y} was {n:old big:OLD}\n2 changed {id:1} {id:1 n:7 big:z} was {n:old big:OLD}",
			"1 changed {id:2} {id:2 n:6 big:y}\n2 changed {id:1} {id:1 n:7 big:z}"},
		{"another row takes the key", "1>2 5 x; +1 6 y; 2>2 7 z",
			"0 changed {id:2} {id:2 n:5 big:x} was {id:1 n:old big:OLD}\n1 made {id:1} {id:1 n:6 big:y}\n2 changed {id:2} {id:2 n:7 big:z} was {n:5 big:x}",
			"0 changed {id:2} {id:2 n:5 big:x} was {id:1}\n1 made {id:1} {id:1 n:6 big:y}\n2 changed {id:2} {id:2 n:7 big:z}"},
		{"a truncate parts", "+1 5 x; !; +1 6 y; 1>1 7 z", "0 made {id:1} {id:1 n:5 big:x}\n1 wiped {}\n3 made {id:1} {id:1 n:7 big:z}", ""},
		{"what is not decoded parts", "+1 5 x; ?; 1>1 6 y", "0 made {id:1} {id:1 n:5 big:x}\n2 changed {id:1} {id:1 n:6 big:y} was {n:5 big:x}",
			"0 made {id:1} {id:1 n:5 big:x}\n2 changed {id:1} {id:1 n:6 big:y}"},
	} {
		for _, of := range []struct {
			identity capture.Identity
			want     string
		}{{capture.IdentityFull, test.full}, {capture.IdentityDefault, test.identity}} {
			want := of.want
			if want == "" {
				want = test.full
			}
			t.Run(fmt.Sprint(test.name, of.identity), func(t *testing.T) {
				t.Parallel()
				for range 2 { // the ids too
					m, out := setup(t, Config{merging("merged", "transaction")}, Options{})
					play(t, m, mergedTable(of.identity), test.story)
					if got := tell(out.events); got != want || len(out.failures) > 0 {
						t.Errorf("%s:\n%s\nwant\n%s\nfailures %v", test.story, got, want, out.failures)
					}
				}
			})
		}
	}
}

// TestCoalesceParks parks all changes of a row that cannot be decided, from which the same change is
// made again.
func TestCoalesceParks(t *testing.T) {
	t.Parallel()
	entry := merging("merged", "transaction")
	entry.Events = []EventConfig{{"t.set", []RuleConfig{{Op: []string{"update"}, Changed: []string{"n"}}}}}
	tbl := mergedTable(capture.IdentityDefault)
	m, out := setup(t, Config{entry}, Options{})
	var kept []*capture.Change
	var merged bool
	fail := &failing{recorder: out, fail: func() {
		merged = m.Merged()
		for _, c := range m.Changes() {
			kept = append(kept, &capture.Change{Op: c.Op, Table: c.Table, Old: slices.Clone(c.Old), New: slices.Clone(c.New), Ordinal: c.Ordinal, Raw: c.Raw})
		}
	}}
	m.out = fail
	play(t, m, tbl, "1>1 5 x; 2>2 1 y; 1>1 6 =")
	if len(out.failures) != 2 || !merged || len(kept) != 3 || string(kept[1].Raw.Change)+"|"+string(kept[2].Raw.Change) != "1>1 5 x|1>1 6 =" {
		t.Fatalf("%d failures, merged %v, %d changes", len(out.failures), merged, len(kept))
	}
	again := Merge(kept[1:])
	if again.Op != capture.Update || again.Ordinal != 2 || string(again.New[2].Text) != "x" || again.Old[1].State != capture.Unknown {
		t.Errorf("made again: %+v", again)
	}
	if _, err := m.Remap(&Parked{Transaction: testTransaction, Entry: "merged"}, again); err != nil || len(out.failures) != 3 || out.failures[2].Err.Error() != out.failures[1].Err.Error() {
		t.Errorf("mapped again: %v, %v", err, out.failures)
	}
}

type failing struct {
	*recorder
	fail func()
}

func (f *failing) Fail(x *Failure) error {
	f.fail()
	return f.recorder.Fail(x)
}

// TestCoalesceNeedsKey refuses a table whose rows cannot be told apart, and warns where the stream
// does not say which row an update was about.
func TestCoalesceNeedsKey(t *testing.T) {
	t.Parallel()
	rules, err := Compile(Config{merging("merged", "transaction")}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	keyless := table("app.t", capture.IdentityFull, "id int", "n int")
	found := rules.Check(keyless, nil)
	if len(found) == 0 || found[0].Severity != capture.Error || !strings.Contains(found[0].Text, "has no key") {
		t.Errorf("without a key: %+v", found)
	}
	parted := mergedTable(capture.IdentityDefault)
	parted.Partitioned = true
	if found = rules.Check(parted, nil); len(found) != 1 || found[0].Severity != capture.Warning || found[0].Remedy != "ALTER TABLE app.t REPLICA IDENTITY FULL;" {
		t.Errorf("partitioned: %+v", found)
	}
	m, out := setup(t, Config{merging("merged", "transaction")}, Options{})
	play(t, m, parted, "+1 5 x; 1>1 6 y; 1>1 7 z; -2; +2 1 a")
	if got := out.types(); got != "t.made t.changed t.changed t.changed" {
		t.Errorf("partitioned: %s", got)
	}
}

// TestCoalesceAborted drops what was held, and maps a repeat in full.
func TestCoalesceAborted(t *testing.T) {
	t.Parallel()
	m, out := setup(t, Config{merging("merged", "transaction")}, Options{Context: DefaultContext()})
	insert := &capture.Change{Op: capture.Insert, Table: mergedTable(capture.IdentityFull), New: row("1", "5", "x")}
	if err := errors.Join(m.Change(insert), m.Message(&capture.Message{Prefix: "rowhook", Content: []byte(`{"operation":"desk"}`), Ordinal: 1})); err != nil || !m.Holding() {
		t.Fatalf("holding %v: %v", m.Holding(), err)
	}
	m.Abort()
	m.Begin(&testTransaction)
	if err := errors.Join(m.Change(insert), m.End()); err != nil || len(out.events) != 1 || out.events[0].Operation != "" {
		t.Errorf("%d events: %v", len(out.events), err)
	}
}

// writer makes random transactions on a small table.
type writer struct {
	rnd     *rand.Rand
	tbl     *capture.Table
	other   *capture.Table
	rows    map[string][2]string
	applied map[string][2]string // what a receiver has
}

func (w *writer) id() string { return fmt.Sprint(w.rnd.IntN(4)) }

func (w *writer) text() string { return strings.Repeat(fmt.Sprint(w.rnd.IntN(100)), 1+w.rnd.IntN(20)) }

// change makes one change. It is nil where the change was not decoded.
func (w *writer) change() *capture.Change {
	full := w.tbl.Identity == capture.IdentityFull
	c := &capture.Change{Table: w.tbl}
	id := w.id()
	was, there := w.rows[id]
	old := row(id, was[0], was[1])
	if !full {
		old = row(id, missing, missing)
	}
	switch {
	case w.rnd.IntN(40) == 0:
		c.Op, w.rows = capture.Truncate, map[string][2]string{}
	case w.rnd.IntN(10) == 0:
		return &capture.Change{Op: capture.Insert, Table: w.other, New: row("1", "x")}
	case !there:
		now := [2]string{w.text(), w.text()}
		w.rows[id] = now
		c.Op, c.New = capture.Insert, row(id, now[0], now[1])
	case w.rnd.IntN(4) == 0:
		delete(w.rows, id)
		c.Op, c.Old = capture.Delete, old
	default:
		to := id
		if other := w.id(); w.rnd.IntN(3) == 0 {
			if _, taken := w.rows[other]; !taken {
				to = other
			}
		}
		now := [2]string{w.text(), was[1]}
		c.Op, c.Old, c.New = capture.Update, old, row(to, now[0], unchanged)
		if w.rnd.IntN(2) == 0 {
			now[1] = w.text()
			c.New = row(to, now[0], now[1])
		}
		if !full && to == id {
			c.Old = nil
		}
		delete(w.rows, id)
		w.rows[to] = now
	}
	return c
}

// receive applies an event as a receiver would that keeps the table.
func (w *writer) receive(ev *delivery.Event) error {
	var data, previous map[string]json.RawMessage
	if len(ev.Data) > 0 {
		if err := json.Unmarshal(ev.Data, &data); err != nil {
			return err
		}
	}
	if len(ev.Previous) > 0 {
		if err := json.Unmarshal(ev.Previous, &previous); err != nil {
			return err
		}
	}
	var key struct{ ID json.RawMessage }
	if err := json.Unmarshal(ev.Key, &key); err != nil {
		return err
	}
	id := string(key.ID)
	if ev.Type == "t.changed" && previous["id"] != nil {
		id = string(previous["id"])
	}
	text := func(raw json.RawMessage) (s string) {
		if json.Unmarshal(raw, &s) != nil {
			s = string(raw)
		}
		return s
	}
	was, there := w.applied[id]
	if there == (ev.Type == "t.made") {
		return fmt.Errorf("the row is there: %v", there)
	}
	for i, name := range []string{"n", "big"} {
		if old := previous[name]; old != nil && text(old) != was[i] {
			return fmt.Errorf("%s was %q, not %q", name, was[i], text(old))
		}
	}
	if delete(w.applied, id); ev.Type == "t.gone" {
		return nil
	}
	for i, name := range []string{"n", "big"} {
		if data[name] != nil {
			was[i] = text(data[name])
		}
	}
	to := string(key.ID)
	if _, taken := w.applied[to]; taken {
		return fmt.Errorf("row %s is there already", to)
	}
	w.applied[to] = was
	return nil
}

// checkCoalesced holds random transactions to what the database has: the events of an entry that
// coalesces, applied in order, give the same rows; each row has as few as can be; those of an entry
// beside it are what they would be without it.
func checkCoalesced(t *testing.T, seed uint64, full bool, most int) {
	t.Helper()
	identity := capture.IdentityDefault
	if full {
		identity = capture.IdentityFull
	}
	w := &writer{
		rnd: rand.New(rand.NewPCG(seed, 0)), tbl: mergedTable(identity), other: table("app.other", identity, "id int key", "x text"),
		rows: map[string][2]string{}, applied: map[string][2]string{},
	}
	others := EntryConfig{Name: "app.other"}
	both, out := setup(t, Config{merging("plain", ""), merging("merged", "transaction"), others}, Options{})
	if most > 0 {
		both.window.most = most
	}
	alone, plain := setup(t, Config{merging("plain", ""), others}, Options{})
	for n := range 6 {
		tx := testTransaction
		tx.Identity = fmt.Sprint(n)
		both.Begin(&tx)
		alone.Begin(&tx)
		out.events, plain.events = nil, nil
		rounds, wiped := 0, false
		for ordinal := range w.rnd.IntN(25) {
			c := w.change()
			c.Ordinal = ordinal
			rounds++
			wiped = wiped || c.Op == capture.Truncate || c.Op == capture.Update && c.Old != nil && string(c.Old[0].Text) != string(c.New[0].Text)
			if err := errors.Join(both.Change(c), alone.Change(c)); err != nil {
				t.Fatal(err)
			}
			for _, r := range []capture.Row{c.Old, c.New} { // the sink has copied what it keeps
				for i := range r {
					for j := range r[i].Text {
						r[i].Text[j] = '#'
					}
				}
			}
		}
		if err := errors.Join(both.End(), alone.End()); err != nil {
			t.Fatal(err)
		}
		var untouched []*delivery.Event
		perKey := map[string]int{}
		last := -1
		for _, ev := range out.events {
			if ev.Ordinal < last {
				t.Fatalf("event %d follows %d", ev.Ordinal, last)
			}
			last = ev.Ordinal
			if ev.Entry != "merged" {
				untouched = append(untouched, ev)
				continue
			}
			perKey[string(ev.Key)]++
			if ev.Type == "t.wiped" {
				w.applied = map[string][2]string{}
			} else if err := w.receive(ev); err != nil {
				t.Fatalf("transaction %d, event %d (%s %s): %v\n%s", n, ev.Ordinal, ev.Type, ev.Key, err, tell(out.events))
			}
		}
		if !maps.Equal(w.applied, w.rows) {
			t.Fatalf("transaction %d: applied %v, want %v\n%s", n, w.applied, w.rows, tell(out.events))
		}
		if describe(untouched) != describe(plain.events) {
			t.Fatalf("beside it:\n%s\nwant\n%s", describe(untouched), describe(plain.events))
		}
		for key, events := range perKey {
			if events > 1 && !wiped && most == 0 {
				t.Fatalf("%d events for %s:\n%s", events, key, tell(out.events))
			}
		}
	}
	if len(out.failures) > 0 {
		t.Fatal(out.failures[0].Err)
	}
}

func TestCoalesceOracle(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		most := 0
		if seed%3 == 0 {
			most = 300 + int(seed)%2000
		}
		checkCoalesced(t, seed, seed%2 == 0, most)
	}
}

func FuzzCoalesce(f *testing.F) {
	f.Add(uint64(1), true, uint16(0))
	f.Add(uint64(2), false, uint16(900))
	f.Fuzz(func(t *testing.T, seed uint64, full bool, most uint16) { checkCoalesced(t, seed, full, int(most)) })
}
