package delivery

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"testing"
)

func TestSense(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sense Sense
		same  []string
		other []string
	}{
		{SenseText, []string{"01"}, []string{"1", "01 ", "1.0"}},
		{
			SenseNumber,
			[]string{"1000", "1e3", "1000.00", "+1000", "1E+3", "0.1e4", "10000e-1", "01000"},
			[]string{"-1000", "100", "1e4", "1001", "1000x", "", "1e", "1e999999999", "Infinity", "NaN", "1e3.5"},
		},
		{SenseNumber, []string{"0", "-0", "0.00", "0e7", "-0e-9"}, []string{"1", "0.01", ".", "-"}},
		{SenseNumber, []string{"0.001", "1e-3", ".001", "0.0010", "1.0e-3"}, []string{"0.01", "-0.001", "1e3"}},
		{SenseNumber, []string{"100000000000000000000000000001", "1.00000000000000000000000000001e29"}, []string{"100000000000000000000000000002", "1e29"}},
		{SenseNumber, []string{"Infinity"}, []string{"infinity", "-Infinity", "1"}},
		{
			SenseTime,
			[]string{"2026-11-22 01:02:03.12+00", "2026-11-22T01:02:03.120000Z", "2026-11-22T10:02:03.12+09:00", "2026-11-22 01:02:03.12"},
			[]string{"2026-11-22", "2026-11-22T01:02:03Z", "2026-11-22T01:02:03.120001Z", "2026-11-22 01:02:03.12+01", "soon"},
		},
		{SenseTime, []string{"2026-11-22", "2026-11-22T00:00:00Z"}, []string{"2026-11-23", "2026-11-22 BC"}},
		{SenseTime, []string{"0000-00-00 00:00:00"}, []string{"0000-00-00", "2024-00-00 00:00:00"}},
		{SenseClock, []string{"01:02:03", "01:02:03.000000", "01:02:03.0"}, []string{"01:02:03.5", "-01:02:03", "01:02:03+09", "1:02:03"}},
		{SenseClock, []string{"01:02:03.5+09", "01:02:03.500000+09"}, []string{"01:02:03.5", "01:02:03.5-09"}},
		{SenseClock, []string{"-838:59:59", "-838:59:59.000"}, []string{"838:59:59"}},
		{SenseFolded, []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"}, []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"}},
		{SensePadded, []string{"AB  ", "AB", "AB      "}, []string{"ab", " AB", "AB\t", "A B"}},
		{SenseJSON, []string{`{"a": [1, "x  y", "\" :"]}`, `{"a":[1,"x  y","\" :"]}`, ` { "a" : [1,"x  y","\" :"] } `}, []string{`{"a":[1,"x y","\" :"]}`, `{"a":[1,"x  y","\":"]}`, `{"a":[1]}`, ``}},
	} {
		for _, a := range tc.same {
			for _, b := range tc.same {
				if !tc.sense.Same(a, b) {
					t.Errorf("sense %d: %q is not %q", tc.sense, a, b)
				}
			}
			for _, b := range tc.other {
				if tc.sense.Same(a, b) || tc.sense.Same(b, a) {
					t.Errorf("sense %d: %q is %q", tc.sense, a, b)
				}
			}
		}
	}
}

// FuzzSense holds comparisons to those of numbers and JSON made by others, and to answers that do not
// hang on which side a value stands.
func FuzzSense(f *testing.F) {
	for _, pair := range [][2]string{{"1e3", "1000"}, {"-0.10", "-.1"}, {"01:02:03.50+09", "01:02:03.5+09"}, {`{"a": "\\"}`, `{"a":"\\"}`}, {`"\`, `"\`}} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for sense := SenseText; sense <= SenseJSON; sense++ {
			if !sense.Same(a, a) || sense.Same(a, b) != sense.Same(b, a) {
				t.Errorf("sense %d: %q and %q", sense, a, b)
			}
		}
		x, y := newScaled(a), newScaled(b)
		if x.ok && y.ok && max(x.exponent, y.exponent) < 500 && min(x.exponent, y.exponent) > -500 {
			p, pOK := new(big.Rat).SetString(a)
			q, qOK := new(big.Rat).SetString(b)
			if pOK && qOK && (p.Cmp(q) == 0) != SenseNumber.Same(a, b) {
				t.Errorf("numbers %q and %q", a, b)
			}
		}
		if json.Valid([]byte(a)) && json.Valid([]byte(b)) {
			var p, q bytes.Buffer
			if err := errors.Join(json.Compact(&p, []byte(a)), json.Compact(&q, []byte(b))); err != nil {
				t.Fatal(err)
			}
			if (p.String() == q.String()) != SenseJSON.Same(a, b) {
				t.Errorf("JSON %q and %q", a, b)
			}
		}
	})
}
