package mapping

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// TestEventShapes: what is known of payloads before an event comes, member by member.
func TestEventShapes(t *testing.T) {
	t.Parallel()
	rules, err := Compile(Config{
		{Name: "app.messages", Title: "Messages", Key: []string{"id"}, Columns: ColumnsConfig{Exclude: []string{"note", "photo", "more", "opens", "day"}, Rename: []ColumnRename{{"title", "name"}}},
			Events: []EventConfig{{"message.sent", []RuleConfig{{Op: []string{"insert"}}}}}},
		{Name: "shaped", Table: "app.messages", Fields: []FieldConfig{
			operator("price", "column=price", "type=number"), operator("kind", "const=7"), operator("sum", "expr=row.id + 1"),
			fieldOf("inner", fieldOf("day", "day"), operator("labels", "column=tags", "type=list")),
		}, Events: []EventConfig{{"message.gone", []RuleConfig{{Op: []string{"delete"}}}}}},
		{Name: "app.unknown"},
	}, Options{Signals: SignalsConfig{Message: "x", Types: []SignalConfig{{Type: "job.done"}}}})
	if err != nil {
		t.Fatal(err)
	}
	table := messages(capture.IdentityFull)
	var lines []string
	var write func(members []delivery.MemberShape, indent string)
	write = func(members []delivery.MemberShape, indent string) {
		for _, m := range members {
			delete(m.Value, "description")
			value, err := json.Marshal(m.Value)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, fmt.Sprintf("%s%s %c %s told %t of %t", indent, m.Name, m.Kind, value, m.Told, m.Of))
			write(m.Members, indent+"  ")
		}
	}
	for _, e := range rules.Shapes([]*capture.Table{table}, func(_ *capture.Table, column string) bool { return column != "id" && column != "price" }) {
		lines = append(lines, fmt.Sprintf("%s of %q in %s, on %s, open %t", e.Type, e.Table, e.Entry, e.Ops, e.Open))
		write(e.Key, "  key ")
		write(e.Data, "  ")
	}
	want := `message.sent of "app.messages" in app.messages, on [insert], open false
  key id I {"type":"integer"} told true of true
  id I {"type":"integer"} told true of true
  name S {"type":["string","null"]} told true of true
  due_at z {"format":"date-time","type":["string","null"]} told true of true
  local_at t {"type":["string","null"]} told true of true
  price n {"type":"string"} told true of true
  ratio f {"type":["number","string","null"]} told true of true
  active b {"type":["boolean","null"]} told true of true
  counters j {} told true of true
  identifiers j {} told true of true
  tags l {"type":["array","string","null"]} told true of true
message.gone of "app.messages" in shaped, on [delete], open false
  key id I {"type":"integer"} told true of true
  price n {"type":["number","string"]} told true of true
  kind n {"const":7} told true of false
  sum x {} told false of false
  inner m null told true of false
    day d {"format":"date","type":["string","null"]} told true of true
    labels l {"type":["array","string"]} told true of true
record.inserted of "app.unknown" in app.unknown, on [insert], open true
record.updated of "app.unknown" in app.unknown, on [update], open true
record.deleted of "app.unknown" in app.unknown, on [delete], open true
record.read of "app.unknown" in app.unknown, on [read], open true
job.done of "" in , on [signal], open true`
	if got := strings.ReplaceAll(strings.Join(lines, "\n"), "  key   key ", "  key "); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestEventShapesOfLookups: what is looked up may be NULL or missing, whatever its own column may be.
func TestEventShapesOfLookups(t *testing.T) {
	t.Parallel()
	rules, err := Compile(lookingUp(EntryConfig{Events: []EventConfig{{"loan.made", []RuleConfig{{Op: []string{"insert"}}}}}}), Options{Lookups: memberLookup})
	if err != nil {
		t.Fatal(err)
	}
	loans := loanTable(capture.IdentityDefault)
	for _, nullable := range []func(*capture.Table, string) bool{nil, func(of *capture.Table, column string) bool {
		if of.Column(column) < 0 || len(of.Columns) != len(loans.Columns) {
			t.Errorf("asked about %s", column)
		}
		return false
	}} {
		shapes := rules.Shapes([]*capture.Table{loans, memberTable()}, nullable)
		user := shapes[0].Data[1]
		name, err := json.Marshal(user.Members[1].Value["type"])
		if err != nil || len(shapes) != 1 || !shapes[0].Data[0].Told || user.Members[1].Name != "desc" || user.Members[1].Told || string(name) != `["string","null"]` {
			t.Errorf("%v: %+v", err, shapes)
		}
	}
}
