package mysql

import (
	"encoding/base64"
	"errors"
	"fmt"
	"unicode/utf8"

	gomysql "github.com/go-mysql-org/go-mysql/mysql"

	"rowhook/capture"
)

// Types of MariaDB's compressed columns.
const (
	typeBlobCompressed    = 140
	typeVarcharCompressed = 141
)

const (
	charsetBinary   = "binary"
	collationBinary = 63
)

// column describes a column by its entries in the table map's lists and by what the catalog told of
// it.
func (d *describer) column(i int, name string, e entry) (column, *capture.Type, error) {
	t, length := realType(d.types[i], d.metas[i])
	meta := d.metas[i]
	real := ""
	if f := d.told(); f != nil {
		real = f.Types[name]
	}
	if d.unsized(i, d.flavour) {
		if real == "" && d.flavour == flavourMariaDB {
			return column{}, nil, fmt.Errorf("the digits of its fraction: %w", errUntold)
		}
		return oldTemporalColumn(t, digitsOf(real))
	}
	if real == "" && d.alike(i, e, d.flavour) != nil {
		return untyped(d.plainColumn(t, length, meta, e, ""))
	}
	return d.plainColumn(t, length, meta, e, real)
}

// plainColumn describes a column that is of the type real, where that is not empty, and else of
// what the table map says.
func (d *describer) plainColumn(t byte, length int, meta uint16, e entry, real string) (column, *capture.Type, error) {
	switch t {
	case gomysql.MYSQL_TYPE_TINY, gomysql.MYSQL_TYPE_SHORT, gomysql.MYSQL_TYPE_INT24, gomysql.MYSQL_TYPE_LONG, gomysql.MYSQL_TYPE_LONGLONG:
		return integerColumn(t, e.unsigned)
	case gomysql.MYSQL_TYPE_FLOAT:
		return column{width: 4, append: appendFloat32}, floatType("float"), nil
	case gomysql.MYSQL_TYPE_DOUBLE:
		return column{width: 8, append: appendFloat64}, floatType("double"), nil
	case gomysql.MYSQL_TYPE_NEWDECIMAL:
		return decimalColumn(int(meta>>8), int(meta&0xff))
	case gomysql.MYSQL_TYPE_BIT:
		bits := int(meta>>8)*8 + int(meta&0xff)
		return column{width: (bits + 7) / 8, whole: bits, append: appendBits}, stringType("bit", capture.Text), nil
	case gomysql.MYSQL_TYPE_ENUM, gomysql.MYSQL_TYPE_SET:
		return d.labelled(t, e, length)
	case gomysql.MYSQL_TYPE_VARCHAR, gomysql.MYSQL_TYPE_VAR_STRING:
		return d.text(real, e, "varchar", "varbinary", prefixOf(int(meta)), 0)
	case gomysql.MYSQL_TYPE_STRING:
		return d.text(real, e, "char", "binary", prefixOf(length), length)
	case gomysql.MYSQL_TYPE_BLOB:
		return d.text(real, e, "text", "blob", int(meta), 0)
	case typeVarcharCompressed:
		return unpacked(d.text(real, e, "varchar", "varbinary", prefixOf(int(meta)), 0))
	case typeBlobCompressed:
		return unpacked(d.text(real, e, "text", "blob", int(meta), 0))
	case gomysql.MYSQL_TYPE_GEOMETRY:
		return column{prefix: int(meta), plain: true, append: appendBytes}, geometryType(), nil
	case gomysql.MYSQL_TYPE_JSON:
		return column{prefix: int(meta), append: appendBinaryJSON}, jsonType(), nil
	case gomysql.MYSQL_TYPE_VECTOR:
		return column{prefix: int(meta), append: appendVector}, vectorType(), nil
	case gomysql.MYSQL_TYPE_TIME, gomysql.MYSQL_TYPE_DATETIME, gomysql.MYSQL_TYPE_TIMESTAMP:
		return oldTemporalColumn(t, 0)
	}
	return temporalColumn(t, int(meta))
}

func integerColumn(t byte, unsigned bool) (column, *capture.Type, error) {
	widths := map[byte]struct {
		width int
		name  string
		kind  capture.Kind
	}{
		gomysql.MYSQL_TYPE_TINY:     {1, "tinyint", capture.Integer},
		gomysql.MYSQL_TYPE_SHORT:    {2, "smallint", capture.Integer},
		gomysql.MYSQL_TYPE_INT24:    {3, "mediumint", capture.Integer},
		gomysql.MYSQL_TYPE_LONG:     {4, "int", capture.Integer},
		gomysql.MYSQL_TYPE_LONGLONG: {8, "bigint", capture.Bigint},
	}
	w := widths[t]
	if unsigned {
		w.name += " unsigned"
	}
	return column{width: w.width, unsigned: unsigned, append: appendInteger},
		&capture.Type{Name: w.name, Base: w.name, Kind: w.kind, AppendJSON: verbatim(capture.IsInteger)}, nil
}

// prefixOf is how many bytes say the length of a string of at most length bytes.
func prefixOf(length int) int {
	if length > 255 {
		return 2
	}
	return 1
}

// text describes a string or binary column, or one that lies like it. width is that of a padded
// one.
func (d *describer) text(real string, e entry, textName, binaryName string, prefix, width int) (column, *capture.Type, error) {
	c := column{prefix: prefix, plain: true, append: appendBytes}
	switch real {
	case "uuid":
		c.plain, c.append = false, appendUUID
		return c, uuidType(), nil
	case "inet6":
		c.plain, c.append = false, appendInet6
		return c, stringType("inet6", capture.Other), nil
	case "inet4":
		c.plain, c.append = false, appendInet4
		return c, stringType("inet4", capture.Other), nil
	case "vector":
		c.plain, c.append = false, appendVector
		return c, vectorType(), nil
	}
	charset := d.charsets.names[e.collation]
	if e.collation == collationBinary || charset == charsetBinary {
		if width > 0 {
			c.plain, c.whole, c.append = false, width, appendPadded
		}
		return c, bytesType(binaryName), nil
	}
	decode, known := d.charsets.decoderOf(charset)
	if !known {
		return c, undecodedType(textName, charset), nil
	}
	if decode != nil {
		c.plain, c.decode, c.append = false, decode, appendDecoded
	}
	if real == "json" {
		return c, jsonType(), nil
	}
	return c, textType(textName), nil
}

// untyped is a column whose values may be of another type than it seems.
func untyped(c column, t *capture.Type, err error) (column, *capture.Type, error) {
	if err == nil {
		t = untypedType(t)
	}
	return c, t, err
}

// unpacked is a text column whose values lie compressed.
func unpacked(c column, t *capture.Type, err error) (column, *capture.Type, error) {
	c.unpacked, c.plain, c.append = c.append, false, appendUnpacked
	return c, t, err
}

// labelled describes an enum or a set.
func (d *describer) labelled(t byte, e entry, width int) (column, *capture.Type, error) {
	f, typ := appendEnum, enumType()
	if t == gomysql.MYSQL_TYPE_SET {
		f, typ = appendSet, setType()
	}
	labels := e.labels
	if len(labels) == 0 || width < 1 || width > 8 {
		return column{}, nil, errors.New("the table map lacks the labels")
	}
	decode, known := d.charsets.decoderOf(d.charsets.names[e.collation])
	for i, label := range labels {
		labels[i] = labelText(label, decode, known)
	}
	return column{width: width, labels: labels, append: f}, typ, nil
}

// labelText is a label in UTF-8. One that is none is the base64 of its bytes, marked: a set's
// labels have commas between.
func labelText(label []byte, decode decodeText, known bool) []byte {
	text, ok := label, known && utf8.Valid(label)
	if decode != nil {
		text, ok = decode(nil, label)
	}
	if ok {
		return text
	}
	return base64.StdEncoding.AppendEncode([]byte{misencoded}, label)
}

func decimalColumn(precision, scale int) (column, *capture.Type, error) {
	if scale > precision {
		return column{}, nil, fmt.Errorf("decimal(%d,%d)", precision, scale)
	}
	c := column{whole: precision - scale, digits: scale, append: appendDecimal}
	c.width = decimalBytes(c.whole) + decimalBytes(c.digits)
	return c, stringType("decimal", capture.Decimal), nil
}

func temporalColumn(t byte, digits int) (column, *capture.Type, error) {
	if digits > 6 {
		return column{}, nil, fmt.Errorf("%d fractional digits", digits)
	}
	fraction := (digits + 1) / 2
	switch t {
	case gomysql.MYSQL_TYPE_YEAR:
		return column{width: 1, append: appendYear}, yearType(), nil
	case gomysql.MYSQL_TYPE_DATE, gomysql.MYSQL_TYPE_NEWDATE:
		return column{width: 3, append: appendDate}, stringType("date", capture.Date), nil
	case gomysql.MYSQL_TYPE_TIME2:
		return column{width: 3 + fraction, digits: digits, append: appendTime}, stringType("time", capture.Time), nil
	case gomysql.MYSQL_TYPE_DATETIME2:
		return column{width: 5 + fraction, digits: digits, append: appendDatetime}, datetimeType(), nil
	case gomysql.MYSQL_TYPE_TIMESTAMP2:
		return column{width: 4 + fraction, digits: digits, append: appendTimestamp}, timestampType(), nil
	}
	return column{}, nil, fmt.Errorf("type %d is not known", t)
}

// oldTemporalColumn describes a column of the older storage of times. MySQL's has no fraction.
func oldTemporalColumn(t byte, digits int) (column, *capture.Type, error) {
	if digits > 6 {
		return column{}, nil, fmt.Errorf("%d fractional digits", digits)
	}
	switch {
	case t == gomysql.MYSQL_TYPE_TIME && digits == 0:
		return column{width: 3, append: appendOldTime}, stringType("time", capture.Time), nil
	case t == gomysql.MYSQL_TYPE_TIME:
		return column{width: [...]int{3, 4, 4, 5, 5, 5, 6}[digits], digits: digits, append: appendHiresTime}, stringType("time", capture.Time), nil
	case t == gomysql.MYSQL_TYPE_DATETIME && digits == 0:
		return column{width: 8, append: appendOldDatetime}, datetimeType(), nil
	case t == gomysql.MYSQL_TYPE_DATETIME:
		return column{width: [...]int{5, 6, 6, 7, 7, 7, 8}[digits], digits: digits, append: appendHiresDatetime}, datetimeType(), nil
	case digits == 0:
		return column{width: 4, append: appendOldTimestamp}, timestampType(), nil
	}
	return column{width: 4 + (digits+1)/2, digits: digits, append: appendHiresTimestamp}, timestampType(), nil
}
