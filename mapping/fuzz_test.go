package mapping

import (
	"bytes"
	"encoding/json"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// FuzzChange maps rows of any content: nothing panics, and what comes out is JSON on one line.
func FuzzChange(f *testing.F) {
	f.Add(uint8(1), uint64(0), "1\x1f2.50\x1f0.1\x1fAnn\x1ft\x1f2026-12-01 14:00:00+00\x1f2026-12-01\x1f{\"a\":[1]}\x1fx\x1fy")
	f.Add(uint8(2), uint64(0x1234567890), "NaN\x1f1e9999\x1fInfinity\x1f\xff\x1fmaybe\x1finfinity\x1f0000-00-00\x1f[\x1f\x1f\x00")
	f.Fuzz(func(t *testing.T, op uint8, states uint64, text string) {
		tbl := typedTable()
		tbl.Key, tbl.Partitioned = []int{0}, states&1 == 1
		tbl.Identity = capture.Identity(op>>4) % 5
		m, out := setup(t, Config{
			{Name: "circulation.loans", Link: "https://x/{name}", OrderBy: []string{"id", "name"}, Actor: ActorConfig{ID: "gone", OnDelete: true},
				Columns: ColumnsConfig{Mask: []string{"big"}, MaskKeyFile: "k"}},
			{Name: "shaped", Table: "circulation.loans", Where: where("name=Ann,null"), Fields: []FieldConfig{
				fieldOf("a", fieldOf("column", "amount"), fieldOf("type", "number")), fieldOf("b", fieldOf("c", "due_at"), fieldOf("d", "doc")),
				fieldOf("e", fieldOf("column", "due_at"), fieldOf("format", "seconds")), fieldOf("f", fieldOf("column", "name"), fieldOf("type", "json")),
				fieldOf("g", fieldOf("expr", "row.doc")), fieldOf("h", fieldOf("expr", "row.amount / row.ratio + row.id")),
				fieldOf("i", fieldOf("column", "day"), fieldOf("type", "date")), fieldOf("j", fieldOf("column", "doc"), fieldOf("type", "list")),
			}, Events: []EventConfig{
				{"a.set", []RuleConfig{{Set: "name"}, {Cleared: "name"}}}, {"a.becomes", []RuleConfig{{Becomes: where("amount=2.5", "active=true")}}},
				{"a.if", []RuleConfig{{If: "new.amount > old.amount or new.due_at > old.due_at or len(row.doc) > 1 or row.id % 2 == 0"}}},
				{"a.any", []RuleConfig{{Changed: []string{"doc"}}, {}}},
			}},
		}, Options{ReadFile: goodKey})
		c := &capture.Change{Table: tbl, Op: capture.Op(op%4) + 1}
		if c.Op == capture.Update || c.Op == capture.Delete {
			c.Old = fuzzRow(states, text, len(tbl.Columns))
		}
		if c.Op == capture.Insert || c.Op == capture.Update {
			c.New = fuzzRow(states>>20, text, len(tbl.Columns))
		}
		if err := m.Change(c); err != nil {
			t.Fatal(err)
		}
		if err := m.End(); err != nil {
			t.Fatal(err)
		}
		for _, ev := range out.events {
			checkEvent(t, ev)
		}
	})
}

func fuzzRow(states uint64, text string, columns int) capture.Row {
	parts := bytes.Split([]byte(text), []byte("\x1f"))
	r := make(capture.Row, columns)
	for i := range r {
		r[i].State = capture.Present
		switch states >> (2 * i) & 7 {
		case 1:
			r[i].State = capture.Null
		case 2:
			r[i].State = capture.Unknown
		case 3:
			r[i].State = capture.Unchanged
		}
		if r[i].State == capture.Present {
			r[i].Text = parts[i%len(parts)]
		}
	}
	return r
}

func checkEvent(t *testing.T, ev *delivery.Event) {
	for _, body := range [][]byte{ev.Key, ev.Data, ev.Previous} {
		if body != nil && (!json.Valid(body) || body[0] != '{' || bytes.ContainsAny(body, "\n\r")) {
			t.Errorf("%s: not an object on one line: %q", ev.Type, body)
		}
	}
	sameByMarks(t, ev)
	if ev.ID == "" || ev.OrderKey == "" || ev.Key == nil || ev.Data == nil {
		t.Errorf("%s lacks id, ordering key, key or data", ev.Type)
	}
}
