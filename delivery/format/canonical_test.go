package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func canonical(t testing.TB, text string) string {
	t.Helper()
	var c canon
	out, err := c.append([]byte("before"), []byte(text), "")
	if err != nil {
		t.Fatalf("%.200s: %v", text, err)
	}
	return string(bytes.TrimPrefix(out, []byte("before")))
}

// TestCanonical has texts and their one form. Where JavaScript loses nothing, that is what it makes
// of the text.
func TestCanonical(t *testing.T) {
	t.Parallel()
	engine := startNode(t)
	const same, other = true, false // whether JavaScript makes the same of the text
	for _, test := range []struct {
		text, want string
		js         bool
	}{
		{" { \"a\" : [ 1 , {} , [ ] ] ,\t\"b\":\r\nnull } ", `{"a":[1,{},[]],"b":null}`, same},
		{`{"a":"\u00e9\u2028\u2029\ud83d\ude00\/\u003c<>&'\u007f` + "\x7f\u2028\"}", "{\"a\":\"é\u2028\u2029😀/<<>&'\x7f\x7f\u2028\"}", same},
		{`{"a":"\u0000\u001F\b\t\n\f\r\u0008\u0009\u000a\u000B\u000c\u000d\"\\"}`, `{"a":"\u0000\u001f\b\t\n\f\r\b\t\n\u000b\f\r\"\\"}`, same},
		{`{"a":"\ud800","b":"\udc00x","c":"\ud800\ud83d\ude00","d":"\ud83d\u0041"}`, `{"a":"�","b":"�x","c":"�😀","d":"�A"}`, other},
		{"{\"a\":\"\xff\xed\xa0\x80ok\xc3\"}", "{\"a\":\"����ok�\"}", other},
		{`[1.0,100.30,-0,-0.0,0.000,1e2,1E+2,12e-1,1.50e1,0.1,5e-7,0.0000005,0.000001,1e-7]`, `[1,100.3,0,0,0,100,100,1.2,15,0.1,5e-7,5e-7,0.000001,1e-7]`, same},
		{`[9007199254740991,-9007199254740991,900719925474099.1,9007199254740.9100]`, `[9007199254740991,-9007199254740991,900719925474099.1,9007199254740.91]`, same},
		{`[9007199254740992,-9007199254740993,18446744073709551615,1e21,1e300,9.1e15]`, `["9007199254740992","-9007199254740993","18446744073709551615","1e21","1e300","9.1e15"]`, other},
		{`[1e400,-1e400,1e-400,0.1000000000000000055511151231257827,123456789012.34567890123,1.00000000000000000001]`, `["1e400","-1e400","1e-400","0.1000000000000000055511151231257827","123456789012.34567890123","1.00000000000000000001"]`, other},
		{`[0.30000000000000004,2.2250738585072014e-308,5e-324,1234567890.123456]`, `[0.30000000000000004,2.2250738585072014e-308,5e-324,1234567890.123456]`, same},
		{`{"b":1,"a":2,"b":3}`, `{"b":3,"a":2}`, same},
		{`{"b":1,"\u0062":{"x":[{"b":1,"b":2}]}}`, `{"b":{"x":[{"b":2}]}}`, same},
		{`{"b":1,"10":2,"9":3,"0":4,"01":5,"-1":6,"1.5":7,"4294967294":8,"4294967295":9,"10":10}`, `{"0":4,"9":3,"10":10,"4294967294":8,"b":1,"01":5,"-1":6,"1.5":7,"4294967295":9}`, same},
		{`{"__proto__":{"a":1},"b":{"__proto__":null},"__proto":1}`, `{"b":{},"__proto":1}`, other},
		{`{"a":{"__proto__":1,"c":2},"__proto__":3}`, `{"a":{"c":2}}`, other},
		{`"text"`, `"text"`, same},
		{` -12.50 `, `-12.5`, same},
		{`true`, `true`, same},
	} {
		got := canonical(t, test.text)
		if got != test.want {
			t.Errorf("%q became\n%s, not\n%s", test.text, got, test.want)
		}
		engine.fixedPoint(t, []byte(got))
		if test.js {
			flat := strings.NewReplacer("\n", " ", "\r", " ").Replace(test.text)
			if js := string(engine.restringify(t, []byte(flat))); js != got {
				t.Errorf("JavaScript makes\n%s\nof %q, not\n%s", js, test.text, got)
			}
		}
	}
}

// TestCanonicalManyMembers has objects so large that their names are looked up in another way.
func TestCanonicalManyMembers(t *testing.T) {
	t.Parallel()
	engine := startNode(t)
	var b strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&b, `,"member_%d_of_many":%d,"%d":null`, i%2900, i, 5000-i)
	}
	text := "{" + b.String()[1:] + "}"
	got := canonical(t, text)
	if js := string(engine.restringify(t, []byte(text))); js != got {
		t.Errorf("JavaScript makes %.200s…, not %.200s…", js, got)
	}
}

func TestCanonicalRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		``, ` `, `{`, `{"a"`, `{"a":}`, `{"a":1`, `{"a":1,}`, `{,}`, `[1,]`, `[1 2]`, `{"a" 1}`, `{a:1}`, `"`, `"\`, `"\x"`, `"\u12"`, `"\u12g4"`,
		`01`, `-`, `1.`, `.5`, `1e`, `1e+`, `1f`, `+1`, `tru`, `nul`, `{}{}`, `{}x`, "\"\n\"", strings.Repeat("[", 20000), `--1`, `1-1`,
	} {
		var c canon
		if out, err := c.append(nil, []byte(text), ""); err == nil {
			t.Errorf("%.40q became %s", text, out)
		}
	}
}

// TestCanonicalProperty feeds JavaScript what rapid makes up.
func TestCanonicalProperty(t *testing.T) {
	t.Parallel()
	engine := startNode(t)
	rapid.Check(t, func(rt *rapid.T) {
		text := jsonText(rt, 4)
		var c canon
		got, err := c.append(nil, []byte(text), "")
		if err != nil {
			rt.Fatalf("%s: %v", text, err)
		}
		if js := engine.restringify(t, got); !bytes.Equal(js, got) {
			rt.Fatalf("%q became\n%s\nof which JavaScript makes\n%s", text, got, js)
		}
		if !json.Valid(got) {
			rt.Fatalf("%q became %s", text, got)
		}
	})
}

// jsonText draws a JSON text with everything that is hard to write: escapes in many ways, numbers
// of all sizes, odd names.
func jsonText(t *rapid.T, depth int) string {
	spaces := rapid.SampledFrom([]string{"", "", "", " ", "\t", "\n  "})
	kinds := 7
	if depth == 0 {
		kinds = 4
	}
	switch rapid.IntRange(0, kinds).Draw(t, "kind") {
	case 0:
		return rapid.SampledFrom([]string{"null", "true", "false", "0", "-0", "{}", "[ ]", `""`}).Draw(t, "word")
	case 1:
		return jsonNumber(t)
	case 2, 3, 4:
		return jsonString(t)
	case 5:
		var items []string
		for range rapid.IntRange(0, 4).Draw(t, "items") {
			items = append(items, spaces.Draw(t, "space")+jsonText(t, depth-1)+spaces.Draw(t, "space"))
		}
		return "[" + strings.Join(items, ",") + "]"
	}
	var members []string
	for range rapid.IntRange(0, 6).Draw(t, "members") {
		name := rapid.SampledFrom([]string{`"a"`, `"b"`, `"\u0061"`, `"0"`, `"1"`, `"12"`, `"4294967295"`, `"__proto__"`, `"value"`, `"loan_id"`, `"-1"`, `""`}).Draw(t, "name")
		if rapid.Bool().Draw(t, "odd") {
			name = jsonString(t)
		}
		members = append(members, spaces.Draw(t, "space")+name+spaces.Draw(t, "space")+":"+jsonText(t, depth-1))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func jsonNumber(t *rapid.T) string {
	switch rapid.IntRange(0, 3).Draw(t, "number") {
	case 0:
		return strconv.FormatInt(rapid.Int64().Draw(t, "integer"), 10)
	case 1:
		f := rapid.Float64().Draw(t, "double")
		if math.IsInf(f, 0) || math.IsNaN(f) {
			f = 0
		}
		return strconv.FormatFloat(f, rapid.SampledFrom([]byte{'e', 'E', 'f'}).Draw(t, "form"), -1, 64)
	case 2:
		f := rapid.Float64Range(-1e-5, 1e-5).Draw(t, "tiny")
		return strconv.FormatFloat(f, 'f', 12, 64)
	}
	return rapid.StringMatching(`-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?`).Draw(t, "digits")
}

func jsonString(t *rapid.T) string {
	var b strings.Builder
	b.WriteByte('"')
	for range rapid.IntRange(0, 8).Draw(t, "length") {
		switch rapid.IntRange(0, 3).Draw(t, "piece") {
		case 0:
			b.WriteString(rapid.SampledFrom([]string{`\"`, `\\`, `\/`, `\b`, `\t`, `\n`, `\f`, `\r`, "<&>", "\u2028", "\u2029", "😀", "\x7f", "\ufeff", "図書館", "\xff", "\xc3", "]]>"}).Draw(t, "nasty"))
		case 1:
			fmt.Fprintf(&b, `\u%04x`, rapid.Uint16().Draw(t, "unit"))
		case 2:
			fmt.Fprintf(&b, `\uD8%02X\uDC%02x`, rapid.Uint8().Draw(t, "high"), rapid.Uint8().Draw(t, "low"))
		case 3:
			b.WriteString(rapid.StringMatching(`[a-z0-9 _]{0,12}`).Draw(t, "plain"))
		}
	}
	b.WriteByte('"')
	return b.String()
}

// FuzzCanonical proves that every JSON text has a canonical form that is its own, and that it says
// the same.
func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{`{"a":[1.0,"\u2028",{"b":null}]}`, `{"2":1,"1":2,"b":3,"b":4}`, `[1e400,0.10,9007199254740993]`, `"\ud800\udc00\ud800"`, `{"__proto__":1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var c canon
		got, err := c.append(nil, text, "")
		if (err == nil) != json.Valid(text) {
			t.Fatalf("%q: %v, though valid is %v", text, err, json.Valid(text))
		}
		if err != nil {
			return
		}
		again, err := c.append(nil, got, "")
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("%q became %s, and that %s (%v)", text, got, again, err)
		}
	})
}
