package mapping

import (
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// TestOneKeyOneOrderingKey: a row that is deleted and written again under a key that the database
// takes for the same has one ordering key, so that the two events keep their order.
func TestOneKeyOneOrderingKey(t *testing.T) {
	t.Parallel()
	testType := func(name string, folds bool) *capture.Type {
		of := *testTypes[name]
		of.Folds = folds
		return &of
	}
	for name, tt := range map[string]struct {
		typ         *capture.Type
		same, other []string
	}{
		"text":      {testType("text", false), []string{"Abc"}, []string{"abc", "Abc "}},
		"collation": {testType("text", true), []string{"Abc", "abc", "ABC ", "âbc", "ａｂｃ"}, []string{"abd", "ab c"}},
		"kanji":     {testType("text", true), []string{"東京", "東京 "}, []string{"京都", "東"}},
		"beyond":    {testType("text", true), []string{"🍣", "🍺", "𠮷", "\ufffd", "𐐀"}, []string{"🍣🍺", "東", "𝐀"}},
		"digits":    {testType("text", true), []string{"a0", "A𐒠", "a𝟘", "aـ0"}, []string{"a𐒡"}},
		"numeric":   {testType("numeric", false), []string{"1.5", "1.50", "1.500"}, []string{"15", "-1.5"}},
		"whole":     {testType("numeric", false), []string{"100", "100.00"}, []string{"10", "1000"}},
		"float":     {testType("float", false), []string{"0", "-0"}, []string{"1"}},
		"integer":   {testType("bigint", false), []string{"100"}, []string{"-100", "1e2x"}},
		"padded":    {testType("char", false), []string{"A", "A   "}, []string{"a"}},
		"citext":    {testType("citext", false), []string{"A@b.c", "a@B.C"}, []string{"a@b.d"}},
		"uuid":      {testType("uuid", false), []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}, []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12"}},
		"interval":  {testType("interval", false), []string{"P1M", "P30D", "PT720H"}, []string{"P31D"}},
		"jsonb":     {testType("json", false), []string{`{"a":1,"b":2}`, `{"b": 2.0, "a": 1}`}, []string{`{"a":1}`}},
		"bytes":     {&capture.Type{Name: "blob", Kind: capture.Bytes, AppendJSON: jsonText}, []string{"\xff\x00"}, []string{"\xff", "\xff\x00\x00"}},
		"not text":  {testType("text", true), []string{"\xffAb", "\xffAb "}, []string{"\xffab"}},
	} {
		of := &capture.Table{Schema: "app", Name: "t", Identity: capture.IdentityFull, Key: []int{0}, Columns: []capture.Column{{Name: "k", Type: tt.typ, Identity: true}, {Name: "n", Type: testTypes["int"], Identity: true}}}
		m, out := setup(t, Config{{Name: "app.t"}}, Options{})
		change := func(op capture.Op, before, after capture.Row) *delivery.Event {
			out.events = nil
			if err := m.Change(&capture.Change{Op: op, Table: of, Old: before, New: after}); err != nil || len(out.events) != 1 {
				t.Fatal(name, err, len(out.events))
			}
			return out.events[0]
		}
		want := change(capture.Delete, row(tt.same[0], "1"), nil)
		for _, text := range tt.same {
			if got := change(capture.Insert, nil, row(text, "1")); got.OrderKey != want.OrderKey {
				t.Errorf("%s: %q is in order by %q, and %q by %q", name, tt.same[0], want.OrderKey, text, got.OrderKey)
			}
			moved := change(capture.Update, row(tt.same[0], "1"), row(text, "2"))
			if moved.OrderKey != want.OrderKey || moved.OrderKeyOld != "" {
				t.Errorf("%s: from %q to %q: %q and %q", name, tt.same[0], text, moved.OrderKey, moved.OrderKeyOld)
			}
			if !strings.HasPrefix(moved.OrderKey, "app.t/") {
				t.Error(moved.OrderKey)
			}
		}
		for _, text := range tt.other {
			if got := change(capture.Insert, nil, row(text, "1")); got.OrderKey == want.OrderKey {
				t.Errorf("%s: %q and %q are both in order by %q", name, tt.same[0], text, want.OrderKey)
			}
			moved := change(capture.Update, row(tt.same[0], "1"), row(text, "2"))
			if moved.OrderKey == want.OrderKey || moved.OrderKeyOld != want.OrderKey {
				t.Errorf("%s: from %q to %q: %q and %q", name, tt.same[0], text, moved.OrderKey, moved.OrderKeyOld)
			}
		}
	}
}
