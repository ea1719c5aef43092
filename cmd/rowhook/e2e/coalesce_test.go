package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// Transactions change a few rows again and again, while the agent is killed. An entry that coalesces
// makes one event of what a transaction did to a row, whatever it was; applied in order of arrival
// they give the table. An entry beside it tells each change.
func TestCoalesce(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testCoalesce)
}

func testCoalesce(t *testing.T, w *world) {
	w.hook.keepBodies = true
	if w.server.kind() == "postgres" {
		w.exec(`alter table proof.rows replica identity default`)
	}
	w.conf.mapping = "  proof.rows: {coalesce: transaction}\n  each: {table: proof.rows}\n"
	w.conf.profiles = w.usualProfile("main") + "    subscriptions: [{tables: [proof.rows]}]\n" +
		w.usualProfile("each") + "    subscriptions: [{tables: [each]}]\n"
	a := w.begin()
	const writers = 2
	done := make(chan *rewriter, writers)
	ctx, stop := context.WithCancel(t.Context())
	for n := range writers {
		r := &rewriter{random: chance(uint64(n)), session: w.connect(), next: 1 + int64(n)*1_000_000, rows: map[int64]string{}}
		go func() {
			for ctx.Err() == nil && r.err == nil {
				r.transaction()
			}
			done <- r
		}()
	}
	random := chance(9)
	for range count(3, 30) {
		elapse(t, between(random, 200*time.Millisecond, 600*time.Millisecond), "", nil)
		a.kill()
		a = w.start()
	}
	stop()
	merged, each := 0, 0
	rows := map[int64]string{}
	for range writers {
		r := <-done
		capturetest.Must(t, r.err)
		merged, each = merged+r.merged, each+r.each
		maps.Copy(rows, r.rows)
	}
	w.hook.wait(t, "main", merged, 2*patience)
	w.hook.wait(t, "each", each, 2*patience)
	a.term()
	w.hook.sound(t)
	if got := w.hook.distinct("main"); got != merged {
		t.Errorf("%d events, want %d", got, merged)
	}
	if got := w.hook.distinct("each"); got != each {
		t.Errorf("beside it %d events, want %d", got, each)
	}
	seen, told := map[string]bool{}, map[string]string{}
	had := map[int64]string{}
	for _, a := range w.hook.all("main") {
		if seen[a.id] || !a.accepted {
			continue
		}
		seen[a.id] = true
		var body struct {
			Source         struct{ Op, Transaction string }
			Key            struct{ ID json.Number }
			Data, Previous struct {
				ID   json.Number
				Note string
			}
		}
		capturetest.Must(t, json.Unmarshal(a.body, &body))
		place := body.Source.Transaction + " " + body.Key.ID.String()
		if told[place] != "" {
			t.Errorf("transaction and row %s have the events %s and %s", place, told[place], a.id)
		}
		told[place] = a.id
		id, err := body.Key.ID.Int64()
		capturetest.Must(t, err)
		if was, err := body.Previous.ID.Int64(); err == nil && body.Source.Op == "update" {
			delete(had, was)
		}
		if body.Source.Op == "delete" {
			delete(had, id)
		} else {
			had[id] = body.Data.Note
		}
	}
	if !maps.Equal(had, rows) {
		t.Errorf("the events come to %d rows, the database has %d", len(had), len(rows))
	}
	t.Logf("%d changes became %d events", each, merged)
}

// rewriter is an application that changes rows several times in a transaction.
type rewriter struct {
	random  *rand.Rand
	session session
	next    int64 // key
	rows    map[int64]string
	err     error
	// merged counts what is left of a row's changes, each the changes.
	merged, each int
}

// transaction makes one, and rolls some back.
func (r *rewriter) transaction() {
	rows := maps.Clone(r.rows)
	was := map[int64]bool{} // rows that it has changed, by their key now: whether they were there before
	gone := 0               // rows that were there before
	statements := []string{"start transaction"}
	each := 0
	for range 1 + r.random.IntN(10) {
		id := r.next
		for key := range rows {
			if r.random.IntN(3) > 0 {
				id = key
				break
			}
		}
		before, changed := was[id], false
		if _, changed = was[id]; !changed {
			_, before = r.rows[id]
		}
		note := strings.Repeat(fmt.Sprint(r.random.IntN(1000)), 1+r.random.IntN(1000))
		_, there := rows[id]
		each++
		switch what := r.random.IntN(10); {
		case !there:
			r.next++
			statements = append(statements, fmt.Sprintf("insert into proof.rows (id, seq, note) values (%d, 1, '%s')", id, note))
			rows[id], was[id] = note, false
		case what < 2:
			statements = append(statements, fmt.Sprintf("delete from proof.rows where id = %d", id))
			delete(rows, id)
			if delete(was, id); before {
				gone++
			}
		case what < 4:
			statements = append(statements, fmt.Sprintf("update proof.rows set id = %d where id = %d", r.next, id))
			rows[r.next], was[r.next] = rows[id], before
			delete(rows, id)
			delete(was, id)
			r.next++
		case what < 6: // leaves the long value as it is
			statements = append(statements, fmt.Sprintf("update proof.rows set seq = seq + 1 where id = %d", id))
			was[id] = before
		default:
			statements = append(statements, fmt.Sprintf("update proof.rows set note = '%s' where id = %d", note, id))
			rows[id], was[id] = note, before
		}
	}
	end := "commit"
	if r.random.IntN(8) == 0 {
		end = "rollback"
	}
	if r.err = r.session.exec(context.Background(), strings.Join(append(statements, end), ";")); r.err != nil || end == "rollback" {
		return
	}
	r.rows = rows
	r.each += each
	r.merged += len(was) + gone
}
