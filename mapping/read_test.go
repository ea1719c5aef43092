package mapping

import (
	"testing"
	"time"

	"rowhook/capture"
)

// TestRead: a row that was read makes the events of one entry's rules for reads, with ids that hang
// on the read alone.
func TestRead(t *testing.T) {
	t.Parallel()
	cfg := Config{
		{Name: "plain", Table: "circulation.loans"},
		{Name: "named", Table: "circulation.loans", Events: []EventConfig{
			{"loan.changed", []RuleConfig{{}}},
			{"loan.set", []RuleConfig{{Set: "returned_at"}}},
			{"loan.open", []RuleConfig{{Op: []string{"read"}, Where: where("returned_at=null")}}},
			{"loan.known", []RuleConfig{{Op: []string{"insert", "read"}, If: `old.branch == nil and row.branch == "MAIN" and op != "update"`}}},
		}},
		{Name: "deaf", Table: "circulation.loans", Events: []EventConfig{{"loan.gone", []RuleConfig{{Op: []string{"delete"}}}}}},
	}
	loans := table("circulation.loans", capture.IdentityDefault, "loan_id int key", "branch text", "returned_at text")
	at := time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)
	for _, tt := range []struct {
		name, entry string
		row         capture.Row
		want        string
		mapped      bool
	}{
		{"record.read", "plain", row("1", "MAIN", null), "record.read", true},
		{"rules for reads", "named", row("1", "MAIN", null), "loan.open loan.known", true},
		{"where", "named", row("1", "EAST", "2026-11-22"), "", true},
		{"no rule for reads", "deaf", row("1", "MAIN", null), "", true},
		{"no such entry", "gone", row("1", "MAIN", null), "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, out := setup(t, cfg, Options{})
			read := capture.Transaction{Identity: "backfill 1/1", Position: "0/16B3748", Time: at}
			mapped, err := m.Read(&read, tt.entry, loans, tt.row)
			if err != nil || mapped != tt.mapped || out.types() != tt.want {
				t.Fatalf("mapped %v, events %q, error %v", mapped, out.types(), err)
			}
			if len(out.events) == 0 {
				return
			}
			ev := out.events[0]
			if ev.Op != "read" || ev.Position != "0/16B3748" || ev.Transaction != "" || !ev.Time.Equal(at) {
				t.Errorf("origin %+v at %s", originOf(ev), ev.Time)
			}
			if want := `{"loan_id":1,"branch":"MAIN","returned_at":null}`; string(ev.Data) != want || ev.Previous != nil {
				t.Errorf("data %s, previous %s", ev.Data, ev.Previous)
			}
			if _, err := m.Read(&read, tt.entry, loans, row("1", "MAIN", null)); err != nil || out.events[len(out.events)-len(out.events)/2].ID != ev.ID {
				t.Errorf("the second read's id differs: %v", err)
			}
		})
	}
}
