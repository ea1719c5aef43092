package mapping

import (
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// TestOmittedColumns has check find what needs a column of updates and deletes that come without
// it, and only that.
func TestOmittedColumns(t *testing.T) {
	t.Parallel()
	const remedy = "use n"
	tbl := table("app.t", capture.IdentityFull, "id int key", "n int", "s int")
	tbl.Columns[2].Omitted = remedy
	insert, update := []string{"insert"}, []string{"update"}
	for _, test := range []struct {
		name   string
		config EntryConfig
		rule   RuleConfig
		found  bool
	}{
		{"another column", EntryConfig{}, RuleConfig{Where: where("n=1"), Changed: []string{"n"}}, false},
		{"where, on inserts", EntryConfig{}, RuleConfig{Op: insert, Where: where("s=1")}, false},
		{"where", EntryConfig{}, RuleConfig{Op: update, Where: where("s=1")}, true},
		{"if", EntryConfig{}, RuleConfig{Op: update, If: "new.s > 100"}, true},
		{"changed", EntryConfig{}, RuleConfig{Changed: []string{"s"}}, true},
		{"becomes", EntryConfig{}, RuleConfig{Becomes: where("s=1")}, true},
		{"set", EntryConfig{}, RuleConfig{Set: "s"}, true},
		{"entry's where", EntryConfig{Where: where("s=1")}, RuleConfig{}, true},
		{"key", EntryConfig{Key: []string{"s"}}, RuleConfig{}, true},
		{"order_by", EntryConfig{OrderBy: []string{"s"}}, RuleConfig{}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cfg := test.config
			cfg.Name, cfg.Events = "app.t", []EventConfig{{"t.event", []RuleConfig{test.rule}}, {"t.any", []RuleConfig{{Op: update}}}}
			rules, err := Compile(Config{cfg}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			found := rules.Check(tbl, nil)
			if !test.found {
				if len(found) > 0 {
					t.Errorf("found %+v", found)
				}
				return
			}
			if len(found) != 1 || found[0].Severity != capture.Error || found[0].Code != "row_image" || found[0].Remedy != remedy ||
				!strings.Contains(found[0].Text, `"s"`) {
				t.Errorf("found %+v", found)
			}
		})
	}
}

// TestOmittedAtRunTime parks a rule's decision with the remedy that there is, while the entry's
// other events are made.
func TestOmittedAtRunTime(t *testing.T) {
	t.Parallel()
	tbl := table("app.t", capture.IdentityFull, "id int key", "n int", "s int")
	tbl.Columns[2].Omitted, tbl.WholeRows = "use n", "SET GLOBAL binlog_row_image = FULL"
	m, out := setup(t, Config{{Name: "app.t", Events: []EventConfig{
		{"s.changed", []RuleConfig{{Changed: []string{"s"}}}}, {"t.any", []RuleConfig{{Op: []string{"update"}}}}}}}, Options{})
	if err := m.Change(&capture.Change{Op: capture.Update, Table: tbl, Old: row("1", "1", missing), New: row("1", "2", missing)}); err != nil {
		t.Fatal(err)
	}
	if out.types() != "t.any" || len(out.failures) != 1 || out.failures[0].Reason != delivery.OutcomeUndecidable {
		t.Fatalf("events %q, failures %+v", out.types(), out.failures)
	}
	if remedy, ok := out.failures[0].Err.(interface{ RemedyText() string }); !ok || remedy.RemedyText() != "use n" {
		t.Errorf("failure %v", out.failures[0].Err)
	}
}
