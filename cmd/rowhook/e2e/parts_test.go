package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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
	stop := w.orderers(3)
	w.loads(2)
	early := w.joined()
	a = w.killed(a)
	stop()
	const last = 7 // nobody writes any more
	w.exec(fmt.Sprintf("update proof.orders set n = %d where order_id = 1", last))
	w.joins("order_id = 1")
	w.hook.wait(t, "main", len(w.joined()), 2*patience)
	a.term()
	told := w.judgeLists(early)
	if told.late > 0 || told.known == 0 || told.cut == 0 || told.longest < partsMost {
		t.Errorf("%d lists were not known though their tables were loaded, %d were known, %d of them cut", told.late, told.known, told.cut)
	}
	explained := 0
	for _, l := range w.explain("--event", told.ids[fmt.Sprint(last)]).Changes[0].Parts {
		explained++
		want := told.lists[fmt.Sprint(last)][l.Name]
		if got, text := fmt.Sprintf("%s %d", l.Standing, l.Rows), fmt.Sprintf("%s, of proof.order_%[1]s: ", l.Name); got != want || !strings.HasPrefix(l.Text, text) {
			t.Errorf("explain says %s: %s; the join says %q", got, l.Text, want)
		}
	}
	if explained != 2 {
		t.Errorf("%d lists of the last event are explained", explained)
	}
}

// orderers are applications that write until they are stopped.
func (w *world) orderers(writers int) (stop func()) {
	w.tb.Helper()
	ctx, cancel := context.WithCancel(w.tb.Context())
	done := make(chan *orderer, writers)
	for n := range writers {
		o := &orderer{random: chance(uint64(n)), session: w.connect(), writer: n, writers: writers, made: int64(n+1) * 1_000_000}
		if w.server.kind() != "postgres" {
			capturetest.Must(w.tb, o.session.exec(ctx, "set session transaction isolation level read committed"))
		}
		go func() {
			for ctx.Err() == nil && o.err == nil {
				o.transaction()
			}
			done <- o
		}()
	}
	return func() {
		w.tb.Helper()
		cancel()
		for range writers {
			capturetest.Must(w.tb, (<-done).err)
		}
	}
}

// joins is one more transaction's look at the lists of some orders, while nobody else writes.
func (w *world) joins(where string) {
	w.tb.Helper()
	w.exec(joinsOf(where)...)
}

func joinsOf(where string) []string {
	return []string{
		"insert into proof.joined select n from proof.orders where " + where,
		"insert into proof.joined_lines select o.n, l.line_id, l.amount, l.note from (select * from proof.orders where " + where + ") o join proof.order_lines l on l.order_id = o.order_id",
		"insert into proof.joined_tags select o.n, l.pos, l.tag from (select * from proof.orders where " + where + ") o join proof.order_tags l on l.order_id = o.order_id",
	}
}

// joined are the numbers of the changes that were committed.
func (w *world) joined() map[string]bool {
	w.tb.Helper()
	all := map[string]bool{}
	for _, row := range w.rows("select n from proof.joined") {
		all[row[0]] = true
	}
	return all
}

// toldLists is what events said of lists.
type toldLists struct {
	known, cut, longest int
	missing, late       int                          // not known, and of these of changes that came after the loading
	ids                 map[string]string            // of events, by the number of their change
	lists               map[string]map[string]string // by number and name, as `rowhook explain` tells them
}

// judgeLists holds the events to the joins that the database gave at each commit. Lists may have been
// unknown to the changes of early.
func (w *world) judgeLists(early map[string]bool) toldLists {
	w.tb.Helper()
	want := map[string]*joinedLists{}
	for n := range w.joined() {
		want[n] = &joinedLists{}
	}
	for _, row := range w.rows("select n, line_id, coalesce(cast(amount as char(20)), '-'), coalesce(note, '-') from proof.joined_lines") {
		want[row[0]].lines = append(want[row[0]].lines, row[1:])
	}
	for _, row := range w.rows("select n, pos, tag from proof.joined_tags") {
		want[row[0]].tags = append(want[row[0]].tags, row[1:])
	}
	w.hook.sound(w.tb)
	told := toldLists{ids: map[string]string{}, lists: map[string]map[string]string{}}
	seen := map[string]bool{}
	for _, arrived := range w.hook.all("main") {
		if seen[arrived.id] || !arrived.accepted {
			continue
		}
		seen[arrived.id] = true
		var body orderBody
		capturetest.Must(w.tb, json.Unmarshal(arrived.body, &body))
		n := body.Data.N.String()
		if want[n] == nil {
			w.tb.Fatalf("event %s was never committed", n)
		}
		told.ids[n], told.lists[n] = arrived.id, map[string]string{}
		for _, list := range body.against(w.tb, want[n]) {
			told.longest = max(told.longest, len(list.got))
			rest := fmt.Sprintf("%s[%d:]", list.path, partsMost)
			more := len(list.want) > partsMost
			told.lists[n][list.name] = fmt.Sprintf("whole %d", len(list.want))
			if more {
				list.want = list.want[:partsMost]
				told.lists[n][list.name] = fmt.Sprintf("cut %d", partsMost)
			}
			switch {
			case slices.Contains(body.Unavailable, list.path):
				told.missing++
				if !early[n] {
					told.late++
				}
			case !slices.EqualFunc(list.got, list.want, slices.Equal) || slices.Contains(body.Unavailable, rest) != more:
				w.tb.Errorf("event %s: %s are %q, unavailable %q; the join says %q, more %t", n, list.path, list.got, body.Unavailable, list.want, more)
			default:
				told.known++
				if more {
					told.cut++
				}
			}
		}
	}
	w.tb.Logf("%d events, %d lists known, %d of them cut, %d not known", len(seen), told.known, told.cut, told.missing)
	return told
}

// orderBody is an event of an order.
type orderBody struct {
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

// heldList is a list as an event has it, and as the join does.
type heldList struct {
	name, path string
	got, want  [][]string
}

func (b *orderBody) against(tb testing.TB, want *joinedLists) []heldList {
	tb.Helper()
	lines, tags := heldList{name: "lines", path: "lines", want: want.lines}, heldList{name: "tags", path: "of.tags", want: want.tags}
	for _, l := range b.Data.Lines {
		lines.got = append(lines.got, []string{l.ID.String(), text((*string)(l.Amount)), text(l.Note)})
	}
	for _, tag := range b.Data.Of.Tags {
		tags.got = append(tags.got, []string{tag.Pos.String(), tag.Tag})
	}
	for _, list := range []heldList{lines, tags} {
		slices.SortFunc(list.want, func(a, b []string) int {
			return cmp.Compare(number(tb, a[0]), number(tb, b[0]))
		})
	}
	return []heldList{lines, tags}
}

// joinedLists are what belongs to an order at the commit.
type joinedLists struct{ lines, tags [][]string }

// TestPartsOfLargeTransactions: transactions of which the spool takes several parts, and ones that are
// larger than what is held until the commit, tell lists as they are at the commit, whatever they change
// behind the rows that list them, and though the agent is killed. Where a larger one does that, its
// lists may be unknown.
func TestPartsOfLargeTransactions(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testPartsOfLargeTransactions)
}

func testPartsOfLargeTransactions(t *testing.T, w *world) {
	const orders = 900 // whose events are half a megabyte
	w.ordering()
	w.exec(fmt.Sprintf("insert into proof.orders select g, -g from %s where g > %d", numbers(orders), 3*partsOrders))
	a := w.begin()
	w.loads(2)
	random, may := chance(4), map[string]bool{} // lists of which changes may be unknown
	for round := range count(2, 24) {
		for i, kind := range []struct {
			lines  int
			behind bool
		}{{3 * orders, true}, {30_000, false}, {30_000, true}} {
			n, line := (3*round+i+1)*10_000, (3*round+i+1)*100_000
			statements := []string{"start transaction",
				fmt.Sprintf("insert into proof.order_lines select %d + g, 1 + g %% %d, g, '%s' from %s", line, orders, strings.Repeat("n", 180), numbers(kind.lines)),
				fmt.Sprintf("update proof.orders set n = %d + order_id where order_id <= %d", n, orders)}
			if kind.behind {
				of := fmt.Sprintf("line_id between %d and %d", line+1, line+kind.lines)
				statements = append(statements,
					"update proof.order_lines set amount = amount + 1, note = 'later' where amount % 3 = 0 and "+of,
					fmt.Sprintf("update proof.order_lines set order_id = 1 + (order_id + 7) %% %d where amount %% 7 = 1 and %s", orders, of),
					"delete from proof.order_lines where amount % 11 = 2 and "+of,
					"update proof.order_tags set order_id = order_id + 1 where pos % 5 = 0 and order_id < 10")
			}
			w.exec(strings.Join(append(append(statements, joinsOf(fmt.Sprintf("n > %d", n))...), "commit"), ";"))
			for order := 1; order <= orders && kind.behind && kind.lines > 3*orders; order++ {
				may[fmt.Sprint(n+order)] = true
			}
			if round%2 == 1 && i != 1 {
				elapse(t, between(random, 0, 200*time.Millisecond), "", nil)
				a.kill()
				a = w.start()
			}
			w.exec("delete from proof.order_lines where order_id % 50 <> 1") // or the joins become long
		}
	}
	w.hook.wait(t, "main", len(w.joined()), 2*patience)
	a.term()
	if told := w.judgeLists(may); told.late > 0 || told.known == 0 || told.cut == 0 {
		t.Errorf("%d lists were not known that were to be, %d were known, %d of them cut", told.late, told.known, told.cut)
	}
}

// TestPartsBelowReserve: while the disk is below its reserve the database keeps what lists are made of,
// too. When there is room again they are as at each commit, also if the agent was killed meanwhile.
func TestPartsBelowReserve(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testPartsBelowReserve)
}

func testPartsBelowReserve(t *testing.T, w *world) {
	disk := smallDisk(t, 256<<20)
	capturetest.Must(t, os.Symlink(disk.dir, w.path("state")))
	w.conf.spool = "{max_size: 1GiB, reserve: 64MiB}"
	w.ordering()
	a := w.begin()
	w.loads(2)
	stop := w.orderers(2)
	for i := range count(2, 10) {
		w.hook.wait(t, "main", w.hook.distinct("main")+20, patience)
		free := fill(t, disk.dir, 56<<20)
		a.says("reserve")
		w.stands(a)
		if i%2 == 1 {
			a.kill()
		}
		before := len(w.joined())
		eventually(t, patience, "orders go on changing", func() bool { return len(w.joined()) > before+20 })
		free()
		if i%2 == 1 {
			a = w.start()
		}
	}
	stop()
	w.hook.wait(t, "main", len(w.joined()), 2*patience)
	a.term()
	if told := w.judgeLists(nil); told.late > 0 || told.known == 0 || told.cut == 0 {
		t.Errorf("%d lists were not known though their tables were loaded, %d were known, %d of them cut", told.late, told.known, told.cut)
	}
}

func number(tb testing.TB, text string) int64 {
	tb.Helper()
	n, err := strconv.ParseInt(text, 10, 64)
	capturetest.Must(tb, err)
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
