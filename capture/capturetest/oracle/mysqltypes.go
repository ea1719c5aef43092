package oracle

import (
	"fmt"
	"strconv"
	"strings"
)

// The types of MySQL and MariaDB. Each is one line: its name, and how a column is drawn.

func mysqlTypes(s Server) []Type {
	types := []Type{
		{"tinyint", integer("TINYINT", 8)}, {"smallint", integer("SMALLINT", 16)}, {"mediumint", integer("MEDIUMINT", 24)},
		{"int", integer("INT", 32)}, {"bigint", integer("BIGINT", 64)},
		{"bool", plain("BOOLEAN", "CONCAT(§+0)", Raw, "TRUE", "FALSE", "5", "-128")},
		{"year", plain("YEAR", `IF(§=0, '"0000"', CONCAT(§+0))`, Raw, "0", "1901", "2155", "2026", "1999")},
		{"bit", bit},
		{"decimal", decimal}, {"float", float("FLOAT", Single)}, {"double", float("DOUBLE", Double)},
		{"date", plain("DATE", "CAST(§ AS CHAR)", String, "'2024-02-29'", "'0000-00-00'", "'2024-00-00'", "'2024-11-00'", "'9999-12-31'", "'1000-01-01'")},
		{"datetime", moment("DATETIME", "")}, {"timestamp", moment("TIMESTAMP", "Z")}, {"time", clock},
		{"char", text("CHAR", 40, true)}, {"varchar", text("VARCHAR", 300, true)}, {"tinytext", text("TINYTEXT", 0, true)}, {"text", text("TEXT", 0, true)},
		{"mediumtext", text("MEDIUMTEXT", 0, false)}, {"longtext", text("LONGTEXT", 0, false)},
		{"binary", bytesOf("BINARY", 60)}, {"binary(16)", func(*Gen) Column { return binaryColumn("BINARY(16)", 16) }}, {"varbinary", bytesOf("VARBINARY", 300)}, {"tinyblob", bytesOf("TINYBLOB", 0)}, {"blob", bytesOf("BLOB", 0)},
		{"mediumblob", bytesOf("MEDIUMBLOB", 0)}, {"longblob", bytesOf("LONGBLOB", 0)},
		{"enum", labels("ENUM", 300)}, {"set", labels("SET", 64)},
		{"point", geometry(s, "POINT")}, {"linestring", geometry(s, "LINESTRING")}, {"polygon", geometry(s, "POLYGON")}, {"geometry", geometry(s, "GEOMETRY")},
		{"multipoint", geometry(s, "MULTIPOINT")}, {"geometrycollection", geometry(s, "GEOMETRYCOLLECTION")},
		{"json", document(s)},
	}
	if !s.MariaDB {
		return append(types, Type{"vector", vector("STRING_TO_VECTOR")}, Type{"vector", vector("STRING_TO_VECTOR")})
	}
	types = append(types,
		Type{"uuid", plain("UUID", "CAST(§ AS CHAR)", String, "'123e4567-e89b-12d3-a456-426655440000'", "'018f2b3c-1111-7abc-8def-0123456789ab'", "'00000000-0000-0000-0000-000000000000'", "UUID()")},
		Type{"inet6", plain("INET6", "CAST(§ AS CHAR)", String, "'2001:db8::1'", "'::ffff:192.0.2.1'", "'::'", "'::1'", "'fe80:0:0:1::ff00'", "'1:0:0:2:0:0:0:3'", "'::192.0.2.1'", "'1:2:3:4:5:6:0:8'")},
		Type{"inet4", plain("INET4", "CAST(§ AS CHAR)", String, "'192.0.2.1'", "'0.0.0.0'", "'255.255.255.255'", "'10.0.0.0'")},
		Type{"text compressed", text("TEXT COMPRESSED", 0, false)}, Type{"varchar compressed", text("VARCHAR(300) COMPRESSED", 0, false)},
		Type{"blob compressed", bytesOf("BLOB COMPRESSED", 0)}, Type{"varbinary compressed", bytesOf("VARBINARY(300) COMPRESSED", 0)},
	)
	if s.Version >= 110700 {
		types = append(types, Type{"vector", vector("VEC_FromText")})
	}
	return types
}

// plain is a type without parameters.
func plain(sql, want string, form Form, values ...string) func(*Gen) Column {
	return func(*Gen) Column { return Column{SQL: sql, Value: one(values...), Want: want, Form: form, Key: "§"} }
}

func integer(name string, bits int) func(*Gen) Column {
	return func(g *Gen) Column {
		c := Column{SQL: name, Want: "CONCAT(§+0)", Form: Raw, Key: "§"}
		unsigned := g.Chance(50)
		if unsigned {
			c.SQL += " UNSIGNED" + g.Of("", "", " ZEROFILL")
		}
		c.Make = func(a string) string { return a + " + 1" }
		c.Value = func(g *Gen) string {
			n := g.Uint64() >> (64 - bits) >> g.number(0, 0, bits/2)
			if unsigned {
				return strconv.FormatUint([]uint64{n, n, 0, ^uint64(0) >> (64 - bits), 1<<(bits-1) + 5}[g.IntN(5)], 10)
			}
			signed := int64(n<<(64-bits)) >> (64 - bits)
			return strconv.FormatInt([]int64{signed, signed, -1, -1 << (bits - 1), 1<<(bits-1) - 1}[g.IntN(5)], 10)
		}
		return c
	}
}

// number draws one of several numbers.
func (g *Gen) number(numbers ...int) int { return numbers[g.IntN(len(numbers))] }

func bit(g *Gen) Column {
	n := g.Between(1, 64)
	return Column{SQL: fmt.Sprintf("BIT(%d)", n), Want: fmt.Sprintf("LPAD(BIN(§+0), %d, '0')", n), Key: "§", Value: func(g *Gen) string {
		digits := strconv.FormatUint(g.Uint64()>>(64-n), 2)
		return "b'" + g.Of(digits, digits, "0", strings.Repeat("1", n)) + "'"
	}}
}

func decimal(g *Gen) Column {
	precision := g.number(g.Between(1, 65), g.Between(1, 20))
	scale := g.Between(0, min(30, precision))
	c := Column{SQL: fmt.Sprintf("DECIMAL(%d,%d)", precision, scale), Want: "CAST(§ AS CHAR)", Key: "§"}
	unsigned := g.Chance(30)
	if unsigned {
		c.SQL += " UNSIGNED"
	}
	if unsigned && precision < 15 && g.Chance(50) {
		c.SQL += " ZEROFILL"
		c.Want = "CAST(§+0 AS CHAR)"
	}
	c.Value = func(g *Gen) string {
		var b strings.Builder
		if !unsigned {
			b.WriteString(g.Of("", "-"))
		}
		b.WriteString("0")
		for range g.IntN(precision - scale + 1) {
			b.WriteByte(byte('0' + g.IntN(10)))
		}
		b.WriteString(".0"[:min(1, scale)])
		for range scale {
			b.WriteByte(byte('0' + g.IntN(10)))
		}
		return b.String()
	}
	return c
}

func float(name string, form Form) func(*Gen) Column {
	return func(g *Gen) Column {
		c := Column{SQL: name, Want: "CAST(§ AS DOUBLE)", Form: form, Key: "§"}
		values := []string{"0", "0.1", "1234.5", "3e38", "1.5e-30", "16777217", "123456.789", "1e6", "1e-5", "0.0001"}
		if form == Double {
			values = append(values, "1e300", "2.5e-10", "123456789012345", "1e15", "1.7976931348623157e308", "5e-324", "0.30000000000000004")
		}
		switch g.IntN(4) {
		case 0:
			c.SQL += g.Of("(9,3)", "(12,5)")
		case 1:
			c.SQL += " UNSIGNED"
			c.Value = one(values...)
			return c
		}
		for _, v := range values {
			values = append(values, "-"+v)
		}
		c.Value = one(values...)
		return c
	}
}

// digits draws how many fractional digits a time has.
func digits(g *Gen, name string) (string, string) {
	n := g.IntN(7)
	if n == 0 && g.Chance(50) {
		return name, ""
	}
	return fmt.Sprintf("%s(%d)", name, n), "." + "123456789"[:n+1]
}

// wholeDate is the T of ISO 8601 where a date is none of the partial ones.
const wholeDate = `IF(LEFT(CAST(§ AS CHAR), 4) = '0000' OR SUBSTR(CAST(§ AS CHAR), 6, 2) = '00' OR SUBSTR(CAST(§ AS CHAR), 9, 2) = '00', CAST(§ AS CHAR), CONCAT(REPLACE(CAST(§ AS CHAR), ' ', 'T'), '`

func moment(name, zone string) func(*Gen) Column {
	return func(g *Gen) Column {
		sql, fraction := digits(g, name)
		values := []string{"'2026-11-22 01:02:03" + fraction + "'", "'0000-00-00 00:00:00'", "'2026-01-01 23:59:59.999999'", "'2038-01-19 03:14:07'", "'1970-01-01 00:00:01'", "NOW(6)"}
		if zone == "" {
			values = append(values, "'2024-00-05 01:02:03"+fraction+"'", "'0001-01-01 00:00:00'", "'9999-12-31 23:59:59'", "'0000-01-01 01:01:01'")
		} else {
			values = append(values, "'2001-09-09 01:46:40"+fraction+"'")
		}
		return Column{SQL: sql, Value: one(values...), Want: wholeDate + zone + "'))", Key: "§"}
	}
}

func clock(g *Gen) Column {
	sql, fraction := digits(g, "TIME")
	return Column{SQL: sql, Want: "CAST(§ AS CHAR)", Key: "§",
		Value: one("'-838:59:58"+fraction+"'", "'838:59:59'", "'-838:59:59'", "'00:00:00'", "'-00:00:01"+fraction+"'", "'-00:00:00"+fraction+"'", "'23:59:59.999999'", "'100:00:00"+fraction+"'", "'-01:00:00'")}
}

// charset draws a charset, often that of the server or the table.
func (g *Gen) charset() (Charset, string) {
	c := g.Charsets[g.IntN(len(g.Charsets))]
	switch g.IntN(4) {
	case 0:
		return Charset{Characters: []string{"a", "B", "7", " ", "~"}}, ""
	case 1:
		return c, " CHARACTER SET " + c.Name
	}
	return c, " CHARACTER SET " + c.Name + " COLLATE " + c.Collation
}

func text(name string, length int, keyed bool) func(*Gen) Column {
	return func(g *Gen) Column {
		charset, clause := g.charset()
		c := Column{SQL: name + clause, Want: "CONVERT(§ USING utf8mb4)"}
		most := g.number(3, 10, 20, 60)
		if length > 0 {
			n := g.Between(1, length)
			c.SQL, most = fmt.Sprintf("%s(%d)%s", name, n, clause), min(n, most)
		} else if length == 0 && g.Chance(10) {
			most = 300
		}
		if keyed {
			c.Key = "§"
			if length == 0 || g.Chance(30) {
				c.Key = "§(1)"
			}
		}
		c.Make = func(a string) string { return "CONCAT('é', " + a + ")" }
		c.Value = func(g *Gen) string { return mysqlString(g.characters(charset, g.IntN(most+1))) }
		return c
	}
}

func (g *Gen) characters(c Charset, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(g.Of(c.Characters...))
	}
	return b.String()
}

func mysqlString(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

func bytesOf(name string, length int) func(*Gen) Column {
	return func(g *Gen) Column {
		if length == 0 {
			return binaryColumn(name, g.number(4, 30, 300))
		}
		n := g.Between(1, length)
		return binaryColumn(fmt.Sprintf("%s(%d)", name, n), n)
	}
}

func binaryColumn(sql string, most int) Column {
	c := Column{SQL: sql, Want: "HEX(§)", Form: Base64, Key: "§"}
	if strings.Contains(sql, "BLOB") || strings.Contains(sql, "COMPRESSED") {
		c.Key = ""
	}
	if strings.HasSuffix(sql, "BLOB") {
		c.Key = "§(5)"
	}
	c.Value = func(g *Gen) string {
		n := g.IntN(min(most, 255) + 1)
		return "x'" + g.Of(strings.Repeat("00", n), strings.Repeat("ff", n), fmt.Sprintf("%0*x", 2*n, g.Uint32())[:2*n], strings.Repeat("61", n)) + "'"
	}
	return c
}

func labels(kind string, most int) func(*Gen) Column {
	return func(g *Gen) Column {
		charset, clause := g.charset()
		n := g.Between(1, min(most, 12))
		if g.Chance(20) {
			n = g.Between(1, most)
		}
		list, quoted := make([]string, n), make([]string, n)
		for i := range list {
			list[i] = g.Of("l", "x y") + strconv.Itoa(i) + strings.TrimSpace(strings.ReplaceAll(g.Of(charset.Characters...), ",", ""))
			quoted[i] = mysqlString(list[i])
		}
		c := Column{SQL: kind + "(" + strings.Join(quoted, ",") + ")" + clause, Want: "CONVERT(§ USING utf8mb4)", Key: "§"}
		if kind == "SET" {
			c.Form = Labels
		}
		c.Value = func(g *Gen) string {
			if kind == "SET" {
				return strconv.FormatUint(g.Uint64()>>(64-n), 10)
			}
			if g.Chance(10) {
				return g.Of("''", "'none of them'")
			}
			return strconv.Itoa(g.Between(1, n))
		}
		return c
	}
}

func geometry(s Server, name string) func(*Gen) Column {
	wkb := "HEX(ST_AsBinary(§, 'axis-order=long-lat'))"
	if s.MariaDB {
		wkb = "HEX(ST_AsBinary(§))"
	}
	texts := map[string][]string{
		"POINT": {"POINT(-1.5 2)", "POINT(0 0)"}, "LINESTRING": {"LINESTRING(0 0, 1 1, 2.5 -3)"}, "POLYGON": {"POLYGON((0 0, 1 0, 1 1, 0 0))"},
		"MULTIPOINT": {"MULTIPOINT(0 0, 1 1)"}, "GEOMETRYCOLLECTION": {"GEOMETRYCOLLECTION(POINT(1 2), LINESTRING(0 0, 1 1))"},
		"GEOMETRY": {"POINT(7 8)", "LINESTRING(0 0, 1 1)"},
	}
	return func(*Gen) Column {
		return Column{SQL: name, Want: "IF(LENGTH(§) = 0, '', CONCAT(ST_SRID(§), ':', " + wkb + "))", Form: Geometry, Value: func(g *Gen) string {
			return "ST_GeomFromText('" + g.Of(texts[name]...) + "'" + g.Of("", "", ", 4326") + ")"
		}}
	}
}

var documents = []string{`'{"a": [1, -2.5, null, true], "b": {"c": "ü\\n漢"}}'`, `'[]'`, `'{}'`, `'"é"'`, `'18446744073709551615'`, `'null'`, `'[70000, 1.5, "x", {"k": [false]}]'`,
	`'{"a": [1, 2, 3]}'`, `'{"ключ": "значение", "🙂": 0.1}'`, `'-9223372036854775808'`}

func document(s Server) func(*Gen) Column {
	return func(g *Gen) Column {
		values := documents
		if !s.MariaDB {
			values = append(values[:len(values):len(values)], "JSON_OBJECT('d', CAST(1.20 AS DECIMAL(10,2)), 'at', CAST('2026-11-22 01:02:03.5' AS DATETIME(6)), 'day', DATE'2026-01-02')",
				"JSON_ARRAY(-1, -40000, 70000, 5000000000, 1.5e0, 4294967295, 1e20, 2.5e-7)", "JSON_OBJECT('l', REPEAT('x', 300), 'b', x'00ff')")
		}
		return Column{SQL: "JSON", Want: "CONVERT(§ USING utf8mb4)", Form: Document, Value: one(values...)}
	}
}

func vector(from string) func(*Gen) Column {
	return func(g *Gen) Column {
		n := g.Between(1, 6)
		return Column{SQL: fmt.Sprintf("VECTOR(%d)", n), Want: "HEX(§)", Form: Floats, Value: func(g *Gen) string {
			list := make([]string, n)
			for i := range list {
				list[i] = g.Of("0", "1", "-2.5", "3e-7", "0.1", "12345678", "-1e20")
			}
			return from + "('[" + strings.Join(list, ",") + "]')"
		}}
	}
}
