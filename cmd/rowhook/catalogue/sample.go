package catalogue

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
	"rowhook/mapping"
)

// hiddenKey stands for a profile's identification key in bodies.
const hiddenKey = "HIDDEN"

// sampleTime is when the made-up rows were committed.
var sampleTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// sampler makes events of made-up rows.
type sampler struct {
	config   *config.Config
	source   string
	tables   []*capture.Table
	profiles []receiver
	made     []*delivery.Event
	err      error
}

// receiver is a profile with what renders its bodies.
type receiver struct {
	config    delivery.ProfileConfig
	formatter delivery.Formatter
}

var _ mapping.Output = (*sampler)(nil)

// Event implements [mapping.Output].
func (s *sampler) Event(ev *delivery.Event, _ delivery.Row) error {
	s.made = append(s.made, ev)
	return nil
}

// Fail implements [mapping.Output].
func (s *sampler) Fail(f *mapping.Failure) error {
	s.err = f.Err
	return nil
}

// Notice implements [mapping.Output].
func (s *sampler) Notice(mapping.Notice) {}

func newSampler(c *config.Config, source string, tables []*capture.Table) (*sampler, error) {
	s := &sampler{config: c, source: source, tables: tables}
	for i := range c.Profiles {
		p := c.Profiles[i]
		if p.IdentificationKey != "" {
			p.IdentificationKey = hiddenKey
		}
		formatter, err := c.Products().Formatter(p)
		if err != nil {
			return nil, fmt.Errorf("format of profile %s: %w", p.Code, err)
		}
		s.profiles = append(s.profiles, receiver{p, formatter})
	}
	return s, nil
}

// describe adds an event's payload and examples.
func (s *sampler) describe(event *Event, entry *mapping.EntryConfig, table *capture.Table) error {
	made, err := s.sample(event, entry, table)
	if made == nil || err != nil {
		return err
	}
	event.Payload = members(made, entry, table)
	for _, p := range s.profiles {
		if !slices.Contains(event.Profiles, p.config.Code) {
			continue
		}
		example := Example{Profile: p.config.Code, Format: p.config.Format}
		body, head, err := render(&p, made)
		if err != nil {
			continue // the format has no place for the event, as for a table without items
		}
		example.ContentType, example.Body = head.ContentType, string(body)
		event.Examples = append(event.Examples, example)
	}
	return nil
}

// render writes one request: a group of one where the profile's unit is a group.
func render(p *receiver, ev *delivery.Event) ([]byte, delivery.Head, error) {
	groups, ok := p.formatter.(delivery.GroupFormatter)
	if !ok || p.config.Unit == "" || p.config.Unit == "record" {
		body, err := p.formatter.AppendBody(nil, ev)
		return body, p.formatter.Head(ev), err
	}
	group := delivery.NewGroup(p.config.Unit, []*delivery.Event{ev})
	var body bytes.Buffer
	err := groups.WriteGroup(&body, group)
	return body.Bytes(), groups.GroupHead(group), err
}

// sample makes an event of its type; nil where the mapping cannot make one of made-up values.
func (s *sampler) sample(event *Event, entry *mapping.EntryConfig, table *capture.Table) (*delivery.Event, error) {
	op := opFor(event.Ops)
	change := &capture.Change{Op: op, Table: table}
	touch := touchOf(event)
	if touch == "" {
		change.New, change.Old = rowsFor(op, table, event.Rules)
	} else if change.Table = s.lookedUp(entry, touch); change.Table == nil {
		return nil, nil
	} else {
		change.New, _ = rowsFor(capture.Insert, change.Table, nil)
		change.Old = make(capture.Row, len(change.New))
		for _, i := range change.Table.RowIdentity() {
			change.Old[i] = change.New[i]
		}
	}
	rules, err := s.always(event.Type, entry, table, op, touch)
	if err != nil {
		return nil, err
	}
	s.made, s.err = nil, nil
	mapper := rules.NewMapper(s, mapping.Identity{Source: s.source, Lineage: "example"})
	mapper.LookIn(madeUp{changed: change.Table})
	for _, t := range s.tables {
		mapper.Describe(t)
	}
	mapper.Begin(&capture.Transaction{ID: "1", Identity: "example", Position: "0/1", Time: sampleTime})
	if err := mapper.Change(change); err != nil {
		return nil, err
	}
	if err := mapper.End(); err != nil || len(s.made) == 0 {
		return nil, err // what failed, failed for its values
	}
	return s.made[0], nil
}

// touchOf is the look-up whose row's change an event is about; empty where one of its rules is about the
// row's own.
func touchOf(event *Event) string {
	touch := ""
	for _, r := range event.Rules {
		if len(r.Touch) == 0 {
			return ""
		}
		if touch == "" {
			touch = r.Touch[0]
		}
	}
	return touch
}

// lookedUp is the table of an entry's look-up; nil where the database has none.
func (s *sampler) lookedUp(entry *mapping.EntryConfig, name string) *capture.Table {
	for _, use := range entry.Lookup {
		for _, l := range s.config.Lookups {
			if use.Name == name && l.Name == use.From {
				return tableOf(l.Table, s.tables)
			}
		}
	}
	return nil
}

func opFor(ops []string) capture.Op {
	for _, op := range []capture.Op{capture.Update, capture.Insert, capture.Delete, capture.Read} {
		if slices.Contains(ops, op.String()) {
			return op
		}
	}
	return capture.Truncate
}

// always is the mapping with the one event alone, which comes of every change of that operation.
func (s *sampler) always(typ string, entry *mapping.EntryConfig, table *capture.Table, op capture.Op, touch string) (*mapping.Rules, error) {
	own := *entry
	own.Table, own.Where, own.Rules = table.String(), nil, ""
	own.Operations = nil
	rule := mapping.RuleConfig{Op: []string{op.String()}}
	if touch != "" {
		rule.Touch = []string{touch}
	}
	for i := range entry.Events {
		if entry.Events[i].Type == typ && len(entry.Events[i].Rules) > 0 {
			rule.As = entry.Events[i].Rules[0].As
		}
	}
	own.Events = []mapping.EventConfig{{Type: typ, Rules: []mapping.RuleConfig{rule}}}
	return mapping.Compile(mapping.Config{own}, mapping.Options{
		Context:  mapping.ContextConfig{Defaults: s.config.Source.Context.Defaults},
		Lookups:  s.config.Lookups,
		ReadFile: func(string) ([]byte, error) { return []byte("a made-up key of an example"), nil },
	})
}

// rowsFor makes up a row, and what it was before where an update changed it.
func rowsFor(op capture.Op, table *capture.Table, rules []Rule) (after, before capture.Row) {
	if op == capture.Truncate {
		return nil, nil
	}
	row := make(capture.Row, len(table.Columns))
	for i := range table.Columns {
		row[i] = valueFor(&table.Columns[i])
	}
	switch op {
	case capture.Insert, capture.Read:
		return row, nil
	case capture.Delete:
		return nil, row
	}
	before = slices.Clone(row)
	changed := false
	at := func(name string) int {
		return slices.IndexFunc(table.Columns, func(c capture.Column) bool { return c.Name == name })
	}
	if len(rules) > 0 {
		r := &rules[0]
		if i := at(r.Set); i >= 0 {
			before[i], changed = capture.Value{State: capture.Null}, true
		}
		if i := at(r.Cleared); i >= 0 {
			row[i], changed = capture.Value{State: capture.Null}, true
		}
		for _, becomes := range r.Becomes {
			name, value, _ := strings.Cut(becomes, " = ")
			if i := at(name); i >= 0 {
				value, _, _ = strings.Cut(value, " | ")
				if value == "NULL" {
					row[i] = capture.Value{State: capture.Null}
				} else if fits(table.Columns[i].Type, value) {
					row[i] = capture.Value{State: capture.Present, Text: []byte(value)}
				}
				changed = true
			}
		}
	}
	for i := 0; !changed && i < len(table.Columns); i++ {
		if !slices.Contains(table.Key, i) {
			before[i], changed = capture.Value{State: capture.Null}, true
		}
	}
	return row, before
}

// valueFor makes up a column's value: the first that its type takes.
func valueFor(c *capture.Column) capture.Value {
	for _, text := range candidates(c.Type) {
		if fits(c.Type, text) {
			return capture.Value{State: capture.Present, Text: []byte(text)}
		}
	}
	return capture.Value{State: capture.Null}
}

// madeUp has a row of every key. Before, those of one table had nothing but their key.
type madeUp struct{ changed *capture.Table }

// LookUp implements [mapping.Lookups].
func (madeUp) LookUp(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	for i := range row {
		row[i] = valueFor(&of.Columns[i])
	}
	return true, true, nil
}

// Parts implements [mapping.Lookups]: there is one row.
func (madeUp) Parts(of *capture.Table, by []int, row capture.Row, most int, take func(capture.Row) bool) (more, known bool, err error) {
	made := make(capture.Row, len(of.Columns))
	for i := range made {
		made[i] = valueFor(&of.Columns[i])
	}
	for _, i := range by {
		made[i] = row[i]
	}
	take(made)
	return false, true, nil
}

// LookUpBefore implements [mapping.Lookups].
func (m madeUp) LookUpBefore(of *capture.Table, row capture.Row) (exists, known bool, err error) {
	for i := range row {
		if of.String() != m.changed.String() {
			row[i] = valueFor(&of.Columns[i])
		} else if row[i].State != capture.Present {
			row[i] = capture.Value{State: capture.Null}
		}
	}
	return true, true, nil
}

// Referring implements [mapping.Lookups]: one row does.
func (m madeUp) Referring(of *capture.Table, by []int, row capture.Row, take func(capture.Row) (bool, error)) (known bool, err error) {
	_, _, err = m.Parts(of, by, row, 1, func(made capture.Row) bool {
		_, err = take(made)
		return err == nil
	})
	return true, err
}

// fits reports whether a type takes a text, without a word about its policy.
func fits(t *capture.Type, text string) bool {
	out, ok := t.AppendJSON(nil, []byte(text))
	return ok && json.Valid(out)
}

func candidates(t *capture.Type) []string {
	if len(t.Labels) > 0 {
		return append(slices.Clone(t.Labels), "")
	}
	name := strings.ToLower(t.Name)
	switch t.Kind {
	case capture.Integer, capture.Bigint:
		return []string{"1000"}
	case capture.Decimal:
		return []string{"12.50", "12"}
	case capture.Float:
		return []string{"1.5"}
	case capture.Bool:
		return []string{"t", "1"}
	case capture.Instant:
		return []string{"2026-01-02 03:04:05+00", "2026-01-02 03:04:05"}
	case capture.DateTime:
		return []string{"2026-01-02 03:04:05"}
	case capture.Date:
		return []string{"2026-01-02"}
	case capture.Time:
		return []string{"03:04:05"}
	case capture.JSON:
		return []string{"{}"}
	case capture.List:
		return []string{"{}", "[]", ""}
	case capture.Bytes:
		return []string{`\x726f77`, "row"}
	}
	switch {
	case strings.Contains(name, "uuid"):
		return []string{"0b0f4c5e-7a3d-4f6e-9a51-0c2d8e1f3a47"}
	case name == "inet", name == "cidr", name == "inet4":
		return []string{"192.0.2.1"}
	}
	return []string{"text", "1", ""}
}

// members lists the members of an event's data in their order.
func members(ev *delivery.Event, entry *mapping.EntryConfig, table *capture.Table) []Member {
	types := columnTypes(entry, table)
	keys := map[string]bool{}
	for _, m := range flatten(ev.Key, types) {
		keys[m.Name] = true
	}
	data := ev.Data
	if ev.Shape != nil {
		data = ev.Shape
	}
	if len(data) == 0 {
		data = ev.Key
	}
	list := flatten(data, types)
	for i := range list {
		list[i].Key = keys[list[i].Name]
	}
	return list
}

// columnTypes are the database's types by the payload's dotted names.
func columnTypes(entry *mapping.EntryConfig, table *capture.Table) map[string]string {
	column := map[string]string{}
	types := map[string]string{}
	for i := range table.Columns {
		name := table.Columns[i].Name
		column[name] = table.Columns[i].Type.Name
		for _, r := range entry.Columns.Rename {
			if r.Column == name {
				name = r.To
			}
		}
		types[name] = table.Columns[i].Type.Name
	}
	var walk func(prefix string, fields []mapping.FieldConfig)
	walk = func(prefix string, fields []mapping.FieldConfig) {
		for _, f := range fields {
			name := prefix + f.Name
			if len(f.Members) == 0 {
				types[name] = column[f.Value.Text]
				continue
			}
			for _, m := range f.Members {
				if m.Name == "column" {
					types[name] = column[m.Value.Text]
				}
			}
			walk(name+".", f.Members)
		}
	}
	walk("", entry.Fields)
	return types
}

// flatten lists the members of a JSON object, nested ones by dotted names. What is a column's own
// is one member, whatever it holds.
func flatten(raw []byte, types map[string]string) []Member {
	var list []Member
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return list
		}
		name := fmt.Sprint(token)
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return list
		}
		kind := kindOf(value)
		if kind != "object" || types[name] != "" || len(value) <= len("{}") {
			list = append(list, Member{Name: name, JSON: kind, Type: types[name]})
			continue
		}
		for _, m := range flatten(value, nil) {
			m.Name = name + "." + m.Name
			m.Type = types[m.Name]
			list = append(list, m)
		}
	}
	return list
}

func kindOf(value json.RawMessage) string {
	switch value[0] {
	case '"':
		return "string"
	case '{':
		return "object"
	case '[':
		return "array"
	case 't', 'f':
		return "boolean"
	case 'n':
		return "null"
	}
	return "number"
}
