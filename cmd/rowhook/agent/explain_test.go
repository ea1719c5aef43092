package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/cmd/rowhook/config"
	"rowhook/cmd/rowhook/control"
	"rowhook/cmd/rowhook/operation"
	"rowhook/delivery"
	"rowhook/mapping"
)

const explainConfig = `source: {type: postgres, url: "postgres://rowhook@127.0.0.1/library"}
mapping:
  loans:
    table: circulation.loans
    columns: {rename: {loan_id: id}, mask: [note], mask_key_file: mask.key}
    events:
      loan.created: {op: insert}
      loan.ended: {op: update, where: {status: DONE}}
  notes:
    table: circulation.notes
    key: [note]
    columns: {mask: [note], mask_key_file: mask.key}
profiles:
  desk: {url: http://127.0.0.1:1/, signature: none, allow_networks: [loopback]}
  branch: {url: http://127.0.0.1:1/, signature: none, allow_networks: [loopback], unit: batch}
`

// explainWorld is a workspace of which an account is kept, as a pipeline does.
type explainWorld struct {
	*workspace
	t      *testing.T
	mapper *mapping.Mapper
	loans  *capture.Table
	notes  *capture.Table
	tx     capture.Transaction
	n      int
	events []*delivery.Event
	kept   bool // events go to the account
}

func newExplainWorld(t *testing.T, edits ...func(*config.Config)) *explainWorld {
	t.Helper()
	c := writeWith(t, explainConfig, map[string]string{"mask.key": "0123456789abcdef"})
	c.Spool.Reserve = -1
	for _, edit := range edits {
		edit(c)
	}
	s, err := openWorkspace(c, testOptions(), false)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	number := &capture.Type{Name: "bigint", Kind: capture.Bigint, AppendJSON: func(dst, v []byte) ([]byte, bool) { return append(dst, v...), true }}
	words := &capture.Type{Name: "text", Kind: capture.Text, AppendJSON: func(dst, v []byte) ([]byte, bool) { return delivery.AppendJSONString(dst, string(v)), true }}
	w := &explainWorld{workspace: s, t: t, kept: true,
		loans: &capture.Table{Schema: "circulation", Name: "loans", Identity: capture.IdentityFull, Key: []int{0}, Columns: []capture.Column{
			{Name: "loan_id", Type: number, Identity: true}, {Name: "status", Type: words, Identity: true}, {Name: "note", Type: words, Identity: true},
		}},
		notes: &capture.Table{Schema: "circulation", Name: "notes", Identity: capture.IdentityFull, Key: []int{0}, Columns: []capture.Column{
			{Name: "note", Type: words, Identity: true},
		}},
	}
	w.openAccount()
	w.mapper = c.Rules().NewMapper(w, mapping.Identity{Source: "library", Lineage: "7"})
	w.mapper.Watch(w)
	return w
}

func (w *explainWorld) Watch(e *mapping.Watched) mapping.Observer {
	return w.account.Watch(e, func(string) ([]string, []bool) { return []string{"desk", "branch"}, []bool{false, false} })
}

func (w *explainWorld) Event(ev *delivery.Event, row delivery.Row) error {
	w.events = append(w.events, ev)
	if w.kept && w.account.Wants() {
		w.account.Routed(ev, []delivery.Matching{{Answer: delivery.True}, {Answer: delivery.True}})
	}
	return nil
}

func (w *explainWorld) Fail(*mapping.Failure) error { return nil }
func (w *explainWorld) Notice(mapping.Notice)       {}

// change maps a change in a transaction of its own, and spools what comes of it.
func (w *explainWorld) change(table *capture.Table, op capture.Op, old, now []string) {
	w.t.Helper()
	w.n++
	w.tx = capture.Transaction{ID: fmt.Sprint(w.n), Identity: fmt.Sprint(w.n), Position: capture.Position(fmt.Sprintf("0/%X", 16*w.n)), Time: time.Date(2026, 11, 22, 10, w.n, 0, 0, time.UTC)}
	row := func(values []string) (r capture.Row) {
		for _, v := range values {
			r = append(r, capture.Value{State: capture.Present, Text: []byte(v)})
		}
		return r
	}
	made := len(w.events)
	w.account.Begin(&w.tx)
	w.mapper.Begin(&w.tx)
	must(w.t, w.mapper.Change(&capture.Change{Op: op, Table: table, Old: row(old), New: row(now), Ordinal: 3}))
	must(w.t, w.mapper.End())
	var to []delivery.ProfileID
	for _, code := range []string{"desk", "branch"} {
		id, err := w.spool.Register(code)
		must(w.t, err)
		to = append(to, id)
	}
	batch := w.spool.NewBatch()
	for _, ev := range w.events[made:] {
		batch.Add(ev, to)
	}
	batch.Commit(string(w.tx.Position))
	must(w.t, w.spool.Apply(batch))
}

// logged writes a line of the delivery log about an event.
func (w *explainWorld) logged(ev *delivery.Event, profile string, outcome delivery.Outcome) {
	w.log.Append(&delivery.LogRecord{Time: ev.Time.Add(time.Second), Profile: profile, Outcome: outcome, Event: ev.ID, Type: ev.Type, Table: ev.Table, Key: ev.Key, Status: 200, Attempt: 1})
	must(w.t, w.log.Flush())
}

func (w *explainWorld) ask(r operation.ExplainRequest) *operation.Explanation {
	w.t.Helper()
	w.account.Settle()
	w.account.Flush()
	told, err := w.explain(w.t.Context(), r)
	must(w.t, err)
	return told
}

func row(entry string, parts ...string) operation.ExplainRequest {
	r := operation.ExplainRequest{Entry: entry}
	for _, part := range parts {
		name, value, _ := strings.Cut(part, "=")
		r.Key = append(r.Key, operation.KeyPart{Name: name, Value: value})
	}
	return r
}

// told is what became of each change in short.
func told(x *operation.Explanation) string {
	var lines []string
	for _, c := range x.Changes {
		line := fmt.Sprintf("%s %s", c.From, c.Op)
		for _, r := range c.Rules {
			line += fmt.Sprintf(" %s=%s", r.Rule, r.Standing)
		}
		for _, e := range c.Events {
			line += " [" + e.Type
			for _, p := range e.Profiles {
				line += fmt.Sprintf(" %s:%s:%d", p.Profile, p.State, len(p.Attempts))
			}
			line += "]"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestExplainRow(t *testing.T) {
	t.Parallel()
	w := newExplainWorld(t)
	w.change(w.loans, capture.Insert, nil, []string{"7", "ACTIVE", "a"})
	w.change(w.loans, capture.Insert, nil, []string{"8", "ACTIVE", "a"})
	w.change(w.loans, capture.Update, []string{"7", "ACTIVE", "a"}, []string{"7", "LATE", "a"})
	w.kept = false // as when there were too many at once
	w.change(w.loans, capture.Update, []string{"7", "LATE", "a"}, []string{"7", "DONE", "a"})
	w.logged(w.events[0], "desk", delivery.OutcomeRetrying)
	w.logged(w.events[0], "desk", delivery.OutcomeDelivered)
	w.logged(&delivery.Event{Making: &delivery.Making{Type: "loan.created", Table: "circulation.loans"}, Commit: &delivery.Commit{Time: time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)}, ID: "evt_gone", Key: []byte(`{"id":7}`)}, "desk", delivery.OutcomeDead)
	w.logged(&delivery.Event{Making: &delivery.Making{Type: "loan.created", Table: "circulation.loans"}, Commit: &delivery.Commit{}, ID: "evt_other", Key: []byte(`{"id":71}`)}, "desk", delivery.OutcomeDead)
	group := delivery.LogRecord{Time: time.Date(2026, 11, 22, 11, 0, 0, 0, time.UTC), Profile: "branch", Outcome: delivery.OutcomeDelivered, Unit: "batch", Event: "grp_1", Count: 3,
		First: w.events[0].ID, Last: w.events[2].ID, Status: 200, Attempt: 1,
		Body: fmt.Appendf(nil, `{"events":[{"id":%q},{"id":%q},{"id":%q}]}`, w.events[0].ID, w.events[1].ID, w.events[2].ID)}
	w.log.Append(&group)
	must(t, w.log.Flush())
	const want = `log  [loan.created desk:dead:1]
account insert loan.created=holds loan.ended=other_op [loan.created branch:delivered:1 desk:delivered:2]
account update loan.created=other_op loan.ended=fails
account update loan.created=other_op loan.ended=holds [loan.ended branch:delivered:1 desk:pending:0]`
	for _, r := range []operation.ExplainRequest{row("loans", "id=7"), row("loans", "loan_id=7"), row("circulation.loans", "id=7")} {
		x := w.ask(r)
		if got := told(x); got != want {
			t.Errorf("%v:\n%s\nwant\n%s", r.Key, got, want)
		}
		first := time.Date(2026, 11, 22, 10, 1, 0, 0, time.UTC)
		if h := x.History; !h.Changes.Before(time.Now()) || !h.Events.Equal(first) || h.Deliveries.IsZero() || h.Off || h.Partly {
			t.Errorf("history is %+v", h)
		}
	}
	some := row("loans", "id=7")
	some.Most = 2
	if x := w.ask(some); len(x.Changes) != 2 || !x.More || x.Changes[1].Events[0].Type != "loan.ended" {
		t.Errorf("the newest two, more %v:\n%s", x.More, told(x))
	}
	late := row("loans", "id=7")
	late.Since = time.Date(2026, 11, 22, 10, 3, 30, 0, time.UTC)
	if x := w.ask(late); len(x.Changes) != 1 || x.Changes[0].Position != "0/40" {
		t.Errorf("the newest by time:\n%s", told(x))
	}
	one := w.ask(operation.ExplainRequest{Event: w.events[2].ID})
	if len(one.Changes) != 1 || string(one.Changes[0].Key) != `{"id":7}` || one.Changes[0].Ordinal != 3 || one.Changes[0].Transaction != "4" {
		t.Errorf("by its event:\n%s", told(one))
	}
	if gone := w.ask(operation.ExplainRequest{Event: "evt_gone"}); told(gone) != "log  [loan.created desk:dead:1]" {
		t.Errorf("by an event that only the log knows:\n%s", told(gone))
	}
	if none := w.ask(operation.ExplainRequest{Event: "evt_never"}); len(none.Changes) != 0 {
		t.Errorf("by an event that never was:\n%s", told(none))
	}
	quick := row("loans", "id=7")
	quick.Within = time.Nanosecond
	if x := w.ask(quick); !x.History.Partly || len(x.Changes) < 2 {
		t.Errorf("in no time, partly %v:\n%s", x.History.Partly, told(x))
	}
}

// TestExplainMaskedKey: a row whose key is masked is found by its value, and by what is sent for it.
func TestExplainMaskedKey(t *testing.T) {
	t.Parallel()
	w := newExplainWorld(t)
	w.change(w.notes, capture.Insert, nil, []string{"a secret"})
	hash, ok := w.config().Rules().Masked("notes", "note", "a secret")
	if !ok {
		t.Fatal("the key is not masked")
	}
	for _, value := range []string{"a secret", hash} {
		x := w.ask(row("notes", "note="+value))
		if len(x.Changes) != 1 || string(x.Changes[0].Key) != `{"note":"`+hash+`"}` {
			t.Errorf("by %q:\n%s", value, told(x))
		}
	}
}

// TestExplainGroupOfSpool: which events a group carried that its line does not tell, the spool does.
func TestExplainGroupOfSpool(t *testing.T) {
	t.Parallel()
	w := newExplainWorld(t)
	for i := range 4 {
		w.change(w.loans, capture.Insert, nil, []string{fmt.Sprint(7 + i), "ACTIVE", "a"})
	}
	var id delivery.GroupID
	for _, ev := range w.events[:3] {
		id.Add(ev.ID)
	}
	sum := id.Sum()
	w.log.Append(&delivery.LogRecord{Time: time.Now(), Profile: "branch", Outcome: delivery.OutcomeDelivered, Unit: "batch", Event: sum, Count: 3,
		First: w.events[0].ID, Last: w.events[2].ID, Status: 200, Attempt: 1})
	w.log.Append(&delivery.LogRecord{Time: time.Now(), Profile: "branch", Outcome: delivery.OutcomeDelivered, Unit: "batch", Event: "grp_gone", Count: 3, First: "evt_x", Last: "evt_y"})
	must(t, w.log.Flush())
	inside := w.ask(row("loans", "id=8")).Changes[0].Events[0].Profiles
	outside := w.ask(row("loans", "id=10")).Changes[0].Events[0].Profiles
	branch := func(p operation.ExplainedProfile) bool { return p.Profile == "branch" }
	if p := inside[slices.IndexFunc(inside, branch)]; p.State != "delivered" || len(p.Attempts) != 1 || p.Attempts[0].Group != sum || p.Attempts[0].Count != 3 {
		t.Errorf("inside: %+v", p)
	}
	if p := outside[slices.IndexFunc(outside, branch)]; len(p.Attempts) != 0 {
		t.Errorf("outside: %+v", p)
	}
	if x := w.ask(row("loans", "id=8")); x.Undecided != 1 {
		t.Errorf("%d lines are about groups that nobody knows", x.Undecided)
	}
}

// TestExplainParked: a change that was read past is the row's, with its number.
func TestExplainParked(t *testing.T) {
	t.Parallel()
	w := newExplainWorld(t)
	w.change(w.loans, capture.Update, []string{"7", "ACTIVE", "a"}, []string{"7", "LATE", "a"})
	w.account.Passed(&delivery.Parked{Table: "circulation.loans", Ordinal: 5, Reason: "undecoded"}) // discarded since
	w.account.Passed(&delivery.Parked{Table: "circulation.loans", Ordinal: 6, Reason: "oversize", Key: []byte(`{"id":7}`)})
	w.account.Passed(&delivery.Parked{Table: "circulation.notes", Ordinal: 7, Reason: "undecoded"})
	batch := w.spool.NewBatch()
	batch.Park(&delivery.Parked{Table: "circulation.loans", Reason: "undecoded", Transaction: "1", Position: "0/10", Ordinal: 8, Time: w.tx.Time})
	w.account.Passed(&delivery.Parked{Table: "circulation.loans", Ordinal: 8, Reason: "undecoded"}) // not yet
	batch.Park(&delivery.Parked{Table: "circulation.loans", Entry: "loans", Reason: "unmapped", Transaction: "1", Position: "0/10", Ordinal: 3, Time: w.tx.Time})
	batch.Park(&delivery.Parked{Table: "circulation.loans", Entry: "loans", Reason: "oversize", Size: 1 << 30, Key: []byte(`{"id":7}`), Transaction: "9", Position: "0/90", Time: w.tx.Time.Add(time.Minute)})
	batch.Park(&delivery.Parked{Table: "circulation.loans", Reason: "oversize", Size: 1 << 30, Key: []byte(`{"id":7}`), Transaction: "10", Position: "0/A0", Time: w.tx.Time.Add(time.Hour)})
	batch.Park(&delivery.Parked{Table: "circulation.loans", Entry: "loans", Reason: "undecidable", Transaction: "8", Position: "0/80", Time: w.tx.Time})
	batch.Park(&delivery.Parked{Table: "circulation.loans", Reason: "undecoded", Transaction: "8", Position: "0/80", Ordinal: 1, Time: w.tx.Time})
	batch.Park(&delivery.Parked{Table: "circulation.notes", Entry: "notes", Reason: "unmapped", Transaction: "8", Position: "0/80", Ordinal: 2, Time: w.tx.Time})
	batch.Commit("0/A0")
	must(t, w.spool.Apply(batch))
	x := w.ask(row("loans", "id=7"))
	if last := x.Changes[len(x.Changes)-1]; len(x.Changes) != 4 || x.ParkedUnkeyed != 3 || last.Parked == nil || last.Parked.Number != 4 {
		t.Errorf("%d parked of rows that are not known, told:\n%s", x.ParkedUnkeyed, told(x))
	}
	if first, past, next := x.Changes[0].Parked, x.Changes[1].Parked, x.Changes[2].Parked; first == nil || first.Number != 2 || past == nil || past.Reason != "oversize" || past.Number != 0 || next == nil || next.Reason != "oversize" {
		t.Errorf("told:\n%s", told(x))
	}
	var perhaps []string
	for _, c := range x.Perhaps {
		perhaps = append(perhaps, fmt.Sprintf("%s %s #%d %s %d", c.From, c.Transaction, c.Ordinal, c.Parked.Reason, c.Parked.Number))
	}
	if want := []string{"account 1 #5 undecoded 0", "spool 1 #8 undecoded 1", "spool 8 #0 undecidable 5", "spool 8 #1 undecoded 6"}; !slices.Equal(perhaps, want) {
		t.Errorf("perhaps %q", perhaps)
	}
}

// TestExplainWaiting: each event is looked for among what waits; where there was no time to, that is said.
func TestExplainWaiting(t *testing.T) {
	t.Parallel()
	w := newExplainWorld(t)
	const most = 60
	for range most {
		w.change(w.loans, capture.Insert, nil, []string{"7", "ACTIVE", "a"})
	}
	x := w.ask(row("loans", "id=7"))
	if x.Unsearched != 0 || len(x.Changes) != most {
		t.Errorf("%d events were not looked for, %d changes", x.Unsearched, len(x.Changes))
	}
	for _, c := range x.Changes {
		for _, p := range c.Events[0].Profiles {
			if p.State != "pending" || c.Events[0].Unsearched {
				t.Fatalf("%s: %+v", c.Position, p)
			}
		}
	}
	hurried := row("loans", "id=7")
	hurried.Within = time.Nanosecond
	if x := w.ask(hurried); x.Unsearched != len(x.Changes) || !x.Changes[0].Events[0].Unsearched {
		t.Errorf("in no time, %d events of %d were not looked for", x.Unsearched, len(x.Changes))
	}
}

// TestExplainDeadBeyondHistory: a dead letter is its row's when nothing else knows of it any more.
func TestExplainDeadBeyondHistory(t *testing.T) {
	t.Parallel()
	w := newExplainWorld(t, func(c *config.Config) { c.Spool.HistorySize = 1 })
	w.change(w.loans, capture.Insert, nil, []string{"7", "ACTIVE", "a"})
	w.change(w.loans, capture.Insert, nil, []string{"8", "ACTIVE", "a"})
	w.change(w.loans, capture.Insert, nil, []string{"9", "ACTIVE", "a"})
	w.config().Account.MaxSize = 0 // nor is what it kept asked
	profiles, err := w.spool.Profiles()
	must(t, err)
	for _, p := range profiles {
		must(t, w.spool.Update(p.ID, delivery.Update{Progress: &delivery.Progress{Cursor: 4}, DoneEvents: 3, Put: []delivery.Delivery{
			{Seq: 1, State: delivery.Dead, Since: w.tx.Time, Reason: "status_4xx", Bytes: 10},
			{Seq: 2, State: delivery.Dead, Since: w.tx.Time, Reason: "status_4xx", Bytes: 10, Members: &delivery.Members{ID: "grp_1", Unit: "batch", Count: 2, Last: 3, LastID: w.events[2].ID}},
		}}))
	}
	for began := time.Now(); ; <-time.After(100 * time.Millisecond) { // the spool lets history go in its own time
		entries, _, _, err := w.spool.History(profiles[0].ID, 0, nil, 1, 1)
		must(t, err)
		if len(entries) == 0 || entries[0].Seq > 2 {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatal("history stays")
		}
	}
	for _, r := range []operation.ExplainRequest{row("loans", "id=7"), row("loans", "id=8"), row("loans", "id=9"), {Event: w.events[1].ID}} {
		if got := told(w.ask(r)); got != "spool insert [loan.created branch:dead:0 desk:dead:0]" {
			t.Errorf("%v %s:\n%s", r.Key, r.Event, got)
		}
	}
}

// TestExplainOff: where no account is kept any more, nothing is left of the one before.
func TestExplainOff(t *testing.T) {
	t.Parallel()
	w := newExplainWorld(t)
	w.change(w.loans, capture.Update, []string{"7", "ACTIVE", "a"}, []string{"7", "LATE", "a"})
	if x := w.ask(row("loans", "id=7")); len(x.Changes) != 1 {
		t.Fatalf("told:\n%s", told(x))
	}
	must(t, w.account.Close())
	w.account = nil
	size := w.config().Account.MaxSize
	w.config().Account.MaxSize = 0
	off := func() *operation.Explanation {
		x, err := w.explain(t.Context(), row("loans", "id=7"))
		must(t, err)
		return x
	}
	if x := off(); len(x.Changes) != 0 || !x.History.Off || !x.History.Changes.IsZero() { // before it starts
		t.Errorf("off, %+v:\n%s", x.History, told(x))
	}
	w.openAccount()
	w.config().Account.MaxSize = size
	if x := off(); len(x.Changes) != 0 || w.account != nil {
		t.Errorf("on again:\n%s", told(x))
	}
}

func TestExplainRefuses(t *testing.T) {
	t.Parallel()
	w := newExplainWorld(t)
	w.change(w.loans, capture.Insert, nil, []string{"7", "ACTIVE", "a"})
	w.account.Flush()
	for _, c := range []struct {
		request operation.ExplainRequest
		want    string
	}{
		{row("loans"), "which row?"},
		{row("loans", "id=7", "id=8"), "named twice"},
		{row("loans", "status=ACTIVE"), "the key of loans is not of these columns"},
		{row("loans", "id=7", "status=A"), "the key of loans is not of these columns"},
		{operation.ExplainRequest{Event: "evt_1", Most: -1}, "fewer than no changes"},
		{row("loanz", "id=7"), `nothing is known of an entry or a table loanz`},
	} {
		_, err := w.explain(t.Context(), c.request)
		var failure *control.Failure
		if !errors.As(err, &failure) || !strings.Contains(failure.Message, c.want) || failure.Exit != exitOfUsage {
			t.Errorf("%+v: %v", c.request, err)
		}
	}
	if x := w.ask(row("loans", "id=9")); len(x.Changes) != 0 {
		t.Errorf("a row that never was:\n%s", told(x))
	}
}
