package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// insert maps one inserted row of app.t, whose columns are id, who and how.
func insert(t *testing.T, m *Mapper, values ...string) {
	t.Helper()
	c := capture.Change{Op: capture.Insert, Table: table("app.t", capture.IdentityDefault, "id int key", "who text", "how text"), New: row(values...)}
	if err := m.Change(&c); err != nil {
		t.Fatal(err)
	}
}

func message(t *testing.T, m *Mapper, prefix, content string) {
	t.Helper()
	if err := m.Message(&capture.Message{Prefix: prefix, Content: []byte(content), Ordinal: 7}); err != nil {
		t.Fatal(err)
	}
}

// TestContext fixes the precedence: message, table, columns, defaults; each for what follows in its
// transaction.
func TestContext(t *testing.T) {
	t.Parallel()
	m, out := setup(t, Config{{Name: "app.t", Actor: ActorConfig{ID: "who"}, Operation: "how"}}, Options{Context: ContextConfig{
		Message: "rowhook", Table: "app.context",
		Defaults: ContextDefaults{Actor: ActorDefault{ID: "system", Name: "System"}, Operation: "unknown"},
	}})
	context := func(values ...string) {
		c := capture.Change{Op: capture.Insert, Table: table("app.context", capture.IdentityDefault, "actor_id text", "operation text"), New: row(values...)}
		if err := m.Change(&c); err != nil {
			t.Fatal(err)
		}
	}
	remove := func() {
		c := capture.Change{Op: capture.Delete, Table: table("app.t", capture.IdentityFull, "id int key", "who text", "how text"), Old: row("1", "editor", "desk")}
		if err := m.Change(&c); err != nil {
			t.Fatal(err)
		}
	}
	insert(t, m, "1", null, null)
	insert(t, m, "1", "editor", null)
	insert(t, m, "1", "editor", "desk")
	remove()
	context("7", null)
	insert(t, m, "1", "editor", "desk")
	message(t, m, "rowhook", `{"actor":{"id":42,"name":"Ann"}}`)
	insert(t, m, "1", "editor", null)
	message(t, m, "rowhook", `{"operation":"web_form","trace":"x"}`)
	insert(t, m, "1", "editor", "desk")
	message(t, m, "other", `nonsense`)
	message(t, m, "rowhook", `nonsense`)
	remove()
	m.Begin(&testTransaction)
	remove()

	var got []string
	for _, ev := range out.events {
		got = append(got, fmt.Sprintf("%s/%s %s %v", ev.Actor.ID, ev.Actor.Name, ev.Operation, ev.Assumed))
	}
	want := []string{
		"system/System unknown true",
		"editor/ unknown true",
		"editor/ desk false",
		"system/System unknown true", // columns do not speak for deletes
		"7/ desk false",              // the table wins over the column
		"42/Ann unknown true",
		"7/ web_form false", // a message replaces the one before it whole
		"7/ web_form false", // one that does not parse leaves it
		"system/System unknown true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(out.notices) != 1 || out.notices[0].Kind != ContextMalformed || out.notices[0].Err == nil {
		t.Errorf("notices %+v", out.notices)
	}
}

func TestOnDelete(t *testing.T) {
	t.Parallel()
	m, out := setup(t, Config{{Name: "app.t", Actor: ActorConfig{ID: "who", OnDelete: true}, Operation: "how"}}, Options{})
	c := capture.Change{Op: capture.Delete, Table: table("app.t", capture.IdentityFull, "id int key", "who text", "how text"), Old: row("1", "editor", "desk")}
	if err := m.Change(&c); err != nil {
		t.Fatal(err)
	}
	if ev := out.events[0]; ev.Actor.ID != "editor" || ev.Operation != "desk" || ev.Assumed {
		t.Errorf("got %+v %s", ev.Actor, ev.Operation)
	}
}

// TestContextInRules: expressions see who and how; what nobody told is NULL.
func TestContextInRules(t *testing.T) {
	t.Parallel()
	m, out := setup(t, Config{{Name: "app.t", Operation: "how", Events: []EventConfig{
		{"t.nobody", []RuleConfig{{If: "operation == nil and actor.id == nil"}}},
		{"t.ann", []RuleConfig{{If: "actor.id == '42' and actor.name startsWith 'A'"}}},
		{"t.desk", []RuleConfig{{If: "operation in ['desk', 'kiosk']"}}},
	}}}, Options{Context: DefaultContext()})
	insert(t, m, "1", null, null)
	insert(t, m, "1", null, "desk")
	message(t, m, "rowhook", `{"actor":{"id":"42","name":"Ann"},"operation":"web"}`)
	insert(t, m, "1", null, "desk")
	if got := out.types(); got != "t.nobody t.desk t.ann" {
		t.Errorf("got %s", got)
	}
}

func signalOptions() Options {
	return Options{Context: DefaultContext(), Signals: SignalsConfig{
		Message: "rowhook.event", Table: "app.signal", Types: []SignalConfig{{Type: "job.finished", Title: "Job finished"}, {Type: "job.started"}},
	}}
}

func TestSignals(t *testing.T) {
	t.Parallel()
	m, out := setup(t, nil, signalOptions())
	var seen []string
	out.row = func(r delivery.Row) {
		for _, name := range []string{"state", "count", "ok", "none", "list", "absent"} {
			text, known, number, ok := r.Column(name)
			seen = append(seen, fmt.Sprintf("%s=%s/%d/%v/%v", name, text, known, number, ok))
		}
	}
	message(t, m, "rowhook", `{"operation":"batch"}`)
	message(t, m, "rowhook.event", `{"type":"job.finished", "key": {"b":1.0, "id": 12345678901234567890},
		"data":{"state":"do\u006ee","count":1.50,"ok":true,"none":null,"list":[1, 2]}}`)
	out.row = nil
	signals := table("app.signal", capture.IdentityDefault, "type text", "key json", "data json")
	c := capture.Change{Op: capture.Insert, Table: signals, New: row("job.started", `{"id": 12345678901234567890, "b":1}`, null), Ordinal: 3}
	if err := m.Change(&c); err != nil {
		t.Fatal(err)
	}
	message(t, m, "rowhook.event", `{"type":"job.started"}`)
	message(t, m, "rowhook.event", `{"type":"job.lost","data":{}}`)
	message(t, m, "rowhook.event", `{"type":"job.started","data":[1]}`)
	message(t, m, "rowhook.event", `{"type":"job.started","key":1}`)
	message(t, m, "rowhook.event", `job.started`)
	c.Op, c.Old, c.New = capture.Delete, c.New, nil
	if err := m.Change(&c); err != nil {
		t.Fatal(err)
	}
	var kinds []NoticeKind
	for _, n := range out.notices {
		kinds = append(kinds, n.Kind)
		if (n.Kind == SignalUnlisted) != (n.Type == "job.lost") {
			t.Errorf("notice %+v", n)
		}
	}
	if want := []NoticeKind{SignalUnlisted, SignalMalformed, SignalMalformed, SignalMalformed}; !slices.Equal(kinds, want) {
		t.Errorf("notices %v, want %v", kinds, want)
	}
	golden(t, "signals.golden", describe(out.events)+strings.Join(seen, "\n")+"\n")
	if out.events[0].OrderKey != out.events[1].OrderKey {
		t.Error("signals of one key are not in one lane")
	}
}

func FuzzMessages(f *testing.F) {
	f.Add(`{"actor":{"id":7,"name":"Ann"},"operation":"desk"}`)
	f.Add(`{"type":"job.finished","key":{"id":1},"data":{"a":[1,{"b":null}]}}`)
	f.Fuzz(func(t *testing.T, content string) {
		m, out := setup(t, nil, signalOptions())
		message(t, m, "rowhook", content)
		message(t, m, "rowhook.event", content)
		for _, ev := range out.events {
			if strings.Contains(string(ev.Data)+string(ev.Key), "\n") {
				t.Errorf("more than a line: %s", ev.Data)
			}
		}
	})
}

// partitioned is a table whose rows move between partitions.
func partitioned() *capture.Table {
	t := loans(capture.IdentityFull)
	t.Partitioned = true
	return t
}

func TestPartitionMoves(t *testing.T) {
	t.Parallel()
	const due, back = "2026-12-01 14:00:00+00", "2026-11-22 01:02:03+00"
	tbl := partitioned()
	open, closed := loanRow("ACTIVE", due, null, "n"), loanRow("ACTIVE", due, back, "n")
	other := slices.Clone(closed)
	other[0].Text = []byte("2000")
	del := &capture.Change{Op: capture.Delete, Table: tbl, Old: open, Raw: capture.Raw{Change: []byte("D")}}
	ins := &capture.Change{Op: capture.Insert, Table: tbl, New: closed, Ordinal: 1, Raw: capture.Raw{Change: []byte("I")}}
	insOther := &capture.Change{Op: capture.Insert, Table: tbl, New: other, Ordinal: 1}
	elsewhere := &capture.Change{Op: capture.Insert, Table: table("app.log", capture.IdentityDefault, "id int key"), New: row("1"), Ordinal: 1}
	context := &capture.Message{Prefix: "rowhook", Content: []byte(`{"operation":"x"}`)}
	foreign := &capture.Message{Prefix: "else", Content: []byte(`x`)}
	for _, tt := range []struct {
		name  string
		steps []any
		want  string
	}{
		{"move", []any{del, ins}, "loan.returned"},
		{"move, twice", []any{del, ins, del, ins}, "loan.returned loan.returned"},
		{"another key", []any{del, insOther}, "loan.returned loan.deleted loan.created"},
		{"delete alone", []any{del}, "loan.returned loan.deleted"},
		{"delete before another delete", []any{del, del, ins}, "loan.returned loan.deleted loan.returned"},
		{"another table between", []any{del, elsewhere, ins}, "loan.returned loan.deleted loan.created"},
		{"context between", []any{del, context, ins}, "loan.returned loan.deleted loan.created"},
		{"somebody's message between", []any{del, foreign, ins}, "loan.returned"},
		{"two transactions", []any{del, "end", ins}, "loan.returned loan.deleted loan.created"},
		{"aborted", []any{del, "abort", ins}, "loan.created"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, out := setup(t, loanMapping(), Options{Context: DefaultContext()})
			for _, step := range append(tt.steps, "end") {
				var err error
				switch s := step.(type) {
				case *capture.Change:
					// What the source gives is gone when the call returns.
					c := *s
					c.Old, c.New = cloneRow(s.Old), cloneRow(s.New)
					err = m.Change(&c)
					for _, v := range slices.Concat(c.Old, c.New) {
						clear(v.Text)
					}
				case *capture.Message:
					err = m.Message(s)
				case string:
					if s == "abort" {
						m.Abort()
					} else {
						err = m.End()
					}
					m.Begin(&testTransaction)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got := out.types(); got != tt.want || len(out.failures) > 0 || m.held.on {
				t.Errorf("got %s, %d failures", got, len(out.failures))
			}
		})
	}
}

// A partitioned table's primary key holds the partition column, which a move changes: what
// counts is the entry's key.
func TestPartitionMovesByEntryKey(t *testing.T) {
	t.Parallel()
	tbl := table("app.t", capture.IdentityFull, "id int key", "region text key", "n int")
	tbl.Partitioned = true
	for _, tt := range []struct {
		key  []string
		want string
	}{
		{[]string{"id"}, "record.updated"},
		{nil, "record.deleted record.inserted"},
	} {
		m, out := setup(t, []EntryConfig{{Name: "app.t", Key: tt.key}}, Options{})
		for _, c := range []*capture.Change{
			{Op: capture.Delete, Table: tbl, Old: row("1", "east", "5")},
			{Op: capture.Insert, Table: tbl, New: row("1", "west", "5"), Ordinal: 1},
		} {
			if err := m.Change(c); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.End(); err != nil {
			t.Fatal(err)
		}
		if got := out.types(); got != tt.want {
			t.Errorf("key %v: %s, want %s", tt.key, got, tt.want)
		}
	}
}

func cloneRow(r capture.Row) capture.Row {
	r = slices.Clone(r)
	for i := range r {
		r[i].Text = slices.Clone(r[i].Text)
	}
	return r
}

// TestMoveThatFailsParksBoth: a move's raw form is two changes.
func TestMoveThatFailsParksBoth(t *testing.T) {
	t.Parallel()
	tbl := partitioned()
	m, out := setup(t, loanMapping(), Options{})
	old := loanRow("ACTIVE", "2026-12-01 14:00:00+00", missing, "n")
	for _, c := range []capture.Change{
		{Op: capture.Delete, Table: tbl, Old: old},
		{Op: capture.Insert, Table: tbl, New: loanRow("ACTIVE", "2026-12-01 14:00:00+00", "2026-12-01 14:00:00+00", "n")},
	} {
		if err := m.Change(&c); err != nil {
			t.Fatal(err)
		}
	}
	if len(out.failures) != 1 || out.raws != 2 {
		t.Errorf("%d failures, %d raw changes", len(out.failures), out.raws)
	}
}

// TestRemap: a parked change gives, once its cause is fixed, the events that it would have given.
func TestRemap(t *testing.T) {
	t.Parallel()
	const due, back = "2026-12-01 14:00:00+00", "2026-11-22 01:02:03+00"
	cfg := append(loanMapping(), EntryConfig{Name: "second", Table: "circulation.loans"})
	tbl := loans(capture.IdentityFull)
	whole := capture.Change{Op: capture.Update, Table: tbl, Old: loanRow("ACTIVE", due, null, "n"), New: loanRow("ACTIVE", due, back, "n"), Ordinal: 9}
	holed := whole
	holed.Old = loanRow("ACTIVE", due, missing, "n")

	want, wanted := setup(t, cfg, Options{Context: DefaultContext()})
	got, out := setup(t, cfg, Options{Context: DefaultContext()})
	for m, c := range map[*Mapper]*capture.Change{want: &whole, got: &holed} {
		message(t, m, "rowhook", `{"actor":{"id":"7"},"operation":"desk"}`)
		if err := m.Change(c); err != nil {
			t.Fatal(err)
		}
	}
	if wanted.types() != "loan.returned record.updated" || out.types() != "record.updated" || len(out.failures) != 1 {
		t.Fatalf("got %s, %d failures", out.types(), len(out.failures))
	}
	f := out.failures[0]
	again, mended := setup(t, cfg, Options{Context: DefaultContext()})
	parked := &Parked{Transaction: testTransaction, Actor: f.Actor, Operation: f.Operation, Entry: f.Entry}
	if mapped, err := again.Remap(parked, &whole); !mapped || err != nil {
		t.Fatal(mapped, err)
	}
	if a, b := describe(mended.events), describe(wanted.events[:1]); a != b {
		t.Errorf("got\n%s\nwant\n%s", a, b)
	}
	parked.Entry = "gone"
	if mapped, err := again.Remap(parked, &whole); mapped || err != nil {
		t.Error("an entry that is gone mapped the change")
	}
	parked.Entry = ""
	if mapped, err := again.Remap(parked, &whole); !mapped || err != nil || mended.types() != "loan.returned loan.returned record.updated" {
		t.Errorf("all entries: %s, %v", mended.types(), err)
	}
}

func TestRulesFirst(t *testing.T) {
	t.Parallel()
	cfg := Config{{Name: "app.t", Rules: "first", Events: []EventConfig{
		{"t.desk", []RuleConfig{{Where: where("how=desk")}}},
		{"t.any", []RuleConfig{{}, {Op: []string{"insert"}}}},
		{"t.more", []RuleConfig{{}}},
	}}}
	m, out := setup(t, cfg, Options{})
	insert(t, m, "1", null, "desk")
	insert(t, m, "1", null, "web")
	insert(t, m, "1", null, unchanged)
	if got := out.types(); got != "t.desk t.any" || len(out.failures) != 1 {
		t.Errorf("got %s, %d failures", got, len(out.failures))
	}
	cfg[0].Rules = "all"
	m, out = setup(t, cfg, Options{})
	insert(t, m, "1", null, "desk")
	if got := out.types(); got != "t.desk t.any t.more" {
		t.Errorf("got %s", got)
	}
}

// TestEntryWhere: the entry's own condition decides first, and parks only what a rule would take.
func TestEntryWhere(t *testing.T) {
	t.Parallel()
	m, out := setup(t, Config{{Name: "app.t", Where: where("how=desk"), Events: []EventConfig{
		{"t.one", []RuleConfig{{Where: where("id=1")}}},
	}}}, Options{})
	insert(t, m, "1", null, "desk")
	insert(t, m, "1", null, "web")
	insert(t, m, "2", null, missing)
	if out.types() != "t.one" || len(out.failures) > 0 {
		t.Errorf("got %s, %d failures", out.types(), len(out.failures))
	}
	insert(t, m, "1", null, missing)
	if len(out.failures) != 1 || !strings.Contains(out.failures[0].Err.Error(), `entry app.t, where: the value of column "how"`) {
		t.Errorf("failures %+v", out.failures)
	}
}

// TestEventIDs: ids hang on all parts of the event's identity, and on nothing else.
func TestEventIDs(t *testing.T) {
	t.Parallel()
	id := func(parts ...any) string {
		return eventID(appendIdentity(nil, parts[0].(string), parts[1].(string), parts[2].(int), parts[3].(string), parts[4].(string)))
	}
	first := id("lineage", "tx", 1, "entry", "type")
	if first != "evt_5lgjpkb3vnf2fayup5kahb7bwa" {
		t.Errorf("ids have changed: %s", first)
	}
	seen := map[string]bool{first: true}
	for _, parts := range [][]any{
		{"lineage2", "tx", 1, "entry", "type"}, {"lineage", "tx2", 1, "entry", "type"}, {"lineage", "tx", 2, "entry", "type"},
		{"lineage", "tx", 1, "entry2", "type"}, {"lineage", "tx", 1, "entry", "type2"}, {"lineaget", "x", 1, "entry", "type"},
		{"lineage", "tx", 1, "entryt", "ype"},
	} {
		other := id(parts...)
		if seen[other] || strings.Contains(other, ".") {
			t.Errorf("%v has the id %s", parts, other)
		}
		seen[other] = true
	}
}

// TestRow: subscriptions see the table's own names, excluded columns too.
func TestRow(t *testing.T) {
	t.Parallel()
	m, out := setup(t, Config{{Name: "circulation.loans", Columns: ColumnsConfig{Exclude: []string{"name"}, Rename: []ColumnRename{{"amount", "sum"}}}}}, Options{})
	var matched []delivery.Truth
	out.row = func(r delivery.Row) {
		for _, w := range []delivery.Where{where("name=Ann Lee"), where("amount=0.10"), where("sum=0.1"), where("active=true"), where("gone=null"), where("big=x"), where("id=9007199254740992")} {
			matched = append(matched, w.Match(r))
		}
	}
	c := typedChange()
	c.Table.Key, c.Table.Identity = []int{0}, capture.IdentityDefault
	for _, op := range []capture.Op{capture.Update, capture.Delete} {
		c.Op = op
		if err := m.Change(c); err != nil {
			t.Fatal(err)
		}
		c.New = nil
	}
	const T, F, U = delivery.True, delivery.False, delivery.Undecidable
	if want := []delivery.Truth{T, T, F, T, T, U, F, F, T, F, F, T, U, T}; !slices.Equal(matched, want) {
		t.Errorf("got %v, want %v", matched, want)
	}
}

// TestOutputErrorsEndTheChange: what the receiver refuses is not gone on with.
func TestOutputErrorsEndTheChange(t *testing.T) {
	t.Parallel()
	full := errors.New("full")
	rules, err := Compile(loanMapping(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	m := rules.NewMapper(refusing{full}, Identity{})
	m.Begin(&testTransaction)
	c := capture.Change{Op: capture.Delete, Table: loans(capture.IdentityFull), Old: loanRow("ACTIVE", "2026-12-01 14:00:00+00", null, "n")}
	if err := m.Change(&c); !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

type refusing struct{ err error }

func (r refusing) Event(*delivery.Event, delivery.Row) error { return r.err }
func (r refusing) Fail(*Failure) error                       { return r.err }
func (r refusing) Notice(Notice)                             {}

// TestAlteredTable: a new description of a table takes the place of the old one.
func TestAlteredTable(t *testing.T) {
	t.Parallel()
	m, out := setup(t, Config{{Name: "app.t"}}, Options{})
	for i := range 3 {
		columns := []string{"id int key", "a text", "b text"}[:i+1]
		c := capture.Change{Op: capture.Insert, Table: table("app.t", capture.IdentityDefault, columns...), New: row("1", "2", "3")[:i+1]}
		if err := m.Change(&c); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.bindings) != 1 || string(out.events[2].Data) != `{"id":1,"a":"2","b":"3"}` {
		t.Errorf("%d bindings, %s", len(m.bindings), out.events[2].Data)
	}
}
