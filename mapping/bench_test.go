package mapping

import (
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// sink drops what is made.
type sink struct{ events, failures int }

func (s *sink) Event(*delivery.Event, delivery.Row) error { s.events++; return nil }
func (s *sink) Fail(*Failure) error                       { s.failures++; return nil }
func (s *sink) Notice(Notice)                             {}

// BenchmarkChange is the hot path: one change through a mapping. "events" is what each change
// makes.
func BenchmarkChange(b *testing.B) {
	const due, back = "2026-12-01 14:00:00+00", "2026-11-22 01:02:03.12+00"
	full := loans(capture.IdentityFull)
	for i := range full.Columns { // without what the source spends on its types
		plain := *full.Columns[i].Type
		if plain.AppendJSON = jsonText; plain.Kind == capture.Bigint {
			plain.AppendJSON = func(dst, text []byte) ([]byte, bool) { return append(dst, text...), true }
		}
		full.Columns[i].Type = &plain
	}
	open := loanRow("ACTIVE", due, null, "a note of ordinary length")
	closed := loanRow("ACTIVE", due, back, "a note of ordinary length")
	other := table("circulation.log", capture.IdentityDefault, "id bigint key", "line text")
	insertOnly := Config{{Name: "circulation.loans", Events: []EventConfig{{"loan.created", []RuleConfig{{Op: []string{"insert"}}}}}}}
	for _, bb := range []struct {
		name   string
		cfg    Config
		change capture.Change
		events int
	}{
		{"unmapped table", loanMapping(), capture.Change{Op: capture.Insert, Table: other, New: row("1", "x")}, 0},
		{"unwanted op", insertOnly, capture.Change{Op: capture.Update, Table: full, Old: open, New: closed}, 0},
		{"no rule fires", loanMapping(), capture.Change{Op: capture.Update, Table: full, Old: open, New: open}, 0},
		{"plain insert", Config{{Name: "circulation.loans"}}, capture.Change{Op: capture.Insert, Table: full, New: open}, 1},
		{"set fires", loanMapping(), capture.Change{Op: capture.Update, Table: full, Old: open, New: closed}, 1},
		{"if fires", one(RuleConfig{If: "new.returned_at != nil and new.due_at > old.due_at - duration('1h') and new.loan_id > 10"}),
			capture.Change{Op: capture.Update, Table: full, Old: open, New: closed}, 1},
	} {
		b.Run(bb.name, func(b *testing.B) {
			rules, err := Compile(bb.cfg, Options{Context: DefaultContext()})
			if err != nil {
				b.Fatal(err)
			}
			out := &sink{}
			m := rules.NewMapper(out, Identity{Source: "library", Lineage: "7301234567890123456"})
			m.Begin(&testTransaction)
			b.ReportAllocs()
			for b.Loop() {
				if err := m.Change(&bb.change); err != nil {
					b.Fatal(err)
				}
			}
			if out.events != bb.events*b.N || out.failures > 0 {
				b.Errorf("%d events, %d failures", out.events, out.failures)
			}
		})
	}
}
