package mapping

import (
	"fmt"
	"slices"
	"strings"

	"rowhook/capture"
	"rowhook/delivery"
)

// OpTouch stands for the operations of a rule, or of a change, that is about what a row refers to.
const OpTouch = "touch"

// watched describes the entry.
func (be *boundEntry) watched() *Watched {
	w := &Watched{Entry: be.Name, Table: be.table.String(), Where: clausesOfWhere("where", be.Where)}
	for i := range be.key {
		w.Key = append(w.Key, KeyColumn{be.table.Columns[be.key[i].col].Name, be.key[i].path})
	}
	if len(be.problems) > 0 {
		w.Problem = be.problems[0].String()
	}
	for i := range be.lookups {
		w.Lookups = append(w.Lookups, be.lookups[i].watched())
	}
	for _, p := range be.parts {
		if p.used {
			w.Parts = append(w.Parts, p.watched(be))
		}
	}
	for i := range be.events {
		ev := WatchedEvent{Type: be.events[i].typ}
		for k := range be.events[i].rules {
			ev.Rules = append(ev.Rules, be.events[i].rules[k].watched())
		}
		w.Events = append(w.Events, ev)
	}
	return w
}

func (l *boundLookup) watched() WatchedLookup {
	w := WatchedLookup{Name: l.alias, Table: l.of.Table, By: l.lookup.by}
	for i, name := range l.of.columns {
		if l.used[i] && !slices.Contains(l.of.Key, name) {
			w.Columns = append(w.Columns, l.alias+"."+name)
		}
	}
	return w
}

func (p *boundPart) watched(be *boundEntry) WatchedPart {
	w := WatchedPart{Name: p.Name, Table: p.Table}
	for _, col := range p.own {
		w.By = append(w.By, be.table.Columns[col].Name)
	}
	return w
}

func (r *boundRule) watched() WatchedRule {
	w := WatchedRule{Name: r.rule.name}
	if len(r.rule.Touch) > 0 {
		w.Ops = []string{OpTouch}
	}
	for op := capture.Insert; op <= capture.Read; op++ {
		if r.rule.ops.has(op) && len(r.rule.Touch) == 0 {
			w.Ops = append(w.Ops, op.String())
		}
	}
	if r.fault != nil {
		w.Problem = r.fault.String()
	}
	c := &r.rule.RuleConfig
	if c.Set != "" {
		w.Clauses = append(w.Clauses, Clause{Kind: "set", Columns: []string{c.Set}})
	}
	if c.Cleared != "" {
		w.Clauses = append(w.Clauses, Clause{Kind: "cleared", Columns: []string{c.Cleared}})
	}
	if len(c.Changed) > 0 {
		w.Clauses = append(w.Clauses, Clause{Kind: "changed", Columns: c.Changed})
	}
	w.Clauses = append(w.Clauses, clausesOfWhere("becomes", c.Becomes)...)
	w.Clauses = append(w.Clauses, clausesOfWhere("where", c.Where)...)
	if r.rule.cond != nil {
		clause := Clause{Kind: "if", Text: r.rule.cond.text}
		for _, ref := range r.rule.cond.columns {
			clause.Columns = append(clause.Columns, ref.String())
		}
		w.Clauses = append(w.Clauses, clause)
	}
	return w
}

func clausesOfWhere(kind string, w delivery.Where) (list []Clause) {
	for _, c := range w {
		clause := Clause{Kind: kind, Columns: []string{c.Column}}
		for _, v := range c.Values {
			text := v.Text
			if v.Null {
				text = "null"
			}
			clause.Values = append(clause.Values, text)
		}
		list = append(list, clause)
	}
	return list
}

// String is the clause in words.
func (c Clause) String() string {
	columns := strings.Join(c.Columns, ", ")
	switch c.Kind {
	case "if":
		return "if " + c.Text
	case "becomes", "where":
		return fmt.Sprintf("%s %s: %s", c.Kind, columns, strings.Join(c.Values, ", "))
	}
	return c.Kind + " " + columns
}
