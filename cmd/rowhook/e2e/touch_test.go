package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture/capturetest"
)

// Writers change loans, and the members, items and holdings that these refer to, while the agent loads
// their rows and is killed. Each transaction ends with a lock that lets one at a time come to its commit,
// and compares the join then with what it was at the commit before: of each loan that refers to a row as it
// did then, and finds another value in it, there must be one event, which says what the rows that the loan
// refers to hold, and held, in the order of the commits. What came before the rows were loaded may be
// missing, and nothing afterwards.
func TestTouch(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testTouch)
}

const (
	touchLoans    = 60
	touchMembers  = 25
	touchItems    = 40
	touchHoldings = 8
	touchSentinel = 1000 // the loan, member and so on that is changed last of all
)

func testTouch(t *testing.T, w *world) {
	w.circulating()
	a := w.begin()
	const writers = 3
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan *toucher, writers)
	for n := range writers {
		j := &toucher{random: chance(uint64(n)), session: w.connect(), made: int64(n+1) * 1_000_000}
		if w.server.kind() != "postgres" {
			capturetest.Must(t, j.session.exec(ctx, "set session transaction isolation level read committed"))
		}
		go func() {
			for ctx.Err() == nil && j.err == nil {
				j.transaction()
			}
			done <- j
		}()
	}
	w.loads(4)
	early := number(t, w.rows("select n from proof.clock")[0][0]) // what may have been committed before
	a = w.killed(a)
	stop()
	for range writers {
		capturetest.Must(t, (<-done).err)
	}
	last := &toucher{session: w.connect()}
	last.commit([]string{fmt.Sprintf("update proof.members set name = 'last' where member_id = %d", touchSentinel)})
	capturetest.Must(t, last.err)
	want := map[string][]touchedJoin{}
	for _, row := range w.rows("select t, loan_id, n, name, title, call_no, was_name, was_title, was_call from proof.touched order by t") {
		j := touchedJoin{t: number(t, row[0]), n: row[2], was: map[string]string{}}
		for i := range touchColumns {
			j.now[i] = row[3+i]
			if row[3+i] != row[6+i] {
				j.was[touchColumns[i]] = row[6+i]
			}
		}
		want[row[1]] = append(want[row[1]], j)
	}
	eventually(t, 2*patience, "the last event has come, and none waits", func() bool {
		status, _ := w.status()
		profiles, _ := status["profiles"].([]any)
		return len(w.touches(fmt.Sprint(touchSentinel))) > 0 && len(profiles) == 1 && profiles[0].(map[string]any)["backlog_events"] == 0.0
	})
	a.term()
	w.hook.sound(t)
	told, missing, several := 0, 0, 0
	for loan, list := range want {
		for _, got := range w.touches(loan) {
			skipped := slices.IndexFunc(list, func(j touchedJoin) bool { return got.says(&j, early) })
			if skipped < 0 || skipped > 0 && list[skipped-1].t > early {
				t.Errorf("loan %s: the event says %+v; the joins say %+v", loan, got, list[:min(len(list), 3)])
				break
			}
			told, missing, list = told+1, missing+skipped, list[skipped+1:]
		}
		if len(list) > 0 && list[len(list)-1].t > early {
			t.Errorf("loan %s: no event says %+v", loan, list[len(list)-1])
		}
		missing += len(list)
	}
	for loan := range w.touchedLoans() {
		if want[loan] == nil {
			t.Errorf("loan %s was never touched: %+v", loan, w.touches(loan))
		}
	}
	several = len(w.rows("select t from proof.touched group by t having count(*) > 1"))
	if told == 0 || several == 0 {
		t.Errorf("%d touches, %d transactions with several", told, several)
	}
	t.Logf("%d touches told, %d before the rows were loaded, %d transactions with several", told, missing, several)
}

var touchColumns = [...]string{"name", "title", "call"}

// A change that touches ten thousand rows, in a transaction that is larger than what is held of one, tells
// each of them once, with the values of the commit before and of its own, though the agent is killed.
func TestTouchLarge(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testTouchLarge)
}

func testTouchLarge(t *testing.T, w *world) {
	const touched, made = 10_000, 20_000
	w.circulating()
	w.conf.mapping = strings.Replace(w.conf.mapping, "by: member_id", fmt.Sprint("by: member_id, max_touched: ", touched), 1)
	w.exec(fmt.Sprintf("insert into proof.loans select g + 100000, g, %d, null from %s", touchSentinel, numbers(touched-1)))
	a := w.begin()
	w.loads(4)
	app := w.connect()
	capturetest.Must(t, app.exec(t.Context(), fmt.Sprintf(
		"start transaction; update proof.members set name = 'between' where member_id = %d; insert into proof.loans select g + 1000000, g, 3, null from %s; "+
			"update proof.members set name = 'last' where member_id = %[1]d; commit", touchSentinel, numbers(made))))
	random := chance(3)
	for range count(3, 10) {
		elapse(t, between(random, 50*time.Millisecond, 400*time.Millisecond), "", nil)
		a.kill()
		a = w.start()
	}
	w.hook.wait(t, "main", touched, 4*patience)
	status, _ := w.status()
	a.term()
	w.hook.sound(t)
	events := w.touchEvents()
	loans := map[string]bool{}
	for _, e := range events {
		loans[e.loan] = true
		if e.now[0] != "last" || e.was["name"] != "first" || len(e.was) != 1 || len(e.unavailable) > 0 {
			t.Fatalf("loan %s: the event says %+v", e.loan, e.touchedJoin)
		}
	}
	if len(events) != touched || len(loans) != touched {
		t.Errorf("%d events of %d loans, want %d", len(events), len(loans), touched)
	}
	if parked := status["parked"].(map[string]any); parked["count"] != 0.0 {
		t.Errorf("parked: %v", parked)
	}
}

// touchedJoin is a loan with what it refers to at a commit, and what was another before.
type touchedJoin struct {
	t           int64 // of the commit, by the clock
	n           string
	now         [len(touchColumns)]string
	was         map[string]string
	unavailable []string
}

// says reports whether an event says what a join does. Of an early one it need not know everything.
func (j *touchedJoin) says(want *touchedJoin, early int64) bool {
	if j.n != want.n || want.t > early && len(j.unavailable) > 0 {
		return false
	}
	for i, name := range touchColumns {
		if slices.Contains(j.unavailable, name) {
			continue
		}
		was, told := j.was[name]
		before, changed := want.was[name]
		if j.now[i] != want.now[i] || was != before && told || told != changed && (told || want.t > early) {
			return false
		}
	}
	return true
}

// touches are the events of a loan, each once, in the order in which they first came.
func (w *world) touches(loan string) (list []touchedJoin) {
	for _, e := range w.touchEvents() {
		if e.loan == loan {
			list = append(list, e.touchedJoin)
		}
	}
	return list
}

func (w *world) touchedLoans() map[string]bool {
	loans := map[string]bool{}
	for _, e := range w.touchEvents() {
		loans[e.loan] = true
	}
	return loans
}

type touchEvent struct {
	touchedJoin
	loan string
}

func (w *world) touchEvents() (list []touchEvent) {
	w.tb.Helper()
	seen := map[string]bool{}
	for _, arrived := range w.hook.all("main") {
		if seen[arrived.id] || !arrived.accepted {
			continue
		}
		seen[arrived.id] = true
		var body struct {
			Data struct {
				Loan, N           json.Number
				Name, Title, Call *string
			}
			Previous    map[string]*string
			Unavailable []string
		}
		capturetest.Must(w.tb, json.Unmarshal(arrived.body, &body))
		e := touchEvent{loan: body.Data.Loan.String()}
		e.n, e.unavailable, e.was = body.Data.N.String(), body.Unavailable, map[string]string{}
		e.now = [...]string{text(body.Data.Name), text(body.Data.Title), text(body.Data.Call)}
		for name, was := range body.Previous {
			e.was[name] = text(was)
		}
		list = append(list, e)
	}
	return list
}

// circulating makes the tables of a library whose loans are touched by what they refer to.
func (w *world) circulating() {
	w.tb.Helper()
	w.hook.keepBodies = true
	const joined = `select l.loan_id, l.n, l.member_id, l.item_id, i.holding_id, coalesce(m.name, '-') as name, coalesce(i.title, '-') as title, coalesce(h.call_no, '-') as call_no
		from proof.loans l left join proof.members m on m.member_id = l.member_id left join proof.items i on i.item_id = l.item_id left join proof.holdings h on h.holding_id = i.holding_id`
	before := strings.NewReplacer("proof.members", "proof.was_members", "proof.items", "proof.was_items", "proof.holdings", "proof.was_holdings").Replace(joined)
	w.exec(
		"create table proof.members (member_id bigint primary key, name varchar(200), note varchar(200))",
		"create table proof.items (item_id bigint primary key, title varchar(200), holding_id bigint)",
		"create table proof.holdings (holding_id bigint primary key, call_no varchar(200))",
		"create table proof.loans (loan_id bigint primary key, n bigint not null, member_id bigint, item_id bigint)",
		"create table proof.clock (id int primary key, n bigint not null)",
		"create table proof.touched (t bigint, loan_id bigint, n bigint, name varchar(200), title varchar(200), call_no varchar(200), was_name varchar(200), was_title varchar(200), was_call varchar(200))",
		"create table proof.was_loans (loan_id bigint primary key, member_id bigint, item_id bigint)",
		"create table proof.was_members (member_id bigint primary key, name varchar(200))",
		"create table proof.was_items (item_id bigint primary key, title varchar(200), holding_id bigint)",
		"create table proof.was_holdings (holding_id bigint primary key, call_no varchar(200))",
		"create view proof.joined as "+joined,
		"create view proof.was_joined as "+before,
		"insert into proof.clock values (1, 0)",
		fmt.Sprintf("insert into proof.members select g, concat('member', g), 'x' from %s", numbers(touchMembers)),
		fmt.Sprintf("insert into proof.items select g, concat('item', g), 1 + g %% %d from %s", touchHoldings, numbers(touchItems)),
		fmt.Sprintf("insert into proof.holdings select g, concat('call', g) from %s", numbers(touchHoldings)),
		fmt.Sprintf("insert into proof.loans select g, g, 1 + g %% %d, 1 + g %% %d from %s", touchMembers, touchItems, numbers(touchLoans)),
		fmt.Sprintf("insert into proof.members values (%d, 'first', 'x')", touchSentinel),
		fmt.Sprintf("insert into proof.loans values (%d, 0, %[1]d, null)", touchSentinel),
	)
	w.exec(touchSnapshot...)
	tables := []string{"members", "items", "holdings", "loans"}
	for _, name := range tables {
		if w.server.kind() == "postgres" {
			w.exec("grant select on proof."+name+" to rowhook", "alter publication rowhook add table proof."+name)
		} else {
			w.exec("grant select on proof." + name + " to rowhook@'%'")
		}
	}
	w.conf.top = `lookups:
  members: {table: proof.members, key: member_id, columns: [name]}
  items: {table: proof.items, key: item_id, columns: [title, holding_id]}
  holdings: {table: proof.holdings, key: holding_id, columns: [call_no]}
`
	w.conf.mapping = `  proof.loans:
    lookup:
      member: {from: members, by: member_id}
      item: {from: items, by: item_id}
      holding: {from: holdings, by: item.holding_id}
    fields: {loan: loan_id, n: n, name: member.name, title: item.title, call: holding.call_no}
    events:
      loan.touched: {touch: [member, item, holding]}
`
}

// touchSnapshot keeps the rows for the next commit to compare with.
var touchSnapshot = []string{
	"delete from proof.was_loans", "insert into proof.was_loans select loan_id, member_id, item_id from proof.loans",
	"delete from proof.was_members", "insert into proof.was_members select member_id, name from proof.members",
	"delete from proof.was_items", "insert into proof.was_items select item_id, title, holding_id from proof.items",
	"delete from proof.was_holdings", "insert into proof.was_holdings select holding_id, call_no from proof.holdings",
}

// toucher is an application that changes loans, and what they refer to.
type toucher struct {
	random  *rand.Rand
	session session
	made    int64
	err     error
}

// transaction makes one. Deadlocks among writers, and keys that are taken, roll it back.
func (j *toucher) transaction() {
	var statements []string
	for range 1 + j.random.IntN(4) {
		j.made++
		some := func(most int) int { return 1 + j.random.IntN(most) }
		loan, member, item, holding := some(touchLoans), some(touchMembers), some(touchItems), some(touchHoldings)
		var statement string
		switch j.random.IntN(14) {
		case 0, 1:
			statement = fmt.Sprintf("update proof.loans set n = %d, member_id = %d where loan_id = %d", j.made, member, loan)
		case 2:
			statement = fmt.Sprintf("update proof.loans set n = %d, item_id = %d where loan_id = %d", j.made, item, loan)
		case 3:
			statement = fmt.Sprintf("delete from proof.loans where loan_id = %d; insert into proof.loans values (%[1]d, %d, %d, %d)", loan, j.made, member, item)
		case 4, 5, 6:
			statement = fmt.Sprintf("update proof.members set name = 'n%d' where member_id = %d", j.made, member)
		case 7:
			statement = fmt.Sprintf("update proof.members set note = 'n%d' where member_id = %d", j.made, member)
		case 8:
			statement = fmt.Sprintf("delete from proof.members where member_id = %d", member)
		case 9:
			statement = fmt.Sprintf("insert into proof.members values (%d, 'i%d', null)", member, j.made)
		case 10:
			statement = fmt.Sprintf("update proof.members set member_id = %d where member_id = %d", -j.made, member)
		case 11:
			statement = fmt.Sprintf("update proof.items set title = 't%d' where item_id = %d", j.made, item)
		case 12:
			statement = fmt.Sprintf("update proof.items set holding_id = %d where item_id = %d", holding, item)
		default:
			statement = fmt.Sprintf("update proof.holdings set call_no = 'c%d' where holding_id = %d", j.made, holding)
		}
		statements = append(statements, statement)
	}
	j.commit(statements)
}

// commit writes down what the transaction touches, as its last deed.
func (j *toucher) commit(statements []string) {
	statements = append(append([]string{"start transaction"}, statements...),
		"update proof.clock set n = n + 1 where id = 1",
		`insert into proof.touched select c.n, j.loan_id, j.n, j.name, j.title, j.call_no, b.name, b.title, b.call_no
			from proof.joined j join proof.was_loans s on s.loan_id = j.loan_id join proof.was_joined b on b.loan_id = j.loan_id cross join proof.clock c
			where j.member_id = s.member_id and j.name <> b.name or j.item_id = s.item_id and
			(j.title <> b.title or coalesce(j.holding_id, 0) <> coalesce(b.holding_id, 0) or j.call_no <> b.call_no)`)
	statements = append(append(statements, touchSnapshot...), "commit")
	err := j.session.exec(context.Background(), strings.Join(statements, ";"))
	if err == nil {
		return
	}
	said := strings.ToLower(err.Error())
	if !strings.Contains(said, "deadlock") && !strings.Contains(said, "duplicate") && !strings.Contains(said, "try restarting") {
		j.err = err
		return
	}
	if err := j.session.exec(context.Background(), "rollback"); err != nil {
		j.err = err
	}
}
