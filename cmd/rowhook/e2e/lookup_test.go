package e2e_test

import (
	"cmp"
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

// Writers change loans and what the loans' events look up, in transactions of both, while the
// agent is killed. Each transaction ends with a lock that lets one at a time come to its commit, and
// asks the database for the joins then: that is what its events must say. What is not loaded yet is
// said to be unavailable, and nothing is once it was loaded.
func TestLookup(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testLookup)
}

const (
	lookupMembers = 40
	lookupItems   = 2000
)

func testLookup(t *testing.T, w *world) {
	w.lending()
	a := w.begin()
	const writers = 3
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan *joiner, writers)
	for n := range writers {
		j := &joiner{random: chance(uint64(n)), session: w.connect(), first: int64(n+1) * 1_000_000}
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
	w.lookupsLoaded()
	early := map[string]bool{} // what may have been committed before
	for _, row := range w.rows("select n from proof.joined") {
		early[row[0]] = true
	}
	a = w.killed(a)
	stop()
	for range writers {
		capturetest.Must(t, (<-done).err)
	}
	want := map[string][]string{}
	for _, row := range w.rows("select n, coalesce(name, '-'), coalesce(cast(grade as char(20)), '-'), coalesce(title, '-') from proof.joined") {
		want[row[0]] = row[1:]
	}
	w.hook.wait(t, "main", len(want), 2*patience)
	a.term()
	w.hook.sound(t)
	seen, known, missing, late := map[string]bool{}, 0, 0, 0
	for _, arrived := range w.hook.all("main") {
		if seen[arrived.id] || !arrived.accepted {
			continue
		}
		seen[arrived.id] = true
		var body struct {
			Data struct {
				N      json.Number
				Member struct {
					Name  *string
					Grade *json.Number
				}
				Title *string
			}
			Unavailable []string
		}
		capturetest.Must(t, json.Unmarshal(arrived.body, &body))
		got := []string{text(body.Data.Member.Name), text((*string)(body.Data.Member.Grade)), text(body.Data.Title)}
		expected := want[body.Data.N.String()]
		if expected == nil {
			t.Fatalf("event %s was never committed", body.Data.N)
		}
		for i, name := range []string{"member.name", "member.grade", "title"} {
			switch {
			case slices.Contains(body.Unavailable, name):
				missing++
				if !early[body.Data.N.String()] {
					late++
				}
			case got[i] != expected[i]:
				t.Errorf("event %s: %s is %q, the join says %q", body.Data.N, name, got[i], expected[i])
			default:
				known++
			}
		}
	}
	if late > 0 || known == 0 {
		t.Errorf("%d values were not known though their tables were loaded, %d were known", late, known)
	}
	t.Logf("%d events, %d values known, %d not loaded yet", len(seen), known, missing)
}

// killed kills the agent time and again while others write, and returns the one that runs in the end.
func (w *world) killed(a *agent) *agent {
	w.tb.Helper()
	random := chance(9)
	for range count(3, 30) {
		elapse(w.tb, between(random, 300*time.Millisecond, 800*time.Millisecond), "", nil)
		a.kill()
		a = w.start()
	}
	elapse(w.tb, 500*time.Millisecond, "", nil)
	return a
}

// rows are what a query gives, without the blanks that fill a char.
func (w *world) rows(query string) [][]string {
	w.tb.Helper()
	rows, err := w.server.query(w.tb.Context(), query)
	capturetest.Must(w.tb, err)
	for _, row := range rows {
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
	}
	return rows
}

// text is what a member says, as the database's queries here have it.
func text(member *string) string {
	if member == nil {
		return "-"
	}
	return *member
}

// lending makes the tables of a library whose loans look members and items up.
func (w *world) lending() {
	w.tb.Helper()
	w.hook.keepBodies = true
	w.exec(
		"create table proof.members (member_id bigint primary key, name varchar(200), grade bigint)",
		"create table proof.items (item_id bigint primary key, title varchar(200) not null)",
		"create table proof.loans (loan_id bigint primary key, n bigint not null, member_id bigint, item_id bigint not null)",
		"create table proof.clock (id int primary key, n bigint not null)",
		"create table proof.joined (n bigint primary key, name varchar(200), grade bigint, title varchar(200))",
		"insert into proof.clock values (1, 0)",
		fmt.Sprintf("insert into proof.members select g, 'member', g from %s", numbers(lookupMembers)),
		fmt.Sprintf("insert into proof.items select g, 'item' from %s", numbers(lookupItems)),
	)
	if w.server.kind() == "postgres" {
		w.exec("grant select on proof.members, proof.items, proof.loans to rowhook", "alter publication rowhook add table proof.members, proof.items, proof.loans")
	} else {
		w.exec("grant select on proof.members to rowhook@'%'", "grant select on proof.items to rowhook@'%'", "grant select on proof.loans to rowhook@'%'")
	}
	w.conf.top = `lookups:
  members: {table: proof.members, key: member_id, columns: [name, grade]}
  items: {table: proof.items, key: item_id, columns: [title]}
`
	w.conf.mapping = `  proof.loans:
    lookup: {member: {from: members, by: member_id}, item: {from: items, by: item_id}}
    fields: {loan: loan_id, n: n, member: {value: member_id, name: member.name, grade: member.grade}, title: item.title}
    events:
      loan.made: {op: insert}
      loan.changed: {op: update}
`
}

// lookupsLoaded waits until all looked-up rows are kept.
func (w *world) lookupsLoaded() {
	w.tb.Helper()
	w.loads(2)
}

// loads waits until so many tables' rows have been read, one after the other.
func (w *world) loads(n int) {
	w.tb.Helper()
	eventually(w.tb, 2*patience, "the rows are loaded", func() bool {
		var list []struct{ State string }
		got := w.rowhook("backfill", "list", "--json")
		if got.code != 0 || json.Unmarshal([]byte(got.stdout), &list) != nil {
			return false
		}
		over := 0
		for _, b := range list {
			if b.State == "done" {
				over++
			}
		}
		return over == n
	})
}

// A looked-up table that is rewritten without a change in the stream is read again, though nobody
// writes to it, and is known then.
func TestLookupRewritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, capturetest.Options{})
	w.lending()
	a := w.begin()
	w.loads(2)
	w.exec("alter table proof.members alter name type varchar(100) using upper(name)")
	if r := w.rowhook("reload"); r.code != 0 {
		t.Fatal(r.stderr)
	}
	w.loads(3)
	w.exec("insert into proof.loans values (1, 1, 1, 1)")
	w.hook.wait(t, "main", 1, patience)
	a.term()
	if body := string(w.hook.all("main")[0].body); !strings.Contains(body, `"name":"MEMBER"`) || !strings.Contains(body, `"title":"item"`) {
		t.Errorf("the event says %s", body)
	}
}

// A transaction that is too large to be held looks rows up before its end. Where one of them changes
// behind that it is read again, and says that it does not know; no value is ever another than the
// database's at the commit.
func TestLookupLarge(t *testing.T) {
	t.Parallel()
	onEach(t, nil, testLookupLarge)
}

func testLookupLarge(t *testing.T, w *world) {
	w.lending()
	a := w.begin()
	w.lookupsLoaded()
	const rows = 20_000 // three times what is held, and more
	app := w.connect()
	for i, last := range []string{"", "update proof.members set name = 'late' where member_id = 7", "update proof.members set name = 'else' where member_id = 40"} {
		capturetest.Must(t, app.exec(t.Context(), fmt.Sprintf(
			"start transaction; update proof.members set name = 'first %d' where member_id = 7; insert into proof.loans (loan_id, n, member_id, item_id) select g + %d, g + %[2]d, 7, 1 from %s; %s; commit",
			i, i*rows, numbers(rows), cmp.Or(last, "select 1"))))
	}
	w.hook.wait(t, "main", 3*rows, 4*patience)
	a.term()
	w.hook.sound(t)
	var known, unknown [3]int
	seen := map[string]bool{}
	for _, arrived := range w.hook.all("main") {
		if seen[arrived.id] || !arrived.accepted {
			continue
		}
		seen[arrived.id] = true
		var body struct {
			Data struct {
				N      int
				Member struct{ Name string }
			}
			Unavailable []string
		}
		capturetest.Must(t, json.Unmarshal(arrived.body, &body))
		i := (body.Data.N - 1) / rows
		want := [...]string{"first 0", "late", "first 2"}[i]
		switch {
		case slices.Contains(body.Unavailable, "member.name"):
			unknown[i]++
		case body.Data.Member.Name == want:
			known[i]++
		default:
			t.Fatalf("loan %d is of %q, want %q", body.Data.N, body.Data.Member.Name, want)
		}
	}
	if known != [3]int{rows, 0, rows} || unknown != [3]int{0, rows, 0} {
		t.Errorf("known %v, unknown %v", known, unknown)
	}
}

// joiner is an application that changes loans, members and items.
type joiner struct {
	random  *rand.Rand
	session session
	first   int64 // key of its loans
	loans   int64
	n       int64
	err     error
}

// transaction makes one. Deadlocks among writers roll it back.
func (j *joiner) transaction() {
	statements := []string{"start transaction"}
	var joins []string
	loans, n := j.loans, j.n
	for range 1 + j.random.IntN(6) {
		member, item := 1+j.random.IntN(lookupMembers+5), 1+j.random.IntN(lookupItems+50)
		text := fmt.Sprint("t", j.random.IntN(1000))
		switch what := j.random.IntN(10); {
		case what < 4:
			n++
			id, of := j.first+n, fmt.Sprint(member)
			if j.random.IntN(10) == 0 {
				of = "null"
			}
			if loans > 0 && what < 2 {
				statements = append(statements, fmt.Sprintf("update proof.loans set n = %d, member_id = %s, item_id = %d where loan_id = %d", id, of, item, j.first+1+j.random.Int64N(loans)))
			} else {
				loans++
				statements = append(statements, fmt.Sprintf("insert into proof.loans (loan_id, n, member_id, item_id) values (%d, %d, %s, %d)", j.first+loans, id, of, item))
			}
			joins = append(joins, fmt.Sprintf("insert into proof.joined select %d, (select name from proof.members where member_id = %s), (select grade from proof.members where member_id = %s), (select title from proof.items where item_id = %d)",
				id, of, of, item))
		case what < 6:
			statements = append(statements, fmt.Sprintf("update proof.members set name = '%s' where member_id = %d", text, member))
		case what < 7:
			statements = append(statements, fmt.Sprintf("delete from proof.members where member_id = %d", member), fmt.Sprintf("insert into proof.members values (%d, null, %d)", member, j.random.IntN(9)))
		case what < 8:
			statements = append(statements, fmt.Sprintf("delete from proof.items where item_id = %d", item))
		default:
			statements = append(statements, fmt.Sprintf("update proof.items set title = '%s' where item_id = %d", text, item))
		}
	}
	statements = append(append(statements, "update proof.clock set n = n + 1 where id = 1"), joins...)
	err := j.session.exec(context.Background(), strings.Join(append(statements, "commit"), ";"))
	if err != nil {
		text := strings.ToLower(err.Error())
		if !strings.Contains(text, "deadlock") && !strings.Contains(text, "duplicate") && !strings.Contains(text, "try restarting") {
			j.err = err
			return
		}
		if err := j.session.exec(context.Background(), "rollback"); err != nil {
			j.err = err
		}
		return
	}
	j.loans, j.n = loans, n
}
