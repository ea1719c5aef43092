package mapping

import (
	"fmt"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// witness writes down what it is told of changes.
type witness struct {
	t       *testing.T
	watched *Watched
	lines   []string
	on      func(*Judgement)
}

func (w *witness) Watch(e *Watched) Observer {
	w.watched = e
	return w
}

var reasonNames = [...]string{
	NoReason: "", OtherValue: "is another value", WasSet: "had a value", WasNull: "was NULL", IsNull: "is NULL", IsSet: "has a value",
	Unchanged: "did not change", HeldBefore: "held before", WrongOp: "wrong op", False: "is false", Unknown: "is unknown",
	Untyped: "is untyped", Fault: "cannot be computed",
}

func (w *witness) Mapped(j *Judgement) {
	if w.on != nil {
		w.on(j)
	}
	key, ok := j.AppendKey(nil, false)
	line := fmt.Sprintf("%s %s %t", j.Op(), key, ok)
	if j.Moved() {
		old, _ := j.AppendKey(nil, true)
		line += fmt.Sprintf(" was %s", old)
	}
	if actor, operation := j.Told(); actor.ID != "" || operation != "" {
		line += fmt.Sprintf(" by %s %s", actor.ID, operation)
	}
	if f := j.Failure(); f != nil {
		line += " failed: " + string(f.Reason)
	}
	for _, c := range j.Folded() {
		line += fmt.Sprintf(" of %s %d", c.Op, c.Ordinal)
	}
	if j.Nothing() {
		line += " nothing"
	}
	w.lines = append(w.lines, line)
	if !j.Sound() {
		return
	}
	for i, l := range w.watched.Lookups {
		if found := j.LookedUp(i); found != NotLookedUp {
			text := fmt.Sprintf("  %s of %s by %s: %s", l.Name, l.Table, strings.Join(l.By, " "), [...]string{RowFound: "found", NoRow: "no row", NullKey: "NULL", UnknownRow: "unknown"}[found])
			for _, column := range l.Columns {
				v, ok := j.Value(column)
				text += fmt.Sprintf(" %s %q %d %t", column, v.Text, v.Known, ok)
			}
			w.lines = append(w.lines, text)
		}
	}
	for i, p := range w.watched.Parts {
		if l, ok := j.Listed(i); ok {
			w.lines = append(w.lines, fmt.Sprintf("  %s of %s by %s: known %t, %d rows, more %t", p.Name, p.Table, strings.Join(p.By, " "), l.Known, l.Rows, l.More))
		}
	}
	tell := func(about string, clauses []Clause, v *Verdict) {
		text := about + ": " + [...]string{Holds: "holds", Fails: "fails", Undecided: "undecided", ForOtherOps: "other op", NotAsked: "not asked"}[v.Standing]
		if v.Clause >= 0 {
			text += ", " + clauses[v.Clause].String()
		}
		if v.Reason != NoReason {
			text += ": " + reasonNames[v.Reason]
		}
		j.Values(v, func(value ColumnValue) {
			text += fmt.Sprintf(" [%s %q %d", value.Name, value.Text, value.Known)
			if value.Masked {
				text += " masked"
			}
			if value.Hidden {
				text += " hidden"
			}
			text += "]"
		})
		w.lines = append(w.lines, "  "+text)
	}
	if about := j.About(); about.Standing != Holds {
		tell("entry", w.watched.Where, &about)
	}
	for _, v := range j.AppendVerdicts(nil) {
		rule := w.watched.Events[v.Event].Rules[v.Rule]
		tell(rule.Name, rule.Clauses, &v)
	}
}

// watch maps changes with a witness.
func watch(t *testing.T, cfg Config, changes ...*capture.Change) (*witness, *recorder) {
	t.Helper()
	rules, err := Compile(cfg, Options{Context: DefaultContext(), ReadFile: func(string) ([]byte, error) { return []byte("0123456789abcdef"), nil }})
	if err != nil {
		t.Fatal(err)
	}
	w, out := &witness{t: t}, &recorder{}
	m := rules.NewMapper(out, Identity{Source: "library", Lineage: "7301234567890123456"})
	m.Watch(w)
	out.mapper = m
	m.Begin(&testTransaction)
	for _, c := range changes {
		if err := m.Change(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.End(); err != nil {
		t.Fatal(err)
	}
	return w, out
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	const due, back = "2026-12-01 14:00:00+00", "2026-11-22 01:02:03.12+00"
	full, byKey := loans(capture.IdentityFull), loans(capture.IdentityDefault)
	lent := loanRow("ACTIVE", due, null, "a")
	returned := loanRow("DONE", due, back, "a")
	entry := func(events ...EventConfig) Config { return Config{{Name: "circulation.loans", Events: events}} }
	update := func(old, now capture.Row) *capture.Change {
		return &capture.Change{Op: capture.Update, Table: full, Old: old, New: now, Ordinal: 3}
	}
	masked := entry(EventConfig{"loan.done", []RuleConfig{{Where: where("status=GONE")}}})
	masked[0].Columns = ColumnsConfig{Mask: []string{"status", "loan_id"}, MaskKeyFile: "mask.key"}
	hidden := entry(EventConfig{"loan.done", []RuleConfig{{Where: where("status=GONE")}}})
	hidden[0].Columns.Exclude = []string{"status"}
	other := entry(EventConfig{"loan.done", []RuleConfig{{Set: "returned_at"}}})
	other[0].Where = where("branch=NORTH")
	first := entry(EventConfig{"loan.done", []RuleConfig{{Becomes: where("status=DONE")}}}, EventConfig{"loan.returned", []RuleConfig{{Set: "returned_at"}}})
	first[0].Rules = "first"
	var told strings.Builder
	for _, c := range []struct {
		name   string
		cfg    Config
		change *capture.Change
	}{
		{"holds", entry(EventConfig{"loan.returned", []RuleConfig{{Set: "returned_at"}}}), update(lent, returned)},
		{"other op", entry(EventConfig{"loan.created", []RuleConfig{{Op: []string{"insert"}}}}), update(lent, returned)},
		{"set, and had a value", entry(EventConfig{"loan.returned", []RuleConfig{{Set: "returned_at"}}}), update(returned, returned)},
		{"set, and is null", entry(EventConfig{"loan.returned", []RuleConfig{{Set: "returned_at"}}}), update(returned, lent)},
		{"cleared, and was null", entry(EventConfig{"loan.lent", []RuleConfig{{Cleared: "returned_at"}}}), update(lent, lent)},
		{"cleared, and has a value", entry(EventConfig{"loan.lent", []RuleConfig{{Cleared: "returned_at"}}}), update(returned, returned)},
		{"changed", entry(EventConfig{"loan.moved", []RuleConfig{{Changed: []string{"branch", "item_pid"}}}}), update(lent, returned)},
		{"becomes another", entry(EventConfig{"loan.gone", []RuleConfig{{Becomes: where("status=GONE,LOST")}}}), update(lent, returned)},
		{"becomes what it was", entry(EventConfig{"loan.done", []RuleConfig{{Becomes: where("status=DONE")}}}), update(returned, returned)},
		{"second clause", entry(EventConfig{"loan.done", []RuleConfig{{Set: "returned_at", Where: where("status=DONE", "branch=NORTH")}}}), update(lent, returned)},
		{"if", entry(EventConfig{"loan.done", []RuleConfig{{If: "new.due_at < old.due_at and row.status == 'DONE'"}}}), update(lent, returned)},
		{"undecided", entry(EventConfig{"loan.returned", []RuleConfig{{Set: "returned_at"}}}),
			&capture.Change{Op: capture.Update, Table: byKey, New: returned}},
		{"one rule of two", entry(EventConfig{"loan.returned", []RuleConfig{{Set: "item_pid"}, {Set: "returned_at"}, {}}}), update(lent, returned)},
		{"first", first, update(lent, returned)},
		{"not the entry's", other, update(lent, returned)},
		{"masked", masked, update(lent, returned)},
		{"excluded", hidden, update(lent, returned)},
		{"another key", entry(EventConfig{"loan.gone", []RuleConfig{{Op: []string{"delete"}}}}),
			update(lent, append(row("1001"), returned[1:]...))},
		{"a rule's column is gone", entry(EventConfig{"loan.gone", []RuleConfig{{Set: "lost_at"}}}), update(lent, returned)},
		{"truncate", entry(EventConfig{"loan.gone", []RuleConfig{{Op: []string{"delete"}}}}), &capture.Change{Op: capture.Truncate, Table: full}},
	} {
		w, _ := watch(t, c.cfg, c.change)
		fmt.Fprintf(&told, "# %s\n%s\n", c.name, strings.Join(w.lines, "\n"))
	}
	golden(t, "verdicts.txt", told.String())
}

// TestVerdictsAgree: events fire where a rule's verdict is that it holds, and for no other rule,
// whatever is known; and what fails, fails for a clause and a reason.
func TestVerdictsAgree(t *testing.T) {
	t.Parallel()
	rules := []RuleConfig{
		{Set: "name"}, {Cleared: "name"}, {Changed: []string{"name", "doc"}}, {Becomes: where("name=Ann", "active=true")},
		{Becomes: where("amount=2.5,null")}, {Where: where("name=Bob", "doc=null")}, {Set: "name", Where: where("active=false")},
		{If: "new.name != old.name or row.amount > 2"}, {Op: []string{"update"}, If: "op == 'update' and old.name == 'Ann'"},
	}
	values := []string{"Ann", "Bob", "2.5", "null", "t"}
	checked := map[Standing]int{}
	for seed := range 4000 {
		a, b := rules[seed%len(rules)], rules[(seed/7)%len(rules)]
		cfg := Config{{Name: "circulation.loans", Key: []string{"id"}, Events: []EventConfig{
			{"loan.one", []RuleConfig{a, b}}, {"loan.two", []RuleConfig{b}},
		}}}
		if seed%3 == 0 {
			cfg[0].Rules = "first"
		}
		if seed%5 == 0 {
			cfg[0].Where = where("name=Ann,Bob")
		}
		op := capture.Op(seed%3) + 1
		change := ruledChange(op, values[seed/3%len(values)], values[seed/11%len(values)], uint32(seed*2654435761)&uint32(seed*40503))
		w := map[int]bool{}
		var about Standing
		witness, out := &witness{t: t}, &recorder{}
		witness.on = func(j *Judgement) {
			about = j.About().Standing
			for _, v := range j.AppendVerdicts(nil) {
				checked[v.Standing]++
				switch v.Standing {
				case Holds:
					w[v.Event] = true
				case Fails:
					if v.Clause < 0 || v.Reason == NoReason || v.Reason == Unknown {
						t.Errorf("seed %d: rule %d of event %d fails for clause %d, reason %d", seed, v.Rule, v.Event, v.Clause, v.Reason)
					}
				case Undecided:
					if v.Clause < 0 {
						t.Errorf("seed %d: nothing is said of what cannot be decided", seed)
					}
				}
			}
		}
		compiled, err := Compile(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		m := compiled.NewMapper(out, Identity{})
		out.mapper = m
		m.Watch(witness)
		m.Begin(&testTransaction)
		if err := m.Change(change); err != nil {
			t.Fatal(err)
		}
		fired := map[int]bool{}
		for _, ev := range out.events {
			fired[map[string]int{"loan.one": 0, "loan.two": 1}[ev.Type]] = true
		}
		if about != Holds {
			w = map[int]bool{} // whether the entry is about the row is not known, or it is not
		}
		if fmt.Sprint(fired) != fmt.Sprint(w) {
			t.Errorf("seed %d, %s, entry %d: fired %v, and verdicts hold for %v", seed, op, about, fired, w)
		}
	}
	for _, s := range []Standing{Holds, Fails, Undecided, ForOtherOps, NotAsked} {
		if checked[s] == 0 {
			t.Errorf("no rule stood as %d", s)
		}
	}
}

// TestJudgementCostsNothingUnasked: who is told and asks nothing makes no garbage, and no answers
// other than who is not told.
func TestJudgementCostsNothingUnasked(t *testing.T) { //nolint:paralleltest // it counts allocations
	rules, err := Compile(loanMapping(), Options{Context: DefaultContext()})
	if err != nil {
		t.Fatal(err)
	}
	out := &recorder{}
	m := rules.NewMapper(out, Identity{})
	m.Watch(deaf{})
	m.Begin(&testTransaction)
	lent := loanRow("ACTIVE", "2026-12-01 14:00:00+00", null, "a")
	change := &capture.Change{Op: capture.Update, Table: loans(capture.IdentityFull), Old: lent, New: lent}
	if allocs := testing.AllocsPerRun(100, func() { _ = m.Change(change) }); allocs > 0 {
		t.Errorf("%v allocations a change", allocs)
	}
}

// deaf is told and asks nothing.
type deaf struct{}

func (d deaf) Watch(*Watched) Observer { return d }
func (deaf) Mapped(*Judgement)         {}

// TestTriggersWordIsNotAnotherStatements: a change that no rule is for has the actor of its own
// statement.
func TestTriggersWordIsNotAnotherStatements(t *testing.T) {
	t.Parallel()
	cfg := Config{{Name: "circulation.loans", Events: []EventConfig{{"loan.created", []RuleConfig{{Op: []string{"insert"}}}}}}}
	rules, err := Compile(cfg, Options{Context: DefaultContext()})
	if err != nil {
		t.Fatal(err)
	}
	out := &recorder{}
	m := rules.NewMapper(out, Identity{})
	out.mapper = m
	var actors []delivery.Actor
	w := &witness{t: t, on: func(j *Judgement) {
		actor, _ := j.Told()
		actors = append(actors, actor)
	}}
	m.Watch(w)
	m.Begin(&testTransaction)
	full := loans(capture.IdentityFull)
	lent := loanRow("ACTIVE", "2026-12-01 14:00:00+00", null, "a")
	if err := m.Change(&capture.Change{Op: capture.Insert, Table: full, New: lent, Statement: 1}); err != nil {
		t.Fatal(err)
	}
	if err := m.Message(&capture.Message{Prefix: "rowhook", Content: []byte(`{"actor":{"id":"t1"},"trigger":true}`)}); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []int{1, 2} {
		if err := m.Change(&capture.Change{Op: capture.Update, Table: full, Old: lent, New: lent, Statement: statement}); err != nil {
			t.Fatal(err)
		}
	}
	if want := "[{ } {t1 } { }]"; fmt.Sprint(actors) != want {
		t.Errorf("actors %v, want %s", actors, want)
	}
}

// TestVerdictsOfLookups: what each look-up of an entry found is told, with the columns that it uses.
func TestVerdictsOfLookups(t *testing.T) {
	t.Parallel()
	shelf := shelves{
		"items 5": row("5", "Moby-Dick", "50"), "holdings 50": row("50", "MAIN"), "libraries MAIN": row("MAIN", "Main library"),
		"items 6": row("6", "Walden", null), "items 8": nil, "items 10": row("10", "Dune", "100"),
	}
	cfg := chained([]EventConfig{{"loan.made", []RuleConfig{{Op: []string{"insert"}}}}})
	cfg[0].Fields = []FieldConfig{fieldOf("title", "item.title"), fieldOf("library", "library.name")}
	m, _ := setup(t, cfg, Options{Lookups: chain})
	m.LookIn(shelf)
	for _, table := range chainTables() {
		m.Describe(table)
	}
	w := &witness{t: t}
	m.Watch(w)
	for _, c := range []*capture.Change{
		{Op: capture.Insert, New: row("7", "1", "5", "1")}, {Op: capture.Insert, New: row("7", "1", "6", "1")}, {Op: capture.Insert, New: row("7", "1", "8", "1")},
		{Op: capture.Insert, New: row("7", "1", "10", "1")}, {Op: capture.Insert, New: row("7", "1")}, {Op: capture.Update, New: row("7", "1", "5", "1")},
	} {
		c.Table = loanTable(capture.IdentityDefault)
		m.Begin(&testTransaction)
		if err := m.Change(c); err != nil {
			t.Fatal(err)
		}
		if err := m.End(); err != nil {
			t.Fatal(err)
		}
	}
	const made, other = "  loan.made: holds", "  loan.made: other op"
	item := func(found string) string { return "  item of catalog.items by item_pid: " + found }
	want := []string{
		`insert {"loan_id":7} true`, item(`found item.title "Moby-Dick" 2 true item.holding_id "50" 2 true`),
		`  holding of catalog.holdings by item.holding_id: found holding.library "MAIN" 2 true`, `  library of app.libraries by holding.library: found library.name "Main library" 2 true`, made,
		`insert {"loan_id":7} true`, item(`found item.title "Walden" 2 true item.holding_id "" 1 true`),
		`  holding of catalog.holdings by item.holding_id: NULL holding.library "" 1 true`, `  library of app.libraries by holding.library: NULL library.name "" 1 true`, made,
		`insert {"loan_id":7} true`, item(`unknown item.title "" 0 true item.holding_id "" 0 true`),
		`  holding of catalog.holdings by item.holding_id: unknown holding.library "" 0 true`, `  library of app.libraries by holding.library: unknown library.name "" 0 true`, made,
		`insert {"loan_id":7} true`, item(`found item.title "Dune" 2 true item.holding_id "100" 2 true`),
		`  holding of catalog.holdings by item.holding_id: no row holding.library "" 1 true`, `  library of app.libraries by holding.library: NULL library.name "" 1 true`, made,
		`insert {"loan_id":7} true failed: unmapped`,
		`update {"loan_id":7} true`, other,
	}
	if got := strings.Join(w.lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// TestVerdictsOfParts: what each list had is told of the changes whose events have it, and of no other.
func TestVerdictsOfParts(t *testing.T) {
	t.Parallel()
	m, _, _ := partsSetup(t, finesOf(func(e *EntryConfig) {
		e.Parts = append(e.Parts, PartUse{Name: "unused", Table: "circulation.fines", By: PartBy{Column: "loan_id"}, Columns: []string{"amount"}, Max: 3})
		e.Events = []EventConfig{{"loan.made", []RuleConfig{{Op: []string{"insert", "delete"}, Where: where("n=1")}}}}
	}))
	w := &witness{t: t}
	m.Watch(w)
	for _, c := range []*capture.Change{
		{Op: capture.Insert, New: row("1", "1", "5", "1")}, {Op: capture.Insert, New: row("3", "1", "5", "1")}, {Op: capture.Insert, New: row("2", "1", "5", "1")},
		{Op: capture.Insert, New: row("2", "1", "5", "2")}, {Op: capture.Insert, New: row("9", "1", "5", "1")}, {Op: capture.Update, Old: row("1", "1", "5", "1"), New: row("1", "1", "5", "1")},
		{Op: capture.Delete, Old: row("1", "1", "5", "1")}, {Op: capture.Truncate},
	} {
		c.Table = loanTable(capture.IdentityFull)
		m.Begin(&testTransaction)
		if err := m.Change(c); err != nil {
			t.Fatal(err)
		}
		if err := m.End(); err != nil {
			t.Fatal(err)
		}
	}
	const made, fines = "  loan.made: holds", "  fines of circulation.fines by loan_id: known "
	want := []string{
		`insert {"loan_id":1} true`, fines + "true, 2 rows, more false", made,
		`insert {"loan_id":3} true`, fines + "true, 0 rows, more false", made,
		`insert {"loan_id":2} true`, fines + "true, 3 rows, more true", made,
		`insert {"loan_id":2} true`, "  loan.made: fails, where n: 1: is another value [n \"2\" 2]",
		`insert {"loan_id":9} true`, fines + "false, 0 rows, more false", made,
		`update {"loan_id":1} true`, "  loan.made: other op",
		`delete {"loan_id":1} true`, made,
		`truncate  false`, "  loan.made: other op",
	}
	if got := strings.Join(w.lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// TestVerdictsOfFolded: which changes became one is told, and of those that came to nothing.
func TestVerdictsOfFolded(t *testing.T) {
	t.Parallel()
	full := loanTable(capture.IdentityFull)
	cfg := Config{
		{Name: "circulation.loans", Coalesce: "transaction", Events: []EventConfig{{"loan.made", []RuleConfig{{Op: []string{"insert"}, Where: where("n=3")}}}}},
		{Name: "each", Table: "circulation.loans", Events: []EventConfig{{"loan.gone", []RuleConfig{{Op: []string{"delete"}}}}}},
	}
	w, out := watch(t, cfg,
		&capture.Change{Op: capture.Insert, Table: full, New: row("1", "1", "1", "1"), Ordinal: 1},
		&capture.Change{Op: capture.Update, Table: full, Old: row("1", "1", "1", "1"), New: row("1", "1", "1", "2"), Ordinal: 2},
		&capture.Change{Op: capture.Insert, Table: full, New: row("2", "1", "1", "3"), Ordinal: 3},
		&capture.Change{Op: capture.Update, Table: full, Old: row("1", "1", "1", "2"), New: row("1", "1", "1", "3"), Ordinal: 4},
		&capture.Change{Op: capture.Delete, Table: full, Old: row("2", "1", "1", "3"), Ordinal: 5},
	)
	want := []string{
		`insert {"loan_id":1} true of insert 1 of update 2 of update 4`,
		`delete {"loan_id":2} true of insert 3 of delete 5 nothing`,
	}
	var got []string
	for _, line := range w.lines {
		if strings.Contains(line, " of ") { // the other entry's stand for themselves
			got = append(got, line)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") || out.types() != "loan.made loan.gone" {
		t.Errorf("%s, told\n%s\nof\n%s", out.types(), strings.Join(got, "\n"), strings.Join(w.lines, "\n"))
	}
}
