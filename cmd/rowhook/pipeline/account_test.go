package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/delivery"
	"rowhook/mapping"
)

// diary is an account that writes down what it is told.
type diary struct{ lines []string }

func (d *diary) note(format string, args ...any) {
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) Begin(tx *capture.Transaction) { d.note("begin %s", tx.ID) }
func (d *diary) Abort()                        { d.note("abort") }
func (d *diary) Settle()                       { d.note("settle") }
func (d *diary) Wants() bool                   { return true }

func (d *diary) Passed(p *delivery.Parked) {
	d.note("passed %s %d %s %s %s", p.Table, p.Ordinal, p.Reason, p.Key, p.Error)
}

func (d *diary) Watch(e *mapping.Watched, subscribers func(string) ([]string, []bool)) mapping.Observer {
	text := "watch " + e.Entry
	for i := range e.Events {
		codes, bare := subscribers(e.Events[i].Type)
		text += fmt.Sprintf(" %s%v%v", e.Events[i].Type, codes, bare)
	}
	d.note("%s", text)
	return d
}

func (d *diary) Routed(ev *delivery.Event, answers []delivery.Matching) {
	d.note("routed %s %d", ev.Type, answers[0].Answer)
}

func (d *diary) Mapped(j *mapping.Judgement) {
	text := fmt.Sprintf("mapped %s", j.Op())
	if j.Failure() != nil {
		text += " " + string(j.Failure().Reason)
	}
	d.note("%s", text)
}

// TestAccount: the account is told of each change that a mapped table has, with who gets its events;
// of a transaction that breaks off, that it did; and after an exchange of the entry as it is then.
func TestAccount(t *testing.T) {
	t.Parallel()
	w := newPipelineWorld(t)
	kept := &diary{}
	w.pipe.account = kept
	w.pipe.mapper = w.pipe.newMapper()
	row := func(id, note string) capture.Row {
		r := make(capture.Row, len(w.table.Columns))
		for i := range r {
			r[i] = capture.Value{State: capture.Present, Text: []byte(note)}
		}
		r[0].Text = []byte(id)
		return r
	}
	begin := func(id string) {
		must(t, w.pipe.Begin(&capture.Transaction{ID: id, Identity: id, Position: capture.Position("0/" + id)}))
	}
	begin("1")
	must(t, w.pipe.Change(&capture.Change{Op: capture.Insert, Table: w.table, New: row("1", "a")}))
	must(t, w.pipe.Change(&capture.Change{Op: capture.Update, Table: w.table, Old: row("1", "a"), New: row("1", "b"), Ordinal: 1}))
	must(t, w.pipe.Park(&capture.Undecoded{Table: "public.loans", Ordinal: 2, Err: errors.New("no such type")}))
	must(t, w.pipe.Park(&capture.Undecoded{Table: "public.loans", Ordinal: 3, Err: errors.New("too large"), Size: 1 << 30, Kept: &capture.Change{Op: capture.Insert, Table: w.table, New: row("7", "a")}}))
	must(t, w.pipe.Commit("0/1"))
	begin("2")
	must(t, w.pipe.Change(&capture.Change{Op: capture.Update, Table: w.table, New: row("1", "c")[:1]}))
	w.pipe.Abort()
	w.pipe.Abort() // between transactions there is nothing to drop
	w.pipe.SettleAccount()
	want := []string{
		"begin 1", "watch public.loans loan.created[desk][false] loan.noted[desk][false] loan.deleted[desk][false]", "routed loan.created 1", "mapped insert", "mapped update",
		"passed public.loans 2 undecoded  no such type", `passed public.loans 3 oversize {"id":"7"} too large`,
		"begin 2", "mapped update unmapped", "abort", "settle",
	}
	if !slices.Equal(kept.lines, want) {
		t.Errorf("told:\n%s\nwant\n%s", strings.Join(kept.lines, "\n"), strings.Join(want, "\n"))
	}
}
