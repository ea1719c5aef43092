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

func memberTable() *capture.Table {
	return table("circulation.members", capture.IdentityDefault, "member_id bigint key", "name text", "user_group text", "email text", "since date")
}

func loanTable(identity capture.Identity) *capture.Table {
	return table("circulation.loans", identity, "loan_id bigint key", "member_id int", "item_pid bigint", "n int")
}

var memberLookup = []LookupConfig{{Name: "members", Table: "circulation.members", Key: []string{"member_id"}, Columns: []string{"name", "user_group", "since"}}}

// lookingUp is a mapping that says who a loan is of.
func lookingUp(entry EntryConfig) Config {
	entry.Name = "circulation.loans"
	entry.Lookup = []LookupUse{{Name: "member", From: "members", By: []string{"member_id"}}}
	if entry.Fields == nil {
		entry.Fields = []FieldConfig{fieldOf("loan_id", "loan_id"), fieldOf("user", fieldOf("value", "member_id"), fieldOf("desc", "member.name"), fieldOf("since", "member.since"))}
	}
	return Config{entry}
}

// people are kept rows. Members that are not among them are not there, but for those whose number
// ends in 9, which nobody knows.
type people struct {
	untouched
	rows  map[string]capture.Row
	parts map[string][]capture.Row
	asked int
	err   error
}

func (p *people) LookUp(_ *capture.Table, row capture.Row) (exists, known bool, err error) {
	p.asked++
	id := string(row[0].Text)
	if strings.HasSuffix(id, "9") || p.err != nil {
		return false, false, p.err
	}
	copy(row, p.rows[id])
	return p.rows[id] != nil, true, nil
}

func lookupSetup(t *testing.T, cfg Config, known bool) (*Mapper, *recorder, *people) {
	t.Helper()
	m, out := setup(t, cfg, Options{Lookups: memberLookup})
	p := &people{rows: map[string]capture.Row{
		"1": row("1", "Ann", "STAFF", missing, "2020-01-02"), "2": row("2", "Bob", null, missing, missing),
	}}
	m.LookIn(p)
	if known {
		m.Describe(memberTable())
	}
	return m, out, p
}

func TestLookup(t *testing.T) {
	t.Parallel()
	full := loanTable(capture.IdentityFull)
	insert := func(member string) capture.Change {
		return capture.Change{Op: capture.Insert, New: row("7", member, "5", "1")}
	}
	where2 := func(pair string) []EventConfig {
		return []EventConfig{{"loan.any", []RuleConfig{{Op: []string{"insert", "update", "delete"}, Where: where(pair)}}}}
	}
	expression := func(text string) []EventConfig {
		return []EventConfig{{"loan.any", []RuleConfig{{If: text}}}}
	}
	const desc = `"user":{"value":`
	for _, test := range []struct {
		name   string
		entry  EntryConfig
		change capture.Change
		want   string // data of the event, what is unavailable, or why it failed
	}{
		{"a row", EntryConfig{}, insert("1"), `{"loan_id":7,` + desc + `1,"desc":"Ann","since":"2020-01-02"}}`},
		{"NULL there, and what is not kept", EntryConfig{}, insert("2"), `{"loan_id":7,` + desc + `2,"desc":"Bob"}} lacks user.since`},
		{"no row", EntryConfig{}, insert("3"), `{"loan_id":7,` + desc + `3,"desc":null,"since":null}}`},
		{"no key", EntryConfig{}, insert(null), `{"loan_id":7,` + desc + `null,"desc":null,"since":null}}`},
		{"a key that is not known", EntryConfig{}, insert(missing), `{"loan_id":7,"user":{}} lacks user.value user.desc user.since`},
		{"a row that is not known", EntryConfig{}, insert("9"), `{"loan_id":7,` + desc + `9}} lacks user.desc user.since`},
		{"where holds", EntryConfig{Events: where2("member.user_group=STAFF")}, insert("1"), `{"loan_id":7,` + desc + `1,"desc":"Ann","since":"2020-01-02"}}`},
		{"where fails", EntryConfig{Events: where2("member.user_group=STAFF")}, insert("2"), ``},
		{"where on no row", EntryConfig{Events: where2("member.user_group=null")}, insert("3"), `{"loan_id":7,` + desc + `3,"desc":null,"since":null}}`},
		{"where not known", EntryConfig{Events: where2("member.user_group=STAFF")}, insert("9"),
			`fails: map circulation.loans: rule loan.any, where: the row of circulation.members that has "member.user_group" is not known`},
		{"entry's where", EntryConfig{Where: where("member.name=Ann")}, insert("2"), ``},
		{"if", EntryConfig{Events: expression(`row.member.name == "Ann" and new.member.since < date("2021-01-01")`)}, insert("1"), `{"loan_id":7,` + desc + `1,"desc":"Ann","since":"2020-01-02"}}`},
		{"if not known", EntryConfig{Events: expression(`row.member.name == "Ann"`)}, insert("9"),
			`fails: map circulation.loans: rule loan.any, if: the row of circulation.members that has "member.name" is not known`},
		{"if settled otherwise", EntryConfig{Events: expression(`row.n == 2 and row.member.name == "Ann"`)}, insert("9"), ``},
		{"an update sees the new key", EntryConfig{}, capture.Change{Op: capture.Update, Old: row("7", "1", "5", "1"), New: row("7", "3", "5", "1")},
			`{"loan_id":7,` + desc + `3,"desc":null,"since":null}} was {"user":{"value":1}}`},
		{"a delete looks up by the old row", EntryConfig{Events: where2("member.user_group=STAFF")}, capture.Change{Op: capture.Delete, Old: row("7", "1", "5", "1")},
			`{"loan_id":7} was {"loan_id":7,` + desc + `1,"desc":"Ann","since":"2020-01-02"}}`},
		{"masked", EntryConfig{Columns: ColumnsConfig{Mask: []string{"member.name"}, MaskKeyFile: "k"}, Fields: []FieldConfig{fieldOf("who", "member.name")}}, insert("1"),
			`{"who":"` + string(mask([]byte("0123456789abcdef"), []byte("Ann"))) + `"}`},
		{"all columns", EntryConfig{Fields: []FieldConfig{}}, insert("1"), `{"loan_id":7,"member_id":1,"item_pid":5,"n":1}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := lookingUp(test.entry)
			rules, err := Compile(cfg, Options{Lookups: memberLookup, ReadFile: func(string) ([]byte, error) { return []byte("0123456789abcdef"), nil }})
			if err != nil {
				t.Fatal(err)
			}
			out := &recorder{}
			m := rules.NewMapper(out, Identity{})
			out.mapper = m
			p := &people{rows: map[string]capture.Row{"1": row("1", "Ann", "STAFF", missing, "2020-01-02"), "2": row("2", "Bob", null, missing, missing)}}
			m.LookIn(p)
			m.Describe(memberTable())
			m.Begin(&testTransaction)
			c := test.change
			c.Table = full
			if err := errors.Join(m.Change(&c), m.End()); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, ev := range out.events {
				got += string(ev.Data)
				if len(ev.Unavailable) > 0 {
					got += " lacks " + strings.Join(ev.Unavailable, " ")
				}
				if len(ev.Previous) > 0 {
					got += " was " + string(ev.Previous)
				}
			}
			for _, f := range out.failures {
				got += "fails: " + f.Err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestLookupAtCommit looks rows up when the transaction is over, each change by the rows as they are
// then. One that is not held whole looks them up before, and is refused when they change behind that;
// then it is told nothing that may still change.
func TestLookupAtCommit(t *testing.T) {
	t.Parallel()
	loans, members := loanTable(capture.IdentityDefault), memberTable()
	insert := func(m *Mapper, from int) error {
		for n := range 3 {
			if err := m.Change(&capture.Change{Op: capture.Insert, Table: loans, New: row(fmt.Sprint(n), "1", "5", "1"), Ordinal: from + n}); err != nil {
				return err
			}
		}
		return nil
	}
	rename := func(m *Mapper, p *people, id string) error {
		p.rows[id] = row(id, "Zoe", "STAFF", missing, "2020-01-02")
		return m.Change(&capture.Change{Op: capture.Update, Table: members, New: row(id, "Zoe", "STAFF", "x", "2020-01-02"), Ordinal: 9})
	}
	told := func(out *recorder) string {
		var list []string
		for _, ev := range out.events {
			_, name, _ := strings.Cut(string(ev.Data), `"desc":"`)
			name, _, _ = strings.Cut(name, `"`)
			list = append(list, name)
		}
		out.events = nil
		return strings.Join(list, " ")
	}
	m, out, p := lookupSetup(t, lookingUp(EntryConfig{}), true)
	if err := insert(m, 0); err != nil || p.asked > 0 || len(out.events) > 0 {
		t.Fatalf("%d rows were looked up before the end: %v", p.asked, err)
	}
	if err := errors.Join(rename(m, p, "1"), m.End()); err != nil || told(out) != "Zoe Zoe Zoe" {
		t.Errorf("held whole: %v", err)
	}
	m.window.most = 1000
	p.rows["1"] = row("1", "Ann", "STAFF", missing, "2020-01-02")
	m.Begin(&testTransaction)
	if err := errors.Join(insert(m, 0), rename(m, p, "2"), m.End()); err != nil || told(out) != "Ann Ann Ann" {
		t.Errorf("not held whole, another row changed: %v", err)
	}
	for range 2 {
		m.Begin(&testTransaction)
		if err := errors.Join(insert(m, 0), rename(m, p, "1")); !errors.Is(err, ErrEarly) {
			t.Errorf("not held whole, the row changed: %v", err)
		}
		m.Abort()
		out.events = nil
	}
	m.Begin(&testTransaction)
	m.Distrust()
	if err := errors.Join(insert(m, 0), rename(m, p, "1"), m.End()); err != nil || len(out.events) != 3 || strings.Join(out.events[0].Unavailable, " ") != "user.desc user.since" {
		t.Errorf("it came again: %v, %d events", err, len(out.events))
	}
	told(out)
	m.Begin(&testTransaction)
	if err := errors.Join(m.Change(&capture.Change{Op: capture.Truncate, Table: members}), insert(m, 0), m.End()); err != nil || told(out) != "Zoe Zoe Zoe" {
		t.Errorf("the next transaction: %v", err)
	}
}

// TestLookupDescribed knows nothing of a table that nobody has described, and a fault of the store is
// the mapper's.
func TestLookupDescribed(t *testing.T) {
	t.Parallel()
	loans := loanTable(capture.IdentityDefault)
	m, out, p := lookupSetup(t, lookingUp(EntryConfig{}), false)
	once := func() error {
		m.Begin(&testTransaction)
		return errors.Join(m.Change(&capture.Change{Op: capture.Insert, Table: loans, New: row("7", "1", "5", "1")}), m.End())
	}
	if err := once(); err != nil || len(out.events) != 1 || strings.Join(out.events[0].Unavailable, " ") != "user.desc user.since" || p.asked > 0 {
		t.Fatalf("not described: %v, %+v", err, out.events)
	}
	// The stream's own description does, too.
	if err := m.Change(&capture.Change{Op: capture.Insert, Table: memberTable(), New: row("1", "Ann", "STAFF", "x", "2020-01-02")}); err != nil {
		t.Fatal(err)
	}
	if err := once(); err != nil || len(out.events) != 2 || !strings.Contains(string(out.events[1].Data), `"desc":"Ann"`) {
		t.Fatalf("described: %v, %+v", err, out.events)
	}
	p.err = errors.New("disk")
	if err := once(); !errors.Is(err, p.err) {
		t.Errorf("error %v", err)
	}
}

// TestLookupSubscriptions lets subscriptions see looked-up columns.
func TestLookupSubscriptions(t *testing.T) {
	t.Parallel()
	m, out, _ := lookupSetup(t, lookingUp(EntryConfig{}), true)
	got := ""
	out.row = func(r delivery.Row) {
		text, known, _, ok := r.Column("member.user_group")
		_, _, _, other := r.Column("member.email")
		got = fmt.Sprint(text, known == delivery.ValuePresent, ok, other)
	}
	if err := errors.Join(m.Change(&capture.Change{Op: capture.Insert, Table: loanTable(capture.IdentityDefault), New: row("7", "1", "5", "1")}), m.End()); err != nil || got != "STAFFtrue true false" {
		t.Errorf("%q: %v", got, err)
	}
}

// TestLookupBehindAFilter: a row that is not kept may be there, and outside the filter.
func TestLookupBehindAFilter(t *testing.T) {
	t.Parallel()
	m, out, _ := lookupSetup(t, lookingUp(EntryConfig{}), false)
	members := memberTable()
	members.Filtered = true
	m.Describe(members)
	for i, member := range []string{"1", "3", null} {
		m.Begin(&testTransaction)
		c := &capture.Change{Op: capture.Insert, Table: loanTable(capture.IdentityDefault), Ordinal: i, New: row("7", member, "5", "1")}
		if err := errors.Join(m.Change(c), m.End()); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, ev := range out.events {
		got = append(got, string(ev.Data)+strings.Join(ev.Unavailable, " "))
	}
	want := []string{`{"loan_id":7,"user":{"value":1,"desc":"Ann","since":"2020-01-02"}}`, `{"loan_id":7,"user":{"value":3}}user.desc user.since`,
		`{"loan_id":7,"user":{"value":null,"desc":null,"since":null}}`}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// chain are the looked-up tables of an item that lies in a holding, which lies in a library.
var chain = []LookupConfig{
	{Name: "items", Table: "catalog.items", Key: []string{"item_pid"}, Columns: []string{"title", "holding_id"}},
	{Name: "holdings", Table: "catalog.holdings", Key: []string{"holding_id"}, Columns: []string{"library"}},
	{Name: "libraries", Table: "app.libraries", Key: []string{"code"}, Columns: []string{"name"}},
}

func chainTables() []*capture.Table {
	return []*capture.Table{
		table("catalog.items", capture.IdentityDefault, "item_pid bigint key", "title text", "holding_id bigint"),
		table("catalog.holdings", capture.IdentityDefault, "holding_id bigint key", "library text"),
		table("app.libraries", capture.IdentityDefault, "code text key", "name text"),
	}
}

// chained is a mapping that says in which library the item of a loan is, written from its end.
func chained(events []EventConfig) Config {
	return Config{{Name: "circulation.loans",
		Lookup: []LookupUse{
			{Name: "library", From: "libraries", By: []string{"holding.library"}},
			{Name: "holding", From: "holdings", By: []string{"item.holding_id"}},
			{Name: "item", From: "items", By: []string{"item_pid"}},
		},
		Fields: []FieldConfig{fieldOf("title", "item.title"), fieldOf("library", fieldOf("value", "holding.library"), fieldOf("desc", "library.name"))},
		Events: events,
	}}
}

// shelves are kept rows of several tables, by table and key. One that is nil is not known.
type shelves map[string]capture.Row

func (s shelves) LookUp(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	kept, told := s[of.Name+" "+string(row[of.Key[0]].Text)]
	copy(row, kept)
	return len(kept) > 0, !told || kept != nil, nil
}

// untouched are kept rows of which nobody asks what touches them.
type untouched struct{}

func (untouched) LookUpBefore(*capture.Table, capture.Row) (exists, known bool, err error) {
	return false, false, nil
}

func (untouched) Referring(*capture.Table, []int, capture.Row, func(capture.Row) (bool, error)) (known bool, err error) {
	return false, nil
}

func (shelves) LookUpBefore(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	return untouched{}.LookUpBefore(of, row)
}

func (shelves) Referring(of *capture.Table, by []int, row capture.Row, take func(capture.Row) (bool, error)) (known bool, err error) {
	return untouched{}.Referring(of, by, row, take)
}

// TestLookupChained looks rows up by what other look-ups found.
func TestLookupChained(t *testing.T) {
	t.Parallel()
	shelf := shelves{
		"items 5": row("5", "Moby-Dick", "50"), "holdings 50": row("50", "MAIN"), "libraries MAIN": row("MAIN", "Main library"),
		"items 6": row("6", "Walden", null), "items 7": row("7", "Emma", "70"), "holdings 70": row("70", "EAST"),
		"items 8": nil, "items 9": row("9", "Ulysses", "90"), "holdings 90": nil, "items 10": row("10", "Dune", missing),
	}
	for item, want := range map[string]string{
		"5":  `{"title":"Moby-Dick","library":{"value":"MAIN","desc":"Main library"}}`,
		"6":  `{"title":"Walden","library":{"value":null,"desc":null}}`,
		"7":  `{"title":"Emma","library":{"value":"EAST","desc":null}}`,
		"8":  `{"library":{}} lacks title library.value library.desc`,
		"9":  `{"title":"Ulysses","library":{}} lacks library.value library.desc`,
		"10": `{"title":"Dune","library":{}} lacks library.value library.desc`,
		"11": `{"title":null,"library":{"value":null,"desc":null}}`,
	} {
		m, out := setup(t, chained(nil), Options{Lookups: chain})
		m.LookIn(shelf)
		for _, table := range chainTables() {
			m.Describe(table)
		}
		for _, c := range []*capture.Change{
			{Op: capture.Insert, Table: loanTable(capture.IdentityFull), New: row("7", "1", item, "1")},
			{Op: capture.Delete, Table: loanTable(capture.IdentityFull), Old: row("7", "1", item, "1")},
		} {
			m.Begin(&testTransaction)
			if err := errors.Join(m.Change(c), m.End()); err != nil {
				t.Fatal(err)
			}
			ev := out.events[len(out.events)-1]
			got := string(ev.Data)
			if c.Op == capture.Delete {
				got = string(ev.Previous)
			}
			if len(ev.Unavailable) > 0 {
				got += " lacks " + strings.Join(ev.Unavailable, " ")
			}
			if c.Op == capture.Insert && got != want || c.Op == capture.Delete && got != want && !strings.Contains(want, "lacks") {
				t.Errorf("item %s, %s: %s, want %s", item, c.Op, got, want)
			}
		}
	}
}

// TestLookupChainedEarly: each row of a chain counts that was looked up before the transaction's end.
func TestLookupChainedEarly(t *testing.T) {
	t.Parallel()
	tables := chainTables()
	shelf := shelves{"items 5": row("5", "Moby-Dick", "50"), "holdings 50": row("50", "MAIN"), "libraries MAIN": row("MAIN", "Main library")}
	for i, changed := range []capture.Row{row("5", "Moby-Dick", "51"), row("50", "EAST"), row("MAIN", "Old library"), row("EAST", "East library")} {
		m, _ := setup(t, chained(nil), Options{Lookups: chain})
		m.LookIn(shelf)
		for _, table := range tables {
			m.Describe(table)
		}
		m.window.most = 10
		m.Begin(&testTransaction)
		if err := m.Change(&capture.Change{Op: capture.Insert, Table: loanTable(capture.IdentityFull), New: row("7", "1", "5", "1")}); err != nil {
			t.Fatal(err)
		}
		err := m.Change(&capture.Change{Op: capture.Update, Table: tables[min(i, 2)], New: changed, Ordinal: 1})
		if early := i < 3; errors.Is(err, ErrEarly) != early {
			t.Errorf("%s changed: %v", tables[min(i, 2)], err)
		}
	}
}

// TestLookupChainedChecked checks each link of a chain as far as its tables are known.
func TestLookupChainedChecked(t *testing.T) {
	t.Parallel()
	events := []EventConfig{{"loan.gone", []RuleConfig{{Op: []string{"delete"}, Where: where("library.name=x")}}}}
	rules, err := Compile(chained(events), Options{Lookups: chain})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(rules.LooksUp("circulation.loans"), " "); got != "catalog.items catalog.holdings app.libraries" {
		t.Errorf("looks up %s", got)
	}
	if needs := rules.Needs(loanTable(capture.IdentityDefault)); len(needs) != 1 || needs[0].Column != "item_pid" {
		t.Errorf("needs %+v", needs)
	}
	if found := rules.Check(loanTable(capture.IdentityFull), ByName(chainTables())); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
	if found := rules.Check(loanTable(capture.IdentityFull), ByName(chainTables()[1:])); len(found) != 1 || !strings.Contains(found[0].Text, "is not in the database") {
		t.Errorf("without the first: found %+v", found)
	}
	other := chainTables()
	other[0] = table("catalog.items", capture.IdentityDefault, "item_pid bigint key", "title text", "holding_id text")
	if found := rules.Check(loanTable(capture.IdentityFull), ByName(other)); len(found) != 1 || !strings.Contains(found[0].Text, `column "item.holding_id" is text, and catalog.holdings.holding_id is bigint`) {
		t.Errorf("of other types: found %+v", found)
	}
}

func TestLookupRefused(t *testing.T) {
	t.Parallel()
	use := []LookupUse{{Name: "member", From: "members", By: []string{"member_id"}}}
	rules := func(r RuleConfig) []EventConfig { return []EventConfig{{"loan.any", []RuleConfig{r}}} }
	for _, test := range []struct {
		name    string
		entry   EntryConfig
		lookups []LookupConfig
		want    string
	}{
		{"no such lookup", EntryConfig{Lookup: []LookupUse{{Name: "member", From: "member", By: []string{"member_id"}}}}, memberLookup, `there is no "member" under lookups`},
		{"too few columns", EntryConfig{Lookup: []LookupUse{{Name: "member", From: "members"}}}, memberLookup, "the key of members has 1 columns, by names 0"},
		{"no name", EntryConfig{Lookup: []LookupUse{{Name: "a.b", From: "members", By: []string{"member_id"}}}}, memberLookup, `"a.b" is no name for a row`},
		{"wildcard", EntryConfig{Table: "circulation.*", Lookup: use}, memberLookup, "an entry for a whole schema looks up no rows"},
		{"set", EntryConfig{Lookup: use, Events: rules(RuleConfig{Set: "member.name"})}, memberLookup, `set takes no looked-up column: "member.name"`},
		{"changed", EntryConfig{Lookup: use, Events: rules(RuleConfig{Changed: []string{"n", "member.name"}})}, memberLookup, `changed takes no looked-up column`},
		{"becomes", EntryConfig{Lookup: use, Events: rules(RuleConfig{Becomes: where("member.name=x")})}, memberLookup, `becomes takes no looked-up column`},
		{"old", EntryConfig{Lookup: use, Events: rules(RuleConfig{If: `old.member.name == "x"`})}, memberLookup, `old takes no looked-up column`},
		{"key", EntryConfig{Lookup: use, Key: []string{"member.name"}}, memberLookup, `key takes no looked-up column`},
		{"by a column that is not kept", EntryConfig{Lookup: []LookupUse{use[0], {Name: "group", From: "members", By: []string{"member.email"}}}}, memberLookup, `lookups keeps no column "email" of members`},
		{"by itself", EntryConfig{Lookup: []LookupUse{{Name: "a", From: "members", By: []string{"b.member_id"}}, {Name: "b", From: "members", By: []string{"a.member_id"}}}}, memberLookup,
			`"a" is looked up by itself in the end`},
		{"no table", EntryConfig{}, []LookupConfig{{Name: "x", Key: []string{"a"}, Columns: []string{"b"}}}, `"" is not a table`},
		{"nothing kept", EntryConfig{}, []LookupConfig{{Name: "x", Table: "a.b", Key: []string{"a"}}}, "columns is missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.entry.Name = "circulation.loans"
			if _, err := Compile(Config{test.entry}, Options{Lookups: test.lookups}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
}

func TestLookupChecked(t *testing.T) {
	t.Parallel()
	folding := table("circulation.loans", capture.IdentityDefault, "loan_id bigint key", "member_id text", "item_pid bigint", "n int")
	people := memberTable()
	textKey := table("circulation.members", capture.IdentityDefault, "member_id text key", "name text", "user_group text", "since date")
	folded := *testTypes["text"]
	folded.Folds = true
	folding.Columns[1].Type = &folded
	other := table("circulation.members", capture.IdentityDefault, "id bigint key", "member_id bigint", "name text", "user_group text", "since date")
	short := table("circulation.members", capture.IdentityDefault, "member_id bigint key", "name text", "user_group text")
	taken := table("circulation.loans", capture.IdentityDefault, "loan_id bigint key", "member_id int", "member text")
	such := func(make func(t *capture.Table)) []*capture.Table {
		t := memberTable()
		make(t)
		return []*capture.Table{t}
	}
	for _, test := range []struct {
		name   string
		loans  *capture.Table
		tables []*capture.Table
		want   string
	}{
		{"changes that never come", loanTable(capture.IdentityDefault), such(func(t *capture.Table) { t.Silent = "foreign keys cascade" }),
			"rows of table circulation.members cannot be looked up: foreign keys cascade"},
		{"a key that is looked at late", loanTable(capture.IdentityDefault), such(func(t *capture.Table) { t.KeyDeferred = true }), "primary key is DEFERRABLE"},
		{"no identity", loanTable(capture.IdentityDefault), such(func(t *capture.Table) { t.Identity = capture.IdentityNothing }), "has no replica identity"},
		{"a table that cannot be read", loanTable(capture.IdentityDefault), such(func(t *capture.Table) { t.Unread = "no GTIDs" }),
			"cannot be looked up, since they cannot be read first: no GTIDs"},
		{"a row filter", loanTable(capture.IdentityDefault), such(func(t *capture.Table) { t.Filtered = true }), "has a row filter for table circulation.members"},
		{"a column that is left out", loanTable(capture.IdentityDefault), such(func(t *capture.Table) { t.Columns[2].Omitted = "use others" }), `column "user_group" of table circulation.members cannot be looked up`},
		{"a column that is left out and not looked up", loanTable(capture.IdentityDefault), such(func(t *capture.Table) { t.Columns[3].Omitted = "use others" }), ""},
		{"all is there", loanTable(capture.IdentityDefault), []*capture.Table{people}, ""},
		{"no table", loanTable(capture.IdentityDefault), nil, "the table is not in the database"},
		{"no column", loanTable(capture.IdentityDefault), []*capture.Table{short}, `has no column "since"`},
		{"no columns at all", loanTable(capture.IdentityDefault), such(func(t *capture.Table) { t.Columns, t.Key = nil, nil }), `has no column "member_id"`},
		{"not the key", loanTable(capture.IdentityDefault), []*capture.Table{other}, "member_id is not the key of table circulation.members"},
		{"other types", loanTable(capture.IdentityDefault), []*capture.Table{textKey}, "equal keys may be written in different ways"},
		{"folded", folding, []*capture.Table{textKey}, "equal keys may be written in different ways"},
		{"taken", taken, []*capture.Table{people}, `has a column "member", too`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rules, err := Compile(lookingUp(EntryConfig{Events: []EventConfig{{"loan.made", []RuleConfig{{Op: []string{"insert"}}}}}}), Options{Lookups: memberLookup})
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(rules.Tables(), " "); got != "circulation.loans circulation.members" {
				t.Errorf("tables %s", got)
			}
			found := rules.Check(test.loans, ByName(test.tables))
			if test.want == "" && len(found) > 0 || test.want != "" && (len(found) == 0 || !strings.Contains(found[0].Text, test.want)) {
				t.Errorf("found %+v", found)
			}
		})
	}
	// A delete is decided by the old row's key, which must come with it.
	rules, err := Compile(lookingUp(EntryConfig{Events: []EventConfig{{"loan.gone", []RuleConfig{{Op: []string{"delete"}, Where: where("member.name=x")}}}}}), Options{Lookups: memberLookup})
	if err != nil {
		t.Fatal(err)
	}
	if needs := rules.Needs(loanTable(capture.IdentityDefault)); len(needs) != 1 || needs[0].Column != "member_id" {
		t.Errorf("needs %+v", needs)
	}
}

// TestLookupPassedOver tells of changes that no rule is for, for an entry that is about rows by what
// it looks up: nothing is looked up for them, and nobody can tell whether it is about the row.
func TestLookupPassedOver(t *testing.T) {
	t.Parallel()
	loans := loanTable(capture.IdentityFull)
	m, out, p := lookupSetup(t, lookingUp(EntryConfig{
		Where:  where("n=1", "member.user_group=STAFF"),
		Events: []EventConfig{{"loan.created", []RuleConfig{{Op: []string{"insert"}, Where: where("member.name=Ann")}}}},
	}), true)
	w := &witness{t: t}
	m.Watch(w)
	for _, c := range []*capture.Change{
		{Op: capture.Update, Table: loans, Old: row("7", "1", "5", "1"), New: row("7", "2", "5", "1")},
		{Op: capture.Update, Table: loans, New: row("7", "2", "5", "2")},
		{Op: capture.Delete, Table: loans, Old: row("7", "1", "5", "1")},
		{Op: capture.Truncate, Table: loans},
		{Op: capture.Update, Table: loans, New: row("7", "1")},
	} {
		m.Begin(&testTransaction)
		if err := errors.Join(m.Change(c), m.End()); err != nil {
			t.Fatal(err)
		}
	}
	if p.asked > 0 || len(out.events)+len(out.failures) > 0 {
		t.Errorf("%d rows were looked up, for %d events and %d failures", p.asked, len(out.events), len(out.failures))
	}
	m.window.most = 10 // a change that is not held
	m.Begin(&testTransaction)
	if err := errors.Join(m.Change(&capture.Change{Op: capture.Delete, Table: loans, Old: row("8", "1", "5", "1")}), m.End()); err != nil {
		t.Fatal(err)
	}
	const undecided = `  entry: undecided, where member.user_group: STAFF: is unknown [member.user_group "" 0]`
	want := []string{
		`update {"loan_id":7} true`, undecided, `  loan.created: other op`,
		`update {"loan_id":7} true`, `  entry: fails, where n: 1: is another value [n "2" 2]`, `  loan.created: other op`,
		`delete {"loan_id":7} true`, undecided, `  loan.created: other op`,
		`truncate  false`, `  loan.created: other op`,
		`update {"loan_id":7} true`,
		`delete {"loan_id":8} true`, undecided, `  loan.created: other op`,
	}
	if got := strings.Join(w.lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("got\n%s", got)
	}
}

// TestMemoryOfWhatCannotBeRead: memory is filled by reading the table.
func TestMemoryOfWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	events := []EventConfig{{"loan.moved", []RuleConfig{{Changed: []string{"item_pid"}}}}}
	for _, test := range []struct {
		memory MemoryConfig
		unread string
		want   string
	}{
		{MemoryConfig{}, "", "in the entry does without: it costs"},
		{MemoryConfig{}, "no GTIDs", "in the entry does without, once the table can be read (no GTIDs): it costs"},
		{MemoryConfig{All: "all"}, "", ""},
		{MemoryConfig{All: "all"}, "no GTIDs", "memory cannot work, since the rows cannot be read first: no GTIDs"},
	} {
		rules, err := Compile(Config{{Name: "circulation.loans", Memory: test.memory, Events: events}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		loans := loanTable(capture.IdentityDefault)
		loans.Unread = test.unread
		var got string
		for _, f := range rules.Check(loans, nil) {
			got += f.Text
		}
		if !strings.Contains(got, test.want) || test.want == "" && got != "" {
			t.Errorf("%+v, %q: found %q, want %q", test.memory, test.unread, got, test.want)
		}
	}
}
