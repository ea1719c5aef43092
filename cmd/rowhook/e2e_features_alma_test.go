package main_test

import (
	"testing"
)

// TestFeatureNative is the first of the library's profiles: a loan's return with its filters.
func TestFeatureNative(t *testing.T) {
	t.Parallel()
	l := newLibrary(t, nil).open()
	l.exec(
		`insert into catalog.items (item_pid, title) values ('i1', 'A'), ('i2', 'B')`,
		`insert into circulation.members (member_id, name, branch) values (1, 'Ada', 'MAIN')`,
		`insert into circulation.loans (loan_id, item_pid, member_id, branch, branch_name, due_at)
			values (1, 'i1', 1, 'WEST', 'West', now()), (2, 'i2', 1, 'MAIN', 'Main', now())`,
	)
	l.exec(`update circulation.loans set returned_at = now(), status = 'RETURNED' where loan_id = 1`)
	l.exec(as("aa010001", "Mina", "web_api"), `update circulation.loans set returned_at = now(), status = 'RETURNED' where loan_id = 2`)
	l.exec(`update circulation.loans set returned_at = null, status = 'OPEN'`)
	l.exec(as("aa010001", "Mina", "desk"), `update circulation.loans set returned_at = now(), status = 'RETURNED' where loan_id = 2`)
	got := l.await("desk", 1, "one return", posted(`"loan.returned"`))[0]
	if got.at(t, "actor", "name") != "Mina" || got.at(t, "operation") != "desk" || got.at(t, "key", "loan_id") != float64(2) {
		t.Errorf("%s", got.body)
	}
}
