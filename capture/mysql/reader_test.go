package mysql

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// newReader returns a reader of a source that streams.
func newReader(t testing.TB, s *Source) capture.Reader {
	t.Helper()
	r := s.Reader()
	t.Cleanup(r.Close)
	return r
}

// readAll reads a table in chunks and returns its rows' lines and keys.
func readAll(t testing.TB, r capture.Reader, n *notes, what capture.ReadRequest) (lines []string, keys [][]string) {
	t.Helper()
	_, err := r.Describe(t.Context(), what.Table)
	capturetest.Must(t, err)
	for chunks := 0; ; chunks++ {
		chunk, err := r.Read(t.Context(), &what)
		capturetest.Must(t, err)
		for _, row := range chunk.Rows {
			lines = append(lines, n.row(chunk.Table, row))
			key, ok := chunk.Table.RowKey(row)
			if !ok {
				t.Fatalf("a row without its key: %s", n.row(chunk.Table, row))
			}
			keys = append(keys, key)
			what.After = key
		}
		if !chunk.More {
			return lines, keys
		}
		if chunks > 1000 {
			t.Fatal("there is no end")
		}
	}
}

// TestReaderReadsTheStreamsTexts holds that a row reads as the stream has it, in every type.
func TestReaderReadsTheStreamsTexts(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		cases := append(append([]typeCase{}, commonTypes...), map[string][]typeCase{"mysql": mysqlTypes, "mariadb": mariadbTypes}[s.kind]...)
		cases = append(cases, typeCase{"int(8) zerofill", []string{"7"}}, typeCase{"decimal(8,2) zerofill", []string{"0.5", "12.25"}})
		source := newTestSource(t, s, database)
		n := newNotes()
		n.json = true
		stop := n.capture(t, source, capture.StartOptions{})
		defer stop()
		statements := []string{"USE " + database, "SET NAMES utf8mb4", "SET sql_mode = ''", "SET time_zone = '+00:00'"}
		var tables []string
		for i, c := range cases {
			table := fmt.Sprintf("t%03d", i)
			tables = append(tables, table)
			statements = append(statements, "CREATE TABLE "+table+" (id INT PRIMARY KEY, v "+c.definition+")")
			for number, v := range append(slices.Clone(c.values), "NULL") {
				statements = append(statements, fmt.Sprintf("INSERT INTO %s VALUES (%d, %s)", table, number, v))
			}
		}
		s.exec(t, append(statements, "CREATE TABLE done (v int)", "INSERT INTO done VALUES (1)")...)
		streamed := map[string][]string{}
		for _, line := range n.await(t, "insert done") {
			if _, rest, ok := strings.Cut(line, "insert "); ok {
				table, row, _ := strings.Cut(rest, " ")
				_, row, _ = strings.Cut(row, "new=")
				streamed[table] = append(streamed[table], row)
			}
		}
		r := newReader(t, source)
		shown := newNotes()
		shown.json = true
		for i, table := range tables {
			got, _ := readAll(t, r, shown, capture.ReadRequest{Table: database + "." + table, Limit: 2})
			if !slices.Equal(got, streamed[table]) {
				t.Errorf("%s reads\n%s\nand streams\n%s", cases[i].definition, strings.Join(got, "\n"), strings.Join(streamed[table], "\n"))
			}
		}
	})
}

// TestReaderPages holds that every row is read once, whatever the key is made of.
func TestReaderPages(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		source := newTestSource(t, s, database)
		n := newNotes()
		defer n.capture(t, source, capture.StartOptions{})()
		words := []string{"a", "B", "ö", "z", "é!", "", "a b", "a-b", "ab", "a''b", `a\\b`, "漢", "🙂", "Zz"}
		statements := []string{"USE " + database, "SET NAMES utf8mb4", "SET time_zone = '+00:00'", "SET sql_mode = ''"}
		counts := map[string]int{}
		add := func(table, columns string, rows ...string) {
			statements = append(statements, "CREATE TABLE "+table+" ("+columns+")", "INSERT INTO "+table+" VALUES ("+strings.Join(rows, "), (")+")")
			counts[strings.Trim(table, "`")] = len(rows)
		}
		var quoted, pairs []string
		for i, w := range words {
			quoted = append(quoted, "'"+w+"'")
			pairs = append(pairs, fmt.Sprintf("%d, '%s'", i%3, w))
		}
		add("numbers", "id BIGINT UNSIGNED PRIMARY KEY", "18446744073709551615", "0", "1", "9223372036854775808", "10", "9")
		add("decimals", "id DECIMAL(20,5) PRIMARY KEY", "-1.5", "0", "100", "-1000", "0.00001")
		add("words", "w VARCHAR(20) CHARACTER SET utf8mb4 PRIMARY KEY", quoted...)
		add("bin", "w VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY", quoted...)
		add("western", "w VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_german1_ci PRIMARY KEY", "'a'", "'B'", "'é'", "'z'", "'ü'", "'€'")
		add("pair", "n INT, w VARCHAR(20) CHARACTER SET utf8mb4, PRIMARY KEY (n, w)", pairs...)
		add("labels", "e ENUM('z', 'a', 'ü', 'b'), n INT, PRIMARY KEY (e, n)", "'z', 1", "'a', 1", "'ü', 2", "'b', 1", "'b', 2")
		add("bytes", "b VARBINARY(9) PRIMARY KEY", "x'00'", "x'00ff'", "x'ff'", "x''", "x'41'")
		add("times", "t TIMESTAMP(3), d DATE, PRIMARY KEY (t, d)", "'2026-01-01 00:00:00.001', '2026-01-01'", "'2026-01-01 00:00:00.002', '0000-00-00'", "'2027-01-01 00:00:00', '2026-01-01'")
		add("bits", "b BIT(10) PRIMARY KEY", "b'1'", "b'1000000000'", "b'10'")
		add("`odd ``t`", "`odd ``c` INT, `select` VARCHAR(9), PRIMARY KEY (`select`, `odd ``c`)", "1, 'a'", "2, 'a'", "1, 'b'")
		add("parts", "id INT, region INT, PRIMARY KEY (region, id)) PARTITION BY HASH (region) PARTITIONS 3", "1, 1", "2, 2")
		statements[len(statements)-2] = "CREATE TABLE parts (id INT, region INT, PRIMARY KEY (region, id)) PARTITION BY HASH (region) PARTITIONS 3"
		s.exec(t, append(statements, "CREATE TABLE done (v int)", "INSERT INTO done VALUES (1)")...)
		n.await(t, "insert done")
		r := newReader(t, source)
		for name, want := range counts {
			name = strings.ReplaceAll(name, "``", "`")
			for _, limit := range []int{1, 3, 0} {
				_, keys := readAll(t, r, n, capture.ReadRequest{Table: database + "." + name, Limit: limit})
				seen := map[string]bool{}
				for _, key := range keys {
					seen[strings.Join(key, "\x00")] = true
				}
				if len(keys) != want || len(seen) != want {
					t.Errorf("%s: %d keys, %d of them different, in chunks of %d; the table has %d", name, len(keys), len(seen), limit, want)
				}
				chunk, err := r.Read(t.Context(), &capture.ReadRequest{Table: database + "." + name, Keys: keys[:2]})
				capturetest.Must(t, err)
				if len(chunk.Rows) != 2 {
					t.Errorf("%s: %d rows by the keys %q", name, len(chunk.Rows), keys[:2])
				}
			}
		}
	})
}

// TestReaderComparesAsTheServer holds that a condition's value, written as payloads have it, is compared
// by the column's own type and collation.
func TestReaderComparesAsTheServer(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		source := newTestSource(t, s, database)
		n := newNotes()
		defer n.capture(t, source, capture.StartOptions{})()
		s.exec(t, "USE "+database, "SET time_zone = '+00:00'",
			"CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9) COLLATE utf8mb4_general_ci, x VARCHAR(9) COLLATE utf8mb4_bin, d DECIMAL(9,2), j JSON, at TIMESTAMP(3) NULL, dt DATETIME(3), ti TIME, m ENUM('sad','ok'), st SET('a','b'), b BIT(3))",
			`INSERT INTO t VALUES (1, 'Main', 'Main', 1.50, '{"a":1}', '2026-11-22 01:02:03.5', '2026-11-22 01:02:03.5', '-01:02:03', 'ok', 'a,b', b'101')`)
		mysql := s.kind == "mysql"
		r := newReader(t, source)
		for _, tt := range []struct {
			column, value string
			found         bool
		}{
			{"v", "main", true}, {"v", "mein", false}, {"x", "Main", true}, {"x", "main", false}, {"d", "1.5", true}, {"j", `{"a":1}`, true}, {"j", `{"a": 1.0}`, mysql},
			{"at", "2026-11-22T01:02:03.500Z", true}, {"at", "2026-11-22T10:02:03.5+09:00", true}, {"at", "2026-11-22 01:02:03.5", true}, {"at", "2026-11-22 01:02:03.500+00", true}, {"at", "2026-11-22T01:02:03Z", false},
			{"dt", "2026-11-22T01:02:03.500", true}, {"ti", "-01:02:03", true}, {"m", "ok", true}, {"st", "a,b", true}, {"st", "b,a", false}, {"b", "101", true},
		} {
			lines, _ := readAll(t, r, n, capture.ReadRequest{Table: database + ".t", Where: []capture.ReadCondition{{Column: tt.column, Value: tt.value}}})
			if (len(lines) == 1) != tt.found {
				t.Errorf("%s = %s has %q", tt.column, tt.value, lines)
			}
		}
	})
}

// TestReaderRefuses holds what is said of tables that cannot be read.
func TestReaderRefuses(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		source := newTestSource(t, s, database)
		n := newNotes()
		defer n.capture(t, source, capture.StartOptions{})()
		s.exec(t, "USE "+database, "CREATE TABLE keyless (v INT)", "CREATE TABLE flat (id INT PRIMARY KEY) ENGINE=MyISAM", "CREATE TABLE t (id INT PRIMARY KEY)",
			"CREATE VIEW v AS SELECT * FROM t", "CREATE TABLE f (id DOUBLE PRIMARY KEY)")
		for table, want := range map[string]string{"keyless": "no key", "flat": "stored by MyISAM", "v": "is a view", "gone": "does not exist", "f": "is a double"} {
			_, err := newReader(t, source).Describe(t.Context(), database+"."+table)
			if !errors.As(err, new(*capture.OperatorError)) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", table, err, want)
			}
		}
	})
}

func TestPlacesAreOrdered(t *testing.T) {
	t.Parallel()
	ordered := []filePlace{{name: "binlog.000001", offset: 4}, {name: "binlog.000001", offset: 5000000000}, {name: "binlog.000010", offset: 4},
		{name: "binlog.999999", offset: 9}, {name: "binlog.1000000", offset: 4}}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := before(a, b); got != (i < j) {
				t.Errorf("%s before %s: %v", a, b, got)
			}
		}
	}
}

func TestSight(t *testing.T) {
	t.Parallel()
	const uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	executed, err := parseMySQLSet(uuid + ":1-10:12")
	capturetest.Must(t, err)
	at := func(offset uint64) capture.LogPlace { return capture.LogPlace{File: "binlog.000002", Offset: offset} }
	mark := filePlace{name: "binlog.000002", offset: 500}
	for _, tt := range []struct {
		name    string
		mariaDB bool
		tx      capture.Transaction
		want    capture.Sight
	}{
		{"executed", false, capture.Transaction{ID: uuid + ":7", Begins: at(900)}, capture.Seen},
		{"in the binlog, not executed", false, capture.Transaction{ID: uuid + ":11", Begins: at(499)}, capture.Unclear},
		{"behind the binlog's end", false, capture.Transaction{ID: uuid + ":13", Begins: at(500)}, capture.Unseen},
		{"no place", false, capture.Transaction{ID: uuid + ":13"}, capture.Unclear},
		{"MariaDB, before", true, capture.Transaction{ID: "0-1-7", Begins: at(499)}, capture.Seen},
		{"MariaDB, behind", true, capture.Transaction{ID: "0-1-8", Begins: at(500)}, capture.Unseen},
		{"MariaDB, a later file", true, capture.Transaction{ID: "0-1-8", Begins: capture.LogPlace{File: "binlog.000003", Offset: 4}}, capture.Unseen},
	} {
		s := &sight{mariaDB: tt.mariaDB, executed: executed, mark: mark}
		if got := s.Sees(&tt.tx); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestReaderSeeks holds that a chunk begins at its place in the index, also where the first columns
// of the key say little.
func TestReaderSeeks(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		source := newTestSource(t, s, database)
		n := newNotes()
		defer n.capture(t, source, capture.StartOptions{})()
		statements := []string{"USE " + database, "CREATE TABLE t (a INT, b INT, c INT, PRIMARY KEY (a, b, c))"}
		for from := 0; from < 4000; from += 1000 {
			var values []string
			for i := from; i < from+1000; i++ {
				values = append(values, fmt.Sprintf("(1, %d, %d)", i/2000, i))
			}
			statements = append(statements, "INSERT INTO t VALUES "+strings.Join(values, ","))
		}
		s.exec(t, append(statements, "ANALYZE TABLE t")...)
		r := newReader(t, source).(*Reader)
		_, err := r.Describe(t.Context(), database+".t")
		capturetest.Must(t, err)
		read := func() (total int) {
			rows, err := r.conn.QueryContext(t.Context(), "SHOW SESSION STATUS LIKE 'Handler_read%'")
			capturetest.Must(t, err)
			defer rows.Close()
			for rows.Next() {
				var name string
				var n int
				capturetest.Must(t, rows.Scan(&name, &n))
				if strings.HasSuffix(name, "next") || strings.HasSuffix(name, "rnd") {
					total += n
				}
			}
			capturetest.Must(t, rows.Err())
			return total
		}
		before := read()
		chunk, err := r.Read(t.Context(), &capture.ReadRequest{Table: database + ".t", After: []string{"1", "1", "3500"}, Limit: 10})
		capturetest.Must(t, err)
		if n := read() - before; len(chunk.Rows) != 10 || n > 500 {
			t.Errorf("%d rows read for a chunk of %d", n, len(chunk.Rows))
		}
	})
}
