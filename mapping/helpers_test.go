package mapping

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"rowhook/capture"
	"rowhook/delivery"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs:\n%s", file, got)
	}
}

func jsonText(dst, text []byte) ([]byte, bool) { return appendString(dst, text), true }

func jsonAsIs(dst, text []byte) ([]byte, bool) {
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil || line.Len() == 0 || !utf8.Valid(text) {
		return appendString(dst, text), false
	}
	return append(dst, line.Bytes()...), true
}

// The types that tests use. They write JSON much as a source's do.
var testTypes = map[string]*capture.Type{
	"text":    {Name: "text", Base: "text", Kind: capture.Text, AppendJSON: jsonText},
	"int":     {Name: "integer", Kind: capture.Integer, AppendJSON: jsonAsIs},
	"bigint":  {Name: "bigint", Kind: capture.Bigint, AppendJSON: jsonAsIs},
	"numeric": {Name: "numeric", Kind: capture.Decimal, AppendJSON: jsonText},
	"float":   {Name: "double precision", Kind: capture.Float, AppendJSON: jsonAsIs},
	"json":    {Name: "jsonb", Kind: capture.JSON, AppendJSON: jsonAsIs},
	"bool": {Name: "boolean", Kind: capture.Bool, AppendJSON: func(dst, text []byte) ([]byte, bool) {
		return jsonAsIs(dst, []byte(boolText(text)))
	}},
	"time": {Name: "timestamp with time zone", Kind: capture.Instant, AppendJSON: func(dst, text []byte) ([]byte, bool) {
		at, ok := delivery.ParseTime(string(text))
		if !ok {
			return appendString(dst, text), false
		}
		return appendValue(dst, at), true
	}},
	"date": {Name: "date", Kind: capture.Date, AppendJSON: jsonText},
	"local": {Name: "timestamp", Kind: capture.DateTime, AppendJSON: func(dst, text []byte) ([]byte, bool) {
		return appendString(dst, strings.Replace(string(text), " ", "T", 1)), true
	}},
	"clock":    {Name: "time", Base: "time", Kind: capture.Time, AppendJSON: jsonText},
	"list":     {Name: "text[]", Kind: capture.List, AppendJSON: jsonAsIs},
	"longtext": {Name: "mediumtext", Base: "text", Kind: capture.Text, AppendJSON: jsonText},
	"bytes":    {Name: "bytea", Base: "bytea", Kind: capture.Bytes, AppendJSON: jsonText},
	"char":     {Name: padded, Base: padded, Kind: capture.Text, AppendJSON: jsonText},
	"uuid":     {Name: "uuid", Base: "uuid", Kind: capture.Text, AppendJSON: jsonText},
	"citext":   {Name: "citext", Base: "citext", Kind: capture.Text, AppendJSON: jsonText},
	"timetz":   {Name: "time with time zone", Base: "timetz", Kind: capture.Time, AppendJSON: jsonText},
	"cidr":     {Name: "cidr", Base: "cidr", Kind: capture.Other, AppendJSON: jsonText},
	"money":    {Name: "money", Base: "money", Kind: capture.Other, AppendJSON: jsonText},
	"bit":      {Name: "bit", Base: "bit", Kind: capture.Text, AppendJSON: jsonText},
	"interval": {Name: "interval", Base: "interval", Kind: capture.Other, AppendJSON: jsonText},
	"binary": {Name: "bytea", Base: "bytea", Kind: capture.Bytes, AppendJSON: func(dst, text []byte) ([]byte, bool) {
		return appendString(dst, text), strings.HasPrefix(string(text), `\x`)
	}},
	"enum":  {Name: "level", Base: "enum", Kind: capture.Text, AppendJSON: jsonText},
	"other": {Name: "inet", Base: "inet", Kind: capture.Other, AppendJSON: jsonText},
}

// table makes a table of columns such as "loan_id bigint key". Key columns are the replica
// identity, unless it is full.
func table(name string, identity capture.Identity, columns ...string) *capture.Table {
	schema, short, _ := capture.ParseTable(name)
	t := &capture.Table{Schema: schema, Name: short, Identity: identity}
	for i, c := range columns {
		words := strings.Fields(c)
		key := len(words) > 2
		if key {
			t.Key = append(t.Key, i)
		}
		t.Columns = append(t.Columns, capture.Column{
			Name: words[0], Type: testTypes[words[1]], Identity: key || identity == capture.IdentityFull,
		})
	}
	return t
}

// Values that are no text.
const (
	null      = "\x00null"
	missing   = "\x00unknown"
	unchanged = "\x00unchanged"
)

func row(values ...string) capture.Row {
	r := make(capture.Row, len(values))
	for i, v := range values {
		switch v {
		case null:
			r[i].State = capture.Null
		case missing:
			r[i].State = capture.Unknown
		case unchanged:
			r[i].State = capture.Unchanged
		default:
			r[i] = capture.Value{State: capture.Present, Text: []byte(v)}
		}
	}
	return r
}

// loans is the table of most tests.
func loans(identity capture.Identity) *capture.Table {
	return table("circulation.loans", identity,
		"loan_id bigint key", "item_pid text", "branch text", "status text", "due_at time",
		"returned_at time", "updated_by text", "big_note text")
}

var testTransaction = capture.Transaction{
	ID: "745", Identity: "0/16B3748 745 1795309323456789", Position: "0/16B3748",
	Time: time.Date(2026, 11, 22, 1, 2, 3, 456789000, time.UTC),
}

// recorder keeps what a mapper makes.
type recorder struct {
	events   []*delivery.Event
	failures []Failure
	raws     int // raw changes at the failures
	notices  []Notice
	row      func(delivery.Row) // looks at each event's row
	mapper   *Mapper
}

func (r *recorder) Event(ev *delivery.Event, row delivery.Row) error {
	r.events = append(r.events, ev)
	if r.row != nil {
		r.row(row)
	}
	return nil
}

func (r *recorder) Fail(f *Failure) error {
	r.failures = append(r.failures, *f)
	r.raws += len(r.mapper.Changes())
	return nil
}

func (r *recorder) Notice(n Notice) { r.notices = append(r.notices, n) }

func (r *recorder) types() string {
	var list []string
	for _, ev := range r.events {
		list = append(list, ev.Type)
	}
	return strings.Join(list, " ")
}

// setup compiles the config and opens a transaction.
func setup(t testing.TB, cfg Config, opts Options) (*Mapper, *recorder) {
	t.Helper()
	rules, err := Compile(cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	out := &recorder{}
	out.mapper = rules.NewMapper(out, Identity{Source: "library", Lineage: "7301234567890123456"})
	out.mapper.Begin(&testTransaction)
	return out.mapper, out
}

// one is a mapping with one entry for the loans table and one event.
func one(rules ...RuleConfig) Config {
	return Config{{Name: "circulation.loans", Events: []EventConfig{{Type: "loan.event", Rules: rules}}}}
}

// where builds conditions from "column=value" pairs; several values are separated by commas.
func where(pairs ...string) delivery.Where {
	var w delivery.Where
	for _, p := range pairs {
		column, values, _ := strings.Cut(p, "=")
		c := delivery.Condition{Column: column}
		for _, v := range strings.Split(values, ",") {
			c.Values = append(c.Values, delivery.Literal{Text: v, Null: v == "null"})
		}
		w = append(w, c)
	}
	return w
}
