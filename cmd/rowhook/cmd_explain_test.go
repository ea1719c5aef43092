package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
)

// explanationAt is what became of changes, of every kind.
func explanationAt(zone *time.Location) *operation.Explanation {
	at := time.Date(2026, 11, 22, 10, 0, 0, 123e6, zone)
	late, secret, seven := "LATE", "0c995d0b63ab6c965d0862468edc0d8d", "7"
	folded := func(f operation.ExplainedFolded) *operation.ExplainedFolded {
		f.Put()
		return &f
	}
	listed := func(l operation.ExplainedList) operation.ExplainedList {
		l.Put()
		return l
	}
	lookedUp := func(l operation.ExplainedLookup) operation.ExplainedLookup {
		l.Put()
		return l
	}
	rule := func(r operation.ExplainedRule) operation.ExplainedRule {
		r.Put("update")
		return r
	}
	return &operation.Explanation{
		More: true,
		Changes: []operation.ExplainedChange{
			{
				Time: at, Transaction: "742", Position: "0/193D850", Op: "insert", Entry: "circulation.loans", Table: "circulation.loans",
				Actor: &delivery.Actor{ID: "aa010001", Name: "Mina"}, Operation: "web_form", From: "account", Key: json.RawMessage(`{"loan_id":1000}`),
				Rules: []operation.ExplainedRule{
					rule(operation.ExplainedRule{Event: "loan.created", Rule: "loan.created", Standing: operation.StandingHolds}),
					rule(operation.ExplainedRule{Event: "loan.returned", Rule: "loan.returned", Standing: operation.StandingOtherOp, Ops: []string{"update"}}),
				},
				Events: []operation.ExplainedEvent{{ID: "evt_1", Type: "loan.created", Profiles: []operation.ExplainedProfile{
					{Profile: "archive", Match: "no", Why: "type"},
					{Profile: "branch", Match: "no", Why: "where", Value: &operation.ExplainedValue{Column: "status", Value: &late}},
					{Profile: "desk", Match: "yes", State: "delivered", Earlier: 7, Attempts: []operation.ExplainedAttempt{
						{Time: at.Add(time.Second), Outcome: "retrying", Attempt: 8, Status: 503, DurationMS: 12.3, Reason: "status_5xx", Error: "503 Service Unavailable"},
						{Time: at.Add(2 * time.Second), Outcome: "delivered", Attempt: 9, Round: 2, Status: 200, DurationMS: 3, Group: "grp_1", Count: 20},
					}},
					{Profile: "web", Match: "no", Why: "operation"},
					{Profile: "lost", Match: "yes"},
					{Profile: "blind", Match: "undecided", Why: "where", Value: &operation.ExplainedValue{Column: "branch", Unknown: true}},
				}}},
			},
			{
				Time: at.Add(time.Minute), Transaction: "743", Position: "0/193D8F0", Ordinal: 1, Op: "update", Entry: "circulation.loans", Table: "circulation.loans", Moved: true, From: "account",
				Rules: []operation.ExplainedRule{
					rule(operation.ExplainedRule{Rule: "loan.returned", Standing: operation.StandingFails, Clause: "set returned_at", Columns: []string{"returned_at"}, Reason: "is_null", Values: []operation.ExplainedValue{{Column: "returned_at"}}}),
					rule(operation.ExplainedRule{Rule: "loan.ended", Standing: operation.StandingFails, Clause: "becomes status: DONE", Columns: []string{"status"}, Reason: "other_value", Values: []operation.ExplainedValue{{Column: "status", Value: &late, Cut: true}}}),
					rule(operation.ExplainedRule{Rule: "loan.moved", Standing: operation.StandingFails, Clause: "changed branch, desk", Columns: []string{"branch", "desk"}, Reason: "unchanged"}),
					rule(operation.ExplainedRule{Rule: "loan.kept", Standing: operation.StandingFails, Clause: "becomes status: LATE", Columns: []string{"status"}, Reason: "held_before", Old: true}),
					rule(operation.ExplainedRule{Rule: "loan.set", Standing: operation.StandingFails, Clause: "set due_at", Columns: []string{"due_at"}, Reason: "was_set", Old: true, Values: []operation.ExplainedValue{{Column: "due_at", Withheld: true}}}),
					rule(operation.ExplainedRule{Rule: "loan.cleared", Standing: operation.StandingFails, Clause: "cleared note", Columns: []string{"note"}, Reason: "was_null", Old: true}),
					rule(operation.ExplainedRule{Rule: "loan.still", Standing: operation.StandingFails, Clause: "cleared note", Columns: []string{"note"}, Reason: "is_set", Values: []operation.ExplainedValue{{Column: "note", Value: &secret, Masked: true}}}),
					rule(operation.ExplainedRule{Rule: "loan.same", Standing: operation.StandingFails, Clause: "set note", Columns: []string{"note"}, Reason: "unchanged"}),
					rule(operation.ExplainedRule{Rule: "loan.delete", Standing: operation.StandingFails, Clause: "set note", Columns: []string{"note"}, Reason: "wrong_op"}),
					rule(operation.ExplainedRule{Rule: "loan.if", Standing: operation.StandingFails, Clause: "if new.status == old.status", Reason: "false", Values: []operation.ExplainedValue{{Column: "new.status", Value: &late}, {Column: "old.status"}}}),
					rule(operation.ExplainedRule{Rule: "loan.bare", Standing: operation.StandingFails, Clause: "where status: DONE", Columns: []string{"status"}, Reason: "other_value"}),
					rule(operation.ExplainedRule{Rule: "loan.old", Standing: operation.StandingUndecided, Clause: "set returned_at", Columns: []string{"returned_at"}, Reason: "unknown", Old: true, Values: []operation.ExplainedValue{{Column: "returned_at", Unknown: true}}}),
					rule(operation.ExplainedRule{Rule: "loan.untyped", Standing: operation.StandingUndecided, Clause: "where kind: A", Columns: []string{"kind"}, Reason: "untyped"}),
					rule(operation.ExplainedRule{Rule: "loan.bad", Standing: operation.StandingUndecided, Clause: "if row.x > 1", Reason: "fault"}),
					rule(operation.ExplainedRule{Rule: "loan.next", Standing: operation.StandingNotAsked}),
				},
				Parked: &operation.ExplainedParked{Number: 17, Reason: "undecidable", Error: "map circulation.loans: rule loan.old"},
			},
			{
				Time: at.Add(2 * time.Minute), Transaction: "744", Position: "0/193D9A0", Op: "update", Entry: "late", Table: "circulation.loans", From: "account",
				About: &operation.ExplainedRule{Standing: operation.StandingFails, Clause: "where status: LATE", Text: `where status: LATE: status is "DONE"`},
				Rules: []operation.ExplainedRule{rule(operation.ExplainedRule{Rule: "late.again", Standing: operation.StandingNotAsked})},
			},
			{
				Time: at.Add(150 * time.Second), Op: "update", Entry: "late", Table: "circulation.loans", From: "account",
				About:  &operation.ExplainedRule{Standing: operation.StandingUndecided, Clause: "where status: LATE", Text: `where status: LATE: the stream did not carry the value of status`},
				Rules:  []operation.ExplainedRule{rule(operation.ExplainedRule{Rule: "late.again", Standing: operation.StandingOtherOp, Ops: []string{"insert"}})},
				Parked: &operation.ExplainedParked{Reason: "undecidable", Error: "map circulation.loans"},
				Events: []operation.ExplainedEvent{{ID: "evt_2", Type: "late.made", Unsearched: true, Profiles: []operation.ExplainedProfile{{Profile: "desk", Match: "yes"}}}},
			},
			{Time: at.Add(3 * time.Minute), From: "log", Position: "0/193DA00", Table: "circulation.loans", Parked: &operation.ExplainedParked{Profile: "desk", Reason: "unmapped"}},
			{
				Time: at.Add(4 * time.Minute), Transaction: "745", Position: "0/193DB00", Ordinal: 5, Op: "insert", Entry: "circulation.loans", Table: "circulation.loans", From: "account",
				Folded: folded(operation.ExplainedFolded{Count: 40, Changes: []operation.ExplainedPart{{Op: "insert", Ordinal: 1}, {Op: "update", Ordinal: 2}, {Op: "update", Ordinal: 5}}}),
				Lookups: []operation.ExplainedLookup{
					lookedUp(operation.ExplainedLookup{Name: "member", Table: "circulation.members", Standing: operation.LookupFound, By: []operation.ExplainedValue{{Column: "member_id", Value: &seven}}, Values: []operation.ExplainedValue{{Column: "member.name", Value: &secret, Masked: true}, {Column: "member.branch"}}}),
					lookedUp(operation.ExplainedLookup{Name: "item", Table: "catalog.items", Standing: operation.LookupNone, By: []operation.ExplainedValue{{Column: "item_pid", Value: &seven}}}),
					lookedUp(operation.ExplainedLookup{Name: "holding", Table: "catalog.holdings", Standing: operation.LookupNull, By: []operation.ExplainedValue{{Column: "item.holding_id"}}}),
					lookedUp(operation.ExplainedLookup{Name: "desk", Table: "app.desks", Standing: operation.LookupUnknown}),
					lookedUp(operation.ExplainedLookup{Name: "place", Table: "app.places", Standing: operation.LookupFound}),
				},
				Parts: []operation.ExplainedList{
					listed(operation.ExplainedList{Name: "fines", Table: "circulation.fines", Standing: operation.ListWhole, Rows: 1, By: []operation.ExplainedValue{{Column: "loan_id", Value: &seven}}}),
					listed(operation.ExplainedList{Name: "notes", Table: "circulation.notes", Standing: operation.ListCut, Rows: 100}),
					listed(operation.ExplainedList{Name: "tags", Table: "app.tags", Standing: operation.ListUnknown, By: []operation.ExplainedValue{{Column: "loan_id", Value: &seven}, {Column: "pos", Unknown: true}}}),
				},
				Parked: &operation.ExplainedParked{Number: 19, Reason: "undecidable", Changes: 40},
			},
			{
				Time: at.Add(4 * time.Minute), Transaction: "745", Position: "0/193DB00", Ordinal: 8, Op: "delete", Entry: "circulation.loans", Table: "circulation.loans", From: "account",
				Folded: folded(operation.ExplainedFolded{Count: 2, Nothing: true, Changes: []operation.ExplainedPart{{Op: "insert", Ordinal: 7}, {Op: "delete", Ordinal: 8}}}),
			},
		},
		Perhaps: []operation.ExplainedChange{
			{Time: at, Transaction: "741", Position: "0/193D700", Ordinal: 3, Table: "circulation.loans", From: "account", Parked: &operation.ExplainedParked{Number: 20, Reason: "undecoded", Error: "the row has 3 values"}},
			{Time: at, Transaction: "742", Position: "0/193D800", From: "account", Parked: &operation.ExplainedParked{Reason: "undecoded"}},
		},
		History: operation.ExplainedHistory{Changes: at.Add(-time.Hour), Events: at.Add(-2 * time.Hour), Deliveries: at.Add(-3 * time.Hour), Partly: true},
		LeftOut: []operation.ExplainedLack{{Entry: "circulation.loans", From: at, To: at.Add(time.Second), Events: 3, Eventless: 400}, {Entry: "late", From: at.Add(30 * time.Second), To: at.Add(31 * time.Second), Eventless: 7},
			{Entry: "late", From: at.Add(time.Hour), To: at.Add(time.Hour), Eventless: 2}, {From: at.Add(time.Minute), To: at.Add(2 * time.Minute), Events: 1}},
		Unclean: []time.Time{at.Add(-time.Minute)}, Unkeyed: 5, Undecided: 6, Damaged: 1, Unsearched: 9, ParkedUnkeyed: 8,
	}
}

// TestExplanationPrinted holds the text for people and the JSON.
func TestExplanationPrinted(t *testing.T) {
	t.Parallel()
	var out, messages, asJSON bytes.Buffer
	if err := printExplanation(&out, &messages, explanationAt(time.Local)); err != nil {
		t.Fatal(err)
	}
	if err := printJSON(&asJSON, explanationAt(time.UTC)); err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]string{"text.golden": out.String() + "\n" + messages.String(), "json.golden": asJSON.String()} {
		path := filepath.Join("testdata", "explain", name)
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s differs:\n%s", path, got)
		}
	}
	var back operation.Explanation
	if err := json.Unmarshal(asJSON.Bytes(), &back); err != nil || len(back.Changes) != 7 || len(back.Perhaps) != 2 {
		t.Errorf("read back: %v", err)
	}
}

// TestExplainWithoutAgent: what the spool and the delivery log know is told, also without an agent
// and without an account.
func TestExplainWithoutAgent(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		w := newRepairWorld(t, running)
		delivered := w.run(t, "explain", "circulation.loans", "loan_id=1")
		if delivered.code != exitDone || strings.Count(delivered.out, "    desk  delivered\n") != 2 || strings.Count(delivered.out, "    desk  dead\n") != 1 || !strings.Contains(delivered.out, "404") {
			t.Errorf("exit %d\n%s%s", delivered.code, delivered.out, delivered.err)
		}
		waits := w.run(t, "explain", "circulation.loans", "loan_id=2")
		if waits.code != exitDone || !strings.Contains(waits.out, "    desk  retrying\n") || !strings.Contains(waits.out, "    desk  blocked\n") {
			t.Errorf("exit %d\n%s", waits.code, waits.out)
		}
		if !strings.Contains(waits.err, "nothing is kept of events that were delivered.") || !strings.Contains(waits.err, "nothing is kept of attempts.") {
			t.Errorf("messages:\n%s", waits.err)
		}
		one := w.run(t, "explain", "--event", "evt_b", "--json")
		var told operation.Explanation
		if err := json.Unmarshal([]byte(one.out), &told); err != nil || len(told.Changes) != 1 || told.Changes[0].Events[0].Profiles[0].State != "dead" {
			t.Errorf("%v\n%s", err, one.out)
		}
		for args, want := range map[string]string{
			"--event evt_b circulation.loans loan_id=1": "--event takes the place", "": "missing the mapping entry", "circulation.loans": "missing the row's key",
			"circulation.loans loan_id": "is no COLUMN=VALUE", "circulation.loans loan_id=1 --since yesterday": "is no time", "circulation.loans loan_id=1 --limit -1": "expected a number", "catalog.itms id=1": "did you mean",
		} {
			if got := w.run(t, append([]string{"explain"}, strings.Fields(args)...)...); got.code != exitUsage || !strings.Contains(got.err, want) {
				t.Errorf("explain %s: exit %d: %s", args, got.code, got.err)
			}
		}
	}
}
