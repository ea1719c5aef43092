package mapping

import (
	"errors"
	"strings"
	"testing"

	"rowhook/capture"
)

// TestUntyped has a value whose type is not known be sent and flagged, and never be held against
// anything but the column's other value.
func TestUntyped(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		config   EntryConfig
		rule     RuleConfig
		old, new string
		want     string // "event", empty for no event, or why it is parked
	}{
		{"sent", EntryConfig{}, RuleConfig{}, "a", "b", "event"},
		{"changed", EntryConfig{}, RuleConfig{Changed: []string{"u"}}, "a", "b", "event"},
		{"not changed", EntryConfig{}, RuleConfig{Changed: []string{"u"}}, "a", "a", ""},
		{"set", EntryConfig{}, RuleConfig{Set: "u"}, null, "a", "event"},
		{"cleared", EntryConfig{}, RuleConfig{Cleared: "u"}, "a", null, "event"},
		{"where", EntryConfig{}, RuleConfig{Where: where("u=b")}, "a", "b", "where"},
		{"where of a NULL", EntryConfig{}, RuleConfig{Where: where("u=b")}, "a", null, ""},
		{"where it is NULL", EntryConfig{}, RuleConfig{Where: where("u=null")}, "a", "b", ""},
		{"becomes", EntryConfig{}, RuleConfig{Becomes: where("u=b")}, "a", "b", "becomes"},
		{"becomes NULL", EntryConfig{}, RuleConfig{Becomes: where("u=null")}, "a", null, "event"},
		{"if", EntryConfig{}, RuleConfig{If: "new.u == 'b'"}, "a", "b", "if"},
		{"if it does not matter", EntryConfig{}, RuleConfig{If: "new.u == 'b' or new.id == 1"}, "a", "b", "event"},
		{"ordering", EntryConfig{OrderBy: []string{"u"}}, RuleConfig{}, "a", "b", "order_by"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tbl := table("app.t", capture.IdentityFull, "id int key", "u text")
			tbl.Columns[1].Type = &capture.Type{Name: "binary", Kind: capture.Untyped, AppendJSON: func(dst, text []byte) ([]byte, bool) {
				return appendString(dst, text), false
			}}
			cfg := test.config
			cfg.Name, cfg.Events = "app.t", []EventConfig{{"t.event", []RuleConfig{test.rule}}}
			m, out := setup(t, Config{cfg}, Options{})
			if err := m.Change(&capture.Change{Op: capture.Update, Table: tbl, Old: row("1", test.old), New: row("1", test.new)}); err != nil {
				t.Fatal(err)
			}
			var undecidable *UndecidableError
			switch {
			case test.want == "event":
				if len(out.events) != 1 || len(out.failures) > 0 || strings.Contains(strings.Join(out.events[0].Flags, " "), "u") != (test.new != null || test.old != null) {
					t.Errorf("got %d events and failures %v, want one that is flagged", len(out.events), out.failures)
				}
			case test.want == "":
				if len(out.events)+len(out.failures) > 0 {
					t.Errorf("got %d events and failures %v", len(out.events), out.failures)
				}
			case len(out.failures) != 1 || !errors.As(out.failures[0].Err, &undecidable) || !undecidable.Untyped || undecidable.Clause != test.want ||
				!strings.Contains(undecidable.Error(), `the type of column "u" is not known`) || undecidable.RemedyText() != untypedRemedy:
				t.Errorf("got %d events and failures %v, want one about %s", len(out.events), out.failures, test.want)
			}
		})
	}
}
