package catalogue

import (
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/delivery"
	"rowhook/mapping"
)

// Catalogue is every event that the mapping can make.
type Catalogue struct {
	Events []Event `json:"events"`
	// Problem says why there are no columns and no examples: the database does not answer.
	Problem string `json:"problem,omitempty"`
}

// Event is one event of the catalogue.
type Event struct {
	Type       string    `json:"type"`
	Entry      string    `json:"entry,omitempty"` // empty for a signal
	Table      string    `json:"table,omitempty"`
	Title      string    `json:"title,omitempty"`
	Ops        []string  `json:"ops"`
	Operations []string  `json:"operations,omitempty"`
	Where      []string  `json:"where,omitempty"` // conditions of the whole entry
	Rules      []Rule    `json:"rules,omitempty"`
	Payload    []Member  `json:"payload,omitempty"`
	Examples   []Example `json:"examples,omitempty"`
	Profiles   []string  `json:"profiles"` // who gets it
	// Key are the table's key columns by their names in the payload's key; nil where that does not
	// tell a row.
	Key map[string]string `json:"key,omitempty"`
}

// Reads reports whether a row that is read makes the event, and somebody gets it.
func (e *Event) Reads() bool {
	return e.Entry != "" && slices.Contains(e.Ops, capture.Read.String()) && len(e.Profiles) > 0
}

// Rule is one rule of an event: all that it names must hold.
type Rule struct {
	Ops     []string `json:"ops"`
	Set     string   `json:"set,omitempty"`
	Cleared string   `json:"cleared,omitempty"`
	Changed []string `json:"changed,omitempty"`
	Becomes []string `json:"becomes,omitempty"` // column = values
	Where   []string `json:"where,omitempty"`   // likewise
	If      string   `json:"if,omitempty"`
	Touch   []string `json:"touch,omitempty"` // looked-up rows whose changes it is about
}

// Member is one member of an event's data.
type Member struct {
	Name string `json:"name"` // dotted where it is nested
	JSON string `json:"json"` // its JSON type
	Type string `json:"type,omitempty"`
	Key  bool   `json:"key,omitempty"`
}

// Example is what a profile would be sent, with made-up values.
type Example struct {
	Profile     string `json:"profile"`
	Format      string `json:"format"`
	ContentType string `json:"content_type"`
	Body        string `json:"body"`
}

// Of describes the events of a config. source is the source's name in payloads. tables are the
// mapped tables as the database has them; events of others have neither payload nor examples.
func Of(c *config.Config, source string, tables []*capture.Table) (Catalogue, error) {
	all := Catalogue{Events: []Event{}}
	samples, err := newSampler(c, source, tables)
	if err != nil {
		return all, err
	}
	for _, info := range c.Rules().Events() {
		event := Event{
			Type: info.Type, Entry: info.Entry, Table: info.Table, Title: info.Title, Ops: info.Ops, Operations: info.Operations,
			Profiles: []string{},
		}
		for i := range c.Profiles {
			if gets(&c.Profiles[i], &info) {
				event.Profiles = append(event.Profiles, c.Profiles[i].Code)
			}
		}
		if entry := entryOf(c, info.Entry); entry != nil {
			event.Where = conditions(entry.Where)
			event.Rules = rulesOf(entry, info.Type)
			if table := tableOf(info.Table, tables); table != nil {
				event.Key = keyNames(entry, table)
				if err := samples.describe(&event, entry, table); err != nil {
					return all, fmt.Errorf("make an example of %s: %w", info.Type, err)
				}
			}
		}
		all.Events = append(all.Events, event)
	}
	return all, nil
}

// gets reports whether a profile gets an event, as far as its type and entry tell.
func gets(p *delivery.ProfileConfig, info *mapping.EventInfo) bool {
	fits := func(globs []string, name string) bool {
		return len(globs) == 0 || slices.ContainsFunc(globs, func(glob string) bool { return delivery.MatchGlob(glob, name) })
	}
	return len(p.Subscriptions) == 0 || slices.ContainsFunc(p.Subscriptions, func(s delivery.SubscriptionConfig) bool {
		return fits(s.Events, info.Type) && fits(s.Tables, info.Entry)
	})
}

func entryOf(c *config.Config, name string) *mapping.EntryConfig {
	for i := range c.Mapping {
		if c.Mapping[i].Name == name && name != "" {
			return &c.Mapping[i]
		}
	}
	return nil
}

// tableOf is a table that a pattern names; nil when the database has none.
func tableOf(pattern string, tables []*capture.Table) *capture.Table {
	for _, t := range tables {
		if delivery.MatchGlob(pattern, t.String()) {
			return t
		}
	}
	return nil
}

// keyNames are the columns of a table's key by their names in payloads; nil where an event's key does
// not have them all as they are.
func keyNames(entry *mapping.EntryConfig, table *capture.Table) map[string]string {
	names := map[string]string{}
	for _, i := range table.Key {
		column := table.Columns[i].Name
		if slices.Contains(entry.Columns.Mask, column) || len(entry.Key) > 0 && !slices.Contains(entry.Key, column) {
			return nil
		}
		name := column
		for _, r := range entry.Columns.Rename {
			if r.Column == column {
				name = r.To
			}
		}
		names[name] = column
	}
	return names
}

// rulesOf puts the rules of an event down.
func rulesOf(entry *mapping.EntryConfig, typ string) []Rule {
	var list []Rule
	for i := range entry.Events {
		if entry.Events[i].Type != typ {
			continue
		}
		for _, r := range entry.Events[i].Rules {
			ops := r.Op
			if len(ops) == 0 {
				ops = []string{"insert", "update", "delete"}
				if r.Set != "" || r.Cleared != "" || len(r.Changed) > 0 || len(r.Becomes) > 0 {
					ops = []string{"insert", "update"}
				}
				if len(r.Touch) > 0 {
					ops = []string{"update"}
				}
			}
			list = append(list, Rule{
				Ops: ops, Set: r.Set, Cleared: r.Cleared, Changed: r.Changed, Becomes: conditions(r.Becomes), Where: conditions(r.Where), If: r.If, Touch: r.Touch,
			})
		}
	}
	return list
}

// conditions writes conditions as column = value, or a list of values.
func conditions(where delivery.Where) []string {
	var list []string
	for _, c := range where {
		var values []string
		for _, v := range c.Values {
			if v.Null {
				values = append(values, "NULL")
			} else {
				values = append(values, v.Text)
			}
		}
		list = append(list, c.Column+" = "+strings.Join(values, " | "))
	}
	return list
}
