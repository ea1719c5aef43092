package mapping

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/delivery/format"
)

// sameByMarks holds that formats which read a payload's marks write what those that read the whole
// of it do.
func sameByMarks(t interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
}, ev *delivery.Event) {
	t.Helper()
	whole := *ev
	whole.Marks = nil
	for _, name := range []string{"alma", "alma xml", "rakuraku"} {
		cfg := format.Products().Defaults(strings.Fields(name)[0])
		if cfg.Code = "desk"; strings.HasSuffix(name, "xml") {
			cfg.MessageType = "xml"
		}
		f, err := format.Products().Formatter(cfg)
		if err != nil {
			t.Fatal(err)
		}
		got, gotErr := f.AppendBody(nil, ev)
		want, wantErr := f.AppendBody(nil, &whole)
		if !bytes.Equal(got, want) || (gotErr == nil) != (wantErr == nil) {
			t.Errorf("%s by the marks %v of %s shape %s kinds %s is\n%s (%v), not\n%s (%v)", name, ev.Marks, ev.Data, ev.Shape, ev.Kinds, got, gotErr, want, wantErr)
		}
	}
}

// sourceText is a text type as the sources have it.
var sourceText = capture.Type{Name: "text", Kind: capture.Text, AppendJSON: capture.AppendJSONString}

// markedShape has members of all sorts.
func markedShape() []FieldConfig {
	return []FieldConfig{
		operator("id", "column=id"), operator("title", "column=title"), operator("day", "column=day"), operator("due_date", "column=due_at"),
		operator("due_ms", "column=due_at", "format=milliseconds"), operator("price", "column=price", "type=number"), operator("ratio", "column=ratio"),
		fieldOf("nested", operator("day", "column=day"), operator("due_date", "column=due_at"), operator("counters", "column=counters"), operator("big", "column=id")),
		operator("counters", "column=counters"), operator("text", "column=counters", "type=string"), operator("parsed", "column=title", "type=json"),
		operator("list", "column=title", "type=list"), operator("tags", "column=tags"), operator("one", "const=1.50"), operator("two", "const=x\"\b"),
		operator("sum", "expr=row.price * 2"), operator("all", "expr=[row.title, row.id]"), operator("from_json", "column=counters", "type=date"),
		operator("seen_at", "column=due_at"), operator("more", "column=more"),
	}
}

// TestMarks: where a payload is canonical is known, and marks are few.
func TestMarks(t *testing.T) {
	t.Parallel()
	values := row("42", "a \"b\"\n", "2026-12-01", "2026-12-08 14:00:00.5+00", null, "10:00", "12.50", "0.5", "t", "[]", `["\u0041"]`, "[]", "n", "AAE=", "x")
	for _, tt := range []struct {
		name   string
		fields []FieldConfig
		change string // of the title
		want   string // what is marked; none where it is not known
	}{
		{"every column", nil, "", `"2026-12-01" "2026-12-08T14:00:00.500000Z" 0.5 [] ["\u0041"] []`},
		{"a bell is canonical, a backspace is not as the sources write it", nil, "\a\b", "none"},
		{"a name like an index", []FieldConfig{operator("10", "column=title")}, "", "none"},
		{"one deeper", []FieldConfig{fieldOf("a", operator("0", "column=title"))}, "", "none"},
		{"the prototype", []FieldConfig{operator("__proto__", "column=title")}, "", "none"},
		{"nesting", []FieldConfig{fieldOf("a", operator("day", "column=day"), operator("ratio", "column=ratio"))}, "", "0.5"},
		{"nothing to look at", []FieldConfig{operator("a", "column=title"), operator("b", "column=id"), operator("c", "column=local_at")}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, out := setup(t, Config{{Name: "app.messages", Fields: tt.fields}}, Options{})
			tbl, own := messages(capture.IdentityFull), values
			tbl.Columns[1].Type = &sourceText
			if tt.change != "" {
				own = append(capture.Row{}, values...)
				own[1].Text = []byte(tt.change)
			}
			if err := m.Change(&capture.Change{Op: capture.Insert, Table: tbl, New: own}); err != nil {
				t.Fatal(err)
			}
			ev := out.events[0]
			if got := markedValues(t, ev); got != tt.want {
				t.Errorf("marked %s, want %s, in %s", got, tt.want, ev.Data)
			}
			sameByMarks(t, ev)
		})
	}
}

// markedValues are the values that the marks point at.
func markedValues(t *testing.T, ev *delivery.Event) string {
	t.Helper()
	if ev.Marks == nil {
		return "none"
	}
	var values []string
	at := 0
	for rest := ev.Marks; len(rest) > 0; {
		skip, _, next, ok := delivery.NextMark(rest)
		if at += skip; !ok || at >= len(ev.Data) {
			t.Fatalf("marks %v do not fit %s", ev.Marks, ev.Data)
		}
		rest = next
		value := ev.Data[at:]
		end := bytes.IndexAny(value, ",}")
		values = append(values, string(value[:end]))
	}
	return strings.Join(values, " ")
}

// TestMarksProperty: whatever rows hold, bodies by marks are those of the whole payload.
func TestMarksProperty(t *testing.T) {
	t.Parallel()
	tbl := messages(capture.IdentityFull)
	tbl.Columns[1].Type = &sourceText
	whole := Options{DeletedRows: func(string, string) bool { return true }}
	for name, fields := range map[string][]FieldConfig{"columns": nil, "shaped": markedShape()} {
		m, out := setup(t, Config{{Name: "app.messages", Fields: fields, Code: "MSG"}}, whole)
		checks := 0
		rapid.Check(t, func(rt *rapid.T) {
			word := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
				"\b\f\n\x01\x7f\u2028\\", `"\u00e9"`, `{"10":1,"2":1.50,"__proto__":1}`, "-0", "1e21", "9007199254740993", "12.50", "0.0000001", "\xff", "infinity",
				"2026-01-02", "2026-01-02T03:04:05.678901Z", null, unchanged, "[1.0]", "2026-01-02 03:04:05+00", "0044-03-15 BC", "10000-01-01", "12  ",
			}))
			values := make([]string, len(tbl.Columns))
			for i := range values {
				values[i] = word.Draw(rt, fmt.Sprint("column ", i))
			}
			values[0] = rapid.SampledFrom([]string{"1", "-9007199254740993", "9007199254740991"}).Draw(rt, "id")
			from := len(out.events)
			checks++
			for _, c := range []capture.Change{{Op: capture.Insert, New: row(values...)}, {Op: capture.Delete, Old: row(values...)}} {
				c.Table = tbl
				if err := m.Change(&c); err != nil {
					rt.Fatal(err)
				}
			}
			for _, ev := range out.events[from:] {
				sameByMarks(rt, ev)
			}
		})
		if len(out.events) < checks { // some rows are parked
			t.Errorf("%s: %d events of %d rows", name, len(out.events), checks)
		}
	}
}
