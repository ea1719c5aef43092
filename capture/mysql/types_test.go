package mysql

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// typeCase is a column type with the values that it is tried with.
type typeCase struct {
	definition string
	values     []string
}

var commonTypes = []typeCase{
	{"tinyint", []string{"-128", "127"}}, {"tinyint(1)", []string{"5", "true"}}, {"tinyint unsigned", []string{"255"}},
	{"smallint", []string{"-32768"}}, {"smallint unsigned", []string{"65535"}},
	{"mediumint", []string{"-8388608", "8388607"}}, {"mediumint unsigned", []string{"16777215"}},
	{"int", []string{"-2147483648", "2147483647"}}, {"int unsigned", []string{"4294967295"}},
	{"bigint", []string{"-9223372036854775808", "9223372036854775807"}}, {"bigint unsigned", []string{"18446744073709551615", "0"}},
	{"decimal(10,2)", []string{"0", "-0.01", "12345678.90", "-99999999.99"}},
	{"decimal(65,30)", []string{"12345678901234567890123456789012345.123456789012345678901234567890", "-1"}},
	{"decimal(65,0)", []string{"-12345678901234567890123456789012345678901234567890123456789012345"}}, {"decimal(30,30)", []string{"0.000000000000000000000000000001"}}, {"decimal(5,0)", []string{"-12345", "7"}}, {"decimal(3,3)", []string{"0.125", "-0.999"}},
	{"float", []string{"0.1", "-1234.5", "3e38"}}, {"double", []string{"0.1", "1e300", "-2.5e-10", "123456789012345"}},
	{"bit(1)", []string{"b'1'", "b'0'"}}, {"bit(10)", []string{"b'1000000001'", "b'0'"}}, {"bit(64)", []string{"18446744073709551615"}},
	{"bit(8)", []string{"b'10000001'"}}, {"bit(9)", []string{"b'100000000'"}},
	{"enum('a','ü','c,d')", []string{"'a'", "'ü'", "'c,d'", "'none of them'", "''"}}, {"enum('','a')", []string{"''", "'a'"}}, {manyLabels("enum", 300), []string{"'l0'", "'l299'"}},
	{"set('x','ü','z')", []string{"''", "'x'", "'x,ü,z'", "'none of them'"}}, {manyLabels("set", 64), []string{"'l0,l9,l63'"}},
	{"date", []string{"'2024-02-29'", "'0000-00-00'", "'2024-00-00'", "'9999-12-31'"}},
	{"datetime", []string{"'2026-11-22 01:02:03'", "'0000-00-00 00:00:00'", "'2024-01-00 00:00:00'"}},
	{"datetime(3)", []string{"'2026-11-22 01:02:03.120'", "'0000-00-00 00:00:00'", "'2024-00-05 01:02:03.450'", "'0001-01-01 00:00:00'"}}, {"datetime(6)", []string{"'1000-01-01 00:00:00.000001'"}}, {"datetime(1)", []string{"'2026-11-22 01:02:03.9'"}},
	{"timestamp null", []string{"'2026-11-22 01:02:03'", "'0000-00-00 00:00:00'"}}, {"timestamp(6) null", []string{"'2026-11-22 01:02:03.000001'", "'0000-00-00 00:00:00'", "'2038-01-19 03:14:07.999999'"}},
	{"timestamp(3) null", []string{"'1970-01-01 00:00:01.500'"}},
	{"time", []string{"'-838:59:59'", "'838:59:59'", "'00:00:00'", "'-00:00:01'"}}, {"time(2)", []string{"'-01:02:03.45'", "'100:00:00.01'"}},
	{"time(6)", []string{"'-00:00:00.000001'", "'23:59:59.999999'"}}, {"time(3)", []string{"'-838:59:58.999'"}},
	{"year", []string{"2026", "1901", "2155", "0"}},
	{"char(10)", []string{"'ab'", "''"}}, {"varchar(300)", []string{"'naïve 漢字 🙂'", `'q"\\'''`}}, {"longtext", []string{"'漢'"}},
	{"varchar(20) character set latin1", []string{"'naïve €'", "x'8142'"}}, {"varchar(20) character set gbk", []string{"'漢字'", "x'fefe'"}},
	{"varchar(20) character set sjis", []string{"'漢字〜'", "x'fcfc'"}}, {"varchar(20) character set ucs2", []string{"'ü漢'"}},
	{"varchar(20) character set utf16", []string{"'🙂'"}}, {"varchar(20) character set utf32", []string{"'🙂'"}},
	{"varchar(20) character set cp1251", []string{"'Привет'"}}, {"varchar(20) character set koi8r", []string{"'Привет'"}},
	{"varchar(20) character set utf8mb3", []string{"'漢'"}}, {"varchar(20) character set ascii", []string{"'plain'"}},
	{"varchar(20) character set armscii8", []string{"x'b2'"}}, {"varchar(20) character set ujis", []string{"'〜漢−ｶ'", "x'8fa2b7'"}},
	{"varchar(20) character set eucjpms", []string{"'～①'"}}, {"varchar(20) character set cp932", []string{"'～①−'"}}, {"varchar(20) character set big5", []string{"'漢字'"}},
	{"varchar(20) character set euckr", []string{"'한글'"}}, {"varchar(20) character set koi8u", []string{"'Ґанок ╝'"}}, {"varchar(20) character set cp866", []string{"x'fcfd'"}},
	{"char(10) character set greek", []string{"'αβγ'"}}, {"text character set latin2", []string{"'žluťoučký'"}}, {"char(4) character set utf8mb4", []string{"'🙂'"}}, {"enum('ü','b') character set latin1", []string{"'ü'"}},
	{"binary(6)", []string{"x'ab00'", "x'000000000000'", "x'0102030405ff'"}}, {"varbinary(10)", []string{"x'00ff00'", "''"}}, {"blob", []string{"x'00ff'"}},
	{"json", []string{`'{"a": [1, -2.50, null, true], "b": {"c": "ü\\n"}}'`, `'123456789012345678901234567890'`, `'[]'`, `'"x"'`, `'1e5'`, `'18446744073709551615'`}},
	{"point", []string{"ST_GeomFromText('POINT(-1.5 2)')"}}, {"linestring", []string{"ST_GeomFromText('LINESTRING(0 0, 1 1)')"}},
	{"geometry", []string{"ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(1 2)', 4326)"}},
}

var mysqlTypes = []typeCase{
	{"json", []string{"json_object('d', cast(1.20 as decimal(10,2)), 'at', cast('2026-11-22 01:02:03.5' as datetime(6)), 'day', date'2026-01-02', 't', cast('-01:02:03' as time), 'b', x'00ff')",
		"json_array(-1, -40000, 70000, 5000000000, 1.5e0, 4294967295)", "json_object('a', 70000, 'b', json_array(true, 2))"}},
	{"vector(3)", []string{"to_vector('[1,2.5,-3e-7]')"}},
}

var mariadbTypes = []typeCase{
	{"text compressed", []string{"''", "'short'", "repeat('ü', 60)"}}, {"varchar(300) compressed character set latin1", []string{"repeat('é', 120)"}},
	{"blob compressed", []string{"repeat(x'00ff', 60)"}}, {"varbinary(300) compressed", []string{"x'00'"}},
	{"uuid", []string{"'123e4567-e89b-12d3-a456-426655440000'", "'018f2b3c-1111-7abc-8def-0123456789ab'", "'00000000-0000-0000-0000-000000000000'"}},
	{"inet6", []string{"'2001:db8::1'", "'::ffff:192.0.2.1'", "'::'"}}, {"inet4", []string{"'192.0.2.1'", "'0.0.0.0'"}},
}

// manyLabels is an enum or set of labels l0, l1 and so on.
func manyLabels(kind string, n int) string {
	labels := make([]string, n)
	for i := range labels {
		labels[i] = fmt.Sprintf("'l%d'", i)
	}
	return kind + "(" + strings.Join(labels, ",") + ")"
}

// neighbours are columns behind the one that is tried, with an entry in each of a table map's
// lists: a type that is counted wrongly there gives them each other's signs, collations and labels.
const neighbours = "n INT, u INT UNSIGNED, l VARCHAR(9) CHARACTER SET latin1, b VARBINARY(9), g TEXT, " +
	"e ENUM('é', 'x') CHARACTER SET latin1, s SET('ü', 'y'), PRIMARY KEY (n, l)"

// neighbourValues are those of the row of a number, as SQL has them and as they are sent.
func neighbourValues(number int) (sql, sent string) {
	return fmt.Sprintf("%d, 4000000000, 'clé', x'00ff', 'Bödy', 'é', 'ü'", -number),
		fmt.Sprintf(` n:%d u:4000000000 l:"clé" b:"AP8=" g:"Bödy" e:"é" s:["ü"]}`, -number)
}

// TestTypes holds the payload form of every type against golden files, and sees to it that no type
// harms those behind it.
func TestTypes(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, s *testServer) {
		database := s.database(t)
		cases := append(append([]typeCase{}, commonTypes...), map[string][]typeCase{"mysql": mysqlTypes, "mariadb": mariadbTypes}[s.kind]...)
		source := newTestSource(t, s, database)
		n := newNotes()
		n.json = true
		stop := n.capture(t, source, capture.StartOptions{})
		statements := []string{"USE " + database, "SET NAMES utf8mb4", "SET sql_mode = ''", "SET time_zone = '+00:00'"}
		for i, c := range cases {
			table := "t" + string(rune('a'+i/26)) + string(rune('a'+i%26))
			statements = append(statements, "CREATE TABLE "+table+" (v "+c.definition+", "+neighbours+")")
			for number, v := range append(c.values, "NULL") {
				behind, _ := neighbourValues(number + 1)
				statements = append(statements, "INSERT INTO "+table+" VALUES ("+v+", "+behind+")")
			}
		}
		s.exec(t, append(statements, "CREATE TABLE done (v int)", "INSERT INTO done VALUES (1)")...)
		lines := n.await(t, "insert done")
		stop()
		var out strings.Builder
		i := 0
		for _, line := range lines {
			_, got, ok := strings.Cut(line, "new={v:")
			if !ok || strings.Contains(line, "insert done") {
				if strings.Contains(line, "park") {
					t.Error(line)
				}
				continue
			}
			c, nth := caseOf(cases, i)
			i++
			value := "NULL"
			if nth < len(c.values) {
				value = c.values[nth]
			}
			_, behind := neighbourValues(nth + 1)
			got, ok = strings.CutSuffix(got, behind)
			if !ok {
				t.Errorf("behind %s: %s, want %s", c.definition, got, behind)
			}
			out.WriteString(shorten(c.definition) + "  " + value + "  ->  " + got + "\n")
		}
		golden(t, "types."+s.flavour+".golden", out.String())
		compareCatalog(t, source, database, n.tables)
	})
}

// shorten leaves out the middle of long lists of labels.
func shorten(definition string) string {
	if len(definition) < 100 {
		return definition
	}
	return definition[:20] + "…" + definition[len(definition)-20:]
}

func caseOf(cases []typeCase, i int) (typeCase, int) {
	for _, c := range cases {
		if i <= len(c.values) {
			return c, i
		}
		i -= len(c.values) + 1
	}
	return typeCase{}, 0
}

// compareCatalog checks that the catalog's tables look like the stream's.
func compareCatalog(t *testing.T, source *Source, database string, stream map[string]*capture.Table) {
	tables, err := source.Tables(t.Context(), []string{database + ".*"})
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		other := stream[table.Name]
		if other == nil {
			continue
		}
		if a, b := outline(table), outline(other); a != b {
			t.Errorf("%s: the catalog says %s, the stream %s", table, a, b)
		}
		for i := range table.Columns {
			if a, b := table.Columns[i].Type, other.Columns[i].Type; a.Kind != b.Kind || a.Name != b.Name {
				t.Errorf("%s.%s: the catalog says %s (%d), the stream %s (%d)", table, table.Columns[i].Name, a.Name, a.Kind, b.Name, b.Kind)
			}
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; got:\n%s", file, got)
	}
}

// TestJSONText writes the JSON of MySQL's binary form as the server does, of every size and kind.
func TestJSONText(t *testing.T) {
	t.Parallel()
	s := sharedServer(t, "mysql")
	database := s.database(t)
	documents := []string{
		`'[]'`, `'{}'`, `'null'`, `'[null, true, false, 0, -1, 127, -128, 32767, -32769, 65535, 65536, -2147483649, 4294967296, 9223372036854775807, 18446744073709551615]'`,
		`'[0.1, -1.5e-20, 1e300, 1.0, 123456789.125, 5e-324]'`, `'"\\u0000\\u001f\\"\\\\/ü漢🙂\\n"'`, `'{"": {"a": [{}, [[]]]}, "ключ": "значение", "b": null}'`,
		`JSON_OBJECT('s', REPEAT('x', 127), 'm', REPEAT('y', 128), 'l', REPEAT('z', 70000))`, `JSON_ARRAY(REPEAT('ü', 40000), JSON_OBJECT('k', REPEAT('v', 66000)), 1, 70000)`,
		`(SELECT JSON_ARRAYAGG(i) FROM (WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT i * 100000 AS i FROM n) AS x)`,
		`JSON_OBJECT('d', CAST(-1234567890.0987654321 AS DECIMAL(30,10)), 'date', DATE'2026-01-02', 'time', TIME'-12:34:56.789', 'at', TIMESTAMP'2026-01-02 03:04:05.000006')`,
	}
	statements := []string{"USE " + database, "CREATE TABLE docs (id INT PRIMARY KEY, doc JSON)"}
	source := newTestSource(t, s, database)
	n := newNotes()
	n.json = true
	stop := n.capture(t, source, capture.StartOptions{})
	for i, document := range documents {
		statements = append(statements, fmt.Sprintf("INSERT INTO docs VALUES (%d, %s)", i, document))
	}
	s.session(t, statements...)
	lines := n.await(t, fmt.Sprintf("{id:%d ", len(documents)-1))
	stop()
	rows, err := s.Query(t.Context(), database, "SELECT id, doc FROM docs ORDER BY id")
	capturetest.Must(t, err)
	i := 0
	for _, line := range lines {
		_, got, ok := strings.Cut(line, " doc:")
		if !ok {
			continue
		}
		// Go writes an exponent with its sign, and MySQL without.
		got = strings.ReplaceAll(strings.TrimSuffix(got, "}"), "e+", "e")
		if want := rows[i][1]; got != want {
			t.Errorf("document %s: got %.200s, want %.200s", rows[i][0], got, want)
		}
		i++
	}
	if i != len(documents) {
		t.Errorf("%d documents", i)
	}
}
