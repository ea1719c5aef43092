package mapping

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"rowhook/capture"
)

// largeChange is an insert of two large texts, a short one, a time, digits and JSON.
func largeChange() *capture.Change {
	text := &capture.Type{Kind: capture.Text}
	t := &capture.Table{Schema: "public", Name: "large", Columns: []capture.Column{
		{Name: "a", Type: text}, {Name: "b", Type: text}, {Name: "s", Type: text}, {Name: "uni", Type: text},
		{Name: "at", Type: &capture.Type{Kind: capture.DateTime}}, {Name: "digits", Type: text},
		{Name: "pattern", Type: text}, {Name: "doc", Type: &capture.Type{Kind: capture.JSON, AppendJSON: jsonAsIs}},
	}}
	values := []string{
		strings.Repeat("a", 200_000), strings.Repeat("b", 200_000), "a", strings.Repeat("é", 100_000),
		"2026-11-22 01:02:03", strings.Repeat("7", 5_000_000), strings.Repeat("(a{1000})", 120),
		strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
	}
	c := &capture.Change{Op: capture.Insert, Table: t}
	for _, v := range values {
		c.New = append(c.New, capture.Value{State: capture.Present, Text: []byte(v)})
	}
	return c
}

// doubling is an expression that makes each variable of two of the one before.
func doubling(first, next string, times int, last string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "let v0 = %s; ", first)
	for i := range times {
		fmt.Fprintf(&b, "let v%d = %s; ", i+1, strings.ReplaceAll(next, "$", fmt.Sprintf("v%d", i)))
	}
	return b.String() + strings.ReplaceAll(last, "$", fmt.Sprintf("v%d", times))
}

// run computes an expression on a change, and returns how many bytes were allocated meanwhile.
func runExpression(t *testing.T, text string, c *capture.Change) (v any, allocated uint64, err error) {
	t.Helper()
	x, err := compileExpression(text, false)
	if err != nil {
		t.Fatalf("%.80s: %v", text, err)
	}
	b := boundExpression{expression: x}
	for _, ref := range x.columns {
		b.cols = append(b.cols, c.Table.Column(ref.name))
	}
	e := &evaluation{rows: newRows(c), context: &contexts{}, at: testTransaction.Time}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	v, ok, err := b.value(e)
	runtime.ReadMemStats(&after)
	if ok != (err == nil) {
		t.Errorf("%.80s: ok %v, error %v", text, ok, err)
	}
	return v, after.TotalAlloc - before.TotalAlloc, err
}

// Whatever an expression or a row says, an expression takes bounded memory and time, and what it
// does not compute for that is undecided with its reason. The table is not parallel: it counts what
// the process allocates.
func TestExpressionsAreBounded(t *testing.T) {
	c := largeChange()
	const most = 400 << 20 // what is counted are the values; their growth, and garbage, is a few times that at worst
	for name, text := range map[string]string{
		"replace by the row":      `replace(new.a, new.s, new.b)`,
		"replace nothing":         `replace(new.a, "", new.b)`,
		"join by the row":         `join(split(new.a, ""), new.b)`,
		"texts doubled":           doubling(`"0123456789"`, `$ + $`, 40, `len($)`),
		"lists doubled":           doubling(`[1, 2]`, `concat($, $)`, 40, `len($)`),
		"replace doubled":         doubling(`"aa"`, `replace($, "a", "aa")`, 40, `len($)`),
		"ranges in ranges":        `map(1..9999, map(1..9999, map(1..9999, #)))`,
		"ranges that keep texts":  `map(1..9999, new.a + "x")`,
		"any of ranges":           `any(1..9999, any(1..9999, any(1..9999, # == 0)))`,
		"filters":                 `len(filter(1..9999, len(filter(1..9999, # > 0)) > 0))`,
		"reduce":                  `reduce(1..9999, #acc + new.a, "")`,
		"one value in many lists": doubling(`["x"]`, `[$, $]`, 60, `$`),
		"the same as JSON":        doubling(`["x"]`, `[$, $]`, 60, `toJSON($)`),
		"the same as text":        doubling(`["x"]`, `[$, $]`, 60, `string($)`),
		"the same compared":       doubling(`["x"]`, `[$, $]`, 60, `$ == $`),
		"the same looked into":    doubling(`["x"]`, `[$, $]`, 60, `$ in [$]`),
		"the same flattened":      doubling(`["x"]`, `[$, $]`, 60, `flatten($)`),
		"squares":                 doubling(`1234567890123`, `$ * $`, 40, `$ > 0`),
		"powers":                  doubling(`10`, `$ ** 64`, 5, `$ > 0`),
		"sums of fractions":       doubling(`1/3`, `$ + 1/($ + 7)`, 60, `$ > 0`),
		"a set of characters":     `trim(new.uni, new.uni + "b")`,
		"uniq":                    `uniq(map(1..9999, map(1..100, #)))`,
		"a pattern from the row":  `new.a matches new.pattern`,
		"patterns":                `any(1..9999, new.a matches "(a|aa)+b$")`,
		"a long layout":           `map(1..9999, new.at.Format(new.a))`,
		"base64":                  doubling(`"aaaa"`, `toBase64($)`, 80, `len($)`),
		"deep JSON, indented":     `toJSON(new.doc)`,
	} {
		_, allocated, err := runExpression(t, text, c)
		if !errors.Is(err, errMadeTooMuch) && !errors.Is(err, errTooManySteps) && (name != "a pattern from the row" || err == nil) {
			t.Errorf("%s: error %v", name, err)
		}
		if allocated > most {
			t.Errorf("%s: %d MiB allocated", name, allocated>>20)
		}
	}
}

// What is of use is within the bounds.
func TestExpressionsWithinTheirBounds(t *testing.T) {
	c := largeChange()
	for text, want := range map[string]any{
		`len(replace(new.a, "a", "bb"))`:                          400_000,
		`len(split(new.a, ""))`:                                   200_000,
		`len(upper(new.a) + lower(new.b))`:                        400_000,
		`any(1..1000, new.a contains "b")`:                        false,
		`new.a matches "^a+$"`:                                    true,
		`len(uniq(1..5000))`:                                      5000,
		`sum(map(1..9999, # * 2))`:                                99_990_000,
		`count(1..9999, # % 2 == 0)`:                              4999,
		`len(string((2 ** 64) ** 64))`:                            1234,
		`len(join(map(1..9999, string(#)), ","))`:                 48_887,
		`int(new.digits[:18])`:                                    777_777_777_777_777_777,
		`len(fromJSON("[" + join(map(1..5000, "1"), ",") + "]"))`: 5000,
	} {
		v, _, err := runExpression(t, text, c)
		if err != nil || !equalValues(v, want, true) {
			t.Errorf("%s: %v, %v; want %v", text, v, err, want)
		}
	}
	if _, _, err := runExpression(t, `int(new.digits)`, c); err == nil {
		t.Error("five million digits were read as a number")
	}
}
