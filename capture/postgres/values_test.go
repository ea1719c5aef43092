package postgres

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"rowhook/capture"
	"rowhook/capture/capturetest"
)

// columnTypes are every type with a policy, with values at its edges.
var columnTypes = []struct {
	sql    string
	values []string // SQL literals
}{
	{"int2", []string{"-32768", "0", "32767"}},
	{"int4", []string{"-2147483648", "2147483647"}},
	{"oid", []string{"'4294967295'"}},
	{"int8", []string{"-9223372036854775808", "9007199254740993", "9223372036854775807"}},
	{"numeric", []string{"'0'", "'1.50'", "'-0.00000000000000000001'", "'NaN'", "'Infinity'", "'-Infinity'", "'12345678901234567890.123456789'"}},
	{"numeric(10,2)", []string{"'1.5'", "'-7'"}},
	{"float4", []string{"'0.1'", "'1e20'", "'-1e-5'", "'NaN'", "'Infinity'", "'-Infinity'"}},
	{"float8", []string{"'0.1'", "'3'", "'1.7976931348623157e308'", "'5e-324'", "'NaN'", "'-0'"}},
	{"money", []string{"'1234.50'", "'-3'"}},
	{"bool", []string{"true", "false"}},
	{"text", []string{"''", "'plain'", "E'two\\nlines\\ttab\\\\ \"quoted\" </script> &'", "E'\\u0001\\u007f\\u2028'", "'naïve 漢字 🙂'"}},
	{"varchar(20)", []string{"'NULL'"}},
	{"char(5)", []string{"'ab'"}},
	{`"char"`, []string{"'x'"}},
	{"name", []string{"'a name'"}},
	{"xml", []string{"'<a b=\"c\">d</a>'"}},
	{"bytea", []string{"''", "'\\x00ff'", "'\\x000102'", "'\\x00010203'"}},
	{"timestamptz", []string{"'2026-11-22 01:02:03.456789+09'", "'2026-11-22 01:02:03 UTC'", "'2026-11-22 01:02:03.1 UTC'",
		"'infinity'", "'-infinity'", "'0044-03-15 12:00:00 UTC BC'", "'10000-01-01 00:00:00 UTC'", "'294276-12-31 23:59:59.999999 UTC'"}},
	{"timestamp", []string{"'2026-11-22 01:02:03.456789'", "'2026-11-22 00:00:00'", "'infinity'", "'-infinity'", "'0001-01-01 00:00:00 BC'", "'12026-01-01'"}},
	{"date", []string{"'2026-11-22'", "'0999-01-01'", "'infinity'", "'-infinity'", "'0044-03-15 BC'", "'5874897-12-31'"}},
	{"time", []string{"'01:02:03'", "'23:59:59.999999'", "'24:00:00'", "'01:02:03.1'"}},
	{"timetz", []string{"'01:02:03+05:30'", "'01:02:03.25-08'"}},
	{"interval", []string{"'1 year 2 months 3 days 04:05:06.78'", "'0'", "'-1 day +02:00'", "'40 days'"}},
	{"json", []string{`'{"a" :  1.10,  "b":[1e400, 123456789012345678901234567890]}'`, "E'{\\n  \"a\": \"x\\\\ny\",\\r\\n\\t\"b\": [ 1,\\n2 ]\\n}'", "'null'", "'\"text\"'"}},
	{"jsonb", []string{`'{"b":1,"a":[true,null,1.50]}'`, "'12'"}},
	{"uuid", []string{"'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"}},
	{"mood", []string{"'so so'"}},
	{"bit(1)", []string{"B'1'"}},
	{"bit(4)", []string{"B'0101'"}},
	{"varbit", []string{"B''", "B'00110'"}},
	{"inet", []string{"'192.168.0.1/24'", "'::1'"}},
	{"cidr", []string{"'10.0.0.0/8'"}},
	{"macaddr", []string{"'08:00:2b:01:02:03'"}},
	{"macaddr8", []string{"'08:00:2b:01:02:03:04:05'"}},
	{"point", []string{"'(1,2.5)'"}},
	{"box", []string{"'(3,4),(1,2)'"}},
	{"path", []string{"'[(0,0),(1,1)]'"}},
	{"polygon", []string{"'((0,0),(1,1),(1,0))'"}},
	{"line", []string{"'{1,2,3}'"}},
	{"lseg", []string{"'[(0,0),(1,1)]'"}},
	{"circle", []string{"'<(1,2),3>'"}},
	{"tsvector", []string{"'a:1 b:2'"}},
	{"tsquery", []string{"'a & b'"}},
	{"int4range", []string{"'[1,5)'", "'empty'"}},
	{"numrange", []string{"'(1.50,)'"}},
	{"tstzrange", []string{"'[2026-01-01 00:00:00 UTC,2026-02-01 00:00:00 UTC)'"}},
	{"daterange", []string{"'[2026-01-01,2026-02-01)'"}},
	{"int4multirange", []string{"'{[1,3),[5,7)}'"}},
	{"pg_lsn", []string{"'16/B374D848'"}},
	{"regclass", []string{"'pg_catalog.pg_class'", "'public.shelf'"}},
	{"jsonpath", []string{"'$.a'"}},
	{"xid8", []string{"'18446744073709551615'"}},
	{"int4[]", []string{"'{}'", "'{1,NULL,3}'", "'{{1,2},{3,4}}'", "'[0:1]={5,6}'", "'[-1:0][2:3]={{1,2},{3,4}}'"}},
	{"int8[]", []string{"'{9007199254740993}'"}},
	{"text[]", []string{`'{a,"b c","NULL",NULL,"",  "q\"x\\y","{,}","漢"}'`}},
	{"bool[]", []string{"'{t,f,NULL}'"}},
	{"numeric[]", []string{"'{1.10,NaN}'"}},
	{"float8[]", []string{"'{1.5,Infinity}'"}},
	{"timestamptz[]", []string{"'{\"2026-11-22 01:02:03+00\",infinity}'"}},
	{"date[]", []string{"'{2026-11-22,NULL}'"}},
	{"bytea[]", []string{`'{"\\x00ff"}'`}},
	{"jsonb[]", []string{`ARRAY['{"a": "x\"y"}'::jsonb, 'null'::jsonb]`}},
	{"box[]", []string{"'{(3,4),(1,2);(5,6),(0,0)}'"}},
	{"mood[]", []string{"'{\"so so\",fine}'"}},
	{"isbn", []string{"'978'"}},
	{"price", []string{"'10.50'"}},
	{"isbn[]", []string{"'{978,NULL}'"}},
	{"tags", []string{"'{x,y}'"}},
	{"shelf", []string{"'(\"room 1\",7)'", "'(,)'"}},
	{"shelf[]", []string{`ARRAY['("room 1",7)'::shelf]`}},
}

const columnTypeDefinitions = `
create type mood as enum ('fine', 'so so');
create domain isbn as text;
create domain amount as numeric(10,2);
create domain price as amount check (value > 0);
create domain tags as text[];
create type shelf as (room text, no int)`

// hostile are role settings that must not change a byte.
const hostile = `
create role agent login replication;
alter role agent set DateStyle = 'SQL, DMY';
alter role agent set TimeZone = 'Asia/Kolkata';
alter role agent set bytea_output = 'escape';
alter role agent set IntervalStyle = 'postgres_verbose';
alter role agent set extra_float_digits = -15;
alter role agent set quote_all_identifiers = on;
alter role agent set client_encoding = 'LATIN1';
alter role agent set statement_timeout = '1ms';
alter role agent set search_path = 'pg_catalog'`

func TestTypesAreWrittenAsPromised(t *testing.T) {
	t.Parallel()
	golden := filepath.Join("testdata", "types.golden")
	for _, major := range capturetest.Majors() {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			got := streamTypes(t, major)
			if *update {
				capturetest.Must(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			capturetest.Must(t, err)
			if got != string(want) {
				t.Errorf("types differ from %s:\n%s", golden, got)
			}
		})
	}
}

func streamTypes(t *testing.T, major int) string {
	pg := startServer(t, capturetest.Options{Major: major}, columnTypeDefinitions)
	for i, typ := range columnTypes {
		pg.Run(t, fmt.Sprintf("create table t%d (v %s)", i, typ.sql))
	}
	pg.Run(t, "select pg_create_logical_replication_slot('rowhook', 'pgoutput')", hostile)
	var script strings.Builder
	for i, typ := range columnTypes {
		for _, v := range typ.values {
			fmt.Fprintf(&script, "insert into t%d values (%s);\n", i, v)
		}
	}
	pg.Run(t, script.String())

	sink := valueSink{newListSink("")}
	running := runSource(t, newSource(t, pg.TCP("postgres", "agent")), capture.StartOptions{}, sink)
	values := strings.Count(script.String(), ";\n")
	sink.await(t, "all values", func() bool { return len(sink.changes()) == values })
	running.stop(t)
	return strings.Join(sink.changes(), "\n") + "\n"
}

// valueSink writes down each inserted value: type, text, JSON.
type valueSink struct{ *listSink }

func (s valueSink) Change(c *capture.Change) error {
	typ, v := c.Table.Columns[0].Type, c.New[0]
	out, ok := typ.AppendJSON(nil, v.Text)
	line := fmt.Sprintf("%s\t%q\t%s", typ.Name, v.Text, out)
	if !ok {
		line += "\tDOES NOT FIT"
	}
	if !json.Valid(out) {
		line += "\tINVALID"
	}
	s.add(line)
	return nil
}

// TestExtensionTypes covers types of extensions that may not be installed, by their texts.
func TestExtensionTypes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		extension, name, text, want string
		ok                          bool
	}{
		{"hstore", "hstore", `"a"=>"1", "b"=>NULL, "q\"\\"=>"NULL"`, `{"a":"1","b":null,"q\"\\":"NULL"}`, true},
		{"hstore", "hstore", ``, `{}`, true},
		{"hstore", "hstore", `"a"=>`, `"\"a\"=>"`, false},
		{"hstore", "hstore", `"a"=>"b", `, `"\"a\"=>\"b\", "`, false},
		{"citext", "citext", `Ab`, `"Ab"`, true},
		{"ltree", "ltree", `a.b`, `"a.b"`, true},
		{"vector", "vector", `[1,2.5,-3e-05]`, `[1,2.5,-3e-05]`, true},
		{"vector", "vector", `[1,,2]`, `"[1,,2]"`, false},
		{"vector", "sparsevec", `{1:1.5,3:2}/5`, `"{1:1.5,3:2}/5"`, true},
		{"postgis", "geometry", "0101000020E6100000000000000000F03F0000000000000040",
			`{"srid":4326,"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA"}`, true},
		{"postgis", "geometry", "0101000000000000000000F03F0000000000000040",
			`{"srid":0,"wkb":"AQEAAAAAAAAAAADwPwAAAAAAAABA"}`, true},
		{"postgis", "geography", "00200000010000" + "10E63FF00000000000004000000000000000",
			`{"srid":4326,"wkb":"AAAAAAE/8AAAAAAAAEAAAAAAAAAA"}`, true},
		{"postgis", "geometry", "01010000", `"01010000"`, false},
		{"postgis", "geometry", "zz01000000000000000000F03F0000000000000040", `"zz01000000000000000000F03F0000000000000040"`, false},
	}
	for _, test := range tests {
		typ := otherType(test.name, "b", test.extension)
		got, ok := typ.AppendJSON(nil, []byte(test.text))
		if string(got) != test.want || ok != test.ok {
			t.Errorf("%s %s: %s, %t; want %s, %t", test.name, test.text, got, ok, test.want, test.ok)
		}
	}
	if typ := otherType("vector", "b", ""); typ.Kind != capture.Other {
		t.Errorf("a type that is only named vector is %+v", typ)
	}
}

// TestMisfits holds that every type writes valid JSON of any text, and says that it did not fit.
func TestMisfits(t *testing.T) {
	t.Parallel()
	fits := map[string]string{"bool": "t", "bytea": `\x`, "hstore": ""}
	for _, typ := range allTypes() {
		for _, text := range []string{"", "x", "{", "{1", `{"`, `{"a\`, "[", "[0:1]=", "\\xz", "\\x1", "2026", "1.", "1e", "-", "\xff", "\n", "01", "{{}"} {
			out, ok := typ.AppendJSON([]byte("before"), []byte(text))
			rest, found := strings.CutPrefix(string(out), "before")
			if !found || !json.Valid([]byte(rest)) || strings.ContainsAny(rest, "\n\r") {
				t.Errorf("%s %q: %q", typ.Name, text, out)
			}
			quoted, _ := json.Marshal(text)
			if !ok && rest != string(quoted) && text != "\xff" && !strings.HasSuffix(typ.Name, "[]") {
				t.Errorf("%s %q does not fit, but is %q", typ.Name, text, rest)
			}
			if ok && fits[typ.Name] != "" && text != fits[typ.Name] {
				t.Errorf("%s %q fits as %q", typ.Name, text, rest)
			}
		}
	}
}

func allTypes() []*capture.Type {
	var all []*capture.Type
	for _, typ := range builtinTypes {
		all = append(all, typ)
	}
	for name := range extensionTypes {
		all = append(all, otherType(name[1], "b", name[0]))
	}
	return all
}

func FuzzAppendJSON(f *testing.F) {
	for _, seed := range []string{"1", "{1,NULL,\"a\\\"b\"}", `"a"=>"1", "b"=>NULL`, `{"a": [1,` + "\n" + `2]}`, `\x00ff`,
		"2026-11-22 01:02:03.4+00", "01:02:03.5+05:30", "[1,2]", "0101000020E6100000000000000000F03F0000000000000040", "-1.5e+10", "infinity", "\xff\x00"} {
		f.Add([]byte(seed))
	}
	types := allTypes()
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, typ := range types {
			out, _ := typ.AppendJSON(nil, text)
			if !json.Valid(out) || strings.ContainsAny(string(out), "\n\r") {
				t.Errorf("%s %q: %q", typ.Name, text, out)
			}
		}
	})
}

// TestExtensionsAreRecognised streams types of extensions that every server package brings,
// whose OIDs differ from database to database.
func TestExtensionsAreRecognised(t *testing.T) {
	t.Parallel()
	got := streamed(t, 0, []string{"create schema ext", "create extension hstore schema ext", "create extension citext schema ext", "create extension ltree schema ext",
		"create domain ext.labels as ext.hstore", "create type hstore as enum ('not an extension')",
		`create table t (id int primary key, h ext.hstore, c ext.citext, l ext.ltree, d ext.labels, hs ext.hstore[], own public.hstore)`},
		[]string{`insert into t values (1, 'a=>1, b=>NULL', 'Ab', 'top.sub', 'x=>"y z"', array['k=>v'::ext.hstore], 'not an extension')`}, 1)
	want := `0 insert public.t (id:1 h:{"a":"1","b":null} c:"Ab" l:"top.sub" d:{"x":"y z"} hs:[{"k":"v"}] own:"not an extension")`
	if len(got) != 1 || got[0] != want {
		t.Errorf("streamed %q, want %q", got, want)
	}
}
