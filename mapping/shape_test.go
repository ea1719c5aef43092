package mapping

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// operator builds a field of options such as "column=due_at", and members.
func operator(name string, options ...any) FieldConfig {
	f := FieldConfig{Name: name}
	for _, o := range options {
		switch o := o.(type) {
		case string:
			key, value, _ := strings.Cut(o, "=")
			f.Members = append(f.Members, fieldOf(key, value))
		case FieldConfig:
			f.Members = append(f.Members, o)
		}
	}
	return f
}

// messages is a table with what messages of the wire formats are made of.
func messages(identity capture.Identity) *capture.Table {
	return table("app.messages", identity,
		"id bigint key", "title text", "day date", "due_at time", "local_at local", "opens clock", "price numeric", "ratio float",
		"active bool", "counters json", "identifiers json", "tags list", "note longtext", "photo bytes", "more other")
}

// TestShapes: what the tables of the wire formats ask of fields.
func TestShapes(t *testing.T) {
	t.Parallel()
	items := func(fields ...any) FieldConfig { return fieldOf("items", fields...) }
	cv := func(value, desc string) []any { return []any{fieldOf("value", value), fieldOf("desc", desc)} }
	m, out := setup(t, Config{{Name: "app.messages", Fields: []FieldConfig{
		operator("id", "column=id", "type=string"),
		operator("price", "column=price", "type=number"),
		operator("day", "column=day", "format=xs"),
		operator("due_day", "column=due_at", "format=xs", "type=date"),
		operator("due_date", "column=due_at", "format=seconds"),
		operator("due_ms", "column=due_at", "format=milliseconds"),
		operator("day_ms", "column=day", "format=milliseconds"),
		operator("local", "column=local_at", "zone=Asia/Tokyo"),
		operator("local_ms", "column=local_at", "zone=Asia/Tokyo", "format=milliseconds"),
		operator("local_day", "column=local_at", "format=xs"),
		operator("suppress", "column=active", "type=bool", "format=string"),
		operator("counter", "column=counters", "type=list", items(
			fieldOf("type", cv("code", "label")...), operator("value", "column=n", "type=string"))),
		operator("user_identifier", "column=identifiers", "type=list", items(
			fieldOf("value", "id"), fieldOf("id_type", cv("kind.code", "kind.name")...), operator("status", "const=ACTIVE"), fieldOf("a.b", "a.b"))),
		operator("first", "column=counters", items(fieldOf("n", "n"), operator("tags", "column=tags", "type=list"))),
		operator("network_number", "column=tags", "type=list"),
		operator("alert", "column=tags", "type=list", items(cvOf("."))),
		operator("anies", "column=title", "type=list"),
		operator("loose", "expr=filter(row.tags, # != 'a')", "type=list"),
	}}}, Options{})
	tbl := messages(capture.IdentityFull)
	full := row("42", "図書館", "2026-12-01", "2026-12-08 14:00:00.5+00", "2026-12-08 09:30:00", "10:00:00", "12.50", "0.1", "t",
		`[{"code":"label.new","label":"New","n":12,"tags":["x"]},{"code":"label.old","n":1.50},7]`,
		`[{"id":20001,"kind":{"code":"BARCODE","name":"Barcode"},"a.b":1,"a":{"b":2}}]`, `["a","b"]`, "n", "AAE=", "x")
	empty := row("43", null, null, null, null, null, null, null, null, `"no list"`, null, null, null, null, null)
	for _, values := range []capture.Row{full, empty} {
		if err := m.Change(&capture.Change{Op: capture.Insert, Table: tbl, New: values}); err != nil {
			t.Fatal(err)
		}
	}
	var b strings.Builder
	for _, ev := range out.events {
		var members []json.RawMessage
		if err := json.Unmarshal([]byte("["+string(ev.Data)+"]"), &members); err != nil {
			t.Fatalf("not JSON: %s", ev.Data)
		}
		fmt.Fprintf(&b, "%s\n%s flags %q\n", strings.ReplaceAll(string(ev.Data), `,"`, ",\n\""), ev.Kinds, ev.Flags)
	}
	golden(t, "shapes.golden", b.String())
}

// TestTimeShapes: what an expression gives of a time tells no more than its column does, and no time
// loses its era or becomes another.
func TestTimeShapes(t *testing.T) {
	t.Parallel()
	m, out := setup(t, Config{{Name: "app.messages", Fields: []FieldConfig{
		operator("day", "expr=row.day"), operator("due", "expr=row.due_at"), operator("local", "expr=row.local_at"),
		operator("later", `expr=row.local_at + duration("1h")`), operator("noon", `expr=row.day + duration("12h")`), operator("now", "expr=now()"),
		operator("as_date", "column=day", "type=date"), operator("as_time", "column=day", "type=datetime"), operator("due_date", "column=due_at", "type=date"),
		operator("due_s", "column=due_at", "format=seconds"), operator("tokyo", "column=local_at", "zone=Asia/Tokyo"),
	}}}, Options{})
	var b strings.Builder
	for _, times := range [][3]string{
		{"2026-12-01", "2026-12-08 14:00:00.5+00", "2026-12-08 09:30:00"},
		{"0044-03-15 BC", "0044-03-15 12:00:00+00 BC", "0001-03-15 12:00:00 BC"},
		{"infinity", "infinity", "-infinity"},
		{"12026-12-01", "12026-12-08 14:00:00+00", "12026-12-08 09:30:00"},
	} {
		values := row("42", null, times[0], times[1], times[2], null, null, null, null, null, null, null, null, null, null)
		if err := m.Change(&capture.Change{Op: capture.Insert, Table: messages(capture.IdentityFull), New: values}); err != nil {
			t.Fatal(err)
		}
		ev := out.events[len(out.events)-1]
		fmt.Fprintf(&b, "%s\nflags %q\n", strings.ReplaceAll(string(ev.Data), `,"`, ",\n\""), ev.Flags)
	}
	golden(t, "times.golden", b.String())
}

func cvOf(column string) FieldConfig {
	return FieldConfig{Name: "desc", Value: FieldValue{Text: column}}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	tbl := messages(capture.IdentityDefault)
	values := row("42", "t", "2026-12-01", "2026-12-08 14:00:00.5+00", "2026-12-08 09:30:00", "10:00:00", "12.50", "0.1", "t", "[]", "[]", "[]", "n", "AAE=", "x")
	shaped := []FieldConfig{
		operator("id", "column=id", "type=string"), operator("n", "column=id", "type=number"), operator("note", "column=note", "type=string"),
		operator("one", "const=1"), operator("text", "const=x"), operator("yes", "const=true"), operator("none", "const=[]", "type=json"),
		fieldOf("library", fieldOf("value", "title")), operator("sum", "expr=row.price * 2"), operator("day", "column=due_at", "type=date"),
		operator("due", "column=due_at", "format=seconds"), operator("local", "column=local_at", "format=seconds"),
		operator("utc", "column=local_at", "zone=UTC"), operator("active", "column=active", "type=bool", "format=string"),
		operator("list", "column=counters", "type=list"), operator("object", "column=counters", fieldOf("items", fieldOf("a", "a"))),
		operator("note_len", "expr=len(row.note)"),
	}
	for _, tt := range []struct {
		name   string
		entry  EntryConfig
		change capture.Change
		kinds  string
	}{
		{"every column", EntryConfig{}, capture.Change{Op: capture.Insert, New: values}, "ISdzthnfbjjlSox"},
		{"fields", EntryConfig{Fields: shaped}, capture.Change{Op: capture.Insert, New: values}, "sISnsblmxdztzsljx"},
		{"missing", EntryConfig{}, capture.Change{Op: capture.Update, New: except(values, 12, unchanged)}, "ISdzthnfbjjl-ox"},
		{"missing in fields", EntryConfig{Fields: shaped}, capture.Change{Op: capture.Update, New: except(values, 12, unchanged)}, "sI-nsblmxdztzslj-"},
		{"a delete nobody wants whole", EntryConfig{}, capture.Change{Op: capture.Delete, Old: values}, ""},
		{"truncate", EntryConfig{Events: []EventConfig{{"t", []RuleConfig{{Op: []string{"truncate"}}}}}}, capture.Change{Op: capture.Truncate}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.entry.Name = "app.messages"
			m, out := setup(t, Config{tt.entry}, Options{})
			c := tt.change
			c.Table = tbl
			for range 2 { // what was missing once is not missing for good
				if err := m.Change(&c); err != nil {
					t.Fatal(err)
				}
			}
			if len(out.events) != 2 || out.events[0].Kinds != tt.kinds || out.events[1].Kinds != tt.kinds {
				t.Errorf("kinds %q, want %q", out.events[0].Kinds, tt.kinds)
			}
		})
	}
}

// TestDeletedRows: with the option, a delete's whole shape is read from the old row, constants and
// expressions too.
func TestDeletedRows(t *testing.T) {
	t.Parallel()
	m, out := setup(t, Config{{Name: "circulation.loans", Fields: []FieldConfig{
		operator("method", "expr=op == 'delete' ? 'DELETE' : 'UPDATE'"),
		fieldOf("loan", operator("loan_id", "column=loan_id", "type=string"), fieldOf("branch", "branch")),
		operator("kind", "const=LOAN"), fieldOf("note", "big_note"),
	}}}, Options{DeletedRows: func(typ, entry string) bool { return typ == "record.deleted" && entry == "circulation.loans" }})
	full, keyOnly := loans(capture.IdentityFull), loans(capture.IdentityDefault)
	old := row("1000", "i", "MAIN", "s", null, null, null, "n")
	bare := row("1000", missing, missing, missing, missing, missing, missing, missing)
	for _, c := range []capture.Change{
		{Op: capture.Delete, Table: full, Old: old}, {Op: capture.Delete, Table: keyOnly, Old: bare}, {Op: capture.Insert, Table: full, New: old},
	} {
		if err := m.Change(&c); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []struct{ data, shape, kinds string }{
		{`{"loan_id":1000}`, `{"method":"DELETE","loan":{"loan_id":"1000","branch":"MAIN"},"kind":"LOAN","note":"n"}`, "xmsS"},
		{`{"loan_id":1000}`, `{"method":"DELETE","loan":{"loan_id":"1000"},"kind":"LOAN"}`, "xms-"},
		{`{"method":"UPDATE","loan":{"loan_id":"1000","branch":"MAIN"},"kind":"LOAN","note":"n"}`, "", "xmsS"},
	} {
		ev := out.events[i]
		if string(ev.Data) != want.data || string(ev.Shape) != want.shape || ev.Kinds != want.kinds || len(ev.Unavailable) > 0 {
			t.Errorf("%d: data %s shape %s kinds %s unavailable %q", i, ev.Data, ev.Shape, ev.Kinds, ev.Unavailable)
		}
	}
	if string(out.events[0].Previous) == "" {
		t.Error("the delete lost its old values")
	}
	findings := m.rules.Check(keyOnly, nil)
	if len(findings) != 1 || findings[0].Severity != capture.Warning || findings[0].Code != "deleted_row" ||
		!strings.Contains(findings[0].Text, `"branch" and one other`) || !strings.Contains(findings[0].Remedy, "REPLICA IDENTITY FULL") {
		t.Errorf("findings %+v", findings)
	}
	if findings := m.rules.Check(full, nil); len(findings) != 0 {
		t.Errorf("findings %+v", findings)
	}
}

func except(values capture.Row, at int, value string) capture.Row {
	other := append(capture.Row(nil), values...)
	other[at] = row(value)[0]
	return other
}

// TestNames: an event has the names that the rule which fired gives it, and those of its entry.
func TestNames(t *testing.T) {
	t.Parallel()
	name := func(text string) AsName { return AsName{Given: true, Text: text} }
	omitted := AsName{Given: true, Null: true}
	m, out := setup(t, Config{{
		Name: "loans", Table: "circulation.loans", Code: "LOANS", Object: "item_loan", Title: "Loans",
		Events: []EventConfig{{"loan.gone", []RuleConfig{
			{Op: []string{"update"}, Set: "returned_at", As: AsConfig{Event: name("LOAN_RETURNED"), Desc: omitted}},
			{Op: []string{"delete"}, As: AsConfig{Action: name("LOAN")}},
			{Op: []string{"insert"}},
		}}},
	}}, Options{Signals: SignalsConfig{Message: "s", Types: []SignalConfig{
		{Type: "job.finished", Object: "job_instance", As: AsConfig{Action: name("JOB_END"), Event: omitted}}}}})
	tbl := loans(capture.IdentityFull)
	open, back := loanRow("A", null, null, "n"), loanRow("A", null, "2026-11-22 01:02:03+00", "n")
	for _, c := range []capture.Change{
		{Op: capture.Update, Table: tbl, Old: open, New: back}, {Op: capture.Delete, Table: tbl, Old: back}, {Op: capture.Insert, Table: tbl, New: open},
	} {
		if err := m.Change(&c); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Message(&capture.Message{Prefix: "s", Content: []byte(`{"type":"job.finished"}`)}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, ev := range out.events {
		got = append(got, fmt.Sprintf("%s %s %q %q %s", ev.Type, namesOf(ev), ev.Code, ev.Object, ev.Title))
	}
	want := []string{
		`loan.gone event=LOAN_RETURNED desc=- "LOANS" "item_loan" Loans`,
		`loan.gone action=LOAN "LOANS" "item_loan" Loans`,
		`loan.gone  "LOANS" "item_loan" Loans`,
		`job.finished action=JOB_END event=- "" "job_instance" `,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func namesOf(ev *delivery.Event) string {
	var list []string
	for _, key := range []string{"action", "event", "desc"} {
		if v, ok := ev.As[key]; ok && v == nil {
			list = append(list, key+"=-")
		} else if ok {
			list = append(list, key+"="+*v)
		}
	}
	return strings.Join(list, " ")
}
