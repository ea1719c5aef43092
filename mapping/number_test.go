package mapping

import (
	"cmp"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"rowhook/capture"
)

// TestArithmeticIsExact: whichever way a result is computed, it is the rational number's.
func TestArithmeticIsExact(t *testing.T) {
	t.Parallel()
	number := rapid.OneOf(
		rapid.Map(rapid.Int64(), func(i int64) string { return strconv.FormatInt(i, 10) }),
		rapid.Map(rapid.Int64Range(-9, 9), func(i int64) string { return strconv.FormatInt(i, 10) }),
		rapid.SampledFrom([]string{"9223372036854775808", "-9223372036854775809", "0.1", "-2.50", "1e3", "1E-5", strconv.Itoa(math.MaxInt32)}),
		rapid.StringMatching(`-?[0-9]{1,25}\.[0-9]{1,25}`),
	)
	rat := func(v any) *big.Rat { d, _ := asDecimal(v); return d.rat }
	rapid.Check(t, func(t *rapid.T) {
		aText, bText := number.Draw(t, "a"), number.Draw(t, "b")
		a, okA := parseNumber(aText)
		b, okB := parseNumber(bText)
		if !okA || !okB {
			t.Fatalf("%s or %s is no number", aText, bText)
		}
		x, _ := new(big.Rat).SetString(aText)
		y, _ := new(big.Rat).SetString(bText)
		if rat(a).Cmp(x) != 0 || compareNumbers(a, b) != x.Cmp(y) {
			t.Fatalf("%s and %s compare as %d", aText, bText, compareNumbers(a, b))
		}
		for op, want := range map[string]*big.Rat{
			"+": new(big.Rat).Add(x, y), "-": new(big.Rat).Sub(x, y), "*": new(big.Rat).Mul(x, y),
		} {
			if got, ok := calculate(op, a, b); !ok || rat(got).Cmp(want) != 0 {
				t.Fatalf("%s %s %s = %v, want %s", aText, op, bText, got, want)
			}
		}
		if got, ok := calculate("/", a, b); ok != (y.Sign() != 0) || ok && rat(got).Cmp(new(big.Rat).Quo(x, y)) != 0 {
			t.Fatalf("%s / %s = %v", aText, bText, got)
		}
		if i, isInt := a.(int); isInt {
			if j, isInt := b.(int); isInt && j != 0 && (i != math.MinInt || j != -1) {
				if got, ok := calculate("%", a, b); !ok || got != i%j {
					t.Fatalf("%d %% %d = %v", i, j, got)
				}
			}
		}
	})
}

func TestNumbersBeyondTheLine(t *testing.T) {
	t.Parallel()
	ordered := []string{"-Infinity", "-1e20000", "-1", "0", "0.5", "9223372036854775808", "Infinity", "NaN"}
	for i, a := range ordered {
		for j, b := range ordered {
			x, okX := parseNumber(a)
			y, okY := parseNumber(b)
			if got := compareNumbers(x, y); !okX || !okY || got != cmp.Compare(i, j) {
				t.Errorf("%s and %s compare as %d", a, b, got)
			}
		}
	}
	for _, text := range []string{"", "-", "1e", "1e999999999", "0x10", "1_000", "1/3", "--1", "1.2.3", "inf", " 1"} {
		if _, ok := parseNumber(text); ok {
			t.Errorf("%q was read as a number", text)
		}
	}
}

// TestSpecialNumbers: arithmetic beyond the number line is PostgreSQL's.
func TestSpecialNumbers(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"inf + 1": "Infinity", "1 + inf": "Infinity", "inf - 1": "Infinity", "1 - inf": "-Infinity", "-inf": "-Infinity", "-low": "Infinity",
		"low + 1": "-Infinity", "inf + inf": "Infinity", "inf - inf": "NaN", "inf + low": "NaN", "inf * -2": "-Infinity", "inf * 0": "NaN",
		"low * low": "Infinity", "inf / 2": "Infinity", "inf / -2": "-Infinity", "1 / inf": "0", "inf / inf": "NaN", "nan + 1": "NaN", "nan * 0": "NaN",
		"5 % inf": "5", "inf % 5": "NaN", "abs(low)": "Infinity", "abs(inf)": "Infinity", "round(low)": "-Infinity", "ceil(low)": "-Infinity", "floor(inf)": "Infinity",
	} {
		x, err := compileExpression(strings.NewReplacer("inf", "row.i", "low", "row.l", "nan", "row.n").Replace(text), false)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		tb := table("a.b", capture.IdentityFull, "i numeric", "l numeric", "n numeric")
		b := binder{&boundEntry{entry: &entry{schema: "a", table: "b"}, table: tb}}
		change := &capture.Change{Op: capture.Insert, Table: tb, New: row("Infinity", "-Infinity", "NaN")}
		got, _, err := b.expression(x, nil).value(&evaluation{rows: newRows(change), at: testTransaction.Time, context: &contexts{}})
		if err != nil || string(appendPlain(nil, got)) != want {
			t.Errorf("%s: got %s (%v), want %s", text, appendPlain(nil, got), err, want)
		}
	}
}
