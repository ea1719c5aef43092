package mapping

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"rowhook/capture"
)

// field builds a field: a column, or members.
func fieldOf(name string, content ...any) FieldConfig {
	f := FieldConfig{Name: name}
	for _, c := range content {
		switch c := c.(type) {
		case string:
			f.Value.Text = c
		case FieldConfig:
			f.Members = append(f.Members, c)
		}
	}
	return f
}

func TestFields(t *testing.T) {
	t.Parallel()
	op := func(pairs ...string) []any {
		var list []any
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, fieldOf(pairs[i], pairs[i+1]))
		}
		return list
	}
	nothing := FieldConfig{Name: "nothing", Members: []FieldConfig{{Name: "const", Value: FieldValue{Null: true}}}}
	m, out := setup(t, Config{{Name: "circulation.loans", Fields: []FieldConfig{
		fieldOf("id", op("column", "id", "type", "string")...),
		fieldOf("number", "id"),
		fieldOf("person", fieldOf("value", "name"), fieldOf("type", "gone"), fieldOf("deep", fieldOf("active", "active"))),
		fieldOf("kind", op("const", "LOAN")...),
		fieldOf("version", op("const", "01", "type", "string")...),
		fieldOf("weight", op("const", "1.50", "type", "number")...),
		fieldOf("empty", op("const", "[]", "type", "json")...),
		nothing,
		fieldOf("five", op("const", "5")...), fieldOf("yes", op("const", "true")...), fieldOf("zero_one", op("const", "01")...),
		{Name: "quoted", Members: []FieldConfig{{Name: "const", Value: FieldValue{Text: "5", Quoted: true}}}},
		fieldOf("due", op("column", "due_at", "format", "seconds")...),
		fieldOf("due_ms", op("column", "due_at", "format", "milliseconds", "type", "datetime")...),
		fieldOf("due_day", op("column", "due_at", "type", "date")...),
		fieldOf("midnight", op("column", "day", "type", "datetime")...),
		fieldOf("amount", op("column", "amount", "type", "number")...),
		fieldOf("active", op("column", "active", "type", "string")...),
		fieldOf("doc", op("column", "doc", "type", "string")...),
		fieldOf("names", op("column", "name", "type", "list")...),
		fieldOf("wrong", op("column", "name", "type", "number")...),
		fieldOf("overdue", op("expr", "row.due_at < now()")...),
		fieldOf("third", op("expr", "row.amount / 3")...),
		fieldOf("sum", op("expr", "row.amount + row.ratio", "type", "string")...),
		fieldOf("size", op("expr", "len(row.big)")...),
		fieldOf("broken", op("expr", "row.name - 1")...),
		fieldOf("big", "big"),
	}}}, Options{})
	c := typedChange()
	c.Table.Key, c.Table.Identity = []int{0}, capture.IdentityDefault
	if err := m.Change(c); err != nil {
		t.Fatal(err)
	}
	c.Op, c.New = capture.Delete, nil
	if err := m.Change(c); err != nil {
		t.Fatal(err)
	}
	golden(t, "fields.golden", describe(out.events))
	for _, ev := range out.events {
		for _, body := range [][]byte{ev.Key, ev.Data, ev.Previous} {
			if !json.Valid(body) {
				t.Errorf("not JSON: %s", body)
			}
		}
	}
}

func TestMask(t *testing.T) {
	t.Parallel()
	loans := loans(capture.IdentityFull)
	cfg := Config{{
		Name: "circulation.loans", Link: "https://x/{loan_id}/{branch}",
		Columns: ColumnsConfig{Mask: []string{"loan_id", "branch", "returned_at"}, MaskKeyFile: "mask.key"},
	}}
	m, out := setup(t, cfg, Options{ReadFile: goodKey})
	old := row("1000", "i", "MAIN", "s", null, null, null, "n")
	new := row("1000", "i", "EAST", "s", null, null, null, "n")
	if err := m.Change(&capture.Change{Op: capture.Update, Table: loans, Old: old, New: new}); err != nil {
		t.Fatal(err)
	}
	ev := out.events[0]
	all := string(ev.Key) + string(ev.Data) + string(ev.Previous) + ev.Link
	if strings.Contains(all, "1000") || strings.Contains(all, "MAIN") || strings.Contains(all, "EAST") {
		t.Errorf("a masked value is seen: %s", all)
	}
	id := string(mask([]byte("0123456789abcdef0123456789abcdef"), []byte("1000")))
	if len(id) != 32 || string(ev.Key) != `{"loan_id":"`+id+`"}` || !strings.Contains(ev.Link, id) || len(ev.Bigints) > 0 {
		t.Errorf("key %s link %s bigints %q", ev.Key, ev.Link, ev.Bigints)
	}
	if !strings.Contains(string(ev.Data), `"returned_at":null`) {
		t.Errorf("NULL is not masked: %s", ev.Data)
	}
}

// TestHiddenColumnsStayHidden: nothing sends an excluded column by another way.
func TestHiddenColumnsStayHidden(t *testing.T) {
	t.Parallel()
	hidden := ColumnsConfig{Exclude: []string{"branch"}}
	for name, e := range map[string]EntryConfig{
		"field":      {Fields: []FieldConfig{fieldOf("x", "branch")}},
		"expression": {Fields: []FieldConfig{fieldOf("x", fieldOf("expr", "row.branch"))}},
		"link":       {Link: "https://x/{branch}"},
		"key":        {Key: []string{"branch"}},
	} {
		e.Name, e.Columns = "circulation.loans", hidden
		rules, err := Compile(Config{e}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if findings := rules.Check(loans(capture.IdentityFull), nil); len(findings) != 1 || findings[0].Severity != capture.Error {
			t.Errorf("%s: %v", name, findings)
		}
	}
}

func TestOrderKeys(t *testing.T) {
	t.Parallel()
	two := table("app.t", capture.IdentityFull, "a text key", "b text key")
	keyless := table("app.t", capture.IdentityFull, "a text", "b text")
	for _, tt := range []struct {
		name     string
		entry    EntryConfig
		change   capture.Change
		key, old string
	}{
		{"insert", EntryConfig{}, capture.Change{Op: capture.Insert, Table: two, New: row("1", "2")}, "app.t/1/2", ""},
		{"parts do not run together", EntryConfig{}, capture.Change{Op: capture.Insert, Table: two, New: row("1/2", "%")}, "app.t/1%2F2/%25", ""},
		{"NULL is not the empty text", EntryConfig{OrderBy: []string{"a", "b"}}, capture.Change{Op: capture.Insert, Table: two, New: row(null, "")}, "app.t/%/", ""},
		{"moved", EntryConfig{}, capture.Change{Op: capture.Update, Table: two, Old: row("1", "2"), New: row("1", "3")}, "app.t/1/3", "app.t/1/2"},
		{"not moved", EntryConfig{}, capture.Change{Op: capture.Update, Table: two, Old: row("1", "2"), New: row("1", "2")}, "app.t/1/2", ""},
		{"no old tuple", EntryConfig{}, capture.Change{Op: capture.Update, Table: two, New: row("1", "2")}, "app.t/1/2", ""},
		{"order_by", EntryConfig{OrderBy: []string{"b"}}, capture.Change{Op: capture.Delete, Table: two, Old: row("1", "2")}, "app.t/2", ""},
		{"group", EntryConfig{OrderGroup: "loans", OrderBy: []string{"b"}}, capture.Change{Op: capture.Insert, Table: two, New: row("1", "2")}, "loans/2", ""},
		{"no key", EntryConfig{}, capture.Change{Op: capture.Insert, Table: keyless, New: row("1", "2")}, "app.t", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.entry.Name = "app.t"
			m, out := setup(t, Config{tt.entry}, Options{})
			if err := m.Change(&tt.change); err != nil || len(out.events) != 1 {
				t.Fatal(err, out.failures)
			}
			if ev := out.events[0]; ev.OrderKey != tt.key || ev.OrderKeyOld != tt.old {
				t.Errorf("got %q %q, want %q %q", ev.OrderKey, ev.OrderKeyOld, tt.key, tt.old)
			}
		})
	}
}

// TestUnknownKeyIsParked: an event without its key, or without its lane, is not made.
func TestUnknownKeyIsParked(t *testing.T) {
	t.Parallel()
	tbl := table("app.t", capture.IdentityDefault, "a text key", "b text")
	for clause, e := range map[string]EntryConfig{"key": {Key: []string{"b"}}, "order_by": {OrderBy: []string{"b"}}} {
		e.Name = "app.t"
		m, out := setup(t, Config{e}, Options{})
		if err := m.Change(&capture.Change{Op: capture.Delete, Table: tbl, Old: row("1", missing)}); err != nil {
			t.Fatal(err)
		}
		if len(out.failures) != 1 || !strings.Contains(out.failures[0].Err.Error(), clause+`: the old value of column "b" is not in the stream`) {
			t.Errorf("%s: %+v", clause, out.failures)
		}
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	link := func(template string, r capture.Row) string {
		m, out := setup(t, Config{{Name: "app.t", Link: template}}, Options{})
		tbl := table("app.t", capture.IdentityFull, "a text key", "b text")
		if err := m.Change(&capture.Change{Op: capture.Insert, Table: tbl, New: r}); err != nil || len(out.events) != 1 {
			t.Fatal(err, out.failures)
		}
		return out.events[0].Link
	}
	for _, tt := range []struct{ template, a, b, want string }{
		{"https://x/{a}", "1", "", "https://x/1"},
		{"https://x/{a}?q={b}#{a}", "a/b?c", "ü&=", "https://x/a%2Fb%3Fc?q=%C3%BC%26%3D#a%2Fb%3Fc"},
		{"https://x/{a}/{b}", "1", null, ""},
		{"https://x/{b}", "1", unchanged, ""},
		{"http://x/static", "1", "2", "http://x/static"},
	} {
		if got := link(tt.template, row(tt.a, tt.b)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.template, got, tt.want)
		}
	}
}

func FuzzLink(f *testing.F) {
	f.Add("https://x/{a}/{b}", "va/lue")
	f.Add("https://x/}{", "")
	f.Fuzz(func(t *testing.T, template, value string) {
		parts, err := parseLink(template)
		if err != nil {
			return
		}
		var again strings.Builder
		for _, p := range parts {
			if p.column != "" {
				again.WriteString("{" + p.column + "}")
			}
			again.WriteString(p.text)
		}
		if again.String() != template {
			t.Errorf("%q was read as %q", template, again.String())
		}
		if strings.ContainsAny(string(appendEscaped(nil, []byte(value))), " /?#&=+\"<>") {
			t.Errorf("%q is not escaped", value)
		}
	})
}

func FuzzString(f *testing.F) {
	f.Add("a\"b\\\n\u2028<é\xff\x00")
	f.Fuzz(func(t *testing.T, s string) {
		text := appendString(nil, s)
		var back string
		if err := json.Unmarshal(text, &back); err != nil || back != strings.ToValidUTF8(s, "\uFFFD") && !strings.Contains(back, "\uFFFD") {
			t.Errorf("%q became %s: %v", s, text, err)
		}
		if again := appendString(nil, back); string(again) != string(text) {
			t.Errorf("%s is no fixed point: %s", text, again)
		}
	})
}

// Numbers that JavaScript would round are told of once a column.
func TestRoundedNumbersAreTold(t *testing.T) {
	t.Parallel()
	tbl := table("app.t", capture.IdentityDefault, "a bigint key", "b bigint", "c bigint", "d text")
	cfg := Config{{Name: "app.t", Fields: []FieldConfig{
		{Name: "a", Value: FieldValue{Text: "a"}}, {Name: "b", Value: FieldValue{Text: "b"}}, {Name: "d", Value: FieldValue{Text: "d"}},
		{Name: "c", Members: []FieldConfig{{Name: "column", Value: FieldValue{Text: "c"}}, {Name: "type", Value: FieldValue{Text: "string"}}}},
	}}}
	m, out := setup(t, cfg, Options{})
	for _, values := range [][]string{
		{"1", "9007199254740992", "9007199254740993", "9007199254740993"},
		{"9007199254740993", "-9007199254740992", "1", "x"},
		{"9007199254740995", "-9007199254740993", "1", "x"},
		{"10000000000000000", "-9223372036854775808", "1", "x"},
	} {
		if err := m.Change(&capture.Change{Op: capture.Insert, Table: tbl, New: row(values...)}); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, n := range out.notices {
		got = append(got, string(n.Kind)+" "+n.Entry+" "+n.Column)
	}
	if want := "bigint_rounded app.t app.t.a, bigint_rounded app.t app.t.b"; strings.Join(got, ", ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestBigintLists: lists of 64-bit integers are written as single ones are.
func TestBigintLists(t *testing.T) {
	t.Parallel()
	tb := table("shop.orders", capture.IdentityFull, "id bigint key", "items list", "tags list", "small int")
	items := *tb.Columns[1].Type
	items.Elem = testTypes["bigint"]
	tb.Columns[1].Type = &items
	cfg := Config{{Name: "shop.orders", Fields: []FieldConfig{
		fieldOf("items", "items"), operator("ids", "column=id", "type=list"), operator("all", "column=items", "type=list"), fieldOf("tags", "tags"), fieldOf("small", "small"),
	}}}
	m, out := setup(t, cfg, Options{})
	if err := m.Change(&capture.Change{Op: capture.Insert, Table: tb, New: row("1", "[1,[9007199254740993]]", `["a"]`, "2")}); err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(out.events[0].Bigints), "[id items ids all]"; got != want {
		t.Errorf("bigints %s, want %s", got, want)
	}
	if len(out.notices) != 1 || out.notices[0].Column != "shop.orders.items" {
		t.Errorf("notices %+v", out.notices)
	}
}

// TestBigintExpressions: what an expression makes of 64-bit integers is written as they are, whatever
// the value.
func TestBigintExpressions(t *testing.T) {
	t.Parallel()
	tb := table("shop.orders", capture.IdentityFull, "id bigint key", "items list", "small int", "name text", "price numeric")
	items := *tb.Columns[1].Type
	items.Elem = testTypes["bigint"]
	tb.Columns[1].Type = &items
	for text, want := range map[string]bool{
		"row.id": true, "-row.id": true, "row.id + 1": true, "row.small + row.id % 2": true, "row.id / 2": false, "row.id > 1": false,
		"row.small": false, "row.price": false, "row.name": false, "string(row.id)": false, "len(row.items)": false, "float(row.id)": false,
		"row.items": true, "row.items[0]": true, "row.items[0:1]": true, "[row.small, row.id]": true, "abs(row.id)": true, "max(row.small, row.id)": true,
		"row.small > 1 ? row.id : 0": true, "row.id > 1 ? row.small : 0": false, "old.id ?? row.id": true, "let x = row.id; x": true, "let x = row.id; row.small": false,
		"map(row.items, # + 1)": true, "map(row.items, #index)": false, "filter(row.items, # > 1)": true, "filter([1], # > row.id)": false,
		"sum(row.items)": true, "sum(map([1], row.small))": false, "reduce(row.items, #acc + #, 0)": true, "count(row.items, # > 1)": false,
		"first(row.items)": true,
	} {
		cfg := Config{{Name: "shop.orders", Fields: []FieldConfig{operator("x", "expr="+text), operator("n", "expr="+text, "type=number"), operator("l", "expr="+text, "type=list")}}}
		rules, err := Compile(cfg, Options{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got := rules.bind(tb, nil).entries[0].bigints
		if want := map[bool]string{true: "[id x l]", false: "[id]"}[want]; fmt.Sprint(got) != want {
			t.Errorf("%s: bigints %s, want %s", text, got, want)
		}
	}
	m, out := setup(t, Config{{Name: "shop.orders", Fields: []FieldConfig{operator("x", "expr=row.id")}}}, Options{})
	if err := m.Change(&capture.Change{Op: capture.Insert, Table: tb, New: row("9007199254740993", "[]", "2", "n", "1")}); err != nil {
		t.Fatal(err)
	}
	if got := string(out.events[0].Data); got != `{"x":9007199254740993}` || len(out.notices) != 2 || out.notices[1].Column != "shop.orders.x" {
		t.Errorf("%s, notices %+v", got, out.notices)
	}
}

// TestJSONStaysJSON: type json reads texts, and leaves alone what is JSON in the database.
func TestJSONStaysJSON(t *testing.T) {
	t.Parallel()
	tb := table("shop.docs", capture.IdentityFull, "id int key", "doc json", "note text")
	m, out := setup(t, Config{{Name: "shop.docs", Fields: []FieldConfig{operator("doc", "column=doc", "type=json"), operator("note", "column=note", "type=json")}}}, Options{})
	for _, tt := range []struct{ doc, note, want string }{
		{`"5"`, `5`, `{"doc":"5","note":5}`},
		{`"{\"a\":1}"`, `{"a": 1}`, `{"doc":"{\"a\":1}","note":{"a":1}}`},
		{`{"a":1}`, `"5"`, `{"doc":{"a":1},"note":"5"}`},
		{`null`, null, `{"doc":null,"note":null}`},
	} {
		if err := m.Change(&capture.Change{Op: capture.Insert, Table: tb, New: row("1", tt.doc, tt.note)}); err != nil {
			t.Fatal(err)
		}
		if ev := out.events[len(out.events)-1]; string(ev.Data) != tt.want || len(ev.Flags) > 0 {
			t.Errorf("%s and %s: %s, flags %q; want %s", tt.doc, tt.note, ev.Data, ev.Flags, tt.want)
		}
	}
}

// TestExpressionsGiveNoBytes: what is no text is not sent as one with its bytes replaced.
func TestExpressionsGiveNoBytes(t *testing.T) {
	t.Parallel()
	tb := table("shop.files", capture.IdentityFull, "id int key", "name text", "mail citext")
	m, out := setup(t, Config{{Name: "shop.files", Fields: []FieldConfig{
		operator("a", "expr=row.name"), operator("b", "expr=[row.mail, row.name]"), operator("c", "expr=len(row.mail)"), operator("d", `expr=row.name == "x"`)}}}, Options{})
	if err := m.Change(&capture.Change{Op: capture.Insert, Table: tb, New: row("1", "\xff\x00b", "m")}); err != nil {
		t.Fatal(err)
	}
	if ev := out.events[0]; string(ev.Data) != `{"c":1,"d":false}` || fmt.Sprint(ev.Unavailable, ev.Flags) != "[a b] [a b]" {
		t.Errorf("%s, unavailable %q, flags %q", ev.Data, ev.Unavailable, ev.Flags)
	}
}
