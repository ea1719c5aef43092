package capture

import (
	"slices"
	"testing"
)

// TestCheckedLabels: what the servers write for a list of values is read, and nothing else is taken
// for one.
func TestCheckedLabels(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		sql, column string
		want        []string
	}{
		{`CHECK ((status = ANY (ARRAY['OPEN'::text, 'RETURNED'::text])))`, "status", []string{"OPEN", "RETURNED"}},
		{`CHECK (((status)::text = ANY ((ARRAY['OPEN'::character varying, 'it''s'::character varying])::text[])))`, "status", []string{"OPEN", "it's"}},
		{`CHECK (((status)::text = ANY (ARRAY[('OPEN'::character varying)::text, ('LOST'::character varying)::text])))`, "status", []string{"OPEN", "LOST"}},
		{`CHECK ((status = 'OPEN'::bpchar))`, "status", []string{"OPEN"}},
		{`CHECK (((status = 'OPEN'::text) OR (status = 'LOST'::text)))`, "status", []string{"OPEN", "LOST"}},
		{`CHECK (("Odd ""Name" = ANY (ARRAY['a,b'::"Sch"."Type", 'c'::"Sch"."Type"])))`, `"Odd ""Name"`, []string{"a,b", "c"}},
		{`CHECK ((VALUE = ANY (ARRAY['貸出'::text, '返却'::text])))`, "VALUE", []string{"貸出", "返却"}},
		{"(`status` in (_utf8mb4'OPEN',_utf8mb4'LOST'))", "`status`", []string{"OPEN", "LOST"}},
		{"CHECK (`status` in ('OPEN','LOST'))", "`status`", []string{"OPEN", "LOST"}},
		{"CHECK (`status` = 'OPEN' or `status` = 'LOST')", "`status`", []string{"OPEN", "LOST"}},
		{`CHECK ((status <> 'OPEN'::text))`, "status", nil},
		{`CHECK ((other = ANY (ARRAY['OPEN'::text])))`, "status", nil},
		{`CHECK (((status = 'OPEN'::text) AND (status = 'LOST'::text)))`, "status", nil},
		{`CHECK (((status = 'OPEN'::text) OR (renewals = 1)))`, "status", nil},
		{`CHECK ((length(status) = 3))`, "status", nil},
		{`CHECK ((status = ANY (ARRAY[1, 2])))`, "status", nil},
		{"CHECK (`status` in ('a\\\\b'))", "`status`", nil},
		{"CHECK (`status` not in ('OPEN'))", "`status`", nil},
		{"CHECK (`status` in ('OPEN'", "`status`", []string{"OPEN"}},
		{"CHECK (`status` in ('OPEN", "`status`", nil},
		{`CHECK ((status = ANY (ARRAY[]::text[])))`, "status", nil},
		{``, "", nil},
	} {
		if got := CheckedLabels(test.sql, test.column); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.sql, got, test.want)
		}
	}
}

// FuzzCheckedLabels: whatever a constraint says, reading it ends.
func FuzzCheckedLabels(f *testing.F) {
	f.Add(`CHECK (((status)::text = ANY ((ARRAY['OPEN'::character varying(3), 'it''s'::"A"."b"])::text[])))`, "status")
	f.Add("(`status` in (_utf8mb4'OPEN',_utf8mb4'LOST'))", "`status`")
	f.Fuzz(func(t *testing.T, sql, column string) {
		for _, label := range CheckedLabels(sql, column) {
			if len(label) > len(sql) {
				t.Errorf("a label of %d bytes out of %d", len(label), len(sql))
			}
		}
	})
}
