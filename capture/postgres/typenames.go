package postgres

import (
	"strings"

	"rowhook/capture"
)

// longNames are the SQL names of built-in types that the catalog calls otherwise.
var longNames = map[string]string{
	"boolean": "bool", "smallint": "int2", "integer": "int4", "int": "int4", "bigint": "int8", "real": "float4",
	"double precision": "float8", "decimal": "numeric", "character": "bpchar", "character varying": "varchar",
	"timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp",
	"time with time zone": "timetz", "time without time zone": "time", "bit varying": "varbit",
}

// TypeNamed returns the built-in type, or array of one, that has a name in SQL or in the catalog,
// such as integer, int4 or int4[]. It returns nil where there is none; modifiers such as (8,2) are
// not taken.
func TypeNamed(name string) *capture.Type {
	element, array := strings.CutSuffix(strings.ToLower(strings.TrimSpace(name)), "[]")
	if short, ok := longNames[element]; ok {
		element = short
	}
	if array {
		element += "[]"
	}
	for _, t := range builtinTypes {
		if t.Name == element {
			return t
		}
	}
	return nil
}
