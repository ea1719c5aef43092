package account

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/mapping"
)

var began = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func text(dst, v []byte) ([]byte, bool) { return delivery.AppendJSONString(dst, string(v)), true }

func plain(dst, v []byte) ([]byte, bool) { return append(dst, v...), true }

// loans is a table whose old rows are whole.
func loans() *capture.Table {
	number := &capture.Type{Name: "bigint", Kind: capture.Bigint, AppendJSON: plain}
	words := &capture.Type{Name: "text", Kind: capture.Text, AppendJSON: text}
	return &capture.Table{
		Schema: "circulation", Name: "loans", Identity: capture.IdentityFull, Key: []int{0},
		Columns: []capture.Column{
			{Name: "loan_id", Type: number, Identity: true}, {Name: "status", Type: words, Identity: true},
			{Name: "branch", Type: words, Identity: true}, {Name: "note", Type: words, Identity: true},
		},
	}
}

func row(values ...string) capture.Row {
	r := make(capture.Row, len(values))
	for i, v := range values {
		switch v {
		case "NULL":
			r[i].State = capture.Null
		case "?":
			r[i].State = capture.Unknown
		default:
			r[i] = capture.Value{State: capture.Present, Text: []byte(v)}
		}
	}
	return r
}

func where(column string, values ...string) delivery.Where {
	c := delivery.Condition{Column: column}
	for _, v := range values {
		c.Values = append(c.Values, delivery.Literal{Text: v})
	}
	return delivery.Where{c}
}

// world is a mapper whose changes an account is kept of.
type world struct {
	t       *testing.T
	dir     string
	account *Account
	mapper  *mapping.Mapper
	router  *delivery.Router
	tx      capture.Transaction
	next    int
	events  []*delivery.Event
	failed  []*mapping.Failure
	options Options
	rules   *mapping.Rules
}

// setup has loans that end by status, a note that is masked, and a branch that is not sent.
func setup(t *testing.T, o Options) *world {
	t.Helper()
	rules, err := mapping.Compile(mapping.Config{{
		Name: "circulation.loans",
		Columns: mapping.ColumnsConfig{
			Mask: []string{"note"}, MaskKeyFile: "mask.key", Exclude: []string{"branch"},
		},
		Events: []mapping.EventConfig{
			{Type: "loan.ended", Rules: []mapping.RuleConfig{{Becomes: where("status", "DONE")}}},
			{Type: "loan.moved", Rules: []mapping.RuleConfig{{Op: []string{"update"}, Where: where("branch", "NORTH")}, {Op: []string{"insert"}}}},
			{Type: "loan.noted", Rules: []mapping.RuleConfig{{Where: where("note", "urgent")}}},
		},
	}}, mapping.Options{ReadFile: func(string) ([]byte, error) { return []byte("0123456789abcdef"), nil }})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "account"), rules: rules, options: o}
	w.router = delivery.NewRouter([]delivery.Target{
		{ID: 1},
		{ID: 2, Subscriptions: delivery.CompileSubscriptions([]delivery.SubscriptionConfig{{Events: []string{"loan.ended"}, Where: where("branch", "SOUTH")}})},
		{ID: 3, Subscriptions: delivery.CompileSubscriptions([]delivery.SubscriptionConfig{{Events: []string{"loan.noted"}}})},
		{ID: 4, Subscriptions: delivery.CompileSubscriptions([]delivery.SubscriptionConfig{{Events: []string{"loan.ended"}, Where: where("status", "LATE")}})},
		{ID: 5, Subscriptions: delivery.CompileSubscriptions([]delivery.SubscriptionConfig{{Events: []string{"loan.ended"}, Where: where("status", "LATE")}})},
	})
	w.open()
	t.Cleanup(func() {
		if err := w.account.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) open() {
	w.t.Helper()
	o := w.options
	o.Dir = w.dir
	if o.MaxSize == 0 {
		o.MaxSize = 1 << 20
	}
	var err error
	if w.account, err = Open(o); err != nil {
		w.t.Fatal(err)
	}
	w.mapper = w.rules.NewMapper(w, mapping.Identity{Source: "library", Lineage: "7"})
	w.mapper.Watch(w)
}

// Watch implements [mapping.Watcher].
func (w *world) Watch(e *mapping.Watched) mapping.Observer {
	return w.account.Watch(e, func(eventType string) (codes []string, bare []bool) {
		for _, id := range w.router.Named(eventType, e.Entry, nil) {
			codes, bare = append(codes, fmt.Sprint("p", id)), append(bare, id == 4)
		}
		return codes, bare
	})
}

// Event implements [mapping.Output].
func (w *world) Event(ev *delivery.Event, row delivery.Row) error {
	w.events = append(w.events, ev)
	if w.account.Wants() {
		w.account.Routed(ev, w.router.Explain(ev, row, nil))
	}
	return nil
}

// Fail implements [mapping.Output].
func (w *world) Fail(f *mapping.Failure) error {
	w.failed = append(w.failed, f)
	return nil
}

// Notice implements [mapping.Output].
func (w *world) Notice(mapping.Notice) {}

// begin opens the next transaction.
func (w *world) begin() {
	w.next++
	w.tx = capture.Transaction{
		ID: fmt.Sprint(740 + w.next), Position: capture.Position(fmt.Sprintf("0/%X", 4096*w.next)), Time: began.Add(time.Duration(w.next) * time.Minute),
	}
	w.tx.Identity = string(w.tx.Position) + " " + w.tx.ID
	w.mapper.Begin(&w.tx)
	w.account.Begin(&w.tx)
}

// change maps a change of a transaction of its own.
func (w *world) change(table *capture.Table, old, now capture.Row) {
	w.t.Helper()
	w.begin()
	w.apply(table, old, now, 0)
	if err := w.mapper.End(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) apply(table *capture.Table, old, now capture.Row, ordinal int) {
	w.t.Helper()
	c := &capture.Change{Op: capture.Update, Table: table, Old: old, New: now, Ordinal: ordinal}
	switch {
	case old == nil && now == nil:
		c.Op = capture.Truncate
	case old == nil:
		c.Op = capture.Insert
	case now == nil:
		c.Op = capture.Delete
	}
	if err := w.mapper.Change(c); err != nil {
		w.t.Fatal(err)
	}
}

// read looks for rows by their keys.
func (w *world) read(keys ...string) *Found {
	w.t.Helper()
	found, err := Read(w.t.Context(), w.dir, Query{Live: true, Table: func(table string) bool { return table == "" || table == "circulation.loans" }, Keys: func(*Plan) (list [][]byte) {
		for _, key := range keys {
			list = append(list, []byte(key))
		}
		return list
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

// tell writes what was found down.
func tell(found *Found) string {
	var b strings.Builder
	for i := range found.Changes {
		c := &found.Changes[i]
		fmt.Fprintf(&b, "%s %s tx %s at %s #%d", c.Time.Format("15:04"), c.Op, c.Transaction, c.Position, c.Ordinal)
		if c.Moved {
			b.WriteString(" moved")
		}
		if c.Reason != "" {
			fmt.Fprintf(&b, " failed %s: %s", c.Reason, c.Error)
		}
		b.WriteByte('\n')
		if f := c.Folded; f != nil {
			fmt.Fprintf(&b, "  of %d, nothing %t:", f.Count, f.Nothing)
			for _, p := range f.Changes {
				fmt.Fprintf(&b, " %s %d", p.Op, p.Ordinal)
			}
			b.WriteByte('\n')
		}
		for k, l := range c.Lookups {
			fmt.Fprintf(&b, "  %s: %d by %+v has %+v\n", c.Plan.Lookups[k].Name, l.Found, l.By, l.Values)
		}
		for k, l := range c.Lists {
			fmt.Fprintf(&b, "  %s: told %t known %t, %d rows, more %t, by %+v\n", c.Plan.Parts[k].Name, l.Told, l.Known, l.Rows, l.More, l.By)
		}
		for k := range c.Verdicts {
			v := &c.Verdicts[k]
			rule := c.Plan.Events[v.Event].Rules[v.Rule]
			fmt.Fprintf(&b, "  %s: %d", rule.Name, v.Standing)
			if v.Clause >= 0 {
				fmt.Fprintf(&b, " %s %d", rule.Clauses[v.Clause], v.Reason)
			}
			for _, value := range v.Values {
				fmt.Fprintf(&b, " %+v", value)
			}
			b.WriteByte('\n')
		}
		for _, e := range c.Events {
			fmt.Fprintf(&b, "  event %s:", c.Plan.Events[e.Place].Type)
			for k, a := range e.Answers {
				fmt.Fprintf(&b, " %s=%d", c.Plan.Profiles[e.Place][k], a.Match)
				if a.Value.Name != "" {
					fmt.Fprintf(&b, " %+v", a.Value)
				}
			}
			b.WriteByte('\n')
		}
	}
	for _, p := range found.Passed {
		fmt.Fprintf(&b, "%s passed %s: %s, %s, its row's %t, tx %s at %s #%d\n", p.Time.Format("15:04"), p.Table, p.Reason, p.Error, p.Keyed, p.Transaction, p.Position, p.Ordinal)
	}
	for _, l := range found.LeftOut {
		fmt.Fprintf(&b, "left out of %s from %s to %s: %d and %d\n", l.Entry, l.From.Format("15:04"), l.To.Format("15:04"), l.Eventful, l.Uneventful)
	}
	return b.String()
}

const (
	key7 = `{"loan_id":7}`
	key8 = `{"loan_id":8}`
)

func TestAccount(t *testing.T) {
	t.Parallel()
	w := setup(t, Options{Values: true})
	table := loans()
	w.change(table, nil, row("7", "ACTIVE", "NORTH", "a"))
	w.change(table, nil, row("8", "ACTIVE", "NORTH", "a"))
	w.change(table, row("7", "ACTIVE", "NORTH", "a"), row("7", "LATE", "SOUTH", strings.Repeat("長", 40)))
	w.change(table, row("7", "LATE", "SOUTH", "a"), row("7", "DONE", "SOUTH", "a"))
	w.change(table, row("7", "DONE", "SOUTH", "a"), row("8", "DONE", "SOUTH", "a"))
	w.change(table, nil, nil)
	w.change(table, row("7", "?", "SOUTH", "a"), nil)
	w.account.Flush()
	found := w.read(key7)
	want := `10:01 insert tx 741 at 0/1000 #0
  loan.ended: 2 becomes status: DONE 1 {Name:status Known:2 Text:ACTIVE Masked:false Hidden:false Cut:false}
  loan.moved[0]: 4
  loan.moved[1]: 1
  loan.noted: 2 where note: urgent 1 {Name:note Known:2 Text:MASK Masked:true Hidden:false Cut:false}
  event loan.moved: p1=1
10:03 update tx 743 at 0/3000 #0
  loan.ended: 2 becomes status: DONE 1 {Name:status Known:2 Text:LATE Masked:false Hidden:false Cut:false}
  loan.moved[0]: 2 where branch: NORTH 1 {Name:branch Known:2 Text: Masked:false Hidden:true Cut:false}
  loan.moved[1]: 4
  loan.noted: 2 where note: urgent 1 {Name:note Known:2 Text:LONG Masked:true Hidden:false Cut:false}
10:04 update tx 744 at 0/4000 #0
  loan.ended: 1
  loan.moved[0]: 2 where branch: NORTH 1 {Name:branch Known:2 Text: Masked:false Hidden:true Cut:false}
  loan.moved[1]: 4
  loan.noted: 2 where note: urgent 1 {Name:note Known:2 Text:MASK Masked:true Hidden:false Cut:false}
  event loan.ended: p1=1 p2=1 p4=0 {Name:status Known:2 Text: Masked:false Hidden:true Cut:false} p5=0 {Name:status Known:2 Text:DONE Masked:false Hidden:false Cut:false}
10:05 update tx 745 at 0/5000 #0 moved
  loan.ended: 2 becomes status: DONE 7 {Name:status Known:2 Text:DONE Masked:false Hidden:false Cut:false}
  loan.moved[0]: 2 where branch: NORTH 1 {Name:branch Known:2 Text: Masked:false Hidden:true Cut:false}
  loan.moved[1]: 4
  loan.noted: 2 where note: urgent 1 {Name:note Known:2 Text:MASK Masked:true Hidden:false Cut:false}
10:06 truncate tx 746 at 0/6000 #0
  loan.ended: 4
  loan.moved[0]: 4
  loan.moved[1]: 4
  loan.noted: 4
10:07 delete tx 747 at 0/7000 #0
  loan.ended: 4
  loan.moved[0]: 4
  loan.moved[1]: 4
  loan.noted: 2 where note: urgent 1 {Name:note Known:2 Text:MASK Masked:true Hidden:false Cut:false}
`
	for _, masked := range [2][2]string{{"MASK", "a"}, {"LONG", strings.Repeat("長", 40)}} {
		hash, ok := w.rules.Masked("circulation.loans", "note", masked[1])
		if !ok {
			t.Fatal("note is not masked")
		}
		want = strings.ReplaceAll(want, masked[0], hash)
	}
	if got := tell(found); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if other := w.read(key8); len(other.Changes) != 3 { // its insert, what became it, and the truncate
		t.Errorf("row 8:\n%s", tell(other))
	}
	byEvent, err := Read(t.Context(), w.dir, Query{Event: w.events[2].ID, Live: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(byEvent.Changes) != 1 || byEvent.Changes[0].Transaction != "744" {
		t.Errorf("by its event:\n%s", tell(byEvent))
	}
	if raw := everything(t, w.dir); strings.Contains(raw, "NORTH\n") || strings.Contains(raw, "SOUTH") || strings.Contains(raw, "長") {
		t.Error("excluded or masked values are in the files")
	}
}

// everything is all that the account's files hold. They are their owner's alone.
func everything(t *testing.T, dir string) string {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("the directory is %v, %v", info.Mode(), err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, e := range list {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		all.Write(raw)
	}
	return all.String()
}

// TestNoRowData: where the delivery log keeps no row data, neither does the account.
func TestNoRowData(t *testing.T) {
	t.Parallel()
	w := setup(t, Options{})
	w.change(loans(), nil, row("7", "ACTIVE", "NORTH", "a"))
	w.account.Flush()
	found := w.read(key7)
	if len(found.Changes) != 1 || found.Changes[0].Verdicts[0].Values != nil || found.Changes[0].Verdicts[0].Reason != mapping.OtherValue {
		t.Errorf("found:\n%s", tell(found))
	}
	if strings.Contains(everything(t, w.dir), "ACTIVE") {
		t.Error("a value is in the files")
	}
}

// lender looks branches up: SOUTH is there, EAST is not, and of NORTH nobody knows.
type lender struct{}

func (lender) LookUp(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	switch string(row[0].Text) {
	case "SOUTH":
		row[1] = capture.Value{State: capture.Present, Text: []byte("South library")}
		return true, true, nil
	case "EAST":
		return false, true, nil
	}
	return false, false, nil
}

func (lender) LookUpBefore(*capture.Table, capture.Row) (exists, known bool, err error) {
	return false, false, nil
}

func (lender) Referring(*capture.Table, []int, capture.Row, func(capture.Row) (bool, error)) (known bool, err error) {
	return false, nil
}

// Parts finds as many fines as the last digit of a loan's number says; those of loan 9 nobody knows.
func (lender) Parts(_ *capture.Table, by []int, of capture.Row, most int, take func(capture.Row) bool) (more, known bool, err error) {
	loan := string(of[by[0]].Text)
	if loan == "9" {
		return false, false, nil
	}
	for n := range loan[len(loan)-1] - '0' {
		if int(n) == most {
			return true, true, nil
		}
		take(row(loan, fmt.Sprint(n)))
	}
	return false, true, nil
}

// joining is a world whose entry merges a row's changes and looks its branch up.
func joining(t *testing.T, o Options) *world {
	t.Helper()
	w := setup(t, o)
	rules, err := mapping.Compile(mapping.Config{{
		Name: "circulation.loans", Coalesce: "transaction", Lookup: []mapping.LookupUse{{Name: "library", From: "branches", By: []string{"branch"}}},
		Events: []mapping.EventConfig{{Type: "loan.moved", Rules: []mapping.RuleConfig{{Op: []string{"insert", "update"}, Where: where("library.name", "South library")}}}},
	}}, mapping.Options{Lookups: []mapping.LookupConfig{{Name: "branches", Table: "app.branches", Key: []string{"code"}, Columns: []string{"name", "mail"}}}})
	if err != nil {
		t.Fatal(err)
	}
	w.rules = rules
	w.mapper = rules.NewMapper(w, mapping.Identity{Source: "library", Lineage: "7"})
	w.mapper.Watch(w)
	w.mapper.LookIn(lender{})
	words := loans().Columns[1].Type
	w.mapper.Describe(&capture.Table{Schema: "app", Name: "branches", Identity: capture.IdentityDefault, Key: []int{0}, Columns: []capture.Column{
		{Name: "code", Type: words, Identity: true}, {Name: "name", Type: words}, {Name: "mail", Type: words}}})
	return w
}

// TestFoldedAndLookedUp: what several changes became one of is told, and what look-ups gave.
func TestFoldedAndLookedUp(t *testing.T) {
	t.Parallel()
	w := joining(t, Options{Values: true})
	table := loans()
	w.begin()
	w.apply(table, nil, row("7", "A", "EAST", "a"), 0)
	w.apply(table, nil, row("8", "A", "EAST", "a"), 1)
	w.apply(table, row("7", "A", "EAST", "a"), row("7", "B", "SOUTH", "a"), 2)
	w.apply(table, row("8", "A", "EAST", "a"), nil, 3)
	if err := w.mapper.End(); err != nil {
		t.Fatal(err)
	}
	w.change(table, row("7", "B", "SOUTH", "a"), row("7", "B", "EAST", "a"))
	w.change(table, row("7", "B", "SOUTH", "a"), row("7", "B", "NULL", "a"))
	w.change(table, row("7", "B", "SOUTH", "a"), row("7", "B", "NORTH", "a"))
	w.change(table, row("7", "B", "SOUTH", "a"), nil)
	w.account.Flush()
	const want = `10:01 insert tx 741 at 0/1000 #2
  of 2, nothing false: insert 0 update 2
  library: 1 by [{Name:branch Known:2 Text:SOUTH Masked:false Hidden:false Cut:false}] has [{Name:library.name Known:2 Text:South library Masked:false Hidden:false Cut:false}]
  loan.moved: 1
  event loan.moved: p1=1
10:01 delete tx 741 at 0/1000 #3
  of 2, nothing true: insert 1 delete 3
10:02 update tx 742 at 0/2000 #0
  library: 2 by [{Name:branch Known:2 Text:EAST Masked:false Hidden:false Cut:false}] has []
  loan.moved: 2 where library.name: South library 1 {Name:library.name Known:1 Text: Masked:false Hidden:false Cut:false}
10:03 update tx 743 at 0/3000 #0
  library: 3 by [{Name:branch Known:1 Text: Masked:false Hidden:false Cut:false}] has []
  loan.moved: 2 where library.name: South library 1 {Name:library.name Known:1 Text: Masked:false Hidden:false Cut:false}
10:04 update tx 744 at 0/4000 #0 failed undecidable: map circulation.loans: rule loan.moved, where: the row of app.branches that has "library.name" is not known
  library: 4 by [{Name:branch Known:2 Text:NORTH Masked:false Hidden:false Cut:false}] has []
  loan.moved: 3 where library.name: South library 10 {Name:library.name Known:0 Text: Masked:false Hidden:false Cut:false}
10:05 delete tx 745 at 0/5000 #0
  loan.moved: 4
`
	if got := tell(w.read(key7, key8)); got != want {
		t.Errorf("found:\n%s\nwant:\n%s", got, want)
	}
	many := joining(t, Options{})
	many.begin()
	for i := range 2 * mostFolded {
		many.apply(table, row("7", "A", "EAST", "a"), row("7", "A", "SOUTH", "a"), i)
	}
	if err := many.mapper.End(); err != nil {
		t.Fatal(err)
	}
	many.account.Flush()
	found := many.read(key7)
	if f := found.Changes[0].Folded; f == nil || f.Count != 2*mostFolded || len(f.Changes) != mostFolded || f.Changes[mostFolded-2].Ordinal != mostFolded-2 || f.Changes[mostFolded-1].Ordinal != 2*mostFolded-1 {
		t.Errorf("of very many: %+v", f)
	}
	if l := found.Changes[0].Lookups; len(l) != 1 || l[0].Found != mapping.RowFound || len(l[0].By)+len(l[0].Values) > 0 {
		t.Errorf("without row data: %+v", l)
	}
}

// renamer is a lender whose branches had another name before the transaction, and to which loan 7 refers.
type renamer struct{ lender }

func (renamer) LookUpBefore(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	if of.Name == "branches" {
		row[1] = capture.Value{State: capture.Present, Text: []byte("Old library")}
	} else {
		copy(row, southLoan())
	}
	return true, true, nil
}

func (renamer) Referring(_ *capture.Table, _ []int, _ capture.Row, take func(capture.Row) (bool, error)) (known bool, err error) {
	_, err = take(southLoan())
	return true, err
}

func southLoan() capture.Row { return row("7", "A", "SOUTH", "a") }

// TestTouched: a change of a looked-up row is told of the row that it touches, and that it is what touched
// it; rules about the row itself are not asked.
func TestTouched(t *testing.T) {
	t.Parallel()
	w := joining(t, Options{Values: true})
	rules, err := mapping.Compile(mapping.Config{{
		Name: "circulation.loans", Lookup: []mapping.LookupUse{{Name: "library", From: "branches", By: []string{"branch"}, MaxTouched: 9}},
		Events: []mapping.EventConfig{
			{Type: "loan.changed", Rules: []mapping.RuleConfig{{Op: []string{"update"}}}},
			{Type: "loan.renamed", Rules: []mapping.RuleConfig{{Touch: []string{"library"}, Changed: []string{"library.name"}}}},
		},
	}}, mapping.Options{Lookups: []mapping.LookupConfig{{Name: "branches", Table: "app.branches", Key: []string{"code"}, Columns: []string{"name", "mail"}}}})
	if err != nil {
		t.Fatal(err)
	}
	w.rules = rules
	w.mapper = rules.NewMapper(w, mapping.Identity{Source: "library", Lineage: "7"})
	w.mapper.Watch(w)
	w.mapper.LookIn(renamer{})
	words := loans().Columns[1].Type
	branches := &capture.Table{Schema: "app", Name: "branches", Identity: capture.IdentityDefault, Key: []int{0}, Columns: []capture.Column{
		{Name: "code", Type: words, Identity: true}, {Name: "name", Type: words}, {Name: "mail", Type: words}}}
	w.mapper.Describe(branches)
	w.mapper.Describe(loans())
	w.begin()
	w.apply(branches, row("SOUTH", "Old library", "x"), row("SOUTH", "South library", "x"), 4)
	if err := w.mapper.End(); err != nil {
		t.Fatal(err)
	}
	w.change(loans(), southLoan(), row("7", "B", "SOUTH", "a"))
	w.account.Flush()
	found := w.read(key7)
	if len(found.Changes) != 2 {
		t.Fatalf("found:\n%s", tell(found))
	}
	var got []string
	for _, c := range found.Changes {
		got = append(got, fmt.Sprint(c.Ordinal, c.Op, c.Lookups[0].Touched, len(c.Events), c.Verdicts[0].Standing, c.Verdicts[1].Standing, c.Plan.Events[1].Rules[0].Ops))
	}
	ops := []string{"touch"}
	want := []string{
		fmt.Sprint(4, capture.Update, true, 1, mapping.ForOtherOps, mapping.Holds, ops),
		fmt.Sprint(0, capture.Update, false, 1, mapping.Holds, mapping.ForOtherOps, ops),
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// listing is a world whose entry lists a loan's fines, two at most.
func listing(t *testing.T, o Options) *world {
	t.Helper()
	w := setup(t, o)
	rules, err := mapping.Compile(mapping.Config{{
		Name:   "circulation.loans",
		Parts:  []mapping.PartUse{{Name: "fines", Table: "app.fines", By: mapping.PartBy{Column: "loan"}, Columns: []string{"amount"}, Max: 2}},
		Fields: []mapping.FieldConfig{{Name: "due", Value: mapping.FieldValue{Text: "fines"}}},
		Events: []mapping.EventConfig{{Type: "loan.made", Rules: []mapping.RuleConfig{{Op: []string{"insert"}, Where: where("status", "LENT")}}}},
	}}, mapping.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.rules = rules
	w.mapper = rules.NewMapper(w, mapping.Identity{Source: "library", Lineage: "7"})
	w.mapper.Watch(w)
	w.mapper.LookIn(lender{})
	number, words := loans().Columns[0].Type, loans().Columns[1].Type
	w.mapper.Describe(&capture.Table{Schema: "app", Name: "fines", Identity: capture.IdentityDefault, Key: []int{0, 1}, Columns: []capture.Column{
		{Name: "loan", Type: number, Identity: true}, {Name: "amount", Type: words}}})
	return w
}

// TestListed: what lists had is told of changes that made an event, and by what their rows were found
// where row data is kept.
func TestListed(t *testing.T) {
	t.Parallel()
	table := loans()
	for _, test := range []struct {
		name   string
		values bool
		by     string // of loan 7
	}{{"with row data", true, "{Name:loan_id Known:2 Text:7 Masked:false Hidden:false Cut:false}"}, {"without", false, ""}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := listing(t, Options{Values: test.values})
			for _, id := range []string{"7", "2", "10", "9"} {
				w.change(table, nil, row(id, "LENT", "NORTH", "a"))
			}
			w.change(table, nil, row("7", "LOST", "NORTH", "a"))
			w.change(table, row("7", "LENT", "NORTH", "a"), row("7", "LENT", "SOUTH", "a"))
			w.account.Flush()
			var got []string
			for _, line := range strings.Split(tell(w.read(key7, `{"loan_id":2}`, `{"loan_id":10}`, `{"loan_id":9}`)), "\n") {
				if strings.Contains(line, "fines:") || strings.Contains(line, " tx ") {
					got = append(got, line)
				}
			}
			other := func(id string) string { return strings.Replace(test.by, "Text:7", "Text:"+id, 1) }
			want := []string{
				"10:01 insert tx 741 at 0/1000 #0", "  fines: told true known true, 2 rows, more true, by [" + test.by + "]",
				"10:02 insert tx 742 at 0/2000 #0", "  fines: told true known true, 2 rows, more false, by [" + other("2") + "]",
				"10:03 insert tx 743 at 0/3000 #0", "  fines: told true known true, 0 rows, more false, by [" + other("10") + "]",
				"10:04 insert tx 744 at 0/4000 #0", "  fines: told true known false, 0 rows, more false, by [" + other("9") + "]",
				"10:05 insert tx 745 at 0/5000 #0",
				"10:06 update tx 746 at 0/6000 #0",
			}
			if !slices.Equal(got, want) {
				t.Errorf("found:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// TestPassed: a change that could not be decoded is told of where it may be the row's.
func TestPassed(t *testing.T) {
	t.Parallel()
	w := setup(t, Options{Values: true})
	table := loans()
	w.begin()
	w.account.Passed(&delivery.Parked{Table: "circulation.loans", Ordinal: 1, Reason: "undecoded", Error: "the row has 3 values"})
	w.account.Passed(&delivery.Parked{Table: "circulation.loans", Ordinal: 2, Key: []byte(key7), Reason: "oversize", Error: "too large"})
	w.account.Passed(&delivery.Parked{Table: "circulation.loans", Ordinal: 3, Key: []byte(key8), Reason: "oversize", Error: "too large"})
	w.account.Passed(&delivery.Parked{Table: "circulation.items", Ordinal: 4, Reason: "undecoded"})
	w.account.Passed(&delivery.Parked{Ordinal: 5, Reason: "undecoded"})
	w.begin()
	w.account.Passed(&delivery.Parked{Table: "circulation.loans", Reason: "undecoded"})
	w.account.Abort()
	w.change(table, nil, row("7", "A", "SOUTH", "a"))
	w.account.Flush()
	found := w.read(key7)
	found.Changes = nil
	const want = `10:01 passed circulation.loans: undecoded, the row has 3 values, its row's false, tx 741 at 0/1000 #1
10:01 passed circulation.loans: oversize, too large, its row's true, tx 741 at 0/1000 #2
10:01 passed : undecoded, , its row's false, tx 741 at 0/1000 #5
`
	if got := tell(found); got != want {
		t.Errorf("found:\n%s\nwant:\n%s", got, want)
	}
}

// TestPassedAlone: where nothing else tells of the table, whose row it was is not known.
func TestPassedAlone(t *testing.T) {
	t.Parallel()
	w := setup(t, Options{Values: true})
	w.begin()
	w.account.Passed(&delivery.Parked{Table: "circulation.loans", Ordinal: 1, Key: []byte(key7), Reason: "oversize"})
	w.account.Flush()
	if found := w.read(key7); len(found.Passed) != 1 || found.Passed[0].Keyed {
		t.Errorf("found:\n%s", tell(found))
	}
}

// TestPassedAmongOthers: changes of other rows, however many, take no place of the row's own.
func TestPassedAmongOthers(t *testing.T) {
	t.Parallel()
	w := setup(t, Options{Values: true})
	w.change(loans(), nil, row("7", "A", "SOUTH", "a"))
	w.begin()
	pass := func(key string, count int) {
		for i := range count {
			w.account.Passed(&delivery.Parked{Table: "circulation.loans", Ordinal: len(key)*10_000 + i, Key: []byte(key), Reason: "oversize"})
		}
	}
	pass(key7, 1)
	pass(`{"loan_id":88}`, 2*mostPassed+100)
	w.account.Flush()
	if found := w.read(key7); len(found.Passed) != 1 || !found.Passed[0].Keyed || found.More {
		t.Errorf("found, more %v:\n%s", found.More, tell(found))
	}
	pass(key7, 2*mostPassed+2)
	w.account.Flush()
	if found := w.read(key7); len(found.Passed) < mostPassed || !found.More {
		t.Errorf("%d found, more %v", len(found.Passed), found.More)
	}
}

// TestUndecided: a parked change has its reason, and a rule that could not be decided its column.
func TestUndecided(t *testing.T) {
	t.Parallel()
	w := setup(t, Options{Values: true})
	w.change(loans(), row("7", "?", "SOUTH", "a"), row("7", "DONE", "SOUTH", "a"))
	w.account.Flush()
	found := w.read(key7)
	if len(w.failed) != 1 || len(found.Changes) != 1 {
		t.Fatalf("%d failed, found:\n%s", len(w.failed), tell(found))
	}
	c := &found.Changes[0]
	if c.Reason != "undecidable" || c.Error != w.failed[0].Err.Error() {
		t.Errorf("parked for %q: %q", c.Reason, c.Error)
	}
	v := &c.Verdicts[0]
	if v.Standing != mapping.Undecided || v.Reason != mapping.Unknown || v.Clause != 0 || len(v.Values) != 1 || v.Values[0].Known != delivery.ValueUnknown {
		t.Errorf("the rule stands %+v", v)
	}
}

// TestBudgets: beyond the budget changes are counted; events have a budget of their own; time fills
// both up again.
func TestBudgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := setup(t, Options{Values: true, Rate: 10, Burst: 20})
		table := loans()
		quiet := func() { w.change(table, row("7", "LATE", "SOUTH", "a"), row("7", "LATE", "SOUTH", "a")) }
		for range 50 {
			quiet()
		}
		w.change(table, row("7", "LATE", "SOUTH", "a"), row("7", "DONE", "SOUTH", "a"))
		time.Sleep(2 * flushInterval)
		synctest.Wait()
		for range 30 {
			quiet()
		}
		w.account.Settle()
		w.account.Flush()
		found := w.read(key7)
		events := 0
		for i := range found.Changes {
			events += len(found.Changes[i].Events)
		}
		// The timer has filled up once, a second after the last change at most.
		if n := len(found.Changes); n != 20+1+10 || events != 1 {
			t.Errorf("%d changes, %d of them with an event", n, events)
		}
		left := int64(0)
		for _, l := range found.LeftOut {
			left += l.Uneventful
			if l.Eventful != 0 || l.Entry != "circulation.loans" || l.From.After(l.To) {
				t.Errorf("left out: %+v", l)
			}
		}
		if left != 30+20 {
			t.Errorf("%d changes were left out", left)
		}
	})
}

// TestTooManyEvents: beyond their budget changes with events are left out, and never told as changes
// that made none.
func TestTooManyEvents(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := setup(t, Options{Values: true, Rate: 1, Burst: 1})
		table := loans()
		for range 3 {
			w.change(table, row("7", "LATE", "SOUTH", "a"), row("7", "DONE", "SOUTH", "a"))
		}
		w.change(table, row("7", "LATE", "SOUTH", "a"), row("7", "LATE", "SOUTH", "a"))
		w.account.Settle()
		w.account.Flush()
		found := w.read(key7)
		if len(found.Changes) != 2 || len(found.Changes[0].Events) != 1 || found.Changes[1].Transaction != "744" || len(found.LeftOut) != 1 ||
			found.LeftOut[0].Eventful != 2 || found.LeftOut[0].Uneventful != 0 {
			t.Errorf("of %d events, found:\n%s", len(w.events), tell(found))
		}
	})
}

// TestEventsOfAnotherPlan: a change whose events cannot all be written down is left out.
func TestEventsOfAnotherPlan(t *testing.T) {
	t.Parallel()
	w := setup(t, Options{Values: true})
	table := loans()
	w.change(table, nil, row("7", "A", "SOUTH", "a"))
	w.router = delivery.NewRouter([]delivery.Target{{ID: 1}, {ID: 6}}) // the plan does not know of the second
	w.change(table, nil, row("7", "B", "SOUTH", "a"))
	w.account.Settle()
	w.account.Flush()
	found := w.read(key7)
	if len(w.events) != 2 || len(found.Changes) != 1 || found.Damaged > 0 || len(found.LeftOut) != 1 || found.LeftOut[0].Eventful != 1 {
		t.Errorf("of %d events, found:\n%s", len(w.events), tell(found))
	}
}

// TestBudgetsFillAfterHaste: time fills budgets up also when they were used up by as much as goes to
// the file at once.
func TestBudgetsFillAfterHaste(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const burst = 1000
		w := setup(t, Options{Values: true, Rate: 10, Burst: burst})
		table := loans()
		quiet := func() { w.change(table, row("7", "LATE", "SOUTH", "a"), row("7", "LATE", "SOUTH", "a")) }
		for range burst + 1 {
			quiet()
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		time.Sleep(2 * flushInterval)
		synctest.Wait()
		quiet()
		w.account.Flush()
		found := w.read(key7)
		if n := len(found.Changes); n != burst+1 || len(found.LeftOut) != 1 || found.LeftOut[0].Uneventful != 1 {
			t.Errorf("%d changes, left out %+v", n, found.LeftOut)
		}
	})
}

// TestValuesGo: where no values are to be kept any more, those that are there go.
func TestValuesGo(t *testing.T) {
	t.Parallel()
	w := setup(t, Options{Values: true})
	again := func(values bool) {
		if err := w.account.Close(); err != nil {
			t.Fatal(err)
		}
		w.options.Values = values
		w.open()
		w.change(loans(), nil, row("7", "ACTIVE", "NORTH", "a"))
		w.account.Flush()
	}
	for _, c := range []struct {
		values bool
		want   int // changes
	}{{true, 1}, {false, 1}, {false, 2}, {true, 3}, {true, 4}} {
		again(c.values)
		if found := w.read(key7); len(found.Changes) != c.want || strings.Contains(everything(t, w.dir), "ACTIVE") != c.values {
			t.Errorf("with values %v:\n%s", c.values, tell(found))
		}
	}
	if err := Remove(w.dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(w.dir); err != nil || len(left) > 0 {
		t.Errorf("removed, and there is %v, %v", left, err)
	}
	if err := errors.Join(Remove(w.dir), Remove(filepath.Join(w.dir, "none"))); err != nil {
		t.Error(err)
	}
}

// TestReadInPieces: however large the account may be, a reader has one small segment in memory, and
// can be ended between two.
func TestReadInPieces(t *testing.T) {
	t.Parallel()
	f, err := openFiles(t.TempDir(), 10<<30, true)
	if err != nil || f.most > 4<<20 {
		t.Errorf("a segment has %d bytes, %v", f.most, err)
	}
	w := setup(t, Options{Values: true})
	for range 3 {
		if err := w.account.Close(); err != nil {
			t.Fatal(err)
		}
		w.open()
		w.change(loans(), nil, row("7", "ACTIVE", "NORTH", "a"))
		w.account.Flush()
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	found, err := Read(over, w.dir, Query{Live: true, Keys: func(*Plan) [][]byte { return [][]byte{[]byte(key7)} }})
	if !errors.Is(err, context.Canceled) || found == nil || len(found.Changes) >= 3 || len(w.read(key7).Changes) != 3 {
		t.Errorf("ended early: %v, found %+v", err, found)
	}
}

// TestSize: the oldest segments make room, and what the rest needs is in each.
func TestSize(t *testing.T) {
	t.Parallel()
	const most = 512 << 10
	w := setup(t, Options{Values: true, MaxSize: most, Rate: 1 << 20})
	table := loans()
	const changes = 20_000
	for i := range changes {
		w.change(table, row("7", "LATE", "SOUTH", "a"), row("7", fmt.Sprint("LATE ", i), "SOUTH", "a"))
		if i%100 == 0 {
			w.account.Flush()
		}
	}
	w.account.Flush()
	list, err := listSegments(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	for _, s := range list {
		size += s.size
	}
	if size > most || size < most/2 || len(list) < segments/2 {
		t.Errorf("%d bytes in %d segments, of at most %d", size, len(list), most)
	}
	found := w.read(key7)
	n := len(found.Changes)
	if n < 2000 || n > changes/2 || found.Damaged > 0 {
		t.Fatalf("%d changes, %d damaged", n, found.Damaged)
	}
	for i := range found.Changes {
		if text := found.Changes[i].Verdicts[0].Values[0].Text; text != fmt.Sprint("LATE ", changes-n+i) {
			t.Fatalf("change %d has status %s", i, text)
		}
	}
	if !found.Begins.Equal(found.Changes[0].Time) {
		t.Errorf("it begins at %v, the first change is of %v", found.Begins, found.Changes[0].Time)
	}
	some, err := Read(t.Context(), w.dir, Query{Live: true, Most: 10, Keys: func(*Plan) [][]byte { return [][]byte{[]byte(key7)} }})
	if err != nil || len(some.Changes) != 10 || !some.More || some.Changes[9].Position != found.Changes[n-1].Position {
		t.Errorf("the newest ten: %v, %d, more %v", err, len(some.Changes), some.More)
	}
}

// TestUncleanEnd: what a killed process left is read, up to where it is torn; the stream brings
// again what was not stored, and it is there once.
func TestUncleanEnd(t *testing.T) {
	t.Parallel()
	w := setup(t, Options{Values: true})
	table := loans()
	for i := range 10 {
		w.change(table, row("7", "LATE", "SOUTH", "a"), row("7", fmt.Sprint("LATE ", i), "SOUTH", "a"))
		w.account.Flush()
	}
	killed := w.account
	list, err := listSegments(w.dir)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	if err := os.Truncate(list[0].path(w.dir), list[0].size-5); err != nil {
		t.Fatal(err)
	}
	w.next -= 3 // these come again
	w.open()
	for i := range 4 {
		w.change(table, row("7", "LATE", "SOUTH", "a"), row("7", fmt.Sprint("LATE ", 7+i), "SOUTH", "a"))
	}
	w.account.Flush()
	found := w.read(key7)
	if len(found.Changes) != 11 || found.Damaged != 1 || len(found.Unclean) != 1 || !found.Unclean[0].Equal(began.Add(9*time.Minute)) {
		t.Errorf("%d changes, %d damaged, unclean %v", len(found.Changes), found.Damaged, found.Unclean)
	}
	for i := range found.Changes {
		if text := found.Changes[i].Verdicts[0].Values[0].Text; text != fmt.Sprint("LATE ", i) {
			t.Errorf("change %d has status %s", i, text)
		}
	}
	if err := killed.files.close(); err != nil {
		t.Error(err)
	}
	dead, err := Read(t.Context(), w.dir, Query{})
	if err != nil || len(dead.Unclean) != 2 {
		t.Errorf("without a process, unclean ends are %v, %v", dead.Unclean, err)
	}
	if err := w.account.Close(); err != nil {
		t.Fatal(err)
	}
	if ended, err := Read(t.Context(), w.dir, Query{}); err != nil || len(ended.Unclean) != 1 {
		t.Errorf("after an orderly end, unclean ends are %v, %v", ended.Unclean, err)
	}
}

// TestAbort: what the stream brings again is there once, and what it does not is not there.
func TestAbort(t *testing.T) {
	t.Parallel()
	w := setup(t, Options{Values: true})
	table := loans()
	w.begin()
	for i := range 3 {
		w.apply(table, row("7", "LATE", "SOUTH", "a"), row("7", fmt.Sprint(i), "SOUTH", "a"), i)
	}
	w.mapper.Abort()
	w.account.Abort()
	w.change(table, row("7", "LATE", "SOUTH", "a"), row("7", "again", "SOUTH", "a"))
	w.account.Flush()
	if found := w.read(key7); len(found.Changes) != 1 || found.Changes[0].Verdicts[0].Values[0].Text != "again" {
		t.Errorf("found:\n%s", tell(found))
	}
}

// TestNoDisk: what cannot be written is counted, and the account goes on once it can, in the segment
// at hand or in another.
func TestNoDisk(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a frame", "a segment"} {
		w := setup(t, Options{Values: true})
		table := loans()
		w.change(table, nil, row("7", "A", "SOUTH", "a"))
		w.account.Flush()
		f := &w.account.files
		held := f.file
		broken, err := os.Open(held.Name()) // which cannot be written
		if err != nil {
			t.Fatal(err)
		}
		if f.file = broken; name == "a segment" { // cannot be begun, since it is there
			if err := os.WriteFile(segmentFile{number: f.last + 1}.path(w.dir), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			w.change(table, nil, row("7", "B", "SOUTH", "a"))
			w.account.Flush()
		}
		if name == "a segment" {
			if err := os.Remove(segmentFile{number: f.last + 1}.path(w.dir)); err != nil {
				t.Fatal(err)
			}
		}
		w.change(table, nil, row("7", "C", "SOUTH", "a"))
		w.account.Flush()
		w.change(table, nil, row("7", "D", "SOUTH", "a"))
		w.account.Flush()
		found := w.read(key7)
		if n := len(found.Changes); n < 2 || found.Changes[n-1].Verdicts[0].Values[0].Text != "D" || found.Damaged > 0 {
			t.Errorf("%s: damaged %d, found:\n%s", name, found.Damaged, tell(found))
		}
		lost := int64(0)
		for _, l := range found.LeftOut {
			if lost += l.Eventful; l.Entry != "" || l.Uneventful != 0 || l.From.Before(began) || l.To.After(w.tx.Time) {
				t.Errorf("left out: %+v", l)
			}
		}
		if lost+int64(len(found.Changes)) != 6 {
			t.Errorf("%s: %d changes lost, %d found", name, lost, len(found.Changes))
		}
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSlowDisk: what the buffer does not hold since the disk does not keep up is told as not written,
// by its kind.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	w := setup(t, Options{Values: true, Rate: 1 << 20})
	w.account.writing.Lock() // as a write that takes long
	table, changes, waiting := loans(), 0, runtime.NumGoroutine()
	for ; len(w.account.buf) < mostBytes; changes++ {
		w.change(table, row("7", "LATE", "SOUTH", "a"), row("7", "LATE", "SOUTH", "a"))
	}
	w.change(table, nil, row("7", "A", "SOUTH", "a"))
	from := w.tx.Time
	w.change(table, row("7", "LATE", "SOUTH", "a"), row("7", "LATE", "SOUTH", "a"))
	if more := runtime.NumGoroutine() - waiting; more > 100 { // other tests have theirs
		t.Errorf("%d goroutines wait for the disk", more)
	}
	w.account.writing.Unlock()
	w.account.Flush()
	found := w.read(key7)
	want := LeftOut{From: from, To: w.tx.Time, Eventful: 1, Uneventful: 1}
	if len(found.Changes) != changes || len(found.LeftOut) != 1 || found.LeftOut[0] != want {
		t.Errorf("%d changes of %d, left out %+v, want %+v", len(found.Changes), changes, found.LeftOut, want)
	}
}

// TestTakeBack: what came to the file of a frame that could not be written whole is taken back, and
// the segment goes on.
func TestTakeBack(t *testing.T) {
	t.Parallel()
	w := setup(t, Options{Values: true})
	table := loans()
	w.change(table, nil, row("7", "A", "SOUTH", "a"))
	w.account.Flush()
	f := &w.account.files
	if _, err := f.file.WriteString("half a fra"); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("no space left on device")
	if err := f.takeBack(cause); !errors.Is(err, cause) || f.file == nil {
		t.Fatalf("took back: %v", err)
	}
	w.change(table, nil, row("7", "B", "SOUTH", "a"))
	w.account.Flush()
	if found := w.read(key7); len(found.Changes) != 2 || found.Damaged > 0 {
		t.Errorf("found:\n%s", tell(found))
	}
}

// FuzzRead: whatever the files hold, reading ends, says what could not be read, and finds no more
// than there is.
func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	a, err := Open(Options{Dir: dir, MaxSize: 1 << 20, Values: true})
	if err != nil {
		f.Fatal(err)
	}
	observer := a.Watch(&mapping.Watched{Entry: "e", Table: "t", Events: []mapping.WatchedEvent{{Type: "x", Rules: []mapping.WatchedRule{{Name: "x"}}}},
		Lookups: []mapping.WatchedLookup{{Name: "a", Table: "t", By: []string{"b"}, Columns: []string{"a.c"}}}, Parts: []mapping.WatchedPart{{Name: "l", Table: "t", By: []string{"b"}}}},
		func(string) ([]string, []bool) { return []string{"p"}, []bool{false} })
	p := observer.(*plan)
	a.Begin(&capture.Transaction{ID: "1", Position: "0/1", Time: began})
	a.mu.Lock()
	a.makeRoom(p)
	a.mu.Unlock()
	if err := a.Close(); err != nil {
		f.Fatal(err)
	}
	list, err := listSegments(dir)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := os.ReadFile(list[0].path(dir))
	if err != nil {
		f.Fatal(err)
	}
	records := raw[len(header)+frameHead:]
	f.Add(records)
	f.Add(append(slices.Clone(records), 'C', 0, 0, 15, 1, 2, 0, hasKey|hasVerdicts, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0))
	f.Add(append(slices.Clone(records), 'C', 0, 0, 32, 1, 2, 0, hasKey|hasVerdicts|hasFolded|hasLookups, 1, 2, 3, 4, 5, 6, 7, 8, 1, 0, 1, 2, 2, 1, 0, 3, 1, 1, valueText, 1, 'x', valueNull, 0, listCut, 2, valueNull, 0))
	f.Add(append(slices.Clone(records), 'U', hasKey, 0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 't', 1, 'r', 1, 'e'))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, records []byte) {
		s := newSearch(Query{Keys: func(*Plan) [][]byte { return [][]byte{[]byte(key7)} }, Table: func(string) bool { return true }})
		r := reader{b: records}
		for len(r.b) > 0 && !r.bad {
			s.record(&r)
		}
		if n := len(s.found.Changes) + len(s.found.Passed); n > len(records) {
			t.Errorf("%d changes in %d bytes", n, len(records))
		}
		other := newSearch(Query{Event: "evt_1"})
		other.segment(append([]byte(header), records...))
	})
}
