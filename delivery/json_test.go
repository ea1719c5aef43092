package delivery

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func FuzzAppendJSONString(f *testing.F) {
	for _, seed := range []string{"", "plain", "a\"b\\c/<>&", "\x00\x1f\x7f\b\f\n\r\t", "ä€😀", "\u2028\u2029\ufffd", "\xff\xc3", "\xe2\x80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := AppendJSONString([]byte("x"), s)
		if same := AppendJSONString([]byte("x"), []byte(s)); string(same) != string(got) {
			t.Errorf("text %q, bytes %q", got, same)
		}
		var back string
		if err := json.Unmarshal(got[1:], &back); err != nil {
			t.Fatalf("%q became %q: %v", s, got, err)
		}
		if utf8.ValidString(s) && back != s || !utf8.Valid(got) {
			t.Errorf("%q became %q", s, got)
		}
		if strings.ContainsAny(string(got), "\r\n\u2028\u2029") {
			t.Errorf("%q is more than a line", got)
		}
	})
}

func TestAppendJSONTime(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{
		{}, time.Unix(0, 0), time.Unix(1790000000, 999_999_999), time.Date(9999, 12, 31, 23, 59, 59, 1000, time.UTC),
		time.Date(2026, 1, 2, 3, 4, 5, 6000, time.FixedZone("", -5*3600)), time.Date(12026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		want := `"` + at.UTC().Format("2006-01-02T15:04:05.000000Z") + `"`
		if got := string(AppendJSONTime(nil, at)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestParseStatuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		items string
		in    []int
		out   []int
	}{
		{"200-299", []int{200, 250, 299}, []int{199, 300, 0, -5, 1000}},
		{"204", []int{204}, []int{203, 205}},
		{"5xx, 404", []int{404, 500, 599}, []int{403, 405, 499, 600}},
		{"1XX", []int{100, 199}, []int{99, 200}},
		{"100-599", []int{100, 128, 599}, []int{99, 600}},
	} {
		set, err := ParseStatuses(test.items)
		if err != nil || set.Empty() {
			t.Fatalf("%s: %v", test.items, err)
		}
		for _, code := range test.in {
			if !set.Has(code) {
				t.Errorf("%s lacks %d", test.items, code)
			}
		}
		for _, code := range test.out {
			if set.Has(code) {
				t.Errorf("%s has %d", test.items, code)
			}
		}
	}
	for _, bad := range []string{"", "20", "2000", "6xx", "0xx", "xx", "200-", "-200", "299-200", "200-600", "99-200", "two", "200,", "2x0"} {
		if _, err := ParseStatuses(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	var none StatusSet
	if !none.Empty() || none.Has(200) {
		t.Error("the zero set is not empty")
	}
}

func FuzzParseStatuses(f *testing.F) {
	f.Add("200-299,404,5xx")
	f.Fuzz(func(t *testing.T, text string) {
		if set, err := ParseStatuses(text); err == nil && set.Empty() {
			t.Errorf("%q gives an empty set", text)
		}
	})
}
