package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"rowhook/capture/capturetest"
)

// Writers change orders and the rows that belong to them, which come, go, change and move from one order
// to another, while the agent is killed. Each transaction ends with a lock that lets one at a time come
// to its commit, and asks the database for the lists then: that is what its events must say. What is not
// loaded yet is said to be unavailable, and nothing is once it was loaded.
func TestParts(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testParts)
}

const (
	partsOrders = 6   // of each writer
	partsLines  = 400 // that are there before
	partsMost   = 5
)

func testParts(t *testing.T, w *world) {
	w.ordering()
	a := w.begin()
	const writers = 3
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan *orderer, writers)
	for n := range writers {
		o := &orderer{random: chance(uint64(n)), session: w.connect(), writer: n, writers: writers, made: int64(n+1) * 1_000_000}
		if w.server.kind() != "postgres" {
			capturetest.Must(t, o.session.exec(ctx, "set session transaction isolation level read committed"))
		}
		go func() {
			for ctx.Err() == nil && o.err == nil {
				o.transaction()
			}
			done <- o
		}()
	}
	w.loads(2)
	early := map[string]bool{} // what may have been committed before
	for _, row := range w.rows("select n from proof.joined") {
		early[row[0]] = true
	}
	a = w.killed(a)
	stop()
	for range writers {
		capturetest.Must(t, (<-done).err)
	}
	const last = "7" // nobody writes any more
	w.exec("update proof.orders set n = "+last+" where order_id = 1", "insert into proof.joined values ("+last+")",
		"insert into proof.joined_lines select "+last+", line_id, amount, note from proof.order_lines where order_id = 1",
		"insert into proof.joined_tags select "+last+", pos, tag from proof.order_tags where order_id = 1")
	want := map[string]*joinedLists{}
	for _, row := range w.rows("select n from proof.joined") {
		want[row[0]] = &joinedLists{}
	}
	for _, row := range w.rows("select n, line_id, coalesce(cast(amount as char(20)), '-'), coalesce(note, '-') from proof.joined_lines") {
		want[row[0]].lines = append(want[row[0]].lines, row[1:])
	}
	for _, row := range w.rows("select n, pos, tag from proof.joined_tags") {
		want[row[0]].tags = append(want[row[0]].tags, row[1:])
	}
	w.hook.wait(t, "main", len(want), 2*patience)
	a.term()
	w.hook.sound(t)
	seen, known, missing, late, cut, longest, explained := map[string]bool{}, 0, 0, 0, 0, 0, 0
	for _, arrived := range w.hook.all("main") {
		if seen[arrived.id] || !arrived.accepted {
			continue
		}
		seen[arrived.id] = true
		lists := map[string]string{} // as they are explained
		var body struct {
			Data struct {
				N     json.Number
				Lines []struct {
					ID, Amount *json.Number
					Note       *string
				}
				Of struct {
					Tags []struct {
						Pos json.Number
						Tag string
					}
				}
			}
			Unavailable []string
		}
		capturetest.Must(t, json.Unmarshal(arrived.body, &body))
		expected := want[body.Data.N.String()]
		if expected == nil {
			t.Fatalf("event %s was never committed", body.Data.N)
		}
		var lines, tags [][]string
		for _, l := range body.Data.Lines {
			lines = append(lines, []string{l.ID.String(), text((*string)(l.Amount)), text(l.Note)})
		}
		for _, tag := range body.Data.Of.Tags {
			tags = append(tags, []string{tag.Pos.String(), tag.Tag})
		}
		for _, list := range []struct {
			name      string
			got, want [][]string
		}{{"lines", lines, expected.lines}, {"of.tags", tags, expected.tags}} {
			slices.SortFunc(list.want, func(a, b []string) int { return int(number(t, a[0]) - number(t, b[0])) })
			longest = max(longest, len(list.got))
			rest := fmt.Sprintf("%s[%d:]", list.name, partsMost)
			more := len(list.want) > partsMost
			lists[strings.TrimPrefix(list.name, "of.")] = fmt.Sprintf("whole %d", len(list.want))
			if more {
				list.want = list.want[:partsMost]
				lists[strings.TrimPrefix(list.name, "of.")] = fmt.Sprintf("cut %d", partsMost)
			}
			switch {
			case slices.Contains(body.Unavailable, list.name):
				missing++
				if !early[body.Data.N.String()] {
					late++
				}
			case !slices.EqualFunc(list.got, list.want, slices.Equal) || slices.Contains(body.Unavailable, rest) != more:
				t.Errorf("event %s: %s are %q, unavailable %q; the join says %q, more %t", body.Data.N, list.name, list.got, body.Unavailable, list.want, more)
			default:
				known++
				if more {
					cut++
				}
			}
		}
		if body.Data.N != last {
			continue
		}
		told := w.explain("--event", arrived.id)
		for _, l := range told.Changes[0].Parts {
			explained++
			if got, text := fmt.Sprintf("%s %d", l.Standing, l.Rows), fmt.Sprintf("%s, of proof.order_%[1]s: ", l.Name); got != lists[l.Name] || !strings.HasPrefix(l.Text, text) {
				t.Errorf("explain says %s: %s; the join says %q", got, l.Text, lists[l.Name])
			}
		}
	}
	if explained != 2 {
		t.Errorf("%d lists of the last event are explained", explained)
	}
	if late > 0 || known == 0 || cut == 0 || longest < partsMost {
		t.Errorf("%d lists were not known though their tables were loaded, %d were known, %d of them cut", late, known, cut)
	}
	t.Logf("%d events, %d lists known, %d of them cut, %d not loaded yet", len(seen), known, cut, missing)
}

// joinedLists are what belongs to an order at the commit.
type joinedLists struct{ lines, tags [][]string }

func number(t *testing.T, text string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	capturetest.Must(t, err)
	return n
}

// ordering makes the tables of a shop whose orders list their lines and tags.
func (w *world) ordering() {
	w.tb.Helper()
	w.hook.keepBodies = true
	w.exec(
		"create table proof.orders (order_id bigint primary key, n bigint not null)",
		"create table proof.order_lines (line_id bigint primary key, order_id bigint, amount bigint, note varchar(200))",
		"create table proof.order_tags (order_id bigint, pos int, tag varchar(200) not null, primary key (order_id, pos))",
		"create table proof.clock (id int primary key, n bigint not null)",
		"create table proof.joined (n bigint primary key)",
		"create table proof.joined_lines (n bigint, line_id bigint, amount bigint, note varchar(200))",
		"create table proof.joined_tags (n bigint, pos int, tag varchar(200))",
		"insert into proof.clock values (1, 0)",
		fmt.Sprintf("insert into proof.orders select g, -g from %s", numbers(3*partsOrders)),
		fmt.Sprintf("insert into proof.order_lines select g - 20, 1 + g %% %d, g, 'line' from %s", 6*partsOrders, numbers(partsLines)),
		fmt.Sprintf("insert into proof.order_tags select 1 + g %% %d, g, 'tag' from %s", 3*partsOrders, numbers(partsLines)),
	)
	if w.server.kind() == "postgres" {
		w.exec("grant select on proof.orders, proof.order_lines, proof.order_tags to rowhook",
			"alter publication rowhook add table proof.orders, proof.order_lines, proof.order_tags")
	} else {
		w.exec("grant select on proof.orders to rowhook@'%'", "grant select on proof.order_lines to rowhook@'%'", "grant select on proof.order_tags to rowhook@'%'")
	}
	w.conf.mapping = fmt.Sprintf(`  proof.orders:
    parts:
      lines: {table: proof.order_lines, by: order_id, columns: [line_id, amount, note], max: %d}
      tags: {table: proof.order_tags, by: {order_id: order_id}, columns: [pos, tag], max: %[1]d}
    fields:
      n: n
      lines: {column: lines, items: {id: line_id, amount: amount, note: note}}
      of: {tags: tags}
    events:
      order.changed: {op: [insert, update]}
`, partsMost)
}

// orderer is an application that changes orders, and what belongs to any of them.
type orderer struct {
	random          *rand.Rand
	session         session
	writer, writers int
	made            int64 // last number of a change, and key of a line
	err             error
}

// transaction makes one. Deadlocks among writers roll it back.
func (o *orderer) transaction() {
	statements := []string{"start transaction"}
	var joins []string
	any := func() int { return 1 + o.random.IntN(o.writers*partsOrders+2) }
	line := func() string {
		return fmt.Sprintf("(select line_id from (select line_id from proof.order_lines where order_id = %d order by line_id desc limit 1) a)", any())
	}
	for range 1 + o.random.IntN(6) {
		o.made++
		order := 1 + o.writer*partsOrders + o.random.IntN(partsOrders)
		switch what := o.random.IntN(12); {
		case what < 4:
			statements = append(statements, fmt.Sprintf("update proof.orders set n = %d where order_id = %d", o.made, order))
			joins = append(joins, fmt.Sprintf("insert into proof.joined values (%d)", o.made),
				fmt.Sprintf("insert into proof.joined_lines select %d, line_id, amount, note from proof.order_lines where order_id = %d", o.made, order),
				fmt.Sprintf("insert into proof.joined_tags select %d, pos, tag from proof.order_tags where order_id = %d", o.made, order))
		case what < 5:
			statements = append(statements, fmt.Sprintf("insert into proof.order_lines values (%d, %d, %d, null)", o.made, any(), o.random.IntN(100)))
		case what < 6:
			statements = append(statements, fmt.Sprintf("update proof.order_lines set amount = amount + 1, note = 't%d' where line_id = %s", o.random.IntN(1000), line()))
		case what < 8:
			to := fmt.Sprint(any())
			if o.random.IntN(5) == 0 {
				to = "null"
			}
			statements = append(statements, fmt.Sprintf("update proof.order_lines set order_id = %s where line_id = %s", to, line()))
		case what < 9:
			statements = append(statements, fmt.Sprintf("update proof.order_lines set line_id = %d where line_id = %s", -o.made, line()))
		case what < 10:
			statements = append(statements, fmt.Sprintf("delete from proof.order_lines where line_id = %s", line()))
		case what < 11:
			statements = append(statements, fmt.Sprintf("update proof.order_tags set order_id = %d where order_id = %d and pos %% 7 = %d", any(), any(), o.random.IntN(7)))
		default:
			statements = append(statements, fmt.Sprintf("insert into proof.order_tags values (%d, %d, 'made')", any(), o.random.IntN(2000)-1000))
		}
	}
	statements = append(append(statements, "update proof.clock set n = n + 1 where id = 1"), joins...)
	err := o.session.exec(context.Background(), strings.Join(append(statements, "commit"), ";"))
	if err == nil {
		return
	}
	text := strings.ToLower(err.Error())
	if !strings.Contains(text, "deadlock") && !strings.Contains(text, "duplicate") && !strings.Contains(text, "try restarting") {
		o.err = err
		return
	}
	if err := o.session.exec(context.Background(), "rollback"); err != nil {
		o.err = err
	}
}
