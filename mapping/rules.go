package mapping

import (
	"slices"
	"strings"

	"rowhook/capture"
)

// EventInfo describes one event that the mapping can make.
type EventInfo struct {
	Type  string
	Entry string // the mapping entry; empty for a signal
	Table string // schema.table, or schema.*; empty for a signal
	Title string
	// Ops are the row operations that it can come from; for a signal, "signal".
	Ops []string
	// Unnamed are those of them that no rule's as.event gives a name of its own.
	Unnamed []string
	// Operations is the closed list of operations that it can come from; nil when any can.
	Operations []string
	// Order says what the event's ordering key is made of: where the text is another than before,
	// equal rows have other keys.
	Order string
}

// Events lists all events, entries in config order, signals last.
func (r *Rules) Events() []EventInfo {
	var list []EventInfo
	for _, e := range r.entries {
		for _, ev := range e.events {
			info := EventInfo{Type: ev.typ, Entry: e.Name, Table: e.schema + "." + e.table, Title: e.Title, Order: e.order()}
			var ops, unnamed opSet
			for _, rule := range ev.rules {
				ops |= rule.ops
				if rule.as["event"] == nil {
					unnamed |= rule.ops
				}
			}
			for op := capture.Insert; op <= capture.Read; op++ {
				if ops.has(op) {
					info.Ops = append(info.Ops, op.String())
				}
				if unnamed.has(op) {
					info.Unnamed = append(info.Unnamed, op.String())
				}
			}
			for _, o := range e.Operations {
				if o.Event == ev.typ {
					info.Operations = o.Operations
				}
			}
			list = append(list, info)
		}
	}
	for _, s := range r.signals.Types {
		list = append(list, EventInfo{Type: s.Type, Title: s.Title, Ops: []string{"signal"}})
	}
	return list
}

// order is what the entry's ordering keys are made of.
func (e *entry) order() string {
	columns := e.OrderBy
	if len(columns) == 0 {
		columns = e.EntryConfig.Key
	}
	return e.OrderGroup + "(" + strings.Join(columns, ",") + ") " + orderVersion
}

// Tables lists what the source must publish, each once: tables as schema.table and
// whole schemas as schema.*, with the tables of context and signals.
func (r *Rules) Tables() []string {
	var list []string
	has := map[string]bool{"": true}
	add := func(name string) {
		if !has[name] {
			has[name] = true
			list = append(list, name)
		}
	}
	for _, e := range r.entries {
		add(e.schema + "." + e.table)
	}
	for _, l := range r.LookedUp() {
		add(l.Table)
	}
	add(r.context.Table)
	add(r.signals.Table)
	return list
}

// Maps reports whether an entry maps the table.
func (r *Rules) Maps(name string, t *capture.Table) bool {
	return slices.ContainsFunc(r.entriesOf(t), func(e *entry) bool { return e.Name == name })
}

// entriesOf returns the entries that map the table: those that name it, or else
// its schema's. The tables of context and signals are mapped only when named.
func (r *Rules) entriesOf(t *capture.Table) []*entry {
	name := t.String()
	if named := r.named[name]; named != nil || name == r.context.Table || name == r.signals.Table {
		return named
	}
	return r.schemas[t.Schema]
}
