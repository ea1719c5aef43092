package mapping

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"rowhook/capture"
	"rowhook/delivery"
)

// truthOf binds one rule to a table and evaluates it on a change.
func truthOf(t interface{ Fatal(...any) }, cfg RuleConfig, c *capture.Change) delivery.Truth {
	rules, err := Compile(one(cfg), Options{})
	if err != nil {
		t.Fatal(err)
	}
	be := rules.bind(c.Table, nil).entries[0]
	if len(be.problems) > 0 {
		t.Fatal(be.problems[0].String())
	}
	e := &evaluation{rows: newRows(c), entry: be, context: &contexts{}, at: testTransaction.Time}
	answer, _ := be.events[0].fires(e)
	return answer
}

func TestRules(t *testing.T) {
	t.Parallel()
	const T, F, U = delivery.True, delivery.False, delivery.Undecidable
	ab := func() *capture.Table {
		return table("circulation.loans", capture.IdentityDefault, "id int key", "a text", "n numeric", "b bool")
	}
	ins := func(values ...string) capture.Change { return capture.Change{Op: capture.Insert, New: row(values...)} }
	upd := func(old, new capture.Row) capture.Change {
		return capture.Change{Op: capture.Update, Old: old, New: new}
	}
	for _, tt := range []struct {
		name   string
		rule   RuleConfig
		change capture.Change
		want   delivery.Truth
	}{
		{"set on insert", RuleConfig{Set: "a"}, ins("1", "x", null, null), T},
		{"set on insert of NULL", RuleConfig{Set: "a"}, ins("1", null, null, null), F},
		{"set", RuleConfig{Set: "a"}, upd(row("1", null, null, null), row("1", "x", null, null)), T},
		{"set, was set", RuleConfig{Set: "a"}, upd(row("1", "y", null, null), row("1", "x", null, null)), F},
		{"set, old unknown", RuleConfig{Set: "a"}, upd(nil, row("1", "x", null, null)), U},
		{"set, old unknown, new NULL", RuleConfig{Set: "a"}, upd(nil, row("1", null, null, null)), F},
		{"set, unchanged", RuleConfig{Set: "a"}, upd(nil, row("1", unchanged, null, null)), F},
		{"cleared on insert", RuleConfig{Op: []string{"insert", "update"}, Cleared: "a"}, ins("1", null, null, null), F},
		{"cleared", RuleConfig{Cleared: "a"}, upd(row("1", "x", null, null), row("1", null, null, null)), T},
		{"cleared, old unknown", RuleConfig{Cleared: "a"}, upd(row("1", missing, null, null), row("1", null, null, null)), U},
		{"cleared, still set", RuleConfig{Cleared: "a"}, upd(nil, row("1", "x", null, null)), F},
		{"changed on insert", RuleConfig{Op: []string{"insert", "update"}, Changed: []string{"a"}}, ins("1", "x", null, null), F},
		{"changed", RuleConfig{Changed: []string{"a"}}, upd(row("1", "x", null, null), row("1", "y", null, null)), T},
		{"changed, to NULL", RuleConfig{Changed: []string{"a"}}, upd(row("1", "x", null, null), row("1", null, null, null)), T},
		{"changed, same", RuleConfig{Changed: []string{"a"}}, upd(row("1", "x", null, null), row("1", "x", null, null)), F},
		{"changed, old unknown", RuleConfig{Changed: []string{"a"}}, upd(nil, row("1", "x", null, null)), U},
		{"changed, another surely did", RuleConfig{Changed: []string{"a", "n"}}, upd(row("1", missing, "1", null), row("1", "x", "2", null)), T},
		{"changed, another surely did not", RuleConfig{Changed: []string{"a", "n"}}, upd(row("1", missing, "1", null), row("1", "x", "1", null)), U},
		{"changed, unchanged TOAST", RuleConfig{Changed: []string{"a"}}, upd(nil, row("1", unchanged, null, null)), F},
		{"changed key, no old tuple", RuleConfig{Changed: []string{"id"}}, upd(nil, row("1", "x", null, null)), F},
		{"becomes on insert", RuleConfig{Becomes: where("a=x,y")}, ins("1", "y", null, null), T},
		{"becomes on insert, other value", RuleConfig{Becomes: where("a=x,y")}, ins("1", "z", null, null), F},
		{"becomes", RuleConfig{Becomes: where("a=x,y")}, upd(row("1", "z", null, null), row("1", "x", null, null)), T},
		{"becomes, between its values", RuleConfig{Becomes: where("a=x,y")}, upd(row("1", "y", null, null), row("1", "x", null, null)), F},
		{"becomes, old unknown", RuleConfig{Becomes: where("a=x")}, upd(nil, row("1", "x", null, null)), U},
		{"becomes, old unknown, no match now", RuleConfig{Becomes: where("a=x")}, upd(nil, row("1", "z", null, null)), F},
		{"becomes, unchanged TOAST", RuleConfig{Becomes: where("a=x")}, upd(nil, row("1", unchanged, null, null)), F},
		{"becomes, both columns, one unknown before", RuleConfig{Becomes: where("a=x", "n=1")}, upd(row("1", missing, "2", null), row("1", "x", "1", null)), T},
		{"becomes NULL", RuleConfig{Becomes: where("a=null")}, upd(row("1", "x", null, null), row("1", null, null, null)), T},
		{"where on insert", RuleConfig{Where: where("a=x")}, ins("1", "x", null, null), T},
		{"where NULL", RuleConfig{Where: where("a=x,null")}, ins("1", null, null, null), T},
		{"where, as written", RuleConfig{Where: where("a=01")}, ins("1", "1", null, null), F},
		{"where, numbers by value", RuleConfig{Where: where("n=01.50")}, ins("1", null, "1.5", null), T},
		{"where, booleans", RuleConfig{Where: where("b=true")}, ins("1", null, null, "t"), T},
		{"where, booleans, false", RuleConfig{Where: where("b=false")}, ins("1", null, null, "t"), F},
		{"where on unchanged TOAST", RuleConfig{Where: where("a=x")}, upd(nil, row("1", unchanged, null, null)), U},
		{"where on unchanged TOAST, old known", RuleConfig{Where: where("a=x")}, upd(row("1", "x", null, null), row("1", unchanged, null, null)), T},
		{"where, another fails", RuleConfig{Where: where("a=x", "n=1")}, upd(nil, row("1", unchanged, "2", null)), F},
		{"where on delete", RuleConfig{Where: where("a=x")}, capture.Change{Op: capture.Delete, Old: row("1", "x", null, null)}, T},
		{"where on delete, unknown", RuleConfig{Where: where("a=x")}, capture.Change{Op: capture.Delete, Old: row("1", missing, missing, missing)}, U},
		{"all conditions", RuleConfig{Set: "a", Where: where("n=1")}, upd(nil, row("1", "x", "2", null)), F},
		{"other operation", RuleConfig{Op: []string{"delete"}}, ins("1", "x", null, null), F},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.change.Table = ab()
			if got := truthOf(t, tt.rule, &tt.change); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestDecidedAnswersHold proves the three-valued answers against brute force: whatever the missing
// values were, a decided answer is the one that the full rows give. A rule of one
// condition is also undecidable only when the full rows do disagree.
func TestDecidedAnswersHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := drawMasked(t)
		cfg, conditions := drawRule(t)
		got := truthOf(t, cfg, &m.change)
		seen := map[bool]bool{}
		m.completions(func(old, new []string) { seen[plainRule(cfg, m.change.Op, old, new)] = true })
		switch got {
		case delivery.True, delivery.False:
			if seen[got != delivery.True] {
				t.Fatalf("%+v on %v decided %v, but some full rows say otherwise", cfg, m, got)
			}
		default:
			if conditions == 1 && len(seen) == 1 {
				t.Fatalf("%+v on %v is undecided, but all full rows say %v", cfg, m, seen)
			}
		}
	})
}

// masked is a change with holes in it.
type masked struct {
	change   capture.Change
	old, new []string // with missing and unchanged for the holes
}

var (
	maskColumns = []string{"a", "b", "c"}
	maskDomain  = []string{null, "x", "y"}
	fillDomain  = []string{null, "x", "y", "z"} // with one that no rule names
)

// maskTable has the columns of a masked change. Nothing is known of them but by the tuple.
func maskTable() *capture.Table {
	return table("circulation.loans", capture.IdentityFull, "a text", "b text", "c text")
}

func drawMasked(t *rapid.T) *masked {
	m := &masked{}
	m.change.Table = maskTable()
	m.change.Op = rapid.SampledFrom([]capture.Op{capture.Insert, capture.Update, capture.Delete}).Draw(t, "op")
	draw := func(holes ...string) []string {
		return rapid.SliceOfN(rapid.SampledFrom(append(slices.Clone(maskDomain), holes...)), 3, 3).Draw(t, "row")
	}
	if m.change.Op != capture.Insert {
		m.old = draw(missing)
		m.change.Old = row(m.old...)
	}
	switch m.change.Op {
	case capture.Insert:
		m.new = draw()
	case capture.Update:
		m.new = draw(missing, unchanged)
		for i := range m.new {
			if m.new[i] == unchanged && m.old[i] == null {
				m.new[i] = null
			}
		}
	}
	if m.new != nil {
		m.change.New = row(m.new...)
	}
	return m
}

func (m *masked) String() string { return fmt.Sprintf("%v %q -> %q", m.change.Op, m.old, m.new) }

// completions calls yield with every pair of full rows that the masked change can stand for.
func (m *masked) completions(yield func(old, new []string)) {
	old, new := slices.Clone(m.old), slices.Clone(m.new)
	var fill func(i int)
	fill = func(i int) {
		if i == 2*len(maskColumns) {
			yield(old, new)
			return
		}
		col, target, source := i/2, old, m.old
		if i%2 == 1 {
			target, source = new, m.new
		}
		switch {
		case source == nil:
			fill(i + 1)
		case source[col] == unchanged:
			target[col] = old[col]
			fill(i + 1)
		case source[col] == missing:
			for _, v := range fillDomain {
				if i%2 == 0 && m.new != nil && m.new[col] == unchanged && v == null {
					continue // what is left out as unchanged is never NULL
				}
				target[col] = v
				fill(i + 1)
			}
		default:
			target[col] = source[col]
			fill(i + 1)
		}
	}
	fill(0)
}

// drawRule draws a rule over the masked columns, and says how many conditions it has.
func drawRule(t *rapid.T) (cfg RuleConfig, conditions int) {
	column := rapid.SampledFrom(maskColumns)
	drawWhere := func() (w delivery.Where) {
		for _, c := range rapid.SliceOfNDistinct(column, 1, 3, rapid.ID).Draw(t, "columns") {
			var values []delivery.Literal
			for _, v := range rapid.SliceOfNDistinct(rapid.SampledFrom(maskDomain), 1, 2, rapid.ID).Draw(t, "values") {
				values = append(values, delivery.Literal{Text: v, Null: v == null})
			}
			w = append(w, delivery.Condition{Column: c, Values: values})
		}
		return w
	}
	kinds := rapid.SliceOfNDistinct(rapid.IntRange(0, 4), 1, 3, rapid.ID).Draw(t, "conditions")
	for _, k := range kinds {
		switch k {
		case 0:
			cfg.Set = column.Draw(t, "set")
		case 1:
			cfg.Cleared = column.Draw(t, "cleared")
		case 2:
			cfg.Changed = rapid.SliceOfNDistinct(column, 1, 3, rapid.ID).Draw(t, "changed")
		case 3:
			cfg.Becomes = drawWhere()
		case 4:
			cfg.Where = drawWhere()
		}
	}
	return cfg, len(kinds)
}

// plainRule is the meaning of rules on rows without holes, said once more as plainly as can be.
func plainRule(cfg RuleConfig, op capture.Op, old, new []string) bool {
	col := func(name string) int { return slices.Index(maskColumns, name) }
	holds := func(w delivery.Where, r []string) bool {
		for _, c := range w {
			v := r[col(c.Column)]
			if !slices.ContainsFunc(c.Values, func(l delivery.Literal) bool { return l.Text == v }) {
				return false
			}
		}
		return true
	}
	current := new
	if op == capture.Delete {
		current = old
	}
	if cfg.Set != "" {
		i := col(cfg.Set)
		if op == capture.Delete || new[i] == null || op == capture.Update && old[i] != null {
			return false
		}
	}
	if cfg.Cleared != "" {
		i := col(cfg.Cleared)
		if op != capture.Update || old[i] == null || new[i] != null {
			return false
		}
	}
	if len(cfg.Changed) > 0 {
		if op != capture.Update || !slices.ContainsFunc(cfg.Changed, func(name string) bool { return old[col(name)] != new[col(name)] }) {
			return false
		}
	}
	if len(cfg.Becomes) > 0 {
		if op == capture.Delete || !holds(cfg.Becomes, new) || op == capture.Update && holds(cfg.Becomes, old) {
			return false
		}
	}
	return holds(cfg.Where, current)
}
