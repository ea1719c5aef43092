package mapping

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
)

// loanMapping is the mapping of the documentation's example.
func loanMapping() Config {
	return Config{{
		Name: "circulation.loans", Title: "Loans",
		Link:    "https://ils.example.org/loans/{loan_id}?branch={branch}",
		Actor:   ActorConfig{ID: "updated_by"},
		Columns: ColumnsConfig{Exclude: []string{"updated_by"}, Rename: []ColumnRename{{"item_pid", "item_id"}}},
		Events: []EventConfig{
			{"loan.created", []RuleConfig{{Op: []string{"insert"}}}},
			{"loan.returned", []RuleConfig{{Op: []string{"update"}, Set: "returned_at"}, {Op: []string{"delete"}, Where: where("returned_at=null")}}},
			{"loan.reopened", []RuleConfig{{Op: []string{"update"}, Cleared: "returned_at"}}},
			{"loan.renewed", []RuleConfig{{Op: []string{"update"}, Changed: []string{"due_at"}, If: "new.due_at > old.due_at"}}},
			{"loan.lost", []RuleConfig{{Op: []string{"update"}, Becomes: where("status=LOST")}}},
			{"loan.deleted", []RuleConfig{{Op: []string{"delete"}}}},
			{"loan.wiped", []RuleConfig{{Op: []string{"truncate"}}}},
		},
	}}
}

func loanRow(status, due, returned, note string) capture.Row {
	return row("1000", "B 0/1", "MAIN & 本", status, due, returned, "aa010001", note)
}

// TestGoldenEvents fixes every byte of the events of a small story.
func TestGoldenEvents(t *testing.T) {
	t.Parallel()
	const due, later, back = "2026-12-01 14:00:00+00", "2026-12-08 14:00:00+00", "2026-11-22 01:02:03.12+00"
	loans := loans(capture.IdentityFull)
	m, out := setup(t, loanMapping(), Options{Context: DefaultContext()})
	open := loanRow("ACTIVE", due, null, "long")
	for i, c := range []capture.Change{
		{Op: capture.Insert, New: open},
		{Op: capture.Update, Old: open, New: loanRow("ACTIVE", later, null, unchanged)},
		{Op: capture.Update, Old: open, New: loanRow("LOST", due, back, "long")},
		{Op: capture.Update, Old: loanRow("LOST", due, back, missing), New: loanRow("ACTIVE", due, null, unchanged)},
		{Op: capture.Update, Old: row("1001", "B 0/1", "MAIN", "NEW", due, null, null, "x"), New: loanRow("LOST", due, null, "x")},
		{Op: capture.Delete, Old: open},
		{Op: capture.Truncate},
	} {
		c.Table, c.Ordinal = loans, i
		if i == 2 {
			msg := capture.Message{Prefix: "rowhook", Content: []byte(`{"actor":{"id":7,"name":"Ann"},"operation":"desk"}`)}
			if err := m.Message(&msg); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Change(&c); err != nil {
			t.Fatal(err)
		}
	}
	if len(out.failures) > 0 {
		t.Fatalf("failures: %v", out.failures[0].Err)
	}
	golden(t, "events.golden", describe(out.events))
}

// originOf is where an event comes from.
func originOf(ev *delivery.Event) (origin struct {
	Source, Table, Op, Position, Transaction string
	Seq                                      int
}) {
	origin.Source, origin.Table, origin.Op, origin.Position = ev.Source, ev.Table, ev.Op, ev.Position
	origin.Transaction, origin.Seq = ev.Transaction, ev.Ordinal
	return origin
}

// describe writes events out, a member a line.
func describe(events []*delivery.Event) string {
	var b strings.Builder
	for _, ev := range events {
		fmt.Fprintf(&b, "%s %s entry=%s title=%s time=%s\n", ev.ID, ev.Type, ev.Entry, ev.Title, ev.Time.Format("2006-01-02T15:04:05.000000Z"))
		fmt.Fprintf(&b, "  origin %+v\n  actor %+v operation=%q assumed=%v\n", originOf(ev), ev.Actor, ev.Operation, ev.Assumed)
		fmt.Fprintf(&b, "  link %s\n  key %s\n  data %s\n  previous %s\n", ev.Link, ev.Key, ev.Data, ev.Previous)
		fmt.Fprintf(&b, "  unavailable %q bigints %q flags %q\n  order %q old %q\n", ev.Unavailable, ev.Bigints, ev.Flags, ev.OrderKey, ev.OrderKeyOld)
	}
	return b.String()
}

// TestFailureKey: a change that could not be mapped has its row's key, unless the config cannot be
// trusted about it, or the row.
func TestFailureKey(t *testing.T) {
	t.Parallel()
	entry := func(edit func(*EntryConfig)) Config {
		e := EntryConfig{Name: "circulation.members", Key: []string{"member_id", "name"}, Events: []EventConfig{{"member.changed", []RuleConfig{{Changed: []string{"user_group"}}}}}}
		e.Columns = ColumnsConfig{Mask: []string{"name"}, MaskKeyFile: "k"}
		edit(&e)
		return Config{e}
	}
	hash := string(mask([]byte("0123456789abcdef"), []byte("Ann")))
	whole := row("1", "Ann", "STAFF", missing, missing)
	for _, test := range []struct {
		name string
		cfg  Config
		now  capture.Row
		want string
	}{
		{"undecidable", entry(func(*EntryConfig) {}), whole, `{"member_id":1,"name":"` + hash + `"}`},
		{"another column is missing", entry(func(e *EntryConfig) { e.OrderBy = []string{"gone"}; e.Key = []string{"member_id"} }), whole, ""},
		{"a rule's column is missing", entry(func(e *EntryConfig) { e.Where = where("gone=1"); e.Key = []string{"member_id"} }), whole, `{"member_id":1}`},
		{"a hidden column is missing", entry(func(e *EntryConfig) { e.Columns.Mask = []string{"nmae"} }), whole, ""},
		{"the key's column is missing", entry(func(e *EntryConfig) { e.Key = []string{"gone"} }), whole, ""},
		{"the key is not known", entry(func(*EntryConfig) {}), row("1", missing, "STAFF", missing, missing), ""},
		{"another row", entry(func(*EntryConfig) {}), whole[:2], ""},
	} {
		m, out := setup(t, test.cfg, Options{ReadFile: func(string) ([]byte, error) { return []byte("0123456789abcdef"), nil }})
		c := &capture.Change{Op: capture.Update, Table: memberTable(), New: test.now}
		if err := errors.Join(m.Change(c), m.End()); err != nil {
			t.Fatal(err)
		}
		if len(out.failures) != 1 || string(out.failures[0].Key) != test.want {
			t.Errorf("%s: %d failures, %+v", test.name, len(out.failures), out.failures)
		}
	}
}
