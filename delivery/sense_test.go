package delivery

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
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
		{SenseClock, []string{"01:02:03", "01:02:03.000000", "01:02:03.0", "1:02:03"}, []string{"01:02:03.5", "-01:02:03", "01:02:03+09", "01:02:03Z", "1:02:3", "soon"}},
		{SenseZoned, []string{"01:02:03.5+09", "01:02:03.500000+09", "01:02:03.5+09:00"}, []string{"01:02:03.5", "01:02:03.5-09", "00:02:03.5+08"}},
		{SenseClock, []string{"-838:59:59", "-838:59:59.000"}, []string{"838:59:59"}},
		{SenseClock, []string{"00:00:00", "-00:00:00"}, []string{"24:00:00"}},
		{SenseSpan, []string{"P1M", "P30D", "P4W2D", "PT720H", "P1M1DT-24H", "P1MT-0.0S"}, []string{"P31D", "PT720H1S", "PT43200", "1 mon", "P", "PT", "P1.5M"}},
		{SenseSpan, []string{"PT-0.5S", "P-1DT86399.5S"}, []string{"PT0.5S", "P-1D"}},
		{SenseAddress, []string{"10.0.0.1", "10.0.0.1/32"}, []string{"10.0.0.1/31", "10.0.0.2", "::ffff:10.0.0.1"}},
		{SenseAddress, []string{"fe80::1", "FE80:0:0:0:0:0:0:1", "fe80::1/128"}, []string{"fe80::2", "fe80::1%1"}},
		{SenseHex, []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{a0eebc999c0b4ef8bb6d6bb9bd380a11}"}, []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12", "hex"}},
		{SenseHexOnly, []string{"08:00:2b:01:02:03", "08002B-010203"}, []string{"08:00:2b:01:02:04"}},
		{SenseBytes, []string{`\xdeadbeef`, `\xDEADBEEF`}, []string{`\xdeadbee0`, `\xdeadbe`, "deadbeef", `\xde-adbeef`, `\xdeadbeef0`}},
		{SenseLSN, []string{"0/16B3748", "0/016b3748"}, []string{"1/16B3748", "16B3748"}},
		{SenseFolded, []string{"Ab@C.de", "aB@c.DE"}, []string{"Ab@C.d", "Ab@C.dé"}},
		{SenseFolded, []string{"ÉΣ", "éσ"}, []string{"es", "éς"}},
		{SenseRange, []string{"[1.0,2.50)", "[1,2.5)", "[1.00,2.5)", "[1, 2.5 )"}, []string{"[1,2.5]", "[1,2.6)", "empty", "(,2.5)"}},
		{SenseRange, []string{"{[1.0,2.0),[3,)}", "{[1,2),[3.00,)}"}, []string{"{[1,2)}", "{}"}},
		{SenseOpaque, []string{"$1,234.50"}, []string{"$1,234.5"}},
		{SensePadded, []string{"AB  ", "AB", "AB      "}, []string{"ab", " AB", "AB\t", "A B"}},
		{SenseJSON, []string{`{"a": [1, "x  y", "\" :"]}`, `{"a":[1,"x  y","\" :"]}`, ` { "a" : [1.0,"x  y","\" :"] } `}, []string{`{"a":[1,"x y","\" :"]}`, `{"a":[1,"x  y","\":"]}`, `{"a":[1]}`, ``}},
		{SenseJSON, []string{`{"a":1,"b":{"c":[],"d":"é/"},"z":null}`, `{"z":null, "b":{"d":"\u00E9\/","c":[ ]},"a":1e0}`}, []string{`{"a":1,"b":{"c":[],"d":"é/"}}`, `{"a":1,"b":{"c":[],"d":"é/"},"z":null,"y":1}`, `{"a":1,"b":{"c":{},"d":"é/"},"z":null}`, `{"a":1,"a":1,"z":null}`}},
		{SenseJSON, []string{`{"a":1,"a":2}`, ` {"a": 1, "a":2.0}`}, []string{`{"a":2}`, `{"a":1}`, `{"a":2,"a":1}`, `{"a":1,"b":2}`}},
		{SenseJSON, []string{`{"a":1,"b":1,"a":2}`, `{"a":1,"a":2,"b":1}`}, []string{`{"a":2,"b":1,"a":1}`}},
		{SenseJSON, []string{`"\ud800"`, `"\uD800"`}, []string{`"\ud801"`, `"\ufffd"`, `"\ud800\udc00"`, "\"\ufffd\""}},
		{SenseJSON, []string{`{"a":1,"aé":2}`, `{"a\u00e9":2,"a":1}`}, []string{`{"a":1,"ae":2}`}},
		{SenseJSON, []string{`"\ud83c\udf63"`, `"🍣"`}, []string{`"🍺"`, `"\ud83c"`}},
		{SenseJSON, []string{`0`, `-0.0`, ` 0e5 `}, []string{`false`, `null`, `""`, `[]`, `{}`, `[0]`, `0 0`}},
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

// TestSenseMemory: a document is compared with a condition's value as it is read, whatever its size.
func TestSenseMemory(t *testing.T) { //nolint:paralleltest // it counts allocations
	many := `{"a":[1` + strings.Repeat(",1", 1<<20) + `]}`
	text := strings.Repeat("é", 1<<20)
	for _, tc := range []struct {
		sense         Sense
		text, literal string
		same          bool
	}{
		{SenseJSON, many, `{"a": 1}`, false},
		{SenseJSON, many, `{"a":[1, 1, 2]}`, false},
		{SenseJSON, many, strings.Replace(many, "[1", "[1.0", 1), true},
		{SenseJSON, `{"b":` + strings.Repeat(" ", 1<<20) + `1,"a":"\u00e9"}`, `{"a":"é","b":1.0}`, true},
		{SenseJSON, strings.Repeat("[", 1<<20), `[[1]]`, false},
		{SenseBytes, `\x` + strings.Repeat("ab", 1<<20), `\xAB`, false},
		{SenseFolded, text, text[1:], false},
		{SenseFolded, text, strings.ToUpper(text), true},
		{SensePadded, text + " ", text, true},
	} {
		value := []byte(tc.text)
		allocs := testing.AllocsPerRun(1, func() {
			if tc.sense.SameBytes(value, tc.literal) != tc.same {
				t.Errorf("sense %d: %.20s and %.20s", tc.sense, tc.text, tc.literal)
			}
		})
		if allocs > 0 {
			t.Errorf("sense %d: %.20s and %.20s: %v allocations", tc.sense, tc.text, tc.literal, allocs)
		}
	}
	dst := make([]byte, 0, len(many))
	if allocs := testing.AllocsPerRun(1, func() { dst = SenseJSON.AppendCanonical(dst[:0], []byte(many)) }); allocs > 10 {
		t.Errorf("a canonical text of %d bytes takes %v allocations", len(many), allocs)
	}
}

// BenchmarkSenseJSON compares documents with a condition's value.
func BenchmarkSenseJSON(b *testing.B) {
	usual := []byte(`{"state":"open","tags":["a","b"],"count":12,"by":{"id":7,"name":"Aoki"}}`)
	large := []byte(`{"a":[1` + strings.Repeat(",1", 8<<20) + `]}`)
	for _, bb := range []struct {
		name    string
		text    []byte
		literal string
	}{
		{"another", usual, `{"a":1}`},
		{"same", usual, `{"by":{"name":"Aoki","id":7},"count":12.0,"state":"open","tags":["a","b"]}`},
		{"16 MB", large, `{"a":1}`},
		{"16 MB, begins alike", large, `{"a":[1,1,1,2]}`},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				SenseJSON.SameBytes(bb.text, bb.literal)
			}
		})
	}
}

// TestSenseOrder: what stands before is less than all behind it.
func TestSenseOrder(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		sense  Sense
		ascend []string
	}{
		{SenseText, []string{"", "01", "1", "10", "9", "A", "a", "é"}},
		{SenseNumber, []string{"-Infinity", "-1e30", "-100", "-99.5", "-0.001", "0", "1e-9", "0.1", "9", "10", "10.5", "100", "1e3", "18446744073709551615", "1e20", "Infinity", "NaN"}},
		{SenseTime, []string{"-infinity", "0044-03-15 BC", "0001-01-01", "2026-11-22T10:00:00+09", "2026-11-22 02:00:00", "2026-11-23", "10000-01-01", "infinity"}},
		{SenseClock, []string{"-838:59:59", "-100:00:00", "-02:00:00", "-01:00:00", "-00:00:00.5", "00:00:00", "01:02:03", "01:02:03.000001", "23:59:59", "99:00:00", "100:00:00"}},
		{SenseZoned, []string{"00:00:00+09", "12:00:00+13", "00:00:00+01", "00:00:00+00", "12:00:00+00", "11:30:00-00:30", "12:00:00-01"}},
		{SenseSpan, []string{"-infinity", "P-1Y", "P-30D", "PT-1S", "PT0S", "PT0.000001S", "PT100H", "P5D", "P1M", "P31D", "P1Y", "infinity"}},
		{SenseAddress, []string{"9.0.0.0/8", "10.0.0.0/8", "10.0.0.5/8", "10.0.0.0/16", "10.0.0.0", "10.0.0.10", "::", "fe80::1"}},
		{SenseHex, []string{"08:00:2b:01:02:03", "08:00:2B:01:02:0A", "08:00:2b:ff:00:00"}},
		{SenseBytes, []string{`\x`, `\x00`, `\x0A`, `\x0a00`, `\xFF`}},
		{SenseLSN, []string{"0/9", "0/16B3748", "0/FFFFFFFF", "1/0", "A/0", "10/0"}},
		{SenseFolded, []string{"a", "B", "c"}},
		{SensePadded, []string{"A  ", "AB", "B "}},
	} {
		if !tc.sense.Ordered() {
			t.Errorf("sense %d has no order", tc.sense)
		}
		for i, a := range tc.ascend {
			for j, b := range tc.ascend {
				if order, ok := tc.sense.Compare(a, b); !ok || (order < 0) != (i < j) || (order == 0) != (i == j) {
					t.Errorf("sense %d: %q and %q: %d, %v", tc.sense, a, b, order, ok)
				}
			}
		}
	}
	for sense, pair := range map[Sense][2]string{
		SenseOpaque: {"a", "b"}, SenseJSON: {"1", "2"}, SenseRange: {"[1,2)", "[2,3)"}, SenseHexOnly: {"0a", "0b"},
		SenseClock: {"01:00:00", "soon"}, SenseSpan: {"P1D", "1 day"}, SenseAddress: {"::1", "localhost"}, SenseNumber: {"1", "one"}, SenseZoned: {"01:00:00+01", "01:00:00"},
	} {
		if _, ok := sense.Compare(pair[0], pair[1]); ok {
			t.Errorf("sense %d orders %q and %q", sense, pair[0], pair[1])
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
		for sense := SenseText; sense < senses; sense++ {
			same := sense.Same(a, b)
			if sense.SameBytes([]byte(a), b) != same {
				t.Errorf("sense %d: bytes and text of %q and %q", sense, a, b)
			}
			if !sense.Same(a, a) || same != sense.Same(b, a) {
				t.Errorf("sense %d: %q and %q", sense, a, b)
			}
			order, ok := sense.Compare(a, b)
			back, okBack := sense.Compare(b, a)
			if ok != okBack || ok && ((order < 0) != (back > 0) || (order == 0) != same) || ok && !sense.Ordered() {
				t.Errorf("sense %d: order of %q and %q: %d, %v, and back %d, %v", sense, a, b, order, ok, back, okBack)
			}
			switch sense {
			case SenseTime, SenseClock, SenseZoned, SenseAddress, SenseHex, SenseHexOnly, SenseBytes, SenseLSN: // the server prints them in one way
			default:
				if sense == SenseJSON && !(json.Valid([]byte(a)) && json.Valid([]byte(b))) {
					continue
				}
				x, y := string(sense.AppendCanonical(nil, []byte(a))), string(sense.AppendCanonical(nil, []byte(b)))
				if (x == y) != same {
					t.Errorf("sense %d: %q is %q, and %q is %q", sense, a, x, b, y)
				}
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
			if p.String() == q.String() && !SenseJSON.Same(a, b) {
				t.Errorf("JSON %q and %q", a, b)
			}
		}
	})
}
