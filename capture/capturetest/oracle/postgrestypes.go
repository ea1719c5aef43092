package oracle

import (
	"fmt"
	"strings"
)

// postgresType is a line of PostgreSQL's types: what the type is called, what a payload must have
// as an expression of type json in which § stands for the value, and values as SQL has them. key
// says that it may be in a key.
type postgresType struct {
	sql, want string
	key       bool
	values    []string
}

// The forms that several types share.
const (
	asText   = "to_json(§::text)"
	asNumber = "to_json(§)"
	asBytes  = `to_json(translate(encode(§, 'base64'), E'\n', ''))`
	// Dates that ISO 8601 has: of four digits, and not before Christ.
	isISO       = "isfinite(§) and extract(year from §) between 1 and 9999"
	asTimestamp = `to_json(case when ` + isISO + ` then to_char(§, 'YYYY-MM-DD"T"HH24:MI:SS.US') else §::text end)`
	asInstant   = `to_json(case when ` + isISO + ` then to_char(§ at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') else §::text end)`
	asTime      = `to_json(substr(§::text, 1, 8) || '.' || rpad(coalesce(substring(§::text from '[.](\d+)'), ''), 6, '0') || coalesce(substring(§::text from '[+-].+'), ''))`
)

// long is a text that lies out of line.
const long = "(select string_agg(md5(random()::text), '') from generate_series(1, 150))"

var texts = []string{"''", "'plain'", "E'two\\nlines\\ttab\\\\ \"quoted\" </script> &'", "E'\\u0001\\u007f\\u2028'", "'naïve 漢字 🙂'", "'NULL'", "'{,}'", "' '", "'(a,\"b)'"}

var postgresTypes = []postgresType{
	{"int2", asNumber, true, []string{"-32768", "0", "32767"}},
	{"int4", asNumber, true, []string{"-2147483648", "2147483647", "7"}},
	{"int8", asNumber, true, []string{"-9223372036854775808", "9007199254740993", "9223372036854775807", "1"}},
	{"oid", "§::text::json", true, []string{"4294967295::oid", "0::oid"}},
	{"xid", "§::text::json", false, []string{"'4294967295'", "'3'"}},
	{"numeric", asText, true, []string{"'0'", "'1.50'", "'-0.00000000000000000001'", "'NaN'", "'Infinity'", "'-Infinity'", "'12345678901234567890.123456789'", "1e100", "'0.000'"}},
	{"numeric(10,2)", asText, true, []string{"'1.5'", "'-7'", "'NaN'"}},
	{"float4", asNumber, true, []string{"'0.1'", "'1e20'", "'-1e-5'", "'NaN'", "'Infinity'", "'-Infinity'", "'-0'", "'16777217'"}},
	{"float8", asNumber, true, []string{"'0.1'", "'3'", "'1.7976931348623157e308'", "'5e-324'", "'NaN'", "'-0'", "'-Infinity'", "'1e15'"}},
	{"money", asText, true, []string{"'1234.50'", "'-3'"}},
	{"bool", asNumber, true, []string{"true", "false"}},
	{"text", asText, true, append([]string{long, long}, texts...)},
	{"varchar(30)", asText, true, texts},
	{"char(9)", asNumber, true, []string{"'ab'", "''", "'ü'", "'a b  '"}},
	{`"char"`, asText, true, []string{"'x'", "''"}},
	{"name", asText, true, []string{"'a name'", "''"}},
	{"xml", asText, false, []string{"'<a b=\"c\">d</a>'", "'<!-- c -->text'"}},
	{"bytea", asBytes, true, []string{"''", "'\\x00ff'", "'\\x000102'", "'\\x00010203'", "decode(repeat('00ff', 40), 'hex')", long + "::bytea"}},
	{"timestamptz", asInstant, true, []string{"'2026-11-22 01:02:03.456789+09'", "'2026-11-22 01:02:03 UTC'", "'2026-11-22 01:02:03.1 UTC'", "'infinity'", "'-infinity'",
		"'0044-03-15 12:00:00 UTC BC'", "'10000-01-01 00:00:00 UTC'", "'294276-12-31 23:59:59.999999 UTC'", "'0001-01-01 00:00:00 UTC'", "now()"}},
	{"timestamp", asTimestamp, true, []string{"'2026-11-22 01:02:03.456789'", "'2026-11-22'", "'infinity'", "'-infinity'", "'0001-01-01 00:00:00 BC'", "'12026-01-01'", "'9999-12-31 23:59:59.999999'"}},
	{"timestamptz(3)", asInstant, true, []string{"'2026-11-22 01:02:03.456789+09'", "'infinity'"}},
	{"date", asText, true, []string{"'2026-11-22'", "'0999-01-01'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'"}},
	{"time", asTime, true, []string{"'01:02:03'", "'23:59:59.999999'", "'24:00:00'", "'01:02:03.1'"}},
	{"timetz", asTime, true, []string{"'01:02:03+05:30'", "'01:02:03.25-08'", "'24:00:00+00'", "'01:02:03.000001+15:59:59'"}},
	{"interval", asText, true, []string{"'1 year 2 months 3 days 04:05:06.78'", "'0'", "'-1 day +02:00'", "'40 days'", "'-1 year -2 months'", "'-0.000001 s'"}},
	{"json", "§", false, []string{`'{"a" :  1.10,  "b":[1e400, 123456789012345678901234567890]}'`, "E'{\\n  \"a\": \"x\\\\ny\",\\r\\n\\t\"b\": [ 1,\\n2 ]\\n}'", "'null'", "'\"text\"'", "json_build_array(" + long + ")"}},
	{"jsonb", "§::json", true, []string{`'{"b":1,"a":[true,null,1.50]}'`, "'12'", "'null'", "jsonb_build_object('l', " + long + ")"}},
	{"uuid", asText, true, []string{"'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "gen_random_uuid()"}},
	{"bit(1)", asText, true, []string{"B'1'"}}, {"bit(9)", asText, true, []string{"B'010111010'"}}, {"varbit", asText, true, []string{"B''", "B'00110'"}},
	{"inet", "to_json(§)", true, []string{"'192.168.0.1/24'", "'::1'", "'10.0.0.1'"}}, {"cidr", asText, true, []string{"'10.0.0.0/8'", "'::/0'"}},
	{"macaddr", asText, true, []string{"'08:00:2b:01:02:03'"}}, {"macaddr8", asText, true, []string{"'08:00:2b:01:02:03:04:05'"}},
	{"point", asText, false, []string{"'(1,2.5)'", "'(NaN,Infinity)'"}}, {"box", asText, false, []string{"'(3,4),(1,2)'"}}, {"path", asText, false, []string{"'[(0,0),(1,1)]'", "'((0,0),(1,1))'"}},
	{"polygon", asText, false, []string{"'((0,0),(1,1),(1,0))'"}}, {"line", asText, false, []string{"'{1,2,3}'"}}, {"lseg", asText, false, []string{"'[(0,0),(1,1)]'"}}, {"circle", asText, false, []string{"'<(1,2),3>'"}},
	{"tsvector", asText, true, []string{"'a:1 b:2'", "''", "'''quo te'':1A'"}}, {"tsquery", asText, true, []string{"'a & b'"}},
	{"int4range", asText, true, []string{"'[1,5)'", "'empty'", "'(,)'"}}, {"numrange", asText, true, []string{"'(1.50,)'"}}, {"int8range", asText, true, []string{"'[1,9007199254740993]'"}},
	{"tstzrange", asText, true, []string{"'[2026-01-01 00:00:00 UTC,2026-02-01 00:00:00 UTC)'"}}, {"tsrange", asText, true, []string{"'[2026-01-01,2026-02-01 01:02:03.5)'"}}, {"daterange", asText, true, []string{"'[2026-01-01,2026-02-01)'"}},
	{"int4multirange", asText, true, []string{"'{[1,3),[5,7)}'", "'{}'"}}, {"nummultirange", asText, true, []string{"'{[1.5,3)}'"}}, {"tstzmultirange", asText, true, []string{"'{[2026-01-01 00:00:00 UTC,2026-02-01 00:00:00 UTC)}'"}},
	{"pg_lsn", asText, true, []string{"'0/16B3748'"}}, {"regtype", asText, false, []string{"'int4'"}}, {"jsonpath", asText, false, []string{"'$.a ? (@ > 1)'"}}, {"xid8", asText, true, []string{"'18446744073709551615'"}},
	{"int2vector", asText, false, []string{"'1 2 3'"}}, {"tid", asText, false, []string{"'(0,1)'"}}, {"txid_snapshot", asText, false, []string{"'10:20:10,14'"}},
	{`"mood ""x"`, asText, true, []string{"'so so'", "'fi,ne'", "'a\"b'", "'NULL'", "'back\\slash'", "'漢'"}},
	{"remark", asText, true, texts}, {"cents", asNumber, true, []string{"5", "-1"}}, {"flag", asNumber, true, []string{"true", "false"}}, {"price", asText, true, []string{"'10.50'", "'NaN'"}},
	{"moment", asInstant, true, []string{"'2026-11-22 01:02:03+09'", "'infinity'"}}, {"blob", asBytes, true, []string{"'\\x0001'", "''"}}, {"doc", "§::json", true, []string{`'{"a": [1, 2.50]}'`, "'null'"}},
	{"feeling", asText, true, []string{"'so so'", "'NULL'"}},
	{"tags", arrayWant(asText), false, []string{"'{x,y}'", "'{}'", "'{\"a b\",NULL,\"NULL\"}'"}},
	{"shelf", asText, true, []string{"'(\"room 1\",7)'", "'(,)'", "row('a\"b', null)::shelf"}},
	{"span", asText, true, []string{"'[1.5,2.5)'", "'empty'"}}, {"multispan", asText, true, []string{"'{[1.5,2.5)}'"}},
}

// extensionTypes are there if their extension is.
var extensionTypes = map[string][]postgresType{
	"hstore": {{"hstore", "hstore_to_json(§)", false, []string{"'a=>1, b=>NULL'", "''", `'"q\"\\"=>"NULL", "漢"=>"x, y"'`}}},
	"citext": {{"citext", asText, true, texts}},
	"ltree":  {{"ltree", asText, true, []string{"'top.sub'", "''"}}},
	"cube":   {{"cube", asText, true, []string{"'(1,2),(3,4)'"}}},
	"isn":    {{"ean13", asText, true, []string{"'978-0-393-04002-9'"}}},
	"vector": {{"vector(2)", "§::text::json", false, []string{"'[1,-2.5]'", "'[1e-7,3e20]'"}}},
}

const postgresDefinitions = `
create type "mood ""x" as enum ('so so', 'fi,ne', 'a"b', 'NULL', 'back\slash', '漢');
create domain remark as text;
create domain cents as int4;
create domain flag as bool;
create domain amount as numeric(10,2);
create domain price as amount check (value <> 0);
create domain moment as timestamptz;
create domain blob as bytea;
create domain doc as jsonb;
create domain feeling as "mood ""x";
create domain tags as text[];
create type shelf as (room text, no int);
create type span as range (subtype = float8, multirange_type_name = multispan)`

// arrayWant is what a payload must have of an array of up to two dimensions whose elements must be
// want.
func arrayWant(want string) string {
	i, j := "i", "j"
	if strings.Contains(want, " as i)") { // an array of arrays
		i, j = "k", "l"
	}
	one := strings.ReplaceAll(want, "§", "((§)["+i+"])")
	two := strings.ReplaceAll(want, "§", "((§)["+i+"]["+j+"])")
	return fmt.Sprintf("case array_ndims(§) when 1 then (select json_agg(%[1]s order by %[3]s) from generate_subscripts(§, 1) as %[3]s)"+
		" when 2 then (select json_agg((select json_agg(%[2]s order by %[4]s) from generate_subscripts(§, 2) as %[4]s) order by %[3]s)"+
		" from generate_subscripts(§, 1) as %[3]s) else case when § is not null then json_build_array() end end", one, two, i, j)
}

// column makes a column of the type.
func (p postgresType) column() Column {
	c := Column{SQL: p.sql, Want: p.want, Form: Raw, Value: one(p.values...)}
	if p.key {
		c.Key = "§"
	}
	if p.sql == "int8" || p.sql == "numeric" {
		c.Make = func(a string) string { return a + " * 2" }
	}
	return c
}

// array makes a column of arrays of the type.
func (p postgresType) array() Column {
	sql := p.sql + "[]"
	return Column{SQL: sql, Want: arrayWant(p.want), Form: Raw, Value: func(g *Gen) string {
		element := func() string {
			if g.Chance(15) {
				return "NULL"
			}
			return g.Of(p.values...)
		}
		switch g.IntN(6) {
		case 0:
			return "'{}'::" + sql
		case 1:
			return fmt.Sprintf("ARRAY[[%s, %s], [%s, %s]]::%s", element(), element(), element(), element(), sql)
		case 2:
			return "'[-3:-1]={NULL,NULL,NULL}'::" + sql
		}
		list := make([]string, g.Between(1, 4))
		for i := range list {
			list[i] = element()
		}
		return "ARRAY[" + strings.Join(list, ", ") + "]::" + sql
	}}
}
