package mysql

import (
	"slices"
	"strings"

	"rowhook/capture"
)

// typeNames are the names that the catalog has for types.
var typeNames = []string{
	"tinyint", "smallint", "mediumint", "int", "bigint", "float", "double", "decimal", "bit", "enum", "uuid", "set", "json",
	"vector", "year", "date", "time", "datetime", "timestamp", "inet4", "inet6", "binary", "varbinary",
	"blob", "tinyblob", "mediumblob", "longblob", "geometry", "point", "linestring", "polygon",
	"multipoint", "multilinestring", "multipolygon", "geometrycollection", "geomcollection",
	"char", "varchar", "text", "tinytext", "mediumtext", "longtext",
}

// TypeNamed returns the type that has a name in SQL, such as int or int unsigned; boolean is the
// number that it is. It returns nil where there is none; modifiers such as (8,2) are not taken.
func TypeNamed(name string) *capture.Type {
	name = strings.ToLower(strings.TrimSpace(name))
	base, unsigned := strings.CutSuffix(name, " unsigned")
	switch base {
	case "boolean", "bool":
		base = "tinyint"
	case "integer":
		base = "int"
	case "numeric":
		base = "decimal"
	}
	if !slices.Contains(typeNames, base) || unsigned && slices.Index(typeNames, base) > slices.Index(typeNames, "bigint") {
		return nil
	}
	return catalogType(base, name)
}
