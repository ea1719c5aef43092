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

// BenchmarkCoalesce is a transaction of four updates of one row, which become one, and of four rows,
// each with the transaction's end, beside the same without coalescing.
func BenchmarkCoalesce(b *testing.B) {
	const due = "2026-12-01 14:00:00+00"
	full := loans(capture.IdentityFull)
	for _, bb := range []struct {
		name, coalesce string
		rows, events   int
	}{{"one row, each", "", 1, 4}, {"one row, merged", "transaction", 1, 1}, {"four rows, each", "", 4, 4}, {"four rows, merged", "transaction", 4, 4}} {
		b.Run(bb.name, func(b *testing.B) {
			rules, err := Compile(Config{{Name: "circulation.loans", Coalesce: bb.coalesce}}, Options{Context: DefaultContext()})
			if err != nil {
				b.Fatal(err)
			}
			var changes []capture.Change
			for i := range 4 {
				open := loanRow("ACTIVE", due, null, "a note of ordinary length")
				open[0].Text = []byte{byte('1' + i%bb.rows)}
				changes = append(changes, capture.Change{Op: capture.Update, Table: full, Old: open, New: open, Ordinal: i})
			}
			out := &sink{}
			m := rules.NewMapper(out, Identity{Source: "library", Lineage: "7301234567890123456"})
			b.ReportAllocs()
			for b.Loop() {
				m.Begin(&testTransaction)
				for i := range changes {
					if err := m.Change(&changes[i]); err != nil {
						b.Fatal(err)
					}
				}
				if err := m.End(); err != nil {
					b.Fatal(err)
				}
			}
			if out.events != bb.events*b.N || out.failures > 0 {
				b.Errorf("%d events, %d failures", out.events, out.failures)
			}
		})
	}
}
