package mapping

import (
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// faults flattens joined errors into "path: text".
func faults(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var list []string
		for _, err := range joined.Unwrap() {
			list = append(list, faults(t, err)...)
		}
		return list
	}
	var at interface{ ConfigPath() []string }
	if !errors.As(err, &at) {
		t.Fatalf("no path: %v", err)
	}
	return []string{strings.Join(at.ConfigPath(), "/") + ": " + err.Error()}
}

func TestCompileRefuses(t *testing.T) {
	t.Parallel()
	entry := func(change func(*EntryConfig)) Config {
		e := EntryConfig{Name: "app.t"}
		change(&e)
		return Config{e}
	}
	rule := func(r RuleConfig) Config {
		return entry(func(e *EntryConfig) { e.Events = []EventConfig{{"t.event", []RuleConfig{{}, r}}} })
	}
	fields := func(f ...FieldConfig) Config { return entry(func(e *EntryConfig) { e.Fields = f }) }
	scalar := func(name, text string) FieldConfig {
		return FieldConfig{Name: name, Value: FieldValue{Text: text}}
	}
	const event = "mapping/app.t/events/t.event"
	for _, tt := range []struct {
		name string
		cfg  Config
		opts Options
		want string // the one fault
	}{
		{"no schema", Config{{Name: "loans"}}, Options{}, `mapping/loans: "loans" is not a table`},
		{"no schema in table", entry(func(e *EntryConfig) { e.Table = "loans" }), Options{}, `mapping/app.t/table: "loans" is not a table`},
		{"pattern", entry(func(e *EntryConfig) { e.Table = "app.loan_*" }), Options{}, `mapping/app.t/table: "app.loan_*" is no pattern`},
		{"type", entry(func(e *EntryConfig) { e.Events = []EventConfig{{"loan returned", []RuleConfig{{}}}} }), Options{}, `mapping/app.t/events/loan returned: "loan returned" is not an event type`},
		{"reserved type", entry(func(e *EntryConfig) { e.Events = []EventConfig{{"rowhook.gap", []RuleConfig{{}}}} }), Options{}, `mapping/app.t/events/rowhook.gap: "rowhook.gap" is reserved`},
		{"no rule", entry(func(e *EntryConfig) { e.Events = []EventConfig{{"t.event", nil}} }), Options{}, event + ": the event has no rule"},
		{"never on insert", rule(RuleConfig{Op: []string{"insert"}, Changed: []string{"a"}}), Options{}, event + "/1: the rule can never fire"},
		{"never on delete", rule(RuleConfig{Op: []string{"delete"}, Set: "a"}), Options{}, event + "/1: the rule can never fire"},
		{"truncate with a condition", rule(RuleConfig{Op: []string{"truncate"}, Where: where("a=1")}), Options{}, event + "/1/op: a truncate tells no rows"},
		{"truncate reading a column", rule(RuleConfig{Op: []string{"truncate"}, If: "row.a == 1"}), Options{}, event + "/1/op: a truncate tells no rows"},
		{"op", rule(RuleConfig{Op: []string{"upsert"}}), Options{}, event + `/1/op: "upsert" is not an operation`},
		{"read of a change", rule(RuleConfig{Op: []string{"insert", "read"}, Set: "a"}), Options{}, event + "/1/op: set, cleared, changed and becomes look at a change"},
		{"if", rule(RuleConfig{If: "new.a >"}), Options{}, event + "/1/if: unexpected token EOF, at character 7"},
		{"where without a value", rule(RuleConfig{Where: delivery.Where{{Column: "a"}}}), Options{}, event + "/1/where/a: no value is given"},
		{"column twice", rule(RuleConfig{Changed: []string{"a", "a"}}), Options{}, event + `/1/changed/1: column "a" is empty or given twice`},
		{"operations of no event", entry(func(e *EntryConfig) { e.Operations = []EventOperations{{"record.insertd", nil}} }), Options{}, `mapping/app.t/operations/record.insertd: the entry has no event "record.insertd"`},
		{"link", entry(func(e *EntryConfig) { e.Link = "https://x/{id" }), Options{}, "mapping/app.t/link: a { is not followed"},
		{"link scheme", entry(func(e *EntryConfig) { e.Link = "javascript:{id}" }), Options{}, "mapping/app.t/link: a link starts with"},
		{"rename twice", entry(func(e *EntryConfig) { e.Columns.Rename = []ColumnRename{{"a", "x"}, {"b", "x"}} }), Options{}, `mapping/app.t/columns/rename/b: "x" is already the new name of "a"`},
		{"rename excluded", entry(func(e *EntryConfig) { e.Columns.Exclude = []string{"a"}; e.Columns.Rename = []ColumnRename{{"a", "x"}} }), Options{}, "mapping/app.t/columns/rename/a: the column is excluded"},
		{"mask without key", entry(func(e *EntryConfig) { e.Columns.Mask = []string{"a"} }), Options{}, "mapping/app.t/columns/mask: masked columns need a key"},
		{"key without mask", entry(func(e *EntryConfig) { e.Columns.MaskKeyFile = "k" }), Options{}, "mapping/app.t/columns/mask_key_file: there is no column to mask"},
		{"mask key too short", entry(func(e *EntryConfig) { e.Columns.Mask = []string{"a"}; e.Columns.MaskKeyFile = "k" }),
			Options{ReadFile: func(string) ([]byte, error) { return []byte("short\n"), nil }}, "mapping/app.t/columns/mask_key_file: the mask's key has 5 bytes"},
		{"mask key missing", entry(func(e *EntryConfig) { e.Columns.Mask = []string{"a"}; e.Columns.MaskKeyFile = "k" }),
			Options{ReadFile: func(string) ([]byte, error) { return nil, fs.ErrNotExist }}, "mapping/app.t/columns/mask_key_file: read the mask's key"},
		{"mask and exclude", entry(func(e *EntryConfig) {
			e.Columns = ColumnsConfig{Mask: []string{"a"}, Exclude: []string{"a"}, MaskKeyFile: "k"}
		}), Options{ReadFile: goodKey}, `mapping/app.t/columns/mask: column "a" is both masked and excluded`},
		{"order group", entry(func(e *EntryConfig) { e.OrderGroup = "app.loans" }), Options{}, "mapping/app.t/order_group: an order group's name"},
		{"empty field", fields(scalar("a", "")), Options{}, "mapping/app.t/fields/a: the member has no content"},
		{"field operators", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("column", "x"), scalar("const", "y")}}), Options{}, "mapping/app.t/fields/a: a member is one of"},
		{"field key", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("column", "x"), scalar("typ", "string")}}), Options{}, `mapping/app.t/fields/a/typ: unknown key "typ"`},
		{"field type", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("column", "x"), scalar("type", "cv")}}), Options{}, `mapping/app.t/fields/a/type: unknown type "cv"`},
		{"field format", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("column", "x"), scalar("format", "rfc822")}}), Options{}, `mapping/app.t/fields/a/format: unknown format "rfc822"`},
		{"field format of bools", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("column", "x"), scalar("format", "string")}}), Options{}, `mapping/app.t/fields/a/format: format "string" goes with type bool`},
		{"field zone", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("column", "x"), scalar("zone", "Tokio")}}), Options{}, `mapping/app.t/fields/a/zone: "Tokio" is not a time zone`},
		{"field zone and type", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("column", "x"), scalar("type", "date"), scalar("zone", "UTC")}}), Options{}, "mapping/app.t/fields/a/zone: zone goes with type datetime"},
		{"items without members", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("column", "x"), scalar("items", "y")}}), Options{}, "mapping/app.t/fields/a/items: items takes a map: the shape of each element"},
		{"items of a constant", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("const", "x"), {Name: "items", Members: []FieldConfig{scalar("b", "c")}}}}), Options{}, "mapping/app.t/fields/a/items: items goes with column"},
		{"items and type", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("column", "x"), scalar("type", "date"), {Name: "items", Members: []FieldConfig{scalar("b", "c")}}}}), Options{}, "mapping/app.t/fields/a/items: items goes with type list or json"},
		{"expression in items", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("column", "x"), {Name: "items", Members: []FieldConfig{{Name: "b", Members: []FieldConfig{scalar("expr", "row.c")}}}}}}), Options{}, "mapping/app.t/fields/a/items/b: an expression sees the row, not the element"},
		{"field format and type", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("column", "x"), scalar("type", "string"), scalar("format", "seconds")}}), Options{}, `mapping/app.t/fields/a/format: format "seconds" goes with type datetime`},
		{"field constant", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("const", "x"), scalar("type", "number")}}), Options{}, `mapping/app.t/fields/a/const: "x" does not fit its type`},
		{"field expression", fields(FieldConfig{Name: "a", Members: []FieldConfig{scalar("expr", "row.")}}), Options{}, "mapping/app.t/fields/a/expr: unexpected end"},
		{"later operator", fields(FieldConfig{Name: "a", Members: []FieldConfig{{Name: "lookup", Members: []FieldConfig{scalar("table", "x")}}}}), Options{}, "mapping/app.t/fields/a/lookup: lookup is not in this version"},
		{"context table", nil, Options{Context: ContextConfig{Table: "ctx"}}, `source/context/table: "ctx" is not a table`},
		{"signals without types", nil, Options{Signals: SignalsConfig{Message: "s"}}, "source/signals: signals are on, but no type is listed"},
		{"types without signals", nil, Options{Signals: SignalsConfig{Types: []SignalConfig{{Type: "a.b"}}}}, "source/signals: types are listed"},
		{"same prefix", nil, Options{Context: DefaultContext(), Signals: SignalsConfig{Message: "rowhook", Types: []SignalConfig{{Type: "a.b"}}}}, "source/signals/message: context and signals have the same prefix"},
		{"signal type", nil, Options{Signals: SignalsConfig{Message: "s", Types: []SignalConfig{{Type: "a-b"}}}}, `source/signals/types/a-b: "a-b" is not an event type`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := Compile(tt.cfg, tt.opts)
			if got := faults(t, err); len(got) != 1 || !strings.HasPrefix(got[0], tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func goodKey(string) ([]byte, error) { return []byte("0123456789abcdef0123456789abcdef\n"), nil }

// TestCompileTellsAll: one run shows all faults.
func TestCompileTellsAll(t *testing.T) {
	t.Parallel()
	_, err := Compile(Config{
		{Name: "loans", Link: "{x"},
		{Name: "app.t", Events: []EventConfig{{"a b", []RuleConfig{{If: "x"}}}}},
	}, Options{Context: ContextConfig{Table: "ctx"}})
	if got := faults(t, err); len(got) != 5 {
		t.Errorf("got %d faults: %q", len(got), got)
	}
}

func TestEventsAndTables(t *testing.T) {
	t.Parallel()
	cfg := append(loanMapping(), EntryConfig{Name: "second", Table: "circulation.loans", OrderGroup: "branches", OrderBy: []string{"branch", "loan_id"}}, EntryConfig{Name: "catalog.*"})
	cfg[0].Operations = []EventOperations{{"loan.created", []string{"desk", "kiosk"}}}
	rules, err := Compile(cfg, Options{
		Context: ContextConfig{Table: "app.context"},
		Signals: SignalsConfig{Table: "app.signal", Types: []SignalConfig{{Type: "job.finished", Title: "Job finished"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := rules.Tables(), []string{"circulation.loans", "catalog.*", "app.context", "app.signal"}; !slices.Equal(got, want) {
		t.Errorf("tables %q, want %q", got, want)
	}
	events := rules.Events()
	for i, want := range map[int]EventInfo{
		0:               {Type: "loan.created", Entry: "circulation.loans", Table: "circulation.loans", Title: "Loans", Ops: []string{"insert"}, Unnamed: []string{"insert"}, Operations: []string{"desk", "kiosk"}, Order: "() canonical"},
		1:               {Type: "loan.returned", Entry: "circulation.loans", Table: "circulation.loans", Title: "Loans", Ops: []string{"update", "delete"}, Unnamed: []string{"update", "delete"}, Order: "() canonical"},
		7:               {Type: "record.inserted", Entry: "second", Table: "circulation.loans", Ops: []string{"insert"}, Unnamed: []string{"insert"}, Order: "branches(branch,loan_id) canonical"},
		13:              {Type: "record.deleted", Entry: "catalog.*", Table: "catalog.*", Ops: []string{"delete"}, Unnamed: []string{"delete"}, Order: "() canonical"},
		len(events) - 1: {Type: "job.finished", Title: "Job finished", Ops: []string{"signal"}},
	} {
		if !reflect.DeepEqual(events[i], want) {
			t.Errorf("event %d is %+v, want %+v", i, events[i], want)
		}
	}
}

// TestWildcards: a schema's entry holds for the tables that no entry names, but not for
// those of context and signals.
func TestWildcards(t *testing.T) {
	t.Parallel()
	m, out := setup(t, Config{
		{Name: "app.*", Columns: ColumnsConfig{Exclude: []string{"secret"}}, Link: "https://x/{slug}", Actor: ActorConfig{ID: "editor"}},
		{Name: "named", Table: "app.named", Events: []EventConfig{{"named.event", []RuleConfig{{}}}}},
		{Name: "again", Table: "app.named", Events: []EventConfig{{"again.event", []RuleConfig{{}}}}},
	}, Options{Context: ContextConfig{Table: "app.context"}})
	for _, name := range []string{"app.other", "app.named", "app.context", "else.other"} {
		c := capture.Change{Op: capture.Insert, Table: table(name, capture.IdentityDefault, "id int key", "secret text"), New: row("1", "s")}
		if err := m.Change(&c); err != nil {
			t.Fatal(err)
		}
	}
	if ev := out.events[0]; ev.Link != "" || ev.Actor.ID != "" {
		t.Errorf("link %q actor %q of columns that are not there", ev.Link, ev.Actor.ID)
	}
	if got := out.types(); got != "record.inserted named.event again.event" {
		t.Errorf("got %s", got)
	}
	if got := string(out.events[0].Data); got != `{"id":1}` {
		t.Errorf("got %s", got)
	}
}

// TestCheck fixes what check says about a table.
func TestCheck(t *testing.T) {
	t.Parallel()
	cfg := append(loanMapping(),
		EntryConfig{Name: "typo", Table: "circulation.loans", Where: where("brnach=MAIN"), Columns: ColumnsConfig{Exclude: []string{"big_not"}}},
		EntryConfig{Name: "hidden key", Table: "circulation.loans", Columns: ColumnsConfig{Exclude: []string{"loan_id"}}},
		EntryConfig{Name: "moves", Table: "circulation.loans", OrderBy: []string{"branch"}, Events: []EventConfig{
			{"m.deleted", []RuleConfig{{Op: []string{"delete"}, Where: where("status=LOST"), If: "row.big_note == 'x'"}}},
			{"m.changed", []RuleConfig{{Changed: []string{"loan_id", "due_at"}}}},
			{"m.never", []RuleConfig{{Op: []string{"insert"}, Where: where("loan_id=abc")}}},
		}},
	)
	rules, err := Compile(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	keyless := table("circulation.loans", capture.IdentityFull)
	keyless.Columns = loans(capture.IdentityFull).Columns
	partial := loans(capture.IdentityDefault) // of MySQL, where new rows lack columns too
	partial.WholeRows = "SET PERSIST binlog_row_image = 'FULL';"
	for _, table := range []*capture.Table{loans(capture.IdentityDefault), loans(capture.IdentityFull), keyless, partial} {
		b.WriteString("\n")
		for _, f := range rules.Check(table, nil) {
			b.WriteString(f.Severity.String() + " " + f.Code + " [" + f.Subject + "] " + f.Text + " -> " + f.Remedy + "\n")
			if f.Table != "circulation.loans" {
				t.Errorf("finding on table %q", f.Table)
			}
		}
	}
	golden(t, "check.golden", b.String())
	if needs := rules.Needs(loans(capture.IdentityFull)); len(needs) > 0 {
		t.Errorf("FULL still needs %v", needs)
	}
}

// TestFaultyEntryParks: a table that lost a column parks its changes, and no others.
func TestFaultyEntryParks(t *testing.T) {
	t.Parallel()
	m, out := setup(t, Config{
		{Name: "app.t", Columns: ColumnsConfig{Exclude: []string{"secret"}}},
		{Name: "plain", Table: "app.t"},
	}, Options{})
	c := capture.Change{Op: capture.Insert, Table: table("app.t", capture.IdentityDefault, "id int key", "secrets text"), New: row("1", "s")}
	if err := m.Change(&c); err != nil {
		t.Fatal(err)
	}
	if len(out.failures) != 1 || out.failures[0].Entry != "app.t" || out.failures[0].Reason != delivery.OutcomeUnmapped || out.raws != 1 {
		t.Fatalf("got %+v", out.failures)
	}
	if got, want := out.failures[0].Err.Error(), `map app.t: mapping.app.t.columns.exclude.0: table app.t has no column "secret"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if len(out.events) != 1 || out.events[0].Entry != "plain" {
		t.Errorf("got %s", out.types())
	}
	c.New = c.New[:1]
	if err := m.Change(&c); err != nil || len(out.failures) != 3 {
		t.Errorf("a short row made %d failures, %v", len(out.failures), err)
	}
}

// TestLabels: a value that an enum or a set never holds is a condition that never holds.
func TestLabels(t *testing.T) {
	t.Parallel()
	values := func(column string, texts ...string) delivery.Where {
		c := delivery.Condition{Column: column}
		for _, text := range texts {
			c.Values = append(c.Values, delivery.Literal{Text: text})
		}
		return delivery.Where{c}
	}
	for _, test := range []struct {
		rule RuleConfig
		want string
	}{
		{RuleConfig{Becomes: values("status", "payed")}, `the column never holds "payed", so that the condition never holds for it -> did you mean paid? there are new, paid`},
		{RuleConfig{Where: values("status", "new", "gone")}, `the column never holds "gone", so that the condition never holds for it -> there are new, paid`},
		{RuleConfig{Becomes: values("status", "paid", "")}, ""},
		{RuleConfig{Where: delivery.Where{{Column: "status", Values: []delivery.Literal{{Null: true}}}}}, ""},
		{RuleConfig{Where: values("flags", "a,b")}, ""},
		{RuleConfig{Where: values("flags", "a,c")}, `the column never holds "c", so that the condition never holds for it -> did you mean a? there are a, b`},
		{RuleConfig{Where: values("note", "anything")}, ""},
	} {
		tb := table("shop.orders", capture.IdentityFull, "id int key", "status text", "flags text", "note text")
		status, flags := *tb.Columns[1].Type, *tb.Columns[2].Type
		status.Labels = []string{"new", "paid"}
		flags.Kind, flags.Labels = capture.List, []string{"a", "b"}
		tb.Columns[1].Type, tb.Columns[2].Type = &status, &flags
		rules, err := Compile(Config{{Name: "shop.orders", Events: []EventConfig{{Type: "order.paid", Rules: []RuleConfig{test.rule}}}}}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range rules.Check(tb, nil) {
			if f.Severity != capture.Warning {
				t.Errorf("%s is no warning", f.Text)
			}
			got = append(got, f.Text+" -> "+f.Remedy)
		}
		if text := strings.Join(got, "\n"); text != test.want {
			t.Errorf("%+v: %s, want %s", test.rule, text, test.want)
		}
	}
}
