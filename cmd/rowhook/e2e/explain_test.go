package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// explained is what `rowhook explain --json` says, as far as the test looks.
type explained struct {
	Changes []struct {
		Op, Entry, From string
		Key             json.RawMessage
		Rules           []struct{ Rule, Standing, Text string }
		About           *struct{ Text string }
		Parts           []struct {
			Name, Standing, Text string
			Rows                 int
		}
		Parked *struct {
			Number int
			Reason string
		}
		Events []struct {
			ID, Type string
			Profiles []struct {
				Profile, Match, Why, State string
				Attempts                   []struct {
					Outcome, Group string
					Status         int
				}
			}
		}
	}
	Unclean []string
	History struct{ Changes, Events, Deliveries string }
}

func (w *world) explain(args ...string) explained {
	w.tb.Helper()
	r := w.rowhook(append([]string{"explain", "--json"}, args...)...)
	var told explained
	if r.code != 0 || json.Unmarshal([]byte(r.stdout), &told) != nil {
		w.tb.Fatalf("explain %v: exit %d\n%s%s", args, r.code, r.stdout, r.stderr)
	}
	return told
}

// story is what became of each change, in short.
func (e *explained) story() string {
	var lines []string
	for _, c := range e.Changes {
		line := c.Op + " " + c.Entry + ":"
		if c.About != nil {
			line += " not its row"
		}
		for _, r := range c.Rules {
			line += fmt.Sprintf(" %s %s", r.Rule, r.Standing)
		}
		if c.Parked != nil {
			line += fmt.Sprintf(" parked %t %s", c.Parked.Number > 0, c.Parked.Reason)
		}
		for _, ev := range c.Events {
			line += " [" + ev.Type
			for _, p := range ev.Profiles {
				line += fmt.Sprintf(" %s %s%s", p.Profile, p.State, p.Why)
				for _, a := range p.Attempts {
					line += fmt.Sprintf(" %d", a.Status)
					if a.Group != "" {
						line += " in a group"
					}
				}
			}
			line += "]"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// Each change of a row is accounted for: one that made an event and one that did not, one that is
// parked, a profile that filters; by a running agent, on the directory of one that was killed, and
// after the next start.
func TestExplain(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testExplain)
}

func testExplain(t *testing.T, w *world) {
	capturetest.Must(t, os.WriteFile(w.path("mask.key"), []byte("0123456789abcdef"), 0o600))
	w.conf.log = "  deliveries: ./log/deliveries.jsonl\n"
	w.conf.mapping = `  proof.rows:
    columns: {mask: [note], mask_key_file: mask.key}
    events:
      row.added: {op: insert}
      row.hot: {op: update, where: {seq: 7}}
      row.noted: {op: update, where: {note: urgent}}
  broken:
    table: proof.rows
    where: {seq: 99}
    events:
      row.broken: {op: update, set: nosuch}
`
	w.conf.profiles = w.usualProfile("main") + w.usualProfile("group") + "    unit: batch\n" +
		w.usualProfile("picky") + "    subscriptions: [{events: [row.*], where: {seq: 5}}]\n" +
		w.usualProfile("other") + "    subscriptions: [{events: [something.else]}]\n"
	refused := true
	w.hook.answer(func(a arrival) reply {
		if a.profile == "main" && a.key == 1 && refused {
			refused = false
			return reply{status: 503}
		}
		return reply{}
	})
	a := w.begin()
	w.exec("insert into proof.rows (id, seq, note) values (1, 1, 'secret-a')", "insert into proof.rows (id, seq, note) values (2, 1, 'b')",
		"update proof.rows set seq = 2 where id = 1", "update proof.rows set seq = 7 where id = 1", "update proof.rows set seq = 99 where id = 1")
	w.hook.wait(t, "main", 3, patience)
	const want = `insert broken: not its row row.broken other_op
insert proof.rows: row.added holds row.hot other_op row.noted other_op [row.added group delivered 204 in a group main delivered 503 204 other type picky where]
update broken: not its row row.broken not_asked
update proof.rows: row.added other_op row.hot fails row.noted fails
update broken: not its row row.broken not_asked
update proof.rows: row.added other_op row.hot holds row.noted fails [row.hot group delivered 204 in a group main delivered 204 other type picky where]
update broken: row.broken undecided parked true unmapped
update proof.rows: row.added other_op row.hot fails row.noted fails`
	// The database may group what it commits, and which entry is asked first is the mapping's order.
	sorted := func(story string) string {
		lines := strings.Split(strings.ReplaceAll(story, " in a group", ""), "\n")
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	var told explained
	defer func() {
		if t.Failed() {
			t.Logf("told:\n%s", sorted(told.story()))
		}
	}()
	eventually(t, patience, "every change is accounted for", func() bool {
		told = w.explain("proof.rows", "id=1")
		return sorted(told.story()) == sorted(want)
	})
	if !strings.Contains(w.rowhook("explain", "proof.rows", "id=1").stdout, `where seq: 7: seq is "2"`) {
		t.Errorf("in words:\n%s", w.rowhook("explain", "proof.rows", "id=1").stdout)
	}
	raw, err := json.Marshal(told)
	capturetest.Must(t, err)
	if strings.Contains(string(raw), "secret-a") {
		t.Error("a masked value is told")
	}
	if !strings.Contains(w.rowhook("explain", "proof.rows", "id=1").stdout, "(masked)") {
		t.Error("nothing is said of the masked column")
	}
	var hot string
	for _, c := range told.Changes {
		for _, ev := range c.Events {
			if ev.Type == "row.hot" {
				hot = ev.ID
			}
		}
	}
	if one := w.explain("--event", hot); len(one.Changes) != 1 || strings.Join(strings.Fields(string(one.Changes[0].Key)), "") != `{"id":1}` || one.Changes[0].Events[0].Profiles[0].State != "delivered" {
		t.Errorf("by the event: %+v", one)
	}
	a.kill()
	killed := w.explain("proof.rows", "id=1")
	if sorted(killed.story()) != sorted(want) || len(killed.Unclean) != 1 || killed.History.Changes == "" || killed.History.Events == "" || killed.History.Deliveries == "" {
		t.Errorf("after a kill: %s\nunclean %v, history %+v", killed.story(), killed.Unclean, killed.History)
	}
	a = w.begin()
	w.exec("delete from proof.rows where id = 1")
	eventually(t, patience, "the account goes on", func() bool {
		told = w.explain("proof.rows", "id=1")
		return sorted(told.story()) == sorted(want+"\ndelete broken: row.broken other_op\ndelete proof.rows: row.added other_op row.hot other_op row.noted other_op")
	})
	a.term()
	ended := w.explain("proof.rows", "id=2")
	if len(ended.Unclean) != 1 || len(ended.Changes) != 2 {
		t.Errorf("after an orderly end: %s, unclean %v", ended.story(), ended.Unclean)
	}
	for args, words := range map[string]string{
		"proof.rowz id=1": "nothing is known of an entry or a table proof.rowz", "proof.rows seq=1": "the key of proof.rows is not of these columns",
		"proof.rows": "missing the row's key", "proof.rows id": "is no COLUMN=VALUE",
	} {
		if r := w.rowhook(append([]string{"explain"}, strings.Fields(args)...)...); r.code != 2 || !strings.Contains(r.stderr, words) {
			t.Errorf("explain %s: exit %d: %s", args, r.code, r.stderr)
		}
	}
}
