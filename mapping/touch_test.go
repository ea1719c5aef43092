package mapping

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"rowhook/capture"
	"rowhook/delivery"
)

// shelved are the rows of a database, by table and key, as they were before the open transaction and as it
// has left them so far.
type shelved struct {
	tables      map[string]*capture.Table
	before, now map[string]map[string]capture.Row
	unknown     map[string]bool // tables
}

func newShelved(tables ...*capture.Table) *shelved {
	s := &shelved{tables: map[string]*capture.Table{}, before: map[string]map[string]capture.Row{}, now: map[string]map[string]capture.Row{}, unknown: map[string]bool{}}
	for _, t := range tables {
		s.tables[t.String()] = t
		s.before[t.String()], s.now[t.String()] = map[string]capture.Row{}, map[string]capture.Row{}
	}
	return s
}

func (s *shelved) find(in map[string]map[string]capture.Row, of *capture.Table, row capture.Row) (exists, known bool, err error) {
	found := in[of.String()][string(row[of.Key[0]].Text)]
	copy(row, found)
	return found != nil, !s.unknown[of.String()], nil
}

func (s *shelved) LookUp(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	return s.find(s.now, of, row)
}

func (s *shelved) LookUpBefore(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	return s.find(s.before, of, row)
}

func (s *shelved) Parts(*capture.Table, []int, capture.Row, int, func(capture.Row) bool) (more, known bool, err error) {
	return false, true, nil
}

func (s *shelved) Referring(of *capture.Table, by []int, row capture.Row, take func(capture.Row) (bool, error)) (known bool, err error) {
	if s.unknown[of.String()] {
		return false, nil
	}
	for _, key := range slices.Sorted(maps.Keys(s.now[of.String()])) {
		r := s.now[of.String()][key]
		if !slices.ContainsFunc(by, func(i int) bool { return !equal(r[i], row[i]) }) {
			if more, err := take(slices.Clone(r)); err != nil || !more {
				return true, err
			}
		}
	}
	return true, nil
}

// put is an insert or an update of the row with this key, del a delete; each is the stream's change.
func (s *shelved) put(table string, r capture.Row) *capture.Change {
	rows := s.now[table]
	key := string(r[0].Text)
	c := &capture.Change{Op: capture.Insert, Table: s.tables[table], New: r}
	if was := rows[key]; was != nil {
		c.Op, c.Old = capture.Update, was
	}
	rows[key] = r
	return c
}

func (s *shelved) del(table, key string) *capture.Change {
	c := &capture.Change{Op: capture.Delete, Table: s.tables[table], Old: s.now[table][key]}
	delete(s.now[table], key)
	return c
}

func (s *shelved) commit() {
	for name, rows := range s.now {
		s.before[name] = maps.Clone(rows)
	}
}

var touchedLookups = []LookupConfig{
	{Name: "members", Table: "app.members", Key: []string{"member_id"}, Columns: []string{"name", "user_group", "note"}},
	{Name: "items", Table: "app.items", Key: []string{"item_id"}, Columns: []string{"title", "holding_id"}},
	{Name: "holdings", Table: "app.holdings", Key: []string{"holding_id"}, Columns: []string{"call"}},
}

func touchTables() []*capture.Table {
	return []*capture.Table{
		table("app.members", capture.IdentityFull, "member_id bigint key", "name text", "user_group text", "note text"),
		table("app.items", capture.IdentityFull, "item_id bigint key", "title text", "holding_id bigint"),
		table("app.holdings", capture.IdentityFull, "holding_id bigint key", "call text"),
		table("app.loans", capture.IdentityDefault, "loan_id bigint key", "member_id bigint", "item_id bigint", "status text"),
	}
}

// touching is an entry whose events say who has a loan, what is lent and where that stands.
func touchingEntry(events ...EventConfig) EntryConfig {
	return EntryConfig{
		Name: "app.loans",
		Lookup: []LookupUse{
			{Name: "holding", From: "holdings", By: []string{"item.holding_id"}, MaxTouched: DefaultTouched},
			{Name: "item", From: "items", By: []string{"item_id"}, MaxTouched: DefaultTouched},
			{Name: "member", From: "members", By: []string{"member_id"}, MaxTouched: DefaultTouched},
		},
		Fields: []FieldConfig{fieldOf("status", "status"), fieldOf("name", "member.name"), fieldOf("title", "item.title"), fieldOf("call", "holding.call")},
		Events: events,
	}
}

func touchRule(touch string, with func(*RuleConfig)) EventConfig {
	r := RuleConfig{Touch: strings.Fields(touch)}
	if with != nil {
		with(&r)
	}
	return EventConfig{Type: "loan.touched", Rules: []RuleConfig{r}}
}

type touchWorld struct {
	*shelved
	m   *Mapper
	out *recorder
	n   int
}

func newTouchWorld(t testing.TB, entry EntryConfig) *touchWorld {
	t.Helper()
	m, out := setup(t, Config{entry}, Options{Lookups: touchedLookups})
	w := &touchWorld{shelved: newShelved(touchTables()...), m: m, out: out}
	m.LookIn(w)
	for _, table := range w.tables {
		m.Describe(table)
	}
	for _, r := range []struct {
		table string
		row   capture.Row
	}{
		{"app.members", row("1", "Ann", "STAFF", "x")}, {"app.members", row("2", "Bob", "STUDENT", null)},
		{"app.holdings", row("50", "A 1")}, {"app.items", row("5", "Emma", "50")}, {"app.items", row("6", "Dune", "50")}, {"app.items", row("7", "Ada", null)},
		{"app.loans", row("100", "1", "5", "OPEN")}, {"app.loans", row("101", "1", "6", "OPEN")}, {"app.loans", row("102", "2", "7", "LOST")}, {"app.loans", row("103", null, "5", "OPEN")},
	} {
		w.put(r.table, r.row)
	}
	w.commit()
	return w
}

// transaction maps changes, and tells the events and failures that come of them.
func (w *touchWorld) transaction(t interface {
	Helper()
	Fatal(args ...any)
}, changes ...*capture.Change) string {
	t.Helper()
	w.out.events, w.out.failures = nil, nil
	w.m.Begin(&testTransaction)
	for i, c := range changes {
		c.Ordinal = i + 1
		if err := w.m.Change(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.m.End(); err != nil {
		t.Fatal(err)
	}
	w.commit()
	return w.told()
}

func (w *touchWorld) told() string {
	var list []string
	for _, ev := range w.out.events {
		text := fmt.Sprintf("%s %d %s %s", strings.TrimPrefix(ev.Type, "loan."), ev.Ordinal, ev.Key, ev.Data)
		if len(ev.Previous) > 0 {
			text += " was " + string(ev.Previous)
		}
		list = append(list, text)
	}
	for _, f := range w.out.failures {
		list = append(list, fmt.Sprintf("%s: %v", f.Reason, f.Err))
	}
	return strings.Join(list, "\n")
}

func TestTouch(t *testing.T) {
	t.Parallel()
	type step = func(w *touchWorld) []*capture.Change
	renamed := func(w *touchWorld) []*capture.Change {
		return []*capture.Change{w.put("app.members", row("1", "Zoe", "STAFF", "x"))}
	}
	const (
		loan100 = `touched 1 {"loan_id":100} {"status":"OPEN","name":"Zoe","title":"Emma","call":"A 1"} was {"name":"Ann"}`
		loan101 = `touched 1 {"loan_id":101} {"status":"OPEN","name":"Zoe","title":"Dune","call":"A 1"} was {"name":"Ann"}`
	)
	own := EventConfig{Type: "loan.any", Rules: []RuleConfig{{}}}
	for _, test := range []struct {
		name   string
		events []EventConfig
		step   step
		want   string
	}{
		{"all that refer", []EventConfig{touchRule("member", nil)}, renamed, loan100 + "\n" + loan101},
		{"no rule without touch", []EventConfig{own}, renamed, ""},
		{"the others' rules are not asked", []EventConfig{own, touchRule("member", nil)}, renamed, loan100 + "\n" + loan101},
		{"nor this one about others", []EventConfig{touchRule("member", nil)}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{w.put("app.loans", row("100", "1", "5", "LOST")), w.put("app.items", row("5", "Emma!", "50"))}
		}, ""},
		{"a column that nobody asks about", []EventConfig{touchRule("member", nil)}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{w.put("app.members", row("1", "Ann", "STAFF", "y"))}
		}, ""},
		{"changed back", []EventConfig{touchRule("member", nil)}, func(w *touchWorld) []*capture.Change {
			return append(renamed(w), w.put("app.members", row("1", "Ann", "STAFF", "x")))
		}, ""},
		{"the last change's place, the net difference", []EventConfig{touchRule("member", func(r *RuleConfig) { r.Where = where("status=LOST") })}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{w.put("app.members", row("2", "tmp", null, null)), w.put("app.members", row("2", "Bea", null, null))}
		}, `touched 2 {"loan_id":102} {"status":"LOST","name":"Bea","title":"Ada","call":null} was {"name":"Bob"}`},
		{"deleted", []EventConfig{touchRule("member", func(r *RuleConfig) { r.Cleared = "member.name" })}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{w.del("app.members", "2")}
		}, `touched 1 {"loan_id":102} {"status":"LOST","name":null,"title":"Ada","call":null} was {"name":"Bob"}`},
		{"deleted and made again", []EventConfig{touchRule("member", nil)}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{w.del("app.members", "2"), w.put("app.members", row("2", "Bob", "x", "x"))}
		}, ""},
		{"made", []EventConfig{touchRule("member", func(r *RuleConfig) { r.Set = "member.name" })}, func(w *touchWorld) []*capture.Change {
			w.put("app.loans", row("104", "3", "7", "OPEN"))
			w.commit()
			return []*capture.Change{w.put("app.members", row("3", "Cid", null, null))}
		}, `touched 1 {"loan_id":104} {"status":"OPEN","name":"Cid","title":"Ada","call":null} was {"name":null}`},
		{"changed", []EventConfig{touchRule("member", func(r *RuleConfig) { r.Changed = []string{"member.user_group"} })}, func(w *touchWorld) []*capture.Change {
			return append(renamed(w), w.put("app.members", row("2", "Bob", "STAFF", null)))
		}, `touched 2 {"loan_id":102} {"status":"LOST","name":"Bob","title":"Ada","call":null}`},
		{"becomes", []EventConfig{touchRule("member", func(r *RuleConfig) { r.Becomes = where("member.user_group=STAFF") })}, func(w *touchWorld) []*capture.Change {
			return append(renamed(w), w.put("app.members", row("2", "Bob", "STAFF", null)))
		}, `touched 2 {"loan_id":102} {"status":"LOST","name":"Bob","title":"Ada","call":null}`},
		{"if over old and new", []EventConfig{touchRule("member", func(r *RuleConfig) {
			r.If = `old.member.name == "Ann" and new.member.name == "Zoe" and old.status == new.status and row.loan_id > 100`
		})}, renamed, loan101},
		{"through another look-up", []EventConfig{touchRule("holding", nil)}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{w.put("app.holdings", row("50", "B 2"))}
		}, `touched 1 {"loan_id":100} {"status":"OPEN","name":"Ann","title":"Emma","call":"B 2"} was {"call":"A 1"}
touched 1 {"loan_id":103} {"status":"OPEN","name":null,"title":"Emma","call":"B 2"} was {"call":"A 1"}
touched 1 {"loan_id":101} {"status":"OPEN","name":"Ann","title":"Dune","call":"B 2"} was {"call":"A 1"}`},
		{"what hangs on the touched row", []EventConfig{touchRule("item", func(r *RuleConfig) { r.Cleared = "holding.call" })}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{w.put("app.items", row("6", "Dune", null))}
		}, `touched 1 {"loan_id":101} {"status":"OPEN","name":"Ann","title":"Dune","call":null} was {"call":"A 1"}`},
		{"a row that is moved elsewhere is touched by its new place no more than by the old", []EventConfig{touchRule("holding", nil)}, func(w *touchWorld) []*capture.Change {
			w.put("app.holdings", row("51", "C 3"))
			w.commit()
			return []*capture.Change{w.put("app.items", row("6", "Dune", "51")), w.put("app.holdings", row("51", "C 4"))}
		}, ""},
		{"once, though two rows changed", []EventConfig{touchRule("item member", nil)}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{w.put("app.items", row("6", "Dune II", "50")), w.put("app.members", row("1", "Zoe", "STAFF", "x"))}
		}, `touched 1 {"loan_id":101} {"status":"OPEN","name":"Zoe","title":"Dune II","call":"A 1"} was {"name":"Ann","title":"Dune"}
touched 2 {"loan_id":100} {"status":"OPEN","name":"Zoe","title":"Emma","call":"A 1"} was {"name":"Ann"}`},
		{"two rules, at the first change", []EventConfig{touchRule("member", nil), {Type: "loan.retitled", Rules: []RuleConfig{{Touch: []string{"item"}}}}}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{w.put("app.items", row("7", "Ida", null)), w.put("app.members", row("2", "Bea", null, null))}
		}, `touched 1 {"loan_id":102} {"status":"LOST","name":"Bea","title":"Ida","call":null} was {"name":"Bob","title":"Ada"}
retitled 1 {"loan_id":102} {"status":"LOST","name":"Bea","title":"Ida","call":null} was {"name":"Bob","title":"Ada"}`},
		{"rows that the transaction made or moved tell of themselves", []EventConfig{touchRule("member", nil), {Type: "loan.any", Rules: []RuleConfig{{Op: []string{"insert", "update"}}}}}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{w.put("app.loans", row("104", "2", "7", "NEW")), w.put("app.loans", row("100", "2", "5", "OPEN")), w.put("app.members", row("2", "Bea", null, null)), w.del("app.loans", "102")}
		}, `any 1 {"loan_id":104} {"status":"NEW","name":"Bea","title":"Ada","call":null}
any 2 {"loan_id":100} {"status":"OPEN","name":"Bea","title":"Emma","call":"A 1"}`},
		{"behind the row's own", []EventConfig{touchRule("member", nil), {Type: "loan.any", Rules: []RuleConfig{{Op: []string{"update"}}}}}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{w.put("app.members", row("2", "Bea", null, null)), w.put("app.loans", row("102", "2", "7", "FOUND"))}
		}, `any 2 {"loan_id":102} {"status":"FOUND","name":"Bea","title":"Ada","call":null} was {"status":"LOST"}
touched 1 {"loan_id":102} {"status":"FOUND","name":"Bea","title":"Ada","call":null} was {"name":"Bob"}`},
		{"another key is another row", []EventConfig{touchRule("member", nil)}, func(w *touchWorld) []*capture.Change {
			w.put("app.loans", row("104", "3", "7", "OPEN"))
			w.commit()
			c := w.del("app.members", "2")
			c.Op, c.New = capture.Update, row("3", "Bob", null, null)
			w.now["app.members"]["3"] = c.New
			return []*capture.Change{c}
		}, `touched 1 {"loan_id":102} {"status":"LOST","name":null,"title":"Ada","call":null} was {"name":"Bob"}
touched 1 {"loan_id":104} {"status":"OPEN","name":"Bob","title":"Ada","call":null} was {"name":null}`},
		{"the rows are not known", []EventConfig{touchRule("member", nil)}, func(w *touchWorld) []*capture.Change {
			w.unknown["app.loans"] = true
			return renamed(w)
		}, `undecidable: map app.loans: touch member: the rows that refer to the changed one are not known`},
		{"the changed row is not known", []EventConfig{touchRule("member", nil)}, func(w *touchWorld) []*capture.Change {
			w.unknown["app.members"] = true
			return renamed(w)
		}, `undecidable: map app.loans: touch member: what the row of app.members was before the change is not known`},
		{"a value is not known", []EventConfig{touchRule("member", nil)}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{w.put("app.members", row("1", missing, "STAFF", "x"))}
		}, `undecidable: map app.loans: touch member: what the row of app.members is since the change is not known`},
		{"truncated", []EventConfig{touchRule("member", nil)}, func(w *touchWorld) []*capture.Change {
			return append(renamed(w), &capture.Change{Op: capture.Truncate, Table: w.tables["app.members"]})
		}, `unmapped: map app.loans: touch member: nobody can tell which rows of app.members changed: a truncate tells no rows`},
		{"keyless", []EventConfig{touchRule("member", nil)}, func(w *touchWorld) []*capture.Change {
			return []*capture.Change{{Op: capture.Delete, Table: w.tables["app.members"], Old: row(missing, missing, missing, missing)}}
		}, `unmapped: map app.loans: touch member: nobody can tell which rows of app.members changed: a change did not tell whose it is`},
		{"too many of them", []EventConfig{touchRule("member", nil)}, func(w *touchWorld) (list []*capture.Change) {
			for n := range 35_000 {
				list = append(list, w.put("app.members", row(fmt.Sprint(10+n), "many", null, null)))
			}
			return list
		}, `unmapped: map app.loans: touch member: nobody can tell which rows of app.members changed: one transaction changed tens of thousands of them, more than are remembered`},
		{"what a row referred to is not known", []EventConfig{touchRule("member", func(r *RuleConfig) { r.Where = where("status=OPEN") })}, func(w *touchWorld) []*capture.Change {
			w.before["app.loans"]["100"] = row("100", missing, "5", "OPEN")
			return renamed(w)
		}, loan101 + "\n" + `undecidable: map app.loans: touch member: whether the row referred to it before is not known`},
		{"nor does it matter", []EventConfig{touchRule("member", func(r *RuleConfig) { r.Where = where("status=LOST") })}, func(w *touchWorld) []*capture.Change {
			w.before["app.loans"]["100"] = row("100", missing, "5", "OPEN")
			return renamed(w)
		}, ""},
		{"what a row between referred to is not known", []EventConfig{touchRule("holding", nil)}, func(w *touchWorld) []*capture.Change {
			w.before["app.items"]["5"] = row("5", "Emma", missing)
			return []*capture.Change{w.put("app.holdings", row("50", "B 2"))}
		}, `touched 1 {"loan_id":101} {"status":"OPEN","name":"Ann","title":"Dune","call":"B 2"} was {"call":"A 1"}` + "\n" +
			`undecidable: map app.loans: touch holding: whether the row referred to it before is not known` + "\n" +
			`undecidable: map app.loans: touch holding: whether the row referred to it before is not known`},
		{"it referred to another", []EventConfig{touchRule("holding", nil)}, func(w *touchWorld) []*capture.Change {
			w.before["app.items"]["5"] = row("5", "Emma", missing)
			w.before["app.loans"]["103"] = row("103", null, "6", "OPEN")
			return []*capture.Change{w.put("app.holdings", row("50", "B 2"))}
		}, `touched 1 {"loan_id":101} {"status":"OPEN","name":"Ann","title":"Dune","call":"B 2"} was {"call":"A 1"}` + "\n" +
			`undecidable: map app.loans: touch holding: whether the row referred to it before is not known`},
		{"nobody has described the table", []EventConfig{touchRule("member", nil)}, func(w *touchWorld) []*capture.Change {
			delete(w.m.described, "app.loans")
			return renamed(w)
		}, `undecidable: map app.loans: touch member: the table's rows are not known`},
		{"one that cannot be decided", []EventConfig{touchRule("member", func(r *RuleConfig) { r.Where = where("status=OPEN") })}, func(w *touchWorld) []*capture.Change {
			w.now["app.loans"]["100"][3] = capture.Value{}
			return renamed(w)
		}, loan101 + "\n" + `undecidable: map app.loans: rule loan.touched, where: the value of column "status" is not in the stream`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newTouchWorld(t, touchingEntry(test.events...))
			if got := w.transaction(t, test.step(w)...); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
			if got := w.transaction(t); got != "" {
				t.Errorf("the next transaction tells\n%s", got)
			}
		})
	}
}

// TestTouchIDs: each row has ids of its own, which are the same when the transaction comes again, in
// windows or whole.
func TestTouchIDs(t *testing.T) {
	t.Parallel()
	var first []string
	for _, window := range []int{windowBytes, 600} {
		w := newTouchWorld(t, touchingEntry(touchRule("member", nil), EventConfig{Type: "loan.other", Rules: []RuleConfig{{Touch: []string{"member"}}}}))
		w.m.window.most = window
		for range 2 {
			w.transaction(t, w.put("app.loans", row("102", "2", "7", "x")), w.put("app.members", row("1", "tmp", "STAFF", "x")), w.put("app.loans", row("103", null, "5", "x")), w.put("app.members", row("1", "Zoe", "STAFF", "x")))
			var ids []string
			for _, ev := range w.out.events {
				ids = append(ids, ev.ID)
			}
			if len(ids) != 4 || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 4 {
				t.Fatalf("ids %q\n%s", ids, w.told())
			}
			if first == nil {
				first = ids
			}
			if !slices.Equal(ids, first) {
				t.Errorf("ids %q, before %q", ids, first)
			}
			w.put("app.members", row("1", "Ann", "STAFF", "x"))
			w.commit()
		}
	}
	const want = "evt_3lorq3qooetylu3fxyicily24m"
	if first[0] != want {
		t.Errorf("the id was %s, and is %s", want, first[0])
	}
}

// TestTouchContext: a touch is made by who changed the looked-up row, not by who last wrote the other.
func TestTouchContext(t *testing.T) {
	t.Parallel()
	entry := touchingEntry(touchRule("member", nil))
	entry.Actor.ID = "status"
	rules, err := Compile(Config{entry}, Options{Lookups: touchedLookups, Context: ContextConfig{Message: "rowhook"}})
	if err != nil {
		t.Fatal(err)
	}
	w := newTouchWorld(t, entry)
	out := &recorder{}
	w.m, w.out = rules.NewMapper(out, Identity{}), out
	out.mapper = w.m
	w.m.LookIn(w)
	for _, table := range w.tables {
		w.m.Describe(table)
	}
	w.m.Begin(&testTransaction)
	say := func(id string) {
		if err := w.m.Message(&capture.Message{Prefix: "rowhook", Content: []byte(`{"actor":{"id":"` + id + `"},"operation":"desk"}`)}); err != nil {
			t.Fatal(err)
		}
	}
	say("a1")
	loan, member := w.put("app.loans", row("102", "2", "7", "x")), w.put("app.members", row("2", "Bea", null, null))
	if err := errors.Join(w.m.Change(loan), w.m.Change(member)); err != nil {
		t.Fatal(err)
	}
	say("a2")
	if err := errors.Join(w.m.Change(w.put("app.members", row("1", "Zoe", "STAFF", "x"))), w.m.End()); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ev := range out.events {
		got = append(got, string(ev.Key)+ev.Actor.ID+ev.Operation)
	}
	if text := strings.Join(got, " "); text != `{"loan_id":102}a1desk {"loan_id":100}a2desk {"loan_id":101}a2desk` {
		t.Error(text)
	}
}

// TestTouchMost: of too many rows none is told, and all are once as many may be.
func TestTouchMost(t *testing.T) {
	t.Parallel()
	entry := touchingEntry(touchRule("holding", nil), EventConfig{Type: "loan.created", Rules: []RuleConfig{{Op: []string{"insert"}}}})
	entry.Lookup[0].MaxTouched = 4 // two items, and three loans
	w := newTouchWorld(t, entry)
	change := func() string { return w.transaction(t, w.put("app.holdings", row("50", fmt.Sprint("B", w.n)))) }
	want := `unmapped: map app.loans: touch holding: more than 4 rows refer to the row of app.holdings that changed`
	if got := change(); got != want {
		t.Fatalf("got %s", got)
	}
	failure := w.out.failures[0].Err
	keep := &keeper{m: w.m}
	w.m.out = keep
	w.transaction(t, w.put("app.loans", row("104", "2", "7", "OPEN")), w.put("app.holdings", row("50", "B 9")))
	if keep.changes != 0 || len(keep.notes) != 1 {
		t.Errorf("%d touches are parked, with %d raw changes of others", len(keep.notes), keep.changes)
	}
	var operator *capture.OperatorError
	if !errors.As(failure, &operator) || !strings.Contains(operator.Remedy, "raise mapping.app.loans.lookup.holding.max_touched") {
		t.Errorf("remedy %+v", operator)
	}
	entry.Lookup[0].MaxTouched, w.n = 5, 1
	other := newTouchWorld(t, entry)
	w.m, w.out = other.m, other.out
	w.m.LookIn(w)
	if got := change(); strings.Count(got, "touched 1") != 3 {
		t.Errorf("got %s", got)
	}
}

// TestTouchAgain makes parked touches again, by the rows of then, with the ids that they would have had.
func TestTouchAgain(t *testing.T) {
	t.Parallel()
	entry := touchingEntry(touchRule("member", func(r *RuleConfig) { r.Changed, r.Where = []string{"member.name"}, where("status=OPEN") }))
	w := newTouchWorld(t, entry)
	whole := w.transaction(t, w.put("app.members", row("1", "Zoe", "STAFF", "x")))
	ids := map[string]string{}
	for _, ev := range w.out.events {
		ids[string(ev.Key)] = ev.ID
	}
	again := func(w *touchWorld, note []byte) string {
		other := newTouchWorld(t, entry)
		w.m, w.out = other.m, other.out
		w.m.LookIn(w)
		mapped, err := w.m.RemapTouch(&Parked{Transaction: testTransaction, Entry: "app.loans"}, note)
		if err != nil || !mapped {
			t.Fatal(mapped, err)
		}
		for _, ev := range w.out.events {
			if ids[string(ev.Key)] != ev.ID {
				t.Errorf("the id of %s is %s, and was %s", ev.Key, ev.ID, ids[string(ev.Key)])
			}
		}
		return w.told()
	}
	park := func(w *touchWorld, change func(w *touchWorld)) (note []byte) {
		keep := &keeper{}
		w.m.out, keep.m = keep, w.m
		change(w)
		w.transaction(t, w.put("app.members", row("1", "Zoe", "STAFF", "x")))
		if len(keep.notes) != 1 {
			t.Fatalf("%d were parked", len(keep.notes))
		}
		return keep.notes[0]
	}

	few := entry
	few.Lookup = slices.Clone(entry.Lookup)
	few.Lookup[2].MaxTouched = 1
	w = newTouchWorld(t, few)
	if got := again(w, park(w, func(*touchWorld) {})); got != whole {
		t.Errorf("too many before:\n%s\nwant\n%s", got, whole)
	}

	w = newTouchWorld(t, entry)
	note := park(w, func(w *touchWorld) { w.now["app.loans"]["100"][3] = capture.Value{} })
	w.put("app.loans", row("100", "1", "5", "OPEN"))
	w.commit()
	first, _, _ := strings.Cut(whole, "\n")
	if got := again(w, note); got != first {
		t.Errorf("one row:\n%s\nwant\n%s", got, first)
	}
	w.del("app.loans", "100")
	w.commit()
	if got := again(w, note); got != "" {
		t.Errorf("a row that is gone: %s", got)
	}

	w = newTouchWorld(t, entry)
	w.put("app.loans", row("zzz", "1", "5", "OPEN"))
	w.commit()
	note = park(w, func(w *touchWorld) { w.now["app.loans"]["zzz"][3] = capture.Value{} })
	for i := range touchedMost {
		w.put("app.loans", row(fmt.Sprintf("a%d", i), "1", "5", "OPEN"))
	}
	w.put("app.loans", row("zzz", "1", "5", "OPEN"))
	w.commit()
	if got := again(w, note); got != "unmapped: map app.loans: touch member: more than 10000 rows refer to the row of app.members that changed by now" {
		t.Errorf("one row of very many: %s", got)
	}

	w = newTouchWorld(t, entry)
	note = park(w, func(w *touchWorld) { w.before["app.loans"]["100"] = row("100", missing, "5", "OPEN") })
	if got := again(w, note); got != "undecidable: map app.loans: touch member: whether the row referred to it before is not known" {
		t.Errorf("a row that may have referred to another: %s", got)
	}

	w = newTouchWorld(t, entry)
	delete(w.m.described, "app.loans")
	w.transaction(t, w.put("app.members", row("1", "Zoe", "STAFF", "x")))
	if remedy := capture.Remedy(w.out.failures[0].Err); !strings.HasPrefix(remedy, "`rowhook backfill app.loans`") {
		t.Errorf("nobody has described the table: the remedy is %q", remedy)
	}

	w = newTouchWorld(t, entry)
	note = park(w, func(w *touchWorld) { w.unknown["app.loans"] = true })
	w.unknown["app.loans"] = false
	if got := again(w, note); got != whole {
		t.Errorf("not known before:\n%s\nwant\n%s", got, whole)
	}
	w.unknown["app.members"] = true
	if got := again(w, note); got != "undecidable: map app.loans: touch member: what the row of app.members is since the change is not known" {
		t.Errorf("while the changed rows are loaded: %s", got)
	}
	note = park(newTouchWorld(t, entry), func(w *touchWorld) { w.unknown["app.members"] = true })
	w.unknown["app.members"] = false
	if got := again(w, note); got != "undecidable: map app.loans: touch member: what the row of app.members was before the change is not known" {
		t.Errorf("what was before: %s", got)
	}
	entry.Events = []EventConfig{{Type: "loan.any", Rules: []RuleConfig{{}}}}
	if mapped, err := newTouchWorld(t, entry).m.RemapTouch(&Parked{Transaction: testTransaction, Entry: "app.loans"}, note); mapped || err != nil {
		t.Error("no rule has the touch any more:", mapped, err)
	}
}

// TestTouchUndecoded: a change that could not be decoded touches when it is retried, if it tells what was
// before.
func TestTouchUndecoded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		old  capture.Row
		want string
	}{
		"told":     {row("2", "Bob", "STUDENT", null), `touched 3 {"loan_id":102} {"status":"LOST","name":"Bea","title":"Ada","call":null} was {"name":"Bob"}`},
		"not told": {row("2", missing, missing, missing), "undecidable: map app.loans: touch member: what the row of app.members was before the change is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTouchWorld(t, touchingEntry(touchRule("member", nil)))
			c := w.put("app.members", row("2", "Bea", "STUDENT", null))
			w.commit()
			c.Ordinal, c.Old = 3, test.old
			if mapped, err := w.m.Remap(&Parked{Transaction: testTransaction}, c); err != nil || !mapped || w.told() != test.want {
				t.Errorf("mapped %t: %v\n%s", mapped, err, w.told())
			}
		})
	}
}

// FuzzTouchNote: whatever a touch was parked with, it is made again or refused.
func FuzzTouchNote(f *testing.F) {
	for _, note := range []string{
		`{"by":"member","key":["MQ=="],"ordinal":1,"old":{"member.name":"QW5u","member.user_group":null}}`,
		`{"by":"holding","key":["NTA="],"row":["MTAw"],"old":{}}`, `{"by":"member","key":["MQ==","MQ=="],"row":[],"old":{}}`, `{"by":"member"}`, `[]`,
	} {
		f.Add([]byte(note))
	}
	entry := touchingEntry(touchRule("member", nil), touchRule("holding", func(r *RuleConfig) { r.Changed = []string{"holding.call"} }))
	entry.Events[1].Type = "loan.moved"
	f.Fuzz(func(t *testing.T, note []byte) {
		w := newTouchWorld(t, entry)
		if _, err := w.m.RemapTouch(&Parked{Transaction: testTransaction, Entry: "app.loans"}, note); err != nil && len(w.out.events) > 0 {
			t.Errorf("%d events, and yet %v", len(w.out.events), err)
		}
		if w.m.Touching() {
			t.Error("the touch is not over")
		}
	})
}

// keeper keeps what touches are parked with.
type keeper struct {
	m       *Mapper
	notes   [][]byte
	changes int // that were parked with them
}

func (k *keeper) Event(*delivery.Event, delivery.Row) error { return nil }
func (k *keeper) Notice(Notice)                             {}
func (k *keeper) Fail(*Failure) error {
	note, _ := k.m.Touch()
	k.notes, k.changes = append(k.notes, bytes.Clone(note)), k.changes+len(k.m.Changes())
	return nil
}

// TestTouchConfig refuses what touches cannot be asked about.
func TestTouchConfig(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		entry func(*EntryConfig, *RuleConfig)
		want  string
	}{
		{"no such look-up", func(_ *EntryConfig, r *RuleConfig) { r.Touch = []string{"membr"} }, `the entry looks no row up that it calls "membr"`},
		{"op", func(_ *EntryConfig, r *RuleConfig) { r.Op = []string{"insert"} }, "a touch is an update of the rows that are touched"},
		{"own column", func(_ *EntryConfig, r *RuleConfig) { r.Changed = []string{"status"} }, `a touch changes no column of the row itself: "status"`},
		{"another look-up's", func(_ *EntryConfig, r *RuleConfig) { r.Set = "item.title" }, `"item.title" is no column of what the rule's touch names`},
		{"through several rows", func(e *EntryConfig, r *RuleConfig) {
			e.Lookup[0].By, e.Lookup[0].From = []string{"item.holding_id", "member_id"}, "pairs"
			r.Touch = []string{"holding"}
		}, "the rows that a change of holding touches cannot be found: holding is looked up by columns of several rows"},
		{"most", func(e *EntryConfig, _ *RuleConfig) { e.Lookup[2].MaxTouched = touchedMost + 1 }, "10001 is not between 1 and 10000"},
		{"without touch", func(e *EntryConfig, r *RuleConfig) {
			e.Events = append(e.Events, EventConfig{Type: "loan.any", Rules: []RuleConfig{{Changed: []string{"member.name"}}}})
		}, `changed takes no looked-up column: "member.name"`},
		{"fine", func(e *EntryConfig, r *RuleConfig) {
			r.Op, r.Touch, r.Changed = []string{"update"}, []string{"item"}, []string{"holding.call", "item.title"}
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rule := RuleConfig{Touch: []string{"member"}}
			entry := touchingEntry()
			entry.Events = []EventConfig{{Type: "loan.touched"}}
			test.entry(&entry, &rule)
			entry.Events[0].Rules = []RuleConfig{rule}
			_, err := Compile(Config{entry}, Options{Lookups: append(touchedLookups, LookupConfig{Name: "pairs", Table: "app.pairs", Key: []string{"a", "b"}, Columns: []string{"call"}})})
			if got := fmt.Sprint(err); test.want == "" && err != nil || !strings.Contains(got, test.want) {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// TestTouchKeeps: what is kept of the entry's table is what its events and rules read, and how it is found.
func TestTouchKeeps(t *testing.T) {
	t.Parallel()
	entry := touchingEntry(touchRule("holding", func(r *RuleConfig) { r.If = "row.flag" }), EventConfig{Type: "loan.any", Rules: []RuleConfig{{Set: "returned"}}})
	entry.Key, entry.Where = []string{"loan_id"}, where("kind=x")
	keeps := func(entry EntryConfig) string {
		rules, err := Compile(Config{entry}, Options{Lookups: touchedLookups, Asked: func(string) []string { return []string{"branch", "item.title"} }})
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, m := range rules.Memory() {
			list = append(list, fmt.Sprint(m.Table, m.Columns, m.All, m.By, m.LookedUp))
		}
		return strings.Join(slices.Sorted(slices.Values(list)), "\n")
	}
	want := `app.holdings[call holding_id] false [] true
app.items[holding_id item_id title] false [[holding_id]] true
app.loans[branch flag item_id kind loan_id member_id status] false [[item_id]] true
app.members[member_id name note user_group] false [] true`
	if got := keeps(entry); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	entry.Fields = nil
	if got := keeps(entry); !strings.Contains(got, "app.loans[branch flag item_id kind loan_id member_id] true [[item_id]] true") {
		t.Errorf("got\n%s", got)
	}
}

// TestTouchJoins: random transactions tell of each row that was there before and after, and refers to the
// same rows, what the join of the two says, once.
func TestTouchJoins(t *testing.T) {
	t.Parallel()
	told := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := newTouchWorld(t, touchingEntry(touchRule("holding item member", nil)))
		w.m.window.most = rapid.SampledFrom([]int{windowBytes, 900}).Draw(rt, "window")
		pick := func(name string, from ...string) string { return rapid.SampledFrom(from).Draw(rt, name) }
		for range 5 {
			var changes []*capture.Change
			for range rapid.IntRange(1, 6).Draw(rt, "changes") {
				table := pick("table", "app.members", "app.items", "app.holdings", "app.loans")
				var r capture.Row
				switch text := pick("text", "a", "b", null); table {
				case "app.members":
					r = row(pick("key", "1", "2", "3"), text, "STAFF", "x")
				case "app.items":
					r = row(pick("key", "5", "6", "7"), text, pick("holding", "50", "51", null))
				case "app.holdings":
					r = row(pick("key", "50", "51"), text)
				default:
					r = row(pick("key", "100", "101", "102", "103"), pick("member", "1", "2", "3", null), pick("item", "5", "6", "7"), text)
				}
				if key := string(r[0].Text); rapid.IntRange(0, 3).Draw(rt, "delete") > 0 || w.now[table][key] == nil {
					changes = append(changes, w.put(table, r))
				} else {
					changes = append(changes, w.del(table, key))
				}
			}
			before, now := w.joins(w.before), w.joins(w.now)
			var want []string
			for id, was := range before {
				is, there := now[id]
				if !there {
					continue
				}
				same := func(names ...string) bool {
					return !slices.ContainsFunc(names, func(name string) bool { return was[name] != is[name] })
				}
				differ := func(names ...string) bool { return !same(names...) }
				member := same("member_id") && differ("name")
				item := same("item_id") && differ("title", "holding_id")
				holding := same("item_id", "holding_id") && differ("call")
				if member || item || holding {
					want = append(want, fmt.Sprintf(`{"loan_id":%s} name=%s title=%s call=%s status=%s`, id, is["name"], is["title"], is["call"], is["status"]))
				}
			}
			w.transaction(rt, changes...)
			var got []string
			for _, ev := range w.out.events {
				got = append(got, string(ev.Key)+" "+plain(ev.Data))
			}
			slices.SortFunc(got, cmp.Compare)
			slices.Sort(want)
			if len(w.out.failures) > 0 || !slices.Equal(got, want) {
				rt.Fatalf("got\n%s\nwant\n%s\n%+v", strings.Join(got, "\n"), strings.Join(want, "\n"), w.out.failures)
			}
			told += len(got)
		}
	})
	if told == 0 {
		t.Error("no row was touched")
	}
}

// plain is a payload as the join is written.
func plain(data []byte) string {
	values := map[string]string{}
	for _, pair := range strings.Split(strings.Trim(string(data), "{}"), ",") {
		name, value, _ := strings.Cut(pair, ":")
		values[strings.Trim(name, `"`)] = strings.Trim(value, `"`)
	}
	return fmt.Sprintf("name=%s title=%s call=%s status=%s", values["name"], values["title"], values["call"], values["status"])
}

// joins are the loans with what they refer to.
func (s *shelved) joins(in map[string]map[string]capture.Row) map[string]map[string]string {
	joins := map[string]map[string]string{}
	text := func(v capture.Value) string {
		if v.State == capture.Present {
			return string(v.Text)
		}
		return "null"
	}
	for id, loan := range in["app.loans"] {
		join := map[string]string{"member_id": text(loan[1]), "item_id": text(loan[2]), "status": text(loan[3]), "name": "null", "title": "null", "holding_id": "null", "call": "null"}
		if member := in["app.members"][join["member_id"]]; member != nil {
			join["name"] = text(member[1])
		}
		if item := in["app.items"][join["item_id"]]; item != nil {
			join["title"], join["holding_id"] = text(item[1]), text(item[2])
		}
		if holding := in["app.holdings"][join["holding_id"]]; holding != nil {
			join["call"] = text(holding[1])
		}
		joins[id] = join
	}
	return joins
}
