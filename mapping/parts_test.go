package mapping

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"rowhook/capture"
)

func fineTable() *capture.Table {
	return table("circulation.fines", capture.IdentityDefault, "fine_id bigint key", "loan_id int", "amount numeric", "reason text", "paid bool", "note text")
}

// finesOf is an entry that says what is due for a loan.
func finesOf(change func(*EntryConfig)) Config {
	entry := EntryConfig{
		Name:   "circulation.loans",
		Parts:  []PartUse{{Name: "fines", Table: "circulation.fines", By: PartBy{Column: "loan_id"}, Columns: []string{"fine_id", "amount", "reason", "paid"}, Max: 3}},
		Fields: []FieldConfig{fieldOf("loan_id", "loan_id"), fieldOf("due", fieldOf("fines", "fines"))},
	}
	if change != nil {
		change(&entry)
	}
	return Config{entry}
}

// Parts finds fines of loans; those of a loan whose number ends in 9 nobody knows.
func (p *people) Parts(_ *capture.Table, by []int, row capture.Row, most int, take func(capture.Row) bool) (more, known bool, err error) {
	p.asked++
	id := string(row[by[0]].Text)
	if strings.HasSuffix(id, "9") || p.err != nil {
		return false, false, p.err
	}
	for n, r := range p.parts[id] {
		if n == most || !take(r) {
			return true, true, nil
		}
	}
	return false, true, nil
}

var someFines = map[string][]capture.Row{
	"1": {row("9007199254740993", "1", "12.50", "late", "t", "x"), row("11", "1", "0.10", null, "f", "x")},
	"2": {row("21", "2", "1", "a", missing, "x"), row("22", "2", "2", missing, "t", "x"), row("23", "2", "3", "c", "f", "x"), row("24", "2", "4", "d", "t", "x")},
	"4": {row("41", "4", "1", strings.Repeat("a", 600<<10), "t", "x"), row("42", "4", "1", strings.Repeat("b", 600<<10), "t", "x")},
}

func partsSetup(t *testing.T, cfg Config) (*Mapper, *recorder, *people) {
	t.Helper()
	m, out := setup(t, cfg, Options{Lookups: memberLookup, ReadFile: func(string) ([]byte, error) { return []byte("0123456789abcdef"), nil }})
	p := &people{parts: someFines, rows: map[string]capture.Row{"1": row("1", "Ann", "STAFF", missing, "2020-01-02")}}
	m.LookIn(p)
	m.Describe(fineTable())
	m.Describe(memberTable())
	return m, out, p
}

func TestParts(t *testing.T) {
	t.Parallel()
	loans := loanTable(capture.IdentityFull)
	insert := func(id string) capture.Change { return capture.Change{Op: capture.Insert, New: row(id, "1", "5", "1")} }
	const first = `{"loan_id":1,"due":{"fines":[{"fine_id":9007199254740993,"amount":"12.50","reason":"late","paid":true},{"fine_id":11,"amount":"0.10","reason":null,"paid":false}]}}`
	const items = `[{"fine_id":21,"amount":"1","reason":"a"},{"fine_id":22,"amount":"2","paid":true},{"fine_id":23,"amount":"3","reason":"c","paid":false}]`
	shaped := func(e *EntryConfig) {
		e.Fields = []FieldConfig{operator("fees", "column=fines", fieldOf("items", fieldOf("value", "amount"), fieldOf("desc", "reason")))}
	}
	for _, test := range []struct {
		name   string
		entry  func(*EntryConfig)
		change capture.Change
		want   string // data of the event, what is unavailable, flags
	}{
		{"rows", nil, insert("1"), first},
		{"no rows", nil, insert("3"), `{"loan_id":3,"due":{"fines":[]}}`},
		{"not known", nil, insert("9"), `{"loan_id":9,"due":{}} lacks due.fines`},
		{"too many, and what is not kept of them", nil, insert("2"), `{"loan_id":2,"due":{"fines":` + items + `}} lacks due.fines[0].paid due.fines[1].reason due.fines[3:] flags due.fines`},
		{"too long", func(e *EntryConfig) { e.Parts[0].Columns = []string{"reason"} }, insert("4"),
			`{"loan_id":4,"due":{"fines":[{"reason":"` + strings.Repeat("a", 600<<10) + `"}]}} lacks due.fines[1:] flags due.fines`},
		{"shaped", shaped, insert("1"), `{"fees":[{"value":"12.50","desc":"late"},{"value":"0.10","desc":null}]}`},
		{"shaped, and not whole", shaped, insert("2"), `{} lacks fees`},
		{"masked", func(e *EntryConfig) {
			e.Columns = ColumnsConfig{Mask: []string{"fines.reason"}, MaskKeyFile: "k"}
			e.Parts[0].Columns = []string{"reason"}
		}, insert("1"), `{"loan_id":1,"due":{"fines":[{"reason":"` + string(mask([]byte("0123456789abcdef"), []byte("late"))) + `"},{"reason":null}]}}`},
		{"by another column", func(e *EntryConfig) { e.Parts[0].By = PartBy{Pairs: []PartPair{{"loan_id", "n"}}} }, capture.Change{Op: capture.Insert, New: row("9", "1", "5", "1")},
			strings.Replace(first, `{"loan_id":1`, `{"loan_id":9`, 1)},
		{"by NULL", func(e *EntryConfig) { e.Parts[0].By = PartBy{Pairs: []PartPair{{"loan_id", "n"}}} }, capture.Change{Op: capture.Insert, New: row("9", "1", "5", null)},
			`{"loan_id":9,"due":{"fines":[]}}`},
		{"by what is not known", func(e *EntryConfig) { e.Parts[0].By = PartBy{Pairs: []PartPair{{"loan_id", "n"}}} }, capture.Change{Op: capture.Insert, New: row("9", "1", "5", missing)},
			`{"loan_id":9,"due":{}} lacks due.fines`},
		{"by what is looked up", func(e *EntryConfig) {
			e.Lookup = []LookupUse{{Name: "member", From: "members", By: []string{"member_id"}}}
			e.Parts[0].By = PartBy{Pairs: []PartPair{{"loan_id", "member.member_id"}}}
		}, capture.Change{Op: capture.Insert, New: row("9", "1", "5", "1")}, strings.Replace(first, `{"loan_id":1`, `{"loan_id":9`, 1)},
		{"an update", nil, capture.Change{Op: capture.Update, Old: row("1", "1", "5", "0"), New: row("1", "1", "5", "1")}, first},
		{"a delete tells the key alone", nil, capture.Change{Op: capture.Delete, Old: row("1", "1", "5", "1")}, `{"loan_id":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, out, p := partsSetup(t, finesOf(test.entry))
			m.Begin(&testTransaction)
			c := test.change
			c.Table = loans
			if err := errors.Join(m.Change(&c), m.End()); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, ev := range out.events {
				got += string(ev.Data)
				if len(ev.Unavailable) > 0 {
					got += " lacks " + strings.Join(ev.Unavailable, " ")
				}
				if len(ev.Flags) > 0 {
					got += " flags " + strings.Join(ev.Flags, " ")
				}
			}
			if got != test.want {
				t.Errorf("got  %.2000s\nwant %.2000s", got, test.want)
			}
			if c.Op == capture.Delete && p.asked > 0 {
				t.Error("rows were looked for that nobody is told of")
			}
		})
	}
}

func (shelves) Parts(*capture.Table, []int, capture.Row, int, func(capture.Row) bool) (more, known bool, err error) {
	return false, false, nil
}

// TestPartsOfDeleted: a format that sends deleted rows whole sends their lists.
func TestPartsOfDeleted(t *testing.T) {
	t.Parallel()
	rules, err := Compile(finesOf(nil), Options{DeletedRows: func(string, string) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	out := &recorder{}
	m := rules.NewMapper(out, Identity{})
	out.mapper = m
	m.LookIn(&people{parts: someFines})
	m.Describe(fineTable())
	if err := errors.Join(m.Change(&capture.Change{Op: capture.Delete, Table: loanTable(capture.IdentityDefault), Old: row("1", missing, missing, missing)}), m.End()); err != nil {
		t.Fatal(err)
	}
	if ev := out.events[0]; !strings.Contains(string(ev.Shape), `"amount":"12.50"`) || string(ev.Data) != `{"loan_id":1}` || len(ev.Bigints) != 2 || ev.Bigints[1] != "due.fines.fine_id" {
		t.Errorf("shape %s, data %s, bigints %q", ev.Shape, ev.Data, ev.Bigints)
	}
	if len(out.notices) != 1 {
		t.Errorf("notices of numbers that are rounded: %+v", out.notices)
	}
}

// TestPartsShapedBigints: rows of another shape have 64-bit integers as texts, too, where a profile
// wants that: what a type or a mask has made texts of already is not named.
func TestPartsShapedBigints(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, want string
		field      FieldConfig
	}{
		{"as they are", "due.fine_id", fieldOf("due", "fines")},
		{"renamed", "due.id", operator("due", "column=fines", fieldOf("items", fieldOf("id", "fine_id"), fieldOf("sum", "amount")))},
		{"within", "due.of.id due.all.fine_id", operator("due", "column=fines", fieldOf("items", fieldOf("of", fieldOf("id", "fine_id")), fieldOf("all", ".")))},
		{"a type", "", operator("due", "column=fines", fieldOf("items", operator("id", "column=fine_id", "type=string")))},
		{"a constant", "", operator("due", "column=fines", fieldOf("items", operator("id", "const=7")))},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, out, _ := partsSetup(t, finesOf(func(e *EntryConfig) { e.Key, e.Fields = []string{"n"}, []FieldConfig{test.field} }))
			m.Begin(&testTransaction)
			if err := errors.Join(m.Change(&capture.Change{Op: capture.Insert, Table: loanTable(capture.IdentityFull), New: row("1", "1", "5", "1")}), m.End()); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(out.events[0].Bigints, " "); got != test.want {
				t.Errorf("64-bit integers are %q, want %q", got, test.want)
			}
		})
	}
}

// TestPartsAtCommit finds rows when the transaction is over. One that is not held whole is refused when
// rows come into a list behind that, leave it, or change in it; those of other lists do not matter.
func TestPartsAtCommit(t *testing.T) {
	t.Parallel()
	loans, fines := loanTable(capture.IdentityDefault), fineTable()
	full := fineTable()
	for i := range full.Columns {
		full.Columns[i].Identity = true
	}
	full.Identity = capture.IdentityFull
	fine := func(loan string) capture.Row { return row("11", loan, "1", "x", "t", "x") }
	for _, test := range []struct {
		name   string
		change capture.Change
		early  bool
	}{
		{"another loan's", capture.Change{Op: capture.Insert, Table: fines, New: fine("2")}, false},
		{"nobody's", capture.Change{Op: capture.Insert, Table: fines, New: fine(null)}, false},
		{"inserted", capture.Change{Op: capture.Insert, Table: fines, New: fine("1")}, true},
		{"changed", capture.Change{Op: capture.Update, Table: full, Old: fine("1"), New: fine("1")}, true},
		{"comes", capture.Change{Op: capture.Update, Table: full, Old: fine("2"), New: fine("1")}, true},
		{"goes", capture.Change{Op: capture.Update, Table: full, Old: fine("1"), New: fine(null)}, true},
		{"deleted", capture.Change{Op: capture.Delete, Table: full, Old: fine("1")}, true},
		{"deleted, of another", capture.Change{Op: capture.Delete, Table: full, Old: fine("2")}, false},
		{"deleted, and nobody knows whose it was", capture.Change{Op: capture.Delete, Table: fines, Old: row("11", missing, missing, missing, missing, missing)}, true},
		{"truncated", capture.Change{Op: capture.Truncate, Table: fines}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m, out, p := partsSetup(t, finesOf(nil))
			m.Begin(&testTransaction)
			one := &capture.Change{Op: capture.Insert, Table: loans, New: row("1", "1", "5", "1")}
			if err := m.Change(one); err != nil || p.asked > 0 {
				t.Fatalf("%d lists were looked for before the end: %v", p.asked, err)
			}
			if err := errors.Join(m.Change(&test.change), m.End()); err != nil || len(out.events) != 1 {
				t.Fatalf("held whole: %d events, %v", len(out.events), err)
			}
			m.window.most = 1
			m.Begin(&testTransaction)
			err := m.Change(one)
			if err == nil {
				err = m.Change(&test.change)
			}
			if errors.Is(err, ErrEarly) != test.early {
				t.Errorf("not held whole: %v", err)
			}
			out.events = nil
			m.Begin(&testTransaction)
			m.Distrust()
			if err := errors.Join(m.Change(one), m.Change(one), m.Change(&test.change), m.End()); err != nil || strings.Join(out.events[0].Unavailable, "") != "due.fines" {
				t.Errorf("it came again: %v, %+v", err, out.events)
			}
			if err := m.Doubt("circulation.fines"); err != nil {
				t.Errorf("what nobody has looked for is doubted: %v", err)
			}
		})
	}
	m, _, p := partsSetup(t, finesOf(nil))
	m.window.most = 1
	m.Begin(&testTransaction)
	if err := m.Change(&capture.Change{Op: capture.Insert, Table: loans, New: row("1", "1", "5", "1")}); err != nil {
		t.Fatal(err)
	}
	if m.Doubt("circulation.members") != nil || !errors.Is(m.Doubt("circulation.fines"), ErrEarly) {
		t.Error("rows that nobody knows any more do not make the transaction come again")
	}
	p.err = errors.New("disk")
	m.Begin(&testTransaction)
	if err := m.Change(&capture.Change{Op: capture.Insert, Table: loans, New: row("1", "1", "5", "1")}); !errors.Is(err, p.err) {
		t.Errorf("error %v", err)
	}
}

func TestPartsRefused(t *testing.T) {
	t.Parallel()
	rules := func(r RuleConfig) func(*EntryConfig) {
		return func(e *EntryConfig) { e.Events = []EventConfig{{"loan.any", []RuleConfig{r}}} }
	}
	for _, test := range []struct {
		name  string
		entry func(*EntryConfig)
		want  string
	}{
		{"set", rules(RuleConfig{Set: "fines"}), `set takes no parts: "fines" is a list of rows of circulation.fines`},
		{"cleared", rules(RuleConfig{Cleared: "fines"}), "cleared takes no parts"},
		{"changed", rules(RuleConfig{Changed: []string{"n", "fines"}}), "changed takes no parts"},
		{"becomes", rules(RuleConfig{Becomes: where("fines=x")}), "becomes takes no parts"},
		{"where", rules(RuleConfig{Where: where("fines.amount=1")}), `where takes no parts: "fines.amount"`},
		{"if", rules(RuleConfig{If: "len(row.fines) > 1"}), "if takes no parts"},
		{"if on one's column", rules(RuleConfig{If: "row.fines[0].amount > 1"}), "if takes no parts"},
		{"entry's where", func(e *EntryConfig) { e.Where = where("fines=x") }, "where takes no parts"},
		{"key", func(e *EntryConfig) { e.Key = []string{"fines"} }, "key takes no parts"},
		{"order", func(e *EntryConfig) { e.OrderBy = []string{"fines"} }, "order_by takes no parts"},
		{"actor", func(e *EntryConfig) { e.Actor.ID = "fines" }, "actor takes no parts"},
		{"operation", func(e *EntryConfig) { e.Operation = "fines" }, "operation takes no parts"},
		{"link", func(e *EntryConfig) { e.Link = "https://example.org/{fines}" }, "link takes no parts"},
		{"expression", func(e *EntryConfig) { e.Fields = []FieldConfig{fieldOf("a", operator("n", "expr=len(row.fines)"))} }, "expr takes no parts"},
		{"a column of it", func(e *EntryConfig) { e.Fields = []FieldConfig{fieldOf("a", "fines.amount")} }, "fines is a list of rows"},
		{"look-up", func(e *EntryConfig) { e.Lookup = []LookupUse{{Name: "member", From: "members", By: []string{"fines"}}} }, "by takes no parts"},
		{"the name of a look-up", func(e *EntryConfig) {
			e.Lookup = []LookupUse{{Name: "fines", From: "members", By: []string{"member_id"}}}
		}, `lookup has a row "fines", too`},
		{"no name", func(e *EntryConfig) { e.Parts[0].Name = "a.b" }, `"a.b" is no name for a list`},
		{"wildcard", func(e *EntryConfig) { e.Table = "circulation.*" }, "an entry for a whole schema has no parts"},
		{"no table", func(e *EntryConfig) { e.Parts[0].Table = "fines" }, `"fines" is not a table`},
		{"no columns", func(e *EntryConfig) { e.Parts[0].Columns = nil }, "columns is missing"},
		{"no by", func(e *EntryConfig) { e.Parts[0].By = PartBy{} }, "by is missing"},
		{"half a by", func(e *EntryConfig) { e.Parts[0].By = PartBy{Pairs: []PartPair{{"loan_id", ""}}} }, "the entry's column is missing"},
		{"none", func(e *EntryConfig) { e.Parts[0].Max = 0 }, "0 is not between 1 and 1000"},
		{"too many", func(e *EntryConfig) { e.Parts[0].Max = 1001 }, "1001 is not between 1 and 1000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if _, err := Compile(finesOf(test.entry), Options{Lookups: memberLookup}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

func TestPartsChecked(t *testing.T) {
	t.Parallel()
	such := func(change func(*capture.Table)) []*capture.Table {
		fines := fineTable()
		change(fines)
		return []*capture.Table{fines}
	}
	for _, test := range []struct {
		name   string
		entry  func(*EntryConfig)
		tables []*capture.Table
		want   string
	}{
		{"good", nil, []*capture.Table{fineTable()}, ""},
		{"not there", nil, nil, "the table is not in the database"},
		{"no key", nil, such(func(f *capture.Table) { f.Key, f.Columns[0].Identity = nil, false }), "the table has no key to tell its rows apart"},
		{"no identity", nil, such(func(f *capture.Table) { f.Identity = capture.IdentityNothing }), "updates and deletes do not tell whose they are"},
		{"cascades", nil, such(func(f *capture.Table) { f.Silent = "foreign keys change it" }), "cannot be looked up: foreign keys change it"},
		{"not read", nil, such(func(f *capture.Table) { f.Unread = "no GTIDs" }), "cannot be read first: no GTIDs"},
		{"filtered", nil, such(func(f *capture.Table) { f.Filtered = true }), "the publication has a row filter"},
		{"an omitted column", nil, such(func(f *capture.Table) { f.Columns[1].Omitted = "use another" }), `column "loan_id" of table circulation.fines cannot be looked up`},
		{"no such column", nil, such(func(f *capture.Table) { f.Columns[3].Name = "reasons" }), `table circulation.fines has no column "reason"`},
		{"no columns at all", nil, such(func(f *capture.Table) { f.Columns, f.Key = nil, nil }), `table circulation.fines has no column "loan_id"`},
		{"no such column to find them by", nil, such(func(f *capture.Table) { f.Columns[1].Name = "loan" }), `table circulation.fines has no column "loan_id"`},
		{"another type", nil, such(func(f *capture.Table) { f.Columns[1].Type = testTypes["text"] }), "equal values may be written in different ways"},
		{"a column of the name", func(e *EntryConfig) { e.Parts[0].Name, e.Fields = "n", nil }, []*capture.Table{fineTable()}, `table circulation.loans has a column "n", too`},
		{"a key of two columns", func(e *EntryConfig) { e.Key = []string{"loan_id", "n"} }, []*capture.Table{fineTable()}, "the key of table circulation.loans has 2 columns"},
		{"no such own column", func(e *EntryConfig) { e.Parts[0].By = PartBy{Pairs: []PartPair{{"loan_id", "loan"}}} }, []*capture.Table{fineTable()}, `table circulation.loans has no column "loan"`},
		{"not in fields", func(e *EntryConfig) { e.Fields = nil }, []*capture.Table{fineTable()}, `no field of the entry is the list "fines"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rules, err := Compile(finesOf(test.entry), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(rules.Tables(), " "); got != "circulation.loans circulation.fines" {
				t.Errorf("tables %s", got)
			}
			if got := fmt.Sprint(rules.LooksUp("circulation.loans"), rules.Memory()[0].By, rules.Memory()[0].LookedUp); got != "[circulation.fines] [[loan_id]] true" {
				t.Errorf("keeps %s", got)
			}
			found := rules.Check(loanTable(capture.IdentityDefault), ByName(test.tables))
			if test.want == "" && len(found) > 0 || test.want != "" && (len(found) == 0 || !strings.Contains(found[0].Text, test.want)) {
				t.Errorf("found %+v", found)
			}
		})
	}
}

// TestLookupInItself: a table that looks rows up in itself is looked up in as it is described now, not as
// it was before.
func TestLookupInItself(t *testing.T) {
	t.Parallel()
	m, _ := setup(t, Config{{
		Name: "circulation.members", Lookup: []LookupUse{{Name: "boss", From: "members", By: []string{"head"}}},
		Fields: []FieldConfig{fieldOf("name", "name"), fieldOf("head", "boss.name"), fieldOf("family", "family")},
		Parts:  []PartUse{{Name: "family", Table: "circulation.members", By: PartBy{Column: "head"}, Columns: []string{"name"}, Max: 9}},
	}}, Options{Lookups: []LookupConfig{{Name: "members", Table: "circulation.members", Key: []string{"member_id"}, Columns: []string{"name"}}}})
	asked := &versions{}
	m.LookIn(asked)
	members := func(version string) *capture.Table {
		t := table("circulation.members", capture.IdentityDefault, "member_id bigint key", "name text", "head bigint")
		t.Version = version
		return t
	}
	m.Describe(members("1"))
	for _, of := range []*capture.Table{members("1"), members("2"), members("2"), members("3")} {
		asked.seen = nil
		m.Begin(&testTransaction)
		if err := errors.Join(m.Change(&capture.Change{Op: capture.Insert, Table: of, New: row("2", "Bob", "1")}), m.End()); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(asked.seen, " "); got != of.Version+" "+of.Version {
			t.Errorf("a change of version %s looks rows up in version %q", of.Version, got)
		}
	}
}

// versions are looked-up rows of which only the table's version is of interest.
type versions struct {
	untouched
	seen []string
}

func (v *versions) LookUp(of *capture.Table, _ capture.Row) (exists, known bool, err error) {
	v.seen = append(v.seen, of.Version)
	return false, true, nil
}

func (v *versions) Parts(of *capture.Table, _ []int, _ capture.Row, _ int, _ func(capture.Row) bool) (more, known bool, err error) {
	v.seen = append(v.seen, of.Version)
	return false, true, nil
}
