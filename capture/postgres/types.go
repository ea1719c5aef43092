package postgres

import "rowhook/capture"

// textType is what every type is that has no policy of its own: its text as a JSON string.
func textType(name string, kind capture.Kind) *capture.Type {
	return &capture.Type{Name: name, Base: name, Kind: kind, AppendJSON: capture.AppendJSONString}
}

// baseTypes are the built-in types with their array types' OIDs (pg_type.dat). OIDs of
// built-in types never change.
func baseTypes() map[uint32]struct {
	array uint32
	typ   *capture.Type
} {
	type entry = struct {
		array uint32
		typ   *capture.Type
	}
	t := func(name string, kind capture.Kind, f func(dst, text []byte) ([]byte, bool)) *capture.Type {
		return &capture.Type{Name: name, Base: name, Kind: kind, AppendJSON: f}
	}
	return map[uint32]entry{
		16:   {1000, t("bool", capture.Bool, appendBool)},
		17:   {1001, t("bytea", capture.Bytes, appendBytea)},
		18:   {1002, textType("char", capture.Text)},
		19:   {1003, textType("name", capture.Text)},
		20:   {1016, t("int8", capture.Bigint, appendInteger)},
		21:   {1005, t("int2", capture.Integer, appendInteger)},
		23:   {1007, t("int4", capture.Integer, appendInteger)},
		24:   {1008, textType("regproc", capture.Other)},
		25:   {1009, textType("text", capture.Text)},
		26:   {1028, t("oid", capture.Integer, appendInteger)},
		28:   {1011, t("xid", capture.Integer, appendInteger)},
		29:   {1012, t("cid", capture.Integer, appendInteger)},
		114:  {199, t("json", capture.JSON, appendJSONText)},
		142:  {143, textType("xml", capture.Text)},
		600:  {1017, textType("point", capture.Other)},
		601:  {1018, textType("lseg", capture.Other)},
		602:  {1019, textType("path", capture.Other)},
		603:  {1020, textType("box", capture.Other)},
		604:  {1027, textType("polygon", capture.Other)},
		628:  {629, textType("line", capture.Other)},
		650:  {651, textType("cidr", capture.Other)},
		700:  {1021, t("float4", capture.Float, appendFloat)},
		701:  {1022, t("float8", capture.Float, appendFloat)},
		718:  {719, textType("circle", capture.Other)},
		774:  {775, textType("macaddr8", capture.Other)},
		790:  {791, textType("money", capture.Other)},
		829:  {1040, textType("macaddr", capture.Other)},
		869:  {1041, textType("inet", capture.Other)},
		1042: {1014, &capture.Type{Name: "bpchar", Base: "bpchar", Kind: capture.Text, AppendJSON: capture.AppendJSONString}},
		1043: {1015, textType("varchar", capture.Text)},
		1082: {1182, t("date", capture.Date, appendDate)},
		1083: {1183, t("time", capture.Time, appendTime)},
		1114: {1115, t("timestamp", capture.DateTime, appendTimestamp)},
		1184: {1185, t("timestamptz", capture.Instant, appendTimestamptz)},
		1186: {1187, textType("interval", capture.Other)},
		1266: {1270, t("timetz", capture.Time, appendTime)},
		1560: {1561, textType("bit", capture.Text)},
		1562: {1563, textType("varbit", capture.Text)},
		1700: {1231, t("numeric", capture.Decimal, appendNumeric)},
		2205: {2210, textType("regclass", capture.Other)},
		2206: {2211, textType("regtype", capture.Other)},
		2950: {2951, textType("uuid", capture.Text)},
		2970: {0, textType("txid_snapshot", capture.Other)},
		3220: {3221, textType("pg_lsn", capture.Other)},
		3614: {3643, textType("tsvector", capture.Other)},
		3615: {3645, textType("tsquery", capture.Other)},
		3802: {3807, t("jsonb", capture.JSON, appendJSONText)},
		3904: {3905, textType("int4range", capture.Other)},
		3906: {3907, textType("numrange", capture.Other)},
		3908: {3909, textType("tsrange", capture.Other)},
		3910: {3911, textType("tstzrange", capture.Other)},
		3912: {3913, textType("daterange", capture.Other)},
		3926: {3927, textType("int8range", capture.Other)},
		4072: {4073, textType("jsonpath", capture.Other)},
		4451: {6150, textType("int4multirange", capture.Other)},
		4532: {6151, textType("nummultirange", capture.Other)},
		4533: {6152, textType("tsmultirange", capture.Other)},
		4534: {6153, textType("tstzmultirange", capture.Other)},
		4535: {6155, textType("datemultirange", capture.Other)},
		4536: {6157, textType("int8multirange", capture.Other)},
		5069: {271, textType("xid8", capture.Other)},
	}
}

// builtinTypes holds the built-in types and their arrays by OID. It never changes.
var builtinTypes = func() map[uint32]*capture.Type {
	base := baseTypes()
	all := make(map[uint32]*capture.Type, 2*len(base))
	for oid, e := range base {
		all[oid] = e.typ
		if e.array != 0 {
			delimiter := byte(',')
			if e.typ.Name == "box" {
				delimiter = ';'
			}
			all[e.array] = arrayType(e.typ, delimiter)
		}
	}
	return all
}()

func arrayType(elem *capture.Type, delimiter byte) *capture.Type {
	a := arrayWriter{elem: elem.AppendJSON, delimiter: delimiter}
	return &capture.Type{Name: elem.Name + "[]", Kind: capture.List, Elem: elem, AppendJSON: a.append}
}

// extensionTypes are the types of extensions that have a policy, by extension and type name.
var extensionTypes = map[[2]string]capture.Type{
	{"hstore", "hstore"}:     {Kind: capture.Other, AppendJSON: appendHstore},
	{"citext", "citext"}:     {Kind: capture.Text, AppendJSON: capture.AppendJSONString},
	{"ltree", "ltree"}:       {Kind: capture.Text, AppendJSON: capture.AppendJSONString},
	{"vector", "vector"}:     {Kind: capture.List, AppendJSON: appendVector},
	{"vector", "halfvec"}:    {Kind: capture.List, AppendJSON: appendVector},
	{"postgis", "geometry"}:  {Kind: capture.Other, AppendJSON: appendGeometry},
	{"postgis", "geography"}: {Kind: capture.Other, AppendJSON: appendGeometry},
}

// builtinNames are the built-in types by their names in the catalog.
var builtinNames = func() map[string]*capture.Type {
	base := baseTypes()
	names := make(map[string]*capture.Type, 2*len(base))
	for _, e := range base {
		names[e.typ.Name] = e.typ
		if e.array != 0 {
			names["_"+e.typ.Name] = builtinTypes[e.array]
		}
	}
	return names
}()

func otherType(name, kind, extension string) *capture.Type {
	if known, ok := extensionTypes[[2]string{extension, name}]; ok {
		known.Name, known.Base = name, name
		return &known
	}
	own := textType(name, capture.Other)
	own.Base = "" // whatever it is called
	if kind == "e" {
		own.Kind, own.Base = capture.Text, "enum"
	}
	return own
}
