package mapping

import (
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
)

// FuzzRules compiles rules of any content and maps changes with them. Nothing panics; and what is
// decided without knowing some columns is decided in the same way when they are known: a rule may
// say that it cannot tell, but it never guesses.
func FuzzRules(f *testing.F) {
	f.Add(uint8(1), "", "", "name,doc", "", "", "", "Ann", "Bob", uint32(1<<7))
	f.Add(uint8(1), "", "", "", "", "name=Ann,Bob;active=true,null", "", "Bob", "Ann", uint32(1<<4|1<<15))
	f.Add(uint8(0), "gone", "", "", "", "", "", "1", "2.5", uint32(1<<19))
	f.Add(uint8(2), "", "", "", "", "", "op == 'delete' ? old.gone == 'x' or old.id == 7 : new.gone != old.gone", "[1]", "t", uint32(1<<8))
	f.Add(uint8(1), "", "name", "", "amount=0.10", "", "len(row.doc) > 1 and not (old.name == 'x')", "2026-12-01", "null", uint32(1<<6))
	f.Add(uint8(1), "", "", "", "", "", "new.amount > old.amount or row.id % 2 == 1", "1", "2.5", uint32(1<<1|1<<12))
	f.Fuzz(func(t *testing.T, op uint8, set, cleared, changed, becomes, holds, condition, before, after string, hide uint32) {
		rule := RuleConfig{Set: set, Cleared: cleared, If: condition}
		if changed != "" {
			rule.Changed = strings.Split(changed, ",")
		}
		if becomes != "" {
			rule.Becomes = where(strings.Split(becomes, ";")...)
		}
		if holds != "" {
			rule.Where = where(strings.Split(holds, ";")...)
		}
		rules, err := Compile(Config{{Name: "circulation.loans", Key: []string{"id"}, Events: []EventConfig{{Type: "loan.event", Rules: []RuleConfig{rule}}}}}, Options{})
		if err != nil {
			return
		}
		decide := func(hide uint32) (types string, decided bool) {
			out := &recorder{}
			out.mapper = rules.NewMapper(out, Identity{Source: "library", Lineage: "7301234567890123456"})
			out.mapper.Begin(&testTransaction)
			if err := out.mapper.Change(ruledChange(capture.Op(op%3)+1, before, after, hide)); err != nil {
				t.Fatal(err)
			}
			if err := out.mapper.End(); err != nil {
				t.Fatal(err)
			}
			return out.types(), len(out.failures) == 0
		}
		known, decided := decide(0)
		if !decided {
			return // a column that is not there, a value that is not of its type
		}
		if hidden, decided := decide(hide); decided && hidden != known {
			t.Errorf("with columns %b unknown the events are %q, with all known %q", hide, hidden, known)
		}
	})
}

// ruledChange makes a change whose rows hold the texts in turn, but for the key. The bits of hide,
// eleven for each row, say which columns are unknown.
func ruledChange(op capture.Op, before, after string, hide uint32) *capture.Change {
	tbl := typedTable()
	make := func(hide uint32, texts ...string) capture.Row {
		r := row(slices.Repeat([]string{null}, len(tbl.Columns))...)
		for i := range r {
			switch text := texts[i%len(texts)]; {
			case i == 0:
				r[i] = capture.Value{State: capture.Present, Text: []byte("7")}
			case hide>>i&1 == 1:
				r[i].State = capture.Unknown
			case text != "null":
				r[i] = capture.Value{State: capture.Present, Text: []byte(text)}
			}
		}
		return r
	}
	c := &capture.Change{Table: tbl, Op: op}
	if op != capture.Insert {
		c.Old = make(hide, before, after, before)
	}
	if op != capture.Delete {
		c.New = make(hide>>11, after, before)
	}
	return c
}
