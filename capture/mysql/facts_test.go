package mysql

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// told has a source read what statements do to a database, one by one or, if behind, when they all
// have run, and returns what it hands over.
func told(t *testing.T, s *testServer, behind bool, create, statements []string) []string {
	t.Helper()
	database := s.database(t)
	s.exec(t, append([]string{"USE " + database, "CREATE TABLE done (v INT)"}, create...)...)
	source := newTestSource(t, s, database)
	n := newNotes()
	n.json = true
	stop := n.capture(t, source, capture.StartOptions{})
	s.exec(t, "INSERT INTO "+database+".done VALUES (1)")
	n.await(t, "{v:1}")
	if behind {
		stop()
	}
	for i, statement := range statements {
		s.exec(t, "USE "+database, "SET NAMES utf8mb4", statement)
		if !behind {
			s.exec(t, fmt.Sprintf("INSERT INTO %s.done VALUES (%d)", database, 100+i))
			n.await(t, fmt.Sprintf("{v:%d}", 100+i))
		}
	}
	s.exec(t, "INSERT INTO "+database+".done VALUES (9)")
	if behind {
		stop = n.capture(t, source, capture.StartOptions{})
	}
	lines := n.await(t, "{v:9}")
	stop()
	return slices.DeleteFunc(lines, func(line string) bool { return line == "begin" || strings.Contains(line, "insert done") })
}

// same compares lines with what they are to end with.
func same(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.EqualFunc(got, want, strings.HasSuffix) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestAlike has the values of types that lie alike in the binlog be of the type that their column
// had when they were written.
func TestAlike(t *testing.T) {
	t.Parallel()
	const (
		uuid     = `"123e4567-e89b-12d3-a456-426655440000"`
		bytes    = `"Ej5FZ+ibEtOkVkJmVUQAAA=="`
		inet6    = `"123e:4567:e89b:12d3:a456:4266:5544::"`
		sixteen  = "x'123e4567e89b12d3a456426655440000'"
		asBinary = "(id INT PRIMARY KEY, u BINARY(16), i INET4, j LONGTEXT)"
	)
	row := func(id int, u, i, j string) string { return fmt.Sprintf("new={id:%d u:%s i:%s j:%s}", id, u, i, j) }
	for _, test := range []struct {
		name           string
		create         []string
		statements     []string
		live, atLength []string // what comes while the source follows, and when it comes late
	}{
		{"altered", []string{"CREATE TABLE t " + asBinary}, []string{
			"INSERT INTO t VALUES (1, " + sixteen + ", '192.0.2.1', '{\"a\":1}')",
			"ALTER TABLE t MODIFY u UUID, MODIFY i BINARY(4), MODIFY j JSON",
			"INSERT INTO t VALUES (2, '123e4567-e89b-12d3-a456-426655440000', x'c0000201', '{\"a\":1}')",
			"ALTER TABLE t DROP u, ADD u INET6 AFTER id, MODIFY j LONGTEXT",
			"INSERT INTO t VALUES (3, '123e:4567:e89b:12d3:a456:4266:5544:0', NULL, '{\"a\":1}')",
		}, []string{
			row(1, bytes, `"192.0.2.1"`, `"{\"a\":1}"`), row(2, uuid, `"wAACAQ=="`, `{"a":1}`), row(3, inet6, "NULL", `"{\"a\":1}"`),
		}, []string{
			row(1, bytes+" (flagged)", `"wAACAQ==" (flagged)`, `"{\"a\":1}" (flagged)`),
			row(2, bytes+" (flagged)", `"wAACAQ==" (flagged)`, `"{\"a\":1}" (flagged)`), row(3, inet6, "NULL", `"{\"a\":1}"`),
		}},
		{"made anew", []string{"CREATE TABLE t (id INT PRIMARY KEY, u UUID, i INET4, j JSON)"}, []string{
			"INSERT INTO t VALUES (1, '123e4567-e89b-12d3-a456-426655440000', NULL, '[1]')",
			"DROP TABLE t", "CREATE TABLE t " + asBinary,
			"INSERT INTO t VALUES (2, " + sixteen + ", NULL, '[1]')",
		}, []string{row(1, uuid, "NULL", "[1]"), row(2, bytes, "NULL", `"[1]"`)},
			[]string{row(1, bytes+" (flagged)", "NULL", `"[1]" (flagged)`), row(2, bytes, "NULL", `"[1]"`)}},
		{"swapped", []string{"CREATE TABLE t " + asBinary, "CREATE TABLE new (id INT PRIMARY KEY, u UUID, i INET4, j JSON)"}, []string{
			"INSERT INTO t VALUES (1, " + sixteen + ", NULL, '[1]')",
			"RENAME TABLE t TO old, new TO t",
			"INSERT INTO t VALUES (2, '123e4567-e89b-12d3-a456-426655440000', NULL, '[1]')",
		}, []string{row(1, bytes, "NULL", `"[1]"`), row(2, uuid, "NULL", "[1]")},
			[]string{row(1, bytes+" (flagged)", "NULL", `"[1]" (flagged)`), row(2, uuid, "NULL", "[1]")}},
		{"swapped in another engine", []string{"CREATE TABLE t " + asBinary + " ENGINE=MyISAM", "CREATE TABLE new (id INT PRIMARY KEY, u UUID, i INET4, j JSON) ENGINE=Aria"}, []string{
			"INSERT INTO t VALUES (1, " + sixteen + ", NULL, '[1]')",
			"RENAME TABLE t TO old, new TO t",
			"INSERT INTO t VALUES (2, '123e4567-e89b-12d3-a456-426655440000', NULL, '[1]')",
		}, []string{row(1, bytes, "NULL", `"[1]"`), row(2, uuid, "NULL", "[1]")},
			[]string{row(1, bytes+" (flagged)", "NULL", `"[1]" (flagged)`), row(2, uuid, "NULL", "[1]")}},
		{"altered otherwise", []string{"CREATE TABLE t " + asBinary}, []string{
			"INSERT INTO t VALUES (1, " + sixteen + ", NULL, '[1]')",
			"ALTER TABLE t ADD n INT",
			"INSERT INTO t VALUES (2, " + sixteen + ", NULL, '[1]', 7)",
		}, []string{row(1, bytes, "NULL", `"[1]"`), strings.TrimSuffix(row(2, bytes, "NULL", `"[1]"`), "}") + " n:7}"},
			[]string{row(1, bytes+" (flagged)", "NULL", `"[1]" (flagged)`), strings.TrimSuffix(row(2, bytes, "NULL", `"[1]"`), "}") + " n:7}"}},
		{"long ago", []string{"CREATE TABLE t " + asBinary}, []string{
			"SET STATEMENT timestamp = UNIX_TIMESTAMP() + 1800 FOR INSERT INTO t VALUES (1, " + sixteen + ", NULL, '[1]')",
			"CREATE TABLE t2 LIKE t", // which names t, so that only the clock tells
		}, []string{row(1, bytes, "NULL", `"[1]"`)}, []string{row(1, bytes, "NULL", `"[1]"`)}},
		{"dropped", []string{"CREATE TABLE t " + asBinary}, []string{
			"INSERT INTO t VALUES (1, NULL, '192.0.2.1', NULL)", "DROP TABLE t",
		}, []string{row(1, "NULL", `"192.0.2.1"`, "NULL")}, []string{row(1, "NULL", `"wAACAQ==" (flagged)`, "NULL")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			onMariaDBs(t, func(t *testing.T, s *testServer) {
				t.Run("live", func(t *testing.T) { same(t, told(t, s, false, test.create, test.statements), test.live) })
				t.Run("behind", func(t *testing.T) { same(t, told(t, s, true, test.create, test.statements), test.atLength) })
			})
		})
	}
}

// TestDoubtEnds flags the values of a table whose name may be in a statement ahead only until that
// has passed: it may have been about another.
func TestDoubtEnds(t *testing.T) {
	t.Parallel()
	onMariaDBs(t, func(t *testing.T, s *testServer) {
		insert := func(id int) string {
			return fmt.Sprintf("INSERT INTO `貸出` VALUES (%d, '123e4567-e89b-12d3-a456-426655440000')", id)
		}
		got := told(t, s, true, []string{"CREATE TABLE `貸出` (id INT PRIMARY KEY, u UUID)"}, []string{insert(1), "CREATE TABLE other (v INT)", insert(2), insert(3)})
		const uuid = `"123e4567-e89b-12d3-a456-426655440000"`
		same(t, got, []string{`new={id:1 u:"Ej5FZ+ibEtOkVkJmVUQAAA==" (flagged)}`, "new={id:2 u:" + uuid + "}", "new={id:3 u:" + uuid + "}"})
	})
}

// TestMariaVector has a VECTOR of MariaDB be a list, though it lies in the binlog as a VARBINARY
// does.
func TestMariaVector(t *testing.T) {
	t.Parallel()
	s := sharedServer(t, "mariadb118")
	create := []string{"CREATE TABLE t (id INT PRIMARY KEY, v VECTOR(2), b VARBINARY(8), w VARBINARY(7))"}
	statements := []string{
		"INSERT INTO t VALUES (1, VEC_FromText('[1,-2.5]'), x'0000803f000020c0', x'00')",
		"ALTER TABLE t MODIFY v VARBINARY(8), MODIFY b VECTOR(2)",
		"INSERT INTO t VALUES (2, x'0000803f000020c0', VEC_FromText('[1,-2.5]'), x'00')",
	}
	t.Run("live", func(t *testing.T) {
		same(t, told(t, s, false, create, statements), []string{
			`new={id:1 v:[1,-2.5] b:"AACAPwAAIMA=" w:"AA=="}`, `new={id:2 v:"AACAPwAAIMA=" b:[1,-2.5] w:"AA=="}`})
	})
	t.Run("behind", func(t *testing.T) {
		same(t, told(t, s, true, create, statements), []string{
			`new={id:1 v:"AACAPwAAIMA=" (flagged) b:"AACAPwAAIMA=" (flagged) w:"AA=="}`, `new={id:2 v:"AACAPwAAIMA=" b:[1,-2.5] w:"AA=="}`})
	})
}

// TestHiddenColumns leaves the columns out that MariaDB adds to a table, wherever the binlog has
// them.
func TestHiddenColumns(t *testing.T) {
	t.Parallel()
	onMariaDBs(t, func(t *testing.T, s *testServer) {
		create := []string{"CREATE TABLE h (id INT PRIMARY KEY, `DB_ROW_HASH_1` INT, url TEXT UNIQUE, b BLOB UNIQUE, n INT UNSIGNED, secret INT INVISIBLE)",
			"CREATE TABLE v (id INT PRIMARY KEY, url TEXT UNIQUE, n INT) WITH SYSTEM VERSIONING", "CREATE TABLE gone (id INT PRIMARY KEY, url TEXT UNIQUE, n INT)"}
		statements := []string{
			"INSERT INTO h (id, DB_ROW_HASH_1, url, b, n, secret) VALUES (1, 5, 'http://x', 'b', 4000000000, 3)", "UPDATE h SET url = 'http://y'", "DELETE FROM h",
			"INSERT INTO v VALUES (1, 'u', -1)", "UPDATE v SET n = -2", "DELETE FROM v", "INSERT INTO gone VALUES (1, 'u', -1)", "UPDATE gone SET n = -2", "DROP TABLE gone",
		}
		for _, behind := range []bool{false, true} {
			t.Run(fmt.Sprint(behind), func(t *testing.T) {
				same(t, told(t, s, behind, create, statements), []string{
					`old=- new={id:1 DB_ROW_HASH_1:5 url:"http://x" b:"Yg==" n:4000000000 secret:3}`,
					`old={id:1 DB_ROW_HASH_1:5 url:"http://x" b:"Yg==" n:4000000000 secret:3} new={id:1 DB_ROW_HASH_1:5 url:"http://y" b:"Yg==" n:4000000000 secret:3}`,
					`old={id:1 DB_ROW_HASH_1:5 url:"http://y" b:"Yg==" n:4000000000 secret:3} new=-`,
					`old=- new={id:1 url:"u" n:-1}`, `old={id:1 url:"u" n:-1} new={id:1 url:"u" n:-2}`, `old={id:1 url:"u" n:-2} new=-`,
					`old=- new={id:1 url:"u" n:-1}`, `old={id:1 url:"u" n:-1} new={id:1 url:"u" n:-2}`,
				})
			})
		}
	})
}

// TestSequences leaves sequences out, whose values are in the binlog as inserted rows, but not
// tables that look like one.
func TestSequences(t *testing.T) {
	t.Parallel()
	onMariaDBs(t, func(t *testing.T, s *testServer) {
		lines := told(t, s, false, []string{"CREATE SEQUENCE sq NOCACHE", "CREATE TABLE t (id INT PRIMARY KEY DEFAULT NEXTVAL(sq))"}, []string{
			"DO NEXTVAL(sq)", "DO SETVAL(sq, 40)", "INSERT INTO t () VALUES ()", "CREATE TABLE copy AS SELECT * FROM sq",
		})
		same(t, lines, []string{"insert t old=- new={id:41}", "cycle_option:0 cycle_count:0}"})
		lines = told(t, s, true, []string{"CREATE SEQUENCE sq NOCACHE"}, []string{"DO NEXTVAL(sq)", "DROP SEQUENCE sq"})
		if len(lines) != 1 || !strings.Contains(lines[0], "it may be a sequence") {
			t.Errorf("of a dropped sequence came %q", lines)
		}
	})
}

// TestOldTemporals decodes MariaDB's older storage of times, whose width only the catalog tells, as
// the server does; where it does not tell, the rows are parked, and those of other tables come
// right.
func TestOldTemporals(t *testing.T) {
	t.Parallel()
	for _, flavour := range flavours[1:] {
		t.Run(flavour, func(t *testing.T) {
			t.Parallel()
			s := ownServer(t, flavour, settings{"mysql56_temporal_format": "OFF"})
			t.Run("values", func(t *testing.T) { oldTemporalValues(t, s) })
			t.Run("not told", func(t *testing.T) { oldTemporalsUntold(t, s) })
			t.Run("versioned", func(t *testing.T) {
				same(t, told(t, s, false, []string{"CREATE TABLE v (id INT PRIMARY KEY, at TIME(3)) WITH SYSTEM VERSIONING"}, []string{
					"INSERT INTO v VALUES (1, '01:02:03.125')", "UPDATE v SET at = '02:00:00.5'", "DELETE FROM v", "DELETE HISTORY FROM v",
				}), []string{
					`insert v old=- new={id:1 at:"01:02:03.125"}`, `update v old={id:1 at:"01:02:03.125"} new={id:1 at:"02:00:00.500"}`, `delete v old={id:1 at:"02:00:00.500"} new=-`,
				})
			})
		})
	}
}

func oldTemporalValues(t *testing.T, s *testServer) {
	columns := "id INT PRIMARY KEY"
	for digits := range 7 {
		columns += fmt.Sprintf(", t%[1]d TIME(%[1]d), d%[1]d DATETIME(%[1]d), s%[1]d TIMESTAMP(%[1]d) NULL", digits)
	}
	values := []string{"'838:59:59.999999', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07.999999'", "'-838:59:59.999999', '0000-00-00', '0000-00-00'",
		"'-00:00:00.9', '2024-00-05 01:02:03.454321', '1970-01-01 00:00:01'", "'00:00:00', '0001-01-01 00:00:00.000001', '2026-11-22 01:02:03.120000'", "NULL, NULL, NULL"}
	database := s.database(t)
	statements := []string{"USE " + database, "SET sql_mode = ''", "SET time_zone = '+00:00'", "CREATE TABLE t (" + columns + ", n INT, u INT UNSIGNED)"}
	for i, v := range values {
		statements = append(statements, fmt.Sprintf("INSERT INTO t VALUES (%d, %s, -1, 4000000000)", i, strings.Join(slices.Repeat([]string{v}, 7), ", ")))
	}
	source := newTestSource(t, s, database)
	n := newNotes()
	stop := n.capture(t, source, capture.StartOptions{})
	s.exec(t, append(statements, "UPDATE t SET n = -2 WHERE id = 0", "CREATE TABLE done (v INT)", "INSERT INTO done VALUES (1)")...)
	lines := n.await(t, "insert done")
	stop()
	rows, err := s.Query(t.Context(), database, "SELECT * FROM t ORDER BY id")
	capturetest.Must(t, err)
	names, err := s.Query(t.Context(), database, "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 't' ORDER BY ordinal_position")
	capturetest.Must(t, err)
	for _, row := range rows {
		var parts []string
		for i, v := range row {
			switch {
			case v == "":
				v = "NULL"
			case strings.HasPrefix(names[i][0], "s") && !strings.HasPrefix(v, "0000"):
				v += "+00"
			}
			parts = append(parts, names[i][0]+":"+v)
		}
		want := "new={" + strings.Join(parts, " ") + "}"
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasSuffix(line, want) }) {
			t.Errorf("%s did not come, but\n%s", want, strings.Join(lines, "\n"))
		}
	}
	compareCatalog(t, source, database, n.tables)
}

func oldTemporalsUntold(t *testing.T, s *testServer) {
	create := []string{"CREATE TABLE d (id INT PRIMARY KEY, at TIMESTAMP(6) NULL, n INT)", "CREATE TABLE a LIKE d", "CREATE TABLE t (id INT PRIMARY KEY)",
		"CREATE DATABASE IF NOT EXISTS legacy", "CREATE TABLE IF NOT EXISTS legacy.legacy LIKE d"}
	got := told(t, s, true, create, []string{
		"BEGIN NOT ATOMIC START TRANSACTION; INSERT INTO legacy.legacy VALUES (1, '2026-11-22 01:02:03.123456', 7), (2, NULL, 7);" +
			" INSERT INTO d VALUES (1, '2026-11-22 01:02:03.123456', 7), (2, NULL, 7); INSERT INTO t VALUES (1); COMMIT; END",
		"INSERT INTO a VALUES (1, '2026-11-22 01:02:03.123456', 7)", "DROP TABLE d", "DROP TABLE legacy.legacy",
		"ALTER TABLE a MODIFY at DATETIME(3)", "INSERT INTO a VALUES (2, '2026-11-22 01:02:03.123', 8)",
	})
	if len(got) != 4 || !strings.Contains(got[0], ".d: column at: the digits of its fraction: the catalog does not tell any more") ||
		!strings.HasSuffix(got[1], "insert t old=- new={id:1}") || !strings.Contains(got[2], ".a: column at: ") ||
		!strings.HasSuffix(got[3], `insert a old=- new={id:2 at:"2026-11-22T01:02:03.123" n:8}`) {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	// The changes behind them have the ordinals that they have when the catalog tells.
	live := told(t, s, false, create[:3], []string{
		"BEGIN NOT ATOMIC START TRANSACTION; INSERT INTO d VALUES (1, '2026-11-22 01:02:03.123456', 7), (2, NULL, 7); INSERT INTO t VALUES (1); COMMIT; END",
	})
	late := told(t, s, true, create[:3], []string{
		"BEGIN NOT ATOMIC START TRANSACTION; INSERT INTO d VALUES (1, '2026-11-22 01:02:03.123456', 7), (2, NULL, 7); INSERT INTO t VALUES (1); COMMIT; END", "DROP TABLE d",
	})
	if len(live) != 3 || len(late) != 2 || live[2] != late[1] {
		t.Errorf("while it was there\n%s\nafter it was dropped\n%s", strings.Join(live, "\n"), strings.Join(late, "\n"))
	}
}

// TestGeneratedColumns has generated columns be what the binlog has of them, and never be taken for
// unchanged where it leaves them out; the catalog's tables say where that is.
func TestGeneratedColumns(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		s.exec(t, "USE "+database, "CREATE TABLE done (v INT)", "CREATE TABLE t (id INT PRIMARY KEY, n INT, o INT DEFAULT 7, s INT AS (n + 100) STORED, v INT AS (n + 1) VIRTUAL)")
		source := newTestSource(t, s, database)
		n := newNotes()
		stop := n.capture(t, source, capture.StartOptions{})
		s.exec(t, "USE "+database, "INSERT INTO t (id, n) VALUES (1, 1)", "UPDATE t SET n = 2", "SET binlog_row_image = MINIMAL", "UPDATE t SET n = 3", "UPDATE t SET o = 8",
			"SET binlog_row_image = FULL", "DELETE FROM t", "INSERT INTO done VALUES (1)")
		lines := slices.DeleteFunc(n.await(t, "insert done"), func(line string) bool { return line == "begin" || strings.Contains(line, "insert done") })
		stop()
		want := map[string][]string{
			"mysql": {"update t old={id:1 n:1 o:7 s:101 v:2} new={id:1 n:2 o:7 s:102 v:3}", "update t old={id:1 n:? o:? s:? v:?} new={id:= n:3 o:= s:103 v:4}",
				"update t old={id:1 n:? o:? s:? v:?} new={id:= n:= o:8 s:= v:=}", "delete t old={id:1 n:3 o:8 s:103 v:4} new=-"},
			"mariadb": {"update t old={id:1 n:1 o:7 s:101 v:2} new={id:1 n:2 o:7 s:102 v:3}", "update t old={id:1 n:? o:? s:? v:?} new={id:= n:3 o:= s:103 v:?}",
				"update t old={id:1 n:? o:? s:? v:?} new={id:= n:= o:8 s:103 v:?}", "delete t old={id:1 n:3 o:8 s:103 v:4} new=-"},
			"mariadb118": {"update t old={id:1 n:1 o:7 s:? v:?} new={id:1 n:2 o:7 s:? v:?}", "update t old={id:1 n:? o:? s:? v:?} new={id:= n:3 o:= s:? v:?}",
				"update t old={id:1 n:? o:? s:? v:?} new={id:= n:= o:8 s:? v:?}", "delete t old={id:1 n:3 o:8 s:? v:?} new=-"},
		}[s.flavour]
		same(t, lines, append([]string{"insert t old=- new={id:1 n:1 o:7 s:101 v:2}"}, want...))
		tables, err := source.Tables(t.Context(), []string{database + ".t"})
		capturetest.Must(t, err)
		for _, c := range tables[0].Columns {
			if omitted := s.flavour == "mariadb118" && (c.Name == "s" || c.Name == "v"); (c.Omitted != "") != omitted {
				t.Errorf("column %s: %q", c.Name, c.Omitted)
			}
		}
	})
}

// TestParkedFacts decodes a parked change by what its table was when the change was made, whatever
// it is since; what was not known then stays so.
func TestParkedFacts(t *testing.T) {
	t.Parallel()
	onMariaDBs(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		const uuid = "123e4567-e89b-12d3-a456-426655440000"
		s.exec(t, "USE "+database, "CREATE TABLE t (id INT PRIMARY KEY, u UUID, v VARBINARY(8))")
		source := newTestSource(t, s, database)
		n := newNotes()
		stop := n.capture(t, source, capture.StartOptions{})
		s.exec(t, "INSERT INTO "+database+".t VALUES (1, '"+uuid+"', x'00')")
		n.await(t, "u:"+uuid)
		stop()
		decode := func() (string, capture.Kind) {
			change, err := source.DecodeRaw(t.Context(), n.raw)
			capturetest.Must(t, err)
			return string(change.New[1].Text), change.Table.Columns[1].Type.Kind
		}
		s.exec(t, "ALTER TABLE "+database+".t MODIFY u BINARY(16)")
		if text, kind := decode(); text != uuid || kind != capture.Text {
			t.Errorf("got %q of kind %d", text, kind)
		}
		s.exec(t, "INSERT INTO "+database+".t VALUES (2, x'123e4567e89b12d3a456426655440000', x'00')", "DROP TABLE "+database+".t")
		n.json = true
		stop = n.capture(t, source, capture.StartOptions{})
		// Without vectors a VARBINARY is nothing else.
		v := map[string]string{"mariadb": `v:"AA=="}`, "mariadb118": `v:"AA==" (flagged)}`}[s.flavour]
		n.await(t, `u:"Ej5FZ+ibEtOkVkJmVUQAAA==" (flagged) `+v)
		stop()
		s.exec(t, "CREATE TABLE "+database+".t (id INT PRIMARY KEY, u UUID, v VARBINARY(8))")
		if text, kind := decode(); len(text) != 16 || kind != capture.Untyped {
			t.Errorf("got %q of kind %d", text, kind)
		}
	})
}

// TestScoutKnowsTheEnd: what says that it has no more to send before the binlog's end has told nothing.
func TestScoutKnowsTheEnd(t *testing.T) {
	t.Parallel()
	onMariaDBs(t, func(t *testing.T, s *testServer) {
		source := newTestSource(t, s, s.database(t))
		h := source.address.hosts[0]
		end, err := source.mariaEnd(t.Context(), h)
		capturetest.Must(t, err)
		beyond := maps.Clone(end)
		for domain, g := range end {
			g.number += 1 << 40
			beyond[domain] = g
		}
		for _, test := range []struct {
			end   mariaSet
			whole bool
		}{{end, true}, {beyond, false}} {
			sc := scout{source: source}
			if whole, err := sc.read(t.Context(), h, place{maria: maps.Clone(end)}, time.Time{}, test.end); err != nil || whole != test.whole {
				t.Errorf("up to %s: whole %t, %v", test.end, whole, err)
			}
		}
	})
}
