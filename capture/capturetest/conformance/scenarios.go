package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// scenario is one script. Its steps run one after the other, each on the session
// it names, so that transactions overlap exactly as written.
type scenario struct {
	name   string
	tables []table
	steps  []step
}

// step is a statement on a session; without a statement it ends the session.
type step struct{ session, sql string }

// alone runs statements on the first session.
func alone(statements ...string) []step {
	steps := make([]step, len(statements))
	for i, sql := range statements {
		steps[i].sql = sql
	}
	return steps
}

// rows is one insert of rows from first to last.
func rows(table string, first, last int) string {
	var values []string
	for i := first; i <= last; i++ {
		values = append(values, fmt.Sprintf("(%d, 'title %d')", i, i))
	}
	return "insert into " + table + " values " + strings.Join(values, ", ")
}

// The tables that most scripts are about.
var (
	items   = table{"items", "id integer primary key, title varchar(100)"}
	loans   = table{"loans", "id integer primary key, item integer, status varchar(20), fee decimal(10,2), due date, big bigint"}
	members = table{"members", "branch varchar(10), no integer, name varchar(100), primary key (branch, no)"}
)

// scenarios returns the scripts in a dialect.
func scenarios(d *Dialect) []scenario {
	list := slices.Concat(ofRows(d), ofTransactions(), ofTables(), ofDialects(d))
	if d.Message != nil {
		list = append(list, scenario{"messages", []table{items}, alone(
			"begin", d.Message(`{"actor":{"id":"a1"}}`), "insert into items values (1, 'a')", d.Message("second"), "insert into items values (2, 'b')", "commit",
			"begin", d.Message("never"), "insert into items values (3, 'c')", "rollback",
			"insert into items values (4, 'd')",
		)})
	}
	return list
}

// ofRows are about what a change tells of its row.
func ofRows(d *Dialect) []scenario {
	return []scenario{
		{"rows", []table{loans}, alone(
			"insert into loans values (1, 10, 'OPEN', 0.50, '2026-11-22', 9007199254740993)",
			"insert into loans (id) values (2)",
			"update loans set status = 'LOST', fee = 12345678.90 where id = 1",
			"update loans set status = null, due = null where id = 1",
			"update loans set status = 'OPEN', big = -9223372036854775808 where id = 2",
			"delete from loans where id = 1",
			"insert into loans values (1, 11, '', -0.01, '0999-01-01', 0)",
		)},
		{"texts", []table{items}, alone(
			`insert into items values (1, 'naïve 漢字 🙂')`,
			`insert into items values (2, '')`,
			`insert into items values (3, ' two  blanks ')`,
			`insert into items values (4, 'it''s "quoted", {=} 100%')`,
			"insert into items values (5, 'two\nlines\tand a tab')",
			`insert into items values (6, 'null')`,
		)},
		{"keys", []table{items, members}, alone(
			"insert into items values (1, 'a'), (2, 'b')",
			"update items set id = 3 where id = 1",
			"update items set id = id + 10, title = 'moved' where id = 3",
			"insert into members values ('MAIN', 1, 'Ada'), ('EAST', 1, 'Alan')",
			"update members set branch = 'WEST' where branch = 'EAST' and no = 1",
			"delete from members where no = 1 and branch = 'MAIN'",
		)},
		{"without_key", []table{{"notes", "id integer, body varchar(100)"}}, alone(
			"insert into notes values (1, 'same'), (1, 'same')",
			"update notes set body = 'other' where id = 1",
			"delete from notes where body = 'other'",
		)},
		{"large_values", []table{{"pages", "id integer primary key, body " + d.LongText + ", title varchar(100)"}}, alone(
			"insert into pages values (1, repeat('0123456789', 200000), 'two megabytes')",
			"update pages set title = 'the body did not change' where id = 1",
			"update pages set body = repeat('漢', 100000) where id = 1",
			"update pages set body = null where id = 1",
			"update pages set body = repeat('a', 70000), title = 'both' where id = 1",
			"delete from pages where id = 1",
		)},
	}
}

// ofTransactions are about what belongs together, in which order, and what never happened.
func ofTransactions() []scenario {
	return []scenario{
		{"rollback", []table{items}, alone(
			"begin", rows("items", 1, 50), "rollback",
			"insert into items values (1, 'kept')",
			"begin", "update items set title = 'never' where id = 1", "delete from items where id = 1", "rollback",
			"update items set title = 'still here' where id = 1",
		)},
		{"savepoints", []table{items}, alone(
			"begin", rows("items", 1, 500),
			"savepoint one", rows("items", 501, 1000), "rollback to savepoint one",
			rows("items", 2001, 2005), "commit",
		)},
		{"nested_savepoints", []table{items}, alone(
			"begin", "insert into items values (1, 'outer')",
			"savepoint one", "insert into items values (2, 'one')",
			"savepoint two", "insert into items values (3, 'two')", "rollback to savepoint two",
			"insert into items values (4, 'after two')", "release savepoint one",
			"savepoint three", "update items set title = 'never' where id = 1", "rollback to savepoint three",
			"commit",
		)},
		{"large_transaction", []table{items}, alone(
			"begin", rows("items", 1, 5000), rows("items", 5001, 10000), "delete from items where id <= 10000", "commit",
			"insert into items values (1, 'after')",
		)},
		{"several_tables", []table{items, loans, members}, alone(
			"begin",
			"insert into items values (1, 'a')",
			"insert into members values ('MAIN', 1, 'Ada')",
			"insert into loans (id, item, status) values (1, 1, 'OPEN')",
			"update items set title = 'on loan' where id = 1",
			"update loans set status = 'LOST' where id = 1",
			"delete from members where no = 1",
			"delete from items where id = 1",
			"commit",
		)},
		{"interleaved", []table{items}, []step{
			{"a", "begin"}, {"a", "insert into items values (1, 'a first')"},
			{"b", "begin"}, {"b", "insert into items values (2, 'b first')"},
			{"c", "begin"}, {"c", "insert into items values (3, 'c first')"},
			{"a", "insert into items values (4, 'a second')"},
			{"b", "insert into items values (5, 'b second')"},
			{"c", "rollback"},
			{"b", "commit"},
			{"", "insert into items values (6, 'alone, between b and a')"},
			{"a", "update items set title = 'a third' where id = 1"},
			{"a", "commit"},
		}},
		{"empty", []table{items}, alone(
			"begin", "commit",
			"begin", "select count(*) from items", "commit",
			"update items set title = 'nobody' where id = 99",
			"begin", "savepoint one", "insert into items values (1, 'never')", "rollback to savepoint one", "commit",
			"insert into items values (1, 'first')",
		)},
	}
}

// ofTables are about tables that change, and tables that nobody asked for.
func ofTables() []scenario {
	return []scenario{
		{"schema_change", []table{items}, alone(
			"insert into items values (1, 'two columns')",
			"alter table items add column branch varchar(10)",
			"insert into items values (2, 'three columns', 'MAIN')",
			"update items set branch = 'EAST' where id = 1",
			"alter table items drop column title",
			"insert into items values (3, 'WEST')",
			"alter table items rename column branch to place",
			"update items set place = 'NORTH' where id = 3",
			"delete from items where id = 2",
		)},
		{"unrelated_table", []table{items}, alone(
			"create table elsewhere (id integer primary key)",
			"begin", "insert into elsewhere values (1)", "insert into items values (1, 'wanted')", "insert into elsewhere values (2)", "commit",
			"insert into elsewhere values (3)",
			"insert into items values (2, 'wanted too')",
		)},
	}
}
