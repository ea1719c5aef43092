package mapping

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/expr-lang/expr"
	"pgregory.net/rapid"

	"rowhook/capture"
	"rowhook/delivery"
)

// typedTable has a column of each kind that expressions know.
func typedTable() *capture.Table {
	return table("circulation.loans", capture.IdentityFull,
		"id bigint", "amount numeric", "ratio float", "name text", "active bool", "due_at time", "day date", "doc json", "gone text", "big text")
}

func typedChange() *capture.Change {
	return &capture.Change{
		Op: capture.Update, Table: typedTable(),
		Old: row("9007199254740992", "0.10", "0.1", "Ann", "f", "2026-12-01 14:00:00+00", "2026-12-01", `{"n":1}`, null, missing),
		New: row("9007199254740993", "0.1", "0.3", "Ann Lee", "t", "2026-12-08 14:00:00.5+00", "2026-12-08", `{"n":12345678901234567890,"tags":["x","y"]}`, null, unchanged),
	}
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	const T, F, U = delivery.True, delivery.False, delivery.Undecidable
	for text, want := range map[string]delivery.Truth{
		// Numbers are exact.
		"new.id > old.id":                            T,
		"new.id == 9007199254740993":                 T,
		"new.id == 9007199254740992":                 F,
		"new.amount == old.amount":                   T,
		"new.amount == 0.1 and old.ratio == 0.1":     T,
		"new.amount == old.ratio":                    T,
		"new.amount + 0.2 == 0.3":                    T,
		"new.ratio == 0.1 + 0.2":                     T,
		"new.id - old.id == 1":                       T,
		"new.id * 10 == 90071992547409930":           T,
		"new.id / 2 - 4503599627370496.5 == 0":       T,
		"new.doc.n == '12345678901234567890'":        T,
		"new.doc.n > 12345678901234567":              T,
		"2 ** 10 == 1024 and 7 % 4 == 3 and -3 < -2": T,
		"abs(old.ratio - new.ratio) > 0.1":           T,
		// Times are times.
		"new.due_at > old.due_at":                              T,
		"new.due_at - old.due_at > duration('168h')":           T,
		"new.due_at == '2026-12-08T15:00:00.5+01:00'":          T,
		"new.day > old.day and new.day < '2027-01-01'":         T,
		"new.due_at.Weekday() == 2":                            T,
		"now() < new.due_at and now() > date('2026-11-22')":    T,
		"date('2026-12-08') == new.day":                        T,
		"new.due_at + duration('24h') > '2026-12-09 14:00:00'": T,
		// NULL.
		"new.gone == old.gone":                     F,
		"new.gone != 'x'":                          F,
		"new.gone < 'x' or new.gone >= 'x'":        F,
		"new.gone == nil":                          T,
		"nil != new.name":                          T,
		"new.gone + 'x' == 'x'":                    F,
		"len(new.gone) == 0":                       F,
		"new.gone in ['x']":                        F,
		"(new.gone ?? 'none') == 'none'":           T,
		"new.gone contains 'x'":                    F,
		"not (new.gone == 'x')":                    T,
		"operation == nil and actor.id == nil":     T,
		"new.doc.none == nil and new.doc.n != nil": T,
		// Unknown values, and what settles them.
		"new.big == 'x'":                                      U,
		"new.big == old.big":                                  T,
		"old.big != new.big":                                  F,
		"row.big != old.big":                                  F,
		"new.big == 'x' or new.active":                        T,
		"new.active or new.big == 'x'":                        T,
		"new.big == 'x' and not new.active":                   F,
		"(new.big == 'x' and not new.active) == false":        T,
		"new.big == 'x' and new.active":                       U,
		"not (new.big == 'x')":                                U,
		"new.active ? new.name == 'Ann Lee' : new.big == 'x'": T,
		"new.big == 'x' ? true : true":                        U,
		"any(['x', new.name], # == 'Ann Lee')":                T,
		"any([1, 2], # == 2 or new.big == 'x')":               T,
		"all([1, 2], # == 2 or new.big == 'x')":               U,
		"all([1, 2], # == 3 and new.big == 'x')":              F,
		"new.big == nil":                                      U,
		"len(new.big) > 1":                                    U,
		// Text, lists, functions.
		"new.name startsWith old.name and new.name endsWith 'Lee'": T,
		"new.name matches '^A.n'":                                  T,
		"new.name not in ['x', 'y']":                               T,
		"upper(new.name) == 'ANN LEE'":                             T,
		"new.name | lower() | hasPrefix('ann')":                    T,
		"'x' in new.doc.tags":                                      T,
		"'n' in new.doc":                                           T,
		"count(new.doc.tags, # != 'x') == 1":                       T,
		"new.doc.tags[0] == 'x' and new.doc.tags[-1] == 'y'":       T,
		"new.name[0:3] == old.name":                                T,
		"sum([1, 2, 3]) == 6 and sum([1,2], # * 2) == 6":           T,
		"map([1, 2], # + 1) == [2, 3]":                             T,
		"filter([1, 2, 3], # > 1) == [2, 3]":                       T,
		"reduce([1, 2, 3], #acc + #) == 6":                         T,
		"let d = new.id - old.id; d > 0 and d < 2":                 T,
		"3 in 1..5":                  T,
		"op == 'update'":             T,
		"row.name == new.name":       T,
		"new.name == 5":              F,
		"round(new.ratio * 10) == 3": T,
		"max(new.id, old.id) == 9007199254740993 and min([new.id, old.id]) == old.id":                                       T,
		"abs(old.id - new.id) == 1 and abs(0 - new.id) == new.id":                                                           T,
		"floor(0 - new.ratio) == -1 and ceil(new.ratio) == 1 and round(2.5) == 3 and round(-2.5) == -3 and floor(-3) == -3": T,
		"int(new.id + 0.5) == new.id and int('7') == 7":                                                                     T,
		"string(new.doc.n) == '12345678901234567890' and string(new.amount) == '0.1'":                                       T,
		"max(new.id, old.id) > 1": T,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			if got := truthOf(t, RuleConfig{If: text}, typedChange()); got != want {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestExpressionsAreRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"new.a >":                  "unexpected token",
		"new.a > 1 and":            "unexpected token",
		"nwe.a > 1":                "unknown name nwe",
		"old == new":               "write old.column",
		"new.a + 1":                "",
		"'x'":                      "expected bool",
		"op":                       "expected bool",
		"actor == nil":             "actor.id",
		"actor.mail == 'x'":        "members id and name",
		"new[op] == 1":             "named outright",
		"launch(new.a)":            "unknown name launch",
		"new.a.Delete()":           "unknown method",
		"new.a matches '('":        "missing closing",
		"now('x') == new.a":        "invalid number of arguments",
		"groupBy([1], #) == new.a": "not available",
		"repeat('x', 5) == new.a":  "not available",
		"len() == 1":               "invalid number of arguments",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, err := compileExpression(text, true)
			if want == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got error %v, want %q in one line", err, want)
			}
		})
	}
}

// TestFaultsHoldNoData: what cannot be computed is a fault that names the place, not the value.
func TestFaultsHoldNoData(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"date(new.name) > new.day", "new.name > 5", "new.name - 1 == 2", "new.id / 0 == 1", "int(new.name) == 1",
		"new.active + 1 == 2", "new.name and true", "new.name ? true : false", "fromJSON(new.name) == 1", "new.name",
	} {
		m, out := setup(t, one(RuleConfig{If: text}), Options{})
		if err := m.Change(typedChange()); err != nil {
			t.Fatal(err)
		}
		if len(out.failures) != 1 || out.failures[0].Reason != delivery.OutcomeUnmapped {
			t.Errorf("%s: %d failures, %d events", text, len(out.failures), len(out.events))
			continue
		}
		if msg := out.failures[0].Err.Error(); strings.Contains(msg, "Ann") || !strings.Contains(msg, "rule loan.event, if: ") {
			t.Errorf("%s: %s", text, msg)
		}
	}
}

// TestUndecidableNamesItsPlace fixes what an operator reads.
func TestUndecidableNamesItsPlace(t *testing.T) {
	t.Parallel()
	m, out := setup(t, loanMapping(), Options{})
	err := m.Change(&capture.Change{
		Op: capture.Update, Table: loans(capture.IdentityDefault),
		New: loanRow("ACTIVE", "2026-12-01 14:00:00+00", "2026-12-01 14:00:00+00", "x"),
	})
	if err != nil || len(out.failures) != 1 || len(out.events) > 0 {
		t.Fatal(err, out)
	}
	f := out.failures[0]
	want := `map circulation.loans: rule loan.returned[0], set: the old value of column "returned_at" is not in the stream`
	if f.Err.Error() != want || f.Reason != delivery.OutcomeUndecidable || f.Entry != "circulation.loans" {
		t.Errorf("got %+v", f)
	}
	var remedy interface{ RemedyText() string }
	if !errors.As(f.Err, &remedy) || remedy.RemedyText() != "ALTER TABLE circulation.loans REPLICA IDENTITY FULL;" {
		t.Error("no remedy")
	}
}

// TestExpressionsAgainstTheLibrary: on rows without holes or NULLs, text and small numbers
// mean what they mean in expr-lang.
func TestExpressionsAgainstTheLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.SampledFrom([]string{"x", "y", "xy"}), 6, 6).Draw(t, "values")
		text := drawExpression(t, 3, false)
		c := &capture.Change{Op: capture.Update, Table: maskTable(), Old: row(values[:3]...), New: row(values[3:]...)}
		got := truthOf(t, RuleConfig{If: text}, c)
		env := map[string]any{"op": "update"}
		for name, v := range map[string][]string{"old": values[:3], "new": values[3:]} {
			env[name] = map[string]any{"a": v[0], "b": v[1], "c": v[2]}
		}
		want, err := expr.Eval(text, env)
		if err != nil {
			t.Fatal(err)
		}
		if (got == delivery.True) != want || got == delivery.Undecidable {
			t.Fatalf("%s on %q: %v, the library says %v", text, values, got, want)
		}
	})
}

// TestDecidedExpressionsHold: whatever the missing values were, a decided answer stands.
func TestDecidedExpressionsHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := drawMasked(t)
		cfg := RuleConfig{If: drawExpression(t, 3, true)}
		got := truthOf(t, cfg, &m.change)
		if got == delivery.Undecidable {
			return
		}
		m.completions(func(old, new []string) {
			full := capture.Change{Op: m.change.Op, Table: m.change.Table}
			if old != nil {
				full.Old = row(old...)
			}
			if new != nil {
				full.New = row(new...)
			}
			if answer := truthOf(t, cfg, &full); answer != got {
				t.Fatalf("%s on %v decided %v, on %q -> %q %v", cfg.If, m, got, old, new, answer)
			}
		})
	})
}

// drawExpression draws a condition over the columns a, b and c.
func drawExpression(t *rapid.T, depth int, nulls bool) string {
	if depth == 0 || rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
		return drawComparison(t, nulls)
	}
	a, b := drawExpression(t, depth-1, nulls), drawExpression(t, depth-1, nulls)
	switch rapid.IntRange(0, 6).Draw(t, "operator") {
	case 0:
		return fmt.Sprintf("(%s and %s)", a, b)
	case 1:
		return fmt.Sprintf("(%s or %s)", a, b)
	case 2:
		return fmt.Sprintf("not (%s)", a)
	case 3:
		return fmt.Sprintf("(%s ? %s : %s)", a, b, drawComparison(t, nulls))
	case 4:
		return fmt.Sprintf("((%s) == (%s))", a, b)
	case 5:
		return fmt.Sprintf("any(['x', 'y'], # == new.a or %s)", a)
	}
	return fmt.Sprintf("all(['x', 'xy'], # != old.b and %s)", a)
}

func drawComparison(t *rapid.T, nulls bool) string {
	column := rapid.SampledFrom([]string{"old.a", "old.b", "old.c", "new.a", "new.b", "new.c"})
	a := column.Draw(t, "column")
	choices := []string{"%s == 'x'", "%s != 'x'", "%s in ['x', 'y']", "%s < 'xy'", "len(%s) > 1", "%s startsWith 'x'"}
	if nulls {
		choices = append(choices, "%s == nil", "%s != nil", "(%s ?? 'x') == 'x'")
	}
	if rapid.Bool().Draw(t, "two") {
		operator := rapid.SampledFrom([]string{"==", "!=", "<", ">="}).Draw(t, "operator")
		return fmt.Sprintf("%s %s %s", a, operator, column.Draw(t, "other"))
	}
	return fmt.Sprintf(rapid.SampledFrom(choices).Draw(t, "form"), a)
}

func FuzzExpression(f *testing.F) {
	for _, text := range []string{
		"new.amount > 0.1 and old.due_at < now()", "any(new.doc.tags, # == 'x') ? 1 : 2", "let x = 2 ** 60; x * x * new.id",
		"new.doc.n[1:2][0]", "1..9 | map(# * 2) | filter(# > 3)", "new.due_at.Format('2006')", "date('x')", "max(1, new.amount, round(new.ratio))",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x, err := compileExpression(text, false)
		if err != nil {
			return
		}
		c := typedChange()
		b := boundExpression{expression: x}
		for _, ref := range x.columns {
			col := c.Table.Column(ref.name)
			if col < 0 {
				return
			}
			b.cols = append(b.cols, col)
		}
		e := &evaluation{rows: newRows(c), context: &contexts{}, at: testTransaction.Time}
		v, ok, err := b.value(e)
		if ok && err != nil {
			t.Errorf("both a value and an error: %v", err)
		}
		if ok {
			appendValue(nil, v)
		}
	})
}

func FuzzNumber(f *testing.F) {
	for _, s := range []string{"1", "-0.10", "1e5", "NaN", "1e999999999", "+.5", "9223372036854775808"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseNumber(s)
		if !ok {
			return
		}
		if compareNumbers(n, n) != 0 {
			t.Error("a number differs from itself")
		}
		d, _ := asDecimal(n)
		again, ok := parseNumber(d.String())
		if !ok || compareNumbers(n, again) != 0 {
			t.Errorf("%q became %q", s, d.String())
		}
	})
}
