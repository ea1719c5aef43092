package conformance

import "slices"

// ofDialects are about what databases say or show differently.
func ofDialects(d *Dialect) []scenario {
	return []scenario{
		{"truncate", []table{items, loans}, alone(
			"insert into items values (1, 'a')",
			"truncate items",
			"begin", "insert into items values (2, 'b')", "truncate items", "insert into items values (3, 'c')", "commit",
			"begin", "truncate loans", "rollback",
			"insert into loans (id) values (1)",
		)},
		{"cascade", []table{items, {"copies", "id integer primary key, item integer, foreign key (item) references items (id) on delete cascade"}}, alone(
			"insert into items values (1, 'a'), (2, 'b')",
			"insert into copies values (11, 1), (12, 1), (21, 2)",
			"delete from items where id = 1",
		)},
		{"shapes", []table{shapes(d)}, alone(
			"insert into shapes values (1, -32768, 123456789012345.12000, 0.1, 0.1, 'ABC', '2024-02-29', '23:59:59.999999',"+
				" '2026-11-22 09:41:00.123456', '2026-11-22 09:41:00.123456', "+d.Hex("00ff10")+")",
			"insert into shapes values (2, 32767, -0.00001, 1e300, -1234.5, 'd e', '1999-12-31', '00:00:00',"+
				" '1999-12-31 23:59:59', '1000-01-01 00:00:00', "+d.Hex("")+")",
			"update shapes set moment = '2026-11-22 00:00:00.5', wall = '9999-12-31 23:59:59.999999', approx = -2.5e-10, single = 3 where id = 1",
			"insert into shapes (id) values (3)",
		)},
		{"boolean", []table{{"flags", "id integer primary key, flag boolean"}}, alone(
			"insert into flags values (1, true), (2, false), (3, null)",
			"update flags set flag = false where id = 1",
		)},
		{"json", []table{{"records", "id integer primary key, record " + d.JSON}}, alone(
			`insert into records values (1, '{"title": "漢字", "tags": ["a", null, true, 1.5], "of": {"n": 12345678901}}')`,
			`insert into records values (2, '[]'), (3, 'null'), (4, '"text"'), (5, null)`,
		)},
		{"prepared", []table{items}, prepared(d)},
	}
}

// shapes is a table of the types whose texts databases do not agree on.
func shapes(d *Dialect) table {
	return table{"shapes", "id integer primary key, small smallint, exact decimal(20,5), approx double precision," +
		" single float(24), code char(3), day date, clock time(6), moment " + d.Instant + ", wall " + d.DateTime + ", content " + d.Bytes}
}

// prepared is two transactions that are prepared, and finished when others have come
// in between and their sessions are gone: the first is committed, the second rolled back.
func prepared(d *Dialect) []step {
	first, second := d.Prepared("first"), d.Prepared("second")
	prepare := func(session string, p Prepared, sql string) []step {
		var steps []step
		for _, statement := range slices.Concat(p.Begin, []string{sql}, p.Prepare, []string{""}) {
			steps = append(steps, step{session, statement})
		}
		return steps
	}
	return slices.Concat(
		prepare("first", first, "insert into items values (1, 'prepared first')"),
		prepare("second", second, "insert into items values (2, 'never')"),
		alone("insert into items values (3, 'committed before')"),
		alone(first.Commit...),
		alone("update items set title = 'committed after' where id = 1"),
		alone(second.Rollback...),
		alone("insert into items values (2, 'in its place')"),
	)
}
