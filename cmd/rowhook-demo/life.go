package main

import (
	"fmt"
	"strings"
)

// The receivers: the circulation desk, and the catalogue's search index.
const (
	desk   = "desk"
	search = "search"
)

// act is one transaction in the life of the library, and what must come of it.
type act struct {
	does   string   // for people
	sql    []string // one transaction, each statement for one row, as every kind of database takes it
	who    string   // acts, as far as the database is told
	how    string
	events []expectation
	undone bool // it is rolled back: nothing must come of it
}

func loanEvent(kind string, id int) expectation {
	return expectation{desk, "loan." + kind, fmt.Sprint("loan_id ", id)}
}

func memberEvent(kind string, id int) expectation {
	return expectation{desk, "user." + kind, fmt.Sprint("member_id ", id)}
}

func itemEvent(kind, pid string) expectation {
	return expectation{search, "item." + kind, "item_pid " + pid}
}

func buys(pid, title, author string) act {
	return act{
		does:   "buys " + title,
		sql:    []string{fmt.Sprintf("insert into catalog.items (item_pid, title, author, price) values ('%s', '%s', '%s', 12.50)", pid, title, author)},
		events: []expectation{itemEvent("created", pid)},
	}
}

func joins(id int, name string) act {
	return act{
		does: name + " joins",
		sql: []string{fmt.Sprintf("insert into circulation.members (member_id, name, email, branch) values (%d, '%s', '%s@example.org', 'MAIN')",
			id, name, strings.ToLower(name))},
		events: []expectation{memberEvent("created", id)},
	}
}

func lends(id int, pid string, member int) act {
	return act{
		does: fmt.Sprintf("lends %s to member %d", pid, member),
		sql: []string{fmt.Sprintf(`insert into circulation.loans (loan_id, item_pid, member_id, branch, branch_name, due_at)
	values (%d, '%s', %d, 'MAIN', 'Main library', now() + interval '28' day)`, id, pid, member)},
		events: []expectation{loanEvent("created", id)},
	}
}

func renews(id int) act {
	return act{
		does:   fmt.Sprintf("renews loan %d", id),
		sql:    []string{fmt.Sprintf("update circulation.loans set due_at = due_at + interval '14' day, renewals = renewals + 1 where loan_id = %d", id)},
		events: []expectation{loanEvent("renewed", id)},
	}
}

func takesBack(id int) act {
	return act{
		does:   fmt.Sprintf("takes loan %d back", id),
		sql:    []string{fmt.Sprintf("update circulation.loans set returned_at = now(), status = 'RETURNED' where loan_id = %d", id)},
		events: []expectation{loanEvent("returned", id)},
	}
}

func reopens(id int) act {
	return act{
		does:   fmt.Sprintf("it was the wrong book: loan %d is open again", id),
		sql:    []string{fmt.Sprintf("update circulation.loans set returned_at = null, status = 'OPEN' where loan_id = %d", id)},
		events: []expectation{loanEvent("reopened", id)},
	}
}

func loses(id int) act {
	return act{
		does:   fmt.Sprintf("gives loan %d up as lost", id),
		sql:    []string{fmt.Sprintf("update circulation.loans set status = 'LOST' where loan_id = %d", id)},
		events: []expectation{loanEvent("lost", id)},
	}
}

func notes(id int) act {
	return act{
		does: fmt.Sprintf("notes something internal on loan %d (no rule wants it)", id),
		sql:  []string{fmt.Sprintf("update circulation.loans set internal_note = 'ask about the coffee stain' where loan_id = %d", id)},
	}
}

func retitles(pid, title string) act {
	return act{
		does:   "corrects the title of " + pid,
		sql:    []string{fmt.Sprintf("update catalog.items set title = '%s', updated_at = now() where item_pid = '%s'", title, pid)},
		events: []expectation{itemEvent("updated", pid)},
	}
}

// says has the transaction tell who acts, and how.
func says(who, how string, a act) act {
	a.does = fmt.Sprintf("%s, by %s at the %s", a.does, who, how)
	a.who, a.how = who, how
	return a
}

func regretted() act {
	a := lends(900, "b-3", 1)
	a.sql = append(a.sql, "delete from circulation.loans where loan_id = 1", "update catalog.items set title = 'never' where item_pid = 'b-1'")
	return act{does: "a transaction of three changes is rolled back", sql: a.sql, undone: true}
}

func clearsUp(loan, member int, pid string) act {
	return act{
		does: fmt.Sprintf("deletes loan %d, member %d and %s in one transaction", loan, member, pid),
		sql: []string{
			fmt.Sprintf("delete from circulation.loans where loan_id = %d", loan),
			fmt.Sprintf("delete from circulation.members where member_id = %d", member),
			fmt.Sprintf("delete from catalog.items where item_pid = '%s'", pid),
		},
		events: []expectation{loanEvent("deleted", loan), memberEvent("deleted", member), itemEvent("deleted", pid)},
	}
}

// morning is what happens while all is well.
func morning() []act {
	return []act{
		buys("b-1", "Structure and Interpretation", "Abelson"),
		buys("b-2", "The Mythical Man-Month", "Brooks"),
		buys("b-3", "Transaction Processing", "Gray"),
		joins(1, "Ada"),
		joins(2, "Grace"),
		says("Mina", "desk", lends(1, "b-1", 1)),
		lends(2, "b-2", 2),
		renews(1),
		says("Grace", "kiosk", takesBack(2)),
		reopens(2),
		notes(1),
		regretted(),
	}
}

// outage is what happens while the desk's receiver is away.
func outage() []act {
	return []act{
		takesBack(2),
		lends(3, "b-3", 1),
		renews(3),
		retitles("b-2", "The Mythical Man-Month, 2nd edition"),
		renews(1),
		takesBack(3),
		loses(1),
	}
}

// absence is what happens while rowhook itself is gone.
func absence() []act {
	return []act{
		buys("b-4", "Database System Concepts", "Silberschatz"),
		joins(3, "Edsger"),
		lends(4, "b-2", 3),
		takesBack(4),
		retitles("b-3", "Transaction Processing: Concepts"),
	}
}

// rush is one transaction of many rows.
func rush(loans int) act {
	a := act{does: fmt.Sprintf("the summer reading list: %d loans and their renewals in one transaction", loans)}
	for id := 1000; id < 1000+loans; id++ {
		for _, one := range []act{lends(id, "b-2", 2), renews(id)} {
			a.sql = append(a.sql, one.sql...)
			a.events = append(a.events, one.events...)
		}
	}
	return a
}
